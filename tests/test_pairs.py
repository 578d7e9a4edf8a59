"""On/off datasets of two runs: alpha by livetimes and acceptances, counts kept, masks, grids, laziness, errors."""

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from datasets import lazy, make, projections, seeds, unrecorded
from hypothesis import given, settings
from hypothesis import strategies as st
from regions import CircleSkyRegion

import xonoff
from xonoff import from_on_off_pair

ON_OFF = ("counts", "counts_off", "acceptance", "acceptance_off")
OFF_ONLY = ("counts_off", "acceptance_off")
seconds = st.floats(1, 1e6)


def run(seed, projection="TAN", livetime=None, **options):
    """One run: counts and a relative rate."""
    ds = make(seed, projection, **options).drop_vars(OFF_ONLY)
    return ds if livetime is None else ds.assign_coords(livetime=("obs", [livetime], {"units": "s"}))


def on_map(center, projection="TAN", *, width=2.0, size=0.1, frame="icrs", **values):
    geom = xonoff.Geom.create(
        center, width=width, pixel_size=size, projection=projection, frame=frame, energy=[1, 2, 4]
    )
    arrays = {n: (geom.dims, np.full(geom.shape, float(v)), {"units": "1"}) for n, v in values.items()}
    return xr.Dataset(arrays, geom.coords()).assign_coords(livetime=("obs", [100.0], {"units": "s"}))


@settings(max_examples=40, deadline=None)
@given(seed=seeds, projection=projections, t_on=seconds, t_off=seconds, lazily=st.tuples(st.booleans(), st.booleans()))
def test_alpha_is_the_ratio_of_livetime_times_rate(seed, projection, t_on, t_off, lazily):
    on, off = run(seed, projection, t_on), run(seed + 1, projection, t_off)
    given_ = [lazy(ds) if chunked else ds for ds, chunked in zip((on, off), lazily, strict=True)]
    pair = from_on_off_pair(*given_)
    assert bool(pair.chunks) == any(lazily)
    np.testing.assert_array_equal(pair.counts, on.counts)
    np.testing.assert_array_equal(pair.counts_off, off.counts)
    alpha = t_on * on.acceptance.values / (t_off * off.acceptance.values)
    np.testing.assert_allclose(pair.onoff.alpha, alpha, rtol=1e-12)
    np.testing.assert_allclose(pair.acceptance, t_on * on.acceptance.values, rtol=1e-12)
    for name in ("mask_safe", "mask_fit"):
        np.testing.assert_array_equal(pair[name], on[name].values & off[name].values)
    np.testing.assert_allclose(pair.onoff.excess, on.counts.values - alpha * off.counts.values, rtol=1e-10, atol=1e-9)
    for name in ("exposure", "psf", "edisp", "gti_start", "gti_stop", "livetime", "obs_id", "wcs"):
        xr.testing.assert_identical(pair[name].variable.compute(), on[name].variable)
    assert unrecorded(pair).attrs == on.attrs
    assert (float(pair.livetime_off[0]), int(pair.obs_id_off[0])) == (t_off, seed + 1)
    xonoff.validate(pair.compute())


@settings(max_examples=30, deadline=None)
@given(seed=seeds, factor=st.floats(1e-3, 1e3), which=st.sampled_from(["on", "off"]))
def test_alpha_scales_with_each_livetime_and_each_rate(seed, factor, which):
    base = {"on": run(seed, livetime=1000.0), "off": run(seed + 1, livetime=2000.0)}
    alpha = from_on_off_pair(**base).onoff.alpha
    expected = alpha * factor if which == "on" else alpha / factor
    longer = base[which].assign_coords(livetime=("obs", base[which].livetime.values * factor, {"units": "s"}))
    brighter = base[which].assign(acceptance=(base[which].acceptance * factor).assign_attrs(units="1"))
    for changed in (longer, brighter):
        np.testing.assert_allclose(from_on_off_pair(**(base | {which: changed})).onoff.alpha, expected, rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, scale=st.floats(1e-3, 1e3))
def test_an_explicit_scale_takes_the_place_of_the_livetimes(seed, scale):
    on, off = run(seed), run(seed + 1)
    pair = from_on_off_pair(on.drop_vars("livetime"), off.drop_vars("livetime"), scale=scale)
    np.testing.assert_allclose(pair.onoff.alpha, scale * on.acceptance / off.acceptance, rtol=1e-12)
    np.testing.assert_array_equal(pair.acceptance, on.acceptance)


def test_a_template_holds_the_livetime_already():
    on, off = (make(seed).onoff.to_map_dataset() for seed in (1, 2))
    pair = from_on_off_pair(on.drop_vars("livetime"), off)
    np.testing.assert_allclose(pair.onoff.alpha, (on.background / off.background).where(off.background > 0))
    half = from_on_off_pair(on, off, scale=0.5)
    np.testing.assert_allclose(half.onoff.alpha, pair.onoff.alpha / 2)
    assert "background" not in pair
    both = [ds.assign(acceptance=ds.background) for ds in (on, off)]
    np.testing.assert_allclose(from_on_off_pair(*both, weights="background").onoff.alpha, pair.onoff.alpha)
    assert not np.allclose(from_on_off_pair(*both).onoff.alpha, pair.onoff.alpha, equal_nan=True)  # rates, by livetime


