"""Searches for the norm of a signal, compiled: W of a group of bins by the norm, its minimum, and where it is higher.

With ``1 - k = n_on / m`` for all that is expected in the on region, m, the background being at its best, half the slope
of W of a bin is k, and ``W = 2 (k mu + n_on ln(1 - k) + n_off ln(1 + alpha k))``. m follows from

    2 m = mu + total + root,   root^2 = (mu + gap)^2 + product

with ``total = alpha (n_on + n_off) / (1 + alpha)``, ``gap = alpha (n_off - n_on) / (1 + alpha)`` and ``product = 4
alpha^2 n_on n_off / (1 + alpha)^2``, which are known before the norm is; where ``mu + total`` is negative by the other
root. Bins with an on count are *curved*. Those without are *straight*: W is ``2 (mu + n_off ln(1 + alpha))`` down to
``mu = -cancel`` for ``cancel = alpha n_off / (1 + alpha)``; the sum of all these lines is one line. Most bins of a map
are such.

The sums are rounded in any order (``fastmath``), so that the compiler makes vector instructions of the loops: 1 ns a
bin, and 2 with the logarithms, where one bin after the other takes 5 and 9. They are good to some 1e-16 of the counts.
A change of this file does not make numba compile anew what calls it from other files: remove its cache then.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from xonoff.stats.kernels import _jit, _null_wstat

__all__ = ["Bins", "Floats", "fit", "pack", "prepare", "sums"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

#: Steps of a search; halving alone needs some 60 for all digits, and some 1000 for the smallest numbers that there are.
STEPS = 200
#: Where a search ends: width of the bracket, relative to the place and in counts.
RELATIVE, ABSOLUTE = 4e-16, 1e-13
#: W still falls by this much within an error at a minimum that is a kink or an end, not a bottom.
FLAT = 1e-3
#: Rows of the curved and of the straight bins.
CURVED, STRAIGHT = 9, 4
#: Slope that stands for an infinite one: no signal may be negative where there is no background.
STEEP = 1e300
LN2 = math.log(2.0)
#: Bits of the root of 1/2: numbers are cut into powers of 2 and a factor between this and twice as much.
LOW_BITS = np.int64(np.array([math.sqrt(0.5)]).view(np.int64)[0])
MANTISSA = np.int64(52)


class Bins(NamedTuple):
    """Bins of a group, as they are searched.

    Attributes
    ----------
    curved : ndarray (9, at least n)
        total, gap, product, ``1 + 1 / alpha``, n_on, n_off, alpha, other, signal: of bins with on counts.
    n : int
        How many of them there are.
    straight : ndarray (4, at least m)
        cancel, ``1 + 1 / alpha``, other, signal: of bins without, as far as they are needed.
    m : int
    base, rate : float
        The line of all bins without on counts: W for a norm of 0, and its slope.
    kink : float
        What the slope falls by at a norm of 0, going down, for bins with no count at all and no other source.
    start, stop : float
        Norms between which the line holds for all straight bins.
    low, high : float
        Norms that are possible: without a background, no bin may expect less than nothing.
    guess, step : float
        Where to begin, and how far to go first.
    room : ndarray (3, at least 2 n)
        For intermediate results.
    """

    curved: Any
    n: int
    straight: Any
    m: int
    base: float
    rate: float
    kink: float
    start: float
    stop: float
    low: float
    high: float
    guess: float
    step: float
    room: Any


@_jit
def prepare(n_on: float, n_off: float, alpha: float, out: Any) -> None:
    """Fill the first seven rows of a curved bin, which do not depend on the signal."""
    share = alpha / (1.0 + alpha)
    out[0] = share * (n_on + n_off)
    out[1] = share * (n_off - n_on)
    out[2] = 4.0 * (share * n_on) * (share * n_off)
    out[3] = min(1.0 + 1.0 / alpha, STEEP)
    out[4] = n_on
    out[5] = n_off
    out[6] = alpha


@_jit
def pack(on: Any, off: Any, alpha: Any, other: Any, signal: Any) -> Any:
    """Sort the bins of a group by what W is in them."""
    size = on.size
    curved, straight = np.empty((CURVED, size)), np.empty((STRAIGHT, size))
    n, m, base, rate, kink = 0, 0, 0.0, 0.0, 0.0
    start, stop, low, high = -math.inf, math.inf, -math.inf, math.inf
    total, excess, counts = 0.0, 0.0, 0.0
    for i in range(size):
        total += abs(signal[i])
        excess += (on[i] - alpha[i] * off[i] - other[i]) * (1.0 if signal[i] > 0.0 else -1.0)
        counts += on[i] + alpha[i] * off[i]
        if alpha[i] == 0.0:
            end = -other[i] / signal[i]
            if signal[i] > 0.0:
                low = max(low, end)
            else:
                high = min(high, end)
        if on[i] > 0.0:
            prepare(on[i], off[i], alpha[i], curved[:, n])
            curved[7, n], curved[8, n] = other[i], signal[i]
            n += 1
            continue
        base += 2.0 * other[i] + _null_wstat(0.0, off[i], alpha[i])
        rate += 2.0 * signal[i]
        if alpha[i] == 0.0:
            continue  # the line holds wherever a norm is possible
        if off[i] == 0.0 and other[i] == 0.0 and signal[i] > 0.0:
            kink += 2.0 * (1.0 + 1.0 / alpha[i]) * signal[i]
            continue
        cancel = off[i] * (alpha[i] / (1.0 + alpha[i]))
        straight[0, m], straight[1, m] = cancel, 1.0 + 1.0 / alpha[i]
        straight[2, m], straight[3, m] = other[i], signal[i]
        end = -(cancel + other[i]) / signal[i]
        if signal[i] > 0.0:
            start = max(start, end)
        else:
            stop = min(stop, end)
        m += 1
    guess, step = excess / total, math.sqrt(counts + 1.0) / total
    room = np.empty((3, 2 * n))
    return Bins(curved, n, straight, m, base, rate, kink, start, stop, low, high, guess, step, room)


# -- W of one group ---------------------------------------------------------------------------------------------------


def _fast(function: Any) -> Any:
    return _jit(function, fastmath={"reassoc", "contract", "nsz"})


@_fast
def _curved_slopes(curved: Any, n: int, norm: float) -> tuple[float, float]:
    """First and second derivative of W of the curved bins by the norm."""
    total, gap, product, grow, on = curved[0][:n], curved[1][:n], curved[2][:n], curved[3][:n], curved[4][:n]
    other, signal = curved[7][:n], curved[8][:n]
    slope, curvature = 0.0, 0.0
    for i in range(n):
        mu = other[i] + norm * signal[i]
        x, a = mu + gap[i], mu + total[i]
        root = math.sqrt(x * x + product[i])
        q = 0.5 * (abs(a) + root)
        above = a >= 0.0
        inverse = 1.0 / (q if above else -mu)
        share = (on[i] if above else grow[i] * q) * inverse  # n_on / m
        ratio = x / max(root, 1e-300)
        fall = (share * (0.5 + 0.5 * ratio) if above else grow[i] * (0.5 - 0.5 * ratio) - share) * inverse
        slope += signal[i] * (1.0 - share)
        curvature += signal[i] * signal[i] * fall
    return 2.0 * slope, 2.0 * curvature


@_fast
def _curved_stat(curved: Any, n: int, norm: float, room: Any) -> float:
    """W of the curved bins; all logarithms at once, as vector instructions."""
    total, gap, product, grow, on = curved[0][:n], curved[1][:n], curved[2][:n], curved[3][:n], curved[4][:n]
    off, alpha, other, signal = curved[5][:n], curved[6][:n], curved[7][:n], curved[8][:n]
    share, mean = room[0][:n], room[0][n : 2 * n]
    stat = 0.0
    for i in range(n):
        mu = other[i] + norm * signal[i]
        x, a = mu + gap[i], mu + total[i]
        q = 0.5 * (abs(a) + math.sqrt(x * x + product[i]))
        above = a >= 0.0
        part = (on[i] if above else grow[i] * q) / (q if above else -mu)
        k = 1.0 - part
        stat += k * mu
        share[i] = part
        mean[i] = 1.0 + alpha[i] * k if off[i] > 0.0 else 1.0
    _logarithms(room[0][: 2 * n], room[1][: 2 * n], room[2][: 2 * n])
    for i in range(n):
        stat += on[i] * share[i] + off[i] * mean[i]
    return 2.0 * stat


@_fast
def _logarithms(values: Any, factors: Any, powers: Any) -> None:
    """Natural logarithms of positive normal numbers, in place: by the exponent, and artanh of the rest; to 1e-16."""
    bits, rest = values.view(np.int64), factors.view(np.int64)
    for i in range(values.size):
        power = (bits[i] - LOW_BITS) >> MANTISSA
        rest[i] = bits[i] - (power << MANTISSA)
        powers[i] = float(power)
    for i in range(values.size):
        v = (factors[i] - 1.0) / (factors[i] + 1.0)
        w = v * v
        series = 1 / 13 + w * (1 / 15 + w * (1 / 17 + w * (1 / 19 + w * (1 / 21))))
        series = 1 / 5 + w * (1 / 7 + w * (1 / 9 + w * (1 / 11 + w * series)))
        values[i] = powers[i] * LN2 + 2.0 * v * (1.0 + w * (1 / 3 + w * series))


@_jit
def sums(bins: Any, norm: float, with_stat: bool) -> tuple[float, float, float]:
    """W, if that is wanted, and its derivatives by the norm, which is within the limits; at a kink those above."""
    slope, curvature = _curved_slopes(bins.curved, bins.n, norm)
    slope += bins.rate
    stat = bins.base + norm * bins.rate
    if norm < 0.0:
        stat -= norm * bins.kink
        slope -= bins.kink
    if norm < bins.start or norm > bins.stop:
        cancel, grow, other, signal = bins.straight[0], bins.straight[1], bins.straight[2], bins.straight[3]
        for i in range(bins.m):
            lack = -other[i] - norm * signal[i]
            if lack > cancel[i]:
                beyond = 2.0 * grow[i] * (lack - cancel[i])
                slope -= 2.0 * grow[i] * (1.0 - cancel[i] / lack) * signal[i]
                if cancel[i] > 0.0:
                    curvature += 2.0 * grow[i] * cancel[i] * (signal[i] / lack) ** 2
                    beyond -= 2.0 * grow[i] * cancel[i] * math.log(lack / cancel[i])
                stat += beyond
    if with_stat:
        stat += _curved_stat(bins.curved, bins.n, norm, bins.room)
        if not stat < math.inf:  # NaN where nothing is expected of an on count
            stat = math.inf
    return stat, slope, curvature


# -- searches ---------------------------------------------------------------------------------------------------------


@_jit
def _least(bins: Any, accuracy: float) -> Any:
    """Norm at which W is least: where its derivative changes sign, or an end of what is possible."""
    low, high, step = bins.low, bins.high, bins.step
    x = min(max(bins.guess, low), high)
    slope, curvature = sums(bins, x, False)[1:]
    if x == 0.0 and slope >= 0.0 and slope <= bins.kink:
        return 0.0
    sign, scale = (-1.0 if slope > 0.0 else 1.0), step
    behind = x
    for _ in range(1100):  # doubles reach no farther
        if slope * sign >= 0.0:
            break
        behind, move = x, step
        if accuracy > 0.0 and abs(slope) < 2.0 * step * curvature:
            move = abs(slope) / curvature
            if move * math.sqrt(0.5 * curvature) <= accuracy:
                return min(max(x + sign * move, low), high)
        else:
            step *= 2.0
        x = min(max(x + sign * move, low), high)
        if x == behind:
            return x
        slope, curvature = sums(bins, x, False)[1:]
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
        if accuracy > 0.0 and a < newton < b and abs(newton - x) * math.sqrt(0.5 * curvature) <= accuracy:
            return newton
        if moved <= width:  # as good as there, or beside a pole: a look at the other side tells
            newton = x - math.copysign(2.0 * width, slope)
        if not a < newton < b or (number % 3 == 2 and b - a > 0.5 * before):
            newton = 0.5 * (a + b)
        if number % 3 == 2:
            before = b - a
        moved = abs(newton - x)
        x = newton
        slope, curvature = sums(bins, x, False)[1:]
        if slope > 0.0:
            b = x
        else:
            a = x
    stat_a, stat_b = sums(bins, a, True)[0], sums(bins, b, True)[0]  # a kink lies between them
    if a < 0.0 < b and sums(bins, 0.0, True)[0] <= min(stat_a, stat_b):  # as it does at 0 where there is no count
        return 0.0
    return a if stat_a < stat_b else b


@_jit
def _reached(bins: Any, best: float, least: float, rise: float, step: float, accuracy: float) -> Any:
    """Norm beyond the best, in the direction of a step, at which W is higher by a rise; the end if it never is."""
    if rise <= 0.0:
        return best
    inner, x = best, best
    sign = 1.0 if step > 0.0 else -1.0
    end = bins.high if step > 0.0 else bins.low
    above, slope, move = -rise, 0.0, abs(step)
    for _ in range(1100):
        inner = x
        x = min(x + move, end) if sign > 0.0 else max(x - move, end)
        stat, slope, _ = sums(bins, x, True)
        above = stat - least - rise
        if above >= 0.0:
            break
        if x in (end, inner):
            return x
        # The tangent of a convex function meets the rise later: a step along it goes as far as that, or beyond.
        move = 2.0 * abs(x - best)
        if slope * sign > 0.0:
            move = min(move, (1.0 + 1e-9) * abs(above / slope))
    outer, moved, before = x, math.inf, math.inf
    for number in range(STEPS):
        size = abs(outer - inner)
        width = 4.0 * RELATIVE * (abs(x) + abs(x - best))
        if above == 0.0 or size <= 3.0 * width:
            break
        newton = x - above / slope if abs(slope) > 0.0 and above < math.inf else math.inf
        within = min(inner, outer) < newton < max(inner, outer)
        if accuracy > 0.0 and within and abs(newton - x) <= accuracy * abs(x - best):
            return newton
        if moved <= width:  # as in `_least`
            newton = x + math.copysign(2.0 * width, inner - outer if x == outer else outer - inner)
            within = min(inner, outer) < newton < max(inner, outer)
        if not within or (number % 3 == 2 and size > 0.5 * before):
            newton = 0.5 * (inner + outer)
        if number % 3 == 2:
            before = size
        moved = abs(newton - x)
        x = newton
        stat, slope, _ = sums(bins, x, True)
        above = stat - least - rise
        if above >= 0.0:
            outer = x
        else:
            inner = x
    return x


@_jit
def fit(bins: Any, n_sigma: float, n_sigma_ul: float, accuracy: float, out: Any) -> None:
    """Fit one group; `out` takes what `xonoff.stats.norms.Norms` has, and stays as it is where no norm is possible.

    With an accuracy above 0 the searches end as soon as a step is below this part of the error. With ``n_sigma_ul`` of
    0 neither limits are looked for, nor ends of errors where the curvature gives these.
    """
    if bins.low > bins.high:
        return
    best = _least(bins, accuracy)
    least, slope, curvature = sums(bins, best, True)
    if not least < math.inf:
        return
    error = math.sqrt(2.0 / curvature) if curvature > 0.0 else math.inf
    smooth = error < math.inf and abs(slope) * error < FLAT
    step = n_sigma * (error if smooth else bins.step)
    out[0] = best
    out[1] = step
    out[5] = least
    if n_sigma_ul > 0.0 or not smooth:
        upper = _reached(bins, best, least, n_sigma * n_sigma, step, accuracy)
        # The other ends, were W a parabola with some skewness.
        skew = upper - best - step
        skew = skew if smooth and abs(skew) < 0.5 * step else 0.0
        lower = _reached(bins, best, least, n_sigma * n_sigma, skew - step, accuracy)
        out[1] = step if smooth else 0.5 * (upper - lower)
        out[2] = best - lower
        out[3] = upper - best
        ratio = n_sigma_ul / n_sigma
        far = ratio * step + ratio * ratio * skew
        far = far if far > 0.5 * ratio * step else ratio * step
        out[4] = _reached(bins, best, least, n_sigma_ul * n_sigma_ul, far, accuracy)
    out[6] = sums(bins, 0.0, True)[0] if bins.low <= 0.0 <= bins.high else math.inf
