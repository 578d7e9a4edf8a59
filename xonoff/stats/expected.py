"""WStat that is expected of counts which are few, by a sum over all that may be counted. Compiled on first use."""

import math

import numpy as np
from numpy.typing import NDArray

from xonoff.stats.kernels import _jit, _wstat

__all__ = ["expected_wstat"]

Floats = NDArray[np.float64]

#: Mean off and on counts from which on W is expected to be a parabola in the signal, standard deviations that are
#: summed, and the logarithm of shares that are not.
MANY_OFF, MANY_ON, WITHIN, RARE = 50.0, 200.0, 7.0, -25.0


@_jit
def _log_poisson(n: int, mean: float) -> float:
    if mean > 0.0:
        return n * math.log(mean) - mean - math.lgamma(n + 1.0)
    return 0.0 if n == 0 else -math.inf


@_jit
def expected_wstat(
    norms: Floats, signal: Floats, background: Floats, alpha: Floats, weight: Floats, out: Floats
) -> None:
    """Sum over bins of the mean of W at some norms of the signal, where the norm is 1 and counts are Poisson numbers.

    Background is that in the on region; weights say how many bins are alike. W is less what it is on average at norm 1
    where on or off counts are many. The result is added to ``out`` (norm,).
    """
    for i in range(signal.size):
        s, b, a = signal[i], background[i], alpha[i]
        on, off = s + b, b / a
        if off > MANY_OFF or on > MANY_ON:
            for k in range(norms.size):
                out[k] += weight[i] * (norms[k] - 1.0) ** 2 * s * s / (on + a * b)
            continue
        on_around, off_around = WITHIN * math.sqrt(on), WITHIN * math.sqrt(off)
        for n_on in range(int(max(on - on_around, 0.0)), int(on + on_around + 8.0)):
            log_on = _log_poisson(n_on, on)
            for n_off in range(int(max(off - off_around, 0.0)), int(off + off_around + 8.0)):
                log = log_on + _log_poisson(n_off, off)
                if log > RARE:
                    share = weight[i] * math.exp(log)
                    for k in range(norms.size):
                        out[k] += share * _wstat(float(n_on), float(n_off), a, norms[k] * s)
