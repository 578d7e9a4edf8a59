"""Fits: simulated sources are found with the right errors, clear refusals, text of results."""

import numpy as np
import pytest
from datasets import make

import xonoff
from xonoff.fitting import FitResult, fit
from xonoff.models import GaussianSource, PointSource, PowerLaw1D, SkyModel, named_parameters

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
