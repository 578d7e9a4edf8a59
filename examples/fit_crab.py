"""Fit a source in three dimensions and make flux points: python fit_crab.py [FILE].

The model is a point source with a power law, which starts at the Crab nebula. The flux points go to output/crab.ecsv,
the spectrum with the band of the fit to output/fit_crab.png.
"""

import sys
from pathlib import Path

import numpy as np

import xonoff
from xonoff.models import PointSource, PowerLaw1D, SkyModel


def main(file: str | None = None) -> None:
    ds = xonoff.tutorial.dataset() if file is None else xonoff.open_dataset(file)
    crab = SkyModel("crab", PowerLaw1D(1e-11, 1, 2.3), PointSource(83.6, 22.0))

    result = ds.onoff.fit(crab)
    result.parameters.pprint(max_width=-1)
    if not result.success:
        sys.exit(f"fit_crab: {result.message}")
    print(f"sqrt(TS) = {float(ds.onoff.source_ts(result).sqrt_ts):.1f}")

    points = ds.onoff.flux_points(result)
    low, *_, high = ds.onoff.geom.energy
    band = xonoff.spectrum_band(result, "crab", np.geomspace(low, high, 50))
    output = Path("output")
    output.mkdir(exist_ok=True)
    xonoff.write_sed(points, output / "crab.ecsv", overwrite=True)
    ax = xonoff.plot_spectrum(points, band, label="crab")
    ax.figure.savefig(output / "fit_crab.png", dpi=100)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except (xonoff.XonoffError, OSError) as error:
        sys.exit(f"fit_crab: {error}")
