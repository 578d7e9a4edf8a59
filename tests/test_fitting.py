"""Fits: simulated sources are found with the right errors, clear refusals, text of results."""

import dataclasses
import json

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from datasets import make
from regions import CircleSkyRegion

import xonoff
from xonoff.fitting import FitResult, fit
from xonoff.minimum import Minimum
from xonoff.models import (
    ExponentialCutoffPowerLaw1D,
    GaussianSource,
    LogParabola1D,
    PointSource,
    PowerLaw1D,
    SkyModel,
    named_parameters,
)

FIXED = {"x_0": True}


def crab(amplitude: float = 3.5e-11, alpha: float = 2.6, lon: float = 83.633, lat: float = 22.014) -> SkyModel:
    return SkyModel("crab", PowerLaw1D(amplitude, 1, alpha, fixed=FIXED), PointSource(lon, lat))


def test_a_fit_to_what_is_expected_gives_the_model_back():
    ds = xonoff.tutorial.dataset()
    expected = ds.onoff.asimov(ds.acceptance, crab())
    result = fit(expected, crab(2.8e-11, 2.4, 83.68, 22.05))
    assert result.success, result.message
    assert result.stat == pytest.approx(0, abs=1e-3)
    found = named_parameters(result.models)
    truth = named_parameters([crab()])
    for name in result.covariance.parameter.values:
        assert abs(found[name].value - truth[name].value) < 0.01 * found[name].std, name


@pytest.mark.parametrize("start", [crab(2.8e-11, 2.6, 83.683, 22.014), crab(4.2e-11, 2.6, 83.633, 21.964)])
def test_from_afar_it_finds_the_same_minimum(start):
    """A start 20 % off in flux and 0.05 deg off in position."""
    ds = xonoff.tutorial.dataset()
    near, far = fit(ds, crab()), fit(ds, start)
    assert far.success
    assert far.stat == pytest.approx(near.stat, abs=1e-2)
    values = [np.array([p.value for p in named_parameters(r.models).values()]) for r in (near, far)]
    np.testing.assert_allclose(*values, rtol=1e-3)


def test_errors_are_those_of_the_curvature_and_of_minos():
    ds = xonoff.tutorial.dataset()
    result = ds.onoff.fit(crab(), minos=["crab.alpha"])
    low, high = result.minos["crab.alpha"]
    error = named_parameters(result.models)["crab.alpha"].std
    assert -low == pytest.approx(error, rel=0.05)
    assert high == pytest.approx(error, rel=0.05)
    likelihood = xonoff.Likelihood(ds, result.models)
    np.testing.assert_allclose(np.diag(result.correlation), 1)
    # Twice the inverse of the second derivatives, by differences of the gradient.
    sigma = np.sqrt(np.diag(result.covariance))
    rows = []
    for number, step in enumerate(sigma / 20):
        ends = []
        for sign in (1, -1):
            values = likelihood.values * 1
            values[number] += sign * step
            ends.append(likelihood.gradient(values))
            values[number] -= sign * step
            likelihood(values)
        rows.append((ends[0] - ends[1]) / (2 * step))
    inverse = 2 * np.linalg.inv(np.array(rows) * np.outer(sigma, sigma))
    np.testing.assert_allclose(np.sqrt(np.diag(inverse)), 1, rtol=0.03)


def test_results_are_text_and_models_to_assign():
    ds = xonoff.tutorial.dataset()
    result = ds.onoff.fit(crab())
    read = FitResult.from_json(result.to_json())
    assert read.to_json() == result.to_json()
    np.testing.assert_array_equal(read.covariance, result.covariance)
    assert float(ds.onoff.assign_models(read.models).onoff.stat_sum()) == pytest.approx(result.stat, rel=1e-10)
    assert "converged" in repr(result)
    assert "crab.alpha" in result._repr_html_()
    for text in ("{}", "[]", "3", '{"layout": "x"}', "no text", result.to_json().replace("covariance", "c")):
        with pytest.raises(xonoff.ModelError, match="text of a fit"):
            FitResult.from_json(text)


def test_the_start_is_not_changed():
    start = crab(3e-11)
    fit(xonoff.tutorial.dataset(), start)
    assert start.spectral.amplitude == 3e-11
    assert start.spectral.amplitude.std is None


def test_datasets_together_know_more():
    ds = xonoff.tutorial.dataset()
    one, two = (ds.onoff.fake(ds.acceptance, seed, crab()) for seed in (1, 2))
    alone, joint = fit(one, crab()), fit([one, two], crab())
    ratio = np.sqrt(np.diag(joint.covariance) / np.diag(alone.covariance))
    np.testing.assert_allclose(ratio, np.sqrt(0.5), rtol=0.1)
    assert joint.ndf == alone.ndf * 2 + 4


