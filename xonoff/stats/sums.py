"""Running sums of on/off bins: what every stack, image and rebinning adds up, and the rule that ends it.

A bin counts where the mask is True and all of its values are valid: counts finite and not negative, and an exposure
ratio (see `xonoff.stats.alpha`). Sums are in float64 whatever the dtype of the bins.

There are four running sums: n_on, n_off, a_on, and the *off exposure*, of which the off acceptance is made in the end.
It is the plain sum of a_off as long as there is no background ``alpha n_off``; from then on the plain sum is no longer
needed, and it is minus the sum of the background. So four arrays hold what could be five, exactly, in any order. Where
all off counts are in bins with no on acceptance there is no background either, and the plain sum cannot keep it so.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xonoff.stats.threads import in_threads

__all__ = ["add_on_off", "add_positive", "add_weighted", "finish_on_off", "join_on_off"]

FloatArray = NDArray[np.float64]


def add_on_off(
    sums: Sequence[FloatArray], bins: Sequence[NDArray[np.generic]], mask: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Add bins to running sums, in place.

    Parameters
    ----------
    sums : sequence of ndarray (y, x), float64
        Sums of n_on, n_off, a_on, and the off exposure; they may be views.
    bins : sequence of ndarray (y, x)
        n_on, n_off, a_on, a_off: counts and acceptances.
    mask : ndarray (y, x) of bool
        Bins to add.

    Returns
    -------
    ndarray (y, x) of bool
        The bins that were added.

    Examples
    --------
    >>> sums = [np.zeros((1, 3)) for _ in range(4)]
    >>> bins = [np.array(row) for row in ([[5.0, 3.0, 3.0]], [[4.0, 4.0, 0.0]], [[1.0] * 3], [[8.0, 0.0, 8.0]])]
    >>> add_on_off(sums, bins, np.array([[True, True, True]]))
    array([[ True, False,  True]])
    >>> [part.tolist() for part in sums]
    [[[5.0, 0.0, 3.0]], [[4.0, 0.0, 0.0]], [[1.0, 0.0, 1.0]], [[-0.5, 0.0, 8.0]]]
    """
    from xonoff.stats import kernels

    arrays = [_real(array) for array in bins]
    if any(array.dtype != np.float32 for array in arrays):
        arrays = [np.asarray(array, dtype=np.float64) for array in arrays]
    used = np.empty(mask.shape, dtype=np.bool_)
    n_on, n_off, a_on, a_off = arrays
    inside = np.ascontiguousarray(mask)
    _into(sums, lambda a, b, c, d: kernels.add_on_off(a, b, c, d, n_on, n_off, a_on, a_off, inside, used))
    return used


def join_on_off(parts: Iterable[Iterable[Any]]) -> list[Any]:
    """Add up running sums, of numpy or of dask arrays.

    Examples
    --------
    >>> one, two = ([np.array(total) for total in totals] for totals in ([5.0, 4.0, 1.0, -0.5], [1.0, 0.0, 1.0, 8.0]))
    >>> [float(total) for total in join_on_off([one, two])]
    [6.0, 4.0, 2.0, -0.5]
    """
    *plain, off_exposures = zip(*parts, strict=True)
    minus_background = sum(np.minimum(part, 0) for part in off_exposures)
    off_exposure = np.where(minus_background < 0, minus_background, sum(off_exposures))
    return [*map(sum, plain), off_exposure]


def finish_on_off(n_off: FloatArray, a_on: FloatArray, off_exposure: FloatArray) -> None:
    """Turn the off exposure into the off acceptance of the sum, in place.

    It is ``a_on n_off / background``, which conserves the background; where that is 0 it is the plain sum, so that
    alpha keeps its true value without any off count.

    Parameters
    ----------
    n_off, a_on, off_exposure : ndarray of float64
        Sums as made by `add_on_off`; the last one contiguous.

    Examples
    --------
    >>> n_off, a_on, off_exposure = np.array([60.0, 0.0]), np.array([2.0, 2.0]), np.array([-22.0, 12.0])
    >>> finish_on_off(n_off, a_on, off_exposure)
    >>> off_exposure.round(4)
    array([ 5.4545, 12.    ])
    """
    from xonoff.stats import kernels

    def plane(i: int) -> None:
        part = slice(i, i + 1)
        kernels.acceptance_off(n_off[part].ravel(), a_on[part].ravel(), off_exposure[part].reshape(-1))

    in_threads(plane, range(len(n_off)))


def add_positive(total: FloatArray, values: NDArray[np.generic], mask: NDArray[np.bool_]) -> None:
    """Add values (y, x) that are positive and finite, within a mask, to a running sum, in place.

    Examples
    --------
    >>> total = np.zeros((1, 3))
    >>> add_positive(total, np.array([[1.0, np.nan, 2.0]]), np.array([[True, True, False]]))
    >>> total.tolist()
    [[1.0, 0.0, 0.0]]
    """
    from xonoff.stats import kernels

    _into([total], lambda summed: kernels.add_positive(summed, _real(values), np.ascontiguousarray(mask)))


def add_weighted(total: FloatArray, values: NDArray[np.generic], weight: FloatArray, mask: NDArray[np.bool_]) -> None:
    """Add values (n, y, x) times a weight (y, x) to a running sum, in place, within a mask (n, y, x) or (1, y, x).

    What is not finite, or has a weight that is not positive, adds nothing.

    Examples
    --------
    >>> total = np.zeros((1, 1, 2))
    >>> add_weighted(total, np.array([[[2.0, np.nan]]]), np.array([[3.0, 3.0]]), np.array([[[True, True]]]))
    >>> total.tolist()
    [[[6.0, 0.0]]]
    """
    from xonoff.stats import kernels

    inputs = _real(values), np.ascontiguousarray(weight), np.ascontiguousarray(mask)
    _into([total], lambda summed: kernels.add_weighted(summed, *inputs))


def _into(sums: Sequence[FloatArray], add: Callable[..., None]) -> None:
    """Call with contiguous arrays, and take what they hold then; see `xonoff.stats.kernels` for the reason."""
    contiguous = [np.ascontiguousarray(total) for total in sums]
    add(*contiguous)
    for total, filled in zip(sums, contiguous, strict=True):
        if filled is not total:
            total[...] = filled


def _real(values: NDArray[np.generic]) -> NDArray[Any]:
    """Contiguous array in one of the dtypes of the kernels."""
    dtype = np.float32 if values.dtype == np.float32 else np.float64
    return np.ascontiguousarray(values, dtype=dtype)
