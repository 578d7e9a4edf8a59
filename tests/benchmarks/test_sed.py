"""Flux points of a source in 20 x 500 x 500 bins, with errors, limits and profiles, beside gammapy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import opened_by_peer, with_response

import xonoff
from xonoff.models import ConstantSource, PointSource, PowerLaw1D, SkyModel

Measure = Callable[..., Any]


@pytest.fixture(scope="module")
def seen(ds: xr.Dataset) -> xr.Dataset:
    """A simulated source."""
    whole = with_response(ds, 1e9)
    return whole.onoff.fake(0.1 * whole.acceptance, 1, source())


def source() -> SkyModel:
    return SkyModel("a", PowerLaw1D(1e-11, 1, 2.3, fixed={"x_0": True}), PointSource(83.65, 22.01))


def test_points_xonoff(measure: Measure, seen: xr.Dataset) -> None:
    points = measure(lambda: xonoff.flux_points(seen, source()), group="flux points, all options", rounds=5)
    assert points.success.all()


def test_points_beside_others_xonoff(measure: Measure, seen: xr.Dataset) -> None:
    others = [
        SkyModel("b", PowerLaw1D(1e-11, 1, 2.3), PointSource(83.8, 22.2)),
        SkyModel("c", PowerLaw1D(1e-11, 1, 2.3), PointSource(86.5, 24.5)),
        SkyModel("d", PowerLaw1D(1e-11, 1, 2.3), ConstantSource()),
    ]
    measure(lambda: xonoff.flux_points(seen, [source(), *others], "a"), group="flux points beside 3 models", rounds=5)


def test_points_lazy_xonoff(measure: Measure, seen: xr.Dataset) -> None:
    chunked = seen.chunk({"y": 125, "x": 125})
    measure(lambda: xonoff.flux_points(chunked, source()), group="flux points of dask arrays", rounds=3)


def test_band_xonoff(measure: Measure, seen: xr.Dataset) -> None:
    result = xonoff.fit(seen, source())
    energy = np.geomspace(0.1, 100, 200)
    measure(lambda: xonoff.spectrum_band(result, "a", energy), group="error band of 200 energies", rounds=5)


def test_points_gammapy(benchmark: Any, seen: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Of 2 of the 20 bins, for all take it minutes."""
    estimators = pytest.importorskip("gammapy.estimators", reason="gammapy 2.1 is not installed: make bench")
    modeling = pytest.importorskip("gammapy.modeling.models")
    datasets = pytest.importorskip("gammapy.datasets")
    path = tmp_path_factory.mktemp("bench") / "sed.fits"
    seen.onoff.to_fits(path)
    peer = opened_by_peer(path)
    spectrum = modeling.PowerLawSpectralModel(amplitude="1e-11 TeV-1 s-1 cm-2", index=2.3)
    place = modeling.PointSpatialModel(lon_0="83.65 deg", lat_0="22.01 deg", frame="icrs")
    peer.models = [modeling.SkyModel(spectrum, place, name="a")]
    edges = peer.counts.geom.axes["energy"].edges
    estimator = estimators.FluxPointsEstimator(source="a", energy_edges=edges[:3], selection_optional="all")
    benchmark.group = "flux points, all options, 2 of 20"
    benchmark.pedantic(lambda: estimator.run(datasets.Datasets([peer])), rounds=1, iterations=1)
