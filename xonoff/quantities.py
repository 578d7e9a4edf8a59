"""Quantities of an on/off dataset, bin by bin and summed: alpha, background, excess, WStat, significance.

Each function takes a dataset and returns labelled arrays, lazy where the dataset is. A bin counts only where all that a
quantity needs is valid: alpha is NaN where there is no off exposure, a quantity is NaN where anything it is made of is
negative or not finite, and sums skip such bins and those outside the masks.
"""

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff import stats
from xonoff.axes import axis_edges
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import sky_dims
from xonoff.schema import MASKS, VARIABLES
from xonoff.stats.threads import in_threads

__all__ = [
    "alpha",
    "background",
    "data_shape",
    "effective_acceptance_off",
    "energy_range",
    "excess",
    "mask",
    "npred_background",
    "npred_off",
    "on_bins",
    "on_off_sums",
    "require",
    "significance",
    "stat_sum",
    "usable",
    "wstat",
]

#: On/off variables, and what stands in for one that a dataset lacks where bins are summed.
NEUTRAL = {"counts": 0.0, "counts_off": 0.0, "acceptance": 1.0, "acceptance_off": 1.0}
ON_OFF = tuple(NEUTRAL)


def alpha(ds: xr.Dataset) -> xr.DataArray:
    """Ratio of the on to the off exposure, ``acceptance / acceptance_off``; NaN where there is no off exposure.

    Parameters
    ----------
    ds : Dataset

    Returns
    -------
    DataArray (energy, sky)

    Raises
    ------
    SchemaError
        If an acceptance is missing.

    Examples
    --------
    >>> import xonoff
    >>> round(xonoff.tutorial.dataset().onoff.alpha.max().item(), 6)
    0.1
    """
    return _bins(stats.alpha, ds, ("acceptance", "acceptance_off"), "alpha")


def background(ds: xr.Dataset) -> xr.DataArray:
    """Counts expected in the on region from the off region, ``alpha * counts_off``."""
    return _bins(stats.background, ds, ("counts_off", "acceptance", "acceptance_off"), "background")


def excess(ds: xr.Dataset) -> xr.DataArray:
    """Counts above the background, ``counts - alpha * counts_off``."""
    return _bins(stats.excess, ds, ON_OFF, "excess")


def wstat(ds: xr.Dataset, signal: xr.DataArray | None = None) -> xr.DataArray:
    """WStat of each bin: -2 ln L, profiled over the background; see `xonoff.stats.wstat`. Masks are not applied.

    Parameters
    ----------
    ds : Dataset
    signal : DataArray, optional
        Expected in the bins, see `xonoff.predict.npred_signal`; 0 by default.

    Returns
    -------
    DataArray (energy, sky)
    """
    return _bins(_wstat, ds, ON_OFF, "wstat", signal)


def npred_off(ds: xr.Dataset, signal: xr.DataArray | None = None) -> xr.DataArray:
    """Counts predicted in the off region: the background ``mu_off``, profiled with a signal, 0 by default.

    Parameters
    ----------
    ds, signal
        As for `wstat`.

    Returns
    -------
    DataArray (energy, sky)
    """
    return _bins(_mu_off, ds, ON_OFF, "npred_off", signal)


def npred_background(ds: xr.Dataset, signal: xr.DataArray | None = None) -> xr.DataArray:
    """Background predicted in the on region, ``alpha * mu_off``: the profiled value, not ``alpha * counts_off``.

    Parameters
    ----------
    ds, signal
        As for `wstat`.

    Returns
    -------
    DataArray (energy, sky)
    """
    return _bins(_mu_on, ds, ON_OFF, "npred_background", signal)


def significance(ds: xr.Dataset, dim: Hashable | Iterable[Hashable] | None = None) -> xr.DataArray:
    """Significance of the excess (Li & Ma 1983, eq. 17), with its sign: ``sign(excess) sqrt(WStat)`` for no signal.

    Parameters
    ----------
    ds : Dataset
    dim : str or iterable of str, optional
        Dimensions to sum over first, within the masks (see `on_off_sums`): "energy" gives a map. By default each bin
        stands for itself.

    Returns
    -------
    DataArray (energy, sky), or what is left of these
    """
    return _bins(stats.excess_significance, ds if dim is None else on_off_sums(ds, dim), ON_OFF, "significance")


