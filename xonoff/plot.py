"""Maps on WCS axes and spectra of a dataset, with matplotlib (extra ``plot``).

Every plot takes ``ax=`` and returns the axes it drew on; none calls ``show``. Maps are summed over energy within the
masks. Plotting computes what it shows.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from astropy import units as u

from xonoff import quantities
from xonoff.axes import axis_edges
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import sky_dims, sky_grid
from xonoff.region import inside, region_mask
from xonoff.skygrid import SkyGrid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from xonoff.predict import Models
    from xonoff.residuals import Method
    from xonoff.units import Value

__all__ = ["Plots", "outline", "pyplot", "residual_spectrum", "sky_map", "spectrum"]

FRAMES = {
    "icrs": ("Right ascension", "Declination"),
    "fk5": ("Right ascension", "Declination"),
    "galactic": ("Galactic longitude", "Galactic latitude"),
}


#: Between parallels around a pole, deg.
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
#: Open markers let the others be seen where they lie on each other.
STYLES: dict[str, dict[str, Any]] = {
    "counts": {"marker": "o", "markerfacecolor": "none"},
    "background": {},
    "excess": {"marker": "s", "markerfacecolor": "none", "alpha": 0.8},
}


class Plots:
    """The plots of one dataset, as ``ds.onoff.plot`` offers them.

    Examples
    --------
    >>> import xonoff
    >>> ax = xonoff.tutorial.dataset().onoff.plot.counts()
    >>> ax.get_title()
    'counts'
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def counts(self, *, ax: "Axes | None" = None, **style: Any) -> "Axes":
        """Map of the counts, summed over energy within the masks."""
        inside = _valid_counts(self._ds)
        over = _energy(self._ds)
        total = self._ds["counts"].where(inside, 0).sum(over, dtype=np.float64)
        return sky_map(total.where(inside.any(over)), "counts", ax=ax, **style)

    def excess(self, *, ax: "Axes | None" = None, **style: Any) -> "Axes":
        """Map of the excess, summed over energy within the masks, on a colour scale symmetric about 0."""
        total = quantities.excess(quantities.on_off_sums(self._ds, _energy(self._ds)))
        return sky_map(total, "excess counts", ax=ax, symmetric=True, **style)

    def significance(self, *, ax: "Axes | None" = None, **style: Any) -> "Axes":
        """Map of the significance of each pixel, summed over energy within the masks, in standard deviations."""
        total = quantities.significance(self._ds, _energy(self._ds))
        return sky_map(total, "significance (standard deviations)", ax=ax, symmetric=True, **style)

    def spectrum(self, *, ax: "Axes | None" = None) -> "Axes":
        """Counts, background and excess per energy bin, summed over the sky within the masks."""
        return spectrum(self._ds, ax=ax)

    def residuals(
        self,
        method: "Method" = "diff",
        smooth: "Value | None" = "0.1 deg",
        region: Any = None,
        models: "Models" = None,
        *,
        ax: "Axes | None" = None,
        ax_spectrum: "Axes | None" = None,
        **style: Any,
    ) -> "Axes | tuple[Axes, Axes]":
        """Map of the residuals, summed over energy within the masks; with a region also their spectrum in it.

        What is refused is refused before a figure is made.

        Parameters
        ----------
        method : {"diff", "diff/model", "diff/sqrt(model)"}
            See `xonoff.residuals.residuals`.
        smooth : angle, deg, optional
            Sigma of a Gaussian that counts and prediction of the map are averaged with first.
        region : Region, optional
            Sky or pixel region of the package `regions`: it is outlined on the map, and a second panel has the
            residuals of each energy in it, not smoothed, see `xonoff.residuals.spectral_residuals`.
        models : SkyModel or iterable of SkyModel, optional
            Those that the dataset carries by default.
        ax, ax_spectrum : Axes, optional
            For the map, with a WCS projection, and with a region for the spectrum; new ones by default.
        **style
            Further arguments of `matplotlib.axes.Axes.imshow` for the map; of ``vmin`` and ``vmax`` one is enough. A
            spectrum takes none.

        Returns
        -------
        Axes, or two of them
            Of the map; with a region, of map and spectrum; of a dataset without sky, which has one spectrum, of that.

        Examples
        --------
        >>> import xonoff
        >>> ax = xonoff.tutorial.dataset().onoff.plot.residuals("diff/sqrt(model)")
        >>> ax.get_title()
        'residuals, smoothed'
        """
        from xonoff.residuals import METHODS, residuals  # here, for astropy.modeling takes long to import

        if not sky_dims(self._ds):
            if style:
                raise SchemaError(
                    f"{', '.join(style)} found, arguments of the map of residuals, none accepted for a spectrum: "
                    "change the axes that are returned"
                )
            return residual_spectrum(self._ds, region, method, models, ax=ax)
        if isinstance(region, list | tuple) or type(region).__name__ == "Regions":
            raise SchemaError(f"region: {len(region)} regions found, one accepted: join them with |")
        if region is not None and not _energy(self._ds):
            raise GeometryError(
                "region: a map of one energy found, one with the dimension energy accepted, for the spectrum of the "
                "region: leave region out, or select the energy with isel(energy=[i])"
            )
        total = residuals(self._ds, method, models, smooth=smooth, dim=_energy(self._ds))
        sky = sky_grid(total)
        if region is not None:
            region_mask(region, sky)  # refuses it before anything is drawn
        if region is not None and ax is None and ax_spectrum is None:
            figure = pyplot().figure(figsize=(11, 4.25), layout="constrained")
            ax, ax_spectrum = figure.add_subplot(1, 2, 1, projection=sky.wcs), figure.add_subplot(1, 2, 2)
        ax = sky_map(total, _written(METHODS[method]), ax=ax, symmetric=True, **style)
        ax.set_title("residuals" if smooth is None else "residuals, smoothed")
        if region is None:
            return ax
        outline(ax, region, sky)
        return ax, residual_spectrum(self._ds, region, method, models, ax=ax_spectrum)

    def peek(self) -> "Figure":
        """All of these in one figure; of a spectrum, the spectrum alone; without off data, the counts."""
        plt = pyplot()
        if not sky_dims(self._ds):
            return self.spectrum().figure  # type: ignore[return-value]  # never a subfigure here
        complete = all(name in self._ds for name in quantities.ON_OFF)
        maps = (self.counts, self.excess, self.significance) if complete else (self.counts,)
        rows = 2 if complete else 1
        wcs = sky_grid(self._ds).wcs
        figure: Figure = plt.figure(figsize=(11, 4.25 * rows), layout="constrained")
        for place, draw in enumerate(maps, 1):
            draw(ax=figure.add_subplot(rows, 2, place, projection=wcs))
        self.spectrum(ax=figure.add_subplot(rows, 2, 2 * rows))
        figure.suptitle(str(self._ds.attrs.get("name") or ""), parse_math=False)
        return figure


