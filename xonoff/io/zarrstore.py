"""A Zarr store over `xonoff.io.objects`, in which a lost chunk is an error and a group is shown when it is whole.

Zarr reads its fill value where a chunk is missing: a lost object would be a number. `ObjectsStore` with ``sealed``
raises instead. For writing, with ``hold``, it keeps the ``zarr.json`` of the group itself to the end: without it
nothing opens the group, so putting it is the one step that publishes the group. Small objects that pass through are
kept, for `xonoff.io.groups` packs them into one object, with which a dataset opens in one request.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import google_crc32c
import numpy as np
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from xonoff.errors import FormatError
from xonoff.io.objects import Objects

__all__ = ["ROOT", "ObjectsStore"]

ROOT = "zarr.json"
#: Bytes of an object that goes into a pack, and of all of them; all metadata do.
SMALL, PACK = 16 * 2**10, 2 * 2**20
#: Readings of a chunk whose checksum does not match.
ATTEMPTS = 2


class ObjectsStore(Store):
    """Zarr group among objects.

    Parameters
    ----------
    objects : Objects
    prefix : str
        Folder of the group.
    read_only : bool
    small : mapping of str to bytes, optional
        Objects that need not be asked for: all metadata, some chunks.
    sealed : bool
        Every chunk is there: one that is missing is an error.
    hold : bool
        Do not put the ``zarr.json`` of the group: it is in ``kept`` afterwards. The group is taken for a new one, of
        which nothing is there but what went through, and a chunk is written once.
    """

    supports_writes = True
    supports_deletes = True
    supports_listing = True
    supports_partial_writes = False

    def __init__(
        self,
        objects: Objects,
        prefix: str = "",
        *,
        read_only: bool = False,
        small: Mapping[str, bytes] | None = None,
        sealed: bool = False,
        hold: bool = False,
    ) -> None:
        super().__init__(read_only=read_only)
        self.objects, self.prefix = objects, f"{prefix}/" if prefix else ""
        self.small, self.sealed, self.hold = small or {}, sealed, hold
        self.kept: dict[str, bytes] = {}

    def with_read_only(self, read_only: bool = False) -> "ObjectsStore":
        """Return the same store, read-only or not."""
        options: Any = {"small": self.small, "sealed": self.sealed, "hold": self.hold}
        store = type(self)(self.objects, self.prefix.rstrip("/"), read_only=read_only, **options)
        store.kept = self.kept
        return store

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ObjectsStore):
            return False
        return self.prefix == other.prefix and (
            self.objects is other.objects or self.objects.name == other.objects.name
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "kept": {}}

    def __repr__(self) -> str:
        return f"ObjectsStore({self.objects.name}, {self.prefix!r})"

    # -- reading --------------------------------------------------------------------------------------------------

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return an object, or None if there is none that has to be there."""
        data = self._known(key)
        if data is not None:
            data = _part(data, byte_range)
        elif not self.hold and not (self.small and key.endswith(ROOT)):  # else there is none
            try:
                data = await asyncio.to_thread(self._read, key, byte_range)
            except FileNotFoundError as error:
                if self.sealed and not key.endswith(ROOT):
                    raise FormatError(f"{self._name(key)} is lost, a chunk of the data") from error
        return None if data is None else prototype.buffer.from_bytes(data)

    def _read(self, key: str, byte_range: ByteRequest | None) -> bytes:
        match byte_range:
            case RangeByteRequest():
                return self.objects.get(self.prefix + key, byte_range.start, byte_range.end)
            case OffsetByteRequest():
                return self.objects.get(self.prefix + key, byte_range.offset)
        for _ in range(ATTEMPTS):  # a byte may have turned on its way
            data = self.objects.get(self.prefix + key)
            if not self.sealed or key.endswith(ROOT) or _is_whole(data):
                return _part(data, byte_range)
        raise FormatError(f"{self._name(key)} is damaged, its checksum does not match")

    def _name(self, key: str) -> str:
        return f"{self.objects.name}: {self.prefix}{key}"

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of objects."""
        return await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges))

    async def exists(self, key: str) -> bool:
        """Tell whether an object is there."""
        if self._known(key) is not None:
            return True
        return not self.hold and await asyncio.to_thread(self.objects.has, self.prefix + key)

    def _known(self, key: str) -> bytes | None:
        return self.small.get(key, self.kept.get(key) if self.hold else None)

    # -- writing --------------------------------------------------------------------------------------------------

    async def set(self, key: str, value: Buffer) -> None:
        """Put an object; that of the group itself is held back."""
        self._check_writable()
        view = value.as_buffer_like()
        if key.endswith(ROOT) or (len(view) <= SMALL and sum(map(len, self.kept.values())) < PACK):
            self.kept[key] = bytes(view)
        if not (self.hold and key == ROOT):
            await asyncio.to_thread(self.objects.put, self.prefix + key, view)

    async def delete(self, key: str) -> None:
        """Delete an object."""
        self._check_writable()
        self.kept.pop(key, None)
        await asyncio.to_thread(self.objects.delete, [self.prefix + key])

    # -- listing --------------------------------------------------------------------------------------------------

    async def list(self) -> AsyncIterator[str]:
        """List all objects."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """List the objects whose keys start so."""
        if self.hold:
            keys = list(self.kept)
        else:
            folder = (self.prefix + prefix).rpartition("/")[0]
            keys = [key[len(self.prefix) :] for key in await asyncio.to_thread(self.objects.find, folder)]
        for key in keys:
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """List a folder."""
        folder = prefix.strip("/")
        if self.small or self.hold:
            start = f"{folder}/" if folder else ""
            inside = (key[len(start) :] for key in self.kept | dict(self.small) if key.startswith(start))
            names = list(dict.fromkeys(key.partition("/")[0] for key in inside))
        else:
            names = await asyncio.to_thread(self.objects.names, (self.prefix + folder).rstrip("/"))
        for name in names:
            if not name.startswith("."):
                yield name


def _is_whole(chunk: bytes) -> bool:
    """Tell whether a chunk agrees with the CRC-32C at its end, which all that xonoff writes have."""
    content: Any = np.frombuffer(chunk, np.uint8)[:-4]  # a view; google_crc32c takes no memoryview
    return len(chunk) >= 4 and google_crc32c.value(content).to_bytes(4, "little") == chunk[-4:]


def _part(data: bytes, byte_range: ByteRequest | None) -> bytes:
    match byte_range:
        case RangeByteRequest():
            return data[byte_range.start : byte_range.end]
        case OffsetByteRequest():
            return data[byte_range.offset :]
        case SuffixByteRequest():
            return data[-byte_range.suffix :]
    return data
