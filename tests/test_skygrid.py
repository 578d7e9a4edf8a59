"""The grid against astropy's WCS of the original header, which knows nothing of labels."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import (
    CYLINDRICAL,
    FRAMES,
    PROJECTIONS,
    astropy_wcs,
    headers,
    make_cards,
    separation,
    slices,
)

from xonoff.errors import GeometryError
from xonoff.skygrid import PixelAngles, SkyGrid

SHAPE = (7, 9)
law = settings(max_examples=100, deadline=None)

ALL_SKY_CAR = make_cards("CAR", center=(0.0, 0.0), crpix=(180.5, 90.5), size=(-1.0, 1.0))
ALL_SKY_AIT = make_cards("AIT", center=(0.0, 0.0), crpix=(180.5, 90.5), size=(-1.0, 1.0))


def assert_same_sky(found: Any, expected: Any, *, atol: float = 1e-9) -> None:
    """Compare (lon, lat); pixels off the sky have to be so in both."""
    np.testing.assert_array_equal(np.isnan(found[0]), np.isnan(expected[0]))
    np.testing.assert_array_equal(np.isnan(found[1]), np.isnan(expected[1]))
    distance = separation(found, expected)
    assert not (distance > atol).any(), f"{np.nanmax(distance)} deg apart"


# -- headers ----------------------------------------------------------------------------------------------------------


@law
@given(headers())
def test_positions_are_those_of_the_header(cards: dict[str, Any]) -> None:
    grid = SkyGrid.from_header(cards, SHAPE)
    y, x = np.indices(SHAPE, dtype=float)
    expected = astropy_wcs(cards).wcs_pix2world(x, y, 0)
    assert_same_sky(grid.lonlat(), expected)
    assert_same_sky(grid.pixel_to_sky(x, y), expected)
    assert_same_sky(grid.wcs.wcs_pix2world(x, y, 0), expected)


@law
@given(headers(), st.data())
def test_the_cards_of_a_grid_give_the_grid(cards: dict[str, Any], data: st.DataObject) -> None:
    grid = SkyGrid.from_header(cards, SHAPE)
    assert SkyGrid.from_header(grid.cards, SHAPE) == grid
    part = grid.slice(data.draw(slices(SHAPE[0])), data.draw(slices(SHAPE[1])))
    again = SkyGrid.from_header(fits.Header(part.cards), part.shape)  # through the columns of a FITS file
    assert_same_sky(again.lonlat(), part.lonlat())
    assert again.dims() == part.dims()


@law
@given(headers(), st.data())
def test_a_slice_is_the_part_of_the_whole_to_the_last_bit(cards: dict[str, Any], data: st.DataObject) -> None:
    grid = SkyGrid.from_header(cards, SHAPE)
    parts = data.draw(slices(SHAPE[0])), data.draw(slices(SHAPE[1]))
    whole, part = grid.lonlat(0.0), grid.slice(*parts).lonlat(0.0)
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(a[parts], b)
    again = tuple(data.draw(slices(n)) for n in part[0].shape)
    np.testing.assert_array_equal(grid.slice(*parts).slice(*again).lonlat(0.0)[1], part[1][again])
    y, x = np.indices(part[0].shape, dtype=float)
    assert_same_sky(grid.slice(*parts).wcs.wcs_pix2world(x, y, 0), part)


@law
@given(headers(), st.data())
def test_there_and_back_is_the_same_pixel(cards: dict[str, Any], data: st.DataObject) -> None:
    grid = SkyGrid.from_header(cards, SHAPE).slice(data.draw(slices(SHAPE[0])), data.draw(slices(SHAPE[1])))
    y, x = np.indices(grid.shape, dtype=float)
    lonlat = grid.pixel_to_sky(x, y)
    back = grid.sky_to_pixel(lonlat)
    assert_same_sky(grid.pixel_to_sky(*back), lonlat)


@law
@given(headers())
@example(make_cards("CAR", center=(10.0, 0.0), LONPOLE=180.0))
@example(make_cards("CAR", center=(10.0, 0.0), LATPOLE=-90.0))
@example(make_cards("CAR", center=(10.0, 0.0), LONPOLE=37.5))
@example(make_cards("CAR", center=(10.0, 0.0), LONPOLE=90.0, LATPOLE=45.0))
@example(make_cards("MER", center=(10.0, 0.0), PV1_1=0.0, PV1_2=10.0))
@example(make_cards("TAN", center=(10.0, 0.0)))
def test_a_grid_is_separable_only_if_its_lines_are_straight(cards: dict[str, Any]) -> None:
    grid = SkyGrid.from_header(cards, SHAPE)
    assert grid.dims("psf") == (("lat_psf", "lon_psf") if grid.separable else ("y_psf", "x_psf"))
    if grid.separable:
        lon, lat = astropy_wcs(cards).wcs_pix2world(*np.indices(SHAPE, dtype=float)[::-1], 0)
        on_sky = np.isfinite(lon)
        coords = grid.coords()
        expected = np.broadcast_arrays(coords["lon"].values, coords["lat"].values[:, None])
        assert np.nanmax(separation((lon, lat), (expected[0], expected[1])), initial=0) < 1e-9
        assert np.ptp(np.where(on_sky, lat, np.nan), axis=1)[on_sky.all(axis=1)].max(initial=0) < 1e-9


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("projection", CYLINDRICAL)
@pytest.mark.parametrize("form", ["CDELT", "CD", "PC", "CROTA2"])
def test_unrotated_cylindrical_grids_are_separable(projection: str, frame: str, form: str) -> None:
    grid = SkyGrid.from_header(make_cards(projection, frame, center=(83.6, 0.0), form=form), SHAPE)
    assert grid.dims() == ("lat", "lon")
    assert grid.frame == frame
    tilted = make_cards(projection, frame, center=(83.6, 0.0), turn=10.0, form="CD")
    assert SkyGrid.from_header(tilted, SHAPE).dims() == ("y", "x")
    assert SkyGrid.from_header(make_cards(projection, frame, center=(83.6, 5.0)), SHAPE).dims() == ("y", "x")


@pytest.mark.parametrize("form", ["CD", "PC", "CROTA2"])
def test_every_notation_gives_one_header(form: str) -> None:
    one = SkyGrid.from_header(make_cards(turn=30.0, form="CD"), SHAPE)
    two = SkyGrid.from_header(make_cards(turn=30.0, form=form), SHAPE)
    assert two.on(one) is not None
    upright = SkyGrid.from_header(make_cards(form=form), SHAPE)
    assert upright == SkyGrid.from_header(make_cards(), SHAPE)
    assert "CD1_1" not in upright.cards


@pytest.mark.parametrize(
    ("extra", "frame"),
    [
        ({}, "icrs"),
        ({"EQUINOX": 2000.0}, "fk5"),
        ({"RADESYS": "ICRS    ", "EQUINOX": 1950.0}, "icrs"),
        ({"RADECSYS": "FK5"}, "fk5"),
        ({"CUNIT1": "arcmin", "CRVAL1": 83.6 * 60, "CDELT1": -6.0}, "icrs"),
        ({"CTYPE3": "FREQ", "CRVAL3": 1.0, "CD3_3": 1.0, "NAXIS": 3, "COMMENT": "unrelated"}, "icrs"),
        ({"LONPOLE": 180.0, "LATPOLE": 22.0, "CUNIT1": "deg", "CUNIT2": "degree"}, "icrs"),
    ],
)
def test_equal_grids_have_equal_headers(extra: dict[str, Any], frame: str) -> None:
    grid = SkyGrid.from_header(make_cards() | extra, SHAPE)
    assert grid.frame == frame
    plain = SkyGrid.from_header(make_cards() | ({"RADESYS": "FK5", "EQUINOX": 2000} if frame == "fk5" else {}), SHAPE)
    assert grid == plain
    assert grid.crc == plain.crc


def test_zero_has_no_sign() -> None:
    one, two = (make_cards("CAR", center=(zero, zero), crpix=(zero, 0.1), LONPOLE=zero) for zero in (0.0, -0.0))
    assert SkyGrid.from_header(one, SHAPE) == SkyGrid.from_header(two, SHAPE)


def without(card: str) -> dict[str, Any]:
    return {key: value for key, value in make_cards().items() if key != card}


def unreadable(card: str) -> fits.Header:
    header = fits.Header(without(card))
    header.append(fits.Card.fromstring(f"{card:<8}=                  NaN"))
    return header


@pytest.mark.parametrize(
    ("header", "card"),
    [
        *((without(card), card) for card in without("")),
        *(
            (make_cards() | {card: wrong}, card)
            for card in ("CRVAL1", "CDELT2")
            for wrong in ("22", None, True, np.nan)
        ),
        (make_cards() | {"CRPIX1": np.inf}, "CRPIX1"),
        (make_cards() | {"LONPOLE": np.nan}, "LONPOLE"),
        (make_cards() | {"PV2_1": "x"}, "PV2_1"),
        (make_cards() | {"CROTA2": "north"}, "CROTA2"),
        (make_cards() | {"CTYPE1": 5}, "CTYPE1"),
        (make_cards() | {"CTYPE2": "DEC--SIN"}, "CTYPE2"),
        (make_cards() | {"CTYPE1": "GLON-TAN"}, "CTYPE1"),
        (make_cards() | {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN"}, "CTYPE1"),
        (make_cards() | {"CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN"}, "CTYPE1"),
        (make_cards() | {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}, "CTYPE1"),
        (make_cards("TPV"), "CTYPE1"),
        (make_cards("XYZ"), "CTYPE1"),
        (make_cards() | {"CTYPE1": "FREQ"}, "CTYPE1"),
        (make_cards() | {"CTYPE1": "RA", "CTYPE2": "DEC"}, "CTYPE1"),
        (make_cards() | {"A_ORDER": 2, "A_0_2": 1e-6}, "A_ORDER"),
        (make_cards() | {"CPDIS1": "LOOKUP"}, "CPDIS1"),
        (make_cards() | {"PC001001": 1.0}, "PC001001"),
        (make_cards() | {"CDELT1": 0.0}, "CDELT1"),
        (make_cards(form="CD") | {"CD1_1": 0.0}, "CD1_1"),
        (make_cards() | {"CUNIT1": "TeV"}, "CUNIT1"),
        (make_cards() | {"RADESYS": "FK4"}, "RADESYS"),
        (make_cards() | {"RADESYS": "FK5", "EQUINOX": 1975.0}, "EQUINOX"),
        (make_cards() | {"EQUINOX": 1950.0}, "EQUINOX"),
        (make_cards(center=(10.0, 95.0)), "CRVAL"),
        (make_cards("CAR", center=(10.0, 60.0), LONPOLE=90.0), "LONPOLE"),
        (make_cards() | {"PV2_99999999999999": 1.0}, "PV"),
        (unreadable("CRVAL1"), "CRVAL1"),
    ],
)
def test_unusable_headers_are_refused_by_card(header: Any, card: str) -> None:
    with pytest.raises(GeometryError, match=card):
        SkyGrid.from_header(header, SHAPE)


@pytest.mark.parametrize("text", ["", "CRVAL1", "CRVAL1  = abc", "CTYPE1  = 'RA---TAN'", "CRVAL1  = nan"])
def test_a_damaged_header_of_a_dataset_is_refused(text: str) -> None:
    with pytest.raises(GeometryError, match=r"CTYPE|damaged"):
        _ = SkyGrid(text, SHAPE).wcs


def test_no_pixels_are_refused() -> None:
    for shape in ((0, 4), (4, 0), (-1, 3)):
        with pytest.raises(GeometryError, match="select at least one"):
            SkyGrid.from_header(make_cards(), shape)
    with pytest.raises(GeometryError, match="select at least one"):
        SkyGrid.from_header(make_cards(), SHAPE).slice(slice(3, 3), slice(None))


# -- creation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("shape", [(1, 1), (4, 5), (30, 41)])
def test_a_created_grid_lies_around_its_center(projection: str, frame: str, shape: tuple[int, int]) -> None:
    crab = SkyCoord(83.633, 22.014, unit="deg")
    grid = SkyGrid.create(crab, shape=shape, pixel_size=(0.2, 0.1), projection=projection, frame=frame)
    lon, lat = grid.center
    assert SkyCoord(lon, lat, unit="deg", frame=frame).separation(crab).deg < 1e-9
    assert (grid.projection, grid.frame, grid.shape) == (projection, frame, shape)
    assert grid.contains(crab)
    x, y = grid.sky_to_pixel(crab)
    assert (float(x), float(y)) == pytest.approx(((shape[1] - 1) / 2, (shape[0] - 1) / 2), abs=1e-9)
    east, _ = grid.pixel_to_sky([x - 0.5, x + 0.5], [y, y])
    assert east[0] > east[1]
    scale = grid.wcs.wcs.cd
    assert scale.tolist() == [[-0.1, 0.0], [0.0, 0.2]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"frame": "fk4"},
        {"projection": "NOT"},
        {"pixel_size": 0.0},
        {"pixel_size": (0.1, -0.1)},
        {"pixel_size": np.nan},
        {"shape": (0, 3)},
        {"center": (10, 91)},
        {"center": (np.nan, 0)},
        {"center": (0, 90), "projection": "MER"},
    ],
)
def test_grids_that_cannot_be_are_not_created(wrong: dict[str, Any]) -> None:
    good: dict[str, Any] = {"center": (10, 20), "shape": (3, 3), "pixel_size": 0.1}
    with pytest.raises(GeometryError):
        SkyGrid.create(**(good | wrong))


# -- edges of the sky -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lon", [0.0, 0.05, 180.0, 359.9])
@pytest.mark.parametrize("projection", CYLINDRICAL)
@pytest.mark.parametrize("nx", [8, 360])
def test_longitude_is_monotonic_across_zero(projection: str, lon: float, nx: int) -> None:
    lons = SkyGrid.create((lon, 10.0), shape=(3, nx), pixel_size=1.0, projection=projection).coords()["lon"].values
    np.testing.assert_allclose(np.diff(lons), -1.0, atol=1e-9)
    assert np.abs(lons - lon).max() <= 180


@law
@given(headers())
def test_longitude_lies_within_half_a_turn_of_the_center(cards: dict[str, Any]) -> None:
    grid = SkyGrid.from_header(cards, SHAPE)
    lon, _ = grid.lonlat()
    assert not (np.abs(lon - grid.center[0]) > 180 + 1e-9).any()


@pytest.mark.parametrize("pole", [90.0, -90.0])
@pytest.mark.parametrize("projection", ["TAN", "SIN", "ZEA"])
def test_a_pole_may_lie_inside(projection: str, pole: float) -> None:
    grid = SkyGrid.create((40.0, pole), shape=(5, 5), pixel_size=1.0, projection=projection)
    lon, lat = grid.lonlat()
    assert lat[2, 2] == pytest.approx(pole, abs=1e-9)
    assert np.isfinite(lon).all()
    assert np.ptp(lon) > 180
    np.testing.assert_allclose(lat, lat[::-1, ::-1], atol=1e-9)
    assert grid.contains(([0, 90, 180, 270], [pole * 0.99] * 4)).all()
    assert not grid.contains((0, -pole))
    area = grid.solid_angle()
    np.testing.assert_allclose(area, area.T, rtol=1e-9)
    assert area[2, 2] == pytest.approx(np.radians(1) ** 2, rel=1e-3)


def test_corners_of_an_all_sky_map_are_off_the_sky() -> None:
    grid = SkyGrid.from_header(ALL_SKY_AIT, (180, 360))
    lon, lat = grid.lonlat()
    for values in (lon, lat, grid.solid_angle()):
        assert np.isnan(values[[0, 0, -1, -1], [0, -1, 0, -1]]).all()
        assert np.isfinite(values[90, 19:-19]).all()
    corner = grid.slice(slice(5), slice(5))
    assert corner.center == (0.0, 0.0)  # the middle is off the sky: the reference point
    assert np.isnan(corner.lonlat()[0]).all()


def test_the_far_side_has_no_pixel() -> None:
    grid = SkyGrid.create((0, 0), shape=(3, 3), pixel_size=1.0, projection="TAN")
    x, y = grid.sky_to_pixel(([0, 180, 0], [0, 0, 95]))
    assert np.isfinite(x).tolist() == np.isfinite(y).tolist() == [True, False, False]
    assert grid.contains(([0, 180, 0], [0, 0, 95])).tolist() == [True, False, False]


def test_a_pixel_contains_its_edges_once() -> None:
    grid = SkyGrid.from_header(make_cards("CAR", center=(10.0, 0.0), crpix=(1, 1), size=(1.0, 1.0)), (2, 2))
    assert grid.contains(([9.49, 9.51, 11.49, 11.51], 0)).tolist() == [False, True, True, False]
    assert grid.contains((10, [-0.51, -0.49, 1.49, 1.51])).tolist() == [False, True, True, False]


# -- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [[0, 1, 3], [0, 0, 0], [0, 1, np.nan], [[0, 1]], [], [1, 2, 1], [0, np.inf]])
def test_uneven_labels_are_refused(labels: Any) -> None:
    header = SkyGrid.from_header(make_cards(), SHAPE).header
    for y, x in ((labels, [0, 1]), ([0, 1], labels)):
        with pytest.raises(GeometryError, match=f"pixel labels {'y' if y is labels else 'x'}"):
            SkyGrid.from_labels(header, y, x)


@pytest.mark.parametrize("label", [[0.5], 2.0, [1.0]])
def test_a_single_coarsened_pixel_is_refused(label: Any) -> None:
    with pytest.raises(GeometryError, match="does not tell its size"):
        SkyGrid.from_labels(SkyGrid.from_header(make_cards(), SHAPE).header, [0, 1], label)


def test_labels_are_whole_numbers_only_for_pixels_of_the_parent() -> None:
    grid = SkyGrid.from_header(make_cards(), SHAPE)
    assert [labels.dtype for labels in grid.labels] == [np.int64, np.int64]
    wide = SkyGrid.from_labels(grid.header, [1.0, 4.0], [0, 1, 2])  # coarsened by 3, the labels are whole
    assert [labels.dtype for labels in wide.labels] == [np.float64, np.int64]
    assert SkyGrid.from_labels(wide.header, *wide.labels) == wide


def test_a_cutout_is_found_on_its_parent() -> None:
    parent = SkyGrid.from_header(make_cards(turn=20.0, form="CD"), (20, 30))
    part = parent.slice(slice(5, 12), slice(8, None))
    alone = SkyGrid.from_header(part.cards, part.shape)
    assert alone.header != parent.header
    assert alone.on(parent) == part
    assert part.on(part) is part


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"CRPIX1": 4.5}, ["CRPIX1"]),
        ({"CRVAL1": 83.6 + 1e-8}, ["CRVAL1"]),
        ({"CDELT2": 0.2}, ["CDELT2"]),
        ({"RADESYS": "FK5"}, ["RADESYS", "EQUINOX"]),
        ({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"}, ["CTYPE1", "CTYPE2"]),
        ({"CROTA2": 5.0}, ["CDELT1", "CD1_1", "CD2_1"]),
    ],
)
def test_other_grids_are_told_apart_by_card(change: dict[str, Any], names: list[str]) -> None:
    one, two = (SkyGrid.from_header(make_cards() | cards, SHAPE) for cards in ({}, change))
    assert two.on(one) is None
    found = "; ".join(one.differences(two))
    assert all(f"{name} = " in found for name in names)
    assert one.differences(one) == []


# -- coordinates, computed when looked at -----------------------------------------------------------------------------


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of angles that were computed, an entry each time."""
    sizes: list[int] = []
    compute = PixelAngles._angles

    def spy(self: PixelAngles, x: Any, y: Any) -> Any:
        sizes.append(np.broadcast(x, y).size)
        return compute(self, x, y)

    monkeypatch.setattr(PixelAngles, "_angles", spy)
    return sizes


