"""Stack datasets: sum runs, or cutouts of a larger map, into one dataset.

`stack` lays the inputs out on one grid, by pixel label and never by degrees, and adds up what their masks leave:
counts and acceptances, exposures, and the response weighted by exposure, each by its rule in `xonoff.stacking`. In
memory the inputs are gone through one after the other; where one is a dask array the result is made lazily, by blocks.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.axes import axis_edges
from xonoff.duck import chunked_like, small_values
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import Geom, enclosing, pixel_offset, sky_dims, sky_grid
from xonoff.observations import join_observations
from xonoff.provenance import made
from xonoff.schema import GRIDS, VARIABLES
from xonoff.skygrid import SkyGrid
from xonoff.stacking import MASK_SUMS, Arrays, Rule, bins_of, on_off_arrays, response_arrays, rules_of
from xonoff.typed import on_off

__all__ = ["Frame", "Layout", "in_turn", "stack", "to_masked"]

Floats = npt.NDArray[np.float64]
Place = dict[str, slice]
#: What one dataset adds by one rule: its arrays, and where they go in the sums.
Part = tuple[dict[str, xr.Variable], Place]

STACK_AXES = ("energy", "energy_true", "rad")
#: Coordinates of a spectrum.
POSITION = ("lat", "lon", "region", "region_off")
#: Datasets that one task of a lazy stack adds up.
BATCH = 8


@on_off
def stack(datasets: Iterable[xr.Dataset], geom: Geom | None = None) -> xr.Dataset:
    """Sum datasets, in any order and grouping.

    Parameters
    ----------
    datasets : iterable of Dataset
        With the same variables, energy axes and parent sky grids; they may hold different parts of the sky. An
        iterator that is given together with `geom` is gone through once, with one dataset in memory at a time.
    geom : Geom, optional
        Geometry of the result; what lies outside of it is left out. By default the smallest that holds all inputs.

    Returns
    -------
    Dataset
        In float64; lazy if one of the datasets is. Bins outside a mask, or invalid, add nothing.

        - ``counts``, ``counts_off``, ``acceptance``, ``background``: sums. ``acceptance_off`` conserves the excess
          and, where there is no off count, alpha.
        - ``mask_safe``: bins that any dataset has; ``mask_fit``: that any dataset uses.
        - ``exposure``: sum of what the mask leaves in any energy. ``psf`` and ``edisp``: means weighted with their
          exposures, the dispersion where the mask leaves the energy bin, so that it carries the thresholds of the
          inputs: a prediction from the stack is the sum of their masked predictions. A density in ``migra`` cannot
          do that and becomes a kernel.
        - Observations one after the other, good time intervals united, attributes that do not differ. Variables that
          the data model does not name are left out.

    Raises
    ------
    GeometryError
        If grids or axes do not match; names the dataset, and the offset in pixels.
    SchemaError
        If the datasets do not have the same variables, or there is none.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> twice = stack([ds, ds])
    >>> bool((twice.counts == 2 * ds.counts.where(ds.mask_safe, 0)).all()), twice.sizes["obs"]
    (True, 4)
    >>> int(to_masked(ds).counts.sum()) == int(ds.counts.where(ds.mask_safe).sum())
    True
    """
    if isinstance(datasets, xr.Dataset):  # type: ignore[unreachable]  # people do
        raise SchemaError("one dataset found, a list of datasets accepted: stack([a, b])")
    if geom is None or isinstance(datasets, Sequence):
        inputs = list(datasets)
        layout = Layout.of(inputs, geom)
        if any(ds.variables[name].chunks for ds in inputs for name in VARIABLES if name in ds):
            return layout.dataset(_lazily(inputs, layout), [Frame.of(ds) for ds in inputs])
        return layout.dataset(*in_turn(inputs, layout))
    rest = iter(datasets)
    first = list(islice(rest, 1))
    layout = Layout.of(first, geom)
    one_by_one = chain((first.pop() for _ in range(1)), rest)  # the first is let go of, too
    return layout.dataset(*in_turn(one_by_one, layout))


@on_off
def to_masked(ds: xr.Dataset) -> xr.Dataset:
    """Apply ``mask_safe``: the dataset as a stack sees it, zero outside the mask and in invalid bins; see `stack`."""
    return stack([ds])


# -- where everything goes --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """Sky grids, other coordinates and rules of a stack."""

    grids: Mapping[str, SkyGrid]
    coords: Mapping[str, xr.Variable]
    rules: list[Rule]
    is_part: bool = False

    @classmethod
    def of(cls, inputs: Sequence[xr.Dataset], geom: Geom | None) -> "Layout":
        """Lay out datasets on a geometry, or on the smallest that holds all of them."""
        if geom is not None and not isinstance(geom, Geom):
            raise GeometryError(f"geom: a {type(geom).__name__} found, a Geom accepted: ds.onoff.geom for example")
        if not inputs:
            raise SchemaError("no dataset found: a stack needs at least one")
        for number, ds in enumerate(inputs, 1):
            _check_dataset(ds, number)
        first, rules = inputs[0], rules_of(inputs[0])
        if not rules:
            raise SchemaError("dataset 1 has none of the variables that a stack sums: add counts with ds.assign")
        names = dict.fromkeys(rule.grid for rule in rules if rule.grid is not None)
        if geom is None:
            grids = {grid: _union(inputs, grid) for grid in names}
        else:
            if (geom.sky is None) == ("" in names):
                found, has = ("without", "one") if geom.sky is None else ("with", "none")
                raise GeometryError(f"a geometry {found} a sky found, but dataset 1 has {has}: give one like it")
            _match_edges("energy", axis_edges(first, "energy"), np.array(geom.energy), "dataset 1", "the geometry")
            sky = geom.sky
            grids = {grid: enclosing(sky_grid(first, grid), sky) if grid else sky for grid in names} if sky else {}
        axes = [name for axis in STACK_AXES if axis in first.dims for name in (axis, f"{axis}_bounds")]
        coords = {name: first.variables[name].copy(data=small_values(first.variables[name])) for name in axes}
        for grid, sky in grids.items():
            coords |= sky.coords(grid)
        return cls(grids, coords, rules)

    def tile(self, rules: list[Rule], grid: str | None, low: tuple[int, int], high: tuple[int, int]) -> "Layout":
        """Layout of what some rules give for the pixels of their grid from ``low`` up to ``high``, along (y, x)."""
        grids = dict(self.grids)
        if grid is not None:
            grids[grid] = grids[grid].window(low, high)
        window = {} if grid is None else grids[grid].coords(grid)
        return replace(self, grids=grids, coords={**self.coords, **window}, rules=rules, is_part=True)

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of all dimensions."""
        return {str(dim): n for v in self.coords.values() for dim, n in v.sizes.items() if dim != "bounds"}

    def part(self, ds: xr.Dataset, number: int, rule: Rule, used: xr.Variable) -> Part | None:
        """What a dataset adds by a rule, cut to the layout; None where it does not overlap."""
        if rule.grid is None and "" in self.grids:  # a response of all pixels: of those in the layout
            where, cut = self.overlap(ds, number, "")
            if any(part.start >= part.stop for part in where.values()):
                return None
            used = used.isel(cut, missing_dims="ignore")
        arrays = on_off_arrays(ds, used) if rule.name == "bins" else response_arrays(ds, rule, used)
        where, cut = self.overlap(ds, number, rule.grid)
        if any(part.start >= part.stop for part in where.values()):
            return None
        return {name: v.isel(cut, missing_dims="ignore") for name, v in arrays.items()}, where

    def covers(self, ds: xr.Dataset, number: int) -> bool:
        """Tell whether the on/off bins of a dataset are all in the layout."""
        rule = self.rules[0]
        _, cut = self.overlap(ds, number, rule.grid)
        return rule.name == "bins" and all(part == slice(0, ds.sizes[dim]) for dim, part in cut.items())

    def overlap(self, ds: xr.Dataset, number: int, grid: str | None) -> tuple[Place, Place]:
        """Common pixels of a dataset and the layout: in the layout, and in the dataset."""
        where: Place = {}
        cut: Place = {}
        if grid is not None:
            target, sky = self.grids[grid], sky_grid(ds, grid)
            offset = _offset(sky, target, ds, number, grid)
            for dim, start, n, size in zip(target.dims(grid), offset, sky.shape, target.shape, strict=True):
                low, high = max(start, 0), min(start + n, size)
                where[dim], cut[dim] = slice(low, high), slice(low - start, max(high, low) - start)
        return where, cut

    def check(self, ds: xr.Dataset, number: int) -> None:
        """Refuse a dataset that has other variables or axes than the first."""
        _check_dataset(ds, number)
        wanted, found = ({rule.name: rule.variables for rule in rules} for rules in (self.rules, rules_of(ds)))
        for name in dict.fromkeys([*wanted, *(() if self.is_part else found)]):
            if wanted.get(name) != found.get(name):
                raise SchemaError(
                    f"{_name(ds, number)}: {name}: {found.get(name, 'nothing')} found, "
                    f"{wanted.get(name, 'nothing')} in dataset 1: the datasets of a stack have the same variables on "
                    "the same dimensions; add or drop some"
                )
        for axis in STACK_AXES:
            if axis in self.coords:
                bounds = self.coords[f"{axis}_bounds"].values
                edges = np.append(bounds[:, 0], bounds[-1, 1])
                _match_edges(axis, axis_edges(ds, axis), edges, _name(ds, number), "dataset 1")

    def dataset(self, variables: dict[str, xr.Variable], frames: Sequence["Frame"]) -> xr.Dataset:
        """Put the result together."""
        masks = {"mask_safe"}.union(*(frame.masks for frame in frames))
        variables = {name: v for name, v in variables.items() if name in masks or name not in MASK_SUMS}
        for name, v in variables.items():
            v.attrs = {"units": VARIABLES[name].units} if VARIABLES[name].units else {}
            v.attrs["long_name"] = VARIABLES[name].description
        coords = chunked_like(self.coords, variables.values())
        observations = join_observations([frame.coords for frame in frames])
        names = [str(frame.attrs.get("name", "")) for frame in frames]
        attrs = _common_attrs(frames) | made("stack", names, {})
        ds = xr.Dataset(variables, {**coords, **observations, **_position(frames)}, attrs)
        return ds.unify_chunks()


