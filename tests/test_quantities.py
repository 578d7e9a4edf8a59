import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xonoff
from xonoff import quantities

#: Every quantity that has to stay lazy on dask, by name.
LAZY = {
    "alpha": lambda ds: ds.onoff.alpha,
    "background": lambda ds: ds.onoff.background,
    "excess": lambda ds: ds.onoff.excess,
    "mask": lambda ds: ds.onoff.mask,
    "wstat": lambda ds: ds.onoff.wstat(),
    "stat_array": lambda ds: ds.onoff.stat_array(),
    "stat_sum": lambda ds: ds.onoff.stat_sum(),
    "npred_background": lambda ds: ds.onoff.npred_background(),
    "npred_off": lambda ds: ds.onoff.npred_off(),
    "significance": lambda ds: ds.onoff.significance(),
    "significance of the sky": lambda ds: ds.onoff.significance("energy"),
    "energy_min": lambda ds: ds.onoff.energy_range[0],
    "energy_max": lambda ds: ds.onoff.energy_range[1],
    "counts in info": lambda ds: ds.onoff.info()["counts"],
    "invalid in info": lambda ds: ds.onoff.info()["invalid"],
    "exposure in info": lambda ds: ds.onoff.info()["exposure_max"],
    "sums": lambda ds: quantities.on_off_sums(ds, "energy")["acceptance_off"],
}


def spectrum(
    n_on: list[float], n_off: list[float], a_on: list[float], a_off: list[float], **masks: object
) -> xr.Dataset:
    """A dataset on energy alone."""
    values = {"counts": n_on, "counts_off": n_off, "acceptance": a_on, "acceptance_off": a_off, **masks}
    coords = xonoff.axes.axis_coords("energy", np.geomspace(1, 10, len(n_on) + 1))
    ds = xr.Dataset({name: ("energy", np.array(value)) for name, value in values.items()}, coords)
    for name in quantities.ON_OFF:
        ds[name].attrs["units"] = "1"
    return ds


@pytest.mark.parametrize("name", LAZY)
def test_lazy_and_equal_to_the_eager_result(name: str, ds: xr.Dataset, lazy: xr.Dataset, no_compute: None) -> None:
    import dask

    result = LAZY[name](lazy)
    assert result.chunks is not None
    with pytest.raises(AssertionError, match="a dask array was computed"):
        result.compute()
    with dask.config.set(scheduler="synchronous"):
        computed = result.compute()
    xr.testing.assert_allclose(computed, LAZY[name](ds), rtol=1e-12)
    assert computed.attrs == LAZY[name](ds).attrs


def test_values_by_hand() -> None:
    ds = spectrum([5, 0, 3, 7], [20, 10, 0, 4], [1, 1, 2, 1], [10, 5, 4, 0])
    np.testing.assert_array_equal(ds.onoff.alpha, [0.1, 0.2, 0.5, np.nan])
    np.testing.assert_array_equal(ds.onoff.background, [2, 2, 0, np.nan])
    np.testing.assert_array_equal(ds.onoff.excess, [3, -2, 3, np.nan])
    # 5 on, 20 off, alpha 0.1: the profiled background without a signal is alpha (n_on + n_off) / (1 + alpha).
    np.testing.assert_allclose(ds.onoff.npred_background()[0], 0.1 * 25 / 1.1, rtol=1e-14)
    np.testing.assert_allclose(ds.onoff.npred_off()[0], 25 / 1.1, rtol=1e-14)
    assert np.isnan(ds.onoff.wstat()[3])
    np.testing.assert_allclose(ds.onoff.stat_sum(), ds.onoff.wstat()[:3].sum(), rtol=1e-14)
    np.testing.assert_allclose(ds.onoff.significance()[:3], np.sign([3, -2, 3]) * np.sqrt(ds.onoff.wstat()[:3]))


