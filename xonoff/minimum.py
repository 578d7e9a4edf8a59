"""The minimum of a likelihood: iminuit, in parameters so scaled that a step of 1 changes WStat by about 1."""

from itertools import combinations
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from xonoff.errors import ModelError
from xonoff.likelihood import Likelihood

__all__ = ["Minimum"]

Floats: TypeAlias = npt.NDArray[np.float64]

#: First steps of parameters: of positions and sizes, deg; of amplitudes and norms as a share; of all others.
ANGLE, SHARE, OTHER = 0.01, 0.1, 0.05
#: Steps from the start beyond which a bound is far.
FAR = 300.0
#: Steps of second derivatives, of those over which WStat changes by about 1: as a rule, and at least beside a bound.
STEP, LEAST = 0.2, 0.05
#: Curvature of WStat up to which a combination of parameters counts as unknown; that of each of them is about 2.
SINGULAR = 1e-6
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
    calls : int
        Evaluations of WStat beside those of the minimiser.

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
        self._start_stat = likelihood()
        self.calls = 0
        self.minuit = Minuit(  # above the start, for steps of derivatives follow from the size of the function
            lambda point: likelihood(self.physical(point)) - self._start_stat,
            np.zeros(self.start.size),
            grad=lambda point: likelihood.gradient(self.physical(point)) * self.scale,
            name=self.names,
        )
        self.minuit.errordef = Minuit.LIKELIHOOD * 2  # of -2 ln L
        self.minuit.errors = np.ones(self.start.size)
        # Far bounds are left to `physical`: Minuit bends a parameter that has two, which is bad for a size near 0.
        steps = (self._limits - self.start[:, None]) / self.scale[:, None]
        self.minuit.limits = np.where(np.abs(steps) < FAR, steps, np.copysign(np.inf, steps)).tolist()
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
        return float(self.minuit.fval) + self._start_stat

    def covariance(self) -> Floats:
        """Covariance of the parameters, twice the inverse of the second derivatives of WStat; NaN where there is none.

        They are differences over a fifth of a standard deviation, where the finite accuracy of profiles hardly
        shows. For a parameter at its bound they are those of Minuit, which bends it there.
        """
        point, best = np.array(self.minuit.values), self.physical(self.minuit.values)
        room = np.abs(self._limits - best[:, None]).min(axis=1) / self.scale
        if (room < LEAST).any():
            self.minuit.hesse()
            found = self.minuit.covariance
            inverse = np.full((best.size,) * 2, np.nan) if found is None else np.asarray(found)
        else:
            steps = np.minimum(STEP, room)
            curvature = self._curvature(point, steps)
            known = np.linalg.eigvalsh(curvature).min() > SINGULAR
            inverse = 2 * np.linalg.inv(curvature) if known else np.full(curvature.shape, np.nan)
        return np.asarray(inverse * np.outer(self.scale, self.scale))

    def _curvature(self, point: Floats, steps: Floats) -> Floats:
        """Second derivatives of WStat at a point, in units of the scale."""

        def moved(*which: Floats) -> float:
            self.calls += 1
            return self.likelihood(self.physical(point + sum(which))) - self._start_stat

        along = np.diag(steps)
        here = moved()
        ends = np.array([(moved(step), moved(-step)) for step in along])
        found = np.diag((ends.sum(axis=1) - 2 * here) / steps**2)
        for i, j in combinations(range(point.size), 2):
            both = moved(along[i], along[j]) + moved(-along[i], -along[j])
            found[i, j] = (both - ends[i].sum() - ends[j].sum() + 2 * here) / (2 * steps[i] * steps[j])
            found[j, i] = found[i, j]
        moved()
        return found

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
