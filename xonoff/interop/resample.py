"""A dataset on the pixels of another map: any projection, frame, size and place of pixels.

Each pixel is shared out among those of the new map that it lies in, by area. So counts, off counts, background and the
total of the acceptances are conserved wherever the new map covers the old one, but counts are then no whole numbers and
neighbours share events, see `reproject`.
"""

from collections.abc import Hashable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.duck import chunked_like
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import Geom, map_dims, sky_grid
from xonoff.interop.wcs import from_wcs
from xonoff.irf import _interpolated
from xonoff.provenance import recorded
from xonoff.quantities import ON_OFF, background, effective_acceptance_off, usable
from xonoff.schema import VARIABLES
from xonoff.skygrid import SkyGrid

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["reproject"]

Floats = npt.NDArray[np.float64]
NEW = ("y_reprojected", "x_reprojected")
NOTE = "shared out by area: no whole numbers, and neighbouring pixels share events"


@recorded
def reproject(
    ds: xr.Dataset, target: "Geom | SkyGrid | WCS | xr.Dataset | xr.DataArray", *, coverage: float = 0.0
) -> xr.Dataset:
    """Put a dataset on the pixels of another map.

    It is lazy on dask, with the whole sky of an energy in a chunk.

    Parameters
    ----------
    ds : Dataset
        A map.
    target : Geom, SkyGrid, WCS, Dataset or DataArray
        The pixels wanted; of a WCS with an ``array_shape``. Energies stay as they are.
    coverage : float
        Share of a new pixel that valid pixels within ``mask_safe`` have to cover for it to be in the mask; by default
        any. With 0.999 no pixel at the rim of the mask is left that was cut.

    Returns
    -------
    Dataset
        ``counts``, ``counts_off``, ``acceptance`` and ``background`` are shared out by area, in the mask those of the
        valid bins within ``mask_safe``; ``acceptance_off`` is such that the excess is conserved. ``exposure`` is
        interpolated. A response on a grid of its own stays as it is; one on the pixels of the counts keeps these as a
        grid of its own. Variables that the data model does not name are left out.

    Raises
    ------
    SchemaError
        If it is no Dataset.
    GeometryError
        If the dataset is no map, the target is no grid, or the two have no pixel in common.

    Notes
    -----
    An event of a pixel that is cut goes to several new ones in part. WStat takes such counts, and sums over regions
    that are wide against a pixel are right; but new pixels are not independent: they scatter less than Poisson counts
    do, a map of significance is too narrow, and a sum of WStat is no measure of fit. So fit on the pixels of the
    events, and reproject to compare and to show. Pixels that are joined or moved as a whole keep whole counts.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> galactic = xonoff.SkyGrid.create(ds.onoff.geom.sky.skycoord()[20, 20], shape=(80, 80), pixel_size=0.1,
    ...                                  projection="TAN", frame="galactic")
    >>> turned = reproject(ds, galactic)
    >>> before, after = (float(d.counts.where(d.mask_safe).sum()) for d in (ds, turned))
    >>> round(after / before, 9)
    1.0
    """
    from xonoff.interop.overlap import pixel_shares

    if not isinstance(ds, xr.Dataset):
        raise SchemaError(f"ds: a {type(ds).__name__} found, a Dataset accepted: of an array, ds[['counts']]")
    dims, sky, new = map_dims(ds), sky_grid(ds), _grid(target)
    shares, sizes = pixel_shares(sky, new)
    if not shares.nnz:
        raise GeometryError(
            f"target: its {new.shape} pixels about {new.center} ({new.frame}) have none in common with the "
            f"{sky.shape} about {sky.center} ({sky.frame}): give a map of the same part of the sky"
        )
    options: dict[str, Any] = {
        "input_core_dims": [list(dims)],
        "output_core_dims": [list(NEW)],
        "dask": "parallelized",
        "output_dtypes": [np.float64],
        "dask_gufunc_kwargs": {"output_sizes": dict(zip(NEW, new.shape, strict=True))},
    }

    def shared(array: xr.Variable, of: Any = shares) -> xr.Variable:
        whole = array.chunk(dict.fromkeys(dims, -1)) if array.chunks else array
        out: xr.Variable = xr.apply_ufunc(partial(_shared, shares=of, shape=new.shape), whole, **options)
        return out

    covered = shares * sizes  # shares of the new pixels
    variables: dict[Hashable, xr.Variable] = {}
    if any(name in ds for name in (*ON_OFF, "background", "mask_safe")):
        used = usable(ds)
        inside = shared(used, covered) > max(coverage - 1e-9, 0.0)
        within, beyond = (_sums(ds, keep, shared) for keep in (used, xr.ones_like(used)))
        variables |= {name: within[name].where(inside, beyond[name]) for name in within}
        variables["mask_safe"] = inside
        if "mask_fit" in ds:
            chosen = used & (ds.variables["mask_fit"] == 1)
            variables["mask_fit"] = inside & (shared(chosen, covered) > max(coverage - 1e-9, 0.0))
        if "mask_fault" in ds:
            fault = ds.variables["mask_fault"].set_dims(used.sizes).transpose(*used.dims)
            variables["mask_fault"] = shared(fault) > 0
    coords = {name: v for name, v in ds.coords.variables.items() if not set(v.dims) & set(dims) and name != "wcs"}
    for name, array in ds.data_vars.items():
        if name in variables or not set(array.dims) & set(dims):
            variables.setdefault(name, array.variable)
        elif name == "exposure":
            whole = array.variable.chunk(dict.fromkeys(dims, -1)) if array.chunks else array.variable
            variables[name] = xr.apply_ufunc(partial(_moved, sky=sky, new=new), whole, **options)
        elif name in VARIABLES and VARIABLES[str(name)].grid:
            grid = VARIABLES[str(name)].grid
            variables[name] = _renamed(array.variable, dict(zip(dims, sky.dims(grid), strict=True)))
            coords.update(sky.coords(grid))
    names: dict[Hashable, str] = dict(zip(NEW, new.dims(), strict=True))
    for name, variable in variables.items():
        found = _renamed(variable, names)
        found.attrs = dict(ds[name].attrs) if name in ds else {"long_name": VARIABLES[str(name)].description}
        if name in ("counts", "counts_off"):
            found.attrs["reprojected"] = NOTE
        variables[name] = found
    coords.update(chunked_like(new.coords(), variables.values()))
    return xr.Dataset(variables, coords, ds.attrs)


