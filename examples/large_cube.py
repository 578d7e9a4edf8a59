"""Image of a cube that need not fit into memory: python large_cube.py [FILE].

Without a file a cube is simulated, chunk by chunk. The image goes to output/image.zarr and
output/large_cube.png. Nothing here holds more than a few chunks: try a cube that is larger than your memory.
"""

import sys
from pathlib import Path

import xonoff
from xonoff.models import GaussianSource, PowerLaw1D, SkyModel


def simulate(store: Path, pixels: int = 300) -> None:
    """Write a cube of a source and background, made and written chunk by chunk."""
    geom = xonoff.Geom.create(
        (83.6, 22.0), width=6.0, pixel_size=6.0 / pixels, energy=xonoff.energy_edges(0.5, 50, n=8)
    )
    response = xonoff.ResponseGeom(geom.sky, {"energy_true": geom.energy})  # exposure alone: no PSF, no dispersion
    empty = xonoff.from_geoms(geom, response, chunks={"lat": 100, "lon": 100})
    cube = empty.assign(acceptance=empty.acceptance + 1, acceptance_off=empty.acceptance + 10)
    cube = cube.assign(mask_safe=cube.acceptance > 0, exposure=cube.exposure + 3e9)
    halo = SkyModel("halo", PowerLaw1D(2e-10, 1, 2.3), GaussianSource(83.6, 22.0, 0.5))
    cube.onoff.fake(background=0.2, seed=1, models=halo).onoff.to_zarr(store, overwrite=True)


def main(file: str | None = None) -> None:
    output = Path("output")
    output.mkdir(exist_ok=True)
    if file is None:
        file = str(output / "cube.zarr")
        simulate(Path(file))

    ds = xonoff.open_dataset(file, chunks={})  # in milliseconds, whatever the size
    print(f"{ds.sizes['energy']} energies, {ds.nbytes / 1e6:.0f} MB, counts in {ds.counts.data.npartitions} chunks")
    image = ds.onoff.to_image()  # nothing is computed yet
    image.onoff.to_zarr(output / "image.zarr", overwrite=True)

    image = xonoff.open_dataset(output / "image.zarr")
    totals = image.onoff.info()
    print(f"{int(totals.counts)} counts, {int(totals.counts_off)} off counts, excess {float(totals.excess):.1f}")
    ax = image.onoff.plot.significance()
    ax.figure.savefig(output / "large_cube.png", dpi=100)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except (xonoff.XonoffError, OSError) as error:
        sys.exit(f"large_cube: {error}")
