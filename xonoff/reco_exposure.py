"""Exposure in reconstructed energy: what turns an excess into a flux."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.axes import axis_edges
from xonoff.duck import chunk_slices
from xonoff.geometry import own_grid, sky_dims, sky_grid
from xonoff.irf import edisp_at, exposure_in, undispersed
from xonoff.quantities import like_counts
from xonoff.rebin import bin_fluxes
from xonoff.units import CM2

__all__ = ["exposure_on_counts", "reco_exposure"]

Floats: TypeAlias = npt.NDArray[np.float64]
Spectrum: TypeAlias = Callable[[Any], Any]


def reco_exposure(ds: xr.Dataset, spectrum: Spectrum | None = None) -> xr.DataArray:
    r"""Exposure by reconstructed energy: counts of a flux, over the flux in the bin.

    Parameters
    ----------
    ds : Dataset
        A map with ``exposure``.
    spectrum : callable or astropy 1-D model, optional
        Flux per energy, called with energies in TeV; only its shape matters. A power law of index 2 by default.

    Returns
    -------
    DataArray (energy, sky), cm2 s
        :math:`\sum_t D_{te} \Phi_t X_t / \Phi_e`, with the energy dispersion in the middle of the map. The PSF takes
        no part. Lazy on dask.

    Examples
    --------
    >>> import xonoff
    >>> exposure = reco_exposure(xonoff.tutorial.dataset())
    >>> exposure.dims, exposure.attrs["units"]
    (('energy', 'lat', 'lon'), 'cm2 s')
    """
    true, energy = axis_edges(ds, "energy_true"), axis_edges(ds, "energy")
    fluxes = bin_fluxes(spectrum, energy)
    if "edisp" in ds:
        matrix = edisp_at(ds, _middle(ds)).astype(np.float64).fillna(0.0)
        seen = matrix * xr.Variable("energy_true", bin_fluxes(spectrum, true))
    else:
        seen = xr.Variable(("energy_true", "energy"), undispersed(partial(bin_fluxes, spectrum), true, energy))
    weights = seen * xr.Variable("energy", CM2 / np.where(fluxes > 0, fluxes, np.inf))
    exposure = exposure_on_counts(ds).astype(np.float64)
    exposure = exposure.where((exposure > 0) & (exposure < np.inf), 0.0)
    found = xr.dot(exposure, weights, dim="energy_true")
    return like_counts(ds, found, "reco_exposure", {"units": "cm2 s"})


def exposure_on_counts(ds: xr.Dataset) -> xr.Variable:
    """Exposure (energy_true, sky) on the pixels of the counts, interpolated if it has a grid of its own; lazy on dask.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> bool((exposure_on_counts(ds) == ds.exposure.variable).all())
    True
    """
    array, sky = ds["exposure"].variable, sky_dims(ds)
    if own_grid(ds, "exposure") == "" or not any(d in array.dims for d in sky_dims(ds, own_grid(ds, "exposure"))):
        return array.transpose("energy_true", *sky, missing_dims="ignore")
    shape = sky_grid(ds).shape
    counts = next((ds[name] for name in ("counts", "acceptance") if name in ds and ds[name].chunks), None)
    dims = ("energy_true", *sky)
    if counts is None and not array.chunks:
        whole = exposure_in(ds, *(slice(0, n) for n in shape))
        return xr.Variable(dims, np.moveaxis(whole, -1, 0))
    import dask.array as da
    from dask.delayed import delayed

    sizes = [counts.chunksizes[dim] for dim in sky] if counts is not None else [(n,) for n in shape]
    small = ds[["exposure"]].assign_coords({n: c.variable for n, c in ds.coords.items() if set(c.dims) <= set(sky)})
    read = delayed(_block, pure=True)

    def block(y: slice, x: slice) -> Any:
        shape = (array.sizes["energy_true"], y.stop - y.start, x.stop - x.start)
        return da.from_delayed(read(small, y, x), shape, float)

    rows, columns = (chunk_slices(along) for along in sizes)
    return xr.Variable(dims, da.block([[block(y, x) for x in columns] for y in rows]))


def _block(ds: xr.Dataset, rows: slice, columns: slice) -> Floats:
    return np.ascontiguousarray(np.moveaxis(exposure_in(ds, rows, columns), -1, 0))


def _middle(ds: xr.Dataset) -> Any:
    from astropy.coordinates import SkyCoord

    sky = sky_grid(ds)
    return SkyCoord(*sky.center, unit="deg", frame=sky.frame)
