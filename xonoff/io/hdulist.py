"""Datasets as astropy's ``HDUList``, the same HDUs as in a file of `xonoff.io.fits`."""

import io
import tempfile
from pathlib import Path

import xarray as xr
from astropy.io import fits

from xonoff.errors import FormatError
from xonoff.io.fits import fits_bytes, open_fits
from xonoff.typed import on_off

__all__ = ["from_hdulist", "to_hdulist"]


def to_hdulist(ds: xr.Dataset) -> fits.HDUList:
    """HDUs of a dataset, in memory; a dask dataset is computed.

    Parameters
    ----------
    ds : Dataset

    Returns
    -------
    HDUList

    Raises
    ------
    SchemaError, GeometryError
        As `xonoff.io.fits.to_fits`.

    Examples
    --------
    >>> import xonoff
    >>> [hdu.name for hdu in to_hdulist(xonoff.tutorial.dataset())][:3]
    ['PRIMARY', 'COUNTS', 'COUNTS_BANDS']
    """
    hdulist = fits.open(io.BytesIO(fits_bytes(ds)), memmap=False, lazy_load_hdus=False)
    for hdu in hdulist:
        hdu.data  # noqa: B018  # read now, into memory that may be written to
    return hdulist


@on_off
def from_hdulist(hdulist: fits.HDUList, *, round_counts_off: bool = True) -> xr.Dataset:
    """Dataset of a list of HDUs, in memory; it is read as a file would be.

    Parameters
    ----------
    hdulist : HDUList
    round_counts_off : bool
        As for `xonoff.open_dataset`.

    Returns
    -------
    Dataset

    Raises
    ------
    FormatError
        If the HDUs are not of the layout of `xonoff.io.fits`.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> from_hdulist(to_hdulist(ds)).counts.equals(ds.counts)
    True
    """
    if not isinstance(hdulist, fits.HDUList):
        raise FormatError(
            f"a {type(hdulist).__name__} found, an astropy HDUList accepted: open files with open_dataset"
        )
    if not len(hdulist):
        raise FormatError("an HDUList without HDUs found, those of an on/off dataset accepted: see to_hdulist")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hdulist.fits"
        try:
            hdulist.writeto(path, output_verify="silentfix", checksum=False)
            ds = open_fits(path, round_counts_off=round_counts_off).load()
        except FormatError as error:
            raise FormatError(str(error).replace(str(path), "HDUList")) from error
    if not hdulist[0].header.get("NAME"):
        ds.attrs["name"] = ""
    for array in ds.variables.values():
        array.encoding = {}
    return ds
