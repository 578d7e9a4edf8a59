import numpy as np
import pytest
import regions
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from datasets import lazy, make
from hypothesis import given, settings
from hypothesis import strategies as st

import xonoff
from xonoff import masks
from xonoff.geometry import sky_grid

CENTER = SkyCoord(83.6, 22.0, unit="deg")


def test_images():
    ds = make(1)
    np.testing.assert_array_equal(ds.onoff.mask_safe_image, ds.mask_safe.values.any(0))
    np.testing.assert_array_equal(ds.onoff.mask_fit_image, ds.mask_fit.values.any(0))
    np.testing.assert_array_equal(ds.onoff.mask_image, (ds.mask_safe & ds.mask_fit).values.any(0))
    assert ds.onoff.mask_safe_image.dims == ("y", "x")
    bare = make(1, masks=False)
    assert bare.onoff.mask_safe_image.values.all()
    assert bare.onoff.mask_fit_edisp.values.all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), turned=st.booleans(), density=st.sampled_from([0.02, 0.3, 1.0]))
def test_on_the_grid_of_a_response_a_pixel_is_in_if_any_of_its_own_is(seed, turned, density):
    ds = make(seed)
    ds["mask_safe"] = ds.mask_safe & (np.random.default_rng(seed).random(ds.counts.shape) < density)
    if turned:  # galactic pixels are not aligned with those of the counts
        center = CENTER.galactic
        coarse = xonoff.SkyGrid.create(center, shape=(3, 4), pixel_size=0.3, projection="TAN", frame="galactic")
        ds = ds.assign_coords(coarse.coords("edisp"))
    found = ds.onoff.mask_safe_edisp
    expected = np.zeros(found.shape, bool)
    coords = ds.onoff.geom.sky.skycoord()
    for iy, ix in np.ndindex(6, 8):
        # nearest in the plane of the projection, which is what the grid measures in
        x, y = sky_grid(ds, "edisp").sky_to_pixel(coords[iy, ix])
        row, column = (int(np.clip(np.floor(p + 0.500001), 0, n - 1)) for p, n in ((y, 3), (x, 4)))
        expected[:, row, column] |= ds.mask_safe.values[:, iy, ix]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(ds.onoff.mask_safe_psf.any(), expected.any())


def test_responses_without_a_sky_and_in_reconstructed_energy():
    ds = make(1)
    everywhere = ds.assign(edisp=ds.edisp.isel(y_edisp=0, x_edisp=0, drop=True)).drop_vars("edisp_exposure")
    np.testing.assert_array_equal(everywhere.onoff.mask_safe_edisp, ds.mask_safe.values.any((1, 2)))
    reco = ds.drop_vars("psf").assign(psf=(("energy", "rad", "y_psf", "x_psf"), np.ones((4, 5, 3, 4))))
    assert reco.onoff.mask_safe_psf.dims == ("energy", "y_psf", "x_psf")
    migra = make(1, migra=True).assign(mask_safe=ds.mask_safe)
    np.testing.assert_array_equal(migra.onoff.mask_safe_edisp, ds.onoff.mask_safe_edisp)
    with pytest.raises(xonoff.SchemaError, match="the dataset has no psf, whose grid this mask is for"):
        _ = ds.drop_vars("psf").onoff.mask_safe_psf


def test_energy_ranges():
    ds = make(1)
    ds["mask_safe"] = xr.zeros_like(ds.mask_safe)
    ds["mask_safe"][1, 2, 3] = True
    ds["mask_safe"][3, 2, 3] = True
    ds["mask_fit"] = xr.ones_like(ds.mask_safe)
    ds["mask_fit"][3] = False
    low, high = ds.onoff.energy_range_safe
    assert (float(low[2, 3]), float(high[2, 3])) == (2.0, 16.0)
    assert np.isnan(low.values).sum() == 47
    low, high = ds.onoff.energy_range_fit
    assert (float(low[0, 0]), float(high[0, 0])) == (1.0, 8.0)
    low, high = ds.onoff.energy_range_total
    assert (float(low), float(high)) == (2.0, 4.0)
    assert low.attrs["units"] == "TeV"


def test_masks_from_regions():
    ds = make(1)
    circle = regions.CircleSkyRegion(CENTER, 0.15 * u.deg)
    box = regions.RectanglePixelRegion(regions.PixCoord(0, 0), 3.2, 3.2)
    far = regions.CircleSkyRegion(SkyCoord(10, 10, unit="deg"), 1 * u.deg)
    distance = ds.onoff.geom.sky.skycoord().separation(CENTER).deg
    found = masks.from_regions(ds, circle)
    np.testing.assert_array_equal(found, np.broadcast_to(distance < 0.15, (4, 6, 8)))
    corner = np.zeros((6, 8), bool)
    corner[:2, :2] = True
    both = masks.from_regions(ds, [circle, box, far])
    np.testing.assert_array_equal(both[2], (distance < 0.15) | corner)
    assert not masks.from_regions(ds, [far]).any()
    assert not masks.from_regions(ds, regions.Regions([far])).any()
    out = ds.assign(mask_fit=~both & masks.from_energy_range(ds, 2))
    assert int(out.onoff.mask.sum()) == int((ds.mask_safe & ~both)[1:].sum())
    xonoff.validate(out)


def test_masks_from_significance_and_energy():
    ds = xonoff.tutorial.dataset()
    source = masks.from_significance(ds, 5)
    np.testing.assert_array_equal(source[0], (ds.onoff.significance("energy") > 5).values)
    assert source[0].any()
    ds["acceptance_off"] = ds.acceptance_off * 0
    assert not masks.from_significance(ds, 5).any()
    np.testing.assert_array_equal(masks.from_energy_range(make(1), 1.5, 9)[:, 0, 0], [False, True, True, False])
    with pytest.raises(xonoff.GeometryError, match="lo < hi is wanted"):
        masks.from_energy_range(ds, 3, 2)
    with pytest.raises(xonoff.SchemaError, match="mask 'mask' found, 'mask_safe' or 'mask_fit' accepted"):
        masks.image(ds, "mask")


def test_dask_stays_lazy(no_compute):
    ds = lazy(make(1))
    for name in ("mask_image", "mask_safe_image", "mask_fit_image", "mask_safe_psf", "mask_fit_psf", "mask_safe_edisp"):
        assert getattr(ds.onoff, name).chunks is not None
    for pair in (ds.onoff.energy_range_safe, ds.onoff.energy_range_fit, ds.onoff.energy_range_total):
        assert pair[0].chunks is not None
    assert masks.from_significance(ds, 5).chunks is not None
