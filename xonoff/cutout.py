"""Cut a dataset out of a larger one: by position and width, at positions, by energy; and pad it again.

Whatever is cut keeps the header of its parent grid and its pixel labels, so the parts fit together again.
"""

from collections.abc import Hashable, Mapping

import numpy as np
import xarray as xr

from xonoff.axes import axis_edges
from xonoff.duck import chunked_like
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import enclosing, map_dims, own_grid, sky_dims, sky_grid
from xonoff.masks import bins_within
from xonoff.quantities import mask
from xonoff.schema import GRIDS, VARIABLES
from xonoff.skygrid import SkyGrid
from xonoff.typed import on_off
from xonoff.units import Position, Value, lonlat_in, value_in

__all__ = ["cut_response", "cutout", "pad", "sel", "slice_by_energy"]

MODES = ("trim", "partial", "strict")
Pair = tuple[int, int]


@on_off
def cutout(ds: xr.Dataset, position: Position, width: Value | tuple[Value, Value], mode: str = "trim") -> xr.Dataset:
    """Cut out the pixels around a position, as astropy's ``Cutout2D`` does.

    Parameters
    ----------
    ds : Dataset
        A map.
    position : SkyCoord or (lon, lat)
        Middle of the cutout.
    width : angle or (angle, angle)
        Width, or widths along longitude and latitude, deg, at the pixel scale of the header; rounded to whole pixels.
    mode : {"trim", "partial", "strict"}
        What to do where the cutout reaches off the map: leave that part out; fill it with nothing, outside the masks
        (see `pad`); or refuse.

    Returns
    -------
    Dataset
        Responses on sky grids of their own keep the pixels that interpolation inside the cutout needs.

    Raises
    ------
    GeometryError
        If the cutout does not lie on the map, or not wholly where it has to, or the width holds no pixel.

    Examples
    --------
    >>> import xonoff
    >>> part = cutout(xonoff.tutorial.dataset(), (83.63, 22.01), "1 deg")
    >>> part.counts.shape, part.psf.shape[2:]
    ((8, 10, 10), (2, 2))
    """
    from astropy.nddata import NoOverlapError, PartialOverlapError, overlap_slices

    if mode not in MODES:
        raise SchemaError(f"mode {mode!r} found, {', '.join(map(repr, MODES))} accepted")
    dims, sky = _map(ds)
    widths = [value_in(w, "deg") for w in (width if isinstance(width, tuple) else (width, width))]
    scales = sky.pixel_scales
    if len(widths) != 2 or not all(0 < w < np.inf for w in widths):
        raise GeometryError(f"width: one or two positive angles are wanted, {width!r} found")
    shape = tuple(int(np.round(w / scale)) for w, scale in zip(widths[::-1], scales, strict=True))
    if min(shape) < 1:
        raise GeometryError(f"width: {width!r} is less than half a pixel of {scales[::-1]} deg: give a larger one")
    lon, lat = lonlat_in(position, sky.frame)
    if lon.ndim or lat.ndim:
        raise SchemaError(f"one position is wanted, {max(lon.size, lat.size)} found")
    x, y = (float(p) for p in sky.sky_to_pixel(position))
    where = f"cutout of {shape[1]} x {shape[0]} pixels around lon, lat = {float(lon):.6g}, {float(lat):.6g} deg"
    if not np.isfinite([x, y]).all():
        raise GeometryError(f"{where}: the position is not on the sky of this projection: give one on the map")
    try:
        large, small = overlap_slices(sky.shape, shape, (y, x), mode=mode)
    except NoOverlapError as error:
        size = f"{sky.shape[1]} x {sky.shape[0]}"
        raise GeometryError(f"{where}: it lies off the map of {size} pixels: give a position on it") from error
    except PartialOverlapError as error:
        raise GeometryError(f"{where}: it reaches off the map: use mode='trim' or 'partial'") from error
    part = cut_response(ds.isel(dict(zip(dims, large, strict=True))), sky.slice(*large))
    if mode != "partial":
        return part
    before = (small[0].start, small[1].start)
    return _padded(part, before, (shape[0] - small[0].stop, shape[1] - small[1].stop))


@on_off
def sel(ds: xr.Dataset, position: Position) -> xr.Dataset:
    """Pixels that hold some positions.

    Parameters
    ----------
    ds : Dataset
        A map.
    position : SkyCoord or (lon, lat)
        One position, or several along one axis; in any frame as a SkyCoord, across 0/360 as well.

    Returns
    -------
    Dataset
        Without sky dimensions, or for several positions with the dimension ``position`` in their place. Responses on
        grids of their own are those of the nearest pixel.

    Raises
    ------
    GeometryError
        If a position is off the map.

    Examples
    --------
    >>> import xonoff
    >>> pixel = sel(xonoff.tutorial.dataset(), (83.63, 22.01))
    >>> pixel.counts.dims, round(float(pixel.lat), 2)
    (('energy',), 21.96)
    """
    _, sky = _map(ds)
    x, _ = sky.sky_to_pixel(position)
    if x.ndim > 1:
        raise SchemaError(f"positions of shape {x.shape} found, one position or a list of them accepted")
    off = ~sky.contains(position)
    if off.any():
        lon, lat = np.broadcast_arrays(*lonlat_in(position, sky.frame))
        first = "lon, lat = {:.6g}, {:.6g} deg".format(*(np.atleast_1d(a)[np.atleast_1d(off)][0] for a in (lon, lat)))
        raise GeometryError(f"{int(off.sum())} of {off.size} positions are off the map, {first}: give positions on it")
    index: dict[Hashable, xr.Variable | int] = {}
    for grid in GRIDS:
        dims = sky_dims(ds, grid)
        if dims:
            own = sky_grid(ds, grid)
            pixels = own.sky_to_pixel(position)[::-1]
            for dim, n, p in zip(own.dims(grid), own.shape, pixels, strict=True):
                nearest = np.clip(np.floor(np.nan_to_num(p) + 0.5), 0, n - 1).astype(int)
                if dim in dims:
                    index[dim] = xr.Variable("position", nearest) if nearest.ndim else int(nearest)
    return ds.isel(index).unify_chunks()


