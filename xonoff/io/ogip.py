"""Spectra as OGIP files, which XSPEC and Sherpa read: PHA with its background, and the response as ARF and RMF.

A spectrum ``pha_x.fits`` names its companions ``pha_x_bkg.fits``, ``pha_x_arf.fits`` and ``pha_x_rmf.fits`` in its
header. Acceptances are ``BACKSCAL``, the exposure is effective area times ``EXPOSURE``, bins outside ``mask_safe`` have
``QUALITY`` 5. Files are written in keV, cm2 and s, and read in any unit. What the standard has no place for (the name,
``mask_fit``, position and region, the table of observations) is kept in columns, cards and tables of its own.

References
----------
OGIP/92-007 (PHA), OGIP/CAL/92-002 (ARF, RMF).
"""

import gzip
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.axes import axis_coords, axis_edges
from xonoff.duck import small_values
from xonoff.errors import FormatError, SchemaError
from xonoff.io.atomic import replacing
from xonoff.io.bands import fault
from xonoff.io.hdu import HDU, scan
from xonoff.io.hdu_writer import HDUWriter
from xonoff.io.observations import gti_table, meta_table, read_gti, read_meta
from xonoff.quantities import livetime
from xonoff.schema import CONVENTIONS, VARIABLES, faults
from xonoff.units import unit_factor

__all__ = ["is_ogip", "open_ogip", "to_ogip"]

Floats = npt.NDArray[np.float64]
KEV = 1e9  # in a TeV
CM2 = 1e4  # in a m2
BAD = 5
TEXT = np.dtypes.StringDType()
COMMON = {"TELESCOP": "unknown", "INSTRUME": "unknown", "FILTER": "none", "HDUCLASS": "OGIP"}


# -- writing ----------------------------------------------------------------------------------------------------------


