"""Objects under keys, each put whole or not at all: what a folder, a bucket and a file system of fsspec have in common.

Everything that an archive needs of a store is here: get, put, *create* (a put that fails if the key is taken, in one
step of the store), find, delete. On it rest the guarantees of `xonoff.archive`; `xonoff.io.zarrstore` reads and writes
Zarr through it. `xonoff.io.folder` and `xonoff.io.remote` implement it, `xonoff.io.urls` chooses.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

__all__ = ["PARALLEL", "Objects", "Stat"]

#: Requests at a time.
PARALLEL = 32


@dataclass(frozen=True)
class Stat:
    """Size of an object, a tag that changes with its content ("" if unknown), seconds since 1970 of its last change."""

    size: int
    tag: str
    modified: float


class Objects(ABC):
    """Objects under keys such as ``runs/a/zarr.json``.

    Attributes
    ----------
    name : str
        What messages call the store.
    """

    name: str

    @abstractmethod
    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return an object or a part of it; FileNotFoundError if there is none."""

    @abstractmethod
    def put(self, key: str, data: Any) -> None:
        """Put an object, in one step; it replaces what was there."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Put an object unless the key is taken, in one step; tell whether it is there now. It is on disk then."""

    @abstractmethod
    def find(self, prefix: str = "", *, parts: bool = False) -> dict[str, Stat]:
        """List all objects in a folder and those in it; with ``parts`` also what is being written or was left half."""

    @abstractmethod
    def names(self, prefix: str) -> list[str]:
        """Names of the folders and objects right in a folder."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are no error."""

    def has(self, key: str) -> bool:
        """Tell whether an object is there."""
        try:
            self.get(key, 0, 1)
        except FileNotFoundError:
            return False
        return True

    def flush(self, keys: Iterable[str]) -> None:  # noqa: B027  # a store that is not a disk has nothing to do
        """Make sure that objects are on disk."""

    def prune(self, prefix: str) -> None:  # noqa: B027
        """Remove folders without objects, where a store has such."""

    def get_many(self, keys: Sequence[str]) -> Iterator[bytes | Exception]:
        """Return objects, or what went wrong, in order; several requests at a time."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            yield from pool.map(self._got, keys)

    def _got(self, key: str) -> bytes | Exception:
        try:
            return self.get(key)
        except Exception as error:
            return error

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"
