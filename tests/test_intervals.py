import itertools
import math
import subprocess
import sys

import mpmath
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from oracle import exact_wstat
from scipy.optimize import minimize_scalar
from scipy.stats import norm, poisson

from xonoff.errors import SchemaError
from xonoff.stats import excess_errors, feldman_cousins, li_ma, rolke, upper_limit, wstat, wstat_mu_off

COUNTS = [0.0, 1.0, 2.0, 7.0, 40.0, 1000.0, 1e6]
ALPHAS = [1e-3, 0.1, 1.0, 10.0]
GRID = list(itertools.product(COUNTS, COUNTS, ALPHAS))

counts = st.one_of(st.integers(0, 20), st.integers(0, 10**6), st.floats(1e-8, 1e6)).map(float)
whole = st.one_of(st.integers(0, 20), st.integers(0, 1000), st.integers(0, 10**7)).map(float)
alphas = st.floats(-6, 3).map(lambda x: 10.0**x)
sigmas = st.floats(0.01, 10.0)
confidences = st.sampled_from([0.5, 0.6827, 0.9, 0.95, 0.99, 0.9973])


def exact_excess(n_on, n_off, alpha):
    return mpmath.mpf(n_on) - mpmath.mpf(alpha) * mpmath.mpf(n_off)


def exact_distance(n_on, n_off, alpha, start, rise, direction):
    """Distance from a signal at which W, by the textbook formula, has risen by so much; a root of many digits."""
    base = exact_wstat(n_on, n_off, alpha, start)[0]

    def excess(x):
        return exact_wstat(n_on, n_off, alpha, start + direction * x)[0] - base - rise

    high = mpmath.mpf(1e-4)
    while excess(high) < 0:
        high *= 2
    return mpmath.findroot(excess, (high / 2 if excess(high / 2) < 0 else 0, high), solver="anderson", tol=1e-30)


# --- profile likelihood: against roots of many digits


@pytest.mark.parametrize("n_sigma", [1.0, 3.0])
def test_errors_and_limits_are_roots(n_sigma):
    n_on, n_off, alpha = (np.array(column) for column in zip(*GRID, strict=True))
    errn, errp = excess_errors(n_on, n_off, alpha, n_sigma)
    limit = upper_limit(n_on, n_off, alpha, n_sigma)
    with mpmath.workdps(40):
        for i, values in enumerate(GRID):
            best = exact_excess(*values)
            down = exact_distance(*values, best, n_sigma**2, -1)
            up = exact_distance(*values, best, n_sigma**2, 1)
            assert abs(errn[i] - down) <= 1e-12 * down, values
            assert abs(errp[i] - up) <= 1e-12 * up, values
            assert abs(limit[i] - best - up) <= 1e-12 * up + 1e-15 * abs(best), values


@pytest.mark.parametrize("n_sigma", [0.5, 2.0])
def test_bounded_limits_are_roots(n_sigma):
    n_on, n_off, alpha = (np.array(column) for column in zip(*GRID, strict=True))
    limit = upper_limit(n_on, n_off, alpha, n_sigma, bounded=True)
    with mpmath.workdps(40):
        for i, values in enumerate(GRID):
            start = max(exact_excess(*values), 0)
            exact = start + exact_distance(*values, start, n_sigma**2, 1)
            assert abs(limit[i] - exact) <= 1e-12 * exact, values


@settings(max_examples=300, deadline=None)
@given(counts, counts, alphas, sigmas)
@example(1e-8, 1e6, 1e3, 5.0)  # what is expected per count is huge
@example(0.0, 1.0, 1e-6, 10.0)
@example(1.0, 1e6, 1e-6, 10.0)  # the lower end is all but 0 expected in the on region
def test_errors_everywhere(n_on, n_off, alpha, n_sigma):
    """W is convex: the root lies within 1e-12 of what is found where W is on either side of what is wanted."""
    errn, errp = excess_errors(n_on, n_off, alpha, n_sigma)
    assert 0.0 <= errn < math.inf
    assert 0.0 < errp < math.inf
    with mpmath.workdps(60):
        best, wanted, width = exact_excess(n_on, n_off, alpha), mpmath.mpf(n_sigma) ** 2, mpmath.mpf(10) ** -12
        for distance in (-mpmath.mpf(errn), mpmath.mpf(errp)):
            inside, outside = (exact_wstat(n_on, n_off, alpha, best + distance * (1 + s * width))[0] for s in (-1, 1))
            assert inside <= wanted <= outside