def fixed_all() -> SkyModel:
    model = crab()
    for part in model.parts:
        for name in part.param_names:
            getattr(part, name).fixed = True
    return model


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: fit(ds, fixed_all()), "no free parameter found"),
        (lambda ds: fit(ds, []), "no free parameter found"),
        (lambda ds: fit(ds, crab(lon=200)), "the data do not depend on crab.amplitude"),
        (lambda ds: fit(ds.assign(mask_safe=ds.mask_safe & False), crab()), "no valid bin within the masks"),
        (lambda ds: fit(ds, crab(amplitude=np.nan)), "finite"),
        (lambda ds: fit(ds, crab(), minos=["alpha"]), "minos: 'alpha' found, crab.amplitude, crab.alpha"),
    ],
)
def test_what_cannot_be_fitted_is_refused(call, message):
    with pytest.raises(xonoff.ModelError, match=message):
        call(xonoff.tutorial.dataset())


def test_degenerate_parameters_are_told():
    """Two sources at one place, with one spectrum: only their sum is known."""
    ds = xonoff.tutorial.dataset()
    twins = [
        SkyModel(
            n,
            PowerLaw1D(1.7e-11, 1, 2.6, fixed={"x_0": True, "alpha": True}),
            PointSource(83.633, 22.014, fixed={"lon_0": True, "lat_0": True}),
        )
        for n in "ab"
    ]
    result = fit(ds, twins)
    sigma = np.sqrt(np.diag(result.covariance))
    assert not result.success or (sigma > 1e-10).all() or abs(float(result.correlation[0, 1])) > 0.99


def test_a_width_stays_within_its_bounds():
    ds = make(3)
    shape = GaussianSource(83.6, 22.013, 0.05, bounds={"sigma": (0, 5)})
    model = SkyModel("a", PowerLaw1D(1e-12, 1, 2.3, fixed=FIXED), shape)
    with pytest.warns(xonoff.LowCountsWarning):
        result = fit(ds, model)
    assert result.models[0].spatial.sigma.value >= 1e-6


def test_reference_energies_are_not_free():
    line = PowerLaw1D(3.5e-11, 1, 2.6) + PowerLaw1D(1e-13, 1, 1.5) * PowerLaw1D(1, 1, 0)
    model = SkyModel("a", line, PointSource(83.6, 22))
    names = xonoff.Predictor(xonoff.tutorial.dataset(), model).parameters
    assert names == [f"a.{name}" for name in line.param_names if not name.startswith("x_0")] + ["a.lon_0", "a.lat_0"]
    free = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.633, 22.014))
    result = fit(xonoff.tutorial.dataset(), free)
    assert result.success
    assert result.models[0].spectral.x_0 == 1


def flux_only(amplitude: float, place: tuple[float, float] = (83.633, 22.014), **options: object) -> SkyModel:
    spectrum = PowerLaw1D(amplitude, 1, 2.4, fixed={"alpha": True}, **options)
    return SkyModel("crab", spectrum, PointSource(*place, fixed={"lon_0": True, "lat_0": True}))


@pytest.mark.parametrize("amplitude", [0.0, 1e-20, 1e-9, -1e-11])
def test_the_error_does_not_depend_on_the_start(amplitude):
    result = fit(xonoff.tutorial.dataset(), flux_only(amplitude))
    assert result.success, result.message
    found = result.models[0].spectral.amplitude
    assert found.value == pytest.approx(3.398e-11, rel=1e-3)
    assert found.std == pytest.approx(9.54e-13, rel=1e-2)


def cutoff(energy: float) -> SkyModel:
    return SkyModel("crab", ExponentialCutoffPowerLaw1D(3e-11, 1, 2.4, energy), PointSource(83.65, 22))


@pytest.mark.parametrize(
    ("start", "stat"),
    [
        (crab(3.5e-17), 3894.718),
        (crab(-3e-11, 2.4), 3894.718),
        (crab(1.0, 2.4, 83.65, 22.0), 3894.718),  # in the wrong unit
        (crab(3e-11, 10), 3894.718),
        (crab(lon=84.2), 3894.718),
        (cutoff(0.1), 3894.248),
        (cutoff(1e4), 3894.248),
        (SkyModel("crab", PowerLaw1D(2e-11, 1, 2.4) + PowerLaw1D(1e-11, 1, 3), PointSource(83.65, 22)), 3894.718),
    ],
)
def test_far_starts_that_can_reach_the_minimum_do(start, stat):
    result = fit(xonoff.tutorial.dataset(), start)
    assert result.success, result.message
    assert result.stat == pytest.approx(stat, abs=2e-3)
    assert np.isfinite(result.covariance).all()


def test_a_search_that_is_lost_is_told_and_goes_back():
    ds = xonoff.tutorial.dataset()
    steep = SkyModel("crab", LogParabola1D(3e-11, 1, 2.4, -5.0), PointSource(83.65, 22))
    empty = ds.assign(counts=ds.counts * 0, counts_off=ds.counts_off * 0)
    for data, model in ((ds, steep), (empty, crab())):
        likelihood = xonoff.Likelihood(data, model)
        before = likelihood()
        result = fit(likelihood, minos=["crab.alpha"])
        assert not result.success
        assert "start nearer, fix parameters" in result.message
        assert np.isnan(result.minos["crab.alpha"]).all()
        assert likelihood() == result.stat <= before
    tight = fit(ds, crab(alpha=2.4), priors={"crab.alpha": (2.6, 1e-12)})
    assert not tight.success or tight.models[0].spectral.alpha.value == pytest.approx(2.6)


