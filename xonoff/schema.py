"""The data model, declared once as data: every axis and variable of an on/off dataset, and the check against it.

`AXES` and `VARIABLES` are what readers, writers, `stack`, `downsample`, `validate` and the documentation page look
up. `faults` compares a dataset with them and reports everything it finds at once, without reading any data.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xonoff.duck import small_values

__all__ = ["AXES", "GRIDS", "MASKS", "VARIABLES", "Axis", "Variable", "faults", "markdown_table", "units"]

CONVENTIONS = "xonoff-1"


@dataclass(frozen=True)
class Axis:
    """One binned axis: its coordinate is the bin centre, ``<name>_bounds`` holds the bin edges."""

    name: str
    units: str
    scale: str
    description: str


@dataclass(frozen=True)
class Variable:
    """One data variable.

    Attributes
    ----------
    name : str
        Name in the dataset.
    axes : tuple of tuples of str
        The accepted dimensions before the sky dimensions, as alternatives.
    grid : str
        The sky grid: "" for the grid of the counts; else the suffix of a grid of its own, which it may have.
    units : str
        Value of ``attrs["units"]``; "" for masks, which have none.
    kind : str
        Accepted kinds of numpy dtype.
    stack, coarsen : str
        The rule that combines it over datasets and over bins.
    description : str
        One sentence.
    """

    name: str
    axes: tuple[tuple[str, ...], ...]
    grid: str
    units: str
    kind: str
    stack: str
    coarsen: str
    description: str


AXES: dict[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis("energy", "TeV", "log", "reconstructed energy"),
        Axis("energy_true", "TeV", "log", "true energy"),
        Axis("rad", "deg", "lin", "offset from the source, of the PSF"),
        Axis("migra", "1", "lin", "reconstructed over true energy"),
    )
}

_RECO = (("energy",),)
_TRUE = (("energy_true",),)

VARIABLES: dict[str, Variable] = {
    variable.name: variable
    for variable in (
        Variable("counts", _RECO, "", "1", "fiu", "masked sum", "masked sum", "events in the on region"),
        Variable("counts_off", _RECO, "", "1", "fiu", "masked sum", "masked sum", "events in the off region"),
        Variable("acceptance", _RECO, "", "1", "fiu", "masked sum", "masked sum", "relative on exposure"),
        Variable(
            "acceptance_off", _RECO, "", "1", "fiu", "keeps the excess", "keeps the excess", "relative off exposure"
        ),
        Variable("background", _RECO, "", "1", "fiu", "masked sum", "masked sum", "background template (optional)"),
        Variable("mask_safe", _RECO, "", "", "b", "or", "or", "bins that the analysis may use"),
        Variable("mask_fit", _RECO, "", "", "b", "or", "or", "bins that a fit uses"),
        Variable("mask_fault", _RECO, "", "", "b", "or", "or", "bins whose mask in the file was neither 0 nor 1"),
        Variable("exposure", _TRUE, "exposure", "m2 s", "f", "sum", "mean over sky", "effective area times livetime"),
        Variable(
            "psf",
            (("energy_true", "rad"), ("energy", "rad")),
            "psf",
            "sr-1",
            "f",
            "exposure-weighted mean",
            "",
            "point spread function",
        ),
        Variable(
            "psf_exposure",
            (("energy_true",), ("energy",)),
            "psf",
            "m2 s",
            "f",
            "sum",
            "",
            "weight of the PSF when stacked",
        ),
        Variable(
            "edisp",
            (("energy_true", "energy"), ("energy_true", "migra")),
            "edisp",
            "1",
            "f",
            "exposure-weighted mean",
            "sum over energy",
            "energy dispersion: probability a bin of energy, or density in migra",
        ),
        Variable("edisp_exposure", _TRUE, "edisp", "m2 s", "f", "sum", "", "weight of the dispersion when stacked"),
    )
}

MASKS = ("mask_safe", "mask_fit")

#: Suffixes of the sky grids: the counts' own and those that the instrument response may have.
GRIDS = ("", "exposure", "psf", "edisp")


def units(name: str) -> str:
    """Units of an axis or a variable, as stated in ``attrs["units"]``.

    Examples
    --------
    >>> units("exposure"), units("rad")
    ('m2 s', 'deg')
    """
    return AXES[name].units if name in AXES else VARIABLES[name].units


def sky_names(grid: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Names of the sky dimensions of a grid: of a separable and of a curvilinear one.

    Examples
    --------
    >>> sky_names("psf")
    (('lat_psf', 'lon_psf'), ('y_psf', 'x_psf'))
    """
    suffix = f"_{grid}" if grid else ""
    return (f"lat{suffix}", f"lon{suffix}"), (f"y{suffix}", f"x{suffix}")


def accepted_dims(variable: Variable) -> list[tuple[str, ...]]:
    """Return every tuple of dimensions that a variable may have, the plain map first."""
    grids = dict.fromkeys((variable.grid, ""))
    skies = [names for grid in grids for names in sky_names(grid)]
    return [axes + sky for sky in [*skies, ()] for axes in variable.axes]