@settings(max_examples=200, deadline=None)
@given(counts, counts, alphas, sigmas)
def test_bounded_limits_everywhere(n_on, n_off, alpha, n_sigma):
    limit = upper_limit(n_on, n_off, alpha, n_sigma, bounded=True)
    with mpmath.workdps(60):
        start, width = max(exact_excess(n_on, n_off, alpha), 0), mpmath.mpf(10) ** -12
        wanted = mpmath.mpf(n_sigma) ** 2 + exact_wstat(n_on, n_off, alpha, start)[0]
        inside, outside = (exact_wstat(n_on, n_off, alpha, limit * (1 + s * width))[0] for s in (-1, 1))
        assert inside <= wanted <= outside


@pytest.mark.parametrize(
    ("values", "errn", "errp"),
    [
        ((0, 0, 0.1), 0.05, 0.5),  # W is -2 s / alpha below 0 and 2 s above
        ((0, 10, 0.1), None, 0.5 + 10 * (0.1 - math.log(1.1))),  # W is 2 s + 2 n_off ln(1 + alpha)
        ((5, 0, 0.0), None, None),
        ((0, 7, 0.0), 0.0, 0.5),  # no background: the signal cannot be below 0
        ((0, 0, 0.0), 0.0, 0.5),
    ],
)
def test_edge_values(values, errn, errp):
    found = excess_errors(*values)
    for value, expected in zip(found, (errn, errp), strict=True):
        assert np.isfinite(value)
        if expected is not None:
            assert value == pytest.approx(expected, rel=1e-13)


def test_no_background_is_the_limit_of_a_rare_one():
    for n_on in (0.0, 1.0, 9.0):
        exact, close = excess_errors(n_on, 5.0, 0.0), excess_errors(n_on, 5.0, 1e-13)
        np.testing.assert_allclose(close, exact, rtol=1e-11, atol=1e-11)
        assert upper_limit(n_on, 5.0, 0.0) == pytest.approx(upper_limit(n_on, 5.0, 1e-13), rel=1e-11)
        np.testing.assert_allclose(rolke(n_on, 5.0, 0.0), rolke(n_on, 5.0, 1e-13), rtol=1e-10, atol=1e-11)
    assert excess_errors(1.0, 5.0, 0.0, 30.0)[0] == 1.0  # all of it


def test_absurd_numbers_of_sigmas():
    np.testing.assert_allclose(excess_errors([0, 5], [0, 3], 0.1, 1e50), [[5e98] * 2, [5e99] * 2])
    errn, errp = excess_errors([5.0, 0.0], [7.0, 0.0], 0.5, 1e-50)
    np.testing.assert_allclose(errn, [1e-50 * math.sqrt(5 + 7 / 4), 0.25e-100])
    np.testing.assert_allclose(errp, [1e-50 * math.sqrt(5 + 7 / 4), 0.5e-100])


# --- profile likelihood: laws


@settings(max_examples=100, deadline=None)
@given(counts, counts, alphas, sigmas, st.integers(-3, 6))
def test_errors_scale_with_exposure(n_on, n_off, alpha, n_sigma, power):
    """W of counts times a factor is W times that factor, and so is its root (powers of 2 are exact)."""
    assume(n_on + n_off > 0)
    factor = 2.0**power
    scaled = excess_errors(factor * n_on, factor * n_off, alpha, n_sigma * math.sqrt(factor))
    expected = [factor * x for x in excess_errors(n_on, n_off, alpha, n_sigma)]
    np.testing.assert_allclose(scaled, expected, rtol=1e-12)


@settings(max_examples=100, deadline=None)
@given(counts, counts, alphas, sigmas)
def test_regions_may_be_exchanged(n_on, n_off, alpha, n_sigma):
    errn, errp = excess_errors(n_on, n_off, alpha, n_sigma)
    down, up = excess_errors(n_off, n_on, 1 / alpha, n_sigma)
    np.testing.assert_allclose([alpha * up, alpha * down], [errn, errp], rtol=1e-12)


