"""Correlated excess and significance of 20 x 500 x 500 bins, beside gammapy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import opened_by_peer, with_response

Measure = Callable[..., Any]
RADIUS = "0.1 deg"


@pytest.fixture(scope="module")
def seen(ds: xr.Dataset) -> xr.Dataset:
    return with_response(ds, 1e9)


@pytest.fixture(scope="module")
def seen_peer(seen: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path: Path = tmp_path_factory.mktemp("bench") / "excess.fits"
    seen.onoff.to_fits(path)
    return opened_by_peer(path)


def test_significance_xonoff(measure: Measure, seen: xr.Dataset) -> None:
    def run() -> Any:
        sums = seen.onoff.correlate(RADIUS)
        return sums.onoff.excess, sums.onoff.significance()

    measure(run, group="excess and significance, one image")


def peer(optional: list[str]) -> Any:
    return pytest.importorskip("gammapy.estimators").ExcessMapEstimator(RADIUS, selection_optional=optional)


def test_significance_gammapy(measure: Measure, seen_peer: Any) -> None:
    measure(lambda: peer([]).run(seen_peer), group="excess and significance, one image", rounds=3)


def test_all_xonoff(measure: Measure, seen: xr.Dataset) -> None:
    measure(lambda: seen.onoff.excess_map(RADIUS), group="with errors, limits and flux: all 250 000 pixels, and 900")


def test_all_gammapy(measure: Measure, seen_peer: Any) -> None:
    """Of 30 x 30 pixels only: all of them would take minutes."""
    geom = seen_peer.counts.geom
    small = seen_peer.cutout(geom.center_skydir, 30 * geom.pixel_scales[0])
    group = "with errors, limits and flux: all 250 000 pixels, and 900"
    measure(lambda: peer(["errn-errp", "ul"]).run(small), group=group, rounds=1)


def test_it_is_that_of_the_peer(seen: xr.Dataset, seen_peer: Any) -> None:
    theirs = peer([]).run(seen_peer)["sqrt_ts"].data[0]
    np.testing.assert_allclose(seen.onoff.excess_map(RADIUS).significance[0], theirs, atol=2e-2)
