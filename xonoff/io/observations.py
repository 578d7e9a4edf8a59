"""What a FITS file says beside its maps: tables ``GTI``, ``META_TABLE`` and those of `TEXTS`, read and written.

Times are datetime64[ns] on the TT clock, which has no leap seconds; FITS has seconds since a reference day on a clock
that a card names.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.errors import FormatError, SchemaError, XonoffError
from xonoff.io.hdu import HDU
from xonoff.schema import AXES, VARIABLES
from xonoff.units import unit_factor

__all__ = ["TEXTS", "gti_table", "meta_table", "read_gti", "read_meta", "read_texts", "text_tables"]

EPOCH = 40587  # MJD of 1970-01-01
DAY = 86_400_000_000_000  # ns

#: Attributes of a dataset that are kept, each as a table of the same name.
TEXTS = ("models", "provenance", "correlated")

#: Name, columns, their units, and cards of a table.
Table = tuple[str, dict[str, npt.NDArray[Any]], dict[str, str], Mapping[str, Any]]


def read_gti(path: str, hdu: HDU) -> dict[str, xr.Variable]:
    """Good time intervals of a GTI table as datetime64[ns], TT."""
    from astropy.time import Time, TimeDelta

    try:
        table, header = hdu.table(), hdu.cards
        scale = str(header.get("TIMESYS") or "tt").strip().lower()
        if "MJDREFI" in header:
            reference = Time(float(header["MJDREFI"]), float(header.get("MJDREFF", 0.0)), format="mjd", scale=scale)
        else:
            reference = Time(float(header["MJDREF"]), format="mjd", scale=scale)
        times = {}
        for name, column in (("gti_start", "START"), ("gti_stop", "STOP")):
            seconds = np.asarray(table[column], dtype=np.float64).ravel() * unit_factor(
                hdu.units.get(column) or "s", "s"
            )
            if not np.isfinite(seconds).all():
                raise ValueError(f"column {column} is not finite")
            if np.abs(seconds).max(initial=0) > 1e10:  # 300 years; datetime64[ns] ends there
                raise ValueError(f"column {column} holds {np.abs(seconds).max():.3g} s, more than 300 years")
            tt = (reference + TimeDelta(seconds, format="sec")).tt
            days, rest = tt.jd1 - 2_400_000.5 - EPOCH, tt.jd2
            whole = np.floor(days)
            ns = whole.astype(np.int64) * DAY + np.rint((days - whole + rest) * DAY).astype(np.int64)
            attrs = {"time_scale": "TT", "long_name": f"{column.lower()} of a good time interval"}
            times[name] = xr.Variable("gti", ns.astype("datetime64[ns]"), attrs)
    except XonoffError:
        raise
    except Exception as error:  # astropy's times raise many kinds
        raise FormatError(
            f"{path}: HDU GTI: columns START and STOP in s with cards MJDREFI, MJDREFF and TIMESYS are wanted: {error}"
        ) from error
    return times


def read_meta(path: str, hdu: HDU) -> dict[str, xr.Variable]:
    """Columns of the table of observations, on the dimension ``obs``."""
    table = hdu.table()
    lengths = {name: np.asarray(column).size for name, column in table.items()}
    count = lengths.get("OBS_ID", hdu.shape[0])
    out = {}
    for column, values in table.items():
        array = np.asarray(values)
        if array.dtype.kind in "US":  # the one string type that netCDF and Zarr give back as it is
            array = array.astype(np.dtypes.StringDType())
        name, unit = _name(column), hdu.units.get(column, "")
        if array.size == count:
            dims: tuple[str, ...] = ("obs",)
            array = array.reshape(count)
        else:  # nothing an observation has one of: kept on dimensions of its own
            dims = tuple(f"{name}_dim{axis}" for axis in range(array.ndim))
        if name == "livetime":
            try:
                array, unit = array.astype(np.float64) * unit_factor(unit or "s", "s"), "s"
            except ValueError as error:
                raise FormatError(f"{path}: HDU META_TABLE: column LIVETIME: seconds are wanted: {error}") from error
        out[name] = xr.Variable(dims, array, {"units": unit} if unit else {})
    return out


def _name(column: str) -> str:
    """Name of a column in the dataset: one that every format takes and that is not the data model's own."""
    name = re.sub(r"\W", "_", column.lower(), flags=re.ASCII)
    own = {*VARIABLES, *AXES, "gti_start", "gti_stop", "bounds", "obs", "gti", "onoff"}
    taken = name in own or name.endswith("_bounds") or name.split("_")[0] in ("lat", "lon", "x", "y", "wcs")
    return f"meta_{name}" if taken or not re.match(r"[a-z_]", name) else name


def gti_table(ds: xr.Dataset) -> Table | None:
    """Good time intervals in seconds since the midnight before the first, so that nanoseconds keep their digits."""
    if "gti_start" not in ds.variables:
        return None
    start, stop = (ds[name].values.astype("datetime64[ns]").astype(np.int64) for name in ("gti_start", "gti_stop"))
    empty = np.datetime64(str(ds["gti_start"].attrs.get("reference_time", "2000-01-01")), "D").astype(int)
    day = int(start.min() // DAY) if start.size else int(empty)
    columns = {"START": (start - day * DAY) / 1e9, "STOP": (stop - day * DAY) / 1e9}
    cards = {"MJDREFI": day + EPOCH, "MJDREFF": 0.0, "TIMESYS": "tt", "TIMEUNIT": "s"}
    return "GTI", columns, {"START": "s", "STOP": "s"}, cards


def meta_table(ds: xr.Dataset) -> Table | None:
    """Return everything on ``obs`` as one row of vectors."""
    columns, units = {}, {}
    for name, array in ds.variables.items():
        if array.dims[:1] == ("obs",) and array.size:
            column = str(name).removeprefix("meta_").upper()
            values = np.array(array.values.tolist()) if array.dtype.kind in "OT" else array.values
            columns[column] = values[None]
            units[column] = str(array.attrs.get("units", ""))
    return ("META_TABLE", columns, units, {}) if columns else None


def text_tables(ds: xr.Dataset) -> list[Table]:
    """Return the attributes of `TEXTS`, each as the one row of a table; they are ASCII, as JSON may be."""
    tables: list[Table] = []
    for name in TEXTS:
        text = ds.attrs.get(name)
        if not text:
            continue
        if not isinstance(text, str) or not text.isascii() or not text.isprintable():
            use = "use ds.onoff.assign_models" if name == "models" else "drop it"
            raise SchemaError(f"attrs[{name!r}]: printable ASCII text accepted: {use}")
        tables.append((name.upper(), {"TEXT": np.array([text])}, {}, {}))
    return tables


def read_texts(path: str, hdus: Mapping[str, HDU]) -> dict[str, str]:
    """Attributes of `TEXTS`; they are not looked into here. A table of another kind is not ours, but for models."""
    found = {}
    for name in TEXTS:
        hdu = hdus.get(name.upper())
        if hdu is None or (name != "models" and "TEXT" not in hdu.cards.values()):
            continue
        column = np.asarray(hdu.table().get("TEXT", []))
        if column.shape != (1,) or column.dtype.kind not in "US":
            raise FormatError(
                f"{path}: HDU {name.upper()}: {column.dtype} of shape {column.shape} found, one text in TEXT accepted"
            )
        found[name] = str(column.astype(str)[0])
    return found
