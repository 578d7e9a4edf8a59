"""Calibration: pulls, coverage and likelihood ratios of simulated sources follow what statistics demands."""

import numpy as np
import pytest
from scipy import stats

import xonoff
from xonoff.calibration import calibrate
from xonoff.fitting import fitted
from xonoff.models import PointSource, PowerLaw1D, SkyModel

FIXED = {"x_0": True}


def crab() -> SkyModel:
    return SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6, fixed=FIXED), PointSource(83.633, 22.014))


def check(found, n: int) -> None:
    """Means, widths and coverages within what so many toys scatter; of 500, within 0.1 and 0.08."""
    assert found.success.all()
    assert found.sizes == {"toy": n, "parameter": 4}
    assert (abs(found.pull_mean) < (0.1 if n == 500 else 3.5 / np.sqrt(n))).all(), found.pull_mean.values
    assert (abs(found.pull_std - 1) < (0.08 if n == 500 else 3.5 / np.sqrt(2 * n))).all(), found.pull_std.values
    within = stats.binom(n, stats.chi2.cdf(1, 1)).interval(0.999)
    assert ((found.coverage * n >= within[0]) & (found.coverage * n <= within[1])).all(), found.coverage.values
    assert stats.kstest(found.ts_true, stats.chi2(4).cdf).pvalue > 1e-3


def test_a_simulated_source_in_short():
    check(calibrate(xonoff.tutorial.dataset(), crab(), n=40, seed=1), 40)


@pytest.mark.slow
def test_a_simulated_source():
    check(calibrate(xonoff.tutorial.dataset(), crab(), n=500, seed=1), 500)


def ts_without_a_source(n: int) -> np.ndarray:
    """TS of a source where there is none, 0 where its norm is negative."""
    ds = xonoff.tutorial.dataset()
    edges = [ds.onoff.geom.energy[0], ds.onoff.geom.energy[-1]]
    found = []
    for seed in range(n):
        empty = ds.onoff.fake(30 * ds.acceptance, seed, [])  # some 55 off counts a bin: with 2, a third are above 0
        point = empty.onoff.flux_points(crab(), energy_edges=edges)
        found.append(float(point.ts[0]) if point.norm[0] > 0 else 0.0)
    return np.array(found)


def check_half_chi_square(ts: np.ndarray) -> None:
    """Half of the values are 0, the others follow a chi-square of one degree of freedom."""
    within = stats.binom(ts.size, 0.5).interval(0.999)
    assert within[0] <= np.count_nonzero(ts) <= within[1]
    assert stats.kstest(ts[ts > 0], stats.chi2(1).cdf).pvalue > 1e-3


def test_ts_of_an_absent_source_in_short():
    check_half_chi_square(ts_without_a_source(60))


@pytest.mark.slow
def test_ts_of_an_absent_source():
    check_half_chi_square(ts_without_a_source(500))


def test_a_seed_gives_the_same_toys_and_datasets_may_be_several():
    ds = xonoff.tutorial.dataset()
    one, two = (calibrate([ds, ds], crab(), n=2, seed=5, background=[ds.acceptance, ds.acceptance]) for _ in range(2))
    np.testing.assert_array_equal(one.value, two.value)
    assert (calibrate(ds, crab(), n=2, seed=6).value != one.value).any()
    assert np.unique(one.value[:, 0]).size == 2
    carried = calibrate(ds.onoff.assign_models(crab()), n=1)
    assert carried.sizes["parameter"] == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [({"n": 0}, "n: 0 found"), ({"background": [1, 2]}, "background: 2 found, one for each of 1 datasets")],
)
def test_what_cannot_be_simulated_is_refused(options, message):
    with pytest.raises(xonoff.ModelError, match=message):
        calibrate(xonoff.tutorial.dataset(), crab(), **options)


def place_held(name: str, amplitude: float, alpha: float, lon: float) -> SkyModel:
    return SkyModel(
        name, PowerLaw1D(amplitude, 1, alpha), PointSource(lon, 22.014, fixed={"lon_0": True, "lat_0": True})
    )


def test_toys_have_the_ties_and_the_scale_of_alpha_of_the_fit():
    ds = xonoff.tutorial.dataset()
    models = [place_held("crab", 3.5e-11, 2.6, 83.633), place_held("b", 3.5e-11, 1.5, 83.0)]
    tied = calibrate(ds, models, n=8, seed=1, tied={"b.alpha": "crab.alpha"})
    assert (abs(tied.pull_mean) < 4 / np.sqrt(8)).all(), tied.pull_mean.values
    scaled = calibrate(ds, models[:1], n=8, seed=1, priors={"tutorial.alpha_scale": (0.8, 0.5)})
    assert float(scaled.truth[-1]) == 0.8
    assert (abs(scaled.pull_mean) < 4 / np.sqrt(8)).all(), scaled.pull_mean.values


def test_toys_that_cannot_be_fitted_are_no_part_and_low_counts_are_told_once(monkeypatch):
    ds = xonoff.tutorial.dataset()
    few = ds.assign(acceptance=ds.acceptance * 0.02, acceptance_off=ds.acceptance_off * 0.002)
    source = place_held("crab", 2e-13, 2.6, 83.633)

    def fails_twice(likelihood):
        fails_twice.calls += 1
        if fails_twice.calls < 3:
            raise xonoff.ModelError("no such toy")
        return fitted(likelihood)

    fails_twice.calls = 0
    monkeypatch.setattr("xonoff.calibration.fitted", fails_twice)
    with pytest.warns(xonoff.LowCountsWarning) as told:
        found = calibrate(few, source, n=4)
    assert len(told) == 1
    assert not found.success[:2].any()
    assert np.isnan(found.value[:2]).all()


def test_nothing_to_fit_is_refused():
    with pytest.raises(xonoff.ModelError, match="no free parameter"):
        calibrate(xonoff.tutorial.dataset(), n=2)


@pytest.mark.parametrize("options", [{"n": 2.5}, {"n": "3"}, {"seed": -1}, {"seed": None}])
def test_wrong_numbers_are_refused(options):
    with pytest.raises(xonoff.ModelError, match=r"a whole number of . or more"):
        calibrate(xonoff.tutorial.dataset(), crab(), **options)
    with pytest.raises(xonoff.SchemaError, match="a Likelihood found"):
        calibrate(xonoff.Likelihood(xonoff.tutorial.dataset(), crab()))
