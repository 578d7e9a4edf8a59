"""Compiled kernel of the intervals of Feldman & Cousins, for a known background.

A signal with theta = signal + background expected accepts the counts in the order of their rank, P(k | theta) over
P(k | max(k, background)), until their probabilities reach the confidence. Seen from a count n, a signal accepts it
unless those of higher rank hold that much. They are all the counts between n and a count K on the other side of theta,
for the rank has one maximum, and K changes where two ranks tie, at a theta in closed form. So nothing is scanned: one
finds, by bisection, the last K for which n is accepted between two ties, and there a root, or a tie is the limit.
"""

import math

from xonoff.stats.kernels import Block, _deviance, _jit
from xonoff.stats.poisson import _log_probability

__all__ = ["belt_lower", "belt_upper"]

#: From this expectation on sums of probabilities are taken from Temme's expansion, good to 1e-14 there.
_LARGE = 1e5
#: A double holds every whole number up to twice this.
_LARGEST = 4e15


@_jit
def _cumulative(k: float, theta: float) -> float:
    """Probability of at most k counts, for a large expectation.

    Temme (1979), SIAM J. Math. Anal. 10, 757: the uniform expansion of the incomplete gamma function.
    """
    if k < 0.0:
        return 0.0
    a = k + 1.0
    half = _deviance(a, theta, a - theta)
    eta = math.copysign(math.sqrt(2.0 * half / a), theta - a)
    if abs(eta) > 0.1:  # beyond 30 standard deviations
        return 0.0 if eta > 0.0 else 1.0
    first = -1 / 3 + eta * (1 / 12 + eta * (-2 / 135 + eta * (1 / 864 + eta * (1 / 2835 - eta * 139 / 777600))))
    second = -1 / 540 + eta * (-1 / 288 + eta / 378)
    rest = math.exp(-half) / math.sqrt(2.0 * math.pi * a) * (first + second / a)
    return 0.5 * math.erfc(math.copysign(math.sqrt(half), eta)) + rest


@_jit
def _mass(first: float, last: float, theta: float) -> float:
    """Probability of the counts from `first` to `last`, both included."""
    if last < first:
        return 0.0
    if theta == 0.0:
        return 1.0 if first == 0.0 else 0.0
    if theta > _LARGE:
        return _cumulative(last, theta) - _cumulative(first - 1.0, theta)
    middle = min(max(math.floor(theta) * 1.0, first), last)
    total = term = math.exp(_log_probability(middle, theta))
    k, p = middle, term
    while k < last and p > 1e-18:
        k += 1.0
        p *= theta / k
        total += p
    k, p = middle, term
    while k > first and p > 1e-18:
        p *= k / theta
        k -= 1.0
        total += p
    return total


@_jit
def _tie(small: float, large: float, background: float) -> float:
    """Expectation at which two counts have the same rank: the larger one ranks higher above it."""
    if large <= background:
        return background
    m = max(small, background)
    if m < 1e-290:  # and `small` is 0
        return large / math.e
    return m * math.exp(_deviance(large, m, large - m) / (large - small))


@_jit
def _crossing(first: float, last: float, low: float, high: float, confidence: float) -> float:
    """Expectation between two at which the counts hold the confidence, which they do at one of the ends alone."""
    at_low = _mass(first, last, low) >= confidence
    x = 0.5 * (low + high)
    for _ in range(200):
        excess = _mass(first, last, x) - confidence
        if (excess >= 0.0) == at_low:
            low = x
        else:
            high = x
        slope = -math.exp(_log_probability(last, x))
        if first > 0.0:
            slope += math.exp(_log_probability(first - 1.0, x))
        new = x - excess / slope
        if abs(new - x) <= 1e-12 * x and low <= new <= high:
            return new
        if not low < new < high:
            new = 0.5 * (low + high)
        if new in (low, high):
            return new
        x = new
    return x


