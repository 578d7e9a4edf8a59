r"""Integrals of spectra over bins of energy.

Power laws, broken ones, tables and sums of these are integrated in closed form; all else by adaptive Gauss-Legendre
quadrature in the logarithm of energy, to a relative error of 1e-10.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.modeling import CompoundModel, Model, Parameter, functional_models
from astropy.modeling.powerlaws import BrokenPowerLaw1D, PowerLaw1D, SmoothlyBrokenPowerLaw1D

from xonoff.axes import check_edges
from xonoff.errors import ModelError
from xonoff.models.spectra import FLUX_UNIT, Absorption, TemplateSpectrum, flux
from xonoff.units import Value

__all__ = ["integral"]

Floats = npt.NDArray[np.float64]

TOLERANCE = 1e-10
#: Models with a line or an edge, and where around it to look, in widths: its own edges, and what is left of it.
MARKED = (
    BrokenPowerLaw1D,
    SmoothlyBrokenPowerLaw1D,
    functional_models.Gaussian1D,
    functional_models.Lorentz1D,
    functional_models.Box1D,
    functional_models.Trapezoid1D,
)
WIDTHS = np.array([-40, -6, -1, -0.5, 0, 0.5, 1, 6, 40])
#: Pieces of a bin to begin with, so that what lies between the nodes of one is seen; and the halvings of a piece.
PIECES, HALVINGS = 4, 50
#: Pieces in work at a time: a spectrum that wants more is no function that can be integrated.
MOST = 100_000


def integral(spectrum: Model, edges: Value) -> Floats:
    r"""Integral of a spectrum over bins of energy.

    Parameters
    ----------
    spectrum : astropy.modeling.Model
        See `xonoff.models.flux`.
    edges : array_like, TeV
        Edges of the bins, increasing.

    Returns
    -------
    ndarray, cm-2 s-1
        One value a bin. A power law of index :math:`\gamma` gives, with :math:`t = (1 - \gamma)\ln(b/a)`,
        :math:`A E_0 (a/E_0)^{1-\gamma} \ln(b/a)\,(e^t - 1)/t`, which is right at index 1 too.

    Raises
    ------
    ModelError
        If the model is no spectrum, or its integral does not exist.

    Examples
    --------
    >>> from xonoff.models import LogParabola1D, PowerLaw1D
    >>> integral(PowerLaw1D(amplitude=1e-12, x_0=1, alpha=2), [1, 2, 4])
    array([5.0e-13, 2.5e-13])
    >>> integral(LogParabola1D(amplitude=1e-12, x_0=1, alpha=2, beta=0.1), ["1 TeV", "4 TeV"]).round(15)
    array([7.19e-13])
    """
    bins = check_edges("energy", edges)
    flux(spectrum, bins[:1])  # refuses what is no spectrum
    with np.errstate(all="ignore"):  # the result is looked at
        found = _integral(spectrum, bins)
    if not np.isfinite(found).all():
        values = dict(zip(spectrum.param_names, spectrum.parameters.tolist(), strict=True))
        raise ModelError(
            f"spectrum {spectrum.name or type(spectrum).__name__}: the integral over {bins[0]:g} to {bins[-1]:g} TeV "
            f"is not finite ({found}): look at its parameters {values}"
        )
    return found


def _integral(spectrum: Model, edges: Floats) -> Floats:
    kind = type(spectrum)
    if isinstance(spectrum, CompoundModel) and spectrum.op in ("+", "-"):
        parts = [_integral(part, edges) for part in (spectrum.left, spectrum.right)]
        return parts[0] + parts[1] if spectrum.op == "+" else parts[0] - parts[1]
    if kind is PowerLaw1D:
        amplitude, x_0 = _value(spectrum.amplitude, FLUX_UNIT), _value(spectrum.x_0, "TeV")
        return _power_law(amplitude, x_0, _value(spectrum.alpha, ""), edges[:-1], edges[1:])
    if kind is BrokenPowerLaw1D:
        amplitude, x_break = _value(spectrum.amplitude, FLUX_UNIT), _value(spectrum.x_break, "TeV")
        lo, hi = edges[:-1], edges[1:]
        below = _power_law(amplitude, x_break, _value(spectrum.alpha_1, ""), lo, np.clip(hi, lo, max(x_break, 0)))
        above = _power_law(amplitude, x_break, _value(spectrum.alpha_2, ""), np.clip(lo, min(x_break, hi[-1]), hi), hi)
        return np.where(lo < x_break, below, 0) + np.where(hi > x_break, above, 0)
    if kind is TemplateSpectrum:
        return _template(spectrum, edges)
    return _quadrature(lambda energies: flux(spectrum, energies), edges, _marks(spectrum))


def _marks(spectrum: Model) -> Floats:
    """Energies where a spectrum has a line, an edge or a kink that nodes could miss, TeV."""
    kind = type(spectrum)
    if isinstance(spectrum, CompoundModel):
        if spectrum.op == "|":  # the input of the right one is no energy
            return _marks(spectrum.left)
        return np.concatenate([_marks(spectrum.left), _marks(spectrum.right)])
    if kind in (TemplateSpectrum, Absorption):
        return np.asarray(spectrum.energy)
    for name in ("x_break", "mean", "x_0"):
        if kind in MARKED and name in spectrum.param_names:
            width = next((w for w in ("stddev", "fwhm", "width") if w in spectrum.param_names), None)
            half = 0.0 if width is None else abs(_value(getattr(spectrum, width), "TeV"))
            return _value(getattr(spectrum, name), "TeV") + half * WIDTHS
    return np.array([])


def _value(parameter: Parameter, unit: str) -> float:
    if parameter.unit is None:
        return float(parameter.value)
    try:
        return float(parameter.quantity.to_value(unit))
    except u.UnitsError as error:
        raise ModelError(f"parameter {parameter.name}: {parameter.unit} found, {unit} accepted") from error


def _power_law(amplitude: float | Floats, x_0: float | Floats, index: float | Floats, lo: Floats, hi: Floats) -> Floats:
    log = np.log(hi / lo)
    t = -np.abs((1 - index) * log)
    largest = np.where(np.asarray(index) < 1, hi, lo)  # of E f(E), so that nothing overflows that need not
    shape = np.divide(np.expm1(t), t, out=np.ones(np.shape(t)), where=t != 0)
    return np.asarray(amplitude * x_0 * (largest / x_0) ** (1 - index) * log * shape)


def _template(spectrum: TemplateSpectrum, edges: Floats) -> Floats:
    """Sum over the power laws between the points of the table."""
    x, y = spectrum.energy, spectrum.values
    cuts = np.unique(np.concatenate([edges, x[(x > edges[0]) & (x < edges[-1])]]))
    lo, hi = cuts[:-1], cuts[1:]
    piece = np.clip(np.searchsorted(x, lo, side="right") - 1, 0, x.size - 2)
    index = -np.log(y[piece + 1] / y[piece]) / np.log(x[piece + 1] / x[piece])
    inside = (lo >= x[0]) & (hi <= x[-1])
    # A bin that reaches beyond the table is cut there, by the points of the table among the cuts.
    parts = np.where(inside, _power_law(y[piece], x[piece], index, lo, hi), 0)
    return float(spectrum.norm.value) * np.add.reduceat(parts, np.searchsorted(cuts, edges[:-1]))


@lru_cache(maxsize=4)
def _nodes(n: int) -> tuple[Floats, Floats]:
    """Nodes and weights of Gauss-Legendre quadrature on -1 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return nodes, weights


