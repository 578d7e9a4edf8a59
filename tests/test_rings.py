"""Radial profiles over pixels: brute force, nothing lost or made, any projection, poles, and what is refused."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

import xonoff
from xonoff.rings import circle_weights, offsets, profile_integrals, window_around

SKIES = {
    "CAR": lambda: xonoff.SkyGrid.create((83.6, 2.0), shape=(24, 30), pixel_size=0.1),
    "TAN": lambda: xonoff.SkyGrid.create((83.6, 62.0), shape=(24, 30), pixel_size=0.1, projection="TAN"),
    "seam": lambda: xonoff.SkyGrid.create((0.0, 0.0), shape=(24, 30), pixel_size=0.1, frame="galactic"),
    "pole": lambda: xonoff.SkyGrid.create((10.0, 90.0), shape=(24, 30), pixel_size=0.1, projection="TAN"),
}


def weights_of(sky: xonoff.SkyGrid, position: object, radii: object) -> np.ndarray:
    """Weight of the value at each radius in the integral over each pixel: (pixel, radius)."""
    whole = np.zeros((sky.shape[0] * sky.shape[1], len(radii)))
    pixels, integrals = profile_integrals(sky, position, radii, np.eye(len(radii)))
    whole[pixels] = integrals
    return whole


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(list(SKIES)),
    y=st.floats(8, 15),
    x=st.floats(8, 21),
    cuts=st.lists(st.floats(1e-4, 0.7), min_size=2, max_size=6, unique=True),
)
def test_nothing_is_lost_or_made_wherever_the_source_is(name, y, x, cuts):
    sky = SKIES[name]()
    lon, lat = sky.pixel_to_sky(x, y)
    radii = np.array(sorted(cuts))
    weights = weights_of(sky, (lon, lat), radii)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(0), circle_weights(radii), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("name", SKIES)
def test_weights_by_brute_force(name):
    sky = SKIES[name]()
    position = tuple(sky.pixel_to_sky(11.3, 9.8))
    radii = np.array([0.0, 0.03, 0.07, 0.2, 0.45])
    values = np.array([[5.0, 3.0, 4.0, 1.0, 0.5], [1.0, 1.0, 1.0, 1.0, 1.0]])
    found = (weights_of(sky, position, radii) @ values.T).T.reshape(2, *sky.shape)
    n = 160
    fine = (np.arange(n) + 0.5) / n - 0.5
    for row, column in ((10, 11), (9, 12), (10, 13), (6, 10), (12, 9), (8, 11)):
        y, x = np.meshgrid(row + fine, column + fine, indexing="ij")
        distance = np.hypot(*offsets(sky, position, y, x))
        size = sky.solid_angle()[row, column] / np.radians(1) ** 2
        for value, pixel in zip(values, found[:, row, column], strict=True):
            profile = np.interp(distance, radii, value, right=0.0)
            assert pixel == pytest.approx(profile.mean() * size, rel=1e-3, abs=1e-3 * size)


@settings(max_examples=40, deadline=None)
@given(
    y=st.floats(8, 15), x=st.floats(8, 21), inner=st.floats(0, 0.3), width=st.floats(0.01, 0.4), slope=st.floats(-1, 1)
)
def test_more_radii_on_the_same_line_change_nothing(y, x, inner, width, slope):
    sky = SKIES["TAN"]()
    position = sky.pixel_to_sky(x, y)
    few, many = (np.linspace(inner, inner + width, n) for n in (2, 9))
    one, two = (weights_of(sky, position, radii) @ (2 + slope * radii) for radii in (few, many))
    np.testing.assert_allclose(one, two, atol=1e-12)


def test_distances_are_those_on_the_sphere():
    sky = SKIES["TAN"]()
    position = SkyCoord(83.0, 61.5, unit="deg")
    y, x = np.indices(sky.shape)
    east, north = offsets(sky, position, y, x)
    lon, lat = sky.pixel_to_sky(x, y)
    there = SkyCoord(lon, lat, unit="deg")
    np.testing.assert_allclose(np.hypot(east, north), position.separation(there).deg, rtol=1e-9)
    np.testing.assert_allclose(np.arctan2(east, north) % (2 * np.pi), position.position_angle(there).rad, rtol=1e-9)
    galactic = offsets(sky, position.galactic, y, x)
    np.testing.assert_allclose(galactic, (east, north), atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(list(SKIES)), y=st.floats(-9, 33), x=st.floats(-9, 39), radius=st.floats(0.01, 1.5))
def test_the_window_holds_all_that_a_circle_reaches(name, y, x, radius):
    sky = SKIES[name]()
    position = tuple(sky.pixel_to_sky(x, y))
    whole = weights_of(sky, position, [0, radius]).sum(axis=1).reshape(sky.shape)
    rows, columns = window_around(sky, position, radius)
    outside = np.ones(sky.shape, bool)
    outside[rows, columns] = False
    assert (whole[outside] < 1e-12).all()


def test_one_pixel_and_a_source_far_away():
    one = xonoff.SkyGrid.create((10, 0), shape=(1, 1), pixel_size=0.1)
    assert weights_of(one, (10, 0), [0, 1]).sum() == pytest.approx(0.01, rel=1e-5)
    assert not weights_of(one, (190, 0), [0, 1]).any()
    rows, columns = window_around(one, (190, 0), 0.5)
    assert rows.start == rows.stop or columns.start == columns.stop


def test_a_whole_sky_has_pixels_off_the_sky():
    sky = xonoff.SkyGrid.create((0, 0), shape=(20, 40), pixel_size=10.0, projection="AIT", frame="galactic")
    areas = weights_of(sky, (30.0, 10.0), [0, 5, 10])
    assert np.isfinite(areas).all()
    assert areas.sum() == pytest.approx(100 * np.pi, rel=1e-9)


@pytest.mark.parametrize("lat", [90.0, 89.9, -89.96, -90.0])
def test_rows_that_reach_over_a_pole_end_there(lat):
    sky = xonoff.SkyGrid.create((0.0, 85.0 if lat > 0 else -85.0), shape=(101, 3600), pixel_size=0.1)
    assert weights_of(sky, (20.0, lat), [0, 0.4]).sum() == pytest.approx(np.pi * 0.16, rel=1e-6)


@pytest.mark.parametrize("radii", [[1], [2, 1], [-1, 1], [0, np.inf], [0, np.nan], [[0, 1]]])
def test_radii_that_are_none(radii):
    with pytest.raises(xonoff.GeometryError, match="that increase from 0 or above"):
        weights_of(SKIES["CAR"](), (83.6, 2), radii)
