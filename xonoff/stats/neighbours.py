"""The pixels within a circle, or in a ring, around every pixel of a map: compiled kernels.

They are found as *runs*, intervals of pixels along a row. A run that begins as many pixels beside each of several
pixels of a row, and is as long, is kept once for all of them, as a segment ``(y, row, first, stop, shift, length,
number)``: the pixels ``first <= x < stop`` of row ``y`` take in the pixels of ``row`` from ``x + shift`` to ``x + shift
+ length``, as the first, second, ... of their runs in it. On a flat map that is one segment for each two rows; on a
curved one they change every so often.

Which pixels are in is decided by the chord between their centres, which is exact for small angles, unlike a cosine.
"""

import math

import numpy as np
from numpy.typing import NDArray

from xonoff.stats.kernels import _jit

__all__ = ["SEGMENT", "grown", "runs_between", "runs_by_walking", "runs_on_parallels"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]

#: Numbers of a segment.
SEGMENT = 7


@_jit
def grown(table: Ints) -> Ints:
    """Twice as long a table, with the same beginning."""
    larger = np.empty((2 * table.shape[0], table.shape[1]), np.int32)
    larger[: table.shape[0]] = table
    return larger


@_jit
def _distance2(v: Floats, row: int, column: int, a: float, b: float, c: float) -> float:
    x, y, z = v[0, row, column] - a, v[1, row, column] - b, v[2, row, column] - c
    return float(x * x + y * y + z * z)


@_jit
def _add(table: Ints, n: int, y: int, row: int, x: int, shift: int, length: int, open_: Ints, k: int) -> int:
    """Note the ``k``-th run of a pixel in a row, which lengthens the segment before or begins a new one."""
    if k < open_[0]:
        last = open_[1 + k]
        if table[last, 3] == x and table[last, 4] == shift and table[last, 5] == length:
            table[last, 3] = x + 1
            return n
    table[n, 0], table[n, 1], table[n, 2], table[n, 3] = y, row, x, x + 1
    table[n, 4], table[n, 5], table[n, 6] = shift, length, k
    open_[1 + k] = n
    open_[0] = max(open_[0], k + 1)
    return n + 1


@_jit
def _within(v: Floats, own: int, other: int, n: int, r2: float) -> int:
    """Count those of ``n`` pixels whose other one, which moves along with them, is within a chord.

    Both are numbered in the raveled rows; without a sign, for the reason given in `xonoff.stats.run_sums`.
    """
    f, size = v.reshape(-1), np.uint64(v.shape[1] * v.shape[2])
    a, b, count = np.uint64(own), np.uint64(other), 0
    for x in range(np.uint64(n)):
        i, j = a + x, b + x
        p, q, r = f[j] - f[i], f[size + j] - f[size + i], f[size + size + j] - f[size + size + i]
        count += 1 if p * p + q * q + r * r <= r2 else 0
    return count


@_jit
def _nearest(v: Floats, own: int, other: int, n: int) -> bool:
    """Tell whether of ``n`` pixels none is nearer to one of the two neighbours of its other one than to that."""
    f, size = v.reshape(-1), np.uint64(v.shape[1] * v.shape[2])
    a, b, count, one = np.uint64(own), np.uint64(other), 0, np.uint64(1)
    for x in range(np.uint64(n)):
        i, j = a + x, b + x
        p, q, r = f[j] - f[i], f[size + j] - f[size + i], f[size + size + j] - f[size + size + i]
        d2 = p * p + q * q + r * r
        k = j - one
        p, q, r = f[k] - f[i], f[size + k] - f[size + i], f[size + size + k] - f[size + size + i]
        before = p * p + q * q + r * r
        k = j + one
        p, q, r = f[k] - f[i], f[size + k] - f[size + i], f[size + size + k] - f[size + size + i]
        count += 1 if (d2 <= before) & (d2 <= p * p + q * q + r * r) else 0
    return count == n


