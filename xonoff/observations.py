"""What a dataset says of its observations, joined over several: good time intervals, livetime, and their table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.coordinates import SkyCoord

from xonoff.duck import small_values
from xonoff.errors import GeometryError, SchemaError

__all__ = ["gti", "join_observations", "livetime", "pointing"]

#: Columns of the table of observations that have the pointing, deg, in the frame ICRS.
POINTING = ("ra_pnt", "dec_pnt")
#: Pointings that differ by less are one, deg.
SAME_POINTING = 0.001

#: Fill values of the table where a dataset lacks a column, by kind of dtype; numbers become floats, to be NaN.
FILL: dict[str, Any] = {"f": np.nan, "c": np.nan, "M": np.datetime64("NaT"), "m": np.timedelta64("NaT"), "T": ""}


def gti(ds: xr.Dataset) -> xr.Dataset:
    """Good time intervals: ``start`` and ``stop`` (datetime64[ns], TT) and ``duration`` (s), on ``gti``."""
    if "gti_start" not in ds.variables or "gti_stop" not in ds.variables:
        raise SchemaError("the dataset has no good time intervals: add gti_start and gti_stop on the dimension gti")
    start, stop = ds["gti_start"].variable, ds["gti_stop"].variable
    duration = ((stop - start) / np.timedelta64(1, "ns")).astype(float) * 1e-9
    duration.attrs = {"units": "s"}
    return xr.Dataset({"start": start, "stop": stop, "duration": duration})


def livetime(ds: xr.Dataset) -> xr.DataArray:
    """Livetime of all observations together, s."""
    if "livetime" not in ds.variables:
        raise SchemaError("the dataset has no livetime: add the coordinate livetime on the dimension obs, in s")
    return xr.DataArray(ds["livetime"].variable.sum(), name="livetime", attrs={"units": "s"})


def join_observations(datasets: Sequence[xr.Dataset]) -> dict[str, xr.Variable]:
    """Observations of several datasets together, as coordinates.

    Parameters
    ----------
    datasets : sequence of Dataset
        Only their variables on ``obs`` and ``gti`` and their livetime are looked at.

    Returns
    -------
    dict of str to Variable
        ``gti_start`` and ``gti_stop``: the union of the intervals, in order of time, overlapping and adjoining ones
        merged. Everything on ``obs`` one after the other; a column that a dataset lacks is NaN, NaT or empty there.
        ``livetime`` on ``obs``, or its total where a dataset knows the total only.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> joined = join_observations([ds, ds])
    >>> joined["obs_id"].values.tolist(), joined["gti_start"].size
    ([1, 2, 1, 2], 2)
    """
    joined = _union_of_intervals(datasets)
    known = [ds for ds in datasets if "livetime" in ds.variables]
    total = any(ds.variables["livetime"].dims != ("obs",) for ds in known)
    columns = dict.fromkeys(str(k) for ds in datasets for k, v in ds.variables.items() if v.dims[:1] == ("obs",))
    if total:
        columns.pop("livetime", None)
        seconds = sum(float(small_values(ds.variables["livetime"]).sum()) for ds in known)
        joined["livetime"] = xr.Variable((), seconds, {"units": "s"})
    for name in columns:
        joined[name] = _column(name, datasets)
    return joined


def pointing(ds: xr.Dataset) -> SkyCoord:
    """Pointing of the telescopes: of the columns ``ra_pnt`` and ``dec_pnt`` on ``obs``, as files of gammapy have them.

    Raises
    ------
    SchemaError
        If the dataset has no such columns, or no numbers in them.
    GeometryError
        If its observations have several pointings.

    Examples
    --------
    >>> ds = xr.Dataset(coords={"ra_pnt": ("obs", [83.6]), "dec_pnt": ("obs", [22.5])})
    >>> pointing(ds).dec.deg.item()
    22.5
    """
    known = [small_values(ds.variables[name]) for name in POINTING if name in ds.variables]
    if len(known) < 2 or not all(v.dtype.kind in "fiu" and v.size and np.isfinite(v).all() for v in known):
        raise SchemaError(
            f"the dataset does not tell its pointing: coordinates {' and '.join(POINTING)} on obs, deg in ICRS, are "
            "wanted: add them, or give pointing=SkyCoord(...)"
        )
    for name in POINTING:
        if ds.variables[name].attrs.get("units", "deg") != "deg":
            raise SchemaError(f"{name}: units {ds.variables[name].attrs['units']!r} found, 'deg' accepted")
    positions = SkyCoord(*known, unit="deg").ravel()
    apart = float(positions.separation(positions[0]).deg.max())
    if apart > SAME_POINTING:
        raise GeometryError(
            f"{positions.size} observations up to {apart:.4g} deg apart found, one pointing accepted: take each "
            "observation by itself and stack the spectra, or give pointing=SkyCoord(...)"
        )
    return positions[0]


def _union_of_intervals(datasets: Sequence[xr.Dataset]) -> dict[str, xr.Variable]:
    timed = [ds for ds in datasets if "gti_start" in ds.variables and "gti_stop" in ds.variables]
    if not timed:
        return {}
    start, stop = (
        np.concatenate([small_values(ds.variables[name]).astype("datetime64[ns]") for ds in timed])
        for name in ("gti_start", "gti_stop")
    )
    order = np.argsort(start, kind="stable")
    start, stop = start[order], np.maximum.accumulate(stop[order]) if stop.size else stop
    first = np.ones(start.size, bool)  # intervals that begin after all before them have ended
    first[1:] = start[1:] > stop[:-1]
    last = np.roll(first, -1)
    attrs = timed[0].variables["gti_start"].attrs, timed[0].variables["gti_stop"].attrs
    return {
        "gti_start": xr.Variable("gti", start[first], attrs[0]),
        "gti_stop": xr.Variable("gti", stop[last], attrs[1]),
    }


def _column(name: str, datasets: Sequence[xr.Dataset]) -> xr.Variable:
    """One column of the table of observations, one dataset after the other."""
    have = [ds.variables[name] for ds in datasets if name in ds.variables]
    kinds = {v.dtype.kind for v in have}
    if len({v.shape[1:] for v in have}) > 1 or len({v.dims for v in have}) > 1:
        shapes = sorted({(v.dims, v.shape[1:]) for v in have})
        raise SchemaError(f"{name}: columns of several shapes found ({shapes}), one accepted: drop or reshape it")
    if len(kinds & set("fiub")) not in (0, len(kinds)):
        raise SchemaError(f"{name}: columns of dtypes {sorted(str(v.dtype) for v in have)} found: use one of them")
    missing = sum(name not in ds.variables for ds in datasets)
    parts: list[npt.NDArray[Any]] = []
    for ds in datasets:
        if name in ds.variables:
            values = small_values(ds.variables[name])
            parts.append(values.astype(np.dtypes.StringDType()) if values.dtype.kind in "UO" else values)
        elif ds.sizes.get("obs", 1):  # a dataset without a table stands for one observation
            kind = have[0].dtype.kind
            fill = FILL.get("T" if kind in "UO" else kind, np.nan)
            dtype = np.dtypes.StringDType() if fill == "" else have[0].dtype if kind in "cMm" else np.float64
            parts.append(np.full((ds.sizes.get("obs", 1), *have[0].shape[1:]), fill, dtype=dtype))
    if missing and kinds <= set("iub"):
        parts = [part.astype(np.float64) for part in parts]
    return xr.Variable(have[0].dims, np.concatenate(parts), have[0].attrs)
