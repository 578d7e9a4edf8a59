"""From a file of gammapy to a spectrum for XSPEC and Sherpa: python gammapy_to_ogip.py [FILE [LON LAT RADIUS]].

The region is a circle, in degrees and in the frame of the map, around the most significant pixel if no other is given.
The spectrum goes to output/pha_source.fits, with its background, ARF and RMF beside it.
"""

import sys
from pathlib import Path

from astropy import units as u
from astropy.coordinates import SkyCoord
from regions import CircleSkyRegion

import xonoff


def main(file: str | None = None, *circle: str) -> None:
    output = Path("output")
    output.mkdir(exist_ok=True)
    if file is None:
        file = str(output / "tutorial.fits")
        xonoff.tutorial.dataset().onoff.to_fits(file, overwrite=True)

    ds = xonoff.open_dataset(file)
    if circle:
        lon, lat, radius = (float(number) for number in circle)
    else:
        significance = ds.onoff.significance("energy")
        peak = significance.isel(significance.argmax(...))
        lon, lat, radius = float(peak.lon), float(peak.lat), 0.11
    region = CircleSkyRegion(SkyCoord(lon, lat, unit="deg", frame=ds.onoff.geom.sky.frame), radius * u.deg)

    spectrum = ds.onoff.to_spectrum(region, containment_correction=True)
    spectrum.onoff.to_ogip(output / "pha_source.fits", overwrite=True)
    again = xonoff.open_dataset(output / "pha_source.fits")
    for path in sorted(output.glob("pha_source*.fits")):
        print(path)
    print(f"region: {again.region.item()}")
    before, after = (float(spectrum.onoff.stat_sum()) for spectrum in (spectrum, again))
    print(f"WStat without a source: {before:.4f} before, {after:.4f} as read back")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:5])
    except (xonoff.XonoffError, OSError, ValueError) as error:
        sys.exit(f"gammapy_to_ogip: {error}")
