r"""Integrals of spectra over bins of energy, and of maps over the sky.

Power laws, broken ones, tables and sums of these are integrated in closed form; all other spectra by adaptive
Gauss-Legendre quadrature in the logarithm of energy, to a relative error of 1e-10. Maps are integrated as they are
interpolated, linearly between their pixels, in any projection.
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
from xonoff.models.spectra import FLUX_UNIT, Absorption, TemplateSpectrum, flux, has_units
from xonoff.skygrid import SkyGrid
from xonoff.units import Value

__all__ = ["energy_integral", "integral"]

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

#: Squares of a map: how far from bilinear the size of the pixels in one may be, and what may be left in those at the
#: rim of the sky, or how many of them, before these are no more halved but looked at in places of a Fibonacci lattice.
UNEVEN, REST, SQUARES = 2e-3, 1e-3, 5_000
PLACES = (np.array([np.arange(34), np.arange(34) * 21 % 34]) + 0.5) / 34
#: Nodes along a side, within it as a pole may be on it, and coefficients of the parabolas that are 1 at one of them.
NODES = np.array([0.01, 0.5, 0.99])
PARABOLAS = np.linalg.inv(np.vander(NODES)).T
WEIGHTS = np.outer(*[PARABOLAS @ [1 / 3, 1 / 2, 1]] * 2)
BILINEAR = np.array([[1, 0, 0], [0.5, 0, 0.5], [0, 0, 1]])
#: Step of differences, deg: the larger, the more digits, and the worse where pixels are singular at the rim of the sky.
STEP = 1e-8


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


def energy_integral(spectrum: Model, edges: Value) -> Floats:
    """Energy flux of a spectrum in bins of energy: the integral of the energy times the flux.

    Parameters
    ----------
    spectrum, edges
        As for `integral`.

    Returns
    -------
    ndarray, TeV cm-2 s-1
        One value a bin.

    Examples
    --------
    >>> from xonoff.models import PowerLaw1D
    >>> energy_integral(PowerLaw1D(amplitude=1e-12, x_0=1, alpha=3), [1, 2, 4])
    array([5.0e-13, 2.5e-13])
    """
    flux(spectrum, check_edges("energy", edges)[:1])  # refuses what is no spectrum, before it is part of a compound
    one, tev = (u.dimensionless_unscaled, u.TeV) if has_units(spectrum) else (1, 1)
    return integral(spectrum.copy() * PowerLaw1D(amplitude=1.0 * one, x_0=1.0 * tev, alpha=-1), edges)


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


# -- maps -------------------------------------------------------------------------------------------------------------


def interpolated(image: Floats, y: Floats, x: Floats) -> Floats:
    """Bilinear values; at the outermost half pixels those of the edge, beyond them and off the sky 0."""
    ny, nx = image.shape
    inside = (y >= -0.5) & (y <= ny - 0.5) & (x >= -0.5) & (x <= nx - 0.5)
    y, x = (np.clip(np.where(inside, p, 0), 0, n - 1) for p, n in ((y, ny), (x, nx)))
    row, column = (np.minimum(p.astype(int), max(n - 2, 0)) for p, n in ((y, ny), (x, nx)))
    below, right = np.minimum(row + 1, ny - 1), np.minimum(column + 1, nx - 1)
    fy, fx = y - row, x - column
    top = image[row, column] * (1 - fx) + image[row, right] * fx
    bottom = image[below, column] * (1 - fx) + image[below, right] * fx
    return np.where(inside, top * (1 - fy) + bottom * fy, 0.0)


def map_integral(image: Floats, sky: SkyGrid) -> float:
    """Integral over the sky of a map as `interpolated` gives it, sr times its unit.

    Good to 1e-5, at the rim of the sky to 1e-4; to 1e-2 where pixels grow without bounds there (all of a hemisphere in
    SIN).

    The map is cut into squares, which are halved until the solid angle per pixel is a parabola along both sides. Those
    of whole pixels are summed with the mean and the slopes of the map in each pixel, smaller ones with weights of their
    nodes. What is cut by the rim of the sky is halved until it is little.
    """
    size = max(2.0 ** np.floor(np.log2(np.sqrt(image.size) / 16)), 0.5)
    y, x = (size * index.ravel() for index in np.indices([int(np.ceil(n / size)) for n in image.shape]))
    moments = _moments(image, max(int(size), 1))
    total = 0.0
    while True:
        at_y, at_x = y[:, None, None] + size * NODES[:, None] - 0.5, x[:, None, None] + size * NODES - 0.5
        density = _density(sky, at_y, at_x, size)
        even = np.abs(density - BILINEAR @ density @ BILINEAR.T).max((1, 2)) <= UNEVEN * density.max((1, 2))
        rest = np.isfinite(density).any((1, 2)) & ~even
        values = interpolated(image, at_y, at_x)
        if size >= 1:
            total += _pixel_sums(moments, density[even], y[even], x[even], int(size))
        else:
            total += size**2 * float((values[even] * density[even] * WEIGHTS).sum())
        if size <= 1:
            rest &= values.any((1, 2))
        y, x = y[rest], x[rest]
        left = size**2 * np.linalg.norm(values[rest].max((1, 2)) * np.nanmax(density[rest], (1, 2)))
        if size <= 1 and (y.size > SQUARES or left <= REST * total):
            break
        size /= 2
        y, x = (np.add.outer(size * np.array(to), p).ravel() for to, p in (((0, 0, 1, 1), y), ((0, 1, 0, 1), x)))
    at_y, at_x = (p[:, None] + size * to - 0.5 for p, to in zip((y, x), PLACES, strict=True))
    parts = interpolated(image, at_y, at_x) * np.nan_to_num(_density(sky, at_y, at_x, size))
    return float(total + size**2 * parts.mean(1).sum())


def _moments(image: Floats, size: int) -> Floats:
    """Mean of a map in each pixel, and its integrals times y and x from the middle; zeros up to whole squares."""
    mean, slope = np.array([1, 6, 1]) / 8, np.array([-1, 0, 1]) / 24
    edged = np.pad(image, 1, "edge")
    rows = [sum(w * edged[i : i + image.shape[0]] for i, w in enumerate(weights)) for weights in (mean, slope)]
    pairs = ((rows[0], mean), (rows[1], mean), (rows[0], slope))
    found = [sum(w * row[:, i : i + image.shape[1]] for i, w in enumerate(weights)) for row, weights in pairs]
    return np.pad(found, [(0, 0), *((0, -n % size) for n in image.shape)])


def _pixel_sums(moments: Floats, density: Floats, y: Floats, x: Floats, size: int) -> float:
    """Sum over the pixels of squares, of densities at their nodes."""
    _, ny, nx = moments.shape
    blocks = moments.reshape(3, ny // size, size, nx // size, size)
    mean, along_y, along_x = np.moveaxis(blocks[:, (y / size).astype(int), :, (x / size).astype(int)], 1, 0)
    u = (np.arange(size) + 0.5) / size
    value = PARABOLAS @ [u**2 + 1 / (12 * size**2), u, np.ones(size)]  # means over the pixels
    slope = PARABOLAS @ [2 * u, np.ones(size), np.zeros(size)] / size
    found = value.T @ density @ value * mean
    found += slope.T @ density @ value * along_y + value.T @ density @ slope * along_x
    return float(found.sum())


def _density(sky: SkyGrid, y: Floats, x: Floats, size: float) -> Floats:
    """Solid angle per pixel at places of a map in squares of a size, by differences, sr; NaN off the sky."""
    step = min(size / 20_000, STEP / max(sky.pixel_scales))

    def direction(dy: float, dx: float) -> Floats:
        lon, lat = np.radians(sky.pixel_to_sky(*np.broadcast_arrays(x + dx, y + dy)))
        return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])

    along_y, along_x = direction(step, 0) - direction(-step, 0), direction(0, step) - direction(0, -step)
    return np.asarray(np.linalg.norm(np.cross(along_y, along_x, axis=0), axis=0) / (2 * step) ** 2)
