"""Regions against brute force on the sphere and against the reference counts of pixels."""

import numpy as np
import pytest
import regions
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

import xonoff
from xonoff import SkyGrid
from xonoff.region import inside, region_center, region_mask, region_text

SKIES = {
    "car": SkyGrid.create((83.6, 22.0), shape=(60, 70), pixel_size=0.1),
    "tan": SkyGrid.create((83.6, 22.0), shape=(60, 70), pixel_size=0.1, projection="TAN"),
    "galactic": SkyGrid.create((0.0, 0.0), shape=(60, 70), pixel_size=0.1, frame="galactic"),
    "pole": SkyGrid.create((10.0, 89.5), shape=(60, 70), pixel_size=0.1, projection="TAN"),
    "north": SkyGrid.create((83.6, 60.0), shape=(60, 70), pixel_size=0.1),
}


def middle(sky):
    return SkyCoord(*sky.center, unit="deg", frame=sky.frame)


@pytest.mark.parametrize("sky", SKIES.values(), ids=SKIES)
@pytest.mark.parametrize("radius", [0.05, 0.31, 1.0])
def test_a_circle_is_a_great_circle_distance(sky, radius):
    center = middle(sky).directional_offset_by(30 * u.deg, 0.23 * u.deg)
    region = regions.CircleSkyRegion(center, radius * u.deg)
    expected = sky.skycoord().separation(center).deg < radius
    if expected.any():
        np.testing.assert_array_equal(region_mask(region, sky), expected)
    np.testing.assert_array_equal(inside(region, sky), expected)
    lon, lat = region_center(region, sky)
    assert SkyCoord(lon, lat, unit="deg", frame=sky.frame).separation(center).deg < 1e-9


@pytest.mark.parametrize("sky", SKIES.values(), ids=SKIES)
def test_an_annulus_is_the_difference_of_two_circles(sky):
    region = regions.CircleAnnulusSkyRegion(middle(sky), 0.4 * u.deg, 0.9 * u.deg)
    distance = sky.skycoord().separation(middle(sky)).deg
    np.testing.assert_array_equal(region_mask(region, sky), (distance >= 0.4) & (distance < 0.9))


@pytest.mark.parametrize("sky", SKIES.values(), ids=SKIES)
@pytest.mark.parametrize("shape", ["ellipse", "rectangle"])
def test_ellipses_and_rectangles_by_distance_and_position_angle(sky, shape):
    kind = regions.EllipseSkyRegion if shape == "ellipse" else regions.RectangleSkyRegion
    region = kind(middle(sky), width=1.6 * u.deg, height=0.7 * u.deg, angle=20 * u.deg)
    coords = sky.skycoord()
    r = middle(sky).separation(coords).deg
    # position angle counts from north through east; the angle of a region from the axis of longitude, which points west
    phi = middle(sky).position_angle(coords).rad + np.pi / 2 - np.radians(20)
    along, across = r * np.cos(phi), r * np.sin(phi)
    if shape == "ellipse":
        expected = (along / 0.8) ** 2 + (across / 0.35) ** 2 < 1
    else:
        expected = (np.abs(along) < 0.8) & (np.abs(across) < 0.35)
    np.testing.assert_array_equal(region_mask(region, sky), expected)


def test_edges_of_a_polygon_are_great_circles():
    sky = SkyGrid.create((83.6, 60.0), shape=(100, 300), pixel_size=0.1)
    corners = SkyCoord([75, 92, 84], [58.0, 58.0, 62.0], unit="deg")
    region = regions.PolygonSkyRegion(corners)
    vectors = corners.cartesian.xyz.value.T
    points = sky.skycoord().cartesian.xyz.value
    sides = [np.cross(vectors[i], vectors[(i + 1) % 3]) for i in range(3)]
    signs = np.array([np.tensordot(side, points, 1) for side in sides])
    expected = (signs > 0).all(0) | (signs < 0).all(0)
    np.testing.assert_array_equal(region_mask(region, sky), expected)


