"""Datasets of gammapy and of xonoff, each as the other, in memory.

`to_gammapy` and `from_gammapy` hand over arrays, not files: values, edges and the sky keep their last bit, and arrays
are shared where their layout allows. What the data model has no place for (the metadata of gammapy) is kept as text in
``attrs["gammapy"]``; tables and times are in `xonoff.interop.gammapy_tables`. What has no place in gammapy is refused.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.axes import axis_coords, axis_edges
from xonoff.errors import FormatError, GeometryError, ModelError, SchemaError
from xonoff.geometry import own_grid, sky_grid
from xonoff.interop.gammapy_tables import gti_of, meta_of, meta_text, observations_of, table_of, times_of
from xonoff.interop.regions import parse_region
from xonoff.interop.wcs import from_wcs, to_wcs
from xonoff.io.fits import COUNT_UNITS, SQUASHED, _sky_of, _squashed_axis
from xonoff.io.project import to_dict
from xonoff.quantities import ON_OFF
from xonoff.region import region_center, region_text
from xonoff.schema import AXES, CONVENTIONS, VARIABLES, Variable, faults
from xonoff.skygrid import SkyGrid
from xonoff.units import unit_factor, value_in

if TYPE_CHECKING:
    from gammapy.datasets import MapDataset

__all__ = ["from_gammapy", "to_gammapy"]

TEXT = np.dtypes.StringDType()
RESPONSES = ("psf", "edisp")


def to_gammapy(ds: xr.Dataset) -> "MapDataset":
    """Dataset of gammapy with the arrays, masks, response, intervals, observations and models of a dataset.

    A dask dataset is computed. Arrays are shared, not copied.

    Parameters
    ----------
    ds : Dataset

    Returns
    -------
    MapDatasetOnOff, SpectrumDatasetOnOff, MapDataset or SpectrumDataset
        With off counts or acceptances the first two, else the others. A response that is the same everywhere becomes
        a map of one pixel; an ``exposure``, mask or acceptance without pixels gets those of the counts. Variables that
        the data model does not name are left out.

    Raises
    ------
    SchemaError, GeometryError
        If the dataset does not follow the data model, or holds what gammapy has no place for: ``mask_fault``, a
        ``background`` beside off counts.
    ModelError
        If gammapy has no such model, see `xonoff.io.model_yaml`.

    Examples
    --------
    >>> import xonoff
    >>> theirs = to_gammapy(xonoff.tutorial.dataset())  # doctest: +SKIP
    >>> theirs.counts.geom.axes.names, float(theirs.counts.data.sum())  # doctest: +SKIP
    (['energy'], 3680.0)
    """
    from gammapy import datasets, irf
    from gammapy.modeling.models import Models

    from xonoff.io.model_yaml import models_to_dict
    from xonoff.models.assigned import models_of

    _check(ds)
    ds = ds.compute()
    extra = _extra(ds)
    maps = {name: _map(ds, name, extra) for name in VARIABLES if name in ds}
    if "livetime" in ds.variables and "exposure" in maps:
        from astropy import units as u

        maps["exposure"].meta["livetime"] = float(ds["livetime"].sum()) * u.s
    kinds = {
        "psf": irf.RecoPSFMap if "psf" in ds and "energy" in ds["psf"].dims else irf.PSFMap,
        "edisp": irf.EDispMap if "edisp" in ds and "migra" in ds["edisp"].dims else irf.EDispKernelMap,
    }
    for name, response in kinds.items():
        weight = maps.pop(f"{name}_exposure", None)
        if name in maps:
            maps[name] = response(maps[name], weight)
    kind = to_dict(ds)["type"]
    if extra.get("type") == kind.replace("Spectrum", "Map"):  # of one region, with a PSF perhaps
        kind = extra["type"]
    others = {"gti": gti_of(ds), "meta_table": table_of(ds), "meta": meta_of(extra.get("meta"))}
    others |= {"stat_type": extra["stat_type"]} if "stat_type" in extra else {}
    dataset = getattr(datasets, kind)(name=str(ds.attrs.get("name") or "") or None, **maps, **others)
    models = models_of(ds)
    if models:
        dataset.models = Models.from_dict(models_to_dict(models))
    return dataset


def from_gammapy(dataset: "MapDataset", *, models: bool = True) -> xr.Dataset:
    """Dataset with the arrays, masks, response, intervals, observations and models of one of gammapy.

    Parameters
    ----------
    dataset : MapDatasetOnOff, SpectrumDatasetOnOff, MapDataset or SpectrumDataset
        Off counts are taken as they are; see `xonoff.open_dataset` for those of rings made by FFT.
    models : bool
        Take its models too.

    Returns
    -------
    Dataset
        In memory. Arrays are shared where they are in the unit and byte order of this machine and the data model.

    Raises
    ------
    SchemaError
        If it is no such dataset, or a mask is neither 0 nor 1; names the map.
    GeometryError
        If maps disagree in their axes or pixels, or have HEALPix pixels; names the map.
    ModelError
        If a model is none that xonoff has too, such as a background model of gammapy: leave them out by
        ``models=False``.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> from_gammapy(to_gammapy(ds)).counts.equals(ds.counts)  # doctest: +SKIP
    True
    """
    from gammapy.datasets import MapDataset

    if not isinstance(dataset, MapDataset):
        raise SchemaError(
            f"a {type(dataset).__name__} found, a MapDataset, MapDatasetOnOff, SpectrumDataset or SpectrumDatasetOnOff "
            "of gammapy accepted"
        )
    parts = _Parts()
    for name, found in _maps_of(dataset):
        parts.add(name, found)
    if not any(VARIABLES[name].axes == (("energy",),) for name in parts.variables):
        raise SchemaError(f"dataset {dataset.name!r}: no map of counts, background, acceptance or mask found")
    coords = parts.coords | times_of(dataset.gti) | observations_of(dataset.meta_table)
    livetime = None if dataset.exposure is None else dataset.exposure.meta.get("livetime")
    if livetime is not None and "livetime" not in coords:
        seconds = value_in(livetime, "s")
        one = len(coords["obs_id"]) == 1 if "obs_id" in coords else True
        coords["livetime"] = xr.Variable("obs" if one else (), [seconds] if one else seconds, {"units": "s"})
    extra: dict[str, Any] = {"interp": parts.interp, "maps": parts.meta, "meta": meta_text(dataset.meta)}
    extra |= {"ends": parts.ends, "stat_type": dataset.stat_type if dataset.stat_type not in ("cash", "wstat") else ""}
    ds = xr.Dataset(parts.variables, coords, {"name": str(dataset.name), "Conventions": CONVENTIONS})
    extra["type"] = "" if dataset.tag == to_dict(ds)["type"] else dataset.tag
    kept = {key: value for key, value in extra.items() if value}
    if kept:
        ds.attrs["gammapy"] = json.dumps(kept)
    found = faults(ds)
    if found:
        raise SchemaError(f"dataset {dataset.name!r}: {'; '.join(found)}")
    return _with_models(ds, dataset) if models and dataset.models is not None else ds


def _with_models(ds: xr.Dataset, dataset: Any) -> xr.Dataset:
    from xonoff.io.model_yaml import models_from_dict
    from xonoff.models.assigned import assign_models

    try:
        return assign_models(ds, models_from_dict(dataset.models.to_dict(full_output=True), dataset.name))
    except (FormatError, ModelError) as error:
        raise ModelError(f"dataset {dataset.name!r}: {error}: or leave its models out by models=False") from error


# -- to gammapy -------------------------------------------------------------------------------------------------------


def _check(ds: xr.Dataset) -> None:
    """Refuse what gammapy has no place for."""
    found = faults(ds)
    if found:
        raise SchemaError(f"the dataset has {len(found)} faults:\n- " + "\n- ".join(found))
    if not any(name in ds for name in VARIABLES):
        raise SchemaError(f"the dataset has none of the variables {list(VARIABLES)}")
    if "mask_fault" in ds:
        raise SchemaError(
            "mask_fault: gammapy has no place for it: put it into the mask with "
            "ds.assign(mask_safe=ds.mask_safe & ~ds.mask_fault).drop_vars('mask_fault')"
        )
    beside = [name for name in ON_OFF[1:] if name in ds]
    if "background" in ds and beside:
        raise SchemaError(
            f"background: a template beside {beside} found, which no dataset of gammapy holds: drop it, or drop these "
            "for a MapDataset"
        )


def _extra(ds: xr.Dataset) -> dict[str, Any]:
    """What `from_gammapy` kept for the way back."""
    try:
        extra = json.loads(ds.attrs.get("gammapy", "{}"))
    except (TypeError, ValueError) as error:
        raise SchemaError(f"attrs['gammapy']: JSON of from_gammapy accepted: delete it ({error})") from error
    if not isinstance(extra, dict):
        raise SchemaError(f"attrs['gammapy']: a {type(extra).__name__} found, JSON of from_gammapy accepted: delete it")
    return extra


def _map(ds: xr.Dataset, name: str, extra: dict[str, Any]) -> Any:
    """Map of gammapy of a variable."""
    from gammapy.maps import MapAxis, RegionGeom, RegionNDMap, WcsGeom, WcsNDMap

    array = ds[name].variable
    edges = {str(dim): axis_edges(ds, str(dim)) for dim in array.dims if dim in AXES}
    squashed = _squashed_axis(ds, name)
    if squashed:
        edges[squashed] = np.asarray(extra.get("ends", {}).get(name, axis_edges(ds, squashed)[[0, -1]]), np.float64)
    interp = {axis: AXES[axis].scale for axis in edges} | extra.get("interp", {})
    axes = [
        MapAxis(values, interp=interp[axis], name=axis, unit="" if AXES[axis].units == "1" else AXES[axis].units)
        for axis, values in reversed(edges.items())
    ]
    unit = "" if VARIABLES[name].units == "1" else VARIABLES[name].units
    meta = dict(extra.get("maps", {}).get(name, {}))
    if "wcs" not in ds.coords and not own_grid(ds, name):
        region = parse_region(str(ds["region"].values)) if "region" in ds.coords else None
        kept = {axis: len(values) - 1 for axis, values in edges.items()}
        data = array.set_dims({**kept, **array.sizes}).transpose(*kept).values
        return RegionNDMap(RegionGeom(region, axes=axes), data=data[..., None, None], unit=unit, meta=meta)
    shared = VARIABLES[name].grid in ("", "exposure") and not own_grid(ds, name)  # with the pixels of the counts
    sky = sky_grid(ds) if shared else _sky_of(ds, name)
    sizes = {axis: len(values) - 1 for axis, values in edges.items()}
    sizes |= dict(zip(sky.dims(own_grid(ds, name)), sky.shape, strict=True))
    data = array.set_dims({**sizes, **array.sizes}).transpose(*sizes).values
    geom = WcsGeom(to_wcs(sky), npix=sky.shape[::-1], axes=axes)
    return WcsNDMap(geom, data=data, unit=unit, meta=meta)


# -- from gammapy -----------------------------------------------------------------------------------------------------


def _maps_of(dataset: Any) -> Iterator[tuple[str, Any]]:
    """Maps of a dataset by the names of our variables, those on the pixels of the counts first."""
    from gammapy.datasets import MapDatasetOnOff

    own = ("counts_off", "acceptance", "acceptance_off") if isinstance(dataset, MapDatasetOnOff) else ("background",)
    for name in ("counts", *own, "mask_safe", "mask_fit", "exposure"):
        if getattr(dataset, name) is not None:
            yield name, getattr(dataset, name)
    for name in RESPONSES:
        response = getattr(dataset, name)
        if response is not None:
            yield name, getattr(response, f"{name}_map")
            if response.exposure_map is not None:
                yield f"{name}_exposure", response.exposure_map


class _Parts:
    """Variables and coordinates gathered from the maps of a dataset, axes and sky grids checked against the rest."""

    def __init__(self) -> None:
        self.variables: dict[str, xr.Variable] = {}
        self.coords: dict[str, xr.Variable] = {}
        self.edges: dict[str, npt.NDArray[np.float64]] = {}
        self.grids: dict[str, SkyGrid] = {}
        self.interp: dict[str, str] = {}
        self.meta: dict[str, dict[str, Any]] = {}
        self.ends: dict[str, list[float]] = {}

    def add(self, name: str, found: Any) -> None:
        """Add a map as a variable."""
        variable = VARIABLES[name]
        names = [str(axis.name) for axis in reversed(list(found.geom.axes))]
        squashed = [axis for axis in names if axis in SQUASHED.get(name, ())]
        kept = tuple(axis for axis in names if axis not in squashed)
        if kept not in variable.axes or any(found.geom.axes[axis].nbin != 1 for axis in squashed):
            raise GeometryError(f"{name}: axes {names} found, {' or '.join(map(str, variable.axes))} accepted")
        for axis in kept:
            self.add_axis(name, found.geom.axes[axis])
        for axis in squashed:  # the one bin that is left of an axis, by its ends
            ends = _edges(found.geom.axes[axis])
            if axis in self.edges and not np.allclose(ends, self.edges[axis][[0, -1]], rtol=1e-9, atol=0):
                self.ends[name] = ends.tolist()
        sky = self.add_sky(variable, found.geom)
        data = self.converted(variable, found)
        data = data if sky else data[..., 0, 0]
        attrs = {"units": variable.units} if variable.units else {}
        array = xr.Variable((*names, *sky), data, {**attrs, "long_name": variable.description})
        self.variables[name] = array.isel(dict.fromkeys(squashed, 0))
        meta = {key: _plain(value) for key, value in (found.meta or {}).items() if key != "livetime"}
        if meta:
            self.meta[name] = meta

    def add_axis(self, name: str, axis: Any) -> None:
        """Add an axis, or check it against the same one of an earlier map."""
        edges = _edges(axis)
        known = self.edges.setdefault(axis.name, edges)
        if len(known) != len(edges) or not np.allclose(known, edges, rtol=1e-6, atol=0):
            raise GeometryError(f"{name}: axis {axis.name} with edges {edges} found, but {known} in another map")
        self.coords |= axis_coords(axis.name, known)
        if axis.interp != AXES[axis.name].scale:
            self.interp[axis.name] = axis.interp

    def add_sky(self, variable: Variable, geom: Any) -> tuple[str, ...]:
        """Add the sky grid of a map, or find it among those known; returns the names of its dimensions."""
        if geom.is_region:
            if not variable.grid and "region" not in self.coords and geom.region is not None:
                self.coords |= _region_coords(geom.region, str(geom.frame))
            return ()
        if geom.is_hpx or not geom.is_regular:
            raise GeometryError(
                f"{variable.name}: HEALPix pixels or pixels that differ with energy found, WCS accepted"
            )
        try:
            found = from_wcs(geom.wcs, geom.data_shape[-2:])
        except GeometryError as error:
            raise GeometryError(f"{variable.name}: {error}") from error
        for grid in dict.fromkeys(("", variable.grid)):
            known = self.grids.setdefault(grid, found) if grid == variable.grid else self.grids.get(grid)
            same = None if known is None else found.on(known)
            if known is not None and same is not None and (same.origin, same.shape) == (known.origin, known.shape):
                self.coords |= known.coords(grid)
                return known.dims(grid)
        known = self.grids[variable.grid]
        raise GeometryError(
            f"{variable.name}: its {found.shape} pixels are not the {known.shape} of the other maps: "
            f"{'; '.join(known.differences(found)) or 'they begin elsewhere'}"
        )

    def converted(self, variable: Variable, found: Any) -> npt.NDArray[Any]:
        """Array of a map in the unit, kind and byte order of ours."""
        data = np.asarray(found.data)
        data = data.astype(data.dtype.newbyteorder("="), copy=False)
        if variable.kind == "b":
            if data.dtype != bool and not np.isin(data, (0, 1)).all():
                raise SchemaError(f"{variable.name}: values other than 0 and 1 found, a mask accepted")
            return data.astype(bool, copy=False)
        unit = str(found.unit)
        if variable.units == "1" and unit in COUNT_UNITS:
            return data
        try:
            factor = unit_factor(unit, variable.units)
        except SchemaError as error:
            raise SchemaError(f"{variable.name}: {error}") from error
        return data if factor == 1 else data * data.dtype.type(factor)


def _edges(axis: Any) -> npt.NDArray[np.float64]:
    """Edges of an axis in the unit of ours."""
    # They come out of gammapy by way of their logarithms; where edges were given, it still has them.
    given = getattr(axis, "_nodes", None) if axis.node_type == "edges" else None
    values = np.asarray(axis.edges.value if given is None else given, dtype=np.float64)
    return values * unit_factor(str(axis.unit) or "1", AXES[axis.name].units)


def _region_coords(region: Any, frame: str) -> dict[str, xr.Variable]:
    sky = SkyGrid.create((0, 0), shape=(1, 1), pixel_size=1.0, frame="galactic" if frame == "galactic" else "icrs")
    lon, lat = region_center(region, sky)
    attrs = {"units": "deg", "frame": sky.frame}
    return {
        "lon": xr.Variable((), lon, {**attrs, "long_name": "longitude"}),
        "lat": xr.Variable((), lat, {**attrs, "long_name": "latitude"}),
        "region": xr.Variable((), np.array(region_text(region), dtype=TEXT), {"long_name": "on region"}),
    }


def _plain(value: Any) -> Any:
    """Value of the metadata of a map as JSON holds it."""
    value = getattr(value, "value", value) if getattr(value, "unit", None) == "" else value
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) and not hasattr(value, "unit") else value
    return value if isinstance(value, str | bool | int | float | list | dict | None) else str(value)
