"""TS of a source: how much better the data are described with it than without it."""

import numpy as np
import xarray as xr

from xonoff.fitting import FitResult, fit
from xonoff.irf import Method
from xonoff.likelihood import Likelihood
from xonoff.models import SkyModel, assign_models, named_parameters
from xonoff.models.free import FreeParameters
from xonoff.sed import Datasets, Found, models_per_dataset

__all__ = ["source_ts"]


def source_ts(
    datasets: Datasets,
    models: Found = None,
    source: str | None = None,
    *,
    refit: bool = True,
    interpolation: Method = "linear",
) -> xr.Dataset:
    r"""TS of a source: WStat at its minimum without the source, minus that with it.

    Parameters
    ----------
    datasets : Dataset or iterable of Dataset
        Maps, images and spectra, mixed; together.
    models : SkyModel, iterable of SkyModel or FitResult, optional
        The source and all others, as they have been fitted; those that each dataset carries by default. With the source
        WStat is taken at their values: fit them first, or TS is too low. The ties, priors and scales of alpha of a
        result count too; what has followed the source goes on together without it.
    source : str, optional
        Name of the source; not needed where there is one model only.
    refit : bool
        Fit the free parameters of the others without the source; otherwise they stay as they are, and TS is higher.
    interpolation : {"linear", "nearest"}
        As for `xonoff.predict.npred_signal`.

    Returns
    -------
    Dataset
        Numbers: ``ts``, ``sqrt_ts`` (with the sign of ``ts``), ``stat``, ``stat_null``, ``ndf``, the free parameters
        of the source, and ``success``: whether the fit without the source, if there was one, has found a minimum; what
        it says is the attribute ``message``.

    Raises
    ------
    ModelError
        If there is no such source, or the others cannot be fitted without it: see `xonoff.fitting.fit`.

    Notes
    -----
    Where the source has one free parameter, its flux, :math:`\sqrt{TS}` is the significance in standard deviations;
    with more, TS is distributed as :math:`\chi^2` of ``ndf`` degrees of freedom, unless a position or a shape is among
    them, which mean nothing without a flux (Protassov et al. 2002, ApJ 571, 545).

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.633, 22.014))
    >>> found = source_ts(xonoff.tutorial.dataset(), crab)
    >>> int(found.ts), int(found.ndf)
    (4523, 4)
    """
    listed, per_dataset, name = models_per_dataset(datasets, models, source)
    carried = (
        [assign_models(ds, own) for ds, own in zip(listed, per_dataset, strict=True)] if models is None else listed
    )
    given = None if models is None else per_dataset[0]
    tied, priors, scales = (
        ({}, {}, {}) if not isinstance(models, FitResult) else (models.tied, models.priors, models.scales)
    )
    full = Likelihood(carried, given, tied=tied, priors=priors, interpolation=interpolation)
    stat = _at_scales(full, scales)
    others = [_without(own, name) for own in per_dataset]
    left = [assign_models(ds, own) for ds, own in zip(listed, others, strict=True)] if models is None else listed
    without = None if models is None else others[0]
    ties = _ties_without(tied, {full_name for model in others[0] for full_name in named_parameters(model)})
    known = FreeParameters([model.copy() for model in others[0]], tied=ties).names if tied or priors else []
    kept = {parameter: prior for parameter, prior in priors.items() if parameter in scales or parameter in known}
    null = Likelihood(left, without, tied=ties, priors=kept, interpolation=interpolation)
    _at_scales(null, scales)
    found: FitResult | None = fit(null) if refit and null.parameters else None
    stat_null = null() if found is None else found.stat
    ts = stat_null - stat if stat_null != stat else 0.0
    root = np.copysign(np.sqrt(abs(ts)), ts)
    ndf = len(full.parameters) - len(null.parameters)
    numbers = {
        "ts": (ts, "WStat without the source minus that with it"),
        "sqrt_ts": (root, "square root of the ts, with its sign"),
        "stat": (stat, "WStat with the source"),
        "stat_null": (stat_null, "WStat without the source"),
        "ndf": (ndf, "free parameters of the source"),
        "success": (found is None or found.success, "whether there is a minimum without the source"),
    }
    variables = {key: xr.Variable((), value, {"long_name": words}) for key, (value, words) in numbers.items()}
    message = "others fixed" if found is None else found.message
    return xr.Dataset(variables, attrs={"source": name, "message": message})


def _without(models: list[SkyModel], name: str) -> list[SkyModel]:
    return [model for model in models if model.name != name]


def _at_scales(likelihood: Likelihood, scales: dict[str, float]) -> float:
    """WStat with scales of alpha."""
    values = zip(likelihood.parameters, likelihood.values, strict=True)
    return likelihood([scales.get(name, value) for name, value in values])


def _ties_without(tied: dict[str, str], names: set[str]) -> dict[str, str]:
    """Ties among parameters that are left: what has followed one that is gone follows the first of its like."""
    firsts: dict[str, str] = {}
    found = {}
    for follower, leader in tied.items():
        if follower in names:
            first = leader if leader in names else firsts.setdefault(leader, follower)
            if first != follower:
                found[follower] = first
    return found
