import math

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import exact_wstat

from xonoff.errors import SchemaError
from xonoff.stats import excess_for_significance, li_ma

counts = st.one_of(st.integers(0, 20), st.integers(0, 10**6), st.floats(1e-8, 1e6)).map(float)
alphas = st.floats(-6, 3).map(lambda x: 10.0**x)
sigmas = st.floats(0.01, 50.0)


@pytest.mark.parametrize("significance", [1.0, 5.0])
@pytest.mark.parametrize("alpha", [1e-3, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("n_off", [0.0, 1.0, 7.0, 1000.0, 1e6])
def test_excess_is_a_root(n_off, alpha, significance):
    with mpmath.workdps(40):
        background = mpmath.mpf(alpha) * mpmath.mpf(n_off)
        found = excess_for_significance(n_off, alpha, significance)
        exact = mpmath.findroot(
            lambda x: exact_wstat(background + x, n_off, alpha, 0)[0] - significance**2,
            (found * 0.5, found * 1.5),
            solver="anderson",
            tol=1e-30,
        )
        assert abs(found - exact) <= 1e-12 * exact


@settings(max_examples=300, deadline=None)
@given(counts, alphas, sigmas)
@example(1e6, 1e3, 0.01)
@example(1e-8, 1e-6, 50.0)
def test_excess_everywhere(n_off, alpha, significance):
    found = excess_for_significance(n_off, alpha, significance)
    with mpmath.workdps(60):
        background, width = mpmath.mpf(alpha) * mpmath.mpf(n_off), mpmath.mpf(10) ** -12
        inside, outside = (exact_wstat(background + found * (1 + s * width), n_off, alpha, 0)[0] for s in (-1, 1))
        assert inside <= mpmath.mpf(significance) ** 2 <= outside


@pytest.mark.parametrize(("n_off", "excess"), [(0, 5.2129), (10, 9.8300), (100, 21.3266)])
def test_values_of_gammapy(n_off, excess):
    """WStatCountsStatistic(n_on=1, n_off, alpha=0.1).n_sig_matching_significance(5), gammapy 2.1."""
    assert excess_for_significance(n_off, 0.1) == pytest.approx(excess, abs=1e-3)


@settings(max_examples=50, deadline=None)
@given(counts, alphas, sigmas, st.floats(1.001, 5.0))
def test_laws(n_off, alpha, significance, factor):
    found = excess_for_significance(n_off, alpha, significance)
    assert li_ma(alpha * n_off + found, n_off, alpha) == pytest.approx(significance, rel=1e-6, abs=1e-6)
    assert excess_for_significance(n_off, alpha, significance * factor) > found
    assert excess_for_significance(n_off * factor, alpha, significance) >= found * (1 - 1e-12)
    scaled = excess_for_significance(4 * n_off, alpha, 2 * significance)
    assert scaled == pytest.approx(4 * found, rel=1e-12)


def test_many_counts_are_normal():
    n_off, alpha = 1e14, 0.2
    assert excess_for_significance(n_off, alpha) == pytest.approx(5 * math.sqrt(alpha * (1 + alpha) * n_off), rel=1e-6)


def test_least_excess_and_systematics():
    plain = excess_for_significance([0, 10, 1e6], 0.1)
    np.testing.assert_array_equal(excess_for_significance([0, 10, 1e6], 0.1, min_counts=10), np.maximum(plain, 10))
    found = excess_for_significance([0, 10, 1e6], 0.1, min_counts=7, background_systematics=[[0.0], [0.05]])
    np.testing.assert_array_equal(found[0], np.maximum(plain, 7))
    np.testing.assert_array_equal(found[1], [7.0, plain[1], 5000.0])


def test_edges_and_invalid_bins():
    assert excess_for_significance(7, 0.0) == 0.0
    assert excess_for_significance(0, 0.1, 1.0) == pytest.approx(0.5 / math.log(11), rel=1e-14)
    bad = [np.nan, np.inf, -1.0]
    assert np.isnan(excess_for_significance(bad, 0.1, min_counts=10, background_systematics=0.1)).all()
    assert np.isnan(excess_for_significance(1, bad, min_counts=10)).all()
    together = excess_for_significance(np.arange(3)[:, None], [0.1, 1.0])
    assert together.shape == (3, 2)
    assert together[2, 1] == excess_for_significance(2, 1.0)
    assert isinstance(together[2, 1], float)
    assert isinstance(excess_for_significance(2, 1.0), float)
    assert excess_for_significance(np.zeros((0, 2)), 1.0).shape == (0, 2)


def test_refusals():
    with pytest.raises(SchemaError, match="significance is -5, expected positive"):
        excess_for_significance(1, 1, -5)
    with pytest.raises(SchemaError, match="min_counts is -1, expected finite numbers of at least 0"):
        excess_for_significance(1, 1, min_counts=-1)
    with pytest.raises(SchemaError, match="background_systematics is nan"):
        excess_for_significance(1, 1, background_systematics=np.nan)