def _union(inputs: Sequence[xr.Dataset], grid: str) -> SkyGrid:
    """Smallest grid that holds those of all datasets."""
    having = [(number, ds) for number, ds in enumerate(inputs, 1) if f"wcs_{grid}".rstrip("_") in ds.coords]
    skies = [sky_grid(ds, grid) for _, ds in having]
    parent = min(skies, key=lambda sky: (sum(n == 1 for n in sky.shape), sky.header))  # one pixel has no step
    low, high = (0, 0), parent.shape
    for (number, ds), sky in zip(having, skies, strict=True):
        y, x = _offset(sky, parent, ds, number, grid)
        low = (min(low[0], y), min(low[1], x))
        high = (max(high[0], y + sky.shape[0]), max(high[1], x + sky.shape[1]))
    return parent.window(low, high)


def _offset(sky: SkyGrid, onto: SkyGrid, ds: xr.Dataset, number: int, grid: str) -> tuple[int, int]:
    try:
        return pixel_offset(sky, onto)
    except GeometryError as error:
        raise GeometryError(f"{_name(ds, number)}, sky grid {grid or 'of the counts'}: {error}") from error


def _match_edges(axis: str, found: Floats, wanted: Floats, name: str, other: str) -> None:
    if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=1e-6, atol=0):
        raise GeometryError(
            f"{name}: {axis} with edges {found} found, {wanted} in {other}: a stack has one axis; "
            "use ds.onoff.slice_by_energy or resample_energy first"
        )