def sky_map(
    array: xr.DataArray, label: str, *, ax: "Axes | None" = None, symmetric: bool = False, **style: Any
) -> "Axes":
    """Draw a map on WCS axes, with a colour bar.

    Parameters
    ----------
    array : DataArray (sky)
        Values; NaN is left blank.
    label : str
        Text of the colour bar, with the unit; up to the bracket also the title.
    ax : Axes, optional
        Axes with a WCS projection; new ones by default.
    symmetric : bool
        Use a two-sided colour scale centred on 0; of ``vmin`` and ``vmax`` one stands for both.
    **style
        Further arguments of `matplotlib.axes.Axes.imshow`.
    """
    if len(sky_dims(array)) != 2:
        raise GeometryError(f"a map over two sky dimensions is wanted, dims {array.dims} found: a spectrum has no map")
    sky = sky_grid(array)
    if ax is None:
        ax = pyplot().figure(figsize=(6.5, 5), layout="constrained").add_subplot(projection=sky.wcs)
    values = np.asarray(array.transpose(*sky.dims()).values, dtype=float)
    if "norm" not in style:
        finite = values[np.isfinite(values)]
        limit = _bright(np.abs(finite) if symmetric else finite)
        scale: dict[str, Any] = {"vmin": 0.0, "vmax": limit}
        if symmetric:  # an end that is given alone stands for both
            ends = [abs(style[end]) for end in ("vmax", "vmin") if style.get(end) is not None]
            limit = ends[0] if ends else limit
            scale = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
        style = scale | {key: value for key, value in style.items() if value is not None}
    image = ax.imshow(values, **({"origin": "lower", "interpolation": "nearest"} | style))
    ax.set_facecolor("lightgrey")  # what is masked; no colour of the scales
    ax.set_title(label.split(" (")[0])
    _label(ax, sky)
    low, high = image.get_clim()
    arrows = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    beyond = bool((values < low).any()), bool((values > high).any())
    colorbar = ax.figure.colorbar(image, ax=ax, shrink=0.85, extend=arrows[beyond])
    colorbar.set_label(label)
    return ax


