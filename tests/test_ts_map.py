"""TS maps: the signal beside the exact one, plain minima, flux points, a fit, chance, chunks, masks, and refusals."""

from collections.abc import Iterator
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from datasets import lazy, make, projections, seeds, unrecorded
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import kstest
from skyfields import EDGES, field

import xonoff
from xonoff import flux_points, quantities, source_scan, ts_map
from xonoff.models import (
    ConstantSource,
    DiskSource,
    GaussianSource,
    PointSource,
    PowerLaw1D,
    ShellSource,
    SkyModel,
    TemplateSource,
)
from xonoff.predict import npred_signal
from xonoff.stats import scans
from xonoff.stats.norm_search import fit, pack
from xonoff.stats.norms import fit_norms

NORMS = ("norm", "norm_err", "norm_errn", "norm_errp", "norm_ul")


def model(shape: Any = None, name: str = "any") -> SkyModel:
    return SkyModel(name, PowerLaw1D(1e-11, 1, 2.3), PointSource(0, 0) if shape is None else shape)


def at(ds: xr.Dataset, source: SkyModel, pixel: tuple[int, int]) -> SkyModel:
    """The model put on a pixel of a map."""
    sky = ds.onoff.geom.sky
    there = source.copy()
    lon, lat = sky.pixel_to_sky(pixel[1], pixel[0])
    there.spatial.lon_0, there.spatial.lat_0 = float(lon), float(lat)
    return there


def pixels(ds: xr.Dataset, n: int, seed: int = 0) -> list[tuple[int, int]]:
    """Some pixels of a map, the corners among them."""
    ny, nx = ds.onoff.geom.sky.shape
    rng = np.random.default_rng(seed)
    return [
        (0, 0),
        (ny - 1, nx - 1),
        *zip(rng.integers(0, ny, n).tolist(), rng.integers(0, nx, n).tolist(), strict=True),
    ]


def signals(ds: xr.Dataset, source: SkyModel, monkeypatch: pytest.MonkeyPatch, n: int = 30, **options: Any) -> Iterator:
    """What the scan takes for the signal of some pixels: (pixel, window, place, pattern, signal of the whole map)."""
    calls: list[Any] = []
    around: list[Any] = []
    plain = source_scan._around
    with monkeypatch.context() as patch:
        patch.setattr(source_scan, "in_threads", lambda function, tasks: [function(task) for task in tasks])
        patch.setattr(source_scan, "_around", lambda *args: around.append(plain(*args)) or around[-1])
        patch.setattr(scans, "scan", lambda *args: calls.append((*args[:5], around[-1])))
        ts_map(ds, source, others=[], **options)
    every = [(k, i, j) for k, c in enumerate(calls) for i in range(*c[4][:2]) for j in range(*c[4][2:])]
    np.random.default_rng(1).shuffle(every)
    shape = ds.onoff.geom.sky.shape
    for k, i, j in every[:n]:
        window, pattern, origin, size, _, reached = calls[k]
        v, u = (m / max(length - 1, 1) for m, length in zip((i, j), size, strict=True))
        left, right = (pattern.shares[0, side] * (1 - v) + pattern.shares[1, side] * v for side in (0, 1))
        seen = np.tensordot(np.outer((1 - v, v), (1 - u, u)), pattern.seen, axes=2)
        energies, height, width = *pattern.low.shape, left.shape[2]
        found, rows = np.zeros((energies, height, width)), np.zeros((len(window.exposure), width))
        place = origin[0] + i, origin[1] + j
        scans._fill_signal(window, pattern, *place, left, right, u, np.ascontiguousarray(seen), rows, found)
        pixel = place[0] + reached[0].start, place[1] + reached[1].start
        whole = np.zeros((energies, *(a + 2 * b for a, b in zip(shape, (height, width), strict=True))))
        first = pixel[0] - pattern.row + height, pixel[1] - pattern.column + width
        whole[:, first[0] : first[0] + height, first[1] : first[1] + width] = found
        yield pixel, whole[:, height : height + shape[0], width : width + shape[1]]


