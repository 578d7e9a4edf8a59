r"""The point spread function: what share of the events of a point source each pixel gets, and parametric forms.

The PSF of a dataset is a table over the offset ``rad``. It is taken as linear between the centres of its bins, constant
from the outermost centres to the ends, and as 1 in all: what lies beyond the axis is not known.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.axes import axis_edges, check_edges
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import sky_dims, sky_grid
from xonoff.irf import Method, at_position
from xonoff.rings import circle_weights, is_empty, profile_integrals, ring_sums, window_around
from xonoff.skygrid import SkyGrid
from xonoff.units import Position, Value, floats_in

__all__ = ["containment_radius", "gaussian", "king", "psf_kernel", "psf_profile", "table_profile", "triple_gaussian"]

Floats = npt.NDArray[np.float64]

#: Rings between two values of the profile, in each of which it counts as constant where a radius is looked for.
CUTS = 16
DEG2 = np.radians(1.0) ** 2


def psf_kernel(ds: xr.Dataset, position: Position, sky: SkyGrid | None = None) -> xr.DataArray:
    """Share of the events of a point source that each pixel gets, by the PSF integrated over the pixel.

    Parameters
    ----------
    ds : Dataset
        With ``psf``.
    position : SkyCoord or (lon, lat)
        Of the source; anywhere within a pixel, or outside of the map.
    sky : SkyGrid, optional
        Pixels; those of the counts by default.

    Returns
    -------
    DataArray (energy_true, sky) or (energy, sky)
        Not negative; all pixels of a map that holds the whole PSF sum to 1, wherever the source is. Zero at energies
        without PSF.

    Raises
    ------
    SchemaError
        If there is no PSF, or nothing that tells the pixels.
    GeometryError
        If the position is off the sky of the PSF's grid.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> kernel = psf_kernel(ds, (83.63, 22.01))
    >>> kernel.dims, kernel.sum(("lat", "lon")).round(6).values[:3].tolist()
    (('energy_true', 'lat', 'lon'), [1.0, 1.0, 1.0])
    """
    if sky is None:
        if len(sky_dims(ds)) != 2:
            raise SchemaError("the dataset has no map whose pixels are wanted: give sky=, a SkyGrid")
        sky = sky_grid(ds)
    profile, radii = psf_profile(ds, position)
    rows, columns = window_around(sky, position, float(radii[-1]))
    energy, _ = profile.dims
    shares = np.zeros((profile.sizes[energy], *sky.shape))
    if not is_empty((rows, columns)):
        pixels, found = profile_integrals(sky.slice(rows, columns), position, radii, profile.values)
        row, column = np.divmod(pixels, columns.stop - columns.start)
        shares[:, row + rows.start, column + columns.start] = found.T
    coords = {name: ds.variables[name] for name in (energy,) if name in ds.coords}
    array = xr.DataArray(shares, dims=(energy, *sky.dims()), coords={**sky.coords(), **coords}, name="psf_kernel")
    return array.assign_attrs(units="1", long_name="share of the events of a point source")


def psf_profile(ds: xr.Dataset, position: Position, method: Method = "linear") -> tuple[xr.Variable, Floats]:
    """PSF at a position, as values at radii between which it is linear.

    Parameters
    ----------
    ds, position, method
        As for `xonoff.irf.at_position`.

    Returns
    -------
    values : Variable (energy_true, radius) or (energy, radius), deg-2
        Its integral over the plane is 1, or 0 where there is no PSF.
    radii : ndarray, deg
        The centres of the bins of ``rad``, and the ends of the axis.

    Examples
    --------
    >>> import xonoff
    >>> values, radii = psf_profile(xonoff.tutorial.dataset(), (83.63, 22.01))
    >>> bool(np.allclose(values.values @ circle_weights(radii), 1))
    True
    """
    return table_profile(at_position(ds, "psf", position, method), axis_edges(ds, "rad"))


def table_profile(psf: xr.Variable, edges: Floats) -> tuple[xr.Variable, Floats]:
    """PSF at a position as `psf_profile` gives it, from a table.

    Parameters
    ----------
    psf : Variable (energy_true, rad) or (energy, rad)
        Of any unit, as `xonoff.irf.at_position` gives it.
    edges : ndarray, deg
        Of ``rad``.

    Returns
    -------
    psf : Variable (energy_true, radius) or (energy, radius), deg-2
        1 in all.
    radius : ndarray, deg

    Examples
    --------
    >>> values, radius = table_profile(xr.Variable(("energy_true", "rad"), [[2.0, 1.0]]), np.array([0.0, 0.1, 0.2]))
    >>> values.dims, radius.round(2).tolist()
    (('energy_true', 'radius'), [0.0, 0.05, 0.15, 0.2])
    """
    if "rad" not in psf.dims or psf.ndim != 2:
        raise SchemaError(f"psf: dims {psf.dims} found at a position, an energy and rad accepted: keep both dimensions")
    energy = next(dim for dim in psf.dims if dim != "rad")
    table = np.asarray(psf.transpose(energy, "rad").values, dtype=np.float64)
    table = np.maximum(np.nan_to_num(table, nan=0.0, posinf=0.0, neginf=0.0), 0.0)
    radii = np.concatenate([edges[:1], (edges[:-1] + edges[1:]) / 2, edges[-1:]])
    values = np.concatenate([table[:, :1], table, table[:, -1:]], axis=1)
    total = values @ circle_weights(radii)
    values /= np.where(total > 0, total, 1)[:, None]
    return xr.Variable((energy, "radius"), values, {"units": "deg-2"}), radii


def containment_radius(ds: xr.Dataset, fraction: float, position: Position) -> xr.Variable:
    """Radius that holds a fraction of the events of a point source, at a position.

    Parameters
    ----------
    ds : Dataset
    fraction : float
        Above 0, up to 1.
    position : SkyCoord or (lon, lat)

    Returns
    -------
    Variable (energy_true) or (energy), deg
        NaN at energies without PSF.

    Examples
    --------
    >>> import xonoff
    >>> radius = containment_radius(xonoff.tutorial.dataset(), 0.68, (83.63, 22.01))
    >>> bool((radius > 0.05).all() and (radius < 0.3).all()), radius.attrs["units"]
    (True, 'deg')
    """
    if not 0 < fraction <= 1:
        raise SchemaError(f"fraction: {fraction!r} found, a number above 0, up to 1, accepted")
    profile, knots = psf_profile(ds, position)
    radii = np.unique(np.linspace(knots[:-1], knots[1:], CUTS + 1))
    density = np.array([np.interp(radii, knots, row) for row in profile.values])
    squares = radii**2
    found = []
    for row in np.cumsum(np.pad(ring_sums(density, radii), ((0, 0), (1, 0))), axis=1):
        rising = np.concatenate([[True], np.diff(row) > 0])  # where it is flat, the smallest radius
        reached = np.interp(fraction * row[-1], row[rising], squares[rising])
        found.append(np.sqrt(reached) if row[-1] > 0 else np.nan)
    return xr.Variable(profile.dims[:1], found, {"units": "deg"})


# -- parametric forms, as tables over rad -----------------------------------------------------------------------------


def gaussian(sigma: Value, rad: Value) -> Floats:
    r"""Gaussian PSF, :math:`\exp(-r^2 / 2\sigma^2) / 2\pi\sigma^2`, averaged over bins of the offset.

    Parameters
    ----------
    sigma : angle, deg
        One, or one for each energy.
    rad : array_like, deg
        Edges of the offset axis.

    Returns
    -------
    ndarray (..., rad), sr-1

    Examples
    --------
    >>> gaussian(0.1, [0, 0.1, 0.2]).round(0).tolist()
    [41116.0, 16413.0]
    """
    return triple_gaussian([np.asarray(floats_in(sigma, "deg"))], [1.0], rad)


def triple_gaussian(sigmas: list[Value], amplitudes: list[Value], rad: Value) -> Floats:
    r"""Sum of Gaussians, :math:`\propto \sum_i A_i \exp(-r^2 / 2\sigma_i^2)`, averaged over bins of the offset.

    Parameters
    ----------
    sigmas : list of angle, deg
        Widths of each Gaussian; each one number, or one for each energy.
    amplitudes : list of float
        Heights at offset 0, of which only the ratios matter.
    rad : array_like, deg

    Returns
    -------
    ndarray (..., rad), sr-1
        Of 1 in all over the whole plane.

    Raises
    ------
    SchemaError
        If a width is not positive, a height negative or all of them 0, or their numbers differ.

    Examples
    --------
    >>> edges = [0, 0.1, 0.2, 0.3]
    >>> one = triple_gaussian([0.1, 0.1], [2, 1], edges)
    >>> bool(np.allclose(one, gaussian(0.1, edges)))
    True
    """
    widths = [floats_in(sigma, "deg") for sigma in sigmas]
    heights = [floats_in(amplitude, "") for amplitude in amplitudes]
    positive = all(((w > 0) & (w < np.inf)).all() for w in widths)
    positive &= all(((h >= 0) & (h < np.inf)).all() for h in heights)
    if not positive or not 0 < len(widths) == len(heights) or not np.all(sum(heights[1:], heights[0]) > 0):
        raise SchemaError(
            f"sigmas {sigmas} and amplitudes {amplitudes} found, as many positive widths as heights accepted"
        )
    weights = [height * width**2 for height, width in zip(heights, widths, strict=True)]
    whole = sum(weights[1:], weights[0])

    def beyond(squares: Floats) -> Floats:
        shares = [(weight / whole)[..., None] for weight in weights]
        tails = [np.exp(-squares / (2 * width[..., None] ** 2)) for width in widths]
        return np.asarray(sum(share * tail for share, tail in zip(shares, tails, strict=True)))

    return _averages(beyond, rad)


def king(sigma: Value, gamma: Value, rad: Value) -> Floats:
    r"""King PSF, :math:`\frac{1}{2\pi\sigma^2}(1 - \frac1\gamma)(1 + \frac{r^2}{2\gamma\sigma^2})^{-\gamma}`, in bins.

    Parameters
    ----------
    sigma : angle, deg
    gamma : float
        Above 1. Each one number, or one for each energy.
    rad : array_like, deg

    Returns
    -------
    ndarray (..., rad), sr-1

    Examples
    --------
    >>> bool(np.allclose(king(0.1, 1e6, [0, 0.1, 0.2]), gaussian(0.1, [0, 0.1, 0.2]), rtol=1e-5))
    True
    """
    width, index = floats_in(sigma, "deg"), floats_in(gamma, "")
    if not ((width > 0) & (width < np.inf)).all() or not ((index > 1) & (index < np.inf)).all():
        raise SchemaError(f"sigma {sigma} and gamma {gamma} found, a positive width and a gamma above 1 accepted")
    scale = (2 * index * width**2)[..., None]

    def beyond(squares: Floats) -> Floats:
        return np.asarray(np.exp((1 - index)[..., None] * np.log1p(squares / scale)))

    return _averages(beyond, rad)


def _averages(beyond: Callable[[Floats], Floats], rad: Value) -> Floats:
    """Densities in rings, sr-1, of what lies beyond the squares of radii."""
    squares = check_edges("rad", rad) ** 2
    if squares.size < 2:
        raise GeometryError(f"rad: edges {rad} found, two or more accepted")
    return np.asarray(-np.diff(beyond(squares), axis=-1) / (np.pi * np.diff(squares) * DEG2))
