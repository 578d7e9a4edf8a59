"""Images in HEALPix cells: as an array on the dimension ``cell``, and as FITS files that healpy and gammapy read.

Needs the package astropy-healpix (extra ``interop``).
"""

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord

from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import map_dims, sky_grid
from xonoff.skygrid import SkyGrid

__all__ = ["to_healpix", "write_healpix"]

#: Points of a pixel along each side: at least so many, and so many in the width of a cell.
POINTS = 4
MAX_POINTS = 64
MAX_NSIDE = 2**18
BLOCK = 2_000_000  # points at a time


def to_healpix(
    image: xr.DataArray, nside: int, *, nest: bool = False, mean: bool = False, frame: str | None = None
) -> xr.DataArray:
    """Image in the HEALPix cells that it touches.

    Every pixel is a lattice of points, each with its share; at least 16 lie in a pixel, and in a cell within the map.
    So a sum is conserved to rounding, and the cell that a part goes to is right to a quarter of a pixel.
    A dask array is computed.

    Parameters
    ----------
    image : DataArray (sky)
        Of one map; NaN stands for nothing.
    nside : int
        Cells along each side of the 12 base cells, a power of 2.
    nest : bool
        Number cells in the nested scheme, else in rings.
    mean : bool
        Average over the cell, as for a significance or an exposure; else add up, as for counts.
    frame : {"icrs", "galactic"}, optional
        Of the cells; by default that of the map.

    Returns
    -------
    DataArray (cell)
        Its coordinate ``cell_ids`` has the numbers of the cells in increasing order, and in its attributes ``nside``,
        ``indexing_scheme`` and ``frame``.

    Raises
    ------
    SchemaError
        If it is no DataArray.
    GeometryError
        If the array is no image, or there are no such cells.

    Examples
    --------
    >>> import xonoff
    >>> counts = xonoff.tutorial.dataset().counts.sum("energy")
    >>> cells = to_healpix(counts, 512)
    >>> bool(np.isclose(cells.sum(), counts.sum(), rtol=1e-12)), cells.cell_ids.attrs["indexing_scheme"]
    (True, 'ring')
    """
    try:
        from astropy_healpix import HEALPix
    except ImportError as error:
        raise ImportError('HEALPix needs astropy-healpix: pip install "xonoff[interop]"') from error

    if not isinstance(image, xr.DataArray):
        raise SchemaError(
            f"image: a {type(image).__name__} found, a DataArray accepted, such as ds.counts.sum('energy')"
        )
    dims = map_dims(image)
    if image.ndim != 2:
        raise GeometryError(f"image: dimensions {image.dims} found, {dims} accepted: sum over the others first")
    sky = sky_grid(image)
    frame = ("galactic" if sky.frame == "galactic" else "icrs") if frame is None else frame
    if frame not in ("icrs", "galactic"):
        raise GeometryError(f"frame {frame!r} found, 'icrs' or 'galactic' accepted")
    if not isinstance(nside, int | np.integer) or not 0 < nside <= MAX_NSIDE or nside & (nside - 1):
        raise GeometryError(f"nside = {nside!r} found, a power of 2 up to {MAX_NSIDE} accepted")
    values = np.asarray(image.transpose(*dims).values, dtype=np.float64)
    grid = HEALPix(nside=int(nside), order="nested" if nest else "ring", frame=frame)
    size = np.degrees(np.sqrt(4 * np.pi / grid.npix))
    n = max(POINTS, int(np.ceil(POINTS * max(sky.pixel_scales) / size)))
    if n > MAX_POINTS:
        raise GeometryError(f"nside = {nside}: cells of {size:.2g} deg are far smaller than pixels: take a lower one")
    weights = sky.solid_angle() if mean else np.ones(sky.shape)
    known = np.isfinite(values) & np.isfinite(weights)
    numbers, totals, weight = _gathered(values, np.where(known, weights / n**2, 0.0), sky, grid, n, frame)
    data = np.divide(totals, weight, out=np.full(totals.shape, np.nan), where=weight > 0) if mean else totals
    ids = {"grid_name": "healpix", "indexing_scheme": "nested" if nest else "ring", "nside": int(nside), "frame": frame}
    ids["level"] = int(nside).bit_length() - 1
    cells = xr.DataArray(data, {"cell_ids": ("cell", numbers, ids)}, ("cell",), image.name, dict(image.attrs))
    return cells


