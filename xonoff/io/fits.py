"""On/off datasets as FITS, in the layout of gammapy 2.1 (gamma-astro-data-formats sky maps).

Every map is an image HDU and a ``<name>_BANDS`` table with the edges of its axes; ``GTI`` and ``META_TABLE`` tables
describe the observations. The HDU of a variable has its name, in upper case. Reading maps HDUs to variables without
touching pixel data: units, masks and off counts are converted when a part of an array is looked at.
"""

import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.core import indexing

from xonoff.axes import axis_coords, axis_edges
from xonoff.errors import FormatError, GeometryError, SchemaError
from xonoff.geometry import own_grid, sky_dims, sky_grid
from xonoff.io.atomic import replacing
from xonoff.io.bands import axis_cards, bands_table, fault, read_axes
from xonoff.io.hdu import HDU, scan
from xonoff.io.hdu_writer import HDUWriter
from xonoff.io.lazy import ROUNDING, any_fault, drop_noise, elementwise, is_one, rounded, scaled, whole
from xonoff.io.observations import gti_table, meta_table, read_gti, read_meta, read_texts, text_tables
from xonoff.schema import AXES, CONVENTIONS, MASKS, VARIABLES, Variable, faults
from xonoff.skygrid import SkyGrid
from xonoff.units import unit_factor, value_in

__all__ = ["fits_bytes", "open_fits", "to_fits"]

#: Masks up to this size are read, and checked for values other than 0 and 1, when a file is opened.
CHECKED_MASK_BYTES = 2**24

