"""Integrals of radial profiles over pixels, in closed form: what a source that depends on its distance alone gives.

Compiled on first use. What a polygon and a circle about the origin have in common is the sum over the edges of the
polygon of what the triangle of the edge and the origin has in common with the circle, with its sign. So pixels that
share their corners share out a circle among them without gap or overlap, whatever their shape. The integrals of 1 and
of the distance over a triangle, and over a sector, are known; they integrate any profile that is linear in between.

An edge is eight numbers: its nearest and farthest distance from the origin, the angle that it is seen under, the
integrals over its triangle, the distance of its line from the origin, and where it begins and ends along that line.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xonoff.stats.kernels import _jit

__all__ = ["fill_edges", "integrate", "project"]

Floats = NDArray[np.float64]


@_jit
def _length(x: float, y: float) -> float:
    """As hypot, which takes care of overflows and is slower for it."""
    return math.sqrt(x * x + y * y)


@_jit
def _angle(y: float, x: float) -> float:
    """As atan2, by its series for small angles, which is faster; right to 1e-13."""
    if x > 0.0 and abs(y) < 0.05 * x:
        t = y / x
        s = t * t
        return t * (1.0 - s * (1.0 / 3.0 - s * (0.2 - s * (1.0 / 7.0 - s / 9.0))))
    return math.atan2(y, x)


@_jit
def project(vectors: Floats, east: Floats, north: Floats, up: Floats, x: Floats, y: Floats) -> None:
    """Offsets of directions from another one, deg, in the plane that keeps distances from it.

    Vectors are (n, 3); east, north and up are the axes at the origin. What is NaN, or around the antipode, where pixels
    have no shape, goes to infinity.
    """
    for i in range(x.size):
        a, b, c = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        dx = a * east[0] + b * east[1] + c * east[2]
        dy = a * north[0] + b * north[1] + c * north[2]
        dz = a * up[0] + b * up[1] + c * up[2]
        sine = _length(dx, dy)
        if dz > -0.99619 and sine >= 0.0:  # within 175 deg
            stretch = math.degrees(_angle(sine, dz) / sine) if sine > 0.0 else math.degrees(1.0)
            x[i], y[i] = dx * stretch, dy * stretch
        else:
            x[i], y[i] = math.inf, math.inf


@_jit
def _moment(lo: float, hi: float, p: float) -> float:
    """Integral of the distance over the triangle of the origin and a piece of a line at a distance p, times 6.

    It is ``2 p`` times the integral of the distance along the piece: in closed form, or by three nodes for a piece that
    is short beside its distance, which is faster, and right to 1e-10.
    """
    half, middle = 0.5 * (hi - lo), 0.5 * (hi + lo)
    if half * half < 0.0025 * (p * p + middle * middle):
        off = 0.7745966692414834 * half
        sides = _length(p, middle - off) + _length(p, middle + off)
        return 2.0 * p * half * (5.0 * sides + 8.0 * _length(p, middle)) / 9.0
    if p == 0.0:
        return 0.0
    closed = hi * _length(p, hi) - lo * _length(p, lo) + p * p * (math.asinh(hi / abs(p)) - math.asinh(lo / abs(p)))
    return p * closed


@_jit
def fill_edges(ax: Floats, ay: Floats, bx: Floats, by: Floats, edges: Floats) -> None:
    """Describe the edges from points a to points b, all 1-D; edges are (n, 8)."""
    for i in range(ax.size):
        dx, dy = bx[i] - ax[i], by[i] - ay[i]
        side = _length(dx, dy)
        area = ax[i] * by[i] - ay[i] * bx[i]
        p = area / side if side > 0.0 else 0.0
        start = (ax[i] * dx + ay[i] * dy) / side if side > 0.0 else 0.0
        first, last = _length(ax[i], ay[i]), _length(bx[i], by[i])
        edges[i, 0] = abs(p) if start < 0.0 < start + side else min(first, last)
        edges[i, 1] = max(first, last)
        edges[i, 2] = _angle(area, ax[i] * bx[i] + ay[i] * by[i])
        edges[i, 3] = area
        edges[i, 4] = _moment(start, start + side, p)
        edges[i, 5] = p
        edges[i, 6] = start
        edges[i, 7] = start + side


@_jit
def _common(edges: Floats, n: int, r: float) -> tuple[float, float]:
    """Integrals of 1, times 2, and of the distance, times 6, over the triangle of an edge, within a circle."""
    if r >= edges[n, 1]:
        return edges[n, 3], edges[n, 4]
    if r <= edges[n, 0]:
        return r * r * edges[n, 2], 2.0 * r * r * r * edges[n, 2]
    p = edges[n, 5]
    half = math.sqrt(max(r * r - p * p, 0.0))
    lo, hi = max(edges[n, 6], -half), min(edges[n, 7], half)
    if lo >= hi:
        return r * r * edges[n, 2], 2.0 * r * r * r * edges[n, 2]
    angle = 0.0  # of what is outside: not as a difference, which means nothing for an edge through the origin
    if lo > edges[n, 6]:
        angle += _angle(p * (lo - edges[n, 6]), p * p + edges[n, 6] * lo)
    if hi < edges[n, 7]:
        angle += _angle(p * (edges[n, 7] - hi), p * p + hi * edges[n, 7])
    return p * (hi - lo) + r * r * angle, _moment(lo, hi, p) + 2.0 * r * r * r * angle


@_jit
def _near(h: Floats, v: Floats, i: int, j: int, nx: int) -> float:
    """Distance of a pixel from the origin; below 0 if it holds it, being seen under a whole turn from there."""
    below, above, left = i * nx + j, (i + 1) * nx + j, i * (nx + 1) + j
    if abs(h[below, 2] + v[left + 1, 2] - h[above, 2] - v[left, 2]) > 1.0:
        return -1.0
    return float(min(h[below, 0], v[left + 1, 0], h[above, 0], v[left, 0]))


@_jit
def integrate(h: Floats, v: Floats, radii: Floats, values: Floats, reached: Any, found: Floats) -> None:
    """Integral of profiles over each pixel of some rows.

    Edges along rows, h, are those of ny + 1 lines of nx, edges along columns, v, of ny lines of nx + 1. Values are
    (radius, profile). What ``found`` (pixel, profile) holds means something where ``reached`` (ny, nx) is True.
    """
    ny, nx = reached.shape
    rings, profiles = radii.size - 1, values.shape[1]
    # What circles and the edges above and to the right have in common is kept for the pixels beyond these edges.
    above_areas, above_moments = np.empty((nx, rings + 1)), np.empty((nx, rings + 1))
    right_areas, right_moments = np.empty(rings + 1), np.empty(rings + 1)
    above_from, above_to = np.zeros(nx, np.int64), np.zeros(nx, np.int64)
    for i in range(ny):
        right_from, right_to = 0, 0
        for j in range(nx):
            p = i * nx + j
            below, above, left = p, p + nx, p + i
            near, far = _near(h, v, i, j, nx), max(h[below, 1], h[above, 1])
            reached[i, j] = near < radii[rings] and far > radii[0] and far < math.inf  # infinite off the sky
            if not reached[i, j]:
                right_to, above_to[j] = 0, 0
                continue
            first = min(max(int(np.searchsorted(radii, near, side="right")) - 1, 0), rings)
            area, moment, weight = 0.0, 0.0, 0.0
            for e in range(profiles):
                found[p, e] = 0.0
            # If the first circle does not reach the pixel, there is nothing within it.
            start = first if radii[first] > near else first + 1
            for k in range(start, rings + 1):
                r = radii[k]
                if above_from[j] <= k < above_to[j]:
                    a, b = above_areas[j, k], above_moments[j, k]
                else:
                    a, b = _common(h, below, r)
                if right_from <= k < right_to:
                    o, q = right_areas[k], right_moments[k]
                else:
                    o, q = _common(v, left, r)
                c, d = _common(v, left + 1, r)
                m, n = _common(h, above, r)
                above_areas[j, k], above_moments[j, k] = m, n
                right_areas[k], right_moments[k] = c, d
                within, outward = abs(a + c - m - o) / 2.0, abs(b + d - n - q) / 6.0
                if k > first:  # of the ring that ends here, a part goes by the value at either end
                    inner = radii[k - 1]
                    ring = max(within - area, 0.0)
                    share = min(max(outward - moment - inner * ring, 0.0) / (r - inner), ring)
                    weight += ring - share
                    for e in range(profiles):
                        found[p, e] += weight * values[k - 1, e]
                    weight = share
                area, moment = within, outward
                if r >= far:
                    break
            for e in range(profiles):
                found[p, e] += weight * values[k, e]
            above_from[j], above_to[j], right_from, right_to = start, k + 1, start, k + 1
