"""Shapes that are not round, seen with a PSF: a convolution in the plane around the source, then over pixels.

The plane keeps distances and directions from the source, whatever the projection of the map. The shape is given by its
Fourier transform, in closed form where there is one, so it may be far smaller than the cells of the plane; those follow
the PSF. What the plane holds is a spline, which is integrated over the pixels.
"""

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.coordinates import SkyCoord

from xonoff import radial
from xonoff.models.shapes import DiskSource, GaussianSource, Shape, TemplateSource
from xonoff.rings import corners, offsets, plane_areas, plane_weights, window_around
from xonoff.skygrid import SkyGrid
from xonoff.units import Position, lonlat_in

__all__ = ["shares"]

Floats = npt.NDArray[np.float64]

#: Cells to the radius that holds 39 % of the PSF, the sigma of a Gaussian; and cells at most along a side.
CELLS, MOST = 2.5, 1536
#: Points along each side of a pixel: where the PSF makes the source smooth, a Gauss-Legendre rule.
POINTS = 3
#: Error of the sum over pixels at most, by which a source that is seen whole is corrected.
QUADRATURE = 1e-2


def shares(
    shape: Shape, position: Position, sky: SkyGrid, psf: tuple[Floats, Floats] | None, beyond: float
) -> tuple[npt.NDArray[np.intp], Floats]:
    """Numbers of the pixels that a shape reaches, and their shares of the events (pixel, energy).

    Parameters
    ----------
    shape, position, sky, psf, beyond
        As for `xonoff.spread.spread`.
    """
    lon, lat = lonlat_in(position, sky.frame)
    center = SkyCoord(lon, lat, unit="deg", frame=sky.frame)
    if psf is not None and beyond > 0:
        psf = radial.cut(*psf, beyond)
    reach = shape.extent + (float(psf[1][-1]) if psf is not None else 0.0)
    ny, nx = sky.shape
    # All of a source is looked at, beyond the map too, for it to be 1 in all; of a template, which may be large, part.
    narrow = min(sky.pixel_scales) * (max(np.cos(np.radians(float(lat))), 0.1) if sky.separable else 1.0)
    pad = 0 if isinstance(shape, TemplateSource) else int(3 * reach / narrow) + 2
    grid = sky.window((-pad, -pad), (ny + pad, nx + pad))
    rows, columns = window_around(grid, center, reach)
    if rows.start == rows.stop or columns.start == columns.stop:
        return np.zeros(0, dtype=np.intp), np.zeros((0, 1))
    window = grid.slice(rows, columns)
    found = _bare(shape, window) if psf is None else _seen(shape, window, center, psf)
    if pad:
        total = found.sum(axis=0)
        found /= np.where(np.abs(total - 1) < QUADRATURE, total, 1)  # else a part of it is off the sky, or has no PSF
    row, column = (part.ravel() - pad for part in np.mgrid[rows, columns])
    reached = (found > 0).any(axis=1) & (row >= 0) & (row < ny) & (column >= 0) & (column < nx)
    return (row * nx + column)[reached], found[reached]


# -- without PSF ------------------------------------------------------------------------------------------------------


def _bare(shape: Shape, window: SkyGrid) -> Floats:
    """Brightness averaged over points of each pixel; the finer, the smaller the shape."""
    size = max(window.pixel_scales)
    n = int(np.clip(np.ceil(4 * POINTS * size / max(_minor(shape), 1e-9)), 2 * POINTS, 64))
    fine = (np.arange(n) + 0.5) / n - 0.5
    total = np.zeros(window.shape)
    rows, columns = np.arange(window.shape[0])[:, None, None], np.arange(window.shape[1])[:, None] + fine
    for dy in fine:
        lon, lat = window.pixel_to_sky(columns, rows + dy)
        there = SkyCoord(lon, lat, unit="deg", frame=window.frame)
        total += np.nan_to_num(_brightness(shape, there)).sum(axis=-1)
    return (total / n**2 * np.nan_to_num(window.solid_angle())).reshape(-1, 1)


def _brightness(shape: Shape, there: SkyCoord) -> Floats:
    own = there.transform_to(shape.frame).spherical
    return np.asarray(shape(own.lon.deg, own.lat.deg))


def _norm(shape: Shape) -> float:
    return float(shape.norm.value) if isinstance(shape, TemplateSource) else 1.0


def _minor(shape: Shape) -> float:
    """Smallest length of a shape, deg."""
    if isinstance(shape, TemplateSource):
        return min(shape.sky.pixel_scales)
    major = shape.sigma if isinstance(shape, GaussianSource) else shape.r_0
    return float(major.value * np.sqrt(1 - float(shape.e.value) ** 2))


# -- with PSF ---------------------------------------------------------------------------------------------------------


