"""Ring backgrounds of 20 x 500 x 500 bins, beside gammapy, and what a map larger than memory takes."""

import os
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from regions import CircleSkyRegion

import xonoff
from xonoff.vicinity import vicinity_of

Measure = Callable[..., Any]
CENTER = SkyCoord(83.63, 22.01, unit="deg")
SOURCE = CircleSkyRegion(CENTER, 0.3 * u.deg)
ADAPTIVE = {"r_max": 1.2, "step": 0.1, "threshold": 3.3e-4}


@pytest.fixture(scope="module")
def given(ds: xr.Dataset) -> xr.Dataset:
    """A map with a background template that falls off to the sides, so that adaptive rings have to grow."""
    y, x = (np.arange(n) - n / 2 for n in ds.counts.shape[1:])
    fall = np.exp(-0.5 * (y[:, None] ** 2 + x**2) / 120**2).astype(np.float32)
    background = ds.acceptance.copy(data=ds.acceptance.values * fall)
    return ds.drop_vars(["counts_off", "acceptance", "acceptance_off"]).assign(background=background)


@pytest.fixture(scope="module")
def left_out(given: xr.Dataset) -> np.ndarray:
    return np.asarray(xonoff.masks.from_regions(given, SOURCE).values[0])


@pytest.fixture(scope="module")
def peer(given: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Any:
    datasets = pytest.importorskip("gammapy.datasets", reason="gammapy 2.1 is not installed: make bench")
    path: Path = tmp_path_factory.mktemp("bench") / "given.fits"
    given.onoff.to_fits(path)
    return datasets.MapDataset.read(path)


def maker(name: str, peer: Any, left_out: np.ndarray | None, **options: Any) -> Any:
    mask = None
    if left_out is not None:
        geom = peer.counts.geom.to_image()
        mask = pytest.importorskip("gammapy.maps").Map.from_geom(geom, data=~left_out)
    kind = getattr(pytest.importorskip("gammapy.makers"), name)
    return kind(r_in=0.5 * u.deg, width=0.3 * u.deg, exclusion_mask=mask, **options)


RINGS = {"ring": False, "ring, with an exclusion": True}


@pytest.mark.parametrize("name", RINGS)
def test_ring_xonoff(measure: Measure, given: xr.Dataset, left_out: np.ndarray, name: str) -> None:
    exclusion = left_out if RINGS[name] else None
    measure(lambda: xonoff.ring_background(given, 0.5, 0.3, exclusion=exclusion), group=name)


@pytest.mark.parametrize("name", RINGS)
def test_ring_gammapy(measure: Measure, peer: Any, left_out: np.ndarray, name: str) -> None:
    ring = maker("RingBackgroundMaker", peer, left_out if RINGS[name] else None)
    measure(lambda: ring.run(peer), group=name)


def test_ring_that_was_never_looked_up_xonoff(measure: Measure, given: xr.Dataset, left_out: np.ndarray) -> None:
    """The first call for a grid and a radius, which finds out what lies within it."""

    def run() -> Any:
        vicinity_of.cache_clear()
        return xonoff.ring_background(given, 0.5, 0.3, exclusion=left_out)

    measure(run, group="ring, with an exclusion, first call")


@pytest.mark.parametrize("fixed", ["width", "r_in"])
def test_adaptive_ring_xonoff(measure: Measure, given: xr.Dataset, left_out: np.ndarray, fixed: str) -> None:
    one = given.isel(energy=slice(0, 1))
    run = partial(xonoff.adaptive_ring_background, one, 0.5, 0.3, **ADAPTIVE, fixed=fixed, exclusion=left_out)
    measure(run, group=f"adaptive ring of one image, fixed {fixed}")


@pytest.mark.parametrize("fixed", ["width", "r_in"])
def test_adaptive_ring_gammapy(measure: Measure, peer: Any, left_out: np.ndarray, fixed: str) -> None:
    image = peer.slice_by_idx({"energy": slice(0, 1)})
    options = {"r_out_max": 1.25 * u.deg, "stepsize": 0.1 * u.deg, "threshold_alpha": ADAPTIVE["threshold"]}
    ring = maker("AdaptiveRingBackgroundMaker", image, left_out, method=f"fixed_{fixed}", **options)
    measure(lambda: ring.run(image), group=f"adaptive ring of one image, fixed {fixed}", rounds=3)


def test_off_counts_are_those_of_the_peer_but_for_the_rims(given: xr.Dataset, peer: Any, left_out: np.ndarray) -> None:
    ours = xonoff.ring_background(given, 0.5, 0.3, exclusion=left_out, safe_only=False).counts_off.values
    theirs = maker("RingBackgroundMaker", peer, left_out).run(peer).counts_off.data
    assert np.array_equal(ours, np.round(ours))
    assert np.abs(ours - theirs).max() < 0.05 * ours.max()
    assert abs(ours.sum() / theirs.sum() - 1) < 5e-3


def test_a_map_larger_than_memory() -> None:
    """2 GB of counts and as much of background, made on the fly and summed again: the peak is that of a few chunks."""
    import dask.array as da

    energy = xonoff.energy_edges("0.1 TeV", "100 TeV", n=4)
    size = int(os.environ.get("XONOFF_BENCH_PIXELS", "4000"))
    sky = xonoff.SkyGrid.create((83.63, 22.01), shape=(size, size), pixel_size=0.01, projection="CAR")
    geom = xonoff.Geom(sky, tuple(energy))
    shape, chunks = (4, size, size), (1, 500, 500)
    counts = da.random.default_rng(0).poisson(0.2, shape, chunks=chunks).astype(np.float32)
    arrays = {"counts": counts, "background": da.full(shape, 0.2, dtype=np.float32, chunks=chunks)}
    big = xr.Dataset({name: (geom.dims, a, {"units": "1"}) for name, a in arrays.items()}, geom.coords())
    off = xonoff.ring_background(big, 0.3, 0.2)
    tracemalloc.start()
    total = (off.counts_off.sum() / off.acceptance_off.sum()).compute(num_workers=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    whole = 2 * np.prod(shape) * (4 + 8)
    print(f"\nring of {shape}: {whole / 1e6:.0f} MB in and out, peak {peak / 1e6:.0f} MB")
    assert abs(float(total) - 1) < 0.01
    assert peak < whole / 3
