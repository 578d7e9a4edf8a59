"""Fits of sky models: the parameters at the minimum of WStat, and their errors.

iminuit does the minimising, on `xonoff.likelihood.Likelihood` and its derivatives; -2 ln L rises by 1 at one standard
deviation.
"""

from collections.abc import Iterable
from typing import Unpack

import numpy as np
import xarray as xr

from xonoff.errors import ModelError
from xonoff.fit_result import FitResult, covariance_of
from xonoff.likelihood import Likelihood, Options, likelihood_of
from xonoff.low_counts import warn_of_bias
from xonoff.minimum import Minimum
from xonoff.models import named_parameters
from xonoff.predict import Models

__all__ = ["FitResult", "fit", "fitted"]

#: What is said of a minimum without covariance.
UNKNOWN = "minimum found, but no covariance: parameters may be degenerate, or mean nothing where there is no signal"


def fit(
    datasets: xr.Dataset | Iterable[xr.Dataset] | Likelihood,
    models: Models = None,
    *,
    minos: Iterable[str] = (),
    **options: Unpack[Options],
) -> FitResult:
    """Fit sky models to on/off data.

    Parameters
    ----------
    datasets : Dataset, iterable of Dataset, or Likelihood
        Together, with all that a model has in common. A likelihood, which has its models and options, starts where it
        is and ends at the minimum.
    models : SkyModel or iterable of SkyModel, optional
        Where the fit starts; those that the datasets carry by default. They are not changed.
    minos : iterable of str
        Parameters whose asymmetric errors are worked out: ``["crab.alpha"]``.
    **options
        ``tied``, ``priors`` and ``interpolation``, see `xonoff.Likelihood`.

    Returns
    -------
    FitResult

    Raises
    ------
    ModelError
        If there is nothing to fit: no free parameter, no bin within the masks, parameters that the data do not depend
        on, such as those of a source off the map, or a start that makes the data impossible.

    Warns
    -----
    LowCountsWarning
        If the counts are so few that the fit is biased by a good part of its errors, see `xonoff.norm_bias`.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D, SkyModel
    >>> crab = SkyModel("crab", PowerLaw1D(3e-11, 1, 2.4, fixed={"x_0": True}), PointSource(83.65, 22.0))
    >>> result = fit(xonoff.tutorial.dataset(), crab)
    >>> for row in result.parameters:
    ...     if not row["fixed"]:
    ...         print(row["name"], f"{row['value']:.3g} +- {row['error']:.1g}")
    crab.amplitude 3.48e-11 +- 1e-12
    crab.alpha 2.56 +- 0.04
    crab.lon_0 83.6 +- 0.003
    crab.lat_0 22 +- 0.003
    """
    likelihood = likelihood_of(datasets, models, **options)
    result = fitted(likelihood, minos)
    if result.success:
        warn_of_bias(likelihood)
    return result


def fitted(likelihood: Likelihood, minos: Iterable[str] = ()) -> FitResult:
    """Fit a likelihood, which ends at the minimum; without warnings."""
    asked = [minos] if isinstance(minos, str) or not isinstance(minos, Iterable) else list(minos)
    for name in asked:
        if name not in likelihood.parameters:
            raise ModelError(f"minos: {name!r} found, {', '.join(likelihood.parameters)} accepted")
    minimum = Minimum(likelihood)
    minimum.find()
    names, matrix, best = minimum.names, minimum.covariance(), minimum.best
    known = [number not in minimum.held for number in range(len(names))]
    good = minimum.found and bool(np.isfinite(matrix[np.ix_(known, known)]).all())
    errors = {name: minimum.minos(minimum.number(name)) if good else (np.nan, np.nan) for name in asked}
    stat = likelihood(best)
    models = [model.copy() for model in likelihood.models]
    deviations = dict(zip(names, np.sqrt(np.maximum(np.diag(matrix), 0)), strict=True))
    for name, parameter in named_parameters(models).items():
        deviation = deviations.get(likelihood.tied.get(name, name), np.nan)
        parameter.std = float(deviation) if deviation > 0 else None
    return FitResult(
        success=good,
        message=minimum.why() if good or not minimum.found else UNKNOWN,
        models=models,
        covariance=covariance_of(names, matrix),
        stat=stat,
        ndf=likelihood.bins + len(likelihood.priors) - len(names),
        calls=minimum.calls,
        minos=errors,
        scales=likelihood.scales,
        tied=dict(likelihood.tied),
        priors=dict(likelihood.priors),
    )
