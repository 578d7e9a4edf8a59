"""Pairs of runs: the background of an on run from an off run, which looked at an empty field in like conditions."""

import operator
from functools import reduce
from typing import Any, Literal

import numpy as np
import xarray as xr

from xonoff.axes import axis_edges
from xonoff.duck import small_values
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import same_grid, sky_dims, sky_grid
from xonoff.observations import livetime
from xonoff.provenance import recorded
from xonoff.quantities import ON_OFF
from xonoff.schema import MASKS, VARIABLES
from xonoff.units import value_in

__all__ = ["from_on_off_pair"]

Weights = Literal["acceptance", "background", "flat"]
#: What the acceptance of a bin may be, in the order in which it is looked for.
WEIGHTS: tuple[Weights, ...] = ("acceptance", "background", "flat")
#: Edges of energy bins, and solid angles of the pixels of two fields, that differ by less are the same.
SAME_EDGES, SAME_PIXELS = 1e-6, 1e-3
#: Columns of the table of observations that tell the off run.
OF_OFF = ("livetime", "obs_id")


@recorded
def from_on_off_pair(
    on: xr.Dataset,
    off: xr.Dataset,
    *,
    weights: Weights | None = None,
    scale: float | None = None,
    recentred: bool = False,
) -> xr.Dataset:
    r"""On/off dataset of two runs: on counts of the one, off counts of the other, bin by bin.

    Parameters
    ----------
    on, off : Dataset
        Maps, or spectra, with ``counts``, on the same bins. Off counts that they have are not used.
    weights : {"acceptance", "background", "flat"}, optional
        What the acceptances are made of: the relative *rate* ``acceptance``, which is multiplied by the livetime of the
        run; the template ``background``, counts expected in the run, which holds the livetime already; or the livetime
        alone, where both runs have the same acceptance. By default the first of these that both have.
    scale : float, optional
        Factor on alpha in the place of the ratio of the livetimes, such as 1 for acceptances that hold the livetime
        (those of a stack, or counts expected); for ``background``, a factor in addition. It is part of
        ``acceptance_off``.
    recentred : bool
        The off run is laid out around a position of its own: match pixels by their place on the map, not on the sky.
        Both maps then have the same shape, projection and pixels, each with its target in the same pixel.

    Returns
    -------
    Dataset
        That of the on run with its response, good time intervals, livetime and models; ``counts_off``, ``acceptance``
        and ``acceptance_off`` are new, and there is no ``background``. ``mask_safe`` is True where it is in both runs
        and the off acceptance is above 0; ``mask_fit`` where it is in those that have one. Lazy where one of the runs
        is. If both runs are of one observation, ``livetime_off`` and ``obs_id_off`` on ``obs`` tell the off run.

    Raises
    ------
    GeometryError
        If the bins are not the same; names what differs.
    SchemaError
        If counts, acceptances or a positive livetime are missing, or one run has an acceptance and the other has not.

    Notes
    -----
    .. math:: \alpha = \frac{t_\mathrm{on}\, a_\mathrm{on}}{t_\mathrm{off}\, a_\mathrm{off}}

    with the livetimes t and the rates a of both runs.

    Examples
    --------
    >>> import xonoff
    >>> on = xonoff.tutorial.dataset()
    >>> off = on.assign(counts=on.counts_off).assign_coords(livetime=("obs", [17000.0, 16500.0], {"units": "s"}))
    >>> pair = from_on_off_pair(on, off)
    >>> round(pair.onoff.alpha.max().item(), 6), bool((pair.counts_off == off.counts).all())
    (0.1, True)
    """
    for name, ds in (("on", on), ("off", off)):
        if not isinstance(ds, xr.Dataset) or "counts" not in ds:
            found = list(ds.data_vars) if isinstance(ds, xr.Dataset) else type(ds).__name__
            raise SchemaError(f"{name} run: {found} found, a dataset with counts accepted")
    _check_bins(on, off, recentred)
    kind = _kind(on, off, weights)
    times = (1.0, 1.0) if scale is not None or kind == "background" else (_seconds(on, "on"), _seconds(off, "off"))
    factors = (times[0], times[1] / _positive("scale", 1.0 if scale is None else scale))
    counts = on.variables["counts"]
    accepted, accepted_off = (_acceptance(ds, kind, factor) for ds, factor in zip((on, off), factors, strict=True))
    new = {
        "counts_off": off.variables["counts"].copy(deep=False),
        "acceptance": accepted,
        "acceptance_off": accepted_off,
    }
    for name, array in new.items():
        wide = array.set_dims(counts.sizes).transpose(*counts.dims)
        new[name] = wide.chunk(counts.chunksizes) if counts.chunks else wide  # one layout for all
        new[name].attrs = {"units": VARIABLES[name].units, "long_name": VARIABLES[name].description}
    exposed = (new["acceptance_off"] > 0) & np.isfinite(new["acceptance_off"])
    new |= _masks(on, off, exposed)
    return on.drop_vars((*ON_OFF[1:], "background"), errors="ignore").assign(new).assign_coords(_of_off(on, off))


