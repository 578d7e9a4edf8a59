import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, poisson

from xonoff.errors import SchemaError
from xonoff.stats import li_ma, p_value, significance

counts = st.integers(0, 2000).map(float)
alphas = st.floats(-3, 1).map(lambda x: 10.0**x)


@settings(max_examples=100, deadline=None)
@given(counts, counts, alphas)
def test_asymptotic_tail_against_many_digits(n_on, n_off, alpha):
    z = mpmath.mpf(float(li_ma(n_on, n_off, alpha)))
    for sides, exact in ((1, mpmath.ncdf(-z)), (2, 2 * mpmath.ncdf(-abs(z)))):
        found = p_value(n_on, n_off, alpha, sides=sides)
        assert found == pytest.approx(float(exact), rel=1e-12, abs=1e-300)
        if 1e-300 < found < 0.9:  # nearer to 1 a double has lost the tail
            assert significance(found, sides=sides) == pytest.approx(float(z if sides == 1 else abs(z)), abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 200), st.integers(0, 200), alphas)
def test_exact_tail_against_many_digits(n_on, n_off, alpha):
    """The sum over binomial probabilities, term by term."""
    with mpmath.workdps(40):
        share = mpmath.mpf(alpha) / (1 + mpmath.mpf(alpha))
        n = n_on + n_off
        terms = [mpmath.binomial(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
        above, below = mpmath.fsum(terms[n_on:]), mpmath.fsum(terms[: n_on + 1])
        assert p_value(n_on, n_off, alpha, exact=True) == pytest.approx(float(above), rel=1e-10)
        both = min(1, 2 * min(above, below))
        assert p_value(n_on, n_off, alpha, exact=True, sides=2) == pytest.approx(float(both), rel=1e-10)


@pytest.mark.parametrize(
    ("values", "z_bi"), [((4, 5, 0.2), 1.66), ((6, 18.78, 1 / 14.44), 2.63), ((9, 17.83, 1 / 4.69), 1.82)]
)
def test_published_values_of_cousins_linnemann_tucker(values, z_bi):
    """Table 1 of the paper."""
    assert significance(p_value(*values, exact=True)) == pytest.approx(z_bi, abs=0.006)


@pytest.mark.parametrize("alpha", [0.1, 1.0])
@pytest.mark.parametrize("mu_off", [2.0, 10.0])
def test_exact_probabilities_are_not_reached_too_often(mu_off, alpha):
    """All counts that may come without a signal, with their probabilities."""
    n_on, n_off = np.arange(80)[:, None], np.arange(80)
    weight = poisson.pmf(n_on, alpha * mu_off) * poisson.pmf(n_off, mu_off)
    for sides in (1, 2):
        found = p_value(n_on, n_off, alpha, exact=True, sides=sides)
        for p in (0.2, 0.05, 0.01, 1e-3):
            assert weight[found <= p].sum() <= p * (1 + 1e-9)


def test_many_counts_agree():
    n_on, n_off, alpha = 10_300.0, 100_000.0, 0.1
    z = li_ma(n_on, n_off, alpha)
    assert significance(p_value(n_on, n_off, alpha, exact=True)) == pytest.approx(z, abs=0.02)
    assert p_value(n_on, n_off, alpha, exact=True) == pytest.approx(
        binom.sf(n_on - 1, n_on + n_off, alpha / (1 + alpha)), rel=1e-8
    )


def test_edge_values():
    assert p_value(0, 0, 0.1) == 0.5
    assert p_value(0, 0, 0.1, exact=True) == p_value(0, 0, 0.1, exact=True, sides=2) == 1.0
    assert p_value(0, 5, 0.1, exact=True) == 1.0
    assert p_value(3, 0, 0.1, exact=True) == pytest.approx((0.1 / 1.1) ** 3, rel=1e-12)
    assert p_value(3, 0, 0.0, exact=True) == p_value(3, 0, 0.0) == 0.0  # no background is expected
    assert p_value(0, 3, 0.0, exact=True) == p_value(0, 3, 0.0, exact=True, sides=2) == 1.0
    assert p_value(0, 50, 1.0) > 0.999  # a deficit is no excess
    assert p_value(0, 50, 1.0, sides=2) < 1e-10
    assert significance(0.0) == np.inf
    assert significance(1.0) == -np.inf
    assert np.isnan(significance([np.nan, -0.1, 1.1])).all()
    assert isinstance(p_value(1, 1, 1), float)
    assert isinstance(significance(0.1), float)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_invalid_bins_are_nan(position, bad, exact):
    values = [5.0, 7.0, 0.1]
    values[position] = bad
    for sides in (1, 2):
        assert np.isnan(p_value(*values, sides=sides, exact=exact))


def test_broadcasting():
    for exact in (False, True):
        p = p_value(np.arange(4)[:, None], np.arange(3, dtype="f4"), 0.5, exact=exact)
        assert p.shape == (4, 3)
        assert p[2, 1] == p_value(2, 1, 0.5, exact=exact)
        assert (np.diff(p, axis=0) < 0).all()
        assert math.isclose(p[3, 0], p_value(3, 0, 0.5, exact=exact))
        assert p_value(np.zeros((0, 2)), 1, 0.5, exact=exact).shape == (0, 2)


def test_refusals():
    with pytest.raises(SchemaError, match=r"sides is 3, expected 1 \(an excess\) or 2"):
        p_value(1, 1, 1, sides=3)
    with pytest.raises(SchemaError, match="sides is 0, expected 1"):
        significance(0.1, sides=0)