@_jit
def _ends_stay(v: Floats, own: int, row: int, left: int, right: int, n: int, r2: float) -> bool:
    """Tell whether a run from ``left`` to ``right``, both included, only moves along with the next ``n`` pixels."""
    at, width = row * v.shape[2], v.shape[2]
    if left < 1 or right + n >= width:
        return False
    return (
        _within(v, own, at + left, n, r2) == n
        and _within(v, own, at + left - 1, n, r2) == 0
        and _within(v, own, at + right, n, r2) == n
        and _within(v, own, at + right + 1, n, r2) == 0
    )


@_jit
def _walk(v: Floats, row: int, at: int, way: int, a: float, b: float, c: float, r2: float) -> int:
    """Farthest pixel one way that is still within a chord, from any place on this side of the nearest pixel."""
    while _distance2(v, row, at, a, b, c) > r2:
        at -= way
    while 0 <= at + way < v.shape[2] and _distance2(v, row, at + way, a, b, c) <= r2:
        at += way
    return at


@_jit
def _walk_to_nearest(v: Floats, row: int, near: int, a: float, b: float, c: float) -> int:
    here = _distance2(v, row, near, a, b, c)
    for way in (1, -1):
        while 0 <= near + way < v.shape[2]:
            there = _distance2(v, row, near + way, a, b, c)
            if there >= here:
                break
            near, here = near + way, there
    return near


@_jit
def runs_by_walking(
    v: Floats, low: int, high: int, first: int, stop: int, outer: float, inner: float, reach: Floats
) -> Ints:
    """Runs of the rows from ``low`` to ``high``, where the distance from a pixel has one minimum along every row.

    From one pixel to the next the ends of a run move by a pixel or so; they are walked to. Where they only move along
    for many pixels, that is checked for all of these at once. Either way it is the distance of the very pixels that
    decides which are in.

    Parameters
    ----------
    v : ndarray (3, y, x)
        Directions of the pixels.
    low, high, first, stop : int
        Rows and columns of the pixels that want neighbours.
    outer, inner : float
        Squares of the chords within which pixels are taken in, and within which they are not; a negative one for none.
    reach : ndarray (y,)
        Chord from a pixel beyond which no later row can come back within the circle, once a row is as far away.

    Returns
    -------
    ndarray (segment, 7)
    """
    ny, width = v.shape[1], v.shape[2]
    table, n = np.empty((1024, SEGMENT), np.int32), 0
    open_ = np.empty(3, np.int32)
    for y in range(low, high):
        for direction in (-1, 1):
            row, start = y - 1 if direction < 0 else y, first
            while 0 <= row < ny:
                far2, away = reach[row] ** 2, True
                near, left, right, hole, end = start, -1, -1, -1, -1
                open_[0] = 0
                x, check_at = first, first
                while x < stop:
                    a, b, c = v[0, y, x], v[1, y, x], v[2, y, x]
                    near = _walk_to_nearest(v, row, near, a, b, c)
                    if x == first:
                        start = near
                    here = _distance2(v, row, near, a, b, c)
                    away &= here > far2
                    pieces = 0
                    if here > outer:
                        left = hole = -1
                    else:
                        left = _walk(v, row, min(left, near) if left >= 0 else near, -1, a, b, c, outer)
                        right = _walk(v, row, max(right, near) if right >= 0 else near, 1, a, b, c, outer)
                        if n + 2 > table.shape[0]:
                            table = grown(table)
                        if here > inner:
                            hole = -1
                            n = _add(table, n, y, row, x, left - x, right + 1 - left, open_, 0)
                            pieces = 1
                        else:
                            hole = _walk(v, row, min(hole, near) if hole >= 0 else near, -1, a, b, c, inner)
                            end = _walk(v, row, max(end, near) if end >= 0 else near, 1, a, b, c, inner)
                            if left < hole:
                                n = _add(table, n, y, row, x, left - x, hole - left, open_, 0)
                                pieces |= 1
                            if end < right:
                                n = _add(table, n, y, row, x, end + 1 - x, right - end, open_, 1)
                                pieces |= 2
                    x += 1
                    near = min(near + 1, width - 1)
                    left, right = left + 1 if left >= 0 else -1, min(right + 1, width - 1) if left >= 0 else -1
                    hole, end = hole + 1 if hole >= 0 else -1, min(end + 1, width - 1) if hole >= 0 else -1
                    if x < check_at:
                        continue
                    for many in (128, 32, 8):
                        own, at = y * width + x, row * width
                        if x + many > stop or near < 1 or near + many >= width:
                            continue
                        if hole < 0 and not _nearest(v, own, at + near, many):
                            continue
                        if left < 0:
                            if _within(v, own, at + near, many, outer) > 0:
                                continue
                            away &= _within(v, own, at + near, many, far2) == 0
                        elif (
                            not _ends_stay(v, own, row, left, right, many, outer)
                            or (hole >= 0 and not _ends_stay(v, own, row, hole, end, many, inner))
                            or (hole < 0 and _within(v, own, at + near, many, inner) > 0)
                        ):
                            continue
                        for k in range(2):
                            if pieces & (1 << k):
                                table[open_[1 + k], 3] += many
                        x, near = x + many, near + many
                        if left >= 0:
                            left, right = left + many, right + many
                        if hole >= 0:
                            hole, end = hole + many, end + many
                        break
                    else:
                        check_at = x + 8
                if away:
                    break
                row += direction
    return table[:n].copy()


