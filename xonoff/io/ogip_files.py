"""The files of one OGIP spectrum: their names, and their publication, all of them or none."""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from xonoff.errors import FormatError
from xonoff.io.atomic import replacing
from xonoff.io.hdu import scan

__all__ = ["COMPANIONS", "LINKS", "SET", "companion_name", "publishing"]

#: Cards of a PHA file that name its companions.
LINKS = {"BACKFILE": "bkg", "ANCRFILE": "arf", "RESPFILE": "rmf"}
#: Companions of a PHA file, and the variable that each is written for.
COMPANIONS = {"bkg": "counts_off", "arf": "exposure", "rmf": "edisp"}
#: Card that the files of one writing share, so that those of two are told apart after an interruption.
SET = "SETID"


def companion_name(name: str, part: str) -> str:
    """Name of a companion of a PHA file.

    Examples
    --------
    >>> companion_name("pha_x.fits", "bkg")
    'pha_x_bkg.fits'
    """
    path = Path(name)
    return f"{path.stem}_{part}{path.suffix}"


@contextmanager
def publishing(path: Path, parts: Mapping[str, bool], overwrite: bool) -> Iterator[dict[str, Path]]:
    """Write a PHA file and its companions under temporary names, and give them theirs when the block succeeds.

    The PHA file, which names the others, is published last. If a file cannot be published, those before it are taken
    back: the old files have their names again. Companions of the PHA file that is replaced, which the new one has not,
    are removed.

    Parameters
    ----------
    path : Path
        The PHA file.
    parts : mapping of str to bool
        Whether the spectrum has it, for each of ``bkg``, ``arf`` and ``rmf``.
    overwrite : bool
        Replace existing files.

    Yields
    ------
    dict of str to Path
        Where the block has to write each part, and ``pha``.
    """
    targets = {part: path.with_name(companion_name(path.name, part)) for part in parts}
    mine = _set_of(path)
    stale = [targets[part] for part, there in parts.items() if not there and mine and _set_of(targets[part]) == mine]
    wanted = {"pha": path} | {part: targets[part] for part, there in parts.items() if there}
    with ExitStack() as aside, ExitStack() as undo:
        with ExitStack() as stack:  # left in reverse: the PHA file last
            yield {
                part: stack.enter_context(_revocable(target, overwrite, aside, undo)) for part, target in wanted.items()
            }
        undo.pop_all()  # all are published
    for target in stale:
        target.unlink(missing_ok=True)


@contextmanager
def _revocable(path: Path, overwrite: bool, aside: ExitStack, undo: ExitStack) -> Iterator[Path]:
    """Publish one file; ``undo`` takes it back, ``aside`` removes what is kept for that."""
    with replacing(path, overwrite) as part:
        yield part
        target = Path(os.path.realpath(path))
        old = None
        if overwrite and target.exists():
            # a name of the same form, so that after a kill the next writer sweeps it
            old = part.with_name(f"{part.name[: -len('01234567.part')]}{secrets.token_hex(4)}.part")
            aside.callback(old.unlink, missing_ok=True)
            try:
                os.link(target, old)
            except OSError:  # a file system without links
                shutil.copy2(target, old)
        undo.callback(_take_back, target, os.stat(part), old)


def _take_back(target: Path, mine: os.stat_result, old: Path | None) -> None:
    """Put the old file, if there was one, in the place of mine; any other file stays."""
    if not target.exists() or not os.path.samestat(target.stat(), mine):
        return
    if old is None:
        target.unlink()
    else:
        os.replace(old, target)


def _set_of(path: Path) -> str:
    """Card SETID of a file, "" if it has none or cannot be read."""
    try:
        return str(scan(path)[0].cards.get(SET, ""))
    except (OSError, FormatError):
        return ""