def _gauss(function: Callable[[Floats], Floats], lo: Floats, hi: Floats, n: int) -> Floats:
    """Integral over log energy of ``E f(E)`` on each of some pieces."""
    nodes, weights = _nodes(n)
    half = (hi - lo) / 2
    energies = np.exp((lo + half)[:, None] + half[:, None] * nodes)
    return np.asarray((function(energies) * energies) @ weights * half)


def _quadrature(function: Callable[[Floats], Floats], edges: Floats, marks: Floats) -> Floats:
    """Halve the pieces of each bin until 10 and 21 nodes agree."""
    logs = np.log(edges)
    steps = logs[:-1, None] + np.diff(logs)[:, None] * (np.arange(PIECES) / PIECES)
    inside = marks[(marks > edges[0]) & (marks < edges[-1])]
    cuts = np.unique(np.concatenate([steps.ravel(), logs[-1:], np.log(inside)]))
    lo, hi = cuts[:-1], cuts[1:]
    bins = np.searchsorted(logs, lo, side="right") - 1
    done = np.zeros(edges.size - 1)
    swing = np.zeros(edges.size - 1)  # of pieces that are done, without their signs
    for _ in range(HALVINGS):
        fine = _gauss(function, lo, hi, 21)
        error = np.abs(fine - _gauss(function, lo, hi, 10))
        size = swing + np.bincount(bins, np.abs(fine), done.size)
        rough = (error > TOLERANCE / 10 * size[bins]) & np.isfinite(error)
        done += np.bincount(bins[~rough], fine[~rough], done.size)
        swing += np.bincount(bins[~rough], np.abs(fine[~rough]), done.size)
        if not rough.any():
            return done
        middle = (lo[rough] + hi[rough]) / 2
        lo, hi = np.concatenate([lo[rough], middle]), np.concatenate([middle, hi[rough]])
        bins = np.tile(bins[rough], 2)
        if bins.size > MOST:
            break
    rest = np.bincount(bins, _gauss(function, lo, hi, 21), done.size)
    if (np.abs(rest) > TOLERANCE * np.abs(done + rest)).any():
        worst = int(np.argmax(np.abs(rest)))
        raise ModelError(
            f"the integral from {edges[worst]:g} to {edges[worst + 1]:g} TeV does not converge: the spectrum has to be "
            "a function without poles; narrower bins may help"
        )
    return done + rest
