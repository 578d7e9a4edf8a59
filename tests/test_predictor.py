"""A bound prediction: what a new one gives at any parameters, in any order of changes; memory; what is refused."""

import pickle

import numpy as np
import pytest
from datasets import lazy, make
from hypothesis import given, settings
from hypothesis import strategies as st

import xonoff
from xonoff.models import ExponentialCutoffPowerLaw1D, GaussianSource, PointSource, PowerLaw1D, SkyModel
from xonoff.predict import npred_signal

FIXED = {"x_0": True}


def models() -> list[SkyModel]:
    crab = SkyModel("crab", PowerLaw1D(1e-11, 1, 2.3, fixed=FIXED), PointSource(83.61, 22.03))
    other = ExponentialCutoffPowerLaw1D(2e-11, 1, 2.0, 10.0, fixed=FIXED)
    return [crab, SkyModel("nebula", other, GaussianSource(83.55, 22.0, 0.1))]


CHANGES = st.lists(st.tuples(st.integers(0, 9), st.floats(0.9, 1.1)), min_size=1, max_size=6)


@settings(max_examples=15, deadline=None)
@given(changes=CHANGES, reuse=st.booleans())
def test_it_is_the_prediction_at_its_parameters_after_any_changes(changes, reuse):
    ds = make(2)
    predictor = xonoff.Predictor(ds, models())
    found = predictor()
    for number, factor in changes:
        values = predictor.values.copy()
        values[number] = factor * values[number] if "lat" not in predictor.parameters[number] else 22 + factor - 1
        values[[2, 6]] = np.clip(values[[2, 6]], 83.4, 83.8)
        found = predictor(values, out=found if reuse else None)
        np.testing.assert_array_equal(predictor.values, values)
        changed = models()
        for name, value in zip(predictor.parameters, values, strict=True):
            model, parameter = name.split(".")
            own = next(m for m in changed if m.name == model)
            part = next(p for p in own.parts if parameter in p.param_names)
            setattr(part, parameter, value)
        np.testing.assert_allclose(found, npred_signal(ds, changed), rtol=1e-9, atol=1e-12)


def test_parameters_are_those_that_are_free():
    crab, nebula = models()
    crab.spectral.alpha.tied = lambda spectrum: 2 + spectrum.amplitude * 1e10
    predictor = xonoff.Predictor(make(2), [crab, nebula])
    at_once = SkyModel("crab", PowerLaw1D(1e-11, 1, 2.1), PointSource(83.61, 22.03))
    np.testing.assert_allclose(predictor(), npred_signal(make(2), [at_once, nebula]), rtol=1e-9)
    assert predictor.parameters[:3] == ["crab.amplitude", "crab.lon_0", "crab.lat_0"]
    assert "nebula.e" not in predictor.parameters
    values = predictor.values.copy()
    values[0] = 3e-11
    tied = SkyModel("crab", PowerLaw1D(3e-11, 1, 2.3), PointSource(83.61, 22.03))
    tied.spectral.alpha = 2.3
    found = predictor(values)
    np.testing.assert_allclose(found, npred_signal(make(2), [tied, nebula]), rtol=1e-9)
    assert crab.spectral.amplitude == 1e-11


def test_results_are_of_their_own_unless_memory_is_given_back():
    predictor = xonoff.Predictor(make(2), models())
    one = predictor()
    kept = one.copy(deep=True)
    two = predictor(predictor.values * 1.01)
    np.testing.assert_array_equal(one, kept)
    three = predictor(predictor.values * 1.01, out=two)
    assert np.shares_memory(two.values, three.values)
    for wrong in (one, kept, two * 1):
        with pytest.raises(xonoff.SchemaError, match="last result of this predictor"):
            predictor(out=wrong)
    xonoff.Predictor(make(2), models())(out=None)


def test_it_reads_of_a_lazy_dataset_what_it_needs():
    found = xonoff.Predictor(lazy(make(2)), models())()
    np.testing.assert_allclose(found, npred_signal(make(2), models()), rtol=1e-12)


def bad_sets(start: np.ndarray) -> list[np.ndarray]:
    """Values that fail at once, in a spectrum, in a shape, and in both."""
    size, index, lon = (PARAMETERS.index(name) for name in ("nebula.sigma", "crab.alpha", "crab.lon_0"))
    found = []
    for changes in ({size: -1.0}, {index: 1e5}, {index: 1e5, lon: 83.4}, {index: 1e5, size: 0.2}):
        values = start.copy()
        values[list(changes)] = list(changes.values())
        found.append(values)
    return found


PARAMETERS = xonoff.Predictor(make(2), models()).parameters


@pytest.mark.parametrize("number", range(4))
def test_after_values_that_no_model_has_all_is_as_before(number):
    predictor = xonoff.Predictor(make(2), models())
    for wrong in ([1.0], np.full(len(PARAMETERS), np.nan), ["a"] * len(PARAMETERS)):
        with pytest.raises(xonoff.ModelError, match="a finite number for each of the 10 parameters"):
            predictor(wrong)
    start = predictor.values
    moved = start * 1.0
    moved[0] *= 2
    before = predictor(moved).copy(deep=True)
    with pytest.raises(xonoff.ModelError):
        predictor(bad_sets(moved)[number])
    np.testing.assert_array_equal(predictor.values, moved)
    np.testing.assert_allclose(predictor(), before, rtol=1e-12)
    np.testing.assert_allclose(predictor(moved), before, rtol=1e-12)
    np.testing.assert_allclose(predictor(start), xonoff.Predictor(make(2), models())(), rtol=1e-12)


def test_values_are_a_copy_and_a_norm_may_go_through_anything():
    predictor = xonoff.Predictor(make(2), models())
    once = predictor().copy(deep=True)
    values = predictor.values
    values[0] *= 2
    assert float(predictor(values).sum()) > float(once.sum())
    for norm in (5e-324, 0.0, -1e-11, 1e-11):
        values[0] = norm
        found = predictor(values)
        assert np.isfinite(found).all()
    np.testing.assert_allclose(found, once, rtol=1e-12)


def test_a_rule_that_fails_changes_nothing():
    crab, nebula = models()

    def rule(spectrum: object) -> float:
        if spectrum.amplitude > 2e-11:
            raise ZeroDivisionError
        return 2.3

    crab.spectral.alpha.tied = rule
    predictor = xonoff.Predictor(make(2), [crab, nebula])
    before = predictor().copy(deep=True)
    bad = predictor.values
    bad[0] = 3e-11
    with pytest.raises(ZeroDivisionError):
        predictor(bad)
    np.testing.assert_array_equal(predictor(), before)


def test_it_can_be_pickled():
    predictor = xonoff.Predictor(make(2), models())
    first = predictor()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(predictor))(), first)


def test_no_models_and_spectra():
    ds = make(2)
    predictor = xonoff.Predictor(ds, [])
    assert predictor.parameters == []
    assert float(predictor([]).sum()) == 0
    assert xonoff.Predictor(ds.onoff.assign_models(models())).parameters[0] == "crab.amplitude"
