"""Plots of fits, with matplotlib (extra ``plot``): correlations, profiles, contours."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xonoff.fit_result import correlation_of
from xonoff.plot import pyplot

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
    **style
        For ``imshow``.
    """
    names, correlation = [str(name) for name in covariance["parameter"].values], correlation_of(covariance).values
    ax = ax or pyplot().subplots(figsize=(1.5 + 0.8 * len(names),) * 2, layout="constrained")[1]
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
    **style
        For ``plot``.
    """
    ax = ax or pyplot().subplots(layout="constrained")[1]
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
        Several contours of two parameters may share it.
    **style
        For ``plot``.
    """
    ax = ax or pyplot().subplots(layout="constrained")[1]
    x, y = (str(name) for name in contour.data_vars)
    (line,) = ax.plot(contour[x], contour[y], **{"label": f"{100 * contour.attrs['level']:.4g} %", **style})
    ax.plot(contour.attrs[f"best {x}"], contour.attrs[f"best {y}"], "+", color=line.get_color())
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.ticklabel_format(useOffset=False)
    ax.locator_params(nbins=6)
    ax.legend()
    return ax
