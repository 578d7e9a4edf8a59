"""Cutting: against plain indexing, the reference cutouts, and what is refused."""

import dask
import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import Cutout2D
from datasets import lazy, make, parent, projections, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

import xonoff
from xonoff.cutout import cutout, pad, sel, slice_by_energy
from xonoff.geometry import enclosing, sky_grid
from xonoff.irf import at_position

CENTER = (83.6, 22.0)


@settings(max_examples=30, deadline=None)
@given(projection=projections, lon=st.floats(83.1, 84.1), lat=st.floats(21.6, 22.4), width=st.floats(0.06, 1.5),
       height=st.floats(0.06, 1.5), mode=st.sampled_from(["trim", "partial", "strict"]),
       on_dask=st.booleans())  # fmt: skip
def test_pixels_are_those_of_cutout2d(projection, lon, lat, width, height, mode, on_dask):
    ds = make(1, projection)
    image = ds.counts.values[0].astype(float)
    position = SkyCoord(lon, lat, unit="deg")
    try:
        expected = Cutout2D(image, position, (height * u.deg, width * u.deg), ds.onoff.wcs, mode=mode, fill_value=0)
    except Exception:
        with pytest.raises(xonoff.GeometryError, match=r"it (lies|reaches) off the map"):
            cutout(ds, position, (width, height), mode)
        return
    part = cutout(lazy(ds) if on_dask else ds, position, (width, height), mode)
    np.testing.assert_array_equal(part.counts[0], expected.data)
    np.testing.assert_allclose(part.onoff.wcs.wcs.crpix, expected.wcs.wcs.crpix, atol=1e-9)
    xonoff.validate(part.compute())
    assert (part.counts.chunks is not None) == on_dask
    covered = np.nan_to_num(part.mask_safe.where(part.acceptance_off > 0, 0).values).astype(bool)
    np.testing.assert_array_equal(covered, part.mask_safe)


@settings(max_examples=30, deadline=None)
@given(
    seed=seeds, projection=projections, lon=st.floats(83.3, 83.9), lat=st.floats(21.8, 22.2), width=st.floats(0.1, 0.8)
)
def test_the_response_inside_a_cutout_is_that_of_the_map(seed, projection, lon, lat, width):
    ds = make(seed, projection)
    part = cutout(ds, (lon, lat), width)
    ny, nx = part.counts.shape[1:]
    rng = np.random.default_rng(seed)
    for _ in range(5):
        x, y = rng.uniform(-0.5, nx - 0.5), rng.uniform(-0.5, ny - 0.5)
        position = tuple(float(a) for a in part.onoff.geom.sky.pixel_to_sky(x, y))
        for name in ("psf", "edisp", "edisp_exposure"):
            np.testing.assert_allclose(at_position(part, name, position), at_position(ds, name, position), rtol=1e-9)


def test_cutouts_of_a_cutout_and_of_a_map_around_longitude_0():
    sky = xonoff.SkyGrid.create((0.0, 0.0), shape=(6, 8), pixel_size=0.1)
    ds = make(1, "CAR").assign_coords(sky.coords())
    part = cutout(cutout(ds, (359.98, 0.01), (0.6, 0.4)), (0.02, 0.01), (0.2, 0.2))
    np.testing.assert_array_equal(part.counts, ds.counts[:, 2:4, 3:5])
    assert part.lon.values.tolist() == ds.lon.values[3:5].tolist()


def test_what_interpolation_needs_at_a_pole_and_across_0():
    around = xonoff.SkyGrid.create((0.0, 89.9), shape=(20, 20), pixel_size=0.1, projection="TAN")
    allsky = xonoff.SkyGrid.create((0.0, 0.0), shape=(90, 180), pixel_size=2.0)
    needed = enclosing(allsky, around)
    lon, lat = around.lonlat()
    x, y = allsky.sky_to_pixel((lon, lat))
    first = (needed.origin[0] - allsky.origin[0], needed.origin[1] - allsky.origin[1])
    assert first[0] <= y.min()
    assert first[0] + needed.shape[0] - 1 >= y.max()
    assert first[1] <= x.min()
    assert first[1] + needed.shape[1] - 1 >= x.max()