#: Axes that the exposure of a response keeps with one bin.
SQUASHED = {"psf_exposure": ("rad",), "edisp_exposure": ("energy", "migra")}
COUNT_UNITS = {"", "1", "ct", "count", "counts"}


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
        if name not in reader.variables:  # the faults of the masks in the file are added with them
            reader.add_map(VARIABLES[name], hdu)
    reader.add_observations()
    if round_counts_off and "counts_off" in reader.variables:
        reader.round_counts_off()
    primary = hdus.get("")
    title = primary.cards.get("NAME") if primary is not None else None
    attrs = {"name": str(title) if title else Path(path).name.split(".")[0], "Conventions": CONVENTIONS}
    attrs |= read_texts(str(path), hdus)
    ds = xr.Dataset(reader.variables, reader.coords, attrs)
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

    def add_map(self, variable: Variable, hdu: HDU) -> None:
        """Add the image of one HDU as a variable."""
        if hdu.kind == "table":
            raise fault(hdu, "a table found, an image accepted: write spectra as OGIP files")
        axes = read_axes(hdu, self.hdus)
        expected = tuple(len(edges) - 1 for edges in axes.values())[::-1]
        if len(hdu.shape) != len(expected) + 2 or hdu.shape[:-2] != expected:
            raise fault(hdu, f"shape {hdu.shape} found, ({', '.join(map(str, expected))}, lat, lon) by its bands")
        names = list(axes)[::-1]
        squashed = [name for name in names if name in SQUASHED.get(variable.name, ())]
        kept = tuple(name for name in names if name not in squashed)
        if kept not in variable.axes:
            raise fault(hdu, f"axes {tuple(names)} found, {' or '.join(map(str, variable.axes))} accepted")
        if any(len(axes[name]) != 2 for name in squashed):
            raise fault(hdu, f"axes {squashed} with more than one bin found, only one is accepted here")
        for name in kept:
            self.add_axis(name, axes[name], hdu)
        sky = self.add_sky(variable, hdu)
        data = self.convert(variable, hdu)
        array = xr.Variable((*names, *sky), data).isel(dict.fromkeys(squashed, 0))
        array.attrs = {"units": variable.units} if variable.units else {}
        array.attrs["long_name"] = variable.description
        array.encoding = _encoding(self.path, array)
        self.variables[variable.name] = array

    def add_axis(self, name: str, edges: npt.NDArray[np.float64], hdu: HDU) -> None:
        """Add an axis, or check it against the same one of an earlier HDU."""
        if name not in self.edges:
            self.edges[name] = (hdu.name, edges)
            self.coords |= axis_coords(name, edges)
            return
        first, known = self.edges[name]
        if len(known) != len(edges) or not np.allclose(known, edges, rtol=1e-6, atol=0):
            raise fault(hdu, f"axis {name} with edges {edges} found, but {known} in HDU {first}")

    def add_sky(self, variable: Variable, hdu: HDU) -> tuple[str, ...]:
        """Add the sky grid of an image, or find it among those known; returns the names of its dimensions."""
        try:
            found = SkyGrid.from_header(hdu.cards, (hdu.shape[-2], hdu.shape[-1]))
        except GeometryError as error:
            raise fault(hdu, str(error)) from error
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
        raise fault(
            hdu,
            f"its {found.shape} pixels are not the {known.shape} of HDU {first}, or CTYPE, CRPIX, CRVAL, CDELT differ",
        )

    def convert(self, variable: Variable, hdu: HDU) -> indexing.LazilyIndexedArray | npt.NDArray[Any]:
        """Array of an image in the unit and dtype of the schema, not read yet; small masks are."""
        array = hdu.array()
        if variable.kind == "b":
            if array.dtype.itemsize * math.prod(array.shape) > CHECKED_MASK_BYTES:
                self.add_mask_fault(hdu)
                return elementwise(is_one, array, dtype=bool)
            mask = whole(array)
            if any_fault(mask).any():
                self.add_mask_fault(hdu)
            return is_one(mask)
        unit = str(hdu.cards.get("BUNIT", "")).strip()
        if variable.units == "1":
            if unit not in COUNT_UNITS:
                raise fault(hdu, f"card BUNIT = {unit!r} found, '' or 'count' accepted")
            return indexing.LazilyIndexedArray(array)
        if not unit:
            raise fault(hdu, f"card BUNIT is missing, a unit that converts to {variable.units!r} is accepted")
        try:
            return scaled(array, unit_factor(unit, variable.units))
        except SchemaError as error:
            raise fault(hdu, f"card BUNIT: {error}") from error

    def add_mask_fault(self, hdu: HDU) -> None:
        """Mark the bins whose mask is neither 0 nor 1 in the variable ``mask_fault``."""
        masks = [self.hdus[name.upper()] for name in MASKS if name.upper() in self.hdus]
        data = elementwise(any_fault, *(mask.array() for mask in masks if mask.shape == hdu.shape), dtype=bool)
        attrs = {"long_name": VARIABLES["mask_fault"].description}
        array = xr.Variable(("energy", *self.grids[""][1].dims()), data, attrs)
        array.encoding = _encoding(self.path, array)
        self.variables["mask_fault"] = array

    def add_observations(self) -> None:
        """Add the good time intervals, the table of observations and the livetime."""
        if "GTI" in self.hdus:
            self.coords |= read_gti(self.path, self.hdus["GTI"])
        observations = 1
        if "META_TABLE" in self.hdus:
            columns = read_meta(self.path, self.hdus["META_TABLE"])
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
        if hdu is None or "META" not in hdu.cards:
            return None
        try:
            meta = json.loads(str(hdu.cards["META"]))
            if not isinstance(meta, dict) or "livetime" not in meta:
                return None
            livetime = value_in(str(meta["livetime"]), "s")
            if not 0 <= livetime < math.inf:
                raise ValueError(f"a livetime of {livetime} s")
            return livetime
        except (ValueError, TypeError, RecursionError) as error:
            raise fault(
                hdu, f"card META = {str(hdu.cards['META'])[:80]!r}: JSON with a livetime in s accepted"
            ) from error

    def round_counts_off(self) -> None:
        """Round off counts next to a whole number, and drop acceptances that a stack made from what is left of zero."""
        raw = self.hdus["COUNTS_OFF"]
        if raw.dtype.kind != "f":
            return
        array = self.variables["counts_off"]
        array.data = elementwise(rounded, raw.array(), dtype=raw.dtype)
        array.attrs["rounded"] = f"values within {ROUNDING} of a whole number are set to it"
        stacked = "obs_id" in self.coords and self.coords["obs_id"].size > 1
        acceptance = self.hdus.get("ACCEPTANCE_OFF")
        if stacked and acceptance is not None and acceptance.dtype.kind == "f":
            array = self.variables["acceptance_off"]
            array.data = elementwise(drop_noise, acceptance.array(), raw.array(), dtype=acceptance.dtype)
            array.attrs["dropped"] = f"NaN where the stack computed it from off counts below {ROUNDING} that are not 0"


