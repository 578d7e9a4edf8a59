"""Ring backgrounds: against brute force, against gammapy's references, and what they refuse.

gammapy draws its rings in pixels, as on a flat sky. So a map of the same pixels, made so small that the sky is flat
over it, has to give the very numbers of gammapy, and does; on the true map those pixels differ that lie on the other
side of a circle by true angle.
"""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from datasets import lazy, make, unrecorded
from hypothesis import given, settings
from hypothesis import strategies as st
from regions import CircleSkyRegion
from test_neighbours import distances

import xonoff
from xonoff.backgrounds import adaptive_ring_background, is_correlated, refuse_correlated, ring_background
from xonoff.errors import GeometryError, SchemaError
from xonoff.excluded import excluded
from xonoff.geometry import sky_grid

REFERENCES = {
    "onoff_run23526": ("mapdataset_run23526", None),
    "onoff_image_run23526": ("mapdataset_image_run23526", None),
    "onoff_adaptive_fixed_width_run23526": ("mapdataset_image_run23526", "width"),
    "onoff_adaptive_fixed_r_in_run23526": ("mapdataset_image_run23526", "r_in"),
}


def on_grid(ds: xr.Dataset, sky: xonoff.SkyGrid) -> xr.Dataset:
    """The same bins elsewhere on the sky."""
    return ds.drop_vars(["lat", "lon", "x", "y", "wcs"]).assign_coords(sky.coords())


def shrunk(ds: xr.Dataset, factor: float) -> xr.Dataset:
    sky = sky_grid(ds)
    cards = {key: value * factor if key.startswith("CDELT") else value for key, value in sky.cards.items()}
    return on_grid(ds, xonoff.SkyGrid.from_header(cards, sky.shape))


def reference(data_dir: Path, name: str) -> tuple[xr.Dataset, xr.Dataset, np.ndarray]:
    """Input, result of gammapy, and what was left out."""
    folder = data_dir / "hess-crab"
    ds, found = (xonoff.open_dataset(folder / f"{stem}.fits.gz").load() for stem in (REFERENCES[name][0], name))
    return ds, found, fits.getdata(folder / "exclusion_mask_tan.fits.gz") == 0


def rings(ds: xr.Dataset, name: str, left_out: np.ndarray, scale: float) -> xr.Dataset:
    """As gammapy was called; it leaves out the ring that ends at the maximum of 1.3 deg."""
    fixed, options = REFERENCES[name][1], {"exclusion": left_out, "safe_only": False}
    if fixed is None:
        return ring_background(ds, 0.5 * scale, 0.3 * scale, **options)
    growth = {"r_max": 1.25 * scale, "step": 0.1 * scale, "threshold": 0.0015, "fixed": fixed}
    return adaptive_ring_background(ds, 0.5 * scale, 0.3 * scale, **growth, **options)


@pytest.mark.parametrize("name", REFERENCES)
def test_on_a_flat_sky_off_counts_are_those_of_gammapy_exactly(name, data_dir):
    ds, want, left_out = reference(data_dir, name)
    found = rings(shrunk(ds, 1e-4), name, left_out, 1e-4)
    known = np.isfinite(
        want.acceptance_off.values
    )  # of an adaptive ring that gammapy finds none for it is NaN, not masked
    np.testing.assert_array_equal(found.mask_safe, want.mask_safe.values & known)
    compared = (
        known if REFERENCES[name][1] is None else known & want.mask_safe.values
    )  # elsewhere it compares FFT noise
    off = found.counts_off.values[compared]
    assert np.array_equal(off, np.round(want.counts_off.values[compared]))
    a_off, wanted = (d.acceptance_off.values[compared] for d in (found, want))
    np.testing.assert_allclose(a_off, wanted, rtol=2e-7, atol=3e-5)  # float32, and the noise of FFTs
    np.testing.assert_allclose(
        found.acceptance.values[compared], want.acceptance.values[compared], rtol=1e-6, atol=3e-8
    )


