import importlib
import json
import math
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from oracle import data_dir, exact_wstat, textbook_wstat

from xonoff.stats import alpha, background, excess, excess_significance, li_ma, wstat, wstat_mu_off, wstat_sum

wstat_module = importlib.import_module("xonoff.stats.wstat")  # the package's attribute of that name is the function
threads_module = importlib.import_module("xonoff.stats.threads")

counts = st.one_of(st.integers(0, 20), st.integers(0, 10**6), st.floats(1e-8, 1e6)).map(float)
alphas = st.floats(-6, 3).map(lambda x: 10.0**x)
signals = st.one_of(st.just(0.0), st.floats(-10, 6).map(lambda x: 10.0**x), st.floats(-10, 6).map(lambda x: -(10.0**x)))


def assert_close(found, exact, rtol=1e-12):
    """Compare with a number of many digits; an absolute 1e-12 only where that is smaller than any meaning."""
    if abs(exact) < 1e-20:
        assert abs(found) < 1e-12
    else:
        assert abs(found - exact) <= rtol * abs(exact)


@pytest.fixture
def cube():
    """Float64 inputs of every kind of bin, masked and invalid ones included."""
    rng = np.random.default_rng(5)
    shape = (3, 40, 50)
    a_off = rng.uniform(1.0, 20.0, shape)
    a_off[0, :3] = 0.0
    a_off[1, 5, 7] = np.nan
    n_off = rng.poisson(4.0, shape).astype(float)
    n_off[2, 1, 1] = -1.0
    return {
        "n_on": rng.poisson(1.0, shape).astype(float),
        "n_off": n_off,
        "a_on": rng.uniform(0.5, 1.5, shape),
        "a_off": a_off,
        "mask": rng.random(shape) < 0.7,
        "mu_sig": rng.uniform(0.0, 2.0, shape),
    }


def masked_sum(n_on, n_off, a_on, a_off, mask=None, mu_sig=None):
    """What `wstat_sum` fuses, in the open."""
    w = wstat(n_on, n_off, alpha(a_on, a_off), 0.0 if mu_sig is None else mu_sig)
    return np.nansum(w if mask is None else np.where(mask, w, np.nan))


# --- against references


def test_reference_vectors_wstat():
    rows = json.loads((data_dir() / "reference_stat_vectors.json").read_text())["wstat"]
    assert len(rows) > 200
    for row in rows:
        values = [float(row[k]) for k in ("n_on", "n_off", "alpha", "mu_sig")]
        # The strings have 25 digits of a 60-digit result; float() of them is the nearest double.
        assert_close(wstat(*values), float(row["wstat_mpmath_str"]))
        assert_close(wstat_mu_off(*values), float(row["mu_bkg_mpmath_str"]))


def test_reference_vectors_li_ma():
    data = json.loads((data_dir() / "reference_stat_vectors.json").read_text())
    for row in data["lima"]:
        values = [float(row[k]) for k in ("n_on", "n_off", "alpha")]
        assert li_ma(*values) == pytest.approx(float(row["lima_eq17_mpmath_str"]), rel=1e-12, abs=1e-30)
        assert excess(*values[:2], values[2], 1.0) == pytest.approx(row["excess_gammapy"], rel=1e-12, abs=1e-12)


@settings(max_examples=300, deadline=None)
@given(counts, counts, alphas, signals)
@example(0.0, 1e6, 1e-6, -1.0)  # |mu_sig| equals alpha n_off: no background is left in the on region
@example(10.0, 1.0, 1e-6, 1e8)  # the textbook root loses 1e-3 here
def test_wstat_everywhere(n_on, n_off, alpha, mu_sig):
    w, mu_off = exact_wstat(n_on, n_off, alpha, mu_sig)
    assert_close(wstat(n_on, n_off, alpha, mu_sig), w)
    assert_close(wstat_mu_off(n_on, n_off, alpha, mu_sig), mu_off)


@settings(max_examples=300, deadline=None)
@given(
    counts, counts, alphas, st.floats(-16, -1), st.sampled_from([-1, 0, 1]), st.sampled_from(["excess", "on", "off"])
)
def test_wstat_where_terms_cancel(n_on, n_off, alpha, log_distance, sign, point):
    """Signals at and beside the best fit, the end of the background (on), and the turning point below zero (off)."""
    best = {"excess": n_on - alpha * n_off, "on": n_on * alpha / (1 + alpha), "off": -alpha * n_off / (1 + alpha)}[
        point
    ]
    mu_sig = best * (1 + sign * 10.0**log_distance)
    w, mu_off = exact_wstat(n_on, n_off, alpha, mu_sig)
    assert_close(wstat(n_on, n_off, alpha, mu_sig), w)
    assert_close(wstat_mu_off(n_on, n_off, alpha, mu_sig), mu_off)


