"""The celestial cards of a FITS header: read with suspicion, held as numbers, written in one canonical form.

`SkyHeader.from_cards` is the only way from a header to a WCS here, for files and for the text that a dataset carries
alike: whatever it cannot take for certain (a distortion, a frame it does not know, a card that is no number) it
refuses, naming the card, because a wrong sky position is worse than an exception.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from xonoff.errors import GeometryError, SchemaError
from xonoff.units import unit_factor

__all__ = ["SkyHeader", "solid_angles"]

Pair = tuple[float, float]
Floats = npt.NDArray[np.float64]

#: Projections whose parallels and meridians are straight lines along the pixel axes, about the native equator.
CYLINDRICAL = frozenset({"CAR", "CEA", "CYP", "MER"})
#: Projections that keep areas at the scale of the reference pixel. PAR keeps them too, but at 3/pi of that scale.
EQUAL_AREA = frozenset({"AIT", "MOL", "SFL", "ZEA"})
#: Projections of FITS (Calabretta & Greisen 2002), all of which wcslib computes.
PROJECTIONS = CYLINDRICAL | frozenset(
    {"AZP", "SZP", "TAN", "STG", "SIN", "ARC", "ZPN", "ZEA", "AIR", "SFL", "PAR", "MOL", "AIT", "COP", "COE", "COD"}
    | {"COO", "BON", "PCO", "TSC", "CSC", "QSC", "HPX", "XPH"}
)
#: First four letters of the two CTYPE cards.
AXIS_NAMES = {("RA--", "DEC-"): "equatorial", ("GLON", "GLAT"): "galactic"}

#: Cards that bend the grid, or turn it in a notation of before the standard.
_REFUSED = re.compile(r"(A|B|AP|BP)_ORDER|(CPDIS|CQDIS|D2IMDIS)\d|(PC|CD)00\d00\d")
_PV = re.compile(r"PV([12])_(\d+)")


@dataclass(frozen=True)
class SkyHeader:
    """A celestial WCS in numbers, with nothing left to defaults; equal ones are the same WCS.

    Attributes
    ----------
    projection : str
        FITS code, "TAN" for example.
    frame : str
        "icrs", "fk5" (J2000) or "galactic".
    crpix, crval : (float, float)
        Reference point, along longitude and latitude: pixel counted from 1, and sky position in deg.
    cd : ((float, float), (float, float))
        Pixel matrix, deg.
    lonpole, latpole : float
        Orientation of the native sphere, deg; NaN stands for the default of the projection.
    pv : tuple of (int, int, float)
        Parameters of the projection: axis, number, value.

    Examples
    --------
    >>> cards = {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "CRPIX1": 1, "CRPIX2": 1, "CRVAL1": 110, "CRVAL2": 1.5}
    >>> header = SkyHeader.from_cards({**cards, "CDELT1": -0.1, "CDELT2": 0.1})
    >>> header.frame, header.projection, header.upright, header.lonpole
    ('galactic', 'TAN', True, 180.0)
    >>> SkyHeader.from_text(header.text) == header
    True
    """

    projection: str
    frame: str
    crpix: Pair
    crval: Pair
    cd: tuple[Pair, Pair]
    lonpole: float = np.nan
    latpole: float = np.nan
    pv: tuple[tuple[int, int, float], ...] = ()

    @classmethod
    def from_cards(cls, header: Mapping[str, Any]) -> "SkyHeader":
        """Read the celestial cards of a FITS header; cards of other axes and of anything else are ignored.

        Raises
        ------
        GeometryError
            If a card is missing or no finite number; if the axes are not the longitude and latitude of one projection
            in a known frame; or if the grid is distorted.
        """
        keys = [str(key) for key in header]
        refused = [key for key in keys if _REFUSED.fullmatch(key)]
        if refused:
            raise GeometryError(
                f"card {refused[0]}: distorted grids and cards of before the FITS standard are not supported: "
                "resample the map onto a plain projection"
            )
        frame, projection = _axes(header)
        scale = [_degrees(header, f"CUNIT{i}") for i in (1, 2)]
        poles = {key.lower(): _number(header, key) for key in ("LONPOLE", "LATPOLE") if key in keys}
        found = cls(
            projection,
            frame,
            crpix=(_number(header, "CRPIX1"), _number(header, "CRPIX2")),
            crval=(_number(header, "CRVAL1") * scale[0], _number(header, "CRVAL2") * scale[1]),
            cd=_matrix(header, keys, np.array(scale)),
            pv=tuple(sorted((int(m[1]), int(m[2]), _number(header, m[0])) for m in map(_PV.fullmatch, keys) if m)),
            **poles,
        )
        return _with_poles(found)

    @classmethod
    def from_text(cls, text: str) -> "SkyHeader":
        """Read the text that a dataset carries, checked like the header of a file."""
        return _from_text(text)

    @property
    def cards(self) -> dict[str, Any]:
        """FITS cards: CDELT where the axes are upright, the CD matrix where they are rotated."""
        names = next(names for names, kind in AXIS_NAMES.items() if (kind == "galactic") == (self.frame == "galactic"))
        cards: dict[str, Any] = {f"CTYPE{i}": f"{name}-{self.projection}" for i, name in enumerate(names, 1)}
        cards |= {"CUNIT1": "deg", "CUNIT2": "deg"}
        cards |= {f"CRPIX{i}": value for i, value in enumerate(self.crpix, 1)}
        cards |= {f"CRVAL{i}": value for i, value in enumerate(self.crval, 1)}
        if self.upright:
            cards |= {"CDELT1": self.cd[0][0], "CDELT2": self.cd[1][1]}
        else:
            cards |= {f"CD{i}_{j}": self.cd[i - 1][j - 1] for i in (1, 2) for j in (1, 2)}
        cards |= {"LONPOLE": self.lonpole, "LATPOLE": self.latpole}
        if self.frame != "galactic":
            cards["RADESYS"] = self.frame.upper()
        if self.frame == "fk5":
            cards["EQUINOX"] = 2000.0
        return cards | {f"PV{i}_{m}": value for i, m, value in self.pv}

    @property
    def text(self) -> str:
        """Cards, one a line, every number with all its digits; equal headers have equal texts."""
        return "\n".join(f"{key:<8}= {value!r}" for key, value in self.cards.items())

    @property
    def wcs(self) -> WCS:
        """A new astropy WCS; the numbers are handed over as they are, not through the 20 columns of a card."""
        cards = self.cards
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = [cards["CTYPE1"], cards["CTYPE2"]]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.crpix, wcs.wcs.crval, wcs.wcs.cd = self.crpix, self.crval, self.cd
        if np.isfinite(self.lonpole):  # wcslib has a mark of its own for the default, and no use for NaN
            wcs.wcs.lonpole = self.lonpole
        if np.isfinite(self.latpole):
            wcs.wcs.latpole = self.latpole
        wcs.wcs.radesys, wcs.wcs.equinox = cards.get("RADESYS", ""), cards.get("EQUINOX", np.nan)
        try:
            wcs.wcs.set_pv(list(self.pv))
            wcs.wcs.set()
        except Exception as error:  # wcslib raises many kinds; all of them mean that the cards are no usable WCS
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            raise GeometryError(
                f"no usable celestial WCS ({reason}): CTYPE1 = {cards['CTYPE1']!r} at CRVAL {self.crval}, "
                f"LONPOLE {self.lonpole}, LATPOLE {self.latpole}, PV {list(self.pv)} found"
            ) from error
        return wcs

    @property
    def upright(self) -> bool:
        """True if the pixel axes are not rotated."""
        return self.cd[0][1] == 0 == self.cd[1][0]

    @property
    def turned(self) -> bool:
        """True if parameters of axis 1 move the reference point of the native sphere."""
        return any(axis == 1 for axis, *_ in self.pv)

    @property
    def separable(self) -> bool:
        """True if longitude depends on x alone and latitude on y alone: cylindrical, upright, about the equator."""
        # With the reference point on the equator the native pole is a celestial one, whatever LONPOLE says.
        return self.projection in CYLINDRICAL and self.upright and not self.turned and self.crval[1] == 0

    def part(self, origin: Pair, step: Pair) -> "SkyHeader":
        """Header of the pixels that start at the label ``origin`` (from 0) and follow in steps, both along (x, y).

        ``CRPIX' = (CRPIX - 1 - x0) / dx + 1``, and column j of the CD matrix times the step: scaling CDELT would be
        wrong for a rotated map.
        """
        # The formula above, written so that the whole map keeps every bit of CRPIX.
        crpix = tuple((c - o) / s + (1 - 1 / s) for c, o, s in zip(self.crpix, origin, step, strict=True))
        cd = tuple((row[0] * step[0], row[1] * step[1]) for row in self.cd)
        return replace(self, crpix=(crpix[0], crpix[1]), cd=(cd[0], cd[1]))

    def differences(self, other: "SkyHeader") -> list[str]:
        """Cards in which two headers differ beyond rounding, but for CRPIX, which is where a cutout begins."""
        mine, theirs = self.cards, other.cards
        keys = [key for key in mine | theirs if not key.startswith("CRPIX")]
        return [
            f"{key} = {mine.get(key)!r} against {theirs.get(key)!r}"
            for key in keys
            if not _same(mine.get(key), theirs.get(key))
        ]


def solid_angles(header: SkyHeader, shape: tuple[int, int]) -> Floats:
    """Solid angle of every pixel of a map.

    Exact on upright cylindrical grids, ``dlon (sin lat2 - sin lat1)`` about their own equator; on equal-area
    projections, where a pixel counts whole if its centre is on the sky; and on TAN, where pixel edges are great
    circles. On other projections the edges are replaced by great circles, which changes the area by a part of order
    (pixel size in rad)**2 / 10.

    Parameters
    ----------
    header : SkyHeader
        WCS of the map itself.
    shape : (int, int)
        Pixels along y and x.

    Returns
    -------
    ndarray (ny, nx), sr
        NaN off the sky: where the centre is, or on other projections than those named any corner.

    Examples
    --------
    The whole sky in pixels of 1 deg:

    >>> cards = {"CTYPE1": "RA---CAR", "CTYPE2": "DEC--CAR", "CRVAL1": 0, "CRVAL2": 0, "CDELT1": -1, "CDELT2": 1}
    >>> header = SkyHeader.from_cards({**cards, "CRPIX1": 180.5, "CRPIX2": 90.5})
    >>> float((solid_angles(header, (180, 360)).sum() / np.pi).round(12))
    4.0
    """
    ny, nx = shape
    if header.projection in EQUAL_AREA:
        y, x = np.indices(shape, dtype=float)
        lon, _ = header.wcs.wcs_pix2world(x, y, 0)
        return np.where(np.isfinite(lon), abs(np.linalg.det(np.radians(header.cd))), np.nan)
    if header.projection in CYLINDRICAL and header.upright and not header.turned:
        # Areas do not change when the sphere is turned, so look at the map about its own equator.
        native = replace(header, crval=(0.0, 0.0), lonpole=0.0, latpole=90.0)
        x0, y0 = (c - 1 for c in header.crpix)
        lon, _ = header.wcs.wcs_pix2world(np.arange(nx), np.full(nx, y0), 0)
        _, lat = native.wcs.wcs_pix2world(np.full(ny + 1, x0), np.arange(ny + 1) - 0.5, 0)
        return np.where(np.isfinite(lon), np.radians(abs(header.cd[0][0])), np.nan) * _band(np.radians(lat))[:, None]
    y, x = np.indices((ny + 1, nx + 1)) - 0.5
    lon, lat = (np.radians(angle) for angle in header.wcs.wcs_pix2world(x, y, 0))
    corners = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    a, b, c, d = corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]
    return _triangle(a, b, c) + _triangle(a, c, d)


@lru_cache(maxsize=256)
def _from_text(text: str) -> SkyHeader:
    cards: dict[str, Any] = {}
    for line in text.splitlines():
        key, separator, value = (part.strip() for part in line.partition("="))
        quoted = len(value) > 1 and value[0] == value[-1] == "'"
        try:
            cards[key] = value[1:-1] if quoted else float(value)
        except ValueError:
            separator = ""
        if not separator:
            raise GeometryError(f"the header of the wcs coordinate is damaged at {line!r}: read the map again")
    return SkyHeader.from_cards(cards)


@lru_cache(maxsize=256)
def _with_poles(header: SkyHeader) -> SkyHeader:
    """Fill in the poles that are left to defaults, as wcslib settles them; the HDUs of a file share one header."""
    wcs = header.wcs.wcs
    return replace(header, lonpole=float(wcs.lonpole) + 0.0, latpole=float(wcs.latpole) + 0.0)


def _axes(header: Mapping[str, Any]) -> tuple[str, str]:
    """Frame and projection, from CTYPE and RADESYS."""
    ctypes = [_text(header, f"CTYPE{i}") for i in (1, 2)]
    names, codes = (ctypes[0][:4], ctypes[1][:4]), {ctype[4:] for ctype in ctypes}
    kind, code = AXIS_NAMES.get(names), codes.pop()
    if kind is None or codes or code[:1] != "-" or code[1:] not in PROJECTIONS:
        raise GeometryError(
            f"CTYPE1 = {ctypes[0]!r} and CTYPE2 = {ctypes[1]!r} found: a longitude and a latitude of one undistorted "
            "projection in this order are accepted, such as 'RA---TAN' and 'DEC--TAN' or 'GLON-CAR' and 'GLAT-CAR'"
        )
    return ("galactic" if kind == "galactic" else _equatorial(header)), code[1:]


def _equatorial(header: Mapping[str, Any]) -> str:
    """Frame of right ascension and declination, with the defaults of the FITS standard."""
    key = next((key for key in ("RADESYS", "RADECSYS") if key in header), "RADESYS")
    radesys = _text(header, key).upper() if key in header else ""
    if radesys == "ICRS" or (not radesys and "EQUINOX" not in header):
        return "icrs"
    equinox = _number(header, "EQUINOX") if "EQUINOX" in header else 2000.0
    if radesys not in ("", "FK5") or equinox != 2000:
        raise GeometryError(
            f"{key} = {radesys!r} and EQUINOX = {equinox} found, 'ICRS', or 'FK5' of equinox 2000, accepted"
        )
    return "fk5"


def _matrix(header: Mapping[str, Any], keys: list[str], scale: Floats) -> tuple[Pair, Pair]:
    """Pixel matrix in degrees, from CD, PC and CDELT, or CROTA2 and CDELT."""
    indices = [(i, j) for i in (1, 2) for j in (1, 2)]
    if any(f"CD{i}_{j}" in keys for i, j in indices):
        cards = "CD1_1, CD1_2, CD2_1, CD2_2"
        given = [_number(header, f"CD{i}_{j}", 0.0) for i, j in indices]
        matrix = np.reshape(given, (2, 2))
    else:
        cards = "CDELT1, CDELT2, PC or CROTA2"
        delta = np.array([_number(header, "CDELT1"), _number(header, "CDELT2")])
        if any(f"PC{i}_{j}" in keys for i, j in indices):
            turn = np.reshape([_number(header, f"PC{i}_{j}", float(i == j)) for i, j in indices], (2, 2))
            matrix = delta[:, None] * turn
        else:
            angle = np.radians(_number(header, "CROTA2", 0.0))
            matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * delta
    if not abs(np.linalg.det(matrix)) > 1e-12 * np.abs(matrix).max() ** 2:
        raise GeometryError(f"{cards}: the pixels have no size, the matrix is {matrix.tolist()}")
    rows = (scale[:, None] * matrix + 0.0).tolist()  # + 0.0 makes -0.0 plain
    return (rows[0][0], rows[0][1]), (rows[1][0], rows[1][1])


def _value(header: Mapping[str, Any], key: str) -> Any:
    try:
        return header[key]
    except KeyError:
        raise GeometryError(
            f"card {key} is missing: a celestial WCS needs CTYPE, CRPIX, CRVAL and CDELT or CD"
        ) from None
    except Exception as error:  # astropy's complaint about a card that cannot be parsed
        raise GeometryError(f"card {key} cannot be read: {error}") from error


def _number(header: Mapping[str, Any], key: str, default: float | None = None) -> float:
    if default is not None and key not in header:
        return default
    value = _value(header, key)
    if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(float(value)):
        raise GeometryError(f"card {key} = {value!r} found, a finite number accepted")
    return float(value) + 0.0  # -0.0 would be another text for the same grid


def _text(header: Mapping[str, Any], key: str) -> str:
    value = _value(header, key)
    if not isinstance(value, str):
        raise GeometryError(f"card {key} = {value!r} found, text accepted")
    return value.strip()


def _degrees(header: Mapping[str, Any], key: str) -> float:
    """Size of the unit of a CUNIT card in degrees."""
    unit = _text(header, key) if key in header else ""
    try:
        return unit_factor(unit or "deg", "deg")
    except SchemaError as error:
        raise GeometryError(f"card {key}: {error}") from error


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-12 * max(1.0, abs(a), abs(b))
    return bool(a == b)


def _band(lat: Floats) -> Floats:
    """Difference of sin(lat) from one edge to the next; of two edges, one beyond a pole is taken at the pole."""
    lo, hi = lat[:-1], lat[1:]
    lo, hi = (np.where(np.isnan(a), np.copysign(np.pi / 2, b) + 0 * b, a) for a, b in ((lo, hi), (hi, lo)))
    band: Floats = np.abs(2 * np.cos((hi + lo) / 2) * np.sin((hi - lo) / 2))
    return band


def _triangle(a: Floats, b: Floats, c: Floats) -> Floats:
    """Solid angle of spherical triangles (Van Oosterom & Strackee 1983); differences keep small ones exact."""
    volume = np.abs(np.sum(a * np.cross(b - a, c - a), axis=-1))
    angle: Floats = 2 * np.arctan2(volume, 1 + np.sum(a * b + b * c + c * a, axis=-1))
    return angle