@pytest.mark.parametrize("name", list(REFERENCES)[:2])
def test_on_the_true_sky_they_differ_by_pixels_at_the_rims_of_the_ring(name, data_dir):
    ds, want, left_out = reference(data_dir, name)
    found = rings(ds, name, left_out, 1.0)
    assert np.array_equal(found.mask_safe, want.mask_safe)
    y, x = np.indices(ds.counts.shape[1:])
    lon, lat = (np.radians(a) for a in sky_grid(ds).lonlat())
    vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    for row, column in ((62, 75), (30, 100), (5, 5), (110, 20), (124, 149)):
        d = np.degrees(2 * np.arcsin(np.linalg.norm(vectors - vectors[row, column], axis=-1) / 2))
        pixels = np.hypot(y - row, x - column)
        true, flat = (d >= 0.5) & (d <= 0.8), (pixels >= 12.5) & (pixels <= 20)
        change = (true.astype(int) - flat) * ~left_out
        differs = found.counts_off.values[:, row, column] - np.round(want.counts_off.values[:, row, column])
        assert np.array_equal(differs, (ds.counts.values * change).sum(axis=(1, 2)))
        at_the_rim = np.minimum(np.abs(pixels - 12.5), np.abs(pixels - 20))[change != 0]
        assert at_the_rim.size == 0 or at_the_rim.max() < 0.1
    total = found.counts_off.where(found.mask_safe).sum() / want.counts_off.where(want.mask_safe).sum()
    assert abs(float(total) - 1) < 0.005


# -- brute force ------------------------------------------------------------------------------------------------------


def brute(ds, rings_tried, threshold, *, left_out=None, safe_only=True, theta=0.0, keep_last=False):
    """Off counts and off exposure, pixel by pixel, with the first ring that is good enough."""
    d = distances(sky_grid(ds))
    counts, exposure = (
        ds[name].values.reshape(ds.sizes["energy"], -1).astype(float) for name in ("counts", "acceptance")
    )
    safe = ds.mask_safe.values.reshape(counts.shape) if safe_only and "mask_safe" in ds else np.ones(counts.shape, bool)
    used = safe if left_out is None else safe & ~np.broadcast_to(left_out.reshape(-1, d.shape[0]), counts.shape)
    off = np.zeros((2, *counts.shape))
    for e, pixel in np.ndindex(*counts.shape):
        on = (exposure[e] * safe[e])[d[pixel] <= theta].sum() if theta else exposure[e, pixel]
        for inner, outer in rings_tried:
            inside = used[e] & (d[pixel] >= inner * (1 - 1e-9)) & (d[pixel] <= outer * (1 + 1e-9))
            sums = counts[e, inside].sum(), exposure[e, inside].sum()
            good = sums[1] > 0 and on / sums[1] <= threshold * (1 + 1e-9)
            if good or (keep_last and sums[1] > 0):
                off[:, e, pixel] = sums
            if good:
                break
    return off.reshape(2, *ds.counts.shape)


def assert_off(found: xr.Dataset, want: np.ndarray) -> None:
    assert np.array_equal(found.counts_off, want[0])
    np.testing.assert_allclose(found.acceptance_off, want[1], rtol=1e-13)
    assert np.array_equal(np.isnan(found.onoff.alpha), want[1] == 0)
    assert not found.mask_safe.values[want[1] == 0].any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), projection=st.sampled_from(["CAR", "TAN"]), safe_only=st.booleans(), data=st.data())