@settings(max_examples=100, deadline=None)
@given(counts, counts, alphas, sigmas, st.floats(1.001, 10.0))
def test_limits_rise_with_on_counts_and_sigmas_and_fall_with_off_counts(n_on, n_off, alpha, n_sigma, factor):
    for bounded in (False, True):
        limit = upper_limit(n_on, n_off, alpha, n_sigma, bounded=bounded)
        rounding = 1e-12 * (n_on + alpha * n_off + abs(limit))
        assert upper_limit(n_on * factor, n_off, alpha, n_sigma, bounded=bounded) >= limit - rounding * factor
        assert upper_limit(n_on, n_off * factor, alpha, n_sigma, bounded=bounded) <= limit + rounding * factor
        assert upper_limit(n_on, n_off, alpha, n_sigma * factor, bounded=bounded) > limit - rounding
    assert upper_limit(n_on, n_off, alpha, n_sigma, bounded=True) >= max(
        upper_limit(n_on, n_off, alpha, n_sigma) - rounding, 0.0
    )


def test_errors_are_symmetric_with_many_counts():
    n_on, n_off, alpha = 1e14, 3e14, 0.2
    symmetric = math.sqrt(n_on + alpha**2 * n_off)
    for n_sigma in (1.0, 3.0):
        np.testing.assert_allclose(excess_errors(n_on, n_off, alpha, n_sigma), n_sigma * symmetric, rtol=1e-6)
    errn, errp = excess_errors(100.0, 300.0, 0.2)
    assert errn < math.sqrt(100 + 0.04 * 300) < errp