def curvilinear(shape: tuple[int, int] = (1000, 1000)) -> xr.Dataset:
    grid = SkyGrid.create((83.6, 22.0), shape=shape, pixel_size=0.02, projection="TAN")
    return xr.Dataset({"counts": (grid.dims(), np.zeros(grid.shape, np.int8))}, grid.coords())


def test_nothing_is_computed_until_looked_at(looked_at: list[int]) -> None:
    ds = curvilinear()
    repr(ds), repr(ds["lon"]), ds._repr_html_(), ds.sizes, ds.nbytes
    chunked = ds.chunk({"y": 100})
    ds.copy(), ds.copy(deep=True), ds.isel(x=slice(10)), ds.sel(y=3), ds.mean(), ds["counts"] * 2 + ds["counts"]
    ds["counts"].isel(x=xr.DataArray([1, 2], dims="p")), pickle.loads(pickle.dumps(ds)), ds.equals(ds.copy())
    chunked["lat"].isel(y=slice(3)), ds.chunk({}), chunked.copy()
    assert looked_at == []
    assert dask.is_dask_collection(chunked["lat"].variable)


@pytest.mark.parametrize(
    ("selection", "size"),
    [
        ({"y": 3, "x": 4}, 1),
        ({"y": -1}, 30),
        ({"y": slice(2, 5), "x": slice(None, None, 7)}, 15),
        ({"y": slice(None, None, -1), "x": slice(10, 2, -2)}, 80),
        ({"y": [1, 7, 4], "x": [2, 2]}, 6),
        ({"y": xr.DataArray([1, 5, 19], dims="p"), "x": xr.DataArray([29, 0, 3], dims="p")}, 3),
        ({"x": slice(4, 4)}, 0),
        ({"y": np.arange(20) % 2 == 0}, 300),
    ],
)
@pytest.mark.parametrize("name", ["lon", "lat"])
def test_a_selection_computes_its_pixels_only(looked_at: list[int], selection: Any, size: int, name: str) -> None:
    ds = curvilinear((20, 30))
    expected = ds.load().isel(selection)[name]
    ds = curvilinear((20, 30))
    looked_at.clear()
    part = ds.isel(selection)[name].variable
    np.testing.assert_array_equal(part.values, expected.values)
    assert part.dtype == float
    assert sum(looked_at) == size


