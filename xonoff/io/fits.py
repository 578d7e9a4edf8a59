"""On/off datasets as FITS, in the layout of gammapy 2.1 (gamma-astro-data-formats sky maps).

Every map is an image HDU and a ``<name>_BANDS`` table with the edges of its axes; ``GTI`` and ``META_TABLE`` tables
describe the observations. The HDU of a variable has its name, in upper case. Reading maps HDUs to variables without
touching pixel data: units, masks and off counts are converted when a part of an array is looked at.
"""

import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from xonoff.axes import axis_coords, axis_edges
from xonoff.errors import FormatError, GeometryError, SchemaError, XonoffError
from xonoff.geometry import own_grid, sky_grid
from xonoff.io.atomic import replacing
from xonoff.io.hdu import HDU, scan
from xonoff.io.hdu_writer import HDUWriter
from xonoff.schema import AXES, CONVENTIONS, GRIDS, MASKS, VARIABLES, Variable, faults, units
from xonoff.skygrid import SkyGrid
from xonoff.units import floats_in, unit_factor

__all__ = ["open_fits", "to_fits"]

#: Off counts this close to a whole number are meant to be it: rings summed by FFT leave counts such as -5e-6.
ROUNDING = 1e-3
#: Masks up to this size are checked for values other than 0 and 1 when a file is opened; larger ones stay unread.
CHECKED_MASK_BYTES = 2**24

#: First letters of the columns that hold an axis: "E_MIN" and "E_MAX" are the edges of "energy".
COLUMNS = {"E": "energy", "ENERGY": "energy", "ENERGY_TRUE": "energy_true", "RAD": "rad", "MIGRA": "migra"}
#: Axes that the exposure of a response keeps with one bin.
SQUASHED = {"psf_exposure": ("rad",), "edisp_exposure": ("energy", "migra")}
COUNT_UNITS = {"", "1", "ct", "count", "counts"}
_EPOCH = 40587  # MJD of 1970-01-01
_DAY = 86_400_000_000_000  # ns


# -- reading ----------------------------------------------------------------------------------------------------------


def open_fits(path: str | os.PathLike[str], *, round_counts_off: bool = True, checksum: bool = False) -> xr.Dataset:
    """Open a ``MapDatasetOnOff`` or ``MapDataset`` file, plain, gzipped or tile-compressed.

    Parameters
    ----------
    path : path
        File to read.
    round_counts_off : bool
        Round off counts within 0.001 of a whole number to it, and mistrust ``acceptance_off`` where a stack computed
        it from such a remainder of zero; both noted in ``attrs``.
    checksum : bool
        Read the whole file once and check the CHECKSUM and DATASUM of every HDU.

    Returns
    -------
    Dataset
        Arrays are read when they are looked at.

    Raises
    ------
    FormatError
        If the file is damaged or not of this layout; names the file, the HDU and the fault.
    """
    hdus: dict[str, HDU] = {}
    for hdu in scan(path, checksum=checksum):
        if hdu.name in hdus and hdu.name.lower() in VARIABLES:
            raise FormatError(f"{path}: HDU {hdu.name} is there twice: keep one")
        hdus.setdefault(hdu.name, hdu)
    images = {name: hdus[name.upper()] for name in VARIABLES if name.upper() in hdus}
    if not any(VARIABLES[name].axes == (("energy",),) and name not in MASKS for name in images):
        raise FormatError(
            f"{path}: no HDU COUNTS, COUNTS_OFF, ACCEPTANCE, ACCEPTANCE_OFF or BACKGROUND among {list(hdus)}: "
            "a MapDatasetOnOff or MapDataset file is accepted"
        )
    reader = _Reader(str(path), hdus)
    for name, hdu in images.items():
        reader.add_map(VARIABLES[name], hdu)
    reader.add_observations()
    if round_counts_off and "counts_off" in reader.variables:
        reader.round_counts_off()
    primary = hdus.get("")
    name = primary.header.get("NAME") if primary is not None else None
    attrs = {"name": str(name) if name else Path(path).name.split(".")[0], "Conventions": CONVENTIONS}
    ds = xr.Dataset(reader.variables, {k: v for k, v in reader.coords.items() if k not in AXES}, attrs)
    ds = ds.assign_coords({k: v for k, v in reader.coords.items() if k in AXES})
    found = faults(ds)
    if found:
        raise FormatError(f"{path}: {'; '.join(found)}")
    return ds


