"""Flux points in files: the SED format of gamma-astro-data-formats, as FITS or ECSV, as gammapy has it.

A file of the type "likelihood" has norms and the fluxes of the reference spectrum, of which all else follows; one of
the type "dnde", "e2dnde", "flux" or "eflux" has that flux. Log-likelihoods, which the format asks for, are written
beside gammapy's ``stat``, which is minus twice that.

References
----------
gamma-astro-data-formats, "SED" and "Bin-by-bin likelihood profiles".
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.errors import FormatError, SchemaError
from xonoff.io.atomic import replacing
from xonoff.io.ecsv import Table, ecsv_text, read_ecsv
from xonoff.io.hdu import scan
from xonoff.io.hdu_writer import HDUWriter
from xonoff.io.observations import TEXTS, read_texts, text_tables
from xonoff.io.yamlfile import at
from xonoff.sed_columns import FLUXES, QUANTITIES, SUFFIXES, labelled, with_fluxes
from xonoff.units import unit_factor

__all__ = ["SED_TYPES", "read_sed", "write_sed"]

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]

#: Columns that a file of each type has to have.
SED_TYPES = {
    "likelihood": ("e_ref", "e_min", "e_max", "ref_dnde", "ref_flux", "ref_eflux", "norm"),
    "dnde": ("e_ref", "dnde"),
    "e2dnde": ("e_ref", "e2dnde"),
    "flux": ("e_min", "e_max", "flux"),
    "eflux": ("e_min", "e_max", "eflux"),
}
HDU = "FLUXPOINTS"
FITS, ECSV = (".fits", ".fit", ".fits.gz", ".fit.gz"), (".ecsv",)
#: Names of ours that gammapy has another one for, and columns that have a value for each dataset there.
PEER = {"npred_signal": "npred_excess"}
PER_DATASET = ("counts", "npred", "npred_excess")
FLAGS = ("success", "is_ul")


def write_sed(
    points: xr.Dataset, path: str | os.PathLike[str], *, sed_type: str | None = None, overwrite: bool = False
) -> None:
    """Write flux points.

    Parameters
    ----------
    points : Dataset
        Of `xonoff.flux_points`, or of `read_sed`.
    path : path
        Named .fits or .ecsv.
    sed_type : {"likelihood", "dnde", "e2dnde", "flux", "eflux"}, optional
        What is written; by default norms with all that belongs to them, or where there are none, the type that the
        points were read as.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    FileExistsError
        If there is such a file, unless it may be replaced.
    SchemaError
        If the points have not what the type asks for.
    FormatError
        If the name is none of such a file.

    Examples
    --------
    >>> import tempfile
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D, SkyModel
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.633, 22.014))
    >>> points = xonoff.flux_points(xonoff.tutorial.dataset(), crab)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_sed(points, f"{folder}/crab.fits")
    ...     read = read_sed(f"{folder}/crab.fits")
    >>> xr.testing.assert_identical(read, points)
    """
    target = Path(path)
    suffix = _suffix(target)
    if suffix.endswith(".gz"):
        raise FormatError(f"{target}: not written: name it .fits or .ecsv, and compress it then")
    chosen = sed_type or ("likelihood" if "norm" in points else str(points.attrs.get("sed_type")))
    if chosen not in SED_TYPES:
        raise SchemaError(f"sed_type {chosen!r} found, {', '.join(map(repr, SED_TYPES))} accepted")
    columns = _columns(points, chosen)
    units = {name: unit for name in columns if (unit := _unit(name))}
    meta: dict[str, Any] = {"SED_TYPE": chosen}
    for key, name in (("SOURCE", "source"), ("N_SIGMA", "n_sigma")):
        if name in points.attrs:
            meta[key] = points.attrs[name]
    if "n_sigma_ul" in points.attrs:
        meta["UL_CONF"] = math.erf(float(points.attrs["n_sigma_ul"]) / math.sqrt(2))
    texts = text_tables(points)
    with replacing(target, overwrite) as part:
        if suffix in ECSV:
            meta |= {name: str(column["TEXT"][0]) for name, column, _, _ in texts}
            part.write_text(ecsv_text(columns, units, meta), encoding="utf-8")
        else:
            with open(part, "w+b") as file:
                writer = HDUWriter(file)
                writer.primary({})
                writer.table(HDU, columns, units, meta)
                for name, text, _, _ in texts:
                    writer.table(name, text, {}, {})


def read_sed(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read flux points, of `write_sed`, gammapy or any other writer of the format.

    Parameters
    ----------
    path : path
        FITS or ECSV, named .fits, .fits.gz or .ecsv.

    Returns
    -------
    Dataset
        As of `xonoff.flux_points`, as far as the file has it. Counts of several datasets are summed. Where each point
        has norms of its own for the profile, ``norm_scan`` is on ``energy`` too.

    Raises
    ------
    FormatError
        If the file is damaged, or is no table of flux points.
    FileNotFoundError
        If there is none.

    Examples
    --------
    >>> import tempfile, xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D, SkyModel
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.633, 22.014))
    >>> points = xonoff.flux_points(xonoff.tutorial.dataset(), crab)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_sed(points, f"{folder}/crab.ecsv")
    ...     bool(abs(read_sed(f"{folder}/crab.ecsv").norm - points.norm).max() < 1e-12)
    True
    """
    source = Path(path)
    columns, units, meta = read_ecsv(source) if _suffix(source) in ECSV else _read_fits(source)
    with at(source):
        arrays = _checked(columns, units)
        kind = meta.get("SED_TYPE") or _guessed(arrays)
        if not isinstance(kind, str) or kind not in SED_TYPES:
            raise FormatError(f"SED_TYPE {kind!r} found, {', '.join(SED_TYPES)} accepted")
        missing = [name for name in SED_TYPES[kind] if name not in arrays]
        if missing:
            raise FormatError(f"no column {', '.join(missing)} found, which an SED of type {kind} has to have")
        return _dataset(arrays, _attrs(meta, kind))


