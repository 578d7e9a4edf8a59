"""Gaussian sources far wider than the bins of the PSF: so smooth that few values follow what is seen of them."""

import numpy as np
import numpy.typing as npt

from xonoff.models.shapes import GaussianSource, Shape
from xonoff.radial import bin_of, core, flattened, over_the_psf
from xonoff.rings import circle_weights, corners, is_empty, window_around
from xonoff.skygrid import SkyGrid
from xonoff.stats.threads import in_threads

__all__ = ["is_wide", "shares"]

Floats = npt.NDArray[np.float64]
Psf = tuple[Floats, Floats]

#: Bins of the PSF from which on the sigma of a source is wide, and degrees up to which.
WIDE, WIDEST = 12, 20.0
#: Radii at which a profile is worked out, those at which it is interpolated, and pixels at least, to a sigma of it.
STEPS, FINE, PIXELS = 10, 128, 6
#: Rows of pixels that a thread takes at a time.
ROWS = 64


def is_wide(shape: Shape, psf: Psf | None) -> bool:
    """Tell whether a shape, seen with a PSF, is one for `shares`."""
    if psf is None or not isinstance(shape, GaussianSource):
        return False
    return WIDE * bin_of(psf[1]) < float(shape.sigma.value) < WIDEST


def shares(
    shape: Shape, position: tuple[float, float], sky: SkyGrid, psf: Psf, beyond: float
) -> tuple[npt.NDArray[np.intp], Floats]:
    """Pixels that a wide round Gaussian reaches, and the shares (pixel, energy) of its events that each gets.

    Parameters
    ----------
    shape : GaussianSource
        One that `is_wide`.
    position, sky, psf, beyond
        As for `xonoff.spread.spread`; the position in the frame of the grid.
    """
    from xonoff.stats import quads

    radii, table = _profile(shape, *psf, beyond)
    rows, columns = window_around(sky, position, float(radii[-1]))
    if is_empty((rows, columns)):
        return np.zeros(0, dtype=np.intp), np.zeros((0, table.shape[1]))
    whole = corners(sky.slice(rows, columns), position)
    rows_near, columns_near = _near(*whole, float(radii[-1]) + 2 * float(np.hypot(*sky.pixel_scales)))
    parts = int(np.ceil(PIXELS * max(sky.pixel_scales) / (FINE * radii[1])))
    ny, nx = (part.stop - part.start for part in (rows_near, columns_near))
    own = slice(rows_near.start, rows_near.stop + 1), slice(columns_near.start, columns_near.stop + 1)
    x, y = (_finer(corner[own], parts) for corner in whole)
    reached, found = np.empty((ny, nx), np.bool_), np.empty((ny * nx, table.shape[1]))

    def integrate(row: int) -> None:
        own = slice(row * parts, (row + ROWS) * parts + 1)
        into = found[row * nx : (row + ROWS) * nx]
        quads.integrate(x[own], y[own], radii[1], table, parts, reached[row : row + ROWS], into)

    in_threads(integrate, range(0, ny, ROWS))
    pixels = np.flatnonzero(reached)
    row, column = np.divmod(pixels, nx)
    row, column = row + rows.start + rows_near.start, column + columns.start + columns_near.start
    return row * sky.shape[1] + column, found[pixels]


def _profile(shape: Shape, values: Floats, radii: Floats, beyond: float) -> tuple[Floats, Floats]:
    """What is seen of a shape at radii, and these, evenly: radii, deg, and values (radius, energy), deg-2."""
    from xonoff.stats import quads

    sigma = float(np.hypot(shape.sigma.value, core(values, radii)))
    end = min(float(radii[-1]) + shape.extent, 179.0)
    t = np.arange(int(np.ceil(2 * STEPS * np.arcsinh(end / (2 * sigma)))) + 1) / (2 * STEPS)
    r = np.minimum(2 * sigma * np.sinh(t), 179.0)
    coarse = (over_the_psf(values, radii, shape, r) * flattened(r)).T
    tails = np.cumsum((np.sinh(2 * t)[:, None] * coarse)[::-1], axis=0)[::-1]
    kept = max(int(np.count_nonzero((tails > beyond * tails[0]).any(axis=1))), 3) + 1
    even = np.arange(int(r[:kept][-1] * FINE / sigma) + 1, dtype=np.float64) * (sigma / FINE)
    table = np.empty((even.size, len(values)))
    mirrored = np.ascontiguousarray(np.concatenate([coarse[1:2], coarse, coarse[-1:]]))
    quads.upsample(mirrored, 2 * sigma, 0.5 / STEPS, even, table)
    total = circle_weights(even) @ table
    table /= np.where(total > 0, total, 1)
    return even, table


def _near(x: Floats, y: Floats, radius: float) -> tuple[slice, slice]:
    """Rows and columns of pixels with a corner within a radius: at a seam or a pole a window is all of the map."""
    near = np.hypot(x, y) <= radius
    found = []
    for axis in (1, 0):
        at = np.flatnonzero(near.any(axis=axis))
        n = near.shape[1 - axis] - 1
        found.append(slice(max(int(at[0]) - 1, 0), min(int(at[-1]) + 1, n)) if at.size else slice(0, 0))
    return found[0], found[1]


def _finer(corner: Floats, parts: int) -> Floats:
    """Corners of parts of pixels, between those of the pixels; infinite where one of these is."""
    for _ in range(2 if parts > 1 else 0):
        share = np.arange(parts)[:, None] / parts
        with np.errstate(invalid="ignore"):
            between = np.where(
                share == 0, corner[:-1, None], corner[:-1, None] * (1 - share) + corner[1:, None] * share
            )
        corner = np.concatenate([between.reshape(-1, corner.shape[1]), corner[-1:]]).T
    return np.ascontiguousarray(np.nan_to_num(corner, nan=np.inf, posinf=np.inf))
