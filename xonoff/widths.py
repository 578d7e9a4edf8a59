"""Widths of parameters: steps over which WStat changes by about 1, by its curvature beside a point."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["ABOUT", "STEP", "Around", "beside", "guesses", "kind", "look"]

Floats: TypeAlias = npt.NDArray[np.float64]
Function: TypeAlias = Callable[[Floats], float]

#: Widths, over which WStat changes by 1, as they are guessed at first, and the largest to start with: of positions and
#: sizes, deg; of norms, as shares of them; of all others, as shares of them or of 1.
GUESS = {"angle": 0.005, "norm": 0.05, "other": 0.025}
LARGEST = {"angle": 0.1, "norm": np.inf, "other": 0.5}
ANGLES = ("lon_0", "lat_0", "sigma", "r_0", "radius", "width")
FACTORS = ("amplitude", "norm", "value")
#: Steps of second derivatives, in widths, and the factor that they may be off by: a bound that is nearer is reached.
STEP, ABOUT = 0.2, 4.0
#: Factor from one step to the next where WStat is flat, and most at once; steps tried; share of WStat that is noise.
FURTHER, AT_ONCE, ROUNDS, NOISE = 10.0, 1e3, 14, 1e-13


class Around(NamedTuple):
    """WStat beside a point, along one parameter.

    Attributes
    ----------
    step : float
        About a fifth of the width.
    width : float
        Infinite where WStat does not bend upwards.
    ends : (float, float)
        WStat a step above and below; or one step and two inwards of a bound.
    inward : bool
        Whether it is the latter.
    flat : bool
        Whether the first step that was tried changes nothing.
    """

    step: float
    width: float
    ends: tuple[float, float]
    inward: bool
    flat: bool


def look(function: Function, limits: Floats, number: int, values: Floats, stat: float, guess: float) -> Around:
    """Find a step of a parameter that is about a fifth of its width, by WStat on both sides, or inwards of a bound.

    Parameters
    ----------
    function : callable
        WStat of values of all parameters, infinite where there is none.
    limits : ndarray (parameter, 2)
        Bounds.
    number : int
        The parameter.
    values, stat : ndarray (parameter,), float
        A point, and WStat there.
    guess : float
        Of the width.
    """
    low, high = limits[number] - values[number]
    width, step, flat = np.inf, STEP * guess, False
    inward, ends = False, (stat, stat)
    for turn in range(ROUNDS):
        room = min(high, -low)
        inward = bool(room < step / ABOUT)
        step = min(step, max(high, -low) / 2 if inward else room)
        sides = (1.0, -1.0) if not inward else (1.0, 2.0) if high > -low else (-1.0, -2.0)
        ends = (
            beside(function, limits, number, values, step * sides[0]),
            beside(function, limits, number, values, step * sides[1]),
        )
        flat = ends == (stat, stat) if turn == 0 else flat
        bend = ends[1] - 2 * ends[0] + stat if inward else ends[0] + ends[1] - 2 * stat
        noise = NOISE * abs(stat) + 1e-9
        if bend < -noise:
            width = np.inf
            break
        if not np.isfinite(bend):
            ratio = 1 / FURTHER
        elif bend <= noise:
            ratio = FURTHER
        else:
            width = float(step * np.sqrt(2 / bend))
            ratio = STEP * width / step
        if 1 / ABOUT < ratio < ABOUT:
            break
        step *= float(np.clip(ratio, 1 / AT_ONCE, AT_ONCE))
    return Around(step, width, ends, inward, flat)


def beside(function: Function, limits: Floats, number: int, values: Floats, step: float) -> float:
    """WStat a step of one parameter from a point, or at the bound before that."""
    moved = values.copy()
    moved[number] += step
    return function(np.clip(moved, *limits.T))


def kind(name: str) -> str:
    """Kind of a parameter by its name: an angle (a position or a size), a norm, or another one."""
    last = name.rsplit(".", 1)[-1]
    return "angle" if last in ANGLES else "norm" if last.startswith(FACTORS) else "other"


def guesses(name: str, value: float) -> tuple[float, float]:
    """Width that a parameter may have, and the largest to start with."""
    own = kind(name)
    size = {"angle": 1.0, "norm": abs(value) or 1.0, "other": max(abs(value), 1.0)}[own]
    return GUESS[own] * size, LARGEST[own] * size