def stat_sum(ds: xr.Dataset, signal: xr.DataArray | None = None) -> xr.DataArray:
    """Sum of WStat over all valid bins within the masks, in float64.

    The data are read once, a block at a time; no array of the size of the cube is made.

    Parameters
    ----------
    ds : Dataset
    signal : DataArray, optional
        As for `wstat`.

    Returns
    -------
    DataArray ()
    """
    names = require(ds, ON_OFF)
    cubes = xr.Dataset({name: ds.variables[name] for name in names})
    inside = _mask(ds)
    if inside is not None or signal is not None:
        cubes["mask"] = xr.Variable((), np.True_) if inside is None else inside
    if signal is not None:
        cubes["signal"] = signal.variable
    if any(array.chunks is not None for array in cubes.variables.values()):
        total = _block_sums(cubes)
    else:
        cubes = xr.broadcast(cubes)[0] if len({v.dims for v in cubes.values()}) > 1 else cubes
        total = np.float64(stats.wstat_sum(*(array.data for array in cubes.values())))
    return xr.DataArray(total, name="stat_sum", attrs={"units": "1"})


def mask(ds: xr.Dataset, name: str | None = None) -> xr.DataArray:
    """Bins that count: within ``mask_safe`` and ``mask_fit``, as far as they are there; a value but 1 is outside.

    Parameters
    ----------
    ds : Dataset
    name : {"mask_safe", "mask_fit"}, optional
        This mask alone.

    Returns
    -------
    DataArray (energy, sky) of bool
    """
    if name not in (None, *MASKS):
        raise SchemaError(f"mask {name!r} found, {' or '.join(map(repr, MASKS))} accepted")
    inside = _mask(ds, MASKS if name is None else (name,))
    if inside is None:
        inside = xr.ones_like(ds.variables[_first_cube(ds)], dtype=bool)
    return like_counts(ds, inside, name or "mask", {})


def usable(ds: xr.Dataset) -> xr.Variable:
    """Bins within ``mask_safe`` whose on/off values, those that are there, are valid: what a stack or an image adds up.

    Returns
    -------
    Variable (energy, sky) of bool
    """
    cubes = [name for name in (*ON_OFF, "background") if name in ds]
    first = ds[_first_cube(ds)]
    sizes = {dim: first.sizes[dim] for dim in ("energy", *sky_dims(ds)) if dim in first.sizes}
    found = _mask(ds, ("mask_safe",))
    arrays = [ds.variables[name] for name in cubes]
    inside = xr.Variable((), np.True_) if found is None else found
    if any(array.chunks for array in arrays):  # a mask that is made wider stays small in the graph
        inside = inside.chunk()
    inside, *arrays = (array.set_dims(sizes).transpose(*sizes) for array in (inside, *arrays))
    used = xr.apply_ufunc(
        partial(_usable, names=tuple(cubes)), inside, *arrays, dask="parallelized", output_dtypes=[np.bool_]
    )
    result: xr.Variable = used
    return result


def on_off_sums(ds: xr.Dataset, dim: Hashable | Iterable[Hashable]) -> xr.Dataset:
    """Sum on/off data over dimensions, within the masks and over valid bins.

    Parameters
    ----------
    ds : Dataset
    dim : str or iterable of str
        Dimensions to sum over; ``...`` for all.

    Returns
    -------
    Dataset
        ``counts``, ``counts_off``, ``acceptance`` and ``acceptance_off`` in float64. The latter is ``acceptance *
        counts_off / sum(alpha * counts_off)``, so that the background and the excess are conserved exactly; where
        there are no off counts it is the plain sum, so that alpha keeps its true value. (It is the plain sum also
        where all off counts are in bins with no on acceptance: then their background of 0 is not conserved.)
    """
    arrays = [ds[name] for name in require(ds, ON_OFF)]
    dims = arrays[0].dims
    named: Any = dims if dim is ... else dim
    over = [named] if isinstance(named, str) else list(named) if isinstance(named, Iterable) else [named]
    unknown = [d for d in over if d not in dims]
    if unknown:
        raise SchemaError(f"dimension {unknown[0]!r} found, {dims} accepted")
    valid = np.isfinite(excess(ds).variable)
    inside = _mask(ds)
    if inside is not None:
        valid = valid & inside

    def total(array: xr.Variable) -> xr.Variable:
        summed: xr.Variable = array.where(valid, 0).sum(over, dtype=np.float64)
        return summed

    n_on, n_off, a_on, a_off = (total(array.variable) for array in arrays)
    effective = effective_acceptance_off(n_off, a_on, a_off, total(background(ds).variable))
    sums = dict(zip(ON_OFF, (n_on, n_off, a_on, effective), strict=True))
    kept = {"bounds", *n_on.dims}
    dropped = [name for name, coord in ds.coords.items() if not set(coord.dims) <= kept]
    dropped += [name for name in ds.coords if str(name).startswith("wcs") and f"y{str(name)[3:]}" in dropped]
    result = xr.Dataset(sums, ds.coords.to_dataset().drop_vars(dropped).coords)
    for name in ON_OFF:
        result[name].attrs = {"units": VARIABLES[name].units}
    return result


