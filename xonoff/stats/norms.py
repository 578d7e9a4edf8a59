"""Norm of a signal: the factor at which WStat, summed over bins, is least, and where it is higher by n^2.

The counts of the signal are proportional to its norm, so W of a group of bins is a function of one number, and a convex
one: minus the logarithm of the likelihood is convex in signal and background together, which its profile inherits. All
that is looked for is then within a bracket, and found by Newton's method, which halves the bracket where it does not do
better. Nothing is drawn at random and nothing starts at a guess that matters.

Imported on first use, as `xonoff.stats.kernels` is: it compiles. A change of the functions taken from there does not
make numba compile these anew: remove its cache then.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xonoff.stats.kernels import _jit
from xonoff.stats.norm_search import fit, pack, sums
from xonoff.stats.threads import in_threads

__all__ = ["Norms", "counts_for_norm", "fit_norms", "norm_profile"]

Floats = npt.NDArray[np.float64]


class Norms(NamedTuple):
    """Norms of groups of bins; NaN where a group has no bin.

    Attributes
    ----------
    norm : ndarray (group,)
        Where W is least.
    err : ndarray (group,)
        From the curvature of W there; where it has a kink or is at its end, the mean of the two below.
    errn, errp : ndarray (group,)
        Down and up to where W is higher by ``n_sigma**2``; down to the end of the norms that are possible where that
        is nearer.
    ul : ndarray (group,)
        Norm above where W is higher by ``n_sigma_ul**2``.
    stat, stat_null : ndarray (group,)
        W at the minimum, and for a norm of 0.
    """

    norm: Floats
    err: Floats
    errn: Floats
    errp: Floats
    ul: Floats
    stat: Floats
    stat_null: Floats


def counts_for_norm(n_on: Floats, n_off: Floats, alpha: Floats, other: Floats, signal: Floats) -> npt.NDArray[np.bool_]:
    """Tell which bins say something of a norm: valid ones, in which there is a signal.

    Examples
    --------
    >>> n_on, n_off, alpha, other = np.array([[5.0, 5.0, 5.0], [7.0, 7.0, 7.0], [0.1, np.nan, 0.1], [0.0, 0.0, 0.0]])
    >>> counts_for_norm(n_on, n_off, alpha, other, np.array([1.0, 1.0, 0.0]))
    array([ True, False, False])
    """
    finite = np.isfinite(n_on) & np.isfinite(n_off) & np.isfinite(alpha) & np.isfinite(other) & np.isfinite(signal)
    with np.errstate(invalid="ignore"):
        found: npt.NDArray[np.bool_] = finite & (n_on >= 0) & (n_off >= 0) & (alpha >= 0) & (signal != 0)
    return found


def fit_norms(bins: Sequence[Floats], stops: Sequence[int], *, n_sigma: float = 1.0, n_sigma_ul: float = 2.0) -> Norms:
    r"""Fit the norm of a signal to each of some groups of bins.

    Parameters
    ----------
    bins : five ndarrays (bin,)
        ``n_on``, ``n_off``, ``alpha``, the counts expected of other sources, and those of the signal for a norm of 1;
        only bins that count, see `counts_for_norm`.
    stops : sequence of int
        Where each group of bins ends and the next begins.
    n_sigma, n_sigma_ul : float
        Of the errors, and of the upper limit.

    Returns
    -------
    Norms

    Notes
    -----
    With :math:`\mu_i = o_i + N s_i`, :math:`W(N) = \sum_i W_i(\mu_i)` and, the background being at its best,

    .. math::
        \frac{dW_i}{d\mu} = 2 - \frac{2 n_\mathrm{on}}{m}, \qquad
        \frac{d^2 W_i}{d\mu^2} = 2 \left(\frac{m^2}{n_\mathrm{on}} + \frac{b^2}{n_\mathrm{off}}\right)^{-1},

    where b is the background and :math:`m = \mu + b` all that is expected in the on region. A norm may be negative: the
    background then stays above what cancels the signal, see `xonoff.stats.wstat`.

    Examples
    --------
    >>> bins = [np.array([value]) for value in (15.0, 100.0, 0.1, 0.0, 2.0)]
    >>> found = fit_norms(bins, [1])
    >>> found.norm.round(6), found.err.round(4)
    (array([2.5]), array([2.]))
    """
    arrays, ends = _checked(bins, stops)
    out = np.full((len(ends), 7), np.nan)
    groups = zip([0, *ends[:-1]], ends, out, strict=True)
    in_threads(
        lambda group: _fit_group(arrays, group[0], group[1], float(n_sigma), float(n_sigma_ul), group[2]), groups
    )
    return Norms(*(np.ascontiguousarray(column) for column in out.T))


def norm_profile(bins: Sequence[Floats], stops: Sequence[int], norms: npt.ArrayLike) -> Floats:
    """W of groups of bins for some norms.

    Parameters
    ----------
    bins, stops
        As for `fit_norms`.
    norms : array_like (norm,)

    Returns
    -------
    ndarray (group, norm)
        Infinite where a norm is impossible, NaN for a group without bins.

    Examples
    --------
    >>> bins = [np.array([value]) for value in (15.0, 100.0, 0.1, 0.0, 2.0)]
    >>> norm_profile(bins, [1], [0.0, 2.5, 5.0]).round(3)
    array([[1.94, 0.  , 1.31]])
    """
    arrays, ends = _checked(bins, stops)
    at = np.ascontiguousarray(norms, dtype=np.float64)
    out = np.full((len(ends), at.size), np.nan)
    groups = zip([0, *ends[:-1]], ends, out, strict=True)
    in_threads(lambda group: _profile_group(arrays, group[0], group[1], at, group[2]), groups)
    return out


def _checked(bins: Sequence[Floats], stops: Sequence[int]) -> tuple[tuple[Floats, ...], list[int]]:
    arrays = [np.ascontiguousarray(array, dtype=np.float64) for array in bins]
    ends = np.ascontiguousarray(stops, dtype=np.int64)
    if len(arrays) != 5 or any(array.shape != arrays[0].shape or array.ndim != 1 for array in arrays):
        raise ValueError(f"bins: shapes {[array.shape for array in arrays]} found, five of one length accepted")
    if ends.size and (ends[0] < 0 or (np.diff(ends) < 0).any() or ends[-1] > arrays[0].size):
        raise ValueError(f"stops: {ends.tolist()} found, increasing numbers up to {arrays[0].size} accepted")
    return tuple(arrays), ends.tolist()


@_jit
def _fit_group(arrays: Any, start: int, stop: int, n_sigma: float, n_sigma_ul: float, out: Any) -> None:
    """Fit one group of bins."""
    on, off, alpha, other, signal = arrays
    part = slice(start, stop)
    if stop > start:
        fit(pack(on[part], off[part], alpha[part], other[part], signal[part]), n_sigma, n_sigma_ul, 0.0, out)


@_jit
def _profile_group(arrays: Any, start: int, stop: int, norms: Any, out: Any) -> None:
    """W of one group of bins at every norm."""
    on, off, alpha, other, signal = arrays
    part = slice(start, stop)
    if stop > start:
        bins = pack(on[part], off[part], alpha[part], other[part], signal[part])
        for i in range(norms.size):
            out[i] = sums(bins, norms[i], True)[0] if bins.low <= norms[i] <= bins.high else math.inf
