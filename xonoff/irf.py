"""The instrument response: at a position of the sky, and as matrices from true to reconstructed energy."""

from collections.abc import Callable
from functools import reduce
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.axes import axis_edges
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import own_grid, sky_dims, sky_grid
from xonoff.schema import VARIABLES
from xonoff.skygrid import SkyGrid
from xonoff.units import Position, Value, value_in

__all__ = [
    "Response",
    "at_position",
    "containment",
    "edisp_at",
    "edisp_kernel",
    "exposure_in",
    "kernel_of",
    "undispersed",
]

Floats: TypeAlias = npt.NDArray[np.float64]

METHODS = ("linear", "nearest")
Method: TypeAlias = Literal["linear", "nearest"]


def edisp_kernel(ds: xr.Dataset) -> xr.Variable:
    """Energy dispersion as the probability of each energy bin.

    A density in ``migra`` is integrated over the bins, at the centre of each bin of true energy.

    Returns
    -------
    Variable (energy_true, energy, sky_edisp)

    Raises
    ------
    SchemaError
        If there is no energy dispersion.

    Examples
    --------
    >>> import xonoff
    >>> edisp_kernel(xonoff.tutorial.dataset()).dims[:2]
    ('energy_true', 'energy')
    """
    edisp = _response(ds, "edisp")
    if "migra" not in edisp.dims:
        return edisp
    energy, migra = axis_edges(ds, "energy"), axis_edges(ds, "migra")
    reached = energy / ds.variables["energy_true"].values[:, None]
    low = np.maximum(reached[:, :-1, None], migra[:-1])
    high = np.minimum(reached[:, 1:, None], migra[1:])
    overlap = xr.Variable(("energy_true", "energy", "migra"), np.maximum(high - low, 0.0))
    kernel: xr.Variable = xr.dot(overlap, edisp, dim="migra").transpose("energy_true", "energy", ...)
    kernel.attrs = dict(edisp.attrs)
    return kernel


def edisp_at(ds: xr.Dataset, position: Position, method: Method = "linear") -> xr.Variable:
    """Energy dispersion at a position, as the probability of each energy bin.

    Its sum over the energies is below 1 where energies are cut off, by the axis or by the thresholds of a stack.

    Parameters
    ----------
    ds, position, method
        As for `at_position`.

    Returns
    -------
    Variable (energy_true, energy)

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> edisp_at(ds, (83.63, 22.01)).sum("energy").max().round(3).item()
    1.0
    """
    return kernel_of(at_position(ds, "edisp", position, method), ds)


def kernel_of(edisp: xr.Variable, ds: xr.Dataset) -> xr.Variable:
    """Energy dispersion at a position as `edisp_at` gives it, of what `at_position` gives."""
    if "migra" not in edisp.dims:
        return edisp.transpose("energy_true", "energy")
    axes = [name for name in ds.coords if ds.variables[name].dims[:1] in (("energy",), ("energy_true",), ("migra",))]
    kernel = edisp_kernel(xr.Dataset({"edisp": edisp}, {name: ds.variables[name] for name in axes}))
    return kernel.transpose("energy_true", "energy")


def at_position(ds: xr.Dataset, name: str, position: Position, method: Method = "linear") -> xr.Variable:
    """Response at a position, interpolated between the pixels of its sky grid.

    Beyond the outermost pixel centres it is the value there. Pixels without exposure (of ``psf_exposure`` or
    ``edisp_exposure``) are left out, since they hold no response.

    Parameters
    ----------
    ds : Dataset
    name : str
        "exposure", "psf", "edisp", "psf_exposure" or "edisp_exposure".
    position : SkyCoord or (lon, lat)
    method : {"linear", "nearest"}
        Bilinear, or the value of the nearest pixel that has exposure among the four around.

    Returns
    -------
    Variable
        Without sky dimensions.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> at_position(ds, "psf", (83.63, 22.01)).dims
    ('energy_true', 'rad')
    """
    return Response(ds, name, method)(position)


