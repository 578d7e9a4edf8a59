"""Reflected regions: the background of a source from places as far from the pointing as the source is.

Where the acceptance depends on the distance from the pointing alone, copies of the on region that are turned about the
pointing have its background. `reflected_regions` finds them, and `reflected_spectrum` makes an on/off spectrum with
them, see `xonoff.off_regions`.
"""

import warnings
from collections.abc import Callable
from typing import Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.coordinates import SkyCoord

from xonoff.errors import GeometryError, NoOffRegionsWarning, SchemaError
from xonoff.geometry import map_dims, sky_dims, sky_grid
from xonoff.observations import pointing as pointing_of
from xonoff.off_regions import Weights, on_off_spectrum
from xonoff.outlines import angular_width, axis_of, check_sky_region, overlap, samples, turned
from xonoff.provenance import recorded
from xonoff.region import inside, region_mask
from xonoff.skygrid import SkyGrid
from xonoff.units import Position, Value, lonlat_in, value_in

__all__ = ["Options", "reflected_regions", "reflected_spectrum"]


class Options(TypedDict, total=False):
    """Where reflected regions may lie; see `reflected_regions`."""

    number: int | None
    max_number: int | None
    min_distance: Value
    min_distance_on: Value
    increment: Value


def reflected_regions(
    region: Any, pointing: Position, exclusion: Any = None, *, sky: SkyGrid | None = None, **options: Unpack[Options]
) -> list[Any]:
    """Copies of a region turned about the pointing, which overlap neither it nor each other.

    Parameters
    ----------
    region : Region
        The on region: circle, ellipse, rectangle, annulus or polygon of the package `regions`, on the sky, or a
        compound of them.
    pointing : SkyCoord or (lon, lat)
        As two angles in the frame of the region.
    exclusion : Region, iterable of Region, or DataArray (sky) or (energy, sky) of bool, optional
        Regions on the sky, or a map that is True where it may not be, such as `xonoff.masks.from_significance`: no
        off region has a part in common with them. A pixel that is excluded in any energy is.
    sky : SkyGrid, optional
        Pixels of a map, ``ds.onoff.geom.sky``: off regions that reach off it, or hold no centre of a pixel, are left
        out.
    **options
        ``number`` : take this many, evenly around the pointing with the on region as one more ("wobble"); those that
        are excluded are left out. By default as many as fit, the next one beside the last.
        ``max_number`` : take no more than this.
        ``min_distance``, ``min_distance_on`` : least angle of turn (deg) between two neighbours, and in addition beside
        the on region; 0 and 0.1 rad by default.
        ``increment`` : turn (deg) where a place is excluded, to try again; 0.1 rad by default.

    Returns
    -------
    list of Region
        In the order of their position angles (north through east), from the on region on. With a `NoOffRegionsWarning`
        that says why, if there is none.

    Raises
    ------
    SchemaError
        If the region has no area on the sky, or an option is out of range.

    Notes
    -----
    Two circles of radius r at the distance d from the pointing touch when they are turned by ``2 arcsin(sin r / sin
    d)``. Defaults and order are those of gammapy, which measures this angle on pixels of 0.01 deg.

    Examples
    --------
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from regions import CircleSkyRegion
    >>> region = CircleSkyRegion(SkyCoord(83.63, 22.01, unit="deg"), 0.1 * u.deg)
    >>> wobble = SkyCoord(83.63, 22.51, unit="deg")
    >>> len(reflected_regions(region, wobble))
    14
    >>> [opposite] = reflected_regions(region, wobble, number=1)
    >>> opposite.center.to_string(precision=2)
    '83.63 23.01'
    """
    found, reason = _find(region, pointing, exclusion, sky, options)
    if not found:
        warnings.warn(f"no off region found: {reason}", NoOffRegionsWarning, stacklevel=2)
    return found


@recorded
def reflected_spectrum(
    ds: xr.Dataset,
    region: Any,
    pointing: Position | None = None,
    exclusion: Any = None,
    *,
    weights: Weights | None = None,
    containment_correction: bool = False,
    **options: Unpack[Options],
) -> xr.Dataset:
    """On/off spectrum of a region, with the background of its reflected regions.

    Parameters
    ----------
    ds : Dataset
        A map with ``counts``; off counts that it has are not used. Its energy dispersion, exposure and masks are
        treated as by `xonoff.spectrum.to_spectrum`.
    region : Region
        The on region, on the sky and inside the map.
    pointing : SkyCoord or (lon, lat), optional
        As two angles in the frame of the map. By default that of ``ra_pnt`` and ``dec_pnt`` on ``obs``.
    exclusion
        As for `reflected_regions`.
    weights, containment_correction
        As for `xonoff.off_regions.on_off_spectrum`.
    **options
        ``number``, ``max_number``, ``min_distance``, ``min_distance_on`` and ``increment`` as for `reflected_regions`.

    Returns
    -------
    Dataset (energy)
        See `xonoff.off_regions.on_off_spectrum`. Where no off region is found, ``mask_safe`` is False everywhere and
        alpha NaN, and a `NoOffRegionsWarning` says why.

    Examples
    --------
    >>> import xonoff
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from regions import CircleSkyRegion
    >>> region = CircleSkyRegion(SkyCoord(83.63, 22.01, unit="deg"), 0.25 * u.deg)
    >>> ds = xonoff.tutorial.dataset()
    >>> spectrum = reflected_spectrum(ds, region, (83.63, 22.81))
    >>> str(spectrum.region_off.values).count("circle"), float(spectrum.onoff.significance("energy")) > 20
    (8, True)
    """
    map_dims(ds)  # refuses what is no map
    sky = sky_grid(ds)
    region_mask(region, sky)  # refuses it before a search
    center = pointing_of(ds) if pointing is None else pointing
    if not hasattr(center, "transform_to"):
        center = _in_frame(center, sky.frame)
    found, reason = _find(region, center, exclusion, sky, options)
    if not found:
        name = ds.attrs.get("name", "")
        text = f"dataset {name!r}: no off region found, so that no bin is valid: {reason}"
        warnings.warn(text, NoOffRegionsWarning, stacklevel=2)
    return on_off_spectrum(ds, region, found, weights=weights, containment_correction=containment_correction)