@settings(max_examples=100, deadline=None)
@given(counts, counts, alphas)
def test_the_lower_error_at_the_significance_ends_at_no_signal(n_on, n_off, alpha):
    z = li_ma(n_on, n_off, alpha)
    assume(0.01 < abs(z) < 1e3)
    errn, errp = excess_errors(n_on, n_off, alpha, abs(z))
    best = n_on - alpha * n_off
    assert (errn if z > 0 else -errp) == pytest.approx(best, rel=1e-9, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(counts, counts, alphas, sigmas)
def test_bounded_errors(n_on, n_off, alpha, n_sigma):
    errn, errp = excess_errors(n_on, n_off, alpha, n_sigma, bounded=True)
    with mpmath.workdps(40):
        best = max(float(exact_excess(n_on, n_off, alpha)), 0.0)
    assert 0.0 <= errn <= best * (1 + 1e-15)
    assert best + errp == upper_limit(n_on, n_off, alpha, n_sigma, bounded=True)
    if errn < best:
        assert errn == excess_errors(n_on, n_off, alpha, n_sigma)[0]
    if best == 0.0 < n_on + n_off:
        rise = wstat(n_on, n_off, alpha, errp) - wstat(n_on, n_off, alpha)
        assert rise == pytest.approx(n_sigma**2, rel=1e-8, abs=1e-11 * wstat(n_on, n_off, alpha))


# --- Rolke


def exact_rolke(n_on, n_off, alpha, error, n, guess):
    """End of the interval from the equations of the minimum over efficiency and background, near a guess."""
    n_on, n_off, alpha, error = (mpmath.mpf(x) for x in (n_on, n_off, alpha, error))

    def twice_log(mu, e, b):
        total = 0
        for count, expected in ((n_on, e * mu + alpha * b), (n_off, b)):
            total += expected - count + (count * mpmath.log(count / expected) if count > 0 else 0)
        return 2 * total + ((e - 1) / error) ** 2

    start = max(n_on - alpha * n_off, 0)
    base = exact_wstat(n_on, n_off, alpha, start)[0]

    def equations(mu, e, b):
        excess_on = 1 - n_on / (e * mu + alpha * b)
        return (
            twice_log(mu, e, b) - base - n**2,
            mu * excess_on + (e - 1) / error**2,
            alpha * excess_on + 1 - n_off / b,
        )

    counts = float(n_on), float(n_off), float(alpha)
    e = minimize_scalar(
        lambda e: wstat(*counts, e * float(guess)) + ((e - 1) / float(error)) ** 2, (0.8, 1.2), tol=1e-10
    ).x
    return mpmath.findroot(equations, (guess, e, wstat_mu_off(*counts, e * float(guess))), tol=1e-25)[0]


@pytest.mark.parametrize("error", [0.05, 0.2, 0.5])
@pytest.mark.parametrize(
    "values", [(0, 15, 0.1), (1, 1, 1.0), (5, 10, 0.1), (3, 50, 0.1), (40, 30, 1.0), (900, 5000, 0.1), (7, 3, 5.0)]
)
def test_rolke_solves_the_equations_of_the_profile(values, error):
    n = mpmath.mpf(norm.ppf(0.95))
    with mpmath.workdps(30):
        for end in rolke(*values, efficiency_error=error):
            if 0.0 < end < np.inf:
                assert abs(exact_rolke(*values, error, n, mpmath.mpf(end)) - end) <= 1e-9 * end


def test_rolke_by_brute_force():
    """T is minimised and searched on grids, without a derivative."""
    n_on, n_off, alpha, error, n2 = 6.0, 12.0, 0.2, 0.25, norm.ppf(0.95) ** 2
    lower, upper = rolke(n_on, n_off, alpha, efficiency_error=error)
    e = np.linspace(0.0, 2.0, 4001)
    mu = np.linspace(0.0, 25.0, 2501)[:, None]
    t = (wstat(n_on, n_off, alpha, e * mu) + ((e - 1) / error) ** 2).min(axis=1)
    inside = mu[t < n2, 0]
    assert inside.min() == pytest.approx(lower, abs=0.011)
    assert inside.max() == pytest.approx(upper, abs=0.011)


@settings(max_examples=100, deadline=None)
@given(counts, counts, alphas, confidences)
def test_rolke_without_an_error_is_the_bounded_interval(n_on, n_off, alpha, confidence):
    n = norm.ppf(0.5 + confidence / 2)
    lower, upper = rolke(n_on, n_off, alpha, confidence=confidence)
    errn, _ = excess_errors(n_on, n_off, alpha, n)
    rounding = 1e-12 * (n_on + alpha * n_off)
    assert lower == pytest.approx(max(n_on - alpha * n_off - errn, 0.0), rel=1e-12, abs=rounding)
    assert upper == pytest.approx(upper_limit(n_on, n_off, alpha, n, bounded=True), rel=1e-12)


@settings(max_examples=100, deadline=None)
@given(counts, counts, alphas, confidences, st.floats(-6, 0), st.floats(0.01, 100.0))
def test_rolke_widens_with_the_error_and_scales_with_the_efficiency(n_on, n_off, alpha, confidence, log_error, scale):
    error = 10.0**log_error
    options = {"confidence": confidence}
    lower, upper = rolke(n_on, n_off, alpha, efficiency_error=error, **options)
    known = rolke(n_on, n_off, alpha, **options)
    n = norm.ppf(0.5 + confidence / 2)
    assert 0.0 <= lower <= known[0] * (1 + 1e-12)
    assert known[1] * (1 - 1e-12) <= upper
    assert np.isinf(upper) == (n * error >= 1)
    if np.isfinite(upper):
        assert upper <= known[1] / (1 - n * error) * (1 + 1e-12)
    scaled = rolke(n_on, n_off, alpha, efficiency=scale, efficiency_error=scale * error, **options)
    np.testing.assert_allclose(np.multiply(scaled, scale), [lower, upper], rtol=1e-8)


# --- Feldman & Cousins

#: Table IV of the paper: upper ends of 90 % intervals for 0 to 6 counts over these backgrounds, and the lower ends.
BACKGROUNDS = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0]
UPPER = [
    [2.44, 1.94, 1.61, 1.33, 1.26, 1.18, 1.08, 1.06, 1.01, 0.98],
    [4.36, 3.86, 3.36, 2.91, 2.53, 2.19, 1.88, 1.59, 1.39, 1.22],
    [5.91, 5.41, 4.91, 4.41, 3.91, 3.45, 3.04, 2.67, 2.33, 1.73],
    [7.42, 6.92, 6.42, 5.92, 5.42, 4.92, 4.42, 3.95, 3.53, 2.78],
    [8.60, 8.10, 7.60, 7.10, 6.60, 6.10, 5.60, 5.10, 4.60, 3.60],
    [9.99, 9.49, 8.99, 8.49, 7.99, 7.49, 6.99, 6.49, 5.99, 4.99],
    [11.47, 10.97, 10.47, 9.97, 9.47, 8.97, 8.47, 7.97, 7.47, 6.47],
]
LOWER = [
    [0.0] * 10,
    [0.11] + [0.0] * 9,
    [0.53, 0.03] + [0.0] * 8,
    [1.10, 0.60, 0.10] + [0.0] * 7,
    [1.47, 1.17, 0.74, 0.24] + [0.0] * 6,
    [1.84, 1.53, 1.25, 0.93, 0.43] + [0.0] * 5,
    [2.21, 1.90, 1.61, 1.33, 1.08, 0.65, 0.15] + [0.0] * 3,
]