# -- the signal -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, PointSource(0, 0)),
        ({"pixel": 0.02, "shape": (70, 40)}, PointSource(0, 0)),
        ({"center": (83.6, 60.0), "projection": "CAR"}, PointSource(0, 0)),
        ({"center": (83.6, 80.0), "projection": "CAR"}, PointSource(0, 0)),
        ({"center": (10.0, 89.0), "projection": "CAR", "shape": (40, 20)}, PointSource(0, 0)),
        ({"center": (10.0, 89.9)}, PointSource(0, 0)),
        ({"center": (0.02, 10.0), "projection": "CAR"}, PointSource(0, 0)),
        ({"center": (184.5, -5.8), "projection": "CAR", "frame": "galactic"}, PointSource(0, 0, frame="galactic")),
        ({"center": (10.0, 40.0), "projection": "AIT"}, PointSource(0, 0)),
        ({"by_energy": True}, PointSource(0, 0)),
        ({"exposure_grid": True}, PointSource(0, 0)),
        ({"psf_grid": False, "shape": (20, 20)}, PointSource(0, 0)),
        ({"coarse": 2.5}, GaussianSource(0, 0, 0.15)),
        ({"coarse": 2.5}, DiskSource(0, 0, 0.2)),
        ({"coarse": 2.5, "shape": (20, 20)}, ShellSource(0, 0, 0.1, 0.05)),
        ({"coarse": 2.5, "shape": (12, 14)}, GaussianSource(0, 0, 0.15, 0.7, 30.0)),
    ],
)
def test_the_signal_is_the_exact_one_to_1e_3_of_its_events(monkeypatch, options, shape):
    ds = field(**options)
    for pixel, found in signals(ds, model(shape), monkeypatch, 15):
        exact = npred_signal(ds, at(ds, model(shape), pixel), evaluation_mode="global").values
        off = np.abs(found - exact).sum(axis=(1, 2))
        assert (off < 1e-3 * exact.sum(axis=(1, 2))).all(), (pixel, off / exact.sum(axis=(1, 2)))


def test_a_shape_in_another_frame_is_put_on_the_same_pixels():
    ds = field(shape=(8, 9))
    for one, two in (
        (PointSource(0, 0), PointSource(0, 0, frame="galactic")),
        (DiskSource(0, 0, 0.1), DiskSource(0, 0, 0.1, frame="galactic")),
    ):
        a, b = ts_map(ds, model(one)), ts_map(ds, model(two))
        for name in (*NORMS, "ts"):
            np.testing.assert_allclose(b[name], a[name], rtol=1e-6, atol=1e-9, err_msg=name)


# -- the fit ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [3.0, 0.3, 0.02])
@pytest.mark.parametrize("ratio", [0.05, 1.0])
@pytest.mark.parametrize("shape", [PointSource(0, 0), DiskSource(0, 0, 0.2)])
def test_each_pixel_is_the_minimum_for_its_signal(monkeypatch, counts, ratio, shape):
    """The search stops early and leaves bins out that do not matter: it gives what all digits of all bins give."""
    ds = field(counts=counts, ratio=ratio, shape=(30, 25))
    found = ts_map(ds, model(shape), others=[], n_sigma=1.5, n_sigma_ul=3)
    arrays = [ds.counts.values, ds.counts_off.values, ds.onoff.alpha.values, np.zeros(ds.counts.shape)]
    for (row, column), signal in signals(ds, model(shape), monkeypatch, 25):
        used = signal > 0
        exact = fit_norms([array[used] for array in (*arrays, signal)], [int(used.sum())], n_sigma=1.5, n_sigma_ul=3)
        point = found.isel(y=row, x=column)
        unit = float(exact.errp[0])
        for name, key in zip(NORMS, ("norm", "err", "errn", "errp", "ul"), strict=True):
            assert float(point[name]) == pytest.approx(float(getattr(exact, key)[0]), abs=2e-6 * unit), name
        assert float(point.stat) == pytest.approx(float(exact.stat[0]), abs=1e-8 * max(1, exact.stat[0]))
        assert float(point.ts) == pytest.approx(
            float((exact.stat_null - exact.stat)[0]), abs=1e-8 * max(1, exact.stat[0])
        )
        assert float(point.ref_npred) == pytest.approx(float(signal[used].sum()), rel=1e-12)


