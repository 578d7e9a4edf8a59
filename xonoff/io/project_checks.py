"""What a project has to hold: checks of the values of its YAML, which is not trusted."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xonoff.errors import FormatError

__all__ = ["inside_folder", "plain", "plain_models"]


def inside_folder(folder: Path, filename: Any, name: str) -> Path:
    """Path of a file that has to be in a folder."""
    if not isinstance(filename, str) or not filename:
        raise FormatError(f"dataset {name!r}: filename {filename!r} found, the name of a file in the folder accepted")
    path = folder / filename
    shown = repr(filename if len(filename) <= 80 else f"{filename[:80]}...")
    try:
        inside = not Path(filename).is_absolute() and path.resolve().is_relative_to(folder.resolve())
        there = inside and path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # too long, NUL in it, a loop of links
        reason = error.strerror if isinstance(error, OSError) else error
        raise FormatError(
            f"dataset {name!r}: filename {shown} found ({reason}), the name of a file in the folder accepted"
        ) from error
    if not inside:
        raise FormatError(f"dataset {name!r}: filename {shown} leaves the folder of the project: move the file there")
    if not there:
        raise FormatError(f"dataset {name!r}: there is no file {shown} in {folder}: copy it there")
    return path


def plain_models(value: Any, what: str) -> list[dict[str, Any]]:
    """Models of a list, each a mapping of what JSON holds."""
    if not isinstance(value, list | tuple) or not all(isinstance(item, Mapping) for item in value):
        raise FormatError(f"{what}: {str(value)[:80]!r} found, a list of mappings accepted")
    return [plain(item, f"{what}, item {number}") for number, item in enumerate(value, 1)]


def plain(value: Any, what: str) -> Any:
    """A value that JSON holds, with lists and dicts of its own."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | float) and abs(value) <= sys.float_info.max:
        return value
    if isinstance(value, list | tuple):
        return [plain(item, f"{what}, item {number}") for number, item in enumerate(value, 1)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise FormatError(f"{what}: key {key!r} found, text accepted: put it in quotes")
        return {key: plain(item, f"{what}: key {key}") for key, item in value.items()}
    raise FormatError(
        f"{what}: {type(value).__name__} {str(value)[:80]!r} found, text, a finite number, true, false, null, or a "
        "list or mapping of these accepted: put anything else in quotes"
    )
