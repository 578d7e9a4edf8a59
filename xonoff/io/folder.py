"""A folder of the local file system as a store of objects."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from xonoff.io.atomic import replacing, sync
from xonoff.io.objects import PARALLEL, Objects, Stat

__all__ = ["Folder"]


class Folder(Objects):
    """A folder of the local file system; links inside of it are not followed."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(path)
        self.name = os.fspath(path)

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read a file."""
        try:
            handle = os.open(os.path.join(self.path, key), os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                os.close(handle)
                raise IsADirectoryError
        except (IsADirectoryError, NotADirectoryError) as error:
            raise FileNotFoundError(f"{self.name}: no object {key}") from error
        with open(handle, "rb") as file:
            file.seek(start)
            return file.read() if stop is None else file.read(stop - start)

    def get_many(self, keys: Sequence[str]) -> Iterator[bytes | Exception]:
        """Return files one after the other."""
        return map(self._got, keys)

    def put(self, key: str, data: Any) -> None:
        """Write a file under a temporary name and rename it; `flush` brings it to the disk."""
        path = os.path.join(self.path, key)
        part = f"{path}.{secrets.token_hex(8)}.part"
        for _ in range(5):
            try:
                with open(part, "xb") as file:
                    file.write(data)
                os.replace(part, path)
                return
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(part)
                raise
        raise FileNotFoundError(f"{self.name}: the folder of {key} is taken away while it is written")

    def create(self, key: str, data: bytes) -> bool:
        """Write a file, flush it, and link it to its name."""
        path = Path(self.path, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with replacing(path) as part:
                part.write_bytes(data)
        except FileExistsError:
            return False
        return True

    def find(self, prefix: str = "", *, parts: bool = False) -> dict[str, Stat]:
        """List files, without those that are being written."""
        found: dict[str, Stat] = {}
        folders = [prefix.rstrip("/")]
        while folders:
            folder = folders.pop()
            try:
                entries = list(os.scandir(os.path.join(self.path, folder)))
            except (FileNotFoundError, NotADirectoryError):
                continue
            for entry in entries:
                key = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(key)
                elif parts or not entry.name.endswith(".part"):
                    with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                        info = entry.stat(follow_symlinks=False)
                        tag = f"{info.st_size}-{info.st_mtime_ns}-{info.st_ino}"
                        found[key] = Stat(info.st_size, tag, info.st_mtime)
        return dict(sorted(found.items()))

    def names(self, prefix: str) -> list[str]:
        """List a folder."""
        try:
            return sorted(os.listdir(os.path.join(self.path, prefix)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def delete(self, keys: Iterable[str]) -> None:
        """Delete files, and the folders that are empty then."""
        for key in keys:
            path = os.path.join(self.path, key)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(path)
            while (path := os.path.dirname(path)) != self.path and path.startswith(self.path):
                try:
                    os.rmdir(path)
                except OSError:  # not empty
                    break

    def prune(self, prefix: str) -> None:
        """Remove empty folders; one that another process has just made for a file it makes again."""
        for folder, _, _ in os.walk(os.path.join(self.path, prefix), topdown=False):
            with contextlib.suppress(OSError):  # not empty
                os.rmdir(folder)

    def flush(self, keys: Iterable[str]) -> None:
        """Flush files and then their folders, many at a time, which a journal writes together."""
        files = [Path(self.path, key) for key in keys]
        folders = {folder for file in files for folder in file.parents if folder.is_relative_to(self.path)}
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(sync, files))
            list(pool.map(sync, folders))