def spectrum(ds: xr.Dataset, *, ax: "Axes | None" = None) -> "Axes":
    """Draw counts, background and excess per energy bin, with the width of the bins and Poisson errors.

    The scale is logarithmic: an excess that is not positive is an arrow down from two standard deviations above it.
    """
    if ax is None:
        ax = pyplot().figure(figsize=(6.5, 5), layout="constrained").add_subplot()
    edges = axis_edges(ds, "energy")
    energy = ds["energy"].values
    width = np.stack([energy - edges[:-1], edges[1:] - energy])
    points = _points(ds).compute()
    ax.set_xscale("log")
    ax.set_yscale("log", nonpositive="clip")
    bars: dict[str, Any] = {"linestyle": "none", "markersize": 5}
    for name, style in STYLES.items():
        if name in points:
            value, error = points[name].values, points[f"{name}_error"].values
            shown = value > 0
            drawn = ax.errorbar(
                energy[shown], value[shown], xerr=width[:, shown], yerr=error[shown], label=name, **bars, **style
            )
            limit = value + 2 * error
            below = ~shown & (limit > 0)
            if name == "excess" and below.any():
                colour = drawn.lines[0].get_color()
                ax.errorbar(
                    energy[below],
                    limit[below],
                    xerr=width[:, below],
                    yerr=0.4 * limit[below],
                    uplims=True,
                    color=colour,
                    linestyle="none",
                    label="excess + 2 s.d.",
                )
    drawn_values = np.concatenate([values[values > 0] for values in _values(points)])
    if drawn_values.size:  # a background or excess close to 0 would squeeze all else
        highest = drawn_values.max()
        ax.set_ylim(bottom=max(drawn_values.min(), min(1.0, highest / 10)) / 3, top=highest * 10)
    else:
        ax.set_ylim(0.1, 10)
    ax.set_xlabel("Energy (TeV)")
    ax.set_ylabel("Counts per bin")
    ax.set_title("spectrum of the whole map" if sky_dims(ds) else "spectrum")
    ax.legend(ncols=2, loc="upper right")
    return ax


