"""What is left of a dataset still knows where it is: any xarray operation against astropy on the first header."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from strategies import (
    FRAMES,
    PROJECTIONS,
    Step,
    astropy_wcs,
    headers,
    make_cards,
    selections,
    separation,
)

from xonoff.errors import GeometryError, SchemaError
from xonoff.geometry import Geom, geom, own_grid, same_grid, sky_dims, sky_faults, sky_grid, solid_angle
from xonoff.skygrid import SkyGrid

SIZE = 12
GRIDS = {
    "separable": make_cards("CAR", center=(359.95, 0.0)),
    "oblique": make_cards("CAR", "galactic", center=(184.6, -5.8)),
    "rotated": make_cards("TAN", turn=30.0, form="CD"),
    "mirrored": make_cards("SIN", center=(0.02, -88.0), size=(0.1, -0.2), LONPOLE=37.5),
}


def dataset(cards: dict[str, Any], size: int = SIZE) -> xr.Dataset:
    grid = SkyGrid.from_header(cards, (size, size))
    edges = Geom(grid, (1.0, 2.0, 4.0, 8.0))
    return xr.Dataset({"counts": (edges.dims, np.ones(edges.shape))}, edges.coords())


def assert_knows_where(ds: xr.Dataset, cards: dict[str, Any], suffix: str = "") -> None:
    """The WCS that is left agrees with astropy's of the header where it all began, at the labels."""
    rows, columns = (np.atleast_1d(ds[f"{name}{suffix}"].values).astype(float) for name in ("y", "x"))
    expected = astropy_wcs(cards).wcs_pix2world(*np.meshgrid(columns, rows), 0)
    grid = sky_grid(ds, suffix.removeprefix("_"))
    y, x = np.indices(grid.shape, dtype=float)
    for found in (
        grid.lonlat(),
        grid.wcs.wcs_pix2world(x, y, 0),
        WCS(fits.Header(grid.cards)).wcs_pix2world(x, y, 0),
    ):
        np.testing.assert_array_equal(np.isnan(found[0]), np.isnan(expected[0]))
        assert np.nanmax(separation(found, expected), initial=0.0) < 1e-9


# -- the law ----------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(headers(), selections(SIZE))
def test_any_selection_knows_where_it_is(cards: dict[str, Any], steps: list[Step]) -> None:
    image = dataset(cards).isel(energy=0)
    for step in steps:
        image = step(image)
    assert_knows_where(image, cards)


@settings(max_examples=50, deadline=None)
@given(headers(), selections(SIZE))
def test_coordinates_are_sliced_along_with_the_labels(cards: dict[str, Any], steps: list[Step]) -> None:
    image = dataset(cards).isel(energy=0)
    for step in steps:
        image = step(image)
    if image["y"].dtype.kind == image["x"].dtype.kind == "i":  # the mean of angles is not the angle of the mean
        lon, lat = np.broadcast_arrays(
            image["lon"], image["lat"].values[:, None] if image["lat"].ndim == 1 else image["lat"]
        )
        assert np.nanmax(separation(sky_grid(image).lonlat(), (lon, lat)), initial=0.0) < 1e-9


@pytest.mark.parametrize("form", ["CDELT", "CD", "PC", "CROTA2"])
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("projection", PROJECTIONS)
def test_every_kind_of_grid_survives_a_typical_chain(projection: str, frame: str, form: str) -> None:
    cards = make_cards(projection, frame, turn=25.0, form=form, size=(0.3, -0.2))
    ds = dataset(cards)
    y, x = sky_dims(ds)
    ds = (
        ds.isel({y: slice(1, 11), x: slice(None, None, -1)})
        .coarsen({y: 2, x: 3})
        .mean()
        .isel({y: slice(None, None, 2)})
    )
    assert ds["counts"].shape == (3, 3, 4)
    assert_knows_where(ds, cards)


