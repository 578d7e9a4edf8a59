import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import headers, slices

import xonoff
from xonoff.errors import GeometryError, SchemaError
from xonoff.neighbours import disc_sums, ring_sums
from xonoff.skygrid import SkyGrid
from xonoff.vicinity import vicinity_of, window_of

rng = np.random.default_rng(20261)


def distances(sky: SkyGrid) -> np.ndarray:
    """Great-circle distance of each pixel from each, deg; NaN off the sky."""
    lon, lat = (np.radians(angle).ravel() for angle in sky.lonlat())
    vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    chords = np.linalg.norm(vectors[:, None] - vectors, axis=-1)
    return np.degrees(2 * np.arcsin(np.minimum(chords / 2, 1)))


def brute(values: np.ndarray, sky: SkyGrid, r_in: float, r_out: float) -> np.ndarray:
    """Sums over rings, pixel by pixel; ties within 1e-9 of a radius are in."""
    d = distances(sky)
    inside = (d <= r_out * (1 + 1e-9)) & (d >= r_in * (1 - 1e-9))
    flat = values.reshape(*values.shape[:-2], -1)
    return (flat @ inside.T.astype(values.dtype)).reshape(values.shape)


def grid(projection: str, center: tuple[float, float], shape=(16, 21), pixel_size=0.1, frame="icrs") -> SkyGrid:
    return SkyGrid.create(center, shape=shape, pixel_size=pixel_size, projection=projection, frame=frame)


GRIDS = {
    "CAR": grid("CAR", (83.6, 22.0)),
    "CAR at high latitude": grid("CAR", (83.6, 87.0)),
    "CAR to the pole": grid("CAR", (10.0, 89.3)),
    "CAR on both sides of 0 deg": grid("CAR", (0.0, -40.0)),
    "CAR galactic": grid("CAR", (0.3, 60.0), frame="galactic"),
    "CAR of the whole sky": grid("CAR", (0.0, 0.0), shape=(30, 60), pixel_size=6.0),
    "CAR beyond the whole sky": grid("CAR", (0.0, 0.0), shape=(30, 70), pixel_size=6.0),
    "CAR of uneven pixels on the whole sky": grid("CAR", (0.0, 0.0), shape=(18, 51), pixel_size=(10.0, 7.0)),
    "MER": grid("MER", (83.6, 60.0)),
    "TAN": grid("TAN", (83.6, 22.0)),
    "TAN around the pole": grid("TAN", (83.6, 90.0)),
    "TAN on both sides of 0 deg": grid("TAN", (0.0, -40.0), frame="galactic"),
    "TAN of wide pixels": grid("TAN", (83.6, 22.0), pixel_size=(0.1, 0.27)),
    "TAN of high pixels": grid("TAN", (83.6, 22.0), pixel_size=(0.4, 0.05)),
    "TAN of half the sky": grid("TAN", (83.6, 22.0), shape=(20, 30), pixel_size=10.0),
    "SIN of half the sky": grid("SIN", (83.6, 22.0), shape=(24, 30), pixel_size=6.0),
    "AIT of the whole sky": grid("AIT", (0.0, 0.0), shape=(30, 60), pixel_size=6.0),
    "ZEA of the whole sky": grid("ZEA", (10.0, 50.0), shape=(30, 30), pixel_size=9.0),
    "one row": grid("TAN", (83.6, 22.0), shape=(1, 20)),
    "one column": grid("TAN", (83.6, 22.0), shape=(20, 1)),
    "one pixel": grid("TAN", (83.6, 22.0), shape=(1, 1)),
    "one pixel of CAR": grid("CAR", (83.6, 22.0), shape=(1, 1)),
    "reversed": grid("TAN", (83.6, 22.0)).slice(slice(None, None, -1), slice(None, None, -1)),
    "strided": grid("CAR", (83.6, 72.0)).slice(slice(None, None, 2), slice(20, None, -3)),
}
RADII = [(0, 0.0), (0, 0.04), (0, 0.1), (0, 0.35), (0.1, 0.1), (0.2, 0.5), (0.3, 5.0), (9.0, 30.0), (0, 60.0), (0, 400)]


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(("r_in", "r_out"), RADII)
def test_sums_are_those_of_the_pixels_within_a_true_angle(name, r_in, r_out):
    sky = GRIDS[name]
    counts = rng.poisson(2.0, (2, *sky.shape))
    assert np.array_equal(ring_sums(counts, sky, r_in, r_out), brute(counts, sky, r_in, r_out))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_sums_on_any_grid(data):
    sky = SkyGrid.from_header(data.draw(headers()), (12, 14))
    sky = sky.slice(*(data.draw(slices(n)) for n in sky.shape))
    scale = max(sky.pixel_scales)
    r_out = data.draw(st.floats(0, 8)) * scale
    r_in = data.draw(st.just(0.0) | st.floats(0, 1)) * r_out
    counts = np.random.default_rng(data.draw(st.integers(0, 99))).poisson(2.0, sky.shape)
    d, found = distances(sky), ring_sums(counts, sky, r_in, r_out)
    if not np.isfinite(d).any():
        assert not found.any()
        return
    if np.nanmin(np.abs(d - r_out)) < 1e-8 * r_out or (r_in > 0 and np.nanmin(np.abs(d - r_in)) < 1e-8 * r_in):
        return  # a tie to rounding, of positions that the header gives
    assert np.array_equal(found, brute(counts, sky, r_in, r_out))


