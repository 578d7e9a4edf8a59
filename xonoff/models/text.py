"""Sky models as JSON text, and back: exact, from a list of known classes, and nothing in the text is ever evaluated."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from astropy.modeling import CompoundModel, Model, functional_models, powerlaws

from xonoff.errors import ModelError
from xonoff.models import shapes, spectra
from xonoff.models.skymodel import SkyModel, check_parameters, model_list
from xonoff.skygrid import SkyGrid
from xonoff.units import plain_unit

__all__ = ["from_json", "to_json"]

VERSION = 1
SPECTRA: dict[str, type[Model]] = {
    kind.__name__: kind
    for kind in (
        powerlaws.PowerLaw1D,
        powerlaws.BrokenPowerLaw1D,
        powerlaws.SmoothlyBrokenPowerLaw1D,
        powerlaws.ExponentialCutoffPowerLaw1D,
        powerlaws.LogParabola1D,
        powerlaws.Schechter1D,
        functional_models.Const1D,
        functional_models.Linear1D,
        functional_models.Scale,
        functional_models.Exponential1D,
        functional_models.Gaussian1D,
        functional_models.Lorentz1D,
        functional_models.Box1D,
        functional_models.Trapezoid1D,
        functional_models.Sine1D,
        spectra.TemplateSpectrum,
        spectra.Absorption,
    )
}
SHAPES: dict[str, type[shapes.Shape]] = {
    kind.__name__: kind
    for kind in (
        shapes.PointSource,
        shapes.GaussianSource,
        shapes.DiskSource,
        shapes.ShellSource,
        shapes.ConstantSource,
        shapes.TemplateSource,
    )
}
#: Tables that a model is made of, besides its parameters.
TABLES = {"TemplateSpectrum": ("energy", "values"), "Absorption": ("energy", "redshifts", "depth")}
OPERATORS = ("+", "-", "*", "/", "**", "|")
#: Nesting of compounds that a text may have, and letters of a unit.
DEPTH, MAX_UNIT = 50, 100
#: Energies that a power law is divided by.
ENERGIES = ("x_0", "x_break")


def to_json(models: SkyModel | Iterable[SkyModel]) -> str:
    """JSON text of sky models, for ``attrs["models"]`` for example.

    A bound of minus infinity below, or of infinity above, is none, and written as such.

    Parameters
    ----------
    models : SkyModel or iterable of SkyModel

    Returns
    -------
    str

    Raises
    ------
    ModelError
        If a class is none of the known ones, a parameter is tied by a function, a number is not finite, or anything
        else that `from_json` would refuse.

    Examples
    --------
    >>> from xonoff.models import PointSource, PowerLaw1D
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.63, 22.01))
    >>> float(from_json(to_json(crab))[0].spectral.alpha.value)
    2.6
    """
    listed = model_list(models)
    for model in listed:
        check_parameters(model)
    entries = [
        {
            "name": model.name,
            "spectral": _spectrum_to_dict(model.spectral, model.name, DEPTH),
            **({} if model.spatial is None else {"spatial": _shape_to_dict(model.spatial, model.name)}),
            "psf": model.psf,
            "edisp": model.edisp,
        }
        for model in listed
    ]
    try:
        return json.dumps({"version": VERSION, "models": entries}, allow_nan=False)
    except ValueError as error:
        raise ModelError("models: a value that is not finite found, finite numbers accepted") from error


def from_json(text: str) -> list[SkyModel]:
    """Sky models from JSON text, as `to_json` writes it.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of SkyModel

    Raises
    ------
    ModelError
        If the text is not JSON, or anything in it is not of the layout: names the entry, and what is accepted.

    Examples
    --------
    >>> from_json('{"version": 1, "models": []}')
    []
    """
    try:
        data = json.loads(text, parse_constant=_refuse, object_pairs_hook=_once)
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"models: the text is no JSON ({error}): write it with xonoff.models.to_json") from error
    version = data.get("version") if isinstance(data, dict) else None
    if type(version) is not int or version != VERSION or not isinstance(data.get("models"), list):
        raise ModelError(f'models: {_start(data)!r} found, {{"version": {VERSION}, "models": [...]}} accepted')
    return model_list([_model_from_dict(entry) for entry in data["models"]])


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} found")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Object of JSON; refuses a key that is there twice."""
    entry: dict[str, Any] = {}
    for key, value in pairs:
        if key in entry:
            raise ValueError(f"the key {_start(key)!r} found twice in one object")
        entry[key] = value
    return entry


def _model_from_dict(entry: Any) -> SkyModel:
    _keys("model", entry, {"name", "spectral"}, {"spatial", "psf", "edisp"})
    name = entry["name"]
    where = _start(name)
    spectrum = _spectrum_from_dict(entry["spectral"], f"{where}.spectral", DEPTH)
    shape = _shape_from_dict(entry["spatial"], f"{where}.spatial") if "spatial" in entry else None
    return SkyModel(name, spectrum, shape, entry.get("psf", True), entry.get("edisp", True))


# -- spectra ----------------------------------------------------------------------------------------------------------


