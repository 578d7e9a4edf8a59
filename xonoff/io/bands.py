"""The axes of a map in FITS: cards ``AXCOLSn`` and ``INTERPn``, and the table ``<name>_BANDS`` with the bin edges.

A row of the table stands for one combination of bins, the first axis fastest; a pair of columns such as ``E_MIN`` and
``E_MAX`` has the edges of an axis.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from xonoff.axes import axis_coords
from xonoff.errors import FormatError
from xonoff.io.hdu import HDU
from xonoff.schema import AXES, units
from xonoff.units import unit_factor

__all__ = ["axis_cards", "bands_table", "fault", "read_axes"]

Floats = npt.NDArray[np.float64]

#: First letters of the columns that hold an axis: "E_MIN" and "E_MAX" are the edges of "energy".
COLUMNS = {"E": "energy", "ENERGY": "energy", "ENERGY_TRUE": "energy_true", "RAD": "rad", "MIGRA": "migra"}


def fault(hdu: HDU, message: str) -> FormatError:
    """Return the error for a fault of one HDU."""
    return FormatError(f"{hdu.path}: HDU {hdu.name}: {message}")


def read_axes(hdu: HDU, hdus: Mapping[str, HDU]) -> dict[str, Floats]:
    """Edges of the axes of an image by name, in the unit of the schema, the fastest axis first.

    Raises
    ------
    FormatError
        If the image does not name its table and columns, or these are no regular, increasing bins.
    """
    name = str(hdu.cards.get("BANDSHDU", "")).strip().upper()
    if not name:
        raise fault(hdu, "card BANDSHDU is missing: it names the table of the energy axes")
    bands = hdus.get(name)
    if bands is None or bands.kind != "table":
        raise fault(hdu, f"card BANDSHDU = {name!r}, but the file has no such table")
    table, table_units = bands.table(), bands.units
    axes: dict[str, Floats] = {}
    repeat = 1  # rows for which an axis stays in one bin: the product of the faster axes
    for axis, columns in _named_columns(hdu).items():
        missing = [column for column in columns if column not in table]
        if missing:
            raise fault(bands, f"column {missing[0]} is missing, {list(table)} found")
        values = [_in_unit(bands, column, table[column], table_units.get(column, ""), axis) for column in columns]
        size = _axis_size(values[0], repeat)
        bins = [value[: repeat * size : repeat] for value in values]
        for column, value, once in zip(columns, values, bins, strict=True):
            if not np.array_equal(value, np.resize(np.repeat(once, repeat), value.shape), equal_nan=True):
                raise fault(bands, f"column {column} is no regular axis: the first axis has to be the fastest")
        axes[axis] = _join(bands, axis, bins)
        repeat *= size
    if repeat != bands.shape[0]:
        raise fault(bands, f"{bands.shape[0]} rows found, {repeat} wanted by the axes {list(axes)}")
    return axes


def axis_cards(axes: Mapping[str, Floats]) -> dict[str, str]:
    """Cards that name the columns and the scale of each axis, the fastest first."""
    cards = {}
    for number, axis in enumerate(axes, 1):
        cards[f"AXCOLS{number}"] = f"{_stem(axis)}_MIN,{_stem(axis)}_MAX"
        cards[f"INTERP{number}"] = AXES[axis].scale
    return cards


def bands_table(axes: Mapping[str, Floats]) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Columns of the table of bands, and their units; ``axes`` has the edges by name, the fastest axis first."""
    rows = int(np.prod([len(edges) - 1 for edges in axes.values()]))
    columns: dict[str, npt.NDArray[Any]] = {"CHANNEL": np.arange(rows, dtype=np.int64)}
    column_units = {}
    repeat = 1
    for axis, edges in axes.items():
        centers = axis_coords(axis, edges)[axis].values
        parts = {axis.upper(): centers, f"{_stem(axis)}_MIN": edges[:-1], f"{_stem(axis)}_MAX": edges[1:]}
        for name, values in parts.items():
            columns[name] = np.resize(np.repeat(values, repeat), rows)
            column_units[name] = units(axis) if units(axis) != "1" else ""
        repeat *= len(centers)
    return columns, column_units


def _stem(axis: str) -> str:
    return "E" if axis == "energy" else axis.upper()


def _named_columns(hdu: HDU) -> dict[str, list[str]]:
    """Columns of each axis, by the cards AXCOLS1, AXCOLS2, ..."""
    named: dict[str, list[str]] = {}
    while (card := f"AXCOLS{len(named) + 1}") in hdu.cards:
        columns = [column.strip() for column in str(hdu.cards[card]).upper().split(",")]
        axis = COLUMNS.get(columns[0].removesuffix("_MIN"))
        if axis is None or axis in named or len(columns) > 2:
            raise fault(hdu, f"card {card} = {','.join(columns)!r}: one more axis of {list(COLUMNS)} is wanted")
        named[axis] = columns
    if not named:
        raise fault(hdu, "card AXCOLS1 is missing: it names the columns with the edges of an axis")
    return named


def _in_unit(bands: HDU, column: str, values: npt.NDArray[Any], found: str, axis: str) -> Floats:
    """One column in the unit of its axis; a missing unit is refused, for in old files it meant keV."""
    unit = AXES[axis].units
    if not found.strip() and unit != "1":
        raise fault(bands, f"column {column} has no unit (card TUNIT), one that converts to {unit} is accepted")
    try:
        numbers = np.asarray(values, dtype=np.float64).ravel()
        factor = unit_factor(found.strip(), unit)
    except ValueError as error:
        raise fault(bands, f"column {column}: {error}") from error
    return numbers if factor == 1 else numbers * factor


def _axis_size(values: Floats, repeat: int) -> int:
    """Number of bins of an axis whose values stand in runs of ``repeat`` rows and then start again."""
    if not values.size:
        return 0
    once = values[::repeat]
    again = np.flatnonzero(once[1:] == once[0])
    return int(again[0]) + 1 if again.size else len(once)


def _join(bands: HDU, axis: str, columns: list[Floats]) -> Floats:
    """Edges of an axis from its columns: lower and upper edge, or the nodes, whose middles are the edges."""
    if not columns[0].size:
        raise fault(bands, f"no bins of axis {axis} found, at least one accepted")
    if len(columns) == 2:
        lo, hi = columns
        if not np.allclose(lo[1:], hi[:-1], rtol=1e-6, atol=0):
            raise fault(bands, f"the bins of axis {axis} do not adjoin: {lo[1:]} against {hi[:-1]}")
        edges = np.append(lo, hi[-1:])
    else:
        edges = _edges_of_nodes(columns[0], AXES[axis].scale)
    lowest = edges.size > 1 and (edges[0] > 0 if AXES[axis].scale == "log" else edges[0] >= 0)
    if not (np.isfinite(edges).all() and (np.diff(edges) > 0).all() and lowest):
        raise fault(bands, f"edges of axis {axis} have to be positive and increasing, {edges} found")
    return edges


def _edges_of_nodes(nodes: Floats, scale: str) -> Floats:
    """Edges halfway between nodes, on a log or linear scale; the outer bins are symmetric about their nodes."""
    if len(nodes) < 2 or (scale == "log" and not (nodes > 0).all()):
        return np.array([np.nan])  # no bins: refused by the caller
    values = np.log(nodes) if scale == "log" else nodes
    middles = 0.5 * (values[1:] + values[:-1])
    edges = np.concatenate([[2 * values[0] - middles[0]], middles, [2 * values[-1] - middles[-1]]])
    return np.asarray(np.exp(edges) if scale == "log" else edges, dtype=np.float64)
