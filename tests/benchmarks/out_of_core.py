"""Cubes beyond memory: every step in a process of its own with a limit of memory, in MB/s beside a plain copy by dask.

    python tests/benchmarks/out_of_core.py --pixels 4096 --energies 24 --memory 2000 --threads 2
    python tests/benchmarks/out_of_core.py --workers 1 2

Data is what a step reads and writes; what it computes is written without compression, for how well that works would be
measured otherwise. The limit is one of the data of a process (RLIMIT_DATA), so a step that needs more fails. With
``--workers`` each step runs on so many processes of a cluster on this machine, each of one thread and that limit.
Where gammapy is installed it stacks and sums the same arrays in memory, at the largest size that the limit lets it
hold. A folder is made beneath ``--folder`` and removed in the end.
"""

import argparse
import importlib.util
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import dask
import numpy as np
import xarray as xr

import xonoff
from xonoff.io.store import chunk_shape

MAPS = ("counts", "counts_off", "acceptance", "acceptance_off")
#: Pixels along a side that gammapy is tried with.
SIDES = (4096, 3072, 2048, 1536, 1024, 512)


def make(folder: Path, pixels: int, energies: int) -> None:
    """Two runs of four maps each in float32, of one tile of Poisson counts over and over; the second one is shifted.

    A tile is a chunk as xonoff makes them by default.
    """
    import dask.array as da

    edges = xonoff.energy_edges("0.1 TeV", "100 TeV", n=energies)
    geom = xonoff.Geom.create((0, 0), width=pixels * 0.02, pixel_size=0.02, projection="CAR", energy=edges)
    rng = np.random.default_rng(1)
    shape = chunk_shape((energies, pixels, pixels), 4)
    ny, nx = (-(-pixels // n) for n in shape[1:])
    expected = 5 * np.exp(-np.arange(energies) / 5)[: shape[0], None, None] * np.ones(shape)
    tiles = {
        "counts": rng.poisson(0.3 * expected),
        "counts_off": rng.poisson(3 * expected),
        "acceptance": expected,
        "acceptance_off": 10 * expected,
    }
    for number in range(2):
        variables = {}
        for name in MAPS:
            block = np.roll(tiles[name], number, axis=-1).astype(np.float32)
            rows = [[da.from_array(block, name=False, chunks=-1) for _ in range(nx)] for _ in range(ny)]
            whole = da.block([rows])[:, :pixels, :pixels]
            variables[name] = (geom.dims, whole, {"units": "1"})
        ds = xr.Dataset(variables, geom.coords(), {"name": f"run {number}"})
        ds.onoff.to_zarr(folder / f"run{number}.zarr")


def steps(folder: Path) -> dict[str, Callable[[], None]]:
    """Name of each step, and what it does."""
    out = folder / "out.zarr"

    def opened(number: int = 0) -> xr.Dataset:
        return xonoff.open_dataset(folder / f"run{number}.zarr", chunks={})

    def written(made: Callable[[], xr.Dataset | xr.DataArray]) -> Callable[[], None]:
        def run() -> None:
            found = made()
            ds = found.to_dataset(name="values") if isinstance(found, xr.DataArray) else found
            bare = ds.drop_vars([name for name in ds.coords if ds[name].ndim != 1])
            raw = {name: {"compressors": None} for name in bare.variables}
            bare.drop_encoding().to_zarr(out, mode="w", zarr_format=3, consolidated=False, encoding=raw)

        return run

    return {
        "copy": written(lambda: xr.open_zarr(folder / "run0.zarr", consolidated=False)[list(MAPS)]),
        "alpha": written(lambda: opened().onoff.alpha),
        "excess": written(lambda: opened().onoff.excess),
        "significance": written(lambda: opened().onoff.significance()),
        "stat_sum": lambda: print(float(opened().onoff.stat_sum()), file=sys.stderr),
        "to_image": lambda: opened().onoff.to_image().onoff.to_zarr(out, overwrite=True),
        "stack": lambda: xonoff.stack([opened(0), opened(1)]).onoff.to_zarr(out, overwrite=True),
        "ring_background": lambda: (
            opened().onoff.ring_background("0.5 deg", "0.3 deg").onoff.to_zarr(out, overwrite=True)
        ),
        "to_zarr": lambda: opened().onoff.to_zarr(out, overwrite=True),
    }


def read_by(step: str) -> int:
    """Runs that a step reads all maps of."""
    return 2 if step == "stack" else 1


def one(folder: Path, step: str, memory: int, threads: int, workers: int) -> None:
    """Run a step with a limit of memory, and print its time and peak."""
    if memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory * 10**6,) * 2)
    with ExitStack() as stack:
        if workers:
            from distributed import Client, LocalCluster

            options = {"threads_per_worker": 1, "memory_limit": f"{memory or 4000}MB", "dashboard_address": None}
            cluster = stack.enter_context(LocalCluster(n_workers=workers, **options))
            client = stack.enter_context(Client(cluster))
            client.run(warm)
        else:
            stack.enter_context(dask.config.set(scheduler="threads", num_workers=threads))
        warm()
        start = time.perf_counter()
        steps(folder)[step]()
        seconds = time.perf_counter() - start
        peak = max(client.run(_peak).values()) if workers else _peak()
    print(json.dumps({"seconds": seconds, "peak": peak}))


