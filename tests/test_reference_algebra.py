"""Stacks, cutouts, images, spectra and slices of the test data against the numbers that gammapy 2.1 gave for them.

Where our rule differs on purpose the test says how: bins without an off count keep their alpha, the response of a
cutout keeps what interpolation needs, the dispersion of a spectrum is interpolated, and a stack keeps the response of
every pixel of its grid that has an unmasked pixel of the counts.
"""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.modeling.powerlaws import PowerLaw1D
from regions import CircleSkyRegion
from test_reference import RTOL, floats, opened, reference

import xonoff
from xonoff.geometry import sky_grid
from xonoff.irf import edisp_kernel
from xonoff.masks import on_grid
from xonoff.quantities import usable
from xonoff.region import region_mask

RUNS = [f"onoff_run{run}" for run in (23523, 23526, 23559, 23592)]
STEMS = ["onoff_run23523", "onoff_stacked", "onoff_stacked_car_galactic", "onoff_stacked_fine", "onoff_cta_sim"]


@pytest.fixture(autouse=True)
def _needs_data(data_dir: Any) -> None:
    """Skip all of this module where there are no data."""


def assert_maps(ds: xr.Dataset, maps: dict[str, Any]) -> None:
    """Sums over the sky, and for what depends on the off acceptance only bins with off counts."""
    dims = ds.counts.dims[1:]
    for name in ("counts", "counts_off", "acceptance", "mask_safe"):
        np.testing.assert_allclose(ds[name].sum(dims, dtype=float), maps[name]["sum"], rtol=RTOL, err_msg=name)
    for name in ("background", "excess"):
        key = "sum_in_mask_safe" if "sum_in_mask_safe" in maps[name] else "sum"
        found = getattr(ds.onoff, name).where(ds.mask_safe).sum(dims)
        np.testing.assert_allclose(found, maps[name][key], rtol=RTOL, atol=1e-4, err_msg=name)


def assert_pixels(ds: xr.Dataset, maps: dict[str, Any], pixels: list[dict[str, Any]]) -> None:
    for name in ("counts", "counts_off", "acceptance", "acceptance_off"):
        found = np.array([ds[name].values[:, p["iy"], p["ix"]] for p in pixels])
        expected = floats(maps[name]["pixels"])
        counted = np.array([ds.counts_off.values[:, p["iy"], p["ix"]] for p in pixels]) > 0
        # without an off count the peer takes the mean alpha of the cube, which depends on the order; we keep alpha
        good = counted if name == "acceptance_off" else np.ones_like(counted)
        np.testing.assert_allclose(found[good], expected[good], rtol=RTOL, err_msg=name)


def stat_of_bins_with_off_counts(ds: xr.Dataset) -> float:
    return float(ds.onoff.wstat().where(ds.mask_safe & (ds.counts_off > 0)).sum())


# -- stack ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_dask", [False, True])
def test_the_stack_of_four_runs(on_dask):
    runs = [opened(stem).chunk({"y": 60, "x": 70}) if on_dask else opened(stem) for stem in RUNS]
    total = xonoff.stack(runs).compute()
    expected = reference()["stack"]["stacked"]
    assert_maps(total, expected)
    assert_pixels(total, expected, reference()["datasets"]["onoff_stacked"]["pixels"])
    exposure = total.exposure.sum(("y", "x"))
    np.testing.assert_allclose(exposure, expected["exposure_sum_per_true_energy"], rtol=RTOL)
    iy, ix = expected["edisp_central_irf_pixel_iy_ix"]
    sums = total.edisp.sum("energy")[:, iy, ix]
    np.testing.assert_allclose(sums, expected["edisp_map_sum_over_reco_energy_at_central_irf_pixel"], rtol=RTOL)
    np.testing.assert_allclose(total.onoff.gti.duration.sum(), expected["gti_time_sum_s"], rtol=1e-9)
    file = opened("onoff_stacked")
    np.testing.assert_allclose(stat_of_bins_with_off_counts(total), stat_of_bins_with_off_counts(file), rtol=RTOL)
    assert total.onoff.geom == file.onoff.geom


