"""A dataset as a Zarr group among objects: written whole or not at all, and opened in one request.

`write_group` writes everything of a group but its own ``zarr.json``, so that nothing opens it yet; `publish` puts
that, in one step. In between the group can be given up: it is garbage without a name. Beside the chunks, which carry
their own checksums, a group has

- ``xonoff_manifest/zarr.json``, the manifest of `xonoff.io.manifest`, for any reader of xonoff;
- ``xonoff_manifest/pack``, all metadata and small coordinates in one object with one checksum, so that `open_group`
  asks for this object alone and the rest when it is looked at. A chunk that is missing then is an error, see
  `xonoff.io.zarrstore`.
"""

import json
import os
import secrets
import socket
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import xarray as xr

from xonoff.errors import FormatError
from xonoff.io.atomic import STRAGGLERS, alive
from xonoff.io.encoding import opened, require_same, storable, zarr_encoding
from xonoff.io.folder import Folder
from xonoff.io.manifest import MANIFEST, check_chunks, check_metadata, checksums_of, zarr_manifest
from xonoff.io.objects import Objects
from xonoff.io.slabs import write_zarr
from xonoff.io.urls import open_objects

__all__ = ["Seal", "open_group", "open_url", "pack", "publish", "remove_group", "seal_group", "unpack", "write_group"]
__all__ += ["gone_on_failure", "write_url"]

ROOT = "zarr.json"
PACKED = f"{MANIFEST}/pack"
#: Whose writing is under way; goes when the dataset is published.
WRITING = ".xonoff_writing"

#: Length and CRC-32 of a pack.
Seal = tuple[int, int]


def write_group(objects: Objects, prefix: str, ds: xr.Dataset) -> tuple[bytes, Seal]:
    """Write a dataset as a group that is not published yet.

    Returns
    -------
    bytes
        Its ``zarr.json``, for `publish`.
    (int, int)
        Length and CRC-32 of its pack.

    Raises
    ------
    FormatError
        If something in the dataset would not read back as it is.
    """
    from xonoff.io.zarrstore import ObjectsStore

    ready = storable(ds)
    encoding = {name: zarr_encoding(variable) for name, variable in ready.variables.items()}
    store = ObjectsStore(objects, prefix, hold=True)
    write_zarr(ready, store, mode="w-", zarr_format=3, consolidated=False, encoding=encoding)
    data = {f"{name}/c" for name in ready.data_vars}
    kept = {key: content for key, content in store.kept.items() if key[: key.find("/c") + 2] not in data}
    root, seal = seal_group(objects, prefix, kept)
    require_same(open_group(objects, prefix, seal=seal), ready, f"{objects.name}: {prefix}" if prefix else objects.name)
    return root, seal


def seal_group(objects: Objects, prefix: str, kept: Mapping[str, bytes]) -> tuple[bytes, Seal]:
    """Check that all chunks of a group are there, and add manifest and pack; returns as `write_group`.

    Parameters
    ----------
    objects, prefix
    kept : mapping
        All ``zarr.json`` of the group, also its own, and small chunks.
    """
    start = f"{prefix}/" if prefix else ""
    keys = objects.find(prefix)
    files = {key: content for key, content in kept.items() if key.endswith(ROOT)}
    check_chunks(files, (key.removeprefix(start) for key in keys))
    small = {key: content for key, content in kept.items() if f"{start}{key}" in keys or key == ROOT}
    packed = pack(small)
    objects.put(f"{start}{PACKED}", packed)
    objects.put(f"{start}{MANIFEST}/{ROOT}", zarr_manifest(files))
    objects.flush([*keys, f"{start}{PACKED}", f"{start}{MANIFEST}/{ROOT}"])
    return files[ROOT], (len(packed), zlib.crc32(packed))


def publish(objects: Objects, prefix: str, root: bytes) -> bool:
    """Put the ``zarr.json`` of a group, unless it has one; tell whether it is there."""
    return objects.create(f"{prefix}/{ROOT}" if prefix else ROOT, root)


def open_group(objects: Objects, prefix: str, chunks: Any = None, seal: Seal | None = None) -> xr.Dataset:
    """Open a group lazily; what is read later is checked then.

    Parameters
    ----------
    objects, prefix
    chunks : optional
        As in `xarray.open_dataset`.
    seal : (int, int), optional
        Length and CRC-32 that its pack has to have.

    Raises
    ------
    FormatError
        If it is damaged; FileNotFoundError if its pack is not there.
    """
    from xonoff.io.zarrstore import ObjectsStore

    start = f"{prefix}/" if prefix else ""
    packed = objects.get(f"{start}{PACKED}")
    if seal is not None and (len(packed), zlib.crc32(packed)) != tuple(seal):
        raise FormatError(f"{start}{PACKED} of {len(packed)} bytes does not match its checksum")
    small = unpack(packed)
    store = ObjectsStore(objects, prefix, read_only=True, small=small, sealed=True)
    return opened(store, chunks, engine="zarr", consolidated=False, zarr_format=3)


