"""Errors of fluxes: closed formulas, simulated parameters, parameters that are tied, fixed or at a bound."""

import numpy as np
import pytest
import xarray as xr

import xonoff
from xonoff import integral_flux, spectrum_band
from xonoff.models import (
    Absorption,
    ExponentialCutoffPowerLaw1D,
    LogParabola1D,
    PointSource,
    PowerLaw1D,
    SkyModel,
    energy_integral,
    flux,
    integral,
)

ENERGY = np.geomspace(0.2, 50, 17)


def covariance(names: list[str], sigma: list[float], correlation: float = 0.6) -> xr.DataArray:
    matrix = np.outer(sigma, sigma) * np.where(np.eye(len(sigma)) == 1, 1, correlation)
    return xr.DataArray(matrix, {"parameter": names, "other": names}, ("parameter", "other"))


def test_a_power_law_in_closed_form():
    model = SkyModel("a", PowerLaw1D(2e-11, 1.3, 2.4))
    matrix = covariance(["a.amplitude", "a.alpha"], [1e-12, 0.1])
    band = spectrum_band(model, "a", ENERGY, covariance=matrix)
    log = np.log(ENERGY / 1.3)
    relative = np.sqrt(0.05**2 + (0.1 * log) ** 2 - 2 * 0.6 * 0.05 * 0.1 * log)
    np.testing.assert_allclose(band.dnde, flux(model.spectral, ENERGY), rtol=1e-14)
    np.testing.assert_allclose(band.dnde_err / band.dnde, relative, rtol=1e-9)
    np.testing.assert_allclose(band.e2dnde_err, ENERGY**2 * band.dnde_err, rtol=1e-14)
    assert band.dnde_err.attrs["units"] == "cm-2 s-1 TeV-1"
    assert band.attrs["source"] == "a"


def test_integrals_in_closed_form():
    model = SkyModel("a", PowerLaw1D(2e-11, 1.0, 2.4))
    found = integral_flux(model, None, [1, 3, 10], covariance=covariance(["a.amplitude"], [1e-12]))
    np.testing.assert_allclose(found.flux, integral(model.spectral, [1, 3, 10]), rtol=1e-14)
    np.testing.assert_allclose(found.eflux, energy_integral(model.spectral, [1, 3, 10]), rtol=1e-14)
    np.testing.assert_allclose(found.flux_err / found.flux, 0.05, rtol=1e-9)
    np.testing.assert_allclose(found.eflux_err / found.eflux, 0.05, rtol=1e-7)
    # By the index: the derivative of A / (g - 1) (a^(1 - g) - b^(1 - g)).
    found = integral_flux(model, "a", [1, 10], covariance=covariance(["a.alpha"], [0.1]))
    slope = -2e-11 * ((1 - 10**-1.4) / 1.4**2 - np.log(10) * 10**-1.4 / 1.4)
    assert found.flux_err.item() == pytest.approx(0.1 * abs(slope), rel=1e-8)


def test_a_wide_choice_of_parameters_scatters_as_much():
    model = SkyModel("a", ExponentialCutoffPowerLaw1D(2e-11, 1, 2.0, 8.0))
    names, sigma = ["a.amplitude", "a.alpha", "a.x_cutoff"], [2e-13, 0.01, 0.1]
    matrix = covariance(names, sigma, 0.3)
    band = spectrum_band(model, "a", ENERGY, covariance=matrix)
    rng = np.random.default_rng(1)
    drawn = rng.multivariate_normal([2e-11, 2.0, 8.0], matrix.values, 20_000)
    fluxes = drawn[:, :1] * ENERGY ** -drawn[:, 1:2] * np.exp(-ENERGY / drawn[:, 2:])
    np.testing.assert_allclose(band.dnde_err, fluxes.std(0), rtol=0.03)


def test_parameters_at_zero_and_at_a_bound():
    names = ["a.amplitude", "a.beta"]
    free = SkyModel("a", LogParabola1D(2e-11, 1, 2.0, 0.0))
    bounded = SkyModel("a", LogParabola1D(2e-11, 1, 2.0, 0.0, bounds={"beta": (0, None)}))
    tight = SkyModel("a", LogParabola1D(2e-11, 1, 2.0, 0.0, bounds={"beta": (-1e-5, 0)}))
    matrix = covariance(names, [1e-12, 0.05])
    expected = np.sqrt(0.05**2 + (0.05 * np.log(ENERGY) ** 2) ** 2 - 2 * 0.6 * 0.05 * 0.05 * np.log(ENERGY) ** 2)
    for model in (free, bounded, tight):
        band = spectrum_band(model, "a", ENERGY, covariance=matrix)
        np.testing.assert_allclose(band.dnde_err / band.dnde, expected, rtol=1e-6)


def test_a_table_that_ends_at_the_value():
    ebl = Absorption([0.1, 1, 100], [0, 0.5], [[0, 0, 0], [0.2, 1, 3]], redshift=0.5)
    model = SkyModel("a", PowerLaw1D(2e-11, 1, 2.0) * ebl)
    band = spectrum_band(model, "a", [1.0], covariance=covariance(["a.redshift_1"], [0.01]))
    assert (band.dnde_err / band.dnde).item() == pytest.approx(0.01 * 1 / 0.5, rel=1e-7)


