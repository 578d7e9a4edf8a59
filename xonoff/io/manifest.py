"""What the checksums of netCDF and Zarr leave open, checked when a file is opened.

Our writers guard the data chunk by chunk: fletcher32 in netCDF, crc32c in Zarr, checked by those libraries on every
read. What they do not guard is in a manifest, which is checked at every open:

================  =====================================================  ===========================
not guarded       netCDF                                                 Zarr
================  =====================================================  ===========================
names, attrs      CRC-32 of the pages that hold HDF5's structure         CRC-32 of every ``zarr.json``
a lost chunk      the same: chunks are found through an index in there   every chunk has its file
unchunked values  CRC-32 of attributes, scalars and strings              (every value is in a chunk)
================  =====================================================  ===========================

Without it a lost chunk silently reads as the fill value, in both formats, and a damaged HDF5 structure can crash the
process. The manifest of a netCDF file is a trailer behind the end of the HDF5 data, where other readers do not look;
that of a Zarr store is an empty group ``xonoff_manifest`` with attributes. Neither is seen by xarray, so it does not
travel into a copy of the dataset, for which it would be wrong. What has no manifest is opened unchecked.
"""

import json
import math
import mmap
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xarray as xr

import xonoff
from xonoff.errors import FormatError

__all__ = [
    "MANIFEST",
    "check_chunks",
    "check_metadata",
    "check_netcdf",
    "check_zarr",
    "checksums_of",
    "seal_netcdf",
    "seal_zarr",
    "zarr_manifest",
]

MANIFEST = "xonoff_manifest"  # group of a Zarr store
MAGIC = b"xonoff-manifest1"  # ends every netCDF file with a manifest, after 8 + 8 hex digits of length and CRC-32
FOOTER = 16 + len(MAGIC)
PAGE = 4096  # bytes
NODE = 8192  # bytes; no node of a chunk index in fewer than ten dimensions is longer
HEAP = b"GCOL\1\0\0\0"  # attributes that are not ASCII, references; its length follows
SIGNATURES = (HEAP, b"TREE\1", b"OHDR\2", b"OCHK", b"FRHP", b"FHDB", b"FHIB", b"BTHD", b"BTIN", b"BTLF")


def seal_netcdf(path: Path) -> None:
    """Append the manifest to a whole netCDF file."""
    with open(path, "r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            size, pages = len(data), _structure(data)
        manifest = {
            "size": size,
            "pages": pages,
            "structure": _crc_of_pages(file, pages),
            "values": _crc_of_values(path),
        }
        text = json.dumps(manifest).encode()
        file.seek(size)
        file.write(text + b"%08x%08x" % (len(text), zlib.crc32(text)) + MAGIC)


def _structure(data: mmap.mmap) -> list[list[int]]:
    """Find the byte ranges, in whole pages, that hold the structure of an HDF5 file, by its signatures.

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
    """CRC-32 of attributes, scalars and strings, as plain values: library versions do not matter."""
    with xr.open_dataset(path, engine="netcdf4", decode_cf=False) as ds:  # xarray holds the lock that HDF5 needs
        everything: list[Any] = [_plain(ds.attrs)]
        for name, variable in sorted(ds.variables.items()):
            everything.append([name, variable.dims, _plain(variable.attrs)])
            if variable.dtype.kind == "S" or not variable.dims:
                everything.append(variable.values.tobytes().hex())
        return zlib.crc32(json.dumps(everything, sort_keys=True).encode())


def _plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    values = {name: np.asarray(value) for name, value in attrs.items()}
    return {name: [value.dtype.kind, value.tolist()] for name, value in values.items()}


def check_netcdf(path: Path) -> None:
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


def seal_zarr(path: Path) -> None:
    """Add the manifest to a whole Zarr store."""
    files = {str(file.relative_to(path).as_posix()): file.read_bytes() for file in path.rglob("zarr.json")}
    (path / MANIFEST).mkdir()
    (path / MANIFEST / "zarr.json").write_bytes(zarr_manifest(files))


def zarr_manifest(files: Mapping[str, bytes]) -> bytes:
    """Manifest of a Zarr store, as the metadata of a group, from the content of every ``zarr.json``."""
    text = json.dumps({name: zlib.crc32(content) for name, content in files.items()})
    attributes = {"files": text, "crc32": zlib.crc32(text.encode()), "written_by": f"xonoff {xonoff.__version__}"}
    return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=2).encode()


def checksums_of(manifest: bytes) -> dict[str, int]:
    """CRC-32 of every ``zarr.json`` by the manifest of a Zarr store."""
    attributes = json.loads(manifest)["attributes"]
    if zlib.crc32(attributes["files"].encode()) != attributes["crc32"]:
        raise FormatError("its manifest is damaged")
    files: dict[str, int] = json.loads(attributes["files"])
    return files


def check_zarr(path: Path) -> None:
    """Raise unless the store agrees with its manifest."""
    file = path / MANIFEST / "zarr.json"
    if not file.exists():
        return
    files = checksums_of(file.read_bytes())
    found = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")} - {"zarr.json", MANIFEST}
    check_metadata(files, found, lambda name: (path / name).read_bytes())
    for name in files:
        if name != "zarr.json":
            metadata = json.loads((path / name).read_bytes())
            _require_chunks(name.removesuffix("/zarr.json"), metadata, _indices(path / name.removesuffix("/zarr.json")))


def check_metadata(files: Mapping[str, int], found: set[str], read: Callable[[str], bytes]) -> None:
    """Raise unless the arrays that were found, and what `read` gives for every ``zarr.json``, agree with a manifest."""
    arrays = {name.removesuffix("/zarr.json") for name in files} - {"zarr.json"}
    if found != arrays:
        raise FormatError(f"arrays {sorted(found ^ arrays)} are missing, or were added by another writer")
    for name, crc in files.items():
        if zlib.crc32(read(name)) != crc:
            raise FormatError(f"{name} does not match its checksum, or was changed by another writer")


def check_chunks(files: Mapping[str, bytes], keys: Iterable[str]) -> None:
    """Raise unless every chunk of every array is among the keys of a store."""
    chunks: dict[str, list[tuple[str, ...]]] = {}
    for key in keys:
        array, c, rest = key.partition("/c")
        if c and (not rest or rest[0] == "/"):
            chunks.setdefault(array, []).append(tuple(rest.split("/")[1:]))
    for name, content in files.items():
        if name != "zarr.json":
            array = name.removesuffix("/zarr.json")
            _require_chunks(array, json.loads(content), chunks.get(array, []))


def _indices(array: Path) -> Iterator[tuple[str, ...]]:
    """Indices of the chunks of an array that have their file."""
    for folder, _, files in os.walk(array):
        for file in files:
            match Path(folder, file).relative_to(array).parts:
                case ("c", *index):
                    yield tuple(index)


def _require_chunks(array: str, metadata: dict[str, Any], indices: Iterable[tuple[str, ...]]) -> None:
    """Raise unless every chunk of an array is there; zarr reads its fill value for a missing one."""
    shape = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    grid = [-(-size // step) for size, step in zip(metadata["shape"], shape, strict=True)]
    chunks = 0
    for index in indices:
        if len(index) == len(grid):
            chunks += all(i.isdecimal() and int(i) < n for i, n in zip(index, grid, strict=True))
    if chunks != math.prod(grid):
        raise FormatError(f"array {array!r} has {chunks} of its {math.prod(grid)} chunks")