def test_selections_of_selections_and_dask_agree_with_the_whole() -> None:
    ds = curvilinear((20, 30))
    lon, lat = ds["lon"].values, ds["lat"].values
    np.testing.assert_array_equal(ds.isel(y=slice(2, None, 3)).isel(y=slice(None, None, -1))["lon"], lon[2::3][::-1])
    np.testing.assert_array_equal(ds.isel(y=[1, 5], x=slice(3)).isel(y=1, x=[2, 0])["lat"], lat[5, [2, 0]])
    np.testing.assert_array_equal(ds.chunk({"y": 7, "x": 11})["lon"].compute(), lon)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ds))["lat"], lat)
    grid = SkyGrid.create((83.6, 22.0), shape=(20, 30), pixel_size=0.02, projection="TAN")
    for values, expected in zip((lon, lat), grid.lonlat(), strict=True):
        np.testing.assert_array_equal(values, expected)


def test_dask_computes_the_blocks_it_needs(looked_at: list[int]) -> None:
    ds = curvilinear((20, 30)).chunk({"y": 5, "x": 10})
    ds["lon"].isel(y=0, x=slice(10)).compute()
    assert 0 < max(looked_at) <= 50
    with dask.config.set(scheduler="threads"):
        np.testing.assert_array_equal(ds["lat"].compute().values, curvilinear((20, 30))["lat"].values)


