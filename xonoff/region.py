"""Pixels of a sky map within a region of the package `regions`.

Sky regions are held against positions on the sphere, on a local projection about the region itself: zenithal
equidistant, in which circles and annuli are exact, or for polygons gnomonic, in which their edges are great circles.
So the projection of the map, poles and the longitude 0/360 make no difference.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.coordinates import SkyCoord, UnitSphericalRepresentation
from astropy.wcs import WCS

from xonoff.errors import GeometryError, SchemaError
from xonoff.skygrid import SkyGrid

__all__ = ["contains", "inside", "region_center", "region_mask", "region_text", "shapes", "sky_center"]

Bools = npt.NDArray[np.bool_]
Window = tuple[slice, slice]
#: Pixel size of the local projections, deg; regions are continuous, so it only sets the scale of the numbers.
LOCAL = 0.001


def region_mask(region: Any, sky: SkyGrid) -> Bools:
    """Pixels whose centres lie in a region, which has to lie on the map.

    Parameters
    ----------
    region : Region
        Sky or pixel region of `regions`: circle, ellipse, rectangle, annulus, polygon, or a compound of them.
    sky : SkyGrid

    Returns
    -------
    ndarray (ny, nx) of bool

    Raises
    ------
    SchemaError
        If it is no region.
    GeometryError
        If the region holds no pixel centre, or reaches off the map.

    Examples
    --------
    >>> from regions import CirclePixelRegion, PixCoord
    >>> sky = SkyGrid.create((83.63, 22.01), shape=(5, 5), pixel_size=0.1)
    >>> region_mask(CirclePixelRegion(PixCoord(2, 2), 1.2), sky).sum(axis=1).tolist()
    [0, 1, 3, 1, 0]
    """
    low, high = _extent(region, sky)
    if low is None or high is None:
        mask = inside(region, sky)
        beyond = 0
    else:  # look at the surroundings of the region, on and off the map
        around = _inside(region, sky.window(low, high), low)
        rows, columns = (np.arange(a, b) for a, b in zip(low, high, strict=True))
        on_map = ((rows >= 0) & (rows < sky.shape[0]))[:, None] & ((columns >= 0) & (columns < sky.shape[1]))
        beyond = int((around & ~on_map).sum())
        mask = np.zeros(sky.shape, dtype=bool)
        kept = np.argwhere(around & on_map) + low
        mask[kept[:, 0], kept[:, 1]] = True
    if beyond:
        raise GeometryError(
            f"region {region_text(region)} reaches off the map: {beyond} of its {beyond + int(mask.sum())} pixels are "
            "not on it: give a region inside the map, or pad the map with ds.onoff.pad"
        )
    if not mask.any():
        raise GeometryError(
            f"region {region_text(region)} is empty: it holds the centre of no pixel of the map: enlarge it, or move it"
        )
    return mask


def inside(region: Any, sky: SkyGrid) -> Bools:
    """Pixels of a map whose centres lie in a region, which may lie off the map or hold none."""
    low, high = _extent(region, sky)
    if low is None or high is None:
        return _inside(region, sky)
    mask = np.zeros(sky.shape, dtype=bool)
    part = tuple(slice(min(max(a, 0), n), min(max(b, 0), n)) for a, b, n in zip(low, high, sky.shape, strict=True))
    if all(p.start < p.stop for p in part):
        mask[part] = _inside(region, sky.slice(*part), (part[0].start, part[1].start))
    return mask


def contains(region: Any, position: SkyCoord) -> Bools:
    """Tell which positions lie in a sky region, or in a compound of sky regions.

    Examples
    --------
    >>> from astropy import units as u
    >>> from regions import CircleSkyRegion
    >>> circle = CircleSkyRegion(SkyCoord(0, 89.9, unit="deg"), 0.2 * u.deg)
    >>> contains(circle, SkyCoord([0, 180, 180], [89.8, 89.95, 89.85], unit="deg")).tolist()
    [True, True, False]
    """
    from regions import CompoundSkyRegion, PixCoord

    if isinstance(region, CompoundSkyRegion):
        found = region.operator(contains(region.region1, position), contains(region.region2, position))
        return np.asarray(found, dtype=bool)
    wcs = _local(region)
    own = position.transform_to(sky_center(region).frame).spherical
    x, y = wcs.wcs_world2pix(own.lon.deg, own.lat.deg, 0)
    known = np.isfinite(x) & np.isfinite(y) & (np.hypot(x, y) < 90 / LOCAL)  # a gnomonic plane has one hemisphere
    near = PixCoord(np.where(known, x, 1e9), np.where(known, y, 1e9))
    return np.asarray(region.to_pixel(wcs).contains(near) & known, dtype=bool)


def region_center(region: Any, sky: SkyGrid) -> tuple[float, float]:
    """Longitude and latitude of the middle of a region in the frame of the map, deg; of a compound, of its parts."""
    from regions import PixelRegion

    parts = list(shapes(region))
    if isinstance(parts[0], PixelRegion):
        points = [_pixel_center(shape) for shape in parts]
        lon, lat = sky.pixel_to_sky(*(np.array(p) for p in zip(*points, strict=True)))
        centers = SkyCoord(lon, lat, unit="deg", frame=sky.frame)
    else:
        positions = [sky_center(shape).transform_to(sky.frame) for shape in parts]
        centers = SkyCoord([p.spherical.lon for p in positions], [p.spherical.lat for p in positions], frame=sky.frame)
    middle = SkyCoord(centers.cartesian.mean(), frame=sky.frame, representation_type="cartesian").spherical
    return float(middle.lon.deg), float(middle.lat.deg)


def region_text(region: Any) -> str:
    """Text of a region in the notation of ds9; of a compound, its parts joined by ``and``, ``or``, ``xor``.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord, UnitSphericalRepresentation
    >>> from regions import CircleSkyRegion
    >>> region_text(CircleSkyRegion(SkyCoord(83.63, 22.01, unit="deg"), 0.1 * u.deg))  # doctest: +SKIP
    'icrs;circle(83.630000,22.010000,0.100000)'
    """
    from regions import Regions

    first = next(shapes(region))
    if first is not region:
        words = {"and_": "and", "or_": "or", "xor": "xor"}
        word = words.get(region.operator.__name__, region.operator.__name__)
        return f"({region_text(region.region1)}) {word} ({region_text(region.region2)})"
    lines = Regions([region]).serialize(format="ds9", precision=10).splitlines()
    own = (line for line in lines if line.strip() and not line.startswith(("#", "global")))
    return ";".join(line.split(" #")[0].strip() for line in own)


# -- how it is done ---------------------------------------------------------------------------------------------------


def shapes(region: Any) -> Iterator[Any]:
    """Yield the simple regions that a region is made of."""
    from regions import CompoundPixelRegion, CompoundSkyRegion, Region

    if isinstance(region, CompoundPixelRegion | CompoundSkyRegion):
        yield from shapes(region.region1)
        yield from shapes(region.region2)
    elif isinstance(region, Region):
        if region.meta.get("include", 1) != 1:  # the mark of ds9, which the package does not heed on the sky
            raise SchemaError(
                f"a {type(region).__name__} to leave out found, with a - before it in its file: take the sign away and "
                "leave it out of another region by region ^ (region & hole)"
            )
        yield region
    else:
        raise SchemaError(
            f"a {type(region).__name__} found, a sky or pixel region of the package regions accepted, such as "
            "regions.CircleSkyRegion"
        )


def _inside(region: Any, sky: SkyGrid, start: tuple[int, int] = (0, 0)) -> Bools:
    """Pixels of a grid inside a region; pixel regions count from the map on which the grid starts at ``start``."""
    from regions import CompoundPixelRegion, CompoundSkyRegion, PixCoord, PixelRegion

    if isinstance(region, CompoundPixelRegion | CompoundSkyRegion):
        found = region.operator(_inside(region.region1, sky, start), _inside(region.region2, sky, start))
        return np.asarray(found, dtype=bool)
    rows, columns = (np.arange(n, dtype=float) for n in sky.shape)
    if isinstance(region, PixelRegion):
        x, y = np.broadcast_arrays(columns + start[1], rows[:, None] + start[0])
        return np.asarray(region.contains(PixCoord(x, y)), dtype=bool)
    lon, lat = sky.pixel_to_sky(columns, rows[:, None])
    return contains(region, SkyCoord(lon, lat, unit="deg", frame=sky.frame))


def _local(region: Any) -> WCS:
    """Projection about a sky region, in its own frame."""
    center = sky_center(region)
    if center.frame.name not in ("icrs", "galactic", "fk5", "fk4"):
        raise GeometryError(
            f"region in the frame {center.frame.name} found, icrs, galactic, fk5 or fk4 accepted: transform its centre"
        )
    projection = "TAN" if hasattr(region, "vertices") else "ARC"
    wcs = WCS(naxis=2)
    lon, lat = ("GLON", "GLAT") if center.frame.name == "galactic" else ("RA--", "DEC-")
    wcs.wcs.ctype = [f"{lon}-{projection}", f"{lat}-{projection}"]
    wcs.wcs.crval = [center.spherical.lon.deg, center.spherical.lat.deg]
    wcs.wcs.crpix, wcs.wcs.cdelt = [1.0, 1.0], [-LOCAL, LOCAL]
    if center.frame.name not in ("galactic", "icrs"):
        wcs.wcs.radesys = center.frame.name.upper()
    return wcs


def sky_center(region: Any) -> SkyCoord:
    """Centre of a simple sky region."""
    if hasattr(region, "center"):
        return region.center
    if hasattr(region, "vertices"):
        middle = region.vertices.cartesian.mean().represent_as(UnitSphericalRepresentation)
        return SkyCoord(middle.lon, middle.lat, frame=region.vertices.frame.replicate_without_data())
    raise SchemaError(f"a {type(region).__name__} found, a region with an area accepted: circle, polygon, ...")


def _pixel_center(region: Any) -> tuple[float, float]:
    if hasattr(region, "center"):
        return float(region.center.x), float(region.center.y)
    if hasattr(region, "vertices"):
        return float(np.mean(region.vertices.x)), float(np.mean(region.vertices.y))
    raise SchemaError(f"a {type(region).__name__} found, a region with an area accepted: circle, polygon, ...")


def _extent(region: Any, sky: SkyGrid) -> tuple[tuple[int, int], tuple[int, int]] | tuple[None, None]:
    """First and past-the-last pixel, (y, x), of a box around a region; None where the map cannot tell."""
    from regions import PixelRegion

    points = []
    for shape in shapes(region):
        if isinstance(shape, PixelRegion):
            box = shape.bounding_box
            points += [(box.ixmin - 1.0, box.iymin - 1.0), (box.ixmax + 1.0, box.iymax + 1.0)]
            continue
        box, wcs = shape.to_pixel(_local(shape)).bounding_box, _local(shape)
        angle = np.linspace(0, 2 * np.pi, 73)  # a circle around the box
        reach = 1.01 * max(np.hypot(x, y) for x in (box.ixmin, box.ixmax) for y in (box.iymin, box.iymax)) + 1
        radii = np.linspace(0, reach, 5)[:, None]
        lon, lat = wcs.wcs_pix2world((radii * np.cos(angle)).ravel(), (radii * np.sin(angle)).ravel(), 0)
        x, y = sky.sky_to_pixel(SkyCoord(lon, lat, unit="deg", frame=sky_center(shape).frame.replicate_without_data()))
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            return None, None
        points += [(x.min(), y.min()), (x.max(), y.max())]
    x, y = np.array(points).T
    low = (int(np.floor(y.min())) - 1, int(np.floor(x.min())) - 1)
    high = (int(np.ceil(y.max())) + 2, int(np.ceil(x.max())) + 2)
    if (high[0] - low[0]) * (high[1] - low[1]) > 4 * sky.shape[0] * sky.shape[1] + 10_000:
        return None, None
    return low, high
