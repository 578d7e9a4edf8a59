"""Norms of a signal: derivatives beside many digits, minima and roots beside scipy, kinks, ends, laws."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import exact_wstat
from scipy.optimize import brentq, minimize_scalar

from xonoff import stats
from xonoff.stats.norm_search import pack, sums
from xonoff.stats.norms import counts_for_norm, fit_norms, norm_profile

COUNTS = st.sampled_from([0.0, 0.0, 1.0, 2.0, 7.0, 55.0, 1000.0])


@st.composite
def groups(draw: st.DrawFn) -> list[np.ndarray]:
    """Bins of a group, some without background, some with a negative signal."""
    n = draw(st.integers(1, 8))

    def some(values: st.SearchStrategy[float]) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=n, max_size=n)))

    scale = 10.0 ** draw(st.integers(-9, 9))
    sizes = st.floats(1e-3, 10)
    signal = some(sizes if draw(st.booleans()) else st.one_of(sizes, st.floats(-10, -1e-3)))
    alpha = some(st.sampled_from([0.0, 1e-3, 0.1, 0.5, 3.0] if draw(st.booleans()) else [1e-3, 0.1, 0.5, 3.0]))
    other = some(st.sampled_from([0.0, 0.0, 0.3, 4.0]))
    return [some(COUNTS), some(COUNTS), alpha, other, scale * signal]


def total(bins: list[np.ndarray], norm: float) -> float:
    on, off, alpha, other, signal = bins
    return float(stats.wstat(on, off, alpha, other + norm * signal).sum())


@settings(max_examples=300, deadline=None)
@given(bins=groups())
def test_nothing_is_lower_than_the_minimum_and_roots_are_where_w_is_higher(bins):
    found = fit_norms(bins, [bins[0].size], n_sigma=1, n_sigma_ul=2)
    norm, err, errn, errp, ul, stat, null = (float(values[0]) for values in found)
    unit = 1 / np.abs(bins[4]).sum()
    around = np.geomspace(1e-8, 1e5, 80) * unit
    if np.isnan(norm):  # no norm is possible
        assert not np.isfinite([total(bins, sign * x) for x in [0, *around] for sign in (1, -1)]).any()
        return
    for place in [*(norm + around), *(norm - around)]:
        assert total(bins, place) >= stat - 1e-9 * max(stat, 1)
    assert err > 0 or errn == errp == 0  # one norm alone is possible
    assert null == pytest.approx(total(bins, 0.0), rel=1e-12)
    for end, rise, sign in ((norm - errn, 1, -1), (norm + errp, 1, 1), (ul, 4, 1)):
        higher = total(bins, end) - stat
        if higher != pytest.approx(rise, abs=1e-7 * max(stat, 1)):  # it is the end of what is possible
            assert total(bins, end + sign * 1e-6 * max(abs(end), unit)) == np.inf
            assert not higher > rise or higher == np.inf


def test_beside_scipy():
    rng = np.random.default_rng(1)
    for _ in range(30):
        n = int(rng.integers(1, 200))
        alpha, signal = rng.uniform(0.02, 0.5, n), rng.uniform(0.01, 3, n)
        off = rng.poisson(3 / alpha).astype(float)
        bins = [rng.poisson(3 + 2 * signal).astype(float), off, alpha, rng.uniform(0, 0.5, n), signal]
        found = fit_norms(bins, [n])
        best = minimize_scalar(lambda x, bins=bins: total(bins, x), bracket=(0, 2), tol=1e-12)
        assert found.norm[0] == pytest.approx(best.x, abs=1e-5 * found.err[0])
        assert found.stat[0] == pytest.approx(best.fun, rel=1e-12)
        h = 1e-3 * found.err[0]
        curvature = (total(bins, best.x + h) + total(bins, best.x - h) - 2 * best.fun) / h**2
        assert found.err[0] == pytest.approx(np.sqrt(2 / curvature), rel=1e-3)
        for end, rise, sign in (
            (found.norm[0] - found.errn[0], 1, -1),
            (found.norm[0] + found.errp[0], 1, 1),
            (found.ul[0], 4, 1),
        ):
            far = best.x + 10 * sign * found.err[0]
            root = brentq(lambda x, bins=bins, t=best.fun + rise: total(bins, x) - t, best.x, far, xtol=1e-14)
            assert end == pytest.approx(root, abs=1e-8 * found.err[0])


@pytest.mark.parametrize("n_on", [0, 1, 5, 300])
@pytest.mark.parametrize("n_off", [0, 1, 7, 5000])
@pytest.mark.parametrize("alpha", [1e-3, 0.1, 2.0])
@pytest.mark.parametrize("mu_sig", [-30.0, -0.31, 0.2, 3.0, 207.0])
def test_derivatives_beside_many_digits(n_on, n_off, alpha, mu_sig):
    def exact(s: float) -> mpmath.mpf:
        return exact_wstat(n_on, n_off, alpha, s)[0]

    bin_ = pack(*(np.array([value]) for value in (float(n_on), float(n_off), alpha, 0.0, 1.0)))
    _, slope, curvature = sums(bin_, mu_sig, False)
    with mpmath.workdps(60):
        h = mpmath.mpf(10) ** -15
        up, here, down = exact(mu_sig + h), exact(mu_sig), exact(mu_sig - h)
        assert slope == pytest.approx(float((up - down) / (2 * h)), rel=1e-10, abs=1e-12)
        assert curvature == pytest.approx(float((up + down - 2 * here) / h**2), rel=1e-8, abs=1e-10)


@settings(max_examples=60, deadline=None)
@given(bins=groups(), factor=st.sampled_from([1e-3, 0.5, 40.0]))
def test_a_brighter_signal_has_a_smaller_norm(bins, factor):
    one = fit_norms(bins, [bins[0].size])
    other = fit_norms([*bins[:4], factor * bins[4]], [bins[0].size])
    tolerance = 1e-9 / np.abs(bins[4]).sum()
    for name in ("norm", "errn", "errp", "ul"):
        np.testing.assert_allclose(factor * getattr(other, name), getattr(one, name), rtol=1e-7, atol=tolerance)
    np.testing.assert_allclose(other.stat, one.stat, rtol=1e-9, atol=1e-9)


def test_one_bin_is_its_excess():
    bins = [np.array([x]) for x in (15.0, 100.0, 0.1, 1.0, 2.0)]
    found = fit_norms(bins, [1], n_sigma=2)
    assert found.norm[0] == pytest.approx((15 - 10 - 1) / 2)
    assert found.err[0] == pytest.approx(2 * np.sqrt(15 + 0.01 * 100) / 2)
    assert found.stat[0] == pytest.approx(0, abs=1e-20)
    assert found.stat_null[0] == pytest.approx(float(stats.wstat(15, 100, 0.1, 1.0)))


def test_no_count_at_all_is_a_norm_of_nothing():
    bins = [np.zeros(3), np.zeros(3), np.full(3, 0.1), np.zeros(3), np.array([1.0, 0.5, 2.5])]
    found = fit_norms(bins, [3])
    assert found.norm[0] == 0
    assert found.ul[0] == pytest.approx(4 / (2 * 4.0))  # W is twice the signal
    assert found.errp[0] == pytest.approx(1 / 8)
    assert found.errn[0] == pytest.approx(0.1 / 8)  # and to below 2 |s| / alpha
    assert found.err[0] == pytest.approx((found.errp[0] + found.errn[0]) / 2)


def test_without_background_a_norm_ends_at_nothing():
    """alpha = 0: W is Cash's of the signal alone."""
    bins = [np.array([4.0, 0.0]), np.array([9.0, 9.0]), np.zeros(2), np.zeros(2), np.array([1.0, 1.0])]
    found = fit_norms(bins, [2], n_sigma=5)
    assert found.norm[0] == pytest.approx(2)
    assert found.stat_null[0] == np.inf
    assert 0 < found.errn[0] < 2
    empty = fit_norms([np.zeros(1), *(array[:1] for array in bins[1:])], [1])
    assert (empty.norm[0], empty.errn[0]) == (0, 0)
    assert empty.ul[0] == pytest.approx(2)


