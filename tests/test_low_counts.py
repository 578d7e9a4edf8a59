"""Bias at low counts: what simulations give, none where counts are many, the warning, bins joined."""

import warnings

import numpy as np
import pytest
import xarray as xr

import xonoff
from xonoff.low_counts import warn_of_bias
from xonoff.models import PointSource, PowerLaw1D, SkyModel
from xonoff.stats import wstat
from xonoff.stats.expected import expected_wstat

#: Norms at which W is expected.
NORMS = np.linspace(0, 2, 41)


def best_norm(signal: float, background: float, alpha: float) -> float:
    curve = np.zeros(NORMS.size)
    expected_wstat(NORMS, *(np.array([v]) for v in (signal, background, alpha, 1.0)), curve)
    return NORMS[curve.argmin()]


@pytest.mark.parametrize(
    ("signal", "background", "alpha", "bias"),
    [(0.5, 0.5, 1, -0.2), (0.5, 0.1, 1, -1), (0.2, 0.05, 0.1, 0.03), (0.5, 0.5, 0.1, 0), (5, 5, 1, 0)],
)
def test_the_norm_of_a_constant_signal_in_many_bins(signal, background, alpha, bias):
    """Beside a fit of one norm to 200 000 bins, and beside what is known from another program."""
    rng = np.random.default_rng(3)
    n_on, n_off = rng.poisson(signal + background, 200_000), rng.poisson(background / alpha, 200_000)
    sums = [float(wstat(n_on, n_off, alpha, norm * signal).sum()) for norm in NORMS]
    assert best_norm(signal, background, alpha) == pytest.approx(NORMS[np.argmin(sums)], abs=0.051)
    assert best_norm(signal, background, alpha) - 1 == pytest.approx(bias, abs=0.03)


def test_many_off_counts_give_the_parabola_of_the_fisher_information():
    near = [np.zeros(NORMS.size) for _ in range(2)]
    for curve, background in zip(near, (49.0, 51.0), strict=True):
        expected_wstat(NORMS, *(np.array([v]) for v in (5.0, background, 1.0, 1.0)), curve)
    np.testing.assert_allclose(near[0] - near[0].min(), near[1], rtol=0.06, atol=2e-3)


def dataset(off: float) -> xr.Dataset:
    """A spectrum with a mean number of off counts in each bin."""
    ds = xonoff.tutorial.dataset()
    from astropy import units as u
    from astropy.coordinates import SkyCoord
    from regions import CircleSkyRegion

    spectrum = ds.onoff.to_spectrum(CircleSkyRegion(SkyCoord(83.63, 22.01, unit="deg"), 0.1 * u.deg))
    one = spectrum.acceptance * 0 + 1
    return spectrum.assign(acceptance=one, acceptance_off=one).onoff.fake(off, 1, crab())


def crab(amplitude: float = 1e-13) -> SkyModel:
    return SkyModel("crab", PowerLaw1D(amplitude, 1, 2.6, fixed={"alpha": True}), PointSource(83.633, 22.014))


def test_a_warning_where_a_fit_is_biased():
    few = dataset(0.2)
    found = xonoff.norm_bias(few, crab())
    assert float(found.bias) < -0.25 * float(found.error)
    assert float(found.off_counts) == pytest.approx(float(few.counts_off.mean()))
    with pytest.warns(xonoff.LowCountsWarning, match="few off counts, .* % too low"):
        warn_of_bias(xonoff.Likelihood(few, crab()))
    many = dataset(300.0)
    assert abs(float(xonoff.norm_bias(many, crab()).bias)) < 1e-3
    warn_of_bias(xonoff.Likelihood(many, crab(5e-11)))


def test_models_off_the_map_have_no_bias():
    far = SkyModel("far", PowerLaw1D(1e-11, 1, 2), PointSource(200, -40))
    found = xonoff.norm_bias(xonoff.tutorial.dataset(), far)
    assert np.isnan([float(found.error), float(found.off_counts)]).all()


def test_energies_are_joined_until_there_are_enough_off_counts():
    ds = dataset(3.0)
    joined = ds.onoff.group(10)
    assert (joined.counts_off >= 10).all()
    assert 1 < joined.sizes["energy"] < ds.sizes["energy"]
    assert float(joined.counts.sum()) == float(ds.counts.sum())
    image = xonoff.tutorial.dataset()
    grouped = image.onoff.group(4)
    assert float(grouped.counts_off.where(grouped.mask_safe).mean(("lat", "lon")).min()) >= 4
    for number in (0, -1, np.nan, np.inf):
        with pytest.raises(xonoff.SchemaError, match="a number above 0"):
            ds.onoff.group(number)
    with pytest.raises(xonoff.SchemaError, match="in all energy bins together, 1e\\+06 wanted"):
        ds.onoff.group(1e6)


def test_of_a_bright_source_there_is_no_bias():
    """Its error is far less than a step of the norms that W is expected at first."""
    ds = xonoff.tutorial.dataset()
    for factor in (1, 100, 1e18):
        found = xonoff.norm_bias(ds.assign(counts_off=ds.counts_off * 0 + 1), crab(3.5e-11 * factor))
        assert abs(float(found.bias)) < 0.02 * float(found.error)
        assert float(found.error) == pytest.approx(0.025 / np.sqrt(factor), rel=0.1)


def test_counts_beyond_number_take_no_time():
    ds = xonoff.tutorial.dataset()
    assert np.isfinite(xonoff.norm_bias(ds.assign(acceptance=ds.acceptance * 1e9), crab()).error)


def test_the_warning_is_that_of_the_caller():
    few = dataset(0.2)
    model = SkyModel("crab", crab().spectral, PointSource(83.63, 22.01, fixed={"lon_0": True, "lat_0": True}))
    for call in (lambda: warn_of_bias(xonoff.Likelihood(few, model)), lambda: few.onoff.fit(model)):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            call()
        assert [one.filename for one in told] == [__file__]