@settings(max_examples=100, deadline=None)
@given(seed=seeds, n=st.integers(1, 200), size=st.sampled_from([0.01, 1.0, 30.0]))
def test_a_search_that_stops_early_is_right_to_the_square(seed, n, size):
    rng = np.random.default_rng(seed)
    on, off = rng.poisson(size, n) * 1.0, rng.poisson(5 * size, n) * 1.0
    alpha, signal = rng.choice([0.05, 0.3], n), rng.uniform(1e-4, 2, n)
    exact, early = np.full(7, np.nan), np.full(7, np.nan)
    fit(pack(on, off, alpha, np.zeros(n), signal), 1.0, 2.0, 0.0, exact)
    fit(pack(on, off, alpha, np.zeros(n), signal), 1.0, 2.0, 1e-4, early)
    np.testing.assert_allclose(early[:5], exact[:5], atol=1e-6 * exact[3], rtol=0)
    np.testing.assert_allclose(early[5:], exact[5:], atol=1e-9 * max(1, exact[5]), rtol=0)


@pytest.mark.parametrize("projection", ["CAR", "TAN"])
def test_beside_the_plain_minimum_over_all_bins(projection):
    ds = field(projection=projection, shape=(16, 14), counts=1.0)
    halo = SkyModel("halo", PowerLaw1D(3e-12, 1, 2.2), GaussianSource(83.5, 22.1, 0.2))
    found = ts_map(ds, model(), others=halo)
    rest = npred_signal(ds, halo)
    for row, column in pixels(ds, 4):
        own = npred_signal(ds, at(ds, model(), (row, column)), evaluation_mode="global")
        point = found.isel({found.norm.dims[0]: row, found.norm.dims[1]: column})
        norm, err = float(point.norm), float(point.norm_err)

        def stat(x: float, own: xr.DataArray = own) -> float:
            return float(quantities.wstat(ds, rest + x * own).sum())

        best = minimize_scalar(stat, bracket=(norm - 2 * err, norm + 3 * err), tol=1e-10)
        assert norm == pytest.approx(best.x, abs=2e-2 * err)
        assert float(point.ts) == pytest.approx(stat(0) - best.fun, abs=0.02, rel=0.01)
        for end, rise, sign in ((norm - point.norm_errn, 1, -1), (norm + point.norm_errp, 1, 1), (point.norm_ul, 4, 1)):
            root = brentq(lambda x, t=best.fun + rise: stat(x) - t, best.x, best.x + sign * 20 * err)
            assert float(end) == pytest.approx(root, abs=3e-2 * err)


