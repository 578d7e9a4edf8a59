"""Residuals: by the formulas, smoothed against sums over all pixels, beside the numbers of the peer, lazy as eager."""

import json

import dask
import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from conftest import DATA
from datasets import lazy as in_chunks
from datasets import make, projections, seeds
from hypothesis import given, settings
from hypothesis import strategies as st
from regions import CirclePixelRegion, CircleSkyRegion, PixCoord
from test_quantities import spectrum

import xonoff
from xonoff.models import PointSource, PowerLaw1D, SkyModel
from xonoff.predict import npred
from xonoff.residuals import METHODS, residuals, spectral_residuals
from xonoff.simulate import asimov

CRAB = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.6, 22.0))
SCALES = {"diff": np.ones_like, "diff/model": np.asarray, "diff/sqrt(model)": np.sqrt}


def expected_of(n: np.ndarray, m: np.ndarray, inside: np.ndarray, method: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        values = (n - m) / SCALES[method](m)
    return np.where(inside & ((m > 0) | (method == "diff")), values, np.nan)


# -- a bin each -------------------------------------------------------------------------------------------------------


def test_values_by_hand():
    nan = np.nan
    #              alpha = 1 each   nothing there   no off   counts NaN   outside
    ds = spectrum([8, 0, 0, 5, nan, 9], [4, 6, 0, 5, 1, 1], [1] * 6, [1, 1, 1, 0, 1, 1], mask_fit=[True] * 5 + [False])
    # without models the background is (n_on + n_off) / (1 + 1 / alpha) = 6, 3, 0
    np.testing.assert_allclose(residuals(ds), [2, -3, 0, nan, nan, nan])
    np.testing.assert_allclose(residuals(ds, "diff/model"), [1 / 3, -1, nan, nan, nan, nan])
    np.testing.assert_allclose(residuals(ds, "diff/sqrt(model)"), [2 / 6**0.5, -(3**0.5), nan, nan, nan, nan])
    points = spectral_residuals(ds)
    np.testing.assert_allclose(points.residuals, [2, -3, 0, nan, nan, nan])
    np.testing.assert_allclose(points.error, [12**0.5, 6**0.5, 0, nan, nan, nan])
    points = spectral_residuals(ds, method="diff/sqrt(model)")
    np.testing.assert_allclose(points.error, [2**0.5, 2**0.5, nan, nan, nan, nan])


@settings(max_examples=15, deadline=None)
@given(seed=seeds, projection=projections, method=st.sampled_from(list(METHODS)), with_model=st.booleans())
def test_each_bin_and_sums_follow_the_formulas(seed, projection, method, with_model):
    ds = make(seed, projection)
    ds = ds.assign(acceptance_off=ds.acceptance_off.where(ds.counts_off != 1, 0))  # some bins have no off exposure
    before = ds.copy(deep=True)
    models = CRAB if with_model else None
    n, m = ds.counts.values, npred(ds, models).values
    inside = ds.onoff.mask.values & np.isfinite(m)
    found = residuals(ds, method, models)
    np.testing.assert_allclose(found, expected_of(n, m, inside, method))
    assert found.dims == ds.counts.dims
    assert found.attrs == {"units": "1", "long_name": METHODS[method]}
    xr.testing.assert_identical(found.coords.to_dataset(), ds.counts.coords.to_dataset())
    sky = ds.onoff.sky_dims
    for dim, axis in (("energy", 0), (sky, (1, 2)), (["energy"], 0)):
        sums = [np.where(inside, array, 0).sum(axis) for array in (n, m)]
        found = residuals(ds, method, models, dim=dim)
        np.testing.assert_allclose(found, expected_of(*sums, inside.any(axis), method))
    assert "wcs" in residuals(ds, dim="energy").coords
    assert "wcs" not in residuals(ds, dim=sky).coords
    xr.testing.assert_identical(ds, before)


def test_dimensions_may_come_twice_all_at_once_or_without_length(ds):
    xr.testing.assert_identical(residuals(ds, dim=["energy", "energy"]), residuals(ds, dim="energy"))
    xr.testing.assert_identical(residuals(ds, dim=...), residuals(ds, dim=("energy", "lat", "lon")))
    assert residuals(ds, dim=...).shape == ()
    nothing = residuals(ds.isel(energy=slice(0)), dim="energy")
    assert nothing.shape == (40, 40)
    assert nothing.isnull().all()
    assert residuals(ds.isel(energy=slice(0))).shape == (0, 40, 40)


def test_the_accessor_takes_the_models_of_the_dataset(ds):
    carried = ds.onoff.assign_models(CRAB)
    xr.testing.assert_identical(carried.onoff.residuals("diff/model"), residuals(ds, "diff/model", CRAB))
    xr.testing.assert_identical(carried.onoff.residuals(models=[]), residuals(ds))
    assert abs(residuals(ds, models=CRAB).sum()) < abs(residuals(ds).sum())


def test_a_prediction_leaves_nothing_of_itself(ds):
    predicted = asimov(ds, ds.acceptance, CRAB)
    for method in METHODS:
        assert np.nanmax(abs(residuals(predicted, method, CRAB))) < 1e-9
        assert np.nanmax(abs(residuals(predicted, method, CRAB, smooth=0.2))) < 1e-9


def test_images_single_pixels_and_single_energies(ds):
    whole = residuals(ds, "diff")
    np.testing.assert_allclose(residuals(ds.isel(lat=[20], lon=[20])), whole[:, 20:21, 20:21])
    np.testing.assert_allclose(residuals(ds.isel(lat=[20])), whole[:, 20:21])
    np.testing.assert_allclose(residuals(ds.isel(energy=2)), whole[2])
    np.testing.assert_allclose(residuals(ds.isel(lat=20, lon=20)), whole[:, 20, 20])
    assert residuals(ds.onoff.to_image(), smooth=0.1).shape == (1, 40, 40)
    smooth = residuals(ds.isel(lat=[20]), smooth=0.1)
    assert (np.isfinite(smooth) == ds.onoff.mask[:, 20:21]).all()


# -- smoothing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("projection", ["CAR", "TAN"])
@pytest.mark.parametrize("method", METHODS)
def test_smoothing_averages_over_the_pixels_within_the_masks(projection, method):
    ds = make(4, projection)
    sigma = 0.07
    sky = ds.onoff.geom.sky
    n, m = ds.counts.values, npred(ds, CRAB).values
    inside = ds.onoff.mask.values & np.isfinite(m)
    # Truncated at 4 sigma, as scipy's filter is; distances along the axes, in pixels of their size on the sky.
    height, width = 0.1, 0.1 * (np.cos(np.radians(22.0)) if projection == "CAR" else 1)
    expected = np.full(n.shape, np.nan)
    rows, columns = np.indices(sky.shape)
    for e, i, j in np.argwhere(inside):
        y, x = abs(rows - i) * height, abs(columns - j) * width
        near = (rows - i <= round(4 * sigma / height)) & (columns - j <= round(4 * sigma / width))
        near &= (i - rows <= round(4 * sigma / height)) & (j - columns <= round(4 * sigma / width))
        weight = np.exp(-(x**2 + y**2) / (2 * sigma**2)) * near * inside[e]
        means = [np.where(weight > 0, array[e] * weight, 0).sum() / weight.sum() for array in (n, m)]
        expected[e, i, j] = expected_of(*means, np.True_, method)
    found = residuals(ds, method, CRAB, smooth=sigma * u.deg)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert found.dims == ds.counts.dims


@pytest.mark.parametrize("lat", [0.0, 60.0])
def test_smoothing_is_as_wide_along_either_axis_on_the_sky(lat):
    geom = xonoff.Geom.create((83.6, lat), width=(6.0, 3.0), pixel_size=0.05, energy=[1, 10])
    on = np.zeros(geom.shape)
    on[:, geom.shape[1] // 2, geom.shape[2] // 2] = 1e6
    values = {"counts": on, "counts_off": on * 0, "acceptance": on * 0 + 1e-9, "acceptance_off": on * 0 + 1}
    ds = xr.Dataset({name: (geom.dims, array, {"units": "1"}) for name, array in values.items()}, geom.coords())
    found = residuals(ds, smooth="0.2 deg").values[0]
    lon, lat_of = geom.sky.lonlat()
    peak = np.unravel_index(found.argmax(), found.shape)
    dx = ((lon - lon[peak]) * np.cos(np.radians(lat)))[peak[0]]
    dy = (lat_of - lat_of[peak])[:, peak[1]]
    for profile, distance in ((found[peak[0]], dx), (found[:, peak[1]], dy)):
        assert np.sqrt((profile * distance**2).sum() / profile.sum()) == pytest.approx(0.2, rel=0.01)


def test_even_counts_are_even_after_smoothing(ds):
    """Also beside holes and borders."""
    even = ds.assign(
        counts=ds.counts * 0 + 6,
        counts_off=ds.counts * 0 + 10,
        acceptance=ds.counts * 0 + 1,
        acceptance_off=ds.counts * 0 + 10,
    )
    even = even.assign(mask_fit=np.random.default_rng(1).random(ds.counts.shape) > ds.counts * 0 + 0.5)
    for method in METHODS:
        plain, smooth = residuals(even, method), residuals(even, method, smooth=0.3)
        np.testing.assert_allclose(smooth, plain, rtol=1e-12)


def ones(geom: xonoff.Geom) -> xr.Dataset:
    values = {"counts": 9.0, "counts_off": 6.0, "acceptance": 1.0, "acceptance_off": 2.0}
    variables = {name: (geom.dims, np.full(geom.shape, value), {"units": "1"}) for name, value in values.items()}
    return xr.Dataset(variables, geom.coords())


def test_smoothing_where_the_middle_of_the_map_is_off_the_sky():
    geom = xonoff.Geom.create((0, 0), width=(360, 180), pixel_size=4.0, projection="AIT", energy=[1, 10])
    noise = ones(geom)
    noise["counts"] = noise.counts + np.random.default_rng(1).integers(0, 9, noise.counts.shape)
    corner = noise.isel(y=slice(0, 12), x=slice(0, 20))
    sky = corner.onoff.geom.sky
    assert not np.isfinite(sky.pixel_to_sky(9.5, 5.5)).any()
    plain, smooth = residuals(corner), residuals(corner, smooth=4.0)
    assert smooth.std() < 0.5 * plain.std()
    np.testing.assert_allclose(smooth[0, 5, 9], residuals(noise, smooth=4.0)[0, 5, 9], rtol=0.03)


@pytest.mark.parametrize("shape", [(1, 360), (3, 360), (21, 36)])
def test_the_pixels_of_a_row_at_a_pole_are_one_place(shape):
    sky = xonoff.SkyGrid.create((0, 90), shape=shape, pixel_size=(0.5, 360 / shape[1]))
    ds = ones(xonoff.Geom(sky, (1.0, 10.0)))
    ds["counts"] = ds.counts + np.random.default_rng(1).integers(0, 9, ds.counts.shape)
    smooth = residuals(ds, smooth=0.1)
    rows = residuals(ds).mean("lon")
    np.testing.assert_allclose(smooth[0, shape[0] // 2], rows[0, shape[0] // 2], rtol=0.2)
    assert smooth.std("lon").max() < 1e-9


def test_the_widest_smoothing_averages_the_whole_map(ds):
    total = residuals(ds, dim=("lat", "lon")) / ds.onoff.mask.sum(("lat", "lon"))
    smooth = residuals(ds, smooth=180.0)
    for e, mean in enumerate(total):
        values = smooth[e].values[np.isfinite(smooth[e])]
        np.testing.assert_allclose(values, mean, rtol=1e-2, atol=1e-3)


# -- spectra of regions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("projection", ["CAR", "TAN"])
@pytest.mark.parametrize("method", METHODS)
def test_spectral_residuals_are_sums_over_the_region(projection, method):
    ds = make(7, projection)
    region = CircleSkyRegion(SkyCoord(83.6, 22.0, unit="deg"), 0.15 * u.deg)
    where = xonoff.region.region_mask(region, ds.onoff.geom.sky)
    m = npred(ds, CRAB).values
    inside = ds.onoff.mask.values & where
    n, m, variance = (
        np.where(inside, array, 0).sum((1, 2))
        for array in (ds.counts.values, m, ds.counts.values + ds.onoff.alpha.values**2 * ds.counts_off.values)
    )
    found = spectral_residuals(ds, region, method, CRAB)
    known = inside.any((1, 2))
    np.testing.assert_allclose(found.residuals, expected_of(n, m, known, method))
    np.testing.assert_allclose(found.error, expected_of(m + np.sqrt(variance), m, known, method))
    assert found.residuals.dims == ("energy",)
    assert list(found.coords) == ["energy", "energy_bounds"]


def test_a_region_may_be_one_of_pixels_and_none_is_the_whole_map(ds):
    pixel = CirclePixelRegion(PixCoord(20, 20), 0.5)
    np.testing.assert_allclose(spectral_residuals(ds, pixel).residuals, residuals(ds)[:, 20, 20])
    np.testing.assert_allclose(spectral_residuals(ds).residuals, residuals(ds, dim=("lat", "lon")))


# -- numbers of the peer ----------------------------------------------------------------------------------------------


def reference() -> dict:
    path = DATA / "reference.json"
    return json.loads(path.read_text())["datasets"] if path.exists() else {}


#: Without those whose bins are invalid: the peer takes their background for 0, and noise for off counts.
STEMS = [stem for stem in reference() if "fftnoise" not in stem and "fixed_width" not in stem]


def open_(stem: str) -> xr.Dataset:
    (path,) = DATA.rglob(f"{stem}.fits.gz")
    return xonoff.open_dataset(path)


def check(ds: xr.Dataset, models: object, entry: dict, **tolerance: float) -> None:
    sky = ds.onoff.sky_dims
    for method, expected in entry.items():
        found = residuals(ds, method, models)
        np.testing.assert_array_equal(np.isfinite(found).sum(sky), expected["n_finite"])
        np.testing.assert_array_equal(np.isnan(found).sum(sky), expected["n_nan"])
        np.testing.assert_allclose(found.sum(sky), np.array(expected["nansum"], dtype=float), **tolerance)


@pytest.mark.parametrize("stem", STEMS)
def test_residuals_without_models_are_those_of_the_peer(stem):
    check(open_(stem), None, reference()[stem]["no_model"]["residuals"], rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not STEMS, reason=f"no reference numbers in {DATA}")
def test_residuals_of_a_model_are_those_of_the_peer():
    """As far as the predictions of single pixels are, see tests/test_reference_predict.py."""
    entry = reference()["onoff_cta_sim"]["models"]["point"]
    flux, place = (
        {p["name"]: p["value"] for p in entry["model"][part]["parameters"]} for part in ("spectral", "spatial")
    )
    shape = PointSource(place["lon_0"], place["lat_0"], frame=entry["model"]["spatial"]["frame"])
    source = SkyModel("point", PowerLaw1D(flux["amplitude"], flux["reference"], flux["index"]), shape)
    check(open_("onoff_cta_sim"), source, {"diff": entry["residuals"]["diff"]}, rtol=0.02, atol=0.2)


# -- laziness ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("projection", ["CAR", "TAN"])
def test_dask_gives_the_same_and_stays_lazy(projection, no_compute):
    ds = make(9, projection)
    region = CirclePixelRegion(PixCoord(4, 3), 1.5)
    calls = {
        "bins": lambda d: residuals(d, "diff/model"),
        "models": lambda d: residuals(d, "diff/sqrt(model)", CRAB),
        "smooth": lambda d: residuals(d, "diff/sqrt(model)", smooth=0.1),
        "image": lambda d: residuals(d, "diff/model", smooth=0.1, dim="energy"),
        "spectrum": lambda d: residuals(d, "diff", dim=d.onoff.sky_dims),
        "region": lambda d: spectral_residuals(d, region, "diff/model").residuals,
        "error": lambda d: spectral_residuals(d, None, "diff/model").error,
    }
    for name, call in calls.items():
        whole, found = call(ds), call(in_chunks(ds))
        assert found.chunks is not None, name
        with dask.config.set(scheduler="synchronous"):
            computed = found.compute()
        if name in ("bins", "smooth"):
            np.testing.assert_array_equal(computed, whole, err_msg=name)
        np.testing.assert_allclose(computed, whole, rtol=1e-12, err_msg=name)
        assert computed.attrs == whole.attrs


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: residuals(ds, "ratio"), "method 'ratio' found, 'diff', 'diff/model', 'diff/sqrt.model.' accepted"),
        (lambda ds: spectral_residuals(ds, method="sigma"), "method 'sigma' found"),
        (lambda ds: residuals(ds.drop_vars("counts_off")), "no variable counts_off"),
        (lambda ds: residuals(ds, smooth=0), "smooth: a positive angle is wanted, 0 found, up to 180 deg accepted"),
        (lambda ds: residuals(ds, smooth=1e5), "smooth: a positive angle is wanted, 100000.0 found, up to 180 deg"),
        (lambda ds: residuals(ds, smooth="1 TeV"), "'1 TeV' found, a number in deg"),
        (
            lambda ds: residuals(ds, smooth=0.1, dim=("lat", "lon")),
            "two sky dimensions is wanted, dims .* leave smooth",
        ),
        (lambda ds: residuals(ds.isel(lat=3), smooth=0.1), "two sky dimensions is wanted"),
        (lambda ds: residuals(ds, dim="time"), "'time' found, .* accepted"),
        (lambda ds: residuals(ds, models="crab"), "models: a str found"),
        (
            lambda ds: spectral_residuals(ds.isel(lat=3, lon=3), CirclePixelRegion(PixCoord(1, 1), 2)),
            "region: sky dimensions .* found, two accepted",
        ),
        (lambda ds: spectral_residuals(ds, CirclePixelRegion(PixCoord(0, 0), 5)), "reaches off the map"),
        (lambda ds: spectral_residuals(ds, "circle"), "a str found, a sky or pixel region"),
    ],
)
def test_what_has_no_residuals_is_refused(ds, call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call(ds)
