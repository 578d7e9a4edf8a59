"""Several datasets at once, pixel by pixel: one flux, which each saw with its own background and exposure."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff import quantities
from xonoff.axes import axis_edges
from xonoff.correlation import excess_map
from xonoff.errors import SchemaError
from xonoff.geometry import same_grid
from xonoff.provenance import recorded
from xonoff.rebin import bin_fluxes
from xonoff.units import Value

__all__ = ["joint_map"]

Floats: TypeAlias = npt.NDArray[np.float64]
Spectrum: TypeAlias = Callable[[Any], Any]
OUTPUTS = ("flux", "flux_err", "flux_errn", "flux_errp", "flux_ul", "stat", "stat_null")


@recorded
def joint_map(
    datasets: Iterable[xr.Dataset],
    radius: Value,
    energy_edges: Value | None = None,
    *,
    correlate_off: bool | None = None,
    n_sigma: float = 1.0,
    n_sigma_ul: float = 2.0,
    spectrum: Spectrum | None = None,
) -> xr.Dataset:
    r"""Flux and significance within a radius of each pixel, by the likelihoods of several datasets together.

    A stack adds the counts of all runs, and so mixes backgrounds of different size. Here W of all runs, and of all
    energies unless they are joined, is summed as a function of one flux, which each run expects with its exposure:

    .. math:: W(F) = \sum_{re} W(n_{\mathrm{on},re}, n_{\mathrm{off},re}, \alpha_{re}, F s_{re}).

    Parameters
    ----------
    datasets : iterable of Dataset
        Maps of one sky grid and the same energies; without exposures, each counts as much as its acceptance.
    radius, energy_edges, correlate_off, n_sigma, n_sigma_ul, spectrum
        As for `xonoff.excess_map`; with more than one energy, fluxes are those of the spectrum over all of them.

    Returns
    -------
    Dataset (sky)
        ``flux`` and its ``flux_err``, ``flux_errn``, ``flux_errp``, ``flux_ul``, cm-2 s-1 (relative without exposure);
        ``ts``, ``significance``, its root with the sign of the flux, ``stat`` and ``stat_null``. Lazy on dask.

    Raises
    ------
    SchemaError
        If there is no dataset, or only some have an exposure.
    GeometryError
        If their grids differ.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> runs = [ds.onoff.fake(ds.acceptance, seed, []) for seed in (1, 2)]
    >>> joint_map(runs, "0.1 deg").significance.dims
    ('lat', 'lon')
    """
    listed = list(datasets)
    if not listed:
        raise SchemaError("no dataset found, one or more accepted")
    exposed = {"exposure" in ds for ds in listed}
    if len(exposed) > 1:
        raise SchemaError("some datasets have an exposure and some not: give it to all, or drop it from all")
    for ds in listed[1:]:
        same_grid(listed[0], ds)
    options: dict[str, Any] = {"correlate_off": correlate_off, "spectrum": spectrum}
    maps = [excess_map(ds, radius, energy_edges, **options) for ds in listed]
    bins = [_bins(found, spectrum) for found in maps]
    arrays = [xr.Variable.concat(parts, "bin") for parts in zip(*bins, strict=True)]
    sky = [dim for dim in arrays[0].dims if dim != "bin"]
    lazy = any(array.chunks is not None for array in arrays)
    arrays = [array.chunk({"bin": -1}) if lazy else array for array in arrays]
    found = xr.apply_ufunc(
        partial(_fitted, n_sigma=n_sigma, n_sigma_ul=n_sigma_ul),
        *arrays,
        input_core_dims=[["bin"]] * 4,
        output_core_dims=[["of"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"of": len(OUTPUTS)}},
    )
    variables = {name: found.isel(of=number).transpose(*sky) for number, name in enumerate(OUTPUTS)}
    ts = (variables["stat_null"] - variables["stat"]).clip(min=0.0)
    variables |= {"ts": ts, "significance": np.sqrt(ts) * np.sign(variables["flux"])}
    for name, array in variables.items():
        array.attrs = {"units": "cm-2 s-1" if name.startswith("flux") and exposed == {True} else "1"}
    coords: dict[Any, Any] = {n: c.variable for n, c in maps[0].coords.items() if set(c.dims) <= set(sky)}
    return xr.Dataset(variables, coords, {"radius": maps[0].attrs["radius"]})


def _bins(found: xr.Dataset, spectrum: Spectrum | None) -> list[xr.Variable]:
    """On and off counts, alpha, and the counts of a flux of 1, (bin, sky): energies are bins."""
    n_on, n_off, alpha = found["counts"], found["counts_off"], quantities.alpha(found)
    if "reco_exposure" in found:
        fluxes = bin_fluxes(spectrum, axis_edges(found, "energy"))
        per_flux = found["reco_exposure"] * xr.Variable("energy", fluxes / fluxes.sum())
    else:
        per_flux = found["acceptance"]
    arrays = [array.variable.transpose("energy", ...) for array in (n_on, n_off, alpha, per_flux)]
    return [xr.Variable(("bin", *array.dims[1:]), array.data) for array in arrays]


def _fitted(n_on: Floats, n_off: Floats, alpha: Floats, signal: Floats, n_sigma: float, n_sigma_ul: float) -> Floats:
    from xonoff.stats import joint
    from xonoff.stats.threads import in_threads

    shape, bins = n_on.shape[:-1], n_on.shape[-1]
    rows = [np.ascontiguousarray(array, dtype=np.float64).reshape(-1, bins) for array in (n_on, n_off, alpha, signal)]
    out = np.full((len(rows[0]), len(OUTPUTS)), np.nan)
    parts = [slice(start, start + 4096) for start in range(0, len(out), 4096)]

    def fit(part: slice) -> None:
        on, off, ratio, counts = (row[part] for row in rows)
        joint.fit_rows(on, off, ratio, counts, n_sigma, n_sigma_ul, out[part])

    in_threads(fit, parts)
    return out.reshape(*shape, len(OUTPUTS))
