"""Buckets, through obstore, and file systems of fsspec as stores of objects.

Requests that fail for a reason that may pass are repeated: by obstore itself, see `xonoff.io.urls`, and here what it
leaves out. Messages hold the name of the store and the key, and neither options nor queries.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from xonoff.io.objects import Objects, Stat

__all__ = ["Bucket", "FileSystem"]

#: Repeats of what the client itself does not repeat: a body that broke off, a conditional put without an answer.
ATTEMPTS = 5

T = TypeVar("T")


class Bucket(Objects):
    """A store of obstore: S3, Google, Azure, memory."""

    def __init__(self, store: Any, name: str) -> None:
        self.store, self.name = store, name

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Get an object; a body that broke off is asked for again."""
        import obstore

        def attempt() -> bytes:
            if stop is not None:
                return bytes(obstore.get_range(self.store, key, start=start, end=stop))
            options: Any = {"range": {"offset": start}} if start else None
            return bytes(obstore.get(self.store, key, options=options).bytes())

        return self._repeat(attempt, key, "read")

    def put(self, key: str, data: Any) -> None:
        """Put an object."""
        import obstore

        self._repeat(lambda: obstore.put(self.store, key, bytes(data), use_multipart=False), key, "written")

    def create(self, key: str, data: bytes) -> bool:
        """Put an object with ``If-None-Match: *``; if an answer is lost, look whether it is there.

        Data that differ from those of any other call tell then whose object it is.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, NotSupportedError

        def attempt() -> bool:
            try:
                obstore.put(self.store, key, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return self.get(key) == data
            except (NotSupportedError, NotImplementedError):  # then two that write at once are not told apart
                with contextlib.suppress(FileNotFoundError):
                    return self.get(key) == data
                self.put(key, data)
            return True

        return self._repeat(attempt, key, "written")

    def find(self, prefix: str = "", *, parts: bool = False) -> dict[str, Stat]:
        """List objects."""
        import obstore

        def attempt() -> dict[str, Stat]:
            found = {}
            for batch in obstore.list(self.store, prefix.rstrip("/") or None):
                for meta in batch:
                    tag = f"{meta['size']}-{meta['e_tag'] or meta['last_modified'].timestamp()}"
                    found[meta["path"]] = Stat(meta["size"], tag, meta["last_modified"].timestamp())
            return dict(sorted(found.items()))

        return self._repeat(attempt, prefix, "listed")

    def names(self, prefix: str) -> list[str]:
        """List a folder."""
        import obstore

        def attempt() -> list[str]:
            found = obstore.list_with_delimiter(self.store, prefix.rstrip("/") or None)
            paths = [*found["common_prefixes"], *(meta["path"] for meta in found["objects"])]
            return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

        return self._repeat(attempt, prefix, "listed")

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, a thousand a request."""
        import obstore

        todo = sorted(keys)
        for i in range(0, len(todo), 1000):
            with contextlib.suppress(FileNotFoundError):
                self._repeat(partial(obstore.delete, self.store, todo[i : i + 1000]), todo[i], "deleted")

    def _repeat(self, attempt: Callable[[], T], key: str, what: str) -> T:
        return _repeated(attempt, f"{self.name}: {key or 'its content'} could not be {what}")


class FileSystem(Objects):
    """A file system of fsspec.

    `create` asks it for an exclusive write (``mode="create"``) if it has one, as S3 and memory do. Elsewhere it looks
    first and writes then, so two processes must not write the same run of an archive at the same time.
    """

    def __init__(self, fs: Any, root: str, name: str) -> None:
        self.fs, self.root, self.name = fs, root.rstrip("/"), name

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read a file."""

        def attempt() -> bytes:
            try:
                return bytes(self.fs.cat_file(self._path(key), start=start or None, end=stop))
            except (IsADirectoryError, NotADirectoryError) as error:
                raise FileNotFoundError(f"{self.name}: no object {key}") from error

        return self._repeat(attempt, key, "read")

    def put(self, key: str, data: Any) -> None:
        """Write a file."""
        path = self._path(key)
        self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._repeat(lambda: self.fs.pipe_file(path, bytes(data)), key, "written")

    def create(self, key: str, data: bytes) -> bool:
        """Write a file unless it is there."""
        path = self._path(key)
        if self.fs.exists(path):
            return self.get(key) == data
        self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)

        def attempt() -> bool:
            try:
                self.fs.pipe_file(path, data, mode="create")
            except FileExistsError:
                return self.get(key) == data
            except (TypeError, NotImplementedError):
                self.fs.pipe_file(path, data)
            return True

        return self._repeat(attempt, key, "written")

    def find(self, prefix: str = "", *, parts: bool = False) -> dict[str, Stat]:
        """List files."""
        folder = self._path(prefix)
        self.fs.invalidate_cache()
        files = self._repeat(lambda: self.fs.find(folder, detail=True), prefix, "listed")
        found = {}
        for path, about in files.items():
            key = str(path)[len(self.root) :].lstrip("/")
            when = next((about[k] for k in ("LastModified", "mtime", "created", "last_modified") if k in about), 0.0)
            seconds = when.timestamp() if hasattr(when, "timestamp") else float(when)
            tag = str(about.get("ETag") or about.get("etag") or "")
            found[key] = Stat(int(about["size"] or 0), tag, seconds)
        return dict(sorted(found.items()))

    def names(self, prefix: str) -> list[str]:
        """List a folder."""
        self.fs.invalidate_cache()
        try:
            paths = self.fs.ls(self._path(prefix), detail=False)
        except FileNotFoundError:
            return []
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in paths)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete files."""
        for key in keys:
            with contextlib.suppress(FileNotFoundError):
                self._repeat(partial(self.fs.rm_file, self._path(key)), key, "deleted")

    def _path(self, key: str) -> str:
        return f"{self.root}/{key}" if key else self.root

    def _repeat(self, attempt: Callable[[], T], key: str, what: str) -> T:
        return _repeated(attempt, f"{self.name}: {key or 'its content'} could not be {what}")


def _repeated(attempt: Callable[[], T], message: str) -> T:
    """Try several times; what cannot pass by itself is not tried again."""
    for number in range(ATTEMPTS):
        try:
            return attempt()
        except (FileNotFoundError, FileExistsError, PermissionError, ImportError, TypeError):
            raise
        except Exception as error:
            kind = type(error).__name__
            if kind in ("NotFoundError", "PermissionDeniedError", "UnauthenticatedError", "InvalidPathError"):
                raise _failed(message, error) from None
            if number == ATTEMPTS - 1 or _gave_up(error):
                raise _failed(message, error) from error
            time.sleep(0.05 * 3**number)
    raise AssertionError  # pragma: no cover


def _gave_up(error: Exception) -> bool:
    """Tell whether obstore has repeated the request as often as it may."""
    found = re.search(r"after (\d+) retries, max_retries: (\d+)", str(error))
    return found is not None and int(found[1]) >= int(found[2])


def _failed(message: str, error: Exception) -> OSError:
    reason = re.sub(r"\?\S*", "", str(error).split("\n")[0][:300])  # a query may hold a signature
    return OSError(f"{message}: {type(error).__name__}: {reason}: check the connection, the URL and the permissions")