@on_off
def slice_by_energy(ds: xr.Dataset, lo: Value | None = None, hi: Value | None = None) -> xr.Dataset:
    """Keep the energy bins that lie within a range with both edges.

    Parameters
    ----------
    ds : Dataset
    lo, hi : energy, TeV, optional
        Open where not given; an edge is met within a millionth.

    Returns
    -------
    Dataset

    Raises
    ------
    GeometryError
        If there is no such bin; lists the edges.

    Examples
    --------
    >>> import xonoff
    >>> slice_by_energy(xonoff.tutorial.dataset(), "1 TeV", 10).energy_bounds.values[[0, -1], [0, 1]].round(2).tolist()
    [1.58, 8.89]
    """
    kept = np.flatnonzero(bins_within(ds, lo, hi))
    if not kept.size:
        edges = [float(f"{edge:.6g}") for edge in axis_edges(ds, "energy")]
        raise GeometryError(f"energies: no bin lies within {lo} and {hi}, edges {edges} TeV found: take some of these")
    return ds.isel(energy=slice(int(kept[0]), int(kept[-1]) + 1))


@on_off
def pad(ds: xr.Dataset, n: int | Pair) -> xr.Dataset:
    """Add pixels around a map that hold nothing: no counts, no exposure, outside the masks.

    Parameters
    ----------
    ds : Dataset
        A map; without ``mask_safe`` it gets one.
    n : int or (int, int)
        Pixels to add on either side, or along (y, x).

    Returns
    -------
    Dataset

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> wide = pad(ds, 5)
    >>> wide.counts.shape, wide.isel(lat=slice(5, -5), lon=slice(5, -5)).counts.identical(ds.counts)
    ((8, 50, 50), True)
    """
    _map(ds)
    pair = tuple(n) if isinstance(n, tuple | list) else (n, n)
    if len(pair) != 2 or not all(isinstance(p, int | np.integer) and p >= 0 for p in pair):
        raise GeometryError(f"pad: one or two numbers of pixels not below 0 are wanted, {n!r} found")
    return _padded(ds, (pair[0], pair[1]), (pair[0], pair[1]))


# -- how it is done ---------------------------------------------------------------------------------------------------


def _map(ds: xr.Dataset) -> tuple[tuple[Hashable, ...], SkyGrid]:
    return map_dims(ds), sky_grid(ds)


def cut_response(ds: xr.Dataset, sky: SkyGrid) -> xr.Dataset:
    """Cut the grids of the response to what a map needs."""
    index: dict[Hashable, slice] = {}
    for grid in GRIDS[1:]:
        if len(sky_dims(ds, grid)) == 2:
            own = sky_grid(ds, grid)
            needed = enclosing(own, sky)
            for dim, n, first, size, start, step in zip(
                own.dims(grid), own.shape, needed.origin, needed.shape, own.origin, own.step, strict=True
            ):
                low = min(max(round((first - start) / step), 0), n - 1)
                index[dim] = slice(low, max(min(round((first - start) / step) + size, n), low + 1))
    return ds.isel(index)


def _padded(ds: xr.Dataset, before: Pair, after: Pair) -> xr.Dataset:
    """Add pixels before and after the map, along (y, x)."""
    dims, sky = _map(ds)
    if "mask_safe" not in ds:
        ds = ds.assign(mask_safe=mask(ds, "mask_safe"))
    widths: Mapping[Hashable, Pair] = dict(zip(dims, zip(before, after, strict=True), strict=True))
    variables = {}
    for name, array in ds.data_vars.items():
        own = {dim: width for dim, width in widths.items() if dim in array.dims}
        fill = {"constant_values": 0} if name in VARIABLES and own_grid(ds, str(name)) == "" else {}
        variables[name] = array.variable.pad(own, keep_attrs=True, **fill) if own else array.variable  # type: ignore[arg-type]
        variables[name].encoding = {} if own else variables[name].encoding
    low, high = (-before[0], -before[1]), (sky.shape[0] + after[0], sky.shape[1] + after[1])
    coords = {name: v for name, v in ds.coords.variables.items() if not set(v.dims) & set(dims)}
    new = chunked_like(sky.window(low, high).coords(), variables.values())
    return xr.Dataset(variables, {**coords, **new}, ds.attrs)
