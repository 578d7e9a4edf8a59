"""Residuals: what the counts have above a prediction, bin by bin, smoothed, summed, or of a region per energy."""

from collections.abc import Hashable, Iterable
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr
from astropy.coordinates import SkyCoord

from xonoff import quantities
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import sky_dims, sky_grid
from xonoff.predict import Models, npred
from xonoff.region import region_mask
from xonoff.skygrid import SkyGrid
from xonoff.stats.threads import in_threads
from xonoff.units import Value, value_in

__all__ = ["METHODS", "Method", "residuals", "spectral_residuals"]

Floats = npt.NDArray[np.float64]
Method: TypeAlias = Literal["diff", "diff/model", "diff/sqrt(model)"]

#: What each method computes, for labels.
METHODS: dict[str, str] = {
    "diff": "counts - model",
    "diff/model": "(counts - model) / model",
    "diff/sqrt(model)": "(counts - model) / sqrt(model)",
}


def residuals(
    ds: xr.Dataset,
    method: Method = "diff",
    models: Models = None,
    *,
    smooth: Value | None = None,
    dim: Hashable | Iterable[Hashable] | None = None,
) -> xr.DataArray:
    r"""Counts above the prediction of models and profiled background, in one of three measures.

    Parameters
    ----------
    ds : Dataset
        With on and off counts and acceptances.
    method : {"diff", "diff/model", "diff/sqrt(model)"}
        Measure of the difference.
    models : SkyModel or iterable of SkyModel, optional
        Those that the dataset carries by default.
    smooth : angle, deg, optional
        Sigma of a Gaussian that counts and prediction of each energy are averaged with, over the pixels within the
        masks, before they are compared; up to 180 deg. Its size in pixels is that in the middle of the map, where that
        is off the sky that in the plane of the projection. At a pole of a CAR map whole rows are averaged.
    dim : str or iterable of str, optional
        Dimensions to sum counts and prediction over first, within the masks: "energy" gives a map, ``...`` one number.
        By default each bin stands for itself.

    Returns
    -------
    DataArray (energy, sky), or what ``dim`` leaves of it
        NaN outside the masks, in invalid bins, and of a ratio where the model is 0. Lazy where the dataset is;
        smoothing joins the chunks of each energy.

    Raises
    ------
    SchemaError
        If there is no such method or dimension, or one of the variables is missing.
    GeometryError
        If a dataset without sky is to be smoothed, or ``smooth`` is no angle up to 180 deg.

    Notes
    -----
    With the prediction :math:`m` of `xonoff.predict.npred`, :math:`n - m`, :math:`(n - m) / m` or
    :math:`(n - m) / \sqrt m`. It holds the background that is profiled with the signal, which follows the counts:
    without models :math:`n - m` is the excess divided by :math:`1 + \alpha`. Smoothed counts are means over pixels,
    which scatter less than those of one: :math:`(n - m) / \sqrt m` is then less than in standard deviations.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> residuals(ds, "diff/sqrt(model)").dims
    ('energy', 'lat', 'lon')
    >>> residuals(ds, "diff/sqrt(model)", smooth="0.1 deg", dim="energy").max().item() > 5
    True
    """
    _check(method)
    n, model, inside = _bins(ds, models)
    over = _dims(dim, n.dims)
    n, model, inside = _sum(n, inside, over), _sum(model, inside, over), inside.any(over) if over else inside
    sigma = {} if smooth is None else _sigma(ds, n.dims, smooth)
    values = xr.apply_ufunc(
        partial(_residuals, method=method, sigma=tuple(sigma.values())),
        *(n, model, inside),
        input_core_dims=[list(sigma)] * 3,
        output_core_dims=[list(sigma)],
        dask="parallelized",
        dask_gufunc_kwargs={"allow_rechunk": True},
        output_dtypes=[np.float64],
    )
    template = quantities.mask(ds)
    template = template.any(over) if over else template
    found = template.copy(deep=False, data=values.transpose(*template.dims).data)
    found.name, found.attrs = "residuals", {"units": "1", "long_name": METHODS[method]}
    return found if sky_dims(found) else found.drop_vars("wcs", errors="ignore")


def spectral_residuals(
    ds: xr.Dataset, region: Any = None, method: Method = "diff", models: Models = None
) -> xr.Dataset:
    r"""Residuals of each energy, summed over a region within the masks, with their errors.

    Parameters
    ----------
    ds : Dataset
    region : Region, optional
        Sky or pixel region of the package `regions` that lies on the map; the whole map by default.
    method, models
        As for `residuals`.

    Returns
    -------
    Dataset
        ``residuals`` and ``error``, (energy). NaN where no bin is valid. Lazy where the dataset is.

    Raises
    ------
    GeometryError
        If the region reaches off the map, holds no pixel, or there is no map.
    SchemaError
        As for `residuals`.

    Notes
    -----
    The error is that of the excess, :math:`\sqrt{\sum n_\mathrm{on} + \alpha^2 n_\mathrm{off}}`, divided as the
    residual is. The profiled background takes part of each fluctuation, so the residuals scatter less, by up to
    :math:`1 + \alpha`.

    Examples
    --------
    >>> import xonoff
    >>> found = spectral_residuals(xonoff.tutorial.dataset())
    >>> found.residuals.dims, bool((found.error > 0).all())
    (('energy',), True)
    """
    _check(method)
    n, model, inside = _bins(ds, models)
    variance = n + quantities.alpha(ds).variable * quantities.background(ds).variable
    sky = sky_dims(ds)
    if region is not None:
        if len(sky) != 2:
            raise GeometryError(f"region: sky dimensions {sky} found, two accepted: a spectrum is that of one region")
        grid = sky_grid(ds)
        inside = (inside & xr.Variable(grid.dims(), region_mask(region, grid))).transpose(*inside.dims)
    n, model, variance = (_sum(array, inside, sky) for array in (n, model, variance))
    known = inside.any(sky) if sky else inside
    arrays = {"residuals": n - model, "error": np.sqrt(variance)}
    scaled = {
        name: xr.apply_ufunc(
            partial(_scaled, method=method), array, model, known, dask="parallelized", output_dtypes=[np.float64]
        )
        for name, array in arrays.items()
    }
    for array in scaled.values():
        array.attrs = {"units": "1"}
    coords = {name: c.variable for name, c in ds.coords.items() if set(c.dims) <= {"energy", "bounds"} and c.dims}
    return xr.Dataset(scaled, coords)