def _check_bins(on: xr.Dataset, off: xr.Dataset, recentred: bool) -> None:
    """Refuse two runs that are not on the same bins."""
    edges, edges_off = axis_edges(on, "energy"), axis_edges(off, "energy")
    if edges.shape != edges_off.shape or not np.allclose(edges, edges_off, rtol=SAME_EDGES, atol=0):
        raise GeometryError(
            f"off run: energy with edges {edges_off} found, {edges} in the on run: use ds.onoff.slice_by_energy or "
            "resample_energy first"
        )
    dims, dims_off = on.variables["counts"].dims, off.variables["counts"].dims
    if set(dims) != set(dims_off) or "energy" not in dims:
        raise GeometryError(f"off run: counts on {dims_off} found, on {dims} in the on run: two maps, or two spectra")
    if not sky_dims(on):
        return
    if not recentred:
        try:
            same_grid(on, off)
        except GeometryError as error:
            raise GeometryError(
                f"on and off run: {error}; for an off run around a position of its own, give recentred=True"
            ) from error
        return
    sky, sky_off = sky_grid(on), sky_grid(off)
    if sky.shape != sky_off.shape or sky.projection != sky_off.projection:
        raise GeometryError(
            f"off run: {sky_off.projection} with {sky_off.shape} pixels found, {sky.projection} with {sky.shape} in "
            "the on run: lay both out alike around their targets"
        )
    matrices = sky.wcs.wcs.cd, sky_off.wcs.wcs.cd
    areas = sky.solid_angle(), sky_off.solid_angle()
    if not np.allclose(*matrices, rtol=0, atol=SAME_PIXELS * np.abs(matrices[0]).max()):
        sizes = [np.round(matrix, 6).tolist() for matrix in matrices]
        raise GeometryError(f"off run: pixels of {sizes[1]} deg found, {sizes[0]} in the on run: lay both out alike")
    if not np.allclose(*areas, rtol=SAME_PIXELS, atol=0, equal_nan=True):
        ratio = float(np.nanmax(np.abs(areas[1] / areas[0] - 1)))
        raise GeometryError(
            f"off run: solid angles of pixels found that differ by up to {ratio:.2g} from those of the on run, "
            f"{SAME_PIXELS} accepted: use a projection about the target, such as TAN"
        )


def _kind(on: xr.Dataset, off: xr.Dataset, weights: Weights | None) -> Weights:
    """What the acceptances are made of; refused where one run has it and the other has not."""
    if weights is not None and weights not in WEIGHTS:
        raise SchemaError(f"weights: {weights!r} found, {' or '.join(map(repr, WEIGHTS))} accepted")
    wanted = WEIGHTS[:2] if weights is None else (weights,)
    both = [name for name in wanted if name == "flat" or (name in on and name in off)]
    if both:
        return both[0]
    has = {run: [name for name in WEIGHTS[:2] if name in ds] for run, ds in (("on", on), ("off", off))}
    if weights is None and not has["on"] and not has["off"]:
        return "flat"
    raise SchemaError(
        f"acceptances: {has['on'] or 'none'} in the on run, {has['off'] or 'none'} in the off run found, "
        f"{' or '.join(wanted)} in both accepted: add it with ds.assign, or give weights='flat'"
    )


def _acceptance(ds: xr.Dataset, kind: Weights, factor: float) -> xr.Variable:
    if kind == "flat":
        return xr.full_like(ds.variables["counts"], factor, dtype=np.float64)
    scaled: xr.Variable = ds.variables[kind].astype(np.float64) * factor
    return scaled


def _seconds(ds: xr.Dataset, run: str) -> float:
    """Livetime of a run, s."""
    if "livetime" not in ds.variables:
        raise SchemaError(
            f"{run} run: no livetime found, by which rates are scaled: add the coordinate livetime in s, or give scale"
        )
    units = ds.variables["livetime"].attrs.get("units")
    if units != "s":
        raise SchemaError(f"{run} run: livetime in {units!r} found, 's' accepted: set ds.livetime.attrs['units']")
    return _positive(f"{run} run: livetime", float(small_values(livetime(ds))))


def _positive(name: str, value: Any) -> float:
    number = value_in(value, "")
    if not 0 < number < np.inf:
        raise SchemaError(f"{name}: {number} found, a number above 0 accepted")
    return number


def _masks(on: xr.Dataset, off: xr.Dataset, exposed: xr.Variable) -> dict[str, xr.Variable]:
    """Masks where both runs have bins."""
    found = {}
    for name in (*MASKS, "mask_fault"):
        parts = [ds.variables[name] for ds in (on, off) if name in ds]
        parts = [part if part.dtype == bool else part == 1 for part in parts]
        parts += [exposed] if name == "mask_safe" else []
        if parts:
            joined = reduce(operator.or_ if name == "mask_fault" else operator.and_, parts)
            wide = joined.set_dims(exposed.sizes).transpose(*exposed.dims)
            wide = wide.chunk(exposed.chunksizes) if exposed.chunks else wide
            found[name] = xr.Variable(wide.dims, wide.data, {"long_name": VARIABLES[name].description})
    return found


def _of_off(on: xr.Dataset, off: xr.Dataset) -> dict[str, xr.Variable]:
    """Livetime and number of the off run as columns of the table of observations, where each run is one."""
    if on.sizes.get("obs") != 1 or off.sizes.get("obs") != 1:
        return {}
    return {
        f"{name}_off": off.variables[name] for name in OF_OFF if name in off.variables and off[name].dims == ("obs",)
    }
