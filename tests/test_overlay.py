import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from regions import (
    CircleSkyRegion,
    PixCoord,
    PointPixelRegion,
    PointSkyRegion,
    RectanglePixelRegion,
    RectangleSkyRegion,
    Regions,
)

import xonoff
from xonoff import overlay, psf
from xonoff.map_plot import figure_size, sky_map
from xonoff.models import (
    ConstantSource,
    DiskSource,
    GaussianSource,
    PointSource,
    PowerLaw1D,
    Shape,
    ShellSource,
    SkyModel,
    TemplateSource,
)
from xonoff.region import inside

CENTER = SkyCoord(83.6, 60.0, unit="deg")
GRIDS = {
    "CAR": xonoff.SkyGrid.create(CENTER, shape=(80, 160), pixel_size=0.05),
    "TAN": xonoff.SkyGrid.create(CENTER, shape=(80, 100), pixel_size=0.05, projection="TAN"),
    "galactic": xonoff.SkyGrid.create(CENTER, shape=(80, 100), pixel_size=0.05, projection="TAN", frame="galactic"),
    "pole": xonoff.SkyGrid.create((10, 89.5), shape=(80, 80), pixel_size=0.05, projection="TAN"),
    "AIT": xonoff.SkyGrid.create((0, 0), shape=(90, 180), pixel_size=2.0, projection="AIT", frame="galactic"),
}


@pytest.fixture(autouse=True)
def _figures() -> object:
    mpl.use("Agg")
    yield
    plt.close("all")


def drawn(sky: xonoff.SkyGrid, label: str = "counts (1)", **options: object) -> Axes:
    array = xr.DataArray(np.ones(sky.shape), dims=sky.dims(), coords=sky.coords())
    ax = sky_map(array, label, **options)
    ax.figure.canvas.draw()
    return ax


def model(shape: Shape, name: str = "source") -> SkyModel:
    return SkyModel(name, PowerLaw1D(1e-11, 1, 2), shape)


def lines(ax: Axes) -> list[np.ndarray]:
    """Pixels (n, 2) of the contours on a map, the longest first."""
    contours = [artist for artist in ax.collections if getattr(artist, "filled", None) is False]
    paths = [part for artist in contours for path in artist.get_paths() for part in path.to_polygons(closed_only=False)]
    return sorted(paths, key=len, reverse=True)


def distances(sky: xonoff.SkyGrid, pixels: np.ndarray, position: SkyCoord) -> np.ndarray:
    lon, lat = sky.pixel_to_sky(*pixels.T)
    return SkyCoord(lon, lat, unit="deg", frame=sky.frame).separation(position).deg


# -- sources ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", ["CAR", "TAN", "galactic", "pole"])
def test_the_outline_of_a_gaussian_holds_68_percent_on_the_sky(grid: str) -> None:
    sky = GRIDS[grid]
    position = SkyCoord(*sky.center, unit="deg", frame=sky.frame)
    ax = drawn(sky, sources=model(GaussianSource(position.icrs.ra.deg, position.icrs.dec.deg, 0.3)))
    (line,) = lines(ax)
    np.testing.assert_allclose(distances(sky, line, position), 0.3 * np.sqrt(-2 * np.log(0.32)), rtol=0.02)
    (marker,) = [line for line in ax.lines if line.get_marker() == "+"]
    np.testing.assert_allclose(np.ravel(marker.get_data()), sky.sky_to_pixel(position), atol=1e-9)
    (name,) = [text for text in ax.texts if text.get_text() == "source"]
    np.testing.assert_allclose(name.xy, sky.sky_to_pixel(position), atol=1e-9)


def test_an_elongated_source_points_where_it_should() -> None:
    sky, phi = GRIDS["CAR"], 30.0
    (line,) = lines(drawn(sky, sources=model(GaussianSource(83.6, 60.0, 0.3, e=0.9, phi=phi))))
    lon, lat = sky.pixel_to_sky(*line.T)
    at = SkyCoord(lon, lat, unit="deg")
    away = CENTER.separation(at).deg
    assert away.max() / away.min() == pytest.approx(1 / np.sqrt(1 - 0.9**2), rel=0.03)
    assert CENTER.position_angle(at[away.argmax()]).deg % 180 == pytest.approx(phi, abs=3)


