"""TS map: a source of one spectrum and shape, put on every pixel of a map in turn, and what WStat says of its flux.

In each pixel the flux is that of the model times a norm, which alone is fitted, as `xonoff.sed.flux_points` does it for
one position and several energies. The signal is that of `xonoff.source.Source`, interpolated between the corners of
cells, see `xonoff.pattern`. The cells are those of the parent grid, so the numbers of a part of a map, or of a chunk of
a dask array with the pixels around it, are those of the whole.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff import quantities
from xonoff.axes import axis_edges, check_edges
from xonoff.cutout import cut_response
from xonoff.errors import GeometryError, ModelError, SchemaError
from xonoff.geometry import sky_dims, sky_grid
from xonoff.irf import Method, exposure_in
from xonoff.models import SkyModel, model_list, models_of
from xonoff.models.integration import integral
from xonoff.models.shapes import check_shape
from xonoff.pattern import Patterns, folded
from xonoff.predict import bins_of, chunks_of, signal_of
from xonoff.provenance import recorded
from xonoff.reach import CELL, own_grids, pixel_reach, without_sky
from xonoff.schema import MASKS
from xonoff.sed_columns import QUANTITIES, SUFFIXES, reference_fluxes, with_fluxes
from xonoff.skygrid import SkyGrid
from xonoff.source import reach_of
from xonoff.stats.threads import in_threads
from xonoff.units import CM2, Value, floats_in, value_in

__all__ = ["ts_map"]

Floats: TypeAlias = npt.NDArray[np.float64]
Window: TypeAlias = tuple[slice, slice]

#: Edges of energy are the same if they differ by less than this.
SAME = 1e-6


class _Scan(NamedTuple):
    """What all parts of a map have in common."""

    model: SkyModel
    sky: SkyGrid
    phase: tuple[int, int]
    n_sigma: float
    n_sigma_ul: float
    limits: bool
    interpolation: Method


@recorded
def ts_map(
    ds: xr.Dataset,
    model: SkyModel,
    *,
    others: SkyModel | Iterable[SkyModel] | None = None,
    energy_edges: Value | None = None,
    n_sigma: float = 1.0,
    n_sigma_ul: float = 2.0,
    limits: bool = True,
    interpolation: Method = "linear",
) -> xr.Dataset:
    r"""Fit the flux of a source at every pixel of a map.

    Parameters
    ----------
    ds : Dataset
        A map with counts, off counts, acceptances, ``exposure`` and what there is of the response.
    model : SkyModel
        Its spectrum is the reference; its shape is put on the centre of each pixel, wherever it is. A point, Gaussian,
        disk or shell.
    others : SkyModel or iterable of SkyModel, optional
        Other sources, which stay as they are; by default those that the dataset carries, but for one of the name of the
        model. ``[]`` for none.
    energy_edges : (float, float), TeV, optional
        Range of energies, of edges of the dataset; all by default.
    n_sigma : float
        Of ``err``, ``errn`` and ``errp``: WStat rises by its square.
    n_sigma_ul : float
        Of the upper limit: WStat rises by its square above its minimum.
    limits : bool
        Work out ``errn``, ``errp`` and ``ul`` too, which takes half of the time or more.
    interpolation : {"linear", "nearest"}
        As for `xonoff.predict.npred_signal`.

    Returns
    -------
    Dataset
        On the sky of the map: ``norm`` and ``flux`` (cm-2 s-1, of the range of energies), each with ``_err``,
        ``_errn``, ``_errp`` and ``_ul``; ``ts``, ``sqrt_ts`` (with the sign of the norm), ``stat``, ``stat_null``;
        ``npred_signal``, and ``ref_npred`` for a norm of 1. Numbers: ``ref_flux``, ``ref_dnde``, ``ref_eflux`` and
        ``ref_e2dnde``, which times a norm are fluxes too. NaN at a pixel that has no valid bin within the masks, or
        from which no counts are expected. Lazy where the dataset is: one task a chunk of the counts, which reads the
        pixels around it too.

    Raises
    ------
    ModelError
        If the model has no position, or its flux is not above 0.
    GeometryError
        If the dataset is no map, or the energies are not among its edges.
    SchemaError
        If a variable is missing, or an option is none.

    See Also
    --------
    xonoff.find_peaks : Find the sources of such a map.
    xonoff.flux_points : The same for one position, by energy.

    Notes
    -----
    For the source at a pixel, the norm is where :math:`\sum_i W_i(o_i + N s_i)` is least over the valid bins within the
    masks that it reaches, of the counts o of the others and s of the source. Where the flux alone is free,
    :math:`\sqrt{TS}` is a significance in standard deviations for a position that was known before.

    Of the events of each energy those 1e-4 are left out that are in the pixels with the fewest; the rest makes up for
    it. The signal is that of `xonoff.predict.npred_signal` to 1e-3 of its events. In maps of the whole sky only the
    bins on the side of the seam count that the pixel is on.

    References
    ----------
    Stewart (2009), A&A 495, 989, appendix A.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D
    >>> ds = xonoff.tutorial.dataset()
    >>> model = SkyModel("any", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(0, 0))
    >>> found = ts_map(ds, model)
    >>> brightest = found.sqrt_ts.argmax(("lat", "lon"))
    >>> there = found.isel(brightest)
    >>> float(there.lon.round(2)), float(there.lat.round(2)), float(there.norm.round(2)), int(there.sqrt_ts)
    (83.58, 21.96, 0.98, 63)
    """
    for name, value in {"n_sigma": n_sigma, "n_sigma_ul": n_sigma_ul}.items():
        if not 0 < value_in(value, "") < np.inf:
            raise SchemaError(f"{name}: {value!r} found, a positive number accepted")
    bins_of(ds, "local", interpolation)
    if len(sky_dims(ds)) != 2:
        raise GeometryError(
            f"a map with two sky dimensions is wanted, dimensions {tuple(ds.dims)} found: for a spectrum use "
            "ds.onoff.flux_points"
        )
    quantities.excess(ds.isel(energy=slice(0, 0)))  # refuses what is not complete
    _check_model(model, ds)
    ds, edges = _in_range(ds, energy_edges)
    references = reference_fluxes(model.spectral, edges)
    listed = models_of(ds) if others is None else model_list(others)
    rest = [other for other in listed if others is not None or other.name != model.name]
    other = signal_of(ds, rest, interpolation=interpolation)
    wanted = {*quantities.ON_OFF, *MASKS, "exposure"}
    angles = [name for name, c in ds.coords.items() if c.ndim == 2 and "bounds" not in c.dims]  # they need not be read
    cubes = ds.drop_vars([*(name for name in ds.data_vars if name not in wanted), *angles])
    if other is not None:
        cubes = cubes.assign(other=other.variable)
    sky = sky_grid(ds)
    phase = tuple(math.floor(first / step + 1e-6) for first, step in zip(sky.origin, sky.step, strict=True))
    setting = _Scan(
        model.copy(), sky, (phase[0], phase[1]), float(n_sigma), float(n_sigma_ul), bool(limits), interpolation
    )
    response = without_sky(own_grids(ds))
    if any(array.chunks is not None for array in (*cubes.variables.values(), *response.variables.values())):
        found = _lazy(ds, cubes, response, setting)
    else:
        found = _scanned(cubes, response, setting, (0, 0), (slice(0, sky.shape[0]), slice(0, sky.shape[1])))
    return _labelled(ds, found, references, edges, setting)


def _check_model(model: SkyModel, ds: xr.Dataset) -> None:
    """Refuse a model that cannot be put somewhere, or predicts nothing."""
    if not isinstance(model, SkyModel):
        raise ModelError(
            f"model: a {type(model).__name__} found, one xonoff.models.SkyModel(name, spectral, spatial) accepted"
        )
    shape = model.spatial
    if shape is None or "lon_0" not in shape.param_names:
        raise ModelError(
            f"{model.name}: {'no shape' if shape is None else f'a {type(shape).__name__}'} found, a shape with a "
            "position accepted, such as spatial=PointSource(0, 0) or GaussianSource(0, 0, 0.2)"
        )
    check_shape(shape)
    fluxes = integral(model.spectral, axis_edges(ds, "energy_true"))
    if not (fluxes >= 0).all() or not fluxes.any():
        raise ModelError(
            f"{model.name}: fluxes from {fluxes.min():g} to {fluxes.max():g} cm-2 s-1 of the true energies found, "
            "some above 0 and none below accepted"
        )


def _in_range(ds: xr.Dataset, wanted: Value | None) -> tuple[xr.Dataset, Floats]:
    """Dataset of a range of energies, and its ends."""
    edges = axis_edges(ds, "energy")
    if wanted is None:
        return ds, edges[[0, -1]]
    ends = check_edges("energy", np.atleast_1d(floats_in(wanted, "TeV")))
    numbers = np.abs(edges[:, None] - ends).argmin(axis=0)
    if ends.size != 2 or not np.allclose(edges[numbers], ends, rtol=SAME, atol=0) or numbers[0] == numbers[1]:
        raise GeometryError(
            f"energy_edges: {ends.tolist()} TeV found, two edges of the dataset accepted: "
            f"{[float(f'{edge:.6g}') for edge in edges]} TeV"
        )
    return ds.isel(energy=slice(int(numbers[0]), int(numbers[1]))), edges[numbers]


# -- a part of the map ------------------------------------------------------------------------------------------------


def _corners(setting: _Scan, wanted: Window) -> npt.NDArray[np.intp]:
    """First pixels (y, x) of the cells that hold the pixels wanted."""
    firsts = [
        np.arange((part.start + phase) // CELL, (part.stop - 1 + phase) // CELL + 1) * CELL - phase
        for part, phase in zip(wanted, setting.phase, strict=True)
    ]
    return np.stack(np.meshgrid(*firsts, indexing="ij"), axis=-1).reshape(-1, 2)


def _scanned(part: xr.Dataset, response: xr.Dataset, setting: _Scan, first: tuple[int, int], wanted: Window) -> Floats:
    """Fit the pixels wanted, (output, y, x), of a part of the map which begins at a pixel."""
    from xonoff.stats.scans import OUTPUTS

    arrays = _arrays(part, setting.sky)
    out = np.full((OUTPUTS, *(n.stop - n.start for n in wanted)), np.nan)

    def scan_cell(corner: npt.NDArray[np.intp]) -> None:
        _scan_cell(part, arrays, response, setting, first, wanted, (int(corner[0]), int(corner[1])), out)

    in_threads(scan_cell, _corners(setting, wanted))
    return out


def _scan_cell(
    part: xr.Dataset,
    arrays: dict[str, npt.NDArray[Any]],
    response: xr.Dataset,
    setting: _Scan,
    first: tuple[int, int],
    wanted: Window,
    corner: tuple[int, int],
    out: Floats,
) -> None:
    """Fit those of the pixels wanted that are in one cell."""
    from xonoff.stats import scans

    own = _around(setting.sky, corner, (0, 0))
    exposure = _exposure(part, first, own)
    asked = np.zeros((CELL, CELL), dtype=np.bool_)
    if exposure.any():
        asked[_within(own, corner)] = _window(arrays, exposure, first, own).inside
    for axis, n in enumerate(wanted):
        number = corner[axis] + np.arange(CELL)
        asked &= np.expand_dims((number >= n.start) & (number < n.stop), 1 - axis)
    if not asked.any():
        return
    patterns = Patterns(response, setting.model, setting.sky, corner, exposure.mean(axis=(1, 2)), setting.interpolation)
    cells = patterns.cells(asked)
    if not cells:
        return
    far = max(cell.pattern.row for cell in cells), max(cell.pattern.column for cell in cells)
    reached = _around(setting.sky, corner, far)
    exposure = _exposure(part, first, reached)
    window = _window(arrays, exposure, first, reached)
    for cell in cells:
        low = [max(n.start, at) for n, at in zip(wanted, (cell.y, cell.x), strict=True)]
        high = [min(n.stop, at + m) for n, at, m in zip(wanted, (cell.y, cell.x), cell.size, strict=True)]
        if low[0] >= high[0] or low[1] >= high[1]:
            continue
        rows, columns = (slice(a - n.start, b - n.start) for a, b, n in zip(low, high, wanted, strict=True))
        origin = cell.y - reached[0].start, cell.x - reached[1].start
        pattern, exposures = folded(cell, exposure, origin) or (cell.pattern, exposure)
        scans.scan(
            window._replace(exposure=exposures),
            pattern,
            origin,
            cell.size,
            (low[0] - cell.y, high[0] - cell.y, low[1] - cell.x, high[1] - cell.x),
            setting.n_sigma,
            setting.n_sigma_ul if setting.limits else 0.0,
            out[:, rows, columns],
        )


def _around(sky: SkyGrid, corner: tuple[int, int], reach: tuple[int, int]) -> Window:
    """Rows and columns of the map in a cell and so many pixels around it."""
    rows, columns = (
        slice(max(at - far, 0), min(at + CELL + far, n)) for at, far, n in zip(corner, reach, sky.shape, strict=True)
    )
    return rows, columns


def _within(part: Window, first: tuple[int, int]) -> Window:
    """Rows and columns of the map as those of a part of it."""
    return slice(part[0].start - first[0], part[0].stop - first[0]), slice(
        part[1].start - first[1], part[1].stop - first[1]
    )


def _exposure(part: xr.Dataset, first: tuple[int, int], window: Window) -> Floats:
    """Exposure of a window of the map, (energy_true, y, x), cm2 s."""
    return np.ascontiguousarray(np.moveaxis(exposure_in(part, *_within(window, first)), -1, 0)) * CM2


def _arrays(part: xr.Dataset, sky: SkyGrid) -> dict[str, npt.NDArray[Any]]:
    """Counts, acceptances, mask and counts of other sources of a part of the map, each (energy, y, x)."""
    dims = ("energy", *sky.dims())
    sizes = {dim: part.sizes[dim] for dim in dims}
    found = {name: part[name].variable for name in quantities.ON_OFF}
    found["mask"] = quantities.mask(part).variable
    found["other"] = part["other"].variable if "other" in part else xr.Variable((), 0.0)
    return {name: array.set_dims(sizes).transpose(*dims).values for name, array in found.items()}


def _window(arrays: dict[str, npt.NDArray[Any]], exposure: Floats, first: tuple[int, int], window: Window) -> Any:
    """Bins of a window of the map, see `xonoff.stats.scans.Window`."""
    from xonoff.stats import scans

    place = (slice(None), *_within(window, first))
    kinds: dict[str, Any] = {name: np.bool_ if name == "mask" else np.float64 for name in arrays}
    parts: list[Any] = [np.ascontiguousarray(array[place], dtype=kinds[name]) for name, array in arrays.items()]
    on, off, a_on, a_off, mask, other = parts
    return scans.fill_window(on, off, a_on, a_off, mask, other, exposure)


# -- dask -------------------------------------------------------------------------------------------------------------


def _lazy(ds: xr.Dataset, cubes: xr.Dataset, response: xr.Dataset, setting: _Scan) -> Any:
    """Fit of all pixels, (output, y, x), as dask arrays: one task for each chunk of the counts."""
    import dask.array as da
    from dask.delayed import delayed

    from xonoff.stats.scans import OUTPUTS

    sky, dims = setting.sky, setting.sky.dims()
    chunks = dict(zip(("energy", *dims), chunks_of(ds, bins_of(ds, "local", setting.interpolation)), strict=True))
    stops = [np.cumsum(chunks[dim]).tolist() for dim in dims]
    reach = reach_of(setting.model, ds)
    task = delayed(_scanned, pure=True)
    blocks: list[list[Any]] = []
    for y, ny in zip(stops[0], chunks[dims[0]], strict=True):
        blocks.append([])
        for x, nx in zip(stops[1], chunks[dims[1]], strict=True):
            wanted = slice(y - ny, y), slice(x - nx, x)
            corners = _corners(setting, wanted)
            far = pixel_reach(sky, corners, reach) + 1
            low, high = (corners - far).min(axis=0), (corners + CELL + far).max(axis=0)
            around = sky.window((int(low[0]), int(low[1])), (int(high[0]), int(high[1])))
            first = max(int(low[0]), 0), max(int(low[1]), 0)
            read = [slice(a, min(int(b), n)) for a, b, n in zip(first, high, sky.shape, strict=True)]
            part = cubes.isel(dict(zip(dims, read, strict=True)))
            found = task(part, cut_response(response, around), setting, first, wanted)
            blocks[-1].append(da.from_delayed(found, (OUTPUTS, ny, nx), float))
    return da.block(blocks)


# -- labels -----------------------------------------------------------------------------------------------------------


def _labelled(ds: xr.Dataset, found: Any, references: dict[str, Any], edges: Floats, setting: _Scan) -> xr.Dataset:
    """Dataset of what has been fitted, with units and words."""
    dims = setting.sky.dims()
    own = [name for name, c in ds.coords.items() if {*c.dims} <= {*dims} and (c.dims or name == "wcs")]
    coords = {name: ds.variables[name].transpose(*(dim for dim in dims if dim in ds[name].dims)) for name in own}
    for name, end in zip(("energy_min", "energy_max"), edges, strict=True):
        coords[name] = xr.Variable((), float(end), {"units": "TeV"})
    ends = list(SUFFIXES) if setting.limits else ["", "_err"]
    norms = {f"norm{end}": xr.Variable(dims, array) for end, array in zip(ends, found[: len(ends)], strict=True)}
    stat, null, counts = (xr.Variable(dims, array) for array in found[5:])
    ts = (null - stat).clip(min=0.0)
    numbers = {name: xr.Variable((), float(values[0])) for name, values in references.items()}
    fluxes = with_fluxes({**norms, "ref_flux": numbers["ref_flux"]})
    root = xr.Variable(dims, np.copysign(np.sqrt(ts.data), norms["norm"].data))
    arrays = {**fluxes, **numbers, "ts": ts, "sqrt_ts": root, "stat": stat, "stat_null": null}
    arrays |= {"npred_signal": norms["norm"] * counts, "ref_npred": counts}
    variables = {name: arrays[name].copy(deep=False) for name in QUANTITIES if name in arrays}
    for name, array in variables.items():
        array.attrs = {"units": QUANTITIES[name][0], "long_name": QUANTITIES[name][1]}
    attrs = {"source": setting.model.name, "n_sigma": setting.n_sigma, "n_sigma_ul": setting.n_sigma_ul}
    return xr.Dataset(variables, coords, attrs)
