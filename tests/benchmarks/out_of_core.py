"""Cubes beyond memory: every step in a process of its own with a limit of memory, in MB/s beside a plain copy by dask.

    python tests/benchmarks/out_of_core.py --pixels 4096 --energies 24 --memory 2000 --threads 2

Data is what a step reads and writes; what it computes is written without compression, for how well that works would be
measured otherwise. The limit is one of the data of a process (RLIMIT_DATA), so a step
that needs more fails. A folder is made beneath ``--folder`` and removed in the end.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dask
import numpy as np
import xarray as xr

import xonoff

MAPS = ("counts", "counts_off", "acceptance", "acceptance_off")


def make(folder: Path, pixels: int, energies: int, chunk: int) -> None:
    """Two runs of four maps each in float32, of one tile of Poisson counts over and over; the second one is shifted."""
    import dask.array as da

    edges = xonoff.energy_edges("0.1 TeV", "100 TeV", n=energies)
    geom = xonoff.Geom.create((0, 0), width=pixels * 0.02, pixel_size=0.02, projection="CAR", energy=edges)
    rng = np.random.default_rng(1)
    expected = 5 * np.exp(-np.arange(energies) / 5)[:, None, None] * np.ones((energies, chunk, chunk))
    tiles = {
        "counts": rng.poisson(0.3 * expected),
        "counts_off": rng.poisson(3 * expected),
        "acceptance": expected,
        "acceptance_off": 10 * expected,
    }
    n = pixels // chunk
    for number in range(2):
        variables = {}
        for name in MAPS:
            block = np.roll(tiles[name], number, axis=-1).astype(np.float32)
            whole = da.block([[[da.from_array(block, name=False, chunks=-1) for _ in range(n)] for _ in range(n)]])
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
        "to_zarr": lambda: opened().onoff.to_zarr(out, overwrite=True),
    }


def read_by(step: str) -> int:
    """Runs that a step reads all maps of."""
    return 2 if step == "stack" else 1


def one(folder: Path, step: str, memory: int, threads: int) -> None:
    """Run a step with a limit of memory, and print its time and peak."""
    if memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory * 10**6,) * 2)
    with dask.config.set(scheduler="threads", num_workers=threads):
        start = time.perf_counter()
        steps(folder)[step]()
        seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak": _peak()}))


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
    parser.add_argument("--chunk", type=int, default=512)
    parser.add_argument("--memory", type=int, default=2000, help="MB; 0 for no limit")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--steps", nargs="*", default=None)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        one(options.folder, options.step, options.memory, options.threads)
        return
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        make(folder, options.pixels, options.energies, options.chunk)
        data = size_of(folder / "run0.zarr") / 1e6
        print(
            f"{options.energies} x {options.pixels} x {options.pixels} bins, four maps of float32: {data:.0f} MB a run"
        )
        print(f"{'step':14} {'s':>7} {'MB/s':>7} {'of copy':>8} {'peak MB':>8}")
        copied = None
        for step in options.steps or steps(folder):
            command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
            command += ["--memory", str(options.memory), "--threads", str(options.threads)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{step:14} FAILED: {done.stderr.strip().splitlines()[-1][:90]}")
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            store = folder / "out.zarr"
            moved = data * read_by(step) + (size_of(store) / 1e6 if store.exists() else 0)
            rate = moved / found["seconds"]
            copied = rate if step == "copy" else copied
            share = f"{100 * rate / copied:.0f} %" if copied else ""
            print(f"{step:14} {found['seconds']:7.1f} {rate:7.0f} {share:>8} {found['peak']:8.0f}", flush=True)
            shutil.rmtree(store, ignore_errors=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
