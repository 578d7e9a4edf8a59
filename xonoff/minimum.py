"""The minimum of a likelihood: iminuit, in parameters so scaled that a step of 1 changes WStat by about 1."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from xonoff.errors import ModelError
from xonoff.likelihood import Likelihood

__all__ = ["Minimum"]

Floats: TypeAlias = npt.NDArray[np.float64]

#: First steps of parameters: of positions and sizes, deg; of amplitudes and norms as a share; of all others.
ANGLE, SHARE, OTHER = 0.01, 0.1, 0.05
ANGLES = ("lon_0", "lat_0", "sigma", "r_0", "radius", "width")
NORMS = ("amplitude", "norm", "value")


class Minimum:
    """Minimiser of a likelihood, starting where that is.

    Parameters
    ----------
    likelihood : Likelihood

    Attributes
    ----------
    minuit : iminuit.Minuit
        Its values are steps from the start, see `physical`.
    start, scale : ndarray (parameter,)
        Where the parameters start, and steps over which WStat changes by about 1.

    Raises
    ------
    ModelError
        If there is nothing to fit, see `xonoff.fit`.
    """

    def __init__(self, likelihood: Likelihood) -> None:
        from iminuit import Minuit

        _check(likelihood)
        self.likelihood, self.names = likelihood, likelihood.parameters
        self.start = likelihood.values
        self._limits = np.array([likelihood.bounds(name) for name in self.names])
        self.scale = _scales(likelihood, self._limits)
        self.minuit = Minuit(
            lambda point: likelihood(self.physical(point)),
            np.zeros(self.start.size),
            grad=lambda point: likelihood.gradient(self.physical(point)) * self.scale,
            name=self.names,
        )
        self.minuit.errordef = Minuit.LIKELIHOOD * 2  # of -2 ln L
        self.minuit.errors = np.ones(self.start.size)
        self.minuit.limits = ((self._limits - self.start[:, None]) / self.scale[:, None]).tolist()
        self.minuit.strategy = 1

    def physical(self, point: npt.ArrayLike) -> Floats:
        """Values of the parameters at a point of the minimiser."""
        found = self.start + self.scale * np.asarray(point)
        return np.asarray(np.clip(found, self._limits[:, 0], self._limits[:, 1]))

    def number(self, name: str) -> int:
        """Position of a parameter among the free ones."""
        if name not in self.names:
            raise ModelError(f"parameter {name!r} found, {', '.join(self.names)} accepted")
        return self.names.index(name)

    def find(self) -> bool:
        """Go to the minimum, and tell whether it was found."""
        self.minuit.migrad(iterate=5)
        return bool(self.minuit.valid)

    @property
    def stat(self) -> float:
        """WStat at the best point so far."""
        return float(self.minuit.fval)

    def deviations(self) -> Floats:
        """Standard deviations of the parameters, by the curvature at the minimum."""
        self.minuit.hesse()
        return np.asarray(self.minuit.errors) * self.scale

    def find_at(self, number: int, value: float) -> Floats | None:
        """Values of the parameters at the minimum over all but one, which has a value; None where it is not found.

        The next search starts there.
        """
        minuit = self.minuit
        minuit.values[number] = (value - self.start[number]) / self.scale[number]
        minuit.fixed[number] = True
        if minuit.nfit:
            minuit.migrad(iterate=5)
        found = self.physical(minuit.values) if not minuit.nfit or minuit.valid else None
        minuit.fixed[number] = False
        return found

    def why(self) -> str:
        """Reason of a failure, in words."""
        minimum = self.minuit.fmin
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


# -- how it is done ---------------------------------------------------------------------------------------------------


def _check(likelihood: Likelihood) -> None:
    """Refuse what cannot be fitted."""
    if not likelihood.parameters:
        raise ModelError("no free parameter found: set model.spectral.amplitude.fixed = False, for example")
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
