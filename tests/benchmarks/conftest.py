"""Cubes for the benchmarks: the same arrays for xonoff and, where it is installed, for gammapy."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.special import ndtr

import xonoff

SHAPE = (20, 500, 500)


def cube(shape: tuple[int, int, int] = SHAPE) -> xr.Dataset:
    """An on/off dataset in float32 with Poisson counts, 5 million bins by default."""
    energies, ny, nx = shape
    edges = xonoff.energy_edges("0.1 TeV", "100 TeV", n=energies)
    geom = xonoff.Geom.create(
        (83.63, 22.01), width=(nx * 0.02, ny * 0.02), pixel_size=0.02, projection="TAN", energy=edges
    )
    rng = np.random.default_rng(1)
    expected = 5 * np.exp(-np.arange(energies) / 5)[:, None, None] * np.ones(shape)
    arrays = {
        "counts": rng.poisson(0.3 * expected),
        "counts_off": rng.poisson(3 * expected),
        "acceptance": expected,
        "acceptance_off": 10 * expected,
    }
    variables: dict[str, Any] = {
        name: (geom.dims, array.astype(np.float32), {"units": "1"}) for name, array in arrays.items()
    }
    variables["mask_safe"] = (geom.dims, rng.random(shape) > 0.05)
    coords = {**geom.coords(), **response_coords(geom)}
    sizes = {"energy_true": 30, "rad": 66, "energy": energies, "y": ny, "x": nx}
    sizes |= {name: coords[name].size for name in ("y_psf", "x_psf", "y_edisp", "x_edisp")}
    for name, dims in RESPONSE.items():
        values = np.full([sizes[dim] for dim in dims], 0.1, np.float32)
        variables[name] = (dims, values, {"units": xonoff.schema.units(name)})
    return xr.Dataset(variables, coords, {"name": "bench"})


#: Exposure, PSF and energy dispersion as gammapy makes them by default: 30 true energies, pixels of 0.2 deg.
RESPONSE = {
    "exposure": ("energy_true", "y", "x"),
    "psf": ("energy_true", "rad", "y_psf", "x_psf"),
    "psf_exposure": ("energy_true", "y_psf", "x_psf"),
    "edisp": ("energy_true", "energy", "y_edisp", "x_edisp"),
    "edisp_exposure": ("energy_true", "y_edisp", "x_edisp"),
}


def response_coords(geom: xonoff.Geom) -> dict[str, xr.Variable]:
    """Axes and sky grids of the response, good time intervals and livetime."""
    shape = tuple(max(n // 10, 1) for n in geom.sky.shape)
    coarse = xonoff.SkyGrid.create((83.63, 22.01), shape=shape, pixel_size=0.2, projection="TAN")
    start = np.array(["2026-01-17T20:00"], "datetime64[ns]")
    return {
        **xonoff.axes.axis_coords("energy_true", xonoff.energy_edges("0.05 TeV", "200 TeV", n=30)),
        **xonoff.axes.axis_coords("rad", np.linspace(0, 0.66, 67)),
        **coarse.coords("psf"),
        **coarse.coords("edisp"),
        "gti_start": xr.Variable("gti", start),
        "gti_stop": xr.Variable("gti", start + np.timedelta64(30, "m")),
        "livetime": xr.Variable("obs", [1700.0], {"units": "s"}),
    }


def with_response(ds: xr.Dataset, exposure: float) -> xr.Dataset:
    """With a PSF of 0.05 to 0.1 deg, 15 % energy resolution, one exposure, and the whole map within the mask."""
    rad, true = ds.rad.values, ds.energy_true.values
    sigma = np.linspace(0.1, 0.05, true.size)[:, None]
    psf = np.exp(-0.5 * (rad / sigma) ** 2) / (2 * np.pi * np.radians(sigma) ** 2)
    edges = xonoff.axes.axis_edges(ds, "energy")
    edisp = np.diff(ndtr(np.log(edges / true[:, None]) / 0.15), axis=1)
    tables = {"psf": psf, "edisp": edisp}
    spread = {n: np.broadcast_to(t[..., None, None], ds[n].shape).astype(np.float32) for n, t in tables.items()}
    changed = {name: ds[name].copy(data=array) for name, array in spread.items()}
    exposures = {n: ds[n].copy(data=np.full(ds[n].shape, exposure, np.float32)) for n in ds if "exposure" in str(n)}
    return ds.assign({**changed, **exposures, "mask_safe": xr.ones_like(ds.mask_safe)})


def opened_by_peer(path: Path) -> Any:
    """A file as gammapy opens it; the benchmark is skipped where that is not installed."""
    datasets = pytest.importorskip("gammapy.datasets", reason="gammapy 2.1 is not installed: make bench")
    return datasets.MapDatasetOnOff.read(path)


@pytest.fixture(scope="session")
def ds() -> xr.Dataset:
    return cube()


@pytest.fixture(scope="session")
def fits_file(ds: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "bench.fits"
    ds.onoff.to_fits(path)
    return path


@pytest.fixture(scope="session")
def peer(fits_file: Path) -> Any:
    return opened_by_peer(fits_file)


@pytest.fixture
def measure(benchmark: Any) -> Callable[..., Any]:
    """Time a call, and note the peak of its extra memory, MB."""

    def run(function: Callable[[], Any], *, group: str, rounds: int = 5) -> Any:
        result = function()  # warm: compiled kernels, caches of the file system
        tracemalloc.start()
        function()
        benchmark.extra_info["peak_MB"] = round(tracemalloc.get_traced_memory()[1] / 1e6, 2)
        tracemalloc.stop()
        benchmark.group = group
        benchmark.pedantic(function, rounds=rounds, iterations=1)
        print(f"\n{group}: peak of extra memory {benchmark.extra_info['peak_MB']} MB")
        return result

    return run
