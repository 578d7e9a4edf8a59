"""Where on the sky a map lies: its outline, and whether a cone touches it.

An outline is a chain of positions along the outer edges of a map, in ICRS, so that maps of any projection and frame
compare, across 0/360 and over a pole. Between two positions it is taken as a great circle: exact for TAN, and within
1e-3 deg for other maps of a few degrees.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.coordinates import SkyCoord

from xonoff.errors import SchemaError
from xonoff.geometry import sky_dims, sky_grid
from xonoff.units import Position, Value, lonlat_in, value_in

__all__ = ["Footprint", "cone_of", "footprint", "near", "touched"]

#: Largest step along the edge of a map, deg, and most steps a side.
STEP, SIDE = 0.5, 16
#: Maps that reach further from their middle count as touched by every cone, deg.
WIDE = 80.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Footprint:
    """Middle of a map, distance of its outermost corner, and outline, deg in ICRS.

    Attributes
    ----------
    center : (float, float)
    radius : float
    outline : tuple of (float, float)
        Empty for a map that reaches off the sky or beyond 80 deg: any cone may touch it, and `radius` is 180.
    """

    center: tuple[float, float]
    radius: float
    outline: tuple[tuple[float, float], ...]


def footprint(ds: xr.Dataset) -> Footprint | None:
    """Footprint of a map; None for a spectrum.

    Examples
    --------
    >>> import xonoff
    >>> found = footprint(xonoff.tutorial.dataset())
    >>> round(found.radius, 2), len(found.outline)
    (2.74, 32)
    """
    if len(sky_dims(ds)) < 2:
        return None
    sky = sky_grid(ds)
    ny, nx = sky.shape
    sides = [min(max(int(np.ceil(n * s / STEP)), 1), SIDE) for n, s in zip(sky.shape, sky.pixel_scales, strict=True)]
    up, right = (np.arange(n) / n for n in sides)
    x = np.concatenate([right, np.ones(up.size), 1 - right, np.zeros(up.size)]) * nx - 0.5
    y = np.concatenate([np.zeros(right.size), up, np.ones(right.size), 1 - up]) * ny - 0.5
    lon, lat = sky.pixel_to_sky(x, y)
    middle = SkyCoord(*sky.center, unit="deg", frame=sky.frame).icrs
    center = (float(middle.ra.deg), float(middle.dec.deg))
    if np.isfinite(lon).all():
        edge = SkyCoord(lon, lat, unit="deg", frame=sky.frame).icrs
        radius = float(edge.separation(middle).deg.max())
        if radius < WIDE and nx * sky.pixel_scales[1] < 2 * WIDE:
            outline = zip(edge.ra.deg.round(7).tolist(), edge.dec.deg.round(7).tolist(), strict=True)
            return Footprint(center, radius, tuple(outline))
    return Footprint(center, 180.0, ())


def cone_of(cone: tuple[Position, Value]) -> tuple[float, float, float]:
    """Longitude and latitude in ICRS and radius of a cone, deg.

    Examples
    --------
    >>> cone_of(((83.63, 22.01), "30 arcmin"))
    (83.63, 22.01, 0.5)
    """
    try:
        position, radius = cone
    except (TypeError, ValueError) as error:
        raise SchemaError(f"cone: {cone!r} found, (position, radius) accepted: ((83.63, 22.01), '3 deg')") from error
    lon, lat = lonlat_in(position, "icrs")
    size = value_in(radius, "deg")
    if lon.ndim or lat.ndim or not (np.isfinite(lon) and abs(lat) <= 90):
        raise SchemaError(f"cone: position {position!r} found, one position on the sky accepted")
    if not 0 <= size <= 180:
        raise SchemaError(f"cone: radius {radius!r} found, an angle from 0 to 180 deg accepted")
    return float(lon), float(lat), size


def near(cone: tuple[float, float, float], lon: Floats, lat: Floats) -> npt.NDArray[np.bool_]:
    """True where a position lies in a cone; False for NaN.

    Examples
    --------
    >>> near((359.0, 0.0, 2.0), np.array([0.5, 3.0, np.nan]), np.array([0.0, 0.0, 0.0])).tolist()
    [True, False, False]
    """
    return np.asarray(_separation(_vector(cone[0], cone[1]), _vector(lon, lat)) <= np.radians(cone[2]) + 1e-9)


def touched(cone: tuple[float, float, float], footprints: Sequence[Footprint | None]) -> npt.NDArray[np.bool_]:
    """True where a map has a point in a cone; False for None.

    Examples
    --------
    >>> import xonoff
    >>> found = footprint(xonoff.tutorial.dataset())
    >>> touched((83.6, 26.0, 1.0), [found, None]).tolist(), touched((83.6, 26.0, 2.5), [found]).tolist()
    ([False, False], [True])
    """
    hit = np.zeros(len(footprints), bool)
    known = [i for i, found in enumerate(footprints) if found is not None]
    if not known:
        return hit
    center = np.array([footprints[i].center for i in known])  # type: ignore[union-attr]
    radius = np.radians([footprints[i].radius for i in known])  # type: ignore[union-attr]
    axis, size = _vector(cone[0], cone[1]), np.radians(cone[2])
    apart = _separation(axis, _vector(center[:, 0], center[:, 1]))
    for i, distance, reach in zip(known, apart, radius, strict=True):
        found = footprints[i]
        assert found is not None
        if not found.outline or distance <= size:
            hit[i] = True
        elif distance <= size + reach + 1e-9:
            hit[i] = _reaches(axis, size, np.array(found.outline))
    return hit


def _reaches(axis: Floats, size: float, outline: Floats) -> bool:
    """Tell whether a cone has a point of an outline, or lies within it."""
    a = _vector(outline[:, 0], outline[:, 1])
    b = np.roll(a, -1, axis=0)
    pole = np.cross(a, b)
    length = np.linalg.norm(pole, axis=1, keepdims=True)
    pole = np.divide(pole, length, out=np.zeros_like(pole), where=length > 0)
    foot = axis - (pole @ axis)[:, None] * pole  # of the perpendicular on the great circle
    between = (np.cross(a, foot) * pole).sum(1) >= 0
    between &= (np.cross(foot, b) * pole).sum(1) >= 0
    to_arc = np.where(between, np.abs(np.arcsin(np.clip(pole @ axis, -1, 1))), np.pi)
    if min(to_arc.min(), _separation(axis, a).min()) <= size + 1e-9:
        return True
    east = np.cross([0.0, 0.0, 1.0], axis) if abs(axis[2]) < 0.9 else np.cross([1.0, 0.0, 0.0], axis)
    east /= np.linalg.norm(east)
    angle = np.arctan2(a @ np.cross(axis, east), a @ east)
    turned = (np.diff(angle, append=angle[:1]) + np.pi) % (2 * np.pi) - np.pi
    return bool(abs(turned.sum()) > np.pi)


def _vector(lon: npt.ArrayLike, lat: npt.ArrayLike) -> Floats:
    lon, lat = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def _separation(a: Floats, b: Floats) -> Floats:
    """Angle between unit vectors, rad, also where it is small."""
    cross = np.linalg.norm(np.cross(a, b), axis=-1)
    return np.asarray(np.arctan2(cross, (a * b).sum(-1)))