def _check_dataset(ds: Any, number: int) -> None:
    """Refuse what is no dataset, or has lost axes or sky that its variables need."""
    if not isinstance(ds, xr.Dataset):
        raise SchemaError(f"input {number} is a {type(ds).__name__}, an xarray.Dataset accepted")
    for name, variable in VARIABLES.items():
        if name in ds and variable.axes == (("energy",),) and "energy" not in ds[name].dims:
            raise SchemaError(f"{_name(ds, number)}: {name} has no dimension energy: keep it with a slice or a list")
    for axis in (axis for axis in STACK_AXES if axis in ds.dims):
        axis_edges(ds, axis)
    for grid in GRIDS:
        if 0 < len(sky_dims(ds, grid)) < 2 or (sky_dims(ds, grid) and f"wcs_{grid}".rstrip("_") not in ds.coords):
            raise GeometryError(
                f"{_name(ds, number)}: dimensions {sky_dims(ds, grid)} without the other or without wcs found: keep a "
                "dimension with a slice or a list, and the coordinate wcs"
            )


def _name(ds: xr.Dataset, number: int) -> str:
    return f"dataset {number} ({ds.attrs.get('name', '')!r})"


# -- what is kept of a dataset that has been added --------------------------------------------------------------------


@dataclass(frozen=True)
class Frame:
    """Observations and position of a dataset, its attributes, and the names of its masks."""

    coords: xr.Dataset
    attrs: dict[Any, Any]
    masks: frozenset[str]

    @classmethod
    def of(cls, ds: xr.Dataset) -> "Frame":
        """Frame of a dataset."""
        kept = {
            name: v
            for name, v in ds.variables.items()
            if v.dims[:1] in (("obs",), ("gti",)) or name == "livetime" or (name in POSITION and not v.ndim)
        }
        return cls(xr.Dataset(coords=kept), ds.attrs, frozenset(name for name in MASK_SUMS if name in ds))


