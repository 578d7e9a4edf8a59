"""Longitudes and latitudes on the axes of a map: labels, and grids in the frame of the map or in another."""

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord

from xonoff.errors import GeometryError, SchemaError
from xonoff.skygrid import SkyGrid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FRAMES", "draw_grid", "grid_frame", "label_axes"]

#: Names of longitude and latitude.
FRAMES = {
    "icrs": ("Right ascension", "Declination"),
    "fk5": ("Right ascension", "Declination"),
    "galactic": ("Galactic longitude", "Galactic latitude"),
}
#: Between parallels around a pole, deg.
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


def grid_frame(grid: bool | str | None, sky: SkyGrid) -> str | None:
    """Frame that is meant by the argument ``grid`` of a plot; None for no grid.

    Examples
    --------
    >>> sky = SkyGrid.create((83.63, 22.01), shape=(5, 5), pixel_size=0.1)
    >>> grid_frame(True, sky), grid_frame("galactic", sky), grid_frame(False, sky)
    ('icrs', 'galactic', None)
    """
    if isinstance(grid, str) and grid in FRAMES:
        return grid
    if grid is None or isinstance(grid, bool):
        return sky.frame if grid else None
    raise SchemaError(f"grid: {grid!r} found, True for the frame of the map, or one of {list(FRAMES)} accepted")


def label_axes(ax: "Axes", sky: SkyGrid, frame: str | None = None, colour: str = "black") -> None:
    """Label the axes of a map; with a grid where its corners are off the sky, or a pole is on it.

    Parameters
    ----------
    ax : Axes
    sky : SkyGrid
    frame : str, optional
        Of the grid that will be drawn: where the corners are off the sky it stands for that of the map.
    colour : str
        Of that grid.
    """
    whole = not _corners(sky)
    own = frame if whole and frame is not None else sky.frame
    lon, lat = FRAMES.get(own, ("Longitude", "Latitude"))
    if not hasattr(ax, "coords"):
        ax.set_xlabel("x (pixels)")
        ax.set_ylabel("y (pixels)")
        return
    on_sky: Any = ax
    within = not sky.separable and bool(whole or _pole(sky, sky.frame))
    cd = sky.wcs.wcs.cd
    turned = abs(cd[0, 1]) > abs(cd[0, 0]) and not within  # longitude along the columns
    names = (f"{lon} ({'deg' if own == 'galactic' else own.upper()})", lat)
    for axis, name, side in zip(on_sky.coords, names, "lb" if turned else "bl", strict=True):
        axis.set_ticklabel_position(side)  # by itself it may be the top, where the title is
        axis.set_axislabel_position(side)
        axis.set_axislabel(name)
    if within:
        _hide_labels(on_sky.coords)
        for axis in on_sky.coords:
            axis.set_axislabel_visibility_rule("always")
            axis.set_ticks_visible(False)  # or the labels of another frame would tell how far out the name is
        _inner_grid(ax, on_sky.coords if own == sky.frame else on_sky.get_coords_overlay(own), sky, own, colour)


def draw_grid(ax: "Axes", sky: SkyGrid, frame: str, colour: str = "black") -> None:
    """Draw meridians and parallels of a frame over a map whose axes are labelled.

    That of another frame than the map's is dotted, and labelled on the top and the right.

    Raises
    ------
    GeometryError
        If the axes have no WCS projection.
    """
    if not hasattr(ax, "coords"):
        raise GeometryError("grid: axes without WCS found: make them with add_subplot(projection=ds.onoff.wcs)")
    if not sky.separable and (not _corners(sky) or (frame == sky.frame and _pole(sky, frame))):
        return  # `label_axes` has drawn it
    if frame == sky.frame:
        ax.coords.grid(color=colour, alpha=0.5, linewidth=0.6)
        return
    on_sky: Any = ax
    overlay = on_sky.get_coords_overlay(frame)
    if _pole(sky, frame):
        _inner_grid(ax, overlay, sky, frame, colour, linestyle=":")
        return
    overlay.grid(color=colour, alpha=0.8, linewidth=0.8, linestyle=":")
    for axis, name, side in zip(overlay, FRAMES[frame], "tr", strict=True):
        axis.set_axislabel(name, fontsize="small", minpad=0.8)
        axis.set_ticklabel(size="small")
        axis.set_ticks(number=7)
        axis.set_ticks_position(side)
        axis.set_ticklabel_position(side)
        axis.set_axislabel_position(side)
    if not (not sky.separable and _pole(sky, sky.frame)):
        for axis in on_sky.coords:  # the ticks of each frame on its own sides
            axis.set_ticks_position("bl")
    ax.set_title(ax.get_title(), pad=38)


def _corners(sky: SkyGrid) -> bool:
    """Tell whether the corners of a map are on the sky, or some of them."""
    y, x = (np.array([0, n - 1]) for n in sky.shape)
    return bool(np.isfinite(sky.pixel_to_sky(x, y[:, None])[0]).any())


def _pole(sky: SkyGrid, frame: str) -> float:
    """Latitude of a pole of a frame that is on a map; 0 if none is."""
    return next((pole for pole in (-90.0, 90.0) if sky.contains(SkyCoord(0, pole, unit="deg", frame=frame))), 0.0)


def _hide_labels(coords: Any) -> None:
    for axis in coords:
        axis.set_ticks_visible(False)
        axis.set_ticklabel_visible(False)


def _inner_grid(ax: "Axes", coords: Any, sky: SkyGrid, frame: str, colour: str, linestyle: str = "-") -> None:
    """Draw a grid with its labels within the map: around a pole, or on the whole sky."""
    pole = _pole(sky, frame)
    if _corners(sky):  # around a pole: meridians, and parallels in steps that the map holds some of
        reach = min(n * size for n, size in zip(sky.shape, sky.pixel_scales, strict=True)) / 5
        by = max((step for step in STEPS if step <= reach), default=reach)
        lats = [np.sign(pole) * (90 - by * n) for n in range(1, 5)]
        spacing, places = (45, by), [(22.5, lat, lat) for lat in lats]
        places += [(lon, np.sign(pole) * (90 - 1.5 * by), lon) for lon in range(0, 360, 45)]
    else:
        middle = SkyCoord(*sky.center, unit="deg", frame=sky.frame).transform_to(frame).spherical.lon.deg
        spacing, places = (60, 30), [(middle, lat, lat) for lat in (-60, -30, 30, 60)]
        places += [(lon, 0, lon) for lon in range(0, 360, 60)]
    if coords is not getattr(ax, "coords", None):  # the labels of the map are those of its own axes
        _hide_labels(coords)
        for axis in coords:
            axis.set_auto_axislabel(False)
    for axis, by in zip(coords, spacing, strict=True):
        axis.set_ticks(spacing=by * u.deg)
        axis.grid(color=colour, alpha=0.6, linewidth=0.6 if linestyle == "-" else 1.0, linestyle=linestyle)
    box = {"facecolor": "white", "alpha": 0.6, "linewidth": 0, "pad": 0.5}
    for lon, lat, angle in places:
        at = SkyCoord(lon, lat, unit="deg", frame=frame)
        if sky.contains(at):
            column, row = map(float, sky.sky_to_pixel(at))
            ax.text(column, row, f"{angle:g}°", fontsize="x-small", ha="center", va="center", bbox=box)