def test_a_ring_is_the_sum_over_its_pixels(seed, projection, safe_only, data):
    ds = make(seed, projection, masks=data.draw(st.booleans()))
    r_in, width = data.draw(st.floats(0, 0.4)), data.draw(st.floats(0.01, 0.6))
    left_out = data.draw(st.sampled_from([None, (6, 8), (4, 6, 8)]))
    left_out = left_out and np.random.default_rng(seed).random(left_out) < 0.3
    found = ring_background(ds, r_in, width, exclusion=left_out, safe_only=safe_only)
    assert_off(found, brute(ds, [(r_in, r_in + width)], np.inf, left_out=left_out, safe_only=safe_only))
    xr.testing.assert_equal(found.acceptance, ds.acceptance)
    xonoff.validate(found)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 99),
    projection=st.sampled_from(["CAR", "TAN"]),
    fixed=st.sampled_from(["width", "r_in"]),
    threshold=st.floats(0.02, 0.3),
    theta=st.sampled_from([None, 0.05, 0.12]),
    keep_last=st.booleans(),
)
def test_an_adaptive_ring_is_the_first_that_is_good_enough(seed, projection, fixed, threshold, theta, keep_last):
    ds = make(seed, projection)
    found = adaptive_ring_background(
        *(ds, 0.15, 0.1), r_max=0.55, step=0.1, threshold=threshold, fixed=fixed, theta=theta, keep_last=keep_last
    )
    outers = [0.25 + 0.1 * i for i in range(4)]
    tried = [(outer - 0.1 if fixed == "width" else 0.15, outer) for outer in outers]
    assert_off(found, brute(ds, tried, threshold, theta=theta or 0.0, keep_last=keep_last))


def test_theta_is_an_angle_so_alpha_is_that_of_an_on_region():
    """gammapy turns theta into pixels the wrong way round, and compares the alpha of a single pixel."""
    ds = make(1, "CAR", masks=False)
    ones = ds.assign(acceptance=xr.ones_like(ds.acceptance))
    options = {"r_max": 0.5, "step": 0.05, "threshold": 0.2, "fixed": "r_in"}
    pixel, region = (adaptive_ring_background(ones, 0.2, 0.05, theta=theta, **options) for theta in (None, 0.11))
    assert (region.acceptance_off >= pixel.acceptance_off).where(region.acceptance_off > 0, True).all()
    assert float(region.acceptance.max()) == 1  # of the pixel, as its counts are
    middle = {"lat": 3, "lon": 4}
    assert float(pixel.onoff.alpha[0].isel(middle)) <= 0.2
    assert float(region.onoff.alpha[0].isel(middle)) * 5 <= 0.2  # five pixels within theta


# -- laws -------------------------------------------------------------------------------------------------------------


def test_a_smooth_background_is_found_and_the_excess_kept(ds):
    source = CircleSkyRegion(SkyCoord(83.633, 22.014, unit="deg"), 0.4 * u.deg)
    found = ring_background(ds, 0.5, 0.3, exclusion=source)
    near = xonoff.masks.from_regions(ds, CircleSkyRegion(source.center, 0.2 * u.deg))
    excess, known = (d.onoff.excess.where(near & d.mask_safe).sum() for d in (found, ds))
    assert abs(float(excess / known) - 1) < 0.05
    xonoff.validate(found)


@pytest.mark.parametrize("projection", ["CAR", "TAN"])
@pytest.mark.parametrize("adaptive", [False, True])
def test_chunks_make_no_difference_and_nothing_is_computed(projection, adaptive, no_compute):
    import dask

    ds = make(3, projection)
    left_out = np.random.default_rng(0).random((6, 8)) < 0.2

    def apply(d, exclusion):
        if adaptive:
            return adaptive_ring_background(
                d, 0.15, 0.1, r_max=0.5, step=0.1, threshold=0.1, theta=0.1, exclusion=exclusion
            )
        return ring_background(d, 0.15, 0.2, exclusion=exclusion)

    with dask.config.set(scheduler="synchronous"):
        whole = apply(ds, left_out)
    template = ds.mask_safe.isel(energy=0, drop=True)
    found = apply(lazy(ds), template.copy(data=left_out).chunk(4))
    assert all(found[name].chunks for name in ("counts_off", "acceptance_off", "mask_safe"))
    with dask.config.set(scheduler="synchronous"):
        found = found.compute()
    assert np.array_equal(found.counts_off, whole.counts_off)
    xr.testing.assert_allclose(found.drop_vars(["lat", "lon"]), whole.drop_vars(["lat", "lon"]), rtol=1e-13)
    assert np.array_equal(found.mask_safe, whole.mask_safe)