def warm() -> None:
    """Import what is imported on first use, and load compiled kernels."""
    small = xonoff.tutorial.dataset().chunk(lat=20)
    for found in (small.onoff.significance(), small.onoff.stat_sum(), xonoff.stack([small, small]).counts):
        found.compute(scheduler="synchronous")


def gammapy(step: str, pixels: int, energies: int, memory: int) -> None:
    """Stack or sum arrays as those of `make` in memory with gammapy, and print the time and the peak."""
    from gammapy.datasets import MapDatasetOnOff
    from gammapy.maps import Map, MapAxis, WcsGeom

    axis = MapAxis.from_energy_bounds("0.1 TeV", "100 TeV", nbin=energies)
    geom = WcsGeom.create(npix=pixels, binsz=0.02, axes=[axis], frame="icrs", proj="CAR", skydir=(0, 0))
    if memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory * 10**6,) * 2)
    rng = np.random.default_rng(1)

    def dataset(name: str) -> MapDatasetOnOff:
        values = {"counts": 1, "counts_off": 10, "acceptance": 1, "acceptance_off": 10}
        maps = {}
        for key, expected in values.items():
            maps[key] = Map.from_geom(geom, dtype=np.float32)
            plane = rng.poisson(expected, geom.data_shape[1:]) if key.startswith("counts") else expected
            maps[key].data[:] = plane
        return MapDatasetOnOff(**maps, mask_safe=Map.from_geom(geom, data=np.ones(geom.data_shape, bool)), name=name)

    datasets = [dataset(str(number)) for number in range(2 if step == "stack" else 1)]
    start = time.perf_counter()
    if step == "stack":
        datasets[0].stack(datasets[1])
    else:
        datasets[0].stat_sum()
    print(json.dumps({"seconds": time.perf_counter() - start, "peak": _peak()}))


def _peak() -> float:
    """Peak of the resident memory of this process, MB; that of resource is also the one of whoever started it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def size_of(store: Path) -> int:
    """Bytes of the maps of a store, uncompressed."""
    with xr.open_zarr(store, consolidated=False) as ds:
        return int(sum(array.nbytes for array in ds.values()))


def main() -> None:
    """Make the runs, run all steps, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, default=4096)
    parser.add_argument("--energies", type=int, default=24)
    parser.add_argument("--memory", type=int, default=2000, help="MB a process; 0 for no limit")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, nargs="*", default=[0], help="0 for the threads of one process")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--steps", nargs="*", default=None)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step and options.step.startswith("gammapy "):
        gammapy(options.step.split()[1], options.pixels, options.energies, options.memory)
        return
    if options.step:
        one(options.folder, options.step, options.memory, options.threads, options.workers[0])
        return
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        make(folder, options.pixels, options.energies)
        data = size_of(folder / "run0.zarr") / 1e6
        shape = f"{options.energies} x {options.pixels} x {options.pixels}"
        print(f"{shape} bins, four maps of float32: {data:.0f} MB a run; at most {options.memory} MB a process")
        print(f"{'step':16} {'on':>10} {'s':>7} {'MB/s':>7} {'of copy':>8} {'peak MB':>8}")
        for workers in options.workers:
            on = f"{workers} workers" if workers else f"{options.threads} threads"
            table(folder, options, workers, on, data)
        if importlib.util.find_spec("gammapy"):
            for step in ("stack", "stat_sum"):
                beside(options, step)
    finally:
        shutil.rmtree(folder)


def table(folder: Path, options: argparse.Namespace, workers: int, on: str, data: float) -> None:
    """Print a line for each step."""
    copied = None
    for step in options.steps or steps(folder):
        arguments = {"folder": folder, "memory": options.memory, "threads": options.threads, "workers": workers}
        found = run(step, arguments)
        store = folder / "out.zarr"
        if isinstance(found, str):
            print(f"{step:16} {on:>10} FAILED: {found}")
        else:
            moved = data * read_by(step) + (size_of(store) / 1e6 if store.exists() else 0)
            rate = moved / found["seconds"]
            copied = rate if step == "copy" else copied
            share = f"{100 * rate / copied:.0f} %" if copied else ""
            print(f"{step:16} {on:>10} {found['seconds']:7.1f} {rate:7.0f} {share:>8} {found['peak']:8.0f}", flush=True)
        shutil.rmtree(store, ignore_errors=True)


def beside(options: argparse.Namespace, step: str) -> None:
    """Print what gammapy takes, at the largest of `SIDES` that it can hold."""
    for side in [side for side in SIDES if side <= options.pixels]:
        arguments = {"pixels": side, "energies": options.energies, "memory": options.memory}
        found = run(f"gammapy {step}", arguments)
        if not isinstance(found, str):
            moved = options.energies * side**2 * 4 * 4 * read_by(step) / 1e6
            rate = moved / found["seconds"]
            where = f"{side} x {side}"
            print(
                f"gammapy {step:8} {where:>10} {found['seconds']:7.1f} {rate:7.0f} {'':8} {found['peak']:8.0f}",
                flush=True,
            )
            return
    print(f"gammapy {step:8} FAILED: {found}")


def run(step: str, arguments: dict[str, object]) -> dict[str, float] | str:
    """Run a step in a process of its own: time and peak, or the end of its error."""
    command = [sys.executable, __file__, "--step", step]
    for name, value in arguments.items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:90]
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
