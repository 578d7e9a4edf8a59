"""Wide Gaussians: closed forms, the exact integrals of the other way, totals, odd pixels and maps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_radial import TABLES, psf

import xonoff
from xonoff import wide
from xonoff.models import DiskSource, GaussianSource
from xonoff.radial import broadened
from xonoff.rings import offsets, profile_integrals
from xonoff.skygrid import SkyGrid

FINER = wide._finer
BINS = np.concatenate([[0.0], np.arange(0.005, 0.66, 0.01), [0.66]])
SKIES = {
    "CAR": lambda size, n: SkyGrid.create((83.6, 22.0), shape=(n, n), pixel_size=size),
    "TAN": lambda size, n: SkyGrid.create((83.6, 62.0), shape=(n, n), pixel_size=size, projection="TAN"),
    "seam": lambda size, n: SkyGrid.create((0.0, 0.0), shape=(n, n), pixel_size=size, frame="galactic"),
    "pole": lambda size, n: SkyGrid.create((10.0, 90.0), shape=(n, n), pixel_size=size, projection="TAN"),
    "flipped": lambda size, n: SkyGrid.create((83.6, 22.0), shape=(n, n), pixel_size=size).slice(
        slice(None), slice(None, None, -1)
    ),
}


def image(pixels: np.ndarray, shares: np.ndarray, sky: SkyGrid) -> np.ndarray:
    found = np.zeros((sky.shape[0] * sky.shape[1], shares.shape[1]))
    found[pixels] = shares
    return found.reshape(*sky.shape, -1)


def test_only_gaussians_far_wider_than_the_bins_are_wide():
    table = psf(0.08, BINS), BINS
    assert wide.is_wide(GaussianSource(0, 0, 0.13), table)
    assert not wide.is_wide(GaussianSource(0, 0, 0.11), table)
    assert not wide.is_wide(GaussianSource(0, 0, 0.13), None)
    assert not wide.is_wide(DiskSource(0, 0, 3), table)


@pytest.mark.parametrize("name", SKIES)
@pytest.mark.parametrize(("sigma", "size"), [(0.13, 0.02), (0.2, 0.02), (0.5, 0.1), (0.13, 0.3), (2.0, 0.2)])
def test_a_gaussian_seen_with_a_gaussian_is_one(name, sigma, size):
    """Against the closed form, averaged over the pixel around each of a few of them."""
    n = int(np.ceil(2 * (5.5 * sigma + 0.7) / size)) // 2 * 2 + 1
    sky = SKIES[name](size, n)
    position = tuple(float(p) for p in sky.pixel_to_sky(n / 2 - 0.3, n / 2 - 0.8))
    table = psf(0.08, BINS)
    pixels, shares = wide.shares(GaussianSource(*position, sigma), position, sky, (table, BINS), 0.0)
    assert (shares >= 0).all()
    assert shares.sum() == pytest.approx(1, abs=1e-6)
    found = image(pixels, shares, sky)[..., 0]
    total = np.hypot(0.08, sigma)
    rows = np.unique(np.clip(np.round(n / 2 + np.array([0, 0.5, 1, 2]) * sigma / size), 0, n - 1)).astype(int)
    fine = (np.arange(24) + 0.5) / 24 - 0.5
    area = sky.solid_angle() / np.radians(1) ** 2
    for row in rows:
        y, x = np.meshgrid(row + fine, n // 2 + fine, indexing="ij")
        squares = np.sum(np.square(offsets(sky, position, y, x)), axis=0)
        mean = float(np.exp(-squares / (2 * total**2)).mean()) / (2 * np.pi * total**2)
        scale = area[row, n // 2] / (2 * np.pi * total**2)
        assert found[row, n // 2] == pytest.approx(mean * area[row, n // 2], abs=1e-3 * scale)  # the PSF is a table


@pytest.mark.parametrize("name", ["wide bins", "log", "from 0.1"])
@pytest.mark.parametrize("size", [0.05, 0.17])
@pytest.mark.parametrize("beyond", [0.0, 1e-5])
def test_as_the_profile_of_any_width_over_the_same_pixels(name, size, beyond):
    """The other way integrates a profile with more radii exactly."""
    table, knots = TABLES[name]
    sigma = 12.5 * wide.bin_of(knots)
    sky = SKIES["TAN"](size, int(2 * (5 * sigma + 0.7) / size))
    shape, position = GaussianSource(83.7, 61.9, sigma), (83.7, 61.9)
    assert wide.is_wide(shape, (table, knots))
    found = image(*wide.shares(shape, position, sky, (table, knots), beyond), sky)
    values, radii = broadened(table, knots, shape)
    expected = image(*profile_integrals(sky, position, radii, values), sky)
    np.testing.assert_allclose(found, expected, atol=4e-4 * expected.max())
    assert found.sum() == pytest.approx(1, abs=1e-6 + beyond)


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(sorted(SKIES)),
    x=st.floats(-0.5, 0.5),
    y=st.floats(-0.5, 0.5),
    sigma=st.floats(0.125, 0.4),
    size=st.floats(0.03, 0.5),
)
def test_nothing_is_lost_or_made_wherever_the_source_is(name, x, y, sigma, size):
    n = int(np.ceil((11 * sigma + 1.4) / size)) + 3
    sky = SKIES[name](size, n)
    position = tuple(float(p) for p in sky.pixel_to_sky(n // 2 + x, n // 2 + y))
    energies = np.concatenate([psf(0.05, BINS), psf(0.1, BINS), np.zeros((1, BINS.size))])
    _, shares = wide.shares(GaussianSource(*position, sigma), position, sky, (energies, BINS), 1e-7)
    np.testing.assert_allclose(shares.sum(axis=0), [1, 1, 0], atol=1e-6)


def test_part_of_a_source_beyond_the_rim_is_not_on_the_map():
    sky = SKIES["CAR"](0.05, 60)
    left = tuple(float(p) for p in sky.pixel_to_sky(-0.5, 30))
    _, shares = wide.shares(GaussianSource(*left, 0.2), left, sky, (psf(0.08, BINS), BINS), 0.0)
    assert shares.sum() == pytest.approx(0.5, abs=2e-4)
    away = (sky.center[0] + 30, 0.0)
    pixels, shares = wide.shares(GaussianSource(*away, 0.2), away, sky, (psf(0.08, BINS), BINS), 0.0)
    assert pixels.size == 0
    assert shares.shape == (0, 1)


@pytest.mark.parametrize("projection", ["AIT", "CAR", "MOL"])
@pytest.mark.parametrize("position", [(5.0, 0.0), (100.0, 60.0), (40.0, 89.0)])
def test_on_a_map_of_the_whole_sky(projection, position):
    """Pixels at the rim of AIT and MOL, where the poles are, reach beyond the sky and take nothing."""
    sky = SkyGrid.create((0, 0), shape=(180, 360), pixel_size=1.0, projection=projection, frame="galactic")
    shape, table = GaussianSource(*position, 4.0), psf(0.08, BINS)
    _, shares = wide.shares(shape, position, sky, (table, BINS), 0.0)
    assert (shares >= 0).all()
    values, radii = broadened(table, BINS, shape)
    assert shares.sum() == pytest.approx(profile_integrals(sky, position, radii, values)[1].sum(), rel=2e-3)
    if position[1] < 80:
        assert shares.sum() == pytest.approx(1, abs=1e-4)


def test_the_cube_of_a_dataset_uses_it():
    ds = xonoff.tutorial.dataset()
    source = xonoff.models.SkyModel("wide", xonoff.models.PowerLaw1D(1e-11, 1, 2.2), GaussianSource(83.63, 22.01, 0.3))
    assert wide.is_wide(source.spatial, (None, np.append(ds.rad.values, 1.0)))
    npred = ds.onoff.npred_signal(source)
    assert bool((npred >= 0).all())
    assert float(npred.sum()) > 0


@pytest.mark.parametrize(
    ("projection", "position", "sigma"),
    [("AIT", (180.0, 10.0), 3.0), ("AIT", (178.0, 40.0), 0.5), ("MOL", (10.0, 88.0), 0.5)],
)
def test_at_the_rim_of_a_projection_no_pixel_is_lost(projection, position, sigma):
    """Parts of pixels beside a corner off the sky."""
    sky = SkyGrid.create((0, 0), shape=(90, 180), pixel_size=2.0, projection=projection)
    shape, table = GaussianSource(*position, sigma), psf(0.08, BINS)
    found = image(*wide.shares(shape, position, sky, (table, BINS), 0.0), sky)
    values, radii = broadened(table, BINS, shape)
    expected = image(*profile_integrals(sky, position, radii, values), sky)
    np.testing.assert_allclose(found, expected, atol=5e-4 * expected.max())


def test_what_is_far_of_a_source_is_not_looked_at(monkeypatch):
    """At the seam of the sky the window is all of the map."""
    seen = []
    monkeypatch.setattr(wide, "_finer", lambda corner, parts: seen.append(corner.size) or FINER(corner, parts))
    sky = SkyGrid.create((0, 0), shape=(180, 360), pixel_size=1.0)
    for position in ((180.0, 10.0), (40.0, 89.9)):
        _, shares = wide.shares(GaussianSource(*position, 0.3), position, sky, (psf(0.08, BINS), BINS), 0.0)
        assert shares.sum() == pytest.approx(1, abs=1e-5)
    assert max(seen) < 361 * 20


def test_a_good_part_of_the_sky_is_not_wide():
    assert not wide.is_wide(GaussianSource(0, 0, 60.0), (psf(0.08, BINS), BINS))


def test_nothing_jumps_where_a_source_becomes_wide():
    ds = xonoff.tutorial.dataset()
    edge = 12 * wide.bin_of(np.concatenate([[0], ds.rad.values, [0.8]]))
    stats = []
    for size in (edge * (1 - 1e-9), edge * (1 + 1e-9)):
        shape = GaussianSource(83.63, 22.01, size)
        stats.append(
            float(ds.onoff.stat_sum(xonoff.models.SkyModel("a", xonoff.models.PowerLaw1D(3e-11, 1, 2.0), shape)))
        )
    assert stats[0] == pytest.approx(stats[1], abs=0.02)
