"""Datasets on the pixels of another map."""

from pathlib import Path

import datasets as made
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xonoff
from xonoff.errors import GeometryError, SchemaError
from xonoff.interop import reproject, to_wcs
from xonoff.interop.overlap import pixel_shares

ON_OFF = ("counts", "counts_off", "acceptance", "acceptance_off")
CENTER = (83.6, 22.0)


def target(
    ds: xr.Dataset,
    *,
    size: float = 0.1,
    shape: tuple[int, int] = (80, 80),
    projection: str = "TAN",
    frame: str = "icrs",
) -> xonoff.SkyGrid:
    """Map about the middle of another one."""
    sky = ds.onoff.geom.sky
    middle = sky.skycoord()[sky.shape[0] // 2, sky.shape[1] // 2]
    return xonoff.SkyGrid.create(middle, shape=shape, pixel_size=size, projection=projection, frame=frame)


def total(ds: xr.Dataset, name: str) -> xr.DataArray:
    """Sum within the mask, of each energy."""
    return ds[name].where(ds.mask_safe).sum(ds.onoff.sky_dims, dtype=np.float64)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    own=st.sampled_from(["CAR", "TAN"]),
    projection=st.sampled_from(["CAR", "TAN", "AIT", "ZEA", "SIN"]),
    frame=st.sampled_from(["icrs", "galactic"]),
    size=st.sampled_from([0.023, 0.1, 0.31]),
)
def test_totals_are_conserved(seed: int, own: str, projection: str, frame: str, size: float) -> None:
    ds = made.make(seed, own)
    new = reproject(ds, target(ds, size=size, shape=(90, 90), projection=projection, frame=frame))
    for name in ON_OFF[:3]:
        np.testing.assert_allclose(total(new, name), total(ds, name), rtol=1e-12)
    before, after = ((d.onoff.alpha * d.counts_off).where(d.mask_safe).sum() for d in (ds, new))
    assert float(after) == pytest.approx(float(before), rel=1e-12)
    assert new.onoff.validate() is None


@pytest.mark.parametrize("projection", ["CAR", "TAN"])
def test_the_same_pixels(projection: str) -> None:
    ds = made.make(1, projection)
    new = reproject(ds, ds)
    for name in ("acceptance_off", "exposure"):
        np.testing.assert_allclose(new[name], ds[name], rtol=1e-12)
    np.testing.assert_array_equal(new.mask_fit, ds.mask_fit & ds.mask_safe)
    assert set(new.variables) == set(ds.variables)
    for name in set(ds.variables) - {"acceptance_off", "exposure", "mask_fit"}:
        np.testing.assert_array_equal(new[name], ds[name], err_msg=str(name))
    assert made.unrecorded(new).attrs == ds.attrs


@pytest.mark.parametrize("projection", ["CAR", "TAN"])
def test_a_shift_by_whole_pixels_is_another_part_of_the_map(projection: str) -> None:
    ds = made.make(2, projection)
    sky = ds.onoff.geom.sky
    window = sky.window((-2, 3), (4, 11))
    new = reproject(ds, xonoff.SkyGrid.from_header(window.cards, window.shape))
    y, x = ds.onoff.sky_dims
    assert new.counts.shape == (4, 6, 8)
    for name in ON_OFF:
        np.testing.assert_allclose(new[name][:, 2:, :5], ds[name].isel({y: slice(0, 4), x: slice(3, 8)}), rtol=1e-12)
        assert (new[name][:, :2] == 0).all()
        assert (new[name][:, :, 5:] == 0).all()
    np.testing.assert_array_equal(new.mask_safe[:, 2:, :5], ds.mask_safe.isel({y: slice(0, 4), x: slice(3, 8)}))
    assert not new.mask_safe[:, :2].any()
    np.testing.assert_allclose(new.exposure[:, 2:, :5], ds.exposure.isel({y: slice(0, 4), x: slice(3, 8)}), rtol=1e-9)
    assert (new.exposure[:, :2] == 0).all()


def test_joined_pixels_are_those_of_downsample(ds: xr.Dataset) -> None:
    wide = ds.onoff.downsample(4)
    new = reproject(ds, wide)
    for name in ON_OFF:
        np.testing.assert_allclose(
            new[name].where(new.mask_safe), wide[name].where(wide.mask_safe), rtol=1e-9, err_msg=name
        )
    np.testing.assert_array_equal(new.mask_safe, wide.mask_safe)
    np.testing.assert_array_equal(new.wcs, wide.wcs)


