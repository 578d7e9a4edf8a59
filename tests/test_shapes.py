"""Shapes on the sphere: integrals of 1 in any place and frame, limits of the plane, symmetry, and what is refused."""

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

import xonoff
from xonoff import ModelError
from xonoff.models import (
    ConstantSource,
    DiskSource,
    GaussianSource,
    PointSource,
    ShellSource,
    TemplateSource,
)

PLACES = [(83.63, 22.01), (0.0, 0.0), (359.999, -45.0), (10.0, 90.0), (200.0, -89.9)]
#: A shape at a place, and the distances (deg) at which its brightness has an edge, in every direction.
SHAPES = {
    "gaussian": (lambda lon, lat: GaussianSource(lon, lat, 0.2), [0, 0.2, 0.6, 2]),
    "tiny gaussian": (lambda lon, lat: GaussianSource(lon, lat, 1e-5), [0, 1e-5, 3e-5, 1e-4]),
    "wide gaussian": (lambda lon, lat: GaussianSource(lon, lat, 40), [0, 40, 90, 180]),
    "long gaussian": (lambda lon, lat: GaussianSource(lon, lat, 1.0, 0.95, 30), [0, 0.3, 1, 4, 12]),
    "disk": (lambda lon, lat: DiskSource(lon, lat, 3.0), [0, 3.0]),
    "half of the sky": (lambda lon, lat: DiskSource(lon, lat, 90.0), [0, 90.0]),
    "shell": (lambda lon, lat: ShellSource(lon, lat, 1.0, 0.3), [0, 0.9, 1.0, 1.01, 1.25, 1.3]),
    "shell without a hole": (lambda lon, lat: ShellSource(lon, lat, 0.0, 2.0), [0, 1, 1.9, 2.0]),
    "everywhere": (lambda lon, lat: ConstantSource(), [0, 90, 180]),
}


