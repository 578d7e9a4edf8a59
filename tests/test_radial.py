"""Profiles of round sources seen with a PSF: closed forms, sums over points on the sphere, limits, totals."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xonoff.models import DiskSource, GaussianSource, PointSource, ShellSource
from xonoff.radial import broadened, cut, profile_of
from xonoff.rings import circle_weights

#: So fine that straight lines between the radii do not matter.
FINE = np.linspace(0, 0.7, 1401)
COARSE = np.concatenate([[0.0], np.arange(0.005, 0.7, 0.01), [0.7]])


def psf(sigma: float, radii: np.ndarray = FINE) -> np.ndarray:
    values = np.exp(-(radii**2) / (2 * sigma**2))[None]
    return values / (values @ circle_weights(radii))


@pytest.mark.parametrize("sigma", [0.0001, 0.0005, 0.003, 0.02, 0.1, 0.5, 2.0])
def test_a_gaussian_seen_with_a_gaussian_is_one(sigma):
    values, radii = broadened(psf(0.08), FINE, GaussianSource(10, 20, sigma))
    total = np.hypot(0.08, sigma)
    expected = np.exp(-(radii**2) / (2 * total**2)) / (2 * np.pi * total**2)
    np.testing.assert_allclose(values[0], expected, atol=(1e-3 if sigma > 1 else 4e-4) * expected[0])


SHAPES = [
    GaussianSource(0, 0, 0.004),
    GaussianSource(0, 0, 0.03),
    GaussianSource(0, 0, 0.3),
    DiskSource(0, 0, 0.004),
    DiskSource(0, 0, 0.061),
    DiskSource(0, 0, 0.4),
    DiskSource(0, 0, 3.0),
    ShellSource(0, 0, 0.01, 0.002),
    ShellSource(0, 0, 0.0, 0.1),
    ShellSource(0, 0, 0.2, 0.1),
    ShellSource(0, 0, 0.3, 0.01),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{type(shape).__name__} {shape.extent:.3g}")
def test_by_a_sum_over_points_of_the_sphere(shape):
    """Events from points of the source, evenly in its own profile, spread by the PSF as a table."""
    table = psf(0.05, COARSE)
    values, radii = broadened(table, COARSE, shape)
    np.testing.assert_allclose(values @ circle_weights(radii), 1, rtol=1e-12)
    breaks = [0.0, *([shape.radius.value] if isinstance(shape, ShellSource) else []), shape.extent]
    breaks = np.unique(breaks)
    ease = (1 - np.cos((np.arange(300) + 0.5) * np.pi / 300)) / 2
    steps = np.diff((1 - np.cos(np.arange(301) * np.pi / 300)) / 2)
    rho = np.radians(np.concatenate([a + (b - a) * ease for a, b in pairwise(breaks)]))
    width = np.concatenate([(b - a) * steps for a, b in pairwise(breaks)])
    sizes = [getattr(shape, name).value for name in shape.param_names[2:]]
    weight = shape.evaluate(np.degrees(rho), 0.0, 0.0, 0.0, *sizes) * np.sin(rho) * width
    weight /= weight.sum()
    angle = (np.arange(360) + 0.5) * np.pi / 360
    angle = angle if shape.extent < 1 else np.pi * ((np.arange(360) + 0.5) / 360) ** 6  # where the PSF is
    part = np.full(360, 1 / 360) if shape.extent < 1 else np.diff((np.arange(361) / 360) ** 6)
    for r in radii[:: max(radii.size // 15, 1)]:
        a = np.radians(r)
        hav = np.sin((a - rho[:, None]) / 2) ** 2 + np.sin(a) * np.sin(rho[:, None]) * np.sin(angle / 2) ** 2
        seen = np.interp(np.degrees(2 * np.arcsin(np.sqrt(hav))), COARSE, table[0], right=0.0)
        expected = weight @ (seen @ part) * np.sinc(r / 180)
        assert np.interp(r, radii, values[0]) == pytest.approx(expected, abs=2.5e-3 * values.max()), r


def test_a_point_is_the_psf():
    table = psf(0.05, COARSE)
    values, radii = broadened(table, COARSE, PointSource(0, 0))
    assert values is table
    assert radii is COARSE
    tiny, wider = broadened(table, COARSE, GaussianSource(0, 0, 1e-6))
    np.testing.assert_allclose([np.interp(COARSE[:-1], wider, tiny[0])], table[:, :-1], atol=5e-6 * table.max())


def test_energies_without_psf_stay_without():
    table = np.concatenate([psf(0.05, COARSE), np.zeros((1, COARSE.size))])
    for sigma in (0.001, 0.3):
        values, radii = broadened(table, COARSE, GaussianSource(0, 0, sigma))
        assert (values @ circle_weights(radii)).round(12).tolist() == [1, 0]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{type(shape).__name__} {shape.extent:.3g}")
def test_the_profile_of_a_shape_alone(shape):
    values, radii = profile_of(shape)
    assert values @ circle_weights(radii) == pytest.approx(1, rel=1e-12)
    sizes = [getattr(shape, name).value for name in shape.param_names[2:]]
    middle = shape.extent * 0.4
    expected = shape.evaluate(middle, 0.0, 0.0, 0.0, *sizes) * np.radians(1) ** 2 * np.sinc(middle / 180)
    assert np.interp(middle, radii, values) == pytest.approx(expected, rel=2e-3, abs=1e-4 * values.max())


@settings(max_examples=50, deadline=None)
@given(sigma=st.floats(0.02, 0.2), beyond=st.sampled_from([1e-7, 1e-4, 1e-2]))
def test_cutting_leaves_out_no_more_than_it_may(sigma, beyond):
    whole = psf(sigma)
    values, radii = cut(whole, FINE, beyond)
    assert values @ circle_weights(radii) == pytest.approx(1, rel=1e-12)
    kept = whole[:, : radii.size] @ circle_weights(radii)
    assert 1 - 1.01 * beyond < kept[0] <= 1 + 1e-12
    assert radii[-1] < 0.7 or sigma * np.sqrt(-2 * np.log(beyond)) > 0.69


def table(edges: np.ndarray, heights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    radii = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
    values = np.concatenate([heights[:1], heights, heights[-1:]])[None]
    return values / (values @ circle_weights(radii)), radii


LOG = np.concatenate([[0.0], np.geomspace(0.005, 1, 25)])
TABLES = {
    "one bin": table(np.array([0, 0.3]), np.ones(1)),
    "wide bins": table(np.linspace(0, 0.5, 6), np.exp(-((np.arange(5) + 0.5) ** 2) / 2)),
    "hard edge": table(np.linspace(0, 0.5, 6), np.array([3.0, 2, 2, 1, 1])),
    "log": table(LOG, np.exp(-(LOG[1:] ** 2) / 0.02)),
    "from 0.1": table(np.linspace(0.1, 0.5, 5), np.ones(4)),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("sigma", [0.001, 0.01, 0.03, 0.1, 0.3, 1.0])
def test_wide_bins_are_followed(name, sigma):
    """Against a sum over the disc of the PSF, in the plane."""
    psf, knots = TABLES[name]
    values, radii = broadened(psf, knots, GaussianSource(0, 0, sigma))
    steps = [np.linspace(a, b, max(40, int(60 * (b - a) / sigma)) + 1) for a, b in pairwise(knots)]
    rho = np.concatenate([(part[1:] + part[:-1]) / 2 for part in steps])
    weight = np.concatenate([np.diff(part) for part in steps]) * 2 * np.pi * rho * np.interp(rho, knots, psf[0])
    looked = np.unique(np.concatenate([np.linspace(0, 1.05 * knots[-1], 14), knots[-1] + sigma * np.arange(-2, 3)]))
    for r in looked[looked >= 0]:
        near = np.abs(rho - r) < 7 * sigma
        widest = np.pi if r < 7 * sigma else 1.05 * np.arcsin(7 * sigma / r)
        angle = (np.arange(400) + 0.5) / 400 * min(widest, np.pi)
        squares = (r - rho[near, None]) ** 2 + 4 * r * rho[near, None] * np.sin(angle / 2) ** 2
        seen = np.exp(-squares / (2 * sigma**2)).mean(axis=1) * (angle[-1] + angle[0]) / np.pi
        expected = weight[near] @ seen / (2 * np.pi * sigma**2)
        assert np.interp(r, radii, values[0], right=0) == pytest.approx(expected, abs=6e-4 * values.max()), r


def test_inside_of_the_first_radius_there_is_nothing_for_a_small_source_either():
    psf, knots = TABLES["from 0.1"]
    for shape in (
        GaussianSource(0, 0, 0.001),
        DiskSource(0, 0, 0.02),
        DiskSource(0, 0, 0.09),
        GaussianSource(0, 0, 0.01),
    ):
        values, radii = broadened(psf, knots, shape)
        assert np.interp([0, 0.005], radii, values[0]) == pytest.approx(0, abs=1e-9)


def test_few_radii_where_they_do():
    psf, knots = table(np.linspace(0, 0.66, 67), np.exp(-(((np.arange(66) + 0.5) * 0.01) ** 2) / (2 * 0.1**2)))
    assert broadened(psf, knots, GaussianSource(0, 0, 0.05))[1].size <= 215
