"""Where the bins of a dataset are: its sky grids and energy axes, read off its coordinates.

`sky_grid` turns the coordinates of any selection of a dataset back into a `SkyGrid`, `Geom` joins the grid of the
counts and their energy axis, and `same_grid` refuses to mix two maps. Nothing here reads pixel data.
"""

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.coordinates import SkyCoord

from xonoff.axes import axis_coords, axis_edges, check_edges
from xonoff.duck import small_values
from xonoff.errors import GeometryError
from xonoff.schema import GRIDS, sky_names
from xonoff.skygrid import SkyGrid
from xonoff.units import Position, Value, value_in

__all__ = [
    "Geom",
    "enclosing",
    "geom",
    "map_dims",
    "nearest_pixels",
    "pixel_offset",
    "same_grid",
    "sky_dims",
    "sky_faults",
    "sky_grid",
    "solid_angle",
]


@dataclass(frozen=True)
class Geom:
    """Bins of a counts cube: a sky grid and the edges of the reconstructed energy axis.

    Attributes
    ----------
    sky : SkyGrid or None
        None for a spectrum.
    energy : tuple of float
        Edges, TeV.

    Examples
    --------
    >>> geom = Geom.create(center=(83.63, 22.01), width=5.0, pixel_size=0.02, energy=["1 TeV", "10 TeV"])
    >>> geom.shape, geom.sky.dims(), geom.energy
    ((1, 250, 250), ('lat', 'lon'), (1.0, 10.0))
    """

    sky: SkyGrid | None
    energy: tuple[float, ...]

    @classmethod
    def create(
        cls,
        center: Position,
        *,
        width: Value | tuple[Value, Value],
        pixel_size: Value,
        projection: str = "CAR",
        frame: str = "icrs",
        energy: Value,
    ) -> "Geom":
        """Geometry around a position.

        Parameters
        ----------
        center : SkyCoord or (lon, lat)
            Centre of the map.
        width : angle or (angle, angle)
            Width of the map, or its widths along longitude and latitude, deg; rounded to whole pixels.
        pixel_size : angle
            Pixel size, deg; on cylindrical projections (CAR, MER, CEA) it holds at the equator.
        projection : str
            FITS code of the projection.
        frame : str
            "icrs" or "galactic".
        energy : array_like
            Edges of the energy axis, TeV; see `xonoff.energy_edges`.
        """
        size = value_in(pixel_size, "deg")
        if not 0 < size < np.inf:
            raise GeometryError(f"pixel_size: a positive angle is wanted, {pixel_size!r} found")
        widths = [value_in(w, "deg") for w in (width if isinstance(width, tuple) else (width, width))]
        if len(widths) != 2 or not all(size / 2 < w < np.inf for w in widths):
            raise GeometryError(f"width: one or two angles of at least a pixel are wanted, {width!r} found")
        nx, ny = (round(w / size) for w in widths)
        sky = SkyGrid.create(center, shape=(ny, nx), pixel_size=size, projection=projection, frame=frame)
        return cls(sky, tuple(check_edges("energy", energy).tolist()))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the counts: (energy, y, x), or (energy,) for a spectrum."""
        sky = () if self.sky is None else self.sky.shape
        return (len(self.energy) - 1, *sky)

    @property
    def dims(self) -> tuple[str, ...]:
        """Dimensions of the counts."""
        return ("energy", *(() if self.sky is None else self.sky.dims()))

    def coords(self) -> dict[str, xr.Variable]:
        """Coordinates of a dataset with this geometry."""
        sky = {} if self.sky is None else self.sky.coords()
        return {**axis_coords("energy", self.energy), **sky}


Floats = npt.NDArray[np.float64]


def sky_dims(ds: xr.Dataset | xr.DataArray, grid: str = "") -> tuple[Hashable, ...]:
    """Names of the sky dimensions of a dataset that are there; none for a spectrum.

    Parameters
    ----------
    ds : Dataset or DataArray
    grid : str
        "" for the grid of the counts; "exposure", "psf" or "edisp" for that of a response with its own.
    """
    for names in sky_names(grid):
        if any(name in ds.dims for name in names):
            return tuple(name for name in names if name in ds.dims)
    return ()


def map_dims(ds: xr.Dataset | xr.DataArray) -> tuple[Hashable, Hashable]:
    """Both sky dimensions of a map; refuses what has fewer."""
    dims = sky_dims(ds)
    if len(dims) != 2:
        raise GeometryError(f"a map with two sky dimensions is wanted, dimensions {tuple(ds.dims)} found: open one")
    return dims[0], dims[1]


def own_grid(ds: xr.Dataset, name: str) -> str:
    """Return the sky grid a variable lives on: its own ("psf", ...) or that of the counts ("")."""
    dims = {str(dim) for dim in ds[name].dims}
    return next((grid for grid in GRIDS[1:] for names in sky_names(grid) if dims & set(names)), "")


def grid_of(ds: xr.Dataset, name: str) -> str | None:
    """Return the sky grid a variable lives on, as `own_grid`; None if it has no sky dimension."""
    grid = own_grid(ds, name)
    return grid if any(dim in ds[name].dims for dim in sky_dims(ds, grid)) else None


def sky_grid(ds: xr.Dataset | xr.DataArray, grid: str = "") -> SkyGrid:
    """Sky grid of a dataset, derived from its header and pixel labels.

    Parameters
    ----------
    ds : Dataset or DataArray
        Any selection of a dataset: sliced, strided, reversed, coarsened.
    grid : str
        As in `sky_dims`.

    Returns
    -------
    SkyGrid

    Raises
    ------
    GeometryError
        If there is no sky, the labels are uneven, or the ``wcs`` coordinate is gone: xarray drops it when two maps
        of different grids meet.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> sky_grid(ds).shape, sky_grid(ds.isel(lon=slice(None, None, 2)), "psf").shape
    ((40, 40), (4, 4))
    """
    suffix = f"_{grid}" if grid else ""
    missing = [name + suffix for name in ("wcs", "y", "x") if name + suffix not in ds.coords]
    if missing:
        what = "maps of different sky grids were combined, or it never had a sky" if "wcs" in missing[0] else "dropped"
        raise GeometryError(f"the dataset has no coordinate {missing} ({what}): use maps of one grid")
    wcs = ds.coords[f"wcs{suffix}"]
    header = wcs.attrs.get("header")
    if not isinstance(header, str):
        raise GeometryError(f"coordinate wcs{suffix}: attribute 'header' is missing: copy the coordinate whole")
    if wcs.ndim:
        raise GeometryError(f"coordinate wcs{suffix}: dims {wcs.dims} found, none accepted: take one map of the stack")
    sky = SkyGrid.from_labels(header, *(small_values(ds.coords[f"{name}{suffix}"]) for name in ("y", "x")))
    if sky.crc != int(wcs):
        raise GeometryError(
            f"coordinate wcs{suffix}: its value {wcs.values} is not the CRC-32 of its header, {sky.crc}: "
            "maps of different sky grids were combined, or the header was changed"
        )
    return sky


def geom(ds: xr.Dataset) -> Geom:
    """Geometry of the counts of a dataset."""
    sky = sky_grid(ds) if sky_dims(ds) else None
    return Geom(sky, tuple(axis_edges(ds, "energy").tolist()))


def same_grid(a: xr.Dataset | xr.DataArray, b: xr.Dataset | xr.DataArray) -> SkyGrid:
    """Return the common sky grid of two datasets, refused with the difference if there is none.

    Raises
    ------
    GeometryError
        If the parent headers differ in more than the position of their first pixel, or the pixels are not the same.
    """
    one, two = sky_grid(a), sky_grid(b)
    other = two.on(one)
    if other is None:
        raise GeometryError(
            f"two different sky grids: {'; '.join(one.differences(two))}: bring one "
            "onto the grid of the other with xonoff.interop.reproject"
        )
    if one.shape != other.shape or one.origin != other.origin or one.step != other.step:
        raise GeometryError(
            f"different pixels of one sky grid: (y, x) from {one.origin} in steps of {one.step}, {one.shape} pixels, "
            f"against {other.origin}, {other.step}, {other.shape}: select the same pixels of both"
        )
    return one


def pixel_offset(sky: SkyGrid, onto: SkyGrid) -> tuple[int, int]:
    """Position of the first pixel of a grid on another one whose pixels it shares, in whole pixels along (y, x).

    Raises
    ------
    GeometryError
        If the pixels are not those of one grid: another projection, frame, pixel size or orientation, or shifted by
        part of a pixel; names what differs, and the shift in pixels.

    Examples
    --------
    >>> whole = SkyGrid.create((83.63, 22.01), shape=(50, 100), pixel_size=0.1)
    >>> pixel_offset(whole.slice(slice(10, 20), slice(30, None)), whole)
    (10, 30)
    """
    known = sky.on(onto)
    steps = zip(() if known is None else known.step, onto.step, sky.shape, strict=False)
    if known is not None and all(a == b or n == 1 for a, b, n in steps):  # one pixel has no step of its own
        y, x = ((a - b) / step for a, b, step in zip(known.origin, onto.origin, onto.step, strict=True))
        if max(abs(y - round(y)), abs(x - round(x))) < 1e-6:
            return round(y), round(x)
    else:
        lon, lat = sky.pixel_to_sky(0, 0)
        x, y = (float(p) for p in onto.sky_to_pixel(SkyCoord(lon, lat, unit="deg", frame=sky.frame)))
    found = sky.differences(onto) if known is None else []
    if known is not None and known.step != onto.step:
        found = [f"steps of {known.step} against {onto.step} pixels of the parent grid"]
    shift = f"the first pixel lies at (y, x) = ({y:.4g}, {x:.4g}) of the other grid"
    raise GeometryError(
        f"two sky grids whose pixels do not coincide: {'; '.join([*found, shift])}: take a geometry on the grid of "
        "the data, such as that of ds.onoff.cutout(position, width), or xonoff.interop.reproject one map onto the other"
    )


def enclosing(grid: SkyGrid, sky: SkyGrid) -> SkyGrid:
    """Pixels of a grid between which every position of a map lies: what interpolation on it needs.

    They may lie beyond the grid. Where a position of the map is off the sky, it is the grid itself.

    Examples
    --------
    >>> fine = SkyGrid.create((83.63, 22.01), shape=(20, 20), pixel_size=0.1)
    >>> enclosing(SkyGrid.create((83.63, 22.01), shape=(9, 9), pixel_size=1.0), fine).shape
    (3, 3)
    """
    return _enclosing(grid, sky)


@lru_cache(maxsize=64)
def _enclosing(grid: SkyGrid, sky: SkyGrid) -> SkyGrid:
    ny, nx = sky.shape
    y, x = _outline(ny, nx)
    pixels = _pixels(grid, sky, y, x)
    if not np.isfinite(pixels).all():
        return grid
    low = [math.floor(p.min() + 1e-6) for p in pixels]
    high = [math.ceil(p.max() - 1e-6) + 1 for p in pixels]
    return grid.window((low[0], low[1]), (high[0], high[1]))


def _outline(ny: int, nx: int) -> npt.NDArray[np.float64]:
    """Positions (y, x) on the outer edges of a map, and a few within, for a pole may be there."""
    sides = np.linspace(0, 1, 65)
    edges = [(sides, np.full(65, end)) for end in (0.0, 1.0)]
    within = tuple(grid.ravel() for grid in np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 1, 9)))
    points = np.concatenate([*edges, *(pair[::-1] for pair in edges), within], axis=1)
    return np.asarray(points * np.array([[ny], [nx]]) - 0.5)


@lru_cache(maxsize=64)
def nearest_pixels(sky: SkyGrid, target: SkyGrid) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns of the pixels of ``sky`` nearest to the pixel centres of ``target``.

    Outside of ``sky`` it is the pixel at its edge; halfway between two pixels the one with the larger number.

    Returns
    -------
    rows, columns : ndarray (y, x) of target, or (y, 1) and (1, x) where they depend on one of these alone
    """
    parts = [np.arange(n, dtype=float) for n in target.shape]
    if sky.aligned(target):
        y, x = (_pixels(sky, target, *line) for line in ((parts[0][:, None], 0.0), (0.0, parts[1][None])))
        rows, columns = y[0], x[1]
    else:
        rows, columns = _pixels(sky, target, parts[0][:, None], parts[1])
    near = (np.floor(np.nan_to_num(p) + (0.5 + 1e-6)) for p in (rows, columns))
    row, column = (np.clip(p, 0, n - 1).astype(np.intp) for p, n in zip(near, sky.shape, strict=True))
    return row, column


