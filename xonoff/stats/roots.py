"""Compiled kernels of the intervals: where the profile likelihood has risen by a given amount.

W is convex in the signal and 0 at the best fit, s = n_on - alpha n_off. At a distance x above it, more is expected in
the on region than was counted, and less in the off region:

    m_on = n_on / (1 - k),  m_off = n_off / (1 + alpha k),  x = (m_on - n_on) + alpha (n_off - m_off),  dW/dx = 2 k

for one k between 0 and 1, the root of a quadratic. Below the best fit it is the same with the regions exchanged. Hence
one function of (up, weight of up, down, weight of down), the counts whose expectation rises and falls: for upper errors
(n_on, 1, n_off, alpha), for lower ones (n_off, alpha, n_on, 1). All terms are positive, so no digits are lost however
large the counts, and an interval has bounds in closed form, within a factor of about 3, where the search starts.

The rise above any other point, as no signal, is a line plus such a function with other weights (see `_from_bound`).
"""

import math

from xonoff.stats.kernels import Block, _deviance, _difference, _is_valid, _jit

__all__ = [
    *("bounded_limit", "bounded_lower_error", "bounded_upper_error", "efficiency_limit", "excess_needed"),
    *("lower_error", "upper_error", "upper_limit"),
]

#: Newton's last step starts where the root of W is this close to what is wanted, and leaves the square of it.
_CLOSE = 1e-7
#: Steps are bracketed, and bisect where Newton's would leave the bracket: many fewer than this are taken.
_STEPS = 200


@_jit
def _rise(x: float, up: float, w_up: float, down: float, w_down: float) -> tuple[float, float, float]:
    """Half the rise of W at a distance x > 0 from its minimum, with its first and second derivative."""
    both = w_up + w_down
    variance = w_up * w_up * up + w_down * w_down * down
    b = variance - both * x
    root = math.sqrt(b * b + 4.0 * w_up * w_up * both * up * x)
    fall = 2.0 * w_down * down * x / (variance + both * x + root)
    rise = 0.0
    if b > 0.0:
        rise = 2.0 * w_up * up * x / (b + root)
    elif w_up > 0.0:
        rise = (root - b) / (2.0 * w_up * both)
    more, share = up + rise, w_up * up + both * rise
    less = down * (w_up * more / share) if share > 0.0 else max(down - fall, 0.0)
    value = _deviance(up, more, -rise) + _deviance(down, less, fall)
    slope = x / (w_up * w_up * more + w_down * w_down * less)
    width = 0.0  # of the two counts together: the second derivative is 1 over it
    if more > 0.0:
        width += (w_up * more) ** 2 / up  # infinite without counts, for W is a line there
    if less > 0.0:
        width += (w_down * less) ** 2 / down
    return value, slope, 1.0 / width


@_jit
def _distance(q: float, up: float, w_up: float, down: float, w_down: float, line: float) -> float:
    """Distance at which ``_rise + line * x`` is q > 0."""
    # Either count alone would rise to q: D(n, n + d) = q has sqrt(2 q n) + 2 q / 3 < d < sqrt(2 q n) + q, and
    # D(n, n - d) = q has 2 q n / (q + sqrt(q^2 + 2 q n)) < d < sqrt(2 q n) and n.
    wide_up, wide_down = math.sqrt(2.0 * q * up), math.sqrt(2.0 * q * down)
    high = w_up * (q + wide_up) + w_down * min(down, wide_down)
    low = 0.0
    if line > 0.0:
        high = min(high, q / line)
    else:
        low = max(
            w_up * (wide_up + q / 1.5), w_down * (2.0 * q * down / (q + math.sqrt(q * q + wide_down * wide_down)))
        )
    if high == 0.0:
        return 0.0
    variance = w_up * w_up * up + w_down * w_down * down
    wanted = math.sqrt(2.0 * q)
    x = high
    if variance > 0.0:
        skew = (w_up**3 * up - w_down**3 * down) / variance
        x = min(max(wanted * math.sqrt(variance) + q / 1.5 * skew, low), high)
    if x == 0.0:
        x = 0.5 * high
    for _ in range(_STEPS):
        value, slope, _curvature = _rise(x, up, w_up, down, w_down)
        value, slope = value + line * x, slope + line
        if value < q:
            low = x
        else:
            high = x
        found = math.sqrt(2.0 * value)
        new = x - (found - wanted) * found / slope  # Newton's step for the root of W, which is nearly a line
        if abs(found - wanted) <= _CLOSE * wanted:
            return min(max(new, low), high)
        if not low < new < high:
            new = 0.5 * (low + high)
        if new in (low, high):
            return new
        x = new
    return x


