"""Pixels around a position: the geometry of everything that depends on the distance from a source alone.

A radial profile that is linear between radii integrates over pixels exactly: nothing is lost or made, wherever in a
pixel the source sits.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from astropy.coordinates import angular_separation, position_angle

from xonoff.errors import GeometryError
from xonoff.skygrid import SkyGrid
from xonoff.stats.threads import in_threads
from xonoff.units import Position, lonlat_in

__all__ = [
    "circle",
    "circle_weights",
    "corners",
    "is_empty",
    "offsets",
    "plane_integrals",
    "profile_integrals",
    "ring_sums",
    "window_around",
]

Floats = npt.NDArray[np.float64]

#: Rows of pixels that a thread takes at a time.
ROWS = 64
#: Pixels to whose multiples the parts of a map are widened of which the directions are kept.
ALIGNED = 32


def offsets(sky: SkyGrid, position: Position, y: npt.ArrayLike, x: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Where pixels lie, seen from a position: offsets to the east and to the north, deg.

    Distances from the position are great-circle distances (zenithal equidistant projection).

    Parameters
    ----------
    sky : SkyGrid
    position : SkyCoord or (lon, lat)
    y, x : array_like
        Pixel coordinates, whole at the centres.

    Returns
    -------
    east, north : ndarray, deg
        NaN off the sky.
    """
    lon, lat = (np.radians(angle) for angle in sky.pixel_to_sky(x, y))
    lon_0, lat_0 = (np.radians(angle) for angle in lonlat_in(position, sky.frame))
    distance = np.degrees(angular_separation(lon_0, lat_0, lon, lat))
    angle = position_angle(lon_0, lat_0, lon, lat).value
    return distance * np.sin(angle), distance * np.cos(angle)


def profile_integrals(
    sky: SkyGrid, position: Position, radii: npt.ArrayLike, values: npt.ArrayLike
) -> tuple[npt.NDArray[np.intp], Floats]:
    """Integrals of radial profiles around a position over the pixels of a grid, in closed form.

    A profile is linear between radii, and zero inside of the first and outside of the last one. Pixels are
    quadrilaterals between their corners, as seen from the position; so they fill a circle without gap.

    Parameters
    ----------
    sky : SkyGrid
    position : SkyCoord or (lon, lat)
        It may lie outside of the grid.
    radii : array_like (radius,), deg
        Increasing from 0 or more, up to 180.
    values : array_like (profile, radius), deg-2

    Returns
    -------
    pixels : ndarray (pixel,) of int
        Those that a profile reaches, by their numbers in the raveled grid.
    integrals : ndarray (pixel, profile)

    Raises
    ------
    GeometryError
        If the radii do not increase.

    Examples
    --------
    >>> sky = SkyGrid.create((83.63, 22.01), shape=(20, 20), pixel_size=0.1)
    >>> pixels, cone = profile_integrals(sky, (83.65, 21.98), [0, 0.3], [[3 / (np.pi * 0.3**2), 0]])
    >>> pixels.size < 60, round(float(cone.sum()), 9)
    (True, 1.0)
    """
    return plane_integrals(*corners(sky, position), radii, values)


def plane_integrals(
    x: Floats, y: Floats, radii: npt.ArrayLike, values: npt.ArrayLike
) -> tuple[npt.NDArray[np.intp], Floats]:
    """Integrals of radial profiles around the origin of a plane over quadrilaterals of any shape.

    Parameters
    ----------
    x, y : ndarray (ny + 1, nx + 1), deg
        Corners of the pixels; infinite where there are none.
    radii, values
        As for `profile_integrals`, and so is what it returns.
    """
    from xonoff.stats import discs

    knots, table = np.array(radii, dtype=np.float64), np.atleast_2d(np.asarray(values, dtype=np.float64)).T
    if knots.ndim != 1 or knots.size < 2 or not (np.diff(knots) > 0).all() or not 0 <= knots[0] < knots[-1] <= 180:
        raise GeometryError(f"radii {knots} found, two or more that increase from 0 or above, up to 180 deg, accepted")
    table = np.ascontiguousarray(table)
    ny, nx = x.shape[0] - 1, x.shape[1] - 1
    reached, found = np.empty((ny, nx), np.bool_), np.empty((ny * nx, table.shape[1]))

    def integrate(row: int) -> None:
        px, py = x[row : row + ROWS + 1], y[row : row + ROWS + 1]
        along, across = _edges(px[:, :-1], py[:, :-1], px[:, 1:], py[:, 1:]), _edges(px[:-1], py[:-1], px[1:], py[1:])
        own = found[row * nx : (row + ROWS) * nx]
        discs.integrate(along, across, knots, table, reached[row : row + ROWS], own)

    in_threads(integrate, range(0, ny, ROWS))
    pixels = np.flatnonzero(reached)
    return pixels, found[pixels]


