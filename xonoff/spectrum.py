"""Spectra: an on/off dataset of a region of the sky, on energy alone."""

from typing import Any

import numpy as np
import xarray as xr

from xonoff.errors import SchemaError
from xonoff.geometry import map_dims, own_grid, sky_grid
from xonoff.irf import at_position, containment, edisp_at
from xonoff.observations import livetime
from xonoff.provenance import recorded
from xonoff.quantities import ON_OFF, background, effective_acceptance_off, usable
from xonoff.region import region_center, region_mask, region_text
from xonoff.schema import VARIABLES

__all__ = ["effective_area", "to_spectrum"]

TEXT = np.dtypes.StringDType()


@recorded
def to_spectrum(ds: xr.Dataset, on_region: Any, *, containment_correction: bool = False) -> xr.Dataset:
    """Sum a map over a region.

    Parameters
    ----------
    ds : Dataset
        A map.
    on_region : Region
        Sky or pixel region of the package `regions`, inside the map: circle, ellipse, rectangle, annulus, polygon or a
        compound. A pixel is in it with its centre.
    containment_correction : bool
        Multiply the exposure by the fraction of the PSF within the region, for a point source in its middle: for a
        circle on the sky only.

    Returns
    -------
    Dataset (energy)
        Over the bins of the region that are valid and within ``mask_safe``: ``counts``, ``counts_off`` and
        ``background`` summed, ``acceptance`` averaged, ``acceptance_off`` such that the excess is conserved and, where
        there is no off count, the ratio of the summed acceptances. ``mask_safe`` and ``mask_fit`` are True where
        any bin is in them. ``exposure`` is averaged over the region, ``edisp`` the kernel at its middle; there is no
        PSF. Coordinates ``lat`` and ``lon`` (deg) are the middle of the region, ``region`` its text.

    Raises
    ------
    GeometryError
        If the region is empty or reaches off the map, or the dataset is no map.
    SchemaError
        If the region is none, or a correction is asked for that is not possible.

    Examples
    --------
    >>> import xonoff
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from regions import CircleSkyRegion
    >>> region = CircleSkyRegion(SkyCoord(83.63, 22.01, unit="deg"), 0.3 * u.deg)
    >>> spectrum = to_spectrum(xonoff.tutorial.dataset(), region)
    >>> dict(spectrum.counts.sizes), bool(spectrum.onoff.significance().max() > 10)
    ({'energy': 8}, True)
    """
    dims = map_dims(ds)
    sky = sky_grid(ds)
    mask = region_mask(on_region, sky)
    center = region_center(on_region, sky)
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    box = {dims[0]: slice(rows[0], rows[-1] + 1), dims[1]: slice(columns[0], columns[-1] + 1)}
    in_region = xr.Variable(dims, mask).isel(box)
    part = ds.isel(box)

    variables = _counts(part, in_region, dims)
    if "exposure" in ds:
        variables["exposure"] = _exposure(ds, part, in_region, center)
        if containment_correction:
            variables["exposure"] = variables["exposure"] * _correction(ds, on_region, center)
    elif containment_correction:
        raise SchemaError("containment correction: the dataset has no exposure to correct: add it, or leave it out")
    if "edisp" in ds:
        variables["edisp"] = edisp_at(ds, center)
    for name, array in variables.items():
        array.attrs = {"units": VARIABLES[name].units} if VARIABLES[name].units else {}
        array.attrs["long_name"] = VARIABLES[name].description
    kept = {dim for array in variables.values() for dim in array.dims} | {"bounds", "obs", "gti"}
    coords = {name: v for name, v in ds.coords.variables.items() if v.dims and set(v.dims) <= kept}
    coords |= {name: ds.variables[name] for name in ("livetime",) if name in ds.variables}
    where = {"units": "deg", "frame": sky.frame}
    coords["lon"] = xr.Variable((), center[0], {**where, "long_name": "longitude"})
    coords["lat"] = xr.Variable((), center[1], {**where, "long_name": "latitude"})
    coords["region"] = xr.Variable((), np.array(region_text(on_region), dtype=TEXT), {"long_name": "on region"})
    return xr.Dataset(variables, coords, ds.attrs)


def effective_area(ds: xr.Dataset) -> xr.DataArray:
    """Effective area, ``exposure / livetime``.

    Parameters
    ----------
    ds : Dataset

    Returns
    -------
    DataArray (energy_true, sky_exposure), m2

    Examples
    --------
    >>> import xonoff
    >>> effective_area(xonoff.tutorial.dataset()).attrs["units"]
    'm2'
    """
    if "exposure" not in ds:
        raise SchemaError("the dataset has no exposure (effective area times livetime): add it with ds.assign")
    area = ds["exposure"].copy(deep=False, data=(ds["exposure"].variable / livetime(ds).variable).data)
    area.name, area.attrs = "effective_area", {"units": "m2", "long_name": "effective area"}
    return area


def _counts(part: xr.Dataset, in_region: xr.Variable, dims: tuple[Any, ...]) -> dict[str, xr.Variable]:
    """On/off variables and masks of the region."""
    used = usable(part) & in_region
    used = used.transpose("energy", *dims)
    names = [name for name in (*ON_OFF, "background") if name in part]
    totals = {name: part.variables[name].where(used, 0).sum(dims, dtype=np.float64) for name in names}
    if all(name in part for name in ON_OFF[1:]):
        expected = background(part.drop_vars("background", errors="ignore")).variable.where(used, 0).sum(dims)
        totals["acceptance_off"] = effective_acceptance_off(
            totals["counts_off"], totals["acceptance"], totals["acceptance_off"], expected
        )
    pixels = used.sum(dims)
    for name in ("acceptance", "acceptance_off"):
        if name in totals:
            totals[name] = totals[name] / pixels.where(pixels > 0, 1)
    totals["mask_safe"] = used.any(dims)
    if "mask_fit" in part:
        totals["mask_fit"] = (used & (part.variables["mask_fit"] == 1)).any(dims)
    return totals


def _exposure(ds: xr.Dataset, part: xr.Dataset, in_region: xr.Variable, center: tuple[float, float]) -> xr.Variable:
    """Mean over the pixels of the region; on a grid of its own, the value at the middle of it."""
    if own_grid(ds, "exposure"):
        return at_position(ds, "exposure", center)
    exposure = part.variables["exposure"]
    dims = [dim for dim in in_region.dims if dim in exposure.dims]
    if not dims:
        return exposure.copy(deep=False)
    known = in_region & np.isfinite(exposure)
    pixels = known.sum(dims)
    mean: xr.Variable = exposure.where(known, 0).sum(dims, dtype=np.float64) / pixels.where(pixels > 0, 1)
    return mean


def _correction(ds: xr.Dataset, region: Any, center: tuple[float, float]) -> xr.Variable:
    from regions import CircleSkyRegion

    if not isinstance(region, CircleSkyRegion):
        raise SchemaError(f"containment correction: a {type(region).__name__} found, a CircleSkyRegion accepted")
    if "psf" not in ds:
        raise SchemaError("containment correction: the dataset has no psf: add it, or do without the correction")
    if "energy_true" not in ds["psf"].dims:
        raise SchemaError("containment correction: a PSF in reconstructed energy found, one in true energy accepted")
    share = containment(ds, region.radius, center)
    known: xr.Variable = share.where(np.isfinite(share), 0)
    return known
