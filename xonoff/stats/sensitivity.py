"""The excess that a measurement needs in order to be a detection."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xonoff.errors import SchemaError
from xonoff.stats.intervals import _positive
from xonoff.stats.wstat import _elementwise

__all__ = ["excess_for_significance"]

FloatArray = NDArray[np.float64]


def excess_for_significance(
    n_off: ArrayLike,
    alpha: ArrayLike,
    significance: ArrayLike = 5.0,
    *,
    min_counts: ArrayLike = 0.0,
    background_systematics: ArrayLike = 0.0,
) -> FloatArray:
    r"""Excess that has a given significance, the sensitivity in counts.

    Parameters
    ----------
    n_off : array_like
        Counts in the off region, or those expected there: background over `alpha`.
    alpha : array_like
        Exposure of the on region over that of the off region.
    significance : array_like, default: 5
        Standard deviations after Li & Ma, positive.
    min_counts : array_like, default: 0
        The excess is at least this; 10 is usual.
    background_systematics : array_like, default: 0
        The excess is at least this share of the background ``alpha n_off``; 0.05 is usual.

    Returns
    -------
    ndarray of float64, of the broadcast shape
        The largest of the three. NaN where `n_off` or `alpha` is negative or not finite.

    Raises
    ------
    SchemaError
        If a significance is not positive, or a minimum is negative or not finite.

    Notes
    -----
    The x with ``li_ma(alpha n_off + x, n_off, alpha) = significance``. With few counts that is the significance of the
    expected counts (of the "Asimov" data set), which is close to the median of those of simulated ones. Without an off
    count :math:`x = n_\sigma^2 / (2 \ln(1 + 1 / \alpha))`; at ``alpha = 0`` any count is significant and it is 0.

    Over counts of a source per unit of flux, ``exposure * spectrum`` summed over the bin, it is a flux.

    References
    ----------
    Li & Ma (1983), ApJ 272, 317; Cowan et al. (2011), EPJ C 71, 1554 (expected counts for the median).

    Examples
    --------
    >>> from xonoff.stats import excess_for_significance
    >>> excess_for_significance([0, 10, 100], 0.1).round(3)
    array([ 5.213,  9.83 , 21.327])
    >>> excess_for_significance([0, 10, 1e6], 0.1, min_counts=10, background_systematics=0.05)
    array([  10.,   10., 5000.])
    """
    from xonoff.stats import roots

    needed = _elementwise(roots.excess_needed, n_off, alpha, _positive(significance, "significance"))
    least = _not_negative(min_counts, "min_counts")
    share = _not_negative(background_systematics, "background_systematics")
    background = np.where(np.isnan(needed), 0.0, np.asarray(alpha, dtype=float) * np.asarray(n_off, dtype=float))
    return np.maximum(np.maximum(needed, least), share * background)


def _not_negative(values: ArrayLike, name: str) -> FloatArray:
    array = np.asarray(values, dtype=float)
    if not ((array >= 0.0) & (array < np.inf)).all():
        raise SchemaError(f"{name} is {values!r}, expected finite numbers of at least 0")
    return array
