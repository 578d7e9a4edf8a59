"""Spectra as OGIP files, which XSPEC and Sherpa read: PHA with its background, and the response as ARF and RMF.

A spectrum ``pha_x.fits`` names its companions ``pha_x_bkg.fits``, ``pha_x_arf.fits`` and ``pha_x_rmf.fits`` in its
header. Acceptances are ``BACKSCAL``, the exposure is effective area times ``EXPOSURE``, bins outside ``mask_safe`` have
``QUALITY`` 5, those of ``mask_fault`` 1. Files are written in keV, cm2 and s, and read in any unit. What the standard
has no place for (the name, ``mask_fit``, position and region, the table of observations) is kept in columns, cards and
tables of its own; a simple region also in a table ``REGION``, as in gammapy's files (`xonoff.io.ogip_region`).

The response is in `xonoff.io.ogip_response`, what is refused in `xonoff.io.ogip_checks`, and how the files get their
names in `xonoff.io.ogip_files`.

References
----------
OGIP/92-007 (PHA).
"""

import gzip
import os
import re
import secrets
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.axes import axis_coords
from xonoff.duck import small_values
from xonoff.errors import FormatError, XonoffError
from xonoff.io.bands import fault
from xonoff.io.hdu import HDU
from xonoff.io.hdu_writer import HDUWriter
from xonoff.io.observations import gti_table, meta_table, read_gti, read_meta, read_texts, text_tables
from xonoff.io.ogip_checks import check_channels, check_content, check_writable, is_file_name, read_channels
from xonoff.io.ogip_files import COMPANIONS, LINKS, SET, companion_name, publishing
from xonoff.io.ogip_region import read_region, region_table
from xonoff.io.ogip_response import (
    COMMON,
    find_hdus,
    find_table,
    read_arf,
    read_ebounds,
    read_number,
    read_rmf,
    write_arf,
    write_ebounds,
    write_rmf,
)
from xonoff.schema import CONVENTIONS, VARIABLES, faults

__all__ = ["is_ogip", "open_ogip", "to_ogip"]

Floats = npt.NDArray[np.float64]
TEXT = np.dtypes.StringDType()
HEAD_BYTES = 40 * 2880
#: QUALITY of a channel: good; of a mask at fault or without a valid acceptance ("bad by software"); outside mask_safe
#: ("bad by the user").
GOOD, BAD, UNSAFE = 0, 1, 5
#: Coordinate that a card holds, and its long name.
REGIONS = {"REGION": ("region", "on region"), "REG_OFF": ("region_off", "off regions")}

_SPECTRUM = re.compile(rb"(?:EXTNAME |HDUCLAS1)= +'SPECTRUM *'.*")


# -- writing ----------------------------------------------------------------------------------------------------------


