"""What a source gives around its pixel, for every pixel of a part of a map, where each pixel has the source in turn.

The exact signal of a source at one pixel, `xonoff.source.Source`, takes milliseconds, which is too long for each of a
million pixels. Its shares of the pixels around, relative to its own, and the flux that is seen at each energy change
slowly along a map, with the response and with the distortion of the grid. So they are worked out at the corners of
cells and interpolated between them. Cells are cut in halves until that is right; a cell of one pixel is exact.
"""

import math
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.coordinates import SkyCoord

from xonoff.axes import axis_edges
from xonoff.cutout import cut_response
from xonoff.geometry import Geom, grid_of, sky_dims, sky_grid
from xonoff.irf import Method
from xonoff.models import SkyModel
from xonoff.reach import CELL, pixel_reach
from xonoff.skygrid import SkyGrid
from xonoff.source import Source, reach_of
from xonoff.stats.threads import product

__all__ = ["Cell", "Patterns", "folded"]

Floats: TypeAlias = npt.NDArray[np.float64]

#: Share of its events by which an interpolated pattern may differ, in all pixels together, and one that is folded.
TOLERANCE = 4e-4
#: Pixels by which the pixels of a response may be out of line.
STRAIGHT = 0.3
#: Pixels from one to the next below which a response counts as smooth.
DENSE = 4
#: Pixels of a cell from which on it is worth the time to fold its pattern.
MANY = 64
#: Share of the events of each energy that is left out, at the pixels that get least; the rest makes up for it.
BEYOND = 1e-4
#: Share of the counts of an energy that true energies may be left out for.
NOTHING = 1e-6


class Node(NamedTuple):
    """What a source at one pixel gives: shares (layer, y, x), the pixel in the middle, and `Source.seen`."""

    shares: Floats
    seen: Floats


class Cell(NamedTuple):
    """A part of a map, and what a source at the pixels in its corners gives."""

    y: int
    x: int
    size: tuple[int, int]
    pattern: Any


