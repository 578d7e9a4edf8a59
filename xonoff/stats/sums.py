"""Running sums of on/off bins: what every stack, image, spectrum and rebinning adds up, and the rule that ends it.

A bin counts where the mask is True and all of its values are valid: counts finite and not negative, and an exposure
ratio (see `xonoff.stats.alpha`). Sums are in float64 whatever the dtype of the bins.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xonoff.stats.threads import in_threads

__all__ = ["add_on_off", "add_positive", "add_weighted", "effective_acceptance_off", "finish_acceptance_off"]

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

    arrays = [_real(array) for array in bins]
    if any(array.dtype != np.float32 for array in arrays):
        arrays = [np.asarray(array, dtype=np.float64) for array in arrays]
    used = np.empty(mask.shape, dtype=np.bool_)
    kernels.add_on_off(*sums, *arrays, mask, used)  # type: ignore[call-arg, arg-type]  # five sums, four bins
    return used


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

    kernels.add_positive(total, _real(values), mask)


def add_weighted(total: FloatArray, values: NDArray[np.generic], weight: FloatArray, mask: NDArray[np.bool_]) -> None:
    """Add values (n, y, x) times a weight (y, x) to a running sum, in place, within a mask (n, y, x).

    What is not finite, or has a weight that is not positive, adds nothing.

    Examples
    --------
    >>> total = np.zeros((1, 1, 2))
    >>> add_weighted(total, np.array([[[2.0, np.nan]]]), np.array([[3.0, 3.0]]), np.array([[[True, True]]]))
    >>> total.tolist()
    [[[6.0, 0.0]]]
    """
    from xonoff.stats import kernels

    kernels.add_weighted(total, _real(values), np.ascontiguousarray(weight), mask)


def effective_acceptance_off(
    n_off: FloatArray, a_on: FloatArray, a_off: FloatArray, background: FloatArray
) -> FloatArray:
    """Off acceptance of a sum: ``a_on n_off / background``, which conserves the background.

    Where the background is 0 it is the plain sum, so that alpha keeps its true value without any off count.

    Parameters
    ----------
    n_off, a_on, a_off, background : ndarray of float64
        Sums as made by `add_on_off`.

    Examples
    --------
    >>> sums = [np.array(values) for values in ([60.0, 0.0], [2.0, 2.0], [12.0, 12.0], [22.0, 0.0])]
    >>> effective_acceptance_off(*sums).round(4)
    array([ 5.4545, 12.    ])
    """
    out = np.array(a_off)
    finish_acceptance_off(n_off, a_on, out, background)
    return out


def finish_acceptance_off(n_off: FloatArray, a_on: FloatArray, a_off: FloatArray, background: FloatArray) -> None:
    """Overwrite ``a_off`` with what `effective_acceptance_off` gives."""
    from xonoff.stats import kernels

    def plane(i: int) -> None:
        kernels.effective_acceptance_off(*(array[i] for array in arrays))

    arrays = [_planes(array) for array in (n_off, a_on, background, a_off)]
    in_threads(plane, range(len(arrays[0])))


def _planes(array: FloatArray) -> FloatArray:
    """View with three axes of an array that has up to three."""
    for _ in range(3 - array.ndim):
        array = array[..., None]
    return array


def _real(values: NDArray[np.generic]) -> NDArray[Any]:
    """Array in one of the dtypes of the kernels."""
    if values.dtype == np.float32 and values.dtype.isnative:
        return values
    return np.asarray(values, dtype=np.float64)
