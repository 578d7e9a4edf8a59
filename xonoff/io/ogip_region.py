"""The table ``REGION`` of an OGIP spectrum: its on region as gammapy writes it, in pixels of a WCS in the same header.

Pixels count from 0 here, as in gammapy and the package `regions`.
"""

import operator
import warnings
from functools import reduce
from typing import Any

import numpy as np
import xarray as xr
from astropy import units as u
from astropy.table import QTable
from astropy.utils.exceptions import AstropyUserWarning

from xonoff.io.hdu import HDU
from xonoff.io.observations import Table
from xonoff.region import region_center, region_text
from xonoff.skygrid import SkyGrid

__all__ = ["read_region", "region_table"]

TEXT = np.dtypes.StringDType()
PIXEL = 0.01  # deg, as in gammapy, which lays such a grid over the region
MAX_SHAPES = 100
UNITS = {"X": "pix", "Y": "pix", "R": "pix", "ROTANG": "deg"}


def region_table(ds: xr.Dataset) -> Table | None:
    """Table of the coordinate ``region`` if that is one simple shape on the sky: circle, annulus, ellipse, polygon, ...

    Examples
    --------
    >>> ds = xr.Dataset(coords={"region": "icrs;circle(83.63,22.01,0.3)"})
    >>> name, columns, units, cards = region_table(ds)
    >>> {key: np.round(values, 6).tolist() for key, values in columns.items() if key != "SHAPE"}
    {'X': [0.0], 'Y': [0.0], 'R': [30.0], 'ROTANG': [0.0]}
    """
    from regions import Regions, SkyRegion

    if "region" not in ds.coords:
        return None
    text = str(ds["region"].values)
    frame = "galactic" if text.startswith("galactic") else "icrs"
    try:
        [region] = Regions.parse(text, format="ds9")
        if not isinstance(region, SkyRegion):
            return None
        anywhere = SkyGrid.create((0, 0), shape=(1, 1), pixel_size=PIXEL, frame=frame)
        middle = region_center(region, anywhere)
        sky = SkyGrid.create(middle, shape=(1, 1), pixel_size=PIXEL, projection="TAN", frame=frame)
        found = Regions([region.to_pixel(sky.wcs)]).serialize(format="fits")
    except Exception:  # a compound, or free text; regions raises many kinds
        return None
    columns = {name: np.asarray(found[name]) for name in ("SHAPE", *UNITS) if name in found.colnames}
    if not all(np.isfinite(columns[name]).all() for name in columns if name != "SHAPE"):
        return None
    cards = {**sky.cards, "WCSSHAPE": "(1,1)", "HDUCLASS": "ASC", "HDUCLAS1": "REGION", "HDUCLAS2": "STANDARD"}
    return "REGION", columns, {name: UNITS[name] for name in columns if name in UNITS}, cards


def read_region(hdu: HDU) -> dict[str, xr.Variable]:
    """Coordinates ``region``, ``lon`` and ``lat`` of a table ``REGION``; several shapes are joined by ``or``.

    Nothing is returned, for nothing else depends on it, if the table has no WCS, or is not one of shapes that the
    package `regions` knows, all of them included.
    """
    from regions import Regions

    if hdu.kind != "table" or hdu.shape[0] > MAX_SHAPES or "CTYPE1" not in hdu.cards:
        return {}
    try:
        sky = SkyGrid.from_header(hdu.cards, (1, 1))
        table: dict[str, Any] = hdu.table()
        for name, unit in UNITS.items():
            if name in table:
                table[name] = u.Quantity(table[name], unit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", AstropyUserWarning)  # of a shape that would be left out
            shapes = Regions.parse(QTable(table), format="fits").regions
            if any(shape.meta.get("include") == 0 for shape in shapes):
                return {}
            region = reduce(operator.or_, [shape.to_sky(sky.wcs) for shape in shapes])
            (lon, lat), text = region_center(region, sky), region_text(region)
    except Exception:  # regions, units and tables raise many kinds
        return {}
    if not (np.isfinite(lon) and np.isfinite(lat)):
        return {}
    attrs = {"units": "deg", "frame": sky.frame}
    return {
        "lon": xr.Variable((), lon, {**attrs, "long_name": "longitude"}),
        "lat": xr.Variable((), lat, {**attrs, "long_name": "latitude"}),
        "region": xr.Variable((), np.array(text, dtype=TEXT), {"long_name": "on region"}),
    }
