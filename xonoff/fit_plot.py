"""Plots of fits, with matplotlib (extra ``plot``): correlations, profiles, contours."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xonoff.figure import new_axes
from xonoff.fit_result import correlation_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_contour", "plot_covariance", "plot_profile"]


def plot_covariance(covariance: xr.DataArray, *, ax: "Axes | None" = None, **style: Any) -> "Axes":
    """Correlation of parameters as an image, with numbers.

    Parameters
    ----------
    covariance : DataArray (parameter, other)
        As `xonoff.FitResult.covariance`.
    ax : Axes, optional
        New ones by default.
    **style
        Further arguments of `matplotlib.axes.Axes.imshow`.

    Returns
    -------
    Axes

    Examples
    --------
    >>> covariance = xr.DataArray([[4.0, 1.0], [1.0, 1.0]], {"parameter": ["a", "b"], "other": ["a", "b"]})
    >>> [text.get_text() for text in plot_covariance(covariance).texts]
    ['1.00', '0.50', '0.50', '1.00']
    """
    names, correlation = [str(name) for name in covariance["parameter"].values], correlation_of(covariance).values
    side = 1.5 + 0.8 * len(names)
    ax = new_axes(size=(side, side)) if ax is None else ax
    image = ax.imshow(correlation, **{"cmap": "RdBu_r", "vmin": -1, "vmax": 1, **style})
    ax.set_xticks(range(len(names)), names, rotation=60, ha="right")
    ax.set_yticks(range(len(names)), names)
    for (row, column), value in np.ndenumerate(correlation):
        colour = "white" if abs(value) > 0.6 else "black"
        ax.text(column, row, f"{round(value, 2) + 0:.2f}", ha="center", va="center", color=colour, fontsize="small")
    ax.figure.colorbar(image, ax=ax, label="correlation", shrink=0.8)
    return ax


def plot_profile(profile: xr.Dataset, *, ax: "Axes | None" = None, **style: Any) -> "Axes":
    """Profile of a parameter, with the levels of one, two and three standard deviations.

    Parameters
    ----------
    profile : Dataset
        Of `xonoff.stat_profile`.
    ax : Axes, optional
        New ones by default.
    **style
        Further arguments of `matplotlib.axes.Axes.plot`.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D, SkyModel
    >>> crab = SkyModel("crab", PowerLaw1D(3.2e-11, 1, 2.5), PointSource(83.633, 22.014))
    >>> ds = xonoff.tutorial.dataset()
    >>> profile = xonoff.stat_profile(ds, "crab.alpha", crab, values=[2.4, 2.5, 2.6])
    >>> plot_profile(profile).get_xlabel()
    'crab.alpha'
    """
    ax = new_axes() if ax is None else ax
    ax.plot(profile["value"], profile["ts"], **{"marker": ".", **style})
    highest = float(profile["ts"].max())
    for sigma in (1, 2, 3):
        if sigma**2 <= 1.1 * max(highest, 1):
            ax.axhline(sigma**2, color="0.7", linewidth=0.8, zorder=0)
            at: dict[str, Any] = {
                "xy": (1, sigma**2),
                "xycoords": ("axes fraction", "data"),
                "ha": "right",
                "va": "bottom",
            }
            ax.annotate(rf"{sigma} $\sigma$", **at, color="0.4")
    ax.axvline(profile.attrs["best"], color="0.7", linestyle=":", zorder=0)
    ax.set_xlabel(profile.attrs["parameter"])
    ax.set_ylabel("WStat above its minimum")
    return ax


def plot_contour(contour: xr.Dataset, *, ax: "Axes | None" = None, **style: Any) -> "Axes":
    """Contour of two parameters, and where the minimum is.

    Parameters
    ----------
    contour : Dataset
        Of `xonoff.stat_contour`.
    ax : Axes, optional
        New ones by default. Several contours of two parameters may share them.
    **style
        Further arguments of `matplotlib.axes.Axes.plot`.

    Returns
    -------
    Axes

    Examples
    --------
    >>> x, y = np.cos(np.linspace(0, 6.28, 50)), np.sin(np.linspace(0, 6.28, 50))
    >>> attrs = {"level": 0.68, "best crab.alpha": 0.0, "best crab.lon_0": 0.0}
    >>> contour = xr.Dataset({"crab.alpha": ("point", x), "crab.lon_0": ("point", y)}, attrs=attrs)
    >>> ax = plot_contour(contour, color="black")
    >>> ax.get_xlabel(), ax.get_ylabel(), ax.get_legend().get_texts()[0].get_text()
    ('crab.alpha', 'crab.lon_0', '68 %')
    """
    ax = new_axes() if ax is None else ax
    x, y = (str(name) for name in contour.data_vars)
    (line,) = ax.plot(contour[x], contour[y], **{"label": f"{100 * contour.attrs['level']:.4g} %", **style})
    ax.plot(contour.attrs[f"best {x}"], contour.attrs[f"best {y}"], "+", color=line.get_color())
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.ticklabel_format(useOffset=False)
    ax.locator_params(nbins=6)
    ax.legend()
    return ax
