"""Calibration of a fit: simulate and fit again and again, and see whether values and errors are right."""

from collections.abc import Iterable
from typing import Any, TypeAlias, Unpack

import numpy as np
import numpy.typing as npt
import xarray as xr
from tqdm.auto import tqdm

from xonoff import quantities
from xonoff.errors import ModelError
from xonoff.fitting import fit
from xonoff.likelihood import Options, likelihood_of
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
    datasets, models, **options
        As for `xonoff.fit`. Fits start at the truth. A prior is part of the fit, not of the simulations.
    n : int
        Number of simulations.
    seed : int
        The same seed gives the same simulations.
    background : DataArray, array_like, number, or list of these
        Counts expected in the on region, one for each dataset, see `xonoff.simulate.fake`; by default the background
        of the data, profiled with the models.

    Returns
    -------
    Dataset
        By ``toy`` and free ``parameter``: ``value``, ``error`` and ``pull``, :math:`(value - truth) / error`; by toy:
        ``success``, ``stat``, and ``ts_true``, WStat at the truth above the minimum, which follows a chi-square of as
        many degrees of freedom as parameters; by parameter: ``truth``, ``pull_mean``, ``pull_std``, and ``coverage``,
        the share of toys within one error of the truth. Toys whose fit has failed are NaN, and no part of these.

    Notes
    -----
    A terminal or notebook shows a progress bar.

    Raises
    ------
    ModelError
        If there is nothing to fit, as from `xonoff.fit`.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D, SkyModel
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.633, 22.014))
    >>> found = calibrate(xonoff.tutorial.dataset(), crab, n=5)
    >>> dict(found.value.sizes), bool((abs(found.pull) < 5).all())
    ({'toy': 5, 'parameter': 4}, True)
    """
    if n < 1:
        raise ModelError(f"n: {n!r} found, 1 or more accepted")
    listed = [datasets] if isinstance(datasets, xr.Dataset) else list(datasets)
    shared = None if models is None else model_list(models)
    own = [models_of(ds) if shared is None else shared for ds in listed]
    backgrounds = _backgrounds(listed, own, background)
    likelihood = likelihood_of(listed, shared, **options)
    names, truth = likelihood.parameters, likelihood.values
    seeds = np.random.SeedSequence(seed).generate_state(n * len(listed), np.uint64) >> np.uint64(1)
    value, error = np.full((2, n, truth.size), np.nan)
    stat, ts, success = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, dtype=bool)
    for toy, number in enumerate(tqdm(seeds.reshape(n, -1).tolist(), desc="calibrate", disable=None)):
        made = [
            fake(ds, mean, s, model).assign_attrs(ds.attrs)
            for ds, mean, s, model in zip(listed, backgrounds, number, own, strict=True)
        ]
        likelihood = likelihood_of(made, shared, **options)
        at_truth = likelihood(truth)
        result = fit(likelihood)
        success[toy] = result.success
        if result.success:
            value[toy], error[toy] = likelihood.values, np.sqrt(np.diag(result.covariance))
            stat[toy], ts[toy] = result.stat, at_truth - result.stat
    return _summary(names, truth, value, error, stat, ts, success)


def _backgrounds(datasets: list[xr.Dataset], models: list[Any], background: Any) -> list[Any]:
    if background is None:
        pairs = zip(datasets, models, strict=True)
        return [quantities.npred_background(ds, signal_of(ds, own)) for ds, own in pairs]
    found = list(background) if isinstance(background, list | tuple) else [background]
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
    good = pull[success]
    enough = len(good) > 1
    by_toy, by_parameter = ("toy", "parameter"), ("parameter",)
    none = np.full(truth.size, np.nan)
    return xr.Dataset(
        {
            "value": (by_toy, value),
            "error": (by_toy, error),
            "pull": (by_toy, pull),
            "success": ("toy", success),
            "stat": ("toy", stat),
            "ts_true": ("toy", ts),
            "truth": (by_parameter, truth),
            "pull_mean": (by_parameter, good.mean(axis=0) if enough else none),
            "pull_std": (by_parameter, good.std(axis=0, ddof=1) if enough else none),
            "coverage": (by_parameter, (np.abs(good) < 1).mean(axis=0) if enough else none),
        },
        {"parameter": names},
    )
