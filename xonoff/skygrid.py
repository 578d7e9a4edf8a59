"""The pixels of a sky map: one celestial FITS header, and which of its pixels a map holds.

A map of a dataset carries the *header of its parent grid*, which never changes, and the *labels* of its pixels on that
grid, which any slicing, striding or coarsening changes along. `SkyGrid` holds both, and everything else about the sky
follows from them: the WCS of what is left, longitude and latitude, solid angles, pixel to sky and back.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.io import fits
from astropy.wcs import WCS
from xarray.backends import BackendArray
from xarray.core import indexing

from xonoff.errors import GeometryError
from xonoff.schema import sky_names
from xonoff.units import Position, lonlat_in

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

__all__ = ["SkyGrid"]

Floats = npt.NDArray[np.float64]

#: Projections whose meridians and parallels are straight when the reference point lies on the equator.
CYLINDRICAL = {"CAR", "CEA", "CYP", "MER"}
#: Projections that keep areas: every pixel has the solid angle of the reference pixel.
EQUAL_AREA = {"AIT", "CEA", "MOL", "PAR", "SFL", "ZEA"}

_NUMBERS = ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "LONPOLE", "LATPOLE")


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
    ((50, 25), [0.5, 25.5])
    """

    header: str
    shape: tuple[int, int]
    origin: tuple[float, float] = (0, 0)
    step: tuple[float, float] = (1, 1)

    # -- construction ---------------------------------------------------------------------------------------------

    @classmethod
    def from_header(cls, header: Mapping[str, Any], shape: tuple[int, int]) -> "SkyGrid":
        """Grid of the celestial cards of a FITS header; all its other cards are ignored.

        Raises
        ------
        GeometryError
            If a card is missing or no number, the axes are not a longitude and a latitude of one known projection,
            or the grid is distorted (SIP, lookup tables).
        """
        return cls(_canonical(header), shape)

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
        """
        if frame not in ("icrs", "galactic"):
            raise GeometryError(f"frame {frame!r} found, 'icrs' or 'galactic' accepted")
        lon, lat = (float(angle) for angle in lonlat_in(center, frame))
        dy, dx = pixel_size if isinstance(pixel_size, tuple) else (pixel_size, pixel_size)
        if min(shape) < 1 or not (dx > 0 and dy > 0):
            raise GeometryError(f"at least one pixel of positive size is wanted, {shape} of ({dy}, {dx}) deg found")
        names = ("RA--", "DEC-") if frame == "icrs" else ("GLON", "GLAT")
        cards: dict[str, Any] = {f"CTYPE{i + 1}": f"{name}-{projection}" for i, name in enumerate(names)}
        cards |= {"CRVAL1": lon, "CRVAL2": 0.0 if projection in CYLINDRICAL else lat, "CDELT1": -dx, "CDELT2": dy}
        cards |= {"CRPIX1": (shape[1] + 1) / 2, "CRPIX2": (shape[0] + 1) / 2}
        if frame == "icrs":
            cards["RADESYS"] = "ICRS"
        if projection in CYLINDRICAL:  # the reference point is on the equator, so the map lies off it
            _, y = cls.from_header(cards, shape).sky_to_pixel((lon, lat))
            cards["CRPIX2"] += (shape[0] - 1) / 2 - float(y)
        return cls.from_header(cards, shape)

    @classmethod
    def from_labels(cls, header: str, y: npt.ArrayLike, x: npt.ArrayLike) -> "SkyGrid":
        """Grid of a parent header and the labels of its pixels, refused unless the labels are evenly spaced."""
        (y0, dy, ny), (x0, dx, nx) = _even_labels("y", y), _even_labels("x", x)
        return cls(header, (ny, nx), (y0, x0), (dy, dx))

    def slice(self, y: slice, x: slice) -> "SkyGrid":
        """Return the part of the grid that is left after slicing with ``y`` and ``x``."""
        return SkyGrid.from_labels(self.header, self.labels[0][y], self.labels[1][x])

    def on(self, parent: "SkyGrid") -> "SkyGrid | None":
        """Return the same pixels labelled on the grid of ``parent``, or None if they are not pixels of that grid.

        Two maps cut from one sky differ only in CRPIX; this finds the offset.
        """
        if self.header == parent.header:
            return self
        mine, theirs = _parse(self.header), _parse(parent.header)
        offsets = [theirs.pop(card) - mine.pop(card) for card in ("CRPIX2", "CRPIX1")]
        if not _same_cards(mine, theirs) or any(abs(offset - round(offset)) > 1e-6 for offset in offsets):
            return None
        shift = tuple(float(round(offset)) for offset in offsets)
        return replace(self, header=parent.header, origin=(self.origin[0] + shift[0], self.origin[1] + shift[1]))

    # -- what follows ---------------------------------------------------------------------------------------------

    @property
    def crc(self) -> int:
        """CRC-32 of the header, the value of the ``wcs`` coordinate."""
        return zlib.crc32(self.header.encode())

    @property
    def labels(self) -> tuple[Floats, Floats]:
        """Labels of the pixels along y and x, whole numbers unless the map was coarsened."""
        y, x = (o + s * np.arange(n) for o, s, n in zip(self.origin, self.step, self.shape, strict=True))
        return _whole(y), _whole(x)

    @property
    def wcs(self) -> WCS:
        """WCS of this map: ``CRPIX' = (CRPIX - 1 - x0) / dx + 1``, columns of the CD matrix times the step."""
        wcs = _parent_wcs(self.header).deepcopy()
        origin, step = np.array(self.origin[::-1]), np.array(self.step[::-1])
        wcs.wcs.crpix = (wcs.wcs.crpix - 1 - origin) / step + 1
        wcs.wcs.cd = wcs.wcs.cd * step
        wcs.wcs.set()
        wcs.array_shape = self.shape
        return wcs

    @property
    def cards(self) -> dict[str, Any]:
        """FITS cards of the WCS of this map."""
        wcs = self.wcs.wcs
        return _cards(wcs)

    @property
    def projection(self) -> str:
        """FITS code of the projection."""
        return str(_parse(self.header)["CTYPE1"])[5:8]

    @property
    def frame(self) -> str:
        """Name of the celestial frame as astropy has it: "icrs", "galactic", "fk5", ..."""
        cards = _parse(self.header)
        if str(cards["CTYPE1"]).startswith("GLON"):
            return "galactic"
        return str(cards.get("RADESYS", "ICRS")).lower()

    @property
    def separable(self) -> bool:
        """True if longitude depends on x alone and latitude on y alone, so that both are 1-D."""
        cards = _parse(self.header)
        upright = cards.get("CD1_2", 0.0) == 0 == cards.get("CD2_1", 0.0)
        if self.projection not in CYLINDRICAL or cards["CRVAL2"] != 0 or not upright:
            return False
        # An unusual LONPOLE tilts even these: look at two opposite pixels around the reference point.
        wcs = _parent_wcs(self.header)
        x, y = wcs.wcs.crpix - 1
        lon, lat = wcs.wcs_pix2world([x, x, x + 1, x + 1], [y, y + 1, y, y + 1], 0)
        bend = (lon[::2] - lon[1::2] + 180) % 360 - 180
        return bool(np.abs(bend).max() < 1e-9 and abs(lat[0] - lat[2]) < 1e-9)

    def dims(self, grid: str = "") -> tuple[str, str]:
        """Names of the sky dimensions: (lat, lon) on a separable grid, else (y, x); with the suffix of the grid."""
        return sky_names(grid)[0 if self.separable else 1]

    @property
    def center(self) -> tuple[float, float]:
        """Longitude and latitude of the middle of the map, deg; the reference point where that is off the sky."""
        lon, lat = self.pixel_to_sky((self.shape[1] - 1) / 2, (self.shape[0] - 1) / 2)
        if np.isfinite(lon):
            return float(lon), float(lat)
        cards = _parse(self.header)
        return float(cards["CRVAL1"]), float(cards["CRVAL2"])

    def pixel_to_sky(self, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Longitude (0 to 360) and latitude, deg, of positions on this map counted in pixels from 0; NaN off the sky."""
        lon, lat = self.wcs.wcs_pix2world(np.asarray(x, dtype=float), np.asarray(y, dtype=float), 0)
        return lon, lat

    def sky_to_pixel(self, position: Position) -> tuple[Floats, Floats]:
        """Position x, y on this map, in pixels from 0, of a SkyCoord or (lon, lat); NaN where it cannot be projected."""
        lon, lat = lonlat_in(position, self.frame)
        lon, lat = np.broadcast_arrays(lon, lat)
        x, y = self.wcs.wcs_world2pix(lon, lat, 0)
        return x, y

    def contains(self, position: Position) -> npt.NDArray[np.bool_]:
        """True where a position lies in a pixel of the map."""
        x, y = self.sky_to_pixel(position)
        ny, nx = self.shape
        return np.asarray((x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5))

    def skycoord(self) -> "SkyCoord":
        """Centres of all pixels as a `~astropy.coordinates.SkyCoord` of shape (ny, nx)."""
        from astropy.coordinates import SkyCoord

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
        y, x = np.indices(self.shape, dtype=float)
        lon, lat = self.pixel_to_sky(x, y)
        return _unwrap(lon, self.center[0] if center is None else center), lat

    def solid_angle(self) -> Floats:
        """Solid angle of the pixels, sr, of shape (ny, nx); NaN where the centre is off the sky.

        Exact on separable grids, ``dlon (sin lat2 - sin lat1)``, on equal-area projections, and on TAN, where pixel
        edges are great circles; on other projections the edges are replaced by great circles, which changes the area
        by a part of order (pixel size in rad)**2.
        """
        ny, nx = self.shape
        if self.projection in EQUAL_AREA and not (self.separable and self.projection == "CEA"):
            area = abs(np.linalg.det(np.radians(self.wcs.wcs.cd)))
            return np.where(np.isfinite(self.lonlat()[0]), area, np.nan)
        if self.separable:
            x0, y0 = self.wcs.wcs.crpix - 1
            _, lat = self.pixel_to_sky(np.full(ny + 1, x0), np.arange(ny + 1) - 0.5)
            width = abs(self.wcs.wcs.cd[0, 0])
            area = np.radians(width) * np.abs(np.diff(np.sin(np.radians(lat))))
            return np.broadcast_to(area[:, None], self.shape).copy()
        y, x = np.indices((ny + 1, nx + 1)) - 0.5
        lon, lat = (np.radians(angle) for angle in self.pixel_to_sky(x, y))
        corners = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
        a, b, c, d = corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]
        return _triangle(a, b, c) + _triangle(a, c, d)

    # -- coordinates of a dataset ---------------------------------------------------------------------------------

    def coords(self, grid: str = "") -> dict[str, xr.Variable]:
        """Coordinates of the grid in a dataset: lat, lon, y, x and wcs, with the suffix of the grid.

        2-D ``lat`` and ``lon`` are computed when they are looked at, a part at a time.
        """
        suffix = f"_{grid}" if grid else ""
        ydim, xdim = self.dims(grid)
        y, x = self.labels
        deg = {"units": "deg"}
        if self.separable:
            lon, lat = self._axes()
            sky = {
                f"lat{suffix}": xr.Variable(ydim, lat, deg | {"long_name": "latitude"}),
                f"lon{suffix}": xr.Variable(xdim, lon, deg | {"long_name": "longitude"}),
            }
        else:
            sky = {
                f"{name}{suffix}": xr.Variable((ydim, xdim), PixelAngles(self, i).lazy(), deg | {"long_name": long_name})
                for i, (name, long_name) in enumerate({"lon": "longitude", "lat": "latitude"}.items())
            }
        return {
            **sky,
            f"y{suffix}": xr.Variable(ydim, y, {"long_name": "pixel label"}),
            f"x{suffix}": xr.Variable(xdim, x, {"long_name": "pixel label"}),
            f"wcs{suffix}": xr.Variable((), self.crc, {"long_name": "CRC-32 of the header", "header": self.header}),
        }

    def _axes(self) -> tuple[Floats, Floats]:
        """1-D longitude and latitude of a separable grid, along lines through the reference point."""
        x0, y0 = self.wcs.wcs.crpix - 1
        lon, _ = self.pixel_to_sky(np.arange(self.shape[1]), np.full(self.shape[1], y0))
        _, lat = self.pixel_to_sky(np.full(self.shape[0], x0), np.arange(self.shape[0]))
        return _unwrap(lon, self.center[0]), lat


class PixelAngles(BackendArray):  # type: ignore[misc]  # xarray's base class is untyped
    """Longitude (``axis`` 0) or latitude (1) of the pixels of a grid, computed for the part that is asked for."""

    def __init__(self, grid: SkyGrid, axis: int) -> None:
        self.grid, self.axis = grid, axis
        self.center = grid.center[0]
        self.shape, self.dtype = grid.shape, np.dtype(float)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Return the angles of a rectangle of pixels."""
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._get)

    def _get(self, key: tuple[Any, ...]) -> Floats:
        kept = tuple(slice(k, k + 1 or None) if isinstance(k, int | np.integer) else k for k in key)
        if 0 in (len(range(n)[k]) for n, k in zip(self.shape, kept, strict=True)):
            return np.empty(self.shape)[key]
        angles = self.grid.slice(*kept).lonlat(self.center)[self.axis]
        return angles[tuple(0 if isinstance(k, int | np.integer) else slice(None) for k in key)]

    def lazy(self) -> indexing.LazilyIndexedArray:
        """Return the array in the form that an `xarray.Variable` takes without computing it."""
        return indexing.LazilyIndexedArray(self)