def _seen(shape: Shape, window: SkyGrid, center: SkyCoord, psf: tuple[Floats, Floats]) -> Floats:
    """Shares of the pixels of a window, through the plane around the source."""
    from scipy import fft

    values, radii = psf
    half = min(shape.extent + float(radii[-1]), 175.0)
    n = int(np.clip(half / (radial.core(values, radii) / CELLS), 8, MOST // 2))
    n = 2 * fft.next_fast_len(n + 2, real=True)
    cell = 2 * half / (n - 4)
    edges = (np.arange(n + 1) - n / 2) * cell
    x, y = np.meshgrid(edges, edges)
    kernel = np.asarray(plane_weights(x, y, radii) @ values.T).T.reshape(-1, n, n)
    f_y, f_x = fft.fftfreq(n)[:, None], fft.rfftfreq(n)
    spectrum = fft.rfft2(fft.ifftshift(kernel, axes=(1, 2)))
    spectrum *= _transform(shape, center, cell, n) / (_filter(f_y) * _filter(f_x))
    spline = fft.fftshift(fft.irfft2(spectrum, s=(n, n)), axes=(1, 2))
    smooth = max(window.pixel_scales) < np.hypot(radial.core(values, radii), _minor(shape)) / 4
    found = _over_pixels(spline / cell**2, shape, window, center, cell, POINTS if smooth else 2 * POINTS)
    return np.maximum(found, 0.0)


def _filter(f: Floats) -> Floats:
    """Transform of a cubic spline sampled at its cells, and of the average over a cell that the kernel holds."""
    return (2 + np.cos(2 * np.pi * f)) / 3 * np.sinc(f)


def _transform(shape: Shape, center: SkyCoord, cell: float, n: int) -> npt.NDArray[np.complex128]:
    """Fourier transform of a shape of 1 in all, at the frequencies of the plane (y to the north, x to the east)."""
    from scipy import fft

    f_y, f_x = fft.fftfreq(n, cell)[:, None], fft.rfftfreq(n, cell)
    if isinstance(shape, TemplateSource):
        return np.asarray(_sampled(shape, center, cell, n))
    angle, e = np.radians(float(shape.phi.value)), float(shape.e.value)
    along, across = f_y * np.cos(angle) + f_x * np.sin(angle), -f_y * np.sin(angle) + f_x * np.cos(angle)
    k = 2 * np.pi * np.hypot(along, across * np.sqrt(1 - e**2))
    if isinstance(shape, DiskSource):
        from scipy.special import j1

        k = np.maximum(k * float(shape.r_0.value), 1e-9)
        return np.asarray(2 * j1(k) / k, dtype=complex)
    return np.asarray(np.exp(-((k * float(shape.sigma.value)) ** 2) / 2), dtype=complex)


def _sampled(shape: Shape, center: SkyCoord, cell: float, n: int) -> npt.NDArray[np.complex128]:
    """Transform of a template, from its averages over the cells of the plane."""
    from scipy import fft

    fine = (np.arange(n * 2) - n + 0.5) * (cell / 2)
    x, y = np.meshgrid(fine, fine)
    distance = np.radians(np.hypot(x, y))
    own = center.transform_to(shape.frame)
    there = own.directional_offset_by(np.arctan2(x, y) * u.rad, distance * u.rad)
    values = _brightness(shape, there) * np.sinc(distance / np.pi)
    cells = values.reshape(n, 2, n, 2).mean(axis=(1, 3))
    # The middle of the first cell is half a cell off the source.
    shifted = fft.rfft2(fft.ifftshift(cells)) * np.exp(-1j * np.pi * (fft.fftfreq(n)[:, None] + fft.rfftfreq(n)))
    return np.asarray(shifted / cells.sum() * _norm(shape))


def _over_pixels(spline: Floats, shape: Shape, window: SkyGrid, center: SkyCoord, cell: float, points: int) -> Floats:
    """Integral of splines (energy, y, x) of the plane over pixels, (pixel, energy)."""
    from scipy.ndimage import map_coordinates

    turn = _turn(shape, window, center)
    n = spline.shape[-1]
    nodes, weights = np.polynomial.legendre.leggauss(points)
    rows, columns = np.arange(window.shape[0])[:, None], np.arange(window.shape[1])
    total = np.zeros((len(spline), *window.shape))
    for dy, wy in zip(nodes / 2, weights / 2, strict=True):
        for dx, wx in zip(nodes / 2, weights / 2, strict=True):
            east, north = _turned(*offsets(window, center, rows + dy, columns + dx), turn)
            cells = np.nan_to_num([north, east], nan=np.inf) / cell + (n - 1) / 2
            for plane, into in zip(spline, total, strict=True):
                into += wy * wx * map_coordinates(plane, cells, order=3, prefilter=False, mode="constant")
    area = plane_areas(*corners(window, center))
    return np.asarray((total * area).reshape(len(spline), -1).T)


def _turn(shape: Shape, window: SkyGrid, center: SkyCoord) -> float:
    """Position angle of the north of the shape's frame at the source in the frame of a map, radians."""
    own = center.transform_to(shape.frame)
    northward = own.directional_offset_by(0 * u.deg, 1 * u.arcsec).transform_to(window.frame)
    return float(own.transform_to(window.frame).position_angle(northward).rad)


def _turned(east: Floats, north: Floats, angle: float) -> tuple[Floats, Floats]:
    sin, cos = np.sin(angle), np.cos(angle)
    return east * cos - north * sin, east * sin + north * cos
