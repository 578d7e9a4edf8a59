"""Sky models: a spectrum and a shape under a name, and the parameters of several as a table."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np
from astropy.modeling import Model, Parameter
from astropy.table import Table

from xonoff.errors import ModelError
from xonoff.models.shapes import PLAIN, Shape, check_shape
from xonoff.models.spectra import FLUX_UNIT, check_spectrum, has_units

__all__ = ["SkyModel", "model_list", "named_parameters", "parameters"]


@dataclass(frozen=True, repr=False)
class SkyModel:
    """A source: how bright at each energy, and where.

    Attributes
    ----------
    name : str
        Not empty; the names of its parameters begin with it ("crab.alpha").
    spectral : astropy.modeling.Model
        Any 1-D model, see `xonoff.models.flux`; the flux of the whole source.
    spatial : Shape, optional
        Where on the sky; not needed for a spectrum of a region.
    psf, edisp : bool
        Whether point spread and energy dispersion are applied in a prediction.

    Examples
    --------
    >>> from xonoff.models import PointSource, PowerLaw1D
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.63, 22.01))
    >>> list(named_parameters([crab]))
    ['crab.amplitude', 'crab.x_0', 'crab.alpha', 'crab.lon_0', 'crab.lat_0']
    """

    name: str
    spectral: Model
    spatial: "Shape | None" = None  # as text, for astropy makes | of two models a compound
    psf: bool = True
    edisp: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ModelError(f"name {self.name!r} found, text accepted, such as 'crab'")
        check_spectrum(self.spectral)
        if self.spatial is not None and not isinstance(self.spatial, Shape):
            raise ModelError(
                f"{self.name}: a {type(self.spatial).__name__} for its shape found, one of xonoff.models such as "
                "PointSource(83.63, 22.01) accepted"
            )
        for flag in ("psf", "edisp"):
            if not isinstance(getattr(self, flag), bool):
                raise ModelError(f"{self.name}: {flag} = {getattr(self, flag)!r} found, True or False accepted")
        check_parameters(self)

    @property
    def parts(self) -> tuple[Model, ...]:
        """Its spectrum and its shape, if it has one."""
        return (self.spectral,) if self.spatial is None else (self.spectral, self.spatial)

    def copy(self, name: str | None = None) -> "SkyModel":
        """Copy with parameters of its own."""
        spatial = None if self.spatial is None else self.spatial.copy()
        return replace(self, name=self.name if name is None else name, spectral=self.spectral.copy(), spatial=spatial)

    def __repr__(self) -> str:
        """Return the name and the parts with their parameters, to six digits: astropy shows small fluxes as 0."""
        return f"<SkyModel {self.name!r}: {', '.join(map(_words, self.parts))}{self._left_out}>"

    def _repr_html_(self) -> str:
        """Return the name, the parts and the table of parameters for a notebook cell."""
        parts = ", ".join(type(part).__name__ for part in self.parts)
        head = f"<strong>{escape(self.name)}</strong>: {escape(parts + self._left_out)}"
        return f"<div>{head}{parameters([self])._repr_html_()}</div>"

    @property
    def _left_out(self) -> str:
        return "".join(f", without {flag}" for flag in ("psf", "edisp") if not getattr(self, flag))


def _words(part: Model) -> str:
    values = ", ".join(f"{name}={getattr(part, name).value:.6g}" for name in part.param_names)
    return f"{type(part).__name__}({values})"


def check_parameters(model: SkyModel) -> None:
    """Refuse values that give no shape, and bounds and errors that are none."""
    if model.spatial is not None:
        check_shape(model.spatial)
    for full, part, name in _named(model):
        parameter = getattr(part, name)
        low, high = parameter.bounds
        if not (-np.inf if low is None else low) <= (np.inf if high is None else high):
            raise ModelError(f"{full}: bounds {(low, high)} found, (low, high) accepted with None for no bound")
        if parameter.std is not None and not parameter.std >= 0:
            raise ModelError(f"{full}: an error (std) of {parameter.std} found, 0 or more accepted, or None")


def model_list(models: SkyModel | Iterable[SkyModel]) -> list[SkyModel]:
    """List of one or more sky models, whose names differ.

    Parameters
    ----------
    models : SkyModel or iterable of SkyModel

    Returns
    -------
    list of SkyModel

    Raises
    ------
    ModelError
        If something is no sky model, or a name comes twice.

    Examples
    --------
    >>> from xonoff.models import PowerLaw1D
    >>> len(model_list(SkyModel("crab", PowerLaw1D())))
    1
    """
    listed: Sequence[Any] = [models] if isinstance(models, SkyModel) or not isinstance(models, Iterable) else [*models]
    for model in listed:
        if not isinstance(model, SkyModel):
            raise ModelError(
                f"models: a {type(model).__name__} found, xonoff.models.SkyModel(name, spectral, spatial) accepted"
            )
    _no_twins("models", [model.name for model in listed])
    return list(listed)


def _no_twins(what: str, names: list[str]) -> None:
    twice, often = max(Counter(names).items(), key=lambda item: item[1], default=("", 0))
    if often > 1:
        raise ModelError(f"{what}: the name {twice!r} found twice: rename a model with model.copy(name)")


def named_parameters(models: SkyModel | Iterable[SkyModel]) -> dict[str, Parameter]:
    """Parameters of sky models under their full names, such as "crab.alpha".

    Where a spectrum and a shape both have one of a name, that of the shape is "crab.spatial.sigma".

    Parameters
    ----------
    models : SkyModel or iterable of SkyModel

    Returns
    -------
    dict of str to astropy.modeling.Parameter

    Examples
    --------
    >>> from xonoff.models import PowerLaw1D
    >>> list(named_parameters(SkyModel("crab", PowerLaw1D())))
    ['crab.amplitude', 'crab.x_0', 'crab.alpha']
    """
    named = list(_named(models))
    _no_twins("parameters", [full for full, _, _ in named])
    return {full: getattr(part, name) for full, part, name in named}


def _named(models: SkyModel | Iterable[SkyModel]) -> Iterator[tuple[str, Model, str]]:
    """Full name of each parameter, the part of the model that has it, and its name there."""
    for model in model_list(models):
        for part in model.parts:
            for name in part.param_names:
                twice = part is model.spatial and name in model.spectral.param_names
                yield f"{model.name}.spatial.{name}" if twice else f"{model.name}.{name}", part, name


def _unit(part: Model, name: str) -> str:
    """Unit of a parameter: its own, or the one that its number is taken in; "" if there is none or it is not known."""
    own = getattr(part, name).unit
    if own is not None:
        return str(own)
    if isinstance(part, Shape):
        return "" if name in PLAIN else "deg"
    if has_units(part):
        return ""
    if name.startswith(("x_0", "x_break", "x_cutoff")):
        return "TeV"
    amplitudes = [other for other in part.param_names if other.startswith("amplitude")]
    return FLUX_UNIT if amplitudes == [name] else ""


def parameters(models: SkyModel | Iterable[SkyModel]) -> Table:
    """Parameters of sky models as a table, which a notebook shows as such.

    Parameters
    ----------
    models : SkyModel or iterable of SkyModel

    Returns
    -------
    Table
        Columns ``name``, ``value``, ``unit``, ``min``, ``max``, ``fixed`` and ``error``; NaN where there is no bound or
        no error. A number without a unit of its own has the one that it is taken in, where that is known. A row by
        its name: ``table.loc["crab.alpha"]``.

    Examples
    --------
    >>> from xonoff.models import PowerLaw1D
    >>> table = parameters(SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6)))
    >>> for row in table:
    ...     print(row["name"], row["value"], row["unit"] or "-")
    crab.amplitude 3.5e-11 cm-2 s-1 TeV-1
    crab.x_0 1.0 TeV
    crab.alpha 2.6 -
    """
    rows = []
    for full, part, name in _named(models):
        parameter = getattr(part, name)
        low, high = parameter.bounds
        error = parameter.std
        rows.append(
            (
                full,
                float(parameter.value),
                _unit(part, name),
                np.nan if low is None else float(low),
                np.nan if high is None else float(high),
                bool(parameter.fixed),
                np.nan if error is None else float(error),
            )
        )
    names = ("name", "value", "unit", "min", "max", "fixed", "error")
    types = (str, float, str, float, float, bool, float)
    table = Table(rows=rows or None, names=names, dtype=types)
    for name, digits in {"value": 7, "min": 3, "max": 3, "error": 3}.items():
        table[name].info.format = f".{digits}g"
    if len(set(table["name"])) == len(table) > 0:
        table.add_index("name")
    return table