def test_without_any_acceptance_it_is_the_livetimes():
    on, off = (run(seed, livetime=t).drop_vars("acceptance") for seed, t in ((1, 100.0), (2, 400.0)))
    np.testing.assert_allclose(from_on_off_pair(on, off).onoff.alpha, 0.25)
    np.testing.assert_allclose(from_on_off_pair(on, off, scale=3).onoff.alpha, 3)
    flat = from_on_off_pair(run(1, livetime=100.0), off, weights="flat")
    np.testing.assert_allclose(flat.onoff.alpha, 0.25)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, radius=st.floats(0.08, 0.28))
def test_a_spectrum_of_the_pair_and_a_pair_of_spectra_have_the_same_counts(seed, radius):
    on, off = (run(s, livetime=t, masks=False) for s, t in ((seed, 500.0), (seed + 1, 900.0)))
    region = CircleSkyRegion(SkyCoord(83.6, 22.0, unit="deg"), radius * u.deg)
    whole = from_on_off_pair(on, off).onoff.to_spectrum(region)
    parts = from_on_off_pair(on.onoff.to_spectrum(region), off.onoff.to_spectrum(region))
    for name in ("counts", "counts_off", "mask_safe", "exposure", "edisp", "region"):
        np.testing.assert_array_equal(whole[name], parts[name])
    rates = [np.asarray(ds.onoff.to_spectrum(region).acceptance) for ds in (on, off)]
    np.testing.assert_allclose(parts.onoff.alpha, 500 * rates[0] / (900 * rates[1]), rtol=1e-12)


def test_stacked_pairs_keep_the_background(tmp_path):
    pairs = [from_on_off_pair(run(s, livetime=t), run(s + 10, livetime=2 * t)) for s, t in ((1, 300.0), (2, 700.0))]
    both = xonoff.stack(pairs)
    expected = sum(p.onoff.background.where(p.mask_safe, 0) for p in pairs)
    np.testing.assert_allclose(both.onoff.background.where(both.mask_safe, 0), expected, rtol=1e-12)
    np.testing.assert_array_equal(both.livetime_off, [600, 1400])
    both.onoff.to_fits(tmp_path / "both.fits")
    back = xonoff.open_dataset(tmp_path / "both.fits")
    np.testing.assert_array_equal(back.livetime_off, [600, 1400])
    np.testing.assert_allclose(back.onoff.alpha, both.onoff.alpha)


def test_where_the_off_run_has_no_exposure_bins_are_masked():
    on, off = run(1, masks=False), run(2, masks=False)
    acceptance = off.acceptance.values.copy()
    acceptance[0, 0, :4] = 0, -1, np.nan, np.inf
    pair = from_on_off_pair(on, off.assign(acceptance=(off.acceptance.dims, acceptance, {"units": "1"})))
    assert not pair.mask_safe[0, 0, :4].any()
    assert int((~pair.mask_safe).sum()) == 4
    assert np.isnan(pair.onoff.alpha[0, 0, :3]).all()
    assert "mask_fit" not in pair
    assert float(pair.onoff.info().n_bins_valid) == pair.counts.size - 4


def test_a_mask_of_one_run_and_of_energy_alone():
    on, off = run(1), run(2, masks=False)
    off["mask_safe"] = "energy", np.array([False, True, True, True])
    pair = from_on_off_pair(on, off)
    np.testing.assert_array_equal(pair.mask_safe[1:], on.mask_safe[1:])
    assert not pair.mask_safe[0].any()
    assert pair.mask_safe.dims == on.counts.dims
    np.testing.assert_array_equal(pair.mask_fit, on.mask_fit)
    fault = off.assign(mask_fault=on.mask_safe)
    np.testing.assert_array_equal(from_on_off_pair(on, fault).mask_fault, on.mask_safe)


def test_created_datasets_and_inputs_left_alone():
    geom = xonoff.Geom.create((83.6, 22), width=1, pixel_size=0.1, energy=[1, 2, 4])
    on, off = (xonoff.create(geom, energy_true=[0.5, 2, 8]) for _ in range(2))
    for ds, t in ((on, 100.0), (off, 50.0)):
        ds["acceptance"][:] = 1
        ds["mask_safe"][:] = True
        ds.coords["livetime"] = "obs", [t], {"units": "s"}
    off["counts"][:] = 3
    before = on.copy(deep=True), off.copy(deep=True)
    pair = from_on_off_pair(on, off)
    np.testing.assert_allclose(pair.onoff.background, 6)
    pair["acceptance"][:] = 7
    for ds, old in zip((on, off), before, strict=True):
        xr.testing.assert_identical(ds, old)
    xonoff.validate(pair)