def test_a_part_of_a_coarsened_grid_has_positions() -> None:
    grid = SkyGrid.from_labels(SkyGrid.from_header(make_cards(), SHAPE).header, [0.5, 2.5], [1.0, 4.0])
    ds = xr.Dataset(coords=grid.coords())
    assert ds["lon"][1, 0].item() == grid.lonlat()[0][1, 0]


def test_coordinates_carry_their_suffix() -> None:
    curved, straight = (
        SkyGrid.create((83.6, 22.0), shape=(3, 4), pixel_size=1.0, projection=projection)
        for projection in ("TAN", "CAR")
    )
    names = ["lat_psf", "lon_psf", "y_psf", "x_psf", "wcs_psf"]
    assert list(curved.coords("psf")) == list(straight.coords("psf")) == names
    assert curved.coords("psf")["lat_psf"].dims == ("y_psf", "x_psf")
    assert straight.coords("psf")["lat_psf"].dims == ("lat_psf",)
    assert straight.coords("psf")["lon_psf"].attrs["units"] == "deg"
    assert straight.coords()["wcs"].attrs["header"] == straight.header


def test_threads_share_a_grid() -> None:
    grid = SkyGrid.from_header(ALL_SKY_AIT, (180, 360))
    lon, lat = grid.lonlat()

    def agrees(i: int) -> bool:
        rows = slice(i % 90, i % 90 + 60)
        _, y = grid.sky_to_pixel((lon[rows], lat[rows]))
        found = grid.slice(rows, slice(None)).lonlat(0.0)
        expected = y[np.isfinite(y)], np.indices(grid.shape)[0][rows][np.isfinite(y)]
        return bool(np.allclose(*expected, atol=1e-9) and np.array_equal(found[1], lat[rows], equal_nan=True))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(agrees, range(100)))