# -- how it is done ---------------------------------------------------------------------------------------------------


def _check(method: str) -> None:
    if method not in METHODS:
        raise SchemaError(f"method {method!r} found, {', '.join(map(repr, METHODS))} accepted")


def _dims(dim: Any, known: tuple[Hashable, ...]) -> list[Hashable]:
    """Dimensions as people name them: none, one, several, or all by ``...``."""
    if dim is None or dim is ...:
        return [] if dim is None else list(known)
    over = [dim] if isinstance(dim, str) or not isinstance(dim, Iterable) else list(dict.fromkeys(dim))
    unknown = [name for name in over if name not in known]
    if unknown:
        raise SchemaError(f"dimension {unknown[0]!r} found, {known} accepted")
    return over


def _bins(ds: xr.Dataset, models: Models) -> tuple[xr.Variable, xr.Variable, xr.Variable]:
    """Counts, their prediction, and the valid bins within the masks."""
    model = npred(ds, models).variable
    return ds["counts"].variable, model, quantities.mask(ds).variable & np.isfinite(model)


def _sum(array: xr.Variable, inside: xr.Variable, dims: Iterable[Hashable]) -> xr.Variable:
    """Array, summed over dimensions, if any, where it is inside."""
    over = list(dims)
    summed: xr.Variable = array.where(inside, 0).sum(over, dtype=np.float64) if over else array
    return summed


def _residuals(n: Any, model: Any, inside: Any, *, method: str, sigma: tuple[float, ...]) -> Floats:
    """Residuals of arrays, averaged over their last axes with a Gaussian of some pixels."""
    if sigma:
        share, n, model = (_smoothed(array, inside, sigma) for array in (1.0, n, model))
        n, model = (np.divide(array, share, out=np.zeros(share.shape), where=inside) for array in (n, model))
    return _scaled(n - model, model, inside, method=method)


def _smoothed(array: Any, inside: Any, sigma: tuple[float, ...]) -> Floats:
    """Gaussian filter of what is inside, over the last axes; what is beyond the map is 0."""
    from scipy.ndimage import gaussian_filter

    sides = inside.shape[inside.ndim - len(sigma) :]
    planes = np.where(inside, array, 0.0).reshape(-1, *sides)
    made = np.empty(planes.shape)
    # Cut at 4 sigma, as scipy does; no pixel is farther than the map is long.
    radius = tuple(int(min(4 * s + 0.5, n - 1)) for s, n in zip(sigma, sides, strict=True))
    smooth = partial(gaussian_filter, sigma=sigma, mode="constant", radius=radius)
    in_threads(lambda i: smooth(planes[i], output=made[i]), range(len(planes)))
    return made.reshape(inside.shape)


def _scaled(difference: Any, model: Any, inside: Any, *, method: str) -> Floats:
    """Difference in the measure of a method; NaN outside, and of a ratio to a model of 0."""
    scale = {"diff": 1.0, "diff/model": model, "diff/sqrt(model)": np.sqrt(model)}[method]
    known = inside if method == "diff" else inside & (model > 0)
    scaled: Floats = np.divide(difference, scale, out=np.full(np.shape(model), np.nan), where=known)
    return scaled


def _sigma(ds: xr.Dataset, dims: tuple[Hashable, ...], smooth: Value) -> dict[Hashable, float]:
    """Sigma in pixels along the sky dimensions."""
    width = value_in(smooth, "deg")
    if not 0 < width <= 180:
        raise GeometryError(f"smooth: a positive angle is wanted, {smooth!r} found, up to 180 deg accepted")
    sky = sky_dims(ds)
    if len(sky) != 2 or not set(sky) <= set(dims):
        raise GeometryError(f"smooth: a map over two sky dimensions is wanted, dims {dims} found: leave smooth out")
    grid = sky_grid(ds)
    with np.errstate(divide="ignore", over="ignore"):  # pixels at a pole have no width
        return dict(zip(grid.dims(), (width / _pixel_sizes(grid)).tolist(), strict=True))


def _pixel_sizes(sky: SkyGrid) -> Floats:
    """Size of the pixel in the middle of a map along (y, x), deg on the sky; where that is off it, in the plane."""
    y, x = ((n - 1) / 2 for n in sky.shape)
    lon, lat = sky.pixel_to_sky([x, x, x - 0.5, x + 0.5], [y - 0.5, y + 0.5, y, y])
    sides = SkyCoord(lon, lat, unit="deg")
    sizes = sides[::2].separation(sides[1::2]).deg
    return np.where(np.isfinite(sizes), sizes, sky.pixel_scales)