def residual_spectrum(
    ds: xr.Dataset,
    region: Any = None,
    method: "Method" = "diff",
    models: "Models" = None,
    *,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw the residuals of each energy in a region, with the width of the bins and their errors.

    Parameters
    ----------
    ds, region, method, models
        As for `xonoff.residuals.spectral_residuals`.
    ax : Axes, optional
        New ones by default.
    """
    from xonoff.residuals import METHODS, spectral_residuals

    points = spectral_residuals(ds, region, method, models).compute()
    if ax is None:
        ax = pyplot().figure(figsize=(6.5, 5), layout="constrained").add_subplot()
    energy, edges = ds["energy"].values, axis_edges(ds, "energy")
    width = np.stack([energy - edges[:-1], edges[1:] - energy])
    value, error = points["residuals"].values, points["error"].values
    ax.set_xscale("log")
    ax.axhline(0, color="grey", linewidth=0.8)
    ax.errorbar(energy, value, xerr=width, yerr=error, linestyle="none", marker="o", markersize=4, color="black")
    ax.set_xlim(edges[0] / 1.1, edges[-1] * 1.1)
    ax.set_xlabel("Energy (TeV)")
    ax.set_ylabel(_written(METHODS[method]))
    whole = "residuals of the whole map" if sky_dims(ds) else "residuals"
    ax.set_title(whole if region is None else "residuals of the region")
    return ax


def _written(formula: str) -> str:
    return formula.replace("sqrt(model)", "√model")


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

    rows, columns = np.nonzero(inside(region, sky))
    line = Line2D([], [], color=colour, linewidth=1.2)
    if not rows.size:
        return line
    low, high = (rows.min() - 1, columns.min() - 1), (rows.max() + 2, columns.max() + 2)
    n = int(np.clip(400 // max(b - a for a, b in zip(low, high, strict=True)), 1, 32))  # points along a pixel
    y, x = (a + (np.arange(n * (b - a)) + 0.5) / n - 0.5 for a, b in zip(low, high, strict=True))
    if isinstance(region, PixelRegion):
        within = region.contains(PixCoord(*np.meshgrid(x, y)))
    else:
        (y0, x0), (dy, dx) = sky.origin, sky.step
        fine = SkyGrid(sky.header, (y.size, x.size), (y0 + dy * y[0], x0 + dx * x[0]), (dy / n, dx / n))
        within = inside(region, fine)
    ax.autoscale(enable=False)
    ax.contour(x, y, within, levels=[0.5], colors=colour, linewidths=1.2)
    return line


def _energy(ds: xr.Dataset) -> list[str]:
    """Dimensions that a map is summed over: none where one energy is left of a cube."""
    return [dim for dim in ("energy",) if dim in quantities.mask(ds).dims]


def _label(ax: "Axes", sky: SkyGrid) -> None:
    """Label the axes; with a grid where the border of the map is off the sky, or a pole is on the map."""
    names = FRAMES.get(sky.frame, ("Longitude", "Latitude"))
    ax.set_xlabel(f"{names[0]} ({'deg' if sky.frame == 'galactic' else sky.frame.upper()})")
    ax.set_ylabel(names[1])
    y, x = (np.array([0, n - 1]) for n in sky.shape)
    corners = np.isfinite(sky.pixel_to_sky(x, y[:, None])[0])
    poles = [pole for pole in (-90.0, 90.0) if sky.contains((0.0, pole))]
    if sky.separable or not hasattr(ax, "coords") or (corners.any() and not poles):
        return
    if corners.any():  # around a pole: meridians, and parallels in steps that the map holds some of
        reach = min(n * size for n, size in zip(sky.shape, sky.pixel_scales, strict=True)) / 5
        by = max((step for step in STEPS if step <= reach), default=reach)
        lats = [np.sign(poles[0]) * (90 - by * n) for n in range(1, 5)]
        spacing, places = (45, by), [(22.5, lat, lat) for lat in lats]
        places += [(lon, np.sign(poles[0]) * (90 - 1.5 * by), lon) for lon in range(0, 360, 45)]
    else:  # of the whole sky
        spacing, places = (60, 30), [(sky.center[0], lat, lat) for lat in (-60, -30, 30, 60)]
        places += [(lon, 0, lon) for lon in range(0, 360, 60)]
    for axis, by in zip(ax.coords, spacing, strict=True):
        axis.set_ticks(spacing=by * u.deg)
        axis.set_ticks_visible(False)
        axis.set_ticklabel_visible(False)
        axis.set_axislabel_visibility_rule("always")
        axis.grid(color="black", alpha=0.5, linewidth=0.6)
    box = {"facecolor": "white", "alpha": 0.6, "linewidth": 0, "pad": 0.5}
    for lon, lat, angle in places:
        if sky.contains((lon, lat)):
            column, row = map(float, sky.sky_to_pixel((lon, lat)))
            ax.text(column, row, f"{angle:g}°", fontsize="x-small", ha="center", va="center", bbox=box)


def _points(ds: xr.Dataset) -> xr.Dataset:
    """Counts, and where there are off data background and excess, per energy bin, with their errors."""
    if not all(name in ds for name in quantities.ON_OFF):
        counts = ds["counts"].where(_valid_counts(ds), 0).sum(sky_dims(ds), dtype=np.float64)
        return xr.Dataset({"counts": counts, "counts_error": np.sqrt(counts)})
    sums = quantities.on_off_sums(ds, sky_dims(ds))
    alpha, counts = quantities.alpha(sums), sums["counts"]
    background_error = alpha * np.sqrt(sums["counts_off"])
    return xr.Dataset(
        {
            "counts": counts,
            "counts_error": np.sqrt(counts),
            "background": quantities.background(sums),
            "background_error": background_error,
            "excess": quantities.excess(sums),
            "excess_error": np.sqrt(counts + background_error**2),
        }
    )


def _valid_counts(ds: xr.Dataset) -> xr.DataArray:
    """Bins within the masks whose counts are a number."""
    if "counts" not in ds:
        raise SchemaError("the dataset has no variable counts: add it with ds.assign")
    return quantities.mask(ds) & (ds["counts"] >= 0) & (ds["counts"] < np.inf)


def _bright(values: np.ndarray) -> float:
    """End of a colour scale: all but the brightest two in a thousand, so that a source leaves the rest visible."""
    limit = float(np.percentile(values, 99.8)) if values.size else 0.0
    if limit <= 0 and values.size:
        limit = float(values.max())
    return limit if limit > 0 else 1.0


def _values(points: xr.Dataset) -> list[np.ndarray]:
    return [array.values for name, array in points.items() if not str(name).endswith("_error")]


def pyplot() -> Any:
    """Matplotlib's pyplot; an error that says what to install where there is none."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "xonoff[plot]"') from error
    return plt