def test_shares_are_those_of_the_package_reproject() -> None:
    """Which has pixels of great circles on the sphere; the shares here are those of straight lines in the new map."""
    package = pytest.importorskip("reproject", reason="the package reproject is not installed: extra interop")
    sky = xonoff.SkyGrid.create((83.6, 22.0), shape=(40, 50), pixel_size=0.1, projection="TAN")
    new = xonoff.SkyGrid.create(
        sky.skycoord()[20, 25], shape=(110, 110), pixel_size=0.07, projection="ZEA", frame="galactic"
    )
    image = np.random.default_rng(5).poisson(3.0, sky.shape).astype(float)
    density, covered = package.reproject_exact(
        (image / sky.solid_angle(), to_wcs(sky)), to_wcs(new), shape_out=new.shape
    )
    expected = np.nan_to_num(density * covered) * new.solid_angle()
    shares, sizes = pixel_shares(sky, new)
    found = (shares @ image.ravel()).reshape(new.shape)
    assert expected.sum() == pytest.approx(image.sum(), rel=1e-6)
    assert found.sum() == pytest.approx(image.sum(), rel=1e-12)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(sizes.sum() * new.solid_angle().mean(), sky.solid_angle().sum(), rtol=1e-3)


def test_shares_by_throwing_points() -> None:
    """An oracle that knows nothing of polygons: points thrown into a pixel, and where they fall."""
    sky = xonoff.SkyGrid.create((10.0, 60.0), shape=(3, 3), pixel_size=2.0, projection="TAN")
    new = xonoff.SkyGrid.create((10.4, 59.7), shape=(14, 16), pixel_size=0.9, projection="CAR")
    shares, _ = pixel_shares(sky, new)
    rng = np.random.default_rng(7)
    n = 200_000
    lon, lat = sky.pixel_to_sky(2 + rng.random(n) - 0.5, 1 + rng.random(n) - 0.5)
    x, y = new.sky_to_pixel((lon, lat))
    thrown = np.histogram2d(y, x, bins=[np.arange(15) - 0.5, np.arange(17) - 0.5])[0] / n
    np.testing.assert_allclose(shares.toarray()[:, 5].reshape(new.shape), thrown, atol=0.012)  # the plane is not even
    assert shares[:, [5]].sum() == pytest.approx(1, abs=1e-12)


def test_maps_across_the_seam_and_to_the_poles_keep_their_events() -> None:
    whole = xonoff.SkyGrid.create((0, 0), shape=(90, 180), pixel_size=2.0, projection="CAR", frame="galactic")
    for center in ((179.5, 3), (0, 89), (120, -89.5), (10, 0)):
        sky = xonoff.SkyGrid.create(center, shape=(21, 21), pixel_size=0.3, projection="TAN", frame="galactic")
        shares, _ = pixel_shares(sky, whole)
        np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-12)
        lat = np.repeat(whole.lonlat()[1].ravel()[:, None], 1, axis=1)
        reached = lat[np.unique(shares.nonzero()[0])]
        assert np.abs(reached - center[1]).max() < 8


def test_pixels_off_the_sky_or_the_map_have_no_share() -> None:
    whole = xonoff.SkyGrid.create((0, 0), shape=(90, 180), pixel_size=2.5, projection="AIT", frame="galactic")
    part = xonoff.SkyGrid.create((0, 0), shape=(40, 40), pixel_size=1.0, projection="TAN", frame="galactic")
    shares, _ = pixel_shares(whole, part)
    got = np.asarray(shares.sum(axis=0)).reshape(whole.shape)
    assert (got[np.isnan(whole.lonlat()[0])] == 0).all()
    assert got.max() <= 1 + 1e-12
    assert got[45, 90] == pytest.approx(1, abs=1e-12)
    assert got[45, 5] == 0


def test_the_mask_keeps_out_what_it_kept_out(ds: xr.Dataset) -> None:
    """Events below the threshold do not leak into valid pixels; beyond the mask they are as they were."""
    loud = ds.assign(counts=ds.counts.where(ds.mask_safe, 1000))
    sky = target(ds, frame="galactic")
    new, quiet = reproject(loud, sky), reproject(ds, sky)
    xr.testing.assert_equal(new.counts.where(new.mask_safe), quiet.counts.where(quiet.mask_safe))
    assert new.counts.where(~new.mask_safe).max() > 500


def test_masks_of_energies_alone(ds: xr.Dataset) -> None:
    short = dict.fromkeys(("mask_safe", "mask_fit", "mask_fault"), ds.energy > 1)
    full = {name: mask.broadcast_like(ds.counts) for name, mask in short.items()}
    one, same = (reproject(ds.assign(masks), target(ds)) for masks in (short, full))
    for name in short:
        np.testing.assert_array_equal(one[name], same[name])
        assert one[name].any()
        assert not one[name].isel(energy=0).any()


def test_coverage_cuts_the_rim(ds: xr.Dataset) -> None:
    sky = target(ds, frame="galactic", size=0.13)
    some, half, whole = (reproject(ds, sky, coverage=c).mask_safe for c in (0, 0.5, 0.999))
    assert (whole <= half).all()
    assert (half <= some).all()
    assert some.sum() > half.sum() > whole.sum() > 0
    cells = some.sum("energy").sum() * 0.13**2, ds.mask_safe.sum("energy").sum() * 0.1**2 * np.cos(np.radians(22))
    assert float(half.sum() * 0.13**2) == pytest.approx(float(cells[1]), rel=0.02)
    flat = ds.assign(acceptance=xr.ones_like(ds.acceptance))
    level = reproject(flat, sky, coverage=0.999)
    inside = level.acceptance.where(level.mask_safe)
    assert float(inside.min()) == pytest.approx(float(inside.max()), rel=0.06)  # pixels shrink with latitude


