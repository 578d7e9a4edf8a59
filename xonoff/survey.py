"""Stack the runs of an archive into a cube larger than memory, tile by tile; an interrupted stack is resumed.

A `Plan` lays the runs out as `xonoff.combine` does, without reading their data, and cuts the work into tiles: blocks
of pixels of the counts, and of each response that has a sky grid of its own. A tile is the chunks of the store in one
block. It reads the runs that touch it, one after the other, adds them by the rules of `xonoff.stacking`, in the same
order as `xonoff.stack` does and so bit for bit, puts its chunks, and then a marker. A tile without a marker is made
again, whole.

The ``zarr.json`` of the store is put last, so nothing opens the store before all tiles are there::

    .xonoff_survey/plan.json       what is stacked; a stack of anything else is refused
    .xonoff_survey/template        metadata and small arrays, written before the first tile
    .xonoff_survey/done/<tile>     markers; all of this goes when the store is whole
"""

import hashlib
import json
import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from xonoff.combine import Frame, Layout, in_turn
from xonoff.errors import SchemaError
from xonoff.geometry import Geom
from xonoff.io.encoding import BLOCK, storable, zarr_encoding
from xonoff.io.folder import Folder
from xonoff.io.groups import open_url, pack, publish, remove_group, seal_group, unpack
from xonoff.io.objects import Objects
from xonoff.io.runs import Run, naming, open_run
from xonoff.provenance import made
from xonoff.quantities import ON_OFF
from xonoff.stacking import MASK_SUMS

__all__ = ["Plan", "stack"]

WORK = ".xonoff_survey"
PLAN, TEMPLATE, DONE = f"{WORK}/plan.json", f"{WORK}/template", f"{WORK}/done"
ROOT = "zarr.json"
#: Bytes of the largest chunk of a tile, by default.
TILE = 16 * 2**20
#: Runs that are opened at a time while a plan is made, and that are read ahead while a tile is.
OPENING, AHEAD = 8, 2
#: Tiles per worker that are handed to a cluster at a time.
QUEUE = 4

Pair = tuple[int, int]
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Tile:
    """One block of pixels: its name, its sky grid (None for a response without), and its pixels along (y, x)."""

    name: str
    grid: str | None
    low: Pair = (0, 0)
    high: Pair = (0, 0)


