"""The point spread function: shares of pixels against brute force and closed forms, radii, parametric tables."""

import mpmath
import numpy as np
import pytest
from datasets import make
from hypothesis import given, settings
from hypothesis import strategies as st

import xonoff
from xonoff.axes import axis_coords
from xonoff.psf import containment_radius, gaussian, king, psf_kernel, psf_profile, triple_gaussian
from xonoff.rings import offsets

RAD = np.linspace(0, 0.8, 81)


def with_psf(table: np.ndarray, rad: np.ndarray = RAD) -> xonoff.Geom:
    """A map of two true energies whose PSF is the same everywhere."""
    geom = xonoff.Geom.create((83.6, 22.0), width=2.4, pixel_size=0.04, projection="TAN", energy=[1, 10])
    ds = xonoff.create(geom, energy_true=[0.5, 2, 20])
    ds = ds.drop_vars(["psf", "psf_exposure"]).drop_dims("rad")
    psf = np.broadcast_to(table, (2, table.shape[-1]))
    return ds.assign_coords(axis_coords("rad", rad)).assign(psf=(("energy_true", "rad"), psf, {"units": "sr-1"}))


@settings(max_examples=20, deadline=None)
@given(sigma=st.floats(0.03, 0.12), dy=st.floats(-0.5, 0.5), dx=st.floats(-0.5, 0.5))
def test_shares_sum_to_1_wherever_in_a_pixel_and_are_those_of_the_plane(sigma, dy, dx):
    ds = with_psf(gaussian(sigma, RAD))
    sky = ds.onoff.geom.sky
    position = tuple(sky.pixel_to_sky(29.5 + dx, 29.5 + dy))
    kernel = psf_kernel(ds, position)
    assert (kernel >= 0).all()
    np.testing.assert_allclose(kernel.sum(("y", "x")), 1, rtol=1e-9)
    # A Gaussian over a pixel is a product of error functions.
    edges = (np.arange(61) - 30 - np.array([dy, dx])[:, None]) * 0.04 / sigma
    cdf = np.array([[float(mpmath.ncdf(e)) for e in row] for row in edges])
    expected = np.outer(*np.diff(cdf, axis=1))
    np.testing.assert_allclose(kernel[0], expected, atol=0.3 * (0.01 / sigma) ** 2 * expected.max())


def test_against_a_sum_over_oversampled_pixels():
    """The profile at 50 x 50 points a pixel, without any ring."""
    ds = with_psf(king(0.05, 2.5, RAD))
    sky = ds.onoff.geom.sky
    position = (83.631, 22.013)
    kernel = psf_kernel(ds, position)[0].values
    centers = (RAD[:-1] + RAD[1:]) / 2
    n = 50
    fine = (np.arange(60 * n) + 0.5) / n - 0.5
    y, x = np.meshgrid(fine, fine, indexing="ij")
    distance = np.hypot(*offsets(sky, position, y, x))
    table = king(0.05, 2.5, RAD)
    values = np.where(distance < RAD[-1], np.interp(distance, centers, table), 0)
    expected = values.reshape(60, n, 60, n).mean(axis=(1, 3)) * sky.solid_angle()
    density = np.interp((np.arange(16000) + 0.5) * 0.8 / 16000, centers, table)
    expected /= (density * np.pi * np.diff((np.arange(16001) * 0.8 / 16000) ** 2)).sum() * np.radians(1) ** 2
    np.testing.assert_allclose(kernel, expected, rtol=1e-3, atol=1e-5 * expected.max())
    np.testing.assert_allclose(kernel[25:35, 25:35], expected[25:35, 25:35], rtol=5e-4)


def test_a_map_that_holds_part_of_it_or_nothing():
    ds = with_psf(gaussian(0.1, RAD))
    sky = ds.onoff.geom.sky
    edge = psf_kernel(ds, tuple(sky.pixel_to_sky(-0.5, 30.0)))
    np.testing.assert_allclose(edge.sum(("y", "x")), 0.5, rtol=1e-3)
    assert float(psf_kernel(ds, (90.0, 30.0)).sum()) == 0
    other = xonoff.SkyGrid.create((83.6, 22.0), shape=(200, 200), pixel_size=0.01)
    fine = psf_kernel(ds, (83.6, 22.0), other)
    assert fine.dims == ("energy_true", "lat", "lon")
    np.testing.assert_allclose(fine.sum(("lat", "lon")), 1, rtol=1e-6)


def test_energies_without_psf_and_values_that_are_none():
    ds = with_psf(gaussian(0.1, RAD))
    table = ds.psf.values.copy()
    table[0] = 0
    table[1, 3] = np.nan
    ds["psf"] = ds.psf.copy(data=table)
    kernel = psf_kernel(ds, (83.6, 22.0))
    assert float(kernel[0].sum()) == 0
    assert float(kernel[1].sum()) == pytest.approx(1)
    assert np.isnan(containment_radius(ds, 0.5, (83.6, 22.0)).values).tolist() == [True, False]


