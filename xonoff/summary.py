"""Totals of a dataset at a glance: the table of `info`, as data, as text and as HTML."""

from html import escape
from typing import Any

import numpy as np
import xarray as xr

from xonoff import observations, quantities
from xonoff.duck import small_values
from xonoff.geometry import sky_dims, sky_faults, sky_grid
from xonoff.schema import AXES, GRIDS, MASKS, VARIABLES, faults
from xonoff.validity import CUBES, invalid

__all__ = ["html", "info", "text"]


def info(ds: xr.Dataset) -> xr.Dataset:
    """Totals within the masks over valid bins, and the number of invalid bins by reason.

    Parameters
    ----------
    ds : Dataset

    Returns
    -------
    Dataset
        Scalars, lazy where the dataset is: ``counts``, ``counts_off``, ``acceptance``, ``acceptance_off``, ``alpha``,
        ``background``, ``excess``, ``significance``, ``stat_sum``; ``n_bins``, ``n_bins_mask`` (within the masks) and
        ``n_bins_valid`` (of these, those that count); ``livetime`` and ``ontime`` (s), the smallest and largest
        ``exposure`` (m2 s) where the dataset has them; and ``invalid`` on ``reason``, see `xonoff.validity.REASONS`.
        What needs a variable that the dataset lacks is left out.

    Examples
    --------
    >>> import xonoff
    >>> totals = xonoff.tutorial.dataset().onoff.info()
    >>> int(totals.n_bins), int(totals.invalid.sum())
    (12800, 0)
    """
    out: dict[str, Any] = {}
    inside = quantities.mask(ds).variable
    complete = all(name in ds for name in quantities.ON_OFF)
    if complete:
        sums = quantities.on_off_sums(ds, ds["counts"].dims)
        out |= {str(name): array.variable for name, array in sums.items()}
        for function in (quantities.alpha, quantities.background, quantities.excess, quantities.significance):
            array = function(sums)
            out[str(array.name)] = array.variable
        out["stat_sum"] = quantities.stat_sum(ds).variable
    else:
        for name in ("counts", "background", "counts_off", "acceptance", "acceptance_off"):
            if name in ds:
                values = ds[name].variable
                good = inside & (values >= 0) & (values < np.inf)
                out[name] = values.where(good, 0).sum(dtype=np.float64)
    out["n_bins"] = xr.Variable((), int(np.prod(inside.shape)))
    out["n_bins_mask"] = inside.sum(dtype=np.int64)
    if complete:
        valid = xr.apply_ufunc(np.isfinite, quantities.excess(ds).variable, dask="allowed")
        out["n_bins_valid"] = (valid & inside).sum(dtype=np.int64)
    if "livetime" in ds.variables:
        out["livetime"] = observations.livetime(ds).variable
    if "gti_start" in ds.variables:
        out["ontime"] = observations.gti(ds)["duration"].variable.sum()
    if "exposure" in ds:
        out["exposure_min"], out["exposure_max"] = ds["exposure"].variable.min(), ds["exposure"].variable.max()
    result = xr.Dataset(out, attrs={"name": ds.attrs.get("name", "")})
    for total, array in result.items():
        array.attrs = {"units": _UNITS.get(str(total), "1")}
    return result.assign(invalid=invalid(ds))


_UNITS = {"livetime": "s", "ontime": "s", "exposure_min": "m2 s", "exposure_max": "m2 s"}


def text(ds: xr.Dataset) -> str:
    """Return the table of `info` as text; reads the data."""
    totals = info(ds).compute()
    rows = [("name", str(totals.attrs["name"])), *axis_rows(ds)]
    rows += _total_rows(totals)
    for why, number in zip(totals["reason"].values, totals["invalid"].values, strict=True):
        rows.append((f"invalid: {why}", str(int(number))))
    width = max(len(key) for key, _ in rows)
    return "\n".join(f"{key:<{width}}  {value}" for key, value in rows)


def axis_rows(ds: xr.Dataset) -> list[tuple[str, str]]:
    """Axes, sky and masks of a dataset in words, from the coordinates alone; for a faulty one, its faults."""
    found = [*faults(ds), *sky_faults(ds)]
    if not found and any(ds[name].size == 0 for name in VARIABLES if name in ds):
        found = ["a dimension of the data is empty"]
    if found:
        return [("fault", fault) for fault in found]
    rows = []
    for name, axis in AXES.items():
        if name in ds.dims and f"{name}_bounds" in ds.coords:
            bounds = small_values(ds[f"{name}_bounds"])
            units = "" if axis.units == "1" else f" {axis.units}"
            rows.append((name, f"{ds.sizes[name]} bins, {bounds.min():.4g} to {bounds.max():.4g}{units}"))
    for grid in GRIDS:
        if len(sky_dims(ds, grid)) == 2 and f"wcs{'_' + grid if grid else ''}" in ds.coords:
            sky = sky_grid(ds, grid)
            lon, lat = sky.center
            (ny, nx), size = sky.shape, abs(np.linalg.det(sky.wcs.wcs.cd)) ** 0.5
            where = f"{sky.frame} {sky.projection} around {lon:.4f}, {lat:.4f} deg"
            rows.append((f"sky {grid}".rstrip(), f"{nx} x {ny} pixels of {size:.4g} deg, {where}"))
    if "region" in ds.coords and not ds["region"].ndim:
        rows.append(("region", str(ds["region"].values)))
    masks = [name for name in MASKS if name in ds]
    rows.append(("masks", ", ".join(masks) if masks else "none: all bins count"))
    return rows


def html(ds: xr.Dataset) -> str:
    """Return the summary of a dataset as HTML; totals only where the data are in memory, for nothing is computed."""
    rows = axis_rows(ds)
    head = f"<strong>on/off dataset</strong> {escape(str(ds.attrs.get('name') or ''))}"
    if any(name in ds for name in CUBES) and rows[0][0] != "fault":
        in_memory = all(ds[name].variable._in_memory for name in VARIABLES if name in ds)
        rows += _html_totals(ds) if in_memory else [("totals", "not computed: the data are lazy; see ds.onoff.info()")]
    body = "".join(
        f'<tr><th style="text-align: left">{escape(key)}</th><td style="text-align: left">{escape(value)}</td></tr>'
        for key, value in rows
    )
    return f"<div>{head}<table>{body}</table></div>"


def _html_totals(ds: xr.Dataset) -> list[tuple[str, str]]:
    totals = info(ds)
    bad = {str(r): int(n) for r, n in zip(totals["reason"].values, totals["invalid"].values, strict=True) if n}
    return [*_total_rows(totals), ("invalid bins", ", ".join(f"{n} {r}" for r, n in bad.items()) or "none")]


def _total_rows(totals: xr.Dataset) -> list[tuple[str, str]]:
    rows = []
    for name, array in totals.items():
        if name != "invalid":
            units = str(array.attrs["units"])
            rows.append((str(name), f"{_number(array.item())} {units if units != '1' else ''}".rstrip()))
    return rows


def _number(value: float) -> str:
    return f"{value:d}" if isinstance(value, int) else f"{value:.7g}"