# -- headers ----------------------------------------------------------------------------------------------------------


def _canonical(header: Mapping[str, Any]) -> str:
    """Cards of a celestial WCS with nothing left to defaults, one a line; the same WCS always gives the same text."""
    kept = fits.Header()
    for key in header:
        stem = key.rstrip("0123456789_")
        if stem in {"CTYPE", "CUNIT", "CRPIX", "CRVAL", "CDELT", "PC", "CD", "CROTA", "PV"} or key in {
            "LONPOLE",
            "LATPOLE",
            "RADESYS",
            "RADECSYS",
            "EQUINOX",
        }:
            axis = key[len(stem) :].split("_")
            if all(number in ("1", "2") for number in axis[: 1 if stem == "PV" else 2] if number):
                kept[key] = header[key]
    for card in ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"):
        if card not in kept:
            raise GeometryError(f"card {card} is missing: a celestial WCS needs CTYPE, CRVAL and CRPIX of two axes")
    ctypes = [str(kept[f"CTYPE{i}"]) for i in (1, 2)]
    if any(ctype.endswith("-SIP") or len(ctype) > 8 for ctype in ctypes):
        raise GeometryError(f"CTYPE {ctypes}: distorted grids are not supported, resample the map first")
    for key, value in kept.items():
        if not key.startswith(("CTYPE", "CUNIT", "RAD")) and not _is_number(value):
            raise GeometryError(f"card {key} = {value!r} found, a finite number accepted")
    try:
        wcs = WCS(kept, naxis=2, fix=False).wcs
        wcs.set()
        if (wcs.lng, wcs.lat) != (0, 1):
            raise ValueError("axis 1 has to be the longitude and axis 2 the latitude")
        if not abs(np.linalg.det(_cd(wcs))) > 0:
            raise ValueError("the pixels have no size")
    except Exception as error:  # wcslib raises many kinds; all of them mean that the cards are no usable WCS
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise GeometryError(f"no usable celestial WCS ({reason}) in CTYPE {ctypes}: axes such as "
                            "RA---TAN, DEC--TAN of one projection are accepted") from error
    return "\n".join(f"{key:<8}= {value!r}" for key, value in _cards(wcs).items())


