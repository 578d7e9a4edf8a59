"""The response of an OGIP spectrum: effective area (ARF), redistribution matrix (RMF), and what all OGIP files share.

Energies are written in keV and areas in cm2, and read in any unit that a column states.

References
----------
OGIP/CAL/92-002 (ARF, RMF).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.axes import axis_edges
from xonoff.errors import FormatError, SchemaError
from xonoff.io.bands import fault
from xonoff.io.hdu import HDU, scan
from xonoff.io.hdu_writer import HDUWriter
from xonoff.io.ogip_checks import check_channels, read_channels
from xonoff.irf import edisp_kernel
from xonoff.units import unit_factor

__all__ = ["COMMON", "find_hdus", "find_table", "read_arf", "read_ebounds", "read_number", "read_rmf", "write_arf"]
__all__ += ["write_ebounds", "write_rmf"]

Floats = npt.NDArray[np.float64]
KEV = 1e9  # in a TeV
CM2 = 1e4  # in a m2
MAX_ELEMENTS = 2**27  # of a matrix, 1 GiB
#: Cards of every table.
COMMON = {"TELESCOP": "unknown", "INSTRUME": "unknown", "FILTER": "none", "HDUCLASS": "OGIP"}


# -- writing ----------------------------------------------------------------------------------------------------------


def write_ebounds(writer: HDUWriter, ds: xr.Dataset) -> None:
    """Write the table of the energies of the channels, which are numbered from 0."""
    edges = axis_edges(ds, "energy") * KEV
    n = len(edges) - 1
    columns = {"CHANNEL": np.arange(n, dtype=np.int32), "E_MIN": edges[:-1], "E_MAX": edges[1:]}
    cards = {**COMMON, "HDUCLAS1": "RESPONSE", "HDUCLAS2": "EBOUNDS", "HDUVERS": "1.2.0", "CHANTYPE": "PI"}
    limits = {"DETCHANS": n, "TLMIN1": 0, "TLMAX1": n - 1}
    writer.table("EBOUNDS", columns, {"E_MIN": "keV", "E_MAX": "keV"}, {**cards, **limits})


def write_arf(ds: xr.Dataset, path: Path, seconds: float, primary: Mapping[str, Any]) -> None:
    """Write the exposure of a spectrum, divided by the livetime.

    Raises
    ------
    SchemaError
        If the exposure is not one number an energy.
    """
    exposure = ds["exposure"]
    if exposure.dims != ("energy_true",):
        raise SchemaError(f"exposure on {exposure.dims} found, ('energy_true',) accepted: use to_spectrum first")
    area = exposure.values.astype(np.float64) / seconds * CM2
    units = {"ENERG_LO": "keV", "ENERG_HI": "keV", "SPECRESP": "cm**2"}
    cards = {**COMMON, "HDUCLAS1": "RESPONSE", "HDUCLAS2": "SPECRESP", "HDUVERS": "1.1.0"}
    with open(path, "w+b") as file:
        writer = HDUWriter(file)
        writer.primary(primary)
        writer.table("SPECRESP", {**_true_columns(ds), "SPECRESP": area}, units, cards)


def write_rmf(ds: xr.Dataset, path: Path, primary: Mapping[str, Any]) -> None:
    """Write the energy dispersion of a spectrum, a whole row of channels for each true energy.

    Raises
    ------
    SchemaError
        If the dispersion depends on anything but energy.
    """
    kernel = edisp_kernel(ds)
    if set(kernel.dims) != {"energy_true", "energy"}:
        raise SchemaError(f"edisp on {kernel.dims} found, energy_true and energy accepted: use to_spectrum first")
    matrix = kernel.transpose("energy_true", "energy").values.astype(np.float64)
    rows, n = matrix.shape
    columns = {
        **_true_columns(ds),
        "N_GRP": np.ones(rows, np.int16),
        "F_CHAN": np.zeros((rows, 2), np.int32),  # room for two groups: gammapy wants vectors here, and channels from 0
        "N_CHAN": np.tile(np.array([n, 0], np.int32), (rows, 1)),
        "MATRIX": matrix,
    }
    cards: dict[str, Any] = {**COMMON, "HDUCLAS1": "RESPONSE", "HDUCLAS2": "RSP_MATRIX", "HDUVERS": "1.3.0"}
    cards |= {"HDUCLAS3": "REDIST", "CHANTYPE": "PI", "DETCHANS": n, "TLMIN4": 0, "TLMAX4": n - 1, "LO_THRES": 0.0}
    cards |= {"NUMGRP": rows, "NUMELT": rows * n}
    with open(path, "w+b") as file:
        writer = HDUWriter(file)
        writer.primary(primary)
        writer.table("MATRIX", columns, {"ENERG_LO": "keV", "ENERG_HI": "keV"}, cards)
        write_ebounds(writer, ds)


def _true_columns(ds: xr.Dataset) -> dict[str, npt.NDArray[Any]]:
    edges = axis_edges(ds, "energy_true") * KEV
    return {"ENERG_LO": edges[:-1], "ENERG_HI": edges[1:]}


# -- reading ----------------------------------------------------------------------------------------------------------


def find_hdus(path: Path, checksum: bool) -> dict[str, HDU]:
    """HDUs of a file by name; OGIP tables also by their class, whatever name a program gave them."""
    found: dict[str, HDU] = {}
    for hdu in scan(path, checksum=checksum):
        found.setdefault(hdu.name, hdu)
        if hdu.kind != "table":
            continue
        classes = {str(hdu.cards.get(card, "")).strip() for card in ("HDUCLAS1", "HDUCLAS2")}
        for name in classes & {"SPECTRUM", "SPECRESP", "EBOUNDS"}:
            found.setdefault(name, hdu)
        if "RSP_MATRIX" in classes or hdu.name == "SPECRESP MATRIX":
            found.setdefault("MATRIX", hdu)
    return found


def find_table(hdus: Mapping[str, HDU], name: str, path: Path) -> HDU:
    """One of the tables of an OGIP file.

    Raises
    ------
    FormatError
        If there is none.
    """
    hdu = hdus.get(name)
    if hdu is None or hdu.kind != "table":
        raise FormatError(f"{path}: no table {name} among the HDUs {list(hdus)}: an OGIP file is wanted")
    return hdu


def read_number(hdu: HDU, card: str, default: float | None = None) -> float:
    """Value of a card that is a number and not below 0.

    Raises
    ------
    FormatError
        If it is not, or is missing and has no default.
    """
    value = hdu.cards.get(card, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < np.inf:
        raise fault(hdu, f"card {card} = {value!r} found, a number not below 0 accepted")
    return float(value)


def read_ebounds(hdus: Mapping[str, HDU], path: Path, channels: npt.NDArray[np.int64], of: str) -> Floats:
    """Edges of the channels, TeV, which have to be those of the file ``of``."""
    hdu = find_table(hdus, "EBOUNDS", path)
    check_channels(hdu, channels, of)
    return _edges(hdu, "E_MIN", "E_MAX")


def read_arf(hdus: Mapping[str, HDU], path: Path) -> tuple[Floats, Floats]:
    """Edges of true energy, TeV, and effective area, m2."""
    hdu = find_table(hdus, "SPECRESP", path)
    edges, area = _edges(hdu, "ENERG_LO", "ENERG_HI"), _column(hdu, "SPECRESP", "m2")
    if area.shape != (len(edges) - 1,):
        raise fault(hdu, f"column SPECRESP: one number a row is wanted, cells of shape {area.shape[1:]} found")
    return edges, area


def read_rmf(hdus: Mapping[str, HDU], path: Path, n: int) -> tuple[Floats, Floats]:
    """Edges of true energy, TeV, and the matrix (energy_true, energy), which may be stored in groups of channels."""
    hdu = find_table(hdus, "MATRIX", path)
    if str(hdu.cards.get("HDUCLAS3", "")).strip() == "FULL":
        raise fault(hdu, "card HDUCLAS3 = 'FULL', a matrix times the area, found: divide the area out, into an ARF")
    edges = _edges(hdu, "ENERG_LO", "ENERG_HI")
    table = hdu.table()
    missing = [name for name in ("N_GRP", "F_CHAN", "N_CHAN", "MATRIX") if name not in table]
    if missing:
        raise fault(hdu, f"column {missing[0]} is missing, {list(table)} found")
    rows = len(edges) - 1
    if rows * n > MAX_ELEMENTS:
        raise fault(hdu, f"a matrix of {rows} energies and {n} channels found, up to {MAX_ELEMENTS} elements accepted")
    card = f"TLMIN{list(table).index('F_CHAN') + 1}"
    first = int(read_number(hdu, card, _first_channel(hdus)))
    origin = f"from {first} on, by card {card}" if card in hdu.cards else f"from {first} on: give the first as {card}"
    matrix = np.zeros((rows, n))
    for row in range(rows):
        try:
            groups = int(table["N_GRP"][row])
            starts, lengths = (np.ravel(table[name][row]).astype(np.int64) for name in ("F_CHAN", "N_CHAN"))
            values = np.ravel(table["MATRIX"][row]).astype(np.float64)
        except (TypeError, ValueError) as error:
            raise fault(hdu, f"row {row + 1}: numbers are wanted in N_GRP, F_CHAN, N_CHAN, MATRIX: {error}") from error
        given = min(starts.size, lengths.size)
        if not 0 <= groups <= given:
            raise fault(hdu, f"row {row + 1}: N_GRP = {groups}, but {given} groups found")
        used = 0
        for start, length in zip((starts[:groups] - first).tolist(), lengths[:groups].tolist(), strict=True):
            if length == 0:
                continue
            if start < 0 or length < 0 or start + length > n or used + length > values.size:
                found = f"row {row + 1}: channels {start + first} and {length} on found"
                raise fault(hdu, f"{found}, {n} channels there {origin}")
            matrix[row, start : start + length] = values[used : used + length]
            used += length
    return edges, matrix


def _first_channel(hdus: Mapping[str, HDU]) -> int:
    """First channel of a matrix that does not give it: that of the EBOUNDS beside it, else the 1 of the standard."""
    return int(read_channels(hdus["EBOUNDS"])[0]) if "EBOUNDS" in hdus else 1


def _column(hdu: HDU, name: str, unit: str) -> Floats:
    """Column of numbers in a unit."""
    table = hdu.table()
    if name not in table:
        raise fault(hdu, f"column {name} is missing, {list(table)} found")
    found = hdu.units[name].strip()
    if not found:
        raise fault(hdu, f"column {name} has no unit (card TUNIT), one that converts to {unit} is accepted")
    try:
        return np.asarray(table[name], dtype=np.float64) * unit_factor(found, unit)
    except (TypeError, ValueError) as error:
        raise fault(hdu, f"column {name}: numbers in a unit that converts to {unit} are wanted: {error}") from error


def _edges(hdu: HDU, low: str, high: str) -> Floats:
    """Edges of adjoining bins, TeV."""
    lo, hi = _column(hdu, low, "TeV"), _column(hdu, high, "TeV")
    if lo.ndim != 1 or hi.shape != lo.shape or not lo.size or not np.allclose(lo[1:], hi[:-1], rtol=1e-6, atol=0):
        raise fault(hdu, f"the bins {low} to {high} do not adjoin")
    edges = np.append(lo, hi[-1:])
    if not (np.isfinite(edges).all() and (edges > 0).all() and (np.diff(edges) > 0).all()):
        raise fault(hdu, f"{low}, {high}: positive, increasing energies are wanted, {edges} TeV found")
    return edges