@settings(max_examples=8, deadline=None)
@given(seed=seeds, projection=projections, migra=st.booleans(), place=st.tuples(st.integers(0, 5), st.integers(0, 7)))
def test_a_pixel_is_a_flux_point_of_all_energies(seed, projection, migra, place):
    ds = make(seed, projection, migra=migra)
    halo = SkyModel("halo", PowerLaw1D(1e-11, 1, 2.0), GaussianSource(83.55, 22.013, 0.1))
    found = ts_map(ds, model(), others=[halo])
    point = found.isel(dict(zip(found.norm.dims, place, strict=True)))
    edges = np.array(ds.onoff.geom.energy)[[0, -1]]
    expected = flux_points(ds, [at(ds, model(), place), halo], "any", edges).isel(energy=0)
    valid = quantities.mask(ds) & np.isfinite(quantities.excess(ds))
    if not valid.isel(dict(zip(found.norm.dims, place, strict=True))).any():
        assert np.isnan(point.norm)
        return
    # The signal of this response, drawn at random, is that of 1e-3, and so are bright norms.
    for name in NORMS:
        scale = abs(expected.norm) + abs(expected[name]) + expected.norm_err
        assert float(point[name]) == pytest.approx(float(expected[name]), abs=3e-3 * float(scale)), name
        flux = name.replace("norm", "flux")
        assert float(point[flux]) == pytest.approx(float(point[name] * expected.ref_flux), rel=1e-12)
        assert point[flux].attrs["units"] == "cm-2 s-1"
    assert float(point.ts) == pytest.approx(float(expected.ts), rel=1e-2, abs=0.02)
    assert float(point.npred_signal) == pytest.approx(float(point.norm * point.ref_npred), rel=1e-12)
    for name in ("ref_flux", "ref_dnde", "ref_eflux", "ref_e2dnde"):
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=1e-12)
    assert float(point.sqrt_ts) == pytest.approx(float(np.copysign(np.sqrt(point.ts), point.norm)), rel=1e-12)


def test_at_the_true_position_it_is_the_ts_of_the_fit_to_1_percent():
    for amplitude, pixel in ((3e-12, (20, 23)), (3e-11, (12, 30))):
        ds = field(counts=1.0, ratio=0.1)
        source = at(ds, SkyModel("any", PowerLaw1D(amplitude, 1, 2.3), PointSource(0, 0)), pixel)
        seen = ds.onoff.fake(ds.acceptance, 3, source)
        for parameter in ("alpha", "x_0"):
            getattr(source.spectral, parameter).fixed = True
        source.spatial.lon_0.fixed = source.spatial.lat_0.fixed = True
        result = xonoff.fit(seen, source)
        expected = xonoff.source_ts(seen, result)
        found = ts_map(seen, source, others=[]).isel(y=pixel[0], x=pixel[1])
        assert float(found.ts) == pytest.approx(float(expected.ts), rel=0.01)
        fitted = result.models[0].spectral.amplitude
        assert float(found.norm) * amplitude == pytest.approx(fitted.value, abs=0.01 * fitted.std)
        assert float(found.norm_err) * amplitude == pytest.approx(fitted.std, rel=0.01)
        peak = xonoff.find_peaks(ts_map(seen, source).sqrt_ts, 5, "0.3 deg")[0]
        assert np.hypot(peak["x"] - pixel[1], peak["y"] - pixel[0]) < 1.5


def test_the_ts_of_nothing_is_chance():
    """Half of the pixels have a positive norm, and of these TS is a chi-square: the signed root is a normal number."""
    roots = []
    for seed in range(3):
        ds = field(counts=30, ratio=0.02, pixel=0.25, shape=(64, 64), varying=False, seed=seed)
        found = ts_map(ds, model())
        roots.append(found.sqrt_ts.values[1::4, 1::4].ravel())  # farther apart than the PSF is wide
    root = np.concatenate(roots)
    assert root.size == 768
    assert abs(root.mean()) < 4 / np.sqrt(root.size)
    assert abs(root.std() - 1) < 4 / np.sqrt(2 * root.size)
    assert kstest(root, "norm").pvalue > 1e-3
    positive = np.where(root > 0, root**2, 0.0)
    for level, share in ((0.0, 0.5), (1.0, 0.1587), (2.71, 0.05)):
        assert np.mean(positive > level) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / root.size))


def test_other_sources_are_taken_into_account():
    ds = field(counts=1.0)
    source = SkyModel("a", PowerLaw1D(2e-11, 1, 2.3), PointSource(83.6, 22.0))
    seen = ds.onoff.asimov(ds.acceptance, source)
    alone, known = ts_map(seen, model(), others=[]), ts_map(seen, model(), others=source)
    assert alone.ts.max() > 100
    assert known.ts.max() < 0.05
    assert abs(known.norm).max() < 0.02
    carried = seen.onoff.assign_models([source, model()])
    xr.testing.assert_identical(unrecorded(ts_map(carried, model())), unrecorded(known))
    without, alone = ts_map(carried, source.copy("any"), others=[]), ts_map(seen, source.copy("any"))
    xr.testing.assert_identical(unrecorded(without), unrecorded(alone))


