"""Pixels in rings around a position: the geometry of everything that depends on the distance from a source alone.

A radial profile that is constant in each ring integrates over pixels as one sparse matrix product, exactly: nothing is
lost or made, wherever in a pixel the source sits, and the matrix depends on the position alone.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.coordinates import SkyCoord, angular_separation, position_angle

from xonoff.errors import GeometryError
from xonoff.skygrid import SkyGrid
from xonoff.units import Position, lonlat_in

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["offsets", "ring_areas", "window_around"]

Floats = npt.NDArray[np.float64]


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


def ring_areas(sky: SkyGrid, position: Position, radii: npt.ArrayLike) -> "csr_array":
    """Area of every pixel of a grid within every ring around a position.

    Pixels are quadrilaterals between their corners, as seen from the position; so they fill a ring without gap.

    Parameters
    ----------
    sky : SkyGrid
    position : SkyCoord or (lon, lat)
        It may lie outside of the grid.
    radii : array_like (ring + 1), deg
        Increasing from 0 or more, below 90.

    Returns
    -------
    csr_array (pixel, ring), deg2
        Pixels in the order of the raveled grid.

    Raises
    ------
    GeometryError
        If the radii do not increase.

    Examples
    --------
    >>> sky = SkyGrid.create((83.63, 22.01), shape=(20, 20), pixel_size=0.1)
    >>> areas = ring_areas(sky, (83.65, 21.98), [0, 0.2, 0.5])
    >>> areas.sum(axis=0).round(6).tolist(), [round(float(np.pi * a), 6) for a in (0.2**2, 0.5**2 - 0.2**2)]
    ([0.125664, 0.659734], [0.125664, 0.659734])
    """
    from scipy.sparse import csr_array

    from xonoff.stats import discs

    edges = np.array(radii, dtype=np.float64)
    if edges.ndim != 1 or edges.size < 2 or not (np.diff(edges) > 0).all() or not 0 <= edges[0] < edges[-1] < 90:
        raise GeometryError(f"radii {edges} found, two or more that increase from 0 or above, below 90 deg, accepted")
    ny, nx = sky.shape
    rows, columns = np.meshgrid(np.arange(ny + 1) - 0.5, np.arange(nx + 1) - 0.5, indexing="ij")
    east, north = offsets(sky, position, rows, columns)
    near = np.hypot(east, north) < 90  # not NaN, and not around the antipode, where a pixel has no shape
    east, north = (np.where(near, offset, np.inf) for offset in (east, north))
    first, stop = np.empty(sky.shape, np.intp), np.empty(sky.shape, np.intp)
    with np.errstate(invalid="ignore"):  # of corners off the sky
        discs.count_rings(east, north, edges, first, stop)
    counts = (stop - first).ravel()
    start = np.concatenate([[0], np.cumsum(counts)])
    areas = np.empty(start[-1])
    discs.fill_rings(east, north, edges, first, start, areas)
    indices = np.arange(start[-1]) + np.repeat(first.ravel() - start[:-1], counts)
    return csr_array((areas, indices, start), shape=(ny * nx, edges.size - 1))


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
    lon, lat = lonlat_in(position, sky.frame)
    center = SkyCoord(lon, lat, unit="deg", frame=sky.frame)
    x, y = sky.sky_to_pixel(center)
    around = center.directional_offset_by(np.arange(0, 360, 5) * u.deg, 1.01 * radius * u.deg)
    px, py = sky.sky_to_pixel(around)
    if not np.isfinite([x, y]).all() or not np.isfinite([px, py]).all() or abs(float(lat)) + radius > 89.0:
        return slice(0, sky.shape[0]), slice(0, sky.shape[1])  # a pole or the rim of a projection: all of it
    found = []
    for pixels, n in ((np.append(py, y), sky.shape[0]), (np.append(px, x), sky.shape[1])):
        low, high = int(np.floor(pixels.min() + 0.5)), int(np.floor(pixels.max() + 0.5)) + 1
        low, high = min(max(low, 0), n), min(max(high, 0), n)
        found.append(slice(low, max(low, high)))
    return found[0], found[1]
