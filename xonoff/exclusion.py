"""The exclusion mask of a background: found from the data, by turns with the background itself.

A source in a ring makes its background too high. So where the significance is high, and around it, no off counts are
taken, the background is made again, and the significance of that looked at, until the mask no longer changes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.backgrounds import is_correlated
from xonoff.correlation import correlate
from xonoff.errors import SchemaError
from xonoff.excluded import excluded
from xonoff.geometry import sky_grid
from xonoff.neighbours import disc_sums
from xonoff.quantities import significance
from xonoff.units import Value, value_in

__all__ = ["above_threshold", "dilated", "exclusion_mask"]

Bools = npt.NDArray[np.bool_]
#: Neighbours of a pixel, those across a corner among them.
TOUCHING = np.ones((3, 3), dtype=bool)


def exclusion_mask(
    ds: xr.Dataset,
    background: Callable[..., xr.Dataset],
    *,
    radius: Value = "0.1 deg",
    threshold: float = 5.0,
    threshold_low: float = 3.0,
    dilation: Value = "0.3 deg",
    start: Any = None,
    max_iterations: int = 20,
) -> xr.DataArray:
    """Pixels of sources, to be left out of a background; computes.

    Parameters
    ----------
    ds : Dataset
        A map, as the background takes it.
    background : callable
        Makes an on/off dataset, called with ``ds`` and the keyword ``exclusion``: `xonoff.ring_background` with its
        radii, by `functools.partial`.
    radius : angle, deg
        Within which counts are summed, all energies together, for the significance of a pixel.
    threshold, threshold_low : float
        A source is where the significance is above ``threshold`` in a pixel, and above ``threshold_low`` in all
        pixels from there to its end.
    dilation : angle, deg
        What lies within this angle of a source is left out, too.
    start : optional
        What is left out from the start, and always; as the exclusion of `xonoff.ring_background`.
    max_iterations : int
        Number of backgrounds that are made at most.

    Returns
    -------
    DataArray (sky) of bool
        True is left out. ``attrs["iterations"]`` is the number of backgrounds made, ``attrs["converged"]`` 1 if the
        last one left the mask as it was, or came back to an earlier one: then all of those by turns are left out. It
        is 0 if there were too few.

    Raises
    ------
    SchemaError
        If the thresholds or the number of iterations cannot be used.

    Examples
    --------
    >>> from functools import partial
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> ring = partial(xonoff.ring_background, r_in="0.7 deg", width="0.3 deg")
    >>> source = exclusion_mask(ds, ring, dilation="0.2 deg")
    >>> source.attrs["converged"], bool(source.sel(lat=22.014, lon=83.633, method="nearest"))
    (1, True)
    >>> on_off = ring(ds, exclusion=source)
    """
    if not callable(background):
        raise SchemaError(
            f"background: {type(background).__name__} found, a function accepted: "
            "functools.partial(xonoff.ring_background, r_in=..., width=...)"
        )
    low, high = value_in(threshold_low, ""), value_in(threshold, "")
    if not -np.inf < low <= high < np.inf:
        raise SchemaError(
            f"thresholds: {low} up to {high} found, finite numbers with threshold_low <= threshold accepted"
        )
    if isinstance(max_iterations, bool) or not isinstance(max_iterations, int) or max_iterations < 1:
        raise SchemaError(f"max_iterations: {max_iterations!r} found, a whole number from 1 on accepted")
    size = value_in(dilation, "deg")
    sky = sky_grid(ds)
    always = np.zeros(sky.shape, dtype=bool)
    known = excluded(ds, start)
    if known is not None:
        always = np.asarray((known.any("energy") if "energy" in known.dims else known).values)
    masks = [always]
    converged = False
    while not converged and len(masks) <= max_iterations:
        on_off = background(ds, exclusion=xr.Variable(sky.dims(), masks[-1]).values)
        summed = correlate(on_off, radius, correlate_off=False if is_correlated(on_off) else None)
        values = significance(summed).isel(energy=0).transpose(*sky.dims()).values
        masks.append(always | dilated(above_threshold(values, high, low), sky, size))
        converged = any(np.array_equal(masks[-1], mask) for mask in masks[:-1])
    first = next(i for i, mask in enumerate(masks) if np.array_equal(mask, masks[-1]))
    mask = np.logical_or.reduce(masks[first:])  # one mask, or those that come back by turns
    attrs = {"iterations": len(masks) - 1, "converged": int(converged)}
    coords = {name: c for name, c in ds.coords.items() if name == "wcs" or (c.dims and set(c.dims) <= set(sky.dims()))}
    return xr.DataArray(mask, coords=coords, dims=sky.dims(), name="exclusion", attrs=attrs)


def above_threshold(values: npt.NDArray[np.floating[Any]], threshold: float, threshold_low: float) -> Bools:
    """Connected parts of an image that are above a low threshold, and above a high one somewhere; NaN is below.

    Pixels that touch at a corner are connected.

    Examples
    --------
    >>> above_threshold(np.array([[3.5, 4.0, 6.0, 1.0, 4.0]]), 5.0, 3.0).astype(int)
    array([[1, 1, 1, 0, 0]])
    """
    from scipy.ndimage import label

    labels, n = label(values > threshold_low, TOUCHING)
    high = np.zeros(n + 1, dtype=bool)
    high[labels[values > threshold]] = True
    high[0] = False
    return np.asarray(high[labels])


def dilated(mask: Bools, sky: Any, radius: float) -> Bools:
    """Pixels within a true angle, deg, of the pixels of a mask.

    Examples
    --------
    >>> from xonoff.skygrid import SkyGrid
    >>> sky = SkyGrid.create((0, 60), shape=(3, 5), pixel_size=0.1)
    >>> dilated(np.arange(15).reshape(3, 5) == 7, sky, 0.1).astype(int)
    array([[0, 0, 1, 0, 0],
           [1, 1, 1, 1, 1],
           [0, 0, 1, 0, 0]])
    """
    return np.asarray(disc_sums(mask, sky, radius) > 0)
