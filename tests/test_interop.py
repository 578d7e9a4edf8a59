"""Maps as NDData and WCS of astropy, and regions of ds9."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData, InverseVariance, NDData, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from regions import (
    CircleAnnulusSkyRegion,
    CirclePixelRegion,
    CircleSkyRegion,
    EllipseSkyRegion,
    PixCoord,
    PolygonSkyRegion,
    RectangleSkyRegion,
    Regions,
)

import xonoff
from xonoff import interop
from xonoff.errors import FormatError, GeometryError, SchemaError
from xonoff.interop import (
    from_nddata,
    from_wcs,
    parse_region,
    read_regions,
    region_of,
    to_nddata,
    to_wcs,
    write_regions,
)
from xonoff.region import region_text

CRAB = SkyCoord(83.633, 22.014, unit="deg")


def test_names_are_there() -> None:
    assert set(interop.__all__) == set(interop._MODULES) == set(dir(interop))
    for name in interop.__all__:
        assert callable(getattr(interop, name))
    with pytest.raises(AttributeError, match="no attribute 'to_nowhere'"):
        interop.to_nowhere  # noqa: B018


# -- WCS --------------------------------------------------------------------------------------------------------------


def grid(turn: float, projection: str, frame: str) -> xonoff.SkyGrid:
    names = ("GLON", "GLAT") if frame == "galactic" else ("RA--", "DEC-")
    c, s = np.cos(turn), np.sin(turn)
    cards = {f"CTYPE{i}": f"{name}-{projection}" for i, name in enumerate(names, 1)}
    cards |= {"CRVAL1": 83.63312345678901, "CRVAL2": 22.014, "CRPIX1": 10 / 3, "CRPIX2": 2.5}
    matrix = {"CDELT1": -0.1, "CDELT2": 0.15} if turn == 0 else {}
    if turn:
        matrix = {"CD1_1": -0.1 * c, "CD1_2": 0.15 * s, "CD2_1": 0.1 * s, "CD2_2": 0.15 * c}
    return xonoff.SkyGrid.from_header(cards | matrix | {"RADESYS": "FK5"} if frame == "fk5" else cards | matrix, (5, 7))


@given(
    turn=st.sampled_from([0.0, 0.3, 2.0, -1.1]),
    projection=st.sampled_from(["TAN", "CAR", "ZEA", "AIT", "SIN"]),
    frame=st.sampled_from(["icrs", "galactic", "fk5"]),
)
def test_wcs_there_and_back(turn: float, projection: str, frame: str) -> None:
    sky = grid(turn, projection, frame)
    wcs = to_wcs(sky)
    assert wcs.array_shape == (5, 7)
    np.testing.assert_allclose(wcs.proj_plane_pixel_scales()[0].to_value("deg"), 0.1, rtol=1e-12)
    x, y = np.meshgrid(np.arange(7), np.arange(5))
    for own, theirs in zip(sky.pixel_to_sky(x, y), wcs.wcs_pix2world(x, y, 0), strict=True):
        np.testing.assert_allclose(own, theirs, atol=1e-11)
    back = from_wcs(wcs)
    assert back.differences(sky) == []
    assert back.frame == sky.frame
    if turn == 0:
        assert back == sky  # to the last bit
    assert from_wcs(sky.wcs) == sky  # that with a CD matrix always


def test_wcs_of_files() -> None:
    header = grid(0.3, "TAN", "galactic").wcs.to_header()
    sky = from_wcs(WCS(header), (5, 7))
    assert sky.differences(grid(0.3, "TAN", "galactic")) == []


def test_wcs_that_are_refused() -> None:
    wcs = to_wcs(grid(0, "TAN", "icrs"))
    wcs.array_shape = None
    with pytest.raises(GeometryError, match=r"array_shape of None found, .* give shape="):
        from_wcs(wcs)
    cube = WCS(naxis=3)
    with pytest.raises(GeometryError, match=r"3 axes found.*wcs\.celestial"):
        from_wcs(cube, (5, 7))
    with pytest.raises(GeometryError, match="CTYPE1"):
        from_wcs(WCS(naxis=2), (5, 7))


# -- NDData -----------------------------------------------------------------------------------------------------------


def test_a_cube_there_and_back(ds: xr.Dataset) -> None:
    energy = ds.onoff.geom.energy
    data = to_nddata(ds.counts, energy=energy)
    assert isinstance(data, CCDData)
    lon, lat, joule = data.wcs.pixel_to_world_values(3, 5, [0, 7])
    np.testing.assert_allclose(joule * u.J.to("TeV"), ds.energy[[0, 7]], rtol=1e-9)
    assert data.wcs.world_to_array_index_values(lon[0], lat[0], joule[0]) == (0, 5, 3)
    back = from_nddata(data)
    for name in ("counts", "energy", "energy_bounds", "lat", "lon", "x", "y", "wcs"):
        np.testing.assert_array_equal(back[name], ds[name], err_msg=name)
        assert back[name].dtype == ds[name].dtype
    assert back.counts.attrs["units"] == "1"
    assert back.onoff.geom == ds.onoff.geom


@pytest.mark.parametrize("edges", [(1.0, 2.0, 4.0, 8.0), (1.0, 2.0, 3.0, 10.0)])
def test_files_of_ccddata_keep_all(ds: xr.Dataset, tmp_path: Path, edges: tuple[float, ...]) -> None:
    part = ds.isel(energy=slice(0, 3))
    image = part.onoff.excess.where(part.mask_safe)
    error = abs(image) ** 0.5
    to_nddata(image, error, energy=edges).write(tmp_path / "excess.fits")
    back = from_nddata(CCDData.read(tmp_path / "excess.fits", unit=u.dimensionless_unscaled))
    np.testing.assert_array_equal(back.excess, image)
    np.testing.assert_array_equal(back.excess_err.where(np.isfinite(image.values)), error)
    assert back.onoff.geom.energy == edges
    assert back.onoff.geom.sky.differences(ds.onoff.geom.sky) == []


def test_energies_of_the_wcs_alone(ds: xr.Dataset) -> None:
    data = to_nddata(ds.counts)  # from the centres
    plain = NDData(data.data, wcs=data.wcs)
    np.testing.assert_allclose(from_nddata(plain).onoff.geom.energy, ds.onoff.geom.energy, rtol=1e-9)
    assert list(from_nddata(plain, "events").data_vars) == ["events"]
    uneven = to_nddata(ds.counts, energy=[1, 2, 3, 4, 5, 6, 7, 8, 9])
    with pytest.raises(GeometryError, match="ENER or ENER-LOG accepted"):
        from_nddata(NDData(uneven.data, wcs=uneven.wcs))


@pytest.mark.parametrize("kind", [StdDevUncertainty, VarianceUncertainty, InverseVariance])
def test_uncertainties_and_masks(ds: xr.Dataset, kind: Any) -> None:
    image = to_nddata(ds.exposure.isel(energy_true=0))
    assert image.unit == u.m**2 * u.s
    mask = np.zeros((40, 40), bool)
    mask[3, 4] = True
    errors = np.full((40, 40), 4.0)
    array = {StdDevUncertainty: errors, VarianceUncertainty: errors**2, InverseVariance: errors**-2}[kind]
    given = NDData(image.data.astype(">f4"), wcs=image.wcs, unit=u.cm**2 * u.s, mask=mask, uncertainty=kind(array))
    back = from_nddata(given, "exposure")
    assert back.exposure.attrs["units"] == "cm2 s"
    assert np.isnan(back.exposure[3, 4])
    assert int(np.isnan(back.exposure).sum()) == 1
    np.testing.assert_allclose(back.exposure_err, 4)


def test_masked_bins_are_masked(ds: xr.Dataset) -> None:
    alpha = ds.onoff.alpha.where(ds.mask_safe)
    data = to_nddata(alpha, energy=ds.onoff.geom.energy)
    np.testing.assert_array_equal(data.mask, np.isnan(alpha))
    assert to_nddata(ds.counts.isel(energy=0)).mask is None


def test_data_that_are_refused(ds: xr.Dataset) -> None:
    with pytest.raises(GeometryError, match=r"dimensions \('energy_true', 'lat', 'lon'\) found"):
        to_nddata(ds.exposure)
    with pytest.raises(GeometryError, match="do not tell their edges: give energy="):
        to_nddata(ds.counts.isel(energy=[0]))
    with pytest.raises(GeometryError, match="4 edges of 8 bins"):
        to_nddata(ds.counts, energy=[1, 2, 3, 4])
    with pytest.raises(GeometryError, match="error: "):
        to_nddata(ds.counts.isel(energy=0), ds.counts.isel(energy=0, lat=slice(3)))
    with pytest.raises(GeometryError, match="error: pixels elsewhere on the sky found"):
        to_nddata(ds.counts, ds.counts.isel(lon=slice(None, None, -1)))
    with pytest.raises(GeometryError, match="error: pixels elsewhere on the sky found"):
        to_nddata(ds.counts.isel(lon=slice(0, 9)), ds.counts.isel(lon=slice(9, 18)))
    with pytest.raises(GeometryError, match="error: other energies found"):
        to_nddata(ds.counts.isel(energy=slice(4)), ds.counts.isel(energy=slice(4, 8)))
    with pytest.raises(SchemaError, match="array: a Dataset found, a DataArray accepted"):
        to_nddata(ds)
    with pytest.raises(SchemaError, match="error: a ndarray found, a DataArray accepted"):
        to_nddata(ds.counts, ds.counts.values)
    with pytest.raises(GeometryError, match="a longitude and a latitude accepted, NoneType found"):
        from_nddata(NDData(np.zeros((3, 4))))
    with pytest.raises(SchemaError, match=r"of shape \(3,\) found"):
        from_nddata(NDData(np.zeros(3)))


def test_a_name_that_fits_no_header_is_left_out(ds: xr.Dataset, tmp_path: Path) -> None:
    image = ds.counts.isel(energy=0).rename("Zähler")
    to_nddata(image).write(tmp_path / "counts.fits")
    back = from_nddata(CCDData.read(tmp_path / "counts.fits", unit=u.dimensionless_unscaled))
    np.testing.assert_array_equal(back["data"], image)


def test_nddata_of_dask(lazy: xr.Dataset, ds: xr.Dataset) -> None:
    np.testing.assert_array_equal(to_nddata(lazy.counts.sum("energy")).data, ds.counts.sum("energy"))


def test_positions_of_pixels(ds: xr.Dataset) -> None:
    """The sky grid gives them as SkyCoord, as the page says."""
    positions = ds.onoff.geom.sky.skycoord()
    assert positions.shape == (40, 40)
    place = np.unravel_index(positions.separation(CRAB).argmin(), positions.shape)
    x, y = ds.onoff.geom.sky.sky_to_pixel(CRAB)
    assert place in ((round(float(y)), round(float(x))), (int(y), int(x)), (int(y), int(x) + 1), (int(y) + 1, int(x)))


# -- regions ----------------------------------------------------------------------------------------------------------

SHAPES = [
    CircleSkyRegion(CRAB, 0.11 * u.deg),
    CircleAnnulusSkyRegion(CRAB, 0.2 * u.deg, 0.3 * u.deg),
    EllipseSkyRegion(CRAB.galactic, 0.4 * u.deg, 0.2 * u.deg, 30 * u.deg),
    RectangleSkyRegion(CRAB, 0.4 * u.deg, 0.2 * u.deg, -20 * u.deg),
    PolygonSkyRegion(SkyCoord([83.2, 84.0, 83.6], [21.8, 21.8, 22.4], unit="deg")),
    CirclePixelRegion(PixCoord(20, 20), 3),
]


@pytest.mark.parametrize("region", SHAPES, ids=lambda region: type(region).__name__)
def test_text_of_a_region_and_back(ds: xr.Dataset, region: Any) -> None:
    back = region_of(ds.onoff.to_spectrum(region))
    assert type(back) is type(region)
    assert region_text(back) == region_text(region)
    for name in ("counts", "acceptance_off"):
        np.testing.assert_array_equal(ds.onoff.to_spectrum(back)[name], ds.onoff.to_spectrum(region)[name])


def test_compounds(ds: xr.Dataset) -> None:
    a, b, c = SHAPES[0], SHAPES[3], SHAPES[4]
    for region in (a | b, (a | b) & c, a ^ (b | c)):
        back = parse_region(region_text(region))
        assert region_text(back) == region_text(region)
        np.testing.assert_array_equal(
            xonoff.masks.from_regions(ds, back).isel(energy=0), xonoff.masks.from_regions(ds, region).isel(energy=0)
        )


@pytest.mark.parametrize("text", ["", "crab", "(icrs;circle(1,2,3)) or (", "circle(", "((((", "(a) and (b)"])
def test_texts_that_are_no_region(text: str) -> None:
    with pytest.raises(FormatError, match=r"region: .* found"):
        parse_region(text)


def test_a_dataset_without_a_region(ds: xr.Dataset) -> None:
    with pytest.raises(SchemaError, match="no coordinate 'region'"):
        region_of(ds)


def test_region_files(ds: xr.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "exclusion.reg"
    write_regions(SHAPES[:5], path)
    back = read_regions(path)
    assert [region_text(region) for region in back] == [region_text(region) for region in SHAPES[:5]]
    excluded = xonoff.masks.from_regions(ds, back)
    np.testing.assert_array_equal(excluded, xonoff.masks.from_regions(ds, SHAPES[:5]))
    assert excluded.any()
    with pytest.raises(FileExistsError):
        write_regions(SHAPES[0], path)
    write_regions(SHAPES[0], path, overwrite=True)
    assert len(Regions.read(path, format="ds9")) == 1


def test_files_of_ds9(tmp_path: Path) -> None:
    path = tmp_path / "ds9.reg"
    path.write_text(
        "# Region file format: DS9 version 4.1\n"
        'global color=green dashlist=8 3 width=1 font="helvetica 10 normal roman" select=1 include=1\n'
        "fk5\n"
        'circle(5:34:31.94,+22:00:52.2,360.0")\n'
        "galactic; box(184.557,-5.784,0.4,0.2,30)\n"
    )
    circle, box = read_regions(path)
    assert circle.radius.to_value("deg") == pytest.approx(0.1)
    assert circle.center.separation(SkyCoord("5h34m31.94s 22d00m52.2s", frame="fk5")).deg < 1e-6
    assert box.center.frame.name == "galactic"


def test_regions_to_leave_out_are_no_regions_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "holes.reg"
    path.write_text("icrs\ncircle(83.6,22,0.5)\n-circle(83.6,22,0.2)\n")
    with pytest.raises(FormatError, match=r"holes\.reg: region 2: a CircleSkyRegion to leave out found"):
        read_regions(path)
    with pytest.raises(FormatError, match="region: a CircleSkyRegion to leave out found"):
        parse_region("icrs;-circle(83.6,22,0.2)")


def test_names_of_regions_are_written(tmp_path: Path) -> None:
    path = tmp_path / "names.reg"
    circles = [
        CircleSkyRegion(CRAB, 0.1 * u.deg, meta=meta)
        for meta in ({"label": "Crab ü"}, {"text": "pulsar", "label": "other"}, {"text": "a {b} c"}, {})
    ]
    write_regions(circles, path)
    back = read_regions(path)
    assert [region.meta.get("text", "") for region in back] == ["Crab ü", "pulsar", "a (b) c", ""]
    assert dict(circles[0].meta) == {"label": "Crab ü"}


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "bytes.reg").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match=r"bytes\.reg: no ds9 region file"):
        read_regions(tmp_path / "bytes.reg")
    path = tmp_path / "none.reg"
    path.write_text("# Region file format: DS9\nicrs\n")
    with pytest.raises(FormatError, match=r"none\.reg: no region found"):
        read_regions(path)
    with pytest.raises(SchemaError, match="not written: a CompoundSkyRegion found"):
        write_regions(SHAPES[0] | SHAPES[1], tmp_path / "a.reg")
    with pytest.raises(SchemaError, match="not written: a str found"):
        write_regions(["icrs;circle(1,2,3)"], tmp_path / "a.reg")
    assert not (tmp_path / "a.reg").exists()


def test_a_region_of_a_file_makes_a_spectrum_that_sherpa_reads(ds: xr.Dataset, tmp_path: Path) -> None:
    write_regions(SHAPES[0], tmp_path / "crab.reg")
    [region] = read_regions(tmp_path / "crab.reg")
    ds.onoff.to_spectrum(region).onoff.to_ogip(tmp_path / "pha_crab.fits")
    back = xonoff.open_dataset(tmp_path / "pha_crab.fits")
    assert region_of(back).radius.to_value("deg") == pytest.approx(0.11)
    assert str(back.region.values) == region_text(SHAPES[0])
