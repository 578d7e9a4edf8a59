"""What a signal changes of W in the bins that it reaches: the work of a likelihood. Compiled on first use."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xonoff.stats.kernels import _jit, _null_wstat, _profile, _wstat, _wstat_of

__all__ = ["wstat_change"]


@_jit
def wstat_change(bins: Any, rows: NDArray[np.intp], signal: Any, slope: Any, scale: float) -> float:
    """Sum of W with a signal, minus W without any, over some rows of bins; its derivative goes to ``slope``.

    A row of bins holds n_on, n_off, alpha and W without signal, each at all energies. The latter is NaN where a bin
    does not count, and taken as 0 where it is infinite. Signal and slope are (row, energy). Alpha is taken times a
    scale, which W without signal is for if it is 1.
    """
    energies = signal.shape[1]
    total = 0.0
    for i in range(rows.size):
        row = bins[rows[i]]
        for e in range(energies):
            n_on, n_off, alpha = row[e], row[energies + e], scale * row[2 * energies + e]
            null, mu_sig = row[3 * energies + e], signal[i, e]
            slope[i, e] = 0.0
            if null < math.inf and n_on == 0.0 and mu_sig >= 0.0:  # most bins: the background does not see the signal
                total += 2.0 * mu_sig
                slope[i, e] = 2.0
            elif null <= math.inf:  # not NaN; where it is infinite, the signal is all that makes the counts possible
                if scale != 1.0 and null < math.inf:
                    null = _null_wstat(n_on, n_off, alpha)
                b, m = _profile(n_on, n_off, alpha, mu_sig) if alpha > 0.0 else (0.0, mu_sig)
                if alpha > 0.0:
                    total += _wstat_of(n_on, n_off, alpha, mu_sig, b, m)
                else:
                    total += _wstat(n_on, n_off, alpha, mu_sig)
                total -= null if null < math.inf else 0.0
                if m > 0.0:
                    slope[i, e] = 2.0 - 2.0 * n_on / m
                else:  # nothing is expected, for the background is as much as the signal is negative
                    slope[i, e] = 2.0 * n_off / b - 2.0 / alpha if b > 0.0 else 2.0
    return total