@pytest.mark.parametrize("projection", ["CAR", "TAN"])
@pytest.mark.parametrize("on_dask", [False, True])
def test_sel_finds_the_pixel_of_every_position(projection, on_dask):
    ds = make(1, projection)
    given = lazy(ds) if on_dask else ds
    coords = ds.onoff.geom.sky.skycoord()
    for iy, ix in np.ndindex(6, 8):
        pixel = sel(given, coords[iy, ix].galactic)
        np.testing.assert_array_equal(pixel.counts, ds.counts[:, iy, ix])
        assert float(pixel.lon) == pytest.approx(coords[iy, ix].ra.deg, abs=1e-9)
    several = sel(given, coords[[0, 5], [1, 7]])
    assert several.counts.dims == ("energy", "position")
    np.testing.assert_array_equal(several.counts, ds.counts.values[:, [0, 5], [1, 7]])
    assert several.psf.dims == ("energy_true", "rad", "position")
    assert several.onoff.excess.dims == ("energy", "position")


def test_sel_across_longitude_0_and_off_the_map():
    sky = xonoff.SkyGrid.create((0.0, 0.0), shape=(6, 8), pixel_size=0.1)
    ds = make(1, "CAR").assign_coords(sky.coords())
    np.testing.assert_array_equal(sel(ds, (-0.05, 0.05)).counts, sel(ds, (359.95, 0.05)).counts)
    np.testing.assert_array_equal(sel(ds, (0.05, 0.05)).counts, ds.counts[:, 3, 3])
    with pytest.raises(xonoff.GeometryError, match=r"1 of 1 positions are off the map, lon, lat = 0.6, 0 deg"):
        sel(ds, (0.6, 0.0))
    with pytest.raises(xonoff.GeometryError, match=r"2 of 3 positions are off the map, lon, lat = 180, 0 deg"):
        sel(ds, ([0.0, 180.0, 181.0], 0.0))
    with pytest.raises(xonoff.SchemaError, match="one position or a list of them"):
        sel(ds, SkyCoord([[0, 1]], [[0, 1]], unit="deg"))


@pytest.mark.parametrize(
    ("lo", "hi", "expected"),
    [(None, None, (0, 4)), (1, 16, (0, 4)), ("2 TeV", None, (1, 4)), (None, 4 * u.TeV, (0, 2)), (1.5, 9, (1, 3)),
     (2 * (1 + 1e-9), 8 * (1 - 1e-9), (1, 3))],
)  # fmt: skip
def test_energies_within_a_range(lo, hi, expected):
    ds = make(1)
    part = slice_by_energy(ds, lo, hi)
    xr.testing.assert_identical(part, ds.isel(energy=slice(*expected)))
    assert part.edisp.sizes["energy"] == part.counts.sizes["energy"]


@settings(max_examples=20, deadline=None)
@given(seed=seeds, projection=projections, n=st.tuples(st.integers(0, 3), st.integers(0, 3)), on_dask=st.booleans())
def test_a_padded_map_holds_the_map(seed, projection, n, on_dask):
    ds = make(seed, projection)
    wide = pad(lazy(ds) if on_dask else ds, n)
    y, x = ds.onoff.sky_dims
    back = wide.isel({y: slice(n[0], n[0] + 6), x: slice(n[1], n[1] + 8)})
    xr.testing.assert_identical(back.compute(), ds)
    assert float(wide.counts.sum()) == float(ds.counts.sum())
    assert int(wide.mask_safe.sum()) == int(ds.mask_safe.sum())
    assert wide.counts.dtype == ds.counts.dtype
    xonoff.validate(wide.compute())


