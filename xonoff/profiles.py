"""WStat along parameters, all others at their best: profiles of one, contours of two."""

from collections.abc import Iterable
from typing import TypeAlias, Unpack

import numpy as np
import numpy.typing as npt
import xarray as xr
from tqdm.auto import tqdm

from xonoff.errors import ModelError
from xonoff.likelihood import Likelihood, Options, likelihood_of
from xonoff.minimum import Minimum
from xonoff.predict import Models

__all__ = ["stat_contour", "stat_profile"]

Floats: TypeAlias = npt.NDArray[np.float64]
Data: TypeAlias = xr.Dataset | Iterable[xr.Dataset] | Likelihood


def stat_profile(
    datasets: Data,
    name: str,
    models: Models = None,
    *,
    values: npt.ArrayLike | None = None,
    **options: Unpack[Options],
) -> xr.Dataset:
    """WStat at values of a parameter, at its minimum over all others.

    Parameters
    ----------
    datasets
        As for `xonoff.fit`.
    name : str
        Of a free parameter: "crab.alpha".
    models
        As for `xonoff.fit`; those of a result are the quickest start.
    values : array_like (value,), optional
        In the unit of the parameter; by default 31, up to three standard deviations from the minimum, or, for a
        parameter that is at its bound, up to where WStat is higher by 9.
    **options
        As for `xonoff.fit`.

    Returns
    -------
    Dataset
        ``stat``, ``ts`` above the minimum and the free parameters, by ``value``; ``best`` is the value of the
        parameter at the minimum, and ``stat_best`` WStat there. NaN where no minimum over the others was found; what
        WStat does not depend on at a value, as a position where there is no flux, stays as it was.

    Raises
    ------
    ModelError
        If there is nothing to fit, no such parameter, or the minimum is not found.

    Notes
    -----
    A terminal or notebook shows a progress bar. A likelihood ends at the minimum.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D, SkyModel
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.633, 22.014))
    >>> profile = stat_profile(xonoff.tutorial.dataset(), "crab.alpha", crab, values=[2.5, 2.6])
    >>> bool((profile.ts > 0).all()), list(profile.data_vars)[:3]
    (True, ['stat', 'ts', 'crab.amplitude'])
    """
    minimum = _found(likelihood_of(datasets, models, **options))
    number, lowest, best = minimum.number(name), minimum.stat, minimum.best
    wanted = _values(minimum, number, values)
    stat, found = np.full(wanted.size, np.nan), np.full((wanted.size, best.size), np.nan)
    start = minimum.minuit.values[:]
    # From the minimum outwards, each from where the last one ended.
    sides = [wanted >= best[number], wanted < best[number]]
    rows = [sorted(np.flatnonzero(side), key=lambda i: abs(wanted[i] - best[number])) for side in sides]
    with tqdm(total=wanted.size, desc=name, disable=None) as bar:
        for outwards in rows:
            minimum.minuit.values = start
            for i in outwards:
                values_at = minimum.find_at(number, wanted[i])
                if values_at is not None:
                    stat[i], found[i] = minimum.likelihood(values_at), values_at
                bar.update()
    minimum.likelihood(best)
    coords = {"value": ("value", wanted)}
    arrays = {"stat": ("value", stat), "ts": ("value", stat - lowest)}
    arrays |= {other: ("value", found[:, k]) for k, other in enumerate(minimum.names)}
    return xr.Dataset(arrays, coords, {"parameter": name, "best": float(best[number]), "stat_best": lowest})


def stat_contour(
    datasets: Data,
    names: tuple[str, str],
    models: Models = None,
    *,
    level: float = 0.6827,
    points: int = 40,
    **options: Unpack[Options],
) -> xr.Dataset:
    r"""Contour of two parameters, at a joint confidence level, with WStat at its minimum over all others.

    Parameters
    ----------
    datasets
        As for `xonoff.fit`.
    names : (str, str)
        Of two free parameters.
    models
        As for `xonoff.fit`.
    level : float
        Between 0 and 1: on the contour WStat is :math:`-2 \ln(1 - level)` above the minimum, 2.30 for 68.27 %.
    points : int
        Number of points, 4 or more.
    **options
        As for `xonoff.fit`.

    Returns
    -------
    Dataset
        The values of both parameters, by ``point`` around the contour, the last one the first one again.

    Raises
    ------
    ModelError
        If there is nothing to fit, no such parameters, or the contour is not found.

    Notes
    -----
    A terminal or notebook shows the number of calls. A likelihood ends at the minimum.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D, SkyModel
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.633, 22.014))
    >>> contour = stat_contour(xonoff.tutorial.dataset(), ("crab.lon_0", "crab.lat_0"), crab, points=8)
    >>> dict(contour.sizes), list(contour.data_vars)
    ({'point': 9}, ['crab.lon_0', 'crab.lat_0'])
    """
    pair = [names] if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
    if len(pair) != 2 or pair[0] == pair[1]:
        raise ModelError(f"names: {names!r} found, two different ones accepted")
    if not isinstance(level, int | float | np.number) or not 0 < level < 1:
        raise ModelError(f"level: {level!r} found, a number between 0 and 1 accepted")
    if not isinstance(points, int | np.integer) or points < 4:
        raise ModelError(f"points: {points!r} found, a whole number of 4 or more accepted")
    minimum = _found(likelihood_of(datasets, models, **options))
    numbers, best = [minimum.number(name) for name in pair], minimum.best
    ring = minimum.contour(pair, float(level), int(points))
    minimum.likelihood(best)
    if len(ring) < 4:
        raise ModelError(f"no contour of {pair[0]} and {pair[1]}: {len(ring)} points of it found; is one at its bound?")
    values = minimum.start[numbers] + minimum.scale[numbers] * ring
    closed = values if np.array_equal(values[0], values[-1]) else np.concatenate([values, values[:1]])
    attrs = {"level": level, **{f"best {name}": float(best[n]) for name, n in zip(pair, numbers, strict=True)}}
    return xr.Dataset({name: ("point", closed[:, k]) for k, name in enumerate(pair)}, attrs=attrs)


def _found(likelihood: Likelihood) -> Minimum:
    minimum = Minimum(likelihood)
    if not minimum.find():
        raise ModelError(f"the minimum of WStat was not found: {minimum.why()}")
    return minimum


def _values(minimum: Minimum, number: int, values: npt.ArrayLike | None) -> Floats:
    """Values of a profile: those that are asked for, within the bounds, or some around the minimum."""
    name, best = minimum.names[number], minimum.best[number]
    low, high = minimum.likelihood.bounds(name)
    if values is None:
        deviation = np.sqrt(minimum.covariance()[number, number])
        reach = 3 * deviation if np.isfinite(deviation) else minimum.reach(number, 9.0)
        return np.unique(np.clip(best + reach * np.linspace(-1, 1, 31), low, high))
    try:
        wanted = np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        wanted = np.array([np.nan])
    if wanted.ndim != 1 or not np.isfinite(wanted).all():
        raise ModelError(f"values: {values!s:.80} found, finite numbers accepted")
    if ((wanted < low) | (wanted > high)).any():
        raise ModelError(f"values: {wanted} found, {low:g} to {high:g} accepted, the bounds of {name}")
    return wanted
