"""Poisson counts whose randomness is a function of a key and of the number of the bin, and of nothing else.

So bins may be drawn in any order, in any part of a cube, in any thread, and come out the same. Random numbers are those
of Philox 4x32-10, which scrambles a counter with a key; the counter is made of the number of the bin, the number of the
attempt, and the stream. Compiled on first use.

References
----------
Salmon et al. (2011), SC '11, "Parallel random numbers: as easy as 1, 2, 3"; Hörmann (1993), Insurance: Mathematics and
Economics 12, 39 (algorithm PTRS).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xonoff.stats.kernels import _deviance, _jit

__all__ = ["draw", "philox"]

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]

#: Multipliers and steps of the key of Philox 4x32, in 64-bit words for the products.
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)

#: From this expectation on rejection is used, before probabilities of small counts get below `_TINY`.
_LARGE = 40.0
#: Bins that take each step together, in loops that the compiler makes vector instructions of: they stay in the first
#: cache. 84 ms for 1e7 counts, a half with a mean of 0.4 and a half of 4; one bin after the other takes 190 ms.
_BUFFER = 512
#: Probability that inversion cannot tell from 0: its random number has steps of 1e-16.
_TINY = 1e-20
#: Expectations are rounded to 37 bits, 7e-12 of them, by Veltkamp's product with 2**16 + 1: what differs in the last
#: bits alone, as sums do that were added in another order, has the same counts.
_COARSE = 65537.0


@_jit
def _rounded(mu: float) -> float:
    """Round an expectation to 37 bits."""
    big = _COARSE * mu
    return big - (big - mu)


@_jit
def _round(
    c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, k0: np.uint64, k1: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    a, b = _M0 * c0, _M1 * c2
    return (b >> _HALF) ^ c1 ^ k0, b & _LOW, (a >> _HALF) ^ c3 ^ k1, a & _LOW


@_jit
def philox(number: np.uint64, attempt: np.uint64, stream: np.uint64, key: np.uint64) -> tuple[np.uint64, np.uint64]:
    """128 random bits for a bin, an attempt and a stream."""
    c0, c1, c2, c3 = number & _LOW, number >> _HALF, attempt & _LOW, stream & _LOW
    k0, k1 = key & _LOW, key >> _HALF
    for _ in range(10):
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0 | (c1 << _HALF), c2 | (c3 << _HALF)


@_jit
def _first_uniforms(numbers: Words, stream: np.uint64, key: np.uint64, words: Words, u: Floats) -> None:
    """Random numbers of the first attempt of some bins: those of `philox`, round by round, 2 ns each in place of 8."""
    c0, c1, c2, c3 = words[0], words[1], words[2], words[3]
    for i in range(numbers.size):
        c0[i], c1[i], c2[i], c3[i] = numbers[i] & _LOW, numbers[i] >> _HALF, np.uint64(0), stream & _LOW
    k0, k1 = key & _LOW, key >> _HALF
    for _ in range(10):
        for i in range(numbers.size):
            c0[i], c1[i], c2[i], c3[i] = _round(c0[i], c1[i], c2[i], c3[i], k0, k1)
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    for i in range(numbers.size):
        u[i] = _uniform(c0[i] | (c1[i] << _HALF))


@_jit
def _uniform(bits: np.uint64) -> float:
    """Turn bits into a number from 0 up to 1."""
    return np.float64(bits >> np.uint64(11)) * 2.0**-53


@_jit
def _invert(mu: Floats, u: Floats, out: Any, p: Floats, below: Floats) -> None:
    """Count, for each bin, the numbers whose probability, with that of all smaller ones, does not exceed `u`."""
    for i in range(mu.size):
        p[i] = below[i] = math.exp(-mu[i])
        out[i] = 0.0
    count, left = 0.0, 1
    while left:
        count += 1.0
        step, left = 1.0 / count, 0
        for i in range(mu.size):
            more = (u[i] >= below[i]) & (p[i] > _TINY)
            out[i] += more
            left += more
            p[i] *= mu[i] * step
            below[i] += p[i]


@_jit
def _log_probability(k: float, mu: float) -> float:
    """Log of the Poisson probability of a count: a deviance and what Stirling's formula leaves, so nothing cancels."""
    if k < 16.0:
        rest = math.lgamma(k + 1.0) - (k * math.log(k) - k if k > 0.0 else 0.0)
    else:
        square = 1.0 / (k * k)
        rest = 0.5 * math.log(2.0 * math.pi * k) + (1 / 12 - square * (1 / 360 - square / 1260)) / k
    return -_deviance(k, mu, k - mu) - rest


@_jit
def _reject(mu: float, number: np.uint64, stream: np.uint64, key: np.uint64) -> float:
    """Count by transformed rejection, for `mu` of at least 10."""
    b = 0.931 + 2.53 * math.sqrt(mu)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    quick = 0.9277 - 3.6224 / (b - 2.0)
    attempt = np.uint64(0)
    while True:
        one, two = philox(number, attempt, stream, key)
        attempt += np.uint64(1)
        u, v = _uniform(one) - 0.5, _uniform(two)
        edge = 0.5 - abs(u)
        k: float = np.floor((2.0 * a / edge + b) * u + mu + 0.43)  # math.floor would give an int64, which wraps
        if edge >= 0.07 and v <= quick:
            return k
        if k < 0.0 or (edge < 0.013 and v > edge):
            continue
        if math.log(v * inverse_alpha / (a / (edge * edge) + b)) <= _log_probability(k, mu):
            return k


@_jit
def draw(mu: Floats, numbers: Words, stream: np.uint64, key: np.uint64, out: Any) -> None:
    """Draw the counts of some bins.

    Parameters
    ----------
    mu : ndarray (bin,) of float64
        Expectations, taken to 37 bits. Where one is NaN, negative or infinite the count is NaN.
    numbers : ndarray (bin,) of uint64
        Numbers of the bins.
    stream, key : uint64
        Counts of different streams or keys are independent.
    out : ndarray (bin,) of float32
        The counts; those above 2**24 are rounded to what float32 can hold.
    """
    small, u, p, below = np.empty(_BUFFER), np.empty(_BUFFER), np.empty(_BUFFER), np.empty(_BUFFER)
    words, expected = np.empty((4, _BUFFER), np.uint64), np.empty(_BUFFER)
    for low in range(0, mu.size, _BUFFER):
        part = slice(low, min(low + _BUFFER, mu.size))
        number, counts = numbers[part], out[part]
        _first_uniforms(number, stream, key, words, u)
        for i in range(number.size):
            expected[i] = _rounded(mu[low + i])
            small[i] = expected[i] if 0.0 <= expected[i] < _LARGE else 0.0
        _invert(small[: number.size], u, counts, p, below)
        for i in range(number.size):
            if not 0.0 <= expected[i] < math.inf:
                counts[i] = math.nan
            elif expected[i] >= _LARGE:
                counts[i] = _reject(expected[i], number[i], stream, key)