def _position(frames: Sequence[Frame]) -> dict[str, xr.Variable]:
    """Position and region of a spectrum, as far as all have the same."""
    first, *others = (frame.coords.variables for frame in frames)
    return {
        name: first[name]
        for name in POSITION
        if name in first and all(name in other and first[name].identical(other[name]) for other in others)
    }


def _common_attrs(frames: Sequence[Frame]) -> dict[str, Any]:
    """Attributes that do not differ; a name of its own where the names do."""
    first, *others = (frame.attrs for frame in frames)
    common = {k: v for k, v in first.items() if all(k in other and np.array_equal(other[k], v) for other in others)}
    marked = [frame.attrs["correlated"] for frame in frames if "correlated" in frame.attrs]
    common |= {"correlated": marked[0]} if marked else {}  # off counts of any one that share events, see backgrounds
    return common if "name" in common else {"name": "stacked", **common}


# -- adding up --------------------------------------------------------------------------------------------------------


def in_turn(datasets: Iterable[xr.Dataset], layout: Layout) -> tuple[dict[str, xr.Variable], list[Frame]]:
    """Add datasets one after the other; in memory are the sums and one dataset, or those that were there already."""
    sums = {rule.name: rule.zeros(layout.sizes) for rule in layout.rules}
    frames: list[Frame] = []
    together = BATCH if isinstance(datasets, Sequence) and all(map(_in_memory, datasets)) else 1
    rest = iter(datasets)
    while added := _add(rest, together, sums, layout, len(frames) + 1):
        frames += added
    variables: dict[str, xr.Variable] = {}
    for rule in layout.rules:
        finished = rule.finish(sums.pop(rule.name))
        variables |= {name: xr.Variable(dims, finished[name]) for name, dims in rule.variables.items()}
    return variables, frames


def _add(
    rest: Iterator[xr.Dataset], count: int, sums: Mapping[str, Arrays], layout: Layout, number: int
) -> list[Frame]:
    """Add the next datasets; when this returns nothing holds on to them."""
    batch = []
    for ds in islice(rest, count):
        layout.check(ds, number)
        loaded = _loaded(ds)
        batch.append((loaded, number, bins_of(loaded, check=not layout.covers(ds, number))))
        number += 1
    for rule in layout.rules:  # that of the on/off bins first: it narrows the masks
        parts = [part for ds, n, used in batch if (part := layout.part(ds, n, rule, used))]
        placed = [
            (_views(rule, sums[rule.name], where), {name: v.values for name, v in arrays.items()})
            for arrays, where in parts
        ]
        if placed:
            rule.add(placed)
    return [Frame.of(ds) for ds, _, _ in batch]


def _in_memory(ds: xr.Dataset) -> bool:
    return all(ds.variables[name]._in_memory for name in VARIABLES if name in ds)


def _loaded(ds: xr.Dataset) -> xr.Dataset:
    """Return a dataset with its cubes in memory; the arrays of the input are not cached in it."""
    cubes = {name: ds.variables[name] for name in VARIABLES if name in ds}
    fresh = {name: v[...].load() for name, v in cubes.items() if not v._in_memory}
    return ds.assign(fresh) if fresh else ds


def _views(rule: Rule, sums: Arrays, where: Place) -> Arrays:
    """Parts of the sums, as views."""
    return {name: sums[name][tuple(where.get(dim, slice(None)) for dim in dims)] for name, dims in rule.sums.items()}


