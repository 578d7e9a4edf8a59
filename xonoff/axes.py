"""Binned axes: edges in, coordinates out, and back.

An axis of a dataset is two coordinates, the bin centre ``energy`` and the edges ``energy_bounds`` of shape (energy,
2), as the CF conventions have it: both are sliced with the data, so a selection never carries edges that are not its
own.
"""

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.duck import small_values
from xonoff.errors import GeometryError
from xonoff.schema import AXES
from xonoff.units import Value, floats_in, value_in

__all__ = ["axis_coords", "axis_edges", "bin_centers", "check_edges", "energy_edges"]

Floats = npt.NDArray[np.float64]


def energy_edges(lo: Value, hi: Value, *, n: int) -> Floats:
    """Edges of ``n`` energy bins of equal width in log energy.

    Parameters
    ----------
    lo, hi : float, str or Quantity
        Lowest and highest edge; a plain number is in TeV. Both are met exactly.
    n : int
        Number of bins.

    Returns
    -------
    ndarray (n + 1,), TeV

    Raises
    ------
    GeometryError
        If ``0 < lo < hi`` or ``n >= 1`` does not hold.

    Examples
    --------
    >>> energy_edges("100 GeV", "10 TeV", n=2)
    array([ 0.1,  1. , 10. ])
    """
    low, high = value_in(lo, "TeV"), value_in(hi, "TeV")
    if not (0 < low < high < np.inf and n >= 1):
        raise GeometryError(f"energy edges: 0 < lo < hi and n >= 1 are wanted, {low} TeV, {high} TeV and {n} found")
    return np.geomspace(low, high, n + 1)


def check_edges(name: str, edges: Value) -> Floats:
    """Edges of an axis as floats in the unit of the schema.

    Parameters
    ----------
    name : str
        A name of `xonoff.schema.AXES`.
    edges : array_like (n + 1,)
        Plain numbers are in the unit of the schema.

    Raises
    ------
    GeometryError
        Unless there are two edges or more, finite, strictly increasing, and above 0 (offsets: not below 0).

    Examples
    --------
    >>> check_edges("rad", ["0 deg", "6 arcmin"])
    array([0. , 0.1])
    """
    axis = AXES[name]
    values = np.atleast_1d(floats_in(edges, "" if axis.units == "1" else axis.units))
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise GeometryError(f"{name}: at least two finite edges are wanted, {values} found")
    if not (np.diff(values) > 0).all() or not (values[0] > 0 if axis.scale == "log" else values[0] >= 0):
        lowest = "above 0" if axis.scale == "log" else "not below 0"
        raise GeometryError(f"{name}: strictly increasing edges {lowest} are wanted, {values} found")
    return values


def bin_centers(name: str, bounds: Floats) -> Floats:
    """Centres of bins, logarithmic for energies, linear for other axes; ``bounds`` has the shape (bins, 2).

    Examples
    --------
    >>> bounds = np.array([[1.0, 4.0], [4.0, 9.0]])
    >>> bin_centers("energy", bounds), bin_centers("rad", bounds)
    (array([2., 6.]), array([2.5, 6.5]))
    """
    lo, hi = bounds[:, 0], bounds[:, 1]
    return np.sqrt(lo) * np.sqrt(hi) if AXES[name].scale == "log" else 0.5 * (lo + hi)


def axis_coords(name: str, edges: Value) -> dict[str, xr.Variable]:
    """Coordinates of a binned axis.

    Parameters
    ----------
    name : str
        A name of `xonoff.schema.AXES`.
    edges : array_like (n + 1,)
        Edges; plain numbers are in the unit of the schema.

    Returns
    -------
    dict of str to Variable
        ``name`` of shape (n,) and ``<name>_bounds`` of shape (n, 2).

    Examples
    --------
    >>> coords = axis_coords("energy", [1, 4, 9])
    >>> coords["energy"].values, coords["energy_bounds"].values.tolist()
    (array([2., 6.]), [[1.0, 4.0], [4.0, 9.0]])
    """
    values = check_edges(name, edges)
    bounds = np.stack([values[:-1], values[1:]], axis=1)
    units = AXES[name].units
    return {
        name: xr.Variable(name, bin_centers(name, bounds), {"units": units, "bounds": f"{name}_bounds"}),
        f"{name}_bounds": xr.Variable((name, "bounds"), bounds),  # CF: bounds have the units of their axis
    }


def axis_edges(ds: xr.Dataset, name: str) -> Floats:
    """Edges of an axis of a dataset, shape (n + 1,), in the unit of the schema.

    Raises
    ------
    GeometryError
        If the axis is missing, or its bins do not adjoin in increasing order: after a selection with a step, a
        reversal, or xarray's plain ``coarsen``, which averages the edges.

    Examples
    --------
    >>> ds = xr.Dataset(coords=axis_coords("energy", [1, 4, 9, 16]))
    >>> axis_edges(ds.isel(energy=slice(1, None)), "energy")
    array([ 4.,  9., 16.])
    """
    bounds_name = f"{name}_bounds"
    if bounds_name not in ds.coords:
        raise GeometryError(f"the dataset has no {bounds_name!r}: add the axis with xonoff.axes.axis_coords")
    bounds = small_values(ds[bounds_name]).reshape(-1, 2)
    if not len(bounds):
        raise GeometryError(f"{name}: no bin is left: select at least one")
    if not np.array_equal(bounds[1:, 0], bounds[:-1, 1]):
        raise GeometryError(
            f"{name}: the bins do not adjoin in increasing order ({bounds.tolist()}), so they have no common edges: "
            "select a contiguous range, or use ds.onoff.resample_energy for wider bins"
        )
    return np.concatenate([bounds[:1, 0], bounds[:, 1]])
