"""A large lazy dataset as a Zarr group, part after part, so that memory is that of a part.

Dask keeps of a graph what it has ordered to be kept: of a map whose pixels look at their neighbours, such as a ring
background, most of what was read. So a dataset beyond `LARGE` is written one row of chunks after the other, unless all
rows need the same things to be worked out. Chunks beside a row are read for it once more.
"""

from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Any

import xarray as xr

__all__ = ["write_zarr"]

#: Bytes of lazy variables up to which all is written in one go, and of a part.
LARGE, PART = 2**30, 256 * 2**20
#: Share of the tasks of a part that may be those of every part.
AGAIN = 1 / 3


def write_zarr(ds: xr.Dataset, store: Any, mode: Any = "w", **options: Any) -> None:
    """Write a dataset as a new Zarr group, with `xarray.Dataset.to_zarr`.

    Parameters
    ----------
    ds : Dataset
    store : path or Zarr store
    mode : {"w", "w-"}
        Whether to replace what is there, or refuse to.
    **options
        Of `xarray.Dataset.to_zarr`: ``encoding`` for example.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> write_zarr(xr.Dataset({"counts": ("energy", [3, 1])}), folder, zarr_format=3, consolidated=False)
    >>> xr.open_zarr(folder, consolidated=False).counts.values
    array([3, 1])
    """
    dim, parts = _parts(ds)
    if not parts:
        ds.to_zarr(store, mode=mode, **options)
        return
    ds.to_zarr(store, mode=mode, compute=False, **options)  # all that is in memory, and the metadata of the rest
    lazy = ds.drop_vars([name for name, variable in ds.variables.items() if variable.chunks is None])
    across = _across(ds, dim)
    others = lazy.drop_vars(list(across.variables))
    again: Any = {"consolidated": False, "write_empty_chunks": True}  # so that a missing chunk is a lost one
    if others.variables:
        others.to_zarr(store, mode="r+", **again)
    for part in parts:
        across.isel({dim: part}).to_zarr(store, region={dim: part}, **again)


def _parts(ds: xr.Dataset) -> tuple[str, list[slice]]:
    """Dimension, and parts along it of whole chunks of each variable; no parts if all is written in one go."""
    lazy = {name: variable for name, variable in ds.variables.items() if variable.chunks is not None}
    size = sum(variable.nbytes for variable in lazy.values())
    if size <= LARGE:
        return "", []
    largest = max(lazy.values(), key=lambda variable: variable.nbytes).chunksizes
    dim = str(max(largest, key=lambda dim: len(largest[dim]), default=""))
    across = _across(ds, dim)
    if not across.variables:
        return "", []
    ends = set.intersection(*(set(accumulate(variable.chunksizes[dim])) for variable in across.variables.values()))
    chunks = tuple(stop - start for start, stop in pairwise(sorted({0, *ends})))
    parts = list(_joined(chunks, max(PART * ds.sizes[dim] // size, 1)))
    if len(parts) < 2:
        return "", []
    first, last = (_tasks(across.isel({dim: part})) for part in (parts[0], parts[-1]))
    return (dim, parts) if len(first & last) <= AGAIN * len(first) else ("", [])


def _across(ds: xr.Dataset, dim: str) -> xr.Dataset:
    """Lazy variables of several chunks along a dimension."""
    return ds.drop_vars([name for name, variable in ds.variables.items() if len(variable.chunksizes.get(dim, ())) < 2])


def _joined(chunks: tuple[int, ...], most: int) -> Iterator[slice]:
    """Chunks joined to parts of at most so many pixels, of one chunk at least."""
    start = stop = 0
    for chunk in chunks:
        if stop > start and stop + chunk - start > most:
            yield slice(start, stop)
            start = stop
        stop += chunk
    yield slice(start, stop)


def _tasks(ds: xr.Dataset) -> set[Any]:
    """Tasks that make the variables of a dataset."""
    from dask.core import flatten

    graph: Any = ds.__dask_graph__()
    return set(graph.cull(set(flatten(ds.__dask_keys__()))))
