"""Peaks of maps: a plain search over all pairs of pixels, plateaus, ties, NaN, edges, seams and poles."""

import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

import xonoff
from xonoff import find_peaks


def sky_map(values: np.ndarray, projection: str = "CAR", pixel: float = 0.1, center: tuple = (83.6, 22.0), **options):
    values = np.asarray(values, dtype=float)
    sky = xonoff.SkyGrid.create(center, shape=values.shape, pixel_size=pixel, projection=projection, **options)
    return xr.DataArray(values, dims=sky.dims(), coords=sky.coords())


def places(table) -> list[tuple[int, int]]:
    return list(zip(table["y"].tolist(), table["x"].tolist(), strict=True))


def plain(array: xr.DataArray, threshold: float, distance: float | None) -> list[tuple[int, int]]:
    """By the definition, for a map whose values all differ."""
    sky = xonoff.geometry.sky_grid(array)
    values, coords = array.values, sky.skycoord()
    found = []
    for y, x in np.argwhere(values >= threshold):
        block = values[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        near = np.zeros(values.shape, bool) if distance is None else coords.separation(coords[y, x]).deg <= distance
        if (
            np.nanmax(block) == values[y, x]
            and not (values[near] > values[y, x]).any()
            and np.isfinite(block).sum() > 0
        ):
            found.append((int(y), int(x)))
    return sorted(found, key=lambda pixel: -values[pixel])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(st.integers(1, 9), st.integers(2, 12)),
    projection=st.sampled_from(["CAR", "TAN"]),
    distance=st.sampled_from([None, 0.0, 0.11, 0.25, 1.0, 30.0]),
    gaps=st.booleans(),
    lat=st.sampled_from([0.0, 22.0, 75.0]),
)
def test_beside_the_definition(seed, shape, projection, distance, gaps, lat):
    rng = np.random.default_rng(seed)
    values = rng.permutation(np.arange(np.prod(shape), dtype=float)).reshape(shape)
    if gaps:
        values[rng.random(shape) < 0.3] = np.nan
    array = sky_map(values, projection, center=(0.05, lat))
    expected = plain(array, 3, distance)
    table = find_peaks(array, 3, distance)
    assert places(table) == expected
    assert table["value"].tolist() == [values[pixel] for pixel in expected]
    sky = xonoff.geometry.sky_grid(array)
    for row in table:
        there = SkyCoord(row["lon"], row["lat"], unit="deg")
        assert there.separation(sky.skycoord()[row["y"], row["x"]]).arcsec < 1e-6
        assert 0 <= row["lon"] < 360


def test_columns_and_units():
    table = find_peaks(sky_map([[0, 1, 0], [0, 0, 0]], "TAN", frame="galactic"), 0.5)
    assert table.colnames == ["value", "x", "y", "lon", "lat"]
    assert (str(table["lon"].unit), str(table["lat"].unit), table.meta) == ("deg", "deg", {"frame": "galactic"})
    assert table["x"].dtype == table["y"].dtype == np.int64
    assert table["value"].dtype == float


def test_no_peak_is_an_empty_table():
    for array in (sky_map(np.zeros((3, 4))), sky_map(np.full((3, 4), np.nan)), sky_map(np.full((3, 4), 7.0))):
        for distance in (None, 1):
            table = find_peaks(array, 1, distance)
            assert len(table) == 0
            assert table.colnames == ["value", "x", "y", "lon", "lat"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0, 5, 5, 5, 0]], [(0, 2)]),  # the middle of a plateau
        ([[0, 5, 5, 0, 0]], [(0, 1)]),  # the first of two
        ([[5, 5, 5, 5, 6, 0]], [(0, 4)]),  # a shoulder
        ([[0, 6, 5, 5, 0, 5]], [(0, 1), (0, 5)]),
        ([[5, 0, 5], [0, 0, 0], [5, 0, 5]], [(0, 0), (0, 2), (2, 0), (2, 2)]),
        ([[5, 0, 0], [0, 5, 0], [0, 0, 5]], [(1, 1)]),  # corner to corner
        ([[5, 5, 5], [5, 0, 5], [5, 5, 5]], [(0, 1)]),  # a ring: a pixel of it
        ([[np.nan, 5, np.nan]], [(0, 1)]),  # alone
        ([[5]], [(0, 0)]),
        ([[5, 5]], []),  # of one value
        ([[np.nan, 5, 5, np.nan, 3]], []),  # so is that: nothing beside it is lower
        ([[np.inf, 1, np.inf, np.inf]], [(0, 0), (0, 2)]),
        ([[-np.inf, 4, -np.inf]], [(0, 1)]),
    ],
)
def test_plateaus_ties_and_gaps(values, expected):
    assert places(find_peaks(sky_map(values), 4)) == expected


