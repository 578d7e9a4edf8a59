"""What is drawn over a map: sources, borders of regions, a scale bar, the size of the PSF."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord

from xonoff import quantities
from xonoff.axes import axis_edges
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import sky_dims, sky_grid
from xonoff.region import inside, region_center, shapes
from xonoff.skygrid import SkyGrid
from xonoff.units import Value, value_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xonoff.models import Shape, SkyModel

__all__ = [
    "draw_psf",
    "draw_region",
    "draw_scale_bar",
    "draw_sources",
    "median_energy",
    "outline",
    "psf_circle",
    "psf_radius",
    "scale_bar",
    "source_part",
]

Floats = npt.NDArray[np.float64]

#: Share of the flux of a source, and of the events of a point source, that an outline holds.
SHARE = 0.68
#: Points along each side of the grid on which the outline of a source is found.
FINE = 300
#: Maps wider than this, deg, have no one scale: theirs is that of the middle.
WIDE = 60.0
#: Between corner and overlay, as a share of the side of the map.
MARGIN = 0.05


# -- sources and regions ----------------------------------------------------------------------------------------------


def draw_sources(ax: "Axes", sky: SkyGrid, models: "SkyModel | Iterable[SkyModel]", colour: str = "black") -> None:
    """Draw position, extent and name of sources on a map.

    The extent is the border of the brightest part of the source that holds 68 % of its flux: of a Gaussian an ellipse
    of 1.51 sigma, of a disk its edge, of a shell its rim. A source whose position is off the map is left out, and so
    is one that has no position.

    Parameters
    ----------
    ax : Axes
    sky : SkyGrid
        Pixels of the map.
    models : SkyModel or iterable of SkyModel
    colour : str
    """
    from xonoff.models import model_list

    ax.autoscale(enable=False)
    for model in model_list(models):
        position = None if model.spatial is None else _middle(model.spatial)
        if model.spatial is None or position is None or not sky.contains(position):
            continue
        if model.spatial.extent > 0:
            x, y, brightness, level = source_part(model.spatial, sky)
            lines = ax.contour(x, y, brightness, levels=[level], colors=colour, linewidths=1.0)
            lines.set(path_effects=halo(colour))
        x0, y0 = (float(p) for p in sky.sky_to_pixel(position))
        ax.plot(x0, y0, "+", color=colour, markersize=8, markeredgewidth=1.2, path_effects=halo(colour))
        _write(ax, model.name, (x0, y0), colour, (5, 5))


def source_part(shape: "Shape", sky: SkyGrid, share: float = SHARE) -> tuple[Floats, Floats, Floats, float]:
    """Brightness of a source on a fine grid, and the level above which it holds a share of its flux.

    Returns
    -------
    x, y : ndarray
        Pixels of the map.
    brightness : ndarray (y, x), sr-1
    level : float, sr-1

    Examples
    --------
    >>> from xonoff.models import GaussianSource
    >>> sky = SkyGrid.create((83.63, 22.01), shape=(50, 50), pixel_size=0.1, projection="TAN")
    >>> *_, brightness, level = source_part(GaussianSource(83.63, 22.01, 0.2), sky)
    >>> round(float(level / brightness.max()), 2)  # of a Gaussian, the share that is beyond
    0.32
    """
    middle = _middle(shape)
    radii = np.repeat([0.5, 1.0], 72) * shape.extent
    ring = middle.directional_offset_by(np.tile(np.arange(0, 360, 5), 2) * u.deg, radii * u.deg)
    columns, rows = (p[np.isfinite(p)] for p in sky.sky_to_pixel(ring))
    if not columns.size:
        columns, rows = (np.array([0.0, n]) for n in sky.shape[::-1])
    x, y = (np.linspace(p.min() - 0.02 * np.ptp(p), p.max() + 0.02 * np.ptp(p), FINE) for p in (columns, rows))
    (y0, x0), (dy, dx) = sky.origin, sky.step
    fine = SkyGrid(sky.header, (FINE, FINE), (y0 + dy * y[0], x0 + dx * x[0]), (dy * (y[1] - y[0]), dx * (x[1] - x[0])))
    at = fine.skycoord().transform_to(shape.frame).spherical
    brightness = np.nan_to_num(np.asarray(shape(at.lon.deg, at.lat.deg), dtype=np.float64))
    order = np.argsort(brightness, axis=None)[::-1]
    flux = np.cumsum((brightness * np.nan_to_num(fine.solid_angle())).ravel()[order])
    level = brightness.ravel()[order][np.searchsorted(flux, share * flux[-1])]
    return x, y, brightness, float(level) * (1 - 1e-9)  # below the level of a disk, which is flat


def draw_region(ax: "Axes", region: Any, sky: SkyGrid, colour: str = "black") -> None:
    """Draw the border of a region on a map, with its name where it has one; a point is a cross.

    Parameters
    ----------
    ax : Axes
    region : Region
        Sky or pixel region of the package `regions`; its ``meta`` may have ``label`` or ``text``.
    sky : SkyGrid
        Pixels of the map.
    colour : str
    """
    from regions import PointPixelRegion, PointSkyRegion

    name = str(getattr(region, "meta", {}).get("label") or getattr(region, "meta", {}).get("text") or "")
    if isinstance(region, PointPixelRegion | PointSkyRegion):
        center = region.center
        x, y = (center.x, center.y) if isinstance(region, PointPixelRegion) else sky.sky_to_pixel(center)
        x, y = float(x), float(y)
        ax.plot(x, y, "x", color=colour, markersize=6, path_effects=halo(colour), scalex=False, scaley=False)
        if name:
            _write(ax, name, (x, y), colour, (5, 5))
        return
    outline(ax, region, sky, colour)
    rows, columns = np.nonzero(inside(region, sky)) if name else (np.array([]), np.array([]))
    if rows.size:
        _write(ax, name, (float(columns.mean()), float(rows.max()) + 0.5), colour, (0, 3), ha="center")
    elif name:  # between the centres of pixels, or off the map
        center = SkyCoord(*region_center(region, sky), unit="deg", frame=sky.frame)
        if sky.contains(center):
            x, y = map(float, sky.sky_to_pixel(center))
            _write(ax, name, (x, y), colour, (5, 5))


def outline(ax: "Axes", region: Any, sky: SkyGrid, colour: str = "black") -> Any:
    """Draw the border of a region on a map, as it lies on the sky: whatever the region and the projection.

    Parts off the map are left out.

    Returns
    -------
    Artist
        A line that stands for it in a legend.
    """
    from matplotlib.lines import Line2D
    from regions import PixCoord, PixelRegion

    line = Line2D([], [], color=colour, linewidth=1.2)
    boxes = [box for shape in shapes(region) if (box := _box(shape, sky))]
    if not boxes:
        return line
    low, high = np.min(boxes, axis=0)[:2], np.max(boxes, axis=0)[2:]
    n = int(np.clip(400 // max(b - a for a, b in zip(low, high, strict=True)), 1, 32))  # points along a pixel
    y, x = (a + (np.arange(n * (b - a)) + 0.5) / n - 0.5 for a, b in zip(low, high, strict=True))
    if isinstance(region, PixelRegion):
        within = region.contains(PixCoord(*np.meshgrid(x, y)))
    else:
        (y0, x0), (dy, dx) = sky.origin, sky.step
        fine = SkyGrid(sky.header, (y.size, x.size), (y0 + dy * y[0], x0 + dx * x[0]), (dy / n, dx / n))
        within = inside(region, fine)
    ax.autoscale(enable=False)
    lines = ax.contour(x, y, within, levels=[0.5], colors=colour, linewidths=1.2)
    lines.set(path_effects=halo(colour))
    return line


def _box(region: Any, sky: SkyGrid) -> tuple[int, int, int, int] | None:
    """First row and column, and those behind the last ones, around a simple region; None if it is off the map."""
    from regions import PixelRegion

    rows, columns = np.nonzero(inside(region, sky))
    if rows.size:
        return int(rows.min()) - 1, int(columns.min()) - 1, int(rows.max()) + 2, int(columns.max()) + 2
    center = SkyCoord(*region_center(region, sky), unit="deg", frame=sky.frame)
    if not sky.contains(center):
        return None
    column, row = (round(float(p)) for p in sky.sky_to_pixel(center))  # between the centres of pixels
    box = (region if isinstance(region, PixelRegion) else region.to_pixel(sky.wcs)).bounding_box
    low = max(min(box.iymin, row - 1), -1), max(min(box.ixmin, column - 1), -1)
    return *low, min(max(box.iymax, row + 2), sky.shape[0] + 1), min(max(box.ixmax, column + 2), sky.shape[1] + 1)


# -- in the corners ---------------------------------------------------------------------------------------------------


def draw_scale_bar(ax: "Axes", sky: SkyGrid, length: Value, colour: str = "black") -> None:
    """Draw a bar of a true angle in the lower right corner of a map, see `scale_bar`.

    Parameters
    ----------
    ax : Axes
    sky : SkyGrid
        Pixels of the map.
    length : angle, deg
        Written as it is given.
    colour : str
    """
    left, right, row = scale_bar(sky, length)
    ax.autoscale(enable=False)
    ax.plot([left, right], [row, row], color=colour, linewidth=2, path_effects=halo(colour))
    text = length if isinstance(length, str) else f"{u.Quantity(length, getattr(length, 'unit', u.deg)):g}"
    _write(ax, text, ((left + right) / 2, row), colour, (0, 4), ha="center")


def scale_bar(sky: SkyGrid, length: Value) -> tuple[float, float, float]:
    """Ends of a bar of a true angle in the lower right corner of a map.

    The angle holds where the bar is; on a map wider than 60 deg, or whose corner is off the sky, in its middle.

    Returns
    -------
    left, right, row : float
        Pixels.

    Raises
    ------
    GeometryError
        If the bar is longer than the map is wide.

    Examples
    --------
    >>> sky = SkyGrid.create((83.63, 60.0), shape=(50, 50), pixel_size=0.1)
    >>> left, right, _ = scale_bar(sky, "1 deg")  # ten pixels on the equator
    >>> round(right - left)
    19
    """
    ny, nx = sky.shape
    right, row = nx - 0.5 - MARGIN * nx, MARGIN * ny - 0.5
    x = np.linspace(0, right + 0.5, 2001)
    if _wide(sky, right, row):
        lon, lat = sky.pixel_to_sky((nx - 1) / 2 + np.stack([-x, x]) / 2, (ny - 1) / 2)
        one, two = SkyCoord(lon, lat, unit="deg")
    else:
        two = SkyCoord(*sky.pixel_to_sky(right - x, row), unit="deg")
        one = two[0]
    distance = one.separation(two).deg
    turns = ~(np.diff(distance) > 0)  # it falls again behind the farthest, and off the sky there is none
    n = int(np.argmax(turns)) + 1 if turns.any() else x.size
    angle = value_in(length, "deg")
    if not 0 < angle <= distance[n - 1]:
        raise GeometryError(
            f"scale_bar: {length!r} found, an angle above 0 up to {distance[n - 1]:.3g} deg, the width of the map, "
            "accepted"
        )
    return right - float(np.interp(angle, distance[:n], x[:n])), right, row


def draw_psf(ax: "Axes", sky: SkyGrid, radius: Value, colour: str = "black") -> None:
    """Draw the circle that holds 68 % of a point source in the lower left corner of a map, see `psf_circle`.

    Parameters
    ----------
    ax : Axes
    sky : SkyGrid
        Pixels of the map.
    radius : angle, deg
        See `psf_radius`.
    colour : str
    """
    from matplotlib.patches import Polygon

    ring = psf_circle(sky, radius)
    ax.add_patch(Polygon(ring, closed=True, facecolor="lightgrey", edgecolor="black", alpha=0.9, zorder=3))
    right = (float(ring[:, 0].max()), float((ring[:, 1].min() + ring[:, 1].max()) / 2))
    _write(ax, "PSF 68 %", right, colour, (4, 0), va="center")


def psf_circle(sky: SkyGrid, radius: Value) -> Floats:
    """Circle on the sky in the lower left corner of a map.

    Its size and shape hold where it is; on a map wider than 60 deg, or whose corner is off the sky, in its middle.

    Returns
    -------
    ndarray (points, 2)
        Pixels, x and y.

    Raises
    ------
    GeometryError
        If the circle is wider than the map.

    Examples
    --------
    >>> sky = SkyGrid.create((83.63, 22.01), shape=(50, 50), pixel_size=0.1, projection="TAN")
    >>> np.ptp(psf_circle(sky, "0.2 deg"), axis=0).round(1).tolist()
    [4.0, 4.0]
    """
    ny, nx = sky.shape
    middle = np.array([(nx - 1) / 2, (ny - 1) / 2])
    angle = value_in(radius, "deg")
    ring = _circle(sky, middle, angle)
    half = np.ptp(ring, axis=0) / 2
    if not (angle > 0 and (half < [nx / 2, ny / 2]).all()):
        raise GeometryError(f"psf: a radius of {radius!r} found, one that the map holds accepted")
    corner = half + MARGIN * np.array([nx, ny]) - 0.5
    return ring - middle + corner if _wide(sky, *corner) else _circle(sky, corner, angle)


def psf_radius(ds: xr.Dataset, energy: Value | None = None, share: float = SHARE) -> float:
    """Radius that holds a share of a point source in the middle of a map, deg.

    Parameters
    ----------
    ds : Dataset
        With ``psf``.
    energy : energy, TeV, optional
        True energy; by default the one that half of the counts within the masks are above, which is computed.
    share : float

    Raises
    ------
    SchemaError
        If the dataset has no PSF there.

    Examples
    --------
    >>> import xonoff
    >>> radii = [psf_radius(xonoff.tutorial.dataset(), energy) for energy in ("1 TeV", "10 TeV")]
    >>> radii[0] > radii[1] > 0.05
    True
    """
    from xonoff.psf import containment_radius

    if "psf" not in ds:
        raise SchemaError("psf: no variable psf found: give the radius, such as psf='0.1 deg', or add it")
    at = median_energy(ds) if energy is None else value_in(energy, "TeV")
    radius = containment_radius(ds, share, sky_grid(ds).center)
    energies, values = ds[radius.dims[0]].values, np.asarray(radius.values)
    known = np.isfinite(values)
    if not known.any() or not at > 0:
        raise SchemaError(f"psf: none at {at:.3g} TeV in the middle of the map found: give the radius, psf='0.1 deg'")
    return float(np.interp(np.log(at), np.log(energies[known]), values[known]))


def median_energy(ds: xr.Dataset) -> float:
    """Energy that half of the counts within the masks are above, TeV; without counts the middle of the axis."""
    edges = np.log(axis_edges(ds, "energy"))
    if "counts" not in ds or "energy" not in ds["counts"].dims:
        return float(np.exp((edges[0] + edges[-1]) / 2))
    valid = quantities.mask(ds) & (ds["counts"] >= 0) & (ds["counts"] < np.inf)
    total = np.cumsum(ds["counts"].where(valid, 0).sum(sky_dims(ds), dtype=np.float64).values)
    if not total[-1] > 0:
        return float(np.exp((edges[0] + edges[-1]) / 2))
    return float(np.exp(np.interp(total[-1] / 2, np.concatenate([[0], total]), edges)))


# -- how it is done ---------------------------------------------------------------------------------------------------


def halo(colour: str) -> list[Any]:
    """White around black and black around white, which so are seen on every colour of a map."""
    from matplotlib import patheffects

    other = {"black": "white", "white": "black"}.get(colour)
    return [patheffects.withStroke(linewidth=2.5, foreground=other, alpha=0.7)] if other else []


def _write(
    ax: "Axes", text: str, at: tuple[float, float], colour: str, offset: tuple[float, float], **style: Any
) -> None:
    ax.annotate(
        text,
        at,
        xytext=offset,
        textcoords="offset points",
        color=colour,
        fontsize="small",
        clip_on=True,
        annotation_clip=True,
        parse_math=False,
        path_effects=halo(colour),
        **style,
    )


def _middle(shape: "Shape") -> Any:
    """Position of a shape, or the middle of the map of a template; None for what is everywhere."""
    if hasattr(shape, "sky"):
        return SkyCoord(*shape.sky.center, unit="deg", frame=shape.frame)
    return shape.position


def _wide(sky: SkyGrid, x: float, y: float) -> bool:
    """Tell whether the scale is that of the middle, in the place of that at a pixel."""
    wide = max(n * size for n, size in zip(sky.shape, sky.pixel_scales, strict=True)) > WIDE
    return wide or not np.isfinite(sky.pixel_to_sky(x, y)[0])


def _circle(sky: SkyGrid, middle: npt.ArrayLike, radius: float) -> Floats:
    """Circle on the sky around a pixel (x, y), as pixels of the shape (points, 2)."""
    center = SkyCoord(*sky.pixel_to_sky(*np.asarray(middle)), unit="deg", frame=sky.frame)
    angles = np.arange(0, 360, 2)
    x, y = sky.sky_to_pixel(center.directional_offset_by(angles * u.deg, np.full(angles.size, radius) * u.deg))
    return np.stack([x, y], axis=1)