@_jit
def _from_bound(n_on: float, n_off: float, alpha: float) -> tuple[float, float, float, float]:
    """Best fit among signals of at least 0; weights of the counts, and the line, of the rise of W above that.

    Where the excess is negative W rises from no signal. There ``n_on / m_on = 1 - k0`` and
    ``n_off / m_off = 1 + alpha k0``, and what W rises by, written with the changes of m_on and m_off, is k0 s plus two
    deviances: those of a minimum, with each weight times what is expected per count.
    """
    best = _difference(n_on, n_off, alpha, 0.0)
    if best >= 0.0:
        return best, 1.0, alpha, 0.0
    if n_on == 0.0:
        return 0.0, 1.0, 0.0, 0.0  # the off region does not see the signal, and the rise is a line by itself
    expected = alpha * ((n_on + n_off) / (1.0 + alpha))
    return 0.0, expected / n_on, expected / n_off, -best / (alpha * (n_on + n_off))


@_jit
def _bounded_distance(q: float, n_on: float, n_off: float, alpha: float) -> tuple[float, float]:
    """Best fit of at least 0, and how far above it half of W has risen by q."""
    start, w_on, w_off, line = _from_bound(n_on, n_off, alpha)
    return start, _distance(q, n_on, w_on, n_off, w_off, line)


@_jit
def upper_error(n_on: Block, n_off: Block, alpha: Block, n_sigma: Block, out: Block) -> None:
    """Distance from the best fit up to where W has risen by n_sigma^2."""
    for i in range(out.size):
        out[i] = math.nan
        if _is_valid(n_on[i], n_off[i], alpha[i], 0.0):
            out[i] = _distance(0.5 * n_sigma[i] * n_sigma[i], n_on[i], 1.0, n_off[i], alpha[i], 0.0)


@_jit
def lower_error(n_on: Block, n_off: Block, alpha: Block, n_sigma: Block, out: Block) -> None:
    """Distance from the best fit down to where W has risen by n_sigma^2."""
    for i in range(out.size):
        out[i] = math.nan
        if _is_valid(n_on[i], n_off[i], alpha[i], 0.0):
            out[i] = _distance(0.5 * n_sigma[i] * n_sigma[i], n_off[i], alpha[i], n_on[i], 1.0, 0.0)


@_jit
def upper_limit(n_on: Block, n_off: Block, alpha: Block, n_sigma: Block, out: Block) -> None:
    """Signal above the best fit at which W has risen by n_sigma^2."""
    for i in range(out.size):
        out[i] = math.nan
        if _is_valid(n_on[i], n_off[i], alpha[i], 0.0):
            x = _distance(0.5 * n_sigma[i] * n_sigma[i], n_on[i], 1.0, n_off[i], alpha[i], 0.0)
            out[i] = _difference(n_on[i], n_off[i], alpha[i], -x)


@_jit
def bounded_limit(n_on: Block, n_off: Block, alpha: Block, n_sigma: Block, out: Block) -> None:
    """Signal at which W has risen by n_sigma^2 above its minimum among signals of at least 0."""
    for i in range(out.size):
        out[i] = math.nan
        if _is_valid(n_on[i], n_off[i], alpha[i], 0.0):
            start, x = _bounded_distance(0.5 * n_sigma[i] * n_sigma[i], n_on[i], n_off[i], alpha[i])
            out[i] = start + x


@_jit
def bounded_upper_error(n_on: Block, n_off: Block, alpha: Block, n_sigma: Block, out: Block) -> None:
    """Distance up to `bounded_limit` from the best fit of at least 0."""
    for i in range(out.size):
        out[i] = math.nan
        if _is_valid(n_on[i], n_off[i], alpha[i], 0.0):
            out[i] = _bounded_distance(0.5 * n_sigma[i] * n_sigma[i], n_on[i], n_off[i], alpha[i])[1]


@_jit
def bounded_lower_error(n_on: Block, n_off: Block, alpha: Block, n_sigma: Block, out: Block) -> None:
    """Distance from the best fit of at least 0 down to where W has risen by n_sigma^2, or to 0."""
    for i in range(out.size):
        out[i] = math.nan
        if _is_valid(n_on[i], n_off[i], alpha[i], 0.0):
            best = max(_difference(n_on[i], n_off[i], alpha[i], 0.0), 0.0)
            x = _distance(0.5 * n_sigma[i] * n_sigma[i], n_off[i], alpha[i], n_on[i], 1.0, 0.0)
            out[i] = min(best, x)


@_jit
def _smeared(
    gap: float, spread: float, up: float, w_up: float, down: float, w_down: float, line: float
) -> tuple[float, float, float]:
    """Least of ``_rise(x) + line x + (gap - x)^2 / (2 spread^2)`` for x from 0 to `gap`; the x; derivative by `gap`."""
    weight = 1.0 / (spread * spread)
    low, high = 0.0, gap
    x = gap
    value, slope, curvature = _rise(x, up, w_up, down, w_down)
    for _ in range(_STEPS):
        gradient = slope + line - (gap - x) * weight
        if gradient > 0.0:
            high = x
        else:
            low = x
        new = x - gradient / (curvature + weight)
        done = abs(new - x) <= _CLOSE * gap  # at a minimum only the square of an error counts
        if not done and not low < new < high:
            new = 0.5 * (low + high)
        x = new
        if x <= 0.0:
            return 0.5 * gap * gap * weight, 0.0, line
        value, slope, curvature = _rise(x, up, w_up, down, w_down)
        if done:
            break
    return value + line * x + 0.5 * (gap - x) ** 2 * weight, x, slope + line