def _same_cards(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Return True if the cards agree, numbers to 1e-11 deg."""
    return a.keys() == b.keys() and all(
        a[key] == b[key] or (isinstance(a[key], float) and abs(a[key] - b[key]) < 1e-11) for key in a
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _cd(wcs: Any) -> Floats:
    """CD matrix of a wcslib struct, in degrees, whichever cards it came from."""
    return np.asarray(wcs.cd if wcs.has_cd() else wcs.cdelt[:, None] * wcs.get_pc(), dtype=float)


def _cards(wcs: Any) -> dict[str, Any]:
    """Cards of a wcslib struct, with CDELT where the axes are upright and CD where they are rotated."""
    cards: dict[str, Any] = {f"CTYPE{i + 1}": str(wcs.ctype[i]) for i in (0, 1)}
    cards |= {f"CUNIT{i + 1}": "deg" for i in (0, 1)}
    cards |= {f"CRPIX{i + 1}": float(wcs.crpix[i]) for i in (0, 1)}
    cards |= {f"CRVAL{i + 1}": float(wcs.crval[i]) for i in (0, 1)}
    cd = _cd(wcs)
    if cd[0, 1] == 0 == cd[1, 0]:
        cards |= {f"CDELT{i + 1}": float(cd[i, i]) for i in (0, 1)}
    else:
        cards |= {f"CD{i + 1}_{j + 1}": float(cd[i, j]) for i in (0, 1) for j in (0, 1)}
    cards |= {"LONPOLE": float(wcs.lonpole), "LATPOLE": float(wcs.latpole)}
    if wcs.radesys:
        cards["RADESYS"] = str(wcs.radesys)
    if np.isfinite(wcs.equinox):
        cards["EQUINOX"] = float(wcs.equinox)
    cards |= {f"PV{i}_{m}": float(value) for i, m, value in wcs.get_pv()}
    return cards


@lru_cache(maxsize=256)
def _parsed(header: str) -> tuple[tuple[str, Any], ...]:
    cards = []
    for line in header.splitlines():
        key, separator, text = line.partition("= ")
        value: Any = text.strip().strip("'")
        if not separator:
            raise GeometryError(f"the header of the wcs coordinate is damaged at {line!r}: read the map again")
        if not text.strip().startswith("'"):
            try:
                value = float(value)
            except ValueError as error:
                raise GeometryError(f"the header of the wcs coordinate is damaged at {line!r}") from error
        cards.append((key.strip(), value))
    return tuple(cards)


def _parse(header: str) -> dict[str, Any]:
    """Cards of a canonical header."""
    return dict(_parsed(header))


@lru_cache(maxsize=256)
def _parent_wcs(header: str) -> WCS:
    """WCS of a canonical header, always with a CD matrix; the numbers are handed over unrounded."""
    cards = _parse(header)
    missing = [key for key in ("CTYPE1", "CTYPE2", *_NUMBERS) if key not in cards]
    if missing:
        raise GeometryError(f"the header of the wcs coordinate lacks {missing}: read the map again")
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [cards["CTYPE1"], cards["CTYPE2"]]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crpix = [cards["CRPIX1"], cards["CRPIX2"]]
    wcs.wcs.crval = [cards["CRVAL1"], cards["CRVAL2"]]
    wcs.wcs.cd = [
        [cards.get(f"CD{i}_{j}", cards.get(f"CDELT{i}", 0.0) if i == j else 0.0) for j in (1, 2)] for i in (1, 2)
    ]
    wcs.wcs.lonpole, wcs.wcs.latpole = cards["LONPOLE"], cards["LATPOLE"]
    wcs.wcs.radesys = cards.get("RADESYS", "")
    wcs.wcs.equinox = cards.get("EQUINOX", np.nan)
    wcs.wcs.set_pv([(int(k[2]), int(k[4:]), v) for k, v in cards.items() if k.startswith("PV")])
    try:
        wcs.wcs.set()
    except Exception as error:
        raise GeometryError(f"the header of the wcs coordinate is no usable WCS: {error}") from error
    return wcs


# -- numbers ----------------------------------------------------------------------------------------------------------


def _even_labels(name: str, labels: npt.ArrayLike) -> tuple[float, float, int]:
    """First label, step and number of evenly spaced labels."""
    values = np.atleast_1d(np.asarray(labels, dtype=float))
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise GeometryError(f"pixel labels {name}: at least one finite label is wanted, {labels!r} found")
    if values.size == 1:
        if values[0] != round(values[0]):
            raise GeometryError(
                f"pixel label {name} = {values[0]}: a single coarsened pixel does not tell its size: "
                "keep two pixels along each side, or use ds.onoff.downsample"
            )
        return float(values[0]), 1.0, 1
    steps = np.diff(values)
    if steps[0] == 0 or np.ptp(steps) > 1e-9 * abs(steps[0]):
        raise GeometryError(
            f"pixel labels {name} are not evenly spaced ({values[:4].tolist()} ... {values[-2:].tolist()}), "
            "so they have no WCS: select a regular range of pixels"
        )
    return float(values[0]), float(steps[0]), values.size


def _whole(labels: Floats) -> Any:
    whole = np.round(labels)
    return whole.astype(np.int64) if np.array_equal(whole, labels) else labels


def _unwrap(lon: Floats, center: float) -> Floats:
    """Longitude within 180 deg of ``center``; values that are there already keep their last bit."""
    turns = np.floor((lon - center + 180.0) / 360.0)
    return np.where(turns == 0, lon, lon - 360.0 * turns)


def _triangle(a: Floats, b: Floats, c: Floats) -> Floats:
    """Solid angle of spherical triangles (Van Oosterom & Strackee 1983), from differences so that small ones are exact."""
    volume = np.abs(np.sum(a * np.cross(b - a, c - a), axis=-1))
    return 2 * np.arctan2(volume, 1 + np.sum(a * b + b * c + c * a, axis=-1))