def test_all_else_is_kept_and_the_input_left_alone(ds):
    before = ds.copy(deep=True)
    given_ = ds.drop_vars(["counts_off", "acceptance_off"]).rename(acceptance="background")
    found = ring_background(given_, 0.5, 0.3)
    xr.testing.assert_identical(ds, before)
    assert "background" not in found
    for name in ("counts", "exposure", "psf", "psf_exposure", "edisp", "edisp_exposure"):
        xr.testing.assert_identical(found[name], ds[name])
    assert set(found.coords) == set(ds.coords)
    xr.testing.assert_identical(found, ring_background(ds, 0.5, 0.3))


def test_off_counts_are_whole_and_exact_however_many():
    ds = make(0, "TAN", masks=False)
    ds["counts"] = ds.counts * 10**7 + 1
    found = ring_background(ds, 0, 1.0)
    assert (found.counts_off[:, 3, 4] == ds.counts.sum(("y", "x"))).all()


def test_bins_that_are_not_valid_give_no_off_counts():
    ds = make(0, "TAN", masks=False)
    ds["counts"] = ds.counts.astype(float)
    ds.counts[0, 0, 0], ds.counts[0, 0, 1], ds.acceptance[0, 5, 5], ds.acceptance[0, 2, 2] = np.nan, -1, np.inf, -2
    found = ring_background(ds, 0, 3.0)
    bad = [(0, 0), (0, 1), (5, 5), (2, 2)]
    left = np.ones((6, 8), bool)
    left[tuple(zip(*bad, strict=True))] = False
    assert (found.counts_off[0] == ds.counts.values[0][left].sum()).all()
    np.testing.assert_allclose(found.acceptance_off[0], ds.acceptance.values[0][left].sum())


def test_a_map_without_a_mask_gets_one_and_no_events_do_no_harm():
    ds = make(0, "CAR", masks=False)
    ds["acceptance"] = ds.acceptance.where(ds.lon > ds.lon[4], 0.0)
    ds["counts"] = xr.zeros_like(ds.counts)
    found = ring_background(ds, 0.1, 0.1)
    assert np.array_equal(found.mask_safe, found.acceptance_off > 0)
    assert not found.mask_safe.all()
    assert not found.counts_off.any()


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("strided and reversed", lambda ds: ds.isel(y=slice(None, None, -2), x=slice(1, None, 3))),
        ("one row", lambda ds: ds.isel(y=[3])),
        ("one pixel", lambda ds: ds.isel(y=[3], x=[2])),
        ("whole numbers", lambda ds: ds.assign(counts=ds.counts.astype(np.int16))),
        ("big-endian", lambda ds: ds.assign(counts=ds.counts.astype(">f4"), acceptance=ds.acceptance.astype(">f8"))),
        ("masks of numbers", lambda ds: ds.assign(mask_safe=ds.mask_safe.astype(int))),
    ],
)
def test_any_selection_and_dtype_does(what, change):
    ds = change(make(7, "TAN"))
    found = ring_background(ds, 0.05, 0.25)
    assert_off(found, brute(ds.assign(mask_safe=ds.mask_safe.astype(bool)), [(0.05, 0.3)], np.inf))


def test_no_exposure_at_all_leaves_nothing():
    ds = make(7, "TAN")
    for changed in (ds.assign(mask_safe=ds.mask_safe & False), ds.assign(acceptance=ds.acceptance * 0)):
        found = ring_background(changed, 0.05, 0.25)
        assert not found.mask_safe.any()
        assert np.isnan(found.onoff.alpha).all()


def test_safe_only_leaves_out_what_the_analysis_may_not_use():
    ds = make(5, "TAN")
    ds["mask_safe"] = ds.mask_safe & (ds.energy > 2)
    inside, everywhere = (ring_background(ds, 0.1, 0.3, safe_only=value) for value in (True, False))
    assert not inside.counts_off[0].any()
    assert everywhere.counts_off[0].any()
    assert (inside.counts_off <= everywhere.counts_off).all()
    assert not everywhere.mask_safe[0].any()


# -- exclusion --------------------------------------------------------------------------------------------------------


