"""The pixels of a sky map: one celestial FITS header, and which of its pixels a map holds.

A map of a dataset carries the *header of its parent grid*, which never changes, and the *labels* of its pixels on that
grid, which any slicing, striding or coarsening changes along. `SkyGrid` holds both, and everything else about the sky
follows from them: the WCS of what is left, longitude and latitude, solid angles, pixel to sky and back. Positions are
always worked out at the labels on the parent grid, so a part of a map has the very numbers of the whole.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from xarray.backends import BackendArray
from xarray.core import indexing

from xonoff.errors import GeometryError
from xonoff.schema import sky_names
from xonoff.skyheader import CYLINDRICAL, SkyHeader, solid_angles
from xonoff.units import Position, lonlat_in

__all__ = ["SkyGrid"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SkyGrid:
    """Pixels of a celestial grid.

    Attributes
    ----------
    header : str
        Cards of the parent grid in a canonical form, one a line (see `from_header`).
    shape : (int, int)
        Number of pixels along latitude and longitude: (ny, nx).
    origin, step : (float, float)
        Label of the first pixel, and the step from one to the next, along (y, x); labels count from 0 on the parent
        grid.

    Examples
    --------
    >>> grid = SkyGrid.create((83.63, 22.01), shape=(50, 100), pixel_size=0.1, projection="TAN")
    >>> grid.shape, grid.dims()
    ((50, 100), ('y', 'x'))
    >>> right = grid.slice(slice(None), slice(50, None, 2))
    >>> right.shape, right.wcs.wcs.crpix.tolist()
    ((50, 25), [0.75, 25.5])
    """

    header: str
    shape: tuple[int, int]
    origin: tuple[float, float] = (0, 0)
    step: tuple[float, float] = (1, 1)

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise GeometryError(f"a sky grid of {self.shape} pixels has none: select at least one along each side")

    # -- construction ---------------------------------------------------------------------------------------------

    @classmethod
    def from_header(cls, header: Mapping[str, Any], shape: tuple[int, int]) -> "SkyGrid":
        """Grid of the celestial cards of a FITS header; all its other cards are ignored.

        Parameters
        ----------
        header : mapping
            A `~astropy.io.fits.Header`, or a dict of cards.
        shape : (int, int)
            Pixels along latitude and longitude.

        Raises
        ------
        GeometryError
            If a card is missing or no number, the axes are not a longitude and a latitude of one known projection,
            or the grid is distorted (SIP, lookup tables).

        Examples
        --------
        >>> cards = SkyGrid.create((83.63, 22.01), shape=(50, 100), pixel_size=0.1).cards
        >>> SkyGrid.from_header(cards, (50, 100)) == SkyGrid.create((83.63, 22.01), shape=(50, 100), pixel_size=0.1)
        True
        """
        return cls(SkyHeader.from_cards(header).text, shape)

    @classmethod
    def create(
        cls,
        center: Position,
        *,
        shape: tuple[int, int],
        pixel_size: float | tuple[float, float],
        projection: str = "CAR",
        frame: str = "icrs",
    ) -> "SkyGrid":
        """Grid around a position, longitude increasing to the left.

        Parameters
        ----------
        center : SkyCoord or (lon, lat)
            Centre of the map.
        shape : (int, int)
            Pixels along latitude and longitude.
        pixel_size : float or (float, float)
            Pixel size in degrees, or sizes along latitude and longitude; on cylindrical projections it holds at the
            equator, elsewhere at the centre.
        projection : str
            FITS code: CAR, TAN, SIN, AIT, ZEA, MER, ...; cylindrical ones are laid out about the equator.
        frame : str
            "icrs" or "galactic".

        Raises
        ------
        GeometryError
            If there is no such frame, projection, position or pixel.

        Examples
        --------
        >>> SkyGrid.create((0, 0), shape=(3, 5), pixel_size=0.5, frame="galactic").dims()
        ('lat', 'lon')
        """
        if frame not in ("icrs", "galactic"):
            raise GeometryError(f"frame {frame!r} found, 'icrs' or 'galactic' accepted")
        lon, lat = (float(angle) for angle in lonlat_in(center, frame))
        dy, dx = pixel_size if isinstance(pixel_size, tuple) else (pixel_size, pixel_size)
        if not (dx > 0 and dy > 0 and abs(lat) <= 90):
            raise GeometryError(f"pixels of positive size on the sky are wanted, ({dy}, {dx}) deg at {center} found")
        names = ("RA--", "DEC-") if frame == "icrs" else ("GLON", "GLAT")
        cards: dict[str, Any] = {f"CTYPE{i}": f"{name}-{projection}" for i, name in enumerate(names, 1)}
        cards |= {"CRVAL1": lon, "CRVAL2": 0.0 if projection in CYLINDRICAL else lat, "CDELT1": -dx, "CDELT2": dy}
        cards |= {"CRPIX1": (shape[1] + 1) / 2, "CRPIX2": (shape[0] + 1) / 2}
        if projection in CYLINDRICAL:  # the reference point is on the equator, so the map lies off it
            _, y = cls.from_header(cards, shape).sky_to_pixel((lon, lat))
            cards["CRPIX2"] += (shape[0] - 1) / 2 - float(y)
        return cls.from_header(cards, shape)

    @classmethod
    def from_labels(cls, header: str, y: npt.ArrayLike, x: npt.ArrayLike) -> "SkyGrid":
        """Grid of a parent header and the labels of its pixels.

        Raises
        ------
        GeometryError
            If the labels are not evenly spaced, or a single one is a float, as it is after coarsening: then nothing
            tells how large the pixel is.

        Examples
        --------
        >>> grid = SkyGrid.create((83.63, 22.01), shape=(50, 100), pixel_size=0.1)
        >>> SkyGrid.from_labels(grid.header, [0.5, 2.5], [3, 2, 1]).step
        (2.0, -1.0)
        """
        (y0, dy, ny), (x0, dx, nx) = _even_labels("y", y), _even_labels("x", x)
        return cls(header, (ny, nx), (y0, x0), (dy, dx))

    def slice(self, y: slice, x: slice) -> "SkyGrid":
        """Return the part of the grid that is left after slicing with ``y`` and ``x``."""
        rows, columns = (range(n)[part] for n, part in zip(self.shape, (y, x), strict=True))
        origin = (self.origin[0] + self.step[0] * rows.start, self.origin[1] + self.step[1] * columns.start)
        step = (self.step[0] * rows.step, self.step[1] * columns.step)
        return SkyGrid(self.header, (len(rows), len(columns)), origin, step)

    def window(self, low: tuple[int, int], high: tuple[int, int]) -> "SkyGrid":
        """Return the pixels from ``low`` up to ``high``, along (y, x) from the first; they may lie beyond it."""
        origin = (self.origin[0] + self.step[0] * low[0], self.origin[1] + self.step[1] * low[1])
        return replace(self, shape=(high[0] - low[0], high[1] - low[1]), origin=origin)

    def on(self, parent: "SkyGrid") -> "SkyGrid | None":
        """Return the same pixels labelled on the grid of ``parent``, or None if they are not pixels of that grid.

        Two maps cut from one sky differ only in CRPIX; this finds the offset.
        """
        if self.header == parent.header:
            return self
        if self.differences(parent):
            return None
        dx, dy = (b - a for a, b in zip(self._parent.crpix, parent._parent.crpix, strict=True))
        return replace(self, header=parent.header, origin=(self.origin[0] + round(dy), self.origin[1] + round(dx)))

    def aligned(self, other: "SkyGrid") -> bool:
        """Return True if both have their pixels along the same axes of one projection, in any size and place."""
        one, two = self._parent, other._parent
        return one.upright and two.upright and replace(two, crpix=one.crpix, cd=one.cd) == one

    def differences(self, other: "SkyGrid") -> list[str]:
        """Cards in which the parent grid of another map differs from this one, with both values."""
        found = self._parent.differences(other._parent)
        return found or [
            f"{card} = {a} against {b}, no whole number of pixels apart"
            for card, a, b in zip(("CRPIX1", "CRPIX2"), self._parent.crpix, other._parent.crpix, strict=True)
            if abs(b - a - round(b - a)) > 1e-6
        ]

    # -- what follows ---------------------------------------------------------------------------------------------

    @property
    def _parent(self) -> SkyHeader:
        return SkyHeader.from_text(self.header)

    @property
    def _own(self) -> SkyHeader:
        return self._parent.part(self.origin[::-1], self.step[::-1])

    @property
    def crc(self) -> int:
        """CRC-32 of the header, the value of the ``wcs`` coordinate."""
        return zlib.crc32(self.header.encode())

    @property
    def labels(self) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
        """Labels of the pixels along y and x: whole numbers, or floats where the pixels are not those of the parent."""
        y, x = (o + s * np.arange(n) for o, s, n in zip(self.origin, self.step, self.shape, strict=True))
        return _whole(y, self.step[0]), _whole(x, self.step[1])

    @property
    def wcs(self) -> WCS:
        """A new WCS of this map: ``CRPIX' = (CRPIX - 1 - x0) / dx + 1``, columns of the CD matrix times the step."""
        wcs = self._own.wcs
        wcs.array_shape = self.shape
        return wcs

    @property
    def cards(self) -> dict[str, Any]:
        """FITS cards of the WCS of this map."""
        return self._own.cards

    @property
    def projection(self) -> str:
        """FITS code of the projection."""
        return self._parent.projection

    @property
    def frame(self) -> str:
        """Name of the celestial frame as astropy has it: "icrs", "fk5" or "galactic"."""
        return self._parent.frame

    @property
    def separable(self) -> bool:
        """True if longitude depends on x alone and latitude on y alone, so that both are 1-D."""
        return self._parent.separable

    def dims(self, grid: str = "") -> tuple[str, str]:
        """Names of the sky dimensions: (lat, lon) on a separable grid, else (y, x); with the suffix of the grid."""
        return sky_names(grid)[0 if self.separable else 1]

    @property
    def center(self) -> tuple[float, float]:
        """Longitude and latitude of the middle of the map, deg; the reference point where that is off the sky."""
        lon, lat = self.pixel_to_sky((self.shape[1] - 1) / 2, (self.shape[0] - 1) / 2)
        return (float(lon), float(lat)) if np.isfinite(lon) else self._parent.crval

    @property
    def pixel_scales(self) -> tuple[float, float]:
        """Size of a pixel along (y, x) in the plane of the projection, deg."""
        cd = np.array(self._own.cd)
        return float(np.hypot(*cd[:, 1])), float(np.hypot(*cd[:, 0]))

    def pixel_to_sky(self, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Sky positions of positions on this map.

        Parameters
        ----------
        x, y : array_like
            Pixels from 0 at the centre of the first pixel.

        Returns
        -------
        lon, lat : ndarray, deg
            Longitude from 0 to 360; NaN off the sky.

        Examples
        --------
        >>> grid = SkyGrid.create((83.5, 22.0), shape=(3, 3), pixel_size=0.5)
        >>> lon, lat = grid.pixel_to_sky([0, 1], 2)
        >>> lon.round(6).tolist(), lat.round(6).tolist()
        ([84.0, 83.5], [22.5, 22.5])
        """
        x, y = (o + s * np.asarray(p) for o, s, p in zip(self.origin[::-1], self.step[::-1], (x, y), strict=True))
        return _to_sky(self.header, x, y)

    def sky_to_pixel(self, position: Position) -> tuple[Floats, Floats]:
        """Positions on this map of sky positions.

        Parameters
        ----------
        position : SkyCoord or (lon, lat)
            In any frame, or in degrees in the frame of the map.

        Returns
        -------
        x, y : ndarray
            Pixels from 0 at the centre of the first pixel; NaN where the position cannot be projected.

        Examples
        --------
        >>> grid = SkyGrid.create((83.5, 22.0), shape=(3, 3), pixel_size=0.5)
        >>> x, y = grid.sky_to_pixel((83.5, [22.0, 22.25]))
        >>> x.round(6).tolist(), y.round(6).tolist()
        ([1.0, 1.0], [1.0, 1.5])
        """
        lon, lat = np.broadcast_arrays(*lonlat_in(position, self.frame))
        x, y = _wcs(self.header).wcs_world2pix(lon, lat, 0)
        return (x - self.origin[1]) / self.step[1], (y - self.origin[0]) / self.step[0]

    def contains(self, position: Position) -> npt.NDArray[np.bool_]:
        """Return True where a position lies in a pixel of the map."""
        x, y = self.sky_to_pixel(position)
        ny, nx = self.shape
        return np.asarray((x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5))

    def skycoord(self) -> SkyCoord:
        """Centres of all pixels as a `~astropy.coordinates.SkyCoord` of shape (ny, nx)."""
        lon, lat = self.lonlat()
        return SkyCoord(lon, lat, unit="deg", frame=self.frame)

    def lonlat(self, center: float | None = None) -> tuple[Floats, Floats]:
        """Longitude and latitude of the pixel centres, deg.

        Parameters
        ----------
        center : float, optional
            Longitude about which to unwrap; by default that of the middle of the map.

        Returns
        -------
        lon, lat : ndarray (ny, nx), deg
            Longitude within 180 deg of ``center``, so that it is monotonic across 0/360; NaN off the sky.
        """
        y, x = self.labels
        lon, lat = _to_sky(self.header, x, y[:, None])
        return _unwrap(lon, self.center[0] if center is None else center), lat

    def solid_angle(self) -> Floats:
        """Solid angle of the pixels, sr, of shape (ny, nx); see `xonoff.skyheader.solid_angles`."""
        return solid_angles(self._own, self.shape)

    # -- coordinates of a dataset ---------------------------------------------------------------------------------

    def coords(self, grid: str = "") -> dict[str, xr.Variable]:
        """Coordinates of the grid in a dataset: lat, lon, y, x and wcs, with the suffix of the grid.

        2-D ``lat`` and ``lon`` are computed when they are looked at, a part at a time.
        """
        suffix = f"_{grid}" if grid else ""
        ydim, xdim = self.dims(grid)
        y, x = self.labels
        if self.separable:  # along the lines through the reference point
            x0, y0 = (c - 1 for c in self._parent.crpix)
            lat = xr.Variable(ydim, _to_sky(self.header, x0, y)[1])
            lon = xr.Variable(xdim, _unwrap(_to_sky(self.header, x, y0)[0], self.center[0]))
        else:
            lon, lat = (xr.Variable((ydim, xdim), indexing.LazilyIndexedArray(PixelAngles(self, i))) for i in (0, 1))
        lat.attrs = {"units": "deg", "long_name": "latitude"}
        lon.attrs = {"units": "deg", "long_name": "longitude"}
        wcs = xr.Variable((), self.crc, {"long_name": "CRC-32 of the header", "header": self.header})
        labels = {"long_name": "pixel label"}
        return {
            f"lat{suffix}": lat,
            f"lon{suffix}": lon,
            f"y{suffix}": xr.Variable(ydim, y, labels),
            f"x{suffix}": xr.Variable(xdim, x, labels),
            f"wcs{suffix}": wcs,
        }


class PixelAngles(BackendArray):
    """Longitude (``axis`` 0) or latitude (1) of the pixels of a grid, computed for the part that is asked for."""

    def __init__(self, grid: SkyGrid, axis: int) -> None:
        self.grid, self.axis = grid, axis
        self.center = grid.center[0]
        self.shape, self.dtype = grid.shape, np.dtype(float)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Return the angles of the pixels of any selection."""
        if isinstance(key, indexing.VectorizedIndexer):
            y, x = self.grid.labels
            rows, columns = np.broadcast_arrays(y[:, None], x)
            return self._angles(columns[key.tuple], rows[key.tuple])
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._outer)

    def _outer(self, key: tuple[Any, Any]) -> Floats:
        y, x = (np.asarray(labels[k]) for labels, k in zip(self.grid.labels, key, strict=True))
        return self._angles(x, y[:, None] if x.ndim and y.ndim else y)

    def _angles(self, x: npt.NDArray[np.generic], y: npt.NDArray[np.generic]) -> Floats:
        angles = _to_sky(self.grid.header, x, y)[self.axis]
        return angles if self.axis else _unwrap(angles, self.center)