def test_compounds_combine_their_parts():
    sky = SKIES["tan"]
    a = regions.CircleSkyRegion(middle(sky), 0.6 * u.deg)
    b = regions.CircleSkyRegion(middle(sky).directional_offset_by(0 * u.deg, 0.5 * u.deg), 0.4 * u.deg)
    one, two = region_mask(a, sky), region_mask(b, sky)
    np.testing.assert_array_equal(region_mask(a | b, sky), one | two)
    np.testing.assert_array_equal(region_mask(a & b, sky), one & two)
    np.testing.assert_array_equal(region_mask(a ^ b, sky), one ^ two)
    assert " or " in region_text(a | b)
    assert region_text(a).startswith("icrs;circle(83.6")


@pytest.mark.parametrize("name", ["circle", "polygon", "rectangle"])
def test_pixel_regions_count_from_the_first_pixel_of_the_map(name):
    sky = SKIES["tan"].slice(slice(10, None), slice(20, None, 2))
    center = regions.PixCoord(9.2, 11.4)
    region = {
        "circle": regions.CirclePixelRegion(center, 4.3),
        "polygon": regions.PolygonPixelRegion(regions.PixCoord([3, 12, 9], [4, 6, 14])),
        "rectangle": regions.RectanglePixelRegion(center, 7, 4, angle=30 * u.deg),
    }[name]
    y, x = np.indices(sky.shape)
    np.testing.assert_array_equal(region_mask(region, sky), region.contains(regions.PixCoord(x, y)))


def test_a_region_across_longitude_0():
    sky = SkyGrid.create((0.1, 0.0), shape=(40, 40), pixel_size=0.1)
    region = regions.CircleSkyRegion(SkyCoord(359.9, 0.1, unit="deg"), 0.5 * u.deg)
    distance = sky.skycoord().separation(region.center).deg
    np.testing.assert_array_equal(region_mask(region, sky), distance < 0.5)


def test_a_region_in_another_frame():
    sky = SKIES["galactic"]
    region = regions.CircleSkyRegion(middle(sky).icrs, 0.5 * u.deg)
    np.testing.assert_array_equal(region_mask(region, sky), sky.skycoord().separation(middle(sky)).deg < 0.5)
    assert region_center(region, sky)[1] == pytest.approx(sky.center[1], abs=1e-9)


@given(lon=st.floats(-8, 8), lat=st.floats(-8, 8), radius=st.floats(0.02, 6))
def test_on_the_map_off_the_map_or_empty(lon, lat, radius):
    sky = SkyGrid.create((0, 0), shape=(40, 40), pixel_size=0.2)
    center = SkyCoord(lon % 360, lat, unit="deg")
    region = regions.CircleSkyRegion(center, radius * u.deg)
    wide = SkyGrid.create((0, 0), shape=(160, 160), pixel_size=0.2)
    everywhere = wide.skycoord().separation(center).deg < radius
    part = everywhere[60:100, 60:100]
    np.testing.assert_array_equal(inside(region, sky), part)
    if everywhere.sum() > part.sum():
        with pytest.raises(xonoff.GeometryError, match="reaches off the map"):
            region_mask(region, sky)
    elif not part.any():
        with pytest.raises(xonoff.GeometryError, match="is empty: it holds the centre of no pixel"):
            region_mask(region, sky)
    else:
        np.testing.assert_array_equal(region_mask(region, sky), part)


def test_what_is_no_region():
    with pytest.raises(xonoff.SchemaError, match="a str found, a sky or pixel region of the package regions accepted"):
        region_mask("circle", SKIES["tan"])
    with pytest.raises(xonoff.SchemaError, match="a region with an area accepted"):
        region_center(regions.LineSkyRegion(middle(SKIES["tan"]), middle(SKIES["tan"])), SKIES["tan"])


def test_the_text_of_a_region_reads_back():
    region = regions.EllipseSkyRegion(
        SkyCoord(10.5, -3.25, unit="deg", frame="galactic"), 2 * u.deg, 1 * u.deg, 30 * u.deg
    )
    (read,) = regions.Regions.parse(region_text(region), format="ds9")
    assert read.center.separation(region.center).deg < 1e-8
    assert read.width.to_value("deg") == pytest.approx(2)


def test_a_region_to_leave_out_is_refused(ds):
    from regions import Regions

    [hole] = Regions.parse("icrs;-circle(83.63,22.01,0.3)", format="ds9")
    sky = ds.onoff.geom.sky
    for use in (region_mask, inside):
        with pytest.raises(xonoff.SchemaError, match=r"to leave out found, with a - before it"):
            use(hole, sky)
