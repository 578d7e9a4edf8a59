"""Ring background, significance map and its distribution: python significance_map.py [FILE with counts and background].

The sources are found in the data and left out of the rings. The figure goes to output/significance_map.png.
"""

import sys
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt

import xonoff
from xonoff.plot import sky_map


def main(file: str | None = None) -> None:
    ds = xonoff.tutorial.dataset() if file is None else xonoff.open_dataset(file)
    ds = ds.drop_vars(["counts_off", "acceptance_off"], errors="ignore")  # they are what the ring makes

    ring = partial(xonoff.ring_background, r_in="0.5 deg", width="0.3 deg")
    exclusion = xonoff.exclusion_mask(ds, ring, radius="0.1 deg")
    found = ring(ds, exclusion=exclusion).onoff.excess_map("0.1 deg")

    outside = xonoff.significance_histogram(found.significance, exclusion)
    mean, sigma = (float(outside[name].isel(part=-1)) for name in ("mean", "sigma"))
    peaks = xonoff.find_peaks(found.significance.squeeze("energy"), threshold=5, min_distance="0.5 deg")
    print(f"outside of sources: mean {mean:.2f}, width {sigma:.2f}")
    print(peaks)

    figure = plt.figure(figsize=(12, 5), layout="constrained")
    ax = figure.add_subplot(121, projection=found.onoff.wcs)
    sky_map(found.significance.squeeze("energy"), "significance (standard deviations)", ax=ax, symmetric=True)
    xonoff.plot_significance(outside, ax=figure.add_subplot(122))
    output = Path("output")
    output.mkdir(exist_ok=True)
    figure.savefig(output / "significance_map.png", dpi=100)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except (xonoff.XonoffError, OSError) as error:
        sys.exit(f"significance_map: {error}")