# -- the search -------------------------------------------------------------------------------------------------------


def _find(
    region: Any, pointing: Position, exclusion: Any, sky: SkyGrid | None, options: Options
) -> tuple[list[Any], str]:
    """Reflected regions, and why there is none."""
    check_sky_region(region)
    axis = axis_of(pointing, region)
    unknown = set(options) - set(Options.__annotations__)
    if unknown:
        raise SchemaError(f"option {min(unknown)!r} found, {', '.join(Options.__annotations__)} accepted")
    number, most = (_number(name, options.get(name)) for name in ("number", "max_number"))
    distance = _angle("min_distance", options.get("min_distance", 0.0))
    distance_on = _angle("min_distance_on", options.get("min_distance_on", "0.1 rad"))
    increment = _angle("increment", options.get("increment", "0.1 rad"), above=0.0)
    tests = {
        "touch what is excluded (where a map of it is True)": _exclusion_test(exclusion),
        "reach off the map": _map_test(sky),
    }
    width = angular_width(region, axis)
    if width is None:
        return [], "the on region holds or surrounds the pointing: take a smaller region, or another pointing"
    wide = f"the on region takes up {width:.4g} deg as the pointing sees it"
    if number is None:
        step, first = width + distance, width + distance + distance_on
        last = 360 - first
    else:
        step = increment = first = 360 / (number + 1)
        last = 360 - 0.5 * step
        if step < width:
            return [], f"{wide}, {number} off regions would overlap: take up to {max(int(360 / width) - 1, 0)}"
    found: list[Any] = []
    refused = dict.fromkeys(tests, 0)
    angle = first
    while angle <= last and len(found) < (most or np.inf):
        candidate = turned(region, axis, angle)
        why = next((name for name, test in tests.items() if test(candidate)), None)
        if why is None:
            found.append(candidate)
        else:
            refused[why] += 1
        angle += step if why is None else increment
    if not any(refused.values()):
        return found, f"{wide}, which leaves no room for another one"
    counted = " and ".join(f"{n} {why}" for why, n in refused.items() if n)
    return found, f"of the places around the pointing, {counted}: take a smaller region, or exclude less"


def _map_test(sky: SkyGrid | None) -> Callable[[Any], bool]:
    """Test whether a region reaches off a map, or holds no pixel of it."""
    if not isinstance(sky, SkyGrid | None):
        raise SchemaError(f"sky: a {type(sky).__name__} found, a SkyGrid accepted: ds.onoff.geom.sky")

    def reaches_off(region: Any) -> bool:
        try:
            return sky is not None and not region_mask(region, sky).any()
        except GeometryError:
            return True

    return reaches_off


def _exclusion_test(exclusion: Any) -> Callable[[Any], bool]:
    """Test whether a region has a part in common with what is excluded."""
    from regions import Region

    if exclusion is None:
        return lambda region: False
    if isinstance(exclusion, xr.DataArray):
        dims = sky_dims(exclusion)
        if exclusion.dtype != bool or len(dims) != 2:
            raise SchemaError(
                f"exclusion: {exclusion.dtype} on {exclusion.dims} found, a map of bool that is True where it is "
                "excluded accepted, such as masks.from_regions(ds, regions)"
            )
        sky = sky_grid(exclusion)
        others = [dim for dim in exclusion.dims if dim not in dims]
        excluded = np.asarray(exclusion.variable.any(others).transpose(*sky.dims()).values)
        return lambda region: _touches(region, excluded, sky)
    try:
        if isinstance(exclusion, str | np.ndarray | xr.Dataset):
            raise TypeError
        listed = [exclusion] if isinstance(exclusion, Region) else list(exclusion)
    except TypeError:
        raise SchemaError(
            f"exclusion: a {type(exclusion).__name__} found, regions, or a map (DataArray) that is True where it is "
            "excluded, accepted"
        ) from None
    for other in listed:
        check_sky_region(other)
    return lambda region: any(overlap(region, other) for other in listed)


def _touches(region: Any, excluded: npt.NDArray[np.bool_], sky: SkyGrid) -> bool:
    """Tell whether a region has the centre of an excluded pixel, or a point of its own in one."""
    if (inside(region, sky) & excluded).any():
        return True
    x, y = sky.sky_to_pixel(samples(region))
    known = np.isfinite(x) & np.isfinite(y)
    row, column = (np.floor(np.where(known, p, -1) + 0.5).astype(np.intp) for p in (y, x))
    on_map = known & (row >= 0) & (row < sky.shape[0]) & (column >= 0) & (column < sky.shape[1])
    return bool(excluded[row[on_map], column[on_map]].any())


def _number(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise SchemaError(f"{name}: {value!r} found, a whole number of at least 1 accepted")
    return int(value)


def _angle(name: str, value: Value, above: float | None = None) -> float:
    """Angle in deg, not below 0."""
    angle = value_in(value, "deg")
    if not 0 <= angle < 360 or angle == above:
        raise SchemaError(f"{name}: {angle} deg found, an angle {'not below' if above is None else 'above'} 0 accepted")
    return angle


def _in_frame(position: Position, frame: str) -> SkyCoord:
    lon, lat = lonlat_in(position, frame)
    return SkyCoord(lon, lat, unit="deg", frame=frame)
