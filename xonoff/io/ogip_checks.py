"""What is checked of OGIP spectra: whether a dataset can be written, and whether a file says what it seems to.

A file with subtracted, corrected or rated counts, or with channels in another order, would be read as numbers that are
wrong: each of these is refused.
"""

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.errors import FormatError, SchemaError
from xonoff.io.bands import fault
from xonoff.io.hdu import HDU
from xonoff.observations import livetime
from xonoff.schema import faults

__all__ = ["check_channels", "check_content", "check_writable", "is_file_name", "read_channels"]

Integers = npt.NDArray[np.int64]

_TEXT = re.compile(r"[ -~]*")


# -- writing ----------------------------------------------------------------------------------------------------------


def is_file_name(name: str) -> bool:
    """Return True for a name that a card may have of a file in the same folder.

    Examples
    --------
    >>> is_file_name("pha_x.fits"), is_file_name(".pha_x.fits"), is_file_name("pha_x.fits "), is_file_name("../x")
    (True, False, False, False)
    """
    return Path(name).name == name and "\\" not in name and not name.startswith(".") and name == name.strip()


def check_writable(ds: xr.Dataset, path: Path) -> float:
    """Livetime in s of a spectrum that OGIP files can hold.

    Raises
    ------
    FormatError
        If the name of the file is one that no card can hold.
    SchemaError
        If the dataset is no spectrum, has no positive livetime, or has what there is no place for.
    """
    refused = f"{path}: not written"
    if path.suffix == ".gz":
        raise FormatError(f"{refused}: FITS is written uncompressed here, name it .fits and gzip it after")
    if not is_file_name(path.name):
        raise FormatError(
            f"{refused}: the file name {path.name!r} found, one without a leading dot, spaces at its ends and "
            "backslashes accepted: choose another name"
        )
    found = faults(ds)
    if found:
        raise SchemaError(f"{refused}, the dataset has {len(found)} faults:\n- " + "\n- ".join(found))
    if "counts" not in ds or ds["counts"].dims != ("energy",):
        dims = ds["counts"].dims if "counts" in ds else "no counts"
        raise SchemaError(f"{refused}: counts on ('energy',) are wanted, {dims} found: use to_spectrum first")
    if problem := _homeless(ds):
        raise SchemaError(f"{refused}: {problem}")
    for name, text, remedy in _texts(ds):
        if not _TEXT.fullmatch(text):
            raise SchemaError(f"{refused}: {name} {text!r} found, one line of printable ASCII accepted: {remedy}")
    try:
        seconds = float(livetime(ds))
    except SchemaError as error:
        raise SchemaError(f"{refused}: {error}") from error
    if not 0 < seconds < np.inf:
        raise SchemaError(
            f"{refused}: a livetime of {seconds} s found, a positive, finite one accepted: give the coordinate "
            "livetime its value with ds.assign_coords"
        )
    return seconds


def _homeless(ds: xr.Dataset) -> str:
    """Say which variable would be lost, or is wanted and missing, and what to do; "" if there is none."""
    missing = [name for name in ("acceptance", "acceptance_off") if name not in ds]
    if "counts_off" in ds and missing:
        return f"off counts without {missing[0]} found: add it with ds.assign"
    if "background" in ds and "counts_off" in ds:
        return "background beside counts_off found, off counts alone accepted: use ds.drop_vars('background')"
    if "background" in ds:
        return (
            "background without counts_off found, off counts accepted: add them with xonoff.from_map_dataset, before "
            "to_spectrum, or use ds.drop_vars('background')"
        )
    if "acceptance_off" in ds and "counts_off" not in ds:
        return "acceptance_off without counts_off found: add counts_off, or use ds.drop_vars('acceptance_off')"
    return ""


def _texts(ds: xr.Dataset) -> list[tuple[str, str, str]]:
    """What goes into cards as text, and what to do about one that does not fit."""
    found = [("name", str(ds.attrs.get("name") or ""), "give it another with ds.onoff.copy(name)")]
    if "region" in ds.coords:
        found.append(("region", str(ds["region"].values), "use ds.assign_coords(region=...), or drop it"))
    return found


# -- reading ----------------------------------------------------------------------------------------------------------


def check_content(hdu: HDU) -> None:
    """Refuse a spectrum that holds anything but counts as they were detected.

    Raises
    ------
    FormatError
        If they are rates, or have a background or a correction subtracted.
    """
    cards = {card: str(hdu.cards.get(card, "")).strip() for card in ("HDUCLAS2", "HDUCLAS3", "CORRFILE")}
    if cards["HDUCLAS2"].upper() == "NET":
        raise fault(
            hdu,
            f"card HDUCLAS2 = {cards['HDUCLAS2']!r}, counts less background, found, 'TOTAL' or 'BKG' accepted: take "
            "the spectrum from before the subtraction",
        )
    if cards["HDUCLAS3"].upper() == "RATE":
        raise fault(
            hdu, f"card HDUCLAS3 = {cards['HDUCLAS3']!r} found, 'COUNT' accepted: multiply the rates by EXPOSURE"
        )
    if cards["CORRFILE"].lower() not in ("", "none"):
        raise fault(
            hdu,
            f"card CORRFILE = {cards['CORRFILE']!r} found, 'none' accepted: corrections are not supported, do without",
        )


def read_channels(hdu: HDU) -> Integers:
    """Numbers of the channels of a table, which have to increase by 1.

    Raises
    ------
    FormatError
        If they do not, or there are none.
    """
    table = hdu.table()
    if "CHANNEL" not in table:
        raise fault(hdu, f"column CHANNEL is missing, {list(table)} found: number the channels from 0 or 1 on")
    numbers = np.asarray(table["CHANNEL"])
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise fault(hdu, f"column CHANNEL: an integer a row is wanted, {numbers.dtype} of {numbers.shape} found")
    wrong = np.flatnonzero(np.diff(numbers.astype(np.int64)) != 1)
    if wrong.size:
        row = int(wrong[0])
        raise fault(
            hdu,
            f"column CHANNEL: {numbers[row]} and {numbers[row + 1]} found in rows {row + 1} and {row + 2}, numbers "
            "that increase by 1 accepted: sort the rows, and have each channel once",
        )
    return numbers.astype(np.int64)


def check_channels(hdu: HDU, wanted: Integers, of: str) -> None:
    """Refuse a table that has not the channels of the file ``of``.

    Raises
    ------
    FormatError
        If a number is missing, is one too many, or is another.
    """
    numbers = read_channels(hdu)
    if not np.array_equal(numbers, wanted):
        raise fault(
            hdu,
            f"column CHANNEL: {_text(numbers)} found, {_text(wanted)} as in {of} accepted: take files made for each "
            "other, or number the channels alike",
        )


def _text(numbers: Integers) -> str:
    span = f" ({numbers[0]} to {numbers[-1]})" if numbers.size else ""
    return f"{numbers.size} channels{span}"
