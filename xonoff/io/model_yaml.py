"""Sky models in the YAML of gammapy, read and written, for the models that both have.

`read_models` and `write_models` are for files, `models_from_dict` and `models_to_dict` for their content; what
corresponds is the table of `xonoff.io.model_table`. What could only be read as something else is refused: other
classes, linked parameters, priors, variability. What gammapy keeps for its fits alone (scales and scans of parameters,
the covariance) is passed over. A file is untrusted.
"""

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.modeling import CompoundModel, InputParameterError, Model

from xonoff.errors import FormatError, ModelError, SchemaError
from xonoff.io.atomic import replacing
from xonoff.io.model_table import (
    ABSORPTION,
    COMPOUND,
    DEPTH,
    NO_NORM,
    OPERATORS,
    POWER_LAW_NORM,
    SHAPES,
    SPECTRA,
    TEMPLATE,
    Kind,
    Setting,
    Settings,
    Twin,
)
from xonoff.io.model_yaml_writer import Models, models_to_dict
from xonoff.io.yamlfile import at, check_keys, read_yaml, shown, yaml_text
from xonoff.models import FLUX_UNIT, Shape, SkyModel, model_list
from xonoff.models.text import is_numbers
from xonoff.units import unit_factor

__all__ = [
    "Assigned",
    "assigned_models",
    "belonging",
    "models_from_dict",
    "models_to_dict",
    "read_assigned_models",
    "read_models",
    "write_models",
]

Entry = Mapping[str, Any]
PathLike = str | os.PathLike[str]
#: A sky model and the names of its datasets; None stands for all.
Assigned = tuple[SkyModel, list[str] | None]

#: Keys of a parameter, and those that say something about the fits of gammapy only.
KEYS = {"value", "unit", "frozen", "min", "max", "error"}
PASSED_OVER = {"interp", "is_norm", "scale", "scale_method", "scale_transform"}
PASSED_OVER |= {"scan_max", "scan_min", "scan_n_sigma", "scan_n_values", "scan_values"}
MAX_UNIT = 100  # letters
#: The share of photons that gammapy takes for none.
OPAQUE = np.finfo(np.float64).tiny
#: Numbers of YAML 1.2 that PyYAML takes for text.
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")


def read_models(path: PathLike, dataset: str | None = None) -> list[SkyModel]:
    """Sky models of a YAML file of gammapy.

    Parameters
    ----------
    path : path
        As written by `write_models`, or by ``Models.write`` of gammapy 2.1.
    dataset : str, optional
        Only the models of the dataset of this name: those that list it in ``datasets_names``, or have no such list.

    Returns
    -------
    list of SkyModel
        Energies in TeV, fluxes in cm-2 s-1 TeV-1 and angles in deg, whatever the units in the file.

    Raises
    ------
    FormatError
        If the file is not of this layout; names the file, the component, what was found and what is accepted.
    ModelError
        If a model is none that xonoff has too.
    FileNotFoundError
        If there is no file.

    Examples
    --------
    >>> import tempfile
    >>> from xonoff.models import PointSource, PowerLaw1D, SkyModel
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.63, 22.01))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_models([crab], f"{folder}/models.yaml")
    ...     [model.name for model in read_models(f"{folder}/models.yaml")]
    ['crab']
    """
    return belonging(read_assigned_models(path), dataset)


def write_models(models: Models, path: PathLike, *, overwrite: bool = False) -> None:
    """Write sky models as a YAML file that gammapy reads.

    Parameters
    ----------
    models : SkyModel, iterable of SkyModel, or mapping
        A mapping is from the names of datasets to the models of each; they are written with ``datasets_names``.
    path : path
        Named .yaml or .yml.
    overwrite : bool
        Replace an existing file; otherwise it is refused.

    Raises
    ------
    ModelError
        If gammapy has no such model, a parameter is tied by a function, or models of one name differ.
    FormatError
        If the file is not named .yaml or .yml, or would be too large.
    FileExistsError
        If the file exists.

    Examples
    --------
    >>> import tempfile
    >>> from xonoff.models import PowerLaw1D, SkyModel
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_models(crab, f"{folder}/models.yaml")
    ...     Path(folder, "models.yaml").read_text().splitlines()[:3]
    ['components:', '- name: crab', '  type: SkyModel']
    """
    with at(f"{path}: not written"):
        content = models_to_dict(models)
    text = yaml_text(content, Path(path))
    with replacing(path, overwrite) as part:
        part.write_text(text, encoding="utf-8")


