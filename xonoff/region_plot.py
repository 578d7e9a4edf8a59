"""Plot of the on region and off regions of a spectrum on the map of the counts, with matplotlib (extra ``plot``)."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Unpack

import xarray as xr

from xonoff.errors import GeometryError
from xonoff.geometry import sky_dims, sky_grid
from xonoff.map_plot import MapOptions
from xonoff.observations import pointing as pointing_of
from xonoff.overlay import outline
from xonoff.plot import Plots
from xonoff.units import Position

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_regions"]

COLOURS = {"on": "tab:red", "off": "white", "exclusion": "cyan"}


def plot_regions(
    ds: xr.Dataset,
    region: Any,
    regions_off: Iterable[Any] = (),
    *,
    exclusion: Any = None,
    pointing: Position | None = None,
    ax: "Axes | None" = None,
    **options: Unpack[MapOptions],
) -> "Axes":
    """Draw the on region and the off regions on the map of the counts; computes what it shows.

    Parameters
    ----------
    ds : Dataset
        A map with ``counts``.
    region : Region
    regions_off : iterable of Region, optional
        Such as `xonoff.reflected_regions` finds.
    exclusion : Region, iterable of Region, or DataArray (sky) or (energy, sky) of bool, optional
        As for `xonoff.reflected_regions`; a DataArray has to be on the pixels of the map.
    pointing : SkyCoord or (lon, lat), optional
        Drawn as a cross; by default that of the dataset, if it tells one.
    ax : Axes, optional
        With a WCS projection; new ones by default.
    **options
        Of the map, see `xonoff.map_plot.MapOptions`.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import xonoff
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from regions import CircleSkyRegion
    >>> region = CircleSkyRegion(SkyCoord(83.63, 22.01, unit="deg"), 0.25 * u.deg)
    >>> pointing = SkyCoord(83.63, 22.81, unit="deg")
    >>> off = xonoff.reflected_regions(region, pointing)
    >>> ax = plot_regions(xonoff.tutorial.dataset(), region, off, pointing=pointing)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['8 off regions', 'on region', 'pointing']
    """
    from regions import Region

    sky, listed = sky_grid(ds), list(regions_off)
    if isinstance(exclusion, xr.DataArray) and sky_grid(exclusion) != sky:
        raise GeometryError("exclusion: a map on other pixels than those of the counts found: give regions to draw")
    ax = Plots(ds).counts(ax=ax, **options)
    handles: dict[str, Any] = {}
    if isinstance(exclusion, xr.DataArray):
        mask = exclusion.any([dim for dim in exclusion.dims if dim not in sky_dims(exclusion)]).transpose(*sky.dims())
        contour = ax.contour(mask.values, levels=[0.5], colors=COLOURS["exclusion"], linewidths=1.2)
        handles["excluded"] = contour.legend_elements()[0][0]
    elif exclusion is not None:
        for other in [exclusion] if isinstance(exclusion, Region) else list(exclusion):
            handles["excluded"] = outline(ax, other, sky, COLOURS["exclusion"])
    for other in listed:
        name = "off region" if len(listed) == 1 else f"{len(listed)} off regions"
        handles[name] = outline(ax, other, sky, COLOURS["off"])
    handles["on region"] = outline(ax, region, sky, COLOURS["on"])
    position = _pointing(ds, pointing)
    if position is not None and sky.contains(position):
        x, y = sky.sky_to_pixel(position)
        [handles["pointing"]] = ax.plot(x, y, "+", color=COLOURS["off"], markersize=10, markeredgewidth=1.5)
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2}
    ax.legend(list(handles.values()), list(handles), fontsize="small", facecolor="grey", **below)
    ax.set_title("counts with on and off regions")
    return ax


def _pointing(ds: xr.Dataset, pointing: Position | None) -> Position | None:
    if pointing is not None:
        return pointing
    try:
        return pointing_of(ds)
    except ValueError:  # not known, or several
        return None
