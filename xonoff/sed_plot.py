"""Plot of a spectrum: flux points, their upper limits, and the band of a fit, with matplotlib (extra ``plot``)."""

import re
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.errors import SchemaError
from xonoff.figure import new_axes
from xonoff.sed_columns import FLUXES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_spectrum"]

Floats: TypeAlias = npt.NDArray[np.float64]
Quantity: TypeAlias = Literal["e2dnde", "dnde", "flux", "eflux"]

SYMBOLS = {"e2dnde": "$E^2\\,dN/dE$", "dnde": "$dN/dE$", "flux": "Flux", "eflux": "Energy flux"}
#: Length of the arrow of an upper limit, as a share of it, and the margin around what is drawn, a factor.
ARROW, MARGIN = 0.45, 2.5


def plot_spectrum(
    points: xr.Dataset | None = None,
    band: xr.Dataset | None = None,
    *,
    quantity: Quantity = "e2dnde",
    label: str | None = None,
    ax: "Axes | None" = None,
    **style: Any,
) -> "Axes":
    """Draw flux points and the band of a fit on logarithmic axes.

    Points have the width of their bins and asymmetric errors, where they have these. One that ``is_ul``, or is not
    above 0, is an arrow down from its upper limit; one without any, or NaN, is left out.

    Parameters
    ----------
    points : Dataset, optional
        Of `xonoff.flux_points` or `xonoff.read_sed`.
    band : Dataset, optional
        Of `xonoff.spectrum_band`; for ``flux`` and ``eflux`` of `xonoff.integral_flux`.
    quantity : {"e2dnde", "dnde", "flux", "eflux"}
        What is drawn.
    label : str, optional
        For the legend; the name of the source by default.
    ax : Axes, optional
        New ones by default. Several spectra may be drawn on the same.
    **style
        Further arguments of `matplotlib.axes.Axes.errorbar` for the points; ``color`` is that of the band too.

    Returns
    -------
    Axes

    Raises
    ------
    SchemaError
        If there is nothing to draw, or it has not that quantity.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D, SkyModel
    >>> crab = SkyModel("crab", PowerLaw1D(3e-11, 1, 2.4), PointSource(83.633, 22.014))
    >>> ds = xonoff.tutorial.dataset()
    >>> result = xonoff.fit(ds, crab)
    >>> points = xonoff.flux_points(ds, result, "crab")
    >>> ax = plot_spectrum(points, xonoff.spectrum_band(result, "crab", xonoff.energy_edges(0.5, 50, n=50)))
    >>> ax.get_xscale(), ax.get_yscale()
    ('log', 'log')
    """
    _check(points, band, quantity)
    ax = new_axes() if ax is None else ax
    before = (*ax.get_xlim(), *ax.get_ylim()) if ax.has_data() else None
    given = band if points is None else points
    assert given is not None  # `_check` has refused that
    words = str(given.attrs.get("source") or "") if label is None else label
    colour = style.pop("color", None) or style.pop("c", None) or _next_colour(ax)
    drawn: list[tuple[Floats, Floats]] = []
    if band is not None:
        drawn.append(_draw_band(ax, band, quantity, colour, "" if points is not None else words))
    if points is not None:
        drawn += _draw_points(ax, points, quantity, words, {"color": colour, **style})
    ax.set_xscale("log")
    ax.set_yscale("log", nonpositive="clip")
    x, y = (np.concatenate([part[i].ravel() for part in drawn]) for i in (0, 1))
    x, y = x[(x > 0) & np.isfinite(x)], y[(y > 0) & np.isfinite(y)]
    if not (x.size and y.size):  # no point is left: an empty plot of the energies
        x, y = given["energy"].values, np.array([1e-13, 1e-11])
    if x.size:
        limits = [x.min() / 1.2, x.max() * 1.2, y.min() / MARGIN, y.max() * MARGIN]
        if before is not None:
            limits = [(min, max)[i % 2](a, b) for i, (a, b) in enumerate(zip(limits, before, strict=True))]
        ax.set_xlim(limits[0], limits[1])
        ax.set_ylim(limits[2], limits[3])
    ax.set_xlabel("Energy (TeV)")
    ax.set_ylabel(f"{SYMBOLS[quantity]} ({_written(FLUXES[quantity])})")
    if ax.get_legend_handles_labels()[1]:
        ax.legend()
    return ax