def test_published_table_of_feldman_and_cousins():
    lower, upper = feldman_cousins(np.arange(7)[:, None], BACKGROUNDS)
    np.testing.assert_allclose(lower, LOWER, atol=0.0055)  # their signals are on a grid of 0.005
    np.testing.assert_allclose(upper, UPPER, atol=0.0055)


def accepted(theta, background, confidence, size=150):
    """Which counts belong to a signal, by the construction of the paper: sort by rank, add up."""
    k = np.arange(size)
    best = np.maximum(k, background)
    rank = poisson.logpmf(k, theta) - poisson.logpmf(k, best)
    order = np.argsort(-rank, kind="stable")
    p = poisson.pmf(k, theta)[order]
    result = np.empty(size, bool)
    result[order] = np.cumsum(p) - p < confidence
    return result


@pytest.mark.parametrize("confidence", [0.6827, 0.9, 0.99])
@pytest.mark.parametrize("background", [0.0, 0.7, 3.0, 9.3])
def test_belt_of_the_construction(background, confidence):
    signals = np.arange(0.001, 40.0, 0.01)
    belt = np.array([accepted(s + background, background, confidence)[:20] for s in signals])
    lower, upper = feldman_cousins(np.arange(20), background, confidence=confidence, lengthened=False)
    for n in range(20):
        inside = signals[belt[:, n]]
        assert inside.min() == pytest.approx(lower[n], abs=0.0101)
        assert inside.max() == pytest.approx(upper[n], abs=0.0101)


@settings(max_examples=100, deadline=None)
@given(whole, st.floats(0.0, 1.2), confidences)
def test_ends_of_the_belt_are_where_the_count_is_accepted(n, share, confidence):
    """At any number of counts: just inside the end the count belongs to the signal, just outside it does not."""
    assume(n < 5000)
    background = share * n
    lower, upper = feldman_cousins(n, background, confidence=confidence, lengthened=False)
    size = int(n + 20 * math.sqrt(n) + 60)
    step = 1e-6 * (1 + math.sqrt(n))
    assert accepted(upper + background - step, background, confidence, size)[int(n)] or upper < step
    assert not accepted(upper + background + step, background, confidence, size)[int(n)]
    if lower > step:
        assert accepted(lower + background + step, background, confidence, size)[int(n)]
        assert not accepted(lower + background - step, background, confidence, size)[int(n)]


@settings(max_examples=100, deadline=None)
@given(whole, st.floats(0.0, 3.0), st.floats(0.0, 1.0), confidences)
def test_lengthened_limits_do_not_rise_with_the_background(n, share, more, confidence):
    background = share * n + 0.5 * more
    larger = background + more * (1 + math.sqrt(n))
    lower, upper = feldman_cousins(n, [background, larger], confidence=confidence)
    plain = feldman_cousins(n, [background, larger], confidence=confidence, lengthened=False)
    tolerance = 1e-9 * (1 + background + n)
    assert upper[1] <= upper[0] + tolerance
    assert lower[1] <= lower[0] + tolerance
    np.testing.assert_array_equal(lower, plain[0])
    assert (upper >= plain[1]).all()
    assert (upper >= lower).all()


@settings(max_examples=100, deadline=None)
@given(whole, st.floats(0.0, 2.0), confidences)
def test_belt_rises_with_the_count(n, share, confidence):
    lower, upper = feldman_cousins([n, n + 1], share * n, confidence=confidence)
    assert lower[0] <= lower[1] + 1e-9 * (1 + n)
    assert upper[0] < upper[1] + 1e-9 * (1 + n)


def test_belt_of_many_counts_is_that_of_a_normal_distribution():
    """Table X of the paper, for a normal mean of at least 0: at 0, 1 and 3 standard deviations."""
    for b in (1e8, 1e12):
        lower, upper = feldman_cousins(np.round(b + np.array([0, 1, 3]) * math.sqrt(b)), b)
        np.testing.assert_allclose(upper / math.sqrt(b), [1.64, 2.64, 4.64], atol=0.006)
        np.testing.assert_allclose(lower / math.sqrt(b), [0.0, 0.0, 1.37], atol=0.006)


