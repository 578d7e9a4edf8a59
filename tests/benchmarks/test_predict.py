"""Prediction of a point and a Gaussian source before 20 x 500 x 500 bins and 30 true energies, beside gammapy."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import opened_by_peer, with_response

import xonoff
from xonoff.models import GaussianSource, PointSource, PowerLaw1D, SkyModel

Measure = Callable[..., Any]
DATA = Path(os.environ.get("XONOFF_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
FIXED = {"x_0": True}
#: Parameters that are changed, and by how much at each call.
CHANGES = {
    "norm of the point": ("point.amplitude", 1e-14),
    "norm of the Gaussian": ("nebula.amplitude", 1e-14),
    "index of the point": ("point.alpha", 1e-4),
    "index of the Gaussian": ("nebula.alpha", 1e-4),
    "position of the point": ("point.lon_0", 1e-4),
    "position of the Gaussian": ("nebula.lon_0", 1e-4),
    "width of the Gaussian": ("nebula.sigma", 1e-4),
}
NAMES = {"alpha": "index"}


@pytest.fixture(scope="module")
def seen(ds: xr.Dataset) -> xr.Dataset:
    return with_response(ds, 1e10)


def models() -> list[SkyModel]:
    point = SkyModel("point", PowerLaw1D(1e-11, 1, 2.3, fixed=FIXED), PointSource(83.63, 22.01))
    nebula = SkyModel("nebula", PowerLaw1D(1e-11, 1, 2.3, fixed=FIXED), GaussianSource(84.1, 22.3, 0.2))
    return [point, nebula]


@pytest.fixture(scope="module")
def seen_peer(seen: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("bench") / "seen.fits"
    seen.onoff.to_fits(path)
    return opened_by_peer(path)


def peer_models() -> Any:
    modeling = pytest.importorskip("gammapy.modeling.models")
    point = modeling.SkyModel(
        modeling.PowerLawSpectralModel(amplitude="1e-11 TeV-1 s-1 cm-2", index=2.3),
        modeling.PointSpatialModel(lon_0="83.63 deg", lat_0="22.01 deg", frame="icrs"),
        name="point",
    )
    nebula = modeling.SkyModel(
        modeling.PowerLawSpectralModel(amplitude="1e-11 TeV-1 s-1 cm-2", index=2.3),
        modeling.GaussianSpatialModel(lon_0="84.1 deg", lat_0="22.3 deg", sigma="0.2 deg", frame="icrs"),
        name="nebula",
    )
    return modeling.Models([point, nebula])


def test_first_xonoff(measure: Measure, seen: xr.Dataset) -> None:
    measure(lambda: seen.onoff.npred_signal(models()), group="npred_signal, the first")


def test_first_gammapy(measure: Measure, seen_peer: Any) -> None:
    def first() -> Any:
        seen_peer.models = peer_models()
        return seen_peer.npred_signal()

    measure(first, group="npred_signal, the first")


@pytest.mark.parametrize("change", CHANGES)
def test_changed_xonoff(measure: Measure, seen: xr.Dataset, change: str) -> None:
    predictor = xonoff.Predictor(seen, models())
    name, step = CHANGES[change]
    number = predictor.parameters.index(name)
    result = predictor()

    def again() -> None:
        nonlocal result
        values = predictor.values.copy()
        values[number] += step
        result = predictor(values, out=result)

    measure(again, group=f"npred_signal, another {change}", rounds=20)


@pytest.mark.parametrize("change", CHANGES)
def test_changed_gammapy(measure: Measure, seen_peer: Any, change: str) -> None:
    seen_peer.models = peer_models()
    name, parameter = CHANGES[change][0].split(".")
    changed = seen_peer.models[name].parameters[NAMES.get(parameter, parameter)]

    def again() -> None:
        changed.value += CHANGES[change][1]
        seen_peer.npred_signal()

    measure(again, group=f"npred_signal, another {change}", rounds=20)


def test_sums_are_those_of_the_peer(seen: xr.Dataset, seen_peer: Any) -> None:
    seen_peer.models = peer_models()
    theirs = seen_peer.npred_signal().data.sum(axis=(1, 2))
    np.testing.assert_allclose(seen.onoff.npred_signal(models()).sum(("y", "x")), theirs, rtol=1e-5)


@pytest.mark.parametrize("name", ["pl_point", "pl_gauss"])
@pytest.mark.parametrize("stem", ["onoff_stacked", "onoff_stacked_fine"])
def test_sums_of_the_peer_without_the_corners_of_its_psf(stem: str, name: str) -> None:
    """What tests/test_reference_predict.py has to allow for: the peer extrapolates the PSF beyond its axis."""
    if not DATA.is_dir():
        pytest.skip(f"no test data at {DATA}: set XONOFF_TEST_DATA")
    modeling = pytest.importorskip("gammapy.modeling.models", reason="gammapy 2.1 is not installed: make bench")
    entry = json.loads((DATA / "reference.json").read_text())["datasets"][stem]["models"][name]["model"]
    spectral, spatial = ({p["name"]: p["value"] for p in entry[part]["parameters"]} for part in ("spectral", "spatial"))
    path = DATA / "hess-crab" / f"{stem}.fits.gz"
    peer = opened_by_peer(path)
    peer.models = [modeling.SkyModel.from_dict({**entry, "type": "SkyModel"})]
    peer.npred_signal()
    (evaluator,) = peer.evaluators.values()
    kernel = evaluator.psf.psf_kernel_map
    corner = kernel.geom.get_coord().skycoord.separation(kernel.geom.center_skydir).deg > 0.66
    kernel.data[corner] = 0
    kernel.data /= kernel.data.sum(axis=(1, 2), keepdims=True)
    evaluator.reset_cache_properties()
    theirs = evaluator.compute_npred().data.sum(axis=(1, 2))
    shape = GaussianSource if "sigma" in spatial else PointSource
    sizes = [spatial["sigma"]] if "sigma" in spatial else []
    ours = SkyModel(
        name,
        PowerLaw1D(spectral["amplitude"], spectral["reference"], spectral["index"]),
        shape(spatial["lon_0"], spatial["lat_0"], *sizes),
    )
    ds = xonoff.open_dataset(path)
    found = ds.onoff.npred_signal(ours, interpolation="nearest").sum(ds.onoff.sky_dims)
    np.testing.assert_allclose(found, theirs, rtol=4e-4)
