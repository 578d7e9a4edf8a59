"""Sky models as the content of a YAML file of gammapy; `xonoff.io.model_yaml` reads it and has the files."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.modeling import CompoundModel, Model

from xonoff.errors import ModelError
from xonoff.io.model_table import (
    ABSORPTION,
    COMPOUND,
    DEPTH,
    NO_NORM,
    NO_TILT,
    OPERATORS,
    POWER_LAW_NORM,
    SHAPES,
    SPECTRA,
    TEMPLATE,
    Kind,
    Setting,
    Settings,
)
from xonoff.io.yamlfile import at, shown
from xonoff.models import FLUX_UNIT, Absorption, SkyModel, TemplateSpectrum, model_list

__all__ = ["Models", "models_to_dict"]

Models = SkyModel | Iterable[SkyModel] | Mapping[str, Iterable[SkyModel]]
KINDS = (*SPECTRA, TEMPLATE, ABSORPTION, COMPOUND)
EITHER = (TEMPLATE, COMPOUND)  # a flux or a factor, as their parts are


def models_to_dict(models: Models) -> dict[str, Any]:
    """Content of a YAML file of gammapy, of sky models.

    Parameters
    ----------
    models : SkyModel, iterable of SkyModel, or mapping
        A mapping is from the names of datasets to the models of each. What several of them have is written once; where
        that are not all of them, with their names.

    Returns
    -------
    dict

    Raises
    ------
    ModelError
        If gammapy has no such model, a parameter is tied by a function, or models of one name differ.

    Examples
    --------
    >>> from xonoff.models import PowerLaw1D, SkyModel
    >>> crab, cloud = (SkyModel(name, PowerLaw1D(3.5e-11, 1, 2.6)) for name in ("crab", "cloud"))
    >>> content = models_to_dict({"run 1": [crab], "run 2": [crab, cloud]})
    >>> [(entry["name"], entry.get("datasets_names")) for entry in content["components"]]
    [('crab', None), ('cloud', ['run 2'])]
    """
    if not isinstance(models, Mapping):
        return {"components": [_written(model) for model in model_list(models)]}
    entries: dict[str, dict[str, Any]] = {}
    owners: dict[str, list[str]] = {}
    for dataset, listed in models.items():
        for model in model_list(listed):
            entry = _written(model)
            if entries.setdefault(model.name, entry) != entry:
                raise ModelError(
                    f"model {shown(model.name)} of dataset {shown(dataset)} found, which is another one in dataset "
                    f"{shown(owners[model.name][0])}: rename one of them with model.copy(name)"
                )
            owners.setdefault(model.name, []).append(str(dataset))
    for name, names in owners.items():
        if len(names) < len(models):
            entries[name]["datasets_names"] = names
    return {"components": list(entries.values())}


def _written(model: SkyModel) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": model.name, "type": "SkyModel"}
    if not (model.psf and model.edisp):
        entry["apply_irf"] = {"exposure": True, "psf": model.psf, "edisp": model.edisp}
    with at(f"model {shown(model.name)}"):
        entry["spectral"] = _written_spectrum(model.spectral, is_flux=True)
        if model.spatial is not None:
            kind = _kind_of(model.spatial, SHAPES)
            parameters = _written_parameters(model.spatial, kind)
            entry["spatial"] = {"type": kind.tags[0], "frame": model.spatial.frame, "parameters": parameters}
    return entry


def _written_spectrum(spectrum: Model, is_flux: bool, depth: int = DEPTH) -> dict[str, Any]:
    """Entry of a spectrum, or of a factor of one."""
    kind = _kind_of(spectrum, [kind for kind in KINDS if kind in EITHER or kind.is_flux == is_flux])
    if kind is COMPOUND:
        return _written_compound(spectrum, is_flux, depth)
    if kind is TEMPLATE:
        return _written_template(spectrum, is_flux)
    entry: dict[str, Any] = {"type": kind.tags[0], "parameters": _written_parameters(spectrum, kind)}
    if kind is ABSORPTION:
        entry["energy"] = _written_array(spectrum.energy, "TeV")
        entry["param"] = _written_array(spectrum.redshifts, "")
        entry["values"] = _written_array(np.exp(-spectrum.depth), "")
    return entry


def _written_compound(spectrum: CompoundModel, is_flux: bool, depth: int) -> dict[str, Any]:
    operators = {ours: theirs for theirs, ours in OPERATORS.items()}
    if spectrum.op not in operators or depth == 0:
        raise ModelError(
            f"a compound by {spectrum.op!r} found, one of {list(operators)} accepted, {DEPTH} in each other at most"
        )
    left, right = is_flux, is_flux
    if spectrum.op == "*":  # one of them is the flux
        left, right = (False, is_flux) if _is_factor(spectrum.left) else (is_flux, False)
    return {
        "type": COMPOUND.tags[0],
        "model1": _written_spectrum(spectrum.left, left, depth - 1),
        "model2": _written_spectrum(spectrum.right, right, depth - 1),
        "operator": operators[spectrum.op],
    }


def _is_factor(spectrum: Model) -> bool:
    """Tell whether a spectrum has nothing in it that can be a flux."""
    if isinstance(spectrum, CompoundModel):
        return _is_factor(spectrum.left) and _is_factor(spectrum.right)
    return isinstance(spectrum, Absorption)


def _written_template(spectrum: TemplateSpectrum, is_flux: bool) -> dict[str, Any]:
    table = {
        "type": TEMPLATE.tags[0],
        "parameters": [],
        "energy": _written_array(spectrum.energy, "TeV"),
        "values": _written_array(spectrum.values, FLUX_UNIT if is_flux else ""),
    }
    norm = Setting.of(spectrum.norm, "")
    if norm == NO_NORM:
        return table
    factor = {"type": POWER_LAW_NORM.tags[0], "parameters": _entries(POWER_LAW_NORM, {"amplitude": norm, **NO_TILT})}
    return {"type": COMPOUND.tags[0], "model1": table, "model2": factor, "operator": "mul"}


def _written_parameters(model: Model, kind: Kind) -> list[dict[str, Any]]:
    ours: dict[str, Setting] = {}
    for twin in kind.twins:
        if twin.ours in model.param_names:
            with at(twin.ours):
                unit = f"({twin.unit})-1" if twin.inverse else twin.unit
                ours[twin.ours] = Setting.of(getattr(model, twin.ours), unit)
    return _entries(kind, kind.to_theirs(ours))


def _entries(kind: Kind, ours: Settings) -> list[dict[str, Any]]:
    """Entries of the parameters of gammapy."""
    entries = []
    for twin in kind.twins:
        with at(twin.ours):
            setting = twin.to_theirs(ours.get(twin.ours))
            if not math.isfinite(setting.value):
                raise ModelError(f"{setting.value} found, a finite number accepted")
            if twin.unit == "TeV" and setting.value <= 0:
                raise ModelError(f"{setting.value} TeV found, an energy above 0 accepted")
        entry = {"name": twin.theirs, "value": setting.value, "unit": twin.unit, "frozen": setting.fixed}
        errors = {} if setting.error is None else {"error": setting.error}
        entries.append({**entry, "min": setting.low, "max": setting.high, **errors})
    return entries


def _written_array(array: npt.NDArray[np.float64], unit: str) -> dict[str, Any]:
    return {"data": array.tolist(), "unit": unit}


def _kind_of(model: Model, kinds: Iterable[Kind]) -> Kind:
    found = next((kind for kind in kinds if kind.ours is type(model)), None)
    if found is None:
        known = sorted({kind.ours.__name__ for kind in kinds})
        raise ModelError(
            f"a {type(model).__name__} found here, {known} accepted, which gammapy has too: keep others with "
            "xonoff.models.to_json"
        )
    return found
