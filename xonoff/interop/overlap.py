"""Shares of the pixels of one map that lie in those of another: polygons clipped to squares.

Compiled on first use. A pixel is the quadrilateral of its corners in the pixel plane of the other map. Its parts are
measured there and divided by the whole, so that what they get together is what it had.
"""

from typing import TYPE_CHECKING

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import ArrayLike, NDArray

from xonoff.skygrid import SkyGrid
from xonoff.stats.kernels import _jit

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["pixel_shares"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Corners so near to those of a pixel, in pixels, are taken for these.
SAME = 1e-7
CORNERS = 16  # of a quadrilateral that is clipped four times, and more


def pixel_shares(sky: SkyGrid, target: SkyGrid) -> tuple["csr_array", Floats]:
    """Share of each pixel of ``sky`` in each pixel of ``target``, and how many pixels of ``target`` it is large.

    A pixel across the seam or the rim of ``target`` goes whole to where its centre is.

    Returns
    -------
    shares : csr_array (target pixel, pixel)
    sizes : ndarray (pixel,)

    Examples
    --------
    >>> fine = SkyGrid.create((0, 0), shape=(4, 4), pixel_size=0.1)
    >>> shares, sizes = pixel_shares(fine, SkyGrid.create((0, 0), shape=(2, 2), pixel_size=0.2))
    >>> shares.sum(axis=0).round(12).tolist() == [1.0] * 16, sizes[:2].round(9).tolist()
    (True, [0.25, 0.25])
    """
    from scipy.sparse import csr_array

    ny, nx = sky.shape
    x, y = (_snapped(p + 0.5) for p in _places(sky, target, np.arange(nx + 1) - 0.5, np.arange(ny + 1)[:, None] - 0.5))
    middle = [p.ravel() + 0.5 for p in _places(sky, target, np.arange(nx), np.arange(ny)[:, None])]
    corners = np.stack([_corners(x), _corners(y)], axis=-1)
    whole = _is_one(corners, np.stack(middle, axis=-1))
    spans = np.zeros((len(corners), 4), np.int64)  # first and last column, first and last row
    held = np.where(whole[:, None, None], corners, np.stack(middle, axis=-1)[:, None, :])
    held = np.where(np.isfinite(held), held, -1e9)
    for axis, size in ((0, target.shape[1]), (1, target.shape[0])):
        low, high = np.floor(held[..., axis].min(1)), np.ceil(held[..., axis].max(1))
        high = np.maximum(high, low + 1)
        spans[:, 2 * axis], spans[:, 2 * axis + 1] = np.clip(low, 0, size), np.clip(high, 0, size)
    counts = np.maximum(spans[:, 1] - spans[:, 0], 0) * np.maximum(spans[:, 3] - spans[:, 2], 0)
    starts = np.concatenate([[0], np.cumsum(counts)])
    rows, parts, sizes = np.zeros(starts[-1], np.int64), np.zeros(starts[-1]), np.zeros(len(corners))
    _fill(corners, whole, spans, starts, target.shape[1], rows, parts, sizes)
    columns = np.repeat(np.arange(len(corners)), counts)
    kept = parts > 0
    shape = (target.shape[0] * target.shape[1], ny * nx)
    return csr_array((parts[kept], (rows[kept], columns[kept])), shape=shape), sizes


def _places(sky: SkyGrid, target: SkyGrid, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Positions (x, y) of one map on the other."""
    lon, lat = sky.pixel_to_sky(*np.broadcast_arrays(x, y))
    return target.sky_to_pixel(SkyCoord(lon, lat, unit="deg", frame=sky.frame))


def _snapped(places: Floats) -> Floats:
    near = np.rint(places)
    return np.where(np.abs(places - near) < SAME, near, places)


def _corners(places: Floats) -> Floats:
    """Return the four corners of each pixel, around it."""
    around = (places[:-1, :-1], places[:-1, 1:], places[1:, 1:], places[1:, :-1])
    return np.stack([corner.ravel() for corner in around], axis=-1)


def _is_one(corners: Floats, middle: Floats) -> NDArray[np.bool_]:
    """Tell which quadrilaterals have their middle among their corners: others are torn by the seam of a map."""
    with np.errstate(invalid="ignore"):
        low, high = corners.min(1), corners.max(1)
        inside = np.abs(middle - (low + high) / 2) <= 0.25 * (high - low) + 1e-6
    return np.asarray(inside.all(-1))


@_jit
def _clipped(px: Floats, py: Floats, n: int, axis: int, bound: float, above: bool, qx: Floats, qy: Floats) -> int:
    """Cut a polygon of n corners at a line; returns the number of corners of what is left, in q."""
    kept = 0
    sign = 1.0 if above else -1.0
    for k in range(n):
        last = k - 1 if k else n - 1
        a = sign * ((px[last] if axis == 0 else py[last]) - bound)
        b = sign * ((px[k] if axis == 0 else py[k]) - bound)
        if (a < 0.0) != (b < 0.0):
            t = a / (a - b)
            qx[kept] = px[last] + t * (px[k] - px[last])
            qy[kept] = py[last] + t * (py[k] - py[last])
            if axis == 0:
                qx[kept] = bound
            else:
                qy[kept] = bound
            kept += 1
        if b >= 0.0:
            qx[kept], qy[kept] = px[k], py[k]
            kept += 1
    return kept


@_jit
def _area(px: Floats, py: Floats, n: int) -> float:
    """Area of a polygon, from its first corner so that large coordinates cancel."""
    total = 0.0
    for k in range(1, n - 1):
        total += (px[k] - px[0]) * (py[k + 1] - py[0]) - (px[k + 1] - px[0]) * (py[k] - py[0])
    return 0.5 * abs(total)


@_jit
def _fill(
    corners: Floats,
    whole: NDArray[np.bool_],
    spans: Ints,
    starts: Ints,
    width: int,
    rows: Ints,
    parts: Floats,
    sizes: Floats,
) -> None:
    """Shares of each quadrilateral in the pixels of its span."""
    ax, ay, bx, by = np.empty(CORNERS), np.empty(CORNERS), np.empty(CORNERS), np.empty(CORNERS)
    sx, sy, m = np.empty(CORNERS), np.empty(CORNERS), 0
    for q in range(whole.size):
        place = starts[q]
        if not whole[q]:
            if place < starts[q + 1]:
                rows[place], parts[place], sizes[q] = spans[q, 2] * width + spans[q, 0], 1.0, 1.0
            continue
        size = _area(corners[q, :, 0], corners[q, :, 1], 4)
        sizes[q] = size
        for row in range(spans[q, 2], spans[q, 3]):
            n = _clipped(corners[q, :, 0], corners[q, :, 1], 4, 1, float(row), True, ax, ay)
            m = _clipped(ax, ay, n, 1, row + 1.0, False, sx, sy)
            for column in range(spans[q, 0], spans[q, 1]):
                n = _clipped(sx, sy, m, 0, float(column), True, ax, ay)
                n = _clipped(ax, ay, n, 0, column + 1.0, False, bx, by)
                rows[place] = row * width + column
                if n > 2 and size > 0.0:
                    parts[place] = _area(bx, by, n) / size
                place += 1
