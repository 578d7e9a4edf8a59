"""Low counts: how far the profiled background pulls the signal off where bins hold next to none, and a warning."""

import sys
import warnings
from collections.abc import Iterable
from typing import TypeAlias, Unpack

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.errors import LowCountsWarning
from xonoff.likelihood import Likelihood, Options, likelihood_of
from xonoff.predict import Models

__all__ = ["norm_bias", "warn_of_bias"]

Floats: TypeAlias = npt.NDArray[np.float64]

#: Norms at which W is expected at first, and as parts of a step around the least of them, time and again, until a step
#: is less than a part of the error; at most so often.
COARSE, FINE, TO_ERROR, TIMES = np.linspace(0, 2, 11), np.linspace(-1, 1, 9), 0.5, 8
#: Groups of pixels with like signal; share of the error from which on there is a warning.
GROUPS, TOO_MUCH = 6, 0.25


def norm_bias(
    datasets: xr.Dataset | Iterable[xr.Dataset] | Likelihood, models: Models = None, **options: Unpack[Options]
) -> xr.Dataset:
    r"""Bias of the norm of a signal that is fitted to bins with few counts.

    With few off counts the profiled background is no unbiased estimate: it takes part of the signal, down to all of it,
    or leaves it some. Of the norm :math:`\theta` of all models together, the value is found at which

    .. math:: \sum_i E[W(n_\mathrm{on}, n_\mathrm{off}, \alpha_i, \theta s_i)]

    is least, summed over what may be counted where the norm is 1. The background is the mean of ``alpha * counts_off``
    around the models, for each energy.

    Parameters
    ----------
    datasets, models, **options
        As for `xonoff.fit`.

    Returns
    -------
    Dataset
        ``bias`` and ``error`` of the norm, which is 1, and ``off_counts``, their mean in a bin around the models.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D, SkyModel
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.633, 22.014))
    >>> found = norm_bias(xonoff.tutorial.dataset(), crab)
    >>> bool(abs(found.bias) < 0.1 * found.error)
    True
    """
    return _bias(likelihood_of(datasets, models, **options))


def warn_of_bias(likelihood: Likelihood) -> None:
    """Warn if the norm of the signal, as it is, would be biased by a good part of its error."""
    found = _bias(likelihood)
    bias, error = float(found["bias"]), float(found["error"])
    if abs(bias) > TOO_MUCH * error:
        warnings.warn(
            f"few off counts, {float(found['off_counts']):.2g} in a bin on average: a signal like this is fitted "
            f"{abs(100 * bias):.0f} % too {'low' if bias < 0 else 'high'} (its error is {100 * error:.0f} %). "
            "Join bins: ds.onoff.group, downsample or to_spectrum; see xonoff.norm_bias",
            LowCountsWarning,
            stacklevel=_outside(),
        )


def _outside() -> int:
    """Level of the frame that has called the package, for a warning of the caller of this function."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "xonoff":
        frame, level = frame.f_back, level + 1
    return level


def _bias(likelihood: Likelihood) -> xr.Dataset:
    from xonoff.stats import expected

    off, bins, alike = 0.0, 0, []
    for signal, n_off, alpha in likelihood.bins_of_models():
        off, bins = off + float(n_off.sum()), bins + n_off.size
        if not signal.size:
            continue
        background = float((alpha * n_off).mean())
        shared = background / float(n_off.mean()) if n_off.any() else float(alpha.mean())
        groups = [group for group in np.array_split(np.sort(signal[signal > 0]), GROUPS) if group.size]
        # Means of the squares, for that is what bins weigh in a norm.
        means = np.array([np.sqrt(np.mean(group**2)) for group in groups])
        sizes = np.array([float(group.size) for group in groups])
        constant = np.ones(means.size)
        alike.append((means, background * constant, shared * constant, sizes))

    def curve(norms: Floats) -> Floats:
        found = np.zeros(norms.size)
        for means, background, alpha, sizes in alike:
            expected.expected_wstat(norms, means, background, alpha, sizes, found)
        return found

    norms, values = COARSE, curve(COARSE)
    one, step = int(np.argmin(abs(norms - 1))), float(norms[1] - norms[0])
    width = (values[one - 1] + values[one + 1] - 2 * values[one]) / step**2
    error = float(np.sqrt(2 / width)) if width > 0 else np.nan
    for _ in range(TIMES):
        if not step > TO_ERROR * error:
            break
        norms = norms[np.argmin(values)] + step * FINE
        norms = norms[norms >= 0]
        step, values = float(norms[1] - norms[0]), curve(norms)
    k = int(np.clip(np.argmin(values), 1, norms.size - 2))
    before, here, after = values[k - 1 : k + 2]
    curvature = (before + after - 2 * here) / step**2
    best = norms[k] + (before - after) / (2 * step * curvature) if curvature > 0 else np.nan
    mean = off / bins if bins else np.nan
    return xr.Dataset({"bias": max(float(best), 0.0) - 1, "error": error, "off_counts": mean})
