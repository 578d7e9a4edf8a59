"""Correlated maps: the peer's, sums by brute force, masks, any chunks, fluxes that were put in, what is refused."""

import dask
import numpy as np
import pytest
from astropy.io import fits
from conftest import DATA
from datasets import lazy, make
from matplotlib import pyplot as plt

import xonoff
from xonoff import stats
from xonoff.correlation import correlate, excess_map
from xonoff.histogram import plot_significance, significance_histogram
from xonoff.models import ConstantSource, PowerLaw1D, SkyModel

ON_OFF = ("counts", "counts_off", "acceptance", "acceptance_off")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no test data at {DATA}: set XONOFF_TEST_DATA")
@pytest.mark.parametrize(("name", "correlate_off"), [("corroff", True), ("nocorroff", False)])
def test_significance_is_that_of_the_peer(name, correlate_off):
    ds = xonoff.open_dataset(DATA / "hess-crab" / "onoff_stacked.fits.gz")
    expected = fits.getdata(DATA / "reference-arrays" / f"sqrt_ts_{name}_onoff_stacked.fits.gz").squeeze()
    found = excess_map(ds, "0.1 deg", correlate_off=correlate_off)
    np.testing.assert_allclose(found.significance[0], expected, atol=1e-5)
    np.testing.assert_allclose(correlate(ds, 0.1, correlate_off=correlate_off).onoff.significance(), found.significance)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no test data at {DATA}: set XONOFF_TEST_DATA")
def test_significances_outside_the_source_are_a_gaussian():
    ds = xonoff.open_dataset(DATA / "hess-crab" / "onoff_stacked.fits.gz")
    outside = fits.getdata(DATA / "hess-crab" / "exclusion_mask_tan.fits.gz").squeeze() != 0
    found = correlate(ds, "0.1 deg", correlate_off=False).onoff.significance()
    histogram = significance_histogram(found, found[0].copy(data=~outside))
    assert abs(float(histogram["mean"].sel(part="outside"))) < 0.1
    assert abs(float(histogram["sigma"].sel(part="outside")) - 1) < 0.1


def by_hand(ds, radius, correlate_off):
    """On/off data of discs, pixel by pixel."""
    lon, lat = (np.radians(angle) for angle in ds.onoff.geom.sky.lonlat())
    vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    used = (ds.onoff.mask & np.isfinite(ds.onoff.excess)).transpose("energy", *ds.onoff.sky_dims).values
    n_on, n_off, a_on, a_off = (
        np.where(used, ds[n].transpose("energy", *ds.onoff.sky_dims).values.astype(float), 0) for n in ON_OFF
    )
    expected = np.where(used, n_off * a_on / np.where(a_off > 0, a_off, 1), 0)
    n_on, n_off, a_on, a_off, expected = (array.sum(axis=0) for array in (n_on, n_off, a_on, a_off, expected))
    inside = used.any(axis=0)
    near = vectors.reshape(-1, 3) @ vectors.reshape(-1, 3).T >= np.cos(np.radians(radius)) - 1e-12

    def total(array):
        return (near @ array.ravel()).reshape(array.shape)

    if correlate_off:
        off, background = total(n_off), total(expected)
        alpha = np.where(off > 0, background / np.where(off > 0, off, 1), total(a_on) / total(a_off))
        return inside, total(n_on), off, alpha
    image = np.where(expected > 0, a_on * n_off / np.where(expected > 0, expected, 1), a_off)
    return inside, total(n_on), n_off, total(a_on) / np.where(image > 0, image, np.nan)


@pytest.mark.parametrize("projection", ["CAR", "TAN"])
@pytest.mark.parametrize("correlate_off", [True, False])
def test_sums_by_hand(projection, correlate_off):
    ds = make(3, projection)
    found = excess_map(ds, 0.21, correlate_off=correlate_off)
    inside, n_on, n_off, alpha = by_hand(ds, 0.21, correlate_off)
    for name, expected in (
        ("counts", n_on),
        ("counts_off", n_off),
        ("excess", n_on - alpha * n_off),
        ("significance", stats.li_ma(n_on, n_off, alpha)),
        ("excess_err", np.sqrt(n_on + alpha**2 * n_off)),
        ("excess_ul", stats.upper_limit(n_on, n_off, alpha)),
    ):
        np.testing.assert_allclose(
            found[name][0], np.where(inside, expected, np.nan), rtol=1e-9, atol=1e-9, err_msg=name
        )
    errn, errp = stats.excess_errors(n_on, n_off, alpha)
    np.testing.assert_allclose(found.excess_errn[0], np.where(inside, errn, np.nan), rtol=1e-9)
    np.testing.assert_allclose(found.excess_errp[0], np.where(inside, errp, np.nan), rtol=1e-9)
    np.testing.assert_allclose(found.onoff.alpha[0], np.where(inside, alpha, np.nan), rtol=1e-9)