@pytest.mark.parametrize("counts", [3.0, 0.1])
def test_without_limits_the_rest_is_the_same(counts):
    ds = field(shape=(20, 20), counts=counts)
    whole, fewer = ts_map(ds, model()), ts_map(ds, model(), limits=False)
    assert set(whole) - set(fewer) == {f"{name}_{end}" for name in ("norm", "flux") for end in ("errn", "errp", "ul")}
    xr.testing.assert_allclose(fewer, whole[list(fewer)], rtol=1e-6, atol=1e-9)


def test_a_range_of_energies():
    ds = field(shape=(20, 20))
    found = ts_map(ds, model(), energy_edges=["1 TeV", "5 TeV"])
    xr.testing.assert_identical(unrecorded(found), unrecorded(ts_map(ds.isel(energy=slice(1, 3)), model())))
    assert (float(found.energy_min), float(found.energy_max)) == (1, 5)
    assert float(found.ref_flux) == pytest.approx(1e-11 / 1.3 * (1 - 5**-1.3))
    assert float(ts_map(ds, model()).energy_max) == EDGES[-1]


def test_brighter_references_have_smaller_norms_and_the_same_flux():
    ds = field(shape=(12, 12))
    one, other = ts_map(ds, model()), ts_map(ds, SkyModel("any", PowerLaw1D(5e-10, 1, 2.3), PointSource(10, 10)))
    for name in ("flux", "flux_err", "flux_errn", "flux_errp", "flux_ul", "ts", "npred_signal"):
        np.testing.assert_allclose(other[name], one[name], rtol=1e-6, atol=1e-6 * abs(one[name]).max(), err_msg=name)


# -- chunks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [{"y": 40, "x": 45}, {"y": 13, "x": 20, "energy": 3}, {"x": 7, "energy_true": 2}])
def test_chunked_it_is_lazy_and_the_same_to_the_last_bit(no_compute, chunks):
    ds = field(projection="TAN")
    halo = SkyModel("halo", PowerLaw1D(1e-11, 1, 2.2), GaussianSource(83.5, 22.1, 0.2))
    found = ts_map(ds.chunk(chunks), model(), others=halo)
    assert all(found[name].chunks is not None for name in found if found[name].ndim == 2)
    with dask.config.set(scheduler="synchronous"):
        # The prediction of the others, of which each chunk is a product of matrices, is the same to rounding.
        xr.testing.assert_allclose(found.compute(), ts_map(ds, model(), others=halo), rtol=1e-9)
        plain = ts_map(ds.chunk(chunks), model()).compute()
    xr.testing.assert_identical(plain, ts_map(ds, model()))


@pytest.mark.parametrize("options", [{}, {"exposure_grid": True}, {"psf_grid": False}, {"by_energy": True}])
def test_chunks_of_every_kind_of_response(options):
    ds = field(shape=(36, 20), **options)
    for chunked in (ds.chunk(y=10, x=11), ds.chunk()):
        xr.testing.assert_identical(ts_map(chunked, model()).compute(), ts_map(ds, model()))


@settings(max_examples=6, deadline=None)
@given(seed=seeds, projection=projections, migra=st.booleans(), step=st.sampled_from([1, 2, -1]))
def test_chunks_of_any_dataset(seed, projection, migra, step):
    ds = make(seed, projection, migra=migra)
    ds = ds.isel({ds.onoff.sky_dims[0]: slice(None, None, step)})
    xr.testing.assert_identical(ts_map(lazy(ds), model()).compute(), ts_map(ds, model()))


