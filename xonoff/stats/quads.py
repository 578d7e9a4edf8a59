"""Integrals of smooth radial profiles over pixels, from their values at the corners and in the middle of each.

Compiled on first use. A pixel is the image of a square under a bilinear map; over the square, a third of the mean at
its corners and two thirds of the value in its middle integrate what goes up to third powers of the offset. What is
integrated there is the profile times the area that the map gives, so that any four corners will do.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xonoff.stats.kernels import _jit

__all__ = ["integrate", "upsample"]

Floats = NDArray[np.float64]


@_jit
def upsample(coarse: Floats, scale: float, step: float, radii: Floats, fine: Floats) -> None:
    """Interpolate profiles (knot, profile) that are known at ``scale * sinh(k * step)`` from k = -1 on, by cubics.

    Radii lie within all but the first and the last knot; fine is (radius, profile).
    """
    for i in range(radii.size):
        t = math.asinh(radii[i] / scale) / step
        k = min(int(t), coarse.shape[0] - 4)
        f = t - k
        a, b = -f * (f - 1.0) * (f - 2.0) / 6.0, (f + 1.0) * (f - 1.0) * (f - 2.0) / 2.0
        c, d = -(f + 1.0) * f * (f - 2.0) / 2.0, (f + 1.0) * f * (f - 1.0) / 6.0
        for e in range(coarse.shape[1]):
            value = a * coarse[k, e] + b * coarse[k + 1, e] + c * coarse[k + 2, e] + d * coarse[k + 3, e]
            fine[i, e] = max(value, 0.0)


@_jit
def _line(x: Floats, y: Floats, step: float, table: Floats, values: Floats) -> None:
    """Profiles at a line of points: values are (point, profile)."""
    last = table.shape[0] - 1
    for j in range(x.size):
        t = math.sqrt(x[j] * x[j] + y[j] * y[j]) / step
        if not t < last:  # infinite off the sky
            values[j] = 0.0
            continue
        k = int(t)
        b = t - k
        a = 1.0 - b
        for e in range(table.shape[1]):
            values[j, e] = a * table[k, e] + b * table[k + 1, e]


@_jit
def integrate(x: Floats, y: Floats, step: float, table: Floats, parts: int, reached: Any, found: Floats) -> None:
    """Integral of profiles over each pixel of some rows.

    Corners x, y are those of the parts of pixels, ``parts`` times as many in a row and in a column. The table
    (radius, profile) is that at multiples of a step, linear in between and 0 beyond. What ``found`` (pixel, profile)
    holds means something where ``reached`` (ny, nx) is True.
    """
    ny, nx = reached.shape
    last, profiles = table.shape[0] - 1, table.shape[1]
    below, above = np.empty((x.shape[1], profiles)), np.empty((x.shape[1], profiles))
    _line(x[0], y[0], step, table, above)
    reached[:] = False
    for i in range(ny * parts):
        below, above = above, below
        _line(x[i + 1], y[i + 1], step, table, above)
        for j in range(nx * parts):
            ax, bx, cx, dx = x[i, j], x[i, j + 1], x[i + 1, j + 1], x[i + 1, j]
            ay, by, cy, dy = y[i, j], y[i, j + 1], y[i + 1, j + 1], y[i + 1, j]
            mx, my = (ax + bx + cx + dx) / 4.0, (ay + by + cy + dy) / 4.0
            t = math.sqrt(mx * mx + my * my) / step
            if not t < last:
                continue
            k = int(t)
            # Area that the map gives at each corner, of which the middle has the mean.
            a = (bx - ax) * (dy - ay) - (by - ay) * (dx - ax)
            b = (bx - ax) * (cy - by) - (by - ay) * (cx - bx)
            c = (cx - dx) * (cy - by) - (cy - dy) * (cx - bx)
            d = (cx - dx) * (dy - ay) - (cy - dy) * (dx - ax)
            middle = (a + b + c + d) / 6.0
            side = 1.0 / 12.0 if middle > 0.0 else -1.0 / 12.0
            a, b, c, d = side * a, side * b, side * c, side * d
            q = abs(middle) * (t - k)
            p = abs(middle) - q
            row, column = i // parts, j // parts
            pixel = row * nx + column
            if not reached[row, column]:
                reached[row, column] = True
                found[pixel] = 0.0
            for e in range(profiles):
                corner = a * below[j, e] + b * below[j + 1, e] + c * above[j + 1, e] + d * above[j, e]
                found[pixel, e] += corner + p * table[k, e] + q * table[k + 1, e]
            # A corner that a fold of the map turns round takes a little away.
            if min(a, b, c, d) < 0.0:
                for e in range(profiles):
                    found[pixel, e] = max(found[pixel, e], 0.0)