def faults(ds: xr.Dataset) -> list[str]:
    """Every way in which the structure of a dataset departs from the data model; no data are read.

    Parameters
    ----------
    ds : Dataset
        Any dataset. Variables that the data model does not name are left alone.

    Returns
    -------
    list of str
        One sentence a fault; empty when there is none.

    Examples
    --------
    >>> ds = xr.Dataset({"counts": ("time", [1.0])})
    >>> for fault in faults(ds):
    ...     print(fault)
    counts: dims ('time',) found, ('energy', 'lat', 'lon'), ('energy', 'y', 'x') or ('energy',) accepted
    counts: units None found, '1' accepted: set ds['counts'].attrs['units']
    """
    return [*_variable_faults(ds), *_axis_faults(ds), *_observation_faults(ds)]


def _variable_faults(ds: xr.Dataset) -> Iterator[str]:
    if "onoff" in ds.variables:
        yield "onoff: the name of the accessor is taken by a variable: rename the variable"
    for name, variable in VARIABLES.items():
        if name not in ds.variables:
            continue
        array = ds.variables[name]
        accepted = accepted_dims(variable)
        if array.dims not in accepted:
            listed = [str(dims) for dims in accepted]
            yield f"{name}: dims {array.dims} found, {', '.join(listed[:-1])} or {listed[-1]} accepted"
        if array.dtype.kind not in variable.kind:
            kinds = "bool" if variable.kind == "b" else "a real number"
            yield f"{name}: dtype {array.dtype} found, {kinds} accepted: use ds['{name}'].astype"
        if variable.units and array.attrs.get("units") != variable.units:
            found = array.attrs.get("units")
            yield f"{name}: units {found!r} found, {variable.units!r} accepted: set ds['{name}'].attrs['units']"


def _axis_faults(ds: xr.Dataset) -> Iterator[str]:
    for name, axis in AXES.items():
        if name not in ds.dims:
            continue
        bounds = f"{name}_bounds"
        if name not in ds.coords or bounds not in ds.coords:
            missing = name if name not in ds.coords else bounds
            yield f"{name}: coordinate {missing!r} is missing: build the axis with xonoff.axes.axis_coords"
            continue
        if ds.variables[name].attrs.get("units") != axis.units:
            yield f"{name}: units {ds.variables[name].attrs.get('units')!r} found, {axis.units!r} accepted"
        if ds.variables[bounds].dims != (name, "bounds") or ds.sizes["bounds"] != 2:
            yield f"{bounds}: dims {ds[bounds].dims} found, ({name!r}, 'bounds') with 2 bounds accepted"
            continue
        edges = small_values(ds.variables[bounds])
        lowest = 0.0 if axis.scale == "lin" else np.nextafter(0, 1)
        if not np.isfinite(edges).all() or not (edges[:, 0] < edges[:, 1]).all() or not (edges >= lowest).all():
            yield f"{bounds}: edges have to be finite, positive and increasing in every bin"
            continue
        centers = small_values(ds.variables[name])
        if not ((edges[:, 0] <= centers) & (centers <= edges[:, 1])).all():
            yield f"{name}: centres found outside of their bins: build the axis with xonoff.axes.axis_coords"
        if not np.array_equal(edges[1:, 0], edges[:-1, 1]):
            yield (
                f"{bounds}: the bins do not adjoin: select a contiguous range; xarray's coarsen averages the edges, "
                "which is wrong for them"
            )


def _observation_faults(ds: xr.Dataset) -> Iterator[str]:
    if "livetime" in ds.variables:
        livetime = ds.variables["livetime"]
        if livetime.dtype.kind not in "fiu" or livetime.attrs.get("units") != "s":
            found = f"{livetime.dtype} in {livetime.attrs.get('units')!r}"
            yield f"livetime: {found} found, numbers in 's' accepted"
        elif not (small_values(livetime) >= 0).all():
            yield "livetime: a value is negative or NaN, seconds accepted"
    present = [name for name in ("gti_start", "gti_stop") if name in ds.variables]
    if len(present) == 1:
        yield f"{present[0]}: gti_start and gti_stop go together, only one is there"
    for name in present:
        if ds[name].dims != ("gti",) or ds[name].dtype.kind != "M":
            yield f"{name}: {ds[name].dtype} on {ds[name].dims} found, datetime64[ns] on ('gti',) accepted"
        elif np.isnat(small_values(ds.variables[name])).any():
            yield f"{name}: a time is NaT: drop the interval"
    if len(present) == 2 and all(ds[name].dtype.kind == "M" and ds[name].dims == ("gti",) for name in present):
        start, stop = (small_values(ds.variables[name]) for name in present)
        if (stop < start).any():
            yield "gti_stop: an interval ends before it starts"


def markdown_table() -> str:
    """Return the variables as the Markdown table of the documentation page."""
    rows = ["| variable | dims | units | stack | coarser bins | meaning |", "|---|---|---|---|---|---|"]
    for variable in VARIABLES.values():
        sky = "sky" if not variable.grid else f"sky_{variable.grid}"
        dims = " or ".join(", ".join((*axes, sky)) for axes in variable.axes)
        cells = (
            f"`{variable.name}`",
            dims,
            variable.units or "bool",
            variable.stack,
            variable.coarsen,
            variable.description,
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)
