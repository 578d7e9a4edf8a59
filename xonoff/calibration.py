"""Calibration of a fit: simulate and fit again and again, and see whether values and errors are right."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias, Unpack

import numpy as np
import numpy.typing as npt
import xarray as xr
from tqdm.auto import tqdm

from xonoff import quantities
from xonoff.errors import ModelError
from xonoff.fitting import fitted
from xonoff.irf import Method
from xonoff.likelihood import Likelihood, Options, dataset_list, scale_of
from xonoff.low_counts import warn_of_bias
from xonoff.models import model_list, models_of
from xonoff.predict import Models, signal_of
from xonoff.simulate import fake

__all__ = ["calibrate"]

Floats: TypeAlias = npt.NDArray[np.float64]


def calibrate(
    datasets: xr.Dataset | Iterable[xr.Dataset],
    models: Models = None,
    *,
    n: int = 500,
    seed: int = 0,
    background: Any = None,
    **options: Unpack[Options],
) -> xr.Dataset:
    r"""Fit simulations of models, which are the truth, and compare.

    Parameters
    ----------
    datasets, models
        As for `xonoff.fit`.
    n : int
        Number of simulations.
    seed : int
        The same seed gives the same simulations.
    background : DataArray, array_like, number, or list of these
        Counts expected in the on region, one for each dataset, see `xonoff.simulate.fake`; by default the background
        of the data, profiled with the models.
    **options
        As for `xonoff.fit`; ties and interpolation are those of the simulations too. Fits start at the truth. A prior
        is part of the fit, not of the simulations, whose alpha is at the scale that is its mean.

    Returns
    -------
    Dataset
        By ``toy`` and free ``parameter``: ``value``, ``error`` and ``pull``, :math:`(value - truth) / error`; by toy:
        ``success``, ``stat``, and ``ts_true``, WStat at the truth above the minimum, which follows a chi-square of as
        many degrees of freedom as parameters; by parameter: ``truth``, ``pull_mean``, ``pull_std``, and ``coverage``,
        the share of toys within one error of the truth. Toys whose fit has failed are NaN, and no part of these, nor
        are parameters at a bound.

    Raises
    ------
    ModelError
        If there is nothing to fit, as from `xonoff.fit`.

    Warns
    -----
    LowCountsWarning
        Once, if the truth would be fitted with a bias.

    Notes
    -----
    A terminal or notebook shows a progress bar.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D, SkyModel
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.633, 22.014))
    >>> found = calibrate(xonoff.tutorial.dataset(), crab, n=5)
    >>> dict(found.value.sizes), bool((abs(found.pull) < 5).all())
    ({'toy': 5, 'parameter': 4}, True)
    """
    for name, number, least in (("n", n, 1), ("seed", seed, 0)):
        if not isinstance(number, int | np.integer) or isinstance(number, bool) or number < least:
            raise ModelError(f"{name}: {number!r} found, a whole number of {least} or more accepted")
    listed = dataset_list(datasets)
    shared = None if models is None else model_list(models)
    likelihood = Likelihood(listed, shared, **options)
    names, truth = likelihood.parameters, likelihood.values
    draws = _draws(listed, likelihood, background, shared is None, options.get("interpolation", "linear"))
    warn_of_bias(likelihood)
    seeds = np.random.SeedSequence(seed).generate_state(n * len(listed), np.uint64) >> np.uint64(1)
    value, error = np.full((2, n, truth.size), np.nan)
    stat, ts, success = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, dtype=bool)
    refused = []
    for toy, numbers in enumerate(tqdm(seeds.reshape(n, -1).tolist(), desc="calibrate", disable=None)):
        try:
            likelihood = Likelihood([draw(s) for draw, s in zip(draws, numbers, strict=True)], shared, **options)
            at_truth = likelihood(truth)
            result = fitted(likelihood)
        except ModelError as why:  # counts that cannot be fitted
            refused.append(why)
            continue
        success[toy] = result.success
        if result.success:
            value[toy], error[toy] = likelihood.values, np.sqrt(np.diag(result.covariance))
            stat[toy], ts[toy] = result.stat, at_truth - result.stat
    if len(refused) == n:
        raise refused[0]
    return _summary(names, truth, value, error, stat, ts, success)


def _draws(
    datasets: list[xr.Dataset], likelihood: Likelihood, background: Any, own: bool, interpolation: Method
) -> list[Callable[[int], xr.Dataset]]:
    """Functions that simulate each dataset, with the models, ties and scales of alpha of a likelihood."""
    seen = [{model.name for model in models_of(ds)} if own else None for ds in datasets]
    models = [[m for m in likelihood.models if names is None or m.name in names] for names in seen]
    scaled = [ds.assign(acceptance=ds["acceptance"] * scale_of(ds, likelihood.scales)) for ds in datasets]
    signals = [signal_of(ds, listed, interpolation=interpolation) for ds, listed in zip(scaled, models, strict=True)]
    backgrounds = _backgrounds(scaled, signals, background)
    return [partial(_simulated, *of_ds) for of_ds in zip(datasets, scaled, backgrounds, signals, strict=True)]


def _simulated(
    ds: xr.Dataset, scaled: xr.Dataset, background: Any, signal: xr.DataArray | None, seed: int
) -> xr.Dataset:
    """Dataset with simulated counts: what `fake` draws, of a signal that is known already."""
    off = fake(scaled, background, seed, [])
    expected = background if signal is None else (signal + background).clip(min=0)
    on = off if signal is None else fake(scaled, expected, seed, [])
    return ds.assign(counts=on["counts"], counts_off=off["counts_off"])


def _backgrounds(datasets: list[xr.Dataset], signals: list[xr.DataArray | None], background: Any) -> list[Any]:
    if background is None:
        return [quantities.npred_background(ds, signal) for ds, signal in zip(datasets, signals, strict=True)]
    several = isinstance(background, Iterable) and not isinstance(background, xr.DataArray | np.ndarray | str)
    found = list(background) if several else [background]
    if len(found) != len(datasets):
        raise ModelError(f"background: {len(found)} found, one for each of {len(datasets)} datasets accepted")
    return found


def _summary(
    names: list[str],
    truth: Floats,
    value: Floats,
    error: Floats,
    stat: Floats,
    ts: Floats,
    success: npt.NDArray[np.bool_],
) -> xr.Dataset:
    pull = (value - truth) / error
    by_toy, by_parameter = ("toy", "parameter"), ("parameter",)
    mean, std, coverage = np.full((3, truth.size), np.nan)
    for k in range(truth.size):  # of those that have an error
        good = pull[np.isfinite(pull[:, k]), k]
        if good.size > 1:
            mean[k], std[k], coverage[k] = good.mean(), good.std(ddof=1), (np.abs(good) < 1).mean()
    return xr.Dataset(
        {
            "value": (by_toy, value),
            "error": (by_toy, error),
            "pull": (by_toy, pull),
            "success": ("toy", success),
            "stat": ("toy", stat),
            "ts_true": ("toy", ts),
            "truth": (by_parameter, truth),
            "pull_mean": (by_parameter, mean),
            "pull_std": (by_parameter, std),
            "coverage": (by_parameter, coverage),
        },
        {"parameter": names},
    )
