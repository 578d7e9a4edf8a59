"""Sums over runs of pixels: compiled kernels.

A run, an interval of pixels along a row (see `xonoff.stats.neighbours`), is put together from sums of 1, 2, 3, 4, 6, 8,
12, ... pixels, which all pixels of a row share. (Of 1, 2, 4, 8, ... alone it takes half as many again.) So nothing is
ever subtracted: where all values are 0 the sum is 0, a small value beside a large one keeps its digits, and a NaN
reaches those sums alone that it is part of. Differences of running sums over a row have none of this. Whole numbers are
added up as unsigned integers, of 16 bit wherever that is enough for all that a tile can reach: four times as many in
one instruction as of float64.

Indices of the innermost loops are unsigned, for signed ones may count from the end: that test keeps the compiler from
making vector instructions. Slices would do as well, but each costs more than the short stretches that it is for.
"""

import math

import numpy as np
from numpy.typing import NDArray

from xonoff.stats.kernels import _jit
from xonoff.stats.neighbours import grown

__all__ = ["GROUP", "accumulate", "plan", "row_totals"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]

#: Rows of pixels of which there are tables of sums at a time.
GROUP = 3


@_jit
def row_totals(values: Floats, mask: Bools, out: Floats) -> None:
    """Sums of rows of whole numbers from 0 on, within a mask; infinite for rows with others."""
    for i in range(values.shape[0]):
        total, whole = 0.0, True
        for j in range(values.shape[1]):
            value = np.float64(values[i, j]) if mask[i, j] else 0.0
            number = np.float64(np.int32(min(max(value, 0.0), 2147483647.0)))
            whole &= number == value
            total += number
        out[i] = total if whole else math.inf


@_jit
def _length(k: int) -> int:
    """Number of pixels whose sums are in a table: 1, 2, 3, 4, 6, 8, 12, ..."""
    if k < 2:
        return k + 1
    return 3 << (k // 2 - 1) if k % 2 == 0 else 1 << (k // 2 + 1)


@_jit
def plan(
    segments: Ints, starts: NDArray[np.int64], y0: int, y1: int, x0: int, x1: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], Ints, NDArray[np.int64], Ints]:
    """Work out how to sum over the runs of the pixels in a tile.

    What a run has in common for all pixels of a row of the tile is summed for all of them at once, whole stretches of
    the tables of sums; the pixels that it has beside that, few and at its ends, for those pixels that have them.

    Parameters
    ----------
    segments : ndarray (segment, 7)
        Sorted by row of pixels, row of the run, and number of the run.
    starts : ndarray (y + 1,)
        Where the segments of each row of pixels start.
    y0, y1, x0, x1 : int
        The tile.

    Returns
    -------
    window : ndarray (5,)
        First row, number of rows, first column counted from that of the pixels, number of columns, number of tables.
    common_starts, common : ndarray (slot + 1,) and (term,)
        Where stretches begin in the tables, by slots: a group of `GROUP` rows of the window, and a row of the tile.
    more_starts, more : ndarray (slot + 1,) and (term, 3)
        First pixel, number of pixels, and where their stretch begins.
    """
    low, high, left, right, longest = 2**31, -1, 2**31, -(2**31), 0
    for s in range(starts[y0], starts[y1]):
        a, b = max(segments[s, 2], x0), min(segments[s, 3], x1)
        if a < b:
            low, high = min(low, segments[s, 1]), max(high, segments[s, 1])
            left, right = min(left, a + segments[s, 4]), max(right, b - 1 + segments[s, 4] + segments[s, 5])
            longest = max(longest, segments[s, 5])
    levels = 1
    while _length(levels) <= longest:
        levels += 1
    height, size = max(high + 1 - low, 0), max(right - left, 0)
    window = np.array([low, height, left, size, levels])
    slots = (height + GROUP - 1) // GROUP * (y1 - y0)
    common, n_common = np.empty((1024, 2), np.int32), 0
    more, n_more = np.empty((1024, 4), np.int32), 0
    for y in range(y0, y1):
        s = starts[y]
        while s < starts[y + 1]:
            end, covered, begin, stop = s, 0, -(2**31), 2**31
            while end < starts[y + 1] and segments[end, 1] == segments[s, 1] and segments[end, 6] == segments[s, 6]:
                a, b = max(segments[end, 2], x0), min(segments[end, 3], x1)
                if a < b:
                    covered += b - a
                    begin = max(begin, segments[end, 4])
                    stop = min(stop, segments[end, 4] + segments[end, 5])
                end += 1
            whole = covered == x1 - x0 and begin < stop
            row = segments[s, 1] - low
            slot = row // GROUP * (y1 - y0) + y - y0
            base = row % GROUP * size - left
            while common.shape[0] < n_common + levels:
                common = grown(common)
            if whole:
                at, length = base + x0 + begin, stop - begin
                for k in range(levels - 1, -1, -1):
                    if length >= _length(k):
                        common[n_common, 0], common[n_common, 1] = slot, k * GROUP * size + at
                        at, length, n_common = at + _length(k), length - _length(k), n_common + 1
            for i in range(s, end):
                a, b = max(segments[i, 2], x0), min(segments[i, 3], x1)
                if a >= b:
                    continue
                first, last = segments[i, 4], segments[i, 4] + segments[i, 5]
                for side in range(2 if whole else 1):
                    at, length = base + a + first, last - first
                    if whole and side == 0:
                        length = begin - first
                    elif whole:
                        at, length = base + a + stop, last - stop
                    while more.shape[0] < n_more + levels:
                        more = grown(more)
                    for k in range(levels - 1, -1, -1):
                        if length >= _length(k):
                            more[n_more, 0], more[n_more, 1], more[n_more, 2] = slot, a - x0, b - a
                            more[n_more, 3] = k * GROUP * size + at
                            at, length, n_more = at + _length(k), length - _length(k), n_more + 1
            s = end
    common_starts, common = _by_slot(common[:n_common], slots)
    more_starts, more = _by_slot(more[:n_more], slots)
    return window, common_starts, common[:, 0].copy(), more_starts, more