def ball(center, distances, directions=64, order=60):
    """Positions around a center by astropy's own offsets, and the solid angles that they stand for."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    lo, hi = np.radians(distances[:-1])[:, None], np.radians(distances[1:])[:, None]
    # Squares of the nodes crowd at both ends of a ring, where shells have roots.
    t, dt = (1 + nodes) / 2, weights / 2
    t, dt = t * t * (3 - 2 * t), dt * 6 * t * (1 - t)
    theta, width = (lo + (hi - lo) * t).ravel(), ((hi - lo) * dt).ravel()
    angles = np.arange(directions) * 2 * np.pi / directions
    grid = np.meshgrid(theta, angles, indexing="ij")
    places = center.directional_offset_by(grid[1] * u.rad, grid[0] * u.rad)
    return places, np.sin(grid[0]) * width[:, None] * 2 * np.pi / directions


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", SHAPES)
def test_the_integral_is_1(name, place):
    make, distances = SHAPES[name]
    shape = make(*place)
    places, area = ball(SkyCoord(*place, unit="deg"), distances, 400 if "long" in name else 16)
    total = (shape(places.ra.deg, places.dec.deg) * area).sum()
    assert total == pytest.approx(1, abs=1e-3 if "tiny" in name else 1e-6)  # offsets near a pole are good to 1e-8 rad


@settings(max_examples=25, deadline=None)
@given(e=st.floats(0, 0.99), phi=st.floats(-180, 180), size=st.floats(0.01, 5), kind=st.sampled_from(["g", "d"]))
def test_elongated_shapes_have_their_axes_and_an_integral_of_1(e, phi, size, kind):
    shape = GaussianSource(30, 60, size, e, phi) if kind == "g" else DiskSource(30, 60, size, e, phi)
    center = SkyCoord(30, 60, unit="deg")
    minor = size * np.sqrt(1 - e**2)
    along, across = (
        center.directional_offset_by((phi + turn) * u.deg, length * u.deg)
        for turn, length in ((0, 0.999 * size), (90, 0.999 * minor))
    )
    ends = [float(shape(p.ra.deg, p.dec.deg)) for p in (along, across)]
    middle = float(shape(30, 60))
    expected = middle * np.exp(-0.5 * 0.999**2) if kind == "g" else middle
    np.testing.assert_allclose(ends, expected, rtol=1e-3 * max(size, 1) ** 2)
    if kind == "d":
        beyond = center.directional_offset_by((phi + 90) * u.deg, 1.001 * minor * u.deg)
        assert shape(beyond.ra.deg, beyond.dec.deg) == 0
    # The brightness in the middle is 1 over the area of the plane, for what is small.
    area = np.pi * np.radians(size) * np.radians(minor) * (2 if kind == "g" else 1)
    assert middle * area == pytest.approx(1, rel=2e-4 * max(size, 1) ** 2)


@pytest.mark.parametrize("name", ["gaussian", "disk", "shell", "long gaussian"])
def test_a_frame_is_only_another_name_for_a_place(name):
    make, _ = SHAPES[name]
    icrs = make(83.63, 22.01)
    center = icrs.position.galactic
    shape = type(icrs)(center.l.deg, center.b.deg, *icrs.parameters[2:], frame="galactic")
    if "long" in name:  # a position angle is one of its frame
        pole = SkyCoord(0, 90, unit="deg", frame="icrs").galactic
        shape.phi = icrs.phi.value + center.position_angle(pole).deg
    places, _ = ball(icrs.position, [0, 0.9, 1.2, 1.5], 16, 5)
    galactic = places.galactic
    np.testing.assert_allclose(
        shape(galactic.l.deg, galactic.b.deg), icrs(places.ra.deg, places.dec.deg), rtol=1e-6, atol=1e-6
    )


def test_the_seam_of_the_longitude_is_nowhere():
    for source in (GaussianSource(0, 10, 0.5), GaussianSource(360, 10, 0.5)):
        np.testing.assert_allclose(source([359.9, -0.1], [10, 10]), source([0.1, 0.1], [10, 10]), rtol=1e-9)


@pytest.mark.parametrize("projection", ["CAR", "TAN"])
def test_a_template_keeps_its_map(projection):
    sky = xonoff.SkyGrid.create((0.02, 40), shape=(7, 9), pixel_size=0.1, projection=projection, frame="galactic")
    image = np.random.default_rng(1).uniform(0, 5, sky.shape)
    image[2, 3] = np.nan
    source = TemplateSource(image, sky)
    y, x = np.indices(sky.shape)
    lon, lat = sky.pixel_to_sky(x, y)
    found = source(lon % 360, lat)
    expected = np.nan_to_num(image)
    np.testing.assert_allclose(found, expected / (expected * sky.solid_angle()).sum(), rtol=1e-9, atol=1e-6)
    between = source(*sky.pixel_to_sky(4.5, 5.0))
    assert float(between) == pytest.approx(found[5, 4:6].mean())
    assert source.frame == "galactic"
    assert source.position is None
    labelled = xr.DataArray(image, dims=sky.dims(), coords=sky.coords())
    np.testing.assert_allclose(TemplateSource(labelled)(lon, lat), found)
    assert float(source(180.0, -40.0)) == 0


def test_one_pixel_and_one_row_are_templates():
    for shape in ((1, 1), (1, 5)):
        sky = xonoff.SkyGrid.create((10, 0), shape=shape, pixel_size=0.1)
        assert float(TemplateSource(np.ones(shape), sky)(10.0, 0.0)) > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PointSource(0, 0)(1.0, 1.0), "a point has no surface brightness"),
        (lambda: PointSource(0, 91), r"lat_0 = 91.0 found, -90 to 90 deg accepted"),
        (lambda: GaussianSource(0, 0, 0), r"sigma = 0.0 found, above 0"),
        (lambda: GaussianSource(0, 0, 1, 1.0), r"e = 1.0 found, 0 to below 1 accepted"),
        (lambda: DiskSource(np.nan, 0, 1), r"finite numbers accepted"),
        (lambda: ShellSource(0, 0, -1, 1), r"radius = -1.0 found"),
        (lambda: PointSource(0, 0, frame="nowhere"), r"frame 'nowhere' found, one such as 'icrs' accepted"),
        (lambda: TemplateSource(np.ones((2, 2))), r"an array without grid found"),
        (
            lambda: TemplateSource(np.zeros((2, 2)), xonoff.SkyGrid.create((0, 0), shape=(2, 2), pixel_size=1)),
            r"sums to 0.0 found",
        ),
        (
            lambda: TemplateSource(np.ones((3, 2)), xonoff.SkyGrid.create((0, 0), shape=(2, 2), pixel_size=1)),
            r"an image \(3, 2\) .* on the \(2, 2\) pixels",
        ),
    ],
)
def test_what_is_no_shape_is_refused(make, message):
    with pytest.raises(ModelError, match=message):
        make()


def test_angles_with_units_and_images_in_any_order():
    source = GaussianSource(1.4 * u.rad, "20 deg", sigma=6 * u.arcmin)
    np.testing.assert_allclose(source.parameters[:3], [np.degrees(1.4), 20, 0.1])
    sky = xonoff.SkyGrid.create((0, 0), shape=(5, 5), pixel_size=0.1)
    image = xr.DataArray(np.arange(25.0).reshape(5, 5), dims=sky.dims(), coords=sky.coords())
    assert float(TemplateSource(image)(0.1, 0.2)) == float(TemplateSource(image.transpose())(0.1, 0.2))
    whole = xonoff.SkyGrid.create((0, 0), shape=(45, 90), pixel_size=4, projection="AIT")
    assert np.isfinite(TemplateSource(np.ones((45, 90)), whole).image).all()
    infinite = image.copy(data=np.where(image == 3, np.inf, 1.0))
    for make in (
        lambda: TemplateSource(infinite),
        lambda: ShellSource(0, 0, 80, 20),
        lambda: PointSource(0, 0, frame=3),
    ):
        with pytest.raises(ModelError):
            make()