def test_invalid_bins_stay_invalid_and_add_nothing(ds: xr.Dataset) -> None:
    broken = ds.copy(deep=True)
    broken.acceptance_off[:, 10:14, 10:14] = np.nan
    broken["counts_off"] = broken.counts_off.where(broken.counts_off != broken.counts_off.max(), np.nan)
    new = reproject(broken, target(ds))
    assert np.isfinite(new.counts_off).all()
    for name in ("counts", "acceptance"):
        used = broken.mask_safe & np.isfinite(broken.acceptance_off) & np.isfinite(broken.counts_off)
        expected = broken[name].where(used).sum(dtype=np.float64)
        np.testing.assert_allclose(new[name].where(new.mask_safe).sum(), expected, rtol=1e-12)


def test_the_response_stays_where_it_is(ds: xr.Dataset) -> None:
    new = reproject(ds, target(ds, frame="galactic"))
    for name in ("psf", "psf_exposure", "edisp", "edisp_exposure", "lat_psf", "wcs_edisp", "gti_start", "livetime"):
        np.testing.assert_array_equal(new[name], ds[name])
    middle = new.onoff.geom.sky.skycoord()[40, 40]
    x, y = ds.onoff.geom.sky.sky_to_pixel(middle)
    expected = ds.exposure[:, round(float(y)), round(float(x))]
    np.testing.assert_allclose(new.exposure[:, 40, 40], expected, rtol=0.01)


def test_a_response_on_the_pixels_of_the_counts_gets_a_grid_of_its_own(ds: xr.Dataset) -> None:
    same = ds.drop_vars([name for name in ds.variables if str(name).endswith("_psf")] + ["psf", "psf_exposure"])
    dims = ("lat", "lon")
    sky = ds.onoff.geom.sky
    psf = ds.psf.variable.isel(lat_psf=0, lon_psf=0)
    full = psf.set_dims({"lat": 40, "lon": 40, **psf.sizes}).transpose("energy_true", "rad", *dims)
    new = reproject(same.assign(psf=full), target(ds, frame="galactic"))
    assert new.psf.dims == ("energy_true", "rad", "lat_psf", "lon_psf")
    np.testing.assert_array_equal(new.psf, full)
    np.testing.assert_array_equal(new.lon_psf, ds.lon)
    assert int(new.wcs_psf) == sky.crc
    assert new.onoff.validate() is None


def test_dask_stays_lazy(lazy: xr.Dataset, ds: xr.Dataset, no_compute: None) -> None:
    new = reproject(lazy, target(ds, frame="galactic"))
    assert all(new[name].chunks for name in (*ON_OFF, "mask_safe", "exposure"))
    assert new.counts.chunksizes["energy"] == (3, 3, 2)


def test_dask_gives_the_same(lazy: xr.Dataset, ds: xr.Dataset) -> None:
    sky = target(ds, frame="galactic")
    xr.testing.assert_equal(reproject(lazy, sky).compute(), reproject(ds, sky))


def test_targets(ds: xr.Dataset) -> None:
    sky = target(ds)
    geom = xonoff.Geom(sky, (1.0, 2.0))
    expected = reproject(ds, sky)
    for other in (geom, to_wcs(sky), expected, expected.counts):
        xr.testing.assert_identical(made.unrecorded(reproject(ds, other)), made.unrecorded(expected))
    with pytest.raises(GeometryError, match="target: 'galactic' found"):
        reproject(ds, "galactic")  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="ds: a DataArray found, a Dataset accepted"):
        reproject(ds.counts, sky)  # type: ignore[arg-type]
    with pytest.raises(GeometryError, match="have none in common"):
        reproject(ds, xonoff.SkyGrid.create((200, -40), shape=(10, 10), pixel_size=0.1))
    with pytest.raises(GeometryError, match="two sky dimensions"):
        reproject(ds.isel(lat=0, lon=0), sky)


def test_the_input_is_left_alone(ds: xr.Dataset) -> None:
    before = ds.copy(deep=True)
    reproject(ds, target(ds))
    xr.testing.assert_identical(ds, before)


def test_real_data(data_dir: Path) -> None:
    ds = xonoff.open_dataset(data_dir / "hess-crab" / "onoff_stacked.fits.gz").load()
    new = reproject(ds, target(ds, size=0.05, shape=(200, 200), projection="CAR", frame="galactic"))
    for name in ON_OFF[:3]:
        np.testing.assert_allclose(total(new, name), total(ds, name), rtol=1e-6)
    before, after = (float(d.onoff.excess.where(d.mask_safe).sum()) for d in (ds, new))
    assert after == pytest.approx(before, rel=1e-6)
    assert "no whole numbers" in new.counts.attrs["reprojected"]
