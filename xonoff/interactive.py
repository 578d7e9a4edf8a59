"""Map with an energy slider for a notebook, with holoviews (extra ``interactive``).

A step of the slider computes the energy bin that it shows, and no other: cubes larger than memory can be looked at.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff import quantities
from xonoff.axes import axis_edges
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import sky_dims, sky_grid
from xonoff.graticule import FRAMES
from xonoff.skygrid import SkyGrid

__all__ = ["explore"]

Floats = npt.NDArray[np.float64]

#: Quantities of on/off counts that are no variables.
QUANTITIES: dict[str, Callable[[xr.Dataset], xr.DataArray]] = {
    "alpha": quantities.alpha,
    "background": quantities.background,
    "excess": quantities.excess,
    "significance": quantities.significance,
    "wstat": quantities.wstat,
}
#: Those whose colours are symmetric about 0.
SYMMETRIC = ("excess", "significance")
#: Degrees between ticks of a map whose axes are not those of the sky.
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60)


def explore(ds: xr.Dataset, name: str = "counts", **options: Any) -> Any:
    """Sky map with a slider of energy; a step computes what it shows.

    Longitude grows to the left, as on the sky, and the position of a pixel is shown under the mouse. A map in a
    cylindrical projection has axes in degrees; another one has them in pixels, with ticks of longitude along its lower
    edge and of latitude along its left one, where these hold.

    Parameters
    ----------
    ds : Dataset
        A map.
    name : str
        A variable with the sky of the counts, or "alpha", "background", "excess", "significance" or "wstat". Bins
        outside the masks are left blank.
    **options
        Further options of `holoviews.Image`, such as ``cmap="magma"`` or ``logz=True``.

    Returns
    -------
    holoviews.DynamicMap
        By ``energy``, the log centre of a bin in TeV; of a map without energies a ``holoviews.Image``.

    Raises
    ------
    ImportError
        If holoviews or bokeh is missing.
    GeometryError
        If there is no sky.
    SchemaError
        If the dataset has no such map.

    Examples
    --------
    >>> import xonoff
    >>> explore(xonoff.tutorial.dataset(), "significance").kdims
    [Dimension('energy')]
    """
    hv = _holoviews()
    array = _array(ds, name)
    sky = sky_grid(ds)
    x, y, axes = _axes(sky)
    lon, lat = sky.lonlat()
    sliced = "energy" in array.dims
    bins = ds["energy"].values.tolist() if sliced else []
    if sliced and not bins:
        raise GeometryError("energy: no bin found, one or more accepted")

    def image(energy: float | None = None) -> Any:
        one = array if energy is None else array.isel(energy=bins.index(energy))
        values = np.array(one.transpose(*sky.dims()).values, dtype=np.float64)
        values[np.isnan(lat)] = np.nan  # off the sky
        title = name if energy is None else f"{name}, {edges[bins.index(energy)]}"
        look = {"title": title} | _colours(values, name in SYMMETRIC, bool(options.get("logz")))
        if not np.isfinite(values).any():  # holoviews cannot show an image without any value
            values, look = np.zeros(values.shape), look | {"title": f"{title}: all masked", "alpha": 0.0}
        drawn = hv.Image((x, y, values, lon % 360, lat), kdims=["x", "y"], vdims=[name, "lon", "lat"])
        return drawn.opts(**common | look | options)

    common: dict[str, Any] = {"colorbar": True, "tools": ["hover"], "framewise": True, **axes}
    if not bins:
        return image()
    limits = axis_edges(ds, "energy")
    edges = [f"{low:.3g} to {high:.3g} TeV" for low, high in pairwise(limits)]
    slider = hv.Dimension("energy", values=bins, unit="TeV", value_format=lambda value: f"{value:.3g}")
    return hv.DynamicMap(image, kdims=[slider])


def _holoviews() -> Any:
    """Holoviews with its bokeh backend; an error that says what to install where there is none."""
    try:
        import bokeh  # noqa: F401
        import holoviews as hv
    except ImportError as error:
        raise ImportError('interactive maps need holoviews and bokeh: pip install "xonoff[interactive]"') from error
    if "bokeh" not in hv.Store.loaded_backends():
        hv.extension("bokeh", logo=False)
    return hv


def _array(ds: xr.Dataset, name: str) -> xr.DataArray:
    """Map of a name within the masks, lazy where the dataset is."""
    dims = sky_dims(ds)
    if len(dims) != 2:
        raise GeometryError("a spectrum found, a map over two sky dimensions accepted: plot it with ds.onoff.plot")
    known = [str(other) for other, found in ds.data_vars.items() if set(dims) <= set(found.dims) <= {"energy", *dims}]
    if name not in (*known, *QUANTITIES):
        raise SchemaError(f"name {name!r} found, one of {sorted({*known, *QUANTITIES})} accepted")
    array = ds[name] if name in known else QUANTITIES[name](ds)
    if name.startswith("mask"):
        return array
    masked: xr.DataArray = array.where(quantities.mask(ds))
    return masked


def _colours(values: Floats, symmetric: bool, logarithmic: bool) -> dict[str, Any]:
    """Colours of an image, and the values at their ends."""
    finite = values[np.isfinite(values)]
    high = float(np.abs(finite).max(initial=0)) or 1.0
    if symmetric and not logarithmic:
        return {"cmap": "RdBu_r", "clim": (-high, high), "alpha": 1.0}
    positive = finite[finite > 0]
    low = float(positive.min(initial=high)) if logarithmic else float(finite.min(initial=0))
    return {"cmap": "viridis", "clim": (low, high), "alpha": 1.0}


def _axes(sky: SkyGrid) -> tuple[Floats, Floats, dict[str, Any]]:
    """Positions of columns and rows, and the options of axes on which the sky is the right way round."""
    from bokeh.models import CustomJSTickFormatter

    if min(sky.shape) < 2:
        raise GeometryError(f"a map of {sky.shape} pixels found, two or more along each side accepted")
    lon, lat = (np.asarray(part, dtype=np.float64) for part in sky.lonlat())
    names = FRAMES.get(sky.frame, ("Longitude", "Latitude"))
    options: dict[str, Any] = {"xlabel": f"{names[0]} (deg)", "ylabel": f"{names[1]} (deg)", "aspect": "equal"}
    if sky.separable and all(np.allclose(np.diff(part), part[1] - part[0]) for part in (lon[0], lat[:, 0])):
        turned = CustomJSTickFormatter(code="return String(+(((tick % 360) + 360) % 360).toFixed(6))")
        return lon[0], lat[:, 0], options | {"invert_xaxis": True, "xformatter": turned}
    y, x = (np.arange(n, dtype=np.float64) for n in sky.shape)
    xticks = [(at, f"{angle % 360:g}") for at, angle in _ticks(lon[0], x)]
    yticks = [(at, f"{angle:g}") for at, angle in _ticks(lat[:, 0], y)]
    for axis, ticks in (("x", xticks), ("y", yticks)):
        options |= {f"{axis}ticks": ticks} if ticks else {f"{axis}axis": "bare"}
    return x, y, options


def _ticks(angles: Floats, pixels: Floats) -> list[tuple[float, float]]:
    """Pixels along an edge where the angle is a round number; none where it is not monotonic, or off the sky."""
    turn = np.diff(angles)
    if not ((turn > 0).all() or (turn < 0).all()):
        return []
    low, high = sorted((float(angles[0]), float(angles[-1])))
    by = next((step for step in STEPS if (high - low) / step <= 8), STEPS[-1])
    order = np.argsort(angles)
    rounds = np.arange(np.ceil(low / by), np.floor(high / by) + 1) * by
    return [(float(np.interp(angle, angles[order], pixels[order])), round(float(angle), 9)) for angle in rounds]
