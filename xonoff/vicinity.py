"""Which pixels of a map lie within a radius of each other: found once for a grid and a radius, and kept.

A pixel is within the radius if its centre is, along a great circle. On a grid of parallels the answer has a closed
form. On others the pixels on each row that are in are walked to, where a row is bent so little that they cannot but lie
side by side; else, as around a pole or at the rim of an all-sky map, all pixels are looked at, in leaps.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from xonoff.skygrid import SkyGrid
from xonoff.stats.threads import in_threads

__all__ = ["Span", "Vicinity", "row_totals", "vicinity_of", "window_of"]

Floats = npt.NDArray[np.float64]
Span = tuple[int, int]

#: Relative tolerance of a radius, so that pixels on the very circle are in.
TIE = 1e-9
#: Pixels of a tile along (y, x) that is summed at once: long rows, for each stretch of them costs a loop.
TILE = (64, 512)
#: Rows of pixels that a thread looks up at a time, and pixels of the squares that are left out as a whole.
ROWS, SQUARE = 16, 32
#: Pixels from one point to the next of the lattice on which `window_of` looks for the surroundings of a chunk.
LATTICE = 8


@dataclass(frozen=True, eq=False)
class Vicinity:
    """What surrounds each pixel of a part of a map; made by `vicinity_of`.

    Attributes
    ----------
    first : int
        Column of the map at which the part starts.
    shape : (int, int)
        Of the part.
    tiles : list of (rows, columns)
        Spans of rows and columns of the part.
    plans : list of tuple
        How to sum over the surroundings of the pixels of each tile, see `xonoff.stats.run_sums.plan`.
    """

    first: int
    shape: tuple[int, int]
    tiles: list[tuple[Span, Span]]
    plans: list[Any]

    def part(self, array: npt.NDArray[Any], tile: int) -> npt.NDArray[Any]:
        """Part of an array (..., y, x) that is one of the tiles."""
        rows, columns = self.tiles[tile]
        return array[..., slice(*rows), slice(*columns)]

    def sum(
        self, values: npt.NDArray[Any], mask: npt.NDArray[np.bool_], totals: Floats, tile: int, out: npt.NDArray[Any]
    ) -> None:
        """Write the sums of a plane for one of the tiles into an array of its shape.

        Parameters
        ----------
        values, mask : ndarray (y, x)
            Of the whole map; what is outside of the mask counts as 0.
        totals : ndarray (y,)
            See `row_totals`.
        tile : int
        out : ndarray (y, x) of the tile
        """
        from xonoff.stats import run_sums

        window, common_starts, common, more_starts, more = self.plans[tile]
        most = totals[window[0] : window[0] + window[1]].sum() if window[1] else 0.0
        zero = np.zeros(1, np.uint16 if most < 2**16 else np.uint32 if most < 2**32 else out.dtype)
        run_sums.accumulate(values, mask, self.first, window, common_starts, common, more_starts, more, zero, out)


def row_totals(values: npt.NDArray[Any], mask: npt.NDArray[np.bool_]) -> Floats:
    """Sums of the rows of a plane, infinite where they are not whole numbers: these tell how to add them up exactly."""
    from xonoff.stats import run_sums

    totals = np.empty(len(values))
    run_sums.row_totals(values, mask, totals)
    return totals


@lru_cache(maxsize=16)
def vicinity_of(sky: SkyGrid, r_in: float, r_out: float, rows: Span, columns: Span) -> Vicinity:
    """Find the pixels of a map in the ring around each pixel of a part of it.

    Parameters
    ----------
    sky : SkyGrid
    r_in, r_out : float, deg
    rows, columns : (int, int)
        The part, from the first row and column to that after the last.
    """
    from xonoff.stats import neighbours as kernels
    from xonoff.stats import run_sums

    outer, inner = _chord2(r_out * (1 + TIE)), _chord2(r_in * (1 - TIE)) if r_in > 0 else -1.0
    found = _on_parallels(sky, outer, inner, rows) if sky.separable else None
    if found is None:
        found = _anywhere(sky, outer, inner, rows, columns)
    table = np.concatenate(found) if found else np.empty((0, kernels.SEGMENT), np.int32)
    table[:, 0] -= rows[0]
    ny, nx = sky.shape
    key = (table[:, 0].astype(np.int64) * ny + table[:, 1]) * (nx + 2) + table[:, 6]
    if (np.diff(key) < 0).any():
        table = table[np.argsort(key, kind="stable")]
    shape = (rows[1] - rows[0], columns[1] - columns[0])
    starts = np.searchsorted(table[:, 0], np.arange(shape[0] + 1)).astype(np.int64)
    spans = [[(i, min(i + size, n)) for i in range(0, n, size)] for size, n in zip(TILE, shape, strict=True)]
    tiles = [(own_rows, own_columns) for own_rows in spans[0] for own_columns in spans[1]]
    plans = in_threads(lambda tile: run_sums.plan(table, starts, *tile[0], *tile[1]), tiles)
    return Vicinity(columns[0], shape, tiles, plans)


def _chord2(angle: float) -> float:
    """Square of the chord of an angle, deg."""
    return float(4 * np.sin(np.radians(min(angle, 180.0)) / 2) ** 2) if angle < 180 else 5.0


def _on_parallels(sky: SkyGrid, outer: float, inner: float, rows: Span) -> list[npt.NDArray[np.int32]] | None:
    """Runs of a grid of parallels; None if columns of it are off the sky."""
    from xonoff.stats import neighbours as kernels

    ny, nx = sky.shape
    lat = np.radians(sky.pixel_to_sky((nx - 1) / 2, np.arange(ny))[1])
    middle = int(np.argmin(np.abs(lat)))
    lon = sky.pixel_to_sky(np.arange(nx), middle)[0]
    if not np.isfinite(lon).all():
        return None
    scale = sky.pixel_scales[1]
    far = max(int(170 / scale), 1) if nx > 170 / scale else nx - 1
    turn = np.radians((lon[far] - lon[0] + 180) % 360 - 180) / far if nx > 1 else np.radians(scale)
    step = abs(float(turn))

    def work(low: int) -> npt.NDArray[np.int32]:
        return kernels.runs_on_parallels(lat, low, min(low + ROWS, rows[1]), nx, step, outer, inner)

    return in_threads(work, range(rows[0], rows[1], ROWS))


def _anywhere(sky: SkyGrid, outer: float, inner: float, rows: Span, columns: Span) -> list[npt.NDArray[np.int32]]:
    """Runs of any grid."""
    from xonoff.stats import neighbours as kernels

    ny, nx = sky.shape
    pad = _padding(sky, outer)
    v = _vectors(sky.window((0, -pad), (ny, nx + pad)))
    steps = _steps(v)
    reach = _reach(v, steps, outer)
    first, stop = columns[0] + pad, columns[1] + pad
    cones = _cones(v) if reach is None else np.empty((0, 0, 4))
    ends = v.shape[2] - np.argmax(np.isfinite(v[0, :, ::-1]), axis=1)

    def work(low: int) -> npt.NDArray[np.int32]:
        high = min(low + ROWS, rows[1])
        if reach is None:
            return kernels.runs_between(v, low, high, first, stop, outer, inner, steps, ends, cones, SQUARE)
        return kernels.runs_by_walking(v, low, high, first, stop, outer, inner, reach)

    found = in_threads(work, range(rows[0], rows[1], ROWS))
    for table in found:
        table[:, 2:4] -= first
    return found


def _padding(sky: SkyGrid, outer: float) -> int:
    """Columns to look at beyond the map, so that runs which reach over its edge do not end at it.

    The neighbours do not depend on it: but each pixel would have runs of its own there.
    """
    ny, nx = sky.shape
    step = np.nanmedian(_steps(_vectors(sky.window((0, 0), (ny, max(nx, 2))))))
    wanted = 1.1 * np.sqrt(outer) / step if step > 0 else 0.0
    return int(min(wanted, nx + 512.0)) + 2


def _vectors(sky: SkyGrid) -> Floats:
    """Directions of the centres of all pixels, (3, y, x); NaN off the sky."""
    ny, nx = sky.shape
    return np.ascontiguousarray(np.moveaxis(_directions(sky, np.arange(ny)[:, None], np.arange(nx)), -1, 0))


def _steps(v: Floats) -> Floats:
    """Chord that no two neighbours on a row exceed; all of the sky where pixels off the sky lie between others."""
    found = np.isfinite(v[0])
    chords = np.sqrt((np.diff(v, axis=2) ** 2).sum(axis=0))
    longest = np.where(found[:, 1:] & found[:, :-1], chords, 0.0).max(axis=1, initial=0.0) * (1 + 1e-9) + 1e-15
    parts = found[:, :1].sum(axis=1) + (found[:, 1:] & ~found[:, :-1]).sum(axis=1)
    return np.where(parts > 1, 2.0, longest)


def _reach(v: Floats, steps: Floats, outer: float) -> Floats | None:
    """Chord beyond which `runs_by_walking` needs no further row; None where it cannot be used.

    Along a curve on the sphere the distance from a point has no more than one minimum within an angle ``d`` of it if
    the curve is nowhere bent (its geodesic curvature) more than ``cot d``: there, what is stationary is a minimum. On
    the way to a pixel of a later row a great circle crosses all rows between, or bulges over the side of the map.
    """
    if not np.isfinite(v).all():
        return None
    middle = v.mean(axis=(1, 2), keepdims=True)
    radius = 2 * np.arcsin(min(np.sqrt(((v - middle / np.linalg.norm(middle)) ** 2).sum(axis=0).max()) / 2, 1.0))
    if 2 * radius > np.radians(80) or 1.1 * _bend(v[:, ::8]) + 1e-6 > 1 / np.tan(2 * radius):
        return None
    return np.asarray(np.sqrt(outer) + 2 * steps + _bend(v[:, :, ::8].swapaxes(1, 2)) * outer)


def _bend(v: Floats) -> float:
    """Largest geodesic curvature of the rows of directions (3, row, point), 1/rad."""
    if v.shape[2] < 3:
        return 0.0
    along = (v[:, :, 2:] - v[:, :, :-2]) / 2
    turned = v[:, :, 2:] - 2 * v[:, :, 1:-1] + v[:, :, :-2]
    length = np.linalg.norm(along, axis=0)
    across = np.cross(v[:, :, 1:-1], along, axis=0)
    return float((np.abs((turned * across).sum(axis=0)) / length**3).max())


def _cones(v: Floats) -> Floats:
    """Direction of the middle of each square of pixels, and a chord within which they lie; NaN where there are none."""
    rows, columns = (range(0, n, SQUARE) for n in v.shape[1:])
    cones = np.full((len(rows), len(columns), 4), np.nan)
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            part = v[:, y : y + SQUARE, x : x + SQUARE].reshape(3, -1)
            part = part[:, np.isfinite(part[0])]
            if part.size:
                middle = part.mean(axis=1)
                cones[i, j] = *middle, np.sqrt(((part - middle[:, None]) ** 2).sum(axis=0).max())
    return cones


def window_of(sky: SkyGrid, rows: Span, columns: Span, radius: float) -> tuple[Span, Span]:
    """Rows and columns that hold all pixels within a radius of any pixel of a part of a map, and some more.

    Parameters
    ----------
    sky : SkyGrid
    rows, columns : (int, int)
        The part, from the first row and column to that after the last.
    radius : float, deg

    Examples
    --------
    >>> sky = SkyGrid.create((83.63, 22.01), shape=(400, 400), pixel_size=0.02)
    >>> (low, high), _ = window_of(sky, (0, 100), (100, 200), 0.4)
    >>> low, 120 <= high < 150
    (0, True)
    """
    from scipy.spatial import cKDTree

    y, x, points, size = _lattice(sky)
    own, own_size = _points_of(sky, rows, columns)
    if not own.size:
        return rows, columns
    limit = np.sqrt(_chord2(radius)) * (1 + 1e-6) + size + own_size
    middle = own.mean(axis=0)
    far = np.sqrt(((own - middle) ** 2).sum(axis=-1).max())
    maybe = np.flatnonzero(np.sqrt(((points - middle) ** 2).sum(axis=-1)) <= limit + far)
    near = maybe[cKDTree(own).query(points[maybe])[0] <= limit[maybe]]
    found = []
    for span, labels, n in ((rows, y[near], sky.shape[0]), (columns, x[near], sky.shape[1])):
        low, high = int(labels.min()) - LATTICE, int(labels.max()) + LATTICE + 1
        found.append((max(min(low, span[0]), 0), min(max(high, span[1]), n)))
    return found[0], found[1]


def _points_of(sky: SkyGrid, rows: Span, columns: Span) -> tuple[Floats, float]:
    """Directions (point, 3) of some pixels of a part of a map, and a chord within which each pixel has one of them."""
    y, x = (np.unique([*range(*span, LATTICE), span[1] - 1]) for span in (rows, columns))
    points = _directions(sky, y[:, None], x)
    if np.isfinite(points).all():
        return points.reshape(-1, 3), float(_chords(points).max())
    points = _directions(sky, np.arange(*rows)[:, None], np.arange(*columns))
    return points[np.isfinite(points[..., 0])], 0.0


@lru_cache(maxsize=4)
def _lattice(sky: SkyGrid) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats, Floats]:
    """Rows and columns of some pixels, their directions (point, 3), and chords: around one of them lies each pixel.

    At the rim of the sky these are all pixels.
    """
    y, x = (np.unique([*range(0, n, LATTICE), n - 1]) for n in sky.shape)
    points = _directions(sky, y[:, None], x)
    sizes, found = _chords(points), np.isfinite(points[..., 0])
    rows, columns = np.broadcast_arrays(y[:, None], x)
    parts = [(rows[found], columns[found], points[found], sizes[found])]
    if not found.all():
        around = np.lib.stride_tricks.sliding_window_view(np.pad(found, 1, mode="edge"), (3, 3)).any(axis=(2, 3))
        beside = np.lib.stride_tricks.sliding_window_view(np.pad(~found, 1, mode="edge"), (3, 3)).any(axis=(2, 3))
        rim = np.zeros(sky.shape, bool)
        for row, column in zip(rows[around & beside], columns[around & beside], strict=True):
            rim[max(row - LATTICE, 0) : row + LATTICE + 1, max(column - LATTICE, 0) : column + LATTICE + 1] = True
        all_rows, all_columns = np.nonzero(rim)
        there = _directions(sky, all_rows, all_columns)
        on_sky = np.isfinite(there[:, 0])
        parts.append((all_rows[on_sky], all_columns[on_sky], there[on_sky], np.zeros(int(on_sky.sum()))))
    first, second, third, fourth = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return first, second, third, fourth


def _directions(sky: SkyGrid, y: npt.ArrayLike, x: npt.ArrayLike) -> Floats:
    """Directions of the centres of pixels, on a last axis of 3; NaN off the sky."""
    lon, lat = (np.radians(angle) for angle in sky.pixel_to_sky(x, y))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def _chords(points: Floats) -> Floats:
    """Longest chord from each point of a lattice (y, x, 3) to its neighbours, across corners too."""
    (ny, nx), longest = points.shape[:2], np.zeros(points.shape[:2])
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        one = slice(0, ny - dy), slice(max(-dx, 0), nx - max(dx, 0))
        other = slice(dy, ny), slice(max(dx, 0), nx + min(dx, 0))
        chord = np.nan_to_num(np.sqrt(((points[one] - points[other]) ** 2).sum(axis=-1)))
        for part in (one, other):
            longest[part] = np.maximum(longest[part], chord)
    return longest
