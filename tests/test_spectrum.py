"""Spectra of regions: conservation laws, brute force, and what is refused."""

import dask
import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from datasets import lazy, make, projections, seeds
from hypothesis import given, settings
from hypothesis import strategies as st
from regions import CirclePixelRegion, CircleSkyRegion, PixCoord, RectanglePixelRegion

import xonoff
from xonoff.irf import at_position, containment, edisp_kernel
from xonoff.quantities import ON_OFF
from xonoff.region import region_mask
from xonoff.spectrum import effective_area, to_spectrum

CENTER = SkyCoord(83.6, 22.0, unit="deg")
CIRCLE = CircleSkyRegion(CENTER, 0.16 * u.deg)
EVERYTHING = RectanglePixelRegion(PixCoord(3.5, 2.5), 7.9, 5.9)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, projection=projections, radius=st.floats(0.075, 0.28), on_dask=st.booleans(), none=st.booleans())
def test_counts_and_background_of_the_region_are_conserved(seed, projection, radius, on_dask, none):
    ds = make(seed, projection)
    if none:
        ds["counts_off"] = ds.counts_off * 0
    region = CircleSkyRegion(CENTER, radius * u.deg)
    spectrum = to_spectrum(lazy(ds) if on_dask else ds, region)
    assert (spectrum.counts.chunks is not None) == on_dask
    used = ds.mask_safe.values & region_mask(region, ds.onoff.geom.sky)
    n = used.sum((1, 2))
    for name in ("counts", "counts_off"):
        np.testing.assert_array_equal(spectrum[name], np.where(used, ds[name], 0).sum((1, 2)))
    a_on, a_off = (np.where(used, ds[name], 0).sum((1, 2)) for name in ON_OFF[2:])
    np.testing.assert_allclose(spectrum.acceptance, a_on / np.maximum(n, 1), rtol=1e-12)
    expected = np.where(used, ds.onoff.background, 0).sum((1, 2))
    np.testing.assert_allclose(spectrum.onoff.background.fillna(0), expected, rtol=1e-12)
    empty = (np.where(used, ds.counts_off, 0).sum((1, 2)) == 0) & (n > 0)
    np.testing.assert_allclose(
        spectrum.onoff.alpha.values[empty], (a_on / np.where(n > 0, a_off, 1))[empty], rtol=1e-12
    )
    np.testing.assert_array_equal(spectrum.mask_safe, n > 0)
    fit = (used & ds.mask_fit.values).any((1, 2))
    np.testing.assert_array_equal(spectrum.mask_fit, fit)
    inside = region_mask(region, ds.onoff.geom.sky)
    np.testing.assert_allclose(spectrum.exposure, ds.exposure.values[:, inside].mean(1), rtol=1e-12)
    xonoff.validate(spectrum.compute()) if spectrum.mask_safe.values.any() else None


@settings(max_examples=20, deadline=None)
@given(seed=seeds, projection=projections)
def test_the_whole_map_is_the_sum_over_the_sky(seed, projection):
    ds = make(seed, projection).drop_vars("mask_fit")
    spectrum = to_spectrum(ds, EVERYTHING)
    sums = xonoff.quantities.on_off_sums(ds, ds.onoff.sky_dims)
    for name in ("counts", "counts_off"):
        np.testing.assert_array_equal(spectrum[name], sums[name])
    np.testing.assert_allclose(spectrum.onoff.alpha, sums.onoff.alpha, rtol=1e-12)


def test_disjoint_regions_add_up():
    ds = make(5)
    parts = [to_spectrum(ds, CirclePixelRegion(PixCoord(x, 2.5), 1.4)) for x in (2, 5.5)]
    both = to_spectrum(ds, CirclePixelRegion(PixCoord(2, 2.5), 1.4) | CirclePixelRegion(PixCoord(5.5, 2.5), 1.4))
    for name in ("counts", "counts_off"):
        np.testing.assert_array_equal(both[name], parts[0][name] + parts[1][name])
    background = sum(part.onoff.background.fillna(0) for part in parts)
    np.testing.assert_allclose(both.onoff.background.fillna(0), background, rtol=1e-12)


@pytest.mark.parametrize("migra", [False, True])
def test_response_at_the_middle(migra):
    ds = make(1, migra=migra)
    spectrum = to_spectrum(ds, CIRCLE)
    whole = ds.assign(edisp=edisp_kernel(ds))
    np.testing.assert_allclose(spectrum.edisp, at_position(whole, "edisp", CENTER), rtol=1e-12)
    assert spectrum.edisp.dims == ("energy_true", "energy")
    assert "psf" not in spectrum
    assert "migra" not in spectrum.dims
    corrected = to_spectrum(ds, CIRCLE, containment_correction=True)
    share = containment(ds, CIRCLE.radius, CENTER)
    np.testing.assert_allclose(corrected.exposure, spectrum.exposure * share, rtol=1e-12)
    area = effective_area(spectrum)
    np.testing.assert_allclose(area, spectrum.exposure / 1001.0, rtol=1e-12)
    assert spectrum.onoff.effective_area.attrs["units"] == "m2"


def test_position_and_region_and_the_accessor_on_it():
    ds = xonoff.tutorial.dataset()
    spectrum = ds.onoff.to_spectrum(CircleSkyRegion(SkyCoord(83.633, 22.014, unit="deg"), 0.3 * u.deg))
    assert spectrum.onoff.sky_dims == ()
    assert float(spectrum.lon) == pytest.approx(83.633)
    assert spectrum.lon.attrs["frame"] == "icrs"
    assert str(spectrum.region.values).startswith("icrs;circle(83.633")
    assert spectrum.onoff.geom == xonoff.Geom(None, ds.onoff.geom.energy)
    assert float(spectrum.onoff.significance("energy")) > 20
    assert float(spectrum.onoff.info().counts) == float(spectrum.counts.where(spectrum.mask_safe).sum())
    assert "region" in repr(spectrum.onoff)
    spectrum.onoff._repr_html_()
    xonoff.validate(spectrum)
    joined = spectrum.onoff.to_image()
    assert float(joined.counts.sum()) == float(spectrum.counts.where(spectrum.mask_safe, 0).sum())
    assert float(joined.onoff.excess.sum()) == pytest.approx(
        float(spectrum.onoff.excess.where(spectrum.mask_safe).sum())
    )


