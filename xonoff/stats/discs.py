"""Areas of polygons within circles, in closed form: what integrates a radial profile over pixels exactly.

Compiled on first use. The area common to a polygon and a circle about the origin is the sum over the edges of the
polygon of the area that the triangle of the edge and the origin has in common with the circle, with its sign. So pixels
that share their corners share out a circle among them without gap or overlap, whatever their shape.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xonoff.stats.kernels import _jit

__all__ = ["count_rings", "fill_rings"]

Floats = NDArray[np.float64]


@_jit
def _edge(ax: float, ay: float, bx: float, by: float, r: float) -> float:
    """Twice the signed area that a circle has in common with the triangle of an edge and the origin."""
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
            area = px * qy - py * qx
            if first > 0.0:
                area += r * r * math.atan2(ax * py - ay * px, ax * px + ay * py)
            if last < 1.0:
                area += r * r * math.atan2(qx * by - qy * bx, qx * bx + qy * by)
            return area
    return r * r * math.atan2(ax * by - ay * bx, ax * bx + ay * by)


@_jit
def _corner(i: int, j: int, k: int) -> tuple[int, int]:
    """Corner k of the pixel (i, j), one after the other around it."""
    return i + (1 if k == 2 or k == 3 else 0), j + (1 if k == 1 or k == 2 else 0)


@_jit
def _common(x: Any, y: Any, i: int, j: int, r: float) -> float:
    """Area that a pixel has in common with a circle."""
    area = 0.0
    for k in range(4):
        a, b = _corner(i, j, k)
        c, d = _corner(i, j, (k + 1) % 4)
        area += _edge(x[a, b], y[a, b], x[c, d], y[c, d], r)
    return abs(area) / 2.0


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
def count_rings(x: Floats, y: Floats, radii: Floats, first: Any, stop: Any) -> None:
    """First ring that each pixel may reach into, and the one after the last.

    Ring k lies between radii k and k + 1. Corners x, y are (ny + 1, nx + 1); first and stop (ny, nx).
    """
    rings = radii.size - 1
    for i in range(first.shape[0]):
        for j in range(first.shape[1]):
            near, far = _reach(x, y, i, j)
            low = np.searchsorted(radii, near, side="right") - 1
            first[i, j] = min(max(low, 0), rings)
            stop[i, j] = min(np.searchsorted(radii, far), rings)
            stop[i, j] = max(stop[i, j], first[i, j])
            if not far < math.inf:  # off the sky
                stop[i, j] = first[i, j]


@_jit
def fill_rings(
    x: Floats, y: Floats, radii: Floats, first: NDArray[np.intp], start: NDArray[np.intp], areas: Floats
) -> None:
    """Area of each pixel in each of its rings; those of pixel p go to ``areas[start[p]:start[p + 1]]``."""
    nx = first.shape[1]
    for i in range(first.shape[0]):
        for j in range(nx):
            p = i * nx + j
            n = start[p + 1] - start[p]
            if n == 0:
                continue
            k = first[i, j]
            inner = _common(x, y, i, j, radii[k]) if radii[k] > 0.0 else 0.0
            for m in range(n):
                outer = _common(x, y, i, j, radii[k + m + 1])
                areas[start[p] + m] = max(outer - inner, 0.0)
                inner = outer