class _Reader:
    """Variables and coordinates gathered from the HDUs of one file, each axis and sky grid checked against the rest."""

    def __init__(self, path: str, hdus: Mapping[str, HDU]) -> None:
        self.path, self.hdus = path, hdus
        self.variables: dict[str, xr.Variable] = {}
        self.coords: dict[str, xr.Variable] = {}
        self.edges: dict[str, tuple[str, npt.NDArray[np.float64]]] = {}
        self.grids: dict[str, tuple[str, SkyGrid]] = {}

    def fault(self, hdu: HDU, message: str) -> FormatError:
        return FormatError(f"{self.path}: HDU {hdu.name}: {message}")

    def add_map(self, variable: Variable, hdu: HDU) -> None:
        """Add the image of one HDU as a variable."""
        if hdu.kind == "table":
            raise self.fault(hdu, "a table found, an image accepted")
        axes = self.axes(hdu)
        expected = tuple(len(edges) - 1 for edges in axes.values())[::-1]
        if len(hdu.shape) != len(expected) + 2 or hdu.shape[:-2] != expected:
            raise self.fault(hdu, f"shape {hdu.shape} found, ({', '.join(map(str, expected))}, lat, lon) by its bands")
        names = list(axes)[::-1]
        squashed = [name for name in names if name in SQUASHED.get(variable.name, ())]
        kept = tuple(name for name in names if name not in squashed)
        if kept not in variable.axes:
            raise self.fault(hdu, f"axes {tuple(names)} found, {' or '.join(map(str, variable.axes))} accepted")
        if any(len(axes[name]) != 2 for name in squashed):
            raise self.fault(hdu, f"axes {squashed} with more than one bin found, only one is accepted here")
        for name in kept:
            self.add_axis(name, axes[name], hdu)
        sky = self.add_sky(variable, hdu)
        data = self.convert(variable, hdu)
        array = xr.Variable((*names, *sky), data).isel(dict.fromkeys(squashed, 0))
        array.attrs = {"units": variable.units} if variable.units else {}
        array.attrs["long_name"] = variable.description
        array.encoding = _encoding(self.path, array)
        self.variables[variable.name] = array

    def axes(self, hdu: HDU) -> dict[str, npt.NDArray[np.float64]]:
        """Edges of the axes of an image by name, the fastest axis first."""
        header = hdu.header
        bands_name = str(header.get("BANDSHDU", "")).strip().upper()
        if not bands_name:
            raise self.fault(hdu, "card BANDSHDU is missing: it names the table of the energy axes")
        bands = self.hdus.get(bands_name)
        if bands is None or bands.kind != "table":
            raise self.fault(hdu, f"card BANDSHDU = {bands_name!r}, but the file has no such table")
        names = []
        number = 1
        while f"AXCOLS{number}" in header:
            names.append([column.strip() for column in str(header[f"AXCOLS{number}"]).upper().split(",")])
            number += 1
        if not names:
            raise self.fault(hdu, "card AXCOLS1 is missing: it names the columns with the edges of an axis")
        table, table_units = bands.table(), bands.units
        axes: dict[str, npt.NDArray[np.float64]] = {}
        repeat = 1
        for i, columns in enumerate(names):
            stem = columns[0].removesuffix("_MIN")
            axis = COLUMNS.get(stem)
            if axis is None or axis in axes:
                raise self.fault(hdu, f"card AXCOLS{i + 1} = {','.join(columns)!r}: an axis of {list(COLUMNS)} is wanted")
            for column in columns:
                if column not in table:
                    raise self.fault(bands, f"column {column} is missing, {list(table)} found")
            values = [self.column(bands, table, table_units, column, AXES[axis].units) for column in columns]
            lo = values[0]
            size = _axis_size(lo, repeat)
            for column, value in zip(columns, values, strict=True):
                value_of_bin = value[: repeat * size : repeat]
                if not np.array_equal(value, np.resize(np.repeat(value_of_bin, repeat), value.shape)):
                    raise self.fault(bands, f"column {column} is no regular axis: the fastest axis has to come first")
            axes[axis] = self.join_edges(bands, axis, [value[: repeat * size : repeat] for value in values])
            repeat *= size
        if repeat != bands.shape[0]:
            raise self.fault(bands, f"{bands.shape[0]} rows found, {repeat} wanted by the axes {list(axes)}")
        return axes

    def column(
        self, bands: HDU, table: Mapping[str, npt.NDArray[Any]], table_units: Mapping[str, str], name: str, unit: str
    ) -> npt.NDArray[np.float64]:
        """One column of a bands table in the unit of the schema."""
        found = table_units.get(name, "").strip()
        if not found and unit != "1":
            raise self.fault(bands, f"column {name} has no unit (card TUNIT), one that converts to {unit} is accepted")
        try:
            values = np.asarray(table[name], dtype=np.float64).ravel()
            factor = unit_factor(found, unit)
        except ValueError as error:
            raise self.fault(bands, f"column {name}: {error}") from error
        return values if factor == 1 else values * factor

    def join_edges(self, bands: HDU, axis: str, columns: list[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
        """Edges of an axis from its columns: lower and upper edge, or the nodes, whose middles are the edges."""
        if len(columns) == 2:
            lo, hi = columns
            if not np.allclose(lo[1:], hi[:-1], rtol=1e-6, atol=0):
                raise self.fault(bands, f"the bins of axis {axis} do not adjoin: {lo[1:]} against {hi[:-1]}")
            edges = np.append(lo, hi[-1:])
        else:
            edges = _edges_of_nodes(columns[0], AXES[axis].scale)
        lowest = edges[0] > 0 if AXES[axis].scale == "log" else edges[0] >= 0
        if not (np.isfinite(edges).all() and (np.diff(edges) > 0).all() and lowest):
            raise self.fault(bands, f"edges of axis {axis} have to be positive and increasing, {edges} found")
        return edges

    def add_axis(self, name: str, edges: npt.NDArray[np.float64], hdu: HDU) -> None:
        """Add an axis, or check it against the same one of an earlier HDU."""
        if name not in self.edges:
            self.edges[name] = (hdu.name, edges)
            self.coords |= axis_coords(name, edges)
            return
        first, known = self.edges[name]
        if len(known) != len(edges) or not np.allclose(known, edges, rtol=1e-6, atol=0):
            raise self.fault(hdu, f"axis {name} with edges {edges} found, but {known} in HDU {first}")

    def add_sky(self, variable: Variable, hdu: HDU) -> tuple[str, ...]:
        """Add the sky grid of an image, or find it among those known; returns the names of its dimensions."""
        try:
            found = SkyGrid.from_header(hdu.header, (hdu.shape[-2], hdu.shape[-1]))
        except GeometryError as error:
            raise self.fault(hdu, str(error)) from error
        for grid in dict.fromkeys(("", variable.grid)):
            if grid not in self.grids:
                if not grid and variable.grid:  # a file of a response alone never comes here: counts are read first
                    continue
                self.grids[grid] = (hdu.name, found)
                self.coords |= found.coords(grid)
                return found.dims(grid)
            first, known = self.grids[grid]
            same = found.on(known)
            if same is not None and (same.origin, same.shape) == (known.origin, known.shape):
                return known.dims(grid)
        first, known = self.grids[variable.grid]
        raise self.fault(
            hdu, f"its {found.shape} pixels are not the {known.shape} of HDU {first}, or CTYPE, CRPIX, CRVAL, CDELT differ"
        )

    def convert(self, variable: Variable, hdu: HDU) -> indexing.LazilyIndexedArray:
        """Array of an image in the unit and dtype of the schema, not read yet."""
        array = hdu.array()
        if variable.kind == "b":
            if hdu.dtype.itemsize * np.prod(hdu.shape, dtype=object) > CHECKED_MASK_BYTES or _has_fault(array):
                self.add_mask_fault(hdu)
            return indexing.LazilyIndexedArray(_Elementwise(_is_one, [array], np.dtype(bool)))
        unit = str(hdu.header.get("BUNIT", "")).strip()
        if variable.units == "1":
            if unit not in COUNT_UNITS:
                raise self.fault(hdu, f"card BUNIT = {unit!r} found, '' or 'count' accepted")
            return indexing.LazilyIndexedArray(array)
        if not unit:
            raise self.fault(hdu, f"card BUNIT is missing, a unit that converts to {variable.units!r} is accepted")
        try:
            factor = unit_factor(unit, variable.units)
        except SchemaError as error:
            raise self.fault(hdu, f"card BUNIT: {error}") from error
        dtype = np.dtype(np.float32 if hdu.dtype == np.float32 else np.float64)
        if factor == 1 and dtype == hdu.dtype:
            return indexing.LazilyIndexedArray(array)
        return indexing.LazilyIndexedArray(_Elementwise(partial(_scale, factor=factor, dtype=dtype), [array], dtype))

    def add_mask_fault(self, hdu: HDU) -> None:
        """Mark the bins whose mask is neither 0 nor 1 in the variable ``mask_fault``."""
        parts = [self.hdus[name.upper()].array() for name in MASKS if name.upper() in self.hdus]
        dims = ("energy", *self.grids[""][1].dims())
        data = indexing.LazilyIndexedArray(_Elementwise(_any_fault, [p for p in parts if p.shape == hdu.shape], np.dtype(bool)))
        array = xr.Variable(dims, data, {"long_name": VARIABLES["mask_fault"].description})
        array.encoding = _encoding(self.path, array)
        self.variables["mask_fault"] = array

    def add_observations(self) -> None:
        """Add the good time intervals, the table of observations and the livetime."""
        if "GTI" in self.hdus:
            self.coords |= _read_gti(self.path, self.hdus["GTI"])
        observations = 1
        if "META_TABLE" in self.hdus:
            columns = _read_meta(self.path, self.hdus["META_TABLE"])
            self.coords |= columns
            observations = next((array.sizes["obs"] for array in columns.values()), 1)
        livetime = self.livetime()
        if livetime is not None and "livetime" not in self.coords:
            attrs = {"units": "s"}
            one = observations == 1
            self.coords["livetime"] = xr.Variable("obs" if one else (), [livetime] if one else livetime, attrs)

    def livetime(self) -> float | None:
        """Livetime of all observations, s: it is in the META card of the exposure, as JSON."""
        hdu = self.hdus.get("EXPOSURE")
        if hdu is None or "META" not in hdu.header:
            return None
        try:
            meta = json.loads(str(hdu.header["META"]))
            if not isinstance(meta, dict) or "livetime" not in meta:
                return None
            return float(floats_in(str(meta["livetime"]), "s"))
        except ValueError as error:
            raise self.fault(hdu, f"card META = {hdu.header['META']!r}: JSON with a livetime in s accepted") from error

    def round_counts_off(self) -> None:
        """Round off counts next to a whole number, and drop acceptances that a stack made from what is left of zero."""
        raw = self.hdus["COUNTS_OFF"]
        if raw.dtype.kind != "f":
            return
        array = self.variables["counts_off"]
        rounded = _Elementwise(_round, [raw.array()], raw.dtype)
        array.data = indexing.LazilyIndexedArray(rounded)
        array.attrs["rounded"] = f"values within {ROUNDING} of a whole number are set to it"
        stacked = "obs_id" in self.coords and self.coords["obs_id"].size > 1
        if stacked and "acceptance_off" in self.variables and self.hdus["ACCEPTANCE_OFF"].dtype.kind == "f":
            acceptance = self.hdus["ACCEPTANCE_OFF"]
            trusted = _Elementwise(_drop_noise, [acceptance.array(), raw.array()], acceptance.dtype)
            self.variables["acceptance_off"].data = indexing.LazilyIndexedArray(trusted)
            self.variables["acceptance_off"].attrs["dropped"] = (
                f"NaN where the stack computed it from off counts below {ROUNDING} that are not 0"
            )


class _Elementwise(BackendArray):  # type: ignore[misc]  # xarray's base class is untyped
    """An array function of lazy arrays of one shape, applied to the part that is asked for."""

    def __init__(self, function: Callable[..., npt.NDArray[Any]], arrays: list[BackendArray], dtype: Any) -> None:
        self.function, self.arrays = function, arrays
        self.shape, self.dtype = arrays[0].shape, np.dtype(dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._get)

    def _get(self, key: tuple[Any, ...]) -> npt.NDArray[Any]:
        parts = [np.asarray(array[indexing.BasicIndexer(key)]) for array in self.arrays]
        return np.asarray(self.function(*parts), dtype=self.dtype)


def _is_one(mask: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return mask == 1


def _any_fault(*masks: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.any([(mask != 0) & (mask != 1) for mask in masks], axis=0)


def _has_fault(array: BackendArray) -> bool:
    whole = indexing.BasicIndexer((slice(None),) * len(array.shape))
    return bool(_any_fault(np.asarray(array[whole])).any())


def _scale(values: npt.NDArray[Any], factor: float, dtype: Any) -> npt.NDArray[Any]:
    return (values.astype(np.float64) * factor).astype(dtype)


def _round(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    whole = np.rint(counts)
    with np.errstate(invalid="ignore"):  # inf - inf
        close = np.abs(counts - whole) <= ROUNDING
    return np.where(close, whole + 0.0, counts)  # + 0.0 turns -0.0 into 0.0


def _drop_noise(acceptance_off: npt.NDArray[Any], counts_off: npt.NDArray[Any]) -> npt.NDArray[Any]:
    noise = (np.abs(counts_off) <= ROUNDING) & (counts_off != 0)
    return np.where(noise, np.nan, acceptance_off)


def _axis_size(lo: npt.NDArray[np.float64], repeat: int) -> int:
    """Number of bins of an axis whose values stand in runs of ``repeat`` rows and then start again."""
    first_of_run = lo[::repeat]
    again = np.flatnonzero(first_of_run[1:] == first_of_run[0])
    return int(again[0]) + 1 if again.size else len(first_of_run)


def _edges_of_nodes(nodes: npt.NDArray[np.float64], scale: str) -> npt.NDArray[np.float64]:
    """Edges halfway between nodes, on a log or linear scale; the outer bins are symmetric about their nodes."""
    if len(nodes) < 2 or (scale == "log" and not (nodes > 0).all()):
        return np.array([np.nan, np.nan])  # no bins: refused by the caller
    values = np.log(nodes) if scale == "log" else nodes
    middles = 0.5 * (values[1:] + values[:-1])
    edges = np.concatenate([[2 * values[0] - middles[0]], middles, [2 * values[-1] - middles[-1]]])
    return np.asarray(np.exp(edges) if scale == "log" else edges, dtype=np.float64)


def _encoding(path: str, array: xr.Variable) -> dict[str, Any]:
    """Where an array is from, and for one above 32 MiB the chunks of ``chunks={}``, split along the slowest axes."""
    chunks = dict(array.sizes)
    for dim in array.dims:
        while chunks[dim] > 1 and np.prod(list(chunks.values()), dtype=object) * array.dtype.itemsize > 2**25:
            chunks[dim] = -(-chunks[dim] // 2)
    return {"source": path} | ({"preferred_chunks": chunks} if chunks != dict(array.sizes) else {})


def _read_gti(path: str, hdu: HDU) -> dict[str, xr.Variable]:
    """Good time intervals of a GTI table as datetime64[ns], TT."""
    from astropy.time import Time, TimeDelta

    try:
        table, header = hdu.table(), hdu.header
        scale = str(header.get("TIMESYS", "tt")).strip().lower()
        if "MJDREFI" in header:
            reference = Time(float(header["MJDREFI"]), float(header.get("MJDREFF", 0.0)), format="mjd", scale=scale)
        else:
            reference = Time(float(header["MJDREF"]), format="mjd", scale=scale)
        times = {}
        for name, column in (("gti_start", "START"), ("gti_stop", "STOP")):
            seconds = np.asarray(table[column], dtype=np.float64).ravel() * unit_factor(hdu.units.get(column) or "s", "s")
            if not np.isfinite(seconds).all():
                raise ValueError(f"column {column} is not finite")
            tt = (reference + TimeDelta(seconds, format="sec")).tt
            days, rest = tt.jd1 - 2_400_000.5 - _EPOCH, tt.jd2
            whole = np.floor(days)
            ns = whole.astype(np.int64) * _DAY + np.rint((days - whole + rest) * _DAY).astype(np.int64)
            attrs = {"time_scale": "TT", "long_name": f"{column.lower()} of a good time interval"}
            times[name] = xr.Variable("gti", ns.astype("datetime64[ns]"), attrs)
    except XonoffError:
        raise
    except Exception as error:  # astropy's times raise many kinds
        raise FormatError(
            f"{path}: HDU GTI: columns START and STOP in s with cards MJDREFI, MJDREFF and TIMESYS are wanted: {error}"
        ) from error
    return times


def _read_meta(path: str, hdu: HDU) -> dict[str, xr.Variable]:
    """Columns of the table of observations, on the dimension ``obs``."""
    table = hdu.table()
    lengths = {name: np.asarray(column).size for name, column in table.items()}
    count = lengths.get("OBS_ID", next(iter(lengths.values()), 0))
    reserved = {*VARIABLES, *AXES, "lat", "lon", "x", "y", "wcs", "gti_start", "gti_stop"}
    out = {}
    for column, values in table.items():
        array = np.asarray(values)
        name = column.lower() if column.lower() not in reserved else f"meta_{column.lower()}"
        if array.size == count:
            dims: tuple[str, ...] = ("obs",)
            array = array.reshape(count)
        elif array.shape[0] in (1, count) and count and array.size % count == 0:
            dims = ("obs", f"{name}_element")
            array = array.reshape(count, -1)
        else:
            raise FormatError(f"{path}: HDU META_TABLE: column {column} of shape {array.shape} does not fit {count} observations")
        attrs = {"units": unit} if (unit := hdu.units.get(column, "")) else {}
        out[name] = xr.Variable(dims, array, attrs)
    return out


# -- writing ----------------------------------------------------------------------------------------------------------


def to_fits(ds: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a dataset as FITS that gammapy 2.1 reads, with CHECKSUM and DATASUM in every HDU.

    A dask dataset is computed and written a part at a time. The file appears under its name only when it is whole.

    Parameters
    ----------
    ds : Dataset
    path : path
        File to write, not compressed.
    overwrite : bool
        Replace an existing file; otherwise it is refused.

    Raises
    ------
    SchemaError, GeometryError
        If the dataset does not follow the data model; nothing is written.
    FileExistsError
        If the file exists.
    """
    found = faults(ds)
    if found:
        raise SchemaError(f"{path}: not written, the dataset has {len(found)} faults:\n- " + "\n- ".join(found))
    maps = [_Map(ds, name) for name in HDU_ORDER if name in ds]
    if not maps:
        raise SchemaError(f"{path}: not written, the dataset has none of the variables {list(VARIABLES)}")
    with replacing(path, overwrite) as temporary, open(temporary, "w+b") as file:
        writer = HDUWriter(file)
        creator = _creator()
        writer.primary({"NAME": str(ds.attrs.get("name", "")), **creator})
        for part in maps:
            writer.image(part.hdu, part.data, {**part.cards, **creator})
            writer.table(f"{part.hdu}_BANDS", part.bands, part.bands_units, {**part.axis_cards, **creator})
        if "gti_start" in ds.coords:
            columns, cards = _gti_table(ds)
            writer.table("GTI", columns, {"START": "s", "STOP": "s"}, {**cards, **creator})
        observations = {str(k): v for k, v in ds.coords.items() if v.dims[:1] == ("obs",)}
        if observations:
            meta = {k.removeprefix("meta_").upper(): v.values[None] for k, v in observations.items()}
            meta_units = {k.removeprefix("meta_").upper(): str(v.attrs.get("units", "")) for k, v in observations.items()}
            writer.table("META_TABLE", meta, meta_units, creator)


#: Order of the maps in a file, that of gammapy.
HDU_ORDER = (
    *("counts", "exposure", "background", "edisp", "edisp_exposure", "psf", "psf_exposure", "mask_safe", "mask_fit"),
    *("counts_off", "acceptance", "acceptance_off"),
)


class _Map:
    """One map as FITS has it: its data with the axes in order, its cards and its table of bands."""

    def __init__(self, ds: xr.Dataset, name: str) -> None:
        variable = VARIABLES[name]
        grid = own_grid(ds, name)
        try:
            sky = sky_grid(ds, grid)
            axes = [axis for axis in AXES if axis in ds[name].dims]
            edges = {axis: axis_edges(ds, axis) for axis in axes}
        except GeometryError as error:
            raise GeometryError(f"{name}: {error}") from error
        array = ds[name]
        axes = [str(dim) for dim in array.dims if dim in AXES]
        # A map squashed along an axis keeps it with one bin, as the layout wants it.
        squashed = {"psf_exposure": "rad", "edisp_exposure": "migra" if "migra" in ds.dims else "energy"}.get(name)
        data = array.variable
        if squashed and squashed in ds.dims:
            full = axis_edges(ds, squashed)
            edges[squashed] = full[[0, -1]]
            axes = [*axes, squashed]
            data = data.expand_dims(squashed)
        sky_names = sky.dims(grid)
        data = data.set_dims({dim: 1 for dim in sky_names if dim not in data.dims} | dict(data.sizes))
        self.data = data.transpose(*axes, *sky_names).data
        self.hdu = name.upper()
        self.axis_cards: dict[str, Any] = {}
        for number, axis in enumerate(reversed(axes), 1):
            stem = _stem(axis)
            self.axis_cards[f"AXCOLS{number}"] = f"{stem}_MIN,{stem}_MAX"
            self.axis_cards[f"INTERP{number}"] = AXES[axis].scale
        shape = [*sky.shape[::-1], *(len(edges[axis]) - 1 for axis in reversed(axes))]
        meta = {}
        if name == "exposure" and "livetime" in ds.variables:
            meta["livetime"] = f"{float(ds['livetime'].sum())!r} s"
        self.cards = {
            "WCSAXES": 2,
            **sky.cards,
            **self.axis_cards,
            "WCSSHAPE": f"({','.join(map(str, shape))})",
            "BANDSHDU": f"{self.hdu}_BANDS",
            "META": json.dumps(meta),
            "BUNIT": "" if variable.units == "1" else variable.units,
        }
        self.bands, self.bands_units = _bands({axis: edges[axis] for axis in reversed(axes)})


def _stem(axis: str) -> str:
    return "E" if axis == "energy" else axis.upper()


def _bands(axes: Mapping[str, npt.NDArray[np.float64]]) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Table of bands: a row for each combination of bins, the first axis fastest."""
    rows = int(np.prod([len(edges) - 1 for edges in axes.values()]))
    columns: dict[str, npt.NDArray[Any]] = {"CHANNEL": np.arange(rows, dtype=np.int64)}
    column_units = {}
    repeat = 1
    for axis, edges in axes.items():
        centers = axis_coords(axis, edges)[axis].values
        parts = {axis.upper(): centers, f"{_stem(axis)}_MIN": edges[:-1], f"{_stem(axis)}_MAX": edges[1:]}
        for name, values in parts.items():
            columns[name] = np.resize(np.repeat(values, repeat), rows)
            column_units[name] = units(axis) if units(axis) != "1" else ""
        repeat *= len(centers)
    return columns, column_units


def _gti_table(ds: xr.Dataset) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Good time intervals in seconds since the midnight before the first, so that nanoseconds keep their digits."""
    start, stop = (ds[name].values.astype("datetime64[ns]").astype(np.int64) for name in ("gti_start", "gti_stop"))
    day = int(start.min() // _DAY) if start.size else 51544 - _EPOCH
    columns = {"START": (start - day * _DAY) / 1e9, "STOP": (stop - day * _DAY) / 1e9}
    return columns, {"MJDREFI": day + _EPOCH, "MJDREFF": 0.0, "TIMESYS": "tt", "TIMEUNIT": "s"}


def _creator() -> dict[str, Any]:
    from datetime import UTC, datetime

    from xonoff import __version__

    return {"CREATOR": f"xonoff {__version__}", "CREATED": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")}
