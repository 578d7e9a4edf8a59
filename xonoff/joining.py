"""Join on/off bins into wider ones: groups of energies, or blocks of pixels.

Sums of bins go by the rules of the data model: over the bins that are used, conserving counts, off counts and
background. `xonoff.rebin` makes datasets of them.
"""

import math
import operator
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.quantities import NEUTRAL, ON_OFF
from xonoff.stats.sums import add_on_off, finish_on_off, join_on_off
from xonoff.stats.threads import in_threads

__all__ = ["coarse_mean", "join_bins"]

Floats = npt.NDArray[np.float64]
ROWS = 64  # of a map that a thread takes at a time


def join_bins(
    ds: xr.Dataset,
    used: xr.Variable,
    *,
    groups: Sequence[slice] | None = None,
    factors: tuple[int, int] = (1, 1),
) -> dict[str, xr.Variable]:
    """On/off variables, template and masks of wider bins: groups of energies, or blocks of pixels.

    Parameters
    ----------
    ds : Dataset
    used : Variable (energy, sky) of bool
        Bins to add up, see `xonoff.quantities.usable`.
    groups : sequence of slice, optional
        Energies that are joined.
    factors : (int, int)
        Pixels that are joined along each sky dimension; 1 with groups.

    Returns
    -------
    dict of str to Variable
    """
    dims = used.dims
    names = [name for name in ON_OFF if name in ds]

    def join(array: xr.Variable, how: str) -> xr.Variable:
        if groups is not None:
            parts = [getattr(array.isel(energy=group), how)("energy") for group in groups]
            grouped: xr.Variable = xr.Variable.concat(parts, "energy").transpose(*dims)
            return grouped
        operate = {"sum": operator.add, "any": operator.or_}[how]
        joined: xr.Variable = reduce(operate, _strided(array, dict(zip(dims[1:], factors, strict=True))))
        return joined

    variables: dict[str, xr.Variable] = {}
    if names:
        cubes = [ds.variables[name].set_dims(used.sizes).transpose(*dims) for name in names]
        sums = _bin_sums(used, dict(zip(names, cubes, strict=True)), groups, factors)
        totals = dict(zip(ON_OFF, (xr.Variable(dims, total) for total in sums), strict=True))
        variables |= {name: totals[name] for name in names}
        if "acceptance_off" in ds:
            variables["acceptance_off"] = xr.apply_ufunc(
                _finished, *(totals[name] for name in ON_OFF[1:]), dask="parallelized", output_dtypes=[np.float64]
            )
    if "background" in ds:
        variables["background"] = join(ds.variables["background"].astype(np.float64).where(used, 0), "sum")
    variables["mask_safe"] = join(used, "any")
    if "mask_fit" in ds:
        variables["mask_fit"] = join(used & (ds.variables["mask_fit"] == 1), "any")
    if "mask_fault" in ds:
        variables["mask_fault"] = join(ds.variables["mask_fault"], "any")
    return variables


def _strided(array: xr.Variable, windows: Mapping[Hashable, int]) -> Iterator[xr.Variable]:
    """Pixels that go into one, first those at its first corner; adding these up is quicker than `Variable.coarsen`."""
    for corner in np.ndindex(*windows.values()):
        yield array.isel({dim: slice(i, None, f) for i, (dim, f) in zip(corner, windows.items(), strict=True)})


def coarse_mean(array: xr.Variable, windows: Mapping[Hashable, int]) -> xr.Variable:
    """Mean of the pixels that go into one, without NaN."""
    if array.chunks is None:
        mean: xr.Variable = reduce(operator.add, _strided(array, windows)) / math.prod(windows.values())
        if np.isfinite(mean.values).all():
            return mean
    skipping: xr.Variable = array.coarsen(windows, "mean")
    return skipping


def _finished(n_off: Floats, a_on: Floats, off_exposure: Floats) -> Floats:
    out = off_exposure.copy()
    finish_on_off(n_off, a_on, out)
    return out


def _bin_sums(
    used: xr.Variable, cubes: Mapping[str, xr.Variable], groups: Sequence[slice] | None, factors: tuple[int, int]
) -> Any:
    """Four running sums of `xonoff.stats.sums`, each (energy, sky)."""
    numbers = np.arange(used.sizes["energy"])
    for number, group in enumerate(groups or []):
        numbers[group] = number
    size = None if groups is None else len(groups)
    sums = partial(_block_sums, names=tuple(cubes), size=size, factors=factors)
    if not any(array.chunks for array in (used, *cubes.values())):
        return sums(numbers, used.values, *(array.values for array in cubes.values()))
    import dask.array as da

    lazy = xr.Dataset({"used": used, **cubes}).chunk().unify_chunks()
    sky = used.dims[1:]
    if max(factors) > 1:
        chunks = {dim: _multiples(lazy.chunksizes[dim], f) for dim, f in zip(sky, factors, strict=True)}
        lazy = lazy.chunk(chunks)
    blocks = [lazy[name].data for name in ("used", *cubes)]
    energies = lazy.chunksizes["energy"]
    ids = da.from_array(numbers, chunks=(energies,)).reshape(-1, *(1,) * len(sky))
    new = [tuple(n // f for n in lazy.chunksizes[dim]) for dim, f in zip(sky, factors, strict=False)]
    groups_of = energies if size is None else (size,) * len(energies)
    meta = np.empty((0,) * (used.ndim + 1))
    parts = da.map_blocks(sums, ids, *blocks, new_axis=0, chunks=((len(ON_OFF),), groups_of, *new), meta=meta)
    return parts if size is None else join_on_off([parts[:, i : i + size] for i in range(0, parts.shape[1], size)])


def _block_sums(
    numbers: npt.NDArray[np.intp],
    used: npt.NDArray[np.bool_],
    *arrays: npt.NDArray[Any],
    names: tuple[str, ...],
    size: int | None,
    factors: tuple[int, int],
) -> Floats:
    """Sums of one block; ``numbers`` has the group of each energy, of which there are ``size``."""
    flat = used.ndim == 1
    given = dict(zip(names, arrays, strict=True))
    planes = [given.get(name, np.broadcast_to(NEUTRAL[name], used.shape)) for name in ON_OFF]
    inside, *bins = (array[:, None, None] if flat else array for array in (used, *planes))
    (n, ny, nx), (fy, fx) = inside.shape, factors
    out = np.zeros((len(ON_OFF), n if size is None else size, ny // fy, nx // fx))

    def rows(part: slice) -> None:
        for e, group in enumerate(numbers.ravel()):
            add_on_off(list(out[:, group, part]), [array[e, part] for array in bins], inside[e, part])

    def plane(e: int) -> None:
        tall = np.zeros((len(ON_OFF), ny // fy, nx))
        for row in range(fy):
            add_on_off(list(tall), [array[e, row::fy] for array in bins], inside[e, row::fy])
        out[:, e] = join_on_off([tall[..., column::fx] for column in range(fx)])

    if size is None:
        in_threads(plane, range(n))
    else:
        in_threads(rows, [slice(low, low + ROWS) for low in range(0, ny, ROWS)])
    return out[:, :, 0, 0] if flat else out


def _multiples(chunks: tuple[int, ...], factor: int) -> tuple[int, ...]:
    """Chunks whose borders are moved on to multiples of a factor.

    >>> _multiples((5, 5, 2), 4)
    (8, 4)
    """
    stops = np.unique(-(-np.cumsum(chunks) // factor) * factor)
    return tuple(np.diff(stops, prepend=0).tolist())
