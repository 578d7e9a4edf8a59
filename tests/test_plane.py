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


def whole(shape, sky, psf=None, position=None):
    found = spread(shape, shape.position if position is None else position, sky, psf)
    shares = np.zeros((sky.shape[0] * sky.shape[1], found.shares.shape[1]))
    shares[found.pixels] = found.shares
    return shares.T.reshape(-1, *sky.shape)


def test_a_wide_source_costs_what_the_map_needs_and_is_the_same_in_any_part_of_it():
    sky = xonoff.SkyGrid.create(CENTER, shape=(250, 250), pixel_size=0.02, projection="TAN")
    shape = GaussianSource(83.6, 22.1, 4.0, 0.7, 30.0)
    found = whole(shape, sky, PSF)
    expected = shape(*sky.lonlat()) * sky.solid_angle()
    np.testing.assert_allclose(found[0], expected, rtol=2e-3)
    for other in (shape, DiskSource(83.6, 22.1, 0.8, 0.7, 30.0), GaussianSource(83.6, 22.1, 0.3, 0.99999, 30.0)):
        found = whole(other, sky, PSF)
        rows, columns = slice(60, 150), slice(100, 180)
        part = whole(other, sky.slice(rows, columns), PSF)
        np.testing.assert_allclose(part, found[:, rows, columns], atol=1e-12 * found.max())


HARD = np.array([0.0, 0.15, 0.3])
ROUGH = np.array([0.0, 0.05, 0.15, 0.25, 0.35, 0.45, 0.5])
TABLES = [(np.ones(3), HARD), (np.array([3.0, 3, 2, 2, 1, 1, 1]), ROUGH), (np.array([1.0, 1, 0, 3, 0, 2, 2]), ROUGH)]


@pytest.mark.parametrize(("values", "radii"), TABLES)
@pytest.mark.parametrize("make", [GaussianSource, DiskSource])
def test_any_table_is_followed_without_ringing(make, values, radii):
    sky = xonoff.SkyGrid.create((0, 0), shape=(161, 161), pixel_size=0.01, projection="TAN")
    shape = make(0.0, 0.0, 0.1 if make is GaussianSource else 0.2, 0.7, 20.0)
    table = values[None] / (values @ circle_weights(radii))
    found = whole(shape, sky, (table, radii))[0]
    distance = (np.arange(1500) + 0.5) / 1500 * radii[-1]
    angle = (np.arange(360) + 0.5) / 360 * 2 * np.pi
    weight = np.interp(distance, radii, table[0]) * distance * (radii[-1] / 1500) * 2 * np.pi / 360
    for x, y in ((80, 80), (85, 80), (90, 95), (100, 80), (110, 85), (80, 110), (115, 80)):
        lon, lat = (float(part) for part in sky.pixel_to_sky(x, y))
        lon = (lon + 180) % 360 - 180
        there = shape(lon + distance[:, None] * np.cos(angle), lat + distance[:, None] * np.sin(angle))
        expected = (weight[:, None] * there).sum() * np.radians(0.01) ** 2
        assert found[y, x] == pytest.approx(expected, abs=2e-3 * found.max())
    assert found.min() >= 0


def test_the_cells_do_not_depend_on_the_energies_at_hand():
    rng = np.random.default_rng(0)
    table = rng.uniform(0, 1, (3, ROUGH.size))
    table /= (table @ circle_weights(ROUGH))[:, None]
    shape = GaussianSource(*CENTER, 0.1, 0.7)
    together = whole(shape, grid(), (table, ROUGH))
    for n in range(3):
        alone = whole(shape, grid(), (table[n : n + 1], ROUGH))
        np.testing.assert_allclose(alone[0], together[n], atol=1e-14)


@pytest.mark.parametrize("e", [0.3, 0.99, 0.999999, float(np.nextafter(1, 0))])
@pytest.mark.parametrize("make", [GaussianSource, DiskSource])
def test_nothing_is_lost_without_psf_however_thin(make, e):
    for size in (0.01, 0.07, 0.3):
        for phi in (0.0, 30.0, 45.0, 90.0):
            np.testing.assert_allclose(whole(make(83.66, 22.07, size, e, phi), grid()).sum(), 1, rtol=1e-6)


@pytest.mark.parametrize("psf", [PSF, None])
def test_nothing_is_made_at_a_pole(psf):
    sky = xonoff.SkyGrid.create((30.0, 80.0), shape=(20, 360), pixel_size=1.0, projection="CAR")
    for lat in (88.0, 89.7, 90.0):
        for shape in (GaussianSource(30.1, lat, 0.4, 0.7, 30.0), DiskSource(30.1, lat, 0.8, 0.7, 30.0)):
            np.testing.assert_allclose(whole(shape, sky, psf).sum((1, 2)), 1, rtol=1e-6)


def test_nothing_of_a_template_is_lost_without_psf():
    rng = np.random.default_rng(0)
    for n, size in ((20, 0.05), (7, 0.3)):
        own = xonoff.SkyGrid.create((83.6, 22.05), shape=(n, n), pixel_size=size)
        template = TemplateSource(rng.uniform(0, 1, (n, n)), own)
        found = whole(template, grid(), None, own.center)
        np.testing.assert_allclose(found.sum(), 1, rtol=1e-6)
        part = whole(template, grid().slice(slice(40, 110), slice(50, 140)), None, own.center)
        np.testing.assert_allclose(part.sum(), found[:, 40:110, 50:140].sum(), rtol=1e-3)


def test_far_from_the_middle_of_a_template_the_psf_is_round():
    own = xonoff.SkyGrid.create((0, 0), shape=(60, 600), pixel_size=0.25, projection="CAR", frame="galactic")
    image = np.zeros(own.shape)
    image[30, 60] = 1
    lon, lat = (float(part) for part in own.pixel_to_sky(60, 30))
    sky = xonoff.SkyGrid.create((lon, lat), shape=(60, 60), pixel_size=0.1, projection="TAN", frame="galactic")
    found = whole(TemplateSource(image, own), sky, (PSF[0], PSF[1] * 4), own.center)[0]
    y, x = np.indices(found.shape)
    assert found.sum() == pytest.approx(1, rel=1e-3)
    along, across = ((found * (part - 29.5) ** 2).sum() for part in (x, y))
    assert along == pytest.approx(across, rel=1e-3)
