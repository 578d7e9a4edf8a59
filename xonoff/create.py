"""New datasets: empty ones on given geometries, and on/off datasets from maps with a background and back.

`create` lays out everything from a few numbers; `from_geoms` takes the geometry of each response by itself.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.axes import axis_coords, check_edges
from xonoff.duck import chunked_like, small_values
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import Geom, same_grid, sky_dims
from xonoff.provenance import recorded
from xonoff.quantities import ON_OFF, background, on_bins
from xonoff.schema import CONVENTIONS, VARIABLES
from xonoff.skygrid import SkyGrid
from xonoff.typed import on_off
from xonoff.units import Value, value_in

__all__ = ["ResponseGeom", "copy", "create", "from_geoms", "from_map_dataset", "to_map_dataset"]

#: Edges of the offset axis of a PSF where none are given, deg.
RAD = np.linspace(0.0, 0.66, 67)
CUBES = ("counts", "counts_off", "acceptance", "acceptance_off", "mask_safe")


@dataclass(frozen=True)
class ResponseGeom:
    """Bins of one instrument response: its sky grid, and the edges of its axes.

    Attributes
    ----------
    sky : SkyGrid or None
        None for a response that is the same everywhere.
    axes : dict of str to array_like
        Edges by name, in the unit of the schema: ``energy_true`` for an exposure; that and ``rad`` (or ``energy`` and
        ``rad``) for a PSF; ``energy_true`` and ``migra`` for a dispersion, or ``energy_true`` alone for a kernel on the
        energy bins of the counts.

    Examples
    --------
    >>> ResponseGeom(None, {"energy_true": [1, 10]}).axes
    {'energy_true': [1, 10]}
    """

    sky: SkyGrid | None
    axes: dict[str, Value] = field(default_factory=dict)


@recorded
def create(
    geom: Geom,
    *,
    energy_true: Value,
    rad: Value | None = None,
    migra: Value | None = None,
    irf_pixel_size: Value = 0.2,
    reference_time: str = "2000-01-01",
    name: str | None = None,
    chunks: Any = None,
) -> xr.Dataset:
    """Dataset without events: all maps zero, nothing within ``mask_safe``.

    Parameters
    ----------
    geom : Geom
        Of the counts; one without a sky makes a spectrum, which has no PSF.
    energy_true : array_like, TeV
        Edges of true energy.
    rad : array_like, deg, optional
        Edges of the offset axis of the PSF; 66 bins up to 0.66 deg by default.
    migra : array_like, optional
        Edges of a migration axis; the dispersion is then a density in it, else a kernel. Either way it stands for a
        perfect measurement of energy until it is replaced.
    irf_pixel_size : angle, deg
        Pixel size of the sky grids of PSF and dispersion, which cover the map.
    reference_time : str
        Time from which intervals count in FITS, as long as there is none (TT).
    name : str, optional
    chunks : int, dict or "auto", optional
        Make dask arrays, as `xarray.Dataset.chunk` takes it: nothing is held in memory, whatever the size.

    Returns
    -------
    Dataset
        Arrays in float32.

    Examples
    --------
    >>> import xonoff
    >>> geom = Geom.create((83.63, 22.01), width=5.0, pixel_size=0.02, energy=xonoff.energy_edges(0.1, 100, n=20))
    >>> ds = create(geom, energy_true=xonoff.energy_edges(0.05, 200, n=30), chunks={})
    >>> ds.counts.shape, ds.psf.shape, float(ds.edisp.sum("energy").max().round(6))
    ((20, 250, 250), (30, 66, 25, 25), 1.0)
    """
    dispersion = {"energy_true": energy_true} | ({} if migra is None else {"migra": migra})
    exposure = ResponseGeom(geom.sky, {"energy_true": energy_true})
    if geom.sky is None:
        edisp, psf = ResponseGeom(None, dispersion), None
    else:
        coarse = _coarse(geom.sky, value_in(irf_pixel_size, "deg"))
        edisp = ResponseGeom(coarse, dispersion)
        psf = ResponseGeom(coarse, {"energy_true": energy_true, "rad": RAD if rad is None else rad})
    ds = from_geoms(geom, exposure, psf, edisp, name=name, chunks=chunks)
    try:
        when = str(np.datetime64(reference_time))
    except ValueError as error:
        raise SchemaError(f"reference_time: {reference_time!r} found, a date such as '2000-01-01' accepted") from error
    attrs = {"time_scale": "TT", "reference_time": when}
    none = np.array([], "datetime64[ns]")
    return ds.assign_coords({key: xr.Variable("gti", none, attrs) for key in ("gti_start", "gti_stop")})


@recorded
def from_geoms(
    geom: Geom,
    geom_exposure: ResponseGeom | None = None,
    geom_psf: ResponseGeom | None = None,
    geom_edisp: ResponseGeom | None = None,
    *,
    name: str | None = None,
    chunks: Any = None,
) -> xr.Dataset:
    """Dataset without events, with each response on a geometry of its own; see `create`.

    Parameters
    ----------
    geom : Geom
        Of the counts.
    geom_exposure, geom_psf, geom_edisp : ResponseGeom, optional
        A response without geometry is left out.
    name, chunks
        As for `create`.

    Returns
    -------
    Dataset

    Raises
    ------
    GeometryError
        If an axis is missing or unknown, or two responses differ in one.

    Examples
    --------
    >>> geom = Geom.create((0, 0), width=1.0, pixel_size=0.1, energy=[1, 10], frame="galactic")
    >>> ds = from_geoms(geom, geom_psf=ResponseGeom(None, {"energy_true": [1, 10], "rad": [0, 0.1, 0.2]}))
    >>> ds.psf.dims, "exposure" in ds
    (('energy_true', 'rad'), False)
    """
    if not isinstance(geom, Geom):
        raise GeometryError(f"geom: a {type(geom).__name__} found, a Geom accepted: make one with xonoff.Geom.create")
    _check_name(name)
    coords = geom.coords()
    edges: dict[str, npt.NDArray[np.float64]] = {"energy": np.array(geom.energy)}
    maps: dict[str, tuple[str, ...]] = dict.fromkeys(CUBES, geom.dims)
    for key, response in (("exposure", geom_exposure), ("psf", geom_psf), ("edisp", geom_edisp)):
        if response is None:
            continue
        axes = _axes(key, response, edges)
        sky = _sky(key, response.sky, geom.sky, coords)
        maps[key] = (*axes, *sky)
        if key != "exposure":
            maps[f"{key}_exposure"] = (axes[0], *sky)
    for axis, values in edges.items():
        coords |= axis_coords(axis, values)
    sizes = {str(dim): n for v in coords.values() for dim, n in v.sizes.items()}
    _check_chunks(chunks, sizes)
    variables = {key: _zeros(key, dims, sizes, chunks) for key, dims in maps.items()}
    if "edisp" in variables:
        variables["edisp"] = _perfect(variables["edisp"], edges)
    attrs = {"name": name or "", "Conventions": CONVENTIONS}
    return xr.Dataset(variables, chunked_like(coords, variables.values()), attrs)


@recorded
def from_map_dataset(ds: xr.Dataset, acceptance: Any, acceptance_off: Any, counts_off: Any = None) -> xr.Dataset:
    """On/off dataset from a dataset with counts.

    Parameters
    ----------
    ds : Dataset
        With ``counts``, and with ``background`` if no off counts are given.
    acceptance, acceptance_off : float, array_like or DataArray
        Relative exposures, one for all bins or on the bins of the counts.
    counts_off : float, array_like or DataArray, optional
        By default ``background / alpha``, the off counts that make this background; 0 where the background is 0, and
        NaN where it lacks the acceptance.

    Returns
    -------
    Dataset
        With the on/off variables in the place of ``background``; all else is kept, and shared with ``ds`` as by
        `xarray.Dataset.assign`.

    Raises
    ------
    SchemaError
        If there are neither off counts nor a background, an array has another shape than the counts, or a single
        acceptance is not positive.
    GeometryError
        If an array is on another sky grid, or has other energies.

    Examples
    --------
    >>> import xonoff
    >>> ds = to_map_dataset(xonoff.tutorial.dataset())
    >>> on_off = from_map_dataset(ds, 1.0, 10.0)
    >>> float(on_off.onoff.alpha.max()), bool(np.isclose(on_off.onoff.background.sum(), ds.background.sum()))
    (0.1, True)
    """
    if not isinstance(ds, xr.Dataset) or "counts" not in ds:
        raise SchemaError("the dataset has no counts (events in the on region): add them with ds.assign")
    if counts_off is None and "background" not in ds:
        raise SchemaError(
            "neither off counts nor a background found: give counts_off, or a dataset with background, of which they "
            "are made"
        )
    for key, value in (("acceptance", acceptance), ("acceptance_off", acceptance_off)):
        if isinstance(value, int | float | np.number) and not 0 < value < np.inf:
            raise SchemaError(
                f"{key}: {value} found, a positive number, or an array on the bins of the counts, accepted"
            )
    a_on, a_off = (_on_bins(ds, key, v) for key, v in (("acceptance", acceptance), ("acceptance_off", acceptance_off)))
    if counts_off is None:
        template = ds.variables["background"].astype(np.float64)
        off = (template * (a_off / a_on.where(a_on > 0))).where(template != 0, 0)
    else:
        off = _on_bins(ds, "counts_off", counts_off)
    new = {"counts_off": off, "acceptance": a_on, "acceptance_off": a_off}
    for key, array in new.items():
        array.attrs = {"units": "1", "long_name": VARIABLES[key].description}
    return ds.drop_vars("background", errors="ignore").assign(new)


@recorded
def to_map_dataset(ds: xr.Dataset) -> xr.Dataset:
    """Dataset with ``background`` (``alpha * counts_off``) in the place of off counts and acceptances.

    All else is shared with ``ds``, as by `xarray.Dataset.assign`.

    Parameters
    ----------
    ds : Dataset

    Returns
    -------
    Dataset

    Examples
    --------
    >>> import xonoff
    >>> sorted(set(xonoff.tutorial.dataset()) ^ set(to_map_dataset(xonoff.tutorial.dataset())))
    ['acceptance', 'acceptance_off', 'background', 'counts_off']
    """
    template = background(ds).variable
    template.attrs = {"units": "1", "long_name": VARIABLES["background"].description}
    return ds.drop_vars(ON_OFF[1:]).assign(background=template)


@on_off
def copy(ds: xr.Dataset, name: str | None = None) -> xr.Dataset:
    """Copy of a dataset with arrays of its own, under a new name if one is given.

    Parameters
    ----------
    ds : Dataset
    name : str, optional

    Returns
    -------
    Dataset

    Examples
    --------
    >>> import xonoff
    >>> copy(xonoff.tutorial.dataset(), "crab").onoff.name
    'crab'
    """
    _check_name(name)
    new = ds.copy(deep=True)
    return new if name is None else new.assign_attrs(name=name)


# -- how it is done ---------------------------------------------------------------------------------------------------


def _check_name(name: Any) -> None:
    if name is not None and not isinstance(name, str):
        raise SchemaError(f"name: {name!r} found, text accepted")


def _check_chunks(chunks: Any, sizes: dict[str, int]) -> None:
    """Refuse chunks that dask would refuse less clearly, or that name no dimension."""
    if isinstance(chunks, dict):
        unknown = [dim for dim in chunks if dim not in sizes]
        if unknown:
            raise SchemaError(f"chunks: dimension {unknown[0]!r} found, {tuple(sizes)} accepted")
    elif chunks is not None and chunks != "auto" and (isinstance(chunks, bool) or not isinstance(chunks, int)):
        raise SchemaError(f"chunks: {chunks!r} found, a whole number, 'auto' or {{dimension: size}} accepted")


def _coarse(sky: SkyGrid, size: float) -> SkyGrid:
    """Grid of larger pixels that covers a map, in its projection."""
    if not 0 < size < np.inf:
        raise GeometryError(f"irf_pixel_size: a positive angle is wanted, {size} deg found")
    ratios = [size / scale for scale in sky.pixel_scales]
    shape = tuple(max(int(np.ceil(n / ratio - 1e-6)), 1) for n, ratio in zip(sky.shape, ratios, strict=True))
    middle = [(n - 1) / 2 - (m - 1) / 2 * ratio for n, m, ratio in zip(sky.shape, shape, ratios, strict=True)]
    origin = [o + s * m for o, s, m in zip(sky.origin, sky.step, middle, strict=True)]
    step = [s * ratio for s, ratio in zip(sky.step, ratios, strict=True)]
    coarse = SkyGrid(sky.header, (shape[0], shape[1]), (origin[0], origin[1]), (step[0], step[1]))
    return SkyGrid.from_header(coarse.cards, coarse.shape)


def _axes(key: str, response: ResponseGeom, edges: dict[str, npt.NDArray[np.float64]]) -> tuple[str, ...]:
    """Names of the axes of a response in order; its edges are added to those known, or held against them."""
    given = dict(response.axes)
    accepted = VARIABLES[key].axes
    if key == "edisp" and "migra" not in given:
        given.setdefault("energy", edges["energy"])
    found = next((axes for axes in accepted if set(axes) == set(given)), None)
    if found is None:
        raise GeometryError(f"{key}: axes {sorted(given)} found, {' or '.join(map(str, accepted))} accepted")
    for axis in found:
        values = check_edges(axis, given[axis])
        known = edges.setdefault(axis, values)
        if known.shape != values.shape or not np.allclose(known, values, rtol=1e-9, atol=0):
            raise GeometryError(f"{key}: {axis} with edges {values} found, {known} elsewhere: give the same to all")
    return found


def _sky(key: str, sky: SkyGrid | None, counts: SkyGrid | None, coords: dict[str, xr.Variable]) -> tuple[str, ...]:
    """Sky dimensions of a response, whose coordinates are added."""
    if sky is None:
        return ()
    if counts is None:
        raise GeometryError(f"{key}: a sky grid found, but the counts have none: give a ResponseGeom without a sky")
    grid = "" if key == "exposure" and sky == counts else key
    coords |= sky.coords(grid)
    return sky.dims(grid)


def _zeros(key: str, dims: tuple[str, ...], sizes: dict[str, int], chunks: Any) -> xr.Variable:
    dtype = bool if VARIABLES[key].kind == "b" else np.float32
    shape = tuple(sizes[dim] for dim in dims)
    attrs = {"units": VARIABLES[key].units} if VARIABLES[key].units else {}
    attrs["long_name"] = VARIABLES[key].description
    if chunks is None:
        return xr.Variable(dims, np.zeros(shape, dtype), attrs)
    import dask.array as da

    by_dim = chunks if not isinstance(chunks, dict) else tuple(chunks.get(dim, "auto") for dim in dims)
    return xr.Variable(dims, da.zeros(shape, dtype=dtype, chunks=by_dim), attrs)


def _perfect(array: xr.Variable, edges: dict[str, npt.NDArray[np.float64]]) -> xr.Variable:
    """Energy dispersion that measures energy perfectly: of bins that overlap, or at a migration of 1."""
    true = edges["energy_true"]
    if "migra" in array.dims:
        migra = edges["migra"]
        holds = (migra[:-1] <= 1) & (migra[1:] > 1)
        if not holds.any():
            raise GeometryError(f"migra: edges {migra} found, 1 has to lie in one of the bins")
        matrix = np.broadcast_to(holds / np.diff(migra), (len(true) - 1, len(migra) - 1))
    else:
        reco = edges["energy"]
        low = np.maximum(true[:-1, None], reco[:-1])
        matrix = np.maximum(np.minimum(true[1:, None], reco[1:]) - low, 0) / np.diff(true)[:, None]
    filled = (array + xr.Variable(array.dims[:2], matrix.astype(np.float32))).transpose(*array.dims)
    filled.attrs = array.attrs
    return filled


def _on_bins(ds: xr.Dataset, key: str, value: Any) -> xr.Variable:
    """A number or an array on the bins of the counts."""
    counts = ds["counts"]
    if isinstance(value, xr.DataArray):
        if sky_dims(value) and "wcs" in value.coords:
            same_grid(value, ds)
        for axis in {"energy", "lat", "lon"} & set(counts.dims):  # bounds do not travel with an array, centres do
            own, other = (array.coords.get(axis) for array in (counts, value))
            if own is None or other is None or own.shape != other.shape:
                continue
            if not np.allclose(small_values(own), small_values(other), rtol=1e-6, atol=1e-9):
                raise GeometryError(
                    f"{key}: its {axis} is {small_values(other)}, that of the counts {small_values(own)}: give an "
                    "array on the bins of the counts"
                )
    array = on_bins(key, value.variable if isinstance(value, xr.DataArray) else np.asarray(value), counts)
    if not counts.chunks:
        wide: xr.Variable = array.set_dims(counts.sizes).transpose(*counts.dims)
        return wide.copy()
    lazy: xr.Variable = array.chunk().set_dims(counts.sizes).transpose(*counts.dims).chunk(counts.chunksizes)
    return lazy