def test_a_chunk_reads_the_pixels_around_it_alone():
    """A pixel is asked for, and pixels far from it are poisoned."""
    ds = field(pixel=0.1, shape=(120, 30), projection="CAR")

    def guarded(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        assert block_info[0]["array-location"][-2][0] < 60, "pixels far from the chunk were read"
        return block

    names = ("counts", "counts_off", "acceptance", "acceptance_off", "exposure")
    chunked = ds.chunk(lat=10, lon=30)
    arrays = {n: chunked[n].copy(data=chunked[n].data.map_blocks(guarded, dtype=float)) for n in names}
    found = ts_map(chunked.assign(arrays), model())
    part = found.norm.isel(lat=slice(0, 10)).compute()
    xr.testing.assert_identical(part, ts_map(ds, model()).norm.isel(lat=slice(0, 10)))
    with pytest.raises(AssertionError, match="far from the chunk"):
        found.norm.isel(lat=slice(100, 110)).compute()


def test_a_part_of_a_map_has_the_numbers_of_the_whole():
    ds = field(shape=(100, 90))
    whole, part = ts_map(ds, model()), ts_map(ds.isel(y=slice(11, 80), x=slice(7, 85)), model())
    inner = {"y": slice(25, 45), "x": slice(25, 50)}
    there = whole.isel(y=slice(36, 56), x=slice(32, 57))
    for name in (*NORMS, "ts"):
        np.testing.assert_allclose(part[name].isel(inner), there[name], rtol=1e-3, atol=1e-3 * there.norm_err.max())
    assert part.norm.shape == (69, 78)


# -- where ------------------------------------------------------------------------------------------------------------


def test_masks():
    ds = field(shape=(30, 30))
    rng = np.random.default_rng(1)
    inside = xr.DataArray(rng.random(ds.counts.shape) < 0.6, dims=ds.counts.dims)
    inside[:, :, 18:] = False
    inside[:, 5, 6] = False
    masked = ds.assign(mask_fit=inside)
    found = ts_map(masked, model())
    np.testing.assert_array_equal(np.isfinite(found.norm), inside.any("energy"))
    changed = masked.assign(counts=masked.counts.where(inside, 1e6), acceptance_off=masked.acceptance_off.where(inside))
    xr.testing.assert_identical(ts_map(changed, model()), found)
    nothing = ts_map(ds.assign(mask_safe=xr.zeros_like(inside)), model())
    assert np.isnan(nothing[["norm", "ts", "flux_ul", "stat", "ref_npred"]].to_array()).all()


def test_bins_without_off_exposure_and_pixels_without_exposure_are_left_out():
    ds = field(shape=(20, 20))
    bad = ds.acceptance_off.copy(deep=True)
    bad[0] = 0
    bad[:, :4] = np.nan
    exposure = ds.exposure.copy(deep=True)
    exposure[:, :, 10:] = 0
    found = ts_map(ds.assign(acceptance_off=bad, exposure=exposure), model())
    assert np.isnan(found.norm[:4]).all()
    assert np.isfinite(found.norm[4:, :10]).all()
    assert np.isnan(found.norm[:, 19]).all()
    mask = xr.ones_like(ds.counts, dtype=bool)
    mask[0] = False
    mask[:, :4] = False
    xr.testing.assert_identical(ts_map(ds.assign(mask_fit=mask, exposure=exposure), model()), found)


@pytest.mark.parametrize("counts", [0.0, 1.0])
@pytest.mark.parametrize("counts_off", [0.0, 1.0])
def test_no_counts_at_all_have_limits(counts, counts_off):
    ds = field(shape=(12, 12))
    flat = ds.assign(counts=0 * ds.counts + counts, counts_off=0 * ds.counts_off + counts_off)
    found = ts_map(flat, model())
    assert np.isfinite(found[[*NORMS, "ts", "stat"]].to_array()).all()
    assert (found.norm_errn > 0).all()
    assert (found.norm_ul > found.norm).all()
    if not counts:
        assert (found.norm <= 0).all()


def test_no_background_is_a_limit_for_norms():
    ds = field(shape=(10, 10), counts=2)
    found = ts_map(ds.assign(acceptance=0 * ds.acceptance), model())
    assert np.isfinite(found[["norm", "norm_ul", "stat"]].to_array()).all()
    assert (found.norm > 0).all()
    assert (found.norm_errn <= found.norm * (1 + 1e-9)).all()
    assert np.isinf(found.ts).all()


@pytest.mark.parametrize("shape", [(1, 30), (30, 1), (1, 1), (2, 3)])
@pytest.mark.parametrize("projection", ["CAR", "TAN"])
def test_maps_of_few_pixels(shape, projection):
    ds = field(shape=shape, projection=projection, counts=3)
    found = ts_map(ds, model())
    assert found.norm.shape == shape
    for pixel in pixels(ds, 1):
        expected = flux_points(ds, at(ds, model(), pixel), energy_edges=EDGES[[0, -1]])
        point = found.isel(dict(zip(found.norm.dims, pixel, strict=True)))
        assert float(point.norm) == pytest.approx(expected.norm.item(), abs=2e-2 * expected.norm_err.item())
    y, x = ds.onoff.sky_dims
    xr.testing.assert_identical(ts_map(ds.chunk({y: 1, x: 1}), model()).compute(), found)


def test_across_0_of_longitude_it_is_as_anywhere():
    here, there = (field((lon, 10.0), "CAR", shape=(20, 24)) for lon in (0.02, 100.02))
    one, two = ts_map(here, model()), ts_map(there, model())
    assert one.lon.values.min() < 0 < one.lon.values.max()
    for name in (*NORMS, "ts"):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-4 * abs(two[name]).max(), err_msg=name)


