"""Ring backgrounds: off counts and off acceptance from a ring around every pixel of a map.

`ring_background` takes the same ring everywhere; `adaptive_ring_background` takes in each bin the first of several
rings that holds enough off exposure. Off counts are whole numbers where the counts are, exactly; radii are true angles
on any projection. The off counts of neighbours share events: they are marked as correlated, see `is_correlated`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.errors import GeometryError, SchemaError
from xonoff.excluded import excluded
from xonoff.geometry import sky_dims, sky_grid
from xonoff.neighbours import map_around, plain
from xonoff.provenance import recorded
from xonoff.schema import VARIABLES
from xonoff.skygrid import SkyGrid
from xonoff.stats.threads import in_threads
from xonoff.units import Value, value_in
from xonoff.vicinity import Span, row_totals, vicinity_of

__all__ = ["adaptive_ring_background", "is_correlated", "refuse_correlated", "ring_background"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ring = tuple[float, float]

#: Relative tolerance of a threshold on alpha, and of the largest radius of a ring.
TIE = 1e-9
#: Rings that one call may try.
MOST_RINGS = 1000


@recorded
def ring_background(
    ds: xr.Dataset, r_in: Value, width: Value, exclusion: Any = None, *, safe_only: bool = True
) -> xr.Dataset:
    r"""On/off dataset whose off counts are those in a ring around each pixel, in every energy bin by itself.

    .. math:: n_\mathrm{off} = \sum_\mathrm{ring} n, \quad a = b, \quad a_\mathrm{off} = \sum_\mathrm{ring} b

    Parameters
    ----------
    ds : Dataset
        A map with ``counts``, and the relative exposure b of its pixels: ``background``, else ``acceptance``.
    r_in, width : angle, deg
        The ring holds the pixels whose centres are from ``r_in`` to ``r_in + width`` away from that of the pixel.
    exclusion : array, DataArray, region or list of regions, optional
        Where it is True no off counts are taken; see `xonoff.excluded.excluded` for all that it may be.
    safe_only : bool
        Take off counts within ``mask_safe`` only. With False also others count, as in gammapy.

    Returns
    -------
    Dataset
        ``counts_off``, ``acceptance`` and ``acceptance_off`` in the place of ``background``; all else is kept. Bins
        without off exposure have no alpha, and are taken out of ``mask_safe``. Bins that are not valid (negative or
        not finite counts or exposure) give no off counts.

    Raises
    ------
    SchemaError
        If counts or exposure are missing, or the exclusion is none.
    GeometryError
        If the dataset is no map, or the radii make no ring.

    See Also
    --------
    adaptive_ring_background, xonoff.exclusion.exclusion_mask

    Examples
    --------
    >>> import xonoff
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from regions import CircleSkyRegion
    >>> ds = xonoff.tutorial.dataset().drop_vars(["counts_off", "acceptance_off"])
    >>> source = CircleSkyRegion(SkyCoord(83.633, 22.014, unit="deg"), 0.4 * u.deg)
    >>> on_off = ring_background(ds, "0.5 deg", "0.3 deg", exclusion=source)
    >>> bool((on_off.counts_off == on_off.counts_off.round()).all())
    True
    >>> bool(on_off.onoff.significance("energy").max() > 20)
    True
    """
    inner, wide = _radii(r_in, width)
    text = f"sums over rings from {inner:g} to {inner + wide:g} deg"
    return _on_off(ds, ((inner, inner + wide),), text, exclusion, safe_only)


@recorded
def adaptive_ring_background(
    ds: xr.Dataset,
    r_in: Value,
    width: Value,
    *,
    r_max: Value,
    step: Value,
    threshold: float,
    fixed: str = "width",
    theta: Value | None = None,
    keep_last: bool = False,
    exclusion: Any = None,
    safe_only: bool = True,
) -> xr.Dataset:
    r"""On/off dataset from rings that grow where there is little off exposure, in every bin by itself.

    Each bin takes the first ring for which :math:`\alpha = a / a_\mathrm{off}` is not above a threshold.

    Parameters
    ----------
    ds : Dataset
        As for `ring_background`.
    r_in, width : angle, deg
        Of the first ring.
    r_max : angle, deg
        Outer radius that no ring exceeds.
    step : angle, deg
        By which rings grow.
    threshold : float
        Of alpha.
    fixed : {"width", "r_in"}
        What all rings have in common: the others have a larger ``r_in``, or a larger ``width``.
    theta : angle, deg, optional
        Compare with the threshold the alpha of an on region of this radius, around each pixel, rather than that of the
        pixel: it is that many times larger as there are pixels in the region. The acceptance of the result remains
        that of the pixel.
    keep_last : bool
        Where no ring is good enough take the last one that has any off exposure, rather than none.
    exclusion, safe_only
        As for `ring_background`.

    Returns
    -------
    Dataset
        As from `ring_background`. Bins without a ring that is good enough have no off exposure, hence no alpha, and
        are taken out of ``mask_safe``.

    Raises
    ------
    SchemaError, GeometryError
        As for `ring_background`.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> on_off = adaptive_ring_background(ds, 0.5, 0.2, r_max=1.2, step=0.1, threshold=0.02)
    >>> float(on_off.onoff.alpha.max()) <= 0.02
    True
    """
    inner, wide = _radii(r_in, width)
    limit = value_in(threshold, "")
    if not 0 < limit < np.inf:
        raise SchemaError(f"threshold: {threshold!r} found, a positive number accepted")
    rings = _growing(inner, wide, value_in(r_max, "deg"), value_in(step, "deg"), fixed)
    on_radius = None if theta is None else value_in(theta, "deg")
    if on_radius is not None and not 0 <= on_radius <= inner:
        raise GeometryError(f"theta: {on_radius} deg found, from 0 to r_in = {inner} deg accepted")
    text = f"sums over rings from {inner:g} to {max(r for _, r in rings):g} deg"
    return _on_off(ds, rings, text, exclusion, safe_only, limit, on_radius, keep_last)


def is_correlated(ds: xr.Dataset) -> bool:
    """Tell whether the off counts of neighbours share events, as those of a ring do.

    The mark is ``correlated`` in the attributes of ``counts_off``, and in those of the dataset, which outlive stacking
    and files.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> is_correlated(ds), is_correlated(ring_background(ds, 0.5, 0.3))
    (False, True)
    """
    return "counts_off" in ds and ("correlated" in ds["counts_off"].attrs or ds.attrs.get("correlated") == "counts_off")


def refuse_correlated(ds: xr.Dataset) -> None:
    """Refuse to sum off counts over neighbours that share events.

    Raises
    ------
    SchemaError
        If the off counts are marked as correlated.
    """
    if is_correlated(ds):
        how = ds["counts_off"].attrs.get("correlated", "sums over rings")
        raise SchemaError(
            f"counts_off: {how} found, off counts of single pixels accepted: neighbours share events, which would "
            "be counted many times over, as if the background were known far better than it is: sum the on counts "
            "only, and take the off counts of the middle (correlate_off=False)"
        )


# -- how it is done ---------------------------------------------------------------------------------------------------


def _radii(r_in: Value, width: Value) -> Ring:
    inner, wide = value_in(r_in, "deg"), value_in(width, "deg")
    if not (0 <= inner < 180 and 0 < wide <= 180):
        raise GeometryError(
            f"ring: r_in = {inner} deg and width = {wide} deg found, an inner radius of 0 or more and a width above 0, "
            "both below 180 deg, accepted"
        )
    return inner, wide


def _growing(r_in: float, width: float, r_max: float, step: float, fixed: str) -> tuple[Ring, ...]:
    """Rings that grow by a step up to an outer radius."""
    if fixed not in ("width", "r_in"):
        raise SchemaError(f"fixed: {fixed!r} found, 'width' or 'r_in' accepted")
    if not (0 < step < np.inf and r_in + width <= r_max * (1 + TIE) <= 181):
        raise GeometryError(
            f"rings: r_max = {r_max} deg and step = {step} deg found, a step above 0 and an r_max of at least r_in + "
            f"width = {r_in + width:g} deg, up to 180 deg, accepted"
        )
    n = int((r_max * (1 + TIE) - r_in - width) / step) + 1
    if n > MOST_RINGS:
        raise GeometryError(f"rings: {n} of them found, up to {MOST_RINGS} accepted: give a larger step")
    outers = [r_in + width + i * step for i in range(n)]
    return tuple((outer - width if fixed == "width" else r_in, outer) for outer in outers)


def _on_off(
    ds: xr.Dataset,
    rings: tuple[Ring, ...],
    text: str,
    exclusion: Any,
    safe_only: bool,
    threshold: float | None = None,
    theta: float | None = None,
    keep_last: bool = False,
) -> xr.Dataset:
    """Put the sums over rings into a dataset."""
    counts, exposure = _maps(ds)
    sky = sky_grid(ds)
    arrays = [counts.data, exposure.data]
    safe = ds.variables["mask_safe"] if "mask_safe" in ds else None
    if safe is not None:
        safe = (safe if safe.dtype == bool else safe == 1).transpose(*counts.dims)
    if safe is not None and safe_only:
        arrays.append(safe.data)
    left_out = excluded(ds, exclusion)
    if left_out is not None:
        arrays.append(left_out.data)
    function = partial(
        _sums,
        has_safe=safe is not None and safe_only,
        rings=rings,
        threshold=threshold,
        theta=theta,
        keep_last=keep_last,
    )
    reach = max(max(outer for _, outer in rings), theta or 0.0)
    off = map_around(function, arrays, sky, reach, np.float64, outputs=2)
    found = {"counts_off": off[0], "acceptance": exposure.data, "acceptance_off": off[1]}
    new = {
        name: xr.Variable(counts.dims, data, {"units": "1", "long_name": VARIABLES[name].description})
        for name, data in found.items()
    }
    new["counts_off"].attrs["correlated"] = text
    seen = new["acceptance_off"] > 0
    new["mask_safe"] = seen if safe is None else safe & seen
    new["mask_safe"].attrs = {"long_name": VARIABLES["mask_safe"].description}
    return ds.drop_vars("background", errors="ignore").assign(new).assign_attrs(correlated="counts_off")


def _maps(ds: xr.Dataset) -> tuple[xr.Variable, xr.Variable]:
    """Counts and relative exposure of a map."""
    if not isinstance(ds, xr.Dataset) or "counts" not in ds:
        raise SchemaError("the dataset has no counts (events in the on region): add them with ds.assign")
    name = next((name for name in ("background", "acceptance") if name in ds), None)
    if name is None:
        raise SchemaError(
            "the dataset has neither background nor acceptance, one of which tells the exposure of a ring beside that "
            "of its middle: add it with ds.assign, 1 everywhere if all pixels are alike"
        )
    dims = sky_dims(ds)
    counts = ds.variables["counts"]
    if len(dims) != 2 or set(counts.dims) != {"energy", *dims}:
        raise GeometryError(
            f"the dataset is no map: counts with dims {counts.dims} found, (energy, sky) accepted: keep dimensions "
            "with slices or lists"
        )
    order = ("energy", *dims)
    return counts.transpose(*order), ds.variables[name].transpose(*order)


def _sums(
    counts: npt.NDArray[Any],
    exposure: npt.NDArray[Any],
    *masks: Bools,
    sky: SkyGrid,
    rows: Span,
    columns: Span,
    has_safe: bool,
    rings: Sequence[Ring],
    threshold: float | None,
    theta: float | None,
    keep_last: bool,
) -> Floats:
    """Off counts and off exposure (2, energy, y, x) of a part of a map, from rings of which each bin takes one."""
    around = [vicinity_of(sky, *ring, rows, columns) for ring in rings]
    on_region = None if theta is None else vicinity_of(sky, 0.0, theta, rows, columns)
    own = slice(*rows), slice(*columns)
    n, e = plain(counts), plain(exposure)
    out = np.zeros((2, len(n), *around[0].shape))
    valid, usable = np.empty(n.shape, bool), np.empty(n.shape, bool)

    def prepare(i: int) -> tuple[Floats, Floats]:
        valid[i] = (n[i] >= 0) & (n[i] < np.inf) & (e[i] >= 0) & (e[i] < np.inf)
        if has_safe:
            valid[i] &= masks[0][i]
        usable[i] = valid[i]
        if len(masks) > has_safe:
            left_out = masks[-1]
            usable[i] &= ~(left_out if left_out.ndim == 2 else left_out[i])
        return row_totals(n[i], usable[i]), row_totals(e[i], usable[i])

    totals = in_threads(prepare, range(len(n)))
    nothing = np.full(len(n[0]), np.inf)

    def work(task: tuple[int, int]) -> None:
        i, tile = task
        off = around[0].part(out[:, i], tile)
        if threshold is None:
            for array, total, to in zip((n[i], e[i]), totals[i], off, strict=True):
                around[0].sum(array, usable[i], total, tile, to)
            return
        on = around[0].part(e[i][own], tile).astype(np.float64)
        if on_region is not None:
            on = np.empty(off.shape[1:])
            on_region.sum(e[i], valid[i], nothing, tile, on)
        found, wanted = np.empty(off.shape), np.ones(off.shape[1:], bool)
        for ring in around:
            for array, total, to in zip((n[i], e[i]), totals[i], found, strict=True):
                ring.sum(array, usable[i], total, tile, to)
            enough = wanted & (found[1] > 0) & (on <= threshold * (1 + TIE) * found[1])
            take = wanted & (found[1] > 0) if keep_last else enough
            off[:, take] = found[:, take]
            wanted &= ~enough
            if not wanted.any():
                break

    in_threads(work, [(i, tile) for i in range(len(n)) for tile in range(len(around[0].tiles))])
    return out
