"""Shapes on the sphere: integrals of 1 in any place and frame, limits of the plane, symmetry, and what is refused."""

import itertools
import pickle
from functools import partial

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


@pytest.mark.parametrize("e", [0, 0.9, 0.999, 0.99999, 1 - 1e-9])
@pytest.mark.parametrize("size", [0.001, 0.3, 5.0, 30.0, 120.0])
@pytest.mark.parametrize("kind", [GaussianSource, DiskSource])
def test_the_integral_is_1_however_elongated(kind, size, e):
    shape = kind(30, 10, size, e, 25)
    center, minor = SkyCoord(30, 10, unit="deg"), size * np.sqrt(1 - e**2)
    # Along ellipses: distance s * axis(t) at the angle of t, where the area is axis**2 of the plane or a b dt s ds.
    t = (np.arange(256) + 0.5) * 2 * np.pi / 256
    axis = np.radians(np.hypot(size * np.cos(t), minor * np.sin(t)))
    angle = np.arctan2(minor * np.sin(t), size * np.cos(t))
    nodes, weights = np.polynomial.legendre.leggauss(32)
    pieces = np.array([0, 1, 3, 9]) if kind is GaussianSource else np.array([0, 1])
    total = 0.0
    for lo, hi in itertools.pairwise(pieces):
        last = np.minimum(hi, np.pi / axis)
        half = np.maximum(last - lo, 0) / 2
        s = lo + half + half * nodes[:, None]
        distance = s * axis
        area = np.sin(distance) * axis * np.radians(size) * np.radians(minor) / axis**2
        places = center.directional_offset_by((angle + np.radians(25)) * u.rad, distance * u.rad)
        total += (shape(places.ra.deg, places.dec.deg) * area * weights[:, None] * half).sum() * 2 * np.pi / 256
    assert total == pytest.approx(1, abs=1e-6)


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
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found, source.image, rtol=1e-9, atol=1e-6)
    between = source(*sky.pixel_to_sky(4.5, 5.0))
    assert float(between) == pytest.approx(found[5, 4:6].mean())
    assert source.frame == "galactic"
    assert source.position is None
    labelled = xr.DataArray(image, dims=sky.dims(), coords=sky.coords())
    np.testing.assert_allclose(TemplateSource(labelled)(lon, lat), found)
    assert float(source(180.0, -40.0)) == 0


def over_the_sky(source, lon, lat, n=1500):
    """Integral of what `evaluate` gives within limits of longitude and latitude, of a place in each of n x n cells."""
    to_x, to_z = np.random.default_rng(5).uniform(size=(2, n, n))
    low, high = np.sin(np.radians(lat))
    z = low + (high - low) * (np.arange(n)[:, None] + to_z) / n
    x = lon[0] + (lon[1] - lon[0]) * (np.arange(n) + to_x) / n
    return source(x % 360, np.degrees(np.arcsin(z))).mean() * (high - low) * np.radians(lon[1] - lon[0])


WHOLE = ((0, 360), (-90, 90))
#: Maps: projection, center, shape, pixel size; and limits of longitude and latitude that hold them.
MAPS = [
    ("CAR", (0, 0), (30, 40), 1.0, ((-20, 20), (-15, 15))),  # across 0/360
    ("CAR", (0, 60), (20, 30), 2.0, ((-30, 30), (40, 80))),
    ("CAR", (10, 0), (181, 360), 1.0, WHOLE),  # with the poles in the middle of rows
    ("CAR", (10, 0), (60, 120), 3.0, WHOLE),
    ("TAN", (0, 20), (50, 60), 0.02, ((-0.7, 0.7), (19.4, 20.6))),
    ("TAN", (0, 89), (30, 30), 3.0, ((0, 360), (10, 90))),
    ("AIT", (10, 0), (45, 90), 4.0, WHOLE),
    ("AIT", (0, 40), (100, 200), 2.0, WHOLE),
    ("ZEA", (10, 50), (60, 60), 4.0, WHOLE),
    ("STG", (0, 30), (20, 20), 3.0, ((-48, 48), (-2, 60))),
]