def _spectrum_to_dict(spectrum: Model, where: str, depth: int) -> dict[str, Any]:
    if isinstance(spectrum, CompoundModel):
        if spectrum.op not in OPERATORS or depth == 0:
            raise ModelError(
                f"{where}: a compound by {spectrum.op!r} found, one of {OPERATORS} accepted, {DEPTH} in each other at "
                "most"
            )
        parts = {side: _spectrum_to_dict(getattr(spectrum, side), where, depth - 1) for side in ("left", "right")}
        # Its parameters are those of its parts.
        return {"type": "compound", **_name_to_dict(spectrum, where), "operator": spectrum.op, **parts}
    kind = type(spectrum).__name__
    if SPECTRA.get(kind) is not type(spectrum):
        raise ModelError(f"{where}: spectrum of class {kind} found, one of {sorted(SPECTRA)} and compounds accepted")
    tables = {key: getattr(spectrum, key).tolist() for key in TABLES.get(kind, ())}
    return {
        "type": kind,
        **_name_to_dict(spectrum, where),
        **tables,
        "parameters": _parameters_to_dict(spectrum, where),
    }


def _spectrum_from_dict(entry: Any, where: str, depth: int) -> Model:
    if isinstance(entry, dict) and entry.get("type") == "compound":
        _keys(where, entry, {"type", "operator", "left", "right"}, {"name"})
        if entry["operator"] not in OPERATORS or depth == 0:
            raise ModelError(
                f"{where}: operator {_start(entry['operator'])!r} found, one of {OPERATORS}, not nested so deep"
            )
        left, right = (_spectrum_from_dict(entry[side], f"{where}.{side}", depth - 1) for side in ("left", "right"))
        return CompoundModel(entry["operator"], left, right, name=_name(entry, where))
    kind = _kind(entry, where, SPECTRA)
    tables = TABLES.get(kind.__name__, ())
    _keys(where, entry, {"type", "parameters", *tables}, {"name"})
    values = _values(kind, entry["parameters"], where)
    arrays = {key: _floats(entry[key], f"{where}.{key}") for key in tables}
    return _made(lambda: kind(**arrays, **values), entry, where)


# -- shapes -----------------------------------------------------------------------------------------------------------


def _shape_to_dict(shape: shapes.Shape, where: str) -> dict[str, Any]:
    kind = type(shape).__name__
    if SHAPES.get(kind) is not type(shape):
        raise ModelError(f"{where}: shape of class {kind} found, one of {sorted(SHAPES)} accepted")
    entry = {"type": kind, **_name_to_dict(shape, where), "parameters": _parameters_to_dict(shape, where)}
    if isinstance(shape, shapes.TemplateSource):
        labels = {key: [float(label) for label in getattr(shape.sky, key)] for key in ("origin", "step")}
        return {**entry, "header": shape.sky.header, **labels, "image": shape.image.tolist()}
    return {**entry, "frame": shape.frame}


def _shape_from_dict(entry: Any, where: str) -> shapes.Shape:
    kind = _kind(entry, where, SHAPES)
    template = kind is shapes.TemplateSource
    _keys(
        where,
        entry,
        {"type", "parameters", *(("header", "origin", "step", "image") if template else ("frame",))},
        {"name"},
    )
    values = _values(kind, entry["parameters"], where)
    if not template:
        if not isinstance(entry["frame"], str):
            raise ModelError(f"{where}: frame {_start(entry['frame'])} found, text such as 'icrs' accepted")
        shape: shapes.Shape = _made(lambda: kind(**values, frame=entry["frame"]), entry, where)
        return shape
    image = _floats(entry["image"], f"{where}.image")
    origin, step = (_floats(entry[key], f"{where}.{key}") for key in ("origin", "step"))
    if image.ndim != 2 or origin.shape != (2,) or step.shape != (2,) or not isinstance(entry["header"], str):
        raise ModelError(
            f"{where}: an image {image.shape}, origin {origin.shape} and step {step.shape} found, 2-D wanted"
        )

    def made() -> shapes.Shape:
        labels = [first + by * np.arange(n) for first, by, n in zip(origin, step, image.shape, strict=True)]
        sky = SkyGrid.from_labels(entry["header"], *labels)
        source = shapes.TemplateSource(image, sky, **values)
        if np.allclose(source.image, image, rtol=1e-9, atol=0):
            source.image = image  # as it was to the last bit, not normalised a second time
        return source

    template_shape: shapes.Shape = _made(made, entry, where)
    return template_shape


# -- parameters -------------------------------------------------------------------------------------------------------


def _parameters_to_dict(model: Model, where: str) -> dict[str, Any]:
    entries = {}
    for name in model.param_names:
        parameter = getattr(model, name)
        if callable(parameter.tied):
            raise ModelError(
                f"{where}.{name}: it is tied by a function, which text cannot hold: set {name}.tied = False, or keep "
                "the models in the program"
            )
        _check_energy(type(model), name, float(parameter.value), f"{where}.{name}")
        entry: dict[str, Any] = {"value": float(parameter.value), "fixed": bool(parameter.fixed)}
        entry["bounds"] = [
            None if bound is None or bound == none else float(bound)  # one of inf below is refused as no finite number
            for bound, none in zip(parameter.bounds, (-np.inf, np.inf), strict=True)
        ]
        if parameter.unit is not None:
            entry["unit"] = parameter.unit.to_string()
        if parameter.std is not None:
            entry["error"] = float(parameter.std)
        entries[name] = entry
    return entries