def test_the_response_of_the_stack_is_that_of_the_file():
    """At pixels of the response that the mask of each run takes or leaves as a whole, in every energy."""
    runs, file = [opened(stem) for stem in RUNS], opened("onoff_stacked")
    total = xonoff.stack(runs)
    whole = np.ones(file.edisp.shape[2:], bool)
    for ds in runs:
        used = usable(ds)
        some, all_ = on_grid(used, ds, "edisp").values, ~on_grid(~used, ds, "edisp").values
        whole &= (some == all_).all(0)
    assert whole.sum() > 30
    for name in ("psf", "psf_exposure", "edisp", "edisp_exposure"):
        found, expected = total[name].values[..., whole], file[name].values[..., whole]
        np.testing.assert_allclose(found, expected, rtol=RTOL, atol=1e-6 * expected.max(), err_msg=name)
    # elsewhere we keep more of the response: none is lost that an unmasked pixel of the counts needs
    assert (total.psf_exposure.values >= 0.999999 * file.psf_exposure.values).all()


def test_the_energy_threshold_survives_where_gammapy_loses_it():
    """Plain gammapy predicts twice the counts in the second bin: a masked bin beside a valid one turns valid."""
    total = xonoff.stack([opened(stem) for stem in RUNS])
    rows = total.edisp.sum("energy")[:, 5, 6]
    peer = reference()["stack"]["stacked_gammapy_as_is"]["edisp_map_sum_over_reco_energy_at_central_irf_pixel"]
    assert (rows.values[:4] < 0.7 * np.array(peer)[:4]).all()
    kernels = [edisp_kernel(ds).values[:, :, 5, 6] * ds.mask_safe.values[:, 62, 75] for ds in map(opened, RUNS)]
    weights = [ds.edisp_exposure.values[:, 5, 6, None] for ds in map(opened, RUNS)]
    expected = sum(w * k for w, k in zip(weights, kernels, strict=True))
    np.testing.assert_allclose(total.edisp[:, :, 5, 6] * total.edisp_exposure[:, 5, 6], expected, rtol=1e-6)


def test_masking_first_and_stacking_two():
    first, second = opened(RUNS[0]), opened(RUNS[1])
    stacks = reference()["stack"]
    assert_maps(first.onoff.to_masked(), stacks["to_masked_first"])
    assert_maps(first.onoff.stack(second), stacks["to_masked_first_then_stack_second"])
    # the peer without to_masked keeps the masked counts of the first; ours applies both masks always
    unmasked = np.array(stacks["unmasked_first_then_stack_second"]["counts"]["sum"])
    assert (first.onoff.stack(second).counts.sum(("y", "x")) <= unmasked).all()
    assert unmasked[0] > 0 == float(first.onoff.stack(second).counts[0].sum())


# -- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", STEMS)
def test_cutouts(stem):
    ds = opened(stem)
    for expected in reference()["datasets"][stem]["cutout"]:
        position = SkyCoord(*expected["position_deg"], unit="deg", frame=expected["frame"])
        part = ds.onoff.cutout(position, tuple(expected["width_lon_lat_deg"]), expected["mode"])
        assert list(part.counts.shape) == expected["geom"]["shape_numpy"]
        np.testing.assert_allclose(part.onoff.wcs.wcs.crpix, expected["geom"]["crpix"], atol=1e-9)
        assert_maps(part, expected["maps"])
        exposure = part.exposure.sum(part.counts.dims[1:], dtype=float)
        np.testing.assert_allclose(exposure, expected["exposure_sum"], rtol=RTOL)
        # the peer keeps the width that was asked for, at least 3 pixels; ours what interpolation inside it needs
        assert sky_grid(part, "psf").shape >= (2, 2)


@pytest.mark.parametrize("stem", STEMS)
def test_images(stem):
    ds, expected = opened(stem), reference()["datasets"][stem]["to_image"]
    image = ds.onoff.to_image(keep_energy_true=True)
    assert_maps(image, expected["maps"])
    assert_pixels(image, expected["maps"], reference()["datasets"][stem]["pixels"])
    np.testing.assert_allclose(image.onoff.stat_sum(), expected["stat_sum_no_model"], rtol=RTOL)
    for index, key in ((2, "exposure_weighted_index_2"), (2.6, "exposure_weighted_index_2p6")):
        mean = expected[key]["flux_weighted_mean_over_true_energy_cm2_s"]
        exposure = ds.onoff.to_image(PowerLaw1D(alpha=index)).exposure * 1e4
        np.testing.assert_allclose(exposure.sum(), mean["sum"], rtol=RTOL)
        found = [float(exposure[0, p["iy"], p["ix"]]) for p in reference()["datasets"][stem]["pixels"]]
        np.testing.assert_allclose(found, mean["pixels"], rtol=RTOL)


