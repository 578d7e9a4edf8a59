"""Tables as ECSV text, which astropy and gammapy read and write: columns with units, and words about the whole.

A file is not trusted: its header is YAML of plain values only, where astropy's reader would make objects of many kinds.

References
----------
Enhanced Character-Separated Values, astropy proposal for enhancement APE 6.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xonoff.errors import FormatError
from xonoff.io.yamlfile import at, check_keys, parse_yaml, read_text, shown

__all__ = ["Table", "ecsv_text", "read_ecsv"]

#: Columns by name, the unit of each, "" where there is none, and what is said of the whole.
Table = tuple[dict[str, NDArray[Any]], dict[str, str], dict[str, Any]]

_NUMBERS = re.compile(r"u?int(8|16|32|64)|float(16|32|64)")
_ARRAYS = re.compile(r"(u?int(?:8|16|32|64)|float(?:16|32|64)|bool)\[(\d{1,6})\]")
_BOOLS = {"True": True, "False": False}


def ecsv_text(columns: Mapping[str, NDArray[Any]], units: Mapping[str, str], meta: Mapping[str, Any]) -> str:
    """Text of a table.

    Parameters
    ----------
    columns : mapping of str to ndarray (row,) or (row, n)
        Numbers and bool.
    units : mapping of str to str
        Unit by column, for those that have one.
    meta : mapping of str to plain value
        What is said of the whole.

    Examples
    --------
    >>> print(ecsv_text({"e_ref": np.array([1.0, 3.0])}, {"e_ref": "TeV"}, {"SED_TYPE": "dnde"}))
    # %ECSV 1.0
    # ---
    # datatype:
    # - {name: e_ref, unit: TeV, datatype: float64}
    # meta: {SED_TYPE: dnde}
    # schema: astropy-2.0
    e_ref
    1.0
    3.0
    <BLANKLINE>
    """
    import yaml

    described, cells = [], []
    for name, values in columns.items():
        entry: dict[str, Any] = {"name": name} | ({"unit": units[name]} if units.get(name) else {})
        if values.ndim == 1:
            described.append(entry | {"datatype": str(values.dtype)})
            cells.append([str(value) for value in values.tolist()])
        else:
            described.append(entry | {"datatype": "string", "subtype": f"{values.dtype}[{values.shape[1]}]"})
            cells.append([json.dumps(row, separators=(",", ":")) for row in values.tolist()])
    header = {"datatype": described, "meta": dict(meta), "schema": "astropy-2.0"}
    text = yaml.safe_dump(header, sort_keys=False, default_flow_style=None, width=2**30)
    lines = ["# %ECSV 1.0", "# ---", *(f"# {line}" for line in text.splitlines())]
    lines += [" ".join(row) for row in (columns, *zip(*cells, strict=True))]
    return "\n".join(lines) + "\n"


def read_ecsv(path: Path) -> Table:
    """Read a table.

    Columns of numbers, bool and text are taken, and of arrays of numbers of one length.

    Raises
    ------
    FormatError
        If the file is no such table; names it.
    FileNotFoundError
        If there is none.
    """
    text = read_text(path, "ECSV", "a table in ECSV accepted")
    with at(path):
        return _parsed(text)


def _parsed(text: str) -> Table:
    lines = [line for line in text.splitlines() if line.strip()]
    n = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    head = [line[1:].removeprefix(" ") for line in lines[:n]]
    if not head or not head[0].startswith("%ECSV "):
        raise FormatError(f"first line {shown(lines[0] if lines else '')} found, '# %ECSV 1.0' accepted")
    header = parse_yaml("\n".join(head[1:]), aliases=True)
    check_keys(header, {"datatype"}, None)
    described, delimiter = header["datatype"], header.get("delimiter", " ")
    if not isinstance(described, list) or not described:
        raise FormatError(f"datatype: {shown(described)} found, a list of columns accepted")
    if delimiter not in (" ", ","):
        raise FormatError(f"delimiter: {shown(delimiter)} found, ' ' or ',' accepted")
    columns = {}
    units: dict[str, str] = {}
    rows = list(_rows(lines[n:], delimiter))
    names = [_named(entry) for entry in described]
    if not rows or rows[0] != names or len(set(names)) < len(names):
        raise FormatError(
            f"columns {shown(names)} described, {shown(rows[0] if rows else [])} found: they have to agree"
        )
    for number, row in enumerate(rows[1:], 1):
        if len(row) != len(names):
            raise FormatError(f"row {number}: {len(row)} values found, {len(names)} accepted")
    for place, (name, entry) in enumerate(zip(names, described, strict=True)):
        with at(f"column {name}"):
            columns[name] = _column(entry, [row[place] for row in rows[1:]])
        units[name] = entry["unit"] if isinstance(entry.get("unit"), str) else ""
    return columns, units, _meta(header.get("meta"))


def _rows(lines: list[str], delimiter: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    except csv.Error as error:
        raise FormatError(f"rows: {error}: values with one {delimiter!r} between them accepted") from error


def _named(entry: Any) -> str:
    check_keys(entry, {"name", "datatype"}, None)
    name = entry["name"]
    if not isinstance(name, str):
        raise FormatError(f"name of a column: {shown(name)} found, text accepted")
    return name


def _column(entry: dict[Any, Any], cells: list[str]) -> NDArray[Any]:
    """Values of one column."""
    kind, inner = str(entry["datatype"]), entry.get("subtype")
    try:
        if kind == "bool":
            return np.array([_BOOLS[cell] for cell in cells], dtype=np.bool_)
        if kind == "string" and inner is not None:
            match = _ARRAYS.fullmatch(str(inner))
            if match is None:
                raise ValueError(f"subtype {shown(inner)}")
            values = np.array([json.loads(cell) for cell in cells], dtype=match[1])
            return values.reshape(len(cells), int(match[2]))
        if kind == "string":
            return np.array(cells, dtype=np.str_)
        if not _NUMBERS.fullmatch(kind):
            raise ValueError(f"datatype {shown(kind)}")
        return np.array([cell or "nan" for cell in cells]).astype(kind) if cells else np.zeros(0, dtype=kind)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise FormatError(f"{str(error)[:200]} found, numbers, bool, text and arrays of one length accepted") from error


def _meta(found: Any) -> dict[str, Any]:
    """What is said of the whole: a mapping, or a list of pairs, as YAML has an ordered one."""
    if found is None:
        return {}
    if isinstance(found, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in found):
        found = dict(found)
    if not isinstance(found, dict):
        raise FormatError(f"meta: {shown(found)} found, a mapping accepted")
    return {str(key): value for key, value in found.items()}