@_jit
def _efficiency_limit(q: float, error: float, n_on: float, n_off: float, alpha: float, upper: bool) -> float:
    """End of the interval of a signal that is seen with an efficiency of 1 +- `error`, for valid counts."""
    n = math.sqrt(2.0 * q)
    if upper:
        sign, up, down = 1.0, n_on, n_off
        start, w_up, w_down, line = _from_bound(n_on, n_off, alpha)
    else:
        sign, up, down = -1.0, n_off, n_on
        start, w_up, w_down, line = _difference(n_on, n_off, alpha, 0.0), alpha, 1.0, 0.0
        if start <= 0.0:
            return 0.0
    x = _distance(q, up, w_up, down, w_down, line)
    plain = start + sign * x
    if plain <= 0.0 or error < 1e-100:
        return max(plain, 0.0)
    if upper and error * n >= 1.0:
        return math.inf  # an efficiency of 0 is allowed
    # Between the signal for an efficiency of 1 and that for one n errors away, which alone raises T by n^2.
    ends = 1.0 / plain, (1.0 - sign * error * n) / plain
    shortest, longest = min(ends), max(ends)
    # W at the signal mu is the least of W(e mu) + ((e - 1) / error)^2: a profile again, whose derivative is that of W.
    both = start + sign * math.hypot(x, error * n * plain)
    inverse = min(1.0 / both, longest) if both > 0.0 else longest
    inverse = max(inverse, shortest)
    for _ in range(_STEPS):
        mu = 1.0 / inverse
        gap = sign * (mu - start)
        value, x, slope = _smeared(gap, mu * error, up, w_up, down, w_down, line)
        if (value < q) == upper:
            longest = inverse  # the root is at a larger signal
        else:
            shortest = inverse
        found = math.sqrt(2.0 * value)
        # dT/dmu = +- k e, and e mu = start +- x
        new = inverse + sign * (found - n) * found / (slope * (start + sign * x) * mu)
        if abs(found - n) <= _CLOSE * n:
            return 1.0 / min(max(new, shortest), longest)
        if not shortest < new < longest:
            new = 0.5 * (shortest + longest)
        if new in (shortest, longest):
            return 1.0 / new
        inverse = new
    return 1.0 / inverse


@_jit
def efficiency_limit(
    n_on: Block, n_off: Block, alpha: Block, n_sigma: Block, error: Block, upper: Block, out: Block
) -> None:
    """End of the interval of the signal, at least 0: the upper one where `upper` is not 0."""
    for i in range(out.size):
        out[i] = math.nan
        if _is_valid(n_on[i], n_off[i], alpha[i], 0.0) and 0.0 <= error[i] < math.inf:
            q = 0.5 * n_sigma[i] * n_sigma[i]
            out[i] = _efficiency_limit(q, error[i], n_on[i], n_off[i], alpha[i], upper[i] != 0.0)


@_jit
def _needed(q: float, n_off: float, alpha: float) -> float:
    """Excess over ``alpha n_off`` at which half of W without signal is q: convex, so Newton's steps end above it."""
    if alpha == 0.0:
        return 0.0
    if n_off == 0.0:
        return q / math.log1p(1.0 / alpha)
    known = alpha * n_off
    low, high = math.sqrt(2.0 * q * known), math.inf  # as for a known background, whose W is larger
    wanted = math.sqrt(2.0 * q)
    x = low
    for _ in range(_STEPS):
        d = x / (1.0 + alpha)
        value = _deviance(known + x, known + alpha * d, d) + _deviance(n_off, n_off + d, -d)
        slope = math.log1p(d / (known + alpha * d))
        found = math.sqrt(2.0 * value)
        if abs(found - wanted) <= _CLOSE * wanted:
            return x - (found - wanted) * found / slope
        new = x - (value - q) / slope
        if value < q:
            low, high = x, min(high, new)
            new = min(x - (found - wanted) * found / slope, high) if found > 0.0 else high
        else:
            high = x
        if not low < new < high:
            new = 0.5 * (low + high)
        if new in (low, high):
            return new
        x = new
    return x


@_jit
def excess_needed(n_off: Block, alpha: Block, significance: Block, out: Block) -> None:
    """Excess that has a given significance after Li & Ma."""
    for i in range(out.size):
        out[i] = math.nan
        if _is_valid(0.0, n_off[i], alpha[i], 0.0):
            out[i] = _needed(0.5 * significance[i] * significance[i], n_off[i], alpha[i])