@pytest.mark.parametrize("projection", ["CAR", "ARC"])
def test_pixels_on_the_circle_are_in(projection):
    sky = grid(projection, (0.0, 0.0), shape=(11, 11))
    assert disc_sums(np.ones((11, 11), int), sky, 0.1)[5, 5] == 5
    assert ring_sums(np.ones((11, 11), int), sky, 0.1, 0.1)[5, 5] == 4


@pytest.mark.parametrize(
    ("projection", "center"),
    [("TAN", (83.6, 22.0)), ("CAR", (0.1, -70.0)), ("STG", (10.0, 88.0)), ("AIT", (40.0, 50.0))],
)
def test_sums_on_a_map_of_many_tiles(projection, center):
    sky = grid(projection, center, shape=(210, 530), pixel_size=(0.03, 0.05))
    counts = rng.poisson(1.0, sky.shape)
    found = ring_sums(counts, sky, 0.401, 0.907)
    lon, lat = (np.radians(angle) for angle in sky.lonlat())
    vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    for y, x in zip(rng.integers(0, 210, 300), rng.integers(0, 530, 300), strict=True):
        d = np.degrees(2 * np.arcsin(np.linalg.norm(vectors - vectors[y, x], axis=-1) / 2))
        assert found[y, x] == counts[(d >= 0.401) & (d <= 0.907)].sum()


def test_a_radius_below_a_pixel_holds_the_pixel_alone_and_a_ring_from_there_nothing():
    sky = GRIDS["TAN"]
    values = rng.random(sky.shape)
    assert np.array_equal(disc_sums(values, sky, 0.04), values)
    assert not ring_sums(values, sky, 0.02, 0.04).any()


def test_pixels_off_the_sky_take_no_part_whatever_they_hold():
    sky = GRIDS["AIT of the whole sky"]
    off = ~np.isfinite(sky.lonlat()[0])
    assert off.any()
    values = np.where(off, np.nan, 1.0)
    found = disc_sums(values, sky, 15.0)
    assert np.isfinite(found).all()
    assert not found[off].any()