def test_the_wcs_is_a_copy() -> None:
    grid = SkyGrid.from_header(make_cards(), SHAPE)
    before = grid.lonlat()
    grid.wcs.wcs.crval = [0.0, 0.0]
    np.testing.assert_array_equal(grid.lonlat(), before)
    assert isinstance(grid.wcs, WCS)
    assert grid.wcs.array_shape == SHAPE
    assert grid.skycoord().frame.name == "icrs"


# -- solid angles -----------------------------------------------------------------------------------------------------


def integrated(grid: SkyGrid, n: int) -> Any:
    """Solid angle of the pixels from the Jacobian of the WCS on n x n points of each, by finite differences."""
    (ny, nx), h = grid.shape, 1e-3
    y, x = np.meshgrid(*((np.arange(size * n) + 0.5) / n - 0.5 for size in (ny, nx)), indexing="ij")

    def vector(dx: float, dy: float) -> Any:
        lon, lat = (np.radians(angle) for angle in grid.wcs.wcs_pix2world(x + dx, y + dy, 0))
        return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)

    along_x, along_y = (vector(h, 0) - vector(-h, 0)) / (2 * h), (vector(0, h) - vector(0, -h)) / (2 * h)
    density = np.linalg.norm(np.cross(along_x, along_y), axis=-1)
    return density.reshape(ny, n, nx, n).mean(axis=(1, 3))


