"""Fits of sky models: the parameters at the minimum of WStat, and their errors.

iminuit does the minimising, on `xonoff.likelihood.Likelihood` and its derivatives; -2 ln L rises by 1 at one standard
deviation.
"""

import html
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.table import Table

from xonoff.errors import ModelError
from xonoff.irf import Method
from xonoff.likelihood import Likelihood
from xonoff.models import SkyModel, from_json, named_parameters, parameters, to_json
from xonoff.predict import Models

__all__ = ["FitResult", "fit"]

Floats: TypeAlias = npt.NDArray[np.float64]

#: First steps of parameters: of positions and sizes, deg; of amplitudes and norms as a share; of all others.
ANGLE, SHARE, OTHER = 0.01, 0.1, 0.05
ANGLES = ("lon_0", "lat_0", "sigma", "r_0", "radius", "width")
NORMS = ("amplitude", "norm", "value")
#: Layout of the text of a result.
LAYOUT = "xonoff fit 1"


@dataclass(frozen=True)
class FitResult:
    """What a fit has found.

    Attributes
    ----------
    success : bool
        Whether the minimum was found, and the covariance is that of a minimum.
    message : str
        Why, in words.
    models : list of SkyModel
        At the minimum, with the errors of their parameters: ready for `ds.onoff.assign_models`.
    covariance : DataArray (parameter, other)
        Of the free parameters.
    stat : float
        WStat at the minimum.
    ndf : int
        Valid bins within the masks of all datasets, less the free parameters.
    calls : int
        Evaluations of WStat.
    minos : dict of str to (float, float)
        Lower and upper errors, below and above 0, where WStat at its minimum over all other parameters is higher by 1;
        of the parameters that they were asked for, NaN where there is no such value.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D
    >>> crab = SkyModel("crab", PowerLaw1D(3e-11, 1, 2.4, fixed={"x_0": True}), PointSource(83.65, 22.0))
    >>> result = fit(xonoff.tutorial.dataset(), crab)
    >>> result.success, FitResult.from_json(result.to_json()).stat == result.stat
    (True, True)
    """

    success: bool
    message: str
    models: list[SkyModel]
    covariance: xr.DataArray
    stat: float
    ndf: int
    calls: int
    minos: dict[str, tuple[float, float]]

    @property
    def parameters(self) -> Table:
        """Parameters of the models as a table, with their errors; see `xonoff.models.parameters`."""
        return parameters(self.models)

    @property
    def correlation(self) -> xr.DataArray:
        """Correlation of the free parameters, (parameter, other)."""
        sigma = np.sqrt(np.diag(self.covariance.values))
        return self.covariance / np.outer(sigma, sigma)

    def to_json(self) -> str:
        """Write the result as text."""
        found = {
            "layout": LAYOUT,
            "success": self.success,
            "message": self.message,
            "models": to_json(self.models),
            "parameters": self.covariance["parameter"].values.tolist(),
            "covariance": self.covariance.values.tolist(),
            "stat": self.stat,
            "ndf": self.ndf,
            "calls": self.calls,
            "minos": self.minos,
        }
        return json.dumps(found)

    @classmethod
    def from_json(cls, text: str) -> "FitResult":
        """Read a result that `to_json` has written.

        Raises
        ------
        ModelError
            If the text is something else.
        """
        try:
            found = json.loads(text)
            if found["layout"] != LAYOUT:
                raise ValueError(f"layout {found['layout']!r}")
            names = [str(name) for name in found["parameters"]]
            matrix = np.array(found["covariance"], dtype=np.float64).reshape(len(names), len(names))
            return cls(
                bool(found["success"]),
                str(found["message"]),
                from_json(found["models"]),
                _covariance(names, matrix),
                float(found["stat"]),
                int(found["ndf"]),
                int(found["calls"]),
                {str(name): (float(low), float(high)) for name, (low, high) in found["minos"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"text of a fit: {error!r} found, what FitResult.to_json writes accepted") from error

    def __repr__(self) -> str:
        """Return the outcome and the parameters."""
        outcome = "converged" if self.success else "FAILED"
        return f"<fit {outcome}: {self.message}; stat {self.stat:.6g}, ndf {self.ndf}>\n{self.parameters}"

    def _repr_html_(self) -> str:
        """Return the same for a notebook cell."""
        outcome = "converged" if self.success else "<b>failed</b>"
        head = f"Fit {outcome}: {html.escape(self.message)}. WStat {self.stat:.6g}, {self.ndf} degrees of freedom."
        return f"<p>{head}</p>{self.parameters._repr_html_()}"


def fit(
    datasets: xr.Dataset | Iterable[xr.Dataset] | Likelihood,
    models: Models = None,
    *,
    minos: Iterable[str] = (),
    interpolation: Method = "linear",
) -> FitResult:
    """Fit sky models to on/off data.

    Parameters
    ----------
    datasets : Dataset, iterable of Dataset, or Likelihood
        Together, with all that a model has in common.
    models : SkyModel or iterable of SkyModel, optional
        Where the fit starts; those that the datasets carry by default. They are not changed.
    minos : iterable of str
        Parameters whose asymmetric errors are worked out.
    interpolation : {"linear", "nearest"}
        As for `xonoff.predict.npred_signal`.

    Returns
    -------
    FitResult

    Raises
    ------
    ModelError
        If there is nothing to fit: no free parameter, no bin within the masks, parameters that the data do not depend
        on, such as those of a source off the map, or a start that makes the data impossible.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D
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
    from iminuit import Minuit

    likelihood = (
        datasets if isinstance(datasets, Likelihood) else Likelihood(datasets, models, interpolation=interpolation)
    )
    asked = list(minos)
    _check(likelihood, asked)
    start = likelihood.values
    limits = np.array([likelihood.bounds(name) for name in likelihood.parameters])
    scale = _scales(likelihood, limits)
    free = likelihood.parameters

    def physical(point: npt.ArrayLike) -> Floats:
        return np.asarray(np.clip(start + scale * np.asarray(point), limits[:, 0], limits[:, 1]))

    minuit = Minuit(
        lambda point: likelihood(physical(point)),
        np.zeros(start.size),
        grad=lambda point: likelihood.gradient(physical(point)) * scale,
        name=free,
    )
    minuit.errordef = Minuit.LIKELIHOOD * 2
    minuit.errors = np.ones(start.size)
    minuit.limits = [((low - x) / s, (high - x) / s) for (low, high), x, s in zip(limits, start, scale, strict=True)]
    minuit.strategy = 1
    minuit.migrad(iterate=5)
    minuit.hesse()
    good = bool(minuit.valid and minuit.accurate)
    matrix = np.full((start.size,) * 2, np.nan) if minuit.covariance is None else np.array(minuit.covariance)
    matrix = matrix * np.outer(scale, scale)
    errors = {}
    for name in asked if good else ():
        minuit.minos(name)
        found = minuit.merrors[name]
        factor = scale[free.index(name)]
        errors[name] = (
            float(found.lower * factor) if found.lower_valid else np.nan,
            float(found.upper * factor) if found.upper_valid else np.nan,
        )
    best = physical(minuit.values)
    stat = likelihood(best)
    fitted = [model.copy() for model in likelihood.models]
    for name, variance in zip(free, np.diag(matrix), strict=True):
        named_parameters(fitted)[name].std = float(np.sqrt(variance)) if variance > 0 else None
    return FitResult(
        good,
        "minimum found" if good else _why(minuit),
        fitted,
        _covariance(free, matrix),
        stat,
        likelihood.bins - start.size,
        int(minuit.nfcn),
        errors,
    )


# -- how it is done ---------------------------------------------------------------------------------------------------


def _covariance(names: list[str], matrix: Floats) -> xr.DataArray:
    coords = {"parameter": names, "other": names}
    return xr.DataArray(matrix, coords, ("parameter", "other"), "covariance")


def _check(likelihood: Likelihood, minos: list[str]) -> None:
    """Refuse what cannot be fitted."""
    if not likelihood.parameters:
        raise ModelError("no free parameter found: set model.spectral.amplitude.fixed = False, for example")
    unknown = [name for name in minos if name not in likelihood.parameters]
    if unknown:
        raise ModelError(f"minos: {unknown[0]!r} found, {', '.join(likelihood.parameters)} accepted")
    if not likelihood.bins:
        raise ModelError("no valid bin within the masks: look at ds.onoff.info()")
    if not np.isfinite(likelihood()):
        raise ModelError(f"WStat at the start is {likelihood()}: its counts are impossible there, start elsewhere")
    still = [name for name, slope in zip(likelihood.parameters, likelihood.gradient(), strict=True) if slope == 0]
    if still:
        raise ModelError(
            f"the data do not depend on {', '.join(still)}: is the source on the map, within the masks, and brighter "
            "than 0? Start it there, or fix the parameter"
        )


def _scales(likelihood: Likelihood, limits: Floats) -> Floats:
    """Steps of the parameters over which WStat changes by about 1, from its curvature at the start."""
    here, stat = likelihood.values, likelihood()
    scales = np.empty(here.size)
    for number, name in enumerate(likelihood.parameters):
        last = name.rsplit(".", 1)[-1]
        step = ANGLE if last in ANGLES else SHARE * abs(here[number]) if last.startswith(NORMS) else OTHER
        step = step or OTHER
        moved = []
        for sign in (1, -1):
            values = here.copy()
            values[number] = np.clip(here[number] + sign * step / 4, *limits[number])
            moved.append(likelihood(values))
        curvature = (moved[0] + moved[1] - 2 * stat) / (step / 4) ** 2
        found = np.sqrt(2 / curvature) if curvature > 0 else step
        scales[number] = np.clip(found, step / 30, 3 * step)
    likelihood(here)
    return scales


def _why(minuit: Any) -> str:
    """Reason of a failure."""
    minimum = minuit.fmin
    reasons = [
        (minimum.has_reached_call_limit, "too many calls: start nearer, or fix parameters"),
        (minimum.has_parameters_at_limit, "a parameter is at its bound"),
        (
            minimum.hesse_failed or not minimum.has_posdef_covar,
            "no covariance of a minimum: parameters may be degenerate",
        ),
        (minimum.is_above_max_edm, "the minimum was not reached"),
    ]
    return next((reason for failed, reason in reasons if failed), "not converged")
