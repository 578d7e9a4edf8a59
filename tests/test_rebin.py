"""Wider bins: conservation laws, brute force, and the prediction from an image."""

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.modeling.powerlaws import PowerLaw1D
from datasets import EDGES, EDGES_TRUE, lazy, make, projections, seeds, unrecorded
from hypothesis import given, settings
from hypothesis import strategies as st

import xonoff
from xonoff.irf import edisp_kernel
from xonoff.masks import on_grid
from xonoff.quantities import ON_OFF, usable
from xonoff.rebin import downsample, resample_energy, to_image

edge_choices = st.sets(st.integers(0, 4), min_size=2).map(sorted)


def inside(ds: xr.Dataset, name: str) -> np.ndarray:
    values = ds.onoff.background if name == "expected" else ds[name]
    return np.where(ds.mask_safe, values, 0).astype(float)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, projection=projections, chosen=edge_choices, on_dask=st.booleans())
def test_energies_are_joined_by_the_rules(seed, projection, chosen, on_dask):
    ds = make(seed, projection)
    joined = resample_energy(lazy(ds) if on_dask else ds, EDGES[chosen])
    assert (joined.counts.chunks is not None) == on_dask
    for number, (a, b) in enumerate(pairwise(chosen)):
        part = slice(a, b)
        n_on, n_off, a_on, a_off, expected = (inside(ds, n)[part].sum(0) for n in (*ON_OFF, "expected"))
        for name, value in zip(ON_OFF[:3], (n_on, n_off, a_on), strict=True):
            np.testing.assert_allclose(joined[name][number], value, rtol=1e-13)
        np.testing.assert_array_equal(joined.mask_safe[number], ds.mask_safe.values[part].any(0))
        np.testing.assert_array_equal(joined.mask_fit[number], (ds.mask_safe & ds.mask_fit).values[part].any(0))
        background = joined.onoff.background[number].fillna(0)
        np.testing.assert_allclose(background, expected, rtol=1e-12)
        none = (n_off == 0) & ds.mask_safe.values[part].any(0)
        np.testing.assert_allclose(joined.onoff.alpha.values[number][none], (a_on / np.where(none, a_off, 1))[none])
    np.testing.assert_array_equal(joined.onoff.geom.energy, EDGES[chosen])
    xonoff.validate(joined.compute())


@settings(max_examples=30, deadline=None)
@given(seed=seeds, projection=projections, fy=st.sampled_from([1, 2, 3, 6]), fx=st.sampled_from([1, 2, 4, 8]),
       on_dask=st.booleans())  # fmt: skip
def test_pixels_are_joined_by_the_rules(seed, projection, fy, fx, on_dask):
    ds = make(seed, projection)
    joined = downsample(lazy(ds) if on_dask else ds, (fy, fx))
    shape = (4, 6 // fy, fy, 8 // fx, fx)

    def blocks(values):
        return values.reshape(shape).sum((2, 4))

    for name in ON_OFF[:3]:
        np.testing.assert_allclose(joined[name], blocks(inside(ds, name)), rtol=1e-13)
    background = joined.onoff.background.fillna(0)
    np.testing.assert_allclose(background, blocks(inside(ds, "expected")), rtol=1e-12)
    np.testing.assert_array_equal(joined.mask_safe, ds.mask_safe.values.reshape(shape).any((2, 4)))
    exposure = ds.exposure.values.reshape(5, *shape[1:]).mean((2, 4))
    np.testing.assert_allclose(joined.exposure, exposure, rtol=1e-13)
    np.testing.assert_array_equal(joined.psf, ds.psf)
    sky, old = joined.onoff.geom.sky, ds.onoff.geom.sky
    x, y = old.sky_to_pixel(sky.skycoord())
    expected_y = np.arange(6).reshape(-1, fy).mean(1)
    expected_x = np.arange(8).reshape(-1, fx).mean(1)
    np.testing.assert_allclose(y, np.broadcast_to(expected_y[:, None], y.shape), atol=1e-8)
    np.testing.assert_allclose(x, np.broadcast_to(expected_x, x.shape), atol=1e-8)
    np.testing.assert_allclose(sky.solid_angle().sum(), old.solid_angle().sum(), rtol=1e-6)
    xonoff.validate(joined.compute())


def test_maps_downsampled_from_one_grid_fit_together():
    a, b = make(1).isel(y=slice(0, 4)), make(2).isel(y=slice(2, 6))
    total = xonoff.stack([downsample(a, 2), downsample(b, 2)])
    both = downsample(xonoff.stack([a, b]), 2)
    np.testing.assert_allclose(total.counts, both.counts)
    assert total.onoff.geom.sky.shape == both.onoff.geom.sky.shape == (3, 4)


def test_energy_by_a_factor():
    ds = make(4)
    by_factor, by_edges = downsample(ds, 2, axis="energy"), resample_energy(ds, EDGES[::2])
    xr.testing.assert_identical(unrecorded(by_factor), unrecorded(by_edges))


@settings(max_examples=20, deadline=None)
@given(seed=seeds, migra=st.booleans(), masked=st.booleans())
def test_the_dispersion_of_joined_energies_predicts_their_sum(seed, migra, masked):
    ds = make(seed, migra=migra, masks=masked)
    kernel = edisp_kernel(ds).values * on_grid(usable(ds), ds, "edisp").values
    joined = resample_energy(ds, EDGES[[0, 1, 4]])
    np.testing.assert_allclose(joined.edisp[:, 1], kernel[:, 1:4].sum(1), rtol=1e-12)
    assert "migra" not in joined.dims
    np.testing.assert_array_equal(joined.exposure, ds.exposure)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, index=st.floats(1.2, 4))
