"""Wider bins: fewer energies, larger pixels, or an image.

Sums of on/off bins go by the rules of the data model: over the valid bins within ``mask_safe``, conserving counts, off
counts and background. The response follows: the energy dispersion is summed over the energies that are joined, where
the mask leaves them, and an image has exposure, PSF and dispersion weighted by an assumed spectrum.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.axes import axis_coords, axis_edges
from xonoff.duck import chunked_like
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import grid_of, map_dims, nearest_pixels, sky_dims, sky_grid
from xonoff.irf import edisp_kernel
from xonoff.joining import coarse_mean, join_bins
from xonoff.masks import on_grid
from xonoff.provenance import recorded
from xonoff.quantities import ON_OFF, usable
from xonoff.schema import VARIABLES
from xonoff.skygrid import SkyGrid
from xonoff.units import Value, floats_in

__all__ = ["bin_fluxes", "downsample", "energy_groups", "group", "joined_edges", "resample_energy", "to_image"]

Floats = npt.NDArray[np.float64]
#: A spectrum: flux per energy at energies in TeV, in any unit, for it is a weight.
Spectrum = Callable[[Any], Any]


@recorded
def downsample(ds: xr.Dataset, factor: int | tuple[int, int], *, axis: str = "sky") -> xr.Dataset:
    """Join neighbouring pixels, or energy bins.

    Parameters
    ----------
    ds : Dataset
    factor : int or (int, int)
        How many are joined, or how many along (y, x); the numbers of pixels or bins have to be multiples of it.
    axis : {"sky", "energy"}

    Returns
    -------
    Dataset
        Counts, acceptances and masks as in `resample_energy`; ``exposure`` on the pixels of the counts is averaged. A
        response on a grid of its own stays as it is.

    Raises
    ------
    GeometryError
        If the factor does not divide the axis.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> downsample(ds, 2).counts.shape, downsample(ds, 4, axis="energy").counts.shape
    ((8, 20, 20), (2, 40, 40))
    """
    factors = factor if isinstance(factor, tuple) else (factor, factor)
    if len(factors) != 2 or not all(isinstance(f, int | np.integer) and f >= 1 for f in factors):
        raise GeometryError(f"factor: whole numbers from 1 on are wanted, {factor!r} found")
    if axis == "energy":
        if factors[0] != factors[1]:
            raise GeometryError(f"factor: one number is wanted for energy, {factor!r} found")
        edges = axis_edges(ds, "energy")
        _divides(factors[0], len(edges) - 1, "energy bins")
        return resample_energy(ds, edges[:: factors[0]])
    if axis != "sky":
        raise SchemaError(f"axis {axis!r} found, 'sky' or 'energy' accepted")
    dims = map_dims(ds)
    sky = sky_grid(ds)
    for f, n, what in zip(factors, sky.shape, ("rows", "columns"), strict=True):
        _divides(f, n, f"{what} of pixels")
    windows: dict[Hashable, int] = dict(zip(dims, factors, strict=True))
    variables = join_bins(ds, usable(ds), factors=factors) if _has_bins(ds) else {}
    for name, array in ds.data_vars.items():
        joined = {dim: f for dim, f in windows.items() if dim in array.dims}
        if name in variables or (name in VARIABLES and "energy" in array.dims and name not in ("psf", "edisp")):
            continue
        if not joined:
            variables[str(name)] = array.variable
        elif name in ("psf", "edisp") and f"{name}_exposure" in ds:  # on the pixels of the counts: weighted mean
            values = array.variable.astype(np.float64)
            weight = ds.variables[f"{name}_exposure"].where(np.isfinite(values), 0)
            total = (values.where(np.isfinite(values), 0) * weight).coarsen(joined, "mean")
            over = weight.coarsen(joined, "mean")
            variables[str(name)] = (total / over.where(over > 0, 1)).transpose(*array.dims)
        elif name in VARIABLES:
            variables[str(name)] = coarse_mean(array.variable.astype(np.float64), joined)
    (fy, fx), (y, x), (dy, dx) = factors, sky.origin, sky.step
    shape = (sky.shape[0] // fy, sky.shape[1] // fx)
    wide = SkyGrid(sky.header, shape, (y + dy * (fy - 1) / 2, x + dx * (fx - 1) / 2), (dy * fy, dx * fx))
    wide = SkyGrid.from_header(wide.cards, shape)  # a header of its own: its pixels have whole labels
    coords: dict[Hashable, xr.Variable] = {
        name: v for name, v in ds.coords.variables.items() if not set(v.dims) & set(dims) and name != "wcs"
    }
    coords.update(chunked_like(wide.coords(), variables.values()))
    return _dataset(variables, coords, ds)


@recorded
def resample_energy(ds: xr.Dataset, edges: Value) -> xr.Dataset:
    """Join energy bins.

    Parameters
    ----------
    ds : Dataset
    edges : array_like, TeV
        Edges of the new bins: some of those of the dataset, which are met within a millionth.

    Returns
    -------
    Dataset
        ``counts``, ``counts_off``, ``acceptance`` and ``background`` summed over the valid bins within ``mask_safe``,
        ``acceptance_off`` such that the excess is conserved; ``mask_safe`` and ``mask_fit`` where any bin is in them.
        ``edisp`` is summed over the bins that the mask leaves; a PSF in reconstructed energy is averaged with its
        exposure for a power law of index 2.

    Raises
    ------
    GeometryError
        If an edge is none of the dataset; lists those.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> edges = ds.onoff.geom.energy
    >>> resample_energy(ds, [edges[0], edges[3], edges[8]]).counts.shape
    (2, 40, 40)
    """
    joined = energy_groups(ds, edges)
    first = joined[0].start
    kept = ds.isel(energy=slice(first, joined[-1].stop))
    groups = [slice(part.start - first, part.stop - first) for part in joined]
    used = usable(kept) if _has_bins(kept) else None
    variables = {} if used is None else join_bins(kept, used, groups=groups)
    for name, array in kept.data_vars.items():
        if "energy" not in array.dims and "migra" not in array.dims:
            variables[str(name)] = array.variable
    if "edisp" in kept:
        variables["edisp"] = _joined_edisp(kept, used, groups)
    if "psf" in kept and "energy" in kept["psf"].dims:
        variables |= _joined_psf(kept, used, groups)
    coords = {name: v for name, v in kept.coords.variables.items() if v.dims[:1] not in (("energy",), ("migra",))}
    return _dataset(variables, coords | axis_coords("energy", joined_edges(ds, joined)), ds)


def energy_groups(ds: xr.Dataset, edges: Value) -> list[slice]:
    """Energies of a dataset between each two of some of its edges; see `resample_energy`."""
    old = axis_edges(ds, "energy")
    wanted = np.atleast_1d(floats_in(edges, "TeV"))
    if wanted.ndim > 1:
        raise GeometryError(f"energy edges of shape {wanted.shape} found, a list of them accepted")
    nearest = np.abs(old[:, None] - wanted).argmin(axis=0) if wanted.size and np.isfinite(wanted).all() else []
    if len(nearest) < 2 or not np.allclose(old[nearest], wanted, rtol=1e-6, atol=0) or (np.diff(nearest) < 1).any():
        raise GeometryError(
            f"energy edges {[float(f'{e:.6g}') for e in wanted]} TeV found, two or more of "
            f"{[float(f'{e:.6g}') for e in old]} in increasing order accepted: bins can be joined, not divided"
        )
    return [slice(int(a), int(b)) for a, b in pairwise(nearest)]


def joined_edges(ds: xr.Dataset, groups: list[slice]) -> Floats:
    """Edges of groups of energies."""
    edges = axis_edges(ds, "energy")
    return np.asarray(edges[[groups[0].start, *(part.stop for part in groups)]])


@recorded
def group(ds: xr.Dataset, counts_off: float) -> xr.Dataset:
    """Join neighbouring energy bins until each holds enough off counts for WStat to be unbiased.

    The off counts of a dask dataset are computed.

    Parameters
    ----------
    ds : Dataset
    counts_off : float
        Off counts wanted: of a map, in the mean over the pixels that are valid and within ``mask_safe`` at an energy.

    Returns
    -------
    Dataset
        As from `resample_energy`. What is left at the highest energies is joined to the last bin.

    Raises
    ------
    SchemaError
        If the number is not above 0, or all bins together do not hold so many.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> group(ds, 3).sizes["energy"] < ds.sizes["energy"]
    True
    """
    if not 0 < counts_off < np.inf:
        raise SchemaError(f"counts_off: {counts_off!r} found, a number above 0 accepted")
    inside = usable(ds)
    over = [dim for dim in inside.dims if dim != "energy"]
    held = (ds["counts_off"].variable.where(inside).sum(over) / np.maximum(inside.sum(over), 1)).transpose("energy")
    edges, means = axis_edges(ds, "energy"), np.asarray(held.values, dtype=np.float64)
    cuts, total = [0], 0.0
    for number, mean in enumerate(means, start=1):
        total += mean
        if total >= counts_off:
            cuts.append(number)
            total = 0.0
    if len(cuts) < 2:
        raise SchemaError(f"counts_off: {means.sum():.3g} found in all energy bins together, {counts_off:g} wanted")
    cuts[-1] = means.size
    return resample_energy(ds, edges[cuts])


@recorded
def to_image(ds: xr.Dataset, spectrum: Spectrum | None = None, *, keep_energy_true: bool = False) -> xr.Dataset:
    r"""Sum a dataset over energy.

    Parameters
    ----------
    ds : Dataset
    spectrum : callable or astropy 1-D model, optional
        Flux per energy, called with energies in TeV; only its shape matters. A power law of index 2 by default.
    keep_energy_true : bool
        Keep the axis of true energy, so that a prediction is exact for any spectrum.

    Returns
    -------
    Dataset
        With one bin of ``energy``: counts, acceptances, masks and dispersion as in `resample_energy`. Unless it is
        kept, with one bin of ``energy_true``: with :math:`w` the flux in each bin of true energy, ``exposure`` is
        :math:`\sum w X / \sum w`, ``edisp`` the mean of the dispersion weighted by :math:`w X`, and ``psf`` that of
        the PSF weighted by :math:`w X` and by the share of events that the dispersion leaves; so a prediction for
        this spectrum is the sum of those of the energy bins.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> image = to_image(ds)
    >>> image.counts.shape, image.exposure.shape, int(image.counts.sum()) == int(ds.onoff.info().counts)
    ((1, 40, 40), (1, 40, 40), True)
    """
    image = resample_energy(ds, axis_edges(ds, "energy")[[0, -1]])
    if keep_energy_true or "energy_true" not in ds.dims:
        return image
    edges = axis_edges(ds, "energy_true")
    weights = xr.Variable("energy_true", bin_fluxes(spectrum, edges))
    variables = {str(n): a.variable for n, a in image.data_vars.items() if "energy_true" not in a.dims}
    for name in ("exposure", "psf_exposure", "edisp_exposure"):
        if name in image and "energy_true" in image[name].dims:
            variables[name] = _mean(image.variables[name], weights)
    if "edisp" in image:
        variables["edisp"] = _mean(image.variables["edisp"], weights * _exposure_of(image, "edisp"))
    if "psf" in image and "energy_true" in image["psf"].dims:
        share = weights * _exposure_of(image, "psf") * _share_left(image)
        variables["psf"] = _mean(image.variables["psf"], share)
    variables = {n: v.transpose(*(d for d in image[n].dims if d in v.dims), ...) for n, v in variables.items()}
    coords = {n: v for n, v in image.coords.variables.items() if "energy_true" not in v.dims}
    return _dataset(variables, coords | axis_coords("energy_true", edges[[0, -1]]), ds)


def _has_bins(ds: xr.Dataset) -> bool:
    return any(name in ds for name in (*ON_OFF, "background", "mask_safe"))


def _divides(factor: int, n: int, what: str) -> None:
    if n % factor:
        raise GeometryError(f"factor {factor} does not divide the {n} {what}: cut or pad them to a multiple first")


# -- response ---------------------------------------------------------------------------------------------------------


def _joined_edisp(ds: xr.Dataset, used: xr.Variable | None, groups: Sequence[slice]) -> xr.Variable:
    """Dispersion summed over groups of energies, where the mask leaves them."""
    kernel = edisp_kernel(ds)
    inside = xr.Variable("energy", np.ones(kernel.sizes["energy"], dtype=bool))
    if used is not None:
        inside = on_grid(used, ds, grid_of(ds, "edisp"))
    inside = inside.astype(np.float64)
    parts = [_weighted_sum(kernel.isel(energy=g), inside.isel(energy=g), "energy") for g in groups]
    return _concat(parts).transpose("energy_true", "energy", ...)


def _joined_psf(ds: xr.Dataset, used: xr.Variable | None, groups: Sequence[slice]) -> dict[str, xr.Variable]:
    """PSF in reconstructed energy, averaged over groups with its exposure and the flux of a power law of index 2."""
    weights = xr.Variable("energy", bin_fluxes(None, axis_edges(ds, "energy")))
    names = ["psf", *(["psf_exposure"] if "psf_exposure" in ds else [])]
    shares = weights * ds.variables["psf_exposure"].astype(np.float64) if len(names) == 2 else weights
    if used is not None:
        shares = shares.where(on_grid(used, ds, grid_of(ds, "psf")), 0)
    out = {}
    for name, by in zip(names, (shares, weights), strict=False):
        parts = [_mean(ds.variables[name].isel(energy=g), by.isel(energy=g), "energy") for g in groups]
        out[name] = _concat(parts).transpose(*ds[name].dims)
    return out


def bin_fluxes(spectrum: Spectrum | None, edges: Floats) -> Floats:
    """Integral of a spectrum over bins, by Gauss-Legendre quadrature in log energy; in closed form for the default."""
    if spectrum is None:
        return 1 / edges[:-1] - 1 / edges[1:]
    nodes, weights = np.polynomial.legendre.leggauss(20)
    log = np.log(edges)
    half = np.diff(log)[:, None] / 2
    energies = np.exp(log[:-1, None] + half * (nodes + 1))
    fluxes = (_evaluate(spectrum, energies) * energies * half * weights).sum(axis=1)
    if not (np.isfinite(fluxes).all() and (fluxes >= 0).all() and fluxes.sum() > 0):
        raise SchemaError(f"spectrum: fluxes {fluxes} found in the bins of true energy, positive numbers accepted")
    return np.asarray(fluxes)


def _evaluate(spectrum: Spectrum, energies: Floats) -> Floats:
    from astropy import units as u

    if not callable(spectrum):
        raise SchemaError(f"spectrum: a {type(spectrum).__name__} found, a function of energy in TeV accepted")
    try:
        fluxes = spectrum(energies)
    except u.UnitsError:  # a model whose parameters have units
        fluxes = spectrum(energies * u.TeV)
    try:
        values = np.asarray(getattr(fluxes, "value", fluxes), dtype=np.float64)
        return np.broadcast_to(values, energies.shape)
    except ValueError as error:
        raise SchemaError(f"spectrum: one number for each energy wanted, {str(fluxes)[:60]} found") from error


def _concat(parts: Sequence[xr.Variable]) -> xr.Variable:
    """Bins of energy side by side; those that a mean has left have the dimension already."""
    joined: xr.Variable = xr.Variable.concat(parts, "energy")
    return joined


def _mean(array: xr.Variable, weights: xr.Variable, dim: str = "energy_true") -> xr.Variable:
    """Weighted mean over a dimension, which is kept with one bin; 0 where there is no weight."""
    total = weights.sum(dim)
    mean: xr.Variable = _weighted_sum(array, weights, dim) / total.where(total > 0, 1)
    kept: xr.Variable = mean.set_dims({dim: 1, **mean.sizes})
    return kept


def _weighted_sum(array: xr.Variable, weights: xr.Variable, dim: str) -> xr.Variable:
    """Sum of values times float64 weights over a dimension; what is not finite adds nothing."""
    total: xr.Variable
    if array.chunks is None and weights.chunks is None:
        total = xr.dot(array, weights, dim=dim)  # ten times faster than product and sum
        if np.isfinite(total.values).all():
            return total
    product = array.astype(np.float64) * weights
    total = product.where(np.isfinite(product), 0).sum(dim)
    return total


def _exposure_of(ds: xr.Dataset, name: str) -> xr.Variable:
    """Exposure that weights a response: its own, else that of the dataset, averaged where it is on other pixels."""
    if f"{name}_exposure" in ds:
        return ds.variables[f"{name}_exposure"].astype(np.float64)
    if "exposure" not in ds:
        return xr.Variable((), 1.0)
    other = [dim for dim in ds["exposure"].dims if dim != "energy_true" and dim not in ds[name].dims]
    return ds.variables["exposure"].astype(np.float64).mean(other)


def _share_left(ds: xr.Dataset) -> xr.Variable:
    """Share of the events of each true energy that the dispersion leaves, on the sky grid of the PSF."""
    if "edisp" not in ds:
        return xr.Variable((), 1.0)
    share = ds.variables["edisp"].sum("energy")
    grid, target = grid_of(ds, "edisp"), grid_of(ds, "psf")
    if grid is None:
        return share
    if target is None:
        return share.mean([dim for dim in share.dims if dim != "energy_true"])
    sky = sky_grid(ds, target)
    pixels = np.broadcast_arrays(*nearest_pixels(sky_grid(ds, grid), sky))
    index: dict[Hashable, xr.Variable] = {
        dim: xr.Variable(sky.dims(target), p) for dim, p in zip(sky_dims(ds, grid), pixels, strict=True)
    }
    found: xr.Variable = share.isel(index)
    return found


def _dataset(variables: Mapping[str, xr.Variable], coords: Mapping[Any, xr.Variable], ds: xr.Dataset) -> xr.Dataset:
    """Put a result together, in the order of the dataset and with the attributes of the data model."""
    names = dict.fromkeys([*(str(name) for name in ds.data_vars if name in variables), *variables])
    out = {}
    for name in names:
        array = variables[name].copy(deep=False)
        array.encoding = {}
        if name in VARIABLES:
            array.attrs = {"units": VARIABLES[name].units} if VARIABLES[name].units else {}
            array.attrs["long_name"] = VARIABLES[name].description
        out[name] = array
    return xr.Dataset(out, coords, ds.attrs).unify_chunks()
