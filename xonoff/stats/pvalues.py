"""Probabilities of a fluctuation, and the standard deviations they stand for.

==================  ==================================================================================
`p_value`           probability of counts at least as extreme without a signal, asymptotic or exact
`significance`      the same in standard deviations of a normal distribution
==================  ==================================================================================

`xonoff.stats.li_ma` has the asymptotic significance of counts directly, also where the probability is below 1e-308.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xonoff.errors import SchemaError
from xonoff.stats.wstat import li_ma

__all__ = ["p_value", "significance"]

FloatArray = NDArray[np.float64]


def p_value(
    n_on: ArrayLike, n_off: ArrayLike, alpha: ArrayLike, *, sides: Literal[1, 2] = 1, exact: bool = False
) -> FloatArray:
    r"""Probability of counts at least as extreme, if there is no signal.

    Parameters
    ----------
    n_on, n_off, alpha : array_like
        Counts and exposure ratio, as for `wstat`.
    sides : {1, 2}
        1: of an excess as large; near 1 for a deficit. 2: of an excess or a deficit as large.
    exact : bool, default: False
        Count probabilities instead of relying on many counts.

    Returns
    -------
    ndarray of float64, of the broadcast shape
        From 0 to 1. NaN where `wstat` is.

    Raises
    ------
    SchemaError
        If `sides` is neither 1 nor 2.

    Notes
    -----
    By default the tail of the normal distribution beyond z = `li_ma`: :math:`\Phi(-z)`, or :math:`2 \Phi(-|z|)`.

    Without a signal, the on count among all :math:`n_\mathrm{on} + n_\mathrm{off}` is binomial with
    :math:`\rho = \alpha / (1 + \alpha)`, whatever the background. The exact probability is

    .. math:: P(n \ge n_\mathrm{on}) = I_\rho(n_\mathrm{on}, n_\mathrm{off} + 1),

    a regularised incomplete beta function, or twice the smaller of the two tails. It never claims too much: counts that
    are whole reach a probability below p at most at the rate p.

    References
    ----------
    Li & Ma (1983), ApJ 272, 317; Cousins, Linnemann & Tucker (2008), NIM A 595, 480 (exact).

    Examples
    --------
    >>> from xonoff.stats import p_value
    >>> p_value([5, 1, 0], 10, 0.1).round(5)
    array([0.00458, 0.5    , 0.91631])
    >>> p_value([5, 1, 0], 10, 0.1, exact=True).round(5)
    array([0.00856, 0.64951, 1.     ])
    """
    from scipy.special import betainc, betaincc, ndtr

    if sides not in (1, 2):
        raise SchemaError(f"sides is {sides!r}, expected 1 (an excess) or 2 (an excess or a deficit)")
    z = li_ma(n_on, n_off, alpha)
    if not exact:
        found = 2.0 * ndtr(-np.abs(z)) if sides == 2 else ndtr(-z)
        return np.asarray(found, dtype=float)[()]
    valid = ~np.isnan(z)
    on, off, ratio = (np.where(valid, np.asarray(value, dtype=float), 1.0) for value in (n_on, n_off, alpha))
    share = ratio / (1.0 + ratio)
    some = on > 0.0
    above = np.where(some, betainc(np.where(some, on, 1.0), off + 1.0, share), 1.0)
    if sides == 2:
        none = off == 0.0
        below = np.where(none, 1.0, betaincc(on + 1.0, np.where(none, 1.0, off), share))
        above = np.minimum(2.0 * np.minimum(above, below), 1.0)
    return np.where(valid, above, np.nan)[()]


def significance(p_value: ArrayLike, *, sides: Literal[1, 2] = 1) -> FloatArray:
    r"""Standard deviations of a normal distribution that have a given probability.

    Parameters
    ----------
    p_value : array_like
        Probability, from 0 to 1.
    sides : {1, 2}
        1: of values above; negative beyond 0.5. 2: of values farther from 0 on either side.

    Returns
    -------
    ndarray of float64
        Infinite at 0; NaN where the probability is not between 0 and 1.

    Raises
    ------
    SchemaError
        If `sides` is neither 1 nor 2.

    Notes
    -----
    :math:`-\Phi^{-1}(p)`, or :math:`-\Phi^{-1}(p / 2)`. Of the exact one-sided `p_value` it is :math:`Z_\mathrm{Bi}`.

    References
    ----------
    Cousins, Linnemann & Tucker (2008), NIM A 595, 480.

    Examples
    --------
    >>> from xonoff.stats import significance
    >>> significance([0.5, 0.1587, 2.867e-7]).round(3) + 0.0
    array([0., 1., 5.])
    """
    from scipy.special import ndtri

    if sides not in (1, 2):
        raise SchemaError(f"sides is {sides!r}, expected 1 (values above) or 2 (values on either side)")
    return np.asarray(-ndtri(np.asarray(p_value, dtype=float) / sides), dtype=float)[()]
