"""The minimum of a likelihood: iminuit, in parameters so scaled that a step of 1 changes WStat by about 1."""

from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from xonoff.errors import ModelError
from xonoff.likelihood import Likelihood
from xonoff.widths import ABOUT, STEP, Around, beside, guesses, kind, look

__all__ = ["Minimum"]

Floats: TypeAlias = npt.NDArray[np.float64]

#: Widths from the start beyond which a bound is far.
FAR = 300.0
#: Curvature of WStat up to which a combination of parameters counts as unknown; that of each of them is about 2.
#: Below the other one it is a saddle, at most so often left.
SINGULAR, SADDLE, SADDLES = 1e-6, -0.05, 3
#: Searches at most, each from the best point of the last one, and the change of a width that asks for one.
SEARCHES, OTHER_WIDTH = 4, 10.0
#: Rise of WStat that Minuit is told where there is none.
WALL = 1e12
#: WStat at a norm of 0 above its minimum, up to which that may be there; and up to which factor it rises on both sides
#: from a tenth of a step to the whole, where it has a kink there: by 10, and by 100 where it has none.
NEAR_0, KINK = 0.02, 30.0
#: Doublings of a distance at most.
DOUBLINGS = 60


class LostError(Exception):
    """The search has come to where there is no WStat, or no derivative of it."""


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
        Where the last search has started, and steps over which WStat changes by about 1.
    found : bool
        Whether it is at a minimum.
    held : dict of int to str
        Parameters that have no error at the minimum, and why: they are at a bound, or at a kink of WStat.
    calls : int
        Evaluations of WStat, but for those of its derivatives.

    Raises
    ------
    ModelError
        If there is nothing to fit, see `xonoff.fit`.
    """

    def __init__(self, likelihood: Likelihood) -> None:
        self.likelihood, self.names = likelihood, likelihood.parameters
        self.found, self.calls = False, 0
        self._bar: tqdm[Any] | None = None
        self.held: dict[int, str] = {}
        self._lost, self._degenerate, self._kinks, self._bend = False, False, set[int](), np.zeros((0, 0))
        if not self.names:
            raise ModelError("no free parameter found: set model.spectral.amplitude.fixed = False, for example")
        if not likelihood.bins:
            raise ModelError("no valid bin within the masks: look at ds.onoff.info()")
        self._limits = np.array([likelihood.bounds(name) for name in self.names])
        likelihood()  # refuses what is no model
        start = np.clip(likelihood.values, *self._limits.T)
        stat = self._stat(start)
        if not np.isfinite(stat):
            raise ModelError(f"WStat at the start is {stat}: its counts are impossible there, start elsewhere")
        guess, largest = np.array([guesses(name, value) for name, value in zip(self.names, start, strict=True)]).T
        self.scale = guess
        widths = self._look_around(start, stat)
        self._refuse_what_is_still(start)
        self._place(start, stat, np.minimum(widths, largest))

    def _refuse_what_is_still(self, start: Floats) -> None:
        """Refuse parameters that change nothing."""
        if any(around.flat for around in self._around):
            slopes = self.likelihood.gradient(start)
            flat = zip(self.names, slopes, self._around, strict=True)
            still = [name for name, slope, around in flat if slope == 0 and around.flat]
            if still:
                raise ModelError(
                    f"the data do not depend on {', '.join(still)}: is the source on the map, within the masks, "
                    "brighter than 0, and not round if it has an angle? Start it there, or fix the parameter"
                )

    def _place(self, start: Floats, stat: float, scale: Floats) -> None:
        """Begin anew at a point."""
        from iminuit import Minuit

        self.start, self.scale, self._start_stat = start, scale, stat
        self._best = 0.0, np.zeros(start.size)
        self.minuit = Minuit(self._rise, np.zeros(start.size), grad=self._slope, name=self.names)
        self.minuit.errordef = Minuit.LIKELIHOOD * 2  # of -2 ln L
        self.minuit.errors = np.ones(start.size)
        # Far bounds are left to `physical`: Minuit bends a parameter that has two, which is bad for a size near 0.
        steps = (self._limits - start[:, None]) / scale[:, None]
        self.minuit.limits = np.where(np.abs(steps) < FAR, steps, np.copysign(np.inf, steps)).tolist()
        self.minuit.strategy, self.minuit.print_level = 1, -1
        for number in self._kinks:
            self.minuit.fixed[number] = True

    # -- WStat --------------------------------------------------------------------------------------------------------

    def _stat(self, values: Floats) -> float:
        """WStat at values of the parameters, infinite where there is none."""
        self.calls += 1
        if self._bar is not None:
            self._bar.update()
        try:
            with np.errstate(all="ignore"):
                stat = self.likelihood(values)
        except ModelError:
            return np.inf
        return np.inf if np.isnan(stat) else stat

    def _rise(self, point: npt.ArrayLike) -> float:
        """WStat above the start, for Minuit, whose steps follow from the size of the function."""
        at = np.array(point)
        if not np.isfinite(at).all():
            raise LostError
        rise = self._stat(self.physical(at)) - self._start_stat
        if rise < self._best[0]:
            self._best = rise, at
        return min(rise, WALL)

    def _slope(self, point: npt.ArrayLike) -> Floats:
        """Its derivatives; those of sizes by steps over which profiles are smooth."""
        try:
            with np.errstate(all="ignore"):
                slope = self.likelihood.gradient(self.physical(point), STEP * self.scale) * self.scale
        except ModelError as error:
            raise LostError from error
        if not np.isfinite(slope).all():
            raise LostError
        return np.asarray(slope)

    def _look(self, number: int, values: Floats, stat: float, guess: float) -> Around:
        return look(self._stat, self._limits, number, values, stat, guess)

    def _beside(self, number: int, values: Floats, step: float) -> float:
        return beside(self._stat, self._limits, number, values, step)

    # -- the search ---------------------------------------------------------------------------------------------------

    def physical(self, point: npt.ArrayLike) -> Floats:
        """Values of the parameters at a point of the minimiser."""
        found = self.start + self.scale * np.asarray(point)
        return np.asarray(np.clip(found, self._limits[:, 0], self._limits[:, 1]))

    def number(self, name: str) -> int:
        """Position of a parameter among the free ones."""
        if name not in self.names:
            raise ModelError(f"parameter {name!r} found, {', '.join(self.names)} accepted")
        return self.names.index(name)

    @property
    def best(self) -> Floats:
        """Values of the parameters at the best point so far."""
        return self.physical(self.minuit.values if self.minuit.fmin and self.minuit.valid else self._best[1])

    def find(self) -> bool:
        """Go to the minimum, and tell whether it was found.

        Where a search ends elsewhere, another one starts there; and where widths are others than at the start, for the
        last digits and for what follows. If all is in vain, norms alone go to their minimum at the start, and then all:
        a source that is too bright by far is driven off the map otherwise.
        """
        start, stat, scale = self.start, self._start_stat, self.scale
        if not self._descend() and self._lost and self._norms_first(start, stat, scale):
            self._descend()
        for _ in range(SADDLES):
            bounds = {n: "is at its bound" for n, around in enumerate(self._around) if around.inward}
            self.held = bounds | dict.fromkeys(self._kinks, "is 0, where WStat has a kink")
            self._bend = self._curvature()
            if not self.found or not self._leave_saddle():
                break
            self._descend()
        return self.found

    def _descend(self) -> bool:
        """Search from where it is, until there is a minimum with its widths."""
        for turn in range(SEARCHES):
            self.found = self._search() or self.found
            best, kinks = self.best, len(self._kinks)
            stat = self._stat(best)
            for number in range(best.size):
                best, stat = self._at_0(number, best, stat)
            widths = self._look_around(best, stat)
            same = bool((np.abs(np.log(widths / self.scale)) < np.log(OTHER_WIDTH)).all())
            over = same if self.found else self._too_many_calls
            if turn == SEARCHES - 1 or (over and len(self._kinks) == kinks):
                break
            self._place(best, stat, widths)
        return self.found

    def _look_around(self, values: Floats, stat: float) -> Floats:
        """Widths at a point, those of before where WStat is flat."""
        self._around = [self._look(number, values, stat, self.scale[number]) for number in range(values.size)]
        widths = np.array([around.width for around in self._around])
        return np.where(np.isfinite(widths), widths, self.scale)

    def _norms_first(self, start: Floats, stat: float, scale: Floats) -> bool:
        """Go to where the norms alone are best, at a start; tell whether that is elsewhere."""
        self._kinks.clear()
        self._place(start, stat, scale)
        for number, name in enumerate(self.names):
            self.minuit.fixed[number] = kind(name) != "norm"
        if not self.minuit.nfit:
            return False
        self._search()
        best = self.best
        lowest = self._stat(best)
        self._place(best, lowest, self._look_around(best, lowest))
        return lowest < stat

    def _search(self) -> bool:
        self._lost = False
        if self.minuit.nfit:
            try:
                self.minuit.migrad(iterate=5)
            except LostError:
                self._lost = True
        return not self._lost and (not self.minuit.nfit or bool(self.minuit.valid))

    def _at_0(self, number: int, values: Floats, stat: float) -> tuple[Floats, float]:
        """Values with a norm at 0, if WStat has a kink there, and its minimum: there is nothing to be on one side.

        Bins without any counts have it: what is below 0 takes from the background that is not there.
        """
        low, high = self._limits[number]
        if kind(self.names[number]) != "norm" or not low < 0 < high or number in self._kinks:
            return values, stat
        there = np.where(np.arange(values.size) == number, 0.0, values)
        stat_0 = self._stat(there)
        if not stat_0 < stat + NEAR_0:
            return values, stat
        around = self._look(number, there, stat_0, self.scale[number])
        near = [self._beside(number, there, sign * around.step / 10) - stat_0 for sign in (1, -1)]
        far = [end - stat_0 for end in around.ends]
        if around.inward or not min(near + far) > 0 or sum(far) > KINK * sum(near):
            return values, stat
        self._kinks.add(number)
        return there, stat_0

    @property
    def _too_many_calls(self) -> bool:
        return self.minuit.fmin is not None and bool(self.minuit.fmin.has_reached_call_limit)

    @property
    def stat(self) -> float:
        """WStat at the best point so far."""
        return self._stat(self.best)

    def why(self) -> str:
        """Outcome in words."""
        if not self.found and self._lost:
            return "the search has gone to where there is no model: start nearer, fix parameters, or give them bounds"
        if not self.found:
            calls = ", with too many calls" * self._too_many_calls
            return f"the minimum was not reached{calls}: start nearer, or fix parameters"
        notes = [f"{self.names[number]} {why}, and has no error" for number, why in self.held.items()]
        notes += ["parameters are nearly degenerate"] * self._degenerate
        return "; ".join(["minimum found", *notes])

    # -- what follows -------------------------------------------------------------------------------------------------

    def covariance(self) -> Floats:
        """Covariance of the parameters, twice the inverse of the second derivatives of WStat at the minimum.

        These are differences over a fifth of a standard deviation, where the finite accuracy of profiles hardly shows;
        those of Minuit where parameters are nearly degenerate. Parameters that are held have none, NaN, and the others
        have it for these as they are; all are NaN where WStat has no minimum.
        """
        free, widths = self._free()
        found = np.full((len(self.names),) * 2, np.nan)
        if self.found and free and np.isfinite(self._bend).all():
            if np.linalg.eigvalsh(self._bend).min() > SINGULAR:
                found[np.ix_(free, free)] = 2 * np.linalg.inv(self._bend) * np.outer(widths, widths)
            else:
                self._degenerate = True
                found[np.ix_(free, free)] = self._by_minuit(free)
        return found

    def _free(self) -> tuple[list[int], Floats]:
        """Parameters that are not held, and their widths."""
        free = [number for number in range(len(self.names)) if number not in self.held]
        return free, np.array([self._around[number].width for number in free])

    def _curvature(self) -> Floats:
        """Second derivatives of WStat by the free parameters, in their widths; NaN where these are not known."""
        (free, widths), best = self._free(), self.best
        found = np.full((len(free),) * 2, np.nan)
        if not np.isfinite(widths).all():
            return found
        here, steps = self._stat(best), np.array([self._around[number].step for number in free])
        ends = np.array([self._around[number].ends for number in free]).reshape(-1, 2)
        np.fill_diagonal(found, (ends.sum(axis=1) - 2 * here) / steps**2)
        for i, j in combinations(range(len(free)), 2):
            both = 0.0
            for sign in (1, -1):
                moved = best.copy()
                moved[[free[i], free[j]]] += sign * steps[[i, j]]
                both += self._stat(moved)
            found[i, j] = (both - ends[i].sum() - ends[j].sum() + 2 * here) / (2 * steps[i] * steps[j])
            found[j, i] = found[i, j]
        return found * np.outer(widths, widths)

    def _leave_saddle(self) -> bool:
        """Go to where WStat is lower on one side, if it bends downwards; tell whether it does."""
        (free, widths), best = self._free(), self.best
        if not free or not np.isfinite(self._bend).all():
            return False
        values, vectors = np.linalg.eigh(self._bend)
        if values[0] > SADDLE:
            return False
        sides = []
        for sign in (1, -1):
            moved = best.copy()
            moved[free] += sign * vectors[:, 0] * widths
            moved = np.clip(moved, *self._limits.T)
            sides.append((self._stat(moved), moved))
        stat, moved = min(sides, key=lambda side: side[0])
        if not stat < self._stat(best):
            return False
        scale = self.scale.copy()
        scale[free] = widths
        self._place(moved, stat, scale)
        return True

    def _by_minuit(self, free: list[int]) -> Floats:
        """Covariance of some parameters as Minuit has it, NaN where that is none."""
        fixed = [self.minuit.fixed[number] for number in range(len(self.names))]
        for number in self.held:
            self.minuit.fixed[number] = True
        try:
            self.minuit.hesse()
            known = self.minuit.accurate and self.minuit.covariance is not None
        except LostError:
            known = False
        for number, was in enumerate(fixed):
            self.minuit.fixed[number] = was
        if not known:
            return np.full((len(free),) * 2, np.nan)
        return np.asarray((np.asarray(self.minuit.covariance) * np.outer(self.scale, self.scale))[np.ix_(free, free)])

    def reach(self, number: int, rise: float) -> float:
        """Distance from the minimum at which WStat is higher by so much, or a little more, along one parameter."""
        best = self.best
        low, high = self._limits[number] - best[number]
        stat, step = self._stat(best), self._around[number].step
        side = 1.0 if high > -low else -1.0
        for _ in range(DOUBLINGS):
            if step >= max(high, -low) or self._beside(number, best, side * step) > stat + rise:
                break
            step *= 2
        return float(min(step, max(high, -low)))

    def minos(self, number: int) -> tuple[float, float]:
        """Errors below and above the minimum, where WStat is higher by 1; NaN where there is none, as at a bound."""
        if number in self._kinks:
            return np.nan, np.nan
        try:
            self.minuit.minos(number)
        except (RuntimeError, LostError):
            return np.nan, np.nan
        found = self.minuit.merrors[self.names[number]]
        inside = np.abs(self._limits[number] - self.best[number]) > self._around[number].step / ABOUT
        lower = float(found.lower) if found.lower_valid and not found.at_lower_limit and inside[0] else np.nan
        upper = float(found.upper) if found.upper_valid and not found.at_upper_limit and inside[1] else np.nan
        return lower * float(self.scale[number]), upper * float(self.scale[number])

    def contour(self, names: list[str], level: float, points: int) -> Floats:
        """Points (point, 2) of a contour of two parameters, in units of the minimiser; none where there is none."""
        try:
            with tqdm(desc=" and ".join(names), unit="call", disable=None) as self._bar:  # how many is not known
                return np.asarray(self.minuit.mncontour(*names, cl=level, size=points))
        except (RuntimeError, LostError):
            return np.zeros((0, 2))
        finally:
            self._bar = None

    def find_at(self, number: int, value: float) -> Floats | None:
        """Values of the parameters at the minimum over all but one, which has a value; None where it is not found.

        Those that WStat does not depend on then, as a position where there is no flux, stay. The next search starts
        where this one ends.
        """
        minuit, before = self.minuit, self.minuit.values[:]
        held = [minuit.fixed[n] for n in range(len(self.names))]
        with np.errstate(over="ignore"):
            minuit.values[number] = (value - self.start[number]) / self.scale[number]
        found = None
        try:
            for n, slope in enumerate(self._slope(minuit.values)):
                minuit.fixed[n] = held[n] or n == number or slope == 0
            if self._search():
                found = self.physical(minuit.values)
        except LostError:
            pass
        for n, fixed in enumerate(held):
            minuit.fixed[n] = fixed
        if found is None:
            minuit.values = before
        return found