# -- writing ----------------------------------------------------------------------------------------------------------


def _columns(points: xr.Dataset, kind: str) -> Arrays:
    """Columns of a file, in order."""
    if "energy" not in points.coords or points["energy"].dims != ("energy",):
        raise SchemaError("the points have no coordinate energy: give what xonoff.flux_points returns")
    found: Arrays = {"e_ref": points["energy"].values}
    if "energy_bounds" in points.coords:
        found["e_min"], found["e_max"] = points["energy_bounds"].transpose("energy", "bounds").values.T
    likelihood = kind == "likelihood"
    fluxes = ("norm", *(f"ref_{name}" for name in FLUXES)) if likelihood else (kind,)
    wanted = [name for name in QUANTITIES if name.startswith(fluxes) or not _is_flux(name)]
    for name in wanted:
        if name in points and (likelihood or name not in ("stat_scan", "ref_npred")):
            found[PEER.get(name, name)] = points[name].transpose("energy", ...).values
    missing = [name for name in SED_TYPES[kind] if name not in found]
    if missing:
        known = [other for other in SED_TYPES if ("norm" if other == "likelihood" else other) in points]
        raise SchemaError(
            f"sed_type {kind!r}: the points have no {', '.join(missing)}: "
            + (f"give sed_type={' or '.join(map(repr, known))}" if known else "they have no fluxes at all")
        )
    for name in PER_DATASET:
        if name in found:
            found[name] = found[name][:, None]
    if "stat_scan" in found:
        norms = points["norm_scan"].values
        found["norm_scan"] = np.array(np.broadcast_to(norms, found["stat_scan"].shape))
    for name, log in {"stat": "loglike", "stat_null": "loglike_null"}.items():
        if likelihood and name in found:
            found[log] = -found[name] / 2
    if "stat_scan" in found and "stat_null" in found:
        with np.errstate(invalid="ignore"):
            found["dloglike_scan"] = (found["stat_null"][:, None] - found["stat_scan"]) / 2
    return found


def _is_flux(name: str) -> bool:
    return name.startswith(("norm", "ref_", *FLUXES)) and name != "ref_npred"


def _unit(name: str) -> str:
    if name.startswith("e_"):
        return "TeV"
    unit = QUANTITIES.get(name, ("", ""))[0]
    return "" if unit == "1" else unit


# -- reading ----------------------------------------------------------------------------------------------------------


def _suffix(path: Path) -> str:
    name = path.name.lower()
    found = next((suffix for suffix in (*FITS, *ECSV) if name.endswith(suffix)), None)
    if found is None:
        raise FormatError(f"{path}: a file of flux points is named .fits or .ecsv: rename it")
    return found


def _read_fits(path: Path) -> Table:
    """Columns, units and cards of the table of flux points."""
    hdus = scan(path)
    tables = [hdu for hdu in hdus if hdu.kind == "table" and hdu.cards.get("XTENSION") == "BINTABLE"]
    named = [hdu for hdu in tables if hdu.name == HDU] or [h for h in tables if {"e_ref", "e_min"} & set(h.units)]
    if not named:
        raise FormatError(
            f"{path}: no table {HDU}, and none with a column e_ref or e_min found, one accepted: is it a file of flux "
            "points?"
        )
    texts = read_texts(str(path), {hdu.name: hdu for hdu in hdus})
    meta = {**named[0].cards, **{name.upper(): text for name, text in texts.items()}}
    return named[0].table(), named[0].units, meta