@pytest.mark.parametrize("case", MAPS, ids=lambda case: f"{case[0]} {case[2]} at {case[1]}")
@pytest.mark.parametrize("kind", ["noise", "rim"])
def test_the_integral_of_a_template_is_1_in_any_projection(case, kind):
    projection, center, shape, size, limits = case
    sky = xonoff.SkyGrid.create(center, shape=shape, pixel_size=size, projection=projection)
    y, x = (np.arange(n) - (n - 1) / 2 for n in shape)
    image = {
        "noise": np.random.default_rng(1).uniform(size=shape),
        "rim": (y[:, None] / shape[0]) ** 4 + (x / shape[1]) ** 4,
    }[kind]
    total = over_the_sky(TemplateSource(image, sky), *limits)
    assert total == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("rows", "lat"), [(1, 89.5), (3, 89.0), (3, 88.5), (4, 88.5), (7, -88.0), (2, 89.9), (3, 89.3), (40, 70.5)]
)
def test_the_integral_of_rows_at_a_pole_is_1(rows, lat):
    sky = xonoff.SkyGrid.create((0, lat), shape=(rows, 24), pixel_size=(1.0, 15.0))
    source = TemplateSource(np.random.default_rng(2).uniform(size=(rows, 1)) ** 3 * np.ones(24), sky)
    n = 200_000
    lats = np.clip(lat - rows / 2, -90, None) + np.arange(0.5, n) / n * (
        min(lat + rows / 2, 90) - max(lat - rows / 2, -90)
    )
    step = np.radians(lats[1] - lats[0])
    total = 2 * np.pi * (source(100.0, lats) * np.cos(np.radians(lats))).sum() * step
    assert total == pytest.approx(1, abs=1e-5)


def test_a_template_of_the_brightest_pixel_at_the_rim_of_the_sky():
    sky = xonoff.SkyGrid.create((10, 0), shape=(45, 90), pixel_size=4.0, projection="AIT")
    rows, columns = np.nonzero(np.isfinite(sky.solid_angle()))
    image = np.zeros(sky.shape)
    image[rows[-1], columns[-1]] = 1  # half of it is off the sky
    _, lat = sky.pixel_to_sky(columns[-1], rows[-1])
    source = TemplateSource(image, sky)
    total = over_the_sky(source, (0, 360), (lat - 12, min(lat + 12, 90)))
    assert total == pytest.approx(1, abs=3e-4)


def test_one_pixel_and_one_row_are_templates():
    for shape in ((1, 1), (1, 5)):
        sky = xonoff.SkyGrid.create((10, 0), shape=shape, pixel_size=0.1)
        assert float(TemplateSource(np.ones(shape), sky)(10.0, 0.0)) > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PointSource(0, 0)(1.0, 1.0), "a point has no surface brightness"),
        (lambda: PointSource(0, 91), r"lat_0 = 91.0 found, -90 to 90 deg accepted"),
        (lambda: PointSource(22.01, 183.63), r"the longitude comes first"),
        (lambda: GaussianSource(0, 0, 0), r"sigma = 0.0 found, 1e-06 to 180 deg accepted: take a PointSource"),
        (lambda: GaussianSource(0, 0, 1, 1.0), r"e = 1.0 found, 0 to 0.9999999999999999 accepted"),
        (lambda: DiskSource(np.nan, 0, 1), r"lon_0 = nan found, finite numbers deg accepted"),
        (lambda: DiskSource(np.inf, 0, 1), r"lon_0 = inf found"),
        (lambda: GaussianSource([1, 2], 0, 1), r"GaussianSource: lon_0: one value in deg is wanted, 2 found"),
        (lambda: GaussianSource(1, "2 TeV", 1), r"GaussianSource: lat_0: '2 TeV' found"),
        (lambda: ConstantSource(-1), r"value = -1.0 found, 0 or more accepted"),
        (lambda: GaussianSource(0, 0, 1)(22.01, [10, 183.63]), r"\(22.01, 183.63\) found, finite ones in this order"),
        (lambda: ConstantSource()(np.inf, 0.0), r"\(inf, 0.0\) found"),
        (lambda: ShellSource(0, 0, -1, 1), r"radius = -1.0 found"),
        *(
            (
                partial(PointSource, 0, 0, frame=name),
                rf"frame '{name}' found, one of \['icrs', 'galactic', 'fk5', .* accepted",
            )
            for name in ("nowhere", "altaz", "hadec", "hcrs", "gcrs", "barycentrictrueecliptic", "itrs", "ICRS")
        ),
        (lambda: TemplateSource(np.ones((2, 2))), r"an array without grid found"),
        (
            lambda: TemplateSource(np.zeros((2, 2)), xonoff.SkyGrid.create((0, 0), shape=(2, 2), pixel_size=1)),
            r"whose integral is 0.0 found",
        ),
        (
            lambda: TemplateSource(
                np.ones((9, 9)), xonoff.SkyGrid.create((0, 0), shape=(9, 9), pixel_size=40, projection="TSC")
            ),
            r"projection TSC found, with several pixels at one place",
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
        lambda: ShellSource(0, 0, 91, 20),
        lambda: PointSource(0, 0, frame=3),
    ):
        with pytest.raises(ModelError):
            make()


