import numpy as np
import pytest
import xarray as xr
from datasets import EDGES, EDGES_TRUE, lazy, make
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

import xonoff
from xonoff.geometry import sky_grid
from xonoff.irf import at_position, containment, edisp_at, edisp_kernel


@pytest.mark.parametrize("on_dask", [False, True])
def test_a_migration_density_is_integrated_over_the_bins(on_dask):
    ds = make(1, migra=True)
    kernel = edisp_kernel(lazy(ds) if on_dask else ds)
    assert (kernel.chunks is not None) == on_dask
    assert kernel.dims == ("energy_true", "energy", "y_edisp", "x_edisp")
    edges, density = np.linspace(0.2, 5, 8), ds.edisp.values[:, :, 1, 2]
    centers = np.sqrt(EDGES_TRUE[:-1] * EDGES_TRUE[1:])
    for t, center in enumerate(centers):
        cumulative = np.concatenate([[0], np.cumsum(density[t] * np.diff(edges))])
        expected = np.diff(np.interp(EDGES / center, edges, cumulative))
        np.testing.assert_allclose(kernel[t, :, 1, 2], expected, rtol=1e-12, atol=1e-15)


def test_a_kernel_is_passed_through():
    ds = make(1)
    xr.testing.assert_identical(edisp_kernel(ds), ds.edisp.variable)


@settings(max_examples=30, deadline=None)
@given(x=st.floats(-1, 4), y=st.floats(-1, 3), name=st.sampled_from(["psf", "edisp", "psf_exposure"]))
def test_between_pixels_it_is_linear_and_beyond_the_edge_constant(x, y, name):
    ds = make(1)
    sky = sky_grid(ds, name.split("_")[0])
    position = tuple(float(a) for a in sky.pixel_to_sky(x, y))
    cx, cy = np.clip(x, 0, 3), np.clip(y, 0, 2)
    values = ds[name].values
    ix, iy = min(int(cx), 2), min(int(cy), 1)
    fx, fy = cx - ix, cy - iy
    expected = sum(
        wy * wx * values[..., iy + j, ix + i]
        for j, wy in enumerate((1 - fy, fy)) for i, wx in enumerate((1 - fx, fx))
    )  # fmt: skip
    np.testing.assert_allclose(at_position(ds, name, position), expected, rtol=1e-6)


def test_pixels_without_exposure_are_left_out():
    ds = make(1)
    ds["psf_exposure"][:, 1, 1] = 0
    ds["psf"][:, :, 1, 1] = 0
    sky = sky_grid(ds, "psf")
    position = tuple(float(a) for a in sky.pixel_to_sky(1.25, 1.0))
    np.testing.assert_allclose(at_position(ds, "psf", position), ds.psf[:, :, 1, 2], rtol=1e-9)
    ds = ds.assign(psf_exposure=ds.psf_exposure * 0, exposure=ds.exposure * 0)
    assert (at_position(ds, "psf", position) == 0).all()


def test_responses_without_a_sky_or_of_one_pixel():
    ds = make(1)
    everywhere = ds.psf.isel(y_psf=0, x_psf=0, drop=True)
    np.testing.assert_array_equal(
        at_position(ds.assign(psf=everywhere).drop_vars("psf_exposure"), "psf", (0, 0)), everywhere
    )
    one = ds.isel(y_psf=[1], x_psf=[2])
    np.testing.assert_allclose(at_position(one, "psf", (83.9, 22.3)), one.psf[:, :, 0, 0])


def test_dask_stays_lazy(no_compute):
    ds = lazy(make(1))
    assert at_position(ds, "psf", (83.6, 22.0)).chunks is not None
    assert containment(ds, 0.2, (83.6, 22.0)).chunks is not None


@pytest.mark.parametrize("radius", [0.05, 0.1, 0.22, 0.5, 0.9])
def test_containment_is_the_integral_of_the_profile(radius):
    ds = make(1)
    position = tuple(float(a) for a in sky_grid(ds, "psf").pixel_to_sky(2, 1))
    edges, profile = np.linspace(0, 0.5, 6), ds.psf.values[3, :, 1, 2]

    def ring(r):
        return profile[min(np.searchsorted(edges, r, side="right") - 1, 4)] * r

    total = quad(ring, 0, 0.5, points=edges[1:-1])[0]
    expected = quad(ring, 0, min(radius, 0.5), points=edges[1:-1][edges[1:-1] < radius])[0] / total
    np.testing.assert_allclose(containment(ds, radius, position)[3], expected, rtol=1e-7)


