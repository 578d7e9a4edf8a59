"""Integrals of a plane of bilinear cells over pixels: what a source that is not round gives.

Compiled on first use. The integral over a polygon is that around it of the plane summed up along x. Pixels that share
their edges so share out the plane among them without gap or overlap, whatever their shape and size.
"""

import math

import numpy as np
from numpy.typing import NDArray

from xonoff.stats.kernels import _jit

__all__ = ["integrate"]

Floats = NDArray[np.float64]

#: Nodes of a Gauss-Legendre rule of two points on a unit length.
LOW, HIGH = 0.5 - math.sqrt(1 / 12), 0.5 + math.sqrt(1 / 12)


def integrate(nodes: Floats, x: Floats, y: Floats) -> Floats:
    """Integrals over quadrilaterals of a function that is bilinear between the nodes of a lattice.

    Parameters
    ----------
    nodes : ndarray (row, column)
        Values at whole y and x; 0 beyond them.
    x, y : ndarray (ny + 1, nx + 1)
        Corners of the quadrilaterals, in steps of the lattice; those off it or not finite are of none.

    Returns
    -------
    ndarray (ny, nx)
        Of one sign with the area.

    Examples
    --------
    >>> x, y = np.meshgrid([0.0, 1.5, 4.0], [0.0, 4.0])
    >>> integrate(np.pad([[1.0]], 2), x, y).round(6).tolist()
    [[0.125, 0.875]]
    """
    summed = np.zeros_like(nodes)
    np.cumsum((nodes[:, 1:] + nodes[:, :-1]) / 2, axis=1, out=summed[:, 1:])
    across, along = (np.empty(part.shape) for part in (x[:, 1:], x[1:]))
    _around(nodes, summed, x[:, :-1].ravel(), y[:, :-1].ravel(), x[:, 1:].ravel(), y[:, 1:].ravel(), across.reshape(-1))
    _around(nodes, summed, x[:-1].ravel(), y[:-1].ravel(), x[1:].ravel(), y[1:].ravel(), along.reshape(-1))
    with np.errstate(invalid="ignore"):  # of corners off the sky
        found = across[:-1] + along[:, 1:] - across[1:] - along[:, :-1]
        area = (x[1:, 1:] - x[:-1, :-1]) * (y[1:, :-1] - y[:-1, 1:]) + (y[1:, 1:] - y[:-1, :-1]) * (
            x[:-1, 1:] - x[1:, :-1]
        )
        return np.nan_to_num(found * np.sign(area))


@_jit
def _at(nodes: Floats, summed: Floats, i: int, j: int, u: float, v: float) -> float:
    """Sum along x up to a place in a cell."""
    last = nodes.shape[1] - 1
    if i < 0:
        return 0.0
    if i >= last:
        return float((1.0 - v) * summed[j, last] + v * summed[j + 1, last])
    low = summed[j, i] + u * (nodes[j, i] + 0.5 * u * (nodes[j, i + 1] - nodes[j, i]))
    high = summed[j + 1, i] + u * (nodes[j + 1, i] + 0.5 * u * (nodes[j + 1, i + 1] - nodes[j + 1, i]))
    return float((1.0 - v) * low + v * high)


@_jit
def _around(nodes: Floats, summed: Floats, ax: Floats, ay: Floats, bx: Floats, by: Floats, out: Floats) -> None:
    """Integrals along edges from a to b, cell by cell, where they are those of a cubic."""
    top = nodes.shape[0] - 1
    for n in range(ax.size):
        x, y, dx, dy = ax[n], ay[n], bx[n] - ax[n], by[n] - ay[n]
        out[n] = 0.0
        if not (math.isfinite(dx) and math.isfinite(dy)):
            out[n] = math.nan
            continue
        if dy == 0.0 or min(y, y + dy) >= top or max(y, y + dy) <= 0.0:
            continue
        low, high = -y / dy, (top - y) / dy
        t, stop = max(min(low, high), 0.0), min(max(low, high), 1.0)
        i = math.floor(x + t * dx) if dx >= 0.0 else math.ceil(x + t * dx) - 1
        j = math.floor(y + t * dy) if dy > 0.0 else math.ceil(y + t * dy) - 1
        total = 0.0
        while t < stop:
            j = min(max(j, 0), top - 1)
            to_x = (i + (1 if dx > 0.0 else 0) - x) / dx if dx != 0.0 else math.inf
            to_y = (j + (1 if dy > 0.0 else 0) - y) / dy
            end = max(min(to_x, to_y, stop), t)
            for part in (LOW, HIGH):
                s = t + part * (end - t)
                total += (end - t) * _at(nodes, summed, i, j, x + s * dx - i, y + s * dy - j)
            if end >= stop:
                break
            if to_x <= to_y:
                i += 1 if dx > 0.0 else -1
            if to_y <= to_x:
                j += 1 if dy > 0.0 else -1
            t = end
        out[n] = 0.5 * total * dy
