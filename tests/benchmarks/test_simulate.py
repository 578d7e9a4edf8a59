"""Simulated counts and residuals of 20 x 500 x 500 bins, beside gammapy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xonoff.residuals import residuals
from xonoff.simulate import asimov, fake

Measure = Callable[..., Any]
METHOD = "diff/sqrt(model)"
OURS = {
    "fake": lambda ds: fake(ds, 0.3 * ds.acceptance, seed=1),
    "asimov": lambda ds: asimov(ds, 0.3 * ds.acceptance),
    "residuals": lambda ds: residuals(ds, METHOD),
    "residuals, smoothed": lambda ds: residuals(ds, METHOD, smooth="0.1 deg"),
}


@pytest.fixture(scope="module")
def own_peer(fits_file: Path) -> Any:
    """One whose counts may be replaced."""
    datasets = pytest.importorskip("gammapy.datasets", reason="gammapy 2.1 is not installed: make bench")
    return datasets.MapDatasetOnOff.read(fits_file)


@pytest.mark.parametrize("name", OURS)
def test_xonoff(measure: Measure, ds: xr.Dataset, name: str) -> None:
    measure(lambda: OURS[name](ds), group=name)


def test_fake_of_gammapy(measure: Measure, ds: xr.Dataset, own_peer: Any) -> None:
    measure(lambda: own_peer.fake(own_peer.acceptance * 0.3, random_state=1), group="fake")
    ours = OURS["fake"](ds)
    for side in ("counts", "counts_off"):
        theirs = float(getattr(own_peer, side).data.sum(dtype=float))
        assert abs(float(ours[side].sum(dtype=float)) - theirs) < 5 * np.sqrt(2 * theirs)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of its divisions by zero
@pytest.mark.parametrize("name", ["residuals", "residuals, smoothed"])
def test_residuals_of_gammapy(measure: Measure, ds: xr.Dataset, peer: Any, name: str) -> None:
    smooth = {"width": "0.1 deg"} if "smoothed" in name else {}
    theirs = measure(lambda: peer.residuals(METHOD, **smooth), group=name, rounds=3)
    np.testing.assert_allclose(OURS[name](ds), theirs.data, rtol=1e-4, atol=1e-4)


def test_fake_of_chunks(measure: Measure, ds: xr.Dataset) -> None:
    chunked = ds.chunk({"energy": 5, "y": 250, "x": 250})
    simulated = measure(lambda: OURS["fake"](chunked)[["counts", "counts_off"]].compute(), group="fake")
    for side in ("counts", "counts_off"):
        np.testing.assert_array_equal(simulated[side], OURS["fake"](ds)[side])
