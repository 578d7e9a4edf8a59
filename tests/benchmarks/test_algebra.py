"""Stack, image, cutout and spectrum of 20 x 500 x 500 bins, beside gammapy; and the memory of a stack of fifty runs."""

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from conftest import cube, opened_by_peer
from regions import CircleSkyRegion

import xonoff

Measure = Callable[..., Any]
CENTER = SkyCoord(83.63, 22.01, unit="deg")
REGION = CircleSkyRegion(CENTER, 0.5 * u.deg)


@pytest.fixture(scope="module")
def whole(ds: xr.Dataset) -> xr.Dataset:
    """Without holes in the mask, which gammapy refuses in a region."""
    return ds.assign(mask_safe=xr.ones_like(ds.mask_safe))


@pytest.fixture(scope="module")
def whole_peer(whole: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("bench") / "whole.fits"
    whole.onoff.to_fits(path)
    return opened_by_peer(path)


OURS = {
    "stack of two": lambda ds: xonoff.stack([ds] * 2),
    "stack of ten": lambda ds: xonoff.stack([ds] * 10),
    "to_image": lambda ds: ds.onoff.to_image(keep_energy_true=True),
    "to_image, response weighted": lambda ds: ds.onoff.to_image(),
    "cutout": lambda ds: ds.onoff.cutout(CENTER, 2),
    "to_spectrum": lambda ds: ds.onoff.to_spectrum(REGION),
    "downsample": lambda ds: ds.onoff.downsample(2),
}
THEIRS = {
    "stack of two": lambda peer: _stack(peer, 2),
    "stack of ten": lambda peer: _stack(peer, 10),
    "to_image": lambda peer: peer.to_image(),
    "cutout": lambda peer: peer.cutout(CENTER, 2 * u.deg),
    "to_spectrum": lambda peer: peer.to_spectrum_dataset(REGION),
    "downsample": lambda peer: peer.downsample(2),
}


def _stack(peer: Any, n: int) -> Any:
    """Both masks applied, as ours are: what ``Datasets.stack_reduce`` does with n datasets."""
    total = peer.to_masked()
    for _ in range(n - 1):
        total.stack(peer)
    return total


@pytest.mark.parametrize("name", OURS)
def test_xonoff(measure: Measure, whole: xr.Dataset, name: str) -> None:
    measure(lambda: OURS[name](whole), group=name)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of its divisions by zero
@pytest.mark.parametrize("name", THEIRS)
def test_gammapy(measure: Measure, whole: xr.Dataset, whole_peer: Any, name: str) -> None:
    theirs = measure(lambda: THEIRS[name](whole_peer), group=name, rounds=3)
    ours = OURS[name](whole)
    np.testing.assert_allclose(ours.counts.sum(), theirs.counts.data.sum(), rtol=1e-6)


def test_memory_of_a_stack_of_fifty_runs(whole: xr.Dataset, benchmark: Any) -> None:
    """Runs of 20 x 200 x 200, made one after the other, onto 20 x 500 x 500."""
    run = cube((20, 200, 200))
    target = whole.onoff.geom

    def runs() -> Iterator[xr.Dataset]:
        for i in range(50):
            low = (i * 6, i * 5)
            part = target.sky.window(low, (low[0] + 200, low[1] + 200))
            yield run.copy(deep=True).assign_coords(part.coords())

    xonoff.stack(runs(), geom=target)
    tracemalloc.start()
    total = xonoff.stack(runs(), geom=target)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = sum(array.nbytes for array in total.data_vars.values())
    print(f"\nstack of fifty runs: peak {peak / 1e6:.0f} MB, output {size / 1e6:.0f} MB, ratio {peak / size:.2f}")
    assert peak < 1.5 * size
    benchmark.pedantic(lambda: xonoff.stack(runs(), geom=target), rounds=1)
