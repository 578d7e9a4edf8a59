"""Simulated counts: Poisson draws around what models and a background predict, and Asimov data without the noise."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff import quantities
from xonoff.duck import small_values
from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import same_grid, sky_dims
from xonoff.predict import Models, signal_of
from xonoff.provenance import recorded
from xonoff.schema import VARIABLES
from xonoff.stats.threads import in_threads
from xonoff.units import floats_in

__all__ = ["asimov", "fake"]

Floats = npt.NDArray[np.float64]
#: What is simulated, in the order of the arrays and of the streams of random numbers.
SIDES = ("counts", "counts_off")
#: Most counts that may be expected in a bin: more are a mistake in a unit, and float32 has no use for them.
MOST = 1e15


@recorded
def fake(ds: xr.Dataset, background: Any, seed: int | None = None, models: Models = None) -> xr.Dataset:
    r"""Dataset with simulated counts.

    Parameters
    ----------
    ds : Dataset
        With ``acceptance`` and ``acceptance_off``; it needs no counts, and for models an instrument response.
    background : DataArray, array_like or number
        Counts expected in the on region: of each bin (energy, sky), of each pixel, or one number for all. NaN, or
        masked in a numpy array, where it is not known. What has named dimensions is placed by them.
    seed : int, optional
        From 0 up to 2**63; a new one by default.
    models : SkyModel or iterable of SkyModel, optional
        Those that the dataset carries by default.

    Returns
    -------
    Dataset
        With new ``counts`` and ``counts_off``, whole numbers in float32, whose attrs name the seed; all else is shared
        with ``ds``. Lazy where an acceptance, the background or the response is. The count of a bin follows from the
        seed, the position of the bin in the dataset and its expectation, taken to 37 bits, alone, whatever the chunks
        and threads. Counts above 2**24 are rounded to what float32 holds. FITS files keep the counts, not the seed.

    Raises
    ------
    SchemaError
        If an acceptance is missing, the seed is no such number, or the background is of another shape. If a value of
        it is negative, or more than 1e15 counts are expected in a bin, which shows in lazy ones when they are computed.
    GeometryError
        If the background lies on other bins.

    See Also
    --------
    asimov : The expectations in the place of draws.

    Notes
    -----
    With the background :math:`b` and the signal :math:`s` of the models,

    .. math::
        n_\mathrm{on} \sim \mathrm{Poisson}(\max(s + b, 0)), \qquad
        n_\mathrm{off} \sim \mathrm{Poisson}(b / \alpha).

    Where the background is NaN both counts are NaN: a bin that nothing is known of is invalid. Where the signal is NaN
    the on count is. Where alpha is 0 or invalid there are no off counts, 0; the bin is as valid as its acceptances are.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> simulated = fake(ds, background=ds.acceptance, seed=2)
    >>> float(simulated.counts.sum()), float(ds.acceptance.sum().round())
    (2360.0, 2347.0)
    """
    chosen = _seed(seed)
    key = int(np.random.SeedSequence(chosen).generate_state(1, np.uint64)[0])
    return _with_counts(ds, background, models, partial(_draws, key=key), np.float32, {"seed": chosen})


@recorded
def asimov(ds: xr.Dataset, background: Any, models: Models = None) -> xr.Dataset:
    r"""Dataset whose counts are what models and background predict, without noise.

    A fit to it gives the models back, with the errors and the significance that are typical of an observation.

    Parameters
    ----------
    ds, background, models
        As for `fake`.

    Returns
    -------
    Dataset
        With new ``counts`` and ``counts_off`` in float64: the expectations in the notes of `fake`, and NaN and 0 as
        there. WStat of these models is 0. From FITS, read them with ``round_counts_off=False``: by default off counts
        close to whole numbers are rounded, and those of far less than 1 are gone.

    Raises
    ------
    SchemaError, GeometryError
        As for `fake`.

    References
    ----------
    Cowan, Cranmer, Gross & Vitells (2011), Eur. Phys. J. C 71, 1554.

    Examples
    --------
    >>> import xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> expected = asimov(ds, background=ds.acceptance)
    >>> bool(abs(expected.onoff.excess).max() < 1e-12), bool(expected.onoff.stat_sum() < 1e-12)
    (True, True)
    """
    return _with_counts(ds, background, models, _expected, np.float64, {})


# -- bins -------------------------------------------------------------------------------------------------------------


def _with_counts(
    ds: xr.Dataset, background: Any, models: Models, function: Any, dtype: npt.DTypeLike, attrs: dict[str, Any]
) -> xr.Dataset:
    """Dataset with counts made by a function of blocks of signal, background and alpha."""
    alpha = quantities.alpha(ds).transpose(..., "energy", *sky_dims(ds), missing_dims="ignore")
    signal = signal_of(ds, models)
    bins = {
        "signal": xr.Variable((), 0.0) if signal is None else signal.variable,
        "background": _on_bins(background, alpha),
        "alpha": alpha.variable,
    }
    if any(array.chunks is not None for array in bins.values()):
        made = _lazy({name: array.chunk() for name, array in bins.items()}, alpha, function, dtype)
    else:
        made = function(*(_wide(array, alpha).values for array in bins.values()))
    return ds.assign(
        {
            name: (alpha.dims, counts, {"units": VARIABLES[name].units, **attrs})
            for name, counts in zip(SIDES, made, strict=True)
        }
    )


def _wide(array: xr.Variable, template: xr.DataArray) -> xr.Variable:
    """Array on all bins, without a copy."""
    wide: xr.Variable = array.set_dims(template.sizes).transpose(*template.dims)
    return wide


def _lazy(bins: dict[str, xr.Variable], template: xr.DataArray, function: Any, dtype: npt.DTypeLike) -> Any:
    import dask.array as da

    blocks = xr.Dataset({name: _wide(array, template) for name, array in bins.items()}).unify_chunks()
    arrays = [blocks[name].data for name in bins]
    chunks = ((len(SIDES),), *arrays[0].chunks)
    meta = np.empty((0,) * len(chunks), dtype)
    return da.map_blocks(function, *arrays, new_axis=0, chunks=chunks, dtype=dtype, meta=meta)


def _on_bins(background: Any, template: xr.DataArray) -> xr.Variable:
    """Background as given, with the names of its dimensions; refused where it is on other bins."""
    values: Any
    if isinstance(background, xr.DataArray):
        _check_labels(background, template)
        values = background.variable
    elif isinstance(background, xr.Variable):
        values = background
    elif isinstance(background, xr.Dataset):
        names = list(map(str, background.data_vars))
        raise SchemaError(f"background: a Dataset with the variables {names} found, one array accepted: pick one")
    else:
        values = background if hasattr(background, "chunks") else floats_in(background, "")
        if np.ma.isMaskedArray(background):
            values = np.where(np.ma.getmaskarray(background), np.nan, values)
    return quantities.on_bins("background", values, template)


def _check_labels(background: xr.DataArray, template: xr.DataArray) -> None:
    """Refuse a background whose sky grid, or where it has none positions, or energies are not those of the dataset."""
    units, near = {"energy": "TeV"}, {"energy": {"rtol": 1e-6, "atol": 0.0}}
    if sky_dims(background) and "wcs" in background.coords:
        same_grid(background, template)
    else:
        units |= {"lat": "deg", "lon": "deg"}
    for name, unit in units.items():
        if not all(name in array.coords and array[name].ndim for array in (template, background)):
            continue
        own, other = template[name], background[name]
        if own.sizes != other.sizes:
            continue  # which the shape tells
        found, accepted = small_values(other), small_values(own.transpose(*other.dims))
        wrong = ~np.isclose(found, accepted, equal_nan=True, **near.get(name, {"rtol": 0.0, "atol": 1e-6}))
        if wrong.any():
            raise GeometryError(
                f"background: {name} {found[wrong][0]} {unit} found where the dataset has {accepted[wrong][0]} {unit}, "
                "the same bins in the same order accepted: reindex the background"
            )


def _seed(seed: int | None) -> int:
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(1))
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise SchemaError(f"seed: {seed!r} found, a whole number from 0 up to 2**63, or None for a new one, accepted")
    return int(seed)


# -- arrays -----------------------------------------------------------------------------------------------------------


def _expected(signal: Floats, background: Floats, alpha: Floats) -> Floats:
    """Counts expected in the on and in the off region, (2, ...)."""
    if (background < 0).any():
        raise SchemaError(
            f"background: {np.nanmin(background)} counts expected in a bin found, 0 or more accepted, NaN where it "
            "is not known: set such bins, for example with background.clip(min=0)"
        )
    made = np.empty((2, *np.shape(alpha)))
    np.maximum(signal + background, 0, out=made[0, ...])
    made[1] = np.where(np.isnan(background), np.nan, 0.0)
    with np.errstate(over="ignore"):
        np.divide(background, alpha, out=made[1, ...], where=alpha > 0)
    for side, expected in zip(("on", "off"), made, strict=True):
        if (expected > MOST).any():
            raise SchemaError(
                f"background and models: {np.nanmax(expected):.3g} counts expected in the {side} region of a bin "
                f"found, up to {MOST:.0e} accepted: check the background, units of models, and both acceptances"
            )
    return made


def _draws(
    signal: Floats, background: Floats, alpha: Floats, *, key: int, block_info: Any = None
) -> npt.NDArray[np.float32]:
    """Counts drawn in the on and in the off region, (2, ...), of all bins or of the block that dask tells of."""
    from xonoff.stats import poisson

    shape, location = np.shape(alpha), [(0, n) for n in np.shape(alpha)]
    if block_info is not None:
        shape, location = block_info[0]["shape"], block_info[0]["array-location"]
    bins = np.atleast_1d(signal, background, alpha)
    made = np.empty((2, *bins[2].shape), np.float32)

    def plane(i: int) -> None:
        part = slice(i, i + 1)
        first = [(start + i, start + i + 1) for start, _ in location[:1]]
        numbers = _numbers([*first, *location[1:]], shape).ravel()
        for stream, mu in enumerate(_expected(*(array[part] for array in bins))):
            poisson.draw(mu.ravel(), numbers, np.uint64(stream), np.uint64(key), made[stream, part].reshape(-1))

    in_threads(plane, range(made.shape[1]))
    return made.reshape(2, *np.shape(alpha))


def _numbers(location: list[tuple[int, int]], shape: tuple[int, ...]) -> npt.NDArray[np.uint64]:
    """Numbers of the bins of a block in the raveled dataset."""
    numbers = np.zeros((), np.int64)
    for (start, stop), size in zip(location, shape, strict=True):
        numbers = numbers[..., None] * size + np.arange(start, stop)
    return numbers.astype(np.uint64)