@pytest.mark.parametrize("cards", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("store", ["netcdf", "zarr", "pickle", "copy"])
def test_storage_keeps_the_position(cards: dict[str, Any], chunked: bool, store: str, tmp_path: Path) -> None:
    ds = dataset(cards)
    y, x = sky_dims(ds)
    ds = ds.isel({y: slice(1, None, 2), x: slice(8, 2, -1)})
    if chunked:
        ds = ds.chunk({y: 4, x: 5})
    if store == "netcdf":
        ds.to_netcdf(tmp_path / "map.nc")
        back = xr.open_dataset(tmp_path / "map.nc", chunks={} if chunked else None)
    elif store == "zarr":
        ds.to_zarr(tmp_path / "map.zarr", consolidated=False)
        back = xr.open_zarr(tmp_path / "map.zarr", consolidated=False, chunks={} if chunked else None)
    else:
        back = pickle.loads(pickle.dumps(ds)) if store == "pickle" else ds.copy(deep=True)
    assert_knows_where(back, cards)
    assert same_grid(back, ds) == sky_grid(ds)
    assert geom(back) == geom(ds)
    for name in ("lon", "lat"):
        np.testing.assert_array_equal(back[name], ds[name])
    back.close()


def test_files_of_the_reference_data(data_dir: Path) -> None:
    import json

    datasets = json.loads((data_dir / "reference.json").read_text())["datasets"]
    for stem, reference in datasets.items():
        path = next(data_dir.glob(f"*/{stem}.fits.gz"))
        with fits.open(path) as hdus:
            grid = SkyGrid.from_header(hdus["COUNTS"].header, hdus["COUNTS"].shape[-2:])
        expected = reference["geom"]
        assert [grid.frame, grid.projection] == [expected["frame"], expected["projection"]]
        pixels = {key: np.array([pixel[key] for pixel in reference["pixels"]]) for key in reference["pixels"][0]}
        lonlat = pixels["lon_deg"], pixels["lat_deg"]
        assert separation(grid.pixel_to_sky(pixels["ix"], pixels["iy"]), lonlat).max() < 1e-9, stem
        x, y = grid.sky_to_pixel(lonlat)
        np.testing.assert_allclose([x, y], [pixels["ix"], pixels["iy"]], atol=1e-8)
        # The reference takes a pixel for a rectangle, which is good to (pixel size in rad)**2.
        area = grid.solid_angle()
        np.testing.assert_allclose(area[pixels["iy"], pixels["ix"]], pixels["solid_angle_sr"], rtol=1e-6, err_msg=stem)
        assert area.sum() == pytest.approx(expected["solid_angle_sum_sr"], rel=1e-6), stem


# -- dimensions that went ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cards", GRIDS.values(), ids=GRIDS)
def test_one_row_one_column_one_pixel(cards: dict[str, Any]) -> None:
    ds = dataset(cards)
    y, x = sky_dims(ds)
    whole = solid_angle(ds)
    for selection, dims in (({y: 3}, (x,)), ({x: 0}, (y,)), ({y: -1, x: 2}, ()), ({y: [4]}, (y, x))):
        part = ds.isel(selection)
        assert sky_dims(part) == dims
        assert_knows_where(part, cards)
        xr.testing.assert_allclose(solid_angle(part), whole.isel(selection), rtol=1e-9)
    assert geom(ds.isel({y: 3})).shape == (3, 1, SIZE)


@pytest.mark.parametrize("cards", GRIDS.values(), ids=GRIDS)
def test_selections_without_a_wcs_are_refused(cards: dict[str, Any]) -> None:
    ds = dataset(cards)
    y, x = sky_dims(ds)
    for selection, message in (
        ({y: slice(0)}, "select at least one pixel"),
        ({x: [0, 1, 5]}, "pixel labels x are not evenly spaced"),
        ({y: [0, 0]}, "pixel labels y are not evenly spaced"),
        ({x: [2, 1, 2]}, "pixel labels x are not evenly spaced"),
    ):
        with pytest.raises(GeometryError, match=message):
            sky_grid(ds.isel(selection))
    with pytest.raises(GeometryError, match="a single coarsened pixel does not tell its size"):
        sky_grid(ds.coarsen({y: 3, x: 3}).mean().isel({y: 0}))


def test_a_spectrum_has_no_sky() -> None:
    spectrum = xr.Dataset({"counts": ("energy", np.ones(2))}, Geom(None, (1.0, 2.0, 4.0)).coords())
    assert sky_dims(spectrum) == ()
    assert geom(spectrum) == Geom(None, (1.0, 2.0, 4.0))
    assert (geom(spectrum).dims, geom(spectrum).shape) == (("energy",), (2,))
    assert list(sky_faults(spectrum)) == []
    with pytest.raises(GeometryError, match="it never had a sky"):
        sky_grid(spectrum)


# -- two maps ---------------------------------------------------------------------------------------------------------


def test_arithmetic_of_two_grids_loses_the_wcs_and_is_refused() -> None:
    one, two = (dataset(make_cards(**kind)) for kind in ({}, {"center": (83.6, 22.1)}))
    mixed = one["counts"] + two["counts"]
    assert "wcs" not in mixed.coords
    with pytest.raises(GeometryError, match="maps of different sky grids were combined"):
        sky_grid(mixed)
    with pytest.raises(GeometryError, match=r"two different sky grids: CRVAL2 = 22.0 against 22.1.*interop.reproject"):
        same_grid(one, two)
    kept = one["counts"] + one["counts"]
    assert sky_grid(kept) == sky_grid(one)


def test_cutouts_of_one_parent_are_on_one_grid() -> None:
    parent = sky_grid(dataset(make_cards("TAN", turn=15.0, form="CD")))
    part = parent.slice(slice(2, 8), slice(3, 11))
    alone = SkyGrid.from_header(part.cards, part.shape)  # differs in CRPIX only
    a, b = (xr.Dataset(coords=grid.coords()) for grid in (part, alone))
    assert part.header != alone.header
    assert same_grid(a, b) == part
    assert same_grid(b, a) == alone
    with pytest.raises(GeometryError, match=r"different pixels of one sky grid: \(y, x\) from \(2.0, 3.0\).*select"):
        same_grid(a, b.isel(x=slice(1, None)))
    with pytest.raises(GeometryError, match="different pixels of one sky grid"):
        same_grid(a, b.isel(x=slice(None, None, -1)))
    with pytest.raises(GeometryError, match="different pixels of one sky grid"):
        same_grid(a.isel(x=slice(1, None)), b.isel(x=slice(-1)))


def test_a_wcs_that_lost_its_meaning_is_refused() -> None:
    ds = dataset(make_cards())
    other = dataset(make_cards(center=(1.0, 2.0)))
    with pytest.raises(GeometryError, match="is not the CRC-32 of its header"):
        sky_grid(ds.assign_coords(wcs=((), ds["wcs"].values, other["wcs"].attrs)))
    with pytest.raises(GeometryError, match="attribute 'header' is missing"):
        sky_grid(ds.assign_coords(wcs=int(ds["wcs"])))
    with pytest.raises(GeometryError, match=r"no coordinate \['y'\]"):
        sky_grid(ds.drop_vars("y"))
    stacked = xr.concat([ds, other], "obs", coords="all", compat="override", join="override", data_vars="all")
    with pytest.raises(GeometryError, match="take one map of the stack"):
        sky_grid(stacked)


def test_responses_on_their_own_grid() -> None:
    ds = dataset(GRIDS["separable"])
    coarse = SkyGrid.from_header(make_cards("TAN", size=(-1.0, 1.0)), (3, 4))
    ds = ds.assign_coords(coarse.coords("psf")).assign(psf=(coarse.dims("psf"), np.ones((3, 4))))
    assert own_grid(ds, "psf") == "psf"
    assert own_grid(ds, "counts") == ""
    assert sky_dims(ds, "psf") == ("y_psf", "x_psf")
    assert sky_dims(ds, "edisp") == ()
    assert_knows_where(ds.isel(x_psf=slice(None, None, -2)), make_cards("TAN", size=(-1.0, 1.0)), "_psf")
    assert list(sky_faults(ds)) == []
    (fault,) = sky_faults(ds.isel(y_psf=[0, 0]))
    assert fault.startswith("sky grid psf: pixel labels y are not evenly spaced")


# -- laziness ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_compute")
@pytest.mark.parametrize("cards", GRIDS.values(), ids=GRIDS)
def test_a_chunked_dataset_tells_its_geometry_without_computing(cards: dict[str, Any]) -> None:
    ds = dataset(cards)
    y, x = sky_dims(ds)
    lazy = ds.chunk({"energy": 2, y: 5, x: 4})
    assert geom(lazy) == geom(ds)
    assert same_grid(lazy, ds) == sky_grid(ds)
    assert list(sky_faults(lazy)) == []
    np.testing.assert_array_equal(solid_angle(lazy), solid_angle(ds))


# -- Geom -------------------------------------------------------------------------------------------------------------


def test_a_geometry_in_words() -> None:
    box = Geom.create(("83.63 deg", 22.01), width=("2 deg", "60 arcmin"), pixel_size=0.1, energy=["1 TeV", "10 TeV"])
    assert box.shape == (1, 10, 20)
    assert box.dims == ("energy", "lat", "lon")
    assert box.sky is not None
    assert box.sky.center == pytest.approx((83.63, 22.01), abs=1e-9)
    assert geom(xr.Dataset(coords=box.coords())) == box
    assert Geom.create((0, 0), width=1.0, pixel_size=0.1, projection="TAN", energy=[1, 2]).dims == ("energy", "y", "x")


@pytest.mark.parametrize(
    "wrong",
    [
        {"pixel_size": 0.0},
        {"pixel_size": -1.0},
        {"pixel_size": np.nan},
        {"width": np.nan},
        {"width": np.inf},
        {"width": 0.01},
        {"width": (1.0, 1.0, 1.0)},
        {"width": "1 TeV"},
        {"energy": [1.0]},
        {"frame": "J2000"},
        {"center": "here"},
    ],
)
def test_geometries_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    good: dict[str, Any] = {"center": (0, 0), "width": 1.0, "pixel_size": 0.1, "energy": [1, 2]}
    with pytest.raises((GeometryError, SchemaError)):
        Geom.create(**(good | wrong))