def _checked(columns: Mapping[str, npt.NDArray[Any]], units: Mapping[str, str]) -> Arrays:
    """Columns that are known, in the units of `xonoff.sed_columns.QUANTITIES`; those of several datasets summed."""
    ours = {peer: name for name, peer in PEER.items()}
    plain = {"loglike", "loglike_null", "dloglike_scan", "norm_scan"}
    found: Arrays = {}
    for column, values in columns.items():
        name = ours.get(column, column)
        if name not in QUANTITIES and name not in plain and column not in ("e_ref", "e_min", "e_max"):
            continue
        if values.dtype.kind not in ("b" if name in FLAGS else "fiu"):
            raise FormatError(
                f"column {column}: {values.dtype} found, {'bool' if name in FLAGS else 'numbers'} accepted"
            )
        if column in PER_DATASET and values.ndim == 2:
            values = values.sum(axis=1)
        if values.ndim != (2 if name.endswith("_scan") else 1):
            raise FormatError(f"column {column}: cells of shape {values.shape[1:]} found, one number a point accepted")
        unit = _unit(name)
        if unit:
            try:
                values = values * unit_factor(units.get(column, ""), unit)
            except SchemaError as error:
                raise FormatError(f"column {column}: {error}") from error
        found[name] = values if name in FLAGS else np.asarray(values, dtype=np.float64)
    return found


def _guessed(arrays: Arrays) -> str | None:
    return next((kind for kind, needed in SED_TYPES.items() if set(needed) <= set(arrays)), None)


def _attrs(meta: Mapping[str, Any], kind: str) -> dict[str, Any]:
    attrs: dict[str, Any] = {}
    if isinstance(meta.get("SOURCE"), str):
        attrs["source"] = meta["SOURCE"]
    attrs["sed_type"] = kind
    attrs |= {name: meta[name.upper()] for name in TEXTS if isinstance(meta.get(name.upper()), str)}
    for key, name in (("N_SIGMA", "n_sigma"), ("UL_CONF", "n_sigma_ul")):
        value = meta.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < np.inf:
            if name == "n_sigma":
                attrs[name] = float(value)
            elif value < 1:
                attrs[name] = round(NormalDist().inv_cdf((1 + value) / 2), 5)
    return attrs


def _dataset(arrays: Arrays, attrs: Mapping[str, Any]) -> xr.Dataset:
    """Dataset of the columns of a file."""
    low, high = arrays.pop("e_min", None), arrays.pop("e_max", None)
    energy = arrays.pop("e_ref", None)
    if energy is None and low is not None and high is not None:
        energy = np.sqrt(low) * np.sqrt(high)
    if (
        energy is None
        or not energy.size
        or not all(((e > 0) & (e < np.inf)).all() for e in (energy, low, high) if e is not None)
    ):
        raise FormatError(f"energies {energy!s:.80} found, one point or more of positive energies accepted")
    coords = {"energy": xr.Variable("energy", energy, {"units": "TeV"})}
    if low is not None and high is not None:
        if not (low < high).all():
            raise FormatError(f"e_min {low!s:.80} and e_max {high!s:.80} found, e_min below e_max accepted")
        coords["energy"].attrs["bounds"] = "energy_bounds"
        coords["energy_bounds"] = xr.Variable(("energy", "bounds"), np.stack([low, high], axis=1))
    _statistics(arrays)
    norms, profiles = arrays.pop("norm_scan", None), arrays.get("stat_scan")
    if norms is None or profiles is None or norms.shape != profiles.shape:
        arrays.pop("stat_scan", None)
    elif (norms == norms[0]).all():
        coords["norm_scan"] = xr.Variable("norm_scan", norms[0], {"units": "1"})
    else:
        coords["norm_scan"] = xr.Variable(("energy", "scan"), norms, {"units": "1"})
    for name in ("ref_", *SUFFIXES):  # dnde and e2dnde say the same
        ours, squared = (f"ref_{n}" if name == "ref_" else f"{n}{name}" for n in ("dnde", "e2dnde"))
        if ours in arrays:
            arrays.setdefault(squared, energy**2 * arrays[ours])
        elif squared in arrays:
            arrays[ours] = arrays[squared] / energy**2
    found = labelled(with_fluxes(arrays), {}, attrs)
    if "norm_scan" in coords and coords["norm_scan"].ndim == 2:
        found = found.rename_dims(norm_scan="scan")
    return found.assign_coords(coords)


def _statistics(arrays: Arrays) -> None:
    """Fill in ``stat``, where a file has log-likelihoods only: it is minus twice that."""
    for log, stat in {"loglike": "stat", "loglike_null": "stat_null"}.items():
        values = arrays.pop(log, None)
        if values is not None:
            arrays.setdefault(stat, -2 * values)
    if "stat" in arrays and "ts" in arrays:
        arrays.setdefault("stat_null", arrays["stat"] + arrays["ts"])
    change = arrays.pop("dloglike_scan", None)
    if change is not None and "stat_null" in arrays:
        arrays.setdefault("stat_scan", arrays["stat_null"][:, None] - 2 * change)