@pytest.mark.parametrize("stem", [stem for stem in STEMS if "car" not in stem])
def test_the_dispersion_of_an_image(stem):
    kernel = np.array(reference()["datasets"][stem]["to_image"]["edisp_kernel_at_center"]).ravel()
    found = opened(stem).onoff.to_image(keep_energy_true=True).edisp.values[:, 0]
    distance = np.abs(found - kernel[:, None, None]).max(0)
    assert distance.min() < 1e-6  # the peer takes the nearest pixel of the response


@pytest.mark.parametrize("stem", STEMS)
def test_energies_sliced_and_joined(stem):
    ds, expected = opened(stem), reference()["datasets"][stem]
    edges = ds.onoff.geom.energy
    part = ds.onoff.slice_by_energy(edges[2], edges[6])
    # a slice holds what the map holds, also outside the mask
    for name in ("counts", "counts_off", "acceptance"):
        sums = part[name].sum(part.counts.dims[1:], dtype=float)
        np.testing.assert_allclose(sums, expected["slice_by_idx_energy_2_6"][name]["sum"], rtol=RTOL)
    np.testing.assert_allclose(
        part.onoff.stat_sum(), expected["slice_by_idx_energy_2_6"]["stat_sum_no_model"], rtol=RTOL
    )
    joined, numbers = ds.onoff.downsample(2, axis="energy"), expected["resample_energy_axis_by_2"]
    assert_maps(joined, numbers)
    # in bins without an off count the peer gives alpha 0 and statistic 0; ours keeps alpha and counts them
    np.testing.assert_allclose(stat_of_bins_with_off_counts(joined), numbers["stat_sum_no_model"], rtol=RTOL)
    assert float(joined.onoff.stat_sum()) >= numbers["stat_sum_no_model"] * (1 - RTOL)


@pytest.mark.parametrize("stem", STEMS)
def test_spectra(stem):
    ds = opened(stem)
    for expected in reference()["datasets"][stem]["to_spectrum_dataset"]:
        place = expected["region"]
        center = SkyCoord(place["lon_deg"], place["lat_deg"], unit="deg", frame=place["frame"])
        region = CircleSkyRegion(center, place["radius_deg"] * u.deg)
        correction = expected["containment_correction"]
        spectrum = ds.onoff.to_spectrum(region, containment_correction=correction)
        assert region_mask(region, ds.onoff.geom.sky).sum() == expected["n_pixels_in_region"]
        used, counted = np.array(expected["mask_safe"]), np.array(expected["counts_off"]) > 0
        np.testing.assert_array_equal(spectrum.mask_safe, used)
        for name in ("counts", "counts_off", "exposure"):
            np.testing.assert_allclose(spectrum[name], expected[name], rtol=RTOL, err_msg=name)
        # a masked bin has acceptance 0 here and NaN there; without off counts we keep alpha, where it is 0 there
        (mean,), (off,) = floats([expected["acceptance"]]), floats([expected["acceptance_off"]])
        np.testing.assert_allclose(spectrum.acceptance[used], mean[used], rtol=RTOL)
        np.testing.assert_allclose(spectrum.acceptance_off[counted], off[counted], rtol=RTOL)
        assert (spectrum.acceptance_off[used & ~counted] > 0).all()
        (excess,) = floats([expected["excess"]])
        np.testing.assert_allclose(spectrum.onoff.excess[counted], excess[counted], rtol=RTOL, atol=1e-4)
        # the peer takes the pixel of the response nearest to the middle of the region
        if "migra" not in ds.dims:
            kernel = np.array(expected["edisp_kernel"])
            distance = np.abs(ds.edisp.values - kernel[..., None, None]).max((0, 1))
            iy, ix = np.unravel_index(distance.argmin(), distance.shape)
            assert distance[iy, ix] <= RTOL
            around = ds.edisp.values[:, :, max(iy - 1, 0) : iy + 2, max(ix - 1, 0) : ix + 2]
            low, high = around.min((2, 3)), around.max((2, 3))
            assert ((spectrum.edisp.values >= low - 1e-7) & (spectrum.edisp.values <= high + 1e-7)).all()