def test_cutouts_of_one_sky_meet_and_the_order_of_dimensions_does_not_matter():
    whole = run(1), run(2)
    part = [ds.isel(y=slice(1, 5), x=slice(2, 6)) for ds in whole]
    pair = from_on_off_pair(part[0], part[1].transpose("x", "y", "energy", ...))
    np.testing.assert_array_equal(pair.counts_off, part[1].counts)
    own = run(2, window=(slice(1, 5), slice(2, 6)))  # the same pixels, by their labels
    assert from_on_off_pair(part[0], own).counts_off.shape == pair.counts_off.shape
    with pytest.raises(xonoff.GeometryError, match="different pixels of one sky grid"):
        from_on_off_pair(part[0], whole[1].isel(y=slice(0, 4), x=slice(2, 6)))


# -- recentred --------------------------------------------------------------------------------------------------------


def test_an_off_run_around_another_position():
    on = on_map((83.63, 22.01), counts=5, acceptance=1)
    off = on_map((120.0, -35.0), counts=7, acceptance=2)
    with pytest.raises(xonoff.GeometryError, match=r"two different sky grids.*recentred=True"):
        from_on_off_pair(on, off)
    pair = from_on_off_pair(on, off, recentred=True)
    np.testing.assert_array_equal(pair.onoff.alpha, 0.5)
    assert pair.onoff.geom == on.onoff.geom
    xonoff.validate(pair)
    turned = on_map((0.0, 0.0), frame="galactic", counts=7, acceptance=2)
    np.testing.assert_array_equal(from_on_off_pair(on, turned, recentred=True).onoff.alpha, 0.5)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"center": (120, -35), "width": 3.0}, r"TAN with \(30, 30\) pixels found, TAN with \(20, 20\)"),
        ({"center": (120, -35), "projection": "SIN"}, "SIN with"),
        ({"center": (120, -35), "size": 0.2, "width": 4.0}, r"pixels of \[\[-0.2, 0.0\], \[0.0, 0.2\]\] deg found"),
    ],
)
def test_recentred_maps_are_laid_out_alike(other, message):
    on = on_map((83.63, 22.01), counts=5)
    with pytest.raises(xonoff.GeometryError, match=message):
        from_on_off_pair(on, on_map(**other, counts=1), recentred=True)


def test_cylindrical_maps_at_other_latitudes_have_other_pixels():
    on = on_map((83.63, 22.01), "CAR", counts=5)
    assert "acceptance" in from_on_off_pair(on, on_map((120.0, 22.01), "CAR", counts=1), recentred=True)
    with pytest.raises(xonoff.GeometryError, match=r"solid angles of pixels found that differ by up to .* such as TAN"):
        from_on_off_pair(on, on_map((120.0, 60.0), "CAR", counts=1), recentred=True)


def test_dask_stays_lazy_and_in_one_layout(no_compute):
    on, off = lazy(run(1)), run(2).chunk({"energy": 1, "y": 2})
    pair = from_on_off_pair(on, off)
    assert all(pair[name].chunks for name in ON_OFF)
    assert pair.chunksizes["energy"] == (3, 1)  # the layout of the on run; Dataset.chunks refuses a mixture


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda on, off: from_on_off_pair(on, None), "off run: NoneType found, a dataset with counts accepted"),
        (lambda on, off: from_on_off_pair(on.drop_vars("counts"), off), "on run: .* found, a dataset with counts"),
        (lambda on, off: from_on_off_pair(on, off.isel(energy=slice(0, 2))), "off run: energy with edges"),
        (lambda on, off: from_on_off_pair(on, off.isel(energy=0)), "energy"),
        (lambda on, off: from_on_off_pair(on, off.isel(x=0)), "two maps, or two spectra"),
        (lambda on, off: from_on_off_pair(on, off.drop_vars("acceptance")), "'acceptance'. in the on run, none in the"),
        (lambda on, off: from_on_off_pair(on, off, weights="background"), "background in both accepted"),
        (lambda on, off: from_on_off_pair(on, off, weights="x"), "'x' found, 'acceptance' or 'background' or 'flat'"),
        (lambda on, off: from_on_off_pair(on, off.drop_vars("livetime")), "off run: no livetime found.* give scale"),
        (lambda on, off: from_on_off_pair(on.assign_coords(livetime=0.0), off), "on run: livetime in None found"),
        (lambda on, off: from_on_off_pair(on, off, scale=0), "scale: 0.0 found, a number above 0"),
        (lambda on, off: from_on_off_pair(on, off, scale=np.nan), "scale: nan found"),
        (lambda on, off: from_on_off_pair(on, off, scale=[1, 2]), "one value"),
        (lambda on, off: from_on_off_pair(on, off.drop_vars("wcs")), "no coordinate"),
    ],
)  # fmt: skip
def test_what_is_refused(call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call(run(1), run(2))


@pytest.mark.parametrize("value", [0.0, np.nan, -3.0, np.inf])
def test_a_livetime_has_to_be_positive(value):
    with pytest.raises(xonoff.SchemaError, match=r"on run: livetime: .* found, a number above 0 accepted"):
        from_on_off_pair(run(1, livetime=value), run(2))
