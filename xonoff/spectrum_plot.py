"""Plots of counts and residuals by energy, with matplotlib (extra ``plot``)."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff import quantities
from xonoff.axes import axis_edges
from xonoff.errors import SchemaError
from xonoff.figure import new_axes
from xonoff.geometry import sky_dims

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xonoff.predict import Models
    from xonoff.residuals import Method

__all__ = ["residual_spectrum", "spectrum", "valid_counts"]

#: Open markers let the others be seen where they lie on each other.
STYLES: dict[str, dict[str, Any]] = {
    "counts": {"marker": "o", "markerfacecolor": "none"},
    "background": {},
    "excess": {"marker": "s", "markerfacecolor": "none", "alpha": 0.8},
}


def spectrum(ds: xr.Dataset, *, ax: "Axes | None" = None, **style: Any) -> "Axes":
    """Draw counts, background and excess per energy bin, with the width of the bins and Poisson errors.

    The scale is logarithmic: an excess that is not positive is an arrow down from two standard deviations above it.

    Parameters
    ----------
    ds : Dataset
        With ``counts``; a map is summed over the sky within the masks.
    ax : Axes, optional
        New ones by default.
    **style
        Further arguments of `matplotlib.axes.Axes.errorbar` for all three.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import xonoff
    >>> spectrum(xonoff.tutorial.dataset(), capsize=2).get_xlabel()
    'Energy (TeV)'
    """
    edges = axis_edges(ds, "energy")
    points = _points(ds).compute()
    energy, width = _bins(ds)
    ax = new_axes() if ax is None else ax
    energy_axis(ax, edges)
    ax.set_yscale("log", nonpositive="clip")
    bars: dict[str, Any] = {"linestyle": "none", "markersize": 5}
    for name, own in STYLES.items():
        if name in points:
            value, error = (np.atleast_1d(points[key].values) for key in (name, f"{name}_error"))
            shown = value > 0
            one = {"label": name} | bars | own | style
            drawn = ax.errorbar(energy[shown], value[shown], xerr=width[:, shown], yerr=error[shown], **one)
            limit = value + 2 * error
            below = ~shown & (limit > 0)
            if name == "excess" and below.any():
                arrows = bars | style | {"color": drawn.lines[0].get_color(), "label": "excess + 2 s.d."}
                ax.errorbar(
                    energy[below],
                    limit[below],
                    xerr=width[:, below],
                    yerr=0.4 * limit[below],
                    uplims=True,
                    **arrows,
                )
    drawn_values = np.concatenate([values[values > 0] for values in _values(points)])
    if drawn_values.size:  # a background or excess close to 0 would squeeze all else
        highest = drawn_values.max()
        ax.set_ylim(bottom=max(drawn_values.min(), min(1.0, highest / 10)) / 3, top=highest * 10)
    else:
        ax.set_ylim(0.1, 10)
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
    **style: Any,
) -> "Axes":
    """Draw the residuals of each energy in a region, with the width of the bins and their errors.

    Parameters
    ----------
    ds, region, method, models
        As for `xonoff.residuals.spectral_residuals`.
    ax : Axes, optional
        New ones by default.
    **style
        Further arguments of `matplotlib.axes.Axes.errorbar`.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import xonoff
    >>> residual_spectrum(xonoff.tutorial.dataset(), color="tab:red").get_title()
    'residuals of the whole map'
    """
    from xonoff.residuals import METHODS, spectral_residuals  # here, for astropy.modeling takes long to import

    points = spectral_residuals(ds, region, method, models).compute()
    energy, width = _bins(ds)
    value, error = points["residuals"].values, points["error"].values
    ax = new_axes() if ax is None else ax
    energy_axis(ax, axis_edges(ds, "energy"))
    ax.axhline(0, color="grey", linewidth=0.8)
    bars: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 4, "color": "black"}
    ax.errorbar(energy, value, xerr=width, yerr=error, **bars | style)
    ax.set_ylabel(written(METHODS[method]))
    whole = "residuals of the whole map" if sky_dims(ds) else "residuals"
    ax.set_title(whole if region is None else "residuals of the region")
    return ax


def written(formula: str) -> str:
    """Formula of a method of residuals as a label."""
    return formula.replace("sqrt(model)", "√model")


def valid_counts(ds: xr.Dataset) -> xr.DataArray:
    """Bins within the masks whose counts are a number."""
    if "counts" not in ds:
        raise SchemaError("the dataset has no variable counts: add it with ds.assign")
    return quantities.mask(ds) & (ds["counts"] >= 0) & (ds["counts"] < np.inf)


def energy_axis(ax: "Axes", edges: npt.NDArray[np.float64]) -> None:
    """Make the horizontal axis one of log energy, as wide as the bins; on less than a decade with plain numbers."""
    ax.set_xscale("log")
    ax.set_xlabel("Energy (TeV)")
    ax.set_xlim(edges[0] / 1.1, edges[-1] * 1.1)
    if edges[-1] / edges[0] < 10:  # or labels such as 2 x 10^0 would lie on each other
        from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.xaxis.set_minor_formatter(NullFormatter())


def _bins(ds: xr.Dataset) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Centres of the bins of energy, and their lower and upper half."""
    edges, energy = axis_edges(ds, "energy"), np.atleast_1d(ds["energy"].values)
    return energy, np.stack([energy - edges[:-1], edges[1:] - energy])


def _points(ds: xr.Dataset) -> xr.Dataset:
    """Counts, and where there are off data background and excess, per energy bin, with their errors."""
    if not all(name in ds for name in quantities.ON_OFF):
        counts = ds["counts"].where(valid_counts(ds), 0).sum(sky_dims(ds), dtype=np.float64)
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


def _values(points: xr.Dataset) -> list[npt.NDArray[np.float64]]:
    return [np.atleast_1d(array.values) for name, array in points.items() if not str(name).endswith("_error")]