def test_both_sums_of_probabilities_agree():
    from xonoff.stats import belts

    theta = 2e5
    for low, high in [(-2000, 100), (0, 500), (300, 2000), (-3000, -1500)]:
        first, last = theta + low, theta + high
        exact = poisson.cdf(last, theta) - poisson.cdf(first - 1, theta)
        assert belts._mass(first, last, theta) == pytest.approx(exact, abs=1e-12)
    for first, last, mean in [(0.0, 3.0, 2.5), (990.0, 1100.0, 1000.0), (0.0, 0.0, 0.0), (1.0, 5.0, 0.0)]:
        exact = poisson.cdf(last, mean) - poisson.cdf(first - 1, mean)
        assert belts._mass(first, last, mean) == pytest.approx(exact, abs=1e-13)


# --- arrays and refusals

FUNCTIONS = [
    excess_errors,
    lambda *x: excess_errors(*x, bounded=True),
    upper_limit,
    lambda *x: upper_limit(*x, bounded=True),
    lambda *x: rolke(*x[:3], efficiency_error=0.1 / x[3]),
    lambda n_on, n_off, alpha, n_sigma: feldman_cousins(n_on, alpha * n_off, confidence=0.3 * n_sigma),
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_broadcast_is_element_by_element(function):
    n_on, n_off = np.arange(5)[:, None, None], np.array([0, 3, 17])[:, None]
    alpha, n_sigma = np.array([0.1, 0.5]), np.array([1.0, 2.0])
    together = function(n_on, n_off, alpha, n_sigma)
    together = together if isinstance(together, tuple) else (together,)
    for part, array in enumerate(together):
        assert array.shape == (5, 3, 2)
        assert array.dtype == np.float64
        for i, j, k in np.ndindex(array.shape):
            one = function(np.float64(i), np.float32(n_off[j, 0]), alpha[k], n_sigma[k])
            assert (one[part] if isinstance(one, tuple) else one) == array[i, j, k]
    assert np.shape(np.asarray(function(np.zeros((0, 3)), 1.0, 0.5, 1.0)))[-2:] == (0, 3)


@pytest.mark.parametrize("function", FUNCTIONS[:5])
@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1.0])
def test_invalid_bins_are_nan(function, position, bad):
    values = [5.0, 7.0, 0.1]
    values[position] = bad
    assert np.isnan(function(*values, 1.0)).all()


def test_invalid_bins_of_the_belt_are_nan():
    bad = [-1, np.nan, np.inf, 1e16]
    for n_on, background in [(1.5, 1), *((x, 1) for x in bad), *((1, x) for x in bad)]:
        assert np.isnan(feldman_cousins(n_on, background)).all()


def test_no_valid_bin_is_nan():
    rng = np.random.default_rng(8)
    size = 100_000
    n_on, n_off = (np.floor(10 ** rng.uniform(-1, 12, size)) for _ in range(2))
    alpha = np.where(rng.random(size) < 0.1, 0.0, 10 ** rng.uniform(-8, 4, size))
    n_sigma = 10 ** rng.uniform(-3, 1.5, size)
    for function in FUNCTIONS[:4]:
        assert np.isfinite(function(n_on, n_off, alpha, n_sigma)).all()
    for error in (0.0, 1e-9, 0.3, 1e9):
        ends = rolke(n_on, n_off, alpha, efficiency_error=error, confidence=norm.cdf(n_sigma.clip(0, 7)))
        assert not np.isnan(ends).any()
        assert (ends[0] <= ends[1]).all()
    lower, upper = feldman_cousins(n_on[:20_000], (alpha * n_off).clip(0, 4e15)[:20_000])
    assert np.isfinite(lower).all()
    assert np.isfinite(upper).all()
    assert (lower <= upper).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: excess_errors(1, 1, 1, 0.0), r"n_sigma is 0.0, expected positive numbers, from 1e-50"),
        (lambda: upper_limit(1, 1, 1, [1.0, np.nan]), "n_sigma is .*nan.*, expected positive"),
        (lambda: rolke(1, 1, 1, efficiency=0.0), "efficiency is 0.0, expected positive"),
        (lambda: rolke(1, 1, 1, efficiency_error=-0.1), "efficiency_error is -0.1, expected finite numbers of at"),
        (
            lambda: rolke(1, 1, 1, confidence=90),
            "confidence is 90, expected numbers between 0 and 1 .by 1e-12., such as 0.9",
        ),
        (lambda: feldman_cousins(1, 1, confidence=1.0), "confidence is 1.0, expected numbers between 0 and 1"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(SchemaError, match=message):
        call()


def test_import_loads_neither_numba_nor_scipy():
    code = "import sys, xonoff.stats; sys.exit(not sys.modules.keys().isdisjoint(['numba', 'scipy']))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