@pytest.mark.parametrize("turn", [0.0, 33.0])
@pytest.mark.parametrize("center", [(83.6, 22.0), (10.0, -60.0), (359.9, 0.0)])
@pytest.mark.parametrize("projection", [*PROJECTIONS, "STG", "PAR", "SFL", "MOL"])
def test_solid_angles_are_the_integral_over_the_pixel(
    projection: str, center: tuple[float, float], turn: float
) -> None:
    cards = make_cards(projection, center=center, crpix=(-20.0, 30.0), size=(-0.04, 0.05), turn=turn, form="CD")
    grid = SkyGrid.from_header(cards, SHAPE)
    np.testing.assert_allclose(grid.solid_angle(), integrated(grid, 8), rtol=1e-6)


@pytest.mark.parametrize("lat", [0.0, 60.0])
@pytest.mark.parametrize("projection", CYLINDRICAL)
def test_large_cylindrical_pixels_are_exact(projection: str, lat: float) -> None:
    grid = SkyGrid.create((0.0, lat), shape=(5, 4), pixel_size=2.0, projection=projection)
    np.testing.assert_allclose(grid.solid_angle(), integrated(grid, 200), rtol=1e-6)


def test_the_whole_sky_is_four_pi() -> None:
    car = SkyGrid.from_header(ALL_SKY_CAR, (180, 360)).solid_angle().sum()
    oblique = make_cards("CAR", center=(20.0, 50.0), crpix=(180.5, 90.5), size=(-1.0, 1.0))
    assert car == pytest.approx(4 * np.pi, rel=1e-9)
    assert SkyGrid.from_header(oblique, (180, 360)).solid_angle().sum() == pytest.approx(4 * np.pi, rel=1e-9)
    ait = np.nansum(SkyGrid.from_header(ALL_SKY_AIT, (180, 360)).solid_angle())
    assert ait == pytest.approx(4 * np.pi, rel=1e-3)  # pixels on the border count whole or not at all


def test_a_pixel_over_the_pole_ends_there() -> None:
    cards = make_cards("CAR", center=(0.0, 0.0), crpix=(180.5, 91.0), size=(-1.0, 1.0))
    area = SkyGrid.from_header(cards, (183, 360)).solid_angle()
    assert np.isnan(area[[-1]]).all()
    assert np.nansum(area) == pytest.approx(4 * np.pi, rel=1e-9)


@law
@given(headers(), st.data())
def test_solid_angles_follow_the_pixels(cards: dict[str, Any], data: st.DataObject) -> None:
    grid = SkyGrid.from_header(cards, SHAPE)
    rows, columns = (
        slice(s.start, s.stop, s.step and s.step // abs(s.step)) for s in (data.draw(slices(7)), slice(2, 8))
    )
    np.testing.assert_allclose(
        grid.slice(rows, columns).solid_angle(), grid.solid_angle()[rows, columns], rtol=1e-6, atol=1e-15
    )
