"""The likelihood: the plain sum over all bins, its derivatives, joint datasets, laziness, what is refused."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr
from datasets import lazy, make, projections, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

import xonoff
from xonoff.likelihood import Likelihood
from xonoff.models import (
    DiskSource,
    ExponentialCutoffPowerLaw1D,
    GaussianSource,
    PointSource,
    PowerLaw1D,
    ShellSource,
    SkyModel,
)

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


def test_parameters_of_several_models_that_are_one():
    ds = make(7)
    crab, nebula = models()
    likelihood = Likelihood(ds, [crab, nebula], tied={"nebula.alpha": "crab.alpha", "nebula.lon_0": "crab.lon_0"})
    assert "nebula.alpha" not in likelihood.parameters
    values = likelihood.values.copy()
    values[likelihood.parameters.index("crab.alpha")] = 2.7
    values[likelihood.parameters.index("crab.lon_0")] = 83.64
    crab.spectral.alpha, nebula.spectral.alpha = 2.7, 2.7
    crab.spatial.lon_0, nebula.spatial.lon_0 = 83.64, 83.64
    assert likelihood(values) == pytest.approx(float(ds.onoff.stat_sum([crab, nebula])), rel=1e-10)
    free = Likelihood(ds, [crab, nebula])
    slopes = dict(zip(free.parameters, free.gradient(), strict=True))
    tied = dict(zip(likelihood.parameters, likelihood.gradient(), strict=True))
    for name in ("alpha", "lon_0"):
        assert tied[f"crab.{name}"] == pytest.approx(slopes[f"crab.{name}"] + slopes[f"nebula.{name}"], rel=1e-4)


def test_a_prior_adds_the_square_of_the_pull():
    ds = make(8)
    plain = Likelihood(ds, models())
    likelihood = Likelihood(ds, models(), priors={"crab.alpha": (2.5, 0.1), "nebula.lat_0": (22.0, 0.01)})
    assert likelihood() == pytest.approx(plain() + 2**2 + 1.3**2, rel=1e-12)
    difference = dict(zip(plain.parameters, likelihood.gradient() - plain.gradient(), strict=True))
    assert difference.pop("crab.alpha") == pytest.approx(-2 * 2 / 0.1)
    assert difference.pop("nebula.lat_0") == pytest.approx(2 * 1.3 / 0.01)
    assert not any(difference.values())


@settings(max_examples=10, deadline=None)
@given(seed=seeds, scale=st.floats(0.3, 1.9), sigma=st.floats(0.15, 1))
def test_an_error_of_alpha_is_one_scale_of_all_bins(seed, scale, sigma):
    ds = make(seed).assign_attrs(name="run 1")
    likelihood = Likelihood(ds, models(), priors={"run 1.alpha_scale": (1.0, sigma)})
    assert likelihood.parameters[-1] == "run 1.alpha_scale"
    assert likelihood() == pytest.approx(float(ds.onoff.stat_sum(models())), rel=1e-10)
    values = likelihood.values.copy()
    low, high = likelihood.bounds("run 1.alpha_scale")
    values[-1] = np.clip(scale, low, high)
    other = ds.assign(acceptance=ds.acceptance.astype(float) * values[-1])
    expected = float(other.onoff.stat_sum(models())) + ((values[-1] - 1) / sigma) ** 2
    assert likelihood(values) == pytest.approx(expected, rel=1e-9)
    assert likelihood.scales == {"run 1.alpha_scale": values[-1]}
    ends = [likelihood(values + np.eye(values.size)[-1] * step) for step in (1e-5, -1e-5)]
    assert likelihood.gradient(values)[-1] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-3)


def test_datasets_of_one_name_share_the_scale():
    one, two, other = (make(seed).assign_attrs(name=name) for seed, name in ((1, "a"), (2, "a"), (3, "b")))
    likelihood = Likelihood([one, two, other], models(), priors={"a.alpha_scale": (1, 0.1)})
    values = likelihood.values.copy()
    values[-1] = 1.1
    scaled = [ds.assign(acceptance=ds.acceptance.astype(float) * 1.1) for ds in (one, two)]
    expected = sum(float(ds.onoff.stat_sum(models())) for ds in [*scaled, other]) + 1
    assert likelihood(values) == pytest.approx(expected, rel=1e-9)


def test_a_lazy_dataset_is_read_once():
    reads = []

    def read(block: np.ndarray, block_info: dict) -> np.ndarray:
        reads.append(tuple(block_info[0]["chunk-location"]))
        return block

    ds = make(3)
    counts = lazy(ds).counts.data
    counted = lazy(ds).assign(counts=(ds.counts.dims, counts.map_blocks(read, dtype=counts.dtype)))
    reads.clear()
    likelihood = Likelihood(counted, models(), priors={".alpha_scale": (1, 0.1)} if "name" not in ds.attrs else None)
    values = likelihood.values.copy()
    for _ in range(3):
        values[0] *= 1.01
        likelihood(values)
    assert len(reads) == counts.npartitions
    assert len(set(reads)) == len(reads)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Likelihood([], models()), "no dataset found"),
        (lambda: Likelihood(make(1).drop_vars("counts_off"), models()), "no variable counts_off"),
        (lambda: Likelihood(make(1).drop_vars("exposure"), models()), "no exposure"),
        (lambda: Likelihood(make(1), models(), tied={"crab.alpha": "crab.beta"}), "tied: 'crab.beta' found, crab.ampl"),
        (lambda: Likelihood(make(1), models(), tied={"nebula.sigma": "crab.lon"}), "tied: 'crab.lon' found"),
        (
            lambda: Likelihood(make(1), models(), tied={"crab.alpha": "nebula.alpha", "nebula.alpha": "crab.alpha"}),
            "crab.alpha follows nebula.alpha, which is tied itself",
        ),
        (lambda: Likelihood(make(1), models(), tied={"crab.alpha": "crab.alpha"}), "which is tied itself"),
        (
            lambda: Likelihood(make(1), models(), priors={"crab.x_0": (1, 1)}),
            "priors: 'crab.x_0' found, crab.ampl.*scale",
        ),
        (
            lambda: Likelihood(make(1), models(), priors={"crab.alpha": (1, 0)}),
            "prior of crab.alpha: .* above 0 accepted",
        ),
        (lambda: Likelihood(make(1), models(), priors={"crab.alpha": 2}), "prior of crab.alpha: 2 found"),
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


def test_threads_take_turns():
    likelihood = Likelihood(make(1), models())
    here = likelihood.values
    away = here.copy()
    away[2:4] += 0.05
    expected = [likelihood(values) for values in (here, away)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(likelihood, [here, away] * 100))
    assert found == pytest.approx(expected * 100, rel=1e-12)


@pytest.mark.parametrize("copied", [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy])
def test_a_copy_is_another_one(copied):
    ds = make(2).assign_attrs(name="run")
    one = Likelihood(ds, models(), tied={"nebula.lon_0": "crab.lon_0"}, priors={"run.alpha_scale": (1, 0.1)})
    other = copied(one)
    values = one.values * np.where(np.arange(one.values.size) == 1, 1.1, 1)
    before = one()
    assert other(values) != before
    assert other.bounds("nebula.sigma") == one.bounds("nebula.sigma")
    assert one() == before
    assert one(values) == other()


def test_ties_to_what_has_a_rule_do_not_lag():
    ds = make(6)
    crab, nebula = models()
    crab.spectral.alpha.tied = lambda spectrum: 2 + spectrum.amplitude.value * 1e10
    likelihood = Likelihood(ds, [crab, nebula], tied={"nebula.alpha": "crab.alpha"})
    for amplitude in (3e-11, 1e-11):
        values = likelihood.values
        values[0] = amplitude
        assert likelihood(values) == pytest.approx(float(ds.onoff.stat_sum(likelihood.models)), rel=1e-10)
        assert [float(m.spectral.alpha.value) for m in likelihood.models] == pytest.approx([2 + amplitude * 1e10] * 2)
    with pytest.raises(xonoff.ModelError, match=r"crab\.alpha has a rule of its own"):
        Likelihood(ds, [crab, nebula], tied={"crab.alpha": "nebula.alpha"})


def test_a_parameter_with_one_value_within_its_bounds_is_not_free():
    crab, nebula = models()
    crab.spatial.lon_0.bounds = (83.62, 83.62)
    likelihood = Likelihood(make(1), [crab, nebula])
    assert "crab.lon_0" not in likelihood.parameters
    assert likelihood.models[0].spatial.lon_0 == 83.62
    assert np.isfinite(likelihood.gradient()).all()


def test_bins_of_models_are_those_of_the_values():
    fresh, called = Likelihood(make(1), models()), Likelihood(make(1), models())
    called()
    bad = called.values * np.where(np.array(called.parameters) == "nebula.lat_0", 9, 1.5)
    with pytest.raises(xonoff.ModelError):
        called(bad)
    for one, other in zip(fresh.bins_of_models(), called.bins_of_models(), strict=True):
        np.testing.assert_allclose(one[0], other[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "name"), [(DiskSource(83.6, 22, 0.4), "r_0"), (ShellSource(83.6, 22, 0.3, 0.1), "radius")]
)
def test_derivatives_by_sizes_do_not_follow_the_noise_of_profiles(shape, name):
    ds = xonoff.tutorial.dataset()
    likelihood = Likelihood(ds, SkyModel("a", PowerLaw1D(3e-11, 1, 2.0), shape))
    number = likelihood.parameters.index(f"a.{name}")
    values, size = likelihood.values, float(getattr(shape, name).value)
    sizes = size + np.linspace(-0.02, 0.02, 5)
    along = [likelihood(np.where(np.arange(values.size) == number, s, values)) for s in sizes]
    slope = np.polynomial.Polynomial.fit(sizes, along, 3).deriv()(size)
    assert likelihood.gradient(values)[number] == pytest.approx(slope, rel=0.02)


def two(**second: object) -> list[SkyModel]:
    crab, _ = models()
    options = {"lon": 83.5, "lat": 22.0, "frame": "icrs", **second}
    place = PointSource(options["lon"], options["lat"], frame=options["frame"])
    return [crab, SkyModel("b", PowerLaw1D(1e-11, 1, 2.0, bounds=options.get("bounds", {})), place)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Likelihood("abc", models()), "datasets: a str found, a Dataset or a list"),
        (lambda: Likelihood(None, models()), "datasets: a NoneType found"),
        (lambda: Likelihood({"a": make(1)}, models()), "datasets: a str found"),
        (lambda: Likelihood([1], models()), "datasets: a int found"),
        (lambda: Likelihood(make(1), models(), tied=["crab.alpha"]), "tied: a list found, names by name"),
        (lambda: Likelihood(make(1), models(), tied={"crab.alpha": 3}), "tied: 3 found"),
        (
            lambda: Likelihood(make(1), two(), tied={"b.lon_0": "crab.lat_0"}),
            "lon_0 in .* follows crab.lat_0, lat_0 in",
        ),
        (lambda: Likelihood(make(1), two(frame="galactic"), tied={"b.lon_0": "crab.lon_0"}), "frame galactic, follows"),
        (lambda: Likelihood(make(1), two(), tied={"b.amplitude": "crab.alpha"}), "an amplitude, follows crab.alpha"),
        (
            lambda: Likelihood(
                make(1), [at_most_two(), two(bounds={"alpha": (3, 4)})[1]], tied={"b.alpha": "crab.alpha"}
            ),
            "crab.alpha: bounds that do not meet",
        ),
        (lambda: Likelihood(make(1), models(), priors=[("crab.alpha", (2, 1))]), "priors: a list found"),
        (lambda: Likelihood(make(1), models(), priors="crab.alpha"), "priors: a str found"),
        (
            lambda: Likelihood(make(1), models(), priors={"crab.alpha": (2, 1e-200)}),
            "deviation of 1e-200 .*fix the par",
        ),
    ],
)
def test_wrong_types_ties_and_priors_are_refused(call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call()


def at_most_two() -> SkyModel:
    crab, _ = models()
    crab.spectral.alpha.bounds = (1, 2)
    return crab


def test_a_source_comes_back_to_the_map(ds):
    """The flux is remembered for true energies, not for those of a source off the map, which has no dispersion."""
    source = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6, fixed={"x_0": True}), PointSource(83.633, 22.014))
    likelihood = Likelihood(ds, source)
    here = likelihood.values
    before = likelihood(here)
    lon = likelihood.parameters.index("crab.lon_0")
    away = np.where(np.arange(here.size) == lon, 200.0, here)
    likelihood(away)
    away[0] *= 1.5
    assert likelihood(away) == pytest.approx(float(ds.onoff.stat_sum([])), rel=1e-12)
    assert likelihood(here) == pytest.approx(before, rel=1e-12)
    off = source.copy()
    off.spatial.lon_0 = 200.0
    moved = Likelihood(ds, off)
    assert moved(here) == pytest.approx(before, rel=1e-12)