def write_healpix(
    cells: xr.DataArray, path: str | os.PathLike[str], *, full: bool = False, overwrite: bool = False
) -> None:
    """Write HEALPix cells as a FITS table, with checksums.

    Parameters
    ----------
    cells : DataArray (cell)
        From `to_healpix`.
    path : path
    full : bool
        Write all cells of the sky, NaN where there are none, in the order of their numbers (implicit indexing); else
        those that there are, with their numbers (explicit indexing). healpy reads the latter with ``partial=True``.
    overwrite : bool
        Replace an existing file; otherwise it is refused.

    Raises
    ------
    SchemaError
        If the array has no ``cell_ids`` as `to_healpix` gives them.
    FileExistsError
        If the file exists.

    Examples
    --------
    >>> import tempfile, xonoff
    >>> from astropy.io import fits
    >>> cells = to_healpix(xonoff.tutorial.dataset().counts.sum("energy"), 64, nest=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_healpix(cells, f"{folder}/counts.fits")
    ...     header = fits.getheader(f"{folder}/counts.fits", 1)
    >>> header["PIXTYPE"], header["ORDERING"], header["NSIDE"], header["COORDSYS"]
    ('HEALPIX', 'NESTED', 64, 'C')
    """
    from xonoff.io.atomic import replacing
    from xonoff.io.hdu_writer import HDUWriter

    ids = cells.coords.get("cell_ids")
    if ids is None or not {"nside", "indexing_scheme", "frame"} <= set(ids.attrs) or cells.dims != ids.dims:
        raise SchemaError(f"{path}: not written: an array without cell_ids of to_healpix found: make it with that")
    nside = int(ids.attrs["nside"])
    numbers, values = np.asarray(ids.values, dtype=np.int64), np.asarray(cells.values, dtype=np.float64)
    cards: dict[str, Any] = {"PIXTYPE": "HEALPIX", "NSIDE": nside, "FIRSTPIX": 0, "LASTPIX": 12 * nside**2 - 1}
    cards |= {"ORDERING": "NESTED" if ids.attrs["indexing_scheme"] == "nested" else "RING"}
    cards |= {"COORDSYS": "G" if ids.attrs["frame"] == "galactic" else "C", "HPX_CONV": "GADF"}
    cards["ORDER"] = nside.bit_length() - 1
    unit = str(cells.attrs.get("units", ""))
    unit = "" if unit == "1" else unit
    if full:
        every = np.full(12 * nside**2, np.nan)
        every[numbers] = values
        columns = {"CHANNEL0": every}
        cards |= {"INDXSCHM": "IMPLICIT", "OBJECT": "FULLSKY"}
    else:
        columns = {"PIX": numbers, "VALUE": values}
        cards |= {"INDXSCHM": "SPARSE", "OBJECT": "PARTIAL", "OBS_NPIX": len(numbers)}
    units = {list(columns)[-1]: unit} if unit else {}
    with replacing(path, overwrite) as part, open(part, "w+b") as file:
        writer = HDUWriter(file)
        writer.primary({})
        writer.table("SKYMAP", columns, units, cards | ({"BUNIT": unit} if unit else {}))


def _gathered(
    values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], sky: SkyGrid, grid: Any, n: int, frame: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Numbers of the cells, sum of values times weights and of weights, of n * n points in each pixel."""
    ny, nx = sky.shape
    inner = (np.arange(n) + 0.5) / n - 0.5
    x = (np.arange(nx)[:, None] + inner).ravel()
    found: dict[str, list[Any]] = {"numbers": [], "totals": [], "weights": []}
    rows = max(1, BLOCK // (nx * n * n))
    for start in range(0, ny, rows):
        part = slice(start, min(start + rows, ny))
        y = (np.arange(part.start, part.stop)[:, None] + inner).ravel()
        lon, lat = sky.pixel_to_sky(*np.meshgrid(x, y))
        share = np.repeat(np.repeat(weights[part], n, axis=0), n, axis=1)
        inside = (share > 0) & np.isfinite(lon)
        coord = SkyCoord(lon[inside], lat[inside], unit="deg", frame=sky.frame).transform_to(frame).spherical
        cell = grid.lonlat_to_healpix(coord.lon.to(u.deg), coord.lat.to(u.deg))
        numbers, place = np.unique(cell, return_inverse=True)
        value = np.repeat(np.repeat(values[part], n, axis=0), n, axis=1)[inside] * share[inside]
        found["numbers"].append(numbers)
        found["totals"].append(np.bincount(place, value, len(numbers)))
        found["weights"].append(np.bincount(place, share[inside], len(numbers)))
    numbers, place = np.unique(np.concatenate(found["numbers"]), return_inverse=True)
    total, weight = (np.zeros(len(numbers)) for _ in range(2))
    np.add.at(total, place, np.concatenate(found["totals"]))
    np.add.at(weight, place, np.concatenate(found["weights"]))
    return numbers.astype(np.int64), total, weight