@_jit
def _accepts(n: float, other: float, background: float, confidence: float) -> bool:
    """Tell whether the count n is accepted somewhere between the ties of `other` and of the count beyond it."""
    if other > n:
        first, last, ties = n + 1.0, other, (_tie(n, other, background), _tie(n, other + 1.0, background))
    else:
        beyond = _tie(other - 1.0, n, background) if other > 0.0 else background
        first, last, ties = other, n - 1.0, (_tie(other, n, background), beyond)
    return _mass(first, last, ties[0]) < confidence or _mass(first, last, ties[1]) < confidence


@_jit
def _last_accepting(n: float, end: float, background: float, confidence: float) -> float:
    """Count farthest from n, in the direction of `end`, between which and n the counts do not exclude n."""
    direction = 1.0 if end > n else -1.0
    inside, step = 0.0, 1.0
    while inside + step < abs(end - n) and _accepts(n, n + direction * (inside + step), background, confidence):
        inside, step = inside + step, 2.0 * step
    outside = min(inside + step, abs(end - n))
    if outside == abs(end - n) and _accepts(n, end, background, confidence):
        return end
    while outside - inside > 1.0:
        middle = math.floor(0.5 * (inside + outside)) * 1.0
        if _accepts(n, n + direction * middle, background, confidence):
            inside = middle
        else:
            outside = middle
    return n + direction * inside


@_jit
def _next_peak(n: float, other: float, background: float, confidence: float) -> float:
    """Upper limit at the next larger background at which it jumps up, as `other` no longer excludes n.

    The counts from n + 1 to `other` hold less than the confidence again above some expectation, whatever the
    background; it lies within the ties once that of the count beyond has moved up there, as it does with background.
    """
    background = max(background, n)
    low = _tie(n, other + 1.0, background)
    step = 1.0 + math.sqrt(low)
    high = low + step
    while _mass(n + 1.0, other, high) >= confidence:
        low, high = high, high + step
    theta = _crossing(n + 1.0, other, low, high, confidence)
    low, high = background, theta
    while True:
        middle = 0.5 * (low + high)
        if not low < middle < high:
            return theta - middle
        if _tie(n, other + 1.0, middle) < theta:
            low = middle
        else:
            high = middle


@_jit
def _upper(n: float, background: float, confidence: float, lengthened: bool) -> float:
    last = _last_accepting(n, math.inf, background, confidence)
    beyond = last + 1.0  # the least count that excludes n at its last tie
    high = _tie(n, beyond, background)
    if last > n and _mass(n + 1.0, last, high) >= confidence:
        high = _crossing(n + 1.0, last, _tie(n, last, background), high, confidence)
        beyond = last
    limit = max(high - background, 0.0)
    if lengthened:  # later jumps end lower
        limit = max(limit, _next_peak(n, beyond, background, confidence))
    return limit


@_jit
def _lower(n: float, background: float, confidence: float) -> float:
    if n <= background or _mass(0.0, n - 1.0, background) < confidence:
        return 0.0
    first = _last_accepting(n, 0.0, background, confidence)
    low = _tie(first - 1.0, n, background) if first > 0.0 else background
    if first < n and _mass(first, n - 1.0, low) >= confidence:
        low = _crossing(first, n - 1.0, low, _tie(first, n, background), confidence)
    return max(low - background, 0.0)


@_jit
def _is_count(n: float, background: float) -> bool:
    """Tell whether a count and a background have an interval; NaN fails every comparison."""
    return 0.0 <= n <= _LARGEST and n == math.floor(n) and 0.0 <= background <= _LARGEST


@_jit
def belt_upper(n_on: Block, background: Block, confidence: Block, lengthened: Block, out: Block) -> None:
    """Upper end of the interval of each bin, as it is or, where `lengthened` is not 0, as in the paper's tables."""
    for i in range(out.size):
        out[i] = math.nan
        if _is_count(n_on[i], background[i]):
            out[i] = _upper(n_on[i], background[i], confidence[i], lengthened[i] != 0.0)


@_jit
def belt_lower(n_on: Block, background: Block, confidence: Block, out: Block) -> None:
    """Lower end of the interval of each bin."""
    for i in range(out.size):
        out[i] = math.nan
        if _is_count(n_on[i], background[i]):
            out[i] = _lower(n_on[i], background[i], confidence[i])
