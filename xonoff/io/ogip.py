"""Spectra as OGIP files, which XSPEC and Sherpa read: PHA with its background, and the response as ARF and RMF.

A spectrum ``pha_x.fits`` names its companions ``pha_x_bkg.fits``, ``pha_x_arf.fits`` and ``pha_x_rmf.fits`` in its
header. Acceptances are ``BACKSCAL``, the exposure is effective area times ``EXPOSURE``, bins outside ``mask_safe`` have
``QUALITY`` 5. Files are written in keV, cm2 and s, and read in any unit. What the standard has no place for (the name,
``mask_fit``, position and region, the table of observations) is kept in columns, cards and tables of its own.

The response is in `xonoff.io.ogip_response`.

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
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.axes import axis_coords
from xonoff.duck import small_values
from xonoff.errors import FormatError, SchemaError
from xonoff.io.atomic import replacing
from xonoff.io.bands import fault
from xonoff.io.hdu import HDU
from xonoff.io.hdu_writer import HDUWriter
from xonoff.io.observations import gti_table, meta_table, read_gti, read_meta
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
from xonoff.quantities import livetime
from xonoff.schema import CONVENTIONS, VARIABLES, faults

__all__ = ["is_ogip", "open_ogip", "to_ogip"]

Floats = npt.NDArray[np.float64]
TEXT = np.dtypes.StringDType()
HEAD_BYTES = 40 * 2880
#: QUALITY of a channel: good, without a valid acceptance ("bad by software"), outside mask_safe ("bad by the user").
GOOD, UNSCALED, UNSAFE = 0, 1, 5
#: Cards of a PHA file that name its companions.
LINKS = {"BACKFILE": "bkg", "ANCRFILE": "arf", "RESPFILE": "rmf"}
#: Card that the files of one writing share, so that those of two are told apart after an interruption.
SET = "SETID"

_SPECTRUM = re.compile(rb"(?:EXTNAME |HDUCLAS1)= +'SPECTRUM *'.*")


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
    if path.suffix == ".gz":
        raise FormatError(f"{path}: not written: FITS is written uncompressed here, name it .fits and gzip it after")
    found = faults(ds)
    if found:
        raise SchemaError(f"{path}: not written, the dataset has {len(found)} faults:\n- " + "\n- ".join(found))
    if "counts" not in ds or ds["counts"].dims != ("energy",):
        dims = ds["counts"].dims if "counts" in ds else "no counts"
        raise SchemaError(f"{path}: not written: counts on ('energy',) are wanted, {dims} found: use to_spectrum first")
    missing = [name for name in ("acceptance", "acceptance_off") if name not in ds]
    if "counts_off" in ds and missing:
        raise SchemaError(f"{path}: not written: off counts without {missing[0]} found: add it with ds.assign")
    seconds = float(livetime(ds))
    parts = {"bkg": "counts_off" in ds, "arf": "exposure" in ds, "rmf": "edisp" in ds}
    names = {part: _companion_name(path.name, part) for part, there in parts.items() if there}
    ds = ds.compute()
    primary = {SET: secrets.token_hex(8)}
    with ExitStack() as stack:  # left in reverse: the file that names the others is published last
        files = {"pha": stack.enter_context(replacing(path, overwrite))}
        files |= {part: stack.enter_context(replacing(path.with_name(n), overwrite)) for part, n in names.items()}
        links = {card: names.get(part, "none") for card, part in LINKS.items()}
        _write_spectrum(ds, files["pha"], seconds, primary, links)
        if "bkg" in files:
            _write_spectrum(ds, files["bkg"], seconds, primary, {})
        if "arf" in files:
            write_arf(ds, files["arf"], seconds, primary)
        if "rmf" in files:
            write_rmf(ds, files["rmf"], primary)


def _companion_name(name: str, part: str) -> str:
    path = Path(name)
    return f"{path.stem}_{part}{path.suffix}"


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
        "BACKSCAL": _scale(ds, names[1]),
    }
    if "mask_fit" in ds and links:
        columns["MASK_FIT"] = ds["mask_fit"].values
    name = str(ds.attrs.get("name") or "")
    cards: dict[str, Any] = {**COMMON, "HDUCLAS1": "SPECTRUM", "HDUCLAS2": names[2], "HDUCLAS3": "COUNT"}
    cards |= {"HDUVERS": "1.2.1", "EXPOSURE": seconds, "AREASCAL": 1.0, "CORRSCAL": 1.0, "CORRFILE": "none"}
    cards |= {"BACKFILE": "none", "RESPFILE": "none", "ANCRFILE": "none", **links}
    cards |= {"POISSERR": True, "CHANTYPE": "PI", "DETCHANS": int(counts.size), "SYS_ERR": 0.0, "GROUPING": 0}
    cards |= {"TLMIN1": 0, "TLMAX1": int(counts.size) - 1, "OBS_ID": name}
    with open(path, "w+b") as file:
        writer = HDUWriter(file)
        writer.primary({**primary, "NAME": name, **_position_cards(ds)})
        writer.table("SPECTRUM", columns, {"COUNTS": "count"}, cards)
        write_ebounds(writer, ds)
        for table in (gti_table(ds), meta_table(ds) if links else None):
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
    return np.where(safe, np.where(valid, GOOD, UNSCALED), UNSAFE).astype(np.int16)


def _position_cards(ds: xr.Dataset) -> dict[str, Any]:
    cards: dict[str, Any] = {}
    for name, card in (("lon", "REG_LON"), ("lat", "REG_LAT")):
        if name in ds.coords and not ds[name].ndim and np.isfinite(float(ds[name])):
            cards[card] = float(ds[name])
            cards["REG_FRAM"] = str(ds[name].attrs.get("frame", ""))
    if "region" in ds.coords:
        cards["REGION"] = str(ds["region"].values)
    return cards


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
        source, so that alpha is the ratio that XSPEC takes. What has no file is left out.

    Raises
    ------
    FormatError
        If a file is damaged, has no such table or column, is outside of the folder, or is left of another writing.
    """
    path = Path(path)
    hdus = find_hdus(path, checksum)
    spectrum = find_table(hdus, "SPECTRUM", path)
    linked = {part: file for card, part in LINKS.items() if (file := _companion(spectrum, card)) is not None}
    others = {part: find_hdus(file, checksum) for part, file in linked.items()}
    for part in linked:
        _check_set(hdus, others[part], path, linked[part], part)
    seconds = read_number(spectrum, "EXPOSURE")
    variables: dict[str, Any] = _channels(spectrum)
    n = len(variables["counts"])
    if "bkg" in linked:
        off = find_table(others["bkg"], "SPECTRUM", linked["bkg"])
        channels = _channels(off)
        if len(channels["counts"]) != n:
            raise fault(off, f"{len(channels['counts'])} channels found, {n} in {path.name}")
        ratio = read_number(off, "EXPOSURE") / seconds if seconds > 0 else 1.0
        variables |= {"counts_off": channels["counts"], "acceptance_off": channels["acceptance"] * ratio}
    bounds = "rmf" if "EBOUNDS" in others.get("rmf", {}) else "pha"
    energies = read_ebounds({"pha": hdus, **others}[bounds], {"pha": path, **linked}[bounds], n)
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
    coords |= _position(cards)
    attrs = {"name": str(cards.get("NAME") or path.name.split(".")[0]), "Conventions": CONVENTIONS}
    data = {name: _variable(name, variables[name]) for name in VARIABLES if name in variables}
    ds = xr.Dataset(data, coords, attrs)
    found = faults(ds)
    if found:
        raise FormatError(f"{path}: {'; '.join(found)}")
    return ds


def _variable(name: str, values: npt.NDArray[Any]) -> xr.Variable:
    attrs = {"units": VARIABLES[name].units} if VARIABLES[name].units else {}
    return xr.Variable(VARIABLES[name].axes[0], values, {**attrs, "long_name": VARIABLES[name].description})


def _channels(hdu: HDU) -> dict[str, npt.NDArray[Any]]:
    """Counts, acceptance and masks of the channels."""
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


def _check_set(hdus: Mapping[str, HDU], others: Mapping[str, HDU], path: Path, other: Path, part: str) -> None:
    """Refuse a companion of the spectrum's own name that an interrupted writing left; any other file may be named."""
    mine, theirs = (found[""].cards.get(SET) if "" in found else None for found in (hdus, others))
    own = _companion_name(path.name.removesuffix(".gz"), part)
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
    if "REGION" in cards:
        coords["region"] = xr.Variable((), np.array(str(cards["REGION"]), dtype=TEXT), {"long_name": "on region"})
    return coords
