"""Opening datasets: the function `open_dataset`, and the engine ``"xonoff"`` of `xarray.open_dataset` for FITS."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr
from xarray.backends import BackendEntrypoint

from xonoff.errors import FormatError
from xonoff.io import store
from xonoff.io.fits import open_fits
from xonoff.io.ogip import is_ogip, open_ogip
from xonoff.typed import on_off

__all__ = ["OnOffBackend", "open_dataset"]

GZIP, HDF5, FITS = b"\x1f\x8b", b"\x89HDF\r\n\x1a\n", b"SIMPLE"


@on_off
def open_dataset(
    path: Any,
    *,
    chunks: Any = None,
    round_counts_off: bool = True,
    checksum: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Open an on/off dataset: FITS (maps, or OGIP spectra), gzipped FITS, netCDF or Zarr, told apart by what they hold.

    Parameters
    ----------
    path : path, URL, obstore store or fsspec mapper
        File or Zarr directory; all but a path is a Zarr store.
    chunks : int, dict, "auto" or None
        As in `xarray.open_dataset`: None reads arrays when they are looked at, ``{}`` makes dask arrays in the chunks
        of the file.
    round_counts_off, checksum : bool
        For maps in FITS, see `xonoff.io.fits.open_fits`; spectra are read as by `xonoff.io.ogip.open_ogip`. The
        checksums of netCDF and Zarr are always checked.
    storage_options : dict, optional
        Of a URL, see `xonoff.io.urls.open_objects`.

    Returns
    -------
    Dataset

    Raises
    ------
    FormatError
        If the file is damaged or of no known format.
    FileNotFoundError
        If there is nothing at the path.

    Examples
    --------
    >>> import tempfile, xonoff
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     xonoff.tutorial.dataset().onoff.to_fits(f"{folder}/crab.fits")
    ...     ds = xonoff.open_dataset(f"{folder}/crab.fits").load()
    >>> ds.onoff.name
    'tutorial'
    """
    if not store.is_path(path):
        return store.open_zarr(path, chunks=chunks, storage_options=storage_options)
    path = os.fspath(path)
    kind = _kind(path)
    if kind == "zarr":
        return store.open_zarr(path, chunks=chunks)
    if kind == "netcdf":
        return store.open_netcdf(path, chunks=chunks)
    if is_ogip(path):
        spectrum = open_ogip(path, checksum=checksum)
        return spectrum if chunks is None else spectrum.chunk(chunks)
    options: dict[str, Any] = {"round_counts_off": round_counts_off, "checksum": checksum}
    if chunks is None:
        return xr.open_dataset(path, engine=OnOffBackend, backend_kwargs=options)
    # Dask cannot tell how large a block of text is, and coordinates along one dimension would have chunks of their own.
    opened = open_fits(path, **options)
    apart = {str(n): c.variable for n, c in opened.coords.items() if c.ndim < 2 and n not in opened.indexes}
    options["checksum"] = False  # checked above
    ds = xr.open_dataset(path, engine=OnOffBackend, chunks=chunks, drop_variables=list(apart), backend_kwargs=options)
    return ds.assign_coords(apart)


def _kind(path: str) -> str:
    """Format of a file by its first bytes."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file or directory")
    if os.path.isdir(path):
        if os.path.exists(os.path.join(path, "zarr.json")):
            return "zarr"
        raise FormatError(f"{path}: a directory without zarr.json found, a Zarr store of format 3 or a file accepted")
    with open(path, "rb") as file:
        start = file.read(8)
    if start.startswith(HDF5) or start.startswith(b"CDF"):
        return "netcdf"
    if start.startswith((FITS, GZIP)):
        return "fits"
    raise FormatError(
        f"{path}: starts with {start!r}, which is none of FITS, gzipped FITS, netCDF and Zarr: the file is damaged, or "
        "of another format"
    )


class OnOffBackend(BackendEntrypoint):
    """Engine of `xarray.open_dataset` for on/off FITS files."""

    description = "On/off counts data of gamma-ray astronomy in FITS files"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "round_counts_off", "checksum")

    def open_dataset(  # type: ignore[override]  # xarray wants the options of a backend listed like this
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        round_counts_off: bool = True,
        checksum: bool = False,
    ) -> xr.Dataset:
        """Open a file, see `xonoff.io.fits.open_fits`."""
        ds = open_fits(filename_or_obj, round_counts_off=round_counts_off, checksum=checksum)
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or [])
        return ds.drop_vars(dropped, errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return True for a FITS file whose first extension is a counts map of this layout; others are left alone."""
        try:
            path = Path(filename_or_obj)
            with open(path, "rb") as file:
                head = file.read(4 * 2880)
        except (TypeError, ValueError, OSError):
            return False
        return head.startswith(FITS) and b"BANDSHDU" in head and b"AXCOLS1" in head