def test_disks_are_drawn_to_their_edge_and_shells_as_rings() -> None:
    sky = GRIDS["TAN"]
    (line,) = lines(drawn(sky, sources=model(DiskSource(83.6, 60.0, 0.5))))
    np.testing.assert_allclose(distances(sky, line, CENTER), 0.5, rtol=0.01)
    outer, inner = lines(drawn(sky, sources=model(ShellSource(83.6, 60.0, 0.5, 0.2))))
    assert distances(sky, inner, CENTER).mean() < 0.5 < distances(sky, outer, CENTER).mean() < 0.7


def test_the_part_of_a_source_above_the_level_holds_the_share() -> None:
    sky = GRIDS["TAN"]
    image = np.random.default_rng(0).random(sky.shape) ** 4
    for shape in (GaussianSource(83.6, 60, 0.3), ShellSource(83.6, 60, 0.5, 0.1), TemplateSource(image, sky)):
        x, y, brightness, level = overlay.source_part(shape, sky, 0.5)
        flux = brightness * abs(np.ptp(x[:2]) * np.ptp(y[:2])) * sky.solid_angle()[40, 50]
        assert flux.sum() == pytest.approx(1, rel=0.02)
        assert flux[brightness >= level].sum() == pytest.approx(0.5, abs=0.02)


def test_sources_off_the_map_and_without_position_are_left_out() -> None:
    away = [
        model(PointSource(83.6, 10.0), "away"),
        model(ConstantSource(), "everywhere"),
        SkyModel("flat", PowerLaw1D()),
    ]
    ax = drawn(GRIDS["TAN"], sources=[*away, model(PointSource(83.6, 60.0), "here")])
    assert [text.get_text() for text in ax.texts] == ["here"]
    assert not lines(ax)


def test_names_are_text_and_the_limits_of_the_map_stay() -> None:
    sky = GRIDS["TAN"]
    ax = drawn(sky, sources=model(GaussianSource(83.6, 61.9, 2.0), "a $x_$ & <b>"), scale_bar="1 deg", psf="0.2 deg")
    assert "a $x_$ & <b>" in [text.get_text() for text in ax.texts]
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 99.5), (-0.5, 79.5))


def test_a_source_at_a_pole() -> None:
    sky = GRIDS["pole"]
    (line,) = lines(drawn(sky, sources=model(DiskSource(0, 90, 0.3))))
    np.testing.assert_allclose(distances(sky, line, SkyCoord(0, 90, unit="deg")), 0.3, rtol=0.01)


# -- regions ----------------------------------------------------------------------------------------------------------


def test_regions_with_names_and_points() -> None:
    sky = GRIDS["CAR"]
    circle = CircleSkyRegion(CENTER, 0.5 * u.deg, meta={"label": "off"})
    points = [PointSkyRegion(CENTER, meta={"text": "pulsar"}), PointPixelRegion(PixCoord(3.0, 4.0))]
    ax = drawn(sky, regions=Regions([circle, *points]))
    (line,) = lines(ax)
    np.testing.assert_allclose(distances(sky, line, CENTER), 0.5, atol=0.02)
    crosses = [np.ravel(line.get_data()) for line in ax.lines if line.get_marker() == "x"]
    np.testing.assert_allclose(crosses, [np.ravel(sky.sky_to_pixel(CENTER)), [3, 4]], atol=1e-9)
    assert sorted(text.get_text() for text in ax.texts) == ["off", "pulsar"]


