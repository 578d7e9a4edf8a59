"""Open an on/off FITS file, look at it, write it as Zarr, and read it back: python quickstart.py [FILE]."""

import sys
from pathlib import Path

import xonoff


def main(file: str | None = None) -> None:
    output = Path("output")
    output.mkdir(exist_ok=True)
    if file is None:  # no data at hand: write the tutorial dataset as FITS first
        file = str(output / "tutorial.fits")
        xonoff.tutorial.dataset().onoff.to_fits(file, overwrite=True)

    ds = xonoff.open_dataset(file)
    print(ds.onoff)
    print()
    print(xonoff.summary.text(ds))

    if "counts_off" in ds:  # the most significant pixel, all energies together, and where it is
        significance = ds.onoff.significance("energy")
        peak = significance.isel(significance.argmax(...))
        print()
        print(f"peak significance: {float(peak):.2f} at {float(peak.lon):.3f}, {float(peak.lat):.3f} deg")

    stem = Path(file).name.removesuffix(".gz").removesuffix(".fits")
    figure = output / f"{stem}.png"
    ds.onoff.peek().savefig(figure, dpi=100)
    print(f"figure: {figure}")

    zarr = output / f"{stem}.zarr"
    ds.onoff.to_zarr(zarr, overwrite=True)
    again = xonoff.open_dataset(zarr)
    before, after = xonoff.summary.info(ds), xonoff.summary.info(again)
    same = before.identical(after) and ds.equals(again)
    print(f"Zarr: {zarr}, read back: {'the same' if same else 'NOT THE SAME'}")
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except (xonoff.XonoffError, OSError) as error:
        sys.exit(f"quickstart: {error}")
