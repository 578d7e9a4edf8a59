"""Masks: their forms on the sky and on the grids of the response, and masks made from regions, energies, significance.

A mask that a dataset lacks is True everywhere. The builders return boolean arrays on the bins of the counts, to be
combined with ``&``, ``|`` and ``~`` and put into a dataset: ``ds.assign(mask_fit=...)``.
"""

from collections.abc import Hashable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.axes import axis_edges
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import grid_of, nearest_pixels, sky_dims, sky_grid
from xonoff.quantities import energy_range, like_counts, mask, significance
from xonoff.region import inside
from xonoff.stats.threads import in_threads
from xonoff.units import Value, value_in

__all__ = [
    "bins_within",
    "energy_range_total",
    "from_energy_range",
    "from_regions",
    "from_significance",
    "image",
    "on_edisp",
    "on_grid",
    "on_psf",
]


Bools = npt.NDArray[np.bool_]

# -- forms of a mask --------------------------------------------------------------------------------------------------


def image(ds: xr.Dataset, name: str | None = None) -> xr.DataArray:
    """Pixels that are within a mask in any energy bin.

    Parameters
    ----------
    ds : Dataset
    name : {"mask_safe", "mask_fit"}, optional
        By default both together.

    Returns
    -------
    DataArray (sky) of bool

    Examples
    --------
    >>> import xonoff
    >>> image(xonoff.tutorial.dataset()).dims
    ('lat', 'lon')
    """
    bins = mask(ds, name)
    inside = bins.isel(energy=0, drop=True).copy(deep=False, data=bins.variable.any("energy").data)
    inside.name = f"{name or 'mask'}_image"
    return inside


def on_psf(ds: xr.Dataset, name: str) -> xr.DataArray:
    """Mask on the sky grid of the PSF, see `on_grid`: in any energy, or of each bin for a PSF in ``energy``.

    Parameters
    ----------
    ds : Dataset
    name : {"mask_safe", "mask_fit"}

    Returns
    -------
    DataArray (sky_psf) or (energy, sky_psf) of bool

    Examples
    --------
    >>> import xonoff
    >>> on_psf(xonoff.tutorial.dataset(), "mask_safe").dims
    ('lat_psf', 'lon_psf')
    """
    _require(ds, "psf")
    bins = mask(ds, name).variable
    inside = bins if "energy" in ds["psf"].dims else bins.any("energy")
    return _labelled(ds, inside, "psf", f"{name}_psf")


def on_edisp(ds: xr.Dataset, name: str) -> xr.DataArray:
    """Mask on the sky grid of the energy dispersion, see `on_grid`, of each energy bin.

    Parameters
    ----------
    ds : Dataset
    name : {"mask_safe", "mask_fit"}

    Returns
    -------
    DataArray (energy, sky_edisp) of bool

    Examples
    --------
    >>> import xonoff
    >>> on_edisp(xonoff.tutorial.dataset(), "mask_safe").dims
    ('energy', 'lat_edisp', 'lon_edisp')
    """
    _require(ds, "edisp")
    return _labelled(ds, mask(ds, name).variable, "edisp", f"{name}_edisp")


def on_grid(inside: xr.Variable, ds: xr.Dataset, grid: str | None) -> xr.Variable:
    """Mask on a sky grid: True where any of the pixels of the counts that are nearest to its pixel is.

    So the response of every pixel of the counts is kept, and joining masks and changing the grid commute.

    Parameters
    ----------
    inside : Variable (..., sky) of bool
    ds : Dataset
        Whose grids these are.
    grid : str or None
        As in `xonoff.geometry.sky_dims`; None stands for a response without sky dimensions, which takes any pixel.

    Returns
    -------
    Variable (..., sky of the grid) of bool

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> on_grid(ds.mask_safe.variable, ds, "psf").shape, on_grid(ds.mask_safe.variable, ds, None).shape
    ((8, 4, 4), (8,))
    """
    counts_sky: tuple[Hashable, ...] = sky_dims(ds)
    if grid == "" or not set(counts_sky) & set(inside.dims):
        return inside
    if grid is None:
        return inside.any(counts_sky)
    target = sky_grid(ds, grid)
    dims = target.dims(grid)
    joined: xr.Variable = xr.apply_ufunc(
        partial(_joined, pixels=nearest_pixels(target, sky_grid(ds)), shape=target.shape),
        inside,
        input_core_dims=[list(counts_sky)],
        output_core_dims=[list(dims)],
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": dict(zip(dims, target.shape, strict=True)), "allow_rechunk": True},
        output_dtypes=[np.bool_],
    )
    return joined


def _joined(inside: Bools, pixels: tuple[Any, Any], shape: tuple[int, int]) -> Bools:
    """Join pixels (..., y, x) to those of a coarser grid, given the row and column there of each."""
    from xonoff.stats import kernels

    planes = np.ascontiguousarray(inside).reshape(-1, *inside.shape[-2:])
    out = np.zeros((len(planes), *shape), dtype=bool)
    in_threads(lambda i: kernels.mark(planes[i], *pixels, out[i]), range(len(planes)))
    return out.reshape(*inside.shape[:-2], *shape)