@pytest.mark.parametrize(
    ("bad", "value"),
    [("counts", np.nan), ("counts", -1), ("counts", np.inf), ("counts_off", -2), ("counts_off", np.nan),
     ("acceptance", np.nan), ("acceptance", -1), ("acceptance_off", 0), ("acceptance_off", -3),
     ("acceptance_off", np.nan), ("acceptance_off", np.inf)],
)  # fmt: skip
def test_a_bad_bin_never_enters_a_sum(bad: str, value: float) -> None:
    good = spectrum([5.0, 4.0], [20.0, 30.0], [1.0, 1.0], [10.0, 10.0])
    ds = good.copy(deep=True)
    ds[bad][1] = value
    first = good.isel(energy=[0])
    assert float(ds.onoff.stat_sum()) == float(first.onoff.stat_sum())
    sums, expected = quantities.on_off_sums(ds, "energy"), quantities.on_off_sums(first, "energy")
    xr.testing.assert_equal(sums, expected)
    assert np.isnan(ds.onoff.wstat()[1])
    assert np.isnan(ds.onoff.excess[1])
    assert int(ds.onoff.info().n_bins_valid) == 1
    assert int(ds.onoff.info().invalid.sum()) == 1
    with pytest.raises(xonoff.SchemaError, match="1 bins"):
        xonoff.validate(ds)


def test_masks() -> None:
    ds = spectrum([1, 2, 3], [1, 1, 1], [1, 1, 1], [2, 2, 2])
    assert ds.onoff.mask.all()
    ds["mask_safe"] = ("energy", [True, True, False])
    ds["mask_fit"] = ("energy", [True, False, True])
    np.testing.assert_array_equal(ds.onoff.mask, [True, False, False])
    np.testing.assert_allclose(ds.onoff.stat_sum(), ds.onoff.wstat()[0], rtol=1e-15)
    ds["mask_fit"] = ("energy", [1, 0, 7])  # as somebody else's file may have it
    np.testing.assert_array_equal(ds.onoff.mask, [True, False, False])
    assert int(ds.onoff.info().invalid.sel(reason="mask_fault")) == 1


def test_everything_masked_sums_to_zero() -> None:
    ds = spectrum([1, 2], [1, 1], [1, 1], [2, 2], mask_safe=[False, False])
    assert float(ds.onoff.stat_sum()) == 0
    totals = ds.onoff.info()
    assert float(totals.counts) == float(totals.counts_off) == 0
    assert np.isnan(totals.alpha)
    assert np.isnan(totals.excess)
    lo, hi = ds.onoff.energy_range
    assert np.isnan(lo)
    assert np.isnan(hi)


counts = st.lists(st.integers(0, 50), min_size=4, max_size=4)
positive = st.lists(st.floats(0.01, 100), min_size=4, max_size=4)


@given(n_on=counts, n_off=counts, a_on=positive, a_off=positive, inside=st.lists(st.booleans(), min_size=4, max_size=4))
@settings(deadline=None, max_examples=100)
def test_sums_conserve_the_excess(
    n_on: list[int], n_off: list[int], a_on: list[float], a_off: list[float], inside: list[bool]
) -> None:
    ds = spectrum(n_on, n_off, a_on, a_off, mask_safe=inside)
    sums = quantities.on_off_sums(ds, "energy")
    inside_ = np.array(inside)
    expected = float(ds.onoff.excess.values[inside_].sum())
    if any(inside):
        np.testing.assert_allclose(sums.onoff.excess, expected, rtol=1e-12, atol=1e-12 * (1 + sum(n_on)))
    if not np.array(n_off)[inside_].any() and any(inside):
        plain = np.array(a_on)[inside_].sum() / np.array(a_off)[inside_].sum()
        np.testing.assert_allclose(sums.onoff.alpha, plain, rtol=1e-12)


@given(n_on=counts, n_off=counts, a_on=positive, a_off=positive)
@settings(deadline=None, max_examples=50)
def test_sums_do_not_depend_on_the_grouping(
    n_on: list[int], n_off: list[int], a_on: list[float], a_off: list[float]
) -> None:
    ds = spectrum(n_on, n_off, a_on, a_off)
    whole = quantities.on_off_sums(ds, "energy")
    halves = [quantities.on_off_sums(ds.isel(energy=part), "energy") for part in (slice(0, 2), slice(2, 4))]
    again = quantities.on_off_sums(xr.concat(halves, "energy"), "energy")
    xr.testing.assert_allclose(whole, again, rtol=1e-12)