class Patterns:
    """What a source at the pixels of one large cell gives.

    Parameters
    ----------
    response : Dataset
        With energies, and PSF and energy dispersion on grids of their own, see `own_grids`; in memory.
    model : SkyModel
        Its position is where it is put.
    sky : SkyGrid
        Of the map.
    corner : (int, int)
        First pixel of the cell, (y, x).
    exposure : ndarray (energy_true,)
        How much each true energy counts.
    interpolation : {"linear", "nearest"}
    """

    def __init__(
        self,
        response: xr.Dataset,
        model: SkyModel,
        sky: SkyGrid,
        corner: tuple[int, int],
        exposure: Floats,
        interpolation: Method = "linear",
    ) -> None:
        y, x = corner
        model = model.copy()
        ry, rx = pixel_reach(sky, np.array([[y, x]]), reach_of(model, response))[0]
        self._low = y - ry, x - rx
        window = sky.window(self._low, (y + CELL + ry + 1, x + CELL + rx + 1))
        response = cut_response(response, sky.window((y, x), (y + CELL + 1, x + CELL + 1)))
        where = Geom(window, tuple(axis_edges(response, "energy").tolist()))
        ones = xr.Variable("energy_true", np.ones(response.sizes["energy_true"]), {"units": "m2 s"})
        self._ds = response.assign(exposure=ones).assign_coords(where.coords())
        self._sky, self._model, self._exposure, self._interpolation = sky, model, exposure, interpolation
        self._source: Source | None = None
        self._nodes: dict[tuple[int, int], Node | None] = {}
        self._corner, self._aligned = corner, True

    def cells(self, wanted: npt.NDArray[np.bool_]) -> list[Cell]:
        """Cells within which patterns can be interpolated: those with pixels of the sky that are wanted."""
        self._wanted = wanted
        cuts = [self._cuts(axis) for axis in (0, 1)]
        ends = [np.unique([n, *own, n + CELL]).tolist() for n, own in zip(self._corner, cuts, strict=True)]
        sides = [[(a, b - a) for a, b in pairwise(own)] for own in ends]
        return [cell for y, ny in sides[0] for x, nx in sides[1] for cell in self._cells(y, x, (ny, nx))]

    def _cuts(self, axis: int) -> list[int]:
        """Pixels from which on a response is interpolated between other pixels of its own: it has a kink there."""
        found: list[int] = []
        for name, used in (("psf", self._model.psf), ("edisp", self._model.edisp)):
            if not used or name not in self._ds or grid_of(self._ds, name) is None:
                continue
            own = sky_grid(self._ds, name)
            places = [np.moveaxis(place, axis, 0) for place in self._sky.sky_to_pixel(own.skycoord())[::-1]]
            every = 1
            if self._interpolation == "nearest":
                places = [(place[1:] + place[:-1]) / 2 for place in places]
            else:  # of a smooth response the kinks of some lines may be left out: s lines matter by s^2 / 8
                kink = self._kink(name, own.dims(name)[axis])
                every = max(math.floor(math.sqrt(4 * TOLERANCE / max(kink, 1e-12))), 1)
            across, first = places[1 - axis], self._corner[1 - axis]
            near = np.abs(across - first - CELL / 2) < CELL
            lines = [line[inside] for line, inside in zip(places[axis], near, strict=True) if inside.any()]
            middles = [float(np.mean(line)) for line in lines]
            dense = len(lines) > 1 and np.abs(np.diff(middles)).min() < DENSE
            self._aligned &= not dense and all(bool(np.ptp(line) < STRAIGHT) for line in lines)
            low = self._corner[axis]
            cuts = [math.floor(middle) + 1 for middle in middles if not dense and np.isfinite(middle)]
            found += [cut for cut in cuts if low < cut < low + CELL][every - 1 :: every]
        return found

    def _kink(self, name: str, dim: str) -> float:
        """Share of the events by which a response differs most from a straight line through the pixels beside it."""
        array = self._ds.variables[name]
        bins = "rad" if "rad" in array.dims else "migra" if "migra" in array.dims else "energy"
        values = np.nan_to_num(np.moveaxis(array.values, (array.get_axis_num(dim), array.get_axis_num(bins)), (0, -1)))
        if bins == "rad":
            values = values * np.diff(axis_edges(self._ds, "rad") ** 2)
        beside = np.concatenate([values[:1], values, values[-1:]])
        off, whole = np.abs(beside[2:] - 2 * values + beside[:-2]).sum(axis=-1), values.sum(axis=-1)
        return float(np.max(np.where(whole > 0, off / np.where(whole > 0, whole, 1), off > 0), initial=0.0))

    def _cells(self, y: int, x: int, size: tuple[int, int]) -> list[Cell]:
        """Cells of a part, which is cut until its patterns can be interpolated."""
        ny, nx = size
        i, j = y - self._corner[0], x - self._corner[1]
        if not self._wanted[i : i + ny, j : j + nx].any():
            return []
        corners = [[self._node(row, column) for column in (x, x + nx - 1)] for row in (y, y + ny - 1)]
        flat = [node for row in corners for node in row]
        if ny == nx == 1:
            return [] if flat[0] is None else [self._cell(y, x, size, corners)]
        cut = (True, True) if any(node is None for node in flat) else self._differs(y, x, size, corners)
        if not any(n > 1 and wanted for n, wanted in zip(size, cut, strict=True)):
            return [self._cell(y, x, size, corners)]
        parts = [[n // 2, n - n // 2] if wanted and n > 1 else [n] for n, wanted in zip(size, cut, strict=True)]
        return [
            cell
            for row, height in zip((y, y + parts[0][0]), parts[0], strict=False)
            for column, width in zip((x, x + parts[1][0]), parts[1], strict=False)
            for cell in self._cells(row, column, (height, width))
        ]

    # -- at one pixel -------------------------------------------------------------------------------------------------

    def _node(self, y: int, x: int) -> Node | None:
        if (y, x) not in self._nodes:
            self._nodes[y, x] = self._at(y, x)
        return self._nodes[y, x]

    def _at(self, y: int, x: int) -> Node | None:
        lon, lat = (float(angle) for angle in self._sky.pixel_to_sky(x, y))
        if not np.isfinite(lon + lat):
            return None
        shape = self._model.spatial
        assert shape is not None
        if shape.frame != self._sky.frame:
            place = SkyCoord(lon, lat, unit="deg", frame=self._sky.frame).transform_to(shape.frame)
            lon, lat = place.spherical.lon.deg, place.spherical.lat.deg
        shape.lon_0, shape.lat_0 = lon, min(max(lat, -90.0), 90.0)
        if self._source is None:
            self._source = Source(self._ds, self._model, BEYOND, self._interpolation)
        else:
            self._source.refresh()
        source = self._source
        shares = _cut(source.shares.T)
        if len(shares) == 1:
            shares = np.repeat(shares, len(self._exposure), axis=0)
        sky = self._ds.sizes[sky_dims(self._ds)[1]]
        rows, columns = np.divmod(source.pixels, sky)
        rows, columns = rows + self._low[0] - y, columns + self._low[1] - x
        kept = (shares > 0).any(axis=0)
        ry, rx = (int(np.abs(n[kept]).max(initial=0)) for n in (rows, columns))
        found = np.zeros((len(shares), 2 * ry + 1, 2 * rx + 1))
        found[:, rows[kept] + ry, columns[kept] + rx] = shares[:, kept]
        return Node(found, source.seen())

    # -- between pixels -----------------------------------------------------------------------------------------------

    def _differs(self, y: int, x: int, size: tuple[int, int], corners: Any) -> tuple[bool, bool]:
        """Tell along which of its sides a cell has to be cut."""
        ny, nx = size
        row, column = y + (ny - 1) // 2, x + (nx - 1) // 2
        (a, b), (c, d) = corners
        v, u = (row - y) / max(ny - 1, 1), (column - x) / max(nx - 1, 1)
        weights = np.array([(1 - v) * (1 - u), (1 - v) * u, v * (1 - u), v * u])
        middle = self._error(self._node(row, column), [a, b, c, d], weights) > TOLERANCE
        if not middle and self._aligned:
            return False, False
        along_y = ny > 2 and any(
            self._error(self._node(row, at), ends, np.array([1 - v, v])) > TOLERANCE
            for at, ends in ((x, [a, c]), (x + nx - 1, [b, d]))
        )
        along_x = nx > 2 and any(
            self._error(self._node(at, column), ends, np.array([1 - u, u])) > TOLERANCE
            for at, ends in ((y, [a, b]), (y + ny - 1, [c, d]))
        )
        return (along_y, along_x) if along_y or along_x else (middle, middle)

    def _error(self, node: Node | None, around: list[Node], weights: Floats) -> float:
        """Share of the events by which a pattern differs from a mean of others, at the energy where it is largest."""
        if node is None:
            return np.inf
        shares = _same_size([node, *around])
        seen = np.array([n.seen for n in (node, *around)]) * self._exposure[:, None]
        off = np.abs(shares[0] - np.tensordot(weights, shares[1:], axes=1)).sum(axis=(1, 2))
        whole = shares.sum(axis=(2, 3)).max(axis=0)
        total = np.maximum(seen.max(axis=0).sum(axis=0), 1e-300)
        apart = np.abs(seen[0] - np.tensordot(weights, seen[1:], axes=1)).sum(axis=0) / total
        if self._by_energy:
            apart += np.where(seen[0].any(axis=0), off, 0.0) / np.where(whole > 0, whole, 1)
        else:
            apart += (off @ seen[0]) / np.maximum(whole @ seen[0], 1e-300)
        return float(apart.max())

    @property
    def _by_energy(self) -> bool:
        return self._source is not None and self._source.by_energy

    def _cell(self, y: int, x: int, size: tuple[int, int], corners: Any) -> Cell:
        from xonoff.stats.scans import Pattern

        flat = [node for row in corners for node in row]
        shares = _same_size(flat)
        seen = np.array([node.seen for node in flat])
        # True energies that give an energy next to nothing are left out.
        counts = seen.max(axis=0) * self._exposure[:, None]
        matters = counts > NOTHING * counts.sum(axis=0)
        begin = np.argmax(matters, axis=0)
        end = np.where(matters.any(axis=0), len(matters) - np.argmax(matters[::-1], axis=0), begin)
        there: npt.NDArray[np.bool_] = np.asarray((shares > 0).any(axis=0))
        low, high = (np.zeros((seen.shape[2], shares.shape[2]), dtype=np.intp) for _ in range(2))
        for e in range(seen.shape[2]):
            reached = np.asarray(there[e] if self._by_energy else there[begin[e] : end[e]].any(axis=0))
            found = reached.any(axis=1) & bool(end[e] > begin[e])
            low[e] = np.argmax(reached, axis=1)
            high[e] = np.where(found, reached.shape[1] - np.argmax(reached[:, ::-1], axis=1), low[e])
        row, column = shares.shape[2] // 2, shares.shape[3] // 2
        pattern = Pattern(
            np.ascontiguousarray(shares.reshape(2, 2, *shares.shape[1:])),
            low,
            high,
            np.ascontiguousarray(seen.reshape(2, 2, *seen.shape[1:])),
            begin.astype(np.intp),
            end.astype(np.intp),
            row,
            column,
            self._by_energy,
        )
        return Cell(y, x, size, pattern)


def folded(cell: Cell, exposure: Floats, origin: tuple[int, int]) -> tuple[Any, Floats] | None:
    """Pattern of a cell with the energy dispersion in it, and exposures by energy; None where that is not exact enough.

    The counts of an energy are a sum over true energies, each with its own exposure and shares. They are the product of
    one exposure and one pattern, if the exposures of these true energies change alike around a pixel.

    Parameters
    ----------
    cell : Cell
    exposure : ndarray (energy_true, y, x)
        Of a window of the map.
    origin : (int, int)
        Where in the window the cell begins.
    """
    pattern, (_, ny, nx) = cell.pattern, exposure.shape
    if cell.size[0] * cell.size[1] < MANY or pattern.by_energy:
        return None
    layers, height, width = pattern.shares.shape[2:]
    seen = pattern.seen.mean(axis=(0, 1))
    seen_exposure = product(np.ascontiguousarray(seen.T), exposure.reshape(layers, -1)).reshape(-1, ny, nx)
    found = np.zeros((2, 2, seen.shape[1], height, width))
    places = [[first + (n - 1) * k for k in (0, 1)] for first, n in zip(origin, cell.size, strict=True)]
    for i, j in np.ndindex(2, 2):
        y, x = min(max(places[0][i], 0), ny - 1), min(max(places[1][j], 0), nx - 1)
        here, there = exposure[:, y, x], seen_exposure[:, y, x]
        if not (there[pattern.end > pattern.begin] > 0).all():
            return None
        counts = (pattern.seen[i, j] * here[:, None] / np.where(there > 0, there, 1)).T
        found[i, j] = product(np.ascontiguousarray(counts), pattern.shares[i, j].reshape(layers, -1)).reshape(
            found.shape[2:]
        )
    for at in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5)):
        y, x = (min(max(round(a + k * (b - a)), 0), n - 1) for (a, b), k, n in zip(places, at, (ny, nx), strict=True))
        v, u = ((n - a) / max(b - a, 1) for (a, b), n in zip(places, (y, x), strict=True))
        weights = np.outer((1 - v, v), (1 - u, u))
        shares, flux, own = (np.tensordot(weights, array, axes=2) for array in (pattern.shares, pattern.seen, found))
        before = y - pattern.row, x - pattern.column
        rows, columns = (
            slice(max(n, 0), max(min(n + m, size), 0))
            for n, m, size in zip(before, (height, width), (ny, nx), strict=True)
        )
        inner = (
            slice(None),
            *(slice(part.start - n, part.stop - n) for part, n in zip((rows, columns), before, strict=True)),
        )
        around = np.ascontiguousarray(exposure[:, rows, columns] * shares[inner])
        exact = product(np.ascontiguousarray(flux.T), around.reshape(layers, -1))
        off = np.abs(exact - (own[inner] * seen_exposure[:, rows, columns]).reshape(exact.shape))
        if (off.sum(axis=1) > TOLERANCE * exact.sum(axis=1)).any():
            return None
    one = np.ones((2, 2, 1, 1)) * np.eye(seen.shape[1])
    begin = np.arange(seen.shape[1])
    return pattern._replace(shares=found, seen=one, begin=begin, end=begin + 1), seen_exposure


