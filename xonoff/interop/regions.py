"""Regions of ds9 files and of the texts that a spectrum carries, as objects of the package `regions`."""

import os
import re
from typing import Any

import xarray as xr

from xonoff.errors import FormatError, SchemaError

__all__ = ["parse_region", "read_regions", "region_of", "write_regions"]

JOINED = re.compile(r"\)\s*(and|or|xor)\s*\(")
MAX_DEPTH = 50
#: Of a text in ds9, which is in curly brackets itself.
BRACKETS = str.maketrans("{}\n", "() ")


def parse_region(text: str) -> Any:
    """Region of a text of `xonoff.region.region_text`: ds9 notation, parts joined by ``and``, ``or``, ``xor``.

    Parameters
    ----------
    text : str

    Returns
    -------
    Region

    Raises
    ------
    FormatError
        If it is no such text.

    Examples
    --------
    >>> region = parse_region("icrs;circle(83.63,22.01,0.11)")
    >>> region.radius.to("deg")
    <Quantity 0.11 deg>
    >>> type(parse_region("(icrs;circle(83.63,22.01,0.11)) or (icrs;circle(84,22,0.2))")).__name__
    'CompoundSkyRegion'
    """
    return _parsed(text.strip(), MAX_DEPTH)


def region_of(ds: xr.Dataset, name: str = "region") -> Any:
    """Region that a spectrum is of, or with ``name="region_off"`` that of its off counts.

    Parameters
    ----------
    ds : Dataset
        A spectrum.
    name : {"region", "region_off"}

    Returns
    -------
    Region

    Raises
    ------
    SchemaError
        If the dataset has none.
    FormatError
        If its text is no region.

    Examples
    --------
    >>> import xonoff
    >>> from regions import CirclePixelRegion, PixCoord
    >>> ds = xonoff.tutorial.dataset()
    >>> region = parse_region("icrs;circle(83.633,22.014,0.3)")
    >>> region_of(ds.onoff.to_spectrum(region)).center.to_string()
    '83.633 22.014'
    """
    if name not in ds.coords:
        raise SchemaError(f"the dataset has no coordinate {name!r}: spectra of ds.onoff.to_spectrum have one")
    return parse_region(str(ds[name].values))


def read_regions(path: str | os.PathLike[str]) -> list[Any]:
    """Regions of a ds9 region file.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of Region

    Raises
    ------
    FormatError
        If the file holds none, or one to leave out (``-circle``): a list of regions has no place for the sign.

    Examples
    --------
    >>> import tempfile
    >>> from xonoff.region import region_text
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_regions([parse_region("icrs;circle(83.63,22.01,0.11)")], f"{folder}/crab.reg")
    ...     [region_text(region) for region in read_regions(f"{folder}/crab.reg")]
    ['icrs;circle(83.6300000000,22.0100000000,0.1100000000)']
    """
    from regions import Regions

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: no ds9 region file: {error}") from error
    try:
        found = list(Regions.parse(text, format="ds9"))
    except Exception as error:  # the parser raises many kinds
        raise FormatError(f"{path}: no ds9 region file: {error}") from error
    if not found:
        raise FormatError(f"{path}: no region found, a ds9 region file accepted")
    return [_included(region, f"{path}: region {number}") for number, region in enumerate(found, 1)]


def write_regions(regions: Any, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write regions as a ds9 region file, to 1e-10 deg.

    Parameters
    ----------
    regions : Region or iterable of Region
        Not compounds, which ds9 has not: give their parts.
    path : path
    overwrite : bool
        Replace an existing file; otherwise it is refused.

    Raises
    ------
    SchemaError
        If something is no simple region.
    FileExistsError
        If the file exists.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_regions(parse_region("icrs;circle(83.63,22.01,0.11)"), f"{folder}/crab.reg")
    ...     with open(f"{folder}/crab.reg") as file:
    ...         print(file.read().splitlines()[-1])
    circle(83.6300000000,22.0100000000,0.1100000000)
    """
    from regions import CompoundPixelRegion, CompoundSkyRegion, Region, Regions

    from xonoff.io.atomic import replacing

    listed = [regions] if isinstance(regions, Region) else list(regions)
    for region in listed:
        if not isinstance(region, Region) or isinstance(region, CompoundPixelRegion | CompoundSkyRegion):
            raise SchemaError(f"{path}: not written: a {type(region).__name__} found, simple regions accepted")
    named = [_named(region) for region in listed]
    with replacing(path, overwrite) as part:
        part.write_text(Regions(named).serialize(format="ds9", precision=10), encoding="utf-8")


def _parsed(text: str, depth: int) -> Any:
    import operator

    from regions import Regions

    parts = _split(text) if depth else None
    if parts:
        left, word, right = parts
        joined = {"and": operator.and_, "or": operator.or_, "xor": operator.xor}[word]
        return joined(_parsed(left, depth - 1), _parsed(right, depth - 1))
    try:
        [region] = Regions.parse(text, format="ds9")
    except Exception as error:  # the parser raises many kinds
        raise FormatError(
            f"region: {text[:80]!r} found, text such as 'icrs;circle(83.63,22.01,0.1)' accepted"
        ) from error
    return _included(region, "region")


def _included(region: Any, where: str) -> Any:
    """Region without the mark of ds9 that it is not one to leave out, which all have that are not."""
    if region.meta.pop("include", 1) != 1:
        raise FormatError(
            f"{where}: a {type(region).__name__} to leave out found, with a - before it: take the sign away, and leave "
            "it out of another region by region ^ (region & hole)"
        )
    return region


def _named(region: Any) -> Any:
    """Region whose label, or text, is a text that ds9 reads."""
    name = str(region.meta.get("text") or region.meta.get("label") or "").translate(BRACKETS)
    return region.copy(meta=type(region.meta)(dict(region.meta) | {"text": name})) if name else region


def _split(text: str) -> tuple[str, str, str] | None:
    """Return the two parts of ``(a) or (b)`` and the word between them; None for a simple region."""
    for match in JOINED.finditer(text):
        left, right = text[: match.start() + 1], text[match.end() - 1 :]
        if _closed(left) and _closed(right):
            return left[1:-1], match[1], right[1:-1]
    return None


def _closed(text: str) -> bool:
    """Tell whether the first bracket of a text is closed by its last one."""
    level = 0
    for place, letter in enumerate(text):
        level += (letter == "(") - (letter == ")")
        if level == 0:
            return text[0] == "(" and place == len(text) - 1
    return False