def test_off_the_sky_there_is_nothing():
    ds = field((0, 0), "AIT", pixel=8.0, coarse=30.0, shape=(24, 46), varying=False)
    found = ts_map(ds, model())
    y, x = np.indices((25, 47)) - 0.5
    corner = np.isfinite(ds.onoff.geom.sky.pixel_to_sky(x, y)[0])
    whole = corner[1:, 1:] & corner[1:, :-1] & corner[:-1, 1:] & corner[:-1, :-1]
    assert 0 < whole.sum() < whole.size
    np.testing.assert_array_equal(np.isfinite(found.norm), whole)  # events stay in pixels that reach beyond the rim


def test_without_response_events_stay_where_they_are():
    ds = field(shape=(9, 8)).drop_vars(["psf", "edisp"])
    found = ts_map(ds, model())
    for pixel in pixels(ds, 3):
        expected = flux_points(ds, at(ds, model(), pixel), energy_edges=EDGES[[0, -1]])
        point = found.isel(y=pixel[0], x=pixel[1])
        for name in NORMS:
            assert float(point[name]) == pytest.approx(expected[name].item(), rel=1e-6, abs=1e-9)
    plain = SkyModel("any", PowerLaw1D(1e-11, 1, 2.3), PointSource(0, 0), psf=False, edisp=False)
    xr.testing.assert_allclose(ts_map(field(shape=(9, 8)), plain), found)


def test_dimensions_in_another_order():
    ds = field(shape=(9, 11))
    turned = ds.transpose("x", "energy", "y", ...)
    xr.testing.assert_identical(ts_map(turned, model()), ts_map(ds, model()))


def test_the_nearest_response():
    ds = field(shape=(30, 30), coarse=0.55)
    found = ts_map(ds, model(), interpolation="nearest")
    for pixel in pixels(ds, 4):
        source = at(ds, model(), pixel)
        expected = flux_points(ds, source, energy_edges=EDGES[[0, -1]], interpolation="nearest")
        point = found.isel(y=pixel[0], x=pixel[1])
        assert float(point.norm) == pytest.approx(expected.norm.item(), abs=2e-2 * expected.norm_err.item())


# -- the rest ---------------------------------------------------------------------------------------------------------