def _grid(target: Any) -> SkyGrid:
    """Pixels of what was given for a map."""
    found = target.sky if isinstance(target, Geom) else target
    if isinstance(found, xr.Dataset | xr.DataArray):
        return sky_grid(found)
    if isinstance(found, SkyGrid):
        return found
    if hasattr(found, "array_shape"):
        return from_wcs(found)
    raise GeometryError(f"target: {target!r:.80} found, a Geom or SkyGrid, a WCS, or another map accepted")


def _sums(ds: xr.Dataset, keep: xr.Variable, shared: Any) -> dict[str, xr.Variable]:
    """On/off variables and template shared out, of the bins that are kept."""
    names = [name for name in (*ON_OFF, "background") if name in ds]

    def of(array: xr.Variable) -> xr.Variable:
        full = array.set_dims(keep.sizes).transpose(*keep.dims).astype(np.float64)
        total: xr.Variable = shared(full.where(keep & np.isfinite(full), 0.0))
        return total

    totals = {name: of(ds.variables[name]) for name in names}
    if all(name in ds for name in ON_OFF[1:]):
        expected = of(background(ds.drop_vars("background", errors="ignore")).variable)
        totals["acceptance_off"] = effective_acceptance_off(
            totals["counts_off"], totals["acceptance"], totals["acceptance_off"], expected
        )
    return totals


def _renamed(array: xr.Variable, names: Mapping[Hashable, str]) -> xr.Variable:
    """Variable with other names of its dimensions, not read if it is lazy."""
    known = {old: new for old, new in names.items() if old in array.dims}
    return xr.Dataset({"array": array}).rename_dims(known)["array"].variable


def _shared(array: npt.NDArray[Any], shares: Any, shape: tuple[int, int]) -> Floats:
    """Share out planes (..., y, x)."""
    planes = array.reshape(-1, array.shape[-2] * array.shape[-1]).astype(np.float64)
    return np.asarray((shares @ planes.T).T).reshape(*array.shape[:-2], *shape)


def _moved(array: npt.NDArray[Any], sky: SkyGrid, new: SkyGrid) -> Floats:
    """Planes (..., y, x) between their pixel centres, at those of the new map; 0 off the old one."""
    planes = array.reshape(-1, *array.shape[-2:])
    found = np.moveaxis(_interpolated(planes, sky, new), -1, 0)
    found = np.where(sky.contains(new.skycoord()), found, 0.0)
    return np.ascontiguousarray(found).reshape(*array.shape[:-2], *new.shape)
