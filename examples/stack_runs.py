"""Stack runs and write the sum as Zarr: python stack_runs.py [FILE ...].

Without files three runs are simulated, with pointings and energy thresholds of their own. The sum is checked against
the runs, goes to output/stacked.zarr, and is read back.
"""

import sys
from pathlib import Path

import numpy as np
import xarray as xr

import xonoff
from xonoff.models import PointSource, PowerLaw1D, SkyModel


def simulated() -> list[xr.Dataset]:
    """Three runs on a source, with the response of the tutorial dataset."""
    ds = xonoff.tutorial.dataset()
    crab = SkyModel("crab", PowerLaw1D(1e-11, 1, 2.6), PointSource(83.63, 22.01))
    runs = []
    for number, (lon, threshold) in enumerate([(83.2, "0.5 TeV"), (83.6, "1 TeV"), (84.0, "2 TeV")]):
        run = ds.onoff.fake(0.3 * ds.acceptance, seed=number, models=crab).onoff.cutout((lon, 22.0), "3 deg")
        above = run.mask_safe & xonoff.masks.from_energy_range(run, threshold)
        runs.append(run.assign(mask_safe=above).isel(obs=[0]).assign_coords(obs_id=("obs", [number])))
    return runs


def main(*files: str) -> None:
    runs = [xonoff.open_dataset(file) for file in files] if files else simulated()
    stacked = xonoff.stack(runs)

    print(f"{'run':>8}{'counts':>10}{'off':>12}{'excess':>12}")
    totals = [run.onoff.info() for run in [*runs, stacked]]
    for name, total in zip([*map(str, range(len(runs))), "stacked"], totals, strict=True):
        print(f"{name:>8}{int(total.counts):>10}{int(total.counts_off):>12}{float(total.excess):>12.3f}")
    excess = [float(total.excess) for total in totals]
    if not np.isclose(sum(excess[:-1]), excess[-1], rtol=1e-6):
        sys.exit("stack_runs: the excess of the stack is not that of the runs")

    store = Path("output") / "stacked.zarr"
    store.parent.mkdir(exist_ok=True)
    stacked.onoff.to_zarr(store, overwrite=True)
    again = xonoff.open_dataset(store)
    print(f"{store}: significance {float(again.onoff.significance(...)):.2f}, {again.sizes['obs']} observations")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (xonoff.XonoffError, OSError) as error:
        sys.exit(f"stack_runs: {error}")
