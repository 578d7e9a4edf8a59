"""Shapes that are not round: their events in the cells of a plane, spread there by the PSF, then shared out to pixels.

The plane keeps distances and directions from its middle, whatever the projection of the map. Its lattice is fixed by
the shape, the radii of the PSF and the size of the pixels; only the part of it that the pixels need is filled. All
events of a source are in its cells, however thin it is, and the pixels share them out in closed form: nothing is lost
and nothing depends on the part of a map that is looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.coordinates import SkyCoord

from xonoff import radial
from xonoff.models.shapes import DiskSource, Shape, TemplateSource
from xonoff.rings import corners, plane_integrals, window_around
from xonoff.skygrid import SkyGrid
from xonoff.stats.threads import in_threads
from xonoff.units import Position, lonlat_in

__all__ = ["shares"]

Floats = npt.NDArray[np.float64]
Psf = tuple[Floats, Floats]

#: Cells to the end of the PSF: at least, and at most where its bins are narrow. Two to a bin are enough.
LEAST, MOST = 256, 512
#: Cells to the smaller sigma of a Gaussian; to a pixel, where there is no PSF; from the middle of a plane to its rim.
SMOOTH, PIXEL, RIM = 16, 24, 1024
#: Cells to a sigma from which samples have all of a Gaussian.
RESOLVED = 4
#: Strips of a row of cells, along each of which a thin shape is followed.
STRIPS = 4
#: Width of the part of a template that shares a plane: deg, lengths of the PSF, and pixels at most.
TILE, LENGTHS, PIXELS = 10.0, 4, 128
#: Cells to a pixel, and from side to side of a plane, of a template.
TEMPLATE, ACROSS = 16, 1024
#: Points along a side of a cell at the rim of a template.
AT_RIM = 8
#: Share that is nothing but rounding.
NOTHING = 1e-14


def shares(
    shape: Shape, position: Position, sky: SkyGrid, psf: Psf | None, beyond: float
) -> tuple[npt.NDArray[np.intp], Floats]:
    """Numbers of the pixels that a shape reaches, and their shares of the events (pixel, energy).

    Parameters
    ----------
    shape, position, sky, psf, beyond
        As for `xonoff.spread.spread`.
    """
    lon, lat = lonlat_in(position, sky.frame)
    center = SkyCoord(lon, lat, unit="deg", frame=sky.frame)
    cell = _cell(shape, sky, float(lat), None if psf is None else psf[1])
    if psf is not None and beyond > 0:
        psf = radial.cut(*psf, beyond)
    end = 0.0 if psf is None else float(psf[1][-1])
    rows, columns = window_around(sky, center, shape.extent + end)
    found = np.zeros((rows.stop - rows.start, columns.stop - columns.start, 1 if psf is None else len(psf[0])))
    if found.size and not isinstance(shape, TemplateSource):
        found[:] = _seen(shape, sky.slice(rows, columns), center, psf, cell)
    elif found.size:
        for part in _tiles(sky, rows, columns, end):
            tile = sky.slice(*part)
            width = max(np.multiply(tile.shape, tile.pixel_scales)) + 2 * end
            inside = part[0].start - rows.start, part[1].start - columns.start
            into = tuple(slice(first, first + n) for first, n in zip(inside, tile.shape, strict=True))
            middle = SkyCoord(*tile.center, unit="deg", frame=sky.frame)
            found[into] = _seen(shape, tile, middle, psf, max(cell, width / ACROSS))
    row, column = np.nonzero((found > NOTHING).any(axis=-1))
    numbers = (row + rows.start) * sky.shape[1] + column + columns.start
    return numbers, np.where(found > NOTHING, found, 0.0)[row, column]


def _cell(shape: Shape, sky: SkyGrid, lat: float, radii: Floats | None) -> float:
    """Size of the cells, deg, that follow what is seen: from nothing that depends on energies or on parts of a map."""
    pixel = min(sky.pixel_scales)
    if radii is None:
        narrow = max(np.cos(np.radians(lat)), 0.1) if sky.separable else 1.0
        needed, end = pixel * narrow / PIXEL, 0.0
    else:
        end = float(radii[-1])
        needed = float(np.clip(radial.bin_of(radii) / 2, end / MOST, end / LEAST))
    if isinstance(shape, TemplateSource):
        return max(needed, pixel / TEMPLATE)
    smooth = 0.0 if isinstance(shape, DiskSource) else _axes(shape)[1] / SMOOTH
    return max(needed, smooth, (min(shape.extent, 180.0) + end) / RIM)


def _tiles(sky: SkyGrid, rows: slice, columns: slice, end: float) -> Iterator[tuple[slice, slice]]:
    """Parts of a window, so small that a plane about the middle of each is true."""
    width = np.clip(LENGTHS * end, TILE, 4 * TILE)
    cuts = []
    for part, size in zip((rows, columns), sky.pixel_scales, strict=True):
        step = int(np.clip(width / size, 1, PIXELS))
        starts = range(part.start, part.stop, step)
        cuts.append([slice(start, min(start + step, part.stop)) for start in starts])
    yield from product(*cuts)


def _axes(shape: Shape) -> tuple[float, float]:
    """Half axes of an ellipse, or the sigmas along them, deg."""
    major = float((shape.r_0 if isinstance(shape, DiskSource) else shape.sigma).value)
    e = float(shape.e.value)
    return major, major * float(np.sqrt((1 - e) * (1 + e)))


# -- from the plane to pixels -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lattice:
    """Part of the nodes of a lattice around the middle of a plane: their size, deg, the first, and how many (y, x)."""

    cell: float
    first: tuple[int, int]
    shape: tuple[int, int]

    def axis(self, number: int) -> Floats:
        """Offsets of the nodes to the north (0) or to the east (1), in cells."""
        return np.arange(self.first[number], self.first[number] + self.shape[number], dtype=np.float64)

    def wider(self, n: int) -> "Lattice":
        """Lattice of n more nodes on each side."""
        (y, x), (ny, nx) = self.first, self.shape
        return Lattice(self.cell, (y - n, x - n), (ny + 2 * n, nx + 2 * n))


def _seen(shape: Shape, window: SkyGrid, center: SkyCoord, psf: Psf | None, cell: float) -> Floats:
    """Shares of the pixels of a window, (y, x, energy), through the plane around a position."""
    end = 0.0 if psf is None else float(psf[1][-1])
    x, y = corners(window, center)
    if isinstance(shape, TemplateSource):
        reach = float(np.hypot(x, y).max(where=np.isfinite(x), initial=0.0))
    else:
        reach = min(shape.extent + end, 180.0)
    near = np.hypot(x, y) <= reach + 4 * max(window.pixel_scales)
    pixels = near[1:, 1:] | near[1:, :-1] | near[:-1, 1:] | near[:-1, :-1]
    energies = 1 if psf is None else len(psf[0])
    if not near.any():
        return np.zeros((*window.shape, energies))
    low = [int(np.floor(max(p[near].min(), -reach) / cell)) - 2 for p in (y, x)]
    high = [int(np.ceil(min(p[near].max(), reach) / cell)) + 3 for p in (y, x)]
    if low[0] >= high[0] or low[1] >= high[1]:
        return np.zeros((*window.shape, energies))
    lattice = Lattice(cell, (low[0], low[1]), (high[0] - low[0], high[1] - low[1]))
    kernels = None if psf is None else _kernels(*psf, cell)
    more = 0 if kernels is None else kernels.shape[1] // 2
    events = _events(shape, lattice.wider(more), center, window.frame, _blur(psf) * cell**2)
    return _over_pixels(events, kernels, x / cell - low[1], y / cell - low[0]) * pixels[..., None]


def _blur(psf: Psf | None) -> float:
    """Variance that cells add to what is sampled, in cells: of straight lines in between, and of averages of a PSF."""
    return 1 / 6 if psf is None else 1 / 4


def _kernels(values: Floats, radii: Floats, cell: float) -> Floats:
    """Shares of the cells around a point, (energy, y, x); those of a quarter, for the others are the same."""
    n = int(np.ceil(radii[-1] / cell + 0.5))
    edges = (np.arange(n + 2) - 0.5) * cell
    x, y = np.meshgrid(edges, edges)
    quarter = np.zeros((len(values), (n + 1) ** 2))
    reached, shares = plane_integrals(x, y, radii, values)
    quarter[:, reached] = shares.T
    whole = np.pad(quarter.reshape(-1, n + 1, n + 1), ((0, 0), (n, 0), (n, 0)), mode="reflect")
    total = whole.sum(axis=(1, 2), keepdims=True)
    return np.asarray(whole / np.where(total > 0, total, 1))


def _over_pixels(events: Floats, kernels: Floats | None, x: Floats, y: Floats) -> Floats:
    """Integrals over pixels with these corners, (y, x, energy), of events that kernels (energy, y, x) spread."""
    from scipy import fft

    from xonoff.stats.bilinear import integrate

    if kernels is None:
        return integrate(events, x, y)[..., None]
    # What wraps around ends up in the margin, where events are from.
    size = [fft.next_fast_len(n, real=True) for n in events.shape]
    spectrum = fft.rfft2(events, s=size)
    inside = tuple(slice(n - 1, m) for n, m in zip(kernels.shape[1:], events.shape, strict=True))

    def one(kernel: Floats) -> Floats:
        spread = fft.irfft2(spectrum * fft.rfft2(kernel, s=size), s=size)[inside]
        return integrate(np.ascontiguousarray(np.maximum(spread, 0.0)), x, y)

    return np.stack(in_threads(one, kernels, at_least=2), axis=-1)


# -- from the shape to the plane --------------------------------------------------------------------------------------


def _events(shape: Shape, lattice: Lattice, center: SkyCoord, frame: str, variance: float) -> Floats:
    """Share of the events of a shape in each cell."""
    if isinstance(shape, TemplateSource):
        own = center.transform_to(shape.frame).spherical
        events = _sampled(shape, lattice, own.lon.deg, own.lat.deg, _turn(shape, center))
        return events * (float(shape.norm.value) / events.sum() if _holds(lattice, shape, center) else 1.0)
    major, minor = _axes(shape)
    angle = float(shape.phi.value) + np.degrees(_turn(shape, center))
    if isinstance(shape, DiskSource) or minor < RESOLVED * lattice.cell:
        return _ruled(shape, lattice, np.radians(angle))
    narrower = [np.sqrt(axis**2 - variance) for axis in (major, minor)]
    e = np.sqrt(1 - (narrower[1] / narrower[0]) ** 2)
    return _sampled(type(shape)(0.0, 0.0, narrower[0], e, angle), lattice, 0.0, 0.0, 0.0)


def _sampled(shape: Shape, lattice: Lattice, lon: float, lat: float, turn: float) -> Floats:
    """Events by the brightness at points of the cells: as many as the pixels of a template ask for, more at its rim."""
    from scipy.ndimage import binary_dilation, binary_erosion

    def mean(north: Floats, east: Floats, n: int) -> Floats:
        fine = (np.arange(n) + 0.5) / n - 0.5
        parts = [_density(shape, lon, lat, turn, north + dy, east + dx, lattice.cell) for dy, dx in product(fine, fine)]
        return np.asarray(sum(parts[1:], start=parts[0]) / n**2)

    north, east = np.meshgrid(lattice.axis(0), lattice.axis(1), indexing="ij")
    if not isinstance(shape, TemplateSource):
        return mean(north, east, 1)
    found = mean(north, east, int(np.clip(np.ceil(4 * lattice.cell / min(shape.sky.pixel_scales)), 1, AT_RIM)))
    lit = found > 0
    rim = binary_dilation(lit) & ~binary_erosion(lit, border_value=1)
    found[rim] = mean(north[rim], east[rim], AT_RIM)
    return found


def _density(shape: Shape, lon: float, lat: float, turn: float, north: Floats, east: Floats, cell: float) -> Floats:
    """Events per cell of the plane around a position, at offsets from it in cells, by the brightness there."""
    distance, lat_0 = np.radians(np.hypot(north, east) * cell), np.radians(lat)
    angle = np.arctan2(east, north) - turn
    sine = np.sin(lat_0) * np.cos(distance) + np.cos(lat_0) * np.sin(distance) * np.cos(angle)
    along = np.cos(lat_0) * np.cos(distance) - np.sin(lat_0) * np.sin(distance) * np.cos(angle)
    there = lon + np.degrees(np.arctan2(np.sin(angle) * np.sin(distance), along))
    brightness = np.nan_to_num(shape(there, np.degrees(np.arcsin(np.clip(sine, -1, 1)))))
    area = np.where(distance < np.pi, np.sinc(distance / np.pi), 0.0) * np.radians(cell) ** 2
    return np.asarray(brightness * area)


def _holds(lattice: Lattice, shape: TemplateSource, center: SkyCoord) -> bool:
    """Tell whether all of a template is in a part of the plane."""
    middle = SkyCoord(*shape.sky.center, unit="deg", frame=shape.frame).transform_to(center.frame)
    distance, angle = center.separation(middle).deg, center.position_angle(middle).rad
    offsets = np.array([distance * np.cos(angle), distance * np.sin(angle)]) / lattice.cell
    low = np.array(lattice.first)
    far = shape.extent / lattice.cell
    return bool((offsets - far > low).all() and (offsets + far < low + lattice.shape).all())


def _ruled(shape: Shape, lattice: Lattice, angle: float) -> Floats:
    """Events of an ellipse, strip by strip along its longer side: of any axes, down to a line."""
    (major, minor), cell = _axes(shape), lattice.cell
    cos, sin = np.cos(angle), np.sin(angle)
    sizes = np.hypot(major * cos, minor * sin) / cell, np.hypot(major * sin, minor * cos) / cell
    along = int(sizes[1] > sizes[0])
    length = sizes[along]
    slope = (major**2 - minor**2) * sin * cos / (length * cell) ** 2
    first = lattice.first[along] - 0.5
    cuts = first + np.arange(lattice.shape[along] * STRIPS + 1) / STRIPS
    mass = np.diff(_below(shape, cuts / length))
    ends = np.clip(cuts, -length, length) if isinstance(shape, DiskSource) else cuts
    middle = (ends[1:] + ends[:-1]) / 2
    width = np.full(middle.size, major / cell * (minor / cell / length))
    if isinstance(shape, DiskSource):
        width *= np.sqrt(np.maximum(1 - (middle / length) ** 2, 0))
    edges = lattice.first[1 - along] - 0.5 + np.arange(lattice.shape[1 - along] + 1)
    reached = mass > 0
    across = (edges - slope * middle[reached, None]) / np.maximum(width[reached, None], 1e-9)
    strips = np.zeros((mass.size, edges.size - 1))
    strips[reached] = mass[reached, None] * np.diff(_chord(shape, across))
    cells = strips.reshape(-1, STRIPS, edges.size - 1).sum(axis=1)
    cells = cells if along == 0 else cells.T
    if isinstance(shape, DiskSource):  # on the sphere; the same for a small one
        distance = np.hypot(lattice.axis(0)[:, None], lattice.axis(1)) * cell
        whole = float(shape(shape.lon_0.value, shape.lat_0.value)) * np.pi * np.radians(major) * np.radians(minor)
        cells *= np.where(distance < 180, np.sinc(distance / 180), 0.0) * whole
    return np.asarray(cells)


def _below(shape: Shape, at: Floats) -> Floats:
    """Share of a shape below a line across it, in half axes from its middle."""
    from scipy.special import ndtr

    if not isinstance(shape, DiskSource):
        return np.asarray(ndtr(at))
    at = np.clip(at, -1, 1)
    return np.asarray(0.5 + (at * np.sqrt(1 - at**2) + np.arcsin(at)) / np.pi)


def _chord(shape: Shape, at: Floats) -> Floats:
    """Share of a line through a shape below a place on it."""
    from scipy.special import ndtr

    return np.asarray((np.clip(at, -1, 1) + 1) / 2 if isinstance(shape, DiskSource) else ndtr(at))


def _turn(shape: Shape, center: SkyCoord) -> float:
    """Position angle of the north of the shape's frame at a position, in the frame of that, radians."""
    own = center.transform_to(shape.frame)
    northward = own.directional_offset_by(0 * u.deg, 1 * u.arcsec).transform_to(center.frame)
    return float(center.position_angle(northward).rad)