def _edges(ax: Floats, ay: Floats, bx: Floats, by: Floats) -> Floats:
    from xonoff.stats import discs

    edges = np.empty((ax.size, 8))
    with np.errstate(invalid="ignore"):  # of corners off the sky
        discs.fill_edges(ax.ravel(), ay.ravel(), bx.ravel(), by.ravel(), edges)
    return edges


def circle_weights(radii: Floats) -> Floats:
    r"""Weights that integrate a radial profile over the whole plane.

    Examples
    --------
    >>> circle_weights(np.array([0.0, 1.0])).round(4)  # a cone has a third of pi, a disk all of it
    array([1.0472, 2.0944])
    """
    inner, outer = radii[:-1], radii[1:]
    step = np.pi / 3 * (outer - inner)
    weights = np.zeros(radii.size)
    weights[:-1] += step * (2 * inner + outer)
    weights[1:] += step * (inner + 2 * outer)
    return weights


def ring_sums(values: Floats, radii: Floats) -> Floats:
    """Sums of profiles (..., radius) over the rings between radii, constant there at the mean of their ends."""
    return np.asarray(np.pi * np.diff(radii**2) * (values[..., :-1] + values[..., 1:]) / 2)


def corners(sky: SkyGrid, position: Position) -> tuple[Floats, Floats]:
    """Where the corners of pixels lie, seen from a position.

    Parameters
    ----------
    sky : SkyGrid
    position : SkyCoord or (lon, lat)

    Returns
    -------
    east, north : ndarray (ny + 1, nx + 1), deg
        As `offsets`; infinite off the sky. Rows that reach over a pole end there.
    """
    from xonoff.stats import discs

    # A source that moves looks at the same directions for a while: those of a somewhat larger part of the parent grid.
    part, window = _around_part(sky)
    vectors = _corner_vectors(part)[window].reshape(-1, 3)
    lon, lat = (np.radians(angle) for angle in lonlat_in(position, sky.frame))
    up = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    to_east = np.array([-np.sin(lon), np.cos(lon), 0.0])
    to_north = np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    east, north = (np.empty((sky.shape[0] + 1, sky.shape[1] + 1)) for _ in range(2))
    discs.project(np.ascontiguousarray(vectors), to_east, to_north, up, east.reshape(-1), north.reshape(-1))
    return east, north


