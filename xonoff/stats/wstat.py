"""On/off counting statistics of plain arrays.

========================  ==================================================================================
`wstat`                   the statistic W (-2 ln L, background profiled) of each bin
`wstat_sum`               its sum over the valid bins of a mask, in little memory: what a fit minimises
`wstat_mu_off`            the background that W settles on, expected in the off region
`li_ma`                   the significance without a model, after Li & Ma
`alpha`                   exposure ratio on/off
`background`, `excess`    off counts scaled to the on region; on counts minus that
========================  ==================================================================================

Numpy in, numpy out, with numpy's broadcasting; any real dtype is taken, all is computed and given in float64. A bin
whose value is not defined is NaN, without a warning. The same names with labels and laziness are on ``ds.onoff``.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from xonoff.stats.threads import in_threads

__all__ = ["alpha", "background", "excess", "excess_significance", "li_ma", "wstat", "wstat_mu_off", "wstat_sum"]

FloatArray = NDArray[np.float64]

# A kernel sees at most _BLOCK bins at once: operands that need conversion then stay near the cache (2**18 took half as
# long again in `wstat_sum`), and calls stay rare (2**12 cost excess a tenth). A thread takes _TASK bins at a time. Both
# are fixed, so sums do not depend on the number of threads.
_BLOCK = 2**15
_TASK = 2**18


def wstat(n_on: ArrayLike, n_off: ArrayLike, alpha: ArrayLike, mu_sig: ArrayLike = 0.0) -> FloatArray:
    r"""Profile likelihood statistic of counts with a measured background.

    Parameters
    ----------
    n_on, n_off : array_like
        Counts in the on and in the off region; need not be whole numbers.
    alpha : array_like
        Exposure of the on region over that of the off region.
    mu_sig : array_like, default: 0
        Signal expected in the on region. May be negative; then the background stays above what cancels it.

    Returns
    -------
    ndarray of float64, of the broadcast shape
        W >= 0. NaN where a count or `alpha` is negative, or anything is not finite.

    Notes
    -----
    .. math::
        W = 2 \min_{\mu_\mathrm{off}} [D(n_\mathrm{on}, \mu_\mathrm{sig} + \alpha \mu_\mathrm{off})
        + D(n_\mathrm{off}, \mu_\mathrm{off})], \qquad D(n, \mu) = \mu - n + n \ln(n / \mu)

    with :math:`0 \ln 0 = 0` and both expectations at least 0. W is infinite where that makes counts impossible. At
    ``alpha = 0`` the off region says nothing, and :math:`W = 2 D(n_\mathrm{on}, \mu_\mathrm{sig})`; a negative signal,
    which no background can then cancel, has W = inf, the limit of small `alpha`.

    The relative error is below 1e-12 (near 1e-14 where measured) for `alpha` and non-zero counts and signals between
    1e-100 and 1e100, also near the best fit.

    References
    ----------
    Arnaud, Smith & Siemiginowska, Handbook of X-ray Astronomy (2011), ch. 7; XSPEC manual, appendix B ("W statistic").

    Examples
    --------
    >>> from xonoff.stats import wstat
    >>> wstat([5, 0, 5], [7, 0, 0], 0.1, [0, 3, 3]).round(4)
    array([9.0127, 6.    , 1.1083])
    """
    from xonoff.stats import kernels

    return _elementwise(kernels.wstat, n_on, n_off, alpha, mu_sig)


def wstat_mu_off(n_on: ArrayLike, n_off: ArrayLike, alpha: ArrayLike, mu_sig: ArrayLike = 0.0) -> FloatArray:
    r"""Background expected in the off region, at the minimum that defines `wstat`.

    In the on region, ``alpha * wstat_mu_off(...)`` are expected.

    Parameters
    ----------
    n_on, n_off, alpha, mu_sig : array_like
        As for `wstat`.

    Returns
    -------
    ndarray of float64, of the broadcast shape
        NaN where W is; `n_off` where `alpha` is 0.

    Notes
    -----
    The larger root of

    .. math::
        \alpha (1 + \alpha) \mu^2 - C \mu - n_\mathrm{off} \mu_\mathrm{sig} = 0, \qquad
        C = \alpha (n_\mathrm{on} + n_\mathrm{off}) - (1 + \alpha) \mu_\mathrm{sig}.

    References
    ----------
    As for `wstat`.

    Examples
    --------
    >>> from xonoff.stats import wstat_mu_off
    >>> wstat_mu_off([5, 5, 0], [7, 0, 0], 0.1, [0, 3, 3]).round(3)
    array([10.909,  0.   ,  0.   ])
    """
    from xonoff.stats import kernels

    return _elementwise(kernels.wstat_mu_off, n_on, n_off, alpha, mu_sig)


def li_ma(n_on: ArrayLike, n_off: ArrayLike, alpha: ArrayLike) -> FloatArray:
    r"""Significance of an excess over a measured background, in standard deviations.

    Parameters
    ----------
    n_on, n_off, alpha : array_like
        As for `wstat`.

    Returns
    -------
    ndarray of float64, of the broadcast shape
        Negative for a deficit; NaN where W is.

    Notes
    -----
    Equation 17 of the paper, with a sign:
    :math:`\mathrm{sgn}(n_\mathrm{on} - \alpha n_\mathrm{off}) \sqrt{W(\mu_\mathrm{sig} = 0)}`.

    References
    ----------
    Li & Ma (1983), ApJ 272, 317.

    Examples
    --------
    >>> from xonoff.stats import li_ma
    >>> li_ma([100, 3], 100, 0.1).round(4)
    array([14.8789, -2.5141])
    """
    from xonoff.stats import kernels

    return _elementwise(kernels.li_ma, n_on, n_off, alpha)


def alpha(a_on: ArrayLike, a_off: ArrayLike) -> FloatArray:
    """Exposure of the on region over that of the off region.

    Parameters
    ----------
    a_on, a_off : array_like
        Acceptance of the on and of the off region, in any common unit.

    Returns
    -------
    ndarray of float64, of the broadcast shape
        ``a_on / a_off``. NaN where `a_off` is not positive, `a_on` is negative, or anything is not finite.

    Examples
    --------
    >>> from xonoff.stats import alpha
    >>> alpha([1.0, 2.0, 1.0], [8.0, 16.0, 0.0])
    array([0.125, 0.125,   nan])
    """
    from xonoff.stats import kernels

    return _elementwise(kernels.alpha, a_on, a_off, keep_float32=True)


def background(n_off: ArrayLike, a_on: ArrayLike, a_off: ArrayLike) -> FloatArray:
    """Background in the on region, estimated from the off counts alone.

    Parameters
    ----------
    n_off : array_like
        Counts in the off region.
    a_on, a_off : array_like
        As for `alpha`.

    Returns
    -------
    ndarray of float64, of the broadcast shape
        ``alpha n_off``. NaN where `alpha` is, or where `n_off` is negative or not finite.

    Examples
    --------
    >>> from xonoff.stats import background
    >>> background([4, 12, 4], 1.0, [8.0, 8.0, 0.0])
    array([0.5, 1.5, nan])
    """
    from xonoff.stats import kernels

    return _elementwise(kernels.background, n_off, a_on, a_off, keep_float32=True)


def excess(n_on: ArrayLike, n_off: ArrayLike, a_on: ArrayLike, a_off: ArrayLike) -> FloatArray:
    """Give the counts in the on region above the background.

    Parameters
    ----------
    n_on, n_off : array_like
        Counts in the on and in the off region.
    a_on, a_off : array_like
        As for `alpha`.

    Returns
    -------
    ndarray of float64, of the broadcast shape
        ``n_on - alpha n_off``. NaN where `background` is, or where `n_on` is negative or not finite.

    Examples
    --------
    >>> from xonoff.stats import excess
    >>> excess([5, 0, 5], [4, 12, 4], 1.0, [8.0, 8.0, 0.0])
    array([ 4.5, -1.5,  nan])
    """
    from xonoff.stats import kernels

    return _elementwise(kernels.excess, n_on, n_off, a_on, a_off, keep_float32=True)


def excess_significance(n_on: ArrayLike, n_off: ArrayLike, a_on: ArrayLike, a_off: ArrayLike) -> FloatArray:
    """Give the significance of the excess, `li_ma`, from acceptances.

    Parameters
    ----------
    n_on, n_off : array_like
        Counts in the on and in the off region.
    a_on, a_off : array_like
        As for `alpha`.

    Returns
    -------
    ndarray of float64, of the broadcast shape
        ``li_ma(n_on, n_off, alpha)``, without arrays in between.

    Examples
    --------
    >>> from xonoff.stats import excess_significance
    >>> excess_significance([100, 3, 5], 100, 1.0, [10.0, 10.0, 0.0]).round(4)
    array([14.8789, -2.5141,     nan])
    """
    from xonoff.stats import kernels

    return _elementwise(kernels.excess_significance, n_on, n_off, a_on, a_off, keep_float32=True)


def wstat_sum(
    n_on: ArrayLike,
    n_off: ArrayLike,
    a_on: ArrayLike,
    a_off: ArrayLike,
    mask: ArrayLike | None = None,
    mu_sig: ArrayLike | None = None,
) -> float:
    """Sum of `wstat` over the valid bins of a mask, without an array of W.

    Parameters
    ----------
    n_on, n_off : array_like
        Counts in the on and in the off region.
    a_on, a_off : array_like
        Acceptances, as for `alpha`.
    mask : array_like of bool, optional
        Bins to sum over; all by default.
    mu_sig : array_like, optional
        Signal expected in the on region; none by default.

    Returns
    -------
    float
        Bins where W is NaN are left out; a bin that is impossible makes the sum infinite. The same to the last bit for
        any number of threads.

    Raises
    ------
    TypeError
        If `mask` is not of bool.

    Examples
    --------
    >>> from xonoff.stats import wstat_sum
    >>> round(wstat_sum([5, 0, 9], [7, 7, 7], 1.0, [10.0, 10.0, 0.0]), 4)  # the last bin has no off exposure
    10.347
    """
    from xonoff.stats import kernels

    mask = np.asarray(True if mask is None else mask)
    if mask.dtype != np.bool_:
        raise TypeError(f"mask has dtype {mask.dtype}, expected bool; pass `mask != 0` if every non-zero bin counts")
    arrays = [np.asarray(value) for value in (n_on, n_off, a_on, a_off)]
    if mu_sig is None:
        dtype: DTypeLike = np.float32 if all(array.dtype == np.float32 for array in arrays) else np.float64
        return math.fsum(_run(kernels.null_wstat_sum, _block_iterator([*arrays, mask], [dtype] * 4 + [np.bool_])))
    arrays.append(np.asarray(mu_sig))
    return math.fsum(_run(kernels.wstat_sum, _block_iterator([*arrays, mask], [np.float64] * 5 + [np.bool_])))


def _elementwise(kernel: Callable[..., None], *values: ArrayLike, keep_float32: bool = False) -> FloatArray:
    """Fill a new array with what the kernel makes of the broadcast values."""
    arrays = [np.asarray(value) for value in values]
    all_float32 = keep_float32 and all(array.dtype == np.float32 for array in arrays)
    dtype = np.dtype(np.float32 if all_float32 else np.float64)
    shape = arrays[0].shape
    if shape and all(a.dtype == dtype and a.flags.c_contiguous and a.shape == shape for a in arrays):
        # As most cubes are: nothing to convert, and the blocks are slices. Measured 11 ms for excess, 14 ms without.
        out = np.empty(shape)
        flat = [array.reshape(-1).view() for array in arrays]
        for array in flat:
            array.flags.writeable = False  # as nditer hands them over, so that one signature compiles
        _share(lambda part: kernel(*(array[part] for array in flat), out.reshape(-1)[part]), out.size)
        return out
    iterator = _block_iterator([*arrays, None], [dtype] * len(arrays) + [np.dtype(np.float64)])
    _run(kernel, iterator)
    return cast(FloatArray, iterator.operands[-1][()])


def _block_iterator(operands: Sequence[NDArray[Any] | None], dtypes: Sequence[DTypeLike]) -> np.nditer:
    """Walk the operands together, in the order of memory; numpy allocates an operand that is None.

    Operands that are already contiguous and of the right dtype are not copied; others are, block by block.
    """
    plain = ["nbo", "aligned", "contig"]  # what the compiled signature asks for
    op_flags: Any = [["writeonly", "allocate", *plain] if o is None else ["readonly", *plain] for o in operands]
    return np.nditer(
        operands,
        flags=["external_loop", "buffered", "ranged", "zerosize_ok", "delay_bufalloc"],
        op_flags=op_flags,
        op_dtypes=dtypes,
        casting="same_kind",
        buffersize=_BLOCK,
    )


def _run(kernel: Callable[..., Any], iterator: np.nditer) -> list[Any]:
    """Call the kernel on every block and list what it returns, in order."""

    def run_task(task: slice) -> list[Any]:
        part: Any = iterator.copy()  # numpy's stubs have iterrange read-only
        part.iterrange = (task.start, task.stop)
        with part:
            return [kernel(*blocks) for blocks in part]

    return [value for task in _share(run_task, iterator.itersize) for value in task]


def _share(run_task: Callable[[slice], Any], size: int) -> list[Any]:
    """Call a function on slices of a range, in threads if it is large, and list what it returns, in order."""
    return in_threads(run_task, [slice(start, min(start + _TASK, size)) for start in range(0, size, _TASK)])
