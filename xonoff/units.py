"""Angles, energies and positions as people write them, turned into plain floats of the schema's unit."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.coordinates import SkyCoord

from xonoff.errors import SchemaError

__all__ = ["CM2", "Position", "Value", "floats_in", "lonlat_in", "plain_unit", "unit_factor", "value_in"]

#: A number with a unit: a Quantity, a string such as "0.1 deg", or a plain number in the schema's unit.
Value = Any
#: Square centimetres of a square metre: fluxes are per cm2, an exposure is in m2 s.
CM2 = 1e4
#: A SkyCoord, or (lon, lat) as two values in degrees in the map's frame.
Position = Any


def floats_in(values: Value, unit: str) -> npt.NDArray[np.float64]:
    """Array of floats in a unit, from a Quantity, a string, or plain numbers that are in the unit already.

    Raises
    ------
    SchemaError
        If the unit is unknown or of another kind, or the text is no quantity.

    Examples
    --------
    >>> floats_in(["100 GeV", "1 TeV"], "TeV")
    array([0.1, 1. ])
    """
    try:
        if isinstance(values, list | tuple) and any(isinstance(value, str | u.Quantity) for value in values):
            return np.array([floats_in(value, unit) for value in values], dtype=float)
        if isinstance(values, str | u.Quantity):
            return np.asarray(u.Quantity(values).to_value(unit), dtype=float)
        numbers = np.asarray(values)
        if numbers.dtype.kind not in "fiu":  # numpy would take None for NaN, True for 1 and "1" for 1
            raise TypeError(f"{numbers.dtype} found")
        return numbers.astype(float)
    except (TypeError, ValueError) as error:  # astropy's unit errors are among these
        accepted = f"a number in {unit}, text such as '1 {unit}' or a Quantity" if unit else "a number without unit"
        raise SchemaError(f"{values!r} found, {accepted} accepted: {error}") from error


def value_in(value: Value, unit: str) -> float:
    """One float in a unit, see `floats_in`.

    Examples
    --------
    >>> value_in("6 arcmin", "deg"), value_in(0.1, "deg")
    (0.1, 0.1)
    """
    array = floats_in(value, unit)
    if array.shape:
        raise SchemaError(f"one value in {unit} is wanted, {array.size} found")
    return float(array)


@lru_cache(maxsize=1024)
def unit_factor(found: str, accepted: str) -> float:
    """Factor that turns numbers in the unit ``found`` into ``accepted``; 1.0 when they are the same.

    Raises
    ------
    SchemaError
        If the text is no unit, one of another kind, or logarithmic.

    Examples
    --------
    >>> unit_factor("GeV", "TeV")
    0.001
    """
    try:
        factor = float(plain_unit(found).to(u.Unit("" if accepted == "1" else accepted)))
        if not 0 < factor < np.inf:
            raise ValueError(f"a factor of {factor}")
        return factor
    except (TypeError, ValueError) as error:
        raise SchemaError(f"unit {found!r} found, one that converts to {accepted!r} accepted") from error


def plain_unit(text: str) -> u.UnitBase:
    """Unit of a text, whose numbers are multiples of it: not logarithms, as those of dex(m) and mag(AB) are.

    Raises
    ------
    ValueError
        If the text is no such unit.

    Examples
    --------
    >>> plain_unit("cm-2 s-1 TeV-1").physical_type == u.Unit("1 / (m2 s J)").physical_type
    True
    """
    unit = u.Unit(text)
    if not isinstance(unit, u.UnitBase):
        raise ValueError(f"{text!r} is logarithmic")
    return unit


def lonlat_in(position: Position, frame: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Longitude and latitude in degrees in a celestial frame.

    Parameters
    ----------
    position : SkyCoord or (lon, lat)
        A `~astropy.coordinates.SkyCoord` in any frame; or two angles in the frame itself, as numbers in degrees,
        strings or Quantities.
    frame : str
        Name of the frame, "icrs" or "galactic" for example.

    Examples
    --------
    >>> lon, lat = lonlat_in((83.63, "22.01 deg"), "icrs")
    >>> float(lon), float(lat)
    (83.63, 22.01)
    """
    if hasattr(position, "transform_to"):
        coord = SkyCoord(position) if not isinstance(position, SkyCoord) else position
        if coord.frame.name != frame or coord.frame.frame_attributes:
            coord = coord.transform_to(frame)
        return np.asarray(coord.spherical.lon.deg), np.asarray(coord.spherical.lat.deg)
    try:
        lon, lat = position
    except (TypeError, ValueError) as error:
        raise SchemaError(f"{position!r} is no position: give a SkyCoord or (lon, lat) in the map's frame") from error
    return floats_in(lon, "deg"), floats_in(lat, "deg")