# -- numbers ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _wcs(header: str) -> WCS:
    """WCS of a header, shared: astropy's transformations leave it as it is, also in threads."""
    return SkyHeader.from_text(header).wcs


def _to_sky(header: str, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Longitude (0 to 360) and latitude, deg, at labels of a parent grid."""
    x, y = np.broadcast_arrays(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
    lon, lat = _wcs(header).wcs_pix2world(x, y, 0)
    return lon, lat


def _even_labels(name: str, labels: npt.ArrayLike) -> tuple[float, float, int]:
    """First label, step and number of evenly spaced labels."""
    given = np.atleast_1d(np.asarray(labels))
    values = given.astype(float)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise GeometryError(
            f"pixel labels {name}: at least one label, all of them finite, is wanted, {labels!r} found: "
            "select at least one pixel, and do not align maps by an outer join"
        )
    if values.size == 1:
        if given.dtype.kind == "f":
            raise GeometryError(
                f"pixel label {name} = {values[0]}: a single coarsened pixel does not tell its size: "
                "keep two pixels along each side, or use ds.onoff.downsample"
            )
        return float(values[0]), 1.0, 1
    step = (values[-1] - values[0]) / (values.size - 1)
    if step == 0 or np.abs(np.diff(values) - step).max() > 1e-9 * abs(step):
        raise GeometryError(
            f"pixel labels {name} are not evenly spaced ({values[:4].tolist()} ... {values[-2:].tolist()}), "
            "so they have no WCS: select a regular range of pixels"
        )
    return float(values[0]), float(step), values.size


def _whole(labels: npt.NDArray[np.floating[Any]], step: float) -> npt.NDArray[np.generic]:
    """Labels of pixels of the parent grid as whole numbers; floats say that the pixels are larger or shifted."""
    whole = np.round(labels)
    return whole.astype(np.int64) if abs(step) == 1 and np.array_equal(whole, labels) else labels


def _unwrap(lon: Floats, center: float) -> Floats:
    """Longitude within 180 deg of ``center``; values that are there already keep their last bit."""
    turns = np.floor((lon - center + 180.0) / 360.0)
    return np.where(turns == 0, lon, lon - 360.0 * turns)