def test_padding_reversed_and_strided_maps_and_without_a_mask():
    ds = make(1, masks=False).isel(y=slice(None, None, -2), x=slice(1, None, 2))
    wide = pad(ds, 1)
    assert wide.mask_safe.values.sum() == ds.counts.size
    np.testing.assert_allclose(wide.lat[1:-1, 1:-1], ds.lat, atol=1e-9)
    assert wide.y.values.tolist() == [7, 5, 3, 1, -1]


@pytest.mark.parametrize(
    "function",
    [lambda ds: cutout(ds, CENTER, 0.4), lambda ds: cutout(ds, (83.1, 22.0), 0.5, "partial"),
     lambda ds: sel(ds, CENTER), lambda ds: slice_by_energy(ds, 2), lambda ds: pad(ds, 2)],
)  # fmt: skip
@pytest.mark.parametrize("projection", ["CAR", "TAN"])
def test_dask_stays_lazy_and_equals_memory(function, projection, no_compute):
    ds = make(3, projection)
    result = function(lazy(ds))
    assert all(array.chunks for array in result.data_vars.values())
    with dask.config.set(scheduler="synchronous"):
        xr.testing.assert_identical(result.compute(), function(ds))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: cutout(ds, CENTER, 0), "one or two positive angles are wanted, 0 found"),
        (lambda ds: cutout(ds, CENTER, -1), "one or two positive angles are wanted"),
        (lambda ds: cutout(ds, CENTER, np.nan), "one or two positive angles are wanted"),
        (lambda ds: cutout(ds, CENTER, (1, 1, 1)), "one or two positive angles are wanted"),
        (lambda ds: cutout(ds, CENTER, 0.01), r"is less than half a pixel of \(0.1"),
        (lambda ds: cutout(ds, CENTER, "1 TeV"), "'1 TeV' found, a number in deg"),
        (lambda ds: cutout(ds, CENTER, 0.3, "wrap"), "mode 'wrap' found, 'trim', 'partial', 'strict' accepted"),
        (lambda ds: cutout(ds, (90, 22), 0.3), "around lon, lat = 90, 22 deg: it lies off the map of 8 x 6 pixels"),
        (lambda ds: cutout(ds, (83.2, 22), 0.5, "strict"), "it reaches off the map: use mode='trim' or 'partial'"),
        (lambda ds: cutout(ds, CENTER, 9, "strict"), "it reaches off the map"),
        (lambda ds: cutout(ds, (263.6, -22), 0.3), "the position is not on the sky of this projection"),
        (lambda ds: cutout(ds, ([83.6, 83.7], 22.0), 0.3), "one position is wanted, 2 found"),
        (lambda ds: cutout(ds, "Crab", 0.3), "is no position"),
        (lambda ds: cutout(sel(ds, CENTER), CENTER, 0.3), "a map with two sky dimensions is wanted"),
        (lambda ds: slice_by_energy(ds, 20), r"no bin lies within 20 and None, edges \[1.0, 2.0, 4.0, 8.0, 16.0\] TeV"),
        (lambda ds: slice_by_energy(ds, 4, 2), "lo < hi is wanted, 4.0 TeV and 2.0 TeV found"),
        (lambda ds: slice_by_energy(ds, "1 deg"), "'1 deg' found, a number in TeV"),
        (lambda ds: pad(ds, -1), "numbers of pixels not below 0 are wanted, -1 found"),
        (lambda ds: pad(ds, 1.5), "numbers of pixels not below 0 are wanted, 1.5 found"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call(make(0))


def test_a_cutout_wider_than_the_map_is_the_map():
    ds = make(1)
    np.testing.assert_array_equal(cutout(ds, CENTER, 9).counts, ds.counts)
    wide = cutout(ds, CENTER, (1.2, 1.0), "partial")
    assert wide.counts.shape == (4, 10, 12)
    assert sky_grid(wide).header == parent("TAN").header