def to_ogip(ds: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a spectrum as OGIP files: PHA and, for what it has, background, ARF and RMF beside it.

    A dask dataset is computed. The files appear under their names when all of them are whole, the PHA file last.

    Parameters
    ----------
    ds : Dataset
        A spectrum, with ``livetime``.
    path : path
        The PHA file; the others have its name with ``_bkg``, ``_arf``, ``_rmf``.
    overwrite : bool
        Replace existing files; otherwise they are refused.

    Raises
    ------
    SchemaError
        If the dataset is no spectrum, or has no counts or livetime; nothing is written.
    FileExistsError
        If one of the files exists.

    Examples
    --------
    >>> import tempfile, xonoff
    >>> from regions import CirclePixelRegion, PixCoord
    >>> ds = xonoff.tutorial.dataset().onoff.to_spectrum(CirclePixelRegion(PixCoord(19.5, 19.5), 3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_ogip(ds, f"{folder}/pha_crab.fits")
    ...     files, back = sorted(p.name for p in Path(folder).iterdir()), open_ogip(f"{folder}/pha_crab.fits")
    >>> files
    ['pha_crab.fits', 'pha_crab_arf.fits', 'pha_crab_bkg.fits', 'pha_crab_rmf.fits']
    >>> bool((back.counts == ds.counts).all())
    True
    """
    path = Path(path)
    found = faults(ds)
    if found:
        raise SchemaError(f"{path}: not written, the dataset has {len(found)} faults:\n- " + "\n- ".join(found))
    if "counts" not in ds or ds["counts"].dims != ("energy",):
        dims = ds["counts"].dims if "counts" in ds else "no counts"
        raise SchemaError(f"{path}: not written: counts on ('energy',) are wanted, {dims} found: use to_spectrum first")
    seconds = float(livetime(ds))
    parts = {"bkg": "counts_off" in ds, "arf": "exposure" in ds, "rmf": "edisp" in ds}
    names = {key: path.with_name(f"{path.stem}_{key}{path.suffix}") for key, there in parts.items() if there}
    ds = ds.compute()
    with ExitStack() as stack:  # left in reverse: the file that names the others is published last
        files = {"pha": stack.enter_context(replacing(path, overwrite))}
        files |= {key: stack.enter_context(replacing(name, overwrite)) for key, name in names.items()}
        links = {key: names[part].name if part in names else "none" for key, part in LINKS.items()}
        _write_spectrum(ds, files["pha"], seconds, links)
        if "bkg" in files:
            _write_spectrum(ds, files["bkg"], seconds, {})
        if "arf" in files:
            _write_arf(ds, files["arf"], seconds)
        if "rmf" in files:
            _write_rmf(ds, files["rmf"])


#: Cards of a PHA file that name its companions.
LINKS = {"BACKFILE": "bkg", "ANCRFILE": "arf", "RESPFILE": "rmf"}


def _write_spectrum(ds: xr.Dataset, path: Path, seconds: float, links: Mapping[str, str]) -> None:
    """Write a PHA file, or without links that of the background."""
    names = ("counts", "acceptance", "TOTAL") if links else ("counts_off", "acceptance_off", "BKG")
    counts = ds[names[0]].values
    whole = counts.dtype.kind in "iu" or (np.mod(counts, 1) == 0).all()
    scale = ds[names[1]].values.astype(float) if names[1] in ds else np.ones(counts.size)
    good = ds["mask_safe"].values if "mask_safe" in ds else np.ones(counts.size, bool)
    columns = {
        "CHANNEL": np.arange(counts.size, dtype=np.int32),
        "COUNTS": counts.astype(np.int32 if whole and counts.max(initial=0) < 2**31 else np.float64),
        "QUALITY": np.where(good, 0, BAD).astype(np.int16),
        "BACKSCAL": np.where(np.isfinite(scale), scale, 0.0),
    }
    if "mask_fit" in ds and links:
        columns["MASK_FIT"] = ds["mask_fit"].values
    cards: dict[str, Any] = {**COMMON, "HDUCLAS1": "SPECTRUM", "HDUCLAS2": names[2], "HDUCLAS3": "COUNT"}
    cards |= {"HDUVERS": "1.2.1", "EXPOSURE": seconds, "AREASCAL": 1.0, "CORRSCAL": 1.0, "CORRFILE": "none"}
    cards |= {"BACKFILE": "none", "RESPFILE": "none", "ANCRFILE": "none", **links}
    cards |= {"POISSERR": True, "CHANTYPE": "PI", "DETCHANS": int(counts.size), "SYS_ERR": 0.0, "GROUPING": 0}
    cards |= {"TLMIN1": 0, "TLMAX1": int(counts.size) - 1, "OBS_ID": str(ds.attrs.get("name") or "")}
    with open(path, "w+b") as file:
        writer = HDUWriter(file)
        writer.primary({"LONGSTRN": "OGIP 1.0", "NAME": str(ds.attrs.get("name") or ""), **_position_cards(ds)})
        writer.table("SPECTRUM", columns, {"COUNTS": "count"}, cards)
        _write_ebounds(writer, ds)
        for table in (gti_table(ds), meta_table(ds) if links else None):
            if table is not None:
                name, values, column_units, table_cards = table
                writer.table(name, values, column_units, table_cards)


def _position_cards(ds: xr.Dataset) -> dict[str, Any]:
    cards: dict[str, Any] = {}
    for name, card in (("lon", "REG_LON"), ("lat", "REG_LAT")):
        if name in ds.coords and not ds[name].ndim and np.isfinite(float(ds[name])):
            cards[card] = float(ds[name])
            cards["REG_FRAM"] = str(ds[name].attrs.get("frame", ""))
    if "region" in ds.coords:
        cards["REGION"] = str(ds["region"].values)
    return cards


def _write_ebounds(writer: HDUWriter, ds: xr.Dataset) -> None:
    edges = axis_edges(ds, "energy") * KEV
    n = len(edges) - 1
    columns = {"CHANNEL": np.arange(n, dtype=np.int32), "E_MIN": edges[:-1], "E_MAX": edges[1:]}
    cards = {**COMMON, "HDUCLAS1": "RESPONSE", "HDUCLAS2": "EBOUNDS", "HDUVERS": "1.2.0", "CHANTYPE": "PI"}
    writer.table(
        "EBOUNDS", columns, {"E_MIN": "keV", "E_MAX": "keV"}, {**cards, "DETCHANS": n, "TLMIN1": 0, "TLMAX1": n - 1}
    )


def _true_columns(ds: xr.Dataset) -> dict[str, npt.NDArray[Any]]:
    edges = axis_edges(ds, "energy_true") * KEV
    return {"ENERG_LO": edges[:-1], "ENERG_HI": edges[1:]}


def _write_arf(ds: xr.Dataset, path: Path, seconds: float) -> None:
    area = ds["exposure"].values.astype(float) / seconds * CM2 if seconds > 0 else np.zeros(ds["exposure"].shape)
    units = {"ENERG_LO": "keV", "ENERG_HI": "keV", "SPECRESP": "cm**2"}
    cards = {**COMMON, "HDUCLAS1": "RESPONSE", "HDUCLAS2": "SPECRESP", "HDUVERS": "1.1.0"}
    with open(path, "w+b") as file:
        writer = HDUWriter(file)
        writer.primary({})
        writer.table("SPECRESP", {**_true_columns(ds), "SPECRESP": area}, units, cards)


def _write_rmf(ds: xr.Dataset, path: Path) -> None:
    matrix = ds["edisp"].transpose("energy_true", "energy").values.astype(float)
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
        writer.primary({})
        writer.table("MATRIX", columns, {"ENERG_LO": "keV", "ENERG_HI": "keV"}, cards)
        _write_ebounds(writer, ds)


# -- reading ----------------------------------------------------------------------------------------------------------


def is_ogip(path: str | os.PathLike[str]) -> bool:
    """Return True for a FITS file, plain or gzip, that begins with a spectrum."""
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if zipped else open(path, "rb") as file:
            head = file.read(8 * 2880)
    except (OSError, EOFError):
        return False
    return any(text in head for text in (b"EXTNAME = 'SPECTRUM'", b"HDUCLAS1= 'SPECTRUM'"))


def open_ogip(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a PHA file and what it names in its own folder: background, ARF and RMF.

    Parameters
    ----------
    path : path
        PHA file of xonoff, gammapy or another program.

    Returns
    -------
    Dataset (energy)
        In memory. ``acceptance_off`` is the ``BACKSCAL`` of the background, scaled by its ``EXPOSURE`` over that of the
        source, so that alpha is the ratio that XSPEC takes. What has no file is left out.

    Raises
    ------
    FormatError
        If a file is damaged, has no such table or column, or is outside of the folder.
    """
    path = Path(path)
    hdus = _hdus(path)
    spectrum = _table(hdus, "SPECTRUM", path)
    seconds = _number(spectrum, "EXPOSURE")
    values, scale, quality = _counts(spectrum)
    variables: dict[str, Any] = {"counts": values, "acceptance": scale, "mask_safe": quality == 0}
    table = spectrum.table()
    if "MASK_FIT" in table:
        variables["mask_fit"] = table["MASK_FIT"].astype(bool)
    back = _companion(spectrum, "BACKFILE")
    if back is not None:
        off = _table(_hdus(back), "SPECTRUM", back)
        variables["counts_off"], scale_off, _ = _counts(off)
        ratio = _number(off, "EXPOSURE") / seconds if seconds > 0 else 1.0
        variables["acceptance_off"] = scale_off * ratio
        if len(variables["counts_off"]) != len(values):
            raise fault(off, f"{len(variables['counts_off'])} channels found, {len(values)} in {path.name}")
    matrix, area = _companion(spectrum, "RESPFILE"), _companion(spectrum, "ANCRFILE")
    energies = _ebounds(hdus if matrix is None else _hdus(matrix), path if matrix is None else matrix, len(values))
    coords = axis_coords("energy", energies)
    true: Floats | None = None
    if matrix is not None:
        true, variables["edisp"] = _read_rmf(matrix, len(values))
    if area is not None:
        edges, effective = _read_arf(area)
        if true is not None and (len(edges) != len(true) or not np.allclose(edges, true, rtol=1e-5)):
            raise FormatError(f"{area}: HDU SPECRESP: energies {edges} TeV found, {true} in {Path(str(matrix)).name}")
        true = edges if true is None else true
        variables["exposure"] = effective * seconds
    if true is not None:
        coords |= axis_coords("energy_true", true)
    coords |= _observations(path, hdus, seconds)
    primary = hdus.get("")
    cards = primary.cards if primary is not None else {}
    coords |= _position(cards)
    attrs = {"name": str(cards.get("NAME") or path.name.split(".")[0]), "Conventions": CONVENTIONS}
    return xr.Dataset(
        {name: _variable(name, variables[name]) for name in VARIABLES if name in variables}, coords, attrs
    )


def _variable(name: str, values: npt.NDArray[Any]) -> xr.Variable:
    attrs = {"units": VARIABLES[name].units} if VARIABLES[name].units else {}
    return xr.Variable(VARIABLES[name].axes[0], values, {**attrs, "long_name": VARIABLES[name].description})


def _hdus(path: Path) -> dict[str, HDU]:
    found: dict[str, HDU] = {}
    for hdu in scan(path):
        found.setdefault(hdu.name, hdu)
        kind = str(hdu.cards.get("HDUCLAS1", "")).strip() if hdu.kind == "table" else ""
        second = str(hdu.cards.get("HDUCLAS2", "")).strip()
        for name in (kind, second):
            if name in ("SPECTRUM", "SPECRESP", "EBOUNDS"):
                found.setdefault(name, hdu)
        if second == "RSP_MATRIX":
            found.setdefault("MATRIX", hdu)
    return found


def _table(hdus: Mapping[str, HDU], name: str, path: Path) -> HDU:
    hdu = hdus.get(name)
    if hdu is None or hdu.kind != "table":
        raise FormatError(f"{path}: no table {name} among the HDUs {list(hdus)}: an OGIP file is wanted")
    return hdu


def _column(hdu: HDU, name: str, unit: str = "") -> Floats:
    table = hdu.table()
    if name not in table:
        raise fault(hdu, f"column {name} is missing, {list(table)} found")
    try:
        values = np.asarray(table[name], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise fault(hdu, f"column {name}: numbers are wanted: {error}") from error
    found = hdu.units.get(name, "").strip()
    if not unit:
        return values
    if not found:
        raise fault(hdu, f"column {name} has no unit (card TUNIT), one that converts to {unit} is accepted")
    try:
        return values * unit_factor(found, unit)
    except ValueError as error:
        raise fault(hdu, f"column {name}: {error}") from error


def _number(hdu: HDU, card: str, default: float | None = None) -> float:
    value = hdu.cards.get(card, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < np.inf:
        raise fault(hdu, f"card {card} = {value!r} found, a number not below 0 accepted")
    return float(value)


def _counts(hdu: HDU) -> tuple[npt.NDArray[Any], Floats, npt.NDArray[np.int64]]:
    """Counts, BACKSCAL and QUALITY of each channel."""
    table = hdu.table()
    if "COUNTS" not in table:
        raise fault(hdu, f"column COUNTS is missing, {list(table)} found: spectra in rates are not supported")
    counts = np.asarray(table["COUNTS"])
    if counts.ndim != 1 or counts.dtype.kind not in "fiu":
        raise fault(hdu, f"column COUNTS: one number a channel is wanted, {counts.dtype} of {counts.shape} found")
    if not np.all(table.get("AREASCAL", hdu.cards.get("AREASCAL", 1)) == 1):
        raise fault(hdu, "AREASCAL other than 1 is not supported: put it into the ARF")
    given = {}
    for name, default in (("BACKSCAL", 1.0), ("QUALITY", 0)):
        value = np.asarray(table[name] if name in table else hdu.cards.get(name, default))
        if value.dtype.kind not in "fiub" or value.shape not in ((), counts.shape):
            raise fault(hdu, f"{name}: a number a channel is wanted, {value.dtype} of shape {value.shape} found")
        given[name] = np.broadcast_to(value, counts.shape)
    return counts, given["BACKSCAL"].astype(np.float64), given["QUALITY"].astype(np.int64)


def _companion(hdu: HDU, card: str) -> Path | None:
    """File that a card names, in the folder of the file itself; None if it names none."""
    name = str(hdu.cards.get(card, "")).strip()
    if name.lower() in ("", "none"):
        return None
    folder = Path(hdu.path).parent
    if Path(name).name != name or "\\" in name or name.startswith("."):
        raise fault(hdu, f"card {card} = {name!r} found, the name of a file in the same folder accepted")
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.exists():
            if candidate.resolve().parent != folder.resolve():
                raise fault(hdu, f"card {card} = {name!r} is a link out of the folder: copy the file there")
            return candidate
    raise fault(
        hdu, f"card {card} = {name!r}: there is no such file in {folder}: copy it there, or set the card to none"
    )


def _edges(hdu: HDU, low: str, high: str) -> Floats:
    """Edges of adjoining bins, TeV."""
    lo, hi = _column(hdu, low, "TeV"), _column(hdu, high, "TeV")
    if lo.ndim != 1 or not lo.size or not np.allclose(lo[1:], hi[:-1], rtol=1e-6, atol=0):
        raise fault(hdu, f"the bins {low} to {high} do not adjoin")
    edges = np.append(lo, hi[-1:])
    if not (np.isfinite(edges).all() and (edges > 0).all() and (np.diff(edges) > 0).all()):
        raise fault(hdu, f"{low}, {high}: positive, increasing energies are wanted, {edges} TeV found")
    return edges


def _ebounds(hdus: Mapping[str, HDU], path: Path, n: int) -> Floats:
    hdu = _table(hdus, "EBOUNDS", path)
    edges = _edges(hdu, "E_MIN", "E_MAX")
    if len(edges) != n + 1:
        raise fault(hdu, f"{len(edges) - 1} channels found, {n} in the spectrum")
    return edges


def _read_arf(path: Path) -> tuple[Floats, Floats]:
    hdu = _table(_hdus(path), "SPECRESP", path)
    return _edges(hdu, "ENERG_LO", "ENERG_HI"), _column(hdu, "SPECRESP", "m2")


def _read_rmf(path: Path, n: int) -> tuple[Floats, Floats]:
    """Edges of true energy, and the matrix (energy_true, energy), which may be stored in groups of channels."""
    hdu = _table(_hdus(path), "MATRIX", path)
    table = hdu.table()
    missing = [name for name in ("N_GRP", "F_CHAN", "N_CHAN", "MATRIX") if name not in table]
    if missing:
        raise fault(hdu, f"column {missing[0]} is missing, {list(table)} found")
    number = list(table).index("F_CHAN") + 1
    first = int(_number(hdu, f"TLMIN{number}", 1))
    matrix = np.zeros((len(table["N_GRP"]), n))
    for row in range(len(matrix)):
        groups = int(table["N_GRP"][row])
        starts, lengths, values = (np.atleast_1d(table[name][row]) for name in ("F_CHAN", "N_CHAN", "MATRIX"))
        used = 0
        if min(starts.size, lengths.size) < groups:
            raise fault(hdu, f"row {row + 1}: N_GRP = {groups}, but {min(starts.size, lengths.size)} groups found")
        for start, length in zip(starts[:groups].astype(int) - first, lengths[:groups].astype(int), strict=True):
            if length and not (start >= 0 and length >= 0 and start + length <= n and used + length <= values.size):
                raise fault(hdu, f"row {row + 1}: channels {start + first} and {length} on found, {n} channels there")
            matrix[row, start : start + length] = values[used : used + length]
            used += length
    return _edges(hdu, "ENERG_LO", "ENERG_HI"), matrix


def _observations(path: Path, hdus: Mapping[str, HDU], seconds: float) -> dict[str, xr.Variable]:
    coords: dict[str, xr.Variable] = {}
    if "GTI" in hdus:
        coords |= read_gti(str(path), hdus["GTI"])
    if "META_TABLE" in hdus:
        coords |= read_meta(str(path), hdus["META_TABLE"])
    if "livetime" not in coords or not np.isclose(small_values(coords["livetime"]).sum(), seconds, rtol=1e-9):
        one = next((v.sizes["obs"] for v in coords.values() if v.dims[:1] == ("obs",)), 1) == 1
        coords["livetime"] = xr.Variable("obs" if one else (), [seconds] if one else seconds, {"units": "s"})
    return coords


def _position(cards: Mapping[str, Any]) -> dict[str, xr.Variable]:
    coords: dict[str, xr.Variable] = {}
    attrs = {"units": "deg", "frame": str(cards.get("REG_FRAM", ""))}
    for name, card, text in (("lon", "REG_LON", "longitude"), ("lat", "REG_LAT", "latitude")):
        if isinstance(cards.get(card), int | float):
            coords[name] = xr.Variable((), float(cards[card]), {**attrs, "long_name": text})
    if "REGION" in cards:
        coords["region"] = xr.Variable((), np.array(str(cards["REGION"]), dtype=TEXT), {"long_name": "on region"})
    return coords