def test_of_equal_peaks_close_to_each_other_the_first_is_taken():
    array = sky_map([[0, 5, 0, 5, 0, 5, 0]])
    assert places(find_peaks(array, 1)) == [(0, 1), (0, 3), (0, 5)]
    assert places(find_peaks(array, 1, 0.25)) == [(0, 1), (0, 5)]
    assert places(find_peaks(array, 1, 0.5)) == [(0, 1)]


def test_the_slope_of_a_bright_source_has_no_peak():
    """A pixel at the distance that is higher is not a peak, but says that this is none either."""
    array = sky_map([[0, 4, 3, 9, 10, 9, 0]])
    assert places(find_peaks(array, 1)) == [(0, 4), (0, 1)]
    assert places(find_peaks(array, 1, 0.25)) == [(0, 4)]


def test_distances_are_those_of_the_sky():
    """At a latitude of 80 deg, pixels of 0.1 deg of longitude are 0.017 deg apart."""
    values = np.zeros((1, 20))
    values[0, [2, 12]] = 5, 6
    array = sky_map(values, center=(83.6, 80.0))
    assert places(find_peaks(array, 1, 0.16)) == [(0, 12), (0, 2)]
    assert places(find_peaks(array, 1, 0.18)) == [(0, 12)]


def test_across_the_seam_of_the_sky_and_a_pole():
    values = np.zeros((18, 36))
    values[9, [0, 35]] = 5, 6  # side by side, on both ends of the map
    values[0, [3, 21]] = 7, 8  # on both sides of a pole
    array = sky_map(values, pixel=10.0, center=(0.0, 0.0))
    assert places(find_peaks(array, 1)) == [(0, 21), (0, 3), (9, 35), (9, 0)]
    assert places(find_peaks(array, 1, 11)) == [(0, 21), (9, 35)]


def test_off_the_sky_there_is_no_pixel():
    values = np.zeros((20, 40))
    values[0, 0], values[10, 20] = 9, 5
    assert places(find_peaks(sky_map(values, "AIT", pixel=9.0, center=(0.0, 0.0)), 1, 5)) == [(10, 20)]


def test_any_order_of_dimensions_type_and_dask():
    rng = np.random.default_rng(3)
    array = sky_map(rng.normal(size=(12, 15)))
    expected = find_peaks(array, 1, 0.2)
    for other in (array.transpose("lon", "lat"), array.chunk(lat=5), array.assign_coords(energy=3.0)):
        assert places(find_peaks(other, 1, "0.2 deg")) == places(expected)
    assert places(find_peaks(array > 2, 1)) == places(find_peaks((array > 2).astype(int), 1))
    part = array.isel(lat=slice(3, None), lon=slice(None, None, -1))
    for row in find_peaks(part, 1):
        assert float(part[row["y"], row["x"]]) == row["value"]
        assert float(part.lon[row["x"]]) == pytest.approx(row["lon"])


def test_the_array_stays_as_it_is():
    array = sky_map(np.random.default_rng(1).normal(size=(5, 5)), "AIT", pixel=50.0, center=(0.0, 0.0))
    before = array.copy(deep=True)
    find_peaks(array, 0, 1)
    xr.testing.assert_identical(array, before)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a: find_peaks(a, np.nan), xonoff.SchemaError, "threshold: nan found"),
        (lambda a: find_peaks(a, "much"), xonoff.SchemaError, "'much' found"),
        (lambda a: find_peaks(a, 1, -1), xonoff.SchemaError, "min_distance: -1 found"),
        (lambda a: find_peaks(a, 1, "1 TeV"), xonoff.SchemaError, "deg"),
        (lambda a: find_peaks(a, 1, 181), xonoff.SchemaError, "0 to 180 deg"),
        (lambda a: find_peaks(a.isel(lat=0), 1), xonoff.GeometryError, "a map over two sky dimensions"),
        (lambda a: find_peaks(a.expand_dims(energy=2), 1), xonoff.GeometryError, "sum over the others"),
        (lambda a: find_peaks(a * 1j, 1), xonoff.SchemaError, "complex128 found"),
        (lambda a: find_peaks(a.drop_vars("wcs"), 1), xonoff.GeometryError, "wcs"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(sky_map(np.zeros((3, 3))))
