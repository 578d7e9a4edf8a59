"""TS map of 10 x 200 x 200 bins beside gammapy, whose estimator takes no off counts: of Cash with that background."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import cube, opened_by_peer, with_response

import xonoff
from xonoff.models import PointSource, PowerLaw1D, SkyModel

Measure = Callable[..., Any]
SHAPE = (10, 200, 200)
#: Pixels along a side of the part that gammapy takes its errors and limits of, for of all it takes minutes.
PART = 30


def source() -> SkyModel:
    return SkyModel("a", PowerLaw1D(1e-11, 1, 2.3), PointSource(0, 0))


@pytest.fixture(scope="module")
def dense() -> xr.Dataset:
    """A half of the bins have on counts."""
    return with_response(cube(SHAPE), 1e9)


@pytest.fixture(scope="module")
def sparse(dense: xr.Dataset) -> xr.Dataset:
    """One of 70 bins has on counts, one of 4 off counts."""
    rng = np.random.default_rng(2)
    counts = {n: xr.zeros_like(dense[n]) + rng.poisson(0.02 * dense[n]) for n in ("counts", "counts_off")}
    return dense.assign({name: array.astype(np.float32) for name, array in counts.items()})


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_map_xonoff(measure: Measure, request: pytest.FixtureRequest, kind: str) -> None:
    """With errors up and down and upper limits."""
    ds = request.getfixturevalue(kind)
    found = measure(lambda: xonoff.ts_map(ds, source()), group=f"TS map, {kind}, all options", rounds=3)
    assert np.isfinite(found.norm_ul).all()


def test_map_without_limits_xonoff(measure: Measure, dense: xr.Dataset) -> None:
    """What gammapy gives without options."""
    measure(lambda: xonoff.ts_map(dense, source(), limits=False), group="TS map, dense, no options", rounds=3)


def test_map_chunked_xonoff(measure: Measure, dense: xr.Dataset) -> None:
    chunked = dense.chunk(y=100, x=100)
    measure(lambda: xonoff.ts_map(chunked, source()).compute(), group="TS map of dask arrays", rounds=3)


def test_peaks_xonoff(measure: Measure) -> None:
    ds = cube((1, 1000, 1000))
    array = xonoff.quantities.significance(ds, "energy")
    measure(lambda: xonoff.find_peaks(array, 3, "0.1 deg"), group="peaks of 1000 x 1000 pixels", rounds=3)


@pytest.mark.parametrize("options", [None, ["errn-errp", "ul"]])
def test_map_gammapy(
    benchmark: Any, dense: xr.Dataset, tmp_path_factory: pytest.TempPathFactory, options: list[str] | None
) -> None:
    estimators = pytest.importorskip("gammapy.estimators", reason="gammapy 2.1 is not installed: make bench")
    modeling = pytest.importorskip("gammapy.modeling.models")
    path = tmp_path_factory.mktemp("bench") / "ts.fits"
    dense.onoff.to_fits(path)
    peer = opened_by_peer(path).to_map_dataset()
    energy = peer.counts.geom.axes["energy"].edges
    side = SHAPE[1] if options is None else PART
    part = peer.cutout(peer.counts.geom.center_skydir, f"{side * 0.02} deg")
    spectrum = modeling.PowerLawSpectralModel(amplitude="1e-11 TeV-1 s-1 cm-2", index=2.3)
    kernel = modeling.SkyModel(spectrum, modeling.PointSpatialModel(frame="icrs"), name="a")
    estimator = estimators.TSMapEstimator(
        kernel,
        kernel_width="0.8 deg",  # as far as xonoff follows this PSF; by default it is that of the whole map
        energy_edges=energy[[0, -1]],
        sum_over_energy_groups=False,
        selection_optional=options,
    )
    benchmark.group = f"TS map of Cash, {side} x {side} pixels, {options or 'no options'}"
    benchmark.pedantic(lambda: estimator.run(part), rounds=1, iterations=1)