def test_the_sum_is_in_float64() -> None:
    ds = spectrum([2.0**24, 1.0], [1, 1], [1, 1], [2, 2])
    ds["counts"] = ds["counts"].astype(np.float32)
    assert float(quantities.on_off_sums(ds, "energy").counts) == 2.0**24 + 1


def test_energy_range(ds: xr.Dataset) -> None:
    lo, hi = ds.onoff.energy_range
    assert lo.dims == ("lat", "lon")
    assert float(lo.min()) == 0.5
    assert float(hi.max()) == 50.0
    outside = ~ds.mask_safe.any("energy")
    assert outside.any()
    assert np.isnan(lo.where(outside, np.nan)).all()
    ring = ~ds.mask_safe[0] & ds.mask_safe[1]
    np.testing.assert_allclose(lo.where(ring).max(), ds.energy_bounds[1, 0])


def test_missing_variables_are_named(ds: xr.Dataset) -> None:
    with pytest.raises(xonoff.SchemaError, match="no variable counts_off, acceptance_off"):
        _ = ds.drop_vars(["counts_off", "acceptance_off"]).onoff.excess
    with pytest.raises(xonoff.SchemaError, match="no livetime"):
        _ = ds.drop_vars("livetime").onoff.livetime
    with pytest.raises(xonoff.SchemaError, match="no good time intervals"):
        _ = ds.drop_vars("gti_start").onoff.gti
    with pytest.raises(xonoff.SchemaError, match="has no counts"):
        _ = ds[["exposure"]].onoff.mask


def test_observations(ds: xr.Dataset) -> None:
    assert float(ds.onoff.livetime) == 3350.0
    gti = ds.onoff.gti
    np.testing.assert_array_equal(gti.duration, [1800.0, 1800.0])
    assert ds.onoff.name == "tutorial"
    assert ds.onoff.data_shape == (8, 40, 40)


def test_inputs_are_left_alone(ds: xr.Dataset) -> None:
    before = ds.copy(deep=True)
    for function in LAZY.values():
        function(ds)
    xr.testing.assert_identical(ds, before)


def test_arithmetic_on_selections(ds: xr.Dataset) -> None:
    part = ds.isel(lat=slice(10, 30, 2), lon=slice(None, None, -1)).sel(energy=slice(1, 10))
    np.testing.assert_array_equal(
        part.onoff.excess,
        ds.onoff.excess.isel(lat=slice(10, 30, 2), lon=slice(None, None, -1)).sel(energy=slice(1, 10)),
    )
    pixel = ds.isel(lat=20, lon=20)
    assert pixel.onoff.excess.dims == ("energy",)
    assert pixel.onoff.sky_dims == ()


def test_two_different_skies_are_refused(ds: xr.Dataset) -> None:
    combined = ds.drop_vars("wcs")  # what xarray leaves of maps of two grids
    for function in (lambda d: d.onoff.excess, lambda d: d.onoff.stat_sum(), lambda d: d.onoff.significance("energy")):
        with pytest.raises(xonoff.GeometryError, match="no coordinate wcs"):
            function(combined)


def test_unknown_dimensions_are_refused(ds: xr.Dataset) -> None:
    with pytest.raises(xonoff.SchemaError, match="dimension 'enrgy' found"):
        ds.onoff.significance("enrgy")
    np.testing.assert_allclose(ds.onoff.significance(...), ds.onoff.info().significance)
    with pytest.raises(xonoff.SchemaError, match="no dimension energy"):
        _ = ds.isel(energy=0).onoff.energy_range


def test_one_lazy_bin_stays_lazy(lazy: xr.Dataset, no_compute: None) -> None:
    assert lazy.isel(energy=0, lat=20, lon=20).onoff.stat_sum().chunks is not None