# -- reading ----------------------------------------------------------------------------------------------------------


def models_from_dict(content: Entry, dataset: str | None = None) -> list[SkyModel]:
    """Sky models of the content of a YAML file of gammapy, see `read_models`.

    Parameters
    ----------
    content : mapping
        With the key ``components``.
    dataset : str, optional
        As for `read_models`.

    Returns
    -------
    list of SkyModel

    Examples
    --------
    >>> crab = {"name": "crab", "type": "SkyModel", "spectral": {"type": "PowerLawSpectralModel", "parameters": []}}
    >>> float(models_from_dict({"components": [crab]})[0].spectral.alpha.value)
    2.0
    """
    with at("components"):
        return belonging(assigned_models(content.get("components")), dataset)


def belonging(assigned: Iterable[Assigned], dataset: str | None) -> list[SkyModel]:
    """Sky models of a dataset; None stands for all of them."""
    return [model for model, names in assigned if dataset is None or names is None or dataset in names]


def read_assigned_models(path: PathLike) -> list[Assigned]:
    """Sky models of a file, each with the names of its datasets."""
    content = read_yaml(Path(path), "components", "a YAML file of gammapy's models accepted", aliases=True)
    with at(f"{path}: components"):
        return assigned_models(content.get("components"))


def assigned_models(components: Any) -> list[Assigned]:
    """Sky models of a list of such components, or of sky models, each with the names of its datasets."""
    if not isinstance(components, list | tuple):
        raise FormatError(f"{shown(components)} found, a list of models accepted")
    found = []
    for number, entry in enumerate(components, 1):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        with at(f"item {number}" + (f" ({shown(name)})" if name else "")):
            found.append((entry, None) if isinstance(entry, SkyModel) else _component(entry))
    model_list(model for model, _ in found)
    return found


def _component(entry: Any) -> Assigned:
    if isinstance(entry, Mapping) and entry.get("type", "SkyModel") not in ("SkyModel", "sky-model"):
        raise ModelError(f"type {shown(entry['type'])} found, SkyModel accepted: take this component out")
    check_keys(entry, {"name", "type", "spectral"}, {"spatial", "apply_irf", "datasets_names"})
    names, irf = entry.get("datasets_names"), entry.get("apply_irf", {})
    names = [names] if isinstance(names, str) else names
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise FormatError(f"key datasets_names: {shown(names)} found, a list of names accepted")
    with at("apply_irf"):
        check_keys(irf, set(), {"exposure", "psf", "edisp"})
        if irf.get("exposure", True) is not True:
            raise ModelError(f"exposure {shown(irf['exposure'])} found, true accepted")
    with at("spectral"):
        spectrum, power = _spectrum(entry["spectral"], DEPTH)
        if power != 1:
            raise ModelError(f"units that make no flux found, {FLUX_UNIT} or what converts to it accepted")
    with at("spatial"):
        shape = None if entry.get("spatial") is None else _shape(entry["spatial"])
    return SkyModel(entry["name"], spectrum, shape, irf.get("psf", True), irf.get("edisp", True)), names


def _shape(entry: Any) -> Shape:
    kind = _kind(entry, SHAPES)
    with at(kind.tags[0]):
        check_keys(entry, {"type"}, {"frame", "parameters"})
        shape: Shape = _made(kind, _settings(entry, kind), frame=entry.get("frame", "icrs"))
        return shape


