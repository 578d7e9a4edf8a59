"""YAML files that nobody has to trust: of bounded size and depth, made of plain values, and nothing is evaluated."""

import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xonoff.errors import FormatError, XonoffError

__all__ = ["at", "check_keys", "parse_yaml", "read_text", "read_yaml", "shown", "yaml_text"]

MAX_BYTES = 16 << 20
MAX_ALIASED = 1000  # values that an alias may stand for
MAX_REPEATED = 100_000  # values that all aliases of a file may stand for
#: Looks at the begin of what it shows only, of however many letters and values it is.
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 200
SHORT.maxlist = SHORT.maxtuple = SHORT.maxdict = SHORT.maxset = 20


def read_yaml(path: Path, key: str, accepted: str, *, aliases: bool = False) -> dict[Any, Any]:
    """Content of a YAML file, a mapping.

    Parameters
    ----------
    path : Path
    key : str
        The key that it should have, for messages; it is not checked.
    accepted : str
        What is accepted in place of something that is no such file, for messages.
    aliases : bool
        Accept anchors and aliases (``&a``, ``*a``) of plain values, and of short lists and mappings of these, as YAML
        writers put them for a list that is there twice. Aliases of anything else, and of more than 100 000 values in
        all, of which a short text makes a huge content, are always refused.

    Raises
    ------
    FormatError
        If it is no such file, or a mapping in it has a key twice; names it.
    FileNotFoundError
        If there is none.
    """
    text = read_text(path, "YAML", accepted)
    try:
        content = parse_yaml(text, aliases)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise FormatError(f"{path}: a {type(content).__name__} found, a mapping with the key {key} accepted")
    return content


def read_text(path: Path, kind: str, accepted: str) -> str:
    """Read the text of a file, unless it is none, or too large to be one of a kind that people write."""
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file found, {accepted}") from error
    except (OSError, ValueError) as error:
        raise FormatError(f"{str(path)[:300]!r}: {error}: {accepted}") from error
    if not path.is_file():
        raise FormatError(f"{path}: {'a directory' if path.is_dir() else 'a device'} found, {accepted}")
    if size > MAX_BYTES:
        raise FormatError(f"{path}: {size} bytes found, up to {MAX_BYTES} accepted")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: this is no {kind}: {error}: {accepted}") from error


def yaml_text(content: dict[str, Any], path: Path) -> str:
    """YAML text of plain values for a file, which `read_yaml` takes.

    Raises
    ------
    FormatError
        If the file is not named .yaml or .yml, or the text is too large.
    """
    import yaml

    if path.suffix not in (".yaml", ".yml"):
        raise FormatError(f"{path}: not written: this is a YAML file, name it .yaml")
    text = str(yaml.safe_dump(content, sort_keys=False))
    if len(text) > MAX_BYTES:
        raise FormatError(f"{path}: not written: {len(text)} bytes, up to {MAX_BYTES} accepted: save fewer models")
    return text


def parse_yaml(text: str, aliases: bool) -> Any:
    """Content of a YAML text of bounded size, as `read_yaml` has it.

    Raises
    ------
    FormatError
        If it is no YAML that is accepted.
    """
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
        repeated = 0

        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            seen = set()
            for key, _ in node.value:
                if isinstance(key.value, str) and (key.tag, key.value) in seen:
                    raise FormatError(
                        f"line {key.start_mark.line + 1}: key {shown(key.value)} found twice in one mapping, each key "
                        "accepted once: take one of them out"
                    )
                seen.add((key.tag, key.value if isinstance(key.value, str) else id(key)))
            return node

        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()
            anchored = getattr(event, "anchor", None) is not None
            node = None if anchored and not aliases else super().compose_node(parent, index)
            if anchored and (node is None or not _is_small(node)):
                accepted = f"accepted for up to {MAX_ALIASED} plain values only" if aliases else "not accepted"
                raise FormatError(
                    f"line {event.start_mark.line + 1}: anchors and aliases (& and *) are {accepted}: write values "
                    "out, or put text that begins with & or * in quotes"
                )
            if isinstance(event, yaml.AliasEvent):
                self.repeated += _size(node)
                if self.repeated > MAX_REPEATED:
                    raise FormatError(
                        f"line {event.start_mark.line + 1}: aliases (*) of more than {MAX_REPEATED} values in all "
                        "found: write values out"
                    )
            return node

    try:
        return yaml.load(text, Loader)
    except FormatError:
        raise
    except RecursionError as error:
        raise FormatError("this is no YAML that is accepted: it is nested too deeply") from error
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:  # odd scalars
        raise FormatError(f"this is no YAML: {str(error)[:300]}") from error


def _is_small(node: Any) -> bool:
    """Tell whether a node is a plain value, or a short list or mapping of these."""
    if isinstance(node.value, str):
        return True
    children = _children(node)
    return len(children) <= MAX_ALIASED and all(isinstance(child.value, str) for child in children)


def _size(node: Any) -> int:
    """Values that an alias of a node, which is small, stands for."""
    return 1 if isinstance(node.value, str) else 1 + len(_children(node))


def _children(node: Any) -> list[Any]:
    return [child for item in node.value for child in (item if isinstance(item, tuple) else (item,))]


# -- content ----------------------------------------------------------------------------------------------------------


@contextmanager
def at(where: Any) -> Iterator[None]:
    """Say in the errors of a block where in a file they are.

    Examples
    --------
    >>> with at("models.yaml"), at("component 1"):
    ...     raise FormatError("no name found")
    Traceback (most recent call last):
    xonoff.errors.FormatError: models.yaml: component 1: no name found
    """
    try:
        yield
    except XonoffError as error:
        error.args = (f"{where}: {error}",)
        raise


def check_keys(entry: Any, needed: set[str], optional: set[str] | None = None) -> None:
    """Refuse what is no mapping with these keys.

    Parameters
    ----------
    entry : any
    needed : set of str
    optional : set of str, optional
        Other keys that it may have; None stands for any.
    """
    known = sorted(needed | (optional or set()))
    if not isinstance(entry, Mapping):
        raise FormatError(f"{shown(entry)} found, a mapping with the keys {known} accepted")
    missing = sorted(needed - set(entry))
    unknown = [] if optional is None else [key for key in entry if key not in known]
    if missing:
        raise FormatError(f"no key {missing[0]!r} found, {sorted(needed)} needed")
    if unknown:
        raise FormatError(f"key {shown(unknown[0])} found, {known} accepted: take it out if it does not matter")


def shown(value: Any) -> str:
    """Start of a value, for a message."""
    try:
        text = SHORT.repr(value)
    except ValueError:  # Python writes no numbers of thousands of digits
        text = f"a {type(value).__name__} too long to show"
    return text if len(text) <= 80 else f"{text[:80]}..."
