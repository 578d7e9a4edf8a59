"""Plot of a sky map on WCS axes, with matplotlib (extra ``plot``)."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.errors import GeometryError, SchemaError
from xonoff.figure import new_axes
from xonoff.geometry import sky_dims, sky_grid
from xonoff.graticule import draw_grid, grid_frame, label_axes
from xonoff.overlay import draw_psf, draw_region, draw_scale_bar, draw_sources, psf_circle, psf_radius, scale_bar
from xonoff.region import shapes
from xonoff.skygrid import SkyGrid
from xonoff.units import Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xonoff.predict import Models

__all__ = ["MapOptions", "sky_map"]

Floats = npt.NDArray[np.float64]


class MapOptions(TypedDict, total=False):
    """What all plots of maps take beside their axes.

    Attributes
    ----------
    grid : bool or str
        Meridians and parallels: True in the frame of the map, or "icrs", "fk5" or "galactic".
    sources : bool, SkyModel or iterable of SkyModel
        Position, 68 % extent and name of sources, see `xonoff.overlay.draw_sources`; True for those that the dataset
        carries.
    regions : Region or iterable of Region
        Regions of the package `regions`, whose borders are drawn.
    scale_bar : angle, deg
        Length of a bar in the lower right corner, see `xonoff.overlay.draw_scale_bar`.
    psf : bool, energy or angle
        Circle of 68 % containment in the lower left corner: True at the median energy of the counts, or at an energy
        such as "1 TeV", see `xonoff.overlay.psf_radius`; or its radius, such as "0.1 deg".
    cmap, norm, vmin, vmax, alpha, interpolation, rasterized, zorder
        Of `matplotlib.axes.Axes.imshow`, which is given all others too. On a scale that is symmetric about 0, of
        ``vmin`` and ``vmax`` one is enough.
    """

    grid: bool | str | None
    sources: "bool | Models"
    regions: Any
    scale_bar: Value | None
    psf: Value | None
    cmap: Any
    norm: Any
    vmin: float | None
    vmax: float | None
    alpha: Any
    interpolation: str | None
    rasterized: bool
    zorder: float


#: Options that are drawn over the map.
OVERLAYS = ("grid", "sources", "regions", "scale_bar", "psf")


def sky_map(
    array: xr.DataArray,
    label: str,
    *,
    ax: "Axes | None" = None,
    symmetric: bool = False,
    **options: Unpack[MapOptions],
) -> "Axes":
    """Draw a map on WCS axes, with a colour bar.

    What is refused is refused before a figure is made.

    Parameters
    ----------
    array : DataArray (sky)
        Values; NaN is left grey, and what is off the sky white.
    label : str
        Text of the colour bar, with the unit; up to the bracket also the title.
    ax : Axes, optional
        Axes with a WCS projection; new ones by default. On plain ones positions are pixels.
    symmetric : bool
        Use a two-sided colour scale centred on 0, unless ``vmin`` is 0 or above; of ``vmin`` and ``vmax`` one stands
        for both.
    **options
        See `MapOptions`. An array carries no models and no PSF: give these as ``sources=`` and ``psf="0.1 deg"``.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import xonoff
    >>> significance = xonoff.tutorial.dataset().onoff.significance(dim="energy")
    >>> ax = sky_map(significance, "significance (s.d.)", symmetric=True, grid="galactic", scale_bar="30 arcmin")
    >>> ax.get_title()
    'significance'
    """
    if not isinstance(array, xr.DataArray):
        raise SchemaError(
            f"array: a {type(array).__name__} found, a DataArray accepted, such as ds.counts.sum('energy')"
        )
    if len(sky_dims(array)) != 2:
        raise GeometryError(f"a map over two sky dimensions is wanted, dims {array.dims} found: a spectrum has no map")
    if array.ndim != 2:
        raise GeometryError(
            f"array: dimensions {array.dims} found, {sky_dims(array)} accepted: select or sum the others"
        )
    sky = sky_grid(array)
    over = check_options(options, sky)
    style: dict[str, Any] = {key: value for key, value in options.items() if key not in OVERLAYS}
    values = np.asarray(array.transpose(*sky.dims()).values, dtype=float)
    colour = "black" if symmetric else "white"
    if ax is None:
        width, height = figure_size(sky)
        ax = new_axes(sky.wcs, (width, height + (0.6 if over["grid"] not in (None, sky.frame) else 0)))
    image = ax.imshow(values, **({"origin": "lower", "interpolation": "nearest"} | _scale(values, symmetric, style)))
    ax.set_facecolor("lightgrey")  # what is masked; no colour of the scales
    _blank(ax, sky)
    ax.set_title(label.split(" (")[0])
    label_axes(ax, sky, over["grid"], colour)
    colorbar = ax.figure.colorbar(image, ax=ax, shrink=0.85, extend=_extend(values, image.get_clim()))
    colorbar.set_label(label)
    _draw(ax, sky, over, colour)
    return ax


def dataset_options(ds: xr.Dataset, options: MapOptions) -> MapOptions:
    """Options with the models and the radius of the PSF of a dataset, where these are asked for."""
    new = options.copy()
    if options.get("sources") is True:
        from xonoff.models import models_of

        new["sources"] = models_of(ds)
    psf = options.get("psf")
    if psf is True:
        new["psf"] = psf_radius(ds)
    elif psf is not None and not isinstance(psf, bool) and _is_energy(psf):
        new["psf"] = psf_radius(ds, psf)
    return new


def check_options(options: MapOptions, sky: SkyGrid) -> dict[str, Any]:
    """Options of what is drawn over a map; a fault of theirs is an error."""
    over: dict[str, Any] = {"grid": grid_frame(options.get("grid"), sky)}
    sources = options.get("sources")
    if sources is True:
        raise SchemaError("sources: True found, for an array that carries no models: give a SkyModel, or several")
    if sources:
        from xonoff.models import model_list

        over["sources"] = model_list(sources)
    regions = options.get("regions")
    if regions is not None:
        several = isinstance(regions, Iterable) or type(regions).__name__ == "Regions"
        over["regions"] = list(regions) if several else [regions]
        for region in over["regions"]:
            next(shapes(region))  # refuses what is none
    psf = options.get("psf")
    if psf is True:
        raise SchemaError("psf: True found, for an array that has no PSF: give the radius, such as psf='0.1 deg'")
    if psf is not None and psf is not False:
        psf_circle(sky, psf)  # refuses what the map does not hold
        over["psf"] = psf
    if options.get("scale_bar") is not None:
        scale_bar(sky, options["scale_bar"])
        over["scale_bar"] = options["scale_bar"]
    return over


def figure_size(sky: SkyGrid, width: float = 6.5) -> tuple[float, float]:
    """Width and height of the figure of a map, inches, so that the colour bar is about as high as the map.

    Examples
    --------
    >>> figure_size(SkyGrid.create((0, 0), shape=(10, 40), pixel_size=0.1))
    (6.5, 2.75)
    """
    ny, nx = sky.shape
    return width, float(np.clip((width - 2) * ny / nx + 1.2, 2.75, 1.5 * width))


def _draw(ax: "Axes", sky: SkyGrid, over: dict[str, Any], colour: str) -> None:
    if over["grid"] is not None:
        draw_grid(ax, sky, over["grid"], colour)
    for region in over.get("regions", ()):
        draw_region(ax, region, sky, colour)
    draw_sources(ax, sky, over.get("sources", ()), colour)
    if np.isnan(sky.pixel_to_sky(0, 0)[0]):  # white is the colour of the corners
        colour = "black"
    if "scale_bar" in over:
        draw_scale_bar(ax, sky, over["scale_bar"], colour)
    if "psf" in over:
        draw_psf(ax, sky, over["psf"], colour)


def _is_energy(value: Value) -> bool:
    """Tell an energy from an angle, which plain numbers are too."""
    from astropy import units as u

    try:
        return isinstance(value, str | u.Quantity) and u.Quantity(value).unit.is_equivalent("TeV")
    except (TypeError, ValueError):
        return False


def _scale(values: Floats, symmetric: bool, style: dict[str, Any]) -> dict[str, Any]:
    """Style with a colour scale: from 0 to all but the brightest pixels, or symmetric about 0."""
    if "norm" in style:
        return style
    finite = values[np.isfinite(values)]
    low = style.get("vmin")
    symmetric = symmetric and (low is None or low < 0)
    limit = _bright(np.abs(finite) if symmetric else finite)
    scale: dict[str, Any] = {"vmin": 0.0, "vmax": limit}
    if finite.size and finite.max() <= 0 and finite.min() < 0:
        scale = {"vmin": -_bright(-finite), "vmax": 0.0}
    if symmetric:  # an end that is given alone stands for both, if 0 is between them
        ends = [end for end in (style.get("vmax") or 0, -(style.get("vmin") or 0)) if end > 0]
        limit = ends[0] if ends else limit
        scale = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    return scale | {key: value for key, value in style.items() if value is not None}


def _bright(values: Floats) -> float:
    """End of a colour scale: all but the brightest two in a thousand, so that a source leaves the rest visible."""
    limit = float(np.percentile(values, 99.8)) if values.size else 0.0
    if limit <= 0 and values.size:
        limit = float(values.max())
    return limit if limit > 0 else 1.0


def _extend(values: Floats, limits: tuple[float, float]) -> str:
    """Ends of a colour bar that have an arrow, for there are values beyond."""
    beyond = bool((values < limits[0]).any()), bool((values > limits[1]).any())
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[beyond]


def _blank(ax: "Axes", sky: SkyGrid) -> None:
    """Paint white what is off the sky, and draw its border."""
    y, x = (np.linspace(-0.5, n - 0.5, min(max(2 * n, 400), 1000)) for n in sky.shape)
    edge = [sky.pixel_to_sky(x, y[[0, -1], None])[0].ravel(), sky.pixel_to_sky(x[[0, -1]], y[:, None])[0].ravel()]
    if np.isnan(np.concatenate(edge)).any():
        off = np.isnan(sky.pixel_to_sky(x, y[:, None])[0])
        ax.contourf(x, y, off, levels=[0.5, 1.5], colors="white")
        ax.contour(x, y, off, levels=[0.5], colors="black", linewidths=0.8)
