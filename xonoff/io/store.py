"""Datasets as netCDF files and Zarr directories, safe against killed writers and flipped bits.

`to_netcdf` and `to_zarr` write with xarray's own writers, so any netCDF or Zarr library reads the result, and publish
it whole or not at all (`xonoff.io.atomic`). `open_netcdf` and `open_zarr` read it lazily, and read what plain xarray
has written as well.

The data itself is guarded chunk by chunk: fletcher32 in netCDF, crc32c in Zarr, checked by those libraries on every
read. What they do not guard is in a *manifest*, checked at every open:

===================  ================================================  ==========================================
unguarded            netCDF                                            Zarr
===================  ================================================  ==========================================
names, dims, attrs   CRC-32 of all of them                             CRC-32 of every ``zarr.json``
a lost chunk         CRC-32 of the chunk index (HDF5 ``TREE`` nodes)   every chunk file is there
unchunked values     CRC-32 of scalars and strings                     (all values are chunked)
===================  ================================================  ==========================================

Without it a lost chunk reads as zeros, silently, in both formats. A netCDF file carries its manifest as a trailer
behind the end of the HDF5 data, where other readers do not look and where it can describe the bytes before it; a Zarr
store carries it as the root attribute ``xonoff_manifest``. Files without a manifest are opened unchecked.
"""

import json
import math
import mmap
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import netCDF4
import numpy as np
import xarray as xr
from zarr.codecs import Crc32cCodec, ZstdCodec

from xonoff.errors import FormatError
from xonoff.io.atomic import replacing, replacing_store

__all__ = ["chunk_shape", "open_netcdf", "open_zarr", "to_netcdf", "to_zarr"]

KEY = "xonoff_manifest"
MARK = "xonoff-manifest-1 "  # begins every Zarr manifest, so that damage to KEY does not pass for its absence
MAGIC = b"xonoff-manifest1"  # ends every netCDF file with a manifest, after 8 + 8 hex digits of length and CRC-32
FOOTER = 16 + len(MAGIC)
PAGE = 4096  # bytes
NODE = 8192  # bytes; no node of a chunk index in fewer than ten dimensions is longer
HEAP = b"GCOL\1\0\0\0"  # strings, and references between variables; followed by its length
SIGNATURES = (HEAP, b"TREE\1", b"OHDR\2", b"OCHK", b"FRHP", b"FHDB", b"FHIB", b"BTHD", b"BTIN", b"BTLF")
CHUNK = 4 * 2**20  # bytes; the largest chunk of an array in memory
BLOCK = 64 * 2**20  # bytes; the largest dask block stored as one chunk

STRING = np.dtypes.StringDType()
NUMBERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64",
           "datetime64[ns]", "timedelta64[ns]")  # fmt: skip

type_of_path = str | os.PathLike[str]


def to_netcdf(ds: xr.Dataset, path: type_of_path, *, overwrite: bool = False) -> None:
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
    local, ready = _local(path), _storable(ds)
    encoding = {name: _netcdf_encoding(variable) for name, variable in ready.variables.items()}
    with replacing(local, overwrite) as part:
        ready.to_netcdf(part, engine="netcdf4", format="NETCDF4", encoding=encoding)
        _seal_netcdf(part)
        with open_netcdf(part) as written:
            _require_same(written, ready, local)