def _pixels(sky: SkyGrid, target: SkyGrid, y: npt.ArrayLike, x: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Pixels of ``sky``, (y, x), at pixels of ``target``."""
    lon, lat = target.pixel_to_sky(x, y)
    position = (lon, lat) if sky.frame == target.frame else SkyCoord(lon, lat, unit="deg", frame=target.frame)
    return sky.sky_to_pixel(position)[::-1]


def sky_faults(ds: xr.Dataset) -> Iterator[str]:
    """Every fault of the sky grids of a dataset, a sentence each."""
    for grid in GRIDS:
        if sky_dims(ds, grid):
            try:
                sky_grid(ds, grid)
            except GeometryError as error:
                yield f"sky grid {grid or 'of the counts'}: {error}"


def solid_angle(ds: xr.Dataset) -> xr.DataArray:
    """Solid angle of the pixels of a dataset; see `SkyGrid.solid_angle`.

    Parameters
    ----------
    ds : Dataset

    Returns
    -------
    DataArray (sky), sr

    Examples
    --------
    >>> import xonoff
    >>> area = solid_angle(xonoff.tutorial.dataset())
    >>> area.dims, area.attrs["units"], round(float(area.sum()), 5)
    (('lat', 'lon'), 'sr', 0.00452)
    """
    sky = sky_grid(ds)
    area = xr.DataArray(sky.solid_angle(), dims=sky.dims(), attrs={"units": "sr"}, name="solid_angle")
    return area.isel({dim: 0 for dim in sky.dims() if dim not in ds.dims})