def effective_acceptance_off(
    n_off: xr.Variable, a_on: xr.Variable, a_off: xr.Variable, expected: xr.Variable
) -> xr.Variable:
    """Off acceptance of sums of bins, which conserves their background; see `on_off_sums`."""
    effective = a_on * n_off / expected.where(expected > 0, np.nan)
    kept: xr.Variable = effective.where(expected > 0, a_off)
    return kept


def data_shape(ds: xr.Dataset) -> tuple[int, ...]:
    """Shape of the counts, (energy, sky): that of the first of the on/off variables that is there."""
    return ds[_first_cube(ds)].shape


def energy_range(ds: xr.Dataset, name: str | None = None) -> tuple[xr.DataArray, xr.DataArray]:
    """Lower edge of the first and upper edge of the last energy bin within the masks, in every pixel.

    Parameters
    ----------
    ds : Dataset
    name : {"mask_safe", "mask_fit"}, optional
        This mask alone.

    Returns
    -------
    energy_min, energy_max : DataArray (sky), TeV
        NaN where no bin is within the masks.
    """
    inside = mask(ds, name)
    if "energy" not in ds.dims:
        raise SchemaError(
            f"the dataset has no dimension energy, {tuple(ds.dims)} found: keep it with a slice or a list"
        )
    axis_edges(ds, "energy")  # refuses bins that do not adjoin, which no range describes
    lo, hi = (
        xr.apply_ufunc(_where, inside.variable, edge, dask="parallelized", output_dtypes=[np.float64])
        for edge in (ds["energy_bounds"].variable.isel(bounds=0), ds["energy_bounds"].variable.isel(bounds=1))
    )
    coords = inside.isel(energy=0, drop=True).coords
    ends = (
        xr.DataArray(lo.min("energy"), coords=coords, name="energy_min"),
        xr.DataArray(hi.max("energy"), coords=coords, name="energy_max"),
    )
    return ends[0].assign_attrs(units="TeV"), ends[1].assign_attrs(units="TeV")


# -- how it is done ---------------------------------------------------------------------------------------------------


def _where(inside: Any, edge: Any) -> npt.NDArray[np.float64]:
    return np.where(inside, edge, np.nan)


