"""Exposure in reconstructed energy: what turns an excess into a flux."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.axes import axis_edges
from xonoff.geometry import own_grid, sky_dims, sky_grid
from xonoff.irf import edisp_at, exposure_in
from xonoff.quantities import like_counts
from xonoff.rebin import bin_fluxes

__all__ = ["exposure_on_counts", "reco_exposure"]

Floats: TypeAlias = npt.NDArray[np.float64]
Spectrum: TypeAlias = Callable[[Any], Any]

#: Square centimetres of a square metre.
CM2 = 1e4


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
        seen = xr.Variable(("energy_true", "energy"), _overlap(spectrum, true, energy))
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
    energies = array.sizes["energy_true"]
    rows = [
        [
            da.from_delayed(read(small, y, x), (energies, y.stop - y.start, x.stop - x.start), float)
            for x in _spans(sizes[1])
        ]
        for y in _spans(sizes[0])
    ]
    return xr.Variable(dims, da.block(rows))


def _block(ds: xr.Dataset, rows: slice, columns: slice) -> Floats:
    return np.ascontiguousarray(np.moveaxis(exposure_in(ds, rows, columns), -1, 0))


def _spans(sizes: tuple[int, ...]) -> list[slice]:
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _middle(ds: xr.Dataset) -> Any:
    from astropy.coordinates import SkyCoord

    sky = sky_grid(ds)
    return SkyCoord(*sky.center, unit="deg", frame=sky.frame)


def _overlap(spectrum: Spectrum | None, true: Floats, energy: Floats) -> Floats:
    """Flux of each true energy that is at each energy, without dispersion: (energy_true, energy)."""
    found = np.zeros((true.size - 1, energy.size - 1))
    cuts = np.unique(np.concatenate([true, energy]))
    row, column = (np.searchsorted(edges, cuts[:-1], side="right") - 1 for edges in (true, energy))
    inside = (row >= 0) & (row < true.size - 1) & (column >= 0) & (column < energy.size - 1)
    np.add.at(found, (row[inside], column[inside]), bin_fluxes(spectrum, cuts)[inside])
    return found
