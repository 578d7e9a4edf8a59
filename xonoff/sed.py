"""Flux points: the spectrum of a source in bins of energy, each with norm, errors, upper limit and profile of WStat.

In each bin the flux is that of the spectrum of the source times a norm, which alone is fitted: the other models, and
where the source is, stay as they are. WStat is then a function of one number, see `xonoff.stats.norms`.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff import quantities, stats
from xonoff.axes import axis_coords, axis_edges, check_edges
from xonoff.errors import GeometryError, ModelError, SchemaError
from xonoff.fitting import FitResult
from xonoff.geometry import Geom, geom, sky_dims
from xonoff.irf import Method, at_position
from xonoff.likelihood import dataset_list, scale_of
from xonoff.models import SkyModel, model_list, models_of, to_json
from xonoff.models.free import follow, rules_of
from xonoff.predict import BEYOND, Models, bins_of
from xonoff.provenance import recorded
from xonoff.sed_columns import labelled, reference_fluxes, with_fluxes
from xonoff.source import Source, position_of, reach_of, reaches
from xonoff.units import Value, floats_in, value_in

__all__ = ["flux_points", "models_per_dataset"]

Floats: TypeAlias = npt.NDArray[np.float64]
#: One dataset or more, and models: those of each, those of all, or what a fit has found.
Datasets: TypeAlias = xr.Dataset | Iterable[xr.Dataset]
Found: TypeAlias = Models | FitResult

#: Edges of energy are the same if they differ by less than this.
SAME = 1e-6
#: Norms of the profile of each point, in its errors; and how near to another one, in these, one is left out.
SCAN, NEAR = np.arange(-4.0, 5.0), 0.4


@recorded
def flux_points(
    datasets: Datasets,
    models: Found = None,
    source: str | None = None,
    energy_edges: Value | None = None,
    *,
    n_sigma: float = 1.0,
    n_sigma_ul: float = 2.0,
    min_sqrt_ts: float = 2.0,
    norm_scan: Value | None = None,
    interpolation: Method = "linear",
) -> xr.Dataset:
    r"""Flux of a source in bins of energy.

    Parameters
    ----------
    datasets : Dataset or iterable of Dataset
        Maps, images and spectra, mixed; together. Of a lazy one the pixels that the source reaches are read.
    models : SkyModel, iterable of SkyModel or FitResult, optional
        The source and all others, with their values; those that each dataset carries by default. Of a result the
        scales of alpha count too.
    source : str, optional
        Name of the source; not needed where there is one model only.
    energy_edges : array_like, TeV, optional
        Edges of the points, which are edges of the datasets too; each bin of these by default.
    n_sigma : float
        Of ``err``, ``errn`` and ``errp``: WStat rises by its square.
    n_sigma_ul : float
        Of the upper limit: WStat rises by its square above its minimum.
    min_sqrt_ts : float
        Points with a lower ``sqrt_ts`` have ``is_ul`` set.
    norm_scan : array_like, optional
        Norms to give the profile of WStat at; by default some within 4 errors of each point, and 0.
    interpolation : {"linear", "nearest"}
        As for `xonoff.predict.npred_signal`.

    Returns
    -------
    Dataset
        On ``energy`` with ``energy_bounds``: ``norm``, ``dnde`` (cm-2 s-1 TeV-1), ``e2dnde`` (TeV cm-2 s-1), ``flux``
        (cm-2 s-1) and ``eflux`` (TeV cm-2 s-1), each with ``_err``, ``_errn``, ``_errp`` and ``_ul``; the ``ref_`` of
        the spectrum that the norms are of; ``ts``, ``sqrt_ts``, ``stat``, ``stat_null``; ``stat_scan`` on
        ``norm_scan``; ``counts``, ``npred``, ``npred_signal``, ``ref_npred``; ``success``, ``is_ul``. Sums are over the
        valid bins within the masks that the source reaches. NaN where there is none.

    Raises
    ------
    ModelError
        If there is no such source, it has no flux or lies off all datasets, or two datasets carry different ones.
    GeometryError
        If the energies of the datasets differ, or the edges are none of theirs.

    Notes
    -----
    Norms may be negative, as an excess may be; upper limits count from the minimum, wherever that is. A point takes the
    events that are *seen* in its bin: where the energy dispersion is wide, it depends on the spectrum that is assumed.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.633, 22.014))
    >>> points = flux_points(xonoff.tutorial.dataset(), crab)
    >>> points.norm.values.round(2)[:3], points.norm_err.values.round(2)[:3]
    (array([0.99, 0.94, 1.06]), array([0.04, 0.05, 0.08]))
    >>> bool((points.sqrt_ts > 5).sum() >= 6), points.dnde.attrs["units"]
    (True, 'cm-2 s-1 TeV-1')
    """
    wanted = {"n_sigma": n_sigma, "n_sigma_ul": n_sigma_ul, "min_sqrt_ts": min_sqrt_ts}
    for name, value in wanted.items():
        if not 0 < value_in(value, "") < np.inf:
            raise SchemaError(f"{name}: {value!r} found, a positive number accepted")
    scan = None if norm_scan is None else _checked_scan(norm_scan)
    listed, per_dataset, name = models_per_dataset(datasets, models, source)
    edges = _edges(listed, energy_edges)
    scales = models.scales if isinstance(models, FitResult) else {}
    reached = [
        _bins_of_source(ds, own, name, interpolation, scale_of(ds, scales))
        for ds, own in zip(listed, per_dataset, strict=True)
        if name in [model.name for model in own]
    ]
    if not any(bins.on.size and bins.signal.any() for bins in reached):
        raise ModelError(
            f"{name}: it predicts no counts in any dataset: is it on the map, are its flux and the exposure above 0?"
        )
    spectrum = next(model.spectral for own in per_dataset for model in own if model.name == name)
    references = reference_fluxes(spectrum, edges)
    if (references["ref_flux"] < 0).any() or (references["ref_dnde"] < 0).any():
        raise ModelError(f"{name}: a negative flux found between {edges[0]:g} and {edges[-1]:g} TeV: start above 0")
    arrays = _fitted(_grouped(reached, edges), scan, n_sigma, n_sigma_ul) | references
    arrays["is_ul"] = ~(arrays["sqrt_ts"] >= min_sqrt_ts)
    coords = axis_coords("energy", edges)
    coords["norm_scan"] = xr.Variable("norm_scan", arrays.pop("norm_scan"), {"units": "1"})
    attrs = {"source": name, "sed_type": "likelihood", "n_sigma": float(n_sigma), "n_sigma_ul": float(n_sigma_ul)}
    return labelled(with_fluxes(arrays), coords, attrs)


def models_per_dataset(
    datasets: Datasets, models: Found, source: str | None
) -> tuple[list[xr.Dataset], list[list[SkyModel]], str]:
    """Datasets, copies of the models of each, and the name of the source, which is the same in all.

    Raises
    ------
    ModelError
        If there is no such source, or it is not the same in all datasets.
    """
    listed = dataset_list(datasets)
    given = models.models if isinstance(models, FitResult) else models
    of_all = None if given is None else model_list(given)
    found = [[model.copy() for model in (models_of(ds) if of_all is None else of_all)] for ds in listed]
    names = list(dict.fromkeys(model.name for own in found for model in own))
    if source is None and len(names) == 1:
        source = names[0]
    if source not in names:
        accepted = f"the name of one of the models accepted: {', '.join(names)}" if names else "but there are no models"
        raise ModelError(f"source: {source!r} found, {accepted}: give models=, or use ds.onoff.assign_models")
    for own in found:
        follow(rules_of(own))
    if of_all is None:
        same = {to_json([model]) for own in found for model in own if model.name == source}
        if len(same) > 1:
            raise ModelError(f"{source}: two datasets carry different models of this name: give models=")
    return listed, found, source


# -- bins -------------------------------------------------------------------------------------------------------------


class _Bins(NamedTuple):
    """What the norm of a source is fitted to, of one dataset: the pixels that it reaches, (pixel, energy)."""

    on: Floats
    off: Floats
    alpha: Floats
    other: Floats
    signal: Floats
    edges: Floats


def _bins_of_source(
    ds: xr.Dataset, models: list[SkyModel], name: str, interpolation: Method, alpha_scale: float
) -> _Bins:
    """Read the pixels that a source reaches, and predict what is there of it and of the others."""
    where = bins_of(ds, "local", interpolation)
    source = Source(ds, next(model for model in models if model.name == name), BEYOND["local"], interpolation)
    signal, edges = source.counts * source.factor, np.array(where.energy)
    if not source.pixels.size:
        return _Bins(signal, signal, signal, signal, signal, edges)  # of no pixel
    part, pixels = ds, source.pixels
    if where.sky is not None:
        rows, columns = np.divmod(source.pixels, where.sky.shape[1])
        window = [slice(int(place.min()), int(place.max()) + 1) for place in (rows, columns)]
        part = ds.isel(dict(zip(sky_dims(ds), window, strict=True)))
        width = window[1].stop - window[1].start
        pixels = (rows - window[0].start) * width + columns - window[1].start
    other = np.zeros((_size(part), edges.size - 1))
    for model in models:
        if model.name != name:
            _add(other, ds, part, model, where, interpolation)
    on, off, alpha = (values[pixels] for values in _read(part))
    return _Bins(on, off, alpha_scale * alpha, other[pixels], signal, edges)


def _size(part: xr.Dataset) -> int:
    return int(np.prod([part.sizes[dim] for dim in sky_dims(part)]))


def _add(total: Floats, ds: xr.Dataset, part: xr.Dataset, model: SkyModel, where: Geom, interpolation: Method) -> None:
    """Add the counts of a model in a part of a dataset; the response is that at its position in the whole of it."""
    from xonoff.stats import kernels

    position, window = position_of(model, where), geom(part).sky
    if window is not None and not reaches(position, reach_of(model, ds), window):
        return
    near = part
    for name in ("psf", "edisp"):
        if name in ds:
            near = near.drop_vars(name).assign({name: at_position(ds, name, position, interpolation)})
    source = Source(near, model, BEYOND["local"], interpolation)
    kernels.add_rows(total, source.pixels, source.counts, source.factor)


def _read(part: xr.Dataset) -> list[Floats]:
    """On and off counts and alpha, (pixel, energy); alpha is NaN outside the masks."""
    valid = quantities.mask(part) & np.isfinite(quantities.excess(part))
    alpha, sky = quantities.alpha(part).where(valid), sky_dims(part)
    arrays = {"on": part["counts"], "off": part["counts_off"], "alpha": alpha}
    wide = xr.Dataset({name: array.variable.transpose(*sky, "energy") for name, array in arrays.items()}).load()
    return [np.asarray(wide[name], dtype=np.float64).reshape(-1, wide.sizes["energy"]) for name in arrays]


# -- energies ---------------------------------------------------------------------------------------------------------


def _edges(datasets: list[xr.Dataset], wanted: Value | None) -> Floats:
    """Edges of the points: those that all datasets have, or those wanted, if they are edges of the datasets."""
    axes = [axis_edges(ds, "energy") for ds in datasets]
    if wanted is None:
        for number, edges in enumerate(axes[1:], 1):
            if edges.shape != axes[0].shape or not np.allclose(edges, axes[0], rtol=SAME, atol=0):
                raise GeometryError(
                    f"energy edges {_shown(axes[0])} TeV of the first dataset and {_shown(edges)} TeV of dataset "
                    f"{number} found, the same accepted: give energy_edges= that all have, or use "
                    "ds.onoff.resample_energy"
                )
        return np.asarray(axes[0])
    found = check_edges("energy", np.atleast_1d(floats_in(wanted, "TeV")))
    known = np.unique(np.concatenate(axes))
    snapped = known[np.abs(known[:, None] - found).argmin(axis=0)]
    wrong = ~np.isclose(snapped, found, rtol=SAME, atol=0)
    for edges in axes:
        inside = (found > edges[0]) & (found < edges[-1])
        wrong |= inside & ~np.isclose(edges[:, None], found, rtol=SAME, atol=0).any(axis=0)
    if wrong.any() or (np.diff(snapped) <= 0).any():
        bad = found[wrong] if wrong.any() else found
        raise GeometryError(
            f"energy_edges: {_shown(bad)} TeV found, edges of all datasets accepted: "
            f"{'; '.join(dict.fromkeys(_shown(edges) for edges in axes))} TeV: bins can be joined, not divided"
        )
    return np.asarray(snapped)


def _shown(edges: Floats) -> str:
    return str([float(f"{edge:.6g}") for edge in edges])


def _grouped(reached: Sequence[_Bins], edges: Floats) -> list[list[Floats]]:
    """On, off, alpha, others and signal of the bins that count, of each point."""
    from xonoff.stats.norms import counts_for_norm

    groups = []
    for low, high in zip(edges[:-1] * (1 - SAME), edges[1:] * (1 + SAME), strict=True):
        parts = []
        for bins in reached:
            inside = (bins.edges[:-1] >= low) & (bins.edges[1:] <= high)
            arrays = [array[:, inside] for array in bins[:5]]
            used = counts_for_norm(*arrays)
            parts.append([array[used] for array in arrays])
        groups.append([np.concatenate(arrays) for arrays in zip(*parts, strict=True)])
    return groups


# -- norms ------------------------------------------------------------------------------------------------------------


def _fitted(groups: list[list[Floats]], scan: Floats | None, n_sigma: float, n_sigma_ul: float) -> dict[str, Floats]:
    """Norms and what follows from them, of each group of bins."""
    from xonoff.stats.norms import fit_norms, norm_profile

    bins = [np.concatenate(arrays) for arrays in zip(*groups, strict=True)]
    stops = np.cumsum([arrays[0].size for arrays in groups]).tolist()
    norms = fit_norms(bins, stops, n_sigma=n_sigma, n_sigma_ul=n_sigma_ul)
    if scan is None:
        scan = _scan(norms.norm, norms.errn / n_sigma, norms.errp / n_sigma)
    with np.errstate(invalid="ignore"):
        ts = np.maximum(norms.stat_null - norms.stat, 0.0)
    predicted = []
    for (on, off, alpha, other, signal), norm in zip(groups, norms.norm, strict=True):
        expected = other + norm * signal
        with np.errstate(invalid="ignore"):
            background = alpha * stats.wstat_mu_off(on, off, alpha, expected)
        total = float(np.sum(np.maximum(expected + background, 0.0))) if on.size else np.nan
        predicted.append((float(on.sum()), total, float(signal.sum())))
    counts, npred, ref_npred = np.array(predicted).T
    return {
        **{f"norm{end}": getattr(norms, end.strip("_") or "norm") for end in ("", "_err", "_errn", "_errp", "_ul")},
        "ts": ts,
        "sqrt_ts": np.copysign(np.sqrt(ts), norms.norm),
        "stat": norms.stat,
        "stat_null": norms.stat_null,
        "stat_scan": norm_profile(bins, stops, scan),
        "norm_scan": scan,
        "counts": counts,
        "npred": npred,
        "npred_signal": norms.norm * ref_npred,
        "ref_npred": ref_npred,
        "success": np.isfinite(norms.norm),
    }


def _scan(norm: Floats, errn: Floats, errp: Floats) -> Floats:
    """Norms for the profiles of all points: each point itself, around it as densely as its errors ask for, 0 and 1."""
    found = np.unique(np.concatenate([norm[np.isfinite(norm)], [0.0, 1.0]]))
    for number in np.argsort(errn + errp):  # the narrow ones first: the wide ones need few more
        for times in SCAN:
            error = errn[number] if times < 0 else errp[number]
            at = norm[number] + times * error
            if np.isfinite(at) and np.abs(found - at).min() > NEAR * error:
                found = np.append(found, at)
    return np.unique(found)


def _checked_scan(norms: Value) -> Floats:
    found = np.atleast_1d(floats_in(norms, ""))
    if found.ndim != 1 or not found.size or not np.isfinite(found).all() or (np.diff(found) <= 0).any():
        raise SchemaError(f"norm_scan: {found!s:.80} found, finite norms in increasing order accepted")
    return found
