"""Predicted counts: reference numbers, laws of stacking and scaling, spectra and images, laziness, what is refused."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from dask import delayed
from datasets import lazy, make, projections, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

import xonoff
from xonoff.axes import axis_edges
from xonoff.irf import edisp_at
from xonoff.models import (
    ConstantSource,
    DiskSource,
    GaussianSource,
    PointSource,
    PowerLaw1D,
    ShellSource,
    SkyModel,
    TemplateSource,
    integral,
)
from xonoff.predict import npred, npred_signal
from xonoff.psf import psf_kernel
from xonoff.rings import circle_weights
from xonoff.spread import spread

CENTER = (83.63, 22.01)


def model(shape: object, name: str = "crab", amplitude: float = 1e-11, **flags: bool) -> SkyModel:
    return SkyModel(name, PowerLaw1D(amplitude, 1.0, 2.3), shape, **flags)


def flat(ds: xr.Dataset) -> xr.Dataset:
    """The same exposure everywhere, so that nothing but the shares of pixels differs."""
    return ds.assign(exposure=ds.exposure * 0 + ds.exposure.max(), psf_exposure=ds.psf_exposure * 0 + 1)


SHAPES = {
    "point": PointSource(83.61, 22.03),
    "tiny": GaussianSource(83.61, 22.03, 0.001),
    "gaussian": GaussianSource(83.61, 22.03, 0.15),
    "elongated": GaussianSource(83.61, 22.03, 0.15, e=0.8, phi=30),
    "tiny elongated": GaussianSource(83.61, 22.03, 0.002, e=0.8, phi=30),
    "disk": DiskSource(83.61, 22.03, 0.3),
    "elongated disk": DiskSource(83.61, 22.03, 0.3, e=0.7),
    "shell": ShellSource(83.61, 22.03, 0.2, 0.1),
}


@pytest.mark.parametrize("psf", [True, False])
@pytest.mark.parametrize("name", SHAPES)
def test_all_events_are_there_wherever_the_source_is(name, psf):
    ds = flat(xonoff.tutorial.dataset())
    source = model(SHAPES[name], psf=psf)
    found = npred_signal(ds, source).sum(("lat", "lon"))
    flux = integral(source.spectral, axis_edges(ds, "energy_true"))
    expected = (flux * ds.exposure.values[:, 0, 0] * 1e4) @ edisp_at(ds, CENTER).values
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_point_is_the_kernel_times_exposure_and_dispersion():
    ds = make(3)
    source = model(PointSource(83.55, 22.04))
    position = source.spatial.position
    flux = integral(source.spectral, axis_edges(ds, "energy_true")) * 1e4
    kernel = psf_kernel(ds, position)
    expected = np.einsum("t,te,tyx,tyx->eyx", flux, edisp_at(ds, position), ds.exposure, kernel)
    found = npred_signal(ds, source, evaluation_mode="global")
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * expected.max())
    assert found.dims == ds.counts.dims
    assert found.attrs["units"] == "1"
    xr.testing.assert_identical(found.coords.to_dataset(), ds.counts.coords.to_dataset())


@settings(max_examples=15, deadline=None)
@given(seed=seeds, projection=projections, factor=st.floats(0.1, 10))
def test_it_scales_adds_and_is_never_negative(seed, projection, factor):
    ds = make(seed, projection)
    sources = [model(PointSource(83.6, 22.1), "a"), model(GaussianSource(83.5, 21.9, 0.1), "b")]
    one = npred_signal(ds, sources, per_model=True)
    assert one.dims == ("model", *ds.counts.dims)
    assert one.model.values.tolist() == ["a", "b"]
    assert (one >= 0).all()
    np.testing.assert_allclose(npred_signal(ds, sources), one.sum("model"), rtol=1e-12)
    more = npred_signal(ds, model(PointSource(83.6, 22.1), "a", factor * 1e-11))
    np.testing.assert_allclose(more, factor * one.sel(model="a"), rtol=1e-12)


def test_no_model_no_counts():
    ds = make(1)
    assert (npred_signal(ds) == 0).all()
    assert (npred_signal(ds, []) == 0).all()
    assert npred_signal(ds, per_model=True).sizes["model"] == 0
    assert float(npred_signal(ds, model(PointSource(200, -40))).sum()) == 0


def test_dispersion_and_psf_can_be_left_out():
    ds = xonoff.tutorial.dataset()
    bare = npred_signal(ds, model(PointSource(83.61, 22.03), psf=False, edisp=False))
    assert (bare.sum("energy") > 0).sum() == 1
    x, y = (round(float(p)) for p in ds.onoff.geom.sky.sky_to_pixel((83.61, 22.03)))
    true, energy = axis_edges(ds, "energy_true"), axis_edges(ds, "energy")
    cuts = np.unique(np.concatenate([true, energy]))
    flux = integral(PowerLaw1D(1e-11, 1.0, 2.3), cuts)
    exposure = ds.exposure.values[:, y, x]
    expected = np.zeros(energy.size - 1)
    for lo, part in zip(cuts, flux, strict=False):
        if energy[0] <= lo < energy[-1]:
            expected[np.searchsorted(energy, lo, "right") - 1] += (
                part * exposure[np.searchsorted(true, lo, "right") - 1]
            )
    np.testing.assert_allclose(bare[:, y, x], expected * 1e4, rtol=1e-10)
    without = npred_signal(ds.drop_vars(["psf", "edisp"]), model(PointSource(83.61, 22.03)))
    np.testing.assert_allclose(without, bare)


def test_an_isotropic_source_and_a_template():
    ds = flat(xonoff.tutorial.dataset())
    everywhere = npred_signal(ds, model(ConstantSource()))
    ratio = everywhere[0] / ds.onoff.solid_angle
    np.testing.assert_allclose(ratio, ratio[0, 0].item(), rtol=1e-9)
    sky = xonoff.SkyGrid.create(CENTER, shape=(160, 160), pixel_size=0.01, projection="TAN")
    image = GaussianSource(*CENTER, 0.1)(*sky.lonlat())
    template = npred_signal(ds, model(TemplateSource(image, sky)))
    gaussian = npred_signal(ds, model(GaussianSource(*CENTER, 0.1)))
    np.testing.assert_allclose(template, gaussian, atol=2e-3 * gaussian.max().item())


def test_a_frame_is_but_a_name():
    ds = xonoff.tutorial.dataset()
    there = PointSource(83.61, 22.03).position.galactic
    for name in ("point", "gaussian"):
        own = SHAPES[name]
        sizes = [getattr(own, part).value for part in own.param_names[2:]]
        other = type(own)(there.l.deg, there.b.deg, *sizes, frame="galactic")
        np.testing.assert_allclose(npred_signal(ds, model(other)), npred_signal(ds, model(own)), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("lon", [0.0, 359.9999, 0.0001])
def test_the_seam_and_the_poles_are_places_like_others(lon):
    def predicted(center, position):
        geom = xonoff.Geom.create(center, width=4.0, pixel_size=0.1, projection="TAN", energy=[1, 10])
        ds = xonoff.create(geom, energy_true=[0.5, 2, 20])
        rad = axis_edges(ds, "rad")
        ds = ds.assign(exposure=ds.exposure + 1e10).drop_vars(["psf", "psf_exposure", "edisp", "edisp_exposure"])
        psf = np.broadcast_to(xonoff.psf.gaussian(0.1, rad), (2, rad.size - 1))
        ds = ds.assign(psf=(("energy_true", "rad"), psf, {"units": "sr-1"}))
        return npred_signal(ds, model(GaussianSource(*position, 0.2)))

    here = predicted((180.0, 0.0), (180.05, 0.02))
    assert here.sum() > 0.01
    seam = predicted((lon, 0.0), (lon + 0.05, 0.02))
    np.testing.assert_allclose(seam, here, rtol=1e-6)
    for pole in (90.0, -90.0):
        cap = predicted((lon, pole), (lon, pole - np.sign(pole) * 0.05))
        np.testing.assert_allclose(cap.sum(("y", "x")), here.sum(("y", "x")), rtol=1e-6)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), migra=st.booleans())
def test_a_stack_predicts_what_its_parts_predict(seed, migra):
    """Where the exposures of the parts have one ratio in all pixels: one position of the response stands for all."""
    parts = [make(seed + i, migra=migra) for i in range(3)]
    shared = parts[0]
    for i, part in enumerate(parts):
        level = (i + 1.0) * xr.DataArray(np.linspace(1, 3, part.sizes["energy_true"]), dims="energy_true")
        exposures = {n: (part[n] * 0 + level * 1e9).assign_attrs(units="m2 s") for n in part if "exposure" in str(n)}
        inside = part.mask_safe & False | xr.DataArray(
            np.arange(part.sizes["energy"]) >= (0 if migra else i), dims="energy"
        )
        inside = inside.transpose(*part.mask_safe.dims)
        parts[i] = part.assign({**exposures, "psf": shared.psf, "mask_safe": inside})
    source = model(PointSource(83.58, 22.02))
    total = npred_signal(xonoff.stack(parts), source)
    each = [npred_signal(part, source).where(part.mask_safe, 0) for part in parts]
    np.testing.assert_allclose(total, sum(each), rtol=1e-10, atol=1e-10 * float(total.max()))


def test_images_and_spectra():
    ds = xonoff.tutorial.dataset()
    source = model(PointSource(83.633, 22.014), amplitude=3.5e-11)
    whole = npred_signal(ds.assign(mask_safe=ds.mask_safe | True), source)
    image = ds.assign(mask_safe=ds.mask_safe | True).onoff.to_image(keep_energy_true=True)
    np.testing.assert_allclose(npred_signal(image, source)[0], whole.sum("energy"), rtol=1e-6, atol=1e-9)
    from astropy import units as u
    from astropy.coordinates import SkyCoord
    from regions import CircleSkyRegion

    region = CircleSkyRegion(SkyCoord(83.633, 22.014, unit="deg"), 0.3 * u.deg)
    spectrum = ds.onoff.to_spectrum(region, containment_correction=True)
    predicted = npred_signal(spectrum, source)
    assert predicted.dims == ("energy",)
    assert npred_signal(spectrum, SkyModel("crab", source.spectral)).equals(predicted)
    excess = ds.onoff.to_spectrum(region).onoff.excess
    assert float(predicted.sum() / excess.sum()) == pytest.approx(1, abs=0.1)


# -- statistics -------------------------------------------------------------------------------------------------------


def test_statistics_use_the_models():
    ds = xonoff.tutorial.dataset()
    source = model(PointSource(83.633, 22.014), amplitude=3.5e-11)
    signal = npred_signal(ds, source)
    carried = ds.onoff.assign_models(source)
    alpha = ds.onoff.alpha
    expected = xonoff.stats.wstat(ds.counts, ds.counts_off, alpha, signal)
    for found in (ds.onoff.wstat(source), carried.onoff.wstat(), carried.onoff.stat_array()):
        np.testing.assert_allclose(found, expected)
    inside = carried.onoff.mask & np.isfinite(alpha)
    np.testing.assert_allclose(carried.onoff.stat_sum(), expected[inside.values].sum(), rtol=1e-12)
    mu_off = xonoff.stats.wstat_mu_off(ds.counts, ds.counts_off, alpha, signal)
    np.testing.assert_allclose(carried.onoff.npred_off(), mu_off)
    np.testing.assert_allclose(carried.onoff.npred_background(), alpha * mu_off)
    np.testing.assert_allclose(carried.onoff.npred(), alpha * mu_off + signal)
    assert carried.onoff.stat_sum() < ds.onoff.stat_sum()
    np.testing.assert_allclose(carried.onoff.stat_sum([]), ds.onoff.stat_sum())


# -- laziness ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("migra", [False, True])
@pytest.mark.parametrize("projection", ["CAR", "TAN"])
def test_dask_gives_the_same_and_stays_lazy(projection, migra, no_compute):
    ds = make(5, projection, migra=migra)
    sources = [model(PointSource(83.6, 22.1), "a"), model(GaussianSource(83.5, 21.9, 0.1, e=0.5), "b")]
    signal = npred_signal(lazy(ds), sources)
    found = {
        "signal": (signal, npred_signal(ds, sources)),
        "each": (npred_signal(lazy(ds), sources, per_model=True), npred_signal(ds, sources, per_model=True)),
        "total": (npred(lazy(ds), sources), npred(ds, sources)),
        "stat": (lazy(ds).onoff.stat_sum(sources), ds.onoff.stat_sum(sources)),
        "none": (npred_signal(lazy(ds), []), npred_signal(ds, [])),
    }
    assert signal.chunksizes["energy"] == (3, 1)
    for name, (chunked, whole) in found.items():
        assert chunked.chunks is not None, name
        computed = chunked.compute(scheduler="synchronous")
        np.testing.assert_allclose(computed, whole, rtol=1e-9, atol=1e-12, err_msg=name)


def test_only_chunks_that_a_model_reaches_do_work(no_compute):
    ds = xonoff.tutorial.dataset().chunk({"lat": 8, "lon": 8, "energy": 4})
    found = npred_signal(ds, model(PointSource(83.61, 22.03)))
    predicted = [key for key in found.data.dask if "_block" in str(key)]
    assert 0 < len(predicted) <= 2 * 9
    exposure = da.from_delayed(delayed(fail)(), ds.exposure.shape, float)
    only = ds.assign(exposure=(ds.exposure.dims, exposure, ds.exposure.attrs))
    corner = npred_signal(only, model(PointSource(83.61, 22.03)))[:, :8, :8]
    assert float(corner.sum().compute(scheduler="synchronous")) == 0


def fail() -> None:
    raise AssertionError("the exposure was read")


@pytest.mark.parametrize("kind", ["own grid", "no sky"])
def test_a_lazy_exposure_of_another_kind(kind, no_compute):
    ds = make(6)
    exposure = ds.psf_exposure.rename(y_psf="y_exposure", x_psf="x_exposure").variable
    if kind == "no sky":
        exposure = exposure[:, 0, 0]
    coarse = xonoff.SkyGrid.create((83.6, 22.0), shape=(3, 4), pixel_size=0.3, projection="TAN")
    ds = ds.assign(exposure=exposure).assign_coords(coarse.coords("exposure") if kind == "own grid" else {})
    source = model(PointSource(83.6, 22.1))
    chunked = npred_signal(ds.chunk({"energy": 3, "y": 4, "x": 5, "energy_true": 2}), source)
    assert chunked.chunks is not None
    found = chunked.compute(scheduler="synchronous")
    assert float(found.sum()) > 0
    np.testing.assert_allclose(found, npred_signal(ds, source), rtol=1e-9, atol=1e-12)


def test_a_lazy_prediction_is_of_the_models_as_they_were():
    ds, source = xonoff.tutorial.dataset(), model(PointSource(83.61, 22.03))
    chunked = npred_signal(ds.chunk({"lat": 20}), source)
    expected = npred_signal(ds, source)
    source.spectral.amplitude = 5e-11
    np.testing.assert_allclose(chunked, expected, rtol=1e-12)


def test_lazy_counts_make_a_lazy_prediction(no_compute):
    ds = xonoff.tutorial.dataset()
    ds["counts"] = ds.counts.chunk({"lat": 20})
    assert npred_signal(ds, model(PointSource(83.61, 22.03))).chunks is not None


def test_response_that_has_no_exposure_may_be_anything():
    ds = make(2)
    source = model(PointSource(83.45, 22.1))
    for name in ("psf", "edisp"):
        good, bad = ds.copy(deep=True), ds.copy(deep=True)
        for part, value in ((good, 0.0), (bad, np.nan)):
            part[name][..., 1, 2] = value
            part[f"{name}_exposure"][:, 1, 2] = 0
        for interpolation in ("linear", "nearest"):
            found = npred_signal(bad, source, interpolation=interpolation)
            np.testing.assert_array_equal(found, npred_signal(good, source, interpolation=interpolation))
            assert float(found.sum()) > 0


def test_options_reach_every_prediction():
    ds, source = xonoff.tutorial.dataset(), model(PointSource(83.61, 22.03))
    everywhere = ds.onoff.npred_signal(source, evaluation_mode="global")
    assert (everywhere > 0).sum() > (ds.onoff.npred_signal(source) > 0).sum()
    for name in ("npred", "npred_background", "npred_off", "wstat", "stat_array", "stat_sum"):
        method = getattr(ds.onoff, name)
        assert not method(source, evaluation_mode="global").equals(method(source))
        with pytest.raises(xonoff.SchemaError, match="interpolation 'cubic' found, 'linear' or 'nearest' accepted"):
            method(source, interpolation="cubic")


@pytest.mark.parametrize(("projection", "lon", "lat"), [("CAR", 180, 43.0), ("CAR", 179.9, -10), ("CEA", 180.1, 60.0)])
@pytest.mark.parametrize("name", ["point", "gaussian", "disk"])
def test_the_seam_of_a_map_of_the_whole_sky(projection, lon, lat, name):
    sky = xonoff.SkyGrid.create((0, 0), shape=(180, 360), pixel_size=1.0, projection=projection, frame="galactic")
    shapes = {
        "point": PointSource(lon, lat, frame="galactic"),
        "gaussian": GaussianSource(lon, lat, 1.0, frame="galactic"),
        "disk": DiskSource(lon, lat, 3.0, frame="galactic"),
    }
    radii = np.linspace(0, 2, 21)
    psf = np.exp(-(radii**2) / 0.5)[None] / (np.exp(-(radii**2) / 0.5) @ circle_weights(radii))
    found = spread(shapes[name], (lon, lat), sky, (psf, radii))
    assert found.shares.sum() == pytest.approx(1, rel=1e-6)


def test_the_pole_of_a_cylindrical_map():
    sky = xonoff.SkyGrid.create((0, 0), shape=(116, 360), pixel_size=1.0, projection="CEA", frame="galactic")
    assert spread(PointSource(10, 89.5, frame="galactic"), (10, 89.5), sky, None).pixels.size == 1
    radii = np.array([0.0, 2.0])
    cone = np.array([[3 / (4 * np.pi), 0.0]])
    assert spread(PointSource(10, 85, frame="galactic"), (10, 85), sky, (cone, radii)).shares.sum() > 0.5


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: npred_signal(ds.drop_vars("exposure"), model(PointSource(83.6, 22))), "no exposure"),
        (lambda ds: npred_signal(ds, SkyModel("a", PowerLaw1D(1e-11, 1, 2))), "a: a model without shape before a map"),
        (lambda ds: npred_signal(ds, evaluation_mode="all"), "evaluation_mode 'all' found, 'local' or 'global'"),
        (lambda ds: npred_signal(ds, interpolation="cubic"), "interpolation 'cubic' found"),
        (lambda ds: npred_signal(ds, 5), "models: a int found"),
        (lambda ds: npred_signal(ds.isel(y=3), model(PointSource(83.6, 22))), "no dimension y"),
        (lambda ds: npred_signal(ds.isel(y=3, x=2), model(PointSource(83.6, 22))), r"no dimension y, x.*isel\(y=\[0\]"),
        (lambda ds: npred_signal(ds.isel(energy=1), model(PointSource(83.6, 22))), "no dimension energy"),
        (lambda ds: npred_signal(ds.isel(energy_true=1), model(PointSource(83.6, 22))), "no dimension energy_true"),
        (lambda ds: npred_signal(ds, "crab"), "models: a str found"),
    ],
)
def test_what_cannot_be_predicted_is_refused(call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call(make(1))
