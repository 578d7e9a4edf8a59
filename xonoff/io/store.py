"""Datasets as netCDF files and Zarr directories, safe against killed writers and flipped bits.

`to_netcdf` and `to_zarr` write with xarray's own writers, so any netCDF or Zarr library reads the result, and publish
it whole or not at all (`xonoff.io.atomic`). `open_netcdf` and `open_zarr` read it lazily, and read what plain xarray
has written as well.

Every chunk carries a checksum, every file a manifest of the rest (`xonoff.io.manifest`): a flipped bit, a lost chunk or
a truncated file is an error when it is opened or read, never a number. Files by other writers are opened unchecked.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xarray as xr

from xonoff.errors import FormatError
from xonoff.io.atomic import replacing, replacing_store
from xonoff.io.encoding import chunk_shape, netcdf_encoding, opened, require_same, storable, zarr_encoding
from xonoff.io.groups import open_url, write_url
from xonoff.io.manifest import check_netcdf, check_zarr, seal_netcdf, seal_zarr
from xonoff.io.slabs import write_zarr

__all__ = ["chunk_shape", "is_path", "open_netcdf", "open_zarr", "to_netcdf", "to_zarr"]

PathLike = str | os.PathLike[str]


def to_netcdf(ds: xr.Dataset, path: PathLike, *, overwrite: bool = False) -> None:
    """Write a dataset as one netCDF-4 file, whole or not at all.

    Parameters
    ----------
    ds : Dataset
        Dask arrays are computed and written block by block.
    path : path
        A local file.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is False.
    FormatError
        If something in the dataset would not read back as it is.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.nc"
    >>> to_netcdf(xr.Dataset({"counts": ("energy", [3, 1])}), path)
    >>> open_netcdf(path).counts.values
    array([3, 1])
    """
    with replacing(_local(path), overwrite) as part:
        ready = storable(ds)
        encoding = {name: netcdf_encoding(variable) for name, variable in ready.variables.items()}
        ready.to_netcdf(part, engine="netcdf4", format="NETCDF4", encoding=encoding)
        seal_netcdf(part)
        with open_netcdf(part) as written:
            require_same(written, ready, path)


def to_zarr(
    ds: xr.Dataset, path: Any, *, overwrite: bool = False, storage_options: Mapping[str, Any] | None = None
) -> None:
    """Write a dataset as a Zarr (format 3) store, whole or not at all.

    Parameters
    ----------
    ds : Dataset
        Dask arrays are computed and written block by block; a block becomes a chunk.
    path : path, URL, obstore store or fsspec mapper
        A local directory, or what `xonoff.io.urls.open_objects` takes.
    overwrite : bool
        Replace an existing Zarr store. A directory that is not one is never replaced, nor is a store under a URL, where
        this removes what an interrupted writer left.
    storage_options : dict, optional
        Of a URL, see `xonoff.io.urls.open_objects`.

    Raises
    ------
    FileExistsError
        If the store exists and `overwrite` is False, or the directory is not a Zarr store.
    FormatError
        If something in the dataset would not read back as it is.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.zarr"
    >>> to_zarr(xr.Dataset({"counts": ("energy", [3, 1])}), path)
    >>> open_zarr(path).counts.values
    array([3, 1])
    """
    if not is_path(path):
        write_url(ds, path, overwrite=overwrite, storage_options=storage_options)
        return
    with replacing_store(_local(path), overwrite) as part:
        ready = storable(ds)
        encoding = {name: zarr_encoding(variable) for name, variable in ready.variables.items()}
        write_zarr(ready, part, zarr_format=3, consolidated=False, encoding=encoding)
        seal_zarr(part)
        with open_zarr(part) as written:
            require_same(written, ready, path)


def open_netcdf(path: PathLike, chunks: Any = None) -> xr.Dataset:
    """Open a netCDF file lazily, after checking all of it but the data, which is checked when read.

    Parameters
    ----------
    path : path
        A local file, by `to_netcdf` or any other netCDF-4 writer.
    chunks : optional
        As in `xarray.open_dataset`: None for arrays loaded on first use, ``{}`` for dask arrays with the stored chunks.

    Returns
    -------
    Dataset
        Strings are in memory, as `numpy.dtypes.StringDType`.

    Raises
    ------
    FormatError
        If the file is damaged or is not netCDF.
    """
    local = _existing(path)
    with _reading(local, "netCDF file"):
        check_netcdf(local)
        return opened(local, chunks, engine="netcdf4")


def open_zarr(path: Any, chunks: Any = None, *, storage_options: Mapping[str, Any] | None = None) -> xr.Dataset:
    """Open a Zarr store lazily, after checking all of it but the data, which is checked when read.

    Parameters
    ----------
    path : path, URL, obstore store or fsspec mapper
        By `to_zarr` or any other writer.
    chunks : optional
        As in `xarray.open_dataset`: None for arrays loaded on first use, ``{}`` for dask arrays with the stored chunks.
    storage_options : dict, optional
        Of a URL, see `xonoff.io.urls.open_objects`.

    Returns
    -------
    Dataset
        Strings are in memory, as `numpy.dtypes.StringDType`.

    Raises
    ------
    FormatError
        If the store is damaged or is not Zarr.
    """
    if not is_path(path):
        return open_url(path, chunks, storage_options)
    local = _existing(path)
    with _reading(local, "Zarr store"):
        check_zarr(local)
        return opened(local, chunks, engine="zarr", consolidated=False)


# ---- paths and errors


def is_path(path: Any) -> bool:
    """Tell whether something names a place on the local file system, rather than a URL or a store of objects."""
    return isinstance(path, str | os.PathLike) and "://" not in os.fspath(path)


def _local(path: PathLike) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"expected the path of a local file or directory, got {type(path).__name__}")
    if "://" in os.fspath(path):
        raise FormatError(f"{path}: a netCDF file is read and written on a local path only; use Zarr for a URL")
    return Path(path)


def _existing(path: PathLike) -> Path:
    local = _local(path)
    if not local.exists():
        raise FileNotFoundError(f"{local} does not exist")
    return local


@contextmanager
def _reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever the libraries raise on damaged input into one kind of error that names the file."""
    try:
        yield
    except PermissionError:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, FormatError) else f"{type(error).__name__}: {error}"
        raise FormatError(f"{path}: damaged, or not a {kind}: {reason}") from error