@pytest.mark.parametrize("alpha", [1e-300, 1e-100, 1e-12, 1e9, 1e100])
@pytest.mark.parametrize("mu_sig", [0.0, 5e-324, 1e-200, 3.0, 1e9])
def test_wstat_at_extreme_scales(alpha, mu_sig):
    for n_on, n_off in [(0, 0), (5, 0), (0, 7), (5, 7), (1e-100, 7)]:
        if 0.0 < mu_sig < 1e-100 and alpha < 1e-99:
            continue  # outside the stated range: squares underflow
        assert_close(wstat(n_on, n_off, alpha, mu_sig), exact_wstat(n_on, n_off, alpha, mu_sig)[0])


@pytest.mark.parametrize("alpha", [1e-12, 1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize("n_on", [0.0, 1e-10, 1.0])
def test_wstat_at_the_turning_point_of_a_rare_background(alpha, n_on):
    """Here W is of order alpha^2 n_off, the square of what all but cancels."""
    n_off = 69833522.0
    for factor in (1.0, 1.0 + 1e-15, 1.0 - 1e-12):
        mu_sig = -alpha * n_off / (1.0 + alpha) * factor
        assert_close(wstat(n_on, n_off, alpha, mu_sig), exact_wstat(n_on, n_off, alpha, mu_sig)[0])


def test_textbook_formula_where_it_is_good():
    rng = np.random.default_rng(2)
    n_on, n_off = rng.poisson(20.0, 1000), rng.poisson(30.0, 1000)
    ratio, mu_sig = rng.uniform(0.1, 2.0, 1000), rng.uniform(0.0, 30.0, 1000)
    np.testing.assert_allclose(
        wstat(n_on, n_off, ratio, mu_sig), textbook_wstat(n_on, n_off, ratio, mu_sig), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize(
    ("values", "mu_off", "w"),
    [
        ((0, 0, 0.1, 3), 0, 6),
        ((5, 0, 0.1, 0), 50 / 11, 10 * math.log(11)),
        ((5, 0, 0.1, 3), 0, 2 * (3 - 5 + 5 * math.log(5 / 3))),
        ((5, 0, 0.1, 5), 0, 0),
        ((5, 0, 1, 2), 0.5, -4 + 10 * math.log(2)),
        ((0, 7, 0.1, 0), 7 / 1.1, 14 * math.log(1.1)),
        ((0, 7, 0.1, 3), 7 / 1.1, 6 + 14 * math.log(1.1)),
        ((5, 7, 0.1, 0), 12 / 1.1, 9.012656861447638),
        ((1, 0, 1e-8, 0), 1 / (1 + 1e-8), 2 * math.log1p(1e8)),
        ((0, 7, 0.5, -4), 8, 2 * (1 + 7 * math.log(7 / 8))),  # the background that cancels the signal, and no more
    ],
)
def test_edge_values(values, mu_off, w):
    assert wstat_mu_off(*values) == pytest.approx(mu_off, rel=1e-14)
    assert wstat(*values) == pytest.approx(w, rel=1e-14)


@pytest.mark.parametrize(("values", "mu_off", "w"), [((5, 7, 0.1, -1), 17.21, 18.63), ((5, 0, 0.1, -1), 14.55, 43.98)])
def test_published_values_of_negative_signal(values, mu_off, w):
    assert wstat_mu_off(*values) == pytest.approx(mu_off, abs=0.005)
    assert wstat(*values) == pytest.approx(w, abs=0.005)


def test_alpha_zero_decouples_the_off_region():
    assert wstat(5, 7, 0.0, 3.0) == pytest.approx(2 * (3 - 5 + 5 * math.log(5 / 3)), rel=1e-14)
    assert wstat(0, 0, 0.0, 0.0) == 0.0
    assert wstat(5, 7, 0.0, 0.0) == np.inf
    assert wstat_mu_off(5, 7, 0.0, 3.0) == 7.0
    assert wstat(5, 7, 0.0, -1.0) == wstat_mu_off(5, 7, 0.0, -1.0) == np.inf
    assert wstat(5, 7, 1e-14, 3.0) == pytest.approx(wstat(5, 7, 0.0, 3.0), rel=1e-12)
    assert wstat_mu_off(5, 7, 1e-14, 3.0) == pytest.approx(7.0, rel=1e-12)


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1.0])
def test_invalid_bins_are_nan(position, bad):
    values = [5.0, 7.0, 0.1, 0.5]
    values[position] = bad
    if position == 3 and bad == -1.0:
        assert np.isfinite(wstat(*values))  # a negative signal is allowed
        return
    assert np.isnan(wstat(*values))
    assert np.isnan(wstat_mu_off(*values))
    if position < 3:
        assert np.isnan(li_ma(*values[:3]))
    acceptances = [5.0, 7.0, 1.0, 10.0]
    acceptances[position] = bad
    assert np.isnan(excess(*acceptances))
    if position > 0:
        assert np.isnan(background(*acceptances[1:]))
    if position > 1:
        assert np.isnan(alpha(*acceptances[2:]))


def test_no_off_exposure_is_nan_even_without_counts():
    assert np.isnan(alpha([0.0, 1.0, 1e300], [0.0, 0.0, 1e-300])).all()
    assert np.isnan(background(0.0, 1.0, 0.0))
    assert np.isnan(excess(3.0, 0.0, 1.0, 0.0))


# --- laws


@settings(max_examples=200, deadline=None)
@given(counts, counts, alphas, signals, st.floats(1.01, 100.0))
def test_wstat_is_zero_at_the_excess_and_rises_away_from_it(n_on, n_off, alpha, mu_sig, factor):
    best = n_on - alpha * n_off
    at_best, near, far = wstat(n_on, n_off, alpha, [best, best + mu_sig, best + factor * mu_sig])
    assert 0.0 <= at_best <= 1e-12 * (n_on + n_off)
    assert at_best <= near * (1 + 1e-12) <= far * (1 + 2e-12)


@settings(max_examples=100, deadline=None)
@given(counts, counts, alphas, signals, st.floats(0.01, 100.0))
def test_wstat_scales_with_exposure(n_on, n_off, alpha, mu_sig, factor):
    """Counts and signal times a factor: W times the factor (2 is exact, so take a power of it)."""
    factor = 2.0 ** round(math.log2(factor))
    scaled = wstat(factor * n_on, factor * n_off, alpha, factor * mu_sig)
    assert scaled == pytest.approx(factor * wstat(n_on, n_off, alpha, mu_sig), rel=1e-14, abs=1e-300)


@settings(max_examples=100, deadline=None)
@given(counts, counts, alphas)
def test_on_and_off_may_swap_without_a_signal(n_on, n_off, alpha):
    """The regions are alike when there is no signal, so the significance only changes sign."""
    assume(alpha > 1e-3)
    there, back = li_ma(n_on, n_off, alpha), li_ma(n_off, n_on, 1 / alpha)
    rounding = 1e-15 * math.sqrt(n_on + n_off)  # of 1 / alpha
    assert there == pytest.approx(-back, rel=1e-12, abs=10 * rounding)
    assert there**2 == pytest.approx(wstat(n_on, n_off, alpha), rel=1e-14, abs=1e-300)


def test_known_background_is_the_limit_of_a_long_off_exposure():
    """W goes over into the Cash statistic of mu_sig + b when n_off = b / alpha and alpha goes to 0."""
    b, n_on, mu_sig = 4.0, 9.0, 2.5
    cash = 2 * (mu_sig + b - n_on + n_on * math.log(n_on / (mu_sig + b)))
    errors = [abs(wstat(n_on, b / ratio, ratio, mu_sig) - cash) for ratio in (1e-2, 1e-4, 1e-6)]
    assert errors[2] < 1e-5
    assert errors[0] > 50 * errors[1] > 2500 * errors[2]


def test_sign_of_li_ma_is_exact():
    assert li_ma(10.0, 100.0, 0.1) < 0.0  # the double 0.1 is a little above a tenth
    assert li_ma(1.0, 8.0, 0.125) == 0.0


# --- arrays: shapes, dtypes, memory, threads


def test_broadcasting_and_scalars():
    w = wstat(np.arange(4.0)[:, None], np.arange(3)[None, :], 0.5)
    assert w.shape == (4, 3)
    assert w[2, 1] == wstat(2, 1, 0.5)
    assert isinstance(wstat(2, 1, 0.5), np.float64)
    assert wstat(np.zeros((0, 3)), 1.0, 0.5).shape == (0, 3)
    with pytest.raises(ValueError, match="broadcast"):
        wstat(np.zeros(3), np.zeros(4), 0.5)
    with pytest.raises(TypeError, match="complex"):
        wstat(np.zeros(3, complex), 1.0, 0.5)


def test_inputs_are_left_alone_and_order_of_memory_is_kept(cube):
    n_on = np.asfortranarray(cube["n_on"])
    n_on.flags.writeable = False
    a_off = cube["a_off"].copy()
    result = excess(n_on, cube["n_off"], cube["a_on"], cube["a_off"])
    np.testing.assert_array_equal(a_off, cube["a_off"])
    np.testing.assert_array_equal(result, excess(cube["n_on"], cube["n_off"], cube["a_on"], cube["a_off"]))
    fortran = [np.asfortranarray(cube[k]) for k in ("n_on", "n_off", "a_on", "a_off")]
    assert excess(*fortran).flags.f_contiguous


DTYPES = ["f4", ">f4", ">f8", "f2", "i2", "i8", "u1", "g"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_float64_whatever_the_dtype(dtype):
    rng = np.random.default_rng(3)
    inputs = [rng.integers(1, 100, 500).astype(dtype) for _ in range(4)]
    doubles = [x.astype("f8") for x in inputs]
    for function, n in [
        (excess, 4),
        (background, 3),
        (alpha, 2),
        (wstat, 4),
        (wstat_mu_off, 4),
        (li_ma, 3),
        (excess_significance, 4),
    ]:
        result = function(*inputs[:n])
        assert result.dtype == np.float64
        np.testing.assert_array_equal(result, function(*doubles[:n]))
    assert wstat_sum(*inputs) == wstat_sum(*doubles)


def test_plain_formulas_of_excess(cube):
    n_on, n_off, a_on, a_off = (cube[k] for k in ("n_on", "n_off", "a_on", "a_off"))
    valid = (a_off > 0) & (n_off >= 0)
    expected = np.full(n_on.shape, np.nan)
    expected[valid] = n_on[valid] - a_on[valid] / a_off[valid] * n_off[valid]
    np.testing.assert_allclose(excess(n_on, n_off, a_on, a_off), expected, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(n_on - background(n_off, a_on, a_off), expected, rtol=1e-13, atol=1e-13)


def test_significance_of_an_excess_is_that_of_li_ma(cube):
    arrays = [cube[k] for k in ("n_on", "n_off", "a_on", "a_off")]
    expected = li_ma(arrays[0], arrays[1], alpha(*arrays[2:]))
    assert np.isnan(expected).any()
    assert np.ptp(np.sign(expected[np.isfinite(expected)])) == 2
    np.testing.assert_allclose(excess_significance(*arrays), expected, rtol=1e-15)
    edge = excess_significance([0, 0, 1, 0, 1, -1], [0, 5, 0, 5, 5, 5], [1, 1, 1, 0, 0, 1], 1)
    np.testing.assert_allclose(edge, [0, -np.sqrt(10 * np.log(2)), np.sqrt(2 * np.log(2)), 0, np.inf, np.nan])
    assert not np.signbit(edge[[0, 3]]).any()


@pytest.mark.parametrize("names", [[], ["mask"], ["mu_sig"], ["mask", "mu_sig"]])
def test_wstat_sum_is_the_masked_sum(cube, names):
    arguments = {k: v for k, v in cube.items() if k not in {"mask", "mu_sig"} or k in names}
    expected = masked_sum(**arguments)
    assert expected > 1000.0
    assert wstat_sum(**arguments) == pytest.approx(expected, rel=1e-13)
    views = {k: v.transpose(2, 0, 1)[::2, :, ::-1] for k, v in arguments.items()}
    assert wstat_sum(**views) == pytest.approx(masked_sum(**views), rel=1e-13)
    parts = [wstat_sum(**{k: v[i] for k, v in arguments.items()}) for i in range(3)]
    assert math.fsum(parts) == pytest.approx(expected, rel=1e-13)


def test_wstat_sum_of_odd_inputs():
    assert wstat_sum(5, 7, 1, 10) == wstat(5, 7, 0.1)
    assert wstat_sum(5, 7, 1, 10, mask=False) == 0.0
    assert wstat_sum(np.zeros((0, 3)), 1.0, 1.0, 1.0) == 0.0
    assert wstat_sum([5.0, 5.0], 7.0, [1.0, 0.0], 10.0) == np.inf  # alpha 0 and no signal: counts are impossible
    assert wstat_sum([5.0, 5.0], 7.0, [1.0, 0.0], 10.0, mask=[True, False]) == wstat(5, 7, 0.1)
    with pytest.raises(TypeError, match=r"mask has dtype uint8, expected bool; pass `mask != 0`"):
        wstat_sum(5, 7, 1, 10, mask=np.uint8(1))


@pytest.fixture(scope="module")
def large():
    """Inputs large enough for threads and for several tasks."""
    rng = np.random.default_rng(4)
    n = 2_000_003
    floats = rng.integers(0, 9, n), rng.integers(0, 50, n), rng.uniform(0.5, 1.5, n), rng.uniform(5.0, 15.0, n)
    return [x.astype("f4") for x in floats]


def test_number_of_threads_changes_nothing(large, monkeypatch):
    threads_seen = set()
    run = wstat_module._run

    def spy(kernel, iterator):
        def seen(*blocks):
            threads_seen.add(threading.get_ident())
            return kernel(*blocks)

        return run(seen, iterator)

    monkeypatch.setattr(wstat_module, "_run", spy)
    sums, maps = [], []
    for n in (1, 3, 8):
        monkeypatch.setattr(threads_module, "_n_threads", lambda n=n: n)
        sums.append(wstat_sum(*large))
        maps.append(excess(*large))
    assert threads_seen - {threading.get_ident()}
    assert sums[0] == sums[1] == sums[2]
    assert sums[0] == pytest.approx(masked_sum(*large), rel=1e-13)
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])
    np.testing.assert_allclose(maps[0], large[0] - large[2].astype(float) / large[3] * large[1], rtol=1e-12, atol=1e-12)


def test_no_threads_are_started_from_a_worker(large, monkeypatch):
    monkeypatch.setattr(threads_module, "ThreadPoolExecutor", None)  # calling it would raise
    results = []
    worker = threading.Thread(target=lambda: results.append(wstat_sum(*large)))
    worker.start()
    worker.join()
    monkeypatch.undo()
    assert results == [wstat_sum(*large)]


def test_wstat_sum_needs_little_memory():
    n = 4_000_000
    arrays = [np.ones(n, "f4") for _ in range(4)]
    strided = [np.ones((4, n // 4), "f4").T for _ in range(4)]
    mask = np.ones(n, bool)
    wstat_sum(*[x[:10] for x in arrays])
    for inputs in (arrays, strided):
        tracemalloc.start()
        wstat_sum(*inputs, mask=mask.reshape(inputs[0].shape))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < arrays[0].nbytes


def test_one_signature_compiles(cube):
    from xonoff.stats import kernels

    for dtype in (*DTYPES, "f8"):
        wstat_sum(*[cube[k].clip(0).astype(dtype) for k in ("n_on", "n_off", "a_on")], 10.0, mu_sig=np.float32(1.0))
        wstat(cube["n_on"].clip(0).astype(dtype)[:, ::2], 1.0, 0.5)
    assert len(kernels.wstat_sum.signatures) == 1
    assert len(kernels.wstat.signatures) == 1


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)


def test_import_loads_no_numba():
    assert run_python("import sys, xonoff.stats; sys.exit('numba' in sys.modules)").returncode == 0


def test_array_functions_alone_load_neither_numba_nor_scipy():
    """The file by itself, since the package around it may need scipy."""
    code = f"import runpy, sys; runpy.run_path({wstat_module.__file__!r})"
    assert run_python(f"{code}; sys.exit(not sys.modules.keys().isdisjoint(['numba', 'scipy']))").returncode == 0


def test_kernels_compile_without_a_place_for_the_cache():
    code = """if True:
        import numba
        compile = numba.njit
        def njit(*args, **options):
            if options.get("cache"):  # what numba does when neither the package nor the home directory is writable
                raise RuntimeError("cannot cache function: no locator available")
            return compile(*args, **options)
        numba.njit = njit
        from xonoff.stats import alpha
        print(alpha(1.0, 8.0))
    """
    run = run_python(code)
    assert (run.stdout.strip(), run.stderr) == ("0.125", "")