@_jit
def _next(v: Floats, row: int, at: int, stop: int, a: float, b: float, c: float, r2: float, s: float, sign: int) -> int:
    """First column from ``at`` on within a chord (``sign`` 1), or not within it (-1); ``stop`` where there is none.

    Neighbours are not more than ``s`` apart, so the distance from the circle tells how many pixels can be skipped.
    """
    r = math.sqrt(r2)
    while at < stop:
        d2 = _distance2(v, row, at, a, b, c)
        if (d2 <= r2) == (sign > 0):
            return at
        gap = sign * (math.sqrt(d2) - r) / s
        at += max(int(gap), 1) if gap >= 1.0 else 1  # a NaN fails the comparison
    return stop


@_jit
def runs_between(
    v: Floats,
    low: int,
    high: int,
    first: int,
    stop: int,
    outer: float,
    inner: float,
    steps: Floats,
    ends: NDArray[np.intp],
    cones: Floats,
    tile: int,
) -> Ints:
    """Runs as by `runs_by_walking`, for any curves that the rows may be: all pixels are searched, in leaps.

    Parameters
    ----------
    v, low, high, first, stop, outer, inner
        As there; NaN off the sky.
    steps : ndarray (y,)
        Chord that no two neighbours on a row exceed.
    ends : ndarray (y,)
        Column after the last one of a row that is on the sky.
    cones : ndarray (tile of rows, tile of columns, 4)
        A direction for each square of ``tile`` pixels, and a chord within which all of them lie from it, NaN for none.
    tile : int
    """
    ny, width = v.shape[1], v.shape[2]
    table, n = np.empty((1024, SEGMENT), np.int32), 0
    open_ = np.empty(width + 2, np.int32)
    r_out = math.sqrt(outer)
    begin, cease = np.empty(ny, np.int64), np.empty(ny, np.int64)
    for y in range(low, high):
        for block in range(first, stop, tile):
            last = min(block + tile, stop)
            middle = -1
            for x in range(block, last):
                if v[0, y, x] == v[0, y, x] and (
                    middle < 0 or abs(2 * x - block - last) < abs(2 * middle - block - last)
                ):
                    middle = x
            if middle < 0:
                continue
            a, b, c = v[0, y, middle], v[1, y, middle], v[2, y, middle]
            spread = 0.0
            for x in range(block, last):
                d2 = _distance2(v, y, x, a, b, c)
                if d2 > spread:
                    spread = d2
            wide = (r_out + math.sqrt(spread)) * (1 + 1e-9) + 1e-15
            for ty in range(cones.shape[0]):
                begin[ty], cease[ty] = width, 0
                for tx in range(cones.shape[1]):
                    e, f, g = cones[ty, tx, 0] - a, cones[ty, tx, 1] - b, cones[ty, tx, 2] - c
                    if math.sqrt(e * e + f * f + g * g) <= wide + cones[ty, tx, 3]:
                        begin[ty], cease[ty] = min(begin[ty], tx * tile), min((tx + 1) * tile, width)
            for row in range(ny):
                start, end = begin[row // tile], min(cease[row // tile], ends[row])
                if start >= end:
                    continue
                start = _next(v, row, start, end, a, b, c, wide * wide, steps[row], 1)
                if start == end:
                    continue
                open_[0] = 0
                for x in range(block, last):
                    a1, b1, c1 = v[0, y, x], v[1, y, x], v[2, y, x]
                    if a1 != a1:
                        continue
                    k, at = 0, start
                    while at < end:
                        at = _next(v, row, at, end, a1, b1, c1, outer, steps[row], 1)
                        if at == end:
                            break
                        leave = _next(v, row, at, end, a1, b1, c1, outer, steps[row], -1)
                        while at < leave:
                            hole = leave
                            if inner >= 0.0:
                                hole = _next(v, row, at, leave, a1, b1, c1, inner, steps[row], 1)
                            if at < hole:
                                if n + 1 > table.shape[0]:
                                    table = grown(table)
                                n = _add(table, n, y, row, x, at - x, hole - at, open_, k)
                                k += 1
                            at = leave
                            if hole < leave:
                                at = _next(v, row, hole, leave, a1, b1, c1, inner, steps[row], -1)
    return table[:n].copy()


@_jit
def _half_width(sin2: float, cosines: float, step: float) -> float:
    """Half the length of a run on a parallel, in pixels: infinite for all of it, negative for none."""
    if sin2 < 0.0:
        return -1.0
    if sin2 >= cosines:
        return math.inf
    return 2.0 * math.asin(math.sqrt(sin2 / cosines)) / step


@_jit
def runs_on_parallels(lat: Floats, low: int, high: int, width: int, step: float, outer: float, inner: float) -> Ints:
    """Runs of the rows from ``low`` to ``high`` of a grid whose rows are parallels, in closed form.

    Half of a run is the angle in longitude ``l`` with ``sin^2(r/2) = sin^2(db/2) + cos(b) cos(b') sin^2(l/2)``; the
    same pixels come back after 360 deg.

    Parameters
    ----------
    lat : ndarray (y,), rad
        Latitudes; NaN off the sky.
    low, high : int
    width : int
        Number of columns.
    step : float, rad
        Longitude from one column to the next.
    outer, inner : float
        As for `runs_by_walking`.
    """
    table, n = np.empty((1024, SEGMENT), np.int32), 0
    period = 2.0 * math.pi / step
    turns = int((width - 1) / period) + 1
    for y in range(low, high):
        for row in range(lat.size):
            sine = math.sin((lat[row] - lat[y]) / 2.0) ** 2
            if not sine <= outer / 4.0:
                continue
            cosines = max(math.cos(lat[row]) * math.cos(lat[y]), 0.0)
            w = _half_width(outer / 4.0 - sine, cosines, step)
            hole = _half_width(inner / 4.0 - sine, cosines, step) if inner >= 0.0 else -1.0
            whole, none = 2.0 * w >= period, 2.0 * hole >= period
            if none:
                continue
            if n + 4 * (turns + 2) > table.shape[0]:
                table = grown(table)
            number = 0
            for turn in range(-turns, turns + 1):
                middle = turn * period
                # Between the holes half a period away where the circle holds the whole parallel: one run from the
                # middle of a turn to the next, else from one end of the circle to the other.
                start = math.ceil(middle - w) if not whole else math.ceil((turn - 0.5) * period)
                stop = math.floor(middle + w) + 1 if not whole else math.ceil((turn + 0.5) * period)
                start, stop = max(int(start), 1 - width), min(int(stop), width)
                left, right = (math.ceil(middle - hole), math.floor(middle + hole) + 1) if hole >= 0.0 else (stop, stop)
                cuts = (start, min(int(left), stop), max(int(right), start), stop)
                for k in range(0, 4, 2):
                    if cuts[k] < cuts[k + 1]:
                        table[n, 0], table[n, 1], table[n, 2], table[n, 3] = y, row, 0, width
                        table[n, 4], table[n, 5], table[n, 6] = cuts[k], cuts[k + 1] - cuts[k], number
                        n, number = n + 1, number + 1
    return table[:n].copy()