@pytest.mark.parametrize("form", ["netcdf", "zarr"])
def test_a_spectrum_in_other_files(tmp_path, form):
    spectrum = make(1).onoff.to_spectrum(CIRCLE)
    getattr(spectrum.onoff, f"to_{form}")(tmp_path / "a")
    xr.testing.assert_identical(xonoff.open_dataset(tmp_path / "a").load().drop_encoding(), spectrum.drop_encoding())


def test_counts_and_a_background_alone():
    ds = make(1).onoff.to_map_dataset().drop_vars(["exposure", "psf", "edisp"])
    spectrum = to_spectrum(ds, CIRCLE)
    inside = region_mask(CIRCLE, ds.onoff.geom.sky) & ds.mask_safe.values
    np.testing.assert_allclose(spectrum.background, np.where(inside, ds.background, 0).sum((1, 2)))
    assert set(spectrum) == {"counts", "background", "mask_safe", "mask_fit"}


def test_an_exposure_on_a_grid_of_its_own():
    ds = make(1)
    coarse = xonoff.geometry.sky_grid(ds, "psf")
    values = ("energy_true", "y_exposure", "x_exposure"), ds.psf_exposure.values, {"units": "m2 s"}
    ds = ds.drop_vars("exposure").assign(exposure=values).assign_coords(coarse.coords("exposure"))
    spectrum = to_spectrum(ds, CIRCLE)
    np.testing.assert_allclose(spectrum.exposure, at_position(ds, "exposure", CENTER))


def test_dask_reads_the_chunks_of_the_region_only():
    ds = make(1).chunk({"y": 3, "x": 4})
    seen = []

    def note(block, block_id=None):
        seen.append(block_id)
        return block

    counts = ds.counts.data.map_blocks(note, dtype=ds.counts.dtype)
    ds = ds.assign(counts=(ds.counts.dims, counts, ds.counts.attrs))
    with dask.config.set(scheduler="synchronous"):
        seen.clear()
        to_spectrum(ds, CirclePixelRegion(PixCoord(1.5, 1), 1.2)).counts.compute()
    assert {place[1:] for place in seen if len(place) == 3} == {(0, 0)}


def test_dask_stays_lazy(no_compute):
    spectrum = to_spectrum(lazy(make(1)), CIRCLE, containment_correction=True)
    assert all(array.chunks for array in spectrum.data_vars.values())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: to_spectrum(ds, CircleSkyRegion(CENTER, 2 * u.deg)), "reaches off the map: .* of its"),
        (lambda ds: to_spectrum(ds, CircleSkyRegion(SkyCoord(10, 10, unit="deg"), 1 * u.deg)), "empty|off the map"),
        (lambda ds: to_spectrum(ds, CircleSkyRegion(CENTER, 0.001 * u.deg)), "is empty: it holds the centre of no"),
        (lambda ds: to_spectrum(ds, "circle"), "a str found, a sky or pixel region"),
        (lambda ds: to_spectrum(ds.onoff.sel(CENTER), CIRCLE), "a map with two sky dimensions is wanted"),
        (lambda ds: to_spectrum(ds, CirclePixelRegion(PixCoord(3, 3), 2), containment_correction=True),
         "containment correction: a CirclePixelRegion found, a CircleSkyRegion accepted"),
        (lambda ds: to_spectrum(ds.drop_vars("psf"), CIRCLE, containment_correction=True), "the dataset has no psf"),
        (lambda ds: to_spectrum(ds.drop_vars("exposure"), CIRCLE, containment_correction=True), "has no exposure"),
        (lambda ds: effective_area(ds.drop_vars("exposure")), "the dataset has no exposure"),
        (lambda ds: effective_area(ds.drop_vars("livetime")), "the dataset has no livetime"),
    ],
)  # fmt: skip
def test_what_is_refused(call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call(make(0))


def test_the_input_keeps_its_attributes_and_pixels_without_exposure_are_left_out():
    ds = make(3, "CAR")
    flat = ds.assign(exposure=ds.exposure.isel(lat=0, lon=0, drop=True).assign_attrs(note="mine"))
    to_spectrum(flat, CIRCLE)
    assert flat.exposure.attrs["note"] == "mine"
    exposure = ds.exposure.values.copy()
    exposure[:, 3, 4] = np.nan
    holes = ds.assign(exposure=ds.exposure.copy(data=exposure))
    region = region_mask(CIRCLE, ds.onoff.geom.sky)
    assert region[3, 4]
    np.testing.assert_allclose(to_spectrum(holes, CIRCLE).exposure, np.nanmean(exposure[:, region], axis=1), rtol=1e-12)
    turned = ds.transpose("energy", "energy_true", ...)
    assert to_spectrum(turned, CIRCLE).edisp.dims == ("energy_true", "energy")


def test_a_region_in_another_frame_is_named():
    far = CircleSkyRegion(SkyCoord(83.6, 22.0, unit="deg").transform_to("geocentrictrueecliptic"), 0.1 * u.deg)
    with pytest.raises(xonoff.GeometryError, match="icrs, galactic, fk5 or fk4 accepted"):
        to_spectrum(make(1), far)
