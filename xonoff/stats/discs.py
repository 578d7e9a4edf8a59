"""Integrals of radial profiles over pixels, in closed form: what a source that depends on its distance alone gives.

Compiled on first use. What a polygon and a circle about the origin have in common is the sum over the edges of the
polygon of what the triangle of the edge and the origin has in common with the circle, with its sign. So pixels that
share their corners share out a circle among them without gap or overlap, whatever their shape. The integrals of 1 and
of the distance over a triangle, and over a sector, are known; they integrate any profile that is linear in between.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xonoff.stats.kernels import _jit

__all__ = ["count_radii", "fill_weights"]

Floats = NDArray[np.float64]


@_jit
def _line(t: float, p: float) -> float:
    """Integral of the distance over the right triangle of the origin, its foot on a line and a point at t, times 6."""
    return p * t * math.hypot(p, t) + p * p * p * math.asinh(t / abs(p))


@_jit
def _edge(ax: float, ay: float, bx: float, by: float, r: float) -> tuple[float, float]:
    """Integrals of 1, times 2, and of the distance, times 6, over the triangle of an edge and the origin in a circle.

    Signed: positive where the edge runs counterclockwise.
    """
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    along = ax * dx + ay * dy
    rest = along * along - length * (ax * ax + ay * ay - r * r)
    if rest > 0.0:
        root = math.sqrt(rest)
        first, last = (-along - root) / length, (-along + root) / length
        if first < 1.0 and last > 0.0:
            first, last = max(first, 0.0), min(last, 1.0)
            px, py, qx, qy = ax + first * dx, ay + first * dy, ax + last * dx, ay + last * dy
            area, moment, angle = px * qy - py * qx, 0.0, 0.0
            side = math.sqrt(length)
            p = (ax * by - ay * bx) / side
            if p != 0.0:
                moment = _line((qx * dx + qy * dy) / side, p) - _line((px * dx + py * dy) / side, p)
            if first > 0.0:
                angle += math.atan2(ax * py - ay * px, ax * px + ay * py)
            if last < 1.0:
                angle += math.atan2(qx * by - qy * bx, qx * bx + qy * by)
            return area + r * r * angle, moment + 2.0 * r * r * r * angle
    angle = math.atan2(ax * by - ay * bx, ax * bx + ay * by)
    return r * r * angle, 2.0 * r * r * r * angle


@_jit
def _corner(i: int, j: int, k: int) -> tuple[int, int]:
    """Corner k of the pixel (i, j), one after the other around it."""
    return i + (1 if k == 2 or k == 3 else 0), j + (1 if k == 1 or k == 2 else 0)


@_jit
def _common(x: Any, y: Any, i: int, j: int, r: float) -> tuple[float, float]:
    """Area that a pixel has in common with a circle, and the integral of the distance over it."""
    area, moment = 0.0, 0.0
    for k in range(4):
        a, b = _corner(i, j, k)
        c, d = _corner(i, j, (k + 1) % 4)
        one, two = _edge(x[a, b], y[a, b], x[c, d], y[c, d], r)
        area += one
        moment += two
    return abs(area) / 2.0, abs(moment) / 6.0


@_jit
def _reach(x: Any, y: Any, i: int, j: int) -> tuple[float, float]:
    """Distances from the origin between which a pixel lies; the lower one may be too low."""
    mx = (x[i, j] + x[i, j + 1] + x[i + 1, j] + x[i + 1, j + 1]) / 4.0
    my = (y[i, j] + y[i, j + 1] + y[i + 1, j] + y[i + 1, j + 1]) / 4.0
    far, half = 0.0, 0.0
    for k in range(4):
        a, b = _corner(i, j, k)
        far = max(far, math.hypot(x[a, b], y[a, b]))
        half = max(half, math.hypot(x[a, b] - mx, y[a, b] - my))
    return max(math.hypot(mx, my) - half, 0.0), far


@_jit
def count_radii(x: Floats, y: Floats, radii: Floats, first: Any, stop: Any) -> None:
    """First of the radii on which the profile over each pixel may depend, and the one after the last.

    Corners x, y are (ny + 1, nx + 1); first and stop (ny, nx).
    """
    rings = radii.size - 1
    for i in range(first.shape[0]):
        for j in range(first.shape[1]):
            near, far = _reach(x, y, i, j)
            low = min(max(int(np.searchsorted(radii, near, side="right")) - 1, 0), rings)
            high = min(int(np.searchsorted(radii, far)), rings)
            reached = high > low and far < math.inf  # infinite off the sky
            first[i, j] = low
            stop[i, j] = high + 1 if reached else low


@_jit
def fill_weights(
    x: Floats, y: Floats, radii: Floats, first: NDArray[np.intp], start: NDArray[np.intp], weights: Floats
) -> None:
    """Weight of the value at each radius in the integral over each pixel.

    Those of pixel p, which begin with the radius ``first``, are added to ``weights[start[p]:start[p + 1]]``.
    """
    nx = first.shape[1]
    for i in range(first.shape[0]):
        for j in range(nx):
            p = i * nx + j
            k, area, moment = first[i, j], 0.0, 0.0
            if start[p + 1] > start[p] and radii[k] > 0.0:
                area, moment = _common(x, y, i, j, radii[k])
            for m in range(start[p], start[p + 1] - 1):
                inner, outer = radii[k], radii[k + 1]
                within, outward = _common(x, y, i, j, outer)
                ring, step = max(within - area, 0.0), outward - moment
                share = min(max(step - inner * ring, 0.0) / (outer - inner), ring)
                weights[m] += ring - share
                weights[m + 1] += share
                k, area, moment = k + 1, within, outward
