"""Shapes that are not round: the round ones as their limit, moments, directions in any frame, totals, templates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xonoff
from xonoff.models import DiskSource, GaussianSource, TemplateSource
from xonoff.rings import circle_weights, offsets
from xonoff.spread import spread

CENTER = (83.63, 22.01)
RADII = np.concatenate([[0.0], np.arange(0.005, 0.6, 0.01), [0.6]])
SIGMAS = np.array([0.05, 0.08])
PSF = np.exp(-(RADII**2) / (2 * SIGMAS[:, None] ** 2))
PSF = PSF / (PSF @ circle_weights(RADII))[:, None], RADII


def grid(projection: str = "TAN", frame: str = "icrs") -> xonoff.SkyGrid:
    center = CENTER if frame == "icrs" else (184.56, -5.79)
    return xonoff.SkyGrid.create(center, shape=(140, 150), pixel_size=0.04, projection=projection, frame=frame)


def image(shape: object, sky: xonoff.SkyGrid, psf: object = PSF) -> np.ndarray:
    found = spread(shape, shape.position, sky, psf)
    whole = np.zeros((sky.shape[0] * sky.shape[1], found.shares.shape[1]))
    whole[found.pixels] = found.shares
    return whole.T.reshape(-1, *sky.shape)


@pytest.mark.parametrize("projection", ["TAN", "CAR"])
@pytest.mark.parametrize(
    "make", [lambda e: GaussianSource(83.7, 22.1, 0.2, e), lambda e: DiskSource(83.7, 22.1, 0.4, e)]
)
def test_with_hardly_any_eccentricity_it_is_the_round_shape(make, projection):
    sky = grid(projection)
    round_, other = image(make(0.0), sky), image(make(1e-7), sky)
    np.testing.assert_allclose(other, round_, atol=1.5e-3 * round_.max())
    np.testing.assert_allclose(other.sum((1, 2)), 1, rtol=1e-9)


@settings(max_examples=15, deadline=None)
@given(
    e=st.floats(0.1, 0.99),
    phi=st.floats(-180, 180),
    sigma=st.floats(0.0004, 0.3),
    frame=st.sampled_from(["icrs", "galactic"]),
)
def test_variances_of_a_gaussian_and_of_the_psf_add(e, phi, sigma, frame):
    shape = GaussianSource(*(CENTER if frame == "icrs" else (184.56, -5.79)), sigma, e, phi, frame=frame)
    for own in ("icrs", "galactic"):
        sky = grid(frame=own)
        found = image(shape, sky)
        np.testing.assert_allclose(found.sum((1, 2)), 1, rtol=1e-6)
        if own != frame:
            continue
        east, north = offsets(sky, shape.position, *np.indices(sky.shape))
        angle = np.radians(phi)
        along, across = east * np.sin(angle) + north * np.cos(angle), east * np.cos(angle) - north * np.sin(angle)
        fine = np.linspace(0, 0.6, 6001)
        table = np.array([np.interp(fine, RADII, row) for row in PSF[0]])
        rounded = (table * fine**2) @ circle_weights(fine) / 2 + 0.04**2 / 12
        np.testing.assert_allclose((found * along**2).sum((1, 2)), rounded + sigma**2, rtol=4e-3)
        np.testing.assert_allclose((found * across**2).sum((1, 2)), rounded + sigma**2 * (1 - e**2), rtol=4e-3)


def test_a_direction_is_one_in_the_frame_of_the_shape():
    shape = GaussianSource(184.56, -5.79, 0.3, 0.95, 30.0, frame="galactic")
    for psf in (PSF, None):
        on_icrs, on_galactic = (image(shape, sky, psf)[0] for sky in (grid(), grid(frame="galactic")))
        sky = grid()
        lon, lat = sky.lonlat()
        from astropy.coordinates import SkyCoord

        there = SkyCoord(lon, lat, unit="deg").galactic
        x, y = grid(frame="galactic").sky_to_pixel(there)
        from scipy.ndimage import map_coordinates

        expected = map_coordinates(on_galactic, [y, x], order=3)
        inner = slice(30, 110)
        np.testing.assert_allclose(on_icrs[inner, inner], expected[inner, inner], atol=3e-3 * on_icrs.max())


def test_a_template_of_a_shape_is_the_shape():
    shape = GaussianSource(*CENTER, 0.15, 0.8, 25.0)
    fine = xonoff.SkyGrid.create(CENTER, shape=(300, 300), pixel_size=0.01, projection="TAN")
    template = TemplateSource(shape(*fine.lonlat()), fine)
    sky = grid()
    found = spread(template, CENTER, sky, PSF)
    whole = np.zeros((sky.shape[0] * sky.shape[1], 2))
    whole[found.pixels] = found.shares
    np.testing.assert_allclose(whole.T.reshape(-1, *sky.shape), image(shape, sky), atol=3e-3 * found.shares.max())
    np.testing.assert_allclose(found.shares.sum(0), 1, rtol=1e-6)
    bare = spread(template, CENTER, sky, None)
    assert bare.shares.sum() == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("psf", [PSF, None])
def test_at_the_rim_of_a_map_and_off_it(psf):
    sky = grid()
    lon, lat = sky.pixel_to_sky(-0.5, 70.0)
    half = image(GaussianSource(lon, lat, 0.1, 0.7, 10.0), sky, psf)
    np.testing.assert_allclose(half.sum((1, 2)), 0.5, rtol=0.02)
    assert (half >= 0).all()
    assert image(GaussianSource(lon + 20, lat, 0.1, 0.7), sky, psf).sum() == 0
