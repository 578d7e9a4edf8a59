"""Publish a file or a Zarr directory whole or not at all.

`replacing` is for files (FITS, netCDF), `replacing_store` for Zarr directories. Both hand out a temporary path beside
the target; when the block ends without an exception what was written there is flushed to disk and takes the target's
name in one step of the file system. Until then the target is untouched, so a process killed at any moment leaves the
old data or the new. `replacing_together` does this for several of them; each takes its name in a step of its own.

Temporary names are ``.{name}.{host}.{pid}.{random}.part``. A killed process leaves one behind; the next write to the
same target removes it once that process is gone. A symbolic link is followed: the link stays and the data it
points to is replaced. New files get the mode the umask asks for.
"""

import ctypes
import errno
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["alive", "replacing", "replacing_store", "replacing_together", "sync"]

_AT_FDCWD = -100
STRAGGLERS = 4  # rounds of cleaning up after a failure
_NOREPLACE = 1
_EXCHANGE = 2


@contextmanager
def replacing(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Write a file under a temporary name and move it over `path` when the block succeeds.

    Parameters
    ----------
    path : path
        The file to create or replace.
    overwrite : bool
        Replace an existing file. If False, a file that exists, or appears while the block runs, is left alone.

    Yields
    ------
    Path
        Where the block has to write the file: a free name in the same directory.

    Raises
    ------
    FileExistsError
        If `path` exists and `overwrite` is False; checked before the block runs and again, atomically, at its end.
    IsADirectoryError
        If `path` is a directory.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with replacing(target) as part:
    ...     _ = part.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    target = _target(path, overwrite)
    _check_file(target)
    with _beside(target) as part:
        yield part
        sync(part)
        if overwrite:
            os.replace(part, target)
        else:
            _rename_to_free_name(part, target)


@contextmanager
def replacing_store(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Write a Zarr directory under a temporary name and swap it with `path` when the block succeeds.

    On Linux the swap is one system call (``renameat2`` with ``RENAME_EXCHANGE``), so the name always opens as the old
    store or the new one. Where the system or file system has no such call, the old store is renamed aside and the new
    one renamed in: a kill between the two leaves both whole under temporary names beside the target.

    A reader that opened the old store lazily has to open it again: Zarr finds its chunks by path.

    Parameters
    ----------
    path : path
        The directory to create or replace.
    overwrite : bool
        Replace an existing Zarr store. Anything else that exists under this name is never replaced.

    Yields
    ------
    Path
        Where the block has to write the store: a free name in the same directory.

    Raises
    ------
    FileExistsError
        If `path` exists and `overwrite` is False, or if it is a directory that is not a Zarr store.
    NotADirectoryError
        If `path` is a file.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.zarr"
    >>> with replacing_store(target) as part:
    ...     part.mkdir()
    ...     _ = (part / "zarr.json").write_text("{}")
    >>> [entry.name for entry in target.iterdir()]
    ['zarr.json']
    """
    target = _target(path, overwrite)
    _check_store(target)
    with _beside(target) as part:
        yield part
        _sync_tree(part)
        if overwrite:
            _swap(part, target)
        else:
            _rename_to_free_name(part, target)


@contextmanager
def replacing_together(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Write several files and Zarr directories, which take their names in one folder when the block succeeds.

    If one of them cannot have its name, those that already have theirs are taken back, and what they replaced is put
    back. Only a kill while the names are given, after all is written, leaves some of the old and some of the new.

    Parameters
    ----------
    path : path
        The file that names the others: it has to be among what the block writes, and takes its name last.
    overwrite : bool
        Replace existing files and Zarr stores. If False, none of the names may exist, or appear while the block runs.

    Yields
    ------
    Path
        A new folder, beside `path`, to write into under the final names.

    Raises
    ------
    FileExistsError
        If one of the names exists and `overwrite` is False, or is a directory that is not a Zarr store.
    IsADirectoryError, NotADirectoryError
        If a file would replace a directory, or a Zarr store a file.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with replacing_together(target) as folder:
    ...     _ = (folder / "b.txt").write_text("of a")
    ...     _ = (folder / "a.txt").write_text("names b")
    >>> sorted(entry.name for entry in target.parent.iterdir())
    ['a.txt', 'b.txt']
    """
    _target(path, overwrite)
    last = Path(os.path.realpath(Path(path).parent), Path(path).name)
    with _beside(last) as part:
        part.mkdir()
        yield part
        _sync_tree(part)
        names = sorted(os.listdir(part), key=lambda name: (name == last.name, name))
        targets = {part / name: _target(last.with_name(name), overwrite) for name in names}
        for source, target in targets.items():
            (_check_store if source.is_dir() else _check_file)(target)
            if list(targets.values()).count(target) > 1:
                raise FileExistsError(f"{target}: links give it two of the names to write; remove them")
        _publish(targets, overwrite)


def _publish(targets: Mapping[Path, Path], overwrite: bool) -> None:
    """Move every source to its target; if one fails, everything is put back."""
    new = {source: source.stat() for source in targets}
    try:
        for source, target in targets.items():
            (_swap if overwrite else _rename_to_free_name)(source, target)
    except BaseException as error:
        for source, target in targets.items():
            if not (target.exists() and os.path.samestat(target.stat(), new[source])):
                continue
            try:
                if source.exists() and not os.path.samestat(source.stat(), new[source]):  # what was replaced
                    _swap(source, target)
                elif target.is_dir():
                    os.rename(target, source)
                else:
                    target.unlink()
            except OSError as second:
                kept = target.with_name(f"{target.name}.{secrets.token_hex(4)}.old")
                if source.exists():  # or it would go with the temporary folder
                    os.rename(source, kept)
                error.add_note(f"{target} could not be put back ({second}); if it was there before it is now {kept}")
        raise


def _check_file(target: Path) -> None:
    """Refuse a target that a file must not replace."""
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a directory; give the name of a file to write")


def _check_store(target: Path) -> None:
    """Refuse a target that a Zarr store must not replace."""
    if not target.exists():
        return
    if not target.is_dir():
        raise NotADirectoryError(f"{target} is a file, not a Zarr store; remove it or choose another name")
    if not any((target / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray")):
        raise FileExistsError(
            f"{target} is a directory but not a Zarr store, so it is not replaced; remove it or choose another name"
        )


def _target(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """Follow links, and refuse what can be refused before any work."""
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target.parent} is not a directory; create it before writing {target.name}")
    if target.exists() and not overwrite:
        raise _exists(target)
    return target


def _exists(target: Path) -> FileExistsError:
    return FileExistsError(f"{target} exists; pass overwrite=True to replace it, or choose another name")


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Hand out a temporary name beside the target and leave nothing under it."""
    if target.exists():  # else debris may be the old data, set aside by a writer killed in `_swap_by_turns`
        _sweep(target)
    part = target.with_name(f"{_prefix(target)}{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        yield part
        sync(target.parent)
        _sweep(target)
    except BaseException:
        for _ in range(STRAGGLERS):  # threads of a failed dask write may be at it still, and open the file anew
            _remove(part)
            time.sleep(0.05)
        raise
    finally:
        _remove(part)


def _prefix(target: Path) -> str:
    return f".{target.name}.{socket.gethostname()}."


def _sweep(target: Path) -> None:
    """Remove what dead processes of this host left behind while writing the same target."""
    prefix = _prefix(target)
    for name in os.listdir(target.parent):
        ours = re.fullmatch(r"(\d+)\.[0-9a-f]{8}\.part", name.removeprefix(prefix)) if name.startswith(prefix) else None
        if ours and not alive(int(ours[1])):
            _remove(target.with_name(name))


def alive(pid: int) -> bool:
    """Tell whether a process of this host runs."""
    if os.name != "posix":  # elsewhere os.kill would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # exists, but belongs to another user
        return True
    return True


def _remove(path: Path) -> None:
    """Remove a file or a tree if it is there."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for _ in range(100):  # after a failed write, threads of dask may still add chunks while the tree is taken down
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return


def _sync_tree(path: Path) -> None:
    for folder, _, files in os.walk(path):
        for name in files:
            sync(Path(folder, name))
        sync(Path(folder))


def sync(path: Path) -> None:
    """Flush a file or directory to disk."""
    if os.name != "posix" and path.is_dir():  # only POSIX opens directories
        return
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _renameat2(source: Path, target: Path, flag: int) -> bool:
    """Rename with one of Linux's flags; False where the system or the file system does not know it."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), ctypes.c_uint(flag)) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(target))


def _rename_to_free_name(part: Path, target: Path) -> None:
    """Rename unless the name was taken meanwhile."""
    try:
        if _renameat2(part, target, _NOREPLACE):
            return
        if part.is_dir():
            os.rename(part, target)  # refused by the system if a directory with content has appeared
        else:
            os.link(part, target)
            part.unlink()
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise _exists(target) from error
        raise


def _swap(part: Path, target: Path) -> None:
    """Give the target's name to the new tree, and the temporary name to the old one, if there is one."""
    while True:  # another writer may create or take the target between two calls
        try:
            if _renameat2(part, target, _EXCHANGE):
                return
            if target.exists():
                return _swap_by_turns(part, target)
        except FileNotFoundError:
            pass
        try:
            os.rename(part, target)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise


def _swap_by_turns(part: Path, target: Path) -> None:
    aside = part.with_name(f"{_prefix(target)}{os.getpid()}.{secrets.token_hex(4)}.part")
    os.rename(target, aside)
    try:
        os.rename(part, target)
    except BaseException:
        os.rename(aside, target)
        raise
    os.rename(aside, part)
