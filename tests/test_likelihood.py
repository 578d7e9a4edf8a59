"""The likelihood: the plain sum over all bins, its derivatives, joint datasets, laziness, what is refused."""

import numpy as np
import pytest
import xarray as xr
from datasets import lazy, make, projections, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

import xonoff
from xonoff.likelihood import Likelihood
from xonoff.models import ExponentialCutoffPowerLaw1D, GaussianSource, PointSource, PowerLaw1D, SkyModel

FIXED = {"x_0": True}


def models() -> list[SkyModel]:
    crab = SkyModel("crab", PowerLaw1D(1e-11, 1, 2.3, fixed=FIXED), PointSource(83.61, 22.03))
    other = ExponentialCutoffPowerLaw1D(2e-11, 1, 2.0, 10.0, fixed=FIXED)
    return [crab, SkyModel("nebula", other, GaussianSource(83.55, 22.013, 0.1))]


def at(likelihood: Likelihood, values: np.ndarray) -> list[SkyModel]:
    """The models with values of the free parameters."""
    changed = models()
    for name, value in zip(likelihood.parameters, values, strict=True):
        model, parameter = name.split(".")
        own = next(m for m in changed if m.name == model)
        setattr(next(part for part in own.parts if parameter in part.param_names), parameter, value)
    return changed


@settings(max_examples=15, deadline=None)
@given(seed=seeds, projection=projections, migra=st.booleans(), moves=st.lists(st.integers(0, 9), max_size=4))
def test_it_is_the_sum_over_all_bins_at_any_parameters(seed, projection, migra, moves):
    ds = make(seed, projection, migra=migra)
    likelihood = Likelihood(ds, models())
    values = likelihood.values.copy()
    for number in [None, *moves]:
        if number is not None:
            values[number] += 0.02 if "_0" in likelihood.parameters[number] else 0.05 * values[number]
        expected = float(ds.onoff.stat_sum(at(likelihood, values)))
        assert likelihood(values) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("seed", [1, 2])
def test_derivatives(seed):
    likelihood = Likelihood(make(seed), models())
    here = likelihood.values.copy()
    gradient = likelihood.gradient(here)
    np.testing.assert_array_equal(likelihood.values, here)
    for number, name in enumerate(likelihood.parameters):
        step = 3e-5 if "_0" in name or "sigma" in name else 1e-5 * abs(here[number])
        ends = [here.copy(), here.copy()]
        ends[0][number] += step
        ends[1][number] -= step
        slope = (likelihood(ends[0]) - likelihood(ends[1])) / (2 * step)
        assert gradient[number] == pytest.approx(slope, rel=1e-4, abs=1e-6 * abs(slope) + 1e-3), name


def test_datasets_of_all_kinds_add_up():
    ds = xonoff.tutorial.dataset()
    source = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6, fixed=FIXED), PointSource(83.633, 22.014))
    from astropy import units as u
    from astropy.coordinates import SkyCoord
    from regions import CircleSkyRegion

    region = CircleSkyRegion(SkyCoord(83.633, 22.014, unit="deg"), 0.3 * u.deg)
    parts = [ds, ds.onoff.to_image(keep_energy_true=True), ds.onoff.to_spectrum(region, containment_correction=True)]
    joint = Likelihood(parts, source)
    assert joint() == pytest.approx(sum(float(part.onoff.stat_sum(source)) for part in parts), rel=1e-12)
    assert joint.gradient() == pytest.approx(sum(Likelihood(part, source).gradient() for part in parts), rel=1e-6)


def test_each_dataset_has_the_models_that_it_carries():
    crab, nebula = models()
    one, two = make(1).onoff.assign_models(crab), make(2).onoff.assign_models([crab, nebula])
    joint = Likelihood([one, two])
    assert [model.name for model in joint.models] == ["crab", "nebula"]
    assert joint() == pytest.approx(float(one.onoff.stat_sum() + two.onoff.stat_sum()), rel=1e-12)
    other = crab.copy()
    other.spectral.alpha = 3
    with pytest.raises(xonoff.ModelError, match="crab: two datasets carry different models of this name"):
        Likelihood([one, make(2).onoff.assign_models(other)])


def test_a_lazy_dataset_gives_the_same():
    assert Likelihood(lazy(make(3)), models())() == pytest.approx(Likelihood(make(3), models())(), rel=1e-12)


def test_bins_that_only_a_signal_makes_possible():
    """Without off exposure in the on region nothing but the signal can explain counts."""
    ds = make(4)
    acceptance = ds.acceptance.copy(deep=True)
    x, y = (round(float(p)) for p in ds.onoff.geom.sky.sky_to_pixel((83.61, 22.03)))
    acceptance[:, y, x] = 0
    ds = ds.assign(
        acceptance=acceptance, counts=ds.counts + 1, mask_safe=ds.mask_safe | True, mask_fit=ds.mask_fit | True
    )
    assert np.isinf(ds.onoff.stat_sum())
    likelihood = Likelihood(ds, models())
    assert likelihood() == pytest.approx(float(ds.onoff.stat_sum(models())), rel=1e-10)
    bare = models()[0].copy()
    assert Likelihood(ds, SkyModel("a", bare.spectral, PointSource(200, -40)))() == np.inf


def test_no_model_and_models_off_the_map():
    ds = make(5)
    assert Likelihood(ds, [])() == pytest.approx(float(ds.onoff.stat_sum([])))
    far = SkyModel("far", PowerLaw1D(1e-11, 1, 2), PointSource(200, -40))
    likelihood = Likelihood(ds, far)
    assert likelihood() == pytest.approx(float(ds.onoff.stat_sum([])))
    assert (likelihood.gradient() == 0).all()


def test_tied_parameters_follow():
    crab, nebula = models()
    crab.spectral.alpha.tied = lambda spectrum: 2 + spectrum.amplitude * 1e10
    likelihood = Likelihood(make(6), [crab, nebula])
    assert "crab.alpha" not in likelihood.parameters
    gradient = likelihood.gradient()
    step = 1e-16
    ends = []
    for sign in (1, -1):
        values = likelihood.values.copy()
        values[0] = 1e-11 + sign * step
        ends.append(likelihood(values))
    assert gradient[0] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Likelihood([], models()), "no dataset found"),
        (lambda: Likelihood(make(1).drop_vars("counts_off"), models()), "no variable counts_off"),
        (lambda: Likelihood(make(1).drop_vars("exposure"), models()), "no exposure"),
        (lambda: Likelihood(make(1), models())([1.0]), "a finite number for each of the 10 parameters"),
        (lambda: Likelihood(make(1), models())(np.full(10, np.nan)), "a finite number for each"),
    ],
)
def test_what_has_no_likelihood_is_refused(call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call()


def test_values_that_no_model_has_leave_it_usable():
    likelihood = Likelihood(make(1), models())
    before, values = likelihood(), likelihood.values.copy()
    bad = values.copy()
    bad[likelihood.parameters.index("nebula.sigma")] = -1
    with pytest.raises(xonoff.ModelError, match="sigma"):
        likelihood(bad)
    assert likelihood(values) == before
    assert isinstance(make(1), xr.Dataset)