class Response:
    """A response of a dataset that is wanted at one position after another: `at_position`, prepared once.

    Parameters
    ----------
    ds, name, method
        As for `at_position`.

    Attributes
    ----------
    frame : str
        Of the sky that it is on; any, if it is on none.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> psf = Response(ds, "psf")
    >>> bool((psf((83.63, 22.01)) == at_position(ds, "psf", (83.63, 22.01))).all())
    True
    """

    def __init__(self, ds: xr.Dataset, name: str, method: Method = "linear") -> None:
        if method not in METHODS:
            raise SchemaError(f"method {method!r} found, {' or '.join(map(repr, METHODS))} accepted")
        array, grid = _response(ds, name), own_grid(ds, name)
        dims = [dim for dim in sky_dims(ds, grid) if dim in array.dims]
        lead = sorted((dim for dim in array.dims if dim not in dims), key=lambda dim: dim != "energy_true")
        self.frame = sky_grid(ds, grid).frame if dims else "icrs"
        self._name, self._method, self._dims = name, method, dims
        self._sky = sky_grid(ds, grid) if dims else None
        self._array = array.transpose(*lead, *dims)
        exposure = f"{name}_exposure"
        self._exposed: xr.Variable | None = None
        if dims and exposure in ds and own_grid(ds, exposure) == grid:
            self._exposed = ds.variables[exposure].transpose("energy_true", *dims)
            _check_weight(ds, name)
        self._patch: tuple[list[slice], Any, Any] | None = None

    def __call__(self, position: Position) -> xr.Variable:
        """Response at a position, without sky dimensions."""
        if self._sky is None:
            return self._array.copy(deep=False)
        index, shares = self._around(position)
        values, exposed = self._read(index)
        weights: Any = reduce(np.multiply.outer, shares)  # of the sky, which comes last; true energy comes first
        weights = weights * exposed
        sky_axes = tuple(range(-len(shares), 0))
        if self._method == "nearest":
            best = weights.max(axis=sky_axes, keepdims=True)
            weights = ((weights == best) & (best > 0)) * 1.0
        total = weights.sum(axis=sky_axes, keepdims=True)
        weights = weights / np.where(total > 0, total, 1)
        mean = (np.where(weights > 0, values, 0) * weights).sum(axis=sky_axes)  # what is left out may be NaN
        return xr.Variable(self._array.dims[: -len(shares)], mean, dict(self._array.attrs))

    def _read(self, index: list[slice]) -> tuple[Any, Any]:
        """Values of a few pixels, and where they have exposure: for a position nearby those of the last one."""
        if self._patch is None or self._patch[0] != index:
            values = self._array[(..., *index)].data.astype(np.float64)
            exposed: Any = np.True_
            if self._exposed is not None:
                exposed = self._exposed[(slice(None), *index)].data > 0
                others = (slice(None), *[None] * (values.ndim - exposed.ndim))
                exposed = exposed[others] if self._array.dims[0] == "energy_true" else exposed.any(axis=0)
            self._patch = index, values, exposed
        return self._patch[1:]

    def _around(self, position: Position) -> tuple[list[slice], list[npt.NDArray[np.float64]]]:
        """Pixels around a position along each of the sky's dimensions, and their shares."""
        assert self._sky is not None
        pixels = [float(p) for p in self._sky.sky_to_pixel(position)[::-1]]
        if not np.isfinite(pixels).all():
            raise GeometryError(
                f"{self._name}: the position {position} is not on the sky of its grid: give one inside the map"
            )
        index, shares = [], []
        for _, pixel, n in zip(self._dims, pixels, self._sky.shape, strict=True):
            pixel = min(max(pixel, 0.0), n - 1.0)
            first = min(int(pixel), max(n - 2, 0))
            index.append(slice(first, first + 2))
            shares.append(np.array([first + 1 - pixel, pixel - first][: min(n, 2)]))
        return index, shares


def _check_weight(ds: xr.Dataset, name: str) -> None:
    """Refuse a response that is nowhere used where there is exposure, as of a new dataset that is filled in part."""
    weight, exposure = ds[f"{name}_exposure"], ds.get("exposure")
    if weight.chunks or exposure is None or exposure.chunks or bool((weight > 0).any()):
        return
    if bool((exposure > 0).any()):
        raise SchemaError(
            f"{name}_exposure: 0 everywhere found beside exposure above 0: it is the weight of {name}, which would be "
            f"used nowhere: fill it too, or leave it out with ds.drop_vars('{name}_exposure')"
        )


