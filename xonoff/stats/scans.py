"""Norms of a source at every pixel of a small part of a map: the signal of each, and its fit.

What a source gives around its pixel (its pattern) is known at the four corners of the part, and interpolated between
them; the exposure is that of the pixels where events are seen. Compiled on first use. The loops run along rows of
pixels, so that the compiler makes vector instructions of them.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from xonoff.stats.kernels import _alpha, _count, _jit, _wstat
from xonoff.stats.norm_search import CURVED, STEEP, STRAIGHT, Bins, _fast, fit, prepare, sums

__all__ = ["OUTPUTS", "Pattern", "Window", "fill_window", "scan"]

#: Norm, its err, errn, errp and ul, W there and without the source, and the counts of the source for a norm of 1.
OUTPUTS = 8
#: A search ends with a step of this part of the error: what is left is about its square.
ACCURACY = 1e-4


class Window(NamedTuple):
    """Bins of a part of a map and of what its sources reach.

    Attributes
    ----------
    exposure : ndarray (energy_true, y, x)
    line : ndarray (energy, y, x)
        1 where a bin is valid and has no on count, 0 elsewhere.
    edge : ndarray (energy, y, x)
        ``1 + 1 / alpha`` where there is no count at all, and no other source.
    null : ndarray (energy, y, x)
        W of the bins of ``line`` without the source.
    bend : ndarray (energy, y, x)
        Counts by which the signal has to be negative to leave the line; infinite where there is none.
    cancel, grow : ndarray (energy, y, x)
        See `xonoff.stats.norm_search`, of the bins of ``line``.
    other : ndarray (energy, y, x)
        Counts of other sources.
    curved : ndarray (bin, 7)
        What `xonoff.stats.norm_search.prepare` gives of the bins with on counts.
    column : ndarray (bin,)
        Where each is in its row.
    first : ndarray (energy, y, x + 1)
        How many of them come before each pixel.
    inside : ndarray (y, x)
        Whether a pixel has a valid bin.
    """

    exposure: Any
    line: Any
    edge: Any
    null: Any
    bend: Any
    cancel: Any
    grow: Any
    other: Any
    curved: Any
    column: Any
    first: Any
    inside: Any


class Pattern(NamedTuple):
    """What a source at the corners of a part of a map gives around its pixel.

    Attributes
    ----------
    shares : ndarray (2, 2, layer, y, x)
        Of the events, by corner: lower and upper, left and right. Layers are the true energies, or the energies.
    low, high : ndarray (energy, y)
        Pixels of each row from and to which there are events.
    seen : ndarray (2, 2, energy_true, energy)
        Flux of each true energy that is seen at each energy, by corner.
    begin, end : ndarray (energy,)
        True energies that matter.
    row, column : int
        Where in the pattern the pixel of the source is.
    by_energy : bool
        Whether the layers are the energies, and shares apply to what is seen of all true energies.
    """

    shares: Any
    low: Any
    high: Any
    seen: Any
    begin: Any
    end: Any
    row: int
    column: int
    by_energy: bool


@_jit
def fill_window(on: Any, off: Any, a_on: Any, a_off: Any, mask: Any, other: Any, exposure: Any) -> Any:
    """Sort the bins of a window, all (energy, y, x), by what W is in them; the mask may be of one energy or pixel."""
    shape = on.shape
    line, edge, null = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    bend, cancel, grow = np.full(shape, math.inf), np.zeros(shape), np.zeros(shape)
    n = 0
    for value in on.flat:
        n += value > 0.0
    curved, column = np.empty((n, CURVED - 2)), np.empty(n, np.intp)
    first = np.empty((shape[0], shape[1], shape[2] + 1), np.intp)
    inside = np.zeros(shape[1:], np.bool_)
    n = 0
    for e in range(shape[0]):
        for y in range(shape[1]):
            for x in range(shape[2]):
                first[e, y, x] = n
                n_on, n_off, alpha = _count(on[e, y, x]), _count(off[e, y, x]), _alpha(a_on[e, y, x], a_off[e, y, x])
                expected = other[e, y, x]
                if not (mask[e, y, x] and n_on >= 0.0 and n_off >= 0.0 and alpha >= 0.0 and abs(expected) < math.inf):
                    continue
                inside[y, x] = True
                if n_on > 0.0:
                    prepare(n_on, n_off, alpha, curved[n])
                    column[n] = x
                    n += 1
                    continue
                line[e, y, x] = 1.0
                null[e, y, x] = _wstat(0.0, n_off, alpha, max(expected, 0.0)) + 2.0 * min(expected, 0.0)
                cancel[e, y, x] = n_off * (alpha / (1.0 + alpha))
                grow[e, y, x] = min(1.0 + 1.0 / alpha, STEEP)
                if n_off == 0.0 and expected == 0.0 and alpha > 0.0:
                    edge[e, y, x] = grow[e, y, x]
                else:
                    bend[e, y, x] = cancel[e, y, x] + expected
            first[e, y, shape[2]] = n
    return Window(exposure, line, edge, null, bend, cancel, grow, other, curved, column, first, inside)


# -- the signal of one pixel ------------------------------------------------------------------------------------------


@_fast
def _mix(a: Any, b: Any, share: float, out: Any) -> None:
    """Interpolate between two arrays, which are contiguous."""
    a, b, out = a.reshape(a.size), b.reshape(a.size), out.reshape(a.size)
    for i in range(a.size):
        out[i] = a[i] + share * (b[i] - a[i])


@_fast
def _times(values: Any, left: Any, right: Any, share: float, out: Any) -> None:
    for j in range(values.size):
        out[j] = values[j] * (left[j] + share * (right[j] - left[j]))


@_fast
def _add_times(out: Any, values: Any, factor: float) -> None:
    for j in range(out.size):
        out[j] += factor * values[j]


@_fast
def _line_sums(signal: Any, line: Any, edge: Any, null: Any, out: Any) -> None:
    """Add what the straight bins of a row give: slope, its kink at 0, and W for a norm of 0."""
    rate, kink, base = 0.0, 0.0, 0.0
    for j in range(signal.size):
        rate += signal[j] * line[j]
        kink += signal[j] * edge[j]
        base += null[j] if signal[j] > 0.0 else 0.0
    out[0] += 2.0 * rate
    out[1] += 2.0 * kink
    out[2] += base


@_jit
def _rows(window: Any, pattern: Any, y: int, i: int, before: int) -> tuple[int, int, int]:
    """Row of the window of a row of the pattern, and its columns from and to which there are events on the map."""
    _, ny, nx = window.line.shape
    row, low, high = y + i - pattern.row, nx, 0
    for e in range(pattern.low.shape[0]):
        low, high = min(low, pattern.low[e, i]), max(high, pattern.high[e, i])
    low, high = max(low, -before), min(high, nx - before)
    return row, low, high if 0 <= row < ny else low


@_jit
def _fill_signal(
    window: Any, pattern: Any, y: int, x: int, left: Any, right: Any, share: float, seen: Any, rows: Any, signal: Any
) -> tuple[float, float, float]:
    """Counts of a source at a pixel for a norm of 1; returns what `_line_sums` adds up."""
    energies, height, _ = signal.shape
    lines = np.zeros(3)
    before = x - pattern.column  # columns of the window that come before the pattern
    folded = (pattern.end - pattern.begin).max() == 1 and not pattern.by_energy
    for i in range(height):
        row, low, high = _rows(window, pattern, y, i, before)
        if low >= high:
            continue
        for t in range(0 if folded else pattern.begin.min(), 0 if folded else pattern.end.max()):
            exposure, out = window.exposure[t, row, before + low : before + high], rows[t, low:high]
            if pattern.by_energy:
                out[:] = exposure
            else:
                _times(exposure, left[t, i, low:high], right[t, i, low:high], share, out)
        for e in range(energies):
            a, b = max(pattern.low[e, i], low), min(pattern.high[e, i], high)
            if a >= b:
                continue
            found, own = signal[e, i, a:b], slice(before + a, before + b)
            if folded:
                t = pattern.begin[e]
                _times(window.exposure[t, row, own], left[t, i, a:b], right[t, i, a:b], share, found)
            else:
                found[:] = 0.0
                for t in range(pattern.begin[e], pattern.end[e]):
                    _add_times(found, rows[t, a:b], seen[t, e])
                if pattern.by_energy:
                    _times(found, left[e, i, a:b], right[e, i, a:b], share, found)
            _line_sums(found, window.line[e, row, own], window.edge[e, row, own], window.null[e, row, own], lines)
    return lines[0], lines[1], lines[2]


# -- its fit ----------------------------------------------------------------------------------------------------------


@_jit
def _row(window: Any, pattern: Any, y: int, e: int, i: int, before: int) -> tuple[int, int, int]:
    """As `_rows`, of one energy."""
    _, ny, nx = window.line.shape
    row = y + i - pattern.row
    low, high = max(pattern.low[e, i], -before), min(pattern.high[e, i], nx - before)
    return row, low, high if 0 <= row < ny else low


@_jit
def _curved_bins(window: Any, pattern: Any, y: int, x: int, signal: Any, curved: Any) -> tuple[int, float, float]:
    """Gather the bins with on counts; returns how many, their on counts, and their signal."""
    n, counts, total = 0, 0.0, 0.0
    before = x - pattern.column
    for e in range(signal.shape[0]):
        for i in range(signal.shape[1]):
            row, low, high = _row(window, pattern, y, e, i, before)
            if low >= high:
                continue
            for k in range(window.first[e, row, before + low], window.first[e, row, before + high]):
                column = window.column[k]
                expected = signal[e, i, column - before]
                if expected > 0.0:
                    for part in range(CURVED - 2):
                        curved[part, n] = window.curved[k, part]
                    curved[CURVED - 2, n] = window.other[e, row, column]
                    curved[CURVED - 1, n] = expected
                    counts += curved[4, n]
                    total += expected
                    n += 1
    return n, counts, total


@_fast
def _any_below(bend: Any, signal: Any, floor: float) -> bool:
    n = 0
    for j in range(signal.size):
        n += bend[j] < -floor * signal[j]
    return n > 0


@_jit
def _straight_bins(
    window: Any, pattern: Any, y: int, x: int, signal: Any, floor: float, straight: Any
) -> tuple[int, float, float]:
    """Gather the bins that leave their line at a norm above the floor; returns how many, the highest, and the limit."""
    m, start, limit = 0, -math.inf, -math.inf
    before = x - pattern.column
    for e in range(signal.shape[0]):
        for i in range(signal.shape[1]):
            row, low, high = _row(window, pattern, y, e, i, before)
            if low >= high:
                continue
            bend = window.bend[e, row, before + low : before + high]
            found = signal[e, i, low:high]
            if not _any_below(bend, found, floor):
                continue
            for j in range(found.size):
                if bend[j] < -floor * found[j]:
                    column = before + low + j
                    end = -bend[j] / found[j]
                    if window.grow[e, row, column] == STEEP:
                        limit = max(limit, end)
                        continue
                    straight[0, m], straight[1, m] = window.cancel[e, row, column], window.grow[e, row, column]
                    straight[2, m], straight[3, m] = window.other[e, row, column], found[j]
                    start = max(start, end)
                    m += 1
    return m, start, limit


@_jit
def _fit_pixel(
    window: Any,
    pattern: Any,
    y: int,
    x: int,
    signal: Any,
    lines: tuple[float, float, float],
    n_sigma: float,
    n_sigma_ul: float,
    room: Any,
    out: Any,
) -> None:
    curved, straight, scratch = room
    rate, kink, base = lines
    n, counts, total = _curved_bins(window, pattern, y, x, signal, curved)
    total += 0.5 * rate
    if not total > 0.0:
        return
    low = -math.inf
    for i in range(n):
        if curved[6, i] == 0.0:
            low = max(low, -curved[7, i] / curved[8, i])
    step = math.sqrt(counts + 1.0) / total
    # Of the bins without on counts only those are wanted that leave their line within the norms that are looked at.
    inf = math.inf
    plain = Bins(curved, n, straight, 0, base, rate, kink, -inf, inf, low, inf, 0.0, step, scratch)
    _, slope, curvature = sums(plain, max(0.0, low), False)
    below = 30.0 * (1.0 + n_sigma) * step
    if 0.0 < curvature < inf:
        below = min(below, 2.0 * (abs(slope) / curvature + (1.0 + n_sigma) * math.sqrt(2.0 / curvature)))
    if kink > slope:
        below = min(below, 1.01 * n_sigma * n_sigma / (kink - slope))
    while below < inf:
        m, start, limit = _straight_bins(window, pattern, y, x, signal, -below, straight)
        end = max(low, limit)
        lowest = max(end, -below)
        bins = Bins(curved, n, straight, m, base, rate, kink, start, inf, lowest, inf, 0.0, step, scratch)
        fit(bins, n_sigma, n_sigma_ul, ACCURACY, out)
        down = out[2] if out[2] >= 0.0 else 0.0  # NaN where it is not wanted
        if lowest == end or out[0] - down > lowest * (1.0 - 1e-9):
            break
        below *= 4.0
    out[7] = total


@_jit
def scan(
    window: Any,
    pattern: Any,
    origin: tuple[int, int],
    size: tuple[int, int],
    part: tuple[int, int, int, int],
    n_sigma: float,
    n_sigma_ul: float,
    out: Any,
) -> None:
    """Fit a source at pixels of a part of a map.

    Parameters
    ----------
    window : Window
    pattern : Pattern
    origin : (int, int)
        Where in the window the first pixel of the part is, (y, x).
    size : (int, int)
        Its rows and columns; the pattern is that of its first and last ones.
    part : (int, int, int, int)
        First and last but one of its rows and columns that are wanted.
    n_sigma, n_sigma_ul : float
        As for `xonoff.stats.norm_search.fit`.
    out : ndarray (OUTPUTS, row, column)
        Of those wanted; stays as it is where there is no valid bin.
    """
    energies, height = pattern.low.shape
    layers, width = pattern.shares.shape[2], pattern.shares.shape[4]
    true = window.exposure.shape[0]
    left, right = np.empty((layers, height, width)), np.empty((layers, height, width))
    seen_left, seen_right, seen = np.empty((true, energies)), np.empty((true, energies)), np.empty((true, energies))
    rows, signal = np.zeros((true, width)), np.zeros((energies, height, width))
    bins = signal.size
    room = np.empty((CURVED, bins)), np.empty((STRAIGHT, bins)), np.empty((3, 2 * bins))
    found = np.empty(OUTPUTS)
    for i in range(part[0], part[1]):
        share = i / max(size[0] - 1, 1)
        _mix(pattern.shares[0, 0], pattern.shares[1, 0], share, left)
        _mix(pattern.shares[0, 1], pattern.shares[1, 1], share, right)
        _mix(pattern.seen[0, 0], pattern.seen[1, 0], share, seen_left)
        _mix(pattern.seen[0, 1], pattern.seen[1, 1], share, seen_right)
        for j in range(part[2], part[3]):
            y, x = origin[0] + i, origin[1] + j
            if not window.inside[y, x]:
                continue
            share = j / max(size[1] - 1, 1)
            _mix(seen_left, seen_right, share, seen)
            found[:] = math.nan
            lines = _fill_signal(window, pattern, y, x, left, right, share, seen, rows, signal)
            _fit_pixel(window, pattern, y, x, signal, lines, n_sigma, n_sigma_ul, room, found)
            out[:, i - part[0], j - part[2]] = found