def test_a_disc_goes_on_across_the_rim_of_an_all_sky_map():
    sky = GRIDS["AIT of the whole sky"]
    one = np.zeros(sky.shape)
    lon, lat = sky.lonlat()
    east = np.argwhere(lon == np.nanmax(lon))[0]
    one[tuple(east)] = 1
    reached = disc_sums(one, sky, 20.0) > 0
    assert lon[reached].min() < -150
    assert lon[reached].max() > 150
    assert abs(lat[reached]).max() < 90


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int32, np.int64, np.float32, np.float64, ">f4", ">i4"])
def test_whole_numbers_of_any_dtype_are_summed_exactly(dtype):
    sky = GRIDS["TAN"]
    values = rng.poisson(0.7, sky.shape).astype(dtype)
    found = disc_sums(values, sky, 0.4)
    assert found.dtype == (np.float64 if np.dtype(dtype).kind == "f" else np.int64)
    assert np.array_equal(found, brute(values.astype(np.int64), sky, 0, 0.4))


@pytest.mark.parametrize("scale", [1, 60, 10**4, 10**7, 10**12, -3])
def test_sums_beyond_16_and_32_bit_are_exact(scale):
    sky = GRIDS["CAR"]
    values = rng.poisson(3.0, sky.shape) * scale
    for dtype in (np.int64, np.float64):
        assert np.array_equal(disc_sums(values.astype(dtype), sky, 0.5), brute(values, sky, 0, 0.5))


def test_nothing_is_subtracted():
    sky = grid("TAN", (83.6, 22.0), shape=(20, 60))
    values = np.zeros(sky.shape)
    values[10, 20], values[10, 40], values[4, 59] = 1e16, 1e-16, np.nan
    found = disc_sums(values, sky, 0.5)
    d = distances(sky).reshape(*sky.shape, *sky.shape)
    assert np.array_equal(found == 1e-16, (d[10, 40] <= 0.5) & (d[4, 59] > 0.5))
    assert np.array_equal(np.isnan(found), d[4, 59] <= 0.5)
    assert np.array_equal(found == 0, np.all([d[pixel] > 0.5 for pixel in ((10, 20), (10, 40), (4, 59))], axis=0))


def test_float_sums_are_good_to_rounding_over_many_orders_of_magnitude():
    sky = GRIDS["TAN"]
    values = 10.0 ** rng.uniform(-30, 0, sky.shape)
    np.testing.assert_allclose(disc_sums(values, sky, 0.3), brute(values, sky, 0, 0.3), rtol=1e-14)


@pytest.mark.parametrize("full", [False, True])
def test_a_mask_leaves_out_what_is_outside_of_it(full):
    sky = GRIDS["TAN"]
    values = rng.random((3, *sky.shape))
    mask = rng.random(values.shape if full else sky.shape) < 0.6
    want = brute(np.where(mask, values, 0.0), sky, 0.1, 0.4)
    np.testing.assert_allclose(ring_sums(np.where(mask, values, np.nan), sky, 0.1, 0.4, mask=mask), want, rtol=1e-14)


# -- labels and chunks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CAR", "CAR of the whole sky", "TAN", "SIN of half the sky", "AIT of the whole sky"])
@pytest.mark.parametrize("chunks", [(1, 5, 6), (2, 16, 7), (3, 1, 60)])
def test_chunks_make_no_difference(name, chunks, no_compute):
    import dask
    import dask.array as da

    sky = GRIDS[name]
    r_in, r_out = 1.4 * max(sky.pixel_scales), 3.7 * max(sky.pixel_scales)
    counts, weights = rng.poisson(1.0, (3, *sky.shape)), rng.random((3, *sky.shape))
    mask = rng.random(sky.shape) < 0.7
    found = [
        ring_sums(da.from_array(values, chunks=chunks), sky, r_in, r_out, mask=da.from_array(mask, chunks=5))
        for values in (counts, weights)
    ]
    assert found[0].chunks == da.from_array(counts, chunks=chunks).chunks
    with dask.config.set(scheduler="synchronous"):
        whole, parts = found[0].compute(), found[1].compute()
    assert whole.dtype == np.int64
    assert np.array_equal(whole, ring_sums(counts, sky, r_in, r_out, mask=mask))
    np.testing.assert_allclose(parts, ring_sums(weights, sky, r_in, r_out, mask=mask), rtol=1e-14)