def _usable(inside: Any, *arrays: Any, names: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    out = np.empty(inside.shape, dtype=np.bool_)

    def plane(part: Any) -> None:
        values = {name: array[part] for name, array in zip(names, arrays, strict=True)}
        found = inside[part]
        if any(name in values for name in ON_OFF):
            excess_of = [values.get(name, np.float32(neutral)) for name, neutral in NEUTRAL.items()]
            found = found & np.isfinite(stats.excess(*excess_of))
        if "background" in values:
            found = found & (values["background"] >= 0) & (values["background"] < np.inf)
        out[part] = found

    in_threads(plane, range(len(out)) if out.ndim > 1 else [...])
    return out


def _wstat(n_on: Any, n_off: Any, a_on: Any, a_off: Any, mu_sig: Any = 0.0) -> npt.NDArray[np.float64]:
    return stats.wstat(n_on, n_off, stats.alpha(a_on, a_off), mu_sig)


def _mu_off(n_on: Any, n_off: Any, a_on: Any, a_off: Any, mu_sig: Any = 0.0) -> npt.NDArray[np.float64]:
    return stats.wstat_mu_off(n_on, n_off, stats.alpha(a_on, a_off), mu_sig)


def _mu_on(n_on: Any, n_off: Any, a_on: Any, a_off: Any, mu_sig: Any = 0.0) -> npt.NDArray[np.float64]:
    ratio = stats.alpha(a_on, a_off)
    return np.asarray(ratio * stats.wstat_mu_off(n_on, n_off, ratio, mu_sig))


def _bins(
    function: Callable[..., Any],
    ds: xr.Dataset,
    names: tuple[str, ...],
    name: str,
    signal: xr.DataArray | None = None,
) -> xr.DataArray:
    """Apply an array function to variables of a dataset.

    It works on bare variables: coordinates of one dataset need no comparison, which 2-D ones would have to be
    computed for.
    """
    variables = [ds.variables[n] for n in require(ds, names)]
    variables += [] if signal is None else [signal.variable]
    result = xr.apply_ufunc(function, *variables, dask="parallelized", output_dtypes=[np.float64])
    return like_counts(ds, result, name, {"units": "1"})


def on_bins(name: str, values: Any, template: xr.DataArray) -> xr.Variable:
    """Numbers on the bins of an array, or some of its dimensions, refused where they are on others.

    Parameters
    ----------
    name : str
        Of the array in the message.
    values : Variable or array
        An array without named dimensions is on all of those of the template, on all but the first, or a number.
    template : DataArray
    """
    if isinstance(values, xr.Variable):
        array = values
    else:
        dims = {n: template.dims[template.ndim - n :] for n in (0, template.ndim - 1, template.ndim)}
        array = xr.Variable(dims.get(values.ndim, tuple(f"axis {i}" for i in range(values.ndim))), values)
    if any(template.sizes.get(dim) != n for dim, n in array.sizes.items()) or array.dtype.kind not in "fiu":
        raise SchemaError(
            f"{name}: {array.dtype} of shape {dict(array.sizes)} found, numbers on {dict(template.sizes)} accepted"
        )
    return array


def like_counts(ds: xr.Dataset, values: xr.Variable, name: str, attrs: dict[str, Any]) -> xr.DataArray:
    """Label values on the bins of the counts; the coordinates are shared with the dataset, not copied."""
    template = ds[_first_cube(ds)]
    array = template.copy(deep=False, data=values.set_dims(template.sizes).transpose(*template.dims).data)
    array.name, array.attrs, array.encoding = name, attrs, {}
    return array


def _mask(ds: xr.Dataset, names: tuple[str, ...] = MASKS) -> xr.Variable | None:
    """Bins within the masks; None if there is none, which means all."""
    masks = [ds.variables[name] for name in names if name in ds]
    masks = [m if m.dtype == bool else m == 1 for m in masks]
    if not masks:
        return None
    inside = masks[0] if len(masks) == 1 else masks[0] & masks[1]
    return inside


def _block_sums(cubes: xr.Dataset) -> Any:
    """Sum of WStat of dask arrays, a lazy scalar: one number a chunk, then their sum."""
    import dask.array as da

    arrays = [array.data for array in xr.broadcast(cubes.chunk())[0].unify_chunks().values()]
    chunks = tuple((1,) * count for count in arrays[0].numblocks)
    meta = np.empty((0,) * arrays[0].ndim)
    return da.map_blocks(partial(_one_block, ndim=arrays[0].ndim), *arrays, chunks=chunks, meta=meta).sum()


def _one_block(*arrays: npt.NDArray[Any], ndim: int) -> npt.NDArray[np.float64]:
    return np.full((1,) * ndim, stats.wstat_sum(*arrays))


def require(ds: xr.Dataset, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of variables, or refuse a dataset that lacks one of them."""
    missing = [name for name in names if name not in ds]
    if missing:
        what = "; ".join(f"{name}: {VARIABLES[name].description}" for name in missing)
        raise SchemaError(f"the dataset has no variable {', '.join(missing)} ({what}): add it with ds.assign")
    if sky_dims(ds) and "wcs" not in ds.coords:
        raise GeometryError(
            "the dataset has sky dimensions but no coordinate wcs: maps of two different sky grids were combined, or "
            "it was dropped: use maps of one grid, and keep its coordinates"
        )
    return names


def _first_cube(ds: xr.Dataset) -> str:
    """Name of the first variable on the bins of the counts."""
    cubes = [name for name, variable in VARIABLES.items() if variable.axes == (("energy",),) and name in ds]
    if not cubes:
        raise SchemaError("the dataset has no counts, nor any variable on their bins: add one with ds.assign")
    return max(cubes, key=lambda name: ds.variables[name].ndim)  # the first of the largest
