"""How far a source that is put on the pixels of a cell reaches, and the response that it needs."""

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.geometry import grid_of, sky_dims, sky_grid
from xonoff.rings import circle
from xonoff.skygrid import SkyGrid

__all__ = ["CELL", "own_grids", "pixel_reach", "without_sky"]

#: Pixels along each side of a cell at first.
CELL = 32


def pixel_reach(sky: SkyGrid, corners: npt.NDArray[np.intp], reach: float) -> npt.NDArray[np.intp]:
    """Pixels along (y, x) up to which sources at the pixels of cells give events.

    Parameters
    ----------
    sky : SkyGrid
    corners : ndarray (cell, 2) of int
        First pixel of each cell, (y, x).
    reach : float, deg
        Of a source. Pixels beyond the seam of the sky are not looked for, nor more than the map has.

    Returns
    -------
    ndarray (cell, 2) of int

    Examples
    --------
    >>> sky = SkyGrid.create((83.63, 22.01), shape=(200, 200), pixel_size=0.05)
    >>> pixel_reach(sky, np.array([[0, 0], [32, 160]]), 0.5).tolist()
    [[11, 12], [11, 12]]
    """
    places = CELL * np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0.5, 0.5]])
    y, x = np.moveaxis(corners[:, None, :] + places, -1, 0)
    lon, lat = sky.pixel_to_sky(x, y)
    around = circle(np.nan_to_num(lon), np.nan_to_num(lat), min(1.01 * reach, 179.0))
    column, row = sky.sky_to_pixel(around)
    found = []
    for pixels, centre, n in ((row, y, sky.shape[0]), (column, x, sky.shape[1])):
        off = np.where(np.isfinite(lon)[..., None], np.abs(pixels - centre[..., None]), np.nan)
        off = np.where(np.isfinite(off), off, -1.0)
        typical = np.median(off, axis=-1, keepdims=True)
        near = np.where(off <= 4 * typical + 4, off, 0.0)
        found.append(np.clip(np.floor(near.max(axis=(1, 2), initial=0.0) + 1.5), 1, max(n - 1, 1)))
    return np.stack(found, axis=1).astype(np.intp)


def own_grids(ds: xr.Dataset) -> xr.Dataset:
    """Dataset whose PSF and energy dispersion have sky grids of their own, even where that is the one of the counts."""
    for name in ("psf", "edisp"):
        if name in ds and grid_of(ds, name) == "":
            sky = sky_grid(ds)
            names = dict(zip(sky.dims(), sky.dims(name), strict=True))
            given = {key: ds[key].rename(names).variable for key in (name, f"{name}_exposure") if key in ds}
            ds = ds.drop_vars(list(given)).assign_coords(sky.coords(name)).assign(given)
    return ds


def without_sky(ds: xr.Dataset) -> xr.Dataset:
    """PSF and energy dispersion of a dataset with their axes and grids, without anything on the sky of the counts."""
    sky = {*sky_dims(ds), *sky_dims(ds, "exposure")}
    names = ("psf", "edisp", "psf_exposure", "edisp_exposure")
    kept = {name: ds.variables[name] for name in names if name in ds and not sky & set(ds[name].dims)}
    dims = {"energy", "energy_true", "bounds", *(dim for array in kept.values() for dim in array.dims)}
    grids = {f"wcs_{name}" for name in ("psf", "edisp")}
    coords = {n: c.variable for n, c in ds.coords.items() if ({*c.dims} <= dims and c.dims) or n in grids}
    return xr.Dataset(kept, coords)