def _cut(shares: Floats) -> Floats:
    """Shares (layer, pixel) without the smallest ones of each layer; the rest makes up for them."""
    ordered = np.sort(shares, axis=1)
    sums = np.cumsum(ordered, axis=1)
    total = sums[:, -1:] if shares.shape[1] else np.zeros((len(shares), 1))
    number = np.minimum((sums <= BEYOND * total).sum(axis=1), max(shares.shape[1] - 1, 0))
    if not shares.shape[1]:
        return shares
    least = np.take_along_axis(ordered, number[:, None], axis=1)
    kept = np.where(shares >= least, shares, 0.0)
    left = kept.sum(axis=1, keepdims=True)
    return np.asarray(kept * (total / np.where(left > 0, left, 1)))


def _same_size(nodes: list[Node]) -> Floats:
    """Shares of nodes in one array, each in the middle."""
    shapes = np.array([node.shares.shape for node in nodes])
    found = np.zeros((len(nodes), *shapes.max(axis=0)))
    for out, node in zip(found, nodes, strict=True):
        dy, dx = ((big - own) // 2 for big, own in zip(out.shape[1:], node.shares.shape[1:], strict=True))
        out[:, dy : dy + node.shares.shape[1], dx : dx + node.shares.shape[2]] = node.shares
    return found