def test_an_image_predicts_the_sum_for_its_spectrum(seed, index):
    ds = make(seed)
    image = to_image(ds, PowerLaw1D(alpha=index))
    fluxes = (EDGES_TRUE[:-1] ** (1 - index) - EDGES_TRUE[1:] ** (1 - index)) / (index - 1)
    kernel = edisp_kernel(ds).values * on_grid(usable(ds), ds, "edisp").values
    expected = np.einsum("t,tyx,teyx->yx", fluxes, ds.edisp_exposure.values, kernel)
    found = fluxes.sum() * (image.edisp_exposure * image.edisp.isel(energy=0)).values[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    weights = fluxes[:, None, None] * ds.psf_exposure.values * kernel.sum(1)
    total = weights.sum(0)
    psf = (weights[:, None] * ds.psf.values).sum(0) / np.where(total > 0, total, 1)
    np.testing.assert_allclose(image.psf[0], psf, rtol=1e-9)
    exposure = np.tensordot(fluxes, ds.exposure.values, 1) / fluxes.sum()
    np.testing.assert_allclose(image.exposure[0], exposure, rtol=1e-9)
    xonoff.validate(image)


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_an_image_with_true_energies_is_exact_for_any_spectrum(seed):
    ds = make(seed)
    image = to_image(ds, keep_energy_true=True)
    kernel = edisp_kernel(ds).values * on_grid(usable(ds), ds, "edisp").values
    np.testing.assert_allclose(image.edisp[:, 0], kernel.sum(1), rtol=1e-13)
    for name in ("exposure", "psf", "psf_exposure", "edisp_exposure"):
        xr.testing.assert_equal(image[name].variable, ds[name].variable)


def test_spectra_as_functions_and_models_with_units():
    ds = make(1)
    plain = to_image(ds)
    for spectrum in (lambda energy: 3 * energy**-2.0, PowerLaw1D(alpha=2), PowerLaw1D(1 / u.TeV, 1 * u.TeV, 2)):
        image = to_image(ds, spectrum)
        np.testing.assert_allclose(image.exposure, plain.exposure, rtol=1e-9)
    with pytest.raises(xonoff.SchemaError, match="a float found, a function of energy"):
        to_image(ds, 2.0)
    with pytest.raises(xonoff.SchemaError, match="positive numbers accepted"):
        to_image(ds, lambda energy: -energy)


@pytest.mark.parametrize(
    "function",
    [to_image, lambda ds: to_image(ds, keep_energy_true=True), lambda ds: downsample(ds, 2),
     lambda ds: downsample(ds, 2, axis="energy"), lambda ds: resample_energy(ds, EDGES[[0, 3, 4]])],
)  # fmt: skip
@pytest.mark.parametrize("migra", [False, True])
def test_dask_stays_lazy_and_equals_memory(function, migra, no_compute):
    import dask

    ds = make(3, migra=migra)
    result = function(lazy(ds))
    assert all(array.chunks for array in result.data_vars.values())
    with dask.config.set(scheduler="synchronous"):
        xr.testing.assert_allclose(result.compute(), function(ds), rtol=1e-12)


def test_a_reco_psf_is_averaged_and_counts_alone_are_enough():
    ds = make(1).drop_vars(["psf", "psf_exposure"])
    rng = np.random.default_rng(0)
    ds["psf"] = (("energy", "rad", "y_psf", "x_psf"), rng.random((4, 5, 3, 4)), {"units": "sr-1"})
    ds["psf_exposure"] = (("energy", "y_psf", "x_psf"), rng.random((4, 3, 4)), {"units": "m2 s"})
    image = to_image(ds)
    weight = (1 / EDGES[:-1] - 1 / EDGES[1:])[:, None, None] * ds.psf_exposure.values
    weight = weight * on_grid(usable(ds), ds, "psf").values
    expected = (weight[:, None] * ds.psf.values).sum(0) / weight.sum(0)
    np.testing.assert_allclose(image.psf[0], expected, rtol=1e-12)
    counts = make(1)[["counts"]].assign_coords(energy_bounds=make(1).energy_bounds)
    assert int(to_image(counts).counts.sum()) == int(counts.counts.sum())


def test_a_spectrum_is_joined_too():
    ds = make(1).onoff.sel((83.6, 22.0))
    joined = resample_energy(ds, EDGES[[0, 2, 4]])
    assert joined.counts.dims == ("energy",)
    assert float(joined.counts.sum()) == float(ds.counts.where(ds.mask_safe, 0).sum())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: resample_energy(ds, [1, 3, 16]), r"energy edges \[1.0, 3.0, 16.0\] TeV found, two or more of"),
        (lambda ds: resample_energy(ds, [1]), "two or more of"),
        (lambda ds: resample_energy(ds, [4, 2]), "in increasing order"),
        (lambda ds: resample_energy(ds, [1, np.nan]), "two or more of"),
        (lambda ds: resample_energy(ds, "2 deg"), "'2 deg' found, a number in TeV"),
        (lambda ds: downsample(ds, 4), "factor 4 does not divide the 6 rows of pixels: cut or pad"),
        (lambda ds: downsample(ds, 3, axis="energy"), "factor 3 does not divide the 4 energy bins"),
        (lambda ds: downsample(ds, 0), "whole numbers from 1 on are wanted, 0 found"),
        (lambda ds: downsample(ds, 1.5), "whole numbers from 1 on are wanted, 1.5 found"),
        (lambda ds: downsample(ds, 2, axis="rad"), "axis 'rad' found, 'sky' or 'energy' accepted"),
        (lambda ds: downsample(ds, (2, 1), axis="energy"), "one number is wanted for energy"),
        (lambda ds: downsample(ds.onoff.sel((83.6, 22.0)), 2), "a map with two sky dimensions is wanted"),
    ],
)  # fmt: skip
def test_what_is_refused(call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call(make(0))


def test_an_image_of_a_psf_that_is_the_same_everywhere():
    ds = make(3, "CAR")
    ds = ds.assign(psf=ds.psf.isel(lat_psf=0, lon_psf=0, drop=True).variable)
    assert set(to_image(ds).psf.dims) >= {"energy_true", "rad"}


def test_a_response_on_the_pixels_of_the_counts_leaves_out_what_is_not_finite():
    ds = make(3, "CAR")
    psf = np.random.default_rng(1).uniform(1, 2, (5, 5, *ds.counts.shape[1:])).astype(np.float32)
    weight = np.random.default_rng(2).uniform(1, 2, (5, *ds.counts.shape[1:]))
    psf[0, 0, 0, 0] = np.nan
    ds = ds.drop_dims(["lat_psf", "lon_psf"]).drop_vars("wcs_psf")
    ds["psf"] = (("energy_true", "rad", "lat", "lon"), psf, {"units": "sr-1"})
    ds["psf_exposure"] = (("energy_true", "lat", "lon"), weight, {"units": "m2 s"})
    found = downsample(ds, 2).psf
    assert found.dtype == np.float64
    part, by = psf[0, 0, :2, :2].astype(float), weight[0, :2, :2]
    known = np.isfinite(part)
    assert float(found[0, 0, 0, 0]) == pytest.approx((part * by)[known].sum() / by[known].sum(), rel=1e-12)