def _around_part(sky: SkyGrid) -> tuple[SkyGrid, tuple[slice, slice]]:
    """Part of the same pixels, widened to multiples of some number of them, and where the grid itself is in it."""
    low = [int(-(origin // step) % -ALIGNED) for origin, step in zip(sky.origin, sky.step, strict=True)]
    high = [n + int(first - n) % ALIGNED for n, first in zip(sky.shape, low, strict=True)]
    window = tuple(slice(-first, n + 1 - first) for n, first in zip(sky.shape, low, strict=True))
    return sky.window((low[0], low[1]), (high[0], high[1])), (window[0], window[1])


@lru_cache(maxsize=16)
def _corner_vectors(sky: SkyGrid) -> Floats:
    """Directions of the corners of pixels, (ny + 1, nx + 1, 3), NaN off the sky; rows over a pole end there."""
    ny, nx = sky.shape
    rows, columns = np.arange(ny + 1) - 0.5, np.arange(nx + 1) - 0.5
    if sky.separable:
        poles = sky.sky_to_pixel((sky.center[0], [-90.0, 90.0]))[1]
        rows = np.clip(rows, poles.min(), poles.max())
    lon, lat = (np.radians(angle) for angle in sky.pixel_to_sky(columns, rows[:, None]))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def window_around(sky: SkyGrid, position: Position, radius: float) -> tuple[slice, slice]:
    """Rows and columns of the pixels of a grid that a circle can reach; empty slices where it reaches none.

    Parameters
    ----------
    sky : SkyGrid
    position : SkyCoord or (lon, lat)
    radius : float, deg

    Examples
    --------
    >>> sky = SkyGrid.create((83.63, 22.01), shape=(20, 20), pixel_size=0.1)
    >>> window_around(sky, (83.63, 22.01), 0.2)
    (slice(7, 13, None), slice(7, 13, None))
    """
    lon, lat = (float(angle) for angle in lonlat_in(position, sky.frame))
    x, y = sky.sky_to_pixel(circle(lon, lat, 1.01 * radius))
    steps = np.hypot(x[:-2] - x[1:-1], y[:-2] - y[1:-1])
    if not steps.max() <= 8 * steps.mean() + 4 or abs(lat) + radius > 89.0:  # NaN too
        # A pole, the rim of a projection, or the seam of the sky, where the circle jumps: all of it, or nothing.
        distance = np.hypot(*offsets(sky, (lon, lat), *np.indices(sky.shape)))
        far = float(np.nanmin(distance, initial=180.0)) > radius + _pixel_radius(sky)
        return slice(0, 0 if far else sky.shape[0]), slice(0, 0 if far else sky.shape[1])
    found = []
    for pixels, n in ((y, sky.shape[0]), (x, sky.shape[1])):
        low, high = int(np.floor(pixels.min() + 0.5)), int(np.floor(pixels.max() + 0.5)) + 1
        low, high = min(max(low, 0), n), min(max(high, 0), n)
        found.append(slice(low, max(low, high)))
    return found[0], found[1]


def is_empty(window: tuple[slice, slice]) -> bool:
    """Tell whether a window, as of `window_around`, holds no pixel."""
    return any(part.start >= part.stop for part in window)


def circle(lon: npt.ArrayLike, lat: npt.ArrayLike, radius: float) -> tuple[Floats, Floats]:
    """Longitude and latitude of points on circles around positions, and of these themselves, deg.

    Examples
    --------
    >>> circle([83.0, 84.0], [22.0, 23.0], 0.5)[0].shape
    (2, 73)
    """
    lon_0, lat_0 = (np.radians(np.asarray(angle, dtype=np.float64))[..., None] for angle in (lon, lat))
    distance = np.radians(np.append(np.full(72, radius), 0.0))
    angle = np.radians(np.arange(73) * 5.0)
    sine = np.sin(lat_0) * np.cos(distance) + np.cos(lat_0) * np.sin(distance) * np.cos(angle)
    across, along = np.sin(angle) * np.sin(distance) * np.cos(lat_0), np.cos(distance) - np.sin(lat_0) * sine
    return np.degrees(lon_0 + np.arctan2(across, along)), np.degrees(np.arcsin(np.clip(sine, -1, 1)))


@lru_cache(maxsize=64)
def _pixel_radius(sky: SkyGrid) -> float:
    """Angle that no corner of a pixel lies from another one, deg; 180 where pixels reach beyond the rim of the sky."""
    corner = _corner_vectors(sky)
    across = [
        np.linalg.norm(corner[1:, 1:] - corner[:-1, :-1], axis=-1),
        np.linalg.norm(corner[1:, :-1] - corner[:-1, 1:], axis=-1),
    ]
    longest = float(np.max(across)) if np.isfinite(across).all() else 2.0
    return float(np.degrees(2 * np.arcsin(min(longest / 2, 1.0))))
