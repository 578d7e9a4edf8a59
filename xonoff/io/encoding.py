"""A dataset as netCDF and Zarr store it, and as it is given back: what can be stored, chunks, encoding, text.

`storable` refuses what would not read back as it is, `zarr_encoding` and `netcdf_encoding` choose chunks, compression
and checksums, `opened` opens what was stored, and `require_same` compares it with what was meant.
"""

import math
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xonoff.errors import FormatError

__all__ = ["BLOCK", "chunk_shape", "netcdf_encoding", "opened", "require_same", "storable", "zarr_encoding"]

CHUNK = 16 * 2**20  # bytes; the largest chunk of an array in memory
BLOCK = 64 * 2**20  # bytes; the largest dask block stored as one chunk

STRING = np.dtypes.StringDType()
NUMBERS = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float32",
    "float64",
    "datetime64[ns]",
    "timedelta64[ns]",
)

PathLike = str | os.PathLike[str]


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Chunks for an array in memory: the longest axis is halved until a chunk has at most 16 MiB.

    Sky axes are the long ones, so a chunk is a tile of the sky through all or most energies.

    Examples
    --------
    >>> chunk_shape((30, 2000, 2000), 4)
    (30, 250, 500)
    """
    chunk = [max(size, 1) for size in shape]
    while math.prod(chunk) * itemsize > CHUNK:
        longest = chunk.index(max(chunk))
        chunk[longest] = -(-chunk[longest] // 2)
    return tuple(chunk)


def storable(ds: xr.Dataset) -> xr.Dataset:
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
        raise FormatError(
            f"variable {name!r} holds a {kind.__module__}.{kind.__name__}, which cannot be stored; convert "
            "it to a numpy or dask array, with the unit in attrs['units']"
        )
    if variable.dtype.kind in "OTU":
        values = variable.values
        if not _are_strings(values) or any("\0" in value for value in values.flat):
            raise FormatError(f"variable {name!r} holds Python objects; numbers and strings without NUL can be stored")
        return xr.Variable(variable.dims, values.astype(STRING), variable.attrs)
    native = variable.dtype.newbyteorder("=")
    if str(native) not in NUMBERS:
        raise FormatError(f"variable {name!r} has dtype {native}; {', '.join(NUMBERS)} and strings can be stored")
    if native != variable.dtype:
        variable = variable.astype(native)
    if variable.chunks is None:
        return variable
    chunks = _chunks(variable)
    uniform = all(set(blocks[:-1]) <= {size} for blocks, size in zip(variable.chunks, chunks, strict=True))
    return variable if uniform else variable.chunk(dict(zip(variable.dims, chunks, strict=True)))


def _are_strings(values: Any) -> bool:
    return all(isinstance(value, str) for value in values.ravel().tolist())


def _check_attrs(where: str, attrs: Mapping[Any, Any]) -> None:
    plain = (str, int, float, np.integer, np.floating)
    for name, value in attrs.items():
        items = value if isinstance(value, list | tuple) else np.ravel(value).tolist()
        if not isinstance(name, str) or not all(isinstance(x, plain) and not isinstance(x, bool) for x in items):
            raise FormatError(
                f"attribute {name!r} of {where} is {value!r}; strings, numbers and lists of them can be stored"
            )


def _chunks(variable: xr.Variable) -> tuple[int, ...]:
    """Choose the stored chunk shape of a variable: the dask blocks, unless they are huge."""
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


def netcdf_encoding(variable: xr.Variable) -> dict[str, Any]:
    """Chunks, compression and checksums of a variable in netCDF."""
    if (
        variable.dtype == STRING
    ):  # fixed width: HDF5 2.0 may crash on variable-length strings when a file is opened twice
        return {"dtype": "S1"}
    if variable.size == 0 or variable.ndim == 0:  # HDF5 has no filters for these
        return _encoding(variable)
    filters = {"zlib": True, "complevel": 4, "shuffle": True, "fletcher32": True}
    return {**_encoding(variable), **filters, "chunksizes": _chunks(variable)}


def zarr_encoding(variable: xr.Variable) -> dict[str, Any]:
    """Chunks, compression and checksums of a variable in Zarr."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    compressors = (ZstdCodec(level=3, checksum=True), Crc32cCodec())
    chunks = {"chunks": _chunks(variable), "write_empty_chunks": True}  # so that a missing chunk is a lost one
    return {**_encoding(variable), **chunks, "compressors": compressors}


def opened(source: Any, chunks: Any, **options: Any) -> xr.Dataset:
    """Open with strings loaded and without the encoding, which would follow slices into later writes.

    In dask arrays are all others but 1-D coordinates, whose chunks would not be those of maps.
    """
    ds = xr.open_dataset(source, chunks=None, **options)
    known = {str(name): ds[name].variable.load() for name in ds.variables if ds[name].dtype.kind in "OTU"}
    text = list(known)
    if chunks is not None:
        apart = [name for name in ds.coords if ds[name].ndim < 2 and name not in {*ds.indexes, *text}]
        loaded = {str(name): ds[name].variable.load() for name in apart}
        known |= {name: variable.astype(variable.dtype.newbyteorder("=")) for name, variable in loaded.items()}
        ds.close()
        coords = [name for name in known if name in ds.coords]
        ds = xr.open_dataset(source, chunks=chunks, drop_variables=list(known), **options)
        ds = ds.assign(known).set_coords(coords)  # dask cannot tell how large a block of text is
    for name in text:
        variable = known[name]
        if _are_strings(variable.values):
            ds[name] = (variable.dims, variable.values.astype(STRING), variable.attrs)
    ds.encoding = {key: value for key, value in ds.encoding.items() if key == "source"}
    for variable in ds.variables.values():
        variable.encoding = {}
    return ds


def require_same(written: xr.Dataset, ds: xr.Dataset, path: PathLike) -> None:
    """Raise if what was just written reads back otherwise; without the numbers, which have checksums."""
    _require_same_attrs(path, "the dataset", written.attrs, ds.attrs)
    if set(written.coords) != set(ds.coords) or set(written.data_vars) != set(ds.data_vars):
        raise FormatError(
            f"{path} not written: {sorted(map(str, written.coords))} would be the coordinates and "
            f"{sorted(map(str, written.data_vars))} the variables; drop special attributes"
        )
    for name, variable in ds.variables.items():
        other = written.variables[name]
        if (other.dims, other.shape, other.dtype) != (variable.dims, variable.shape, variable.dtype):
            raise FormatError(
                f"{path} not written: variable {name!r}, {variable.dtype} {variable.sizes}, would read back "
                f"as {other.dtype} {other.sizes}; drop special attributes"
            )
        _require_same_attrs(path, f"variable {name!r}", other.attrs, variable.attrs)


def _require_same_attrs(path: PathLike, where: str, found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> None:
    for key in {*found, *expected}:
        if not xr.Dataset(attrs={key: found.get(key)}).identical(xr.Dataset(attrs={key: expected.get(key)})):
            raise FormatError(
                f"{path} not written: attribute {key!r} of {where}, {expected.get(key)!r}, would read back as "
                f"{found.get(key)!r}; drop it, or store a plain string or number under another name"
            )
