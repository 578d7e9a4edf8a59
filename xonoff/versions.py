"""Versions of Python, of this package and of all that it uses: what a report of a fault should begin with."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TextIO

__all__ = ["show_versions", "versions"]

#: Packages that are always there, and those of the extras.
REQUIRED = (
    "astropy",
    "dask",
    "iminuit",
    "netCDF4",
    "numba",
    "numpy",
    "pyyaml",
    "regions",
    "scipy",
    "tqdm",
    "xarray",
    "zarr",
)
OPTIONAL = (
    "astropy-healpix",
    "bokeh",
    "distributed",
    "fsspec",
    "gammapy",
    "healpy",
    "holoviews",
    "hvplot",
    "matplotlib",
    "obstore",
    "reproject",
    "s3fs",
    "sherpa",
)


def versions() -> dict[str, str | None]:
    """Versions of what is installed, by name; None for what is not. Nothing is imported for it.

    Examples
    --------
    >>> list(versions())[:4]
    ['python', 'platform', 'cores', 'xonoff']
    """
    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
    }
    return found | {name: _version(name) for name in ("xonoff", *REQUIRED, *OPTIONAL)}


def show_versions(file: TextIO | None = None) -> None:
    """Print the versions of Python, of this package and of all that it uses.

    Parameters
    ----------
    file : text file, optional
        Where they are printed; standard output by default.

    Examples
    --------
    >>> show_versions()  # doctest: +ELLIPSIS
    python ...
    """
    found = versions()
    width = max(map(len, found))
    for name, number in found.items():
        print(f"{name:<{width}}  {number or '-'}", file=sys.stdout if file is None else file)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
