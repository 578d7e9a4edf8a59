"""Low counts: how far the profiled background pulls the signal off where bins hold next to none, and a warning."""

import warnings
from collections.abc import Iterable
from typing import Unpack

import numpy as np
import xarray as xr

from xonoff.errors import LowCountsWarning
from xonoff.likelihood import Likelihood, Options, likelihood_of
from xonoff.predict import Models

__all__ = ["norm_bias", "warn_of_bias"]

#: Norms at which W is expected; groups of pixels with like signal; share of the error from which on there is a warning.
NORMS = np.linspace(0, 2, 41)
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
            stacklevel=3,
        )


def _bias(likelihood: Likelihood) -> xr.Dataset:
    from xonoff.stats import expected

    likelihood()
    curve, off, bins = np.zeros(NORMS.size), 0.0, 0
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
        expected.expected_wstat(NORMS, means, background * constant, shared * constant, sizes, curve)
    k = int(np.clip(np.argmin(curve), 1, NORMS.size - 2))
    step, (before, here, after) = NORMS[1], curve[k - 1 : k + 2]
    curvature = (before + after - 2 * here) / step**2
    best = NORMS[k] + (before - after) / (2 * step * curvature) if curvature > 0 else np.nan
    one = int(np.argmin(abs(NORMS - 1)))
    width = (curve[one - 4] + curve[one + 4] - 2 * curve[one]) / (4 * step) ** 2
    error = np.sqrt(2 / width) if width > 0 else np.nan
    mean = off / bins if bins else np.nan
    return xr.Dataset({"bias": max(float(best), 0.0) - 1, "error": error, "off_counts": mean})
