"""Runs of an archive: written under a name of their own, opened with their checksums, checked, and cleaned up after."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import xarray as xr

from xonoff.errors import FormatError, XonoffError
from xonoff.io.groups import Seal, gone_on_failure, open_group, publish, write_group
from xonoff.io.index import INDEX, Entry, RunId, key_of
from xonoff.io.objects import Objects

__all__ = ["RUNS", "Run", "check_run", "garbage", "naming", "new_group", "open_run", "write_run"]

RUNS = "runs"


@dataclass(frozen=True)
class Run:
    """Where a run is: its id, its folder in the archive, and the seal of its metadata."""

    obs_id: RunId
    group: str
    seal: Seal

    @classmethod
    def of(cls, entry: Entry) -> "Run":
        """Run of an entry of the index."""
        return cls(entry.obs_id, entry.group, entry.seal)


def new_group(obs_id: RunId) -> str:
    """Return a folder that no other writing has."""
    return f"{RUNS}/{key_of(obs_id)}.{secrets.token_hex(8)}"


def write_run(objects: Objects, group: str, ds: xr.Dataset) -> Seal:
    """Write a dataset into a folder; nothing in the archive points to it yet. What fails is taken away."""
    with gone_on_failure(objects, group):
        root, seal = write_group(objects, group, ds)
        publish(objects, group, root)
        objects.flush([f"{group}/zarr.json"])
    return seal


def open_run(objects: Objects, run: Run, chunks: Any = None) -> xr.Dataset:
    """Open a run lazily; FormatError names it."""
    with naming(objects, run):
        return open_group(objects, run.group, chunks, run.seal)


@contextmanager
def naming(objects: Objects, run: Run) -> Iterator[None]:
    """Name the run in what is raised."""
    where = f"{objects.name}: run {run.obs_id!r}"
    try:
        yield
    except FileNotFoundError as error:
        raise FormatError(
            f"{where}: its data in {run.group} are gone: if it was replaced or removed after the archive was opened, "
            "use archive.refresh(); else append it again with overwrite=True"
        ) from error
    except FormatError as error:
        raise FormatError(f"{where}: {error}: append it again with overwrite=True, or remove it") from error
    except XonoffError as error:
        raise type(error)(f"{where}: {error}") from error
    except OSError as error:
        raise OSError(f"{where}: {error}") from error
    except (ValueError, RuntimeError, KeyError, TypeError) as error:  # of zarr and its codecs
        raise FormatError(
            f"{where}: damaged: {type(error).__name__}: {error}: append it again with overwrite=True, or remove it"
        ) from error


def check_run(objects: Objects, run: Run, data: bool) -> str:
    """What is wrong with a run; "" if nothing is. With ``data`` all of it is read, chunk by chunk."""
    try:
        ds = open_run(objects, run, chunks={} if data else None)
        if data:
            with naming(objects, run):
                for variable in ds.variables.values():
                    if variable.chunks is None:
                        _ = variable.values
                        continue
                    for block in variable.data.to_delayed().ravel():
                        block.compute(scheduler="synchronous")
    except (XonoffError, OSError) as error:
        return str(error)
    return ""


def garbage(objects: Objects, seconds: float) -> dict[str, list[str]]:
    """Folders of runs to which no entry points, and whose last object is older than some seconds; with their keys."""
    folders: dict[str, list[str]] = {}
    newest: dict[str, float] = {}
    for key, stat in objects.find(RUNS, parts=True).items():
        group = "/".join(key.split("/")[:2])
        if group.count("/") == 1 and key != f"{RUNS}/zarr.json":
            folders.setdefault(group, []).append(key)
            newest[group] = max(newest.get(group, 0.0), stat.modified)
    old = {group for group, when in newest.items() if when <= time.time() - seconds}
    if not old:
        return {}
    used = set()  # the entries are read after the folders were listed: a run in between has its entry
    paths = [path for path in objects.find(INDEX) if path.endswith(".json")]
    for path, content in zip(paths, objects.get_many(paths), strict=True):
        if isinstance(content, FileNotFoundError):
            continue
        key = path.removeprefix(f"{INDEX}/").removesuffix(".json")
        try:
            if isinstance(content, Exception):
                raise content
            used.add(Entry.from_bytes(content, key).group)
        except Exception:  # it may point to any of the folders of this run
            used |= {group for group in old if group.removeprefix(f"{RUNS}/").rpartition(".")[0] == key}
    return {group: folders[group] for group in sorted(old - used)}