def test_a_gaussian_is_contained_as_in_the_textbook():
    rad = np.linspace(0, 1, 2001)
    middles = (rad[1:] + rad[:-1]) / 2
    psf = np.exp(-0.5 * (middles / 0.1) ** 2)[None]
    coords = {**xonoff.axes.axis_coords("energy_true", [1, 2]), **xonoff.axes.axis_coords("rad", rad)}
    ds = xr.Dataset({"psf": (("energy_true", "rad"), psf, {"units": "sr-1"})}, coords)
    for radius in (0.05, 0.1, 0.25):
        np.testing.assert_allclose(containment(ds, radius, (0, 0)), 1 - np.exp(-0.5 * (radius / 0.1) ** 2), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: containment(ds, -1, (83.6, 22.0)), "radius: a positive angle is wanted, -1 found"),
        (lambda ds: containment(ds, "1 TeV", (83.6, 22.0)), "'1 TeV' found, a number in deg"),
        (lambda ds: containment(ds.drop_vars("psf"), 1, (83.6, 22.0)), "the dataset has no psf"),
        (lambda ds: edisp_kernel(ds.drop_vars("edisp")), "the dataset has no edisp"),
        (lambda ds: at_position(ds, "psf", (263.6, -22.0)), "psf: the position .* is not on the sky of its grid"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call(make(0))


@settings(max_examples=30, deadline=None)
@given(x=st.floats(-1, 4), y=st.floats(-1, 3), name=st.sampled_from(["psf", "edisp", "psf_exposure"]))
def test_the_nearest_pixel(x, y, name):
    ds = make(1)
    sky = sky_grid(ds, name.split("_")[0])
    position = tuple(float(a) for a in sky.pixel_to_sky(x, y))
    x, y = (float(p) for p in sky.sky_to_pixel(position))
    ix, iy = (int(np.floor(np.clip(p, 0, n) + 0.5)) for p, n in ((x, 3), (y, 2)))
    if min(abs(np.clip(p, 0, n) % 1 - 0.5) for p, n in ((x, 3), (y, 2))) > 1e-6:  # between two it is their mean
        np.testing.assert_array_equal(at_position(ds, name, position, "nearest"), ds[name].values[..., iy, ix])


def test_the_nearest_pixel_is_one_with_exposure():
    ds = make(1)
    sky = sky_grid(ds, "psf")
    ds["psf_exposure"][:, 1, 1] = 0
    position = tuple(float(a) for a in sky.pixel_to_sky(1.2, 1.0))
    np.testing.assert_allclose(at_position(ds, "psf", position, "nearest"), ds.psf[:, :, 1, 2])
    ds = ds.assign(psf_exposure=ds.psf_exposure * 0, exposure=ds.exposure * 0)
    assert (at_position(ds, "psf", position, "nearest") == 0).all()
    with pytest.raises(xonoff.SchemaError, match="method 'cubic' found, 'linear' or 'nearest' accepted"):
        at_position(ds, "psf", position, "cubic")


@pytest.mark.parametrize("migra", [False, True])
@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_the_dispersion_at_a_position(migra, method, no_compute):
    ds = make(1, migra=migra)
    sky = sky_grid(ds, "edisp")
    position = tuple(float(a) for a in sky.pixel_to_sky(2, 1))
    found = edisp_at(ds, position, method)
    assert found.dims == ("energy_true", "energy")
    np.testing.assert_allclose(found, edisp_kernel(ds)[:, :, 1, 2], rtol=1e-9)
    assert edisp_at(lazy(ds), position, method).chunks is not None


def test_the_dispersion_keeps_the_thresholds_of_a_stack():
    ds = make(1)
    ds["mask_safe"] = ds.mask_safe & (ds.energy > 2)
    kernel = edisp_at(xonoff.stack([ds, ds]), (83.6, 22.0))
    assert (kernel[:, 0] == 0).all()
    assert (kernel[:, 1:].sum("energy") > 0).all()


@pytest.mark.parametrize("name", ["psf", "edisp"])
def test_a_response_without_weight_beside_exposure_is_refused(ds, name):
    empty = ds.assign({f"{name}_exposure": 0 * ds[f"{name}_exposure"]})
    with pytest.raises(xonoff.SchemaError, match=rf"{name}_exposure: 0 everywhere found .*drop_vars"):
        at_position(empty, name, (83.63, 22.01))
    nothing = empty.assign(exposure=0 * empty.exposure)
    assert not np.nan_to_num(at_position(nothing, name, (83.63, 22.01)).values).any()
    alone = at_position(empty.drop_vars(f"{name}_exposure"), name, (83.63, 22.01))
    np.testing.assert_allclose(alone.values, at_position(ds, name, (83.63, 22.01)).values, rtol=1e-6)
