"""Predicted counts beside the numbers of the peer, and beside a brute-force integral of the PSF."""

import json

import numpy as np
import pytest
import xarray as xr
from conftest import DATA
from scipy.signal import fftconvolve

import xonoff
from xonoff.axes import axis_edges
from xonoff.irf import edisp_at
from xonoff.models import GaussianSource, LogParabola1D, PointSource, PowerLaw1D, SkyModel, integral
from xonoff.predict import npred_signal
from xonoff.psf import psf_profile
from xonoff.rings import offsets

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no test data at {DATA}: set XONOFF_TEST_DATA")


def reference() -> dict:
    path = DATA / "reference.json"
    return json.loads(path.read_text())["datasets"] if path.exists() else {}


CASES = [(stem, name) for stem, entry in reference().items() for name in entry.get("models", {})]


def open_(stem: str) -> xr.Dataset:
    (path,) = DATA.rglob(f"{stem}.fits.gz")
    return xonoff.open_dataset(path)


def sky_model(entry: dict) -> SkyModel:
    spectral, spatial = ({p["name"]: p["value"] for p in entry[part]["parameters"]} for part in ("spectral", "spatial"))
    if entry["spectral"]["type"] == "PowerLawSpectralModel":
        flux = PowerLaw1D(spectral["amplitude"], spectral["reference"], spectral["index"])
    else:
        assert entry["spectral"]["type"] == "LogParabolaSpectralModel"
        flux = LogParabola1D(spectral["amplitude"], spectral["reference"], spectral["alpha"], spectral["beta"])
    sizes = [spatial[name] for name in ("sigma", "e", "phi") if name in spatial]
    shape = GaussianSource if sizes else PointSource
    return SkyModel(
        entry["name"], flux, shape(spatial["lon_0"], spatial["lat_0"], *sizes, frame=entry["spatial"]["frame"])
    )


@pytest.mark.parametrize(("stem", "name"), CASES)
def test_sums_over_the_map_are_those_of_the_peer(stem, name):
    """Within 1e-3, but where the peer is wrong: it extrapolates the PSF into the corners of its square kernel.

    Where the exposure falls off from the source that lowers its sums, by up to 0.33 % in the H.E.S.S. maps, at high
    energies; tests/benchmarks/test_predict.py takes these corners away and finds the sums of this test to 2.5e-4.
    """
    entry = reference()[stem]["models"][name]
    ds = open_(stem)
    found = npred_signal(ds, sky_model(entry["model"]), interpolation="nearest").sum(ds.onoff.sky_dims).values
    expected = np.array(entry["npred_signal"]["sum"])
    inside = expected > 0
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-4 if "cta" in stem else 3.5e-3)
    assert (found[~inside] == 0).all()
    strong = expected > 30
    np.testing.assert_allclose(found[strong], expected[strong], rtol=1.3e-3)


def through_the_response(ds: xr.Dataset, model: SkyModel, kernel: np.ndarray) -> np.ndarray:
    """Counts of shares (energy_true, y, x) of the pixels."""
    flux = integral(model.spectral, axis_edges(ds, "energy_true")) * 1e4
    dispersion = edisp_at(ds, model.spatial.position, "nearest").values
    return np.einsum("t,te,tyx,tyx->eyx", flux, dispersion, ds.exposure.values, kernel)


def compare(found: np.ndarray, expected: np.ndarray, rtol: float) -> None:
    strong = expected > 1e-2 * np.maximum(expected.max(axis=(1, 2), keepdims=True), 1e-9)
    np.testing.assert_allclose(found[strong], expected[strong], rtol=rtol)


@pytest.mark.parametrize("name", ["pl_point", "pl_point_offcentre"])
def test_a_point_by_50_x_50_points_a_pixel(name):
    """Ours within 1e-4; the peer, which shares the source out to four pixels first, is off by up to 57 % a pixel."""
    model = sky_model(reference()["onoff_stacked"]["models"][name]["model"])
    ds = open_("onoff_stacked").onoff.cutout(model.spatial.position, "1.4 deg")
    sky, n = ds.onoff.geom.sky, 50
    profile, radii = psf_profile(ds, model.spatial.position, "nearest")
    fine = (np.arange(n) + 0.5) / n - 0.5
    ny, nx = sky.shape
    kernel = np.zeros((len(profile), ny, nx))
    for row in range(ny):
        y, x = np.meshgrid(row + fine, (np.arange(nx)[:, None] + fine).ravel(), indexing="ij")
        distance = np.hypot(*offsets(sky, model.spatial.position, y, x))
        if distance.min() < radii[-1]:
            for values, into in zip(profile.values, kernel, strict=True):
                seen = np.interp(distance, radii, values, right=0.0)
                into[row] = seen.reshape(n, nx, n).mean(axis=(0, 2))
    kernel *= sky.solid_angle() / np.radians(1) ** 2
    compare(npred_signal(ds, model, interpolation="nearest").values, through_the_response(ds, model, kernel), 1e-4)


@pytest.mark.parametrize("name", ["pl_gauss", "pl_gauss_elliptic"])
def test_an_extended_source_by_a_convolution_on_fine_pixels(name):
    """Ours within 1e-3; the peer is off by up to 1.8 % (round) and 31 % (elongated) where it predicts 1 % or more."""
    ds = open_("onoff_stacked")
    model = sky_model(reference()["onoff_stacked"]["models"][name]["model"])
    sky, n = ds.onoff.geom.sky, 8
    ny, nx = sky.shape
    y, x = ((np.arange(size * n) + 0.5) / n - 0.5 for size in (ny, nx))
    shape = model.spatial(*sky.pixel_to_sky(x, y[:, None]))
    profile, radii = psf_profile(ds, model.spatial.position, "nearest")
    cell = sky.pixel_scales[0] / n
    across = np.arange(-int(radii[-1] / cell) - 1, int(radii[-1] / cell) + 2) * cell
    distance = np.hypot(across[:, None], across)
    kernel = np.zeros((len(profile), ny, nx))
    for values, into in zip(profile.values, kernel, strict=True):
        psf = np.interp(distance, radii, values, right=0.0)
        seen = fftconvolve(shape / shape.sum(), psf / max(psf.sum(), 1e-300), mode="same")
        into[...] = seen.reshape(ny, n, nx, n).sum(axis=(1, 3))
    found = npred_signal(ds, model, interpolation="nearest").values
    compare(found, through_the_response(ds, model, kernel), 1e-3)