def test_labels():
    ds = field(shape=(9, 11))
    found = ts_map(ds, model())
    assert found.norm.dims == ("y", "x")
    for name in ("wcs", "lon", "lat", "y", "x"):
        xr.testing.assert_identical(found.variables[name], ds.variables[name])
    assert unrecorded(found).attrs == {"source": "any", "n_sigma": 1.0, "n_sigma_ul": 2.0}
    assert all(found[name].attrs["units"] and found[name].attrs["long_name"] for name in found)
    assert xonoff.geometry.sky_grid(found.ts) == ds.onoff.geom.sky


def test_nothing_is_changed():
    ds, source = field(shape=(9, 11)), model()
    before = ds.copy(deep=True)
    ts_map(ds, source)
    xr.testing.assert_identical(ds, before)
    assert (source.spatial.lon_0.value, source.spatial.lat_0.value) == (0, 0)


def test_it_can_be_drawn():
    from xonoff.plot import sky_map

    found = ts_map(field(shape=(9, 11)), model())
    assert sky_map(found.sqrt_ts, "sqrt(TS)", symmetric=True).get_title() == "sqrt(TS)"
    assert sky_map(found.flux_ul, "flux (cm-2 s-1)").get_title() == "flux"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda ds: ts_map(ds, SkyModel("a", PowerLaw1D(1e-11, 1, 2))), xonoff.ModelError, "a: no shape found"),
        (lambda ds: ts_map(ds, model(ConstantSource())), xonoff.ModelError, "a ConstantSource found"),
        (
            lambda ds: ts_map(ds, model(TemplateSource(np.ones((3, 3)), ds.onoff.geom.sky.window((0, 0), (3, 3))))),
            xonoff.ModelError,
            "a TemplateSource found",
        ),
        (lambda ds: ts_map(ds, "crab"), xonoff.ModelError, "model: a str found"),
        (lambda ds: ts_map(ds, [model(), model(name="b")]), xonoff.ModelError, "model: a list found"),
        (lambda ds: ts_map(ds, SkyModel("a", PowerLaw1D(0, 1, 2), PointSource(0, 0))), xonoff.ModelError, "a: fluxes"),
        (
            lambda ds: ts_map(ds, SkyModel("a", PowerLaw1D(-1e-11, 1, 2), PointSource(0, 0))),
            xonoff.ModelError,
            "none below accepted",
        ),
        (lambda ds: ts_map(ds, model(), others="crab"), xonoff.ModelError, "a str found"),
        (lambda ds: ts_map(ds, model(), n_sigma=0), xonoff.SchemaError, "n_sigma: 0 found"),
        (lambda ds: ts_map(ds, model(), n_sigma_ul=np.inf), xonoff.SchemaError, "n_sigma_ul: inf found"),
        (lambda ds: ts_map(ds, model(), energy_edges=[1, 3]), xonoff.GeometryError, r"energy_edges: \[1.0, 3.0\] TeV"),
        (lambda ds: ts_map(ds, model(), energy_edges=[1, 2, 5]), xonoff.GeometryError, "two edges of the dataset"),
        (lambda ds: ts_map(ds, model(), energy_edges=[1]), xonoff.GeometryError, "at least two"),
        (lambda ds: ts_map(ds, model(), interpolation="cubic"), xonoff.SchemaError, "'cubic' found"),
        (lambda ds: ts_map(ds.drop_vars("counts_off"), model()), xonoff.SchemaError, "no variable counts_off"),
        (lambda ds: ts_map(ds.drop_vars("exposure"), model()), xonoff.SchemaError, "no exposure"),
        (lambda ds: ts_map(ds.drop_vars("wcs"), model()), xonoff.GeometryError, "wcs"),
        (lambda ds: ts_map(ds.isel(energy=0), model()), xonoff.GeometryError, "no dimension energy"),
        (lambda ds: ts_map(ds.isel(y=3), model()), xonoff.GeometryError, "no dimension y"),
        (lambda ds: ts_map(ds.isel(y=3, x=3).drop_vars(["y", "x", "wcs"]), model()), xonoff.GeometryError, "spectrum"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(field(shape=(9, 11)))
