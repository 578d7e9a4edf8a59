"""Distribution of significances: of a map without sources it is a Gaussian of mean 0 and width 1."""

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.errors import SchemaError
from xonoff.figure import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_significance", "significance_histogram"]

Floats: TypeAlias = npt.NDArray[np.float64]
PARTS = ("all", "outside")


def significance_histogram(
    significance: xr.DataArray,
    exclusion: xr.DataArray | None = None,
    *,
    width: float = 0.25,
    within: float = 5.0,
) -> xr.Dataset:
    r"""Histogram of a significance map, and the Gaussian that fits it, in all pixels and outside an exclusion.

    Parameters
    ----------
    significance : DataArray
        As of `xonoff.excess_map`; NaN is left out. It is computed.
    exclusion : DataArray of bool, optional
        True where there may be sources, on the same pixels.
    width : float
        Of the bins, standard deviations.
    within : float
        Only values up to this far from 0 are fitted: without an exclusion, sources are beyond.

    Returns
    -------
    Dataset
        ``pixels`` by ``part`` ("all", and "outside" an exclusion) and ``bin``, from ``low`` to ``high``;
        ``mean``, ``sigma``, their errors and ``fitted``, the number of values, by part. Mean and sigma are those of
        most likelihood, :math:`\bar x` and :math:`\sqrt{\overline{(x - \bar x)^2}}`; errors take pixels as
        independent, which correlated ones are not.

    Raises
    ------
    SchemaError
        If shapes differ, or there is no value.

    Examples
    --------
    >>> import xonoff
    >>> found = significance_histogram(xonoff.tutorial.dataset().onoff.significance(dim="energy"))
    >>> bool(abs(found["mean"].sel(part="all")) < 1)
    True
    """
    if not (0 < width < np.inf and within > 0):
        raise SchemaError(f"width {width!r} and within {within!r} found, two numbers above 0 accepted")
    values = np.asarray(significance.values, dtype=np.float64)
    parts = {"all": values[np.isfinite(values)]}
    if exclusion is not None:
        if set(exclusion.dims) - set(significance.dims) or exclusion.dtype != bool:
            raise SchemaError(f"exclusion: {exclusion.dtype} {exclusion.dims} found, bool {significance.dims} accepted")
        if any(significance.sizes[dim] != n for dim, n in exclusion.sizes.items()):
            raise SchemaError(
                f"exclusion: {dict(exclusion.sizes)} found, {dict(significance.sizes)} as the map has accepted: "
                "join energies with exclusion.any('energy')"
            )
        wide = exclusion.variable.set_dims(significance.sizes).transpose(*significance.dims)
        sources = np.broadcast_to(wide, values.shape)
        parts["outside"] = values[np.isfinite(values) & ~sources]
    if not all(found.size for found in parts.values()):
        raise SchemaError("no finite significance found: look at ds.onoff.info()")
    ends = [f(edge / width) for f, edge in ((np.floor, parts["all"].min()), (np.ceil, parts["all"].max()))]
    edges = np.arange(ends[0], max(ends[1], ends[0] + 1) + 1) * width
    fits = [_gaussian(found[np.abs(found) <= within]) for found in parts.values()]
    names = ("mean", "sigma", "mean_err", "sigma_err", "fitted")
    return xr.Dataset(
        {
            "pixels": (("part", "bin"), np.array([np.histogram(found, edges)[0] for found in parts.values()])),
            **{name: ("part", [fit[k] for fit in fits]) for k, name in enumerate(names)},
        },
        {"part": list(parts), "low": ("bin", edges[:-1]), "high": ("bin", edges[1:])},
    )


def plot_significance(histogram: xr.Dataset, *, ax: "Axes | None" = None, **style: Any) -> "Axes":
    """Histogram of significances with the Gaussians that fit it, and that of mean 0 and width 1.

    Parameters
    ----------
    histogram : Dataset
        Of `significance_histogram`.
    ax : Axes, optional
        New ones by default.
    **style
        Further arguments of `matplotlib.axes.Axes.stairs`.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import xonoff
    >>> histogram = significance_histogram(xonoff.tutorial.dataset().onoff.significance(dim="energy"))
    >>> plot_significance(histogram).get_ylabel()
    'pixels'
    """
    ax = new_axes() if ax is None else ax
    edges = np.append(histogram["low"].values, histogram["high"].values[-1])
    x, step = np.linspace(edges[0], edges[-1], 400), edges[1] - edges[0]
    for number, part in enumerate(histogram["part"].values):
        one = histogram.isel(part=number)
        mean, sigma, n = (float(one[name]) for name in ("mean", "sigma", "fitted"))
        label = f"{'all pixels' if part == 'all' else 'outside the exclusion'}: mean {mean:.2f}, width {sigma:.2f}"
        ax.stairs(one["pixels"].values, edges, **{"color": f"C{number}", "label": label, **style})
        if sigma > 0:
            curve = n * step / (sigma * np.sqrt(2 * np.pi)) * np.exp(-((x - mean) ** 2) / (2 * sigma**2))
            ax.plot(x, curve, color=f"C{number}", linestyle="--", linewidth=1)
    expected = float(histogram["fitted"][-1]) * step / np.sqrt(2 * np.pi) * np.exp(-(x**2) / 2)
    ax.plot(x, expected, color="0.5", linewidth=1, label="mean 0, width 1")
    ax.set_yscale("log")
    ax.set_ylim(0.5, 3 * float(histogram["pixels"].max()))
    ax.set_xlabel("significance (standard deviations)")
    ax.set_ylabel("pixels")
    ax.legend()
    return ax


def _gaussian(values: Floats) -> tuple[float, float, float, float, int]:
    n = values.size
    if not n:
        return np.nan, np.nan, np.nan, np.nan, 0
    mean, sigma = float(values.mean()), float(values.std())
    return mean, sigma, sigma / np.sqrt(n), sigma / np.sqrt(2 * n), n
