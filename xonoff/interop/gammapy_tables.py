"""Times, tables and metadata of datasets of gammapy, and what a dataset has of these."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.io.observations import DAY, EPOCH, meta_table, read_meta

__all__ = ["gti_of", "meta_of", "meta_text", "observations_of", "table_of", "times_of"]


def times_of(gti: Any) -> dict[str, xr.Variable]:
    """Coordinates of the good time intervals of gammapy, to a nanosecond."""
    if gti is None:
        return {}
    reference = gti.time_ref.tt.copy()
    reference.precision = 9
    attrs = {"time_scale": "TT", "reference_time": str(reference.isot)}
    found = {}
    for name, column in (("gti_start", "START"), ("gti_stop", "STOP")):
        ns = _nanoseconds(gti.table[column]) if len(gti.table) else np.zeros(0, np.int64)
        text = {"long_name": f"{column.lower()} of a good time interval"}
        found[name] = xr.Variable("gti", ns.astype("datetime64[ns]"), attrs | text)
    return found


def gti_of(ds: xr.Dataset) -> Any:
    """Good time intervals for gammapy; None if a dataset has none."""
    from astropy.time import Time
    from gammapy.data import GTI

    if "gti_start" not in ds.variables:
        return None
    given = ds["gti_start"].attrs.get("reference_time", "2000-01-01")
    start, stop = (_time(ds[name].values) for name in ("gti_start", "gti_stop"))
    return GTI.create(start, stop, reference_time=Time(str(given), scale="tt"))


def observations_of(table: Any) -> dict[str, xr.Variable]:
    """Coordinates of the table of observations of gammapy."""
    if table is None:
        return {}
    columns = {name: np.asarray(table[name]) for name in table.colnames}
    columns = {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in columns.items()}
    units = {name: str(table[name].unit or "") for name in table.colnames}
    hdu: Any = SimpleNamespace(table=lambda: columns, units=units, shape=(len(table),))
    return read_meta("meta_table", hdu)


def table_of(ds: xr.Dataset) -> Any:
    """Table of observations for gammapy: one row of vectors; None if a dataset has none."""
    from astropy.table import Table

    found = meta_table(ds)
    if found is None:
        return None
    _, columns, units, _ = found
    if "exposure" in ds and ds.sizes["obs"] == 1:
        columns.pop("LIVETIME", None)  # the exposure has it
    if not columns:
        return None
    columns = {name: np.asarray(values)[:, 0] if ds.sizes["obs"] == 1 else values for name, values in columns.items()}
    return Table(columns, units={name: unit for name, unit in units.items() if unit and name in columns})


def meta_text(meta: Any) -> dict[str, Any]:
    """Metadata of a dataset of gammapy as JSON holds them; nothing if there is no more than when it was created."""
    found = {
        key: _encoded(value) for key, value in meta.model_dump().items() if value is not None and key != "creation"
    }
    return {key: value for key, value in found.items() if not _empty(value)}


def meta_of(found: dict[str, Any] | None) -> Any:
    """Metadata for gammapy."""
    from gammapy.datasets import MapDatasetMetaData

    return MapDatasetMetaData(**{key: _decoded(value) for key, value in found.items()}) if found else None


def _nanoseconds(time: Any) -> npt.NDArray[np.int64]:
    """Nanoseconds since 1970 on the clock TT."""
    tt = time.tt
    days, rest = np.atleast_1d(tt.jd1 - 2_400_000.5 - EPOCH), np.atleast_1d(tt.jd2)
    whole = np.floor(days)
    ns: npt.NDArray[np.int64] = whole.astype(np.int64) * DAY + np.rint((days - whole + rest) * DAY).astype(np.int64)
    return ns


def _time(values: npt.NDArray[Any]) -> Any:
    """Times on the clock TT, to a nanosecond."""
    from astropy.time import Time

    days, rest = np.divmod(values.astype("datetime64[ns]").astype(np.int64), DAY)
    return Time(days + float(EPOCH), rest / DAY, format="mjd", scale="tt")


def _encoded(value: Any) -> Any:
    """Value as JSON holds it: positions and times become mappings."""
    from astropy.coordinates import SkyCoord
    from astropy.time import Time

    if isinstance(value, SkyCoord):
        where = value.spherical
        return {"frame": value.frame.name, "lon": where.lon.deg.tolist(), "lat": where.lat.deg.tolist()}
    if isinstance(value, Time):
        return {"time": value.isot, "scale": value.scale}
    if isinstance(value, dict):
        return {str(key): _encoded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded(item) for item in value]
    return value if isinstance(value, str | bool | int | float | None) else str(value)


def _decoded(value: Any) -> Any:
    from astropy.coordinates import SkyCoord
    from astropy.time import Time

    if isinstance(value, dict):
        if set(value) == {"frame", "lon", "lat"}:
            return SkyCoord(value["lon"], value["lat"], unit="deg", frame=value["frame"])
        if set(value) == {"time", "scale"}:
            return Time(value["time"], scale=value["scale"])
        return {key: _decoded(item) for key, item in value.items()}
    return [_decoded(item) for item in value] if isinstance(value, list) else value


def _empty(value: Any) -> bool:
    """Tell whether a value says nothing."""
    if isinstance(value, dict):
        return all(_empty(item) for item in value.values())
    return all(_empty(item) for item in value) if isinstance(value, list) else value is None