def to_ogip(ds: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a spectrum as OGIP files: PHA and, for what it has, background, ARF and RMF beside it.

    A dask dataset is computed. The files appear under their names when all of them are whole, the PHA file last; if one
    cannot be put in place, the old ones are put back.

    Parameters
    ----------
    ds : Dataset
        A spectrum, with ``livetime``.
    path : path
        The PHA file; the others have its name with ``_bkg``, ``_arf``, ``_rmf``.
    overwrite : bool
        Replace existing files; otherwise they are refused. Companions of the replaced PHA file which the new one has
        not are removed.

    Raises
    ------
    FormatError
        If the name of the file is one that no card can hold, or is that of a gzip file.
    SchemaError
        If the dataset is no spectrum, has no counts or no positive livetime, or has a ``background``, for which there
        is no place; nothing is written.
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
    seconds = check_writable(ds, path)
    parts = {part: variable in ds for part, variable in COMPANIONS.items()}
    links = {card: companion_name(path.name, part) if parts[part] else "none" for card, part in LINKS.items()}
    ds = ds.compute()
    primary = {SET: secrets.token_hex(8)}
    try:
        with publishing(path, parts, overwrite) as files:
            _write_spectrum(ds, files["pha"], seconds, primary, links)
            if "bkg" in files:
                _write_spectrum(ds, files["bkg"], seconds, primary, {})
            if "arf" in files:
                write_arf(ds, files["arf"], seconds, primary)
            if "rmf" in files:
                write_rmf(ds, files["rmf"], primary)
    except XonoffError as error:
        raise type(error)(f"{path}: not written: {error}") from error


def _write_spectrum(
    ds: xr.Dataset, path: Path, seconds: float, primary: Mapping[str, Any], links: Mapping[str, str]
) -> None:
    """Write a PHA file, or without links that of the background."""
    names = ("counts", "acceptance", "TOTAL") if links else ("counts_off", "acceptance_off", "BKG")
    counts = ds[names[0]].values
    whole = bool((np.rint(counts) == counts).all()) and np.abs(counts).max(initial=0) < 2**31
    columns = {
        "CHANNEL": np.arange(counts.size, dtype=np.int32),
        "COUNTS": counts.astype(np.int32 if whole else np.float64),
        "QUALITY": _quality(ds),
    }
    if names[1] in ds:
        columns["BACKSCAL"] = _scale(ds, names[1])
    if "mask_fit" in ds and links:
        columns["MASK_FIT"] = ds["mask_fit"].values
    name = str(ds.attrs.get("name") or "")
    cards: dict[str, Any] = {**COMMON, "HDUCLAS1": "SPECTRUM", "HDUCLAS2": names[2], "HDUCLAS3": "COUNT"}
    cards |= {"HDUVERS": "1.2.1", "EXPOSURE": seconds, "AREASCAL": 1.0, "CORRSCAL": 1.0, "CORRFILE": "none"}
    cards |= {"BACKFILE": "none", "RESPFILE": "none", "ANCRFILE": "none", **links}
    cards |= {"POISSERR": True, "CHANTYPE": "PI", "DETCHANS": int(counts.size), "SYS_ERR": 0.0, "GROUPING": 0}
    cards |= {"TLMIN1": 0, "TLMAX1": int(counts.size) - 1, "OBS_ID": name}
    cards |= {} if names[1] in ds else {"BACKSCAL": 1.0}
    with open(path, "w+b") as file:
        writer = HDUWriter(file)
        writer.primary({**primary, "NAME": name, **_position_cards(ds)})
        writer.table("SPECTRUM", columns, {"COUNTS": "count"}, cards)
        write_ebounds(writer, ds)
        for table in (gti_table(ds), *((meta_table(ds), *text_tables(ds), region_table(ds)) if links else ())):
            if table is not None:
                title, values, column_units, table_cards = table
                writer.table(title, values, column_units, table_cards)


def _scale(ds: xr.Dataset, name: str) -> Floats:
    """BACKSCAL: the acceptance, 0 where it is not finite, 1 if there is none."""
    if name not in ds:
        return np.ones(ds.sizes["energy"])
    scale = ds[name].values.astype(np.float64)
    return np.where(np.isfinite(scale), scale, 0.0)


def _quality(ds: xr.Dataset) -> npt.NDArray[np.int16]:
    """QUALITY; Sherpa takes a BACKSCAL of 0 for 1, so a channel that has it must not be good."""
    valid = (_scale(ds, "acceptance") > 0) & (_scale(ds, "acceptance_off") > 0)
    safe = ds["mask_safe"].values if "mask_safe" in ds else True
    sound = ~ds["mask_fault"].values if "mask_fault" in ds else True
    return np.where(sound, np.where(safe, np.where(valid, GOOD, BAD), UNSAFE), BAD).astype(np.int16)


def _position_cards(ds: xr.Dataset) -> dict[str, Any]:
    cards: dict[str, Any] = {}
    for name, card in (("lon", "REG_LON"), ("lat", "REG_LAT")):
        if name in ds.coords and not ds[name].ndim and np.isfinite(float(ds[name])):
            cards[card] = float(ds[name])
            cards["REG_FRAM"] = str(ds[name].attrs.get("frame", ""))
    return cards | {card: str(ds[name].values) for card, (name, _) in REGIONS.items() if name in ds.coords}


# -- reading ----------------------------------------------------------------------------------------------------------


def is_ogip(path: str | os.PathLike[str]) -> bool:
    """Return True for a FITS file, plain or gzip, with a spectrum among its first HDUs.

    Examples
    --------
    >>> import tempfile, xonoff
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     xonoff.tutorial.dataset().onoff.to_fits(f"{folder}/map.fits")
    ...     is_ogip(f"{folder}/map.fits")
    False
    """
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if zipped else open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except (OSError, EOFError, zlib.error):
        return False
    return head.startswith(b"SIMPLE") and any(_SPECTRUM.match(head, i) for i in range(0, len(head), 80))


def open_ogip(path: str | os.PathLike[str], *, checksum: bool = False) -> xr.Dataset:
    """Read a PHA file and what it names in its own folder: background, ARF and RMF.

    Parameters
    ----------
    path : path
        PHA file of xonoff, gammapy or another program.
    checksum : bool
        Check the CHECKSUM and DATASUM of every HDU of every file, which then has to have them.

    Returns
    -------
    Dataset (energy)
        In memory. ``acceptance_off`` is the ``BACKSCAL`` of the background, scaled by its ``EXPOSURE`` over that of the
        source, so that alpha is the ratio that XSPEC takes. What has no file is left out, and ``acceptance`` where
        there is no background and ``BACKSCAL`` is the 1 of every file. ``mask_safe`` is where source and background
        have ``QUALITY`` 0.

    Raises
    ------
    FormatError
        If a file is damaged, has no such table or column, is outside of the folder, or is left of another writing; if
        files differ in their channels or energies; if what is in them are not counts as detected.
    """
    path = Path(path)
    hdus = find_hdus(path, checksum)
    spectrum = find_table(hdus, "SPECTRUM", path)
    linked = {part: file for card, part in LINKS.items() if (file := _companion(spectrum, card)) is not None}
    others = {part: find_hdus(file, checksum) for part, file in linked.items()}
    for part in linked:
        _check_set(hdus, others[part], path, linked[part], part)
    if "bkg" in linked and linked["bkg"].samefile(path):
        raise fault(
            spectrum, f"card BACKFILE = {linked['bkg'].name!r}, the file itself, found, another one or 'none' accepted"
        )
    seconds = _exposure(spectrum)
    channels = read_channels(spectrum)
    n = len(channels)
    variables: dict[str, Any] = _read_counts(spectrum)
    if "bkg" in linked:
        off = find_table(others["bkg"], "SPECTRUM", linked["bkg"])
        check_channels(off, channels, path.name)
        found_off = _read_counts(off)
        variables |= {"counts_off": found_off["counts"], "mask_safe": variables["mask_safe"] & found_off["mask_safe"]}
        variables["acceptance_off"] = found_off["acceptance"] * (_exposure(off) / seconds)
    elif "BACKSCAL" not in spectrum.units and spectrum.cards.get("BACKSCAL", 1) == 1:
        del variables["acceptance"]
    energies = _energies({"pha": hdus, **others}, {"pha": path, **linked}, channels)
    coords = axis_coords("energy", energies)
    true: Floats | None = None
    if "rmf" in linked:
        true, variables["edisp"] = read_rmf(others["rmf"], linked["rmf"], n)
    if "arf" in linked:
        edges, area = read_arf(others["arf"], linked["arf"])
        if true is not None and (len(edges) != len(true) or not np.allclose(edges, true, rtol=1e-5, atol=0)):
            raise FormatError(f"{linked['arf']}: HDU SPECRESP: energies {edges} TeV found, {true} in the RMF")
        true, variables["exposure"] = edges, area * seconds
    if true is not None:
        coords |= axis_coords("energy_true", true)
    coords |= _observations(path, hdus, seconds)
    cards = hdus[""].cards if "" in hdus else {}
    if "REGION" in hdus and not {"REGION", "REG_LON", "REG_LAT"} & set(cards):  # of another program
        coords |= read_region(hdus["REGION"])
    coords |= _position(cards)
    attrs = {"name": str(cards.get("NAME") or path.name.split(".")[0]), "Conventions": CONVENTIONS}
    attrs |= read_texts(str(path), hdus)
    data = {name: _variable(name, variables[name]) for name in VARIABLES if name in variables}
    ds = xr.Dataset(data, coords, attrs)
    found = faults(ds)
    if found:
        raise FormatError(f"{path}: {'; '.join(found)}")
    return ds


def _variable(name: str, values: npt.NDArray[Any]) -> xr.Variable:
    attrs = {"units": VARIABLES[name].units} if VARIABLES[name].units else {}
    return xr.Variable(VARIABLES[name].axes[0], values, {**attrs, "long_name": VARIABLES[name].description})


def _energies(files: Mapping[str, Mapping[str, HDU]], paths: Mapping[str, Path], channels: npt.NDArray[Any]) -> Floats:
    """Edges of the channels, TeV, on which all files have to agree that have any."""
    first, *rest = [part for part in ("rmf", "pha", "bkg") if "EBOUNDS" in files.get(part, {})] or ["pha"]
    energies = read_ebounds(files[first], paths[first], channels, paths["pha"].name)
    for part in rest:
        edges = read_ebounds(files[part], paths[part], channels, paths["pha"].name)
        if not np.allclose(edges, energies, rtol=1e-5, atol=0):
            raise fault(
                files[part]["EBOUNDS"],
                f"columns E_MIN, E_MAX: energies {edges} TeV found, {energies} as in {paths[first].name} accepted: "
                "take files made for each other",
            )
    return energies


def _exposure(hdu: HDU) -> float:
    seconds = read_number(hdu, "EXPOSURE")
    if seconds == 0:
        raise fault(hdu, f"card EXPOSURE = {seconds} found, a number above 0 accepted: set it to the livetime in s")
    return seconds


def _read_counts(hdu: HDU) -> dict[str, npt.NDArray[Any]]:
    """Counts, acceptance and masks of the channels."""
    check_content(hdu)
    table = hdu.table()
    if "COUNTS" not in table:
        raise fault(hdu, f"column COUNTS is missing, {list(table)} found: spectra in rates are not supported")
    counts = np.asarray(table["COUNTS"])
    if counts.ndim != 1 or counts.dtype.kind not in "fiu":
        raise fault(hdu, f"column COUNTS: one number a channel is wanted, {counts.dtype} of {counts.shape} found")

    def each(name: str, default: float) -> npt.NDArray[Any]:
        value = np.asarray(table[name] if name in table else hdu.cards.get(name, default))
        if value.dtype.kind not in "fiub" or value.shape not in ((), counts.shape):
            raise fault(hdu, f"{name}: a number a channel is wanted, {value.dtype} of shape {value.shape} found")
        return np.broadcast_to(value, counts.shape)

    if not (each("AREASCAL", 1) == 1).all():
        raise fault(hdu, "AREASCAL other than 1 is not supported: put it into the ARF")
    found = {"counts": counts, "acceptance": each("BACKSCAL", 1).astype(np.float64)}
    found["mask_safe"] = each("QUALITY", GOOD) == GOOD
    return found | ({"mask_fit": each("MASK_FIT", 1) == 1} if "MASK_FIT" in table else {})


def _companion(hdu: HDU, card: str) -> Path | None:
    """File that a card names, in the folder of the file itself; None if it names none."""
    name = str(hdu.cards.get(card, "")).strip()
    if name.lower() in ("", "none"):
        return None
    folder = Path(hdu.path).parent
    if not is_file_name(name):
        raise fault(hdu, f"card {card} = {name!r} found, the name of a file in the same folder accepted")
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.exists():
            if candidate.resolve().parent != folder.resolve():
                raise fault(hdu, f"card {card} = {name!r} is a link out of the folder: copy the file there")
            return candidate
    raise fault(
        hdu, f"card {card} = {name!r}: there is no such file in {folder}: copy it there, or set the card to none"
    )


def _check_set(hdus: Mapping[str, HDU], others: Mapping[str, HDU], path: Path, other: Path, part: str) -> None:
    """Refuse a companion of the spectrum's own name that an interrupted writing left; any other file may be named."""
    mine, theirs = (found[""].cards.get(SET) if "" in found else None for found in (hdus, others))
    own = companion_name(path.name.removesuffix(".gz"), part)
    if mine and theirs and mine != theirs and other.name.removesuffix(".gz") == own:
        raise FormatError(
            f"{other}: card {SET} = {theirs!r} found, {mine!r} in {path.name}: write them again, together"
        )


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
    for card, (name, text) in REGIONS.items():
        if card in cards:
            coords[name] = xr.Variable((), np.array(str(cards[card]), dtype=TEXT), {"long_name": text})
    return coords
