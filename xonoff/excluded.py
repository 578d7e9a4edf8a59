"""Parts of the sky that are left out: masks, maps and regions, brought onto the pixels of a dataset."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.coordinates import SkyCoord

from xonoff.duck import small_values
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import nearest_pixels, pixel_offset, sky_dims, sky_grid
from xonoff.region import inside
from xonoff.skygrid import SkyGrid

__all__ = ["excluded"]

Bools = npt.NDArray[np.bool_]
ACCEPTED = "an array or DataArray of bool (True where left out), a region, or a list of regions"


def excluded(ds: xr.Dataset, exclusion: Any) -> xr.Variable | None:
    """Pixels or bins of a dataset that are left out.

    Parameters
    ----------
    ds : Dataset
        A map.
    exclusion : optional
        True is left out, as by the functions of `xonoff.masks`; gammapy's exclusion masks are the other way round, so
        take ``~mask``. One of:

        - an array of bool on the pixels, or the bins, of the dataset;
        - a DataArray of bool with a sky: on the same pixels, on others of the same grid, or on any other grid, of which
          the pixel nearest to that of the dataset counts; what lies beyond it is not left out;
        - a region of the package ``regions``, or a list of them: pixels whose centres lie in any.

    Returns
    -------
    Variable (sky) or (energy, sky) of bool, or None
        Lazy where the exclusion is.

    Raises
    ------
    SchemaError, GeometryError
        If it is none of these, or not of the shape or the energies of the dataset.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> bright = xonoff.masks.from_significance(ds, 5).isel(energy=0)
    >>> excluded(ds, bright).dims
    ('lat', 'lon')
    """
    if exclusion is None:
        return None
    sky = sky_grid(ds)
    dims = sky.dims()
    if isinstance(exclusion, xr.DataArray):
        return _from_labelled(ds, exclusion, sky)
    if isinstance(exclusion, xr.Variable):
        exclusion = exclusion.transpose("energy", *dims, missing_dims="ignore").data
    if hasattr(exclusion, "dtype") and hasattr(exclusion, "ndim"):
        energy = ds.sizes.get("energy", 1)
        shapes = (sky.shape, (energy, *sky.shape))
        if exclusion.dtype != bool or exclusion.shape not in shapes:
            raise SchemaError(
                f"exclusion: {exclusion.dtype} of shape {exclusion.shape} found, bool of shape {shapes[0]} or "
                f"{shapes[1]} accepted"
            )
        return xr.Variable(dims if exclusion.ndim == 2 else ("energy", *dims), exclusion)
    from regions import Region

    listed = [exclusion] if isinstance(exclusion, Region) else exclusion
    if not isinstance(listed, list | tuple) or not all(isinstance(region, Region) for region in listed):
        raise SchemaError(f"exclusion: {type(exclusion).__name__} found, {ACCEPTED} accepted")
    found = np.zeros(sky.shape, dtype=bool)
    for region in listed:
        found |= inside(region, sky)
    return xr.Variable(dims, found)


def _from_labelled(ds: xr.Dataset, exclusion: xr.DataArray, sky: SkyGrid) -> xr.Variable:
    """Bring a mask with coordinates of its own onto the pixels of a dataset."""
    if exclusion.dtype != bool:
        raise SchemaError(f"exclusion: {exclusion.dtype} found, bool accepted: use exclusion.astype(bool)")
    own = sky_dims(exclusion)
    lead = [dim for dim in exclusion.dims if dim not in own]
    if len(own) != 2 or lead not in ([], ["energy"]):
        raise SchemaError(f"exclusion: dims {exclusion.dims} found, both sky dimensions, and energy or none, accepted")
    if lead and exclusion.sizes["energy"] != ds.sizes["energy"]:
        raise GeometryError(
            f"exclusion: {exclusion.sizes['energy']} energies found, the {ds.sizes['energy']} of the dataset accepted: "
            "join them with exclusion.any('energy'), or resample it"
        )
    if lead and "energy" in exclusion.coords and "energy" in ds.coords:
        energies, wanted = (small_values(array.coords["energy"]) for array in (exclusion, ds))
        if not np.allclose(energies, wanted, rtol=1e-6):
            raise GeometryError(
                f"exclusion: energies {energies} TeV found, {wanted} TeV accepted: join them with "
                "exclusion.any('energy'), or resample it"
            )
    theirs = sky_grid(exclusion)
    array = exclusion.variable.transpose(*lead, *own)
    if theirs == sky:
        return array
    rows, columns = _matches(theirs, sky)
    dims = sky.dims()
    found = xr.apply_ufunc(
        partial(_taken, rows=rows, columns=columns),
        array,
        input_core_dims=[list(own)],
        output_core_dims=[[f"{dim}_new" for dim in dims]],
        dask="parallelized",
        dask_gufunc_kwargs={
            "output_sizes": {f"{dim}_new": n for dim, n in zip(dims, sky.shape, strict=True)},
            "allow_rechunk": True,
        },
        output_dtypes=[np.bool_],
    )
    return xr.Variable((*lead, *dims), found.data)


def _matches(theirs: SkyGrid, sky: SkyGrid) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Row and column of one grid for each pixel of another; -1 beyond it."""
    ny, nx = theirs.shape
    try:
        y, x = pixel_offset(sky, theirs)
    except GeometryError:
        rows, columns = np.broadcast_arrays(*nearest_pixels(theirs, sky))
        lon, lat = sky.lonlat()
        on_sky = np.isfinite(lon)
        position = SkyCoord(np.where(on_sky, lon, 0.0), np.where(on_sky, lat, 0.0), unit="deg", frame=sky.frame)
        on_map = on_sky & theirs.contains(position)
        return np.where(on_map, rows, -1), np.where(on_map, columns, -1)
    rows, columns = np.arange(sky.shape[0])[:, None] + y, np.arange(sky.shape[1]) + x
    on_map = (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
    return np.where(on_map, rows, -1), np.where(on_map, columns, -1)


def _taken(mask: Bools, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> Bools:
    return mask[..., rows, columns] & (rows >= 0)
