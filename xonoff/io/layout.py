"""The objects that make a store an archive: an empty Zarr group that states the version of the layout."""

import json
from pathlib import Path
from typing import Any

from xonoff.errors import FormatError
from xonoff.io.folder import Folder
from xonoff.io.index import INDEX
from xonoff.io.objects import Objects
from xonoff.io.runs import RUNS

__all__ = ["check_layout", "make_layout"]

LAYOUT = "xonoff_archive"
VERSION = 1


def make_layout(objects: Objects) -> None:
    """Make an empty archive; FileExistsError if there is something."""
    if isinstance(objects, Folder) and not Path(objects.path).parent.is_dir():
        raise FileNotFoundError(f"{objects.name}: the folder {Path(objects.path).parent} does not exist: create it")
    found = set(objects.names(""))
    if found - {RUNS, INDEX}:
        what = "an archive or another Zarr store" if "zarr.json" in found else f"{sorted(found)[0]!r}"
        raise FileExistsError(f"{objects.name} holds {what}: use Archive.open, or give another name")
    group: dict[str, Any] = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    objects.create(f"{RUNS}/zarr.json", json.dumps(group).encode())
    group["attributes"] = {LAYOUT: VERSION}
    if not objects.create("zarr.json", json.dumps(group).encode()):
        raise FileExistsError(f"{objects.name} was created by another process meanwhile: use Archive.open")


def check_layout(objects: Objects) -> None:
    """Raise unless a store is an archive of a known layout."""
    try:
        root = json.loads(objects.get("zarr.json"))
        version = root["attributes"].get(LAYOUT)
    except FileNotFoundError as error:
        found = objects.names("")[:3]
        if found:
            raise FormatError(
                f"{objects.name}: {found} but no zarr.json found, an archive accepted: check the name"
            ) from error
        raise FileNotFoundError(f"{objects.name}: no archive found: check the name, or use Archive.create") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{objects.name}: zarr.json is damaged ({type(error).__name__})") from error
    if version is None:
        raise FormatError(
            f"{objects.name}: a Zarr store without the attribute {LAYOUT} found, an archive accepted: open a dataset "
            "with xonoff.open_dataset"
        )
    if version != VERSION:
        raise FormatError(f"{objects.name}: layout {version!r} found, {VERSION} accepted: use a newer xonoff")
