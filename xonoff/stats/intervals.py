"""Confidence intervals of the signal in on/off counts, each as plain arrays in, plain arrays out.

=====================  =====================================================================================
`excess_errors`        errors of the excess, down and up: where W has risen by n_sigma^2
`upper_limit`          the signal at which W has risen by n_sigma^2, with or without a bound at 0
`rolke`                both ends of a bounded interval, with an efficiency that has an error of its own
`feldman_cousins`      both ends by an ordering of the counts, for a known background: covers at any counts
=====================  =====================================================================================

The first three profile the background out of the statistic `xonoff.stats.wstat`; their coverage is that of a large
sample, and ``docs/intervals.md`` has tables of what it is with few counts. A bin that is not valid is NaN; a valid one
never is. Numbers of standard deviations and confidences are arrays too, and broadcast with the counts.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xonoff.errors import SchemaError
from xonoff.stats.wstat import _elementwise

__all__ = ["excess_errors", "feldman_cousins", "rolke", "upper_limit"]

FloatArray = NDArray[np.float64]


def excess_errors(
    n_on: ArrayLike, n_off: ArrayLike, alpha: ArrayLike, n_sigma: ArrayLike = 1.0, *, bounded: bool = False
) -> tuple[FloatArray, FloatArray]:
    r"""Errors of the excess, down and up, by profile likelihood.

    Parameters
    ----------
    n_on, n_off, alpha : array_like
        Counts and exposure ratio, as for `wstat`.
    n_sigma : array_like, default: 1
        Standard deviations, positive.
    bounded : bool, default: False
        Take the best fit among signals of at least 0: errors are then those of ``max(excess, 0)``, and the lower end of
        the interval is at least 0.

    Returns
    -------
    errn, errp : ndarray of float64, of the broadcast shape
        Distances, not negative, from the excess to the lower and to the upper end. NaN where `wstat` is.

    Raises
    ------
    SchemaError
        If `n_sigma` is not positive.

    Notes
    -----
    .. math:: W(\hat s - \mathrm{errn}) = W(\hat s + \mathrm{errp}) = W(\hat s) + n_\sigma^2, \qquad
        \hat s = n_\mathrm{on} - \alpha n_\mathrm{off}

    W is finite for every signal, also below 0, where the background is at least what cancels the signal. So both ends
    exist: without any counts they are :math:`-\alpha n_\sigma^2 / 2` and :math:`n_\sigma^2 / 2`. At ``alpha = 0``
    there is no background and the lower end stops at 0: `errn` is at most `n_on`, and 0 without an on count.

    With many counts both go over into :math:`n_\sigma \sqrt{n_\mathrm{on} + \alpha^2 n_\mathrm{off}}`. The relative
    error is below 1e-12.

    References
    ----------
    Rolke, López & Conrad (2005), NIM A 551, 493.

    Examples
    --------
    >>> from xonoff.stats import excess_errors
    >>> errn, errp = excess_errors([5, 0, 0], [10, 10, 0], 0.1)
    >>> errn.round(4), errp.round(4)
    (array([1.9479, 0.3504, 0.05  ]), array([2.5977, 0.5469, 0.5   ]))
    """
    from xonoff.stats import roots

    n_sigma = _positive(n_sigma, "n_sigma")
    if not bounded:
        return (
            _elementwise(roots.lower_error, n_on, n_off, alpha, n_sigma),
            _elementwise(roots.upper_error, n_on, n_off, alpha, n_sigma),
        )
    return (
        _elementwise(roots.bounded_lower_error, n_on, n_off, alpha, n_sigma),
        _elementwise(roots.bounded_upper_error, n_on, n_off, alpha, n_sigma),
    )


def upper_limit(
    n_on: ArrayLike, n_off: ArrayLike, alpha: ArrayLike, n_sigma: ArrayLike = 2.0, *, bounded: bool = False
) -> FloatArray:
    r"""Upper limit of the signal by profile likelihood.

    Parameters
    ----------
    n_on, n_off, alpha : array_like
        Counts and exposure ratio, as for `wstat`.
    n_sigma : array_like, default: 2
        Standard deviations, positive: 2 is a one-sided confidence of 97.7 %.
    bounded : bool, default: False
        Measure the rise from the best fit among signals of at least 0, not from the best of all. The limit of a bin
        with a negative excess is then positive; without, it is below 0 where the deficit is large.

    Returns
    -------
    ndarray of float64, of the broadcast shape
        NaN where `wstat` is.

    Raises
    ------
    SchemaError
        If `n_sigma` is not positive.

    Notes
    -----
    The s above :math:`\hat s` with :math:`W(s) = W(\hat s) + n_\sigma^2`, where
    :math:`\hat s = n_\mathrm{on} - \alpha n_\mathrm{off}` or, if bounded, the larger of that and 0. Bounded, without
    an on count, it is :math:`n_\sigma^2 / 2` for any background.

    References
    ----------
    Rolke, López & Conrad (2005), NIM A 551, 493.

    Examples
    --------
    >>> from xonoff.stats import upper_limit
    >>> upper_limit([5, 0, 0], [10, 10, 50], 0.1).round(4)
    array([ 9.9199,  1.0469, -2.7655])
    >>> upper_limit([5, 0, 0], [10, 10, 50], 0.1, bounded=True).round(4)
    array([9.9199, 2.    , 2.    ])
    """
    from xonoff.stats import roots

    kernel = roots.bounded_limit if bounded else roots.upper_limit
    return _elementwise(kernel, n_on, n_off, alpha, _positive(n_sigma, "n_sigma"))


def rolke(
    n_on: ArrayLike,
    n_off: ArrayLike,
    alpha: ArrayLike,
    *,
    efficiency: ArrayLike = 1.0,
    efficiency_error: ArrayLike = 0.0,
    confidence: ArrayLike = 0.9,
) -> tuple[FloatArray, FloatArray]:
    r"""Interval of a signal of at least 0 that is seen with an efficiency of limited accuracy.

    Parameters
    ----------
    n_on, n_off, alpha : array_like
        Counts and exposure ratio, as for `wstat`.
    efficiency : array_like, default: 1
        Counts in the on region per unit of signal, positive. It sets the unit of the result: with an effective area
        times a livetime it is a flux.
    efficiency_error : array_like, default: 0
        Standard deviation of `efficiency`, in its unit, not negative.
    confidence : array_like, default: 0.9
        Between 0 and 1; an upper limit alone has (1 + confidence) / 2.

    Returns
    -------
    lower, upper : ndarray of float64, of the broadcast shape
        Ends of the interval. NaN where `wstat` is. `upper` is infinite where the error is so large that an efficiency
        of 0 lies within the confidence: ``efficiency_error >= efficiency / n``.

    Raises
    ------
    SchemaError
        If an efficiency, its error or a confidence is out of range.

    Notes
    -----
    .. math:: T(\mu) = \min_{\epsilon \ge 0} [W(\epsilon \mu) + (\epsilon - \hat\epsilon)^2 / \sigma_\epsilon^2],
        \qquad T \le \min_{\mu \ge 0} T + n^2,

    where n is the two-sided quantile of the confidence, 1.645 for 0.9: the paper's model 2 (background Poisson,
    efficiency Gaussian) and, without an error, 4, with the likelihood bounded at :math:`\mu = 0`.

    References
    ----------
    Rolke, López & Conrad (2005), NIM A 551, 493.

    Examples
    --------
    >>> from xonoff.stats import rolke
    >>> lower, upper = rolke([5, 20], 10, 0.1, efficiency_error=[[0.0], [0.2]])
    >>> lower.round(3)
    array([[ 1.093, 12.492],
           [ 1.065, 11.388]])
    >>> upper.round(3)
    array([[ 8.653, 27.299],
           [ 9.474, 32.247]])
    """
    from scipy.special import erfinv

    from xonoff.stats import roots

    efficiency = _positive(efficiency, "efficiency")
    error = np.asarray(efficiency_error, dtype=float)
    if not ((error >= 0.0) & (error < np.inf)).all():
        raise SchemaError(f"efficiency_error is {efficiency_error!r}, expected finite numbers of at least 0")
    n_sigma = np.sqrt(2.0) * erfinv(_confidence(confidence))
    ends = [
        _elementwise(roots.efficiency_limit, n_on, n_off, alpha, n_sigma, error / efficiency, upper) / efficiency
        for upper in (0.0, 1.0)
    ]
    return ends[0], ends[1]


def feldman_cousins(
    n_on: ArrayLike, background: ArrayLike, *, confidence: ArrayLike = 0.9, lengthened: bool = True
) -> tuple[FloatArray, FloatArray]:
    r"""Unified interval of a signal over a background that is known.

    Parameters
    ----------
    n_on : array_like
        Counts in the on region, whole numbers.
    background : array_like
        Background expected there, known: not `xonoff.stats.background` of few off counts, whose error is left out.
    confidence : array_like, default: 0.9
        Between 0 and 1.
    lengthened : bool, default: True
        Raise upper ends to those of the larger backgrounds where that is more, as the tables of the paper do. Without
        it, they jump up at some backgrounds above `n_on`, and are shorter before: 0.95 in place of 1.08 for no count
        over a background of 3.

    Returns
    -------
    lower, upper : ndarray of float64, of the broadcast shape
        Ends of the interval, at least 0. NaN where a count is not whole, or a count or background is negative, not
        finite or above 4e15.

    Raises
    ------
    SchemaError
        If a confidence is out of range.

    Notes
    -----
    The signals whose counts include `n_on` when counts are taken in the order of

    .. math:: R(n) = \frac{P(n \mid \mu + b)}{P(n \mid \max(n, b))}

    until their probabilities reach the confidence. The ends are roots, not points of a grid. Where the set has gaps,
    they are its outer ends. The time goes with the root of the counts up to 1e5, and is the same above.

    References
    ----------
    Feldman & Cousins (1998), Phys. Rev. D 57, 3873.

    Examples
    --------
    >>> from xonoff.stats import feldman_cousins
    >>> lower, upper = feldman_cousins([0, 3, 10], 3.0)
    >>> lower.round(2), upper.round(2)
    (array([0.  , 0.  , 2.63]), array([ 1.08,  4.42, 13.5 ]))
    """
    from xonoff.stats import belts

    confidence = _confidence(confidence)
    return (
        _elementwise(belts.belt_lower, n_on, background, confidence),
        _elementwise(belts.belt_upper, n_on, background, confidence, float(lengthened)),
    )


def _positive(values: ArrayLike, name: str) -> FloatArray:
    """Refuse numbers that are not positive, or so far from 1 that their squares would not be numbers."""
    array = np.asarray(values, dtype=float)
    if not ((array >= 1e-50) & (array <= 1e50)).all():
        raise SchemaError(f"{name} is {values!r}, expected positive numbers, from 1e-50 to 1e50")
    return array


def _confidence(values: ArrayLike) -> FloatArray:
    """Refuse what is no confidence, or one that sums of probabilities cannot tell from 1."""
    array = np.asarray(values, dtype=float)
    if not ((array >= 1e-12) & (array <= 1.0 - 1e-12)).all():
        raise SchemaError(
            f"confidence is {values!r}, expected numbers between 0 and 1 (by 1e-12), such as 0.9 for 90 %"
        )
    return array
