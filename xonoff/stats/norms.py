"""Norm of a signal: the factor at which WStat, summed over bins, is least, and where it is higher by n^2.

The counts of the signal are proportional to its norm, so W of a group of bins is a function of one number, and a convex
one: minus the logarithm of the likelihood is convex in signal and background together, which its profile inherits. All
that is looked for is then within a bracket, and found by Newton's method, which halves the bracket where it does not do
better. Nothing is drawn at random and nothing starts at a guess that matters.

Imported on first use, as `xonoff.stats.kernels` is: it compiles. A change of the functions taken from there does not
make numba compile these anew: remove its cache then.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xonoff.stats.kernels import _jit, _null_wstat, _profile, _wstat
from xonoff.stats.threads import in_threads

__all__ = ["Norms", "counts_for_norm", "fit_norms", "norm_profile"]

Floats = npt.NDArray[np.float64]

#: Steps of a search; halving alone needs some 60 for all digits, and some 1000 for the smallest numbers that there are.
STEPS = 200
#: Where a search ends: width of the bracket, relative to the place and in counts.
RELATIVE, ABSOLUTE = 4e-16, 1e-13
#: W still falls by this much within an error at a minimum that is a kink or an end, not a bottom.
FLAT = 1e-3


class Norms(NamedTuple):
    """Norms of groups of bins; NaN where a group has no bin.

    Attributes
    ----------
    norm : ndarray (group,)
        Where W is least.
    err : ndarray (group,)
        From the curvature of W there; where it has a kink or is at its end, the mean of the two below.
    errn, errp : ndarray (group,)
        Down and up to where W is higher by ``n_sigma**2``; down to the end of the norms that are possible where that
        is nearer.
    ul : ndarray (group,)
        Norm above where W is higher by ``n_sigma_ul**2``.
    stat, stat_null : ndarray (group,)
        W at the minimum, and for a norm of 0.
    """

    norm: Floats
    err: Floats
    errn: Floats
    errp: Floats
    ul: Floats
    stat: Floats
    stat_null: Floats


def counts_for_norm(n_on: Floats, n_off: Floats, alpha: Floats, other: Floats, signal: Floats) -> npt.NDArray[np.bool_]:
    """Tell which bins say something of a norm: valid ones, in which there is a signal.

    Examples
    --------
    >>> n_on, n_off, alpha, other = np.array([[5.0, 5.0, 5.0], [7.0, 7.0, 7.0], [0.1, np.nan, 0.1], [0.0, 0.0, 0.0]])
    >>> counts_for_norm(n_on, n_off, alpha, other, np.array([1.0, 1.0, 0.0]))
    array([ True, False, False])
    """
    finite = np.isfinite(n_on) & np.isfinite(n_off) & np.isfinite(alpha) & np.isfinite(other) & np.isfinite(signal)
    with np.errstate(invalid="ignore"):
        found: npt.NDArray[np.bool_] = finite & (n_on >= 0) & (n_off >= 0) & (alpha >= 0) & (signal != 0)
    return found


def fit_norms(bins: Sequence[Floats], stops: Sequence[int], *, n_sigma: float = 1.0, n_sigma_ul: float = 2.0) -> Norms:
    r"""Fit the norm of a signal to each of some groups of bins.

    Parameters
    ----------
    bins : five ndarrays (bin,)
        ``n_on``, ``n_off``, ``alpha``, the counts expected of other sources, and those of the signal for a norm of 1;
        only bins that count, see `counts_for_norm`.
    stops : sequence of int
        Where each group of bins ends and the next begins.
    n_sigma, n_sigma_ul : float
        Of the errors, and of the upper limit.

    Returns
    -------
    Norms

    Notes
    -----
    With :math:`\mu_i = o_i + N s_i`, :math:`W(N) = \sum_i W_i(\mu_i)` and, the background being at its best,

    .. math::
        \frac{dW_i}{d\mu} = 2 - \frac{2 n_\mathrm{on}}{m}, \qquad
        \frac{d^2 W_i}{d\mu^2} = 2 \left(\frac{m^2}{n_\mathrm{on}} + \frac{b^2}{n_\mathrm{off}}\right)^{-1},

    where b is the background and :math:`m = \mu + b` all that is expected in the on region. A norm may be negative: the
    background then stays above what cancels the signal, see `xonoff.stats.wstat`.

    Examples
    --------
    >>> bins = [np.array([value]) for value in (15.0, 100.0, 0.1, 0.0, 2.0)]
    >>> found = fit_norms(bins, [1])
    >>> found.norm.round(6), found.err.round(4)
    (array([2.5]), array([2.]))
    """
    arrays, ends = _checked(bins, stops)
    out = np.full((len(ends), 7), np.nan)
    groups = zip([0, *ends[:-1]], ends, out, strict=True)
    in_threads(
        lambda group: _fit_group(arrays, group[0], group[1], float(n_sigma), float(n_sigma_ul), group[2]), groups
    )
    return Norms(*(np.ascontiguousarray(column) for column in out.T))


def norm_profile(bins: Sequence[Floats], stops: Sequence[int], norms: npt.ArrayLike) -> Floats:
    """W of groups of bins for some norms.

    Parameters
    ----------
    bins, stops
        As for `fit_norms`.
    norms : array_like (norm,)

    Returns
    -------
    ndarray (group, norm)
        Infinite where a norm is impossible, NaN for a group without bins.

    Examples
    --------
    >>> bins = [np.array([value]) for value in (15.0, 100.0, 0.1, 0.0, 2.0)]
    >>> norm_profile(bins, [1], [0.0, 2.5, 5.0]).round(3)
    array([[1.94, 0.  , 1.31]])
    """
    arrays, ends = _checked(bins, stops)
    at = np.ascontiguousarray(norms, dtype=np.float64)
    out = np.full((len(ends), at.size), np.nan)
    groups = zip([0, *ends[:-1]], ends, out, strict=True)
    in_threads(lambda group: _profile_group(arrays, group[0], group[1], at, group[2]), groups)
    return out


def _checked(bins: Sequence[Floats], stops: Sequence[int]) -> tuple[tuple[Floats, ...], list[int]]:
    arrays = [np.ascontiguousarray(array, dtype=np.float64) for array in bins]
    ends = np.ascontiguousarray(stops, dtype=np.int64)
    if len(arrays) != 5 or any(array.shape != arrays[0].shape or array.ndim != 1 for array in arrays):
        raise ValueError(f"bins: shapes {[array.shape for array in arrays]} found, five of one length accepted")
    if ends.size and (ends[0] < 0 or (np.diff(ends) < 0).any() or ends[-1] > arrays[0].size):
        raise ValueError(f"stops: {ends.tolist()} found, increasing numbers up to {arrays[0].size} accepted")
    return tuple(arrays), ends.tolist()


# -- W of one group ---------------------------------------------------------------------------------------------------


@_jit
def _slopes(n_on: float, n_off: float, alpha: float, mu_sig: float) -> tuple[float, float]:
    """First and second derivative of W by the signal, where W is finite."""
    if alpha == 0.0:
        return (2.0 - 2.0 * n_on / mu_sig, 2.0 * n_on / (mu_sig * mu_sig)) if n_on > 0.0 else (2.0, 0.0)
    if n_on == 0.0 and mu_sig >= 0.0:
        return 2.0, 0.0
    b, m = _profile(n_on, n_off, alpha, mu_sig)
    if m == 0.0:  # no on count, and a negative signal that the background just cancels: b is -mu_sig
        return (2.0 * n_off / b - 2.0 / alpha, 2.0 * n_off / (b * b))
    slope = 2.0 - 2.0 * n_on / m
    if n_on == 0.0 or (n_off == 0.0 and b > 0.0):
        return slope, 0.0
    return slope, 2.0 / (m * m / n_on + (b * b / n_off if n_off > 0.0 else 0.0))


@_jit
def _packed(on: Any, off: Any, alpha: Any, other: Any, signal: Any) -> Any:
    """Bins of a group, those with no on count last: of these W is a straight line where no signal is negative.

    The line is given by W for a norm of 0, its slope, and the norm where it begins. Most bins of a map are such.
    """
    n = on.size
    order = np.empty(n, np.intp)
    first, last, base, rate, start = 0, n, 0.0, 0.0, -math.inf
    for i in range(n):
        if on[i] == 0.0 and alpha[i] > 0.0 and signal[i] > 0.0:
            last -= 1
            order[last] = i
            base += 2.0 * other[i] + _null_wstat(0.0, off[i], alpha[i])
            rate += 2.0 * signal[i]
            start = max(start, -other[i] / signal[i])
        else:
            order[first] = i
            first += 1
    return on[order], off[order], alpha[order], other[order], signal[order], first, base, rate, start


@_jit
def _sums(bins: Any, norm: float, with_stat: bool) -> tuple[float, float, float]:
    """W, if that is wanted, and its derivatives by the norm; the norm is within the limits."""
    on, off, alpha, other, signal, first, base, rate, start = bins
    stat, slope, curvature, n = 0.0, 0.0, 0.0, on.size
    if norm >= start:
        stat, slope, n = base + norm * rate, rate, first
    for i in range(n):
        mu_sig = other[i] + norm * signal[i]
        if alpha[i] == 0.0:
            mu_sig = max(mu_sig, 0.0)  # but for rounding it is
        first, second = _slopes(on[i], off[i], alpha[i], mu_sig)
        slope += signal[i] * first
        curvature += signal[i] * signal[i] * second
        if with_stat:
            stat += _wstat(on[i], off[i], alpha[i], mu_sig)
    return stat, slope, curvature


@_jit
def _limits(bins: Any) -> tuple[float, float]:
    """Norms that are possible: without a background, no bin may expect less than nothing."""
    alpha, other, signal = bins[2:5]
    low, high = -math.inf, math.inf
    for i in range(alpha.size):
        if alpha[i] == 0.0:
            end = -other[i] / signal[i]
            if signal[i] > 0.0:
                low = max(low, end)
            else:
                high = min(high, end)
    return low, high


# -- searches ---------------------------------------------------------------------------------------------------------


@_jit
def _least(bins: Any, start: float, step: float, low: float, high: float) -> float:
    """Norm at which W is least: where its derivative changes sign, or an end of what is possible."""
    x = min(max(start, low), high)
    slope, curvature = _sums(bins, x, False)[1:]
    sign, scale = (-1.0 if slope > 0.0 else 1.0), step
    behind = x
    for _ in range(1100):  # doubles reach no farther
        if slope * sign >= 0.0:
            break
        behind = x
        x = min(max(x + sign * step, low), high)
        if x == behind:
            return x
        slope, curvature = _sums(bins, x, False)[1:]
        step *= 2.0
    a, b = min(behind, x), max(behind, x)
    if a == b:
        return x
    moved, before, width = math.inf, math.inf, 0.0
    for number in range(STEPS):
        width = max(RELATIVE * abs(x), ABSOLUTE * scale)
        if slope == 0.0:
            return x
        if b - a <= 3.0 * width:
            break
        newton = x - slope / curvature if curvature > 0.0 else math.inf
        if moved <= width:  # as good as there, or beside a pole: a look at the other side tells
            newton = x - math.copysign(2.0 * width, slope)
        if not a < newton < b or (number % 3 == 2 and b - a > 0.5 * before):
            newton = 0.5 * (a + b)
        if number % 3 == 2:
            before = b - a
        moved = abs(newton - x)
        x = newton
        slope, curvature = _sums(bins, x, False)[1:]
        if slope > 0.0:
            b = x
        else:
            a = x
    stat_a, stat_b = _sums(bins, a, True)[0], _sums(bins, b, True)[0]  # a kink lies between them
    if a < 0.0 < b and _sums(bins, 0.0, True)[0] <= min(stat_a, stat_b):  # as it does at 0 where there is no count
        return 0.0
    return a if stat_a < stat_b else b


@_jit
def _reached(bins: Any, best: float, least: float, rise: float, step: float, end: float) -> float:
    """Norm beyond the best, in the direction of a step, at which W is higher by a rise; the end if it never is."""
    if rise <= 0.0:
        return best
    inner, x = best, best
    sign = 1.0 if step > 0.0 else -1.0
    above, slope = -rise, 0.0
    for _ in range(1100):
        inner = x
        x = min(x + step, end) if sign > 0.0 else max(x + step, end)
        stat, slope, _ = _sums(bins, x, True)
        above = stat - least - rise
        if above >= 0.0:
            break
        if x in (end, inner):
            return x
        step *= 2.0
    outer, moved, before = x, math.inf, math.inf
    for number in range(STEPS):
        size = abs(outer - inner)
        width = 4.0 * RELATIVE * (abs(x) + abs(x - best))
        if above == 0.0 or size <= 3.0 * width:
            break
        newton = x - above / slope if abs(slope) > 0.0 and above < math.inf else math.inf
        if moved <= width:  # as in `_least`
            newton = x + math.copysign(2.0 * width, inner - outer if x == outer else outer - inner)
        if not min(inner, outer) < newton < max(inner, outer) or (number % 3 == 2 and size > 0.5 * before):
            newton = 0.5 * (inner + outer)
        if number % 3 == 2:
            before = size
        moved = abs(newton - x)
        x = newton
        stat, slope, _ = _sums(bins, x, True)
        above = stat - least - rise
        if above >= 0.0:
            outer = x
        else:
            inner = x
    return x


@_jit
def _fit(bins: Any, n_sigma: float, n_sigma_ul: float, out: Any) -> None:
    """Fit one group; `out` takes what `Norms` has, and stays as it is where the group has no possible norm."""
    on, off, alpha, other, signal = bins[:5]
    low, high = _limits(bins)
    if on.size == 0 or low > high:
        return
    total, excess, counts = 0.0, 0.0, 0.0
    for i in range(on.size):
        size = abs(signal[i])
        total += size
        excess += (on[i] - alpha[i] * off[i] - other[i]) * (1.0 if signal[i] > 0.0 else -1.0)
        counts += on[i] + alpha[i] * off[i]
    step = math.sqrt(counts + 1.0) / total
    best = _least(bins, excess / total, step, low, high)
    least, slope, curvature = _sums(bins, best, True)
    if not least < math.inf:
        return
    error = math.sqrt(2.0 / curvature) if curvature > 0.0 else math.inf
    smooth = error < math.inf and abs(slope) * error < FLAT
    step = error if smooth else step
    lower = _reached(bins, best, least, n_sigma * n_sigma, -step * n_sigma, low)
    upper = _reached(bins, best, least, n_sigma * n_sigma, step * n_sigma, high)
    out[0] = best
    out[1] = n_sigma * error if smooth else 0.5 * (upper - lower)
    out[2] = best - lower
    out[3] = upper - best
    out[4] = _reached(bins, best, least, n_sigma_ul * n_sigma_ul, step * n_sigma_ul, high)
    out[5] = least
    out[6] = _sums(bins, 0.0, True)[0] if low <= 0.0 <= high else math.inf


@_jit
def _fit_group(arrays: Any, start: int, stop: int, n_sigma: float, n_sigma_ul: float, out: Any) -> None:
    """Fit one group of bins."""
    on, off, alpha, other, signal = arrays
    part = slice(start, stop)
    _fit(_packed(on[part], off[part], alpha[part], other[part], signal[part]), n_sigma, n_sigma_ul, out)


@_jit
def _profile_group(arrays: Any, start: int, stop: int, norms: Any, out: Any) -> None:
    """W of one group of bins at every norm."""
    on, off, alpha, other, signal = arrays
    part = slice(start, stop)
    bins = _packed(on[part], off[part], alpha[part], other[part], signal[part])
    low, high = _limits(bins)
    for i in range(norms.size if stop > start else 0):
        out[i] = _sums(bins, norms[i], True)[0] if low <= norms[i] <= high else math.inf