def test_a_chunk_reads_its_surroundings_only():
    sky = grid("TAN", (83.6, 22.0), shape=(400, 600), pixel_size=0.02)
    (low, high), (left, right) = window_of(sky, (200, 300), (0, 100), 0.4)
    assert 200 - 20 - 40 < low <= 180
    assert 320 <= high < 320 + 40
    assert left == 0
    assert 120 <= right < 120 + 40


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_surroundings_of_a_chunk_hold_all_pixels_within_the_radius(data):
    sky = SkyGrid.from_header(data.draw(headers()), (25, 31))
    rows, columns = (
        sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2).filter(lambda s: s[0] != s[1]))) for n in sky.shape
    )
    radius = data.draw(st.floats(0, 12)) * max(sky.pixel_scales)
    d = distances(sky).reshape(*sky.shape, *sky.shape)[slice(*rows), slice(*columns)]
    reached = (d <= radius).any(axis=(0, 1))
    (low, high), (left, right) = window_of(sky, tuple(rows), tuple(columns), radius)
    reached[low:high, left:right] = False
    assert not reached.any()


def test_labelled_arrays_keep_labels_order_and_attributes(ds):
    sky = ds.onoff.geom.sky
    turned = ds.counts.transpose("lon", "energy", "lat")
    mask = ds.mask_safe.transpose("lat", "lon", "energy")
    found = disc_sums(turned, sky, "0.3 deg", mask=mask)
    want = disc_sums(ds.counts.values, sky, 0.3, mask=ds.mask_safe.values)
    xr.testing.assert_identical(found, ds.counts.copy(data=want).transpose("lon", "energy", "lat"))
    image = disc_sums(ds.counts.variable, sky, 0.3, mask=ds.mask_safe.variable.any("energy"))
    assert isinstance(image, xr.Variable)
    assert image.dims == ds.counts.dims


def test_what_is_around_is_found_once():
    sky = GRIDS["MER"]
    disc_sums(np.ones(sky.shape), sky, 0.3)
    hits = vicinity_of.cache_info().hits
    disc_sums(np.ones((2, *sky.shape)), sky, "0.3 deg")
    assert vicinity_of.cache_info().hits == hits + 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda v, sky: disc_sums(v, sky, -1), GeometryError, "angle of 0 deg or more"),
        (lambda v, sky: disc_sums(v, sky, np.nan), GeometryError, "angle of 0 deg or more"),
        (lambda v, sky: disc_sums(v, sky, "1 s"), SchemaError, "deg"),
        (lambda v, sky: ring_sums(v, sky, 1, 0.5), GeometryError, "r_in <= r_out"),
        (lambda v, sky: disc_sums(v.T, sky, 1), GeometryError, "pixels found"),
        (lambda v, sky: disc_sums(v.astype(complex), sky, 1), SchemaError, "numbers are wanted"),
        (lambda v, sky: disc_sums(v, sky, 1, mask=v), SchemaError, "bool of shape"),
        (lambda v, sky: disc_sums(v, sky, 1, mask=v[1:] > 0), SchemaError, "bool of shape"),
        (lambda v, sky: disc_sums(xr.Variable(("a", "b"), v), sky, 1), GeometryError, "sky dimensions"),
        (
            lambda v, sky: disc_sums(xr.Variable(sky.dims(), v), sky, 1, mask=xr.Variable("q", [True])),
            SchemaError,
            "mask: dims",
        ),
    ],
)
def test_what_cannot_be_summed_is_refused(call, error, message):
    sky = GRIDS["TAN"]
    with pytest.raises(error, match=message):
        call(np.ones(sky.shape), sky)


def test_a_map_of_xonoff_and_its_part_have_the_same_neighbours():
    ds = xonoff.tutorial.dataset()
    whole = disc_sums(ds.counts, ds.onoff.geom.sky, 0.25)
    part = ds.isel(lat=slice(5, 35), lon=slice(8, 30))
    found = disc_sums(part.counts, part.onoff.geom.sky, 0.25)
    xr.testing.assert_equal(found[:, 3:-3, 3:-3], whole.isel(lat=slice(8, 32), lon=slice(11, 27)))
