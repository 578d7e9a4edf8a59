"""Norms of signals in rows of a few bins each: those of one pixel in several datasets. Compiled on first use."""

from typing import Any

import numpy as np

from xonoff.stats.kernels import _jit
from xonoff.stats.norm_search import fit, pack

__all__ = ["fit_rows"]


@_jit
def fit_rows(on: Any, off: Any, alpha: Any, signal: Any, n_sigma: float, n_sigma_ul: float, out: Any) -> None:
    """Fit one norm to the valid bins of each row, all (row, bin), alpha above or at 0; out is (row, 7), as of `fit`."""
    size = on.shape[1]
    bins = np.empty((5, size))
    for i in range(on.shape[0]):
        n = 0
        for j in range(size):
            # NaN fails every comparison.
            if on[i, j] >= 0.0 and off[i, j] >= 0.0 and alpha[i, j] >= 0.0 and 0.0 < signal[i, j] < np.inf:
                bins[0, n], bins[1, n], bins[2, n] = on[i, j], off[i, j], alpha[i, j]
                bins[3, n], bins[4, n] = 0.0, signal[i, j]
                n += 1
        if n:
            one = pack(bins[0, :n], bins[1, :n], bins[2, :n], bins[3, :n], bins[4, :n])
            fit(one, n_sigma, n_sigma_ul, 0.0, out[i])
