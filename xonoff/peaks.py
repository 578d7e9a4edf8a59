"""Peaks of a sky map, as a table: where a source may be."""

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.table import Table

from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import sky_dims, sky_grid
from xonoff.units import Value, value_in

__all__ = ["find_peaks"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def find_peaks(array: xr.DataArray, threshold: float, min_distance: Value | None = None) -> Table:
    """Find the pixels of a map that are higher than all around them.

    Parameters
    ----------
    array : DataArray (sky)
        Such as ``ts_map(ds, model).sqrt_ts``; it is computed. NaN is no value, and no neighbour.
    threshold : float
        Peaks are at least as high.
    min_distance : angle, deg, optional
        No peak has a higher pixel within this distance on the sky, nor an equal peak that is in the table. By default
        its eight neighbours are not higher.

    Returns
    -------
    Table
        ``value``, ``x`` and ``y`` (numbers of the pixel in this map), ``lon`` and ``lat`` (deg, in the frame of the
        map, which is ``meta["frame"]``), from the highest to the lowest, equal ones in the order of the pixels. Of
        pixels of the same value side by side it is the one in their middle. A map of one value has no peak.

    Raises
    ------
    GeometryError
        If the array is no map.
    SchemaError
        If the threshold or the distance is no number, or the map has none.

    Examples
    --------
    >>> import xonoff
    >>> significance = xonoff.tutorial.dataset().onoff.significance("energy")
    >>> peaks = find_peaks(significance, 5, "0.5 deg")
    >>> len(peaks), peaks["lon"].round(2).tolist(), peaks["lat"].round(2).tolist(), peaks.meta["frame"]
    (1, [83.68], [21.96], 'icrs')
    """
    if len(sky_dims(array)) != 2 or array.ndim != 2:
        raise GeometryError(
            f"a map over two sky dimensions is wanted, dims {array.dims} found: sum over the others, or use isel"
        )
    if array.dtype.kind not in "biuf":
        raise SchemaError(f"a map of {array.dtype} found, one of real numbers accepted")
    least = value_in(threshold, "")
    if not np.isfinite(least):
        raise SchemaError(f"threshold: {threshold!r} found, a finite number accepted")
    distance = None if min_distance is None else value_in(min_distance, "deg")
    if distance is not None and not 0 <= distance <= 180:
        raise SchemaError(f"min_distance: {min_distance!r} found, an angle from 0 to 180 deg accepted")
    sky = sky_grid(array)
    values = np.array(array.transpose(*sky.dims()).values, dtype=np.float64)
    y, x = np.indices(values.shape)
    lon, lat = sky.pixel_to_sky(x, y)
    values[~np.isfinite(lon + lat)] = np.nan  # off the sky
    found = _summits(values, values >= least)
    found = found[np.lexsort((found, -values.ravel()[found]))]
    if distance is not None and found.size:
        found = _apart(found, values, lon, lat, distance, least)
    row, column = np.divmod(found, values.shape[1])
    table = Table(
        {
            "value": values[row, column],
            "x": column.astype(np.int64),
            "y": row.astype(np.int64),
            "lon": lon[row, column] % 360,
            "lat": lat[row, column],
        },
        meta={"frame": sky.frame},
    )
    table["lon"].unit = table["lat"].unit = "deg"
    return table


def _summits(values: Floats, high: Flags) -> npt.NDArray[np.intp]:
    """Numbers of the pixels, one for each group of equal ones side by side, that no neighbour is higher than."""
    from scipy import ndimage

    padded = np.pad(np.where(np.isnan(values), -np.inf, values), 1, constant_values=-np.inf)
    around = [padded[1 + i : 1 + i + values.shape[0], 1 + j : 1 + j + values.shape[1]] for i, j in _neighbours()]
    own = padded[1:-1, 1:-1]
    top = high & np.all([own >= other for other in around], axis=0)
    tops = np.pad(top, 1)
    shifted = [tops[1 + i : 1 + i + values.shape[0], 1 + j : 1 + j + values.shape[1]] for i, j in _neighbours()]
    # A flat part that goes on where there is a higher neighbour is a shoulder.
    spoilt = top & np.any([(own == other) & ~also for other, also in zip(around, shifted, strict=True)], axis=0)
    lower = top & np.any([(own > other) & (other > -np.inf) for other in around], axis=0)
    labels, n = ndimage.label(top, structure=np.ones((3, 3)))
    numbers = np.arange(1, n + 1)
    size, bad, falls = (ndimage.sum_labels(flags, labels, numbers) for flags in (top, spoilt, lower))
    kept = numbers[(bad == 0) & ((falls > 0) | (size == 1))]
    middle = np.zeros((n + 1, 2))
    middle[1:] = np.reshape(ndimage.center_of_mass(top, labels, numbers), (n, 2)) if n else 0
    pixels = np.flatnonzero(np.isin(labels, kept))
    label = labels.ravel()[pixels]
    off = np.stack(np.divmod(pixels, values.shape[1]), axis=1) - middle[label]
    order = np.lexsort((pixels, (off**2).sum(axis=1).round(9), label))
    _, first = np.unique(label[order], return_index=True)
    return np.asarray(pixels[order][first], dtype=np.intp)


def _neighbours() -> list[tuple[int, int]]:
    return [(i, j) for i, j in product((-1, 0, 1), repeat=2) if i or j]


def _apart(
    found: npt.NDArray[np.intp], values: Floats, lon: Floats, lat: Floats, distance: float, least: float
) -> npt.NDArray[np.intp]:
    """Peaks, from the highest to the lowest, that have nothing higher within a distance."""
    from scipy.spatial import cKDTree

    level = values.ravel()
    pixels = np.flatnonzero(level >= least)
    tree = cKDTree(_directions(lon.ravel()[pixels], lat.ravel()[pixels]))
    chord = 2 * np.sin(np.radians(distance) / 2) * (1 + 1e-12)
    taken: dict[int, Any] = {}
    for number in found.tolist():
        near = pixels[tree.query_ball_point(_directions(lon.ravel()[number], lat.ravel()[number]), chord)]
        same = near[level[near] == level[number]].tolist()
        if not (level[near] > level[number]).any() and not any(other in taken for other in same):
            taken[number] = None
    return np.array(list(taken), dtype=np.intp)


def _directions(lon: Any, lat: Any) -> Floats:
    lon, lat = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