@dataclass(frozen=True)
class Plan:
    """What is stacked, where every run lies on the grids of the result, and the tiles.

    Attributes
    ----------
    source : Objects
        The archive.
    runs : sequence of Run
    layout : Layout
    frames : sequence of Frame
        Observations and attributes of the runs.
    places : dict of str to ndarray (run, 4) of int
        For each sky grid: first and last pixel of each run on the grid of the result, y0, x0, y1, x1.
    sides : dict of str to int
        Pixels along the side of a tile, of each sky grid.
    """

    source: Objects
    runs: Sequence[Run]
    layout: Layout
    frames: Sequence[Frame]
    places: dict[str, Any]
    sides: dict[str, int]

    @classmethod
    def of(cls, source: Objects, runs: Sequence[Run], geom: Geom, tile: int | None) -> "Plan":
        """Lay out the runs of an archive on a geometry; opens every run, reads no data."""
        if not runs:
            raise SchemaError(f"{source.name}: no run selected, at least one is wanted: see archive.index")
        if tile is not None and (isinstance(tile, bool) or not isinstance(tile, int | np.integer) or tile < 1):
            raise SchemaError(f"tile: {tile!r} found, a number of pixels accepted")
        layout: Layout | None = None
        frames, places = [], []
        with ThreadPoolExecutor(OPENING) as pool:
            opened = _ahead(pool, OPENING, partial(open_run, source), runs)
            for number, (run, ds) in enumerate(zip(runs, opened, strict=True), 1):
                with naming(source, run):
                    layout = layout or Layout.of([ds], geom)
                    layout.check(ds, number)
                    frames.append(_kept(ds))
                    places.append({grid: _place(layout, ds, number, grid) for grid in layout.grids})
        assert layout is not None
        sides = {}
        for grid, sky in layout.grids.items():
            rules = [rule for rule in layout.rules if rule.grid == grid]
            largest = max((_bytes(layout, dims) for rule in rules for dims in rule.variables.values()), default=8)
            sides[grid] = tile if tile is not None and not grid else max(1, 2 ** int(math.log2(TILE / largest) / 2))
            size = largest * math.prod(min(sides[grid], n) for n in sky.shape)
            if size > BLOCK:
                raise SchemaError(
                    f"tile: {sides[grid]} pixels found, which make chunks of {size / 2**20:.0f} MiB, up to "
                    f"{BLOCK // 2**20} MiB accepted: give a smaller tile"
                )
        gathered = {grid: np.array([place[grid] for place in places]) for grid in layout.grids}
        return cls(source, runs, layout, frames, gathered, sides)

    @property
    def tiles(self) -> Iterator[Tile]:
        """All tiles: of the counts first."""
        if any(rule.grid is None for rule in self.layout.rules):
            yield Tile("all", None)
        for grid, sky in self.layout.grids.items():
            if any(rule.grid == grid for rule in self.layout.rules):
                side = self.sides[grid]
                for y, x in np.ndindex(*(-(-n // side) for n in sky.shape)):
                    high = (min((y + 1) * side, sky.shape[0]), min((x + 1) * side, sky.shape[1]))
                    yield Tile(f"{grid or 'counts'}.{y}.{x}", grid, (y * side, x * side), high)

    @property
    def provenance(self) -> str:
        """What makes the result, as JSON."""
        layout = self.layout
        grids = {grid or "counts": [sky.cards, sky.shape] for grid, sky in layout.grids.items()}
        runs = repr([(run.group, run.seal) for run in self.runs]).encode()
        tiles = {grid or "counts": n for grid, n in self.sides.items()}
        return made(
            "Archive.stack",
            [run.obs_id for run in self.runs],
            {"grids": grids, "tile": tiles},
            archive=self.source.name,
            runs_sha256=hashlib.sha256(runs).hexdigest(),
        )["provenance"]

    def template(self) -> xr.Dataset:
        """Return the result with its coordinates and attributes, its cubes lazy zeros in the chunks of the tiles."""
        import dask.array as da

        variables = {}
        for rule in self.layout.rules:
            for name, dims in rule.variables.items():
                shape = [self.layout.sizes[dim] for dim in dims]
                side = (
                    {} if rule.grid is None else dict.fromkeys(self.layout.grids[rule.grid].dims(rule.grid), rule.grid)
                )
                chunks = [
                    min(self.sides[side[dim]], n) if dim in side else n for dim, n in zip(dims, shape, strict=True)
                ]
                zeros = da.zeros(shape, dtype=bool if name in MASK_SUMS else np.float64, chunks=chunks)
                variables[name] = xr.Variable(dims, zeros)
        return self.layout.dataset(variables, self.frames).assign_attrs(provenance=self.provenance)

    def work(self, tile: Tile, target: Objects, arrays: dict[str, bytes], again: bool) -> "Work":
        """All that the making of a tile needs, so that it can be sent to a worker; see `Work`."""
        touching = np.ones(len(self.runs), bool)
        if tile.grid is not None:
            y0, x0, y1, x1 = self.places[tile.grid].T
            touching = (y0 < tile.high[0]) & (y1 > tile.low[0]) & (x0 < tile.high[1]) & (x1 > tile.low[1])
        rules = [rule for rule in self.layout.rules if rule.grid == tile.grid]
        runs = [run for run, yes in zip(self.runs, touching, strict=True) if yes]
        layout = self.layout.tile(rules, tile.grid, tile.low, tile.high)
        angles = {}
        if tile.grid is not None:  # of the whole map, about whose middle longitude is unwrapped
            dims = self.layout.grids[tile.grid].dims(tile.grid)
            part = {dim: slice(a, b) for dim, a, b in zip(dims, tile.low, tile.high, strict=True)}
            angles = {name: v.isel(part) for name, v in self.layout.coords.items() if v.dims == dims and name in arrays}
        names = {*angles, *(name for rule in rules for name in rule.variables)}
        own = {name: metadata for name, metadata in arrays.items() if name in names}
        return Work(self.source, target, tile, layout, runs, angles, own, again)


@dataclass(frozen=True)
class Work:
    """The making of one tile.

    Attributes
    ----------
    source, target : Objects
    tile : Tile
    layout : Layout
        Of the tile.
    runs : sequence of Run
        Those that touch it.
    angles : dict of str to Variable
        2-D longitude and latitude.
    arrays : dict of str to bytes
        Metadata of the arrays to write.
    again : bool
        There may be chunks of an earlier attempt.
    """

    source: Objects
    target: Objects
    tile: Tile
    layout: Layout
    runs: Sequence[Run]
    angles: dict[str, xr.Variable]
    arrays: dict[str, bytes]
    again: bool

    def __call__(self) -> str:
        """Make the tile and put its marker; returns its name."""
        variables, _ = in_turn(self._datasets(), self.layout)
        arrays = {name: v for name, v in {**variables, **self.angles}.items() if name in self.arrays}
        keys = [key for name, variable in arrays.items() for key in self._write(name, variable)]
        self.target.flush(keys)
        self.target.put(f"{DONE}/{self.tile.name}", b"")
        return self.tile.name

    def _datasets(self) -> Iterator[xr.Dataset]:
        """Runs that touch the tile, one at a time: those pixels of them, or whole for a response on another grid."""
        kept = {name for rule in self.layout.rules for name in (*rule.variables, f"{rule.name}_exposure")}
        kept |= {*ON_OFF, "background", *MASK_SUMS}
        kept |= {"exposure"} if any(rule.name in ("psf", "edisp") for rule in self.layout.rules) else set()
        with ThreadPoolExecutor(AHEAD) as pool:
            yield from _ahead(pool, AHEAD, partial(self._load, kept=kept), list(enumerate(self.runs, 1)))

    def _load(self, numbered: tuple[int, Run], kept: set[str]) -> xr.Dataset:
        number, run = numbered
        ds = open_run(self.source, run)
        with naming(self.source, run):
            ds = ds.drop_vars([name for name in ds.data_vars if name not in kept])
            if self.tile.grid == "":
                ds = ds.isel(self.layout.overlap(ds, number, "")[1])
            return ds.assign({name: array.variable.load() for name, array in ds.data_vars.items()})

    def _write(self, name: str, variable: xr.Variable) -> Iterator[str]:
        """Put the chunks of an array, whole ones; yields their keys."""
        import zarr

        from xonoff.io.zarrstore import ObjectsStore

        store = ObjectsStore(self.target, small={f"{name}/{ROOT}": self.arrays[name]})
        with zarr.config.set({"array.write_empty_chunks": True}):  # so that a missing chunk is a lost one
            array = zarr.open_array(store, path=name, mode="r+", zarr_format=3)
        grid = self.tile.grid
        dims = () if grid is None else self.layout.grids[grid].dims(grid)
        start = dict(zip(dims, self.tile.low, strict=bool(dims)))
        low = [start.get(str(dim), 0) for dim in variable.dims]
        chunks = [
            range(a // step, -(-(a + n) // step)) for a, n, step in zip(low, variable.shape, array.chunks, strict=True)
        ]
        keys = ["/".join([name, "c", *map(str, index)]) for index in _product(chunks)]
        if self.again:  # zarr would read what is left of a chunk at the edge
            self.target.delete(keys)
        array[tuple(slice(a, a + n) for a, n in zip(low, variable.shape, strict=True))] = variable.values
        yield from keys


def stack(plan: Plan, target: Objects, *, restart: bool, client: Any, chunks: Any = None) -> xr.Dataset:
    """Write the stack of a plan, or what is left of it to write; see `xonoff.Archive.stack`."""
    if isinstance(target, Folder) and not Path(target.path).parent.is_dir():
        raise FileNotFoundError(f"{target.name}: the folder {Path(target.path).parent} does not exist: create it")
    found = target.find()
    if ROOT in found:
        made = open_url(target, chunks)
        if not _is_same(str(made.attrs.get("provenance")), plan.provenance):
            raise FileExistsError(f"{target.name} holds another dataset: remove it, or give another name as out")
        target.delete([key for key in found if key.startswith(WORK)])
        return made
    foreign = [key for key in found if key.split("/")[0] not in (WORK,)] if PLAN not in found else []
    if foreign:
        raise FileExistsError(f"{target.name} holds {foreign[0]!r}, no stack: remove it, or give another name as out")
    if PLAN in found and not _is_same(target.get(PLAN).decode("utf-8", "replace"), plan.provenance):
        if not restart:
            raise FileExistsError(
                f"{target.name} holds an unfinished stack of other runs or with other parameters: pass restart=True to "
                "throw it away, or give another name as out"
            )
        remove_group(target, sorted(found, key=PLAN.__eq__))  # the plan last: till then it is an unfinished stack
        found = {}
    if PLAN not in found and not target.create(PLAN, plan.provenance.encode()):
        raise FileExistsError(f"{target.name}: another process has begun a stack: run it again")
    template = plan.template()
    again = TEMPLATE in found
    kept = unpack(target.get(TEMPLATE)) if again else _write_template(template, target)
    lazy = [str(name) for name, variable in template.variables.items() if variable.chunks is not None]
    arrays = {name: kept[f"{name}/{ROOT}"] for name in lazy}
    tiles = list(plan.tiles)
    done = {key.removeprefix(f"{DONE}/") for key in target.find(DONE)}
    todo = [tile for tile in tiles if tile.name not in done]
    with tqdm(total=len(tiles), initial=len(tiles) - len(todo), desc="stack", unit="tile", disable=None) as bar:
        for _ in _run((plan.work(tile, target, arrays, again) for tile in todo), client):
            bar.update()
    root, _ = seal_group(target, "", kept)
    if not publish(target, "", root):
        raise FileExistsError(
            f"{target.name} was written by another process meanwhile: look at it, or give another name"
        )
    target.delete(target.find(WORK))
    return open_url(target, chunks)


def _write_template(template: xr.Dataset, target: Objects) -> dict[str, bytes]:
    """Write metadata, and the arrays that no tile writes; returns what is needed to seal the store."""
    from xonoff.io.zarrstore import ObjectsStore

    ready = storable(template)
    encoding = {name: zarr_encoding(variable) for name, variable in ready.variables.items()}
    store = ObjectsStore(target, hold=True)
    ready.to_zarr(store, mode="w-", zarr_format=3, consolidated=False, encoding=encoding, compute=False)
    target.flush([key for key in target.find() if not key.startswith(WORK)])
    target.create(TEMPLATE, pack(store.kept))
    return store.kept


def _is_same(one: str, other: str) -> bool:
    """Tell whether two stacks are of the same runs and parameters, whatever the archive is called."""
    try:
        [a], [b] = json.loads(one), json.loads(other)
        return bool({**a, "archive": ""} == {**b, "archive": ""})
    except (ValueError, TypeError):
        return False


def _run(works: Iterable[Work], client: Any) -> Iterator[str]:
    """Make tiles on a cluster, or in this process one after the other."""
    client = client or _active_client()
    if client is None:
        yield from (work() for work in works)
        return
    from distributed import as_completed

    rest = iter(works)
    ready = as_completed()  # type: ignore[no-untyped-call]
    for _ in range(QUEUE * max(len(client.scheduler_info()["workers"]), 1)):
        _submit(client, rest, ready)
    for future in ready:
        yield future.result()
        _submit(client, rest, ready)


def _submit(client: Any, rest: Iterator[Work], ready: Any) -> None:
    for work in rest:
        ready.add(client.submit(work, pure=False))
        return


def _active_client() -> Any:
    if "distributed" not in sys.modules:
        return None
    try:
        return sys.modules["distributed"].default_client()
    except ValueError:
        return None


# -- where runs lie ---------------------------------------------------------------------------------------------------


def _ahead(pool: ThreadPoolExecutor, number: int, function: Callable[[A], B], items: Sequence[A]) -> Iterator[B]:
    """Results in order, of which a number is made ahead."""
    waiting: deque[Future[B]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > number:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _kept(ds: xr.Dataset) -> Frame:
    """Frame of a run, in memory."""
    frame = Frame.of(ds)
    return Frame(frame.coords.load(), frame.attrs, frame.masks)


def _place(layout: Layout, ds: xr.Dataset, number: int, grid: str) -> list[int]:
    where, _ = layout.overlap(ds, number, grid)
    y, x = (where[dim] for dim in layout.grids[grid].dims(grid))
    return [y.start, x.start, y.stop, x.stop]


def _bytes(layout: Layout, dims: tuple[str, ...]) -> int:
    """Bytes of an array in one pixel."""
    sky = {dim for grid, own in layout.grids.items() for dim in own.dims(grid)}
    return 8 * math.prod(layout.sizes[dim] for dim in dims if dim not in sky)


def _product(ranges: Sequence[range]) -> Iterator[tuple[int, ...]]:
    for index in np.ndindex(*map(len, ranges)):
        yield tuple(part[i] for part, i in zip(ranges, index, strict=True))