def test_an_exclusion_may_be_many_things(ds):
    region = CircleSkyRegion(SkyCoord(83.633, 22.014, unit="deg"), 0.4 * u.deg)
    bins = xonoff.masks.from_regions(ds, region)
    image = bins.isel(energy=0, drop=True)
    forms = [region, [region], bins, image, image.values, bins.values, bins.transpose("lon", "lat", "energy")]
    forms += [image.variable.T, bins.variable.transpose("lon", "energy", "lat")]
    found = [ring_background(ds, 0.3, 0.5, exclusion=form) for form in forms]
    for other in found[1:]:
        xr.testing.assert_identical(unrecorded(other), unrecorded(found[0]))
    assert not found[0].counts_off.equals(ring_background(ds, 0.3, 0.5).counts_off)
    none, left_out = ring_background(ds, 0.3, 0.5, exclusion=[]), ring_background(ds, 0.3, 0.5)
    xr.testing.assert_identical(unrecorded(none), unrecorded(left_out))


def test_an_exclusion_of_another_part_of_the_grid_is_laid_on_by_label(ds):
    image = xonoff.masks.from_significance(ds, 5).isel(energy=0, drop=True)
    part = image.isel(lat=slice(10, 35), lon=slice(5, 30))
    assert np.array_equal(excluded(ds, part), image)
    back = part.isel(lat=slice(None, None, -1))
    assert np.array_equal(excluded(ds, back), image)
    assert np.array_equal(excluded(ds.isel(lon=slice(0, 20)), image.chunk(7)), image.isel(lon=slice(0, 20)))


@pytest.mark.parametrize("frame", ["icrs", "galactic"])
def test_an_exclusion_of_another_grid_is_laid_on_by_angle(ds, frame):
    center = SkyCoord(83.633, 22.014, unit="deg")
    lon, lat = (center.ra.deg, center.dec.deg) if frame == "icrs" else (center.galactic.l.deg, center.galactic.b.deg)
    geom = xonoff.Geom.create((lon, lat), width=1.5, pixel_size=0.01, projection="TAN", frame=frame, energy=[1, 2])
    fine = xonoff.create(geom, energy_true=[1, 2])
    region = CircleSkyRegion(center, 0.4 * u.deg)
    mask = xonoff.masks.from_regions(fine, region).isel(energy=0, drop=True)
    want = xonoff.masks.from_regions(ds, region).isel(energy=0)
    found = excluded(ds, mask)
    assert (found.values != want.values).sum() <= 2  # a centre within half a fine pixel of the circle
    assert np.array_equal(excluded(ds, mask.chunk(50)), found)


@pytest.mark.parametrize(
    ("exclusion", "error", "message"),
    [
        (np.ones((3, 3), bool), SchemaError, r"exclusion: bool of shape \(3, 3\) found"),
        (np.ones((40, 40)), SchemaError, "exclusion: float64 of shape"),
        ("circle", SchemaError, "exclusion: str found"),
        ([1], SchemaError, "exclusion: list found"),
        (lambda ds: ds.counts, SchemaError, "use exclusion.astype"),
        (lambda ds: ds.mask_safe.isel(lat=3), SchemaError, "both sky dimensions"),
        (lambda ds: ds.mask_safe.drop_vars("wcs"), GeometryError, "wcs"),
        (lambda ds: ds.mask_safe.isel(energy=slice(0, 3)), GeometryError, "3 energies found, the 8"),
        (lambda ds: ds.mask_safe, None, ""),
    ],
)
def test_what_is_no_exclusion_is_refused(ds, exclusion, error, message):
    given_ = exclusion(ds) if callable(exclusion) else exclusion
    if error is None:
        ring_background(ds, 0.5, 0.3, exclusion=given_)
        return
    with pytest.raises(error, match=message):
        ring_background(ds, 0.5, 0.3, exclusion=given_)


def test_an_exclusion_of_other_energies_is_refused(ds):
    other = ds.mask_safe.assign_coords(energy=2 * ds.energy)
    with pytest.raises(GeometryError, match=r"(?s)exclusion: energies .* found"):
        ring_background(ds, 0.5, 0.3, exclusion=other)