def to_zarr(ds: xr.Dataset, path: type_of_path, *, overwrite: bool = False) -> None:
    """Write a dataset as a Zarr (format 3) directory, whole or not at all.

    Parameters
    ----------
    ds : Dataset
        Dask arrays are computed and written block by block; a block becomes a chunk.
    path : path
        A local directory.
    overwrite : bool
        Replace an existing Zarr store. A directory that is not one is never replaced.

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
    local, ready = _local(path), _storable(ds)
    encoding = {name: _zarr_encoding(variable) for name, variable in ready.variables.items()}
    with replacing_store(local, overwrite) as part:
        ready.to_zarr(part, mode="w", zarr_format=3, consolidated=False, encoding=encoding)
        _seal_zarr(part)
        with open_zarr(part) as written:
            _require_same(written, ready, local)


def open_netcdf(path: type_of_path, chunks: Any = None) -> xr.Dataset:
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
        _check_netcdf(local)
        return _settled(xr.open_dataset(local, engine="netcdf4", chunks=chunks))


def open_zarr(path: type_of_path, chunks: Any = None) -> xr.Dataset:
    """Open a Zarr directory lazily, after checking all of it but the data, which is checked when read.

    Parameters
    ----------
    path : path
        A local directory, by `to_zarr` or any other writer.
    chunks : optional
        As in `xarray.open_dataset`: None for arrays loaded on first use, ``{}`` for dask arrays with the stored chunks.

    Returns
    -------
    Dataset
        Strings are in memory, as `numpy.dtypes.StringDType`.

    Raises
    ------
    FormatError
        If the store is damaged or is not Zarr.
    """
    local = _existing(path)
    with _reading(local, "Zarr store"):
        _check_zarr(local)
        ds = _settled(xr.open_dataset(local, engine="zarr", consolidated=False, chunks=chunks))
        ds.attrs.pop(KEY, None)
        return ds


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Chunks for an array in memory: the longest axis is halved until a chunk has at most 4 MiB.

    Sky axes are the long ones, so a chunk is a tile of the sky through all or most energies.

    Examples
    --------
    >>> chunk_shape((30, 2000, 2000), 4)
    (30, 125, 250)
    """
    chunk = [max(size, 1) for size in shape]
    while math.prod(chunk) * itemsize > CHUNK:
        longest = chunk.index(max(chunk))
        chunk[longest] = -(-chunk[longest] // 2)
    return tuple(chunk)


# ---- paths and errors


def _local(path: type_of_path) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"expected the path of a local file or directory, got {type(path).__name__}")
    if "://" in os.fspath(path):
        raise FormatError(f"{path}: only local paths are supported here, not URLs; give a path")
    return Path(path)


def _existing(path: type_of_path) -> Path:
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


# ---- the dataset as it is stored, and as it is given back


def _storable(ds: xr.Dataset) -> xr.Dataset:
    """Check that every variable can be stored; strings become StringDType, numbers native, dask blocks uniform."""
    _check_attrs("dataset", ds.attrs)
    ds = ds.drop_encoding()  # chunks and dtypes of the file it came from need not fit what it is now
    for name in [*ds.dims, *ds.variables]:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise FormatError(f"name {name!r} of a variable or dimension cannot be stored; use letters, digits and _")
    for name, variable in ds.variables.items():
        _check_attrs(f"variable {name!r}", variable.attrs)
        stored = _stored(str(name), variable)
        if stored is not variable:
            ds = ds.assign_coords({name: stored}) if name in ds.coords else ds.assign({name: stored})
    return ds


def _stored(name: str, variable: xr.Variable) -> xr.Variable:
    nothing = variable[(slice(0, 0),) * variable.ndim].data  # what kind of array it is, without reading it
    kind = type(getattr(nothing, "_meta", nothing))
    if kind is not np.ndarray:
        raise FormatError(f"variable {name!r} holds a {kind.__module__}.{kind.__name__}, which cannot be stored; convert "
                          "it to a numpy or dask array, with the unit in attrs['units']")  # fmt: skip
    if variable.dtype.kind in "OTU":
        values = variable.values
        if not all(isinstance(value, str) and "\0" not in value for value in values.ravel().tolist()):
            raise FormatError(f"variable {name!r} holds Python objects; numbers, and strings without NUL, can be stored")
        return variable if variable.dtype == STRING else xr.Variable(variable.dims, values.astype(STRING), variable.attrs)
    native = variable.dtype.newbyteorder("=")
    if str(native) not in NUMBERS:
        raise FormatError(f"variable {name!r} has dtype {variable.dtype}; {', '.join(NUMBERS)} and strings can be stored")
    if native != variable.dtype:
        variable = variable.astype(native)
    if variable.chunks is None:
        return variable
    chunks = _chunks(variable)
    uniform = all(set(blocks[:-1]) <= {size} for blocks, size in zip(variable.chunks, chunks, strict=True))
    return variable if uniform else variable.chunk(dict(zip(variable.dims, chunks, strict=True)))


def _check_attrs(where: str, attrs: Mapping[Any, Any]) -> None:
    for name, value in attrs.items():
        items = value if isinstance(value, list | tuple) else value.ravel() if isinstance(value, np.ndarray) else [value]
        if not isinstance(name, str) or not all(
            isinstance(item, str | int | float | np.integer | np.floating) and not isinstance(item, bool) for item in items
        ):
            raise FormatError(f"attribute {name!r} of {where} is {value!r}; strings, numbers and lists of them can be stored")


def _chunks(variable: xr.Variable) -> tuple[int, ...]:
    """Stored chunk shape of a variable: the dask blocks, unless they are huge."""
    if variable.chunks is not None:
        blocks = tuple(max(sizes, default=0) or 1 for sizes in variable.chunks)
        if math.prod(blocks) * variable.dtype.itemsize <= BLOCK:
            return blocks
    return chunk_shape(variable.shape, variable.dtype.itemsize)