def test_a_perfect_start_is_a_minimum():
    ds = xonoff.tutorial.dataset()
    region = CircleSkyRegion(SkyCoord(83.633, 22.014, unit="deg"), 0.5 * u.deg)
    spectrum = ds.onoff.to_spectrum(region)
    model = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6))
    result = fit(spectrum.onoff.asimov(spectrum.acceptance.astype(float), model), model)
    assert result.success, result.message
    assert result.stat == pytest.approx(0, abs=1e-9)
    assert result.models[0].spectral.alpha.std > 0.01
    round_ = GaussianSource(83.63, 22.01, 0.1, fixed={"e": False, "phi": False})
    with pytest.raises(xonoff.ModelError, match=r"do not depend on a\.phi: .* not round if it has an angle"):
        fit(ds, SkyModel("a", PowerLaw1D(3e-11, 1, 2.4), round_))


def test_at_a_bound_there_is_no_error():
    model = crab()
    model.spectral.alpha.bounds = (2, 2.5)
    result = fit(xonoff.tutorial.dataset(), model, minos=["crab.alpha"])
    assert result.success
    assert "crab.alpha is at its bound" in result.message
    found = named_parameters(result.models)
    assert found["crab.alpha"].std is None
    assert found["crab.amplitude"].std == pytest.approx(9.7e-13, rel=0.02)
    lower, upper = result.minos["crab.alpha"]
    assert lower == pytest.approx(-0.0118, rel=0.02)
    assert np.isnan(upper)
    band = xonoff.spectrum_band(result, "crab", [1.0])
    assert (band.dnde_err / band.dnde).item() == pytest.approx(0.028, rel=0.05)


@pytest.mark.parametrize("bounds", [{}, {"amplitude": (0, None)}])
@pytest.mark.parametrize("place", [(83.0, 21.5), (84.0, 22.5)])
def test_the_flux_of_an_empty_field_is_0(bounds, place):
    ds = xonoff.tutorial.dataset()
    empty = ds.onoff.fake(ds.acceptance.astype(float), 5, [])
    result = fit(empty, flux_only(1e-12, place, bounds=bounds))
    assert result.success
    assert "is at its bound" in result.message or "is 0, where WStat has a kink" in result.message
    assert abs(result.models[0].spectral.amplitude.value) < 1e-18
    assert result.models[0].spectral.amplitude.std is None


def test_text_of_results():
    result = fit(xonoff.tutorial.dataset(), crab(), priors={"crab.alpha": (2.6, 0.1)}, minos="crab.alpha")
    assert result.ndf == 11790 + 1
    lost = dataclasses.replace(
        result, covariance=result.covariance * np.nan, stat=np.nan, tied={"b.alpha": "crab.alpha"}
    )
    text = lost.to_json()
    assert "NaN" not in text
    read = FitResult.from_json(text)
    assert np.isnan(read.stat)
    assert np.isnan(read.covariance).all()
    assert (read.tied, read.priors, read.minos) == (lost.tied, result.priors, result.minos)
    assert lost != read
    found = json.loads(result.to_json())
    for change in (
        {"success": "false"},
        {"success": None},
        {"message": {}},
        {"ndf": 1.5},
        {"stat": "1"},
        {"stat": 10**400},
        {"parameters": ["a"] * 4},
        {"parameters": "abcd"},
        {"covariance": [[1.0]]},
        {"minos": {"crab.alpha": "12"}},
        {"tied": {"a": 1}},
    ):
        with pytest.raises(xonoff.ModelError, match="text of a fit"):
            FitResult.from_json(json.dumps({**found, **change}))
    for text in ("[" * 100_000, result.to_json().replace('"ndf": 11791', '"ndf": 1e400')):
        with pytest.raises(xonoff.ModelError, match="text of a fit"):
            FitResult.from_json(text)
    with pytest.raises(xonoff.ModelError, match="minos: None found"):
        fit(xonoff.tutorial.dataset(), crab(), minos=None)


class Valley:
    """WStat of two parameters with two minima, at x = -2 and 2, and a saddle between them, where it starts."""

    parameters, bins, values = ["a.x", "a.y"], 100, np.zeros(2)

    def bounds(self, name: str) -> tuple[float, float]:
        return -np.inf, np.inf

    def __call__(self, values: np.ndarray | None = None) -> float:
        x, y = self.values if values is None else values
        return (x**2 - 4) ** 2 / 16 + (y - x) ** 2

    def gradient(self, values: np.ndarray, steps: np.ndarray | None = None) -> np.ndarray:
        x, y = values
        return np.array([(x**2 - 4) * x / 4 - 2 * (y - x), 2 * (y - x)])


def test_a_saddle_is_left():
    minimum = Minimum(Valley())
    assert minimum.find()
    np.testing.assert_allclose(np.abs(minimum.best), 2, atol=0.05)
    assert np.isfinite(minimum.covariance()).all()
