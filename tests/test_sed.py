"""Flux points: the plain minimum over all bins of a map, laws, masks, laziness, and what is refused."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from conftest import DATA
from datasets import EDGES, lazy, make, projections, seeds, unrecorded
from hypothesis import given, settings
from hypothesis import strategies as st
from regions import CircleSkyRegion
from scipy.optimize import brentq, minimize_scalar

import xonoff
from xonoff import flux_points, quantities
from xonoff.models import (
    ConstantSource,
    GaussianSource,
    LogParabola1D,
    PointSource,
    PowerLaw1D,
    SkyModel,
    TemplateSpectrum,
    flux,
    integral,
)
from xonoff.predict import npred_signal

REGION = CircleSkyRegion(SkyCoord(83.633, 22.014, unit="deg"), 0.3 * u.deg)


def crab(amplitude: float = 3.5e-11, alpha: float = 2.6, lon: float = 83.633, lat: float = 22.014) -> SkyModel:
    return SkyModel("crab", PowerLaw1D(amplitude, 1, alpha), PointSource(lon, lat))


def models() -> list[SkyModel]:
    """A source, one beside it, one everywhere, and one that is far off the map."""
    return [
        SkyModel("source", PowerLaw1D(1e-11, 1, 2.3), PointSource(83.61, 22.03)),
        SkyModel("halo", LogParabola1D(1e-11, 1, 2.0, 0.1), GaussianSource(83.55, 22.013, 0.1)),
        SkyModel("all", PowerLaw1D(3e-9, 1, 2.5), ConstantSource()),
        SkyModel("far", PowerLaw1D(1e-11, 1, 2.3), PointSource(200, -40)),
    ]


def plain(ds: xr.Dataset, listed: list[SkyModel], name: str, energies: slice):
    """W over all bins of a map at some energies that the source has a signal in, as a function of its norm."""
    own = npred_signal(ds, [model for model in listed if model.name == name]).isel(energy=energies)
    rest = npred_signal(ds, [model for model in listed if model.name != name]).isel(energy=energies)
    part = ds.isel(energy=energies)
    inside = quantities.mask(part) & (own > 0)

    def stat(norm: float) -> float:
        return float(quantities.wstat(part, rest + norm * own).where(inside).sum())

    return stat


@settings(max_examples=12, deadline=None)
@given(seed=seeds, projection=projections, migra=st.booleans(), cut=st.integers(1, 3))
def test_a_point_is_the_plain_minimum_over_all_bins(seed, projection, migra, cut):
    ds, listed = make(seed, projection, migra=migra), models()
    points = flux_points(ds, listed, "source", EDGES[[0, cut, 4]], norm_scan=[-0.5, 0, 1, 2])
    for number, energies in enumerate((slice(0, cut), slice(cut, 4))):
        stat, point = plain(ds, listed, "source", energies), points.isel(energy=number)
        norm, err = float(point.norm), float(point.norm_err)
        np.testing.assert_allclose(point.stat_scan, [stat(x) for x in point.norm_scan.values], rtol=1e-9)
        assert float(point.stat_null) == pytest.approx(stat(0), rel=1e-9)
        best = minimize_scalar(stat, bracket=(norm - 2 * err, norm + 3 * err), tol=1e-10)
        assert float(point.stat) == pytest.approx(best.fun, rel=1e-9)
        assert norm == pytest.approx(best.x, abs=2e-4 * err)
        ends = ((norm - point.norm_errn, 1, -1), (norm + point.norm_errp, 1, 1), (point.norm_ul, 4, 1))
        for end, rise, sign in ends:
            far = best.x + sign * 20 * err
            root = brentq(lambda x, t=best.fun + rise, stat=stat: stat(x) - t, best.x, far)
            assert float(end) == pytest.approx(root, abs=1e-3 * err)


def test_what_is_expected_gives_norms_of_one():
    ds = xonoff.tutorial.dataset()
    expected = ds.onoff.asimov(ds.acceptance, crab())
    points = flux_points(expected, crab())
    np.testing.assert_allclose(points.norm, 1, atol=1e-4)
    np.testing.assert_allclose(points.npred_signal, points.ref_npred, rtol=1e-4)
    np.testing.assert_allclose(points.npred, points.counts, rtol=1e-4)
    twice = flux_points(expected, crab(7e-11))
    for name in ("dnde", "flux", "eflux", "e2dnde", "dnde_ul", "flux_err", "eflux_errn", "e2dnde_errp"):
        np.testing.assert_allclose(twice[name], points[name], rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(twice.ts, points.ts, rtol=1e-9)


def test_fluxes_are_norms_times_the_reference():
    points = flux_points(xonoff.tutorial.dataset(), crab())
    spectrum, edges = crab().spectral, np.append(points.energy_bounds[:, 0], 50.0)
    np.testing.assert_allclose(points.ref_dnde, flux(spectrum, points.energy), rtol=1e-13)
    np.testing.assert_allclose(points.ref_e2dnde, points.energy**2 * points.ref_dnde, rtol=1e-13)
    np.testing.assert_allclose(points.ref_flux, integral(spectrum, edges), rtol=1e-13)
    lo, hi = edges[:-1], edges[1:]
    np.testing.assert_allclose(points.ref_eflux, 3.5e-11 * (lo**-0.6 - hi**-0.6) / 0.6, rtol=1e-10)
    for name in ("dnde", "e2dnde", "flux", "eflux"):
        for end in ("", "_err", "_errn", "_errp", "_ul"):
            expected = points[f"norm{end}"] * points[f"ref_{name}"]
            np.testing.assert_array_equal(points[f"{name}{end}"], expected)
            assert points[f"{name}{end}"].attrs["units"] == points[f"ref_{name}"].attrs["units"]
    np.testing.assert_allclose(points.sqrt_ts**2, points.ts, rtol=1e-12)
    assert unrecorded(points).attrs == {"source": "crab", "sed_type": "likelihood", "n_sigma": 1.0, "n_sigma_ul": 2.0}
    np.testing.assert_array_equal(points.is_ul, points.sqrt_ts < 2)


def test_ts_of_the_points_add_up_to_that_of_the_source():
    """With the norms at 1 in all of them it is that of the source, the others being fixed."""
    ds, listed = make(3), models()
    points = flux_points(ds, listed, "source", norm_scan=[0, 1])
    at_one = float((points.stat_null - points.stat_scan.sel(norm_scan=1)).sum())
    assert at_one == pytest.approx(float(xonoff.source_ts(ds, listed, "source", refit=False).ts), abs=1e-7)
    assert float(points.ts.sum()) >= at_one


def test_datasets_of_all_kinds_together_are_the_sum():
    ds = xonoff.tutorial.dataset()
    other = ds.onoff.fake(ds.acceptance, 1, crab())
    parts = [ds, other, ds.onoff.to_spectrum(REGION, containment_correction=True)]
    scan = [0, 0.7, 1, 1.3]
    joint = flux_points(parts, crab(), norm_scan=scan)
    alone = [flux_points(part, crab(), norm_scan=scan) for part in parts]
    for name in ("stat_scan", "stat_null", "counts", "ref_npred"):
        np.testing.assert_allclose(joint[name], sum(points[name] for points in alone), rtol=1e-10, err_msg=name)
    weights = [1 / points.norm_err**2 for points in alone]
    mean = sum(w * points.norm for w, points in zip(weights, alone, strict=True)) / sum(weights)
    assert (abs(joint.norm - mean) < 0.3 * joint.norm_err).isel(energy=slice(0, 5)).all()  # of many counts
    assert (joint.norm_err < alone[0].norm_err).all()


def test_an_image_is_one_point():
    ds = xonoff.tutorial.dataset()
    image = ds.onoff.to_image(keep_energy_true=True)
    point = flux_points([image, ds.onoff.to_spectrum(REGION, containment_correction=True)], crab(), None, [0.5, 50])
    assert point.sizes["energy"] == 1
    assert point.norm.item() == pytest.approx(1, abs=3 * point.norm_err.item())


def test_energies_of_different_datasets():
    ds = xonoff.tutorial.dataset()
    high = ds.isel(energy=slice(4, 8))
    with pytest.raises(xonoff.GeometryError, match="of the first dataset"):
        flux_points([ds, high], crab())
    edges = ds.onoff.geom.energy
    both = flux_points([ds, high], crab(), energy_edges=[edges[0], edges[4], edges[8]])
    alone = flux_points(ds, crab(), energy_edges=[edges[0], edges[4], edges[8]])
    np.testing.assert_allclose(both.ts[0], alone.ts[0], rtol=1e-12)
    np.testing.assert_allclose(both.ts[1], 2 * alone.ts[1], rtol=1e-10)
    part = flux_points([ds, high], crab(), energy_edges=np.array(edges)[[2, 6]] * 1000 * u.GeV)
    assert part.counts.item() > flux_points(ds, crab(), energy_edges=np.array(edges)[[2, 6]]).counts.item()


@pytest.mark.parametrize("kept", [0.0, 0.3])
def test_masks(kept):
    ds = xonoff.tutorial.dataset()
    inside = xr.DataArray(np.random.default_rng(1).random(ds.counts.shape) < kept, dims=ds.counts.dims)
    inside[3] = False
    masked = ds.assign(mask_fit=inside)
    points = flux_points(masked, crab())
    assert np.isnan(points[["norm", "norm_ul", "dnde", "ts", "stat", "npred"]].isel(energy=3).to_array()).all()
    assert not points.success[3]
    assert points.counts[3] == 0
    there = points.success.values
    assert there.sum() == (7 if kept else 0)
    # What is outside the masks does not matter.
    changed = masked.assign(counts=masked.counts.where(inside, 1e6))
    xr.testing.assert_identical(flux_points(changed, crab()), points)
    for number in np.flatnonzero(there)[:2]:
        stat = plain(masked, [crab()], "crab", slice(number, number + 1))
        assert float(points.stat[number]) == pytest.approx(stat(float(points.norm[number])), rel=1e-9)


def test_bins_without_off_exposure_are_left_out():
    ds = make(4)
    bad = ds.acceptance_off.copy(deep=True)
    bad[0] = 0
    bad[1, :3] = np.nan
    points = flux_points(ds.assign(acceptance_off=bad), models(), "source")
    assert not points.success[0]
    assert points.success[1:].all()
    assert np.isfinite(
        points[["norm", "norm_err", "norm_errn", "norm_errp", "norm_ul"]].isel(energy=slice(1, 4)).to_array()
    ).all()


@pytest.mark.parametrize("counts", [0.0, 1.0])
def test_empty_maps_have_limits(counts):
    ds = make(5, masks=False)
    empty = ds.assign(counts=0 * ds.counts, counts_off=counts * xr.ones_like(ds.counts_off))
    points = flux_points(empty, models()[:1])
    assert points.success.all()
    assert np.isfinite(points[["norm", "norm_err", "norm_errn", "norm_errp", "norm_ul", "ts"]].to_array()).all()
    assert (points.norm <= 0).all()
    assert (points.norm_ul + points.norm_errn > points.norm).all()
    assert points.is_ul.all()


def test_one_pixel():
    ds = make(6, masks=False)
    y, x = ds.onoff.sky_dims
    pixel = ds.isel({y: slice(2, 3), x: slice(3, 4)})
    source = SkyModel("a", PowerLaw1D(1e-11, 1, 2), PointSource(float(pixel.lon.item()), float(pixel.lat.item())))
    points = flux_points(pixel, source)
    excess = quantities.excess(pixel).values.ravel()
    np.testing.assert_allclose(points.npred_signal, excess, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(points.stat, 0, atol=1e-12)


def test_a_lazy_dataset_gives_the_same():
    xr.testing.assert_identical(
        flux_points(lazy(make(7)), models(), "source"), flux_points(make(7), models(), "source")
    )


def test_of_a_lazy_dataset_the_source_is_read_only():
    ds = xonoff.tutorial.dataset().onoff.pad(40)

    def guarded(block: np.ndarray, block_info=None) -> np.ndarray:
        (y0, _), (x0, _) = block_info[0]["array-location"][1:]
        assert min(x0, y0) >= 20, "pixels far from the source were read"
        assert max(x0, y0) < 100, "pixels far from the source were read"
        return block

    names = ("counts", "counts_off", "acceptance", "acceptance_off", "mask_safe", "exposure")
    arrays = {n: da.map_blocks(guarded, ds[n].chunk(lat=10, lon=10).data, dtype=ds[n].dtype) for n in names}
    watched = ds.assign({name: ds[name].copy(data=array) for name, array in arrays.items()})
    far = SkyModel("far", PowerLaw1D(1e-11, 1, 2.3), PointSource(83.633, 26.6))
    listed = [crab(), far, SkyModel("all", PowerLaw1D(1e-9, 1, 2.3), ConstantSource())]
    xr.testing.assert_identical(flux_points(watched, listed, "crab"), flux_points(ds, listed, "crab"))
    with pytest.raises(AssertionError, match="far from the source"):
        flux_points(watched, listed, "far")


def test_models_that_the_datasets_carry():
    first, second, *_ = models()
    one, two, three = make(1).onoff.assign_models(first), make(2).onoff.assign_models([first, second]), make(3)
    points = flux_points([one, two, three.onoff.assign_models(second)], source="source", norm_scan=[0, 1])
    parts = [flux_points(one, norm_scan=[0, 1]), flux_points(two, source="source", norm_scan=[0, 1])]
    np.testing.assert_allclose(points.stat_scan, parts[0].stat_scan + parts[1].stat_scan, rtol=1e-12)
    other = first.copy()
    other.spectral.alpha = 3
    with pytest.raises(xonoff.ModelError, match="source: two datasets carry different models of this name"):
        flux_points([one, make(2).onoff.assign_models(other)], source="source")


def test_a_fit_is_taken_as_it_is():
    ds = xonoff.tutorial.dataset()
    result = xonoff.fit(ds, crab(3e-11, 2.4))
    points, again = flux_points(ds, result, "crab"), flux_points(ds, result.models, "crab")
    xr.testing.assert_identical(unrecorded(points), unrecorded(again))
    points = flux_points(ds, result)
    assert float(((points.norm - 1) / points.norm_err).std()) < 2


def test_errors_and_limits_scale_with_their_sigma():
    ds = xonoff.tutorial.dataset()
    one, two = flux_points(ds, crab()), flux_points(ds, crab(), n_sigma=2, n_sigma_ul=3, min_sqrt_ts=10)
    np.testing.assert_allclose(two.norm_err, 2 * one.norm_err, rtol=1e-10)
    np.testing.assert_allclose(two.norm + two.norm_errp, one.norm_ul, rtol=1e-10)
    assert (two.norm_ul > one.norm_ul).all()
    np.testing.assert_array_equal(two.is_ul, two.sqrt_ts < 10)
    assert (two.attrs["n_sigma"], two.attrs["n_sigma_ul"]) == (2, 3)


def test_the_default_profile_shows_each_minimum():
    points = flux_points(xonoff.tutorial.dataset(), crab())
    assert (points.norm_scan.diff("norm_scan") > 0).all()
    np.testing.assert_allclose(points.stat_scan.min("norm_scan"), points.stat, atol=1e-9)
    assert (points.stat_scan.sel(norm_scan=0) == points.stat_null).all()
    beyond = points.stat_scan - points.stat
    for end in (points.norm_scan < points.norm, points.norm_scan > points.norm):
        assert ((beyond.where(end).max("norm_scan") > 9) | (points.energy > 20)).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda ds: flux_points([], crab()), xonoff.SchemaError, "no dataset found"),
        (lambda ds: flux_points(ds), xonoff.ModelError, "source: None found, but there are no models"),
        (lambda ds: flux_points(ds, crab(), "vela"), xonoff.ModelError, "source: 'vela' found.*crab"),
        (lambda ds: flux_points(ds, models()), xonoff.ModelError, "source: None found.*source, halo, all, far"),
        (lambda ds: flux_points(ds, crab(lon=200.0)), xonoff.ModelError, "crab: it predicts no counts in any dataset"),
        (lambda ds: flux_points(ds, crab(0.0)), xonoff.ModelError, "crab: it predicts no counts in any dataset"),
        (lambda ds: flux_points(ds, crab(-1e-11)), xonoff.ModelError, "crab: a negative flux found"),
        (lambda ds: flux_points(ds, crab(), None, [0.5, 1, 50]), xonoff.GeometryError, r"energy_edges: \[1.0\] TeV"),
        (lambda ds: flux_points(ds, crab(), None, [0.1, 50]), xonoff.GeometryError, r"energy_edges: \[0.1\] TeV"),
        (lambda ds: flux_points(ds, crab(), None, [0.5]), xonoff.GeometryError, "at least two"),
        (lambda ds: flux_points(ds, crab(), None, [50, 0.5]), xonoff.GeometryError, "strictly increasing"),
        (lambda ds: flux_points(ds, crab(), None, "1 m"), xonoff.SchemaError, "TeV"),
        (lambda ds: flux_points(ds, crab(), n_sigma=0), xonoff.SchemaError, "n_sigma: 0 found"),
        (lambda ds: flux_points(ds, crab(), n_sigma_ul=np.nan), xonoff.SchemaError, "n_sigma_ul: nan found"),
        (lambda ds: flux_points(ds, crab(), norm_scan=[1, 1]), xonoff.SchemaError, "norm_scan"),
        (lambda ds: flux_points(ds, crab(), norm_scan=[]), xonoff.SchemaError, "norm_scan"),
        (lambda ds: flux_points(ds.drop_vars("counts_off"), crab()), xonoff.SchemaError, "no variable counts_off"),
        (lambda ds: flux_points(ds.drop_vars("exposure"), crab()), xonoff.SchemaError, "no exposure"),
        (lambda ds: flux_points(ds.isel(energy=0), crab()), xonoff.GeometryError, "no dimension energy"),
        (lambda ds: flux_points(ds, SkyModel("a", PowerLaw1D(1e-11, 1, 2))), xonoff.ModelError, "without shape"),
        (lambda ds: flux_points(ds, crab(), interpolation="cubic"), xonoff.SchemaError, "'cubic' found"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(xonoff.tutorial.dataset())


def test_where_the_reference_has_no_flux_a_norm_says_nothing_of_it():
    """Events of 1 to 5 TeV are seen beyond, too; no factor of nothing is a flux."""
    spectrum = TemplateSpectrum([1, 5], [1e-11, 1e-12])
    points = flux_points(xonoff.tutorial.dataset(), SkyModel("a", spectrum, PointSource(83.633, 22.014)))
    beyond = points.energy < 0.8
    assert np.isfinite(points.norm[beyond]).all()
    assert np.isnan(points[["flux", "dnde", "flux_ul"]].where(beyond, drop=True).to_array()).all()
    assert np.isfinite(points.flux.where((points.energy > 1) & (points.energy < 5), drop=True)).all()


def test_nothing_is_changed():
    ds, model = xonoff.tutorial.dataset(), crab()
    before = ds.copy(deep=True)
    flux_points(ds, model)
    xr.testing.assert_identical(ds, before)
    assert model.spectral.parameters.tolist() == crab().spectral.parameters.tolist()


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no test data at {DATA}: set XONOFF_TEST_DATA")
def test_points_of_real_data_lie_on_the_fit():
    """Of the peer's fit to four runs; the reference has no flux points, and each point is an independent test of it."""
    ds = xonoff.open_dataset(DATA / "hess-crab" / "onoff_stacked.fits.gz")
    source = crab(5.03e-11, 2.775, 83.63, 22.01)
    result = xonoff.fit(ds, [SkyModel("crab", source.spectral, PointSource(83.63, 22.01))], interpolation="nearest")
    points = flux_points(ds, result, interpolation="nearest")
    assert not points.success[0]  # below the threshold of all runs
    there = points.isel(energy=slice(1, None))
    assert there.success.all()
    strong = there.where(there.sqrt_ts > 3, drop=True)
    assert strong.sizes["energy"] >= 6
    assert (abs(strong.norm - 1) < 3.5 * strong.norm_err).all()
    assert float(there.ts.sum()) > float(xonoff.source_ts(ds, result).ts)


def test_the_scale_of_alpha_of_a_result_counts():
    ds = xonoff.tutorial.dataset()
    crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.633, 22.014))
    result = xonoff.fit(ds, crab, priors={"tutorial.alpha_scale": (0.5, 1e-3)})
    points = xonoff.flux_points(ds, result)
    scale = result.scales["tutorial.alpha_scale"]
    scaled = xonoff.flux_points(ds.assign(acceptance=ds.acceptance.astype(float) * scale), result.models)
    np.testing.assert_allclose(points.norm, scaled.norm, rtol=1e-6)
    assert abs(points.norm / xonoff.flux_points(ds, result.models).norm - 1).max() > 0.01
    with pytest.raises(xonoff.SchemaError, match="datasets: a str found"):
        xonoff.flux_points("abc", result)