def test_groups_are_apart_and_an_empty_one_has_no_norm():
    rng = np.random.default_rng(2)
    n = 12
    bins = [rng.poisson(5, n) * 1.0, rng.poisson(50, n) * 1.0, np.full(n, 0.1), np.zeros(n), rng.uniform(1, 3, n)]
    all_of_them = fit_norms(bins, [5, 5, 12])
    parts = [fit_norms([array[part] for array in bins], [size]) for part, size in ((slice(5), 5), (slice(5, 12), 7))]
    for name in all_of_them._fields:
        values = getattr(all_of_them, name)
        assert np.isnan(values[1])
        np.testing.assert_array_equal(values[[0, 2]], [getattr(part, name)[0] for part in parts])
    profile = norm_profile(bins, [5, 5, 12], [0.0, 1.0])
    assert np.isnan(profile[1]).all()
    np.testing.assert_allclose(profile[0], [total([array[:5] for array in bins], x) for x in (0, 1)], rtol=1e-12)
    np.testing.assert_array_equal(profile[[0, 2], 0], all_of_them.stat_null[[0, 2]])


def test_impossible_norms():
    """Without background, one bin wants more signal and the other less."""
    bins = [np.ones(2), np.ones(2), np.zeros(2), np.array([-1.0, -1.0]), np.array([1.0, -1.0])]
    assert np.isnan(fit_norms(bins, [2]).norm[0])
    assert np.isinf(norm_profile(bins, [2], [0.0, 5.0])).all()


def test_which_bins_count():
    values = np.array([1.0, np.nan, np.inf, -1.0, 0.0])
    one = np.ones(5)
    np.testing.assert_array_equal(counts_for_norm(values, one, one, one, one), [1, 0, 0, 0, 1])
    np.testing.assert_array_equal(counts_for_norm(one, one, values, one, one), [1, 0, 0, 0, 1])
    np.testing.assert_array_equal(counts_for_norm(one, one, one, values, one), [1, 0, 0, 1, 1])
    np.testing.assert_array_equal(counts_for_norm(one, one, one, one, values), [1, 0, 0, 1, 0])


@pytest.mark.parametrize(
    ("bins", "stops", "message"),
    [
        ([np.zeros(2)] * 4, [2], "five of one length"),
        ([np.zeros(2)] * 4 + [np.zeros(3)], [2], "five of one length"),
        ([np.zeros(2)] * 5, [3], "increasing numbers up to 2"),
        ([np.zeros(2)] * 5, [2, 1], "increasing numbers up to 2"),
    ],
)
def test_what_is_no_group_of_bins(bins, stops, message):
    with pytest.raises(ValueError, match=message):
        fit_norms(bins, stops)