def _encoding(variable: xr.Variable) -> dict[str, Any]:
    match variable.dtype.kind:
        case "f":
            return {"_FillValue": None}  # NaN is stored as it is
        case "M":
            return {"units": "nanoseconds since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}
        case "m":
            return {"units": "nanoseconds", "dtype": "int64"}
    return {}


def _netcdf_encoding(variable: xr.Variable) -> dict[str, Any]:
    if variable.size == 0 or variable.ndim == 0 or variable.dtype == STRING:  # HDF5 has no chunks, hence no filters, there
        return _encoding(variable)
    filters = {"zlib": True, "complevel": 4, "shuffle": True, "fletcher32": True}
    return {**_encoding(variable), **filters, "chunksizes": _chunks(variable)}


def _zarr_encoding(variable: xr.Variable) -> dict[str, Any]:
    compressors = (ZstdCodec(level=3, checksum=True), Crc32cCodec())
    chunks = {"chunks": _chunks(variable), "write_empty_chunks": True}  # so that a missing chunk is a lost one
    return {**_encoding(variable), **chunks, "compressors": compressors}


def _settled(ds: xr.Dataset) -> xr.Dataset:
    """Drop the encoding, which would follow slices of the dataset into later writes, and settle the type of strings."""
    ds.encoding = {key: value for key, value in ds.encoding.items() if key == "source"}
    for name, variable in list(ds.variables.items()):
        if variable.dtype.kind in "OTU":
            values = variable.values
            if all(isinstance(value, str) for value in values.ravel().tolist()):
                ds[name] = (variable.dims, values.astype(STRING), variable.attrs)
        ds.variables[name].encoding = {}
    return ds


def _require_same(written: xr.Dataset, ds: xr.Dataset, path: Path) -> None:
    """Raise if the dataset just written reads back otherwise; compared without the numbers, which have checksums."""
    _require_same_attrs("dataset", written.attrs, ds.attrs, path)
    if set(written.coords) != set(ds.coords) or set(written.variables) != set(ds.variables):
        raise FormatError(f"{path}: not written: the format keeps {sorted(map(str, written.variables))} with coordinates "
                          f"{sorted(map(str, written.coords))}, not {sorted(map(str, ds.coords))}")  # fmt: skip
    for name, variable in ds.variables.items():
        other = written.variables[name]
        if (other.dims, other.shape, other.dtype) != (variable.dims, variable.shape, variable.dtype):
            raise FormatError(f"{path}: not written: variable {name!r}, {variable.dtype}{variable.shape}, would read back "
                              f"as {other.dtype}{other.shape}; rename or drop its special attributes")  # fmt: skip
        _require_same_attrs(f"variable {name!r}", other.attrs, variable.attrs, path)


def _require_same_attrs(where: str, found: Mapping[Any, Any], expected: Mapping[Any, Any], path: Path) -> None:
    if not xr.Dataset(attrs=found).identical(xr.Dataset(attrs=expected)):
        wrong = sorted(key for key in {*found, *expected}
                       if not xr.Dataset(attrs={key: found.get(key)}).identical(xr.Dataset(attrs={key: expected.get(key)})))  # fmt: skip
        raise FormatError(f"{path}: not written: attributes {wrong} of {where} would not read back as they are; "
                          "store them as plain strings or numbers under other names")  # fmt: skip


# ---- manifests


def _crc(thing: Any) -> int:
    return zlib.crc32(json.dumps(thing, sort_keys=True).encode())


def _seal_netcdf(path: Path) -> None:
    """Append the manifest to a whole netCDF file."""
    with open(path, "r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            size, pages = len(data), _structure(data)
        manifest = {"size": size, "pages": pages, "structure": _crc_of_pages(file, pages), "values": _crc_of_values(path)}
        text = json.dumps(manifest).encode()
        file.seek(size)
        file.write(text + b"%08x%08x" % (len(text), zlib.crc32(text)) + MAGIC)


def _structure(data: mmap.mmap) -> list[list[int]]:
    """Byte ranges, in whole pages, that hold the structure of an HDF5 file, found by its signatures.

    A chunk may contain a signature by chance; then some of the data is checked at open too, which does no harm.
    """
    pages = {0}
    for signature in SIGNATURES:
        at = data.find(signature)
        while at >= 0:
            length = int.from_bytes(data[at + 8 : at + 16], "little") if signature == HEAP else NODE
            pages.update(range(at // PAGE, min(at + length, len(data) - 1) // PAGE + 1))
            at = data.find(signature, at + 1)
    ranges: list[list[int]] = []
    for page in sorted(pages):
        start, stop = page * PAGE, min((page + 1) * PAGE, len(data))
        if ranges and ranges[-1][1] == start:
            ranges[-1][1] = stop
        else:
            ranges.append([start, stop])
    return ranges


def _crc_of_pages(file: BinaryIO, pages: list[list[int]]) -> int:
    crc = 0
    for start, stop in pages:
        file.seek(start)
        crc = zlib.crc32(file.read(stop - start), crc)
    return crc


def _crc_of_values(path: Path) -> int:
    """CRC-32 of attributes, scalars and strings, as plain values so that it does not depend on library versions."""
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        everything: list[Any] = [_plain_attrs(file)]
        for name, variable in sorted(file.variables.items()):
            everything.append([name, variable.dimensions, _plain_attrs(variable)])
            if variable.dtype is str:
                everything.append(np.asarray(variable[...]).ravel().tolist())
            elif not variable.dimensions:
                everything.append(np.asarray(variable[...]).tobytes().hex())
        return _crc(everything)


def _plain_attrs(owner: Any) -> dict[str, Any]:
    values = {name: np.asarray(owner.getncattr(name)) for name in owner.ncattrs()}
    return {name: [value.dtype.kind, value.tolist()] for name, value in values.items()}


def _check_netcdf(path: Path) -> None:
    """Raise unless the file agrees with its manifest; HDF5 never sees a damaged structure, which may crash it."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(size - FOOTER, 0))
        footer = file.read()
        if not footer.endswith(MAGIC):
            return
        length, crc = int(footer[:8], 16), int(footer[8:16], 16)
        file.seek(max(size - FOOTER - length, 0))
        text = file.read(length)
        if zlib.crc32(text) != crc:
            raise FormatError("the manifest at the end of the file is damaged")
        manifest = json.loads(text)
        if manifest["size"] + length + FOOTER != size:
            raise FormatError(f"{size - length - FOOTER} bytes of data instead of {manifest['size']}")
        if _crc_of_pages(file, manifest["pages"]) != manifest["structure"]:
            raise FormatError("the HDF5 structure does not match its checksum")
    if _crc_of_values(path) != manifest["values"]:
        raise FormatError("attributes, scalars or strings do not match their checksum")


def _seal_zarr(path: Path) -> None:
    """Add the manifest to the root of a whole Zarr store."""
    root = json.loads((path / "zarr.json").read_text())
    arrays = {file.parent.name: zlib.crc32(file.read_bytes()) for file in path.glob("*/zarr.json")}
    manifest = {"root": _crc(root), "arrays": arrays}
    root["attributes"][KEY] = MARK + json.dumps(manifest, sort_keys=True)
    (path / "zarr.json").write_text(json.dumps(root, indent=2))


def _check_zarr(path: Path) -> None:
    if not (path / "zarr.json").is_file():  # Zarr format 2, or no store: xarray will say
        return
    text = (path / "zarr.json").read_text()
    root = json.loads(text)
    stated = root.get("attributes", {}).pop(KEY, None)
    if stated is None and MARK not in text:
        return
    if not isinstance(stated, str) or not stated.startswith(MARK):
        raise FormatError("the manifest in the root zarr.json is damaged")
    manifest = json.loads(stated.removeprefix(MARK))
    if _crc(root) != manifest["root"]:
        raise FormatError("the root zarr.json does not match its checksum")
    found = {entry.name for entry in path.iterdir() if entry.name != "zarr.json"}
    if found != set(manifest["arrays"]):
        raise FormatError(f"arrays {sorted(found ^ set(manifest['arrays']))} are missing, or were added by another writer")
    for name, crc in manifest["arrays"].items():
        metadata = (path / name / "zarr.json").read_bytes()
        if zlib.crc32(metadata) != crc:
            raise FormatError(f"zarr.json of array {name!r} does not match its checksum")
        _check_chunks(path / name, json.loads(metadata))


def _check_chunks(array: Path, metadata: dict[str, Any]) -> None:
    """Raise unless every chunk of an array has its file; zarr reads a missing one as zeros."""
    shape = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    grid = [-(-size // step) for size, step in zip(metadata["shape"], shape, strict=True)]
    chunks = 0
    for folder, _, files in os.walk(array):
        for file in files:
            match Path(folder, file).relative_to(array).parts:
                case ("c", *index) if len(index) == len(grid):
                    chunks += all(i.isdecimal() and int(i) < n for i, n in zip(index, grid, strict=True))
    if chunks != math.prod(grid):
        raise FormatError(f"array {array.name!r} has {chunks} of its {math.prod(grid)} chunks")