def test_a_psf_in_reconstructed_energy():
    ds = make(1)
    psf = ds.psf.rename(energy_true="energy").isel(energy=slice(0, 4)).drop_vars("energy")
    reco = ds.drop_vars(["psf", "psf_exposure"]).assign(psf=(psf.dims, psf.values, psf.attrs))
    assert psf_kernel(reco, (83.6, 22.0)).dims == ("energy", "y", "x")


@pytest.mark.parametrize("fraction", [0.1, 0.393, 0.68, 0.95])
def test_containment_radius(fraction):
    ds = with_psf(gaussian(0.1, RAD))
    found = containment_radius(ds, fraction, (83.6, 22.0)).values
    np.testing.assert_allclose(found, 0.1 * np.sqrt(-2 * np.log(1 - fraction)), rtol=3e-3)
    assert float(containment_radius(ds, 1.0, (83.6, 22.0))[0]) <= 0.8


FORMS = {
    "gaussian": (lambda rad: gaussian(0.1, rad), lambda r: mpmath.exp(-(r**2) / 0.02) / (2 * mpmath.pi * 0.01)),
    "triple": (
        lambda rad: triple_gaussian([0.05, 0.1, 0.3], [1.0, 0.2, 0.01], rad),
        lambda r: (
            sum(a * mpmath.exp(-(r**2) / (2 * s**2)) for a, s in ((1.0, 0.05), (0.2, 0.1), (0.01, 0.3)))
            / (2 * mpmath.pi * (0.05**2 + 0.2 * 0.1**2 + 0.01 * 0.3**2))
        ),
    ),
    "king": (
        lambda rad: king(0.1, 1.7, rad),
        lambda r: (1 - 1 / mpmath.mpf(1.7)) / (2 * mpmath.pi * 0.01) * (1 + r**2 / (2 * 1.7 * 0.01)) ** -1.7,
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_parametric_tables_are_averages_over_bins(name):
    make_table, function = FORMS[name]
    rad = np.array([0, 0.02, 0.1, 0.5, 3.0])
    for value, lo, hi in zip(make_table(rad), rad, rad[1:], strict=False):
        whole = mpmath.quad(lambda r: 2 * mpmath.pi * r * function(r), mpmath.linspace(lo, hi, 5))
        expected = whole / (mpmath.pi * (hi**2 - lo**2)) / np.radians(1) ** 2
        assert value == pytest.approx(float(expected), rel=1e-9)


def test_one_form_for_each_energy():
    assert gaussian([0.1, 0.2, 0.3], RAD).shape == (3, 80)
    np.testing.assert_allclose(gaussian([0.1, 0.2], RAD)[1], gaussian("0.2 deg", RAD))
    table = triple_gaussian([[0.1, 0.2], 0.3], [1.0, [0.1, 0.2]], RAD)
    np.testing.assert_allclose(table[1], triple_gaussian([0.2, 0.3], [1.0, 0.2], RAD))
    assert king([0.1, 0.2], [2.0, 3.0], RAD).shape == (2, 80)


def test_real_data_sum_to_1(data_dir):
    ds = xonoff.open_dataset(data_dir / "hess-crab" / "onoff_stacked.fits.gz")
    kernel = psf_kernel(ds, (83.6287, 22.0147))
    totals = kernel.sum(("y", "x"))
    assert ((np.abs(totals - 1) < 1e-9) | (totals == 0)).all()
    assert int((totals > 0).sum()) >= 15
    profile, radii = psf_profile(ds, (83.6287, 22.0147))
    assert profile.sizes["radius"] == radii.size == ds.sizes["rad"] + 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: psf_kernel(ds.drop_vars("psf"), (83.6, 22.0)), "no psf"),
        (lambda ds: psf_kernel(ds[["psf"]], (83.6, 22.0)), "give sky=, a SkyGrid"),
        (lambda ds: containment_radius(ds, 0, (83.6, 22.0)), "fraction: 0 found"),
        (lambda ds: containment_radius(ds, 1.1, (83.6, 22.0)), "fraction: 1.1 found"),
        (lambda ds: gaussian(0, RAD), "positive widths"),
        (lambda ds: triple_gaussian([0.1], [1, 2], RAD), "as many positive widths as heights"),
        (lambda ds: triple_gaussian([0.1], [-1], RAD), "as many positive widths as heights"),
        (lambda ds: king(0.1, 1.0, RAD), "gamma above 1"),
        (lambda ds: king(0.1, np.inf, RAD), "gamma above 1"),
        (lambda ds: gaussian(np.inf, RAD), "positive widths"),
        (lambda ds: psf_kernel(ds.isel(energy_true=0), (83.6, 22.0)), "an energy and rad accepted"),
    ],
)
def test_what_is_no_psf_is_refused(call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call(with_psf(gaussian(0.1, RAD)))