def _spectrum(entry: Any, depth: int) -> tuple[Model, int]:
    """Spectrum, and the power of the unit of flux that its values have: 1 for a flux, 0 for a factor."""
    kind = _kind(entry, (*SPECTRA, TEMPLATE, ABSORPTION, COMPOUND))
    with at(kind.tags[0]):
        if kind is COMPOUND:
            return _compound(entry, depth)
        if kind is TEMPLATE:
            return _template(entry)
        if kind is ABSORPTION:
            return _absorption(entry), 0
        check_keys(entry, {"type"}, {"parameters"})
        return _made(kind, _settings(entry, kind)), int(kind.is_flux)


def _compound(entry: Entry, depth: int) -> tuple[Model, int]:
    check_keys(entry, {"type", "operator", "model1", "model2"}, set())
    operator = entry["operator"]
    if not isinstance(operator, str) or operator not in OPERATORS or depth == 0:
        raise ModelError(
            f"operator {shown(operator)} found, one of {list(OPERATORS)} accepted, {DEPTH} in each other at most"
        )
    with at("model1"):
        left, power = _spectrum(entry["model1"], depth - 1)
    with at("model2"):
        right, other = _spectrum(entry["model2"], depth - 1)
    if operator == "mul":
        if entry["model1"]["type"] in TEMPLATE.tags and _is_norm(entry["model2"]["type"], right):
            return _set(left, {"norm": Setting.of(right.amplitude, "")}), power
        return CompoundModel("*", left, right), power + other
    if power != other:
        raise ModelError(f"operator {operator!r} of a flux and a factor found, two fluxes or two factors accepted")
    return CompoundModel(OPERATORS[operator], left, right), power


def _is_norm(tag: str, spectrum: Model) -> bool:
    """Tell whether a factor is a number."""
    return tag in POWER_LAW_NORM.tags and spectrum.alpha.value == 0 and spectrum.alpha.fixed and spectrum.x_0.fixed


def _template(entry: Entry) -> tuple[Model, int]:
    check_keys(entry, {"type", "energy", "values"}, {"parameters"})
    _settings(entry, TEMPLATE)  # it has none
    values = entry["values"]
    unit = "" if isinstance(values, Mapping) and values.get("unit") == "" else FLUX_UNIT
    tables = {"energy": _array(entry, "energy", "TeV"), "values": _array(entry, "values", unit)}
    return _made(TEMPLATE, {"norm": NO_NORM}, **tables), int(unit == FLUX_UNIT)


def _absorption(entry: Entry) -> Model:
    if "filename" in entry:
        raise ModelError(
            f"a table in the file {shown(entry['filename'])} found, one in the YAML accepted: in gammapy, set "
            "model.filename = None before it is written"
        )
    check_keys(entry, {"type", "energy", "param", "values"}, {"parameters"})
    shares = _array(entry, "values", "")
    tables = {
        "energy": _array(entry, "energy", "TeV"),
        "redshifts": _array(entry, "param", ""),
        "depth": 0 - np.log(np.maximum(shares, OPAQUE)),
    }
    return _made(ABSORPTION, _settings(entry, ABSORPTION), **tables)


def _made(kind: Kind, settings: Settings, **others: Any) -> Model:
    values = {name: setting.value for name, setting in settings.items()}
    try:
        return _set(kind.ours(**others, **values), settings)
    except InputParameterError as error:  # of astropy
        raise ModelError(f"{error}; {values} found") from error


def _set(model: Model, settings: Settings) -> Model:
    """Set parameters of a model that is new; its own bounds, beyond which it has no values, hold as well."""
    for name, setting in settings.items():
        parameter = getattr(model, name)
        low, high = parameter.bounds
        lows, highs = ([x for x in pair if x is not None] for pair in ((low, setting.low), (high, setting.high)))
        parameter.bounds = max(lows, default=None), min(highs, default=None)
        parameter.value, parameter.fixed, parameter.std = setting.value, setting.fixed, setting.error
    return model


# -- parameters and tables --------------------------------------------------------------------------------------------


