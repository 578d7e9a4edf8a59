"""An archive of 2000 small simulated runs: opening and selecting, and stacks of selections of growing size."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xonoff
from xonoff import Archive
from xonoff.axes import axis_coords

Measure = Callable[..., Any]
RUNS = int(os.environ.get("XONOFF_BENCH_RUNS", "2000"))
EDGES = xonoff.energy_edges("0.5 TeV", "50 TeV", n=8)
SURVEY = xonoff.SkyGrid.create((0.0, 0.0), shape=(200, 1000), pixel_size=0.05, projection="CAR", frame="galactic")


def simulated(number: int) -> xr.Dataset:
    """A run of 3 deg along the galactic plane: 8 energies, 60 x 60 pixels, with exposure."""
    rng = np.random.default_rng(number)
    x, y = int(rng.integers(0, 940)), int(rng.integers(0, 140))
    sky = SURVEY.slice(slice(y, y + 60), slice(x, x + 60))
    geom = xonoff.Geom(sky, tuple(EDGES))
    rate = 0.5 * np.diff(-(EDGES**-1.7))[:, None, None] * np.ones(geom.shape)
    arrays = {
        "counts": rng.poisson(rate),
        "counts_off": rng.poisson(10 * rate),
        "acceptance": rate,
        "acceptance_off": 10 * rate,
    }
    variables: dict[str, Any] = {
        name: (geom.dims, array.astype(np.float32), {"units": "1"}) for name, array in arrays.items()
    }
    variables["mask_safe"] = (geom.dims, rng.random(geom.shape) > 0.1)
    variables["exposure"] = (("energy_true", *geom.dims[1:]), np.full((12, 60, 60), 1e9, np.float32), {"units": "m2 s"})
    start = np.datetime64("2026-01-01", "ns") + np.timedelta64(30 * number, "m")
    pointing = xonoff.skygrid.SkyCoord(*sky.center, unit="deg", frame="galactic").icrs
    coords = {
        **geom.coords(),
        **axis_coords("energy_true", xonoff.energy_edges("0.3 TeV", "80 TeV", n=12)),
        "gti_start": ("gti", [start]),
        "gti_stop": ("gti", [start + np.timedelta64(28, "m")]),
        "obs_id": ("obs", [number]),
        "livetime": ("obs", [1600.0], {"units": "s"}),
        "ra_pnt": ("obs", [pointing.ra.deg], {"units": "deg"}),
        "dec_pnt": ("obs", [pointing.dec.deg], {"units": "deg"}),
    }
    return xr.Dataset(variables, coords, {"name": f"run {number}"})


def fill(path: str, first: int, last: int) -> None:
    archive = Archive.open(path)
    for number in range(first, last):
        archive.append(simulated(number))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "runs.zarr"
    Archive.create(path)
    start = time.perf_counter()
    half = RUNS // 2
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(fill, [str(path)] * 2, [0, half], [half, RUNS]))
    print(f"\nappended {RUNS} runs by two processes in {time.perf_counter() - start:.0f} s")
    return path


def search(path: Path) -> int:
    archive = Archive.open(path)
    assert len(archive) == RUNS
    crab = archive.select(cone=((266.4, -29.0), "3 deg"), time=("2026-01-05", "2026-01-25"))
    return len(crab.select(obs_id=crab.ids)) + len(archive.select(cone=((266.4, -29.0), "3 deg"), by="pointing"))


def test_open_and_select(measure: Measure, path: Path, benchmark: Any) -> None:
    """Without the copy of the index, all entries one by one."""
    (path / "snapshot.json").unlink(missing_ok=True)
    assert measure(lambda: search(path), group="open and select") > 0
    assert benchmark.stats.stats.min < 1


def test_open_and_select_with_snapshot(measure: Measure, path: Path, benchmark: Any) -> None:
    Archive.open(path).compact()
    assert measure(lambda: search(path), group="open and select") > 0
    assert benchmark.stats.stats.min < 1


def test_open_a_run(measure: Measure, path: Path) -> None:
    archive = Archive.open(path)
    measure(lambda: archive[1000 % RUNS], group="open a run")


STACK = """
import json, sys, time
sys.path.insert(0, {folder!r})
from test_archive import SURVEY, EDGES
import resource, xonoff
archive = xonoff.Archive.open({path!r})
geom = xonoff.Geom(SURVEY, tuple(EDGES))
archive.stack(geom, archive.ids[:2], out={out!r} + ".warm", tile=250)
start = time.perf_counter()
archive.stack(geom, archive.ids[:{number}], out={out!r}, tile=250)
seconds = time.perf_counter() - start
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3]))
"""


def test_stack_is_linear_in_time_and_constant_in_memory(path: Path, tmp_path: Path) -> None:
    """Stacks of growing selections in processes of their own: seconds, and the peak of their memory."""
    found = []
    for number in (RUNS // 8, RUNS // 4, RUNS // 2, RUNS):
        values = {"folder": str(Path(__file__).parent), "path": str(path), "out": str(tmp_path / f"{number}.zarr")}
        code = STACK.format(number=number, **values)
        out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        seconds, peak = json.loads(out.splitlines()[-1])
        print(f"\nstack of {number} runs: {seconds:.1f} s, {1e3 * seconds / number:.1f} ms a run, peak {peak:.0f} MB")
        found.append((number, seconds, peak))
    (few, quick, low), *_, (many, slow, high) = found
    assert slow / quick < 1.3 * many / few
    assert high < low + 100