def _encoding(path: str, array: xr.Variable) -> dict[str, Any]:
    """Where an array is from, and for one above 32 MiB the chunks of ``chunks={}``, split along the slowest axes."""
    chunks = dict(array.sizes)
    for dim in array.dims:
        while chunks[dim] > 1 and np.prod(list(chunks.values()), dtype=object) * array.dtype.itemsize > 2**25:
            chunks[dim] = -(-chunks[dim] // 2)
    return {"source": path} | ({"preferred_chunks": chunks} if chunks != dict(array.sizes) else {})


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

    Examples
    --------
    >>> import tempfile, xonoff
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_fits(xonoff.tutorial.dataset(), f"{folder}/crab.fits")
    ...     int(open_fits(f"{folder}/crab.fits").counts.sum()) == int(xonoff.tutorial.dataset().counts.sum())
    True
    """
    if os.fspath(path).endswith(".gz"):
        raise FormatError(f"{path}: not written: FITS is written uncompressed here, name it .fits and gzip it after")
    maps = _maps(ds, path)
    with replacing(path, overwrite) as temporary, open(temporary, "w+b") as file:
        _write(ds, maps, file)


def fits_bytes(ds: xr.Dataset) -> bytes:
    """Bytes of the file that `to_fits` writes."""
    file = io.BytesIO()
    _write(ds, _maps(ds, "HDU list"), file)
    return file.getvalue()


def _maps(ds: xr.Dataset, path: str | os.PathLike[str]) -> list["_Map"]:
    """Maps of a dataset that follows the data model."""
    found = faults(ds)
    if found:
        raise SchemaError(f"{path}: not written, the dataset has {len(found)} faults:\n- " + "\n- ".join(found))
    if (
        not any("energy" in ds[name].dims and sky_dims(ds[name]) for name in VARIABLES if name in ds)
        and "wcs" not in ds
    ):
        raise SchemaError(
            f"{path}: not written, the dataset has no map: this layout holds maps; write a spectrum with "
            "ds.onoff.to_ogip"
        )
    maps = [_Map(ds, name) for name in HDU_ORDER if name in ds]
    if not maps:
        raise SchemaError(f"{path}: not written, the dataset has none of the variables {list(VARIABLES)}")
    return maps


def _write(ds: xr.Dataset, maps: list["_Map"], file: BinaryIO) -> None:
    writer = HDUWriter(file)
    creator = _creator()
    writer.primary({"NAME": str(ds.attrs.get("name") or ""), **creator})
    for part in maps:
        writer.image(part.hdu, part.data, {**part.cards, **creator})
        writer.table(f"{part.hdu}_BANDS", part.bands, part.bands_units, {**part.axis_cards, **creator})
    for table in (gti_table(ds), meta_table(ds), *text_tables(ds)):
        if table is not None:
            name, columns, column_units, cards = table
            writer.table(name, columns, column_units, {**cards, **creator})


#: Order of the maps in a file, that of gammapy.
HDU_ORDER = (
    *("counts", "exposure", "background", "edisp", "edisp_exposure", "psf", "psf_exposure", "mask_safe", "mask_fit"),
    "mask_fault",
    *("counts_off", "acceptance", "acceptance_off"),
)


class _Map:
    """One map as FITS has it: its data with the axes in order, its cards and its table of bands."""

    def __init__(self, ds: xr.Dataset, name: str) -> None:
        variable, array = VARIABLES[name], ds[name]
        try:
            sky = _sky_of(ds, name)
            edges = {str(dim): axis_edges(ds, str(dim)) for dim in array.dims if dim in AXES}
            squashed = _squashed_axis(ds, name)
            if squashed:
                edges[squashed] = axis_edges(ds, squashed)[[0, -1]]
        except GeometryError as error:
            raise GeometryError(f"{name}: {error}") from error
        sky_names = sky.dims(own_grid(ds, name))
        new = {dim: 1 for dim in (*edges, *sky_names) if dim not in array.dims}
        self.data = array.variable.set_dims(new | dict(array.sizes)).transpose(*edges, *sky_names).data
        self.hdu = name.upper()
        axes = dict(reversed(edges.items()))  # FITS has the fastest axis first
        self.axis_cards = axis_cards(axes)
        self.bands, self.bands_units = bands_table(axes)
        meta = {}
        if name == "exposure" and "livetime" in ds.variables:
            meta["livetime"] = f"{float(ds['livetime'].sum())!r} s"
        self.cards = {
            "WCSAXES": 2,
            **sky.cards,
            **self.axis_cards,
            "WCSSHAPE": f"({','.join(map(str, self.data.shape[::-1]))})",
            "BANDSHDU": f"{self.hdu}_BANDS",
            "META": json.dumps(meta),
            "BUNIT": "" if variable.units == "1" else variable.units,
        }


def _sky_of(ds: xr.Dataset, name: str) -> SkyGrid:
    """Sky grid of a variable; one pixel as wide as the map for a response that is the same everywhere."""
    sky = sky_grid(ds, own_grid(ds, name))
    if sky_dims(ds[name], own_grid(ds, name)) or sky.shape == (1, 1):
        return sky
    (ny, nx), size = sky.shape, np.sqrt(np.abs(np.linalg.det(sky.wcs.wcs.cd)))
    width = min(float(size) * max(ny, nx), 180.0)
    return SkyGrid.create(sky.center, shape=(1, 1), pixel_size=width, projection="TAN", frame=sky.frame)


def _squashed_axis(ds: xr.Dataset, name: str) -> str | None:
    """Axis that the exposure of a response keeps with one bin, as the layout wants it."""
    response = name.removesuffix("_exposure")
    return next((axis for axis in SQUASHED.get(name, ()) if response in ds and axis in ds[response].dims), None)


def _creator() -> dict[str, Any]:
    from datetime import UTC, datetime
    from importlib.metadata import version

    return {"CREATOR": f"xonoff {version('xonoff')}", "CREATED": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")}