def test_energies_are_joined_between_edges():
    ds = make(4)
    edges = ds.onoff.geom.energy
    found = excess_map(ds, 0.2, [edges[0], edges[2], edges[-1]])
    for number, part in enumerate((slice(0, 2), slice(2, None))):
        alone = excess_map(ds.isel(energy=part), 0.2)
        for name in ("significance", "counts", "flux", "flux_ul"):
            np.testing.assert_allclose(found[name][number], alone[name][0], rtol=1e-9)
    with pytest.raises(xonoff.GeometryError, match="bins can be joined, not divided"):
        excess_map(ds, 0.2, [edges[0], 1.01 * edges[1]])


@pytest.mark.parametrize("own_grid", [False, True])
def test_chunks_do_not_matter_and_nothing_is_computed_early(own_grid):
    ds = make(5)
    if own_grid:
        grid = xonoff.SkyGrid.create((83.6, 22.0), shape=(5, 6), pixel_size=0.3, projection="TAN")
        exposure = np.random.default_rng(1).uniform(1e9, 2e9, (ds.sizes["energy_true"], 5, 6))
        ds = ds.drop_vars("exposure").assign_coords(grid.coords("exposure"))
        ds["exposure"] = (("energy_true", *grid.dims("exposure")), exposure, {"units": "m2 s"})
    whole = excess_map(ds, 0.2)

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("computed")

    with dask.config.set(scheduler=refuse):
        cut = excess_map(lazy(ds), 0.2)
    assert all(array.chunks is not None for array in cut.values())
    for name in whole:
        np.testing.assert_allclose(cut[name], whole[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_fluxes_are_those_put_in():
    """A sky of one brightness: a disc has its share of the solid angle."""
    ds = xonoff.tutorial.dataset()
    everywhere = SkyModel("sky", PowerLaw1D(1e-7, 1, 2.0), ConstantSource(), psf=False)
    expected = ds.onoff.asimov(ds.acceptance, everywhere)
    found = excess_map(expected, "0.2 deg")
    edges = np.array(ds.onoff.geom.energy)
    area = (1 - np.cos(np.radians(0.2))) / 2
    middle = found.flux.isel(lat=slice(12, 28), lon=slice(12, 28))
    pixels = found.isel(lat=20, lon=20)
    discs = float(pixels.acceptance.sum() / ds.acceptance.isel(lat=20, lon=20).sum())  # pixels in a disc
    solid = discs * float(ds.onoff.geom.sky.solid_angle()[20, 20]) / (4 * np.pi)
    assert solid == pytest.approx(area, rel=0.05)
    np.testing.assert_allclose(middle, 1e-7 * (1 / edges[0] - 1 / edges[-1]) * solid, rtol=0.06)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda ds: correlate(ds, 0), xonoff.GeometryError, "radius: 0 found"),
        (lambda ds: correlate(ds, "1 TeV"), xonoff.XonoffError, "deg"),
        (lambda ds: correlate(ds, np.nan), xonoff.XonoffError, "nan"),
        (lambda ds: correlate(ds.isel(y=0) if "y" in ds.dims else ds.isel(lat=0), 0.1), xonoff.GeometryError, "no map"),
        (lambda ds: correlate(ds.drop_vars("counts_off"), 0.1), xonoff.SchemaError, "no variable counts_off"),
    ],
)
def test_what_cannot_be_correlated_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(make(1))


def test_off_counts_of_rings_are_not_summed_again():
    ds = xonoff.tutorial.dataset()
    ring = xonoff.ring_background(ds.assign(background=ds.onoff.background), 0.3, 0.2)
    found = correlate(ring, "0.1 deg")
    sums = ring.onoff.to_image()
    inside = found.counts.notnull()
    np.testing.assert_allclose(found.counts_off, sums.counts_off.where(inside), rtol=1e-12)
    with pytest.raises(xonoff.SchemaError, match="correlate_off=False"):
        correlate(ring, "0.1 deg", correlate_off=True)


def test_histograms():
    rng = np.random.default_rng(1)
    template = make(1).counts[0]
    values = template.copy(data=rng.normal(0.1, 1.2, template.shape))
    values.values[0, :2] = 30, np.nan
    found = significance_histogram(values)
    assert float(found["mean"][0]) == pytest.approx(0.1, abs=4 * float(found.mean_err[0]))
    assert float(found["sigma"][0]) == pytest.approx(1.2, abs=4 * float(found.sigma_err[0]))
    assert int(found.pixels.sum()) == values.size - 1
    assert int(found.fitted[0]) == values.size - 2
    ax = plot_significance(significance_histogram(values, values > 2))
    assert len(ax.get_legend().get_texts()) == 3
    plt.close("all")
    for call in (
        lambda: significance_histogram(values * np.nan),
        lambda: significance_histogram(values, values),
        lambda: significance_histogram(values, width=0),
    ):
        with pytest.raises(xonoff.SchemaError, match="found"):
            call()
