"""Joint maps: one dataset is its own map, twice the same run knows twice as much, minima by hand, laziness."""

import dask
import numpy as np
import pytest
from datasets import lazy, make
from scipy.optimize import minimize_scalar

import xonoff
from xonoff.correlation import excess_map
from xonoff.joint import joint_map
from xonoff.stats import wstat


def test_one_dataset_is_its_own_map():
    ds = make(1)
    alone, found = excess_map(ds, 0.2).isel(energy=0), joint_map([ds], 0.2)
    for name in ("significance", "flux", "flux_errn", "flux_errp", "flux_ul"):
        size = float(abs(alone[name]).max())
        np.testing.assert_allclose(found[name], alone[name], rtol=1e-6, atol=1e-9 * size, err_msg=name)


def test_the_same_run_twice():
    ds = make(2)
    one, two = joint_map([ds], 0.2), joint_map([ds, ds], 0.2)
    np.testing.assert_allclose(two.flux, one.flux, rtol=1e-7, atol=1e-22)
    np.testing.assert_allclose(two.ts, 2 * one.ts, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("joined", [True, False])
def test_minima_by_hand(joined):
    runs = [make(seed) for seed in (3, 4, 5)]
    edges = None if joined else runs[0].onoff.geom.energy
    found = joint_map(runs, 0.15, edges)
    maps = [excess_map(ds, 0.15, edges) for ds in runs]
    width = np.diff(1 / np.array(runs[0].onoff.geom.energy))
    shares = np.ones(1) if joined else width / width.sum()
    for y, x in ((2, 3), (4, 1), (0, 0)):
        bins = []
        for m in maps:
            one = m.isel(y=y, x=x) if "y" in m.dims else m.isel(lat=y, lon=x)
            rows = (one.counts, one.counts_off, one.onoff.alpha, one.reco_exposure * shares)
            rows = [np.atleast_1d(row.values) for row in rows]
            bins += [row for row in zip(*rows, strict=True) if np.isfinite(row).all()]
        on, off, alpha, exposure = np.array(bins).T
        scale = 1 / exposure.mean()
        given = on, off, alpha, scale * exposure
        best = minimize_scalar(lambda f, b=given: wstat(*b[:3], f * b[3]).sum(), bracket=(-5, 5), tol=1e-10)
        pixel = found.isel(y=y, x=x) if "y" in found.dims else found.isel(lat=y, lon=x)
        assert float(pixel.stat) == pytest.approx(best.fun, rel=1e-8)
        assert float(pixel.flux) == pytest.approx(best.x * scale, rel=1e-4, abs=1e-5 * scale)
        assert float(pixel.stat_null) == pytest.approx(wstat(on, off, alpha).sum(), rel=1e-10)


def test_chunks_do_not_matter_and_nothing_is_computed_early():
    runs = [make(seed) for seed in (6, 7)]
    whole = joint_map(runs, 0.2)

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("computed")

    with dask.config.set(scheduler=refuse):
        cut = joint_map([lazy(ds) for ds in runs], 0.2)
    for name in whole:
        size = float(abs(whole[name]).max())
        np.testing.assert_allclose(cut[name], whole[name], rtol=1e-8, atol=1e-9 * size, err_msg=name)


def test_without_exposure_acceptances_say_what_each_run_expects():
    runs = [make(seed).drop_vars("exposure") for seed in (8, 9)]
    assert np.isfinite(joint_map(runs, 0.2).significance).any()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: joint_map([], 0.1), xonoff.SchemaError, "no dataset found"),
        (lambda: joint_map([make(1), make(2).drop_vars("exposure")], 0.1), xonoff.SchemaError, "some datasets"),
        (lambda: joint_map([make(1), make(2, "CAR")], 0.1), xonoff.GeometryError, "two different sky grids"),
    ],
)
def test_what_does_not_go_together_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