def _check(points: xr.Dataset | None, band: xr.Dataset | None, quantity: str) -> None:
    """Refuse what cannot be drawn before anything is."""
    if quantity not in FLUXES:
        raise SchemaError(f"quantity {quantity!r} found, {', '.join(map(repr, FLUXES))} accepted")
    if points is None and band is None:
        raise SchemaError("nothing to draw found: give points= of xonoff.flux_points, or band= of xonoff.spectrum_band")
    for what, ds in (("points", points), ("band", band)):
        if ds is not None and (quantity not in ds or "energy" not in ds.coords):
            known = [name for name in FLUXES if name in ds]
            raise SchemaError(
                f"{what}: no {quantity} found, {', '.join(known) or 'no flux at all'}: "
                + (f"give quantity={known[0]!r}" if known else "give what xonoff.flux_points or spectrum_band returns")
            )


def _next_colour(ax: "Axes") -> Any:
    [line] = ax.plot([], [])
    line.remove()
    return line.get_color()


def _draw_band(ax: "Axes", band: xr.Dataset, quantity: str, colour: Any, label: str) -> tuple[Floats, Floats]:
    x, y = band["energy"].values, band[quantity].values
    ax.plot(x, y, color=colour, linewidth=1.2, label=label or None)
    error = band[f"{quantity}_err"].values if f"{quantity}_err" in band else np.zeros(y.shape)
    # Where the error is as large as the flux, the band goes down to the end of the axis, which a logarithm has not.
    ax.fill_between(x, np.maximum(y - error, 1e-6 * y), y + error, color=colour, alpha=0.25, linewidth=0)
    return x, np.concatenate([np.maximum(y - error, y / 10), y + error])


def _draw_points(
    ax: "Axes", points: xr.Dataset, quantity: str, label: str, style: dict[str, Any]
) -> list[tuple[Floats, Floats]]:
    energy, value = points["energy"].values, points[quantity].values
    nothing = np.full(value.shape, np.nan)
    limit = points[f"{quantity}_ul"].values if f"{quantity}_ul" in points else nothing
    with np.errstate(invalid="ignore"):
        below = ~(value > 0) | (points["is_ul"].values.astype(bool) if "is_ul" in points else False)
        below &= ~((value > 0) & ~(limit > 0))  # a value is shown, rather than nothing
        limited, shown = below & (limit > 0), ~below & (value > 0)
    width = np.zeros((2, energy.size))
    if "energy_bounds" in points.coords:
        low, high = points["energy_bounds"].transpose("energy", "bounds").values.T
        width = np.stack([np.maximum(energy - low, 0), np.maximum(high - energy, 0)])
    error = np.stack([_error(points, quantity, end, nothing) for end in ("_errn", "_errp")])
    bars: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 4, "elinewidth": 1.2, **style}
    named = {"label": label} if label else {}
    if shown.any() or not limited.any():
        ax.errorbar(energy[shown], value[shown], xerr=width[:, shown], yerr=error[:, shown], **(named | bars))
        named = {}
    if limited.any():
        at, length = limit[limited], ARROW * limit[limited]
        arrows = named | bars | {"marker": ""}
        ax.errorbar(energy[limited], at, xerr=width[:, limited], yerr=length, uplims=True, **arrows)
    with np.errstate(invalid="ignore"):
        lowest = np.maximum(value - error[0], value / 3)[shown]
    heights = np.concatenate([lowest, (value + error[1])[shown], limit[limited], (1 - ARROW) * limit[limited]])
    some = shown | limited
    return [(np.concatenate([(energy - width[0])[some], (energy + width[1])[some]]), heights)]


def _error(points: xr.Dataset, quantity: str, end: str, nothing: Floats) -> Floats:
    """Error to one side, the symmetric one where there is none, else none."""
    found = nothing
    for name in (f"{quantity}{end}", f"{quantity}_err"):
        if name in points:
            found = np.where(np.isfinite(found) & (found >= 0), found, points[name].values)
    return np.where(np.isfinite(found) & (found >= 0), found, 0.0)


def _written(unit: str) -> str:
    """Unit with its powers raised."""
    return re.sub(r"(-\d+)", r"$^{\1}$", unit)
