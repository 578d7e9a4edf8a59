"""Outlines of sky regions on the sphere: turned about a pointing, as wide as it sees them, and whether two overlap.

Everything is done with unit vectors in the frame of the region, so poles, the longitude 0/360 and the projection of a
map make no difference. A circle is treated exactly; other shapes by points on their borders.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.coordinates import SkyCoord

from xonoff.errors import GeometryError, SchemaError
from xonoff.region import contains, shapes, sky_center
from xonoff.units import Position, lonlat_in

__all__ = ["angular_width", "axis_of", "check_sky_region", "overlap", "samples", "turned"]

Floats = npt.NDArray[np.float64]

#: Shapes that can be turned.
KINDS = (
    *("CircleSkyRegion", "CircleAnnulusSkyRegion", "EllipseSkyRegion", "EllipseAnnulusSkyRegion"),
    *("RectangleSkyRegion", "RectangleAnnulusSkyRegion", "PolygonSkyRegion"),
)
POINTS = 360  # on the border of a shape
#: How far from the middle to a border points are taken to stand for a region; the last are just within its borders.
SHARES = (0.0, 0.2, 0.4, 0.6, 0.75, 0.9, 0.9999, 1.0001)


def check_sky_region(region: Any) -> None:
    """Refuse what is no region with an area on the sky.

    Raises
    ------
    SchemaError
    """
    from regions import PixelRegion

    for shape in shapes(region):
        if isinstance(shape, PixelRegion):
            raise SchemaError(
                f"a {type(shape).__name__} found, a region on the sky accepted, for it is turned about the pointing: "
                "use region.to_sky(ds.onoff.wcs)"
            )
        if type(shape).__name__ not in KINDS:
            raise SchemaError(f"a {type(shape).__name__} found, {', '.join(KINDS)} or a compound of them accepted")


def axis_of(center: Position, region: Any) -> Floats:
    """Unit vector of a position in the frame of a region.

    Parameters
    ----------
    center : SkyCoord or (lon, lat)
        As two numbers in the frame of the region, deg.
    region : Region

    Raises
    ------
    GeometryError
        If it is not one position.
    """
    frame = sky_center(next(shapes(region))).frame.replicate_without_data()
    if hasattr(center, "transform_to"):
        own = SkyCoord(center).transform_to(frame).spherical
        lon, lat = np.asarray(own.lon.deg), np.asarray(own.lat.deg)
    else:
        lon, lat = lonlat_in(center, frame.name)
    if lon.size != 1 or lat.size != 1 or not (np.isfinite(lon).all() and (np.abs(lat) <= 90).all()):
        raise GeometryError(f"pointing {center!r} found, one position on the sky accepted")
    return _basis(np.radians(lon.item()), np.radians(lat.item()))[0]


def turned(region: Any, axis: Floats, angle: float) -> Any:
    """Region turned about an axis, by an angle from north through east.

    Parameters
    ----------
    region : Region
        On the sky; a compound is turned part by part.
    axis : ndarray (3,)
        See `axis_of`.
    angle : float, deg

    Examples
    --------
    >>> from regions import CircleSkyRegion
    >>> region = CircleSkyRegion(SkyCoord(0, 89, unit="deg"), 0.1 * u.deg)
    >>> turned(region, np.array([0.0, 0.0, 1.0]), -90).center.ra.deg.round(6).item()
    90.0
    """
    from regions import CompoundSkyRegion

    if isinstance(region, CompoundSkyRegion):
        return CompoundSkyRegion(
            turned(region.region1, axis, angle), turned(region.region2, axis, angle), region.operator
        )
    if hasattr(region, "vertices"):
        return region.copy(vertices=_position(_rotate(_vectors(region.vertices), axis, angle), region.vertices))
    up, north, east = _basis(*_lonlat(region.center))
    changes = {"center": _position(_rotate(up, axis, angle), region.center)}
    if hasattr(region, "angle"):  # from the west through north; north is elsewhere after the turn
        tilt = region.angle.to_value(u.rad)
        along = _rotate(np.sin(tilt) * north - np.cos(tilt) * east, axis, angle)
        _, new_north, new_east = _basis(*_lonlat(changes["center"]))
        changes["angle"] = np.degrees(np.arctan2(along @ new_north, -along @ new_east)) * u.deg
    return region.copy(**changes)


def angular_width(region: Any, axis: Floats) -> float | None:
    """Angle that a region takes up as an axis sees it, deg; None where it surrounds or holds the axis.

    Two copies of a region, turned by this angle or more against each other, do not overlap. For a circle of radius
    r at the distance d it is ``2 arcsin(sin r / sin d)``, at which two circles touch.

    Examples
    --------
    >>> from regions import CircleSkyRegion
    >>> region = CircleSkyRegion(SkyCoord(83.63, 22.51, unit="deg"), 0.1 * u.deg)
    >>> round(angular_width(region, axis_of((83.63, 22.01), region)), 3)
    23.074
    """
    intervals = []
    for shape in shapes(region):
        interval = _interval(shape, axis)
        if interval is None:
            return None
        intervals.append(interval)
    low, high = intervals[0]
    for a, b in intervals[1:]:
        turns = 360 * round(((low + high) - (a + b)) / 720)
        low, high = min(low, a + turns), max(high, b + turns)
    return high - low if high - low < 360 else None


def overlap(a: Any, b: Any) -> bool:
    """Tell whether two sky regions have an area in common; regions that touch have not.

    Of shapes other than circles, a piece in common that is thinner than a thousandth of their size may be missed.

    Examples
    --------
    >>> from regions import CircleSkyRegion
    >>> one, two = (CircleSkyRegion(SkyCoord(lon, 0, unit="deg"), 0.5 * u.deg) for lon in (359.6, 0.5))
    >>> overlap(one, two)
    True
    """
    if type(a).__name__ == type(b).__name__ == "CircleSkyRegion":
        distance = a.center.separation(b.center.transform_to(a.center.frame))
        return bool(distance.deg < (a.radius + b.radius).to_value(u.deg) - 1e-9)
    return bool(contains(b, samples(a)).any() or contains(a, samples(b)).any())


def samples(region: Any) -> SkyCoord:
    """Points that stand for a sky region: its middle, points within, and others just inside of its border."""
    parts = []
    for shape in shapes(region):
        middle = _vectors(sky_center(shape))
        for border in _borders(shape):
            shares = np.array(SHARES)[:, None, None]
            points = (shares * border + (1 - shares) * middle).reshape(-1, 3)
            parts.append(_position(points, sky_center(shape)))
    frame = parts[0].frame.replicate_without_data()
    vectors = np.concatenate([_vectors(part.transform_to(frame)) for part in parts])
    points = _position(vectors, parts[0])
    return points[contains(region, points)]


# -- how it is done ---------------------------------------------------------------------------------------------------


def _interval(shape: Any, axis: Floats) -> tuple[float, float] | None:
    """Lowest and highest position angle of a shape around an axis, deg, high > low; None if it surrounds the axis."""
    _, north, east = _basis(np.arctan2(axis[1], axis[0]), np.arctan2(axis[2], np.hypot(axis[0], axis[1])))
    if type(shape).__name__ in ("CircleSkyRegion", "CircleAnnulusSkyRegion"):
        middle = _vectors(shape.center)
        distance = np.arctan2(np.linalg.norm(np.cross(axis, middle)), axis @ middle)
        radius = (shape.radius if hasattr(shape, "radius") else shape.outer_radius).to_value(u.rad)
        if radius >= min(distance, np.pi - distance):
            return None
        half = np.degrees(np.arcsin(np.sin(radius) / np.sin(distance)))
        angle = np.degrees(np.arctan2(middle @ east, middle @ north))
        return float(angle - half), float(angle + half)
    border = _borders(shape)[0]
    angles = np.unwrap(np.arctan2(border @ east, border @ north))
    closing = angles[-1] + (np.arctan2(border[0] @ east, border[0] @ north) - angles[-1] + np.pi) % (2 * np.pi) - np.pi
    around = abs(closing - angles[0]) > 1  # a whole turn, or none
    holds = contains(shape, _position(np.stack([axis, -axis]), sky_center(shape))).any()
    return None if around or holds else (float(np.degrees(angles.min())), float(np.degrees(angles.max())))


def _borders(shape: Any) -> list[Floats]:
    """Points on the closed curves that bound a shape, the outer one first, as unit vectors (point, 3)."""
    if hasattr(shape, "vertices"):
        corners = _vectors(shape.vertices)
        return [_normal(_edges(corners))]
    if hasattr(shape, "radius"):
        sizes = [(2 * shape.radius, 2 * shape.radius)]
    elif hasattr(shape, "outer_radius"):
        sizes = [(2 * radius, 2 * radius) for radius in (shape.outer_radius, shape.inner_radius)]
    elif hasattr(shape, "outer_width"):
        sizes = [(shape.outer_width, shape.outer_height), (shape.inner_width, shape.inner_height)]
    else:
        sizes = [(shape.width, shape.height)]
    tilt = shape.angle.to_value(u.rad) if hasattr(shape, "angle") else 0.0
    curves = []
    for width, height in sizes:
        a, b = width.to_value(u.rad) / 2, height.to_value(u.rad) / 2
        if type(shape).__name__.startswith("Rectangle"):
            x, y = _edges(np.array([[a, b], [-a, b], [-a, -b], [a, -b]])).T
        else:  # corners of a polygon around the ellipse, so that it is not taken for narrower than it is
            t = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
            x, y = a * np.cos(t) / np.cos(np.pi / POINTS), b * np.sin(t) / np.cos(np.pi / POINTS)
        west, north = x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt)
        distance, angle = np.hypot(west, north), np.arctan2(-west, north)
        curves.append(_around(shape.center, distance, angle))
    return curves


def _around(center: SkyCoord, distance: Floats, angle: Floats) -> Floats:
    """Unit vectors at distances and position angles, rad, from a position."""
    up, north, east = _basis(*_lonlat(center))
    sideways = np.cos(angle)[:, None] * north + np.sin(angle)[:, None] * east
    return np.cos(distance)[:, None] * up + np.sin(distance)[:, None] * sideways


def _edges(corners: Floats) -> Floats:
    """Points along the straight edges between corners, the corners among them."""
    n = max(POINTS // len(corners), 2)
    shares = (np.arange(n) / n)[:, None]
    following = np.roll(corners, -1, axis=0)
    return np.concatenate([a + shares * (b - a) for a, b in zip(corners, following, strict=True)])


def _rotate(vectors: Floats, axis: Floats, angle: float) -> Floats:
    """Rotate vectors (..., 3) about an axis, from north through east: clockwise as seen from outside of the sphere."""
    t = -np.radians(angle)
    along = (vectors @ axis)[..., None] * axis
    return np.asarray(along + np.cos(t) * (vectors - along) + np.sin(t) * np.cross(axis, vectors))


def _basis(lon: float, lat: float) -> tuple[Floats, Floats, Floats]:
    """Unit vectors up, to the north and to the east at a position, rad."""
    up = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    north = np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    return up, north, np.array([-np.sin(lon), np.cos(lon), 0.0])


def _lonlat(position: SkyCoord) -> tuple[float, float]:
    """Longitude and latitude of one position in its own frame, rad."""
    return float(position.spherical.lon.rad), float(position.spherical.lat.rad)


def _vectors(position: SkyCoord) -> Floats:
    """Unit vectors (..., 3) of positions in their own frame."""
    lon, lat = position.spherical.lon.rad, position.spherical.lat.rad
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def _position(vectors: Floats, like: SkyCoord) -> SkyCoord:
    """Positions of vectors of any length, in the frame of another position."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    lon, lat = np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))
    return SkyCoord(lon, lat, unit="deg", frame=like.frame.replicate_without_data())


def _normal(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