@pytest.mark.parametrize("grid", ["CAR", "TAN", "galactic"])
def test_regions_between_the_centres_of_pixels_are_drawn(grid: str) -> None:
    sky = GRIDS[grid]
    at = SkyCoord(*sky.pixel_to_sky(30.5, 40.5), unit="deg", frame=sky.frame)
    size = sky.pixel_scales[0]
    tiny = CircleSkyRegion(at, 0.3 * size * u.deg, meta={"label": "tiny"})
    assert not inside(tiny, sky).any()
    ax = drawn(sky, regions=[tiny])
    (line,) = lines(ax)
    np.testing.assert_allclose(distances(sky, line, at), 0.3 * size, rtol=0.15)
    assert [text.get_text() for text in ax.texts] == ["tiny"]
    large = CircleSkyRegion(SkyCoord(*sky.pixel_to_sky(70, 40), unit="deg", frame=sky.frame), 5 * size * u.deg)
    both = lines(drawn(sky, regions=large | tiny))
    assert len(both) == 2
    np.testing.assert_allclose(distances(sky, both[1], at), 0.3 * size, rtol=0.3)
    away = CircleSkyRegion(SkyCoord(263.6, -60, unit="deg"), 0.01 * u.deg, meta={"label": "away"})
    ax = drawn(sky, regions=away)
    assert not lines(ax)
    assert not ax.texts


def test_a_strip_narrower_than_pixels_is_drawn_whole() -> None:
    sky = GRIDS["TAN"]
    x, y = 50, 40.5
    at = SkyCoord(*sky.pixel_to_sky(x, y), unit="deg", frame=sky.frame)
    strip = RectanglePixelRegion(PixCoord(x, y), 30, 0.4)
    assert not inside(strip, sky).any()
    for region in (strip, RectangleSkyRegion(at, 30 * sky.pixel_scales[1] * u.deg, 0.4 * sky.pixel_scales[0] * u.deg)):
        (line,) = lines(drawn(sky, regions=region))
        assert np.ptp(line[:, 0]) == pytest.approx(30, rel=0.1)


# -- scale bar and PSF ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", ["CAR", "TAN", "galactic", "pole"])
@pytest.mark.parametrize(("given", "text"), [("30 arcmin", "30 arcmin"), (0.5, "0.5 deg"), (0.5 * u.deg, "0.5 deg")])
def test_the_ends_of_a_scale_bar_are_its_length_apart(grid: str, given: object, text: str) -> None:
    sky = GRIDS[grid]
    ax = drawn(sky, scale_bar=given)
    (bar,) = [line for line in ax.lines if line.get_linewidth() == 2]
    ends = SkyCoord(*sky.pixel_to_sky(*bar.get_data()), unit="deg")
    assert ends[0].separation(ends[1]).deg == pytest.approx(0.5, rel=1e-4)
    assert text in [t.get_text() for t in ax.texts]
    assert (bar.get_xdata() > sky.shape[1] / 2).all()
    assert (bar.get_ydata() < sky.shape[0] / 4).all()


def test_a_scale_bar_of_the_whole_sky_is_that_of_the_middle() -> None:
    sky = GRIDS["AIT"]
    left, right, _ = overlay.scale_bar(sky, "30 deg")
    middle = (sky.shape[1] - 1) / 2
    half = (right - left) / 2
    lon, lat = sky.pixel_to_sky([middle - half, middle + half], (sky.shape[0] - 1) / 2)
    ends = SkyCoord(lon, lat, unit="deg")
    assert ends[0].separation(ends[1]).deg == pytest.approx(30, rel=1e-3)


@pytest.mark.parametrize("grid", ["CAR", "TAN", "galactic", "pole", "AIT"])
def test_the_circle_of_the_psf_is_one_on_the_sky(grid: str) -> None:
    sky = GRIDS[grid]
    radius = 0.3 if grid != "AIT" else 10.0
    ax = drawn(sky, psf=radius)
    (patch,) = ax.patches[-1:]
    ring = patch.get_xy()
    assert (ring >= -0.5).all()
    assert (ring.max(axis=0) < [sky.shape[1] / 2, sky.shape[0] / 2]).all()
    if grid == "AIT":  # moved from the middle
        ring = ring - (ring.min(axis=0) + ring.max(axis=0)) / 2 + (np.array(sky.shape[::-1]) - 1) / 2
        center = SkyCoord(*sky.center, unit="deg", frame=sky.frame)
    else:
        lon, lat = sky.pixel_to_sky(*ring[:-1].T)
        mean = SkyCoord(lon, lat, unit="deg", frame=sky.frame).cartesian.mean()
        center = SkyCoord(mean, frame=sky.frame, representation_type="cartesian")
    np.testing.assert_allclose(distances(sky, ring, center), radius, rtol=1e-3)


