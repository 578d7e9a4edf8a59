"""Turned regions against plain vectors, and what a pointing sees of them against points drawn at random."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from regions import (
    CircleAnnulusSkyRegion,
    CirclePixelRegion,
    CircleSkyRegion,
    EllipseAnnulusSkyRegion,
    EllipseSkyRegion,
    PixCoord,
    PointSkyRegion,
    PolygonSkyRegion,
    RectangleAnnulusSkyRegion,
    RectangleSkyRegion,
)
from strategies import separation

import xonoff
from xonoff.outlines import angular_width, axis_of, check_sky_region, overlap, samples, turned
from xonoff.region import contains, region_text, shapes, sky_center

DEG = u.deg
SHAPES = ("circle", "annulus", "ellipse", "ellipse annulus", "rectangle", "rectangle annulus", "polygon", "compound")
POLES = [(0.0, 90.0), (123.0, -90.0), (0.0, 89.95), (359.99, 0.0), (83.6, 22.0)]
centers = st.sampled_from(POLES) | st.tuples(st.floats(0, 360), st.floats(-90, 90))


def make(shape, center, size=0.3, tilt=25.0):
    """A region of about this radius, deg."""
    middle, a, b, angle = center, 2 * size * DEG, size * DEG, tilt * DEG
    if shape == "compound":
        other = center.directional_offset_by(70 * DEG, size * DEG)
        return make("circle", center, size) | make("ellipse", other, size, tilt)
    if shape == "polygon":
        corners = [center.directional_offset_by(t * DEG, size * DEG) for t in (tilt, tilt + 100, tilt + 190)]
        return PolygonSkyRegion(SkyCoord([c.spherical.lon for c in corners], [c.spherical.lat for c in corners],
                                         frame=center.frame.replicate_without_data()))  # fmt: skip
    return {
        "circle": lambda: CircleSkyRegion(middle, size * DEG),
        "annulus": lambda: CircleAnnulusSkyRegion(middle, size / 2 * DEG, size * DEG),
        "ellipse": lambda: EllipseSkyRegion(middle, a, b, angle),
        "ellipse annulus": lambda: EllipseAnnulusSkyRegion(middle, a / 2, a, b / 2, b, angle),
        "rectangle": lambda: RectangleSkyRegion(middle, a, b, angle),
        "rectangle annulus": lambda: RectangleAnnulusSkyRegion(middle, a / 2, a, b / 2, b, angle),
    }[shape]()


def lonlat(position):
    return np.asarray(position.spherical.lon.deg), np.asarray(position.spherical.lat.deg)


def points_around(center, radius, n=4000, seed=0):
    """Points at random within a distance."""
    rng = np.random.default_rng(seed)
    return center.directional_offset_by(rng.uniform(0, 360, n) * DEG, radius * np.sqrt(rng.random(n)) * DEG)


@settings(max_examples=150, deadline=None)
@given(
    pointing=centers, away=st.floats(1e-3, 80), direction=st.floats(0, 360), angle=st.floats(-720, 720),
    frame=st.sampled_from(["icrs", "galactic", "fk5"]),
)  # fmt: skip
def test_a_turn_keeps_the_offset_and_adds_to_the_position_angle(pointing, away, direction, angle, frame):
    axis = SkyCoord(*pointing, unit="deg", frame=frame)
    region = CircleSkyRegion(axis.directional_offset_by(direction * DEG, away * DEG), 0.1 * DEG)
    new = turned(region, axis_of(axis, region), angle)
    assert new.radius == region.radius
    before, after = (separation(lonlat(axis), lonlat(r.center)) for r in (region, new))
    # the distance along the chord, an independent formula; 1e-10 deg is what lon and lat in double precision carry
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-10)
    if abs(axis.spherical.lat.deg) < 89.9:
        turn = (axis.position_angle(new.center) - axis.position_angle(region.center)).deg - angle
        assert abs((turn + 180) % 360 - 180) < 1e-6 / np.sin(np.radians(away)) + 1e-9


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pointing", POLES)
def test_points_turn_along_with_their_region(shape, pointing):
    axis = SkyCoord(*pointing, unit="deg")
    region = make(shape, axis.directional_offset_by(40 * DEG, 0.9 * DEG))
    around = points_around(sky_center(next(shapes(region))), 0.9, 2000)
    within = contains(region, around)
    assert 0 < within.sum() < within.size
    vector = axis_of(axis, region)
    for angle in (90.0, 177.0, 301.5):
        turn = angle * DEG
        moved = axis.directional_offset_by(axis.position_angle(around) + turn, axis.separation(around))
        found = contains(turned(region, vector, angle), moved)
        assert (found != within).sum() <= 2, angle  # a point may lie on the border to rounding


@settings(max_examples=60, deadline=None)
@given(pointing=centers, away=st.floats(0.05, 60), share=st.floats(0.01, 0.97), direction=st.floats(0, 360))
def test_two_circles_touch_when_turned_by_their_width(pointing, away, share, direction):
    axis = SkyCoord(*pointing, unit="deg")
    radius = away * share
    region = CircleSkyRegion(axis.directional_offset_by(direction * DEG, away * DEG), radius * DEG)
    vector = axis_of(axis, region)
    width = angular_width(region, vector)
    assume(width < 180)
    distance = separation(lonlat(region.center), lonlat(turned(region, vector, width).center))
    chord = np.degrees(2 * np.sin(np.radians(radius)))  # `separation` is the chord
    np.testing.assert_allclose(distance, chord, rtol=1e-7, atol=1e-9)
    assert not overlap(region, turned(region, vector, width * (1 + 1e-6)))
    assert overlap(region, turned(region, vector, width * 0.999))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pointing", POLES)
@pytest.mark.parametrize("tilt", [0.0, 25.0, 90.0])
def test_the_width_holds_all_points_and_no_more(shape, pointing, tilt):
    axis = SkyCoord(*pointing, unit="deg")
    region = make(shape, axis.directional_offset_by(200 * DEG, 1.1 * DEG), tilt=tilt)
    width = angular_width(region, axis_of(axis, region))
    around = points_around(sky_center(next(shapes(region))), 1.0, 20_000)
    within = around[contains(region, around)]
    seen = (axis.position_angle(within).deg - 200 + 180) % 360 - 180
    assert seen.max() - seen.min() <= width + 1e-6
    assert seen.max() - seen.min() > 0.88 * width  # few points fall into a sharp corner


@pytest.mark.parametrize("shape", SHAPES)
def test_no_width_where_the_pointing_is_within_or_surrounded(shape):
    center = SkyCoord(10.0, 89.8, unit="deg")
    region = make(shape, center)
    assert angular_width(region, axis_of(center.directional_offset_by(10 * DEG, 0.02 * DEG), region)) is None
    assert angular_width(region, axis_of(center.directional_offset_by(10 * DEG, 1.5 * DEG), region)) is not None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("other", SHAPES)
def test_overlap_against_points_at_random(shape, other):
    center = SkyCoord(359.95, 60.0, unit="deg")
    around = points_around(center, 1.2, 8000)
    a = make(shape, center)
    within = contains(a, around)
    for away in (0.0, 0.35, 0.58, 0.64):
        middle = center.directional_offset_by(90 * DEG, away * DEG)
        b, smaller = (make(other, middle, size, tilt=70.0) for size in (0.3, 0.285))
        assert overlap(a, b) == overlap(b, a)
        if (within & contains(b, around)).any():
            assert overlap(a, b)
        if overlap(a, smaller) and shape != "polygon" and other in ("circle", "ellipse"):  # round: more than a corner
            assert (within & contains(b, around)).any()


def test_overlap_across_frames():
    center = SkyCoord(83.6, 22.0, unit="deg")
    a, b = CircleSkyRegion(center, 0.2 * DEG), CircleSkyRegion(center.galactic, 0.2 * DEG)
    assert overlap(a, b)
    assert overlap(a, EllipseSkyRegion(center.galactic, 0.2 * DEG, 0.1 * DEG))
    far = center.directional_offset_by(0 * DEG, 0.5 * DEG).galactic
    assert not overlap(a, EllipseSkyRegion(far, 0.4 * DEG, 0.1 * DEG))


@pytest.mark.parametrize("shape", SHAPES)
def test_samples_are_within_and_near_the_border(shape):
    region = make(shape, SkyCoord(0.0, 0.0, unit="deg"))
    found = samples(region)
    assert contains(region, found).all()
    assert found.size > 300


def test_what_is_no_region_on_the_sky_is_refused():
    center = SkyCoord(0, 0, unit="deg")
    with pytest.raises(xonoff.SchemaError, match=r"a CirclePixelRegion found.*region.to_sky"):
        check_sky_region(CirclePixelRegion(PixCoord(3, 3), 2))
    with pytest.raises(xonoff.SchemaError, match="a PointSkyRegion found, CircleSkyRegion, "):
        check_sky_region(PointSkyRegion(center))
    with pytest.raises(xonoff.SchemaError, match="a str found"):
        check_sky_region("circle")
    circle = CircleSkyRegion(center, 1 * DEG)
    for bad in (SkyCoord([1, 2], [3, 4], unit="deg"), (np.nan, 0), (0, 91)):
        with pytest.raises(xonoff.GeometryError, match="one position on the sky accepted"):
            axis_of(bad, circle)
    assert "circle" in region_text(turned(circle, axis_of((1, 1), circle), 10))