# -- the mark ---------------------------------------------------------------------------------------------------------


def test_off_counts_of_a_ring_are_marked_and_refused_a_second_sum(ds, tmp_path):
    found = ring_background(ds, 0.5, 0.3)
    assert found.counts_off.attrs["correlated"] == "sums over rings from 0.5 to 0.8 deg"
    refuse_correlated(ds)
    with pytest.raises(SchemaError, match=r"sums over rings from 0\.5 to 0\.8 deg found.*correlate_off=False"):
        refuse_correlated(found)
    path = tmp_path / "ring.nc"
    found.onoff.to_netcdf(path)
    for kept in (
        found.isel(energy=slice(2, 4)),
        found.onoff.cutout((83.6, 22.0), 1.0),
        found.onoff.downsample(2),
        found.onoff.to_image(),
        found.onoff.to_masked(),
        xonoff.stack([found, ring_background(ds, 0.6, 0.3)]),
        xonoff.stack([ds, found]),
        xonoff.open_dataset(path),
    ):
        assert is_correlated(kept)
    assert not is_correlated(found.drop_vars("counts_off"))


# -- what is refused --------------------------------------------------------------------------------------------------

ADAPTIVE = {"r_max": 1.2, "step": 0.1, "threshold": 0.1}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda ds: ring_background(ds, -0.1, 0.3), GeometryError, "r_in = -0.1 deg"),
        (lambda ds: ring_background(ds, 0.5, 0), GeometryError, "width = 0.0 deg"),
        (lambda ds: ring_background(ds, np.nan, 0.3), GeometryError, "r_in = nan"),
        (lambda ds: ring_background(ds, "0.5 TeV", 0.3), SchemaError, "deg"),
        (lambda ds: ring_background(ds.drop_vars("counts"), 0.5, 0.3), SchemaError, "no counts"),
        (lambda ds: ring_background(ds.drop_vars("acceptance"), 0.5, 0.3), SchemaError, "neither background nor"),
        (lambda ds: ring_background(ds.isel(lat=3), 0.5, 0.3), GeometryError, "is no map"),
        (lambda ds: ring_background(ds.isel(energy=3), 0.5, 0.3), GeometryError, "is no map"),
        (lambda ds: ring_background(ds.drop_vars("wcs"), 0.5, 0.3), GeometryError, "wcs"),
        (lambda ds: ring_background(ds.counts, 0.5, 0.3), SchemaError, "no counts"),
        (lambda ds: adaptive_ring_background(ds, 0.5, 0.3, **ADAPTIVE, fixed="both"), SchemaError, "'width' or 'r_in'"),
        (lambda ds: adaptive_ring_background(ds, 0.5, 0.3, **ADAPTIVE, theta=0.6), GeometryError, "theta: 0.6 deg"),
        (lambda ds: adaptive_ring_background(ds, 0.5, 0.3, **ADAPTIVE | {"step": 0}), GeometryError, "step = 0.0"),
        (lambda ds: adaptive_ring_background(ds, 0.5, 0.3, **ADAPTIVE | {"r_max": 0.7}), GeometryError, "r_max = 0.7"),
        (lambda ds: adaptive_ring_background(ds, 0.5, 0.3, **ADAPTIVE | {"step": 1e-9}), GeometryError, "larger step"),
        (lambda ds: adaptive_ring_background(ds, 0.5, 0.3, **ADAPTIVE | {"threshold": 0}), SchemaError, "threshold: 0"),
        (lambda ds: adaptive_ring_background(ds, 0.5, 0.3, **ADAPTIVE | {"threshold": "a"}), SchemaError, "'a' found"),
        (
            lambda ds: adaptive_ring_background(ds, 0.5, 0.3, **ADAPTIVE | {"threshold": [1, 2]}),
            SchemaError,
            "one value",
        ),
    ],
)
def test_what_makes_no_ring_is_refused(ds, call, error, message):
    with pytest.raises(error, match=message):
        call(ds)
