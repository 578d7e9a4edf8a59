"""Profiles and contours: the levels of Minos, the true minimum over the others, bounds, what is refused, plots."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from scipy.optimize import minimize

import xonoff
from xonoff import fit_plot
from xonoff.models import PointSource, PowerLaw1D, SkyModel, named_parameters

FIXED = {"x_0": True}


def crab(**spectral: object) -> SkyModel:
    fixed = {"lon_0": True, "lat_0": True}
    spectrum = PowerLaw1D(3.5e-11, 1, 2.6, fixed=FIXED, **spectral)
    return SkyModel("crab", spectrum, PointSource(83.631, 22.012, fixed=fixed))


@pytest.fixture(scope="module")
def ds():
    return xonoff.tutorial.dataset()


def test_a_profile_is_the_minimum_over_the_others(ds):
    profile = ds.onoff.stat_profile("crab.alpha", crab(), values=[2.4, 2.56, 2.75])
    likelihood = xonoff.Likelihood(ds, crab())
    for value, stat in zip(profile.value.values, profile.stat.values, strict=True):
        best = minimize(lambda a, v=value: likelihood([a[0] * 1e-11, v]), [3.4], method="Nelder-Mead", tol=1e-8)
        assert stat == pytest.approx(best.fun, abs=1e-4)
        assert float(profile["crab.amplitude"].sel(value=value)) == pytest.approx(best.x[0] * 1e-11, rel=2e-3)


def test_levels_are_those_of_minos(ds):
    result = ds.onoff.fit(crab(), minos=["crab.alpha"])
    best = named_parameters(result.models)["crab.alpha"].value
    ends = [best + error for error in result.minos["crab.alpha"]]
    profile = ds.onoff.stat_profile("crab.alpha", result.models, values=ends)
    np.testing.assert_allclose(profile.ts, 1, atol=0.01)
    assert profile.stat_best == pytest.approx(result.stat, abs=1e-3)
    assert profile.best == pytest.approx(best, abs=1e-3)


def test_by_default_it_spans_three_deviations_within_the_bounds(ds):
    profile = ds.onoff.stat_profile("crab.alpha", crab())
    assert profile.sizes == {"value": 31}
    np.testing.assert_allclose(profile.ts[[0, -1]], 9, rtol=0.1)
    bound = ds.onoff.stat_profile("crab.alpha", crab(bounds={"alpha": (2.5, 4)}))
    assert float(bound.value.min()) == 2.5


def test_one_parameter_has_a_profile_too(ds):
    model = crab()
    model.spectral.alpha.fixed = True
    profile = ds.onoff.stat_profile("crab.amplitude", model)
    np.testing.assert_allclose(profile.ts[[0, 15, -1]], [9, 0, 9], rtol=0.1, atol=1e-3)


def test_a_contour_has_one_level_all_around(ds):
    likelihood = xonoff.Likelihood(ds, crab())
    contour = ds.onoff.stat_contour(("crab.alpha", "crab.amplitude"), crab(), points=12)
    lowest = xonoff.fit(ds, crab()).stat
    points = zip(contour["crab.amplitude"].values, contour["crab.alpha"].values, strict=True)
    rises = [likelihood([a, b]) - lowest for a, b in points]
    np.testing.assert_allclose(rises, -2 * np.log(1 - 0.6827), rtol=0.02)
    assert contour["crab.alpha"][0] == contour["crab.alpha"][-1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: ds.onoff.stat_profile("alpha", crab()), "'alpha' found, crab.amplitude, crab.alpha accepted"),
        (lambda ds: ds.onoff.stat_profile("crab.alpha", crab(), values=[np.nan]), "values: .*nan.* found, finite"),
        (
            lambda ds: ds.onoff.stat_profile("crab.alpha", crab(bounds={"alpha": (2, 3)}), values=[4]),
            "bounds of crab.al",
        ),
        (lambda ds: ds.onoff.stat_profile("crab.alpha", []), "no free parameter"),
        (lambda ds: ds.onoff.stat_contour("crab.alpha", crab()), "two different ones"),
        (lambda ds: ds.onoff.stat_contour(("crab.alpha", "crab.alpha"), crab()), "two different ones"),
        (lambda ds: ds.onoff.stat_contour(("crab.alpha", "x"), crab()), "'x' found"),
        (lambda ds: ds.onoff.stat_contour(("crab.alpha", "crab.amplitude"), crab(), level=1), "level: 1 found"),
        (lambda ds: ds.onoff.stat_contour(("crab.alpha", "crab.amplitude"), crab(), points=3), "points: 3 found"),
        (lambda ds: xonoff.stat_profile(xonoff.Likelihood(ds, crab()), "crab.alpha", crab()), "models found beside"),
    ],
)
def test_what_has_no_profile_is_refused(ds, call, message):
    with pytest.raises(xonoff.ModelError, match=message):
        call(ds)


def test_plots(ds):
    profile = ds.onoff.stat_profile("crab.alpha", crab(), values=np.linspace(2.4, 2.7, 7))
    ax = fit_plot.plot_profile(profile)
    assert ax.get_xlabel() == "crab.alpha"
    assert len(ax.lines) > 2
    contour = ds.onoff.stat_contour(("crab.alpha", "crab.amplitude"), crab(), points=6)
    ax = fit_plot.plot_contour(contour, color="C3")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("crab.alpha", "crab.amplitude")
    ax = ds.onoff.fit(crab()).plot_covariance()
    assert [text.get_text() for text in ax.texts][:1] == ["1.00"]
    plt.close("all")


def test_down_to_no_flux(ds):
    """There WStat does not depend on the other parameters."""
    free = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.631, 22.012))
    likelihood = xonoff.Likelihood(ds, free)
    profile = xonoff.stat_profile(likelihood, "crab.amplitude", values=[0, 1e-13, 3.4e-11, 1e300])
    null = float(ds.onoff.stat_sum([]))
    assert float(profile.stat[0]) == pytest.approx(null, rel=1e-9)
    assert float(profile.stat[1]) < null
    assert float(profile.ts[2]) < 2
    assert np.isnan(profile.stat[3])
    assert np.isnan(profile["crab.alpha"][3])
    # It is left at the minimum.
    assert likelihood.values[0] == profile.best
    assert likelihood() == pytest.approx(profile.stat_best)


def test_by_default_from_a_bound_it_goes_inwards(ds):
    profile = ds.onoff.stat_profile("crab.alpha", crab(bounds={"alpha": (2, 2.5)}))
    assert float(profile.value.max()) == 2.5
    assert 9 < float(profile.ts.max()) < 40
    assert profile.sizes["value"] > 10


@pytest.mark.parametrize(
    "call",
    [
        lambda ds: ds.onoff.stat_profile("crab.alpha", crab(), values="a"),
        lambda ds: ds.onoff.stat_contour(3, crab()),
        lambda ds: ds.onoff.stat_contour(("crab.alpha", "crab.amplitude"), crab(), level="a"),
        lambda ds: ds.onoff.stat_contour(("crab.alpha", "crab.amplitude"), crab(), points=8.5),
        lambda ds: ds.onoff.stat_contour(("crab.alpha", "crab.amplitude"), crab(), points="8"),
    ],
)
def test_wrong_types_are_refused(ds, call):
    with pytest.raises(xonoff.ModelError, match=r"found"):
        call(ds)