def _values(kind: type[Model], entries: Any, where: str) -> dict[str, Any]:
    """Values to make a model with; refuses what could not be set on its parameters then."""
    _keys(f"{where}.parameters", entries, set(kind.param_names), set())
    values: dict[str, Any] = {}
    for name in kind.param_names:
        entry, at = entries[name], f"{where}.{name}"
        _keys(at, entry, {"value"}, {"fixed", "bounds", "unit", "error"})
        value = _number(entry["value"], f"{at}.value")
        unit = entry.get("unit")
        try:
            if not isinstance(unit, str | None) or (unit and len(unit) > MAX_UNIT):
                raise TypeError(f"text of up to {MAX_UNIT} letters wanted")
            values[name] = value if unit is None else value * plain_unit(unit)
        except (ValueError, TypeError) as error:
            accepted = f"one of astropy, not logarithmic, of up to {MAX_UNIT} letters, accepted"
            raise ModelError(f"{at}: unit {_start(unit)!r} found, {accepted}") from error
        _check_energy(kind, name, value, at)
        bounds = entry.get("bounds", [None, None])
        if not isinstance(bounds, list) or len(bounds) != 2 or not isinstance(entry.get("fixed", False), bool):
            raise ModelError(
                f"{at}: bounds {_start(bounds)} found, [low, high] with null for none; fixed is true or false"
            )
        for bound in bounds:
            if bound is not None:
                _number(bound, f"{at}.bounds")
        if "error" in entry:
            _number(entry["error"], f"{at}.error")
    return values


def _check_energy(kind: type[Model], name: str, value: float, where: str) -> None:
    if kind.__module__ == powerlaws.__name__ and name in ENERGIES and value <= 0:
        raise ModelError(f"{where}: {value} found, an energy above 0 accepted")


def _made(make: Any, entry: dict[str, Any], where: str) -> Any:
    try:
        model = make()
    except (ValueError, TypeError) as error:  # also those of xonoff and of units
        raise ModelError(f"{where}: {error}") from error
    model.name = _name(entry, where)
    for name, settings in entry["parameters"].items():
        parameter = getattr(model, name)
        parameter.bounds = tuple(settings.get("bounds", (None, None)))
        parameter.fixed = settings.get("fixed", False)
        if "error" in settings:
            parameter.std = settings["error"]
    return model


# -- names ------------------------------------------------------------------------------------------------------------


def _name_to_dict(model: Model, where: str) -> dict[str, Any]:
    return {} if model.name is None else {"name": _name({"name": model.name}, where)}


def _name(entry: dict[str, Any], where: str) -> str | None:
    name = entry.get("name")
    if not isinstance(name, str | None):
        raise ModelError(f"{where}: name {_start(name)!r} found, text accepted")
    return name


# -- checks -----------------------------------------------------------------------------------------------------------


def _start(value: Any) -> str:
    """Start of a text or value, for a message."""
    return str(value)[:80]


def is_numbers(values: Any) -> bool:
    """Tell whether values are a number, or lists of numbers in any depth; text in an array would make it huge."""
    if isinstance(values, list):
        return all(type(value) in (float, int) or (isinstance(value, list) and is_numbers(value)) for value in values)
    return type(values) in (float, int)


def _keys(where: str, entry: Any, needed: set[str], optional: set[str]) -> None:
    if not isinstance(entry, dict):
        raise ModelError(f"{where}: {_start(entry)!r} found, an object with {sorted(needed)} accepted")
    missing, unknown = needed - set(entry), set(entry) - needed - optional
    if missing or unknown:
        found = f"no {sorted(missing)[0]!r}" if missing else repr(_start(sorted(unknown)[0]))
        raise ModelError(f"{where}: {found} found, {sorted(needed)} needed and {sorted(optional)} optional")


def _kind(entry: Any, where: str, known: dict[str, Any]) -> Any:
    name = entry.get("type") if isinstance(entry, dict) else entry
    if not isinstance(name, str) or name not in known:
        raise ModelError(f"{where}: type {_start(name)!r} found, one of {sorted(known)} accepted")
    return known[name]


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ModelError(f"{where}: {_start(value)!r} found, a number accepted")
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if not np.isfinite(number):
        raise ModelError(f"{where}: a number that is not finite found, finite numbers accepted")
    return number


def _floats(values: Any, where: str) -> Any:
    try:
        array = np.array(values) if is_numbers(values) else np.empty(0, object)
    except ValueError as error:
        raise ModelError(f"{where}: rows of different lengths found, a table of numbers accepted") from error
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise ModelError(f"{where}: {array.dtype} found, a table of finite numbers accepted")
    return array.astype(np.float64)