def test_tied_parameters_follow():
    line = PowerLaw1D(2e-11, 1, 2.4, tied={"alpha": lambda spectrum: 2 + 2e10 * spectrum.amplitude.value})
    model = SkyModel("a", line)
    band = spectrum_band(model, "a", ENERGY, covariance=covariance(["a.amplitude"], [1e-12]))
    slope = 1 / 2e-11 - 2e10 * np.log(ENERGY)
    np.testing.assert_allclose(band.dnde_err / band.dnde, 1e-12 * np.abs(slope), rtol=1e-7, atol=1e-9)


def test_what_is_fixed_or_of_others_has_no_part():
    model, other = SkyModel("a", PowerLaw1D(2e-11, 1, 2.4)), SkyModel("b", PowerLaw1D(1e-11, 1, 2))
    matrix = covariance(["a.amplitude", "b.amplitude", "b.alpha"], [1e-12, 1e-12, 0.2])
    band = spectrum_band([model, other], "a", ENERGY, covariance=matrix)
    np.testing.assert_allclose(band.dnde_err / band.dnde, 0.05, rtol=1e-9)
    nothing = spectrum_band([model, other], "a", ENERGY, covariance=matrix[1:, 1:])
    assert (nothing.dnde_err == 0).all()


def test_of_a_fit():
    ds = xonoff.tutorial.dataset()
    crab = SkyModel("crab", PowerLaw1D(3e-11, 1, 2.4), PointSource(83.65, 22.0))
    result = xonoff.fit(ds, crab)
    band = spectrum_band(result, "crab", [1.0, 10.0])
    amplitude = result.models[0].spectral.amplitude
    assert band.dnde[0].item() == pytest.approx(amplitude.value)
    assert band.dnde_err[0].item() == pytest.approx(amplitude.std, rel=1e-9)
    again = xonoff.FitResult.from_json(result.to_json())
    xr.testing.assert_identical(spectrum_band(again, None, [1.0, 10.0]), band)
    # Moved to where amplitude and index are independent, the fit has the smallest relative error.
    dense = spectrum_band(result, "crab", xonoff.energy_edges(0.5, 50, n=200))
    pivot = (dense.dnde_err / dense.dnde).idxmin("energy").item()
    c = result.covariance.sel(parameter="crab.amplitude", other="crab.alpha").item()
    v = result.covariance.sel(parameter="crab.alpha", other="crab.alpha").item()
    assert pivot == pytest.approx(np.exp(c / (amplitude.value * v)), rel=0.03)
    assert result.models[0].spectral.amplitude.value == amplitude.value


MODEL = SkyModel("a", PowerLaw1D(2e-11, 1, 2.4))
MATRIX = covariance(["a.amplitude"], [1e-12])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spectrum_band(MODEL, "a", [1]), "no covariance found"),
        (lambda: spectrum_band(MODEL, "b", [1], covariance=MATRIX), "source: 'b' found.*: a"),
        (lambda: spectrum_band(None, None, [1], covariance=MATRIX), "source: None found.*none"),
        (lambda: spectrum_band(MODEL, "a", [0, 1], covariance=MATRIX), "positive energies"),
        (lambda: spectrum_band(MODEL, "a", [[1]], covariance=MATRIX), "positive energies"),
        (lambda: spectrum_band(MODEL, "a", "1 m", covariance=MATRIX), "TeV"),
        (lambda: spectrum_band(MODEL, "a", [1], covariance=np.nan * MATRIX), "not finite"),
        (lambda: spectrum_band(MODEL, "a", [1], covariance=covariance(["a.beta"], [1])), "parameter 'a.beta' found"),
        (lambda: spectrum_band(MODEL, "a", [1], covariance=MATRIX[0]), "covariance: dimensions"),
        (lambda: integral_flux(MODEL, "a", [1], covariance=MATRIX), "at least two"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call()


@pytest.mark.filterwarnings("ignore:few off counts")
def test_of_a_fit_with_ties_and_a_scale_of_alpha():
    ds = xonoff.tutorial.dataset()
    place = {"lon_0": True, "lat_0": True}
    one = SkyModel("a", PowerLaw1D(3e-11, 1, 2.4), PointSource(83.633, 22.014, fixed=place))
    two = SkyModel("b", PowerLaw1D(3e-12, 1, 2.4), PointSource(83.0, 22.0, fixed=place))
    options = {"priors": {"tutorial.alpha_scale": (1, 0.02)}}
    leads = xonoff.fit(ds, [one, two], tied={"b.alpha": "a.alpha"}, **options)
    follows = xonoff.fit(ds, [one, two], tied={"a.alpha": "b.alpha"}, **options)
    for name in ("a", "b"):
        bands = [spectrum_band(result, name, ENERGY) for result in (leads, follows)]
        np.testing.assert_allclose(bands[0].dnde_err, bands[1].dnde_err, rtol=0.03)
    again = xonoff.FitResult.from_json(leads.to_json())
    xr.testing.assert_identical(spectrum_band(again, "b", ENERGY), spectrum_band(leads, "b", ENERGY))
    assert np.isfinite(integral_flux(leads, "b", [1, 10]).flux_err).all()
    with pytest.raises(xonoff.ModelError, match="covariance: a ndarray found"):
        spectrum_band(leads.models, "b", [1.0], covariance=leads.covariance.values)
