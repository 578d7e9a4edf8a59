"""Compiled kernels of the statistics: loops over one block of values; `xonoff.stats` imports them on first use.

The caller hands over contiguous blocks, all float64 (excess, background and alpha also take all float32), so that each
kernel compiles once, and the result on disk serves every later process. Measured on 2 cores: the loops are as fast as
numba ufuncs (excess of 5e6 float32 bins: 8 ms either way into memory already mapped, 15 ms into new memory, 9 ms with
two threads; numpy in float32 35 ms), but ufunc wrappers are compiled anew in each process, 0.1 s a function.

Everything is computed in float64. The functions below cancel badly when written as in the textbooks, near the best fit
above all, so differences are taken in compensated arithmetic (Dekker 1971, Knuth TAOCP 4.2.2). That needs every
operation rounded as written: never compile this file with ``fastmath``.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

import numba as nb
import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])
Block: TypeAlias = NDArray[np.float64]


def _jit(function: F, signatures: Any = None, **options: Any) -> F:
    """Compile on the first call, or for given signatures; keep the result on disk where there is a place to write."""
    options = {"nogil": True, "error_model": "numpy"} | options
    compiled: Any = nb.njit
    try:
        return cast(F, compiled(signatures, cache=True, **options)(function))
    except RuntimeError:  # a read-only installation without a home directory
        return cast(F, compiled(signatures, **options)(function))


@_jit
def _two_sum(a: float, b: float) -> tuple[float, float]:
    """Sum of a and b rounded, and the rounding error, which is exact."""
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


@_jit
def _split(a: float) -> tuple[float, float]:
    """Cut a into two halves of 26 bits, whose products are exact."""
    big = 134217729.0 * a  # 2**27 + 1
    high = big - (big - a)
    return high, a - high


@_jit
def _two_product(a: float, b: float) -> tuple[float, float]:
    """Product of a and b rounded, and the rounding error, which is exact."""
    product = a * b
    a_high, a_low = _split(a)
    b_high, b_low = _split(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


@_jit
def _difference(n_on: float, n_off: float, alpha: float, mu_sig: float) -> float:
    """Give ``n_on - alpha n_off - mu_sig``, good to rounding."""
    product, low_product = _two_product(alpha, n_off)
    partial, low_partial = _two_sum(n_on, -product)
    total, low_total = _two_sum(partial, -mu_sig)
    return total + ((low_partial - low_product) + low_total)


@_jit
def _middle_term(n_on: float, n_off: float, alpha: float, shift: float) -> float:
    """Give ``alpha (n_on + n_off + shift) + shift``, good to rounding."""
    counts, low_counts = _two_sum(n_on, n_off)
    counts, low_shifted = _two_sum(counts, shift)
    product, low_product = _two_product(alpha, counts)
    total, low_total = _two_sum(product, shift)
    return total + ((low_total + low_product) + alpha * (low_counts + low_shifted))


@_jit
def _artanh_series(w: float) -> float:
    """Give ``(artanh(v) / v - 1) / w`` for ``w = v**2`` below 0.01; eight terms reach 1e-18."""
    # In pairs, not one term after the other: the processor then works at several of them at once.
    square = w * w
    low = (1 / 3 + w * (1 / 5)) + square * (1 / 7 + w * (1 / 9))
    high = (1 / 11 + w * (1 / 13)) + square * (1 / 15 + w * (1 / 17))
    return low + square * square * high


@_jit
def _deviance(n: float, m: float, d: float) -> float:
    """Give ``m - n + n ln(n/m)`` for ``d = n - m``, which the caller knows better than the subtraction would."""
    if n == 0.0:
        return m
    if m == 0.0:
        return math.inf
    v = d / (n + m)
    if abs(v) >= 0.1:
        return n * math.log(n / m) - d
    # Loader (2000): ln(n/m) = 2 artanh(v), whose first term cancels the rest.
    return d * v + 2.0 * n * v * (v * v) * _artanh_series(v * v)


@_jit
def _is_valid(n_on: float, n_off: float, alpha: float, mu_sig: float) -> bool:
    """Tell whether W is defined; NaN fails every comparison."""
    inf = math.inf
    return 0.0 <= n_on < inf and 0.0 <= n_off < inf and 0.0 <= alpha < inf and -inf < mu_sig < inf


@_jit
def _profile(n_on: float, n_off: float, alpha: float, mu_sig: float) -> tuple[float, float]:
    """Best background in the on region, and all that is expected there, for valid input and alpha > 0.

    With b = alpha mu_off they are the larger roots of
    ``(1 + alpha) b^2 - C b - alpha n_off mu_sig = 0`` and ``(1 + alpha) m^2 - B m + alpha n_on mu_sig = 0``,
    ``C = alpha (n_on + n_off) - (1 + alpha) mu_sig``, ``B = alpha (n_on + n_off) + (1 + alpha) mu_sig``, and share
    one discriminant. Each root is written without a difference of like numbers.
    """
    scale = 1.0 + alpha
    if mu_sig == 0.0:
        b = alpha * ((n_on + n_off) / scale)
        return b, b
    c = _middle_term(n_on, n_off, alpha, -mu_sig)
    if mu_sig > 0.0:
        root = math.sqrt(c * c + 4.0 * alpha * scale * n_off * mu_sig)
        b = (c + root) / (2.0 * scale) if c >= 0.0 else alpha * (2.0 * n_off * mu_sig / (root - c))
        return b, mu_sig + b
    # A negative signal: c > 0, and the discriminant regrouped as a sum of positive terms.
    on = alpha * n_on
    off = alpha * n_off
    lack = -scale * mu_sig
    gap = _middle_term(0.0, n_off, alpha, mu_sig)
    root = math.sqrt(gap * gap + on * (on + 2.0 * (off + lack)))
    middle = gap + on  # may cancel, where root is far larger
    m = (middle + root) / (2.0 * scale) if middle >= 0.0 else -2.0 * on * mu_sig / (root - middle)
    return (c + root) / (2.0 * scale), m


@_jit
def _log1p(x: float) -> float:
    """Give ``ln(1 + x)`` for x >= 0, by the series of `_deviance` where that is quick."""
    v = x / (2.0 + x)
    return 2.0 * v * (1.0 + v * v * _artanh_series(v * v)) if v < 0.1 else math.log1p(x)


@_jit
def _null_wstat(n_on: float, n_off: float, alpha: float) -> float:
    """W without a signal, which most bins of a map have no on count for: no square root, often no logarithm."""
    if not _is_valid(n_on, n_off, alpha, 0.0):
        return math.nan
    if n_on == 0.0:
        return 2.0 * n_off * _log1p(alpha)
    if alpha == 0.0:
        return math.inf
    if n_off == 0.0:
        return 2.0 * n_on * math.log1p(1.0 / alpha)
    share = 1.0 / (1.0 + alpha)
    mu_off = (n_on + n_off) * share
    d = _difference(n_on, n_off, alpha, 0.0) * share
    return 2.0 * (_deviance(n_on, alpha * mu_off, d) + _deviance(n_off, mu_off, -d))


@_jit
def _wstat(n_on: float, n_off: float, alpha: float, mu_sig: float) -> float:
    if mu_sig == 0.0:
        return _null_wstat(n_on, n_off, alpha)
    if not _is_valid(n_on, n_off, alpha, mu_sig):
        return math.nan
    if alpha == 0.0:
        return 2.0 * _deviance(n_on, mu_sig, n_on - mu_sig) if mu_sig >= 0.0 else math.inf
    return _wstat_of(n_on, n_off, alpha, mu_sig, *_profile(n_on, n_off, alpha, mu_sig))


@_jit
def _wstat_of(n_on: float, n_off: float, alpha: float, mu_sig: float, b: float, m: float) -> float:
    """W at the best background in the on region and all that is expected there, of `_profile`."""
    if m + b == 0.0:
        return 0.0 if n_on + n_off == 0.0 else math.inf
    # At the minimum alpha (n_on - m) / m = -(n_off - mu_off) / mu_off, so both are shares of one exact difference.
    share = _difference(n_on, n_off, alpha, mu_sig) / (m + alpha * b)
    return 2.0 * (_deviance(n_on, m, share * m) + _deviance(n_off, b / alpha, -share * b))


@_jit
def _mu_off(n_on: float, n_off: float, alpha: float, mu_sig: float) -> float:
    if not _is_valid(n_on, n_off, alpha, mu_sig):
        return math.nan
    if alpha == 0.0:
        return n_off if mu_sig >= 0.0 else math.inf
    return _profile(n_on, n_off, alpha, mu_sig)[0] / alpha


@_jit
def _alpha(a_on: float, a_off: float) -> float:
    a_on, a_off = np.float64(a_on), np.float64(a_off)  # before the division: float32 blocks come here too
    ratio = a_on / a_off
    return ratio if (a_on >= 0.0) & (a_off > 0.0) & (a_off < math.inf) & (ratio < math.inf) else math.nan


@_jit
def _count(n: float) -> float:
    return np.float64(n) if (n >= 0.0) & (n < math.inf) else math.nan


@_jit
def wstat(n_on: Block, n_off: Block, alpha: Block, mu_sig: Block, out: Block) -> None:
    """W of each bin."""
    for i in range(out.size):
        out[i] = _wstat(n_on[i], n_off[i], alpha[i], mu_sig[i])


@_jit
def wstat_sum(n_on: Block, n_off: Block, a_on: Block, a_off: Block, mu_sig: Block, mask: NDArray[np.bool_]) -> float:
    """Sum of W over the bins of the mask, NaN left out."""
    total = 0.0
    for i in range(n_on.size):
        if mask[i]:
            value = _wstat(n_on[i], n_off[i], _alpha(a_on[i], a_off[i]), mu_sig[i])
            if not math.isnan(value):
                total += value
    return total


@_jit
def _no_counts(
    n_on: Block, n_off: Block, a_on: Block, a_off: Block, mask: NDArray[np.bool_], out: Block, rest: NDArray[np.bool_]
) -> None:
    """W without a signal of the bins with no on count, which are most of a map, and NaN of invalid ones.

    The other valid bins are marked in `rest`, and have alpha in `out`. No branch and no call of a library: the compiler
    makes vector instructions of it, 4 ns a bin where `_null_wstat` takes 20.
    """
    for i in range(n_on.size):
        on, off, ratio = np.float64(n_on[i]), np.float64(n_off[i]), _alpha(a_on[i], a_off[i])
        valid = mask[i] & (ratio >= 0.0) & (on >= 0.0) & (on < math.inf) & (off >= 0.0) & (off < math.inf)
        v = ratio / (2.0 + ratio)
        quick = valid & (on == 0.0) & (v < 0.1)
        value = 4.0 * off * (v * (1.0 + v * v * _artanh_series(v * v)))
        out[i] = value if quick else (ratio if valid else math.nan)
        rest[i] = valid & (not quick)


@_jit
def null_wstat_sum(n_on: Block, n_off: Block, a_on: Block, a_off: Block, mask: NDArray[np.bool_]) -> float:
    """Sum of W without a signal over the bins of the mask, NaN left out."""
    size = 2048  # stays in the first cache
    out, rest = np.empty(size), np.empty(size, np.bool_)
    total = 0.0
    for low in range(0, n_on.size, size):
        part = slice(low, min(low + size, n_on.size))
        _no_counts(n_on[part], n_off[part], a_on[part], a_off[part], mask[part], out, rest)
        for i in range(part.stop - low):
            if rest[i]:
                out[i] = _null_wstat(np.float64(n_on[low + i]), np.float64(n_off[low + i]), out[i])
        for i in range(part.stop - low):
            total += 0.0 if math.isnan(out[i]) else out[i]
    return total


@_jit
def excess_significance(n_on: Block, n_off: Block, a_on: Block, a_off: Block, out: Block) -> None:
    """Signed root of W without a signal, as of `li_ma`; 2 to 3 times as fast where most bins have no on count."""
    size = 2048  # stays in the first cache
    rest, inside = np.empty(size, np.bool_), np.ones(size, np.bool_)
    for low in range(0, n_on.size, size):
        part = slice(low, min(low + size, n_on.size))
        found = out[part]
        _no_counts(n_on[part], n_off[part], a_on[part], a_off[part], inside[: found.size], found, rest)
        for i in range(found.size):
            if rest[i]:
                on, off, ratio = np.float64(n_on[low + i]), np.float64(n_off[low + i]), found[i]
                root = math.sqrt(_null_wstat(on, off, ratio))
                found[i] = -root if _difference(on, off, ratio, 0.0) < 0.0 else root
            else:
                found[i] = 0.0 - math.sqrt(found[i])


@_jit
def wstat_mu_off(n_on: Block, n_off: Block, alpha: Block, mu_sig: Block, out: Block) -> None:
    """Profiled background of each bin, in the off region."""
    for i in range(out.size):
        out[i] = _mu_off(n_on[i], n_off[i], alpha[i], mu_sig[i])


@_jit
def li_ma(n_on: Block, n_off: Block, alpha: Block, out: Block) -> None:
    """Signed root of W without a signal."""
    for i in range(out.size):
        root = math.sqrt(_wstat(n_on[i], n_off[i], alpha[i], 0.0))
        out[i] = -root if _difference(n_on[i], n_off[i], alpha[i], 0.0) < 0.0 else root


@_jit
def alpha(a_on: Block, a_off: Block, out: Block) -> None:
    """Exposure ratio of each bin."""
    for i in range(out.size):
        out[i] = _alpha(a_on[i], a_off[i])


@_jit
def background(n_off: Block, a_on: Block, a_off: Block, out: Block) -> None:
    """Off counts of each bin scaled to the on region."""
    for i in range(out.size):
        out[i] = _alpha(a_on[i], a_off[i]) * _count(n_off[i])


@_jit
def excess(n_on: Block, n_off: Block, a_on: Block, a_off: Block, out: Block) -> None:
    """On counts of each bin minus background."""
    for i in range(out.size):
        out[i] = _count(n_on[i]) - _alpha(a_on[i], a_off[i]) * _count(n_off[i])


_SUM, _MASK = nb.types.Array(nb.float64, 2, "C"), nb.types.Array(nb.boolean, 2, "C", readonly=True)
#: Values of one plane; contiguous ones only, of others the compiler makes no vector instructions.
_VALUES = [nb.types.Array(dtype, 2, "C", readonly=True) for dtype in (nb.float32, nb.float64)]


@_jit
def _add_used(total: Block, values: Block, used: NDArray[np.bool_]) -> None:
    for j in range(used.size):
        total[j] += np.float64(values[j]) if used[j] else 0.0


@partial(
    _jit,
    signatures=[nb.void(*[_SUM] * 4, *[values] * 4, _MASK, nb.types.Array(nb.boolean, 2, "C")) for values in _VALUES],
)
def add_on_off(
    sum_on: Block,
    sum_off: Block,
    sum_a_on: Block,
    off_exposure: Block,
    n_on: Block,
    n_off: Block,
    a_on: Block,
    a_off: Block,
    mask: NDArray[np.bool_],
    used: NDArray[np.bool_],
) -> None:
    """Add the valid bins of the mask to running sums; see `xonoff.stats.sums` for the last of them.

    One short loop an array: the compiler makes vector instructions of these, as of one over all arrays it does not
    (5e6 bins into an image: 13 ms against 47).
    """
    expected = np.empty(used.shape[1])
    for i in range(used.shape[0]):
        on, off, inside, row = n_on[i], n_off[i], mask[i], used[i]
        acc, acc_off, total = a_on[i], a_off[i], off_exposure[i]
        for j in range(row.size):
            ratio = _alpha(acc[j], acc_off[j])
            count, count_off = np.float64(on[j]), np.float64(off[j])
            valid = inside[j] & (ratio >= 0.0) & (count >= 0.0) & (count < math.inf)
            expected[j] = ratio * count_off
            row[j] = valid & (count_off >= 0.0) & (count_off < math.inf) & (expected[j] < math.inf)
        _add_used(sum_on[i], on, row)
        _add_used(sum_off[i], off, row)
        _add_used(sum_a_on[i], acc, row)
        for j in range(row.size):
            minus_background = min(total[j], 0.0) - (expected[j] if row[j] else 0.0)
            plain = total[j] + (np.float64(acc_off[j]) if row[j] else 0.0)
            total[j] = minus_background if minus_background < 0.0 else plain


@partial(_jit, signatures=[nb.void(_SUM, values, _MASK) for values in _VALUES])
def add_positive(total: Block, values: Block, mask: NDArray[np.bool_]) -> None:
    """Add positive, finite values within the mask."""
    for i in range(mask.shape[0]):
        to, value, inside = total[i], values[i], mask[i]
        for j in range(inside.size):
            v = np.float64(value[j])
            to[j] += v if inside[j] & (v > 0.0) & (v < math.inf) else 0.0


@partial(
    _jit,
    signatures=[
        nb.void(
            nb.types.Array(nb.float64, 3, "C"),
            nb.types.Array(dtype, 3, "C", readonly=True),
            nb.types.Array(nb.float64, 2, "C", readonly=True),
            nb.types.Array(nb.boolean, 3, "C", readonly=True),
        )
        for dtype in (nb.float32, nb.float64)
    ],
)
def add_weighted(total: Block, values: Block, weight: Block, mask: NDArray[np.bool_]) -> None:
    """Add values times a weight of each pixel, where the weight is positive and the value finite.

    The mask has one plane for each of the values, or one for all.
    """
    for k in range(values.shape[0]):
        for i in range(values.shape[1]):
            to, value, share, inside = total[k, i], values[k, i], weight[i], mask[min(k, mask.shape[0] - 1), i]
            for j in range(value.size):
                v, w = np.float64(value[j]), share[j]
                to[j] += v * w if inside[j] & (w > 0.0) & (abs(v) < math.inf) else 0.0


@partial(_jit, signatures=[nb.void(*[nb.types.Array(nb.float64, 1, "C", readonly=True)] * 2, nb.float64[::1])])
def acceptance_off(n_off: Block, a_on: Block, off_exposure: Block) -> None:
    """Turn the running off exposure into an acceptance, in place."""
    for j in range(n_off.size):
        total = off_exposure[j]
        off_exposure[j] = -a_on[j] * n_off[j] / total if total < 0.0 else total


_PLACES = nb.types.Array(nb.intp, 2, "A", readonly=True)


@partial(_jit, signatures=[nb.void(_MASK, _PLACES, _PLACES, nb.types.Array(nb.boolean, 2, "C"))])
def mark(inside: NDArray[np.bool_], rows: NDArray[np.intp], columns: NDArray[np.intp], out: NDArray[np.bool_]) -> None:
    """Set the bin (row, column) of each bin that is inside; rows (y, 1) and columns (1, x) may stand for all."""
    ny, nx = inside.shape
    if rows.shape[1] < nx or columns.shape[0] < ny:
        joined = np.zeros(nx, np.bool_)  # rows that go into one, in a loop that the compiler makes vectors of
        for i in range(ny):
            for j in range(nx):
                joined[j] |= inside[i, j]
            if i == ny - 1 or rows[i + 1, 0] != rows[i, 0]:
                for j in range(nx):
                    out[rows[i, 0], columns[0, j]] |= joined[j]
                joined[:] = False
        return
    for i in range(ny):
        for j in range(nx):
            if inside[i, j]:
                out[rows[i, j], columns[i, j]] = True


@_jit
def add_rows(total: Any, rows: NDArray[np.intp], values: NDArray[np.float64], factor: float) -> None:
    """Add values (row, column) times a factor to some rows of an array, in place."""
    for i in range(rows.size):
        for j in range(values.shape[1]):
            total[rows[i], j] += factor * values[i, j]