@contextmanager
def gone_on_failure(objects: Objects, prefix: str) -> Iterator[None]:
    """Delete a group, or all that is there of it, if the block fails."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            for _ in range(STRAGGLERS):  # threads of a failed dask write may be at it still
                remove_group(objects, objects.find(prefix, parts=True))
                time.sleep(0.05)
        raise


def remove_group(objects: Objects, keys: Iterable[str]) -> None:
    """Delete the objects of a group, first those that make it one."""
    first = [key for key in keys if key.endswith((ROOT, PACKED))]
    objects.delete(first)
    objects.delete([key for key in keys if key not in first])


def pack(small: Mapping[str, bytes]) -> bytes:
    """Several objects as one, with a checksum."""
    head = json.dumps([[key, len(content)] for key, content in small.items()]).encode()
    body = b"%08x" % len(head) + head + b"".join(small.values())
    return body + b"%08x" % zlib.crc32(body)


def unpack(packed: bytes) -> dict[str, bytes]:
    """Objects of a pack; FormatError if it is damaged."""
    try:
        body, crc = packed[:-8], int(packed[-8:], 16)
        if zlib.crc32(body) != crc:
            raise FormatError(f"{PACKED} does not match its checksum")
        start = 8 + int(body[:8], 16)
        small = {}
        for key, length in json.loads(body[8:start]):
            small[str(key)] = body[start : start + length]
            start += length
        return small
    except (ValueError, IndexError, TypeError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{PACKED} is damaged: {error}") from error


# -- one dataset under a URL ------------------------------------------------------------------------------------------


def write_url(
    ds: xr.Dataset, url: Any, *, overwrite: bool = False, storage_options: Mapping[str, Any] | None = None
) -> None:
    """Write a dataset under a URL, whole or not at all.

    Parameters
    ----------
    ds, url, storage_options
    overwrite : bool
        Remove what an interrupted writer left there. A whole dataset is never replaced: a store of objects cannot do
        that in one step.

    Raises
    ------
    FileExistsError
        If there is anything else under the URL.
    """
    objects = open_objects(url, storage_options)
    token = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": secrets.token_hex(8)}).encode()
    left = objects.find()
    if WRITING in left and ROOT not in left and (overwrite or _dead(objects.get(WRITING))):
        remove_group(objects, left)
        left = {}
    if left:
        name = objects.name
        if ROOT in left:
            raise FileExistsError(
                f"{name} holds a Zarr store, which objects under a URL cannot replace in one step: write to another "
                "name and delete the old one then, or keep datasets in an xonoff.Archive, which replaces them"
            )
        if WRITING in left:
            raise FileExistsError(
                f"{name} holds a part of a dataset by another writer: wait for it, or pass overwrite=True to remove "
                "what an interrupted one has left"
            )
        raise FileExistsError(f"{name} holds {next(iter(left))!r}, no dataset: choose another name")
    if not objects.create(WRITING, token):
        raise FileExistsError(f"{objects.name} is being written by another process: wait for it, or give another name")
    with gone_on_failure(objects, ""):
        root, _ = write_group(objects, "", ds)
    if objects.get(WRITING) != token or not publish(objects, "", root):
        raise FileExistsError(f"{objects.name} was written by another process meanwhile: choose another name")
    objects.delete([WRITING])


def _dead(token: bytes) -> bool:
    """Tell whether the writer was a process of this host that has ended."""
    try:
        found = json.loads(token)
        return bool(found["host"] == socket.gethostname() and not alive(int(found["pid"])))
    except (ValueError, KeyError, TypeError):
        return False


def open_url(url: Any, chunks: Any = None, storage_options: Mapping[str, Any] | None = None) -> xr.Dataset:
    """Open a dataset under a URL, by any writer; one of `write_url` is checked.

    Raises
    ------
    FormatError
        If it is damaged, not whole, or no Zarr group; FileNotFoundError if there is nothing.
    """
    from xonoff.io.zarrstore import ObjectsStore

    objects = open_objects(url, storage_options)
    try:
        root = objects.get(ROOT)
    except FileNotFoundError as error:
        if not isinstance(objects, Folder) or os.path.isdir(objects.path):
            found = objects.names("")
            if found:
                raise FormatError(
                    f"{objects.name}: no {ROOT} but {found[:3]} found, a Zarr group of format 3 accepted: another "
                    "address, or a writer that was killed or is at work: write it again"
                ) from error
        raise FileNotFoundError(f"{objects.name}: nothing found under this name") from error
    try:
        try:
            manifest = objects.get(f"{MANIFEST}/{ROOT}")
        except FileNotFoundError:  # by another writer
            store = ObjectsStore(objects, read_only=True)
            return opened(store, chunks, engine="zarr", consolidated=False, zarr_format=3)
        files = checksums_of(manifest)
        try:
            ds = open_group(objects, "", chunks)
        except FileNotFoundError:  # made by to_zarr on a local disk, and copied
            store = ObjectsStore(objects, read_only=True, sealed=True)
            arrays = {name for name in objects.names("") if not name.startswith(".")} - {ROOT, MANIFEST}
            check_metadata(files, arrays, objects.get)
            return opened(store, chunks, engine="zarr", consolidated=False, zarr_format=3)
        if zlib.crc32(root) != files[ROOT]:
            raise FormatError(f"{ROOT} does not match its checksum, or was changed by another writer")
        return ds
    except (PermissionError, FileNotFoundError, ImportError):
        raise
    except OSError:  # says which object, and why
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, FormatError) else f"{type(error).__name__}: {error}"
        raise FormatError(f"{objects.name}: damaged, or not a Zarr store: {reason}") from error
