"""Correlated maps: on/off data summed over a disc around each pixel, and the excess, significance and flux of the sums.

Off counts may be correlated as well, or not: those of a ring, which are sums over many pixels already, must not be.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xonoff import quantities, stats
from xonoff.axes import axis_coords, axis_edges
from xonoff.backgrounds import is_correlated, refuse_correlated
from xonoff.errors import GeometryError
from xonoff.geometry import sky_dims, sky_grid
from xonoff.joining import join_bins
from xonoff.neighbours import disc_sums
from xonoff.provenance import recorded
from xonoff.rebin import bin_fluxes, energy_groups, joined_edges
from xonoff.reco_exposure import reco_exposure
from xonoff.schema import MASKS
from xonoff.skygrid import SkyGrid
from xonoff.units import Value, value_in

__all__ = ["correlate", "excess_map"]

Spectrum: TypeAlias = Callable[[Any], Any]
Variables: TypeAlias = dict[str, xr.Variable]

#: Units of fluxes.
FLUX = "cm-2 s-1"


@recorded
def correlate(
    ds: xr.Dataset, radius: Value, energy_edges: Value | None = None, *, correlate_off: bool | None = None
) -> xr.Dataset:
    r"""On/off data of the disc around each pixel: what an excess and a significance map are of.

    Parameters
    ----------
    ds : Dataset
        A map. Bins that ``mask_safe`` or ``mask_fit`` leave out, or that are not valid, add nothing.
    radius : angle, deg
        Pixels whose centres lie within this true angle are summed.
    energy_edges : array_like, TeV, optional
        Edges of the dataset's bins, between which bins are joined first; by default all are.
    correlate_off : bool, optional
        Whether off counts are summed over the disc too, so that :math:`\alpha = \sum \alpha_i n_i / \sum n_i`, or
        taken in its middle, with :math:`\alpha = \sum a_i / a_\mathrm{off}`. By default they are, unless they are sums
        over rings.

    Returns
    -------
    Dataset (energy, sky)
        ``counts``, ``counts_off``, ``acceptance``, ``acceptance_off``; NaN in pixels outside the masks. Lazy on dask,
        in overlapping chunks.

    Raises
    ------
    SchemaError
        If off counts that are sums over rings are to be summed again.
    GeometryError
        If the dataset is no map, or the radius no positive angle.

    Examples
    --------
    >>> import xonoff
    >>> found = correlate(xonoff.tutorial.dataset(), "0.1 deg")
    >>> bool(found.onoff.significance().max() > 20)
    True
    """
    angle, off = _checked(ds, radius, correlate_off)
    bins, inside, _ = _bins(ds, energy_edges)
    found = _summed(bins, inside, sky_grid(ds), angle, off)
    return _labelled(ds, found, inside, angle, energy_edges)


@recorded
def excess_map(
    ds: xr.Dataset,
    radius: Value,
    energy_edges: Value | None = None,
    *,
    correlate_off: bool | None = None,
    n_sigma: float = 1.0,
    n_sigma_ul: float = 2.0,
    spectrum: Spectrum | None = None,
) -> xr.Dataset:
    r"""Excess, significance, errors, upper limits and flux of the events within a radius of each pixel.

    Parameters
    ----------
    ds, radius, energy_edges, correlate_off
        As for `correlate`, and so are the errors.
    n_sigma, n_sigma_ul : float
        Of the asymmetric errors and the upper limit, see `xonoff.stats.excess_errors` and `xonoff.stats.upper_limit`.
    spectrum : callable or astropy 1-D model, optional
        Flux per energy, called with energies in TeV; only its shape matters. A power law of index 2 by default.

    Returns
    -------
    Dataset (energy, sky)
        What `correlate` gives; ``excess``, ``excess_err``, ``excess_errn``, ``excess_errp``, ``excess_ul`` and
        ``significance`` (Li & Ma); and where there is an exposure ``flux``, ``flux_err``, ``flux_errn``,
        ``flux_errp``, ``flux_ul``, cm-2 s-1, of the events in the disc: the excess over ``reco_exposure``, cm2 s, the
        mean of `xonoff.reco_exposure.reco_exposure` in it.

    Examples
    --------
    >>> import xonoff
    >>> found = excess_map(xonoff.tutorial.dataset(), "0.1 deg")
    >>> found.excess.dims, bool(found.significance.max() > 20)
    (('energy', 'lat', 'lon'), True)
    """
    angle, off = _checked(ds, radius, correlate_off)
    bins, inside, used = _bins(ds, energy_edges)
    found = _summed(bins, inside, sky_grid(ds), angle, off)
    found |= _excess(found, n_sigma, n_sigma_ul)
    if "exposure" in ds:
        found |= _fluxes(ds, used, found, inside, angle, energy_edges, spectrum)
    return _labelled(ds, found, inside, angle, energy_edges)


def _checked(ds: xr.Dataset, radius: Value, correlate_off: bool | None) -> tuple[float, bool]:
    """Radius, and whether off counts are correlated."""
    if len(sky_dims(ds)) != 2:
        raise GeometryError(f"the dataset is no map: dims {', '.join(map(str, ds.dims))} found, both sky dims accepted")
    angle = value_in(radius, "deg")
    if not 0 < angle < 180:
        raise GeometryError(f"radius: {radius!r} found, an angle above 0 and below 180 deg accepted")
    quantities.require(ds, quantities.ON_OFF)
    off = not is_correlated(ds) if correlate_off is None else correlate_off
    if off:
        refuse_correlated(ds)
    return angle, off


def _groups(ds: xr.Dataset, energy_edges: Value | None) -> list[slice]:
    return [slice(0, ds.sizes["energy"])] if energy_edges is None else energy_groups(ds, energy_edges)


def _bins(ds: xr.Dataset, energy_edges: Value | None) -> tuple[Variables, xr.Variable, xr.Variable]:
    """On/off data of joined energies, where they are valid, and the bins that are in them."""
    kept = ds[[*quantities.ON_OFF, *(name for name in MASKS if name in ds)]]
    used = quantities.usable(kept)
    if "mask_fit" in kept:
        used = used & (kept["mask_fit"].variable == 1)
    bins = join_bins(kept, used, groups=_groups(ds, energy_edges))
    return bins, bins["mask_safe"] & (bins["acceptance_off"] > 0), used


def _summed(bins: Variables, inside: xr.Variable, sky: SkyGrid, radius: float, correlate_off: bool) -> Variables:
    """On/off data of the disc around each pixel."""
    n_on, n_off, a_on, a_off = (bins[name] for name in quantities.ON_OFF)
    expected = _each(stats.background, n_off, a_on, a_off)
    arrays = [n_on, a_on, *([n_off, a_off, expected] if correlate_off else [])]
    together = xr.Variable.concat(arrays, "of").where(inside, 0.0)
    summed = disc_sums(together, sky, radius)
    on, acceptance, *rest = (summed.isel(of=number) for number in range(len(arrays)))
    found = {"counts": on, "counts_off": n_off, "acceptance": acceptance, "acceptance_off": a_off}
    if rest:
        effective = quantities.effective_acceptance_off(rest[0], acceptance, rest[1], rest[2])
        found |= {"counts_off": rest[0], "acceptance_off": effective}
    return found


def _excess(found: Variables, n_sigma: float, n_sigma_ul: float) -> Variables:
    """Excess of on/off data, its significance, errors and upper limit."""
    n_on, n_off = found["counts"], found["counts_off"]
    alpha = _each(stats.alpha, found["acceptance"], found["acceptance_off"])
    errn, errp = _each(partial(stats.excess_errors, n_sigma=n_sigma), n_on, n_off, alpha, outputs=2)
    return {
        "excess": n_on - alpha * n_off,
        "excess_err": (n_on + alpha**2 * n_off) ** 0.5,
        "excess_errn": errn,
        "excess_errp": errp,
        "excess_ul": _each(partial(stats.upper_limit, n_sigma=n_sigma_ul), n_on, n_off, alpha),
        "significance": _each(stats.li_ma, n_on, n_off, alpha),
    }


def _each(function: Callable[..., Any], *arrays: xr.Variable, outputs: int = 1) -> Any:
    dtypes, cores = [np.float64] * outputs, [()] * outputs
    return xr.apply_ufunc(function, *arrays, dask="parallelized", output_core_dims=cores, output_dtypes=dtypes)


def _fluxes(
    ds: xr.Dataset,
    used: xr.Variable,
    found: Variables,
    inside: xr.Variable,
    radius: float,
    energy_edges: Value | None,
    spectrum: Spectrum | None,
) -> Variables:
    """Excess over the counts that a flux gives in a pixel, on average over the disc, times that flux."""
    sky, flux = sky_grid(ds), bin_fluxes(spectrum, axis_edges(ds, "energy"))
    groups = _groups(ds, energy_edges)
    counts = reco_exposure(ds, spectrum).variable * xr.Variable("energy", flux)
    parts = [counts.isel(energy=g).where(used.isel(energy=g), 0.0).sum("energy") for g in groups]
    expected = xr.Variable.concat(parts, "energy").transpose(*inside.dims)
    pixels = disc_sums(inside.astype(np.int64), sky, radius)
    counts_seen = disc_sums(expected, sky, radius, mask=inside) / pixels.where(pixels > 0)
    exposure = counts_seen / xr.Variable("energy", [float(flux[g].sum()) for g in groups])
    fluxes = {
        n.replace("excess", "flux"): found[n] / exposure.where(exposure > 0) for n in found if n.startswith("excess")
    }
    return {**fluxes, "reco_exposure": exposure}


def _labelled(
    ds: xr.Dataset, found: Variables, inside: xr.Variable, radius: float, energy_edges: Value | None
) -> xr.Dataset:
    shown = {name: array.where(inside).transpose(*inside.dims) for name, array in found.items()}
    for name, array in shown.items():
        array.attrs = {"units": "cm2 s" if name == "reco_exposure" else FLUX if name.startswith("flux") else "1"}
    sky = set(sky_dims(ds))
    kept = [name for name, c in ds.coords.items() if name == "wcs" or (c.dims and set(c.dims) <= sky)]
    coords: dict[Any, Any] = {name: ds.coords[name].variable for name in kept}
    coords |= axis_coords("energy", joined_edges(ds, _groups(ds, energy_edges)))
    return xr.Dataset(shown, coords, {"name": ds.attrs.get("name", ""), "radius": radius})
