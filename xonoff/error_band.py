"""Errors of a fitted spectrum: those of its parameters, propagated linearly to fluxes at energies and in bins.

The covariance of a fit and the derivatives of the flux by the parameters give the variance of the flux. Parameters
that are tied follow, also those tied to another model.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.axes import axis_coords, check_edges
from xonoff.errors import ModelError, SchemaError
from xonoff.fitting import FitResult
from xonoff.likelihood import ALPHA_SCALE
from xonoff.models import SkyModel, energy_integral, flux, integral, model_list, named_parameters
from xonoff.models.free import follow, limits, links_of, rules_of
from xonoff.predict import Models
from xonoff.sed_columns import labelled
from xonoff.units import Value, floats_in

__all__ = ["integral_flux", "spectrum_band"]

Floats: TypeAlias = npt.NDArray[np.float64]

#: Step of differences, as a share of a parameter, and of its error where it is 0.
OF_VALUE, OF_ERROR = 1e-3, 1e-2
#: Steps to both sides, or, at a bound, to one; and the weights of a derivative of fourth order.
CENTRAL = (-2, -1, 1, 2), np.array([1, -8, 8, -1]) / 12
ONE_SIDED = (0, 1, 2, 3, 4), np.array([-25, 48, -36, 16, -3]) / 12


def spectrum_band(
    models: FitResult | Models, source: str | None, energy: Value, *, covariance: xr.DataArray | None = None
) -> xr.Dataset:
    r"""Flux per energy of a fitted source, with its error.

    Parameters
    ----------
    models : FitResult, SkyModel or iterable of SkyModel
        What a fit has found; or models, and their covariance.
    source : str
        Name of the source; None where there is one model only.
    energy : array_like, TeV
        Energies.
    covariance : DataArray (parameter, other), optional
        Of the free parameters of the models, as in `xonoff.FitResult`; that of the result by default.

    Returns
    -------
    Dataset
        On ``energy``: ``dnde`` and ``dnde_err`` (cm-2 s-1 TeV-1), ``e2dnde`` and ``e2dnde_err`` (TeV cm-2 s-1).

    Raises
    ------
    ModelError
        If there is no such source, or no covariance of its models.

    Notes
    -----
    :math:`\sigma^2(E) = \sum_{ij} \partial_i f\, C_{ij}\, \partial_j f`. Parameters that are fixed have no part in it,
    nor have those that a fit has left at a bound, without an error; those tied to others follow them, also by the ties
    of the fit. Scales of alpha have their part by what they add to the errors of the others. Where errors are large, or
    a parameter is near a bound, this is an approximation.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D
    >>> crab = SkyModel("crab", PowerLaw1D(3e-11, 1, 2.4), PointSource(83.633, 22.014))
    >>> band = spectrum_band(xonoff.fit(xonoff.tutorial.dataset(), crab), "crab", [1, 10])
    >>> (band.dnde_err / band.dnde).values.round(2)
    array([0.03, 0.09])
    """
    at = np.atleast_1d(floats_in(energy, "TeV"))
    if at.ndim != 1 or not (at > 0).all() or not np.isfinite(at).all():
        raise SchemaError(f"energy: {energy!s:.80} found, a list of positive energies in TeV accepted")
    value, error, name = _propagated(models, source, covariance, lambda model: flux(model.spectral, at))
    arrays = {"dnde": value, "dnde_err": error, "e2dnde": at**2 * value, "e2dnde_err": at**2 * error}
    coords = {"energy": xr.Variable("energy", at, {"units": "TeV", "long_name": "energy"})}
    return labelled(arrays, coords, {"source": name})


def integral_flux(
    models: FitResult | Models, source: str | None, edges: Value, *, covariance: xr.DataArray | None = None
) -> xr.Dataset:
    """Flux and energy flux of a fitted source between energies, with their errors.

    Parameters
    ----------
    models, source
        As for `spectrum_band`.
    edges : array_like, TeV
        Edges of one bin or more, increasing.
    covariance
        As for `spectrum_band`.

    Returns
    -------
    Dataset
        On ``energy`` with ``energy_bounds``: ``flux`` and ``flux_err`` (cm-2 s-1), ``eflux`` and ``eflux_err``
        (TeV cm-2 s-1).

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D
    >>> crab = SkyModel("crab", PowerLaw1D(3e-11, 1, 2.4), PointSource(83.633, 22.014))
    >>> found = integral_flux(xonoff.fit(xonoff.tutorial.dataset(), crab), "crab", [1, 10])
    >>> print(f"{found.flux.item():.2e} +- {found.flux_err.item():.0e}")
    2.17e-11 +- 7e-13
    """
    bins = check_edges("energy", edges)

    def both(model: SkyModel) -> Floats:
        return np.concatenate([integral(model.spectral, bins), energy_integral(model.spectral, bins)])

    value, error, name = _propagated(models, source, covariance, both)
    names = ("flux", "eflux")
    arrays = dict(zip(names, np.split(value, 2), strict=True))
    arrays |= dict(zip([f"{key}_err" for key in names], np.split(error, 2), strict=True))
    return labelled(arrays, axis_coords("energy", bins), {"source": name})


# -- how it is done ---------------------------------------------------------------------------------------------------


def _propagated(
    models: FitResult | Models,
    source: str | None,
    covariance: xr.DataArray | None,
    function: Callable[[SkyModel], Floats],
) -> tuple[Floats, Floats, str]:
    """Values of a function of a model, their errors, and the name of the model."""
    tied = models.tied if isinstance(models, FitResult) else {}
    if isinstance(models, FitResult):
        covariance = models.covariance if covariance is None else covariance
        models = models.models
    listed = [model.copy() for model in model_list(() if models is None else models)]
    names = [model.name for model in listed]
    if source is None and len(names) == 1:
        source = names[0]
    if source not in names:
        raise ModelError(
            f"source: {source!r} found, the name of one of the models accepted: {', '.join(names) or 'none'}"
        )
    model = listed[names.index(source)]
    parameters, matrix = _checked(listed, covariance)
    rules, links = rules_of(listed), links_of(listed, tied)
    follow(rules, links)
    value = function(model)
    slopes = np.zeros((len(parameters), value.size))
    everything = named_parameters(listed)
    for number, name in enumerate(parameters):
        parameter = everything[name]
        here, error = float(parameter.value), np.sqrt(max(matrix[number, number], 0.0))
        step = OF_VALUE * abs(here) or OF_ERROR * error or OF_VALUE
        (steps, weights), step = _stencil(here, step, parameter.bounds)
        for times, weight in zip(steps, weights, strict=True):
            parameter.value = here + times * step
            follow(rules, links)
            slopes[number] += weight * (function(model) - value) / step  # 0 where nothing changes
        parameter.value = here
        follow(rules, links)
    variance = np.einsum("ie,ij,je->e", slopes, matrix, slopes)
    return value, np.sqrt(np.maximum(variance, 0.0)), source


def _stencil(
    here: float, step: float, bounds: tuple[float | None, float | None]
) -> tuple[tuple[tuple[int, ...], Floats], float]:
    """Steps within the bounds, and their size with its sign."""
    low, high = limits(bounds)
    if low <= here - 2 * step and here + 2 * step <= high:
        return CENTRAL, step
    up, down = high - here, here - low
    return ONE_SIDED, min(step, up / 4) if up >= down else -min(step, down / 4)


def _checked(models: list[SkyModel], covariance: xr.DataArray | None) -> tuple[list[str], Floats]:
    """Names of the parameters of a covariance, and its matrix."""
    if covariance is None:
        raise ModelError("no covariance found: give what xonoff.fit returns, or models with covariance=")
    if not isinstance(covariance, xr.DataArray):
        raise ModelError(
            f"covariance: a {type(covariance).__name__} found, a DataArray as FitResult.covariance accepted"
        )
    if covariance.ndim != 2 or "parameter" not in covariance.coords or len(set(covariance.shape)) != 1:
        raise ModelError(
            f"covariance: dimensions {dict(covariance.sizes)} found, (parameter, other) accepted, with the names of "
            "the parameters, as FitResult.covariance has it"
        )
    names = [str(name) for name in covariance["parameter"].values]
    known = named_parameters(models)
    unknown = [name for name in names if name not in known and not name.endswith(ALPHA_SCALE)]
    if unknown:
        raise ModelError(
            f"covariance: parameter {unknown[0]!r} found, those of the models accepted: {', '.join(known)}"
        )
    matrix = np.asarray(covariance.values, dtype=np.float64)
    has_error = np.asarray(~np.isnan(matrix).all(axis=1))  # none at a bound
    used = [number for number, name in enumerate(names) if name in known and has_error[number]]
    matrix = matrix[np.ix_(used, used)]
    if not np.isfinite(matrix).all() or (names and not has_error.any()):
        raise ModelError("covariance: values that are not finite found: the fit has no minimum, look at its message")
    return [names[number] for number in used], matrix
