"""On and off regions drawn on the map of the counts."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from matplotlib import pyplot as plt
from regions import CirclePixelRegion, CircleSkyRegion, PixCoord

import xonoff
from xonoff import masks

ON = CircleSkyRegion(SkyCoord(83.63, 22.01, unit="deg"), 0.25 * u.deg)
POINTING = SkyCoord(83.63, 22.81, unit="deg")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def names(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def borders(ax):
    return [artist for artist in ax.collections if hasattr(artist, "levels")]


def test_every_region_is_outlined_where_it_is(ds):
    off = xonoff.reflected_regions(ON, POINTING)
    ax = xonoff.plot_regions(ds, ON, off, pointing=POINTING)
    assert names(ax) == ["8 off regions", "on region", "pointing"]
    sky = ds.onoff.geom.sky
    for border, region in zip(borders(ax), [*off, ON], strict=True):
        x, y = np.concatenate([path.vertices for path in border.get_paths()]).T
        distance = SkyCoord(*sky.pixel_to_sky(x, y), unit="deg").separation(region.center).deg
        np.testing.assert_allclose(distance, 0.25, atol=0.01)
    ax.figure.canvas.draw()


def test_exclusions_pointing_and_regions_off_the_map(ds):
    sources = masks.from_significance(ds, 5)
    far = CircleSkyRegion(SkyCoord(10, 10, unit="deg"), 1 * u.deg)
    told = ds.assign_coords(ra_pnt=("obs", [83.63] * 2), dec_pnt=("obs", [22.81] * 2))
    ax = xonoff.plot_regions(told, CirclePixelRegion(PixCoord(20, 20), 3), [far], exclusion=sources)
    assert names(ax) == ["excluded", "off region", "on region", "pointing"]
    given = plt.figure().add_subplot(projection=ds.onoff.wcs)
    ax = xonoff.plot_regions(ds, ON, exclusion=[ON], ax=given, vmax=3)
    assert ax is given
    assert names(ax) == ["excluded", "on region"]
    assert ax.images[0].get_clim() == (0, 3)
    assert names(xonoff.plot_regions(ds, ON, exclusion=ON)) == ["excluded", "on region"]


def test_an_exclusion_on_other_pixels_is_refused(ds):
    part = masks.from_significance(ds, 5).isel(lat=slice(1, None))
    with pytest.raises(xonoff.GeometryError, match="on other pixels"):
        xonoff.plot_regions(ds, ON, exclusion=part)
    with pytest.raises(xonoff.XonoffError):
        xonoff.plot_regions(ds.onoff.to_spectrum(ON), ON)
