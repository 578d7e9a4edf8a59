"""Sums over discs and rings around every pixel of a map, by true angle, exact, and lazy where the map is.

A pixel belongs to a disc if its centre is within the radius of the centre of the other one along a great circle: on any
projection, for any shape of pixels, across the longitude 0/360 and over the poles. `disc_sums` and `ring_sums` take the
sky last in plain or dask arrays, and by name in an xarray object. What they look up for a grid and a radius is kept.

A sum is made of additions alone: it is exact for whole numbers, and good to the last digits for others, whatever the
values beside it are. A map in chunks gives the same numbers as the whole.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.errors import GeometryError, SchemaError
from xonoff.skygrid import SkyGrid
from xonoff.stats.threads import in_threads
from xonoff.units import Value, value_in
from xonoff.vicinity import Span, row_totals, vicinity_of, window_of

__all__ = ["disc_sums", "map_around", "plain", "ring_sums"]

Floats = npt.NDArray[np.float64]
A = TypeVar("A")


def disc_sums(values: A, sky: SkyGrid, radius: Value, *, mask: Any = None) -> A:
    """Sum over all pixels within a radius of each pixel, itself included.

    Parameters
    ----------
    values : ndarray, dask array, Variable or DataArray (..., y, x)
        A NaN makes those sums NaN that it is part of.
    sky : SkyGrid
        Of the pixels; those off the sky take no part, and have a sum of 0.
    radius : angle, deg
    mask : like values, of bool, optional
        What is False counts as 0; on the sky alone, or on all dimensions.

    Returns
    -------
    like values
        int64 for whole numbers, else float64.

    Raises
    ------
    GeometryError
        If the radius is negative or not finite, or the values are on another grid.

    Examples
    --------
    >>> sky = SkyGrid.create((83.63, 22.01), shape=(5, 5), pixel_size=0.1)
    >>> disc_sums(np.ones((5, 5), dtype=int), sky, "0.11 deg")[2].tolist()
    [4, 5, 5, 5, 4]
    """
    r = value_in(radius, "deg")
    if not 0 <= r < np.inf:
        raise GeometryError(f"radius: an angle of 0 deg or more is wanted, {radius!r} found")
    return cast(A, _sums(values, sky, 0.0, r, mask))


def ring_sums(values: A, sky: SkyGrid, r_in: Value, r_out: Value, *, mask: Any = None) -> A:
    """Sum over all pixels in the ring around each pixel, from ``r_in`` to ``r_out``, both included.

    Parameters
    ----------
    values, sky, mask
        As for `disc_sums`, and so is what it returns.
    r_in, r_out : angle, deg
        With ``r_in`` of 0 it is a disc.

    Examples
    --------
    >>> sky = SkyGrid.create((0, 0), shape=(5, 5), pixel_size=0.1)
    >>> ring_sums(np.ones((5, 5), dtype=int), sky, 0.1, 0.15)[2].tolist()
    [5, 8, 8, 8, 5]
    """
    inner, outer = value_in(r_in, "deg"), value_in(r_out, "deg")
    if not 0 <= inner <= outer < np.inf:
        raise GeometryError(f"ring: 0 <= r_in <= r_out is wanted, {inner} deg and {outer} deg found")
    return cast(A, _sums(values, sky, inner, outer, mask))


# -- arrays -----------------------------------------------------------------------------------------------------------


def _sums(values: Any, sky: SkyGrid, r_in: float, r_out: float, mask: Any) -> Any:
    if isinstance(values, xr.DataArray | xr.Variable):
        dims = sky.dims()
        array = values if isinstance(values, xr.Variable) else values.variable
        found: Any = getattr(mask, "variable", mask)
        if not set(dims) <= set(array.dims):
            raise GeometryError(f"dims {array.dims} found, the sky dimensions {dims} accepted: keep them with slices")
        sky_last = array.transpose(..., *dims)
        if isinstance(found, xr.Variable):
            if not set(found.dims) <= set(array.dims):
                raise SchemaError(f"mask: dims {found.dims} found, some of {array.dims} accepted")
            found = found.transpose(*(dim for dim in sky_last.dims if dim in found.dims))
            sizes = sky_last.sizes if set(found.dims) - set(dims) else {dim: sky_last.sizes[dim] for dim in dims}
            found = found.set_dims(sizes).data
        summed = xr.Variable(sky_last.dims, _sums(sky_last.data, sky, r_in, r_out, found), array.attrs)
        summed = summed.transpose(*array.dims)
        return summed if isinstance(values, xr.Variable) else values.copy(deep=False, data=summed.data)
    if values.dtype.kind not in "biuf":
        raise SchemaError(f"numbers are wanted, {values.dtype} found")
    if mask is not None and (mask.dtype != bool or mask.shape not in (sky.shape, values.shape)):
        raise SchemaError(
            f"mask: {mask.dtype} of shape {mask.shape} found, bool of shape {sky.shape} or {values.shape} accepted"
        )
    function = partial(_around, r_in=r_in, r_out=r_out)
    arrays = [values] if mask is None else [values, mask]
    return map_around(function, arrays, sky, r_out, np.int64 if values.dtype.kind in "biu" else np.float64)


def map_around(
    function: Callable[..., Any], arrays: Sequence[Any], sky: SkyGrid, radius: float, dtype: Any, outputs: int = 0
) -> Any:
    """Apply a function to pixels of a map and their surroundings: to all at once, or to one chunk of dask arrays each.

    Parameters
    ----------
    function : callable
        Called with arrays of a part of the map, and the keywords ``sky``, its grid, and ``rows`` and ``columns``, those
        of its pixels that results are wanted for; returns results, on a first axis if there are several.
    arrays : sequence of ndarray or dask array
        The first (..., y, x), the others likewise or on the sky alone.
    sky : SkyGrid
    radius : float, deg
        Pixels farther away than this make no difference to a result.
    dtype : dtype
        Of the results.
    outputs : int
        Number of results; 0 for a single one without an axis of its own.
    """
    if any(array.shape[-2:] != sky.shape for array in arrays):
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise GeometryError(f"arrays of {shapes} pixels found, (..., {sky.shape[0]}, {sky.shape[1]}) accepted")
    if not any(hasattr(array, "dask") for array in arrays):
        return function(*arrays, sky=sky, rows=(0, sky.shape[0]), columns=(0, sky.shape[1]))
    import dask.array as da

    first, *others = (array if hasattr(array, "dask") else da.from_array(array, chunks=-1) for array in arrays)
    lead = dict(enumerate(first.chunks[:-2]))
    inputs = [first, *(array.rechunk(lead) if array.ndim > 2 else array for array in others)]
    own = tuple(range(first.ndim))
    axes = [own[first.ndim - array.ndim :] for array in inputs]
    bands = []
    for rows in _spans(first.chunks[-2]):
        band = []
        for columns in _spans(first.chunks[-1]):
            (a, b), (c, d) = window_of(sky, rows, columns, radius)
            parts = [array[..., a:b, c:d].rechunk({-2: -1, -1: -1}) for array in inputs]
            block = da.blockwise(
                function,
                (first.ndim, *own) if outputs else own,
                *chain.from_iterable(zip(parts, axes, strict=True)),
                new_axes={first.ndim: outputs} if outputs else {},
                adjust_chunks={own[-2]: rows[1] - rows[0], own[-1]: columns[1] - columns[0]},
                dtype=dtype,
                meta=np.empty((0,) * (first.ndim + bool(outputs)), dtype),
                sky=sky.window((a, c), (b, d)),
                rows=(rows[0] - a, rows[1] - a),
                columns=(columns[0] - c, columns[1] - c),
            )
            band.append(block)
        bands.append(band)
    return da.block(bands)


def _around(
    values: npt.NDArray[Any],
    mask: Any = None,
    *,
    sky: SkyGrid,
    rows: Span,
    columns: Span,
    r_in: float,
    r_out: float,
) -> npt.NDArray[Any]:
    """Sums around the pixels of a part, for every plane of an array."""
    around = vicinity_of(sky, r_in, r_out, rows, columns)
    planes = plain(values)
    masks = np.ones((1, 1, 1), bool) if mask is None else mask.reshape(-1, *sky.shape)
    masks = np.ascontiguousarray(np.broadcast_to(masks, (len(masks), *sky.shape)))
    out = np.empty((len(planes), *around.shape), np.int64 if planes.dtype.kind == "i" else np.float64)
    totals = in_threads(lambda i: row_totals(planes[i], masks[i % len(masks)]), range(len(planes)))

    def work(task: tuple[int, int]) -> None:
        i, tile = task
        around.sum(planes[i], masks[i % len(masks)], totals[i], tile, around.part(out[i], tile))

    in_threads(work, [(i, tile) for i in range(len(planes)) for tile in range(len(around.tiles))])
    return out.reshape(*values.shape[:-2], *around.shape)


def plain(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Planes (n, y, x) of an array, as the kernels take them: each other dtype would be compiled for by itself."""
    kind = np.int64 if values.dtype.kind in "biu" else np.float32 if values.dtype.itemsize == 4 else np.float64
    return np.ascontiguousarray(values, dtype=kind).reshape(-1, *values.shape[-2:])


def _spans(chunks: tuple[int, ...]) -> list[Span]:
    ends = np.cumsum(chunks).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))
