"""A large lazy dataset as a Zarr group, part after part, so that memory is that of a part.

Dask keeps of a graph what it has ordered to be kept: of a map whose pixels look at their neighbours, such as a ring
background, most of what was read. So a dataset beyond `LARGE` is written one row of chunks after the other, unless all
rows need the same things to be worked out. Chunks beside a row are read for it once more.
"""

from collections.abc import Iterator
from typing import Any

import xarray as xr

__all__ = ["write_zarr"]

#: Bytes of lazy variables up to which all is written in one go, and of a part.
LARGE, PART = 2**30, 256 * 2**20
#: Share of the tasks of a part that may be those of every part.
AGAIN = 1 / 3


def write_zarr(ds: xr.Dataset, store: Any, mode: Any = "w", **options: Any) -> None:
    """Write a dataset whose chunks fit each other as a new Zarr group, with `xarray.Dataset.to_zarr`.

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
    dim, parts, chunks = _parts(ds)
    if not parts:
        ds.to_zarr(store, mode=mode, **options)
        return
    ds.to_zarr(store, mode=mode, compute=False, **options)  # all that is in memory, and the metadata of the rest
    lazy = ds[[name for name, variable in ds.variables.items() if variable.chunks]]
    across = lazy.drop_vars([n for n, variable in lazy.variables.items() if variable.chunksizes.get(dim) != chunks])
    others = lazy.drop_vars(list(across.variables))
    if others.variables:
        others.to_zarr(store, mode="r+", consolidated=False)
    for part in parts:
        across.isel({dim: part}).to_zarr(store, region={dim: part}, consolidated=False)


def _parts(ds: xr.Dataset) -> tuple[str, list[slice], tuple[int, ...]]:
    """Dimension, parts along it of whole chunks each, and its chunks; no parts if all is written in one go."""
    lazy = {name: variable for name, variable in ds.variables.items() if variable.chunks}
    size = sum(variable.nbytes for variable in lazy.values())
    nothing: tuple[str, list[slice], tuple[int, ...]] = "", [], ()
    if size <= LARGE:
        return nothing
    largest = max(lazy.values(), key=lambda variable: variable.nbytes)
    dim, chunks = max(((str(dim), sizes) for dim, sizes in largest.chunksizes.items()), key=lambda item: len(item[1]))
    parts = list(_joined(chunks, max(PART * sum(chunks) // size, 1)))
    if len(parts) < 2 or not _consistent(ds):
        return nothing
    across = ds[[name for name, variable in lazy.items() if variable.chunksizes.get(dim) == chunks]]
    first, last = (_tasks(across.isel({dim: part})) for part in (parts[0], parts[-1]))
    return (dim, parts, chunks) if len(first & last) <= AGAIN * len(first) else nothing


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


def _consistent(ds: xr.Dataset) -> bool:
    """Tell whether all variables have the same chunks along a dimension, which xarray asks of what is a region."""
    try:
        return bool(ds.chunks)
    except ValueError:
        return False