@_jit
def _by_slot(terms: Ints, slots: int) -> tuple[NDArray[np.int64], Ints]:
    """Sort terms by their first column, which is left out, and tell where each begins."""
    starts = np.zeros(slots + 1, np.int64)
    for i in range(terms.shape[0]):
        starts[terms[i, 0] + 1] += 1
    for slot in range(slots):
        starts[slot + 1] += starts[slot]
    found, at = np.empty((terms.shape[0], terms.shape[1] - 1), np.int32), starts.copy()
    for i in range(terms.shape[0]):
        found[at[terms[i, 0]]] = terms[i, 1:]
        at[terms[i, 0]] += 1
    return starts, found


@_jit
def accumulate(
    values: Floats,
    mask: Bools,
    first: int,
    window: NDArray[np.int64],
    common_starts: NDArray[np.int64],
    common: Ints,
    more_starts: NDArray[np.int64],
    more: Ints,
    zero: Floats,
    out: Floats,
) -> None:
    """Sums over the runs of the pixels in a tile, as planned.

    A few rows at a time are summed in all lengths, and added to all rows of the tile that take them in: the tables of
    so few rows stay in the cache next to the core.

    Parameters
    ----------
    values, mask : ndarray (y, x)
        What is outside of the mask counts as 0.
    first : int
        Column of ``values`` of the first pixel that wants neighbours.
    window, common_starts, common, more_starts, more
        See `plan`.
    zero : ndarray (1,)
        A 0 of the type to add up in.
    out : ndarray (y, x)
        The tile.
    """
    low, height, left, size, levels = window
    rows, n = out.shape
    total = np.zeros(rows * n, zero.dtype)
    # Table k holds at x the sum of the pixels from x on, as many as `_length` tells. Columns beyond the map are 0.
    flat = np.zeros(levels * GROUP * size, zero.dtype)
    from_, to = max(left + first, 0), min(left + first + size, values.shape[1])
    for group in range((height + GROUP - 1) // GROUP):
        for i in range(GROUP):
            row, at = low + group * GROUP + i, np.uint64(i * size + from_ - left - first)
            if row < low + height:
                value, inside = values[row, from_:to], mask[row, from_:to]
                for x in range(np.uint64(max(to - from_, 0))):
                    flat[at + x] = value[x] if inside[x] else 0
        for k in range(1, levels):
            long = k - 2 if k % 2 and k > 1 else k - 1
            short = max(k - 3, 0) if k % 2 == 0 else long
            shift, to_ = np.uint64(_length(short)), np.uint64(k * GROUP * size)
            one, two = np.uint64(short * GROUP * size), np.uint64(long * GROUP * size)
            for x in range(np.uint64(max(GROUP * size - _length(short), 0))):  # those across two rows are not used
                flat[to_ + x] = flat[one + x] + flat[two + shift + x]
        for y in range(rows):
            slot = group * rows + y
            i, end = common_starts[slot], common_starts[slot + 1]
            while i < end:
                i += _add_terms(total, flat, common, i, end - i, y * n, n)
            for j in range(more_starts[slot], more_starts[slot + 1]):
                _add_one(total, flat, y * n + more[j, 0], more[j, 1], more[j, 2])
    for y in range(rows):
        for x in range(n):
            out[y, x] = total[y * n + x]


@_jit
def _add_terms(total: Floats, flat: Floats, terms: Ints, i: int, left: int, first: int, n: int) -> int:
    """Add eight, four, two stretches or one, and tell how many."""
    at = np.uint64(first)
    a = np.uint64(terms[i])
    if left == 1:
        for x in range(np.uint64(n)):
            total[at + x] += flat[a + x]
        return 1
    b = np.uint64(terms[i + 1])
    if left < 4:
        for x in range(np.uint64(n)):
            total[at + x] += flat[a + x] + flat[b + x]
        return 2
    c, d = np.uint64(terms[i + 2]), np.uint64(terms[i + 3])
    if left < 8:
        for x in range(np.uint64(n)):
            total[at + x] += (flat[a + x] + flat[b + x]) + (flat[c + x] + flat[d + x])
        return 4
    e, f, g, h = np.uint64(terms[i + 4]), np.uint64(terms[i + 5]), np.uint64(terms[i + 6]), np.uint64(terms[i + 7])
    for x in range(np.uint64(n)):
        four = (flat[a + x] + flat[b + x]) + (flat[c + x] + flat[d + x])
        total[at + x] += four + ((flat[e + x] + flat[f + x]) + (flat[g + x] + flat[h + x]))
    return 8


@_jit
def _add_one(total: Floats, flat: Floats, first: int, n: int, term: int) -> None:
    at, start = np.uint64(first), np.uint64(term)
    for x in range(np.uint64(n)):
        total[at + x] += flat[start + x]
