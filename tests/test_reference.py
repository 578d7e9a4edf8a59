"""Every file of the test data against the numbers that gammapy 2.1 gave for it."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import DATA

import xonoff
from xonoff.axes import axis_edges

RTOL = 1e-5  # gammapy computes in float32
STEMS = {
    "onoff_run23523": "hess-crab",
    "onoff_run23526": "hess-crab",
    "onoff_run23559": "hess-crab",
    "onoff_run23592": "hess-crab",
    "onoff_stacked": "hess-crab",
    "onoff_run23559_fftnoise": "hess-crab",
    "onoff_stacked_fftnoise": "hess-crab",
    "onoff_stacked_car_galactic": "hess-crab",
    "onoff_stacked_fine": "hess-crab",
    "onoff_image_run23526": "hess-crab",
    "onoff_adaptive_fixed_width_run23526": "hess-crab",
    "onoff_adaptive_fixed_r_in_run23526": "hess-crab",
    "onoff_cta_sim": "cta-sim",
}
RAISES = "onoff_adaptive_fixed_width_run23526"  # gammapy's info_dict raises for NaN
CLEAN = [stem for stem in STEMS if not stem.endswith("fftnoise")]


@cache
def reference() -> dict[str, Any]:
    return json.loads((DATA / "reference.json").read_text())


@cache
def opened(stem: str, round_counts_off: bool = True) -> xr.Dataset:
    path = DATA / STEMS[stem] / f"{stem}.fits.gz"
    return xonoff.open_dataset(path, round_counts_off=round_counts_off).load()


@pytest.fixture(autouse=True)
def _needs_data(data_dir: Path) -> None:
    """Skip all of this module where there are no data."""


def floats(values: Any) -> np.ndarray:
    return np.array([[np.nan if v is None else float(v) for v in row] for row in values])


def at_pixels(array: xr.DataArray, stem: str) -> np.ndarray:
    """Values at the listed pixels, of shape (pixels, energy)."""
    pixels = reference()["datasets"][stem]["pixels"]
    cube = array.values
    return np.array([cube[:, p["iy"], p["ix"]] for p in pixels])


def test_the_reference_has_no_other_datasets() -> None:
    assert set(reference()["datasets"]) == set(STEMS)


@pytest.mark.parametrize("stem", STEMS)
def test_axes_sky_and_observations(stem: str) -> None:
    ds, expected = opened(stem), reference()["datasets"][stem]
    for name in ("energy", "energy_true"):
        np.testing.assert_allclose(axis_edges(ds, name), expected[name]["edges"], rtol=1e-12)
    geom = ds.onoff.geom
    assert list(geom.shape) == expected["geom"]["shape_numpy"]
    assert geom.sky.frame == expected["geom"]["frame"]
    assert geom.sky.projection == expected["geom"]["projection"]
    np.testing.assert_allclose(geom.sky.center, expected["geom"]["center_deg"], atol=1e-9)
    np.testing.assert_allclose(ds.onoff.solid_angle.sum(), expected["geom"]["solid_angle_sum_sr"], rtol=1e-4)
    for pixel in expected["pixels"]:
        lon, lat = geom.sky.pixel_to_sky(pixel["ix"], pixel["iy"])
        np.testing.assert_allclose([lon, lat], [pixel["lon_deg"], pixel["lat_deg"]], atol=1e-9)
    assert ds.sizes["gti"] == expected["gti"]["n"]
    np.testing.assert_allclose(ds.onoff.gti.duration.sum(), expected["gti"]["time_sum_s"], rtol=1e-9)
    if expected.get("meta_table_columns"):
        assert {c.lower() for c in expected["meta_table_columns"]} <= set(ds.coords)
    if stem == RAISES:  # the same run
        expected = reference()["datasets"]["onoff_run23526"]
    livetime = expected["no_model"]["info_dict"]["livetime"]
    np.testing.assert_allclose(ds.onoff.livetime, livetime["value"], rtol=1e-12)


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("name", ["counts", "counts_off", "acceptance", "acceptance_off", "mask_safe"])
def test_stored_maps(stem: str, name: str) -> None:
    array = opened(stem, round_counts_off=False)[name]
    expected = reference()["datasets"][stem]["maps"][name]
    np.testing.assert_allclose(at_pixels(array, stem), floats(expected["pixels"]), rtol=1e-12)
    np.testing.assert_array_equal((~np.isfinite(array)).sum(array.dims[1:]), expected["n_nonfinite"])
    total = array.sum(array.dims[1:], dtype=float)
    np.testing.assert_allclose(total, expected["sum"], rtol=RTOL, atol=1e-6)


@pytest.mark.parametrize("stem", STEMS)
def test_response(stem: str) -> None:
    ds, expected = opened(stem), reference()["datasets"][stem]["irf"]
    sums = ds.exposure.sum(ds.exposure.dims[1:], dtype=float)
    np.testing.assert_allclose(sums, expected["exposure_sum_per_true_energy"], rtol=RTOL)
    assert ds.exposure.attrs["units"] == expected["exposure_unit"]
    assert [ds.sizes["energy_true"], ds.sizes["rad"]] == expected["psf"]["map_shape"][:2]
    assert list(ds.psf.shape) == expected["psf"]["map_shape"]
    assert list(ds.edisp.shape) == expected["edisp"]["map_shape"]
    assert ds.edisp.dims[1] == ("migra" if "migra" in expected["edisp"]["kind"] else "energy")
    # The PSF has been converted to sr-1: it integrates to 1 over the disk where it is sampled, or a little less.
    edges = np.radians(axis_edges(ds, "rad"))
    rings = xr.DataArray(np.pi * np.diff(edges**2), dims="rad")
    inside = (ds.psf.drop_vars(["lat_psf", "lon_psf", "rad"], errors="ignore") * rings).sum("rad")
    bright = inside.where(ds.psf_exposure.drop_vars(["lat_psf", "lon_psf"], errors="ignore") > 0)
    assert 0.9 < float(bright.median()) < 1.05


@pytest.mark.parametrize("stem", CLEAN)
@pytest.mark.parametrize("name", ["alpha", "background", "excess"])
def test_derived_maps(stem: str, name: str) -> None:
    ds = opened(stem)
    array, expected = getattr(ds.onoff, name), reference()["datasets"][stem]["maps"][name]
    exposed = (ds.acceptance_off > 0) & np.isfinite(ds.acceptance_off)
    assert np.isnan(array.where(~exposed)).all()
    found, listed, good = at_pixels(array, stem), floats(expected["pixels"]), at_pixels(exposed, stem)
    assert good.any()
    np.testing.assert_allclose(found[good], listed[good], rtol=RTOL, atol=1e-5)
    n_on, n_off, a_on, a_off = (ds[n].values.astype(float) for n in xonoff.quantities.ON_OFF)
    with np.errstate(all="ignore"):
        ratio = np.where(a_off > 0, a_on / a_off, np.nan)
    ours = {"alpha": ratio, "background": ratio * n_off, "excess": n_on - ratio * n_off}[name]
    np.testing.assert_allclose(array, ours, rtol=1e-12, atol=1e-12)
    inside = array.where(ds.onoff.mask).sum(array.dims[1:])
    np.testing.assert_allclose(inside, expected["sum_in_mask_safe"], rtol=RTOL, atol=2e-3)


@pytest.mark.parametrize("stem", CLEAN)
def test_statistic_without_model(stem: str) -> None:
    ds, expected = opened(stem), reference()["datasets"][stem]["no_model"]
    np.testing.assert_allclose(ds.onoff.stat_sum(), expected["stat"]["stat_sum"], rtol=RTOL)
    array = ds.onoff.stat_array()
    exposed = at_pixels(ds.acceptance_off, stem) > 0
    np.testing.assert_allclose(
        at_pixels(array, stem)[exposed], floats(expected["stat"]["stat_array_pixels"])[exposed], rtol=RTOL, atol=1e-6
    )
    per_energy = array.where(ds.onoff.mask).sum(array.dims[1:])
    np.testing.assert_allclose(per_energy, expected["stat"]["stat_array_sum_per_energy_in_mask"], rtol=RTOL)
    n_pred = ds.onoff.npred_background()
    listed = floats(expected["npred_background"]["pixels"])
    np.testing.assert_allclose(at_pixels(n_pred, stem)[exposed], listed[exposed], rtol=RTOL, atol=1e-6)


@pytest.mark.parametrize("stem", [stem for stem in CLEAN if stem != RAISES])
def test_info(stem: str) -> None:
    totals, expected = opened(stem).onoff.info(), reference()["datasets"][stem]["no_model"]["info_dict"]
    for name in ("counts", "counts_off", "background", "excess", "acceptance", "alpha", "stat_sum"):
        np.testing.assert_allclose(totals[name], float(expected[name]), rtol=2e-5, atol=1e-3, err_msg=name)
    assert int(totals.n_bins) == expected["n_bins"]
    assert int(totals.n_bins_mask) == expected["n_fit_bins"]
    np.testing.assert_allclose(totals.ontime, expected["ontime"]["value"], rtol=1e-9)
    np.testing.assert_allclose(totals.exposure_max, expected["exposure_max"]["value"], rtol=1e-6)


def test_invalid_bins_of_the_adaptive_ring_are_told() -> None:
    ds = opened(RAISES)
    invalid = ds.onoff.info().invalid
    assert int(invalid.sel(reason="not_finite")) == 1078
    assert int(ds.onoff.mask.sum() - ds.onoff.info().n_bins_valid) == 1078
    with pytest.raises(xonoff.SchemaError, match="1078 bins: counts, acceptances or the background are NaN"):
        xonoff.validate(ds)


def test_noise_of_a_ring_is_rounded_away() -> None:
    noisy, clean = opened("onoff_run23559_fftnoise"), opened("onoff_run23559")
    np.testing.assert_allclose(noisy.onoff.stat_sum(), clean.onoff.stat_sum(), rtol=1e-4)
    assert (noisy.counts_off >= 0).all()
    raw = opened("onoff_run23559_fftnoise", round_counts_off=False)
    assert (raw.counts_off < 0).any()
    assert "rounded" in noisy.counts_off.attrs
    assert "rounded" not in raw.counts_off.attrs


def test_noise_in_the_acceptance_of_a_stack_is_not_trusted() -> None:
    noisy, clean = opened("onoff_stacked_fftnoise"), opened("onoff_stacked")
    assert np.isfinite(noisy.onoff.stat_sum())
    lost = noisy.onoff.mask & ~np.isfinite(noisy.onoff.alpha)
    # These are the bins with no off count, whose acceptance_off the stack made from noise.
    assert int(lost.sum()) == 6520
    assert (clean.counts_off.where(lost, 0) == 0).all()
    assert int(noisy.onoff.info().invalid.sel(reason="not_finite")) == 6520
    rest = clean.onoff.wstat().where(clean.onoff.mask & ~lost).sum()
    np.testing.assert_allclose(noisy.onoff.stat_sum(), rest, rtol=1e-5)


@pytest.mark.parametrize("stem", ["mapdataset_run23526", "mapdataset_image_run23526"])
def test_map_dataset_with_background(stem: str) -> None:
    ds = xonoff.open_dataset(DATA / "hess-crab" / f"{stem}.fits.gz").load()
    assert {"counts", "background", "exposure", "psf", "edisp", "mask_safe"} <= set(ds)
    assert "counts_off" not in ds
    totals = ds.onoff.info()
    assert float(totals.counts) == float(ds.counts.where(ds.onoff.mask).sum())
    with pytest.raises(xonoff.SchemaError, match="no variable counts_off"):
        _ = ds.onoff.excess