def exposure_in(ds: xr.Dataset, rows: slice, columns: slice) -> npt.NDArray[np.float64]:
    """Exposure of a window of the pixels of the counts; 0 where there is none.

    Parameters
    ----------
    ds : Dataset
    rows, columns : slice
        Of the counts. On an exposure with a grid of its own it is interpolated, as by `at_position`.

    Returns
    -------
    ndarray (y, x, energy_true), m2 s

    Examples
    --------
    >>> import xonoff
    >>> exposure_in(xonoff.tutorial.dataset(), slice(10, 12), slice(0, 5)).shape
    (2, 5, 12)
    """
    array, grid = _response(ds, "exposure"), own_grid(ds, "exposure")
    dims = [dim for dim in sky_dims(ds, grid) if dim in array.dims]
    array = array.transpose("energy_true", *dims)
    if not dims:
        found = np.broadcast_to(array.values, (rows.stop - rows.start, columns.stop - columns.start, array.size))
    elif grid == "":
        found = np.moveaxis(array[:, rows, columns].values, 0, -1)
    else:
        found = _interpolated(array.values, sky_grid(ds, grid), sky_grid(ds).slice(rows, columns))
    found = found.astype(np.float64, order="C")
    found[~((found > 0) & (found < np.inf))] = 0
    return found


def undispersed(flux: Callable[[Floats], Floats], true: Floats, energy: Floats) -> Floats:
    """Flux of each true energy that is at each energy where there is no dispersion: (energy_true, energy).

    Parameters
    ----------
    flux : callable
        Gives the flux between each two of some energies.
    true, energy : ndarray, TeV
        Edges.

    Examples
    --------
    >>> undispersed(np.diff, np.array([1.0, 3.0]), np.array([0.0, 2.0, 4.0]))
    array([[1., 1.]])
    """
    cuts = np.unique(np.concatenate([true, energy]))
    row, column = (np.searchsorted(edges, cuts[:-1], side="right") - 1 for edges in (true, energy))
    inside = (row >= 0) & (row < true.size - 1) & (column >= 0) & (column < energy.size - 1)
    matrix = np.zeros((true.size - 1, energy.size - 1))
    np.add.at(matrix, (row[inside], column[inside]), flux(cuts)[inside])
    return matrix


def _interpolated(values: npt.NDArray[np.generic], own: SkyGrid, sky: SkyGrid) -> npt.NDArray[np.float64]:
    """Values (energy_true, y, x) of a grid between its pixel centres, at those of another one; at its rim beyond."""
    x, y = own.sky_to_pixel(sky.skycoord())
    exposed = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    found = np.zeros((*sky.shape, len(values)))
    first, share = [], []
    for pixel, n in zip((y, x), own.shape, strict=True):
        inside = np.clip(np.nan_to_num(pixel), 0, n - 1)
        first.append(np.minimum(inside.astype(int), max(n - 2, 0)))
        share.append(inside - first[-1])
    for dy in range(min(own.shape[0], 2)):
        for dx in range(min(own.shape[1], 2)):
            weight = np.abs(1 - dy - share[0]) * np.abs(1 - dx - share[1])
            found += weight[..., None] * np.moveaxis(exposed[:, first[0] + dy, first[1] + dx], 0, -1)
    return found


def containment(ds: xr.Dataset, radius: Value, position: Position) -> xr.Variable:
    r"""Fraction of the PSF within a radius, at a position.

    Parameters
    ----------
    ds : Dataset
    radius : angle, deg
    position : SkyCoord or (lon, lat)

    Returns
    -------
    Variable (energy_true) or (energy)
        :math:`\int_0^r P(\rho)\,2\pi\rho\,d\rho` over that up to the end of the axis ``rad``, with the PSF constant
        within each of its bins.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> shares = containment(ds, "0.2 deg", (83.63, 22.01)).values
    >>> bool((shares > 0.6).all() and (shares < 1).all())
    True
    """
    r = value_in(radius, "deg")
    if not 0 < r < np.inf:
        raise GeometryError(f"radius: a positive angle is wanted, {radius!r} found")
    psf = at_position(ds, "psf", position)
    edges = axis_edges(ds, "rad")
    rings = xr.Variable("rad", np.diff(edges**2))
    inside = xr.Variable("rad", _area_within(edges, r))
    total = (psf * rings).sum("rad")
    share: xr.Variable = (psf * inside).sum("rad") / total.where(total > 0)
    share.attrs = {"units": "1"}
    return share


def _area_within(edges: npt.NDArray[np.float64], r: float) -> npt.NDArray[np.float64]:
    """Parts of rings within a radius, over pi."""
    return np.diff(np.minimum(edges, r) ** 2)


def _response(ds: xr.Dataset, name: str) -> xr.Variable:
    if name not in ds:
        raise SchemaError(f"the dataset has no {name} ({VARIABLES[name].description}): add it with ds.assign")
    found: xr.Variable = ds.variables[name]
    return found