def _lazily(inputs: Sequence[xr.Dataset], layout: Layout) -> dict[str, xr.Variable]:
    """Sums as dask arrays: each block adds up, a few datasets a task, the parts of those that reach into it."""
    parts: dict[str, list[Part]] = {rule.name: [] for rule in layout.rules}
    for number, ds in enumerate(inputs, 1):
        layout.check(ds, number)
        cubes = {name: ds.variables[name] for name in VARIABLES if name in ds}
        lazy = ds.assign({name: v.chunk() for name, v in cubes.items() if v.chunks is None})
        used = bins_of(lazy, check=True)
        for rule in layout.rules:
            if part := layout.part(lazy, number, rule, used):
                parts[rule.name].append(part)
    variables: dict[str, xr.Variable] = {}
    for rule in layout.rules:
        variables |= _lazy_sums(rule, parts[rule.name], layout.sizes)
    return variables


def _lazy_sums(rule: Rule, parts: list[Part], sizes: dict[str, int]) -> dict[str, xr.Variable]:
    import dask.array as da
    from dask.delayed import delayed

    dims = max(rule.sums.values(), key=len)
    splits = [_split(dim, sizes[dim], parts, whole=dim in rule.whole) for dim in dims]
    blocks: dict[str, Any] = {name: np.empty([len(split) for split in splits], object) for name in rule.variables}
    for index in np.ndindex(*(len(split) for split in splits)):
        block = {dim: split[i] for dim, split, i in zip(dims, splits, index, strict=True)}
        shape = {dim: part.stop - part.start for dim, part in block.items()}
        inside = [placed for arrays, where in parts if (placed := _within(block, arrays, where))]
        sums = delayed(partial(rule.zeros, shape))()
        for start in range(0, len(inside), BATCH):
            sums = delayed(partial(_added, rule))(sums, inside[start : start + BATCH])
        finished = delayed(rule.finish)(sums)
        for name, array_dims in rule.variables.items():
            dtype = bool if name in MASK_SUMS else np.float64
            array = da.from_delayed(finished[name], [shape[dim] for dim in array_dims], dtype)
            blocks[name][index] = array
    variables = {}
    for name, array_dims in rule.variables.items():
        kept = tuple(slice(None) if dim in array_dims else 0 for dim in dims)
        variables[name] = xr.Variable(array_dims, da.block(blocks[name][kept].tolist()))
    return variables


def _split(dim: str, size: int, parts: list[Part], *, whole: bool) -> list[slice]:
    """Blocks along a dimension: the chunks of the first dataset, or as large as its largest."""
    chunks: tuple[int, ...] = (size,)
    found = [v.chunksizes[dim] for arrays, _ in parts[:1] for v in arrays.values() if dim in v.chunksizes]
    if found and not whole:
        step = max(found[0])
        chunks = found[0] if sum(found[0]) == size else tuple(min(step, size - i) for i in range(0, size, step))
    stops = np.cumsum(chunks).tolist()
    return [slice(stop - n, stop) for stop, n in zip(stops, chunks, strict=True)]


def _within(block: Place, arrays: dict[str, xr.Variable], where: Place) -> tuple[dict[str, Any], Place] | None:
    """Parts of arrays that lie in a block, and where in the block they go."""
    cut: Place = {}
    into: Place = {}
    for dim, part in block.items():
        start = where[dim].start if dim in where else 0
        stop = where[dim].stop if dim in where else part.stop
        low, high = max(part.start, start), min(part.stop, stop)
        if low >= high:
            return None
        cut[dim], into[dim] = slice(low - start, high - start), slice(low - part.start, high - part.start)
    return {name: v.isel(cut, missing_dims="ignore").data for name, v in arrays.items()}, into


def _added(rule: Rule, sums: Arrays, batch: list[tuple[Arrays, Place]]) -> Arrays:
    """Return sums with more added; a task leaves its input as it is, also the masks, which adding narrows."""
    sums = {name: array.copy() for name, array in sums.items()}
    owned = [({k: v.copy() if k == "used" else v for k, v in arrays.items()}, where) for arrays, where in batch]
    rule.add([(_views(rule, sums, where), arrays) for arrays, where in owned])
    return sums