@settings(max_examples=100, deadline=None)
@given(data=st.data(), kind=st.sampled_from([PointSource, GaussianSource, DiskSource, ShellSource, ConstantSource]))
def test_all_within_the_bounds_is_a_shape(data, kind):
    default = kind()
    bounds = [default.bounds[name] for name in default.param_names]
    ends = [st.sampled_from([end for end in pair if end is not None] or [0.0]) for pair in bounds]
    inside = [st.floats(-720 if lo is None else lo, 720 if hi is None else hi) for lo, hi in bounds]
    shape = kind(*(data.draw(one | other) for one, other in zip(ends, inside, strict=True)))
    if kind is PointSource:
        return
    values = shape([10.0, 200.0, float(shape.lon_0.value) if shape.position else 0.0], [-90.0, 33.0, 90.0])
    assert np.isfinite(values).all()
    assert (values >= 0).all()


def test_what_is_radial_and_how_far_it_reaches():
    sky = xonoff.SkyGrid.create((0, 40), shape=(7, 9), pixel_size=0.1, projection="TAN")
    template = TemplateSource(np.ones((7, 9)), sky)
    radial = [PointSource(1, 2), ShellSource(1, 2, 0.3, 0.1), GaussianSource(1, 2, 0.1), DiskSource(1, 2, 0.1)]
    others = [GaussianSource(1, 2, 0.1, 0.5), DiskSource(1, 2, 0.1, 1e-3), template, ConstantSource()]
    assert [shape.radial for shape in radial + others] == [True] * 4 + [False] * 4
    assert [shape.extent for shape in radial[:2]] == [0, pytest.approx(0.4)]
    assert [shape.extent for shape in (radial[3], others[1], others[3])] == [0.1, 0.1, 180]
    y, x = np.meshgrid([-0.5, 6.5], [-0.5, 8.5])
    lon, lat = sky.pixel_to_sky(x, y)
    corners = SkyCoord(lon, lat, unit="deg").separation(SkyCoord(*sky.center, unit="deg")).deg
    assert template.extent == pytest.approx(corners.max(), rel=1e-9)
    radial[2].e = 0.5
    assert not radial[2].radial
    for projection, size in (("AIT", 4), ("CAR", 4), ("ZEA", 5)):
        whole = xonoff.SkyGrid.create((10, 0), shape=(45, 90), pixel_size=size, projection=projection)
        assert TemplateSource(np.ones((45, 90)), whole).extent == 180


@pytest.mark.parametrize("sigma", [1e-4, 0.1, 5, 40, 180])
def test_a_share_of_1e_8_of_a_gaussian_is_beyond_its_extent(sigma):
    source = GaussianSource(0, 0, sigma)
    distances = (
        [source.extent, *np.linspace(source.extent, 180, 60)[1:]] if sigma > 5 else source.extent * np.arange(1, 4)
    )
    places, area = ball(SkyCoord(0, 0, unit="deg"), np.array(distances), 4)
    beyond = (source(places.ra.deg, places.dec.deg) * area).sum()
    assert beyond == pytest.approx(1e-8, rel=1e-3)
    if sigma < 1:
        assert source.extent == pytest.approx(6.07 * sigma, rel=1e-3)
    assert GaussianSource(0, 0, sigma, 0.9).extent == source.extent


def test_brightness_off_the_sky_is_nan():
    sky = xonoff.SkyGrid.create((0, 0), shape=(5, 5), pixel_size=0.1)
    template = TemplateSource(np.ones((5, 5)), sky)
    for shape in (GaussianSource(0, 0, 1), DiskSource(0, 0, 1), ShellSource(0, 0, 1, 1), ConstantSource(), template):
        found = shape([0.0, np.nan, 0.0], [0.0, 0.0, np.nan])
        np.testing.assert_array_equal(np.isnan(found), [False, True, True])


def test_positions_with_units_and_copies():
    for shape in (GaussianSource(10, 20, 1, name="a"), DiskSource(10, 20, 1), ConstantSource()):
        assert float(shape(600 * u.arcmin, 20 * u.deg)) == float(shape(10.0, 20.0))
        again = pickle.loads(pickle.dumps(shape))
        assert (again.frame, again.name, float(again(10.5, 20.0))) == ("icrs", shape.name, float(shape(10.5, 20.0)))