def energy_range_total(ds: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Lowest and highest energy within the masks in any pixel.

    Parameters
    ----------
    ds : Dataset

    Returns
    -------
    energy_min, energy_max : DataArray (), TeV
        NaN where no bin is within the masks.

    Examples
    --------
    >>> import xonoff
    >>> [round(end.item(), 3) for end in energy_range_total(xonoff.tutorial.dataset())]
    [0.5, 50.0]
    """
    low, high = energy_range(ds)
    ends = low.variable.min(), high.variable.max()
    return tuple(  # type: ignore[return-value]
        xr.DataArray(end, name=name, attrs={"units": "TeV"})
        for end, name in zip(ends, ("energy_min", "energy_max"), strict=True)
    )


# -- builders ---------------------------------------------------------------------------------------------------------


def from_regions(ds: xr.Dataset, regions: Any) -> xr.DataArray:
    """Bins whose pixel lies in any of some regions; take ``~`` of it to exclude them.

    Parameters
    ----------
    ds : Dataset
    regions : Region or iterable of Region
        Sky or pixel regions of the package `regions`; parts off the map are left out.

    Returns
    -------
    DataArray (energy, sky) of bool

    Examples
    --------
    >>> import xonoff
    >>> from regions import CirclePixelRegion, PixCoord
    >>> ds = xonoff.tutorial.dataset()
    >>> int(from_regions(ds, CirclePixelRegion(PixCoord(20, 20), 1.2)).isel(energy=0).sum())
    5
    """
    from regions import Region

    listed = [regions] if isinstance(regions, Region) else list(regions)
    sky = sky_grid(ds)
    found = np.zeros(sky.shape, dtype=bool)
    for region in listed:
        found |= inside(region, sky)
    dims = sky.dims()
    variable = xr.Variable(dims, found).isel({dim: 0 for dim in dims if dim not in ds.dims})
    return like_counts(ds, variable, "mask", {})


def from_energy_range(ds: xr.Dataset, lo: Value | None = None, hi: Value | None = None) -> xr.DataArray:
    """Bins that lie within a range of energy with both edges.

    Parameters
    ----------
    ds : Dataset
    lo, hi : energy, TeV, optional
        Open where not given; an edge is met within a millionth.

    Returns
    -------
    DataArray (energy, sky) of bool

    Examples
    --------
    >>> import xonoff
    >>> from_energy_range(xonoff.tutorial.dataset(), "1 TeV").any(("lat", "lon")).values[:3].tolist()
    [False, False, True]
    """
    return like_counts(ds, xr.Variable("energy", bins_within(ds, lo, hi)), "mask", {})


def from_significance(ds: xr.Dataset, threshold: float) -> xr.DataArray:
    """Bins of pixels whose significance, all energies together, is above a threshold; False where it is unknown.

    Take ``~`` of it to leave out sources, for a background.

    Parameters
    ----------
    ds : Dataset
    threshold : float
        In standard deviations, see `xonoff.quantities.significance`.

    Returns
    -------
    DataArray (energy, sky) of bool

    Examples
    --------
    >>> import xonoff
    >>> source = from_significance(xonoff.tutorial.dataset(), 5)
    >>> 1 < int(source.isel(energy=0).sum()) < 50
    True
    """
    above = significance(ds, "energy").variable > threshold
    return like_counts(ds, above, "mask", {})


def bins_within(ds: xr.Dataset, lo: Value | None, hi: Value | None) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell which energy bins lie within a range, with both edges.

    Parameters
    ----------
    ds : Dataset
    lo, hi : energy, TeV, or None
        As for `from_energy_range`.

    Returns
    -------
    ndarray (energy,) of bool

    Examples
    --------
    >>> import xonoff
    >>> bins_within(xonoff.tutorial.dataset(), "1 TeV", None)[:3].tolist()
    [False, False, True]
    """
    edges = axis_edges(ds, "energy")
    low = 0.0 if lo is None else value_in(lo, "TeV")
    high = np.inf if hi is None else value_in(hi, "TeV")
    if not low < high:
        raise GeometryError(f"energies: lo < hi is wanted, {low} TeV and {high} TeV found")
    return np.asarray((edges[:-1] >= low * (1 - 1e-6)) & (edges[1:] <= high * (1 + 1e-6)))


# -- how it is done ---------------------------------------------------------------------------------------------------


def _labelled(ds: xr.Dataset, inside: xr.Variable, response: str, name: str) -> xr.DataArray:
    """Mask on the grid of a response, with its coordinates."""
    grid = grid_of(ds, response)
    found = on_grid(inside, ds, grid)
    coords = {key: c for key, c in ds.coords.items() if c.dims and set(c.dims) <= set(found.dims)}
    wcs = f"wcs_{grid}".rstrip("_")
    coords |= {wcs: ds.coords[wcs]} if wcs in ds.coords else {}
    return xr.DataArray(found, coords=coords, name=name)


def _require(ds: xr.Dataset, response: str) -> None:
    if response not in ds:
        raise SchemaError(f"the dataset has no {response}, whose grid this mask is for: add it with ds.assign")