def test_the_psf_is_that_of_the_median_energy(ds: xr.Dataset) -> None:
    counts = ds["counts"].where(ds["mask_safe"], 0).sum(("lat", "lon"))
    median = overlay.median_energy(ds)
    edges = ds["energy_bounds"].values
    below = counts.where(edges[:, 1] <= median, 0).sum()
    split = int(np.searchsorted(edges[:, 1], median))
    assert below <= counts.sum() / 2 <= below + counts[split]
    radii = psf.containment_radius(ds, 0.68, (83.633, 22.014))
    expected = np.interp(np.log(median), np.log(ds["energy_true"]), radii.values)
    assert overlay.psf_radius(ds) == pytest.approx(expected, rel=1e-3)
    assert overlay.psf_radius(ds, "1 TeV") == overlay.psf_radius(ds, 1.0) > overlay.psf_radius(ds, 10 * u.TeV)
    ring = ds.onoff.plot.counts(psf=True).patches[-1].get_xy()
    np.testing.assert_allclose(np.ptp(ring[:, 1]) * 0.1 / 2, expected, rtol=0.01)
    same = ds.onoff.plot.counts(psf="2 TeV").patches[-1].get_xy()
    np.testing.assert_allclose(np.ptp(same[:, 1]) * 0.1 / 2, overlay.psf_radius(ds, 2), rtol=0.01)


def test_the_median_energy_of_no_counts_is_the_middle(ds: xr.Dataset) -> None:
    empty = overlay.median_energy(ds.assign(counts=0 * ds["counts"]))
    assert empty == overlay.median_energy(ds.drop_vars("counts")) == pytest.approx(5.0)  # of 0.5 to 50 TeV


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": "horizon"}, "grid: 'horizon' found, True for the frame of the map, or one of"),
        ({"grid": 3}, "grid: 3 found"),
        ({"sources": "crab"}, "models: a str found"),
        ({"sources": True}, "sources: True found, for an array that carries no models"),
        ({"regions": "circle"}, "a str found, a sky or pixel region"),
        ({"regions": 3}, "a int found, a sky or pixel region"),
        ({"scale_bar": "90 deg"}, r"scale_bar: '90 deg' found, an angle above 0 up to 4.74 deg"),
        ({"scale_bar": 0}, "scale_bar: 0 found, an angle above 0"),
        ({"scale_bar": "1 TeV"}, "'1 TeV' found, a number in deg"),
        ({"psf": True}, "psf: True found, for an array that has no PSF"),
        ({"psf": "9 deg"}, "psf: a radius of '9 deg' found"),
        ({"psf": -1}, "psf: a radius of -1 found"),
    ],
)
def test_what_is_refused_is_refused_before_a_figure_is_made(options: dict, message: str) -> None:
    with pytest.raises(xonoff.XonoffError, match=message):
        drawn(GRIDS["TAN"], **options)
    assert not plt.get_fignums()


def test_a_dataset_without_psf_says_so(ds: xr.Dataset) -> None:
    with pytest.raises(xonoff.SchemaError, match="psf: no variable psf found: give the radius"):
        ds.drop_vars("psf").onoff.plot.counts(psf=True)
    with pytest.raises(xonoff.SchemaError, match="psf: none at"):
        ds.assign(psf=0 * ds["psf"]).onoff.plot.counts(psf=True)
    assert not plt.get_fignums()


def test_an_empty_option_draws_nothing(ds: xr.Dataset) -> None:
    ax = ds.onoff.plot.counts(grid=False, sources=True, regions=[], scale_bar=None, psf=False)
    assert not ax.lines
    assert not ax.texts


def test_a_figure_is_as_wide_as_its_map() -> None:
    assert figure_size(GRIDS["CAR"]) == (6.5, pytest.approx(4.5 / 2 + 1.2))
    assert figure_size(xonoff.SkyGrid.create((0, 0), shape=(900, 3), pixel_size=0.1))[1] == pytest.approx(9.75)
