"""One value of the statistic, and a fit with its errors, of a point source in 20 x 500 x 500 bins, beside gammapy."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import cube, opened_by_peer, with_response

import xonoff
from xonoff.models import PointSource, PowerLaw1D, SkyModel

Measure = Callable[..., Any]


@pytest.fixture(scope="module")
def seen(ds: xr.Dataset) -> xr.Dataset:
    """A simulated source."""
    whole = with_response(ds, 1e9)
    return whole.onoff.fake(0.1 * whole.acceptance, 1, source(1e-11, 83.65))


def source(amplitude: float = 9e-12, lon: float = 83.63) -> SkyModel:
    return SkyModel("a", PowerLaw1D(amplitude, 1, 2.3, fixed={"x_0": True}), PointSource(lon, 22.01))


@pytest.fixture(scope="module")
def seen_peer(seen: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Any:
    modeling = pytest.importorskip("gammapy.modeling.models", reason="gammapy 2.1 is not installed: make bench")
    path = tmp_path_factory.mktemp("bench") / "fit.fits"
    seen.onoff.to_fits(path)
    peer = opened_by_peer(path)
    spectrum = modeling.PowerLawSpectralModel(amplitude="9e-12 TeV-1 s-1 cm-2", index=2.3)
    place = modeling.PointSpatialModel(lon_0="83.63 deg", lat_0="22.01 deg", frame="icrs")
    peer.models = [modeling.SkyModel(spectrum, place, name="a")]
    return peer


def test_value_xonoff(measure: Measure, seen: xr.Dataset) -> None:
    likelihood = xonoff.Likelihood(seen, source())

    def again() -> float:
        return likelihood(likelihood.values + np.array([1e-15, 1e-5, 1e-5, 1e-5]))

    measure(again, group="stat_sum at other parameters", rounds=20)


def test_value_gammapy(measure: Measure, seen_peer: Any) -> None:
    parameters = seen_peer.models["a"].parameters

    def again() -> Any:
        for name, offset in (("amplitude", 1e-15), ("index", 1e-5), ("lon_0", 1e-5), ("lat_0", 1e-5)):
            parameters[name].value += offset
        return seen_peer.stat_sum()

    measure(again, group="stat_sum at other parameters", rounds=2)


def test_fit_xonoff(measure: Measure, seen: xr.Dataset) -> None:
    result = measure(lambda: xonoff.fit(seen, source()), group="fit", rounds=3)
    assert result.success


def test_memory_of_a_fit(benchmark: Any, seen: xr.Dataset) -> None:
    """At most a tenth above the data."""
    xonoff.fit(seen, source())  # warm
    tracemalloc.start()
    benchmark.pedantic(lambda: xonoff.fit(seen, source()), rounds=1, iterations=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"\nfit: peak of extra memory {peak / 1e6:.1f} MB beside {seen.nbytes / 1e6:.0f} MB of data")
    assert peak < 0.1 * seen.nbytes


@pytest.mark.parametrize("pixels", [250, 1000])
def test_value_by_the_size_of_the_map(measure: Measure, pixels: int) -> None:
    """Once bound, the cost is that of the source."""
    whole = with_response(cube((20, pixels, pixels)), 1e9)
    likelihood = xonoff.Likelihood(whole, source())
    offset = np.array([1e-15, 1e-5, 1e-5, 1e-5])
    measure(lambda: likelihood(likelihood.values + offset), group="stat_sum by size of the map", rounds=40)


def three(modeling: Any = None) -> list[Any]:
    """Three sources, as ours or as those of the peer."""
    found = []
    for name, lon in (("a", 83.63), ("b", 84.6), ("c", 82.6)):
        if modeling is None:
            found.append(SkyModel(name, *source(9e-12, lon).parts))
        else:
            spectrum = modeling.PowerLawSpectralModel(amplitude="9e-12 TeV-1 s-1 cm-2", index=2.3)
            place = modeling.PointSpatialModel(lon_0=f"{lon} deg", lat_0="22.01 deg", frame="icrs")
            found.append(modeling.SkyModel(spectrum, place, name=name))
    return found


def test_joint_value_xonoff(measure: Measure, seen: xr.Dataset) -> None:
    likelihood = xonoff.Likelihood([seen] * 4, three())
    offset = np.tile([1e-15, 1e-5, 1e-5, 1e-5], 3)
    measure(lambda: likelihood(likelihood.values + offset), group="three sources, four datasets", rounds=10)


def test_joint_value_gammapy(measure: Measure, seen_peer: Any) -> None:
    datasets = pytest.importorskip("gammapy.datasets")
    modeling = pytest.importorskip("gammapy.modeling.models")
    joint = datasets.Datasets([seen_peer.copy(name=f"{number}") for number in range(4)])
    joint.models = modeling.Models(three(modeling))

    def again() -> Any:
        for model in joint.models:
            for name, offset in (("amplitude", 1e-15), ("index", 1e-5), ("lon_0", 1e-5), ("lat_0", 1e-5)):
                model.parameters[name].value += offset
        return joint.stat_sum()

    measure(again, group="three sources, four datasets", rounds=2)


def test_fit_gammapy(benchmark: Any, seen_peer: Any) -> None:
    modeling = pytest.importorskip("gammapy.modeling")
    datasets = pytest.importorskip("gammapy.datasets")
    benchmark.group = "fit"
    fitted = benchmark.pedantic(lambda: modeling.Fit().run(datasets.Datasets([seen_peer])), rounds=1, iterations=1)
    print(f"\nfit of gammapy: success {fitted.success}")  # it may leave the map