def _settings(entry: Entry, kind: Kind) -> Settings:
    """Settings of our parameters."""
    given = _parameters(entry.get("parameters", []), [twin.theirs for twin in kind.twins])
    settings: dict[str, Setting] = {}
    for twin in kind.twins:
        with at(f"parameter {twin.theirs}"):
            settings[twin.ours] = twin.from_theirs(_setting(given.get(twin.theirs, {}), twin))
    ours = kind.from_theirs({name: setting for name, setting in settings.items() if name})
    for name, setting in ours.items():
        if not math.isfinite(setting.value):
            raise ModelError(f"{name} = {setting.value} found, once converted to our units; finite numbers accepted")
    return ours


def _parameters(entries: Any, known: Sequence[str]) -> dict[str, Entry]:
    """Entries of parameters by name."""
    if not isinstance(entries, list):
        raise FormatError(f"key parameters: {shown(entries)} found, a list accepted")
    out: dict[str, Entry] = {}
    for number, entry in enumerate(entries, 1):
        with at(f"parameters, item {number}"):
            check_keys(entry, {"name"}, KEYS | PASSED_OVER)
            name = entry["name"]
            if not isinstance(name, str) or name not in known or name in out:
                twice = " twice" if isinstance(name, str) and name in out else ""
                raise FormatError(f"name {shown(name)} found{twice}, each of {list(known)} accepted once")
            out[name] = entry
    return out


def _setting(entry: Entry, twin: Twin) -> Setting:
    """Setting of a parameter of gammapy, in the unit of the table."""
    factor = _factor(entry.get("unit", twin.unit), twin.unit)
    frozen = entry.get("frozen", twin.frozen)
    if not isinstance(frozen, bool):
        raise FormatError(f"frozen: {shown(frozen)} found, true or false accepted")
    value = _number(entry, "value", twin.default, factor)
    if value is None:
        raise FormatError(f"value: {shown(entry['value'])} found, a finite number accepted")
    if twin.unit == "TeV" and value <= 0:
        raise ModelError(f"value: {value} TeV found, an energy above 0 accepted")
    low, high = _number(entry, "min", twin.low, factor), _number(entry, "max", twin.high, factor)
    return Setting(value, frozen, low, high, _number(entry, "error", None, factor) or None)


def _number(entry: Entry, key: str, default: float | None, factor: float) -> float | None:
    """Give a number times a factor; None where it stands for none, as null and NaN do."""
    value = entry.get(key, default)
    if isinstance(value, str) and NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise FormatError(f"{key}: {shown(value)} found, a number accepted")
    try:
        number = math.nan if value is None else float(value) * (factor if key in entry else 1)
    except OverflowError:
        number = math.inf
    return number if math.isfinite(number) else None


def _array(entry: Entry, key: str, unit: str) -> npt.NDArray[np.float64]:
    with at(key):
        check_keys(entry[key], {"data", "unit"}, set())
        data = entry[key]["data"]
        try:
            array = np.array(data) if is_numbers(data) else np.empty(0, object)
        except ValueError as error:
            raise FormatError("rows of different lengths found, a table of numbers accepted") from error
        if array.dtype.kind not in "fi" or not np.isfinite(array).all():
            raise FormatError(f"data {shown(data)} found, finite numbers accepted")
        return np.asarray(array * _factor(entry[key]["unit"], unit), dtype=np.float64)


def _factor(found: Any, unit: str) -> float:
    """Factor from a unit to that of ours."""
    if not isinstance(found, str) or len(found) > MAX_UNIT:
        raise FormatError(f"unit {shown(found)} found, one that converts to {unit or '1'!r} accepted")
    try:
        return unit_factor(found, unit)
    except SchemaError as error:
        raise FormatError(str(error)) from error


def _kind(entry: Any, kinds: Iterable[Kind]) -> Kind:
    check_keys(entry, {"type"})
    found = next((kind for kind in kinds if entry["type"] in kind.tags), None)
    if found is None:
        known = [kind.tags[0] for kind in kinds]
        raise ModelError(f"type {shown(entry['type'])} found, one of {known} accepted: write the model as one of these")
    return found
