"""What other packages take and give: gammapy, astropy's NDData, ds9 regions, WCS, HEALPix.

- `to_gammapy`, `from_gammapy`: whole datasets as those of gammapy, in memory.
- `to_nddata`, `from_nddata`: maps and cubes as astropy's ``CCDData``.
- `to_wcs`, `from_wcs`: sky grids as astropy's ``WCS``.
- `read_regions`, `write_regions`, `region_of`, `parse_region`: ds9 region files and the regions of spectra.
- `reproject`: a dataset on the pixels of another map, conserving counts.
- `to_healpix`, `write_healpix`: images in HEALPix cells.

Spectra go to Sherpa and XSPEC through OGIP files, see `xonoff.io.ogip`. Each function imports its package when it is
called.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xonoff.interop.gammapy import from_gammapy, to_gammapy
    from xonoff.interop.healpix import to_healpix, write_healpix
    from xonoff.interop.nddata import from_nddata, to_nddata
    from xonoff.interop.regions import parse_region, read_regions, region_of, write_regions
    from xonoff.interop.resample import reproject
    from xonoff.interop.wcs import from_wcs, to_wcs

_MODULES = {
    "from_gammapy": "gammapy",
    "from_nddata": "nddata",
    "from_wcs": "wcs",
    "parse_region": "regions",
    "read_regions": "regions",
    "region_of": "regions",
    "reproject": "resample",
    "to_gammapy": "gammapy",
    "to_healpix": "healpix",
    "to_nddata": "nddata",
    "to_wcs": "wcs",
    "write_healpix": "healpix",
    "write_regions": "regions",
}

__all__ = [
    "from_gammapy",
    "from_nddata",
    "from_wcs",
    "parse_region",
    "read_regions",
    "region_of",
    "reproject",
    "to_gammapy",
    "to_healpix",
    "to_nddata",
    "to_wcs",
    "write_healpix",
    "write_regions",
]


def __getattr__(name: str) -> object:
    """Import the module of a function when it is asked for."""
    if name in _MODULES:
        return getattr(import_module(f"xonoff.interop.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'xonoff.interop' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
