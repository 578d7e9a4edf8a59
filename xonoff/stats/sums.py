"""Running sums of on/off bins: what every stack, image, spectrum and rebinning adds up, and the rule that ends it.

A bin counts where the mask is True and all of its values are valid: counts finite and not negative, and an exposure
ratio (see `xonoff.stats.alpha`). Sums are in float64 whatever the dtype of the bins.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["add_on_off", "effective_acceptance_off"]

FloatArray = NDArray[np.float64]


def add_on_off(
    sums: Sequence[FloatArray],
    bins: Sequence[NDArray[np.generic]],
    mask: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Add bins to running sums, in place.

    Parameters
    ----------
    sums : sequence of ndarray (y, x), float64
        Sums of n_on, n_off, a_on, a_off and of the background ``alpha n_off``; they may be views.
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
    >>> sums = [np.zeros((1, 2)) for _ in range(5)]
    >>> bins = [np.array([[5.0, 3.0]]), np.array([[4.0, 4.0]]), np.array([[1.0, 1.0]]), np.array([[8.0, 0.0]])]
    >>> add_on_off(sums, bins, np.array([[True, True]]))
    array([[ True, False]])
    >>> [part.tolist() for part in sums]
    [[[5.0, 0.0]], [[4.0, 0.0]], [[1.0, 0.0]], [[8.0, 0.0]], [[0.5, 0.0]]]
    """
    from xonoff.stats import kernels

    arrays = list(bins)
    if any(array.dtype != np.float32 or not array.dtype.isnative for array in arrays):
        arrays = [np.asarray(array, dtype=np.float64) for array in arrays]
    used = np.empty(mask.shape, dtype=np.bool_)
    kernels.add_on_off(*sums, *arrays, mask, used)  # type: ignore[call-arg, arg-type]  # five sums, four bins
    return used


def effective_acceptance_off(
    n_off: FloatArray, a_on: FloatArray, a_off: FloatArray, background: FloatArray, out: FloatArray | None = None
) -> FloatArray:
    """Off acceptance of a sum: ``a_on n_off / background``, which conserves the background.

    Where the background is 0 it is the plain sum, so that alpha keeps its true value without any off count.

    Parameters
    ----------
    n_off, a_on, a_off, background : ndarray
        Sums as made by `add_on_off`.
    out : ndarray, optional
        `a_off` itself, to be overwritten with the result.

    Examples
    --------
    >>> sums = [np.array(values) for values in ([60.0, 0.0], [2.0, 2.0], [12.0, 12.0], [22.0, 0.0])]
    >>> effective_acceptance_off(*sums).round(4)
    array([ 5.4545, 12.    ])
    """
    result = np.array(a_off, dtype=np.float64) if out is None else out
    np.divide(a_on * n_off, background, out=result, where=background > 0)
    return result
