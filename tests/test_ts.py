"""TS of a source: the difference of two plain sums, the fit of the others, datasets together, what is refused."""

import numpy as np
import pytest
from datasets import make
from hypothesis import given, settings
from hypothesis import strategies as st

import xonoff
from xonoff import source_ts
from xonoff.models import GaussianSource, PointSource, PowerLaw1D, SkyModel
from xonoff.ts import _ties_without

FIXED = {"x_0": True}
PLACE = {"lon_0": True, "lat_0": True}


def crab(amplitude: float = 3.5e-11) -> SkyModel:
    return SkyModel("crab", PowerLaw1D(amplitude, 1, 2.6, fixed=FIXED), PointSource(83.633, 22.014, fixed=PLACE))


def halo(amplitude: float = 2e-12) -> SkyModel:
    shape = GaussianSource(83.6, 22.1, 0.3, fixed={**PLACE, "sigma": True, "e": True, "phi": True})
    return SkyModel("halo", PowerLaw1D(amplitude, 1, 2.2, fixed={"x_0": True, "alpha": True}), shape)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), name=st.sampled_from(["crab", "halo"]))
def test_others_fixed_it_is_the_difference_of_two_sums(seed, name):
    ds, models = make(seed), [crab(1e-11), halo()]
    found = source_ts(ds, models, name, refit=False)
    others = [model for model in models if model.name != name]
    expected = float(ds.onoff.stat_sum(others)) - float(ds.onoff.stat_sum(models))
    assert float(found.ts) == pytest.approx(expected, abs=1e-6)
    assert float(found.sqrt_ts) == pytest.approx(np.sign(expected) * np.sqrt(abs(expected)), rel=1e-4, abs=1e-4)
    assert int(found.ndf) == {"crab": 2, "halo": 1}[name]
    assert bool(found.success)
    assert found.attrs == {"source": name, "message": "others fixed"}


def test_a_source_alone_has_nothing_to_refit():
    ds = xonoff.tutorial.dataset()
    result = xonoff.fit(ds, crab())
    found = source_ts(ds, result)
    assert float(found.stat) == pytest.approx(result.stat, rel=1e-12)
    assert float(found.ts) == pytest.approx(float(ds.onoff.stat_sum([])) - result.stat, rel=1e-9)
    assert found.attrs["message"] == "others fixed"


@pytest.mark.filterwarnings("ignore:few off counts")
def test_the_others_take_over_what_they_can():
    ds = xonoff.tutorial.dataset()
    data = ds.onoff.fake(ds.acceptance, 3, [crab(), halo(4e-12)])
    result = xonoff.fit(data, [crab(), halo()])
    free, fixed = (source_ts(data, result, "halo", refit=refit) for refit in (True, False))
    assert 0 < float(free.ts) < float(fixed.ts)
    assert free.attrs["message"] == "minimum found"
    null = xonoff.fit(data, [model for model in result.models if model.name == "crab"])
    assert float(free.stat_null) == pytest.approx(null.stat, abs=1e-3)
    assert int(free.ndf) == 1
    assert float(free.sqrt_ts) > 3


@pytest.mark.filterwarnings("ignore:few off counts")
def test_datasets_together_and_with_the_models_that_they_carry():
    ds = xonoff.tutorial.dataset()
    two = [ds.onoff.fake(ds.acceptance, seed, crab()) for seed in (1, 2)]
    joint = source_ts(two, crab())
    assert float(joint.ts) == pytest.approx(sum(float(source_ts(one, crab()).ts) for one in two), rel=1e-9)
    carried = source_ts([one.onoff.assign_models(crab()) for one in two])
    assert float(carried.ts) == pytest.approx(float(joint.ts), rel=1e-12)
    mixed = source_ts([two[0].onoff.assign_models([crab(), halo()]), two[1].onoff.assign_models(halo())], source="crab")
    assert float(mixed.ts) > 1000


def test_a_source_that_makes_it_worse_has_a_negative_ts():
    found = source_ts(xonoff.tutorial.dataset(), crab(1e-9))
    assert float(found.ts) < 0
    assert float(found.sqrt_ts) == -np.sqrt(-float(found.ts))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: source_ts(ds), "source: None found, but there are no models"),
        (
            lambda ds: source_ts(ds, crab(), "vela"),
            "source: 'vela' found, the name of one of the models accepted: crab",
        ),
        (lambda ds: source_ts(ds, [crab(), halo()]), "source: None found.*crab, halo"),
        (lambda ds: source_ts([], crab()), "no dataset found"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call(xonoff.tutorial.dataset())


@pytest.mark.filterwarnings("ignore:few off counts")
def test_of_a_result_ties_priors_and_scales_count():
    ds = xonoff.tutorial.dataset()
    other = SkyModel("b", PowerLaw1D(3e-12, 1, 2.6), PointSource(83.0, 22.0, fixed=PLACE))
    prior = {"tutorial.alpha_scale": (1, 0.05), "crab.alpha": (2.5, 0.1)}
    result = xonoff.fit(ds, [crab(), other], tied={"b.alpha": "crab.alpha"}, priors=prior)
    found = source_ts(ds, result, "b")
    assert float(found.stat) == pytest.approx(result.stat, rel=1e-9)
    assert int(found.ndf) == 1
    null = xonoff.fit(ds, crab(), priors=prior)
    assert float(found.stat_null) == pytest.approx(null.stat, abs=1e-3)
    # Without the leader, the follower is free, with its prior.
    assert int(source_ts(ds, result, "crab").ndf) == 1


def test_what_follows_a_source_stays_together_without_it():
    tied = {"b.alpha": "a.alpha", "c.alpha": "a.alpha", "c.lon_0": "b.lon_0"}
    left = {"b.alpha", "c.alpha", "b.lon_0", "c.lon_0"}
    assert _ties_without(tied, left) == {"c.alpha": "b.alpha", "c.lon_0": "b.lon_0"}
    assert _ties_without(tied, {"a.alpha", "b.alpha"}) == {"b.alpha": "a.alpha"}
