"""OGIP spectra: round trips, other programs' files, Sherpa's statistic, fitsverify, and files that are at fault."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from conftest import DATA
from regions import (
    CircleAnnulusSkyRegion,
    CirclePixelRegion,
    CircleSkyRegion,
    EllipseSkyRegion,
    PixCoord,
    PolygonSkyRegion,
    RectangleSkyRegion,
)

import xonoff
from xonoff.io.ogip import is_ogip, open_ogip, to_ogip

CRAB = CircleSkyRegion(SkyCoord(83.63308, 22.0145, unit="deg"), 0.11 * u.deg)
TUTORIAL = CircleSkyRegion(SkyCoord(83.633, 22.014, unit="deg"), 0.3 * u.deg)


@pytest.fixture
def spectrum(ds: xr.Dataset) -> xr.Dataset:
    return ds.onoff.to_spectrum(TUTORIAL)


def assert_equal(a: xr.Dataset, b: xr.Dataset) -> None:
    assert set(a.variables) == set(b.variables)
    for name in a.variables:
        assert a[name].dims == b[name].dims, name
        if a[name].dtype.kind == "f":
            np.testing.assert_allclose(a[name], b[name], rtol=1e-13, err_msg=str(name))
        else:
            np.testing.assert_array_equal(a[name], b[name], err_msg=str(name))
    assert a.attrs == b.attrs


@pytest.mark.parametrize(
    "variant", ["whole", "fit", "counts", "counts alone", "no response", "halves", "dask", "two runs of one livetime"]
)
def test_there_and_back(spectrum, tmp_path, variant):
    if variant == "fit":
        spectrum["mask_fit"] = spectrum.mask_safe & (spectrum.energy > 2)
    elif variant.startswith("counts"):
        spectrum = spectrum.drop_vars(["acceptance"] if variant == "counts alone" else [])
        spectrum = spectrum.drop_vars(["counts_off", "acceptance_off", "exposure", "edisp"])
        spectrum = spectrum.drop_vars(["energy_true", "energy_true_bounds"])
    elif variant == "no response":
        spectrum = spectrum.drop_vars(["exposure", "edisp", "energy_true", "energy_true_bounds"])
    elif variant == "halves":
        spectrum["counts"] = spectrum.counts / 2
    elif variant == "two runs of one livetime":
        spectrum = spectrum.assign_coords(livetime=((), 3600.0, {"units": "s"}))
    path = tmp_path / "pha_crab.fits"
    to_ogip(spectrum.chunk() if variant == "dask" else spectrum, path)
    back = xonoff.open_dataset(path)
    assert_equal(back, spectrum)
    xonoff.validate(back)
    np.testing.assert_allclose(back.onoff.stat_sum(), spectrum.onoff.stat_sum()) if "counts_off" in spectrum else None
    assert is_ogip(path)


@pytest.fixture
def unscaled(spectrum: xr.Dataset) -> xr.Dataset:
    """Bins without acceptance, on or off, of which one is in mask_safe; one without off counts, one without counts."""
    spectrum["acceptance"][0] = 0
    spectrum["acceptance_off"][:2] = [np.nan, 0]
    spectrum["mask_safe"][0] = False
    spectrum["counts_off"][3] = 0
    spectrum["counts"][4] = 0
    return spectrum


def test_bins_without_acceptance_are_of_bad_quality(unscaled, tmp_path):
    to_ogip(unscaled, tmp_path / "a.fits")
    for name in ("a", "a_bkg"):
        table = fits.getdata(tmp_path / f"{name}.fits", "SPECTRUM")
        assert table["QUALITY"].tolist() == [5, 1, 0, 0, 0, 0, 0, 0]
        assert np.isfinite(table["BACKSCAL"]).all()
    back = open_ogip(tmp_path / "a.fits")
    assert back.acceptance_off.values[:2].tolist() == [0, 0]
    assert back.mask_safe.values.tolist() == [False] * 2 + [True] * 6
    np.testing.assert_allclose(back.onoff.stat_sum(), unscaled.onoff.stat_sum())


def test_bins_of_masks_at_fault_are_of_bad_quality(spectrum, tmp_path):
    spectrum["mask_safe"][:2] = False
    spectrum["mask_fault"] = xr.zeros_like(spectrum.mask_safe)
    spectrum["mask_fault"][1:3] = True
    to_ogip(spectrum, tmp_path / "a.fits")
    for name in ("a", "a_bkg"):
        assert fits.getdata(tmp_path / f"{name}.fits", "SPECTRUM")["QUALITY"].tolist() == [5, 1, 1, 0, 0, 0, 0, 0]
    assert open_ogip(tmp_path / "a.fits").mask_safe.values.tolist() == [False] * 3 + [True] * 5


def test_the_quality_of_the_background_counts(spectrum, tmp_path):
    to_ogip(spectrum, tmp_path / "a.fits")
    for name, bad in (("a", 2), ("a_bkg", 5)):
        with fits.open(tmp_path / f"{name}.fits", mode="update") as file:
            file["SPECTRUM"].data["QUALITY"][bad] = 2
    assert np.flatnonzero(~open_ogip(tmp_path / "a.fits").mask_safe).tolist() == [2, 5]


def test_a_background_template_has_no_place(spectrum, tmp_path):
    spectrum["background"] = spectrum.counts_off.copy()
    with pytest.raises(
        xonoff.SchemaError, match=r"a\.fits: not written: background beside counts_off found, off counts"
    ):
        to_ogip(spectrum, tmp_path / "a.fits")
    spectrum = spectrum.drop_vars("counts_off")
    with pytest.raises(xonoff.SchemaError, match=r"background without counts_off found, .* xonoff\.from_map_dataset"):
        to_ogip(spectrum, tmp_path / "a.fits")
    with pytest.raises(xonoff.SchemaError, match=r"acceptance_off without counts_off found: add counts_off, or use"):
        to_ogip(spectrum.drop_vars("background"), tmp_path / "a.fits")
    assert not list(tmp_path.iterdir())


def test_gzip_and_lists_of_observations(spectrum, tmp_path):
    import gzip

    for name in ("one", "two"):
        spectrum.onoff.to_ogip(tmp_path / f"pha_{name}.fits")
    for path in list(tmp_path.glob("pha_two*.fits")):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    first, second = xonoff.open_datasets([tmp_path / "pha_one.fits", tmp_path / "pha_two.fits.gz"])
    assert_equal(first, second)
    both = xonoff.stack([first, second])
    np.testing.assert_allclose(both.counts, 2 * first.counts.where(first.mask_safe, 0))


@pytest.mark.skipif(shutil.which("fitsverify") is None, reason="fitsverify is not installed (a package of Debian)")
def test_fitsverify_finds_nothing(ds, spectrum, tmp_path):
    spectrum["mask_fit"] = spectrum.mask_safe
    spectrum.attrs["name"] = (
        "a name with 'quotes' and more than sixty-eight letters, so that it goes on in another card"
    )
    to_ogip(spectrum, tmp_path / "pha.fits")
    ds.onoff.to_fits(tmp_path / "map.fits")
    files = sorted(tmp_path.glob("*.fits"))
    assert len(files) == 5
    for path in files:
        report = subprocess.run(["fitsverify", path], capture_output=True, text=True, check=False).stdout
        assert "0 warning(s) and 0 error(s)" in report, report


def power_law(ds: xr.Dataset, amplitude: float) -> np.ndarray:
    """Counts predicted for amplitude * E**-2 / (cm2 s TeV)."""
    low, high = ds.energy_true_bounds.values.T
    return 1e4 * amplitude * (1 / low - 1 / high) * ds.exposure.values @ ds.edisp.values


def our_wstat(ds: xr.Dataset, signal: np.ndarray | float) -> float:
    values = xonoff.stats.wstat(ds.counts, ds.counts_off, ds.onoff.alpha, signal)
    return float(values[ds.mask_safe.values].sum())


# Values of Sherpa 4.19.0 by examples/sherpa_wstat.py, from files that these tests write. The spectra have bins without
# counts and without off counts.
@pytest.mark.parametrize(("amplitude", "sherpa"), [(0.0, 4105.82769812), (1e-11, 1130.56742722)])
def test_sherpa_has_the_same_wstat_for_the_tutorial(spectrum, amplitude, sherpa):
    np.testing.assert_allclose(our_wstat(spectrum, power_law(spectrum, amplitude)), sherpa, rtol=1e-10)


@pytest.mark.parametrize(("amplitude", "sherpa"), [(0.0, 1266.14859348), (1e-11, 150.152652407)])
def test_sherpa_has_the_same_wstat_for_the_crab(data_dir, amplitude, sherpa):
    ds = xonoff.open_dataset(DATA / "hess-crab" / "onoff_stacked.fits.gz").onoff.to_spectrum(CRAB).load()
    np.testing.assert_allclose(our_wstat(ds, power_law(ds, amplitude)), sherpa, rtol=1e-10)


# As above: Sherpa takes a BACKSCAL of 0 for 1, but not in channels of bad quality.
@pytest.mark.parametrize(("amplitude", "sherpa"), [(0.0, 1200.75704292), (1e-11, 208.445409227)])
def test_sherpa_has_the_same_wstat_without_some_acceptances(unscaled, tmp_path, amplitude, sherpa):
    to_ogip(unscaled, tmp_path / "pha.fits")
    back = open_ogip(tmp_path / "pha.fits")
    np.testing.assert_allclose(our_wstat(back, power_law(back, amplitude)), sherpa, rtol=1e-10)


# -- gammapy ----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default")
def test_files_of_gammapy(spectrum, tmp_path):
    datasets = pytest.importorskip("gammapy.datasets", reason="gammapy 2.1 is not installed: make bench runs these")
    to_ogip(spectrum, tmp_path / "pha_ours.fits")
    theirs = datasets.SpectrumDatasetOnOff.read(tmp_path / "pha_ours.fits")
    np.testing.assert_allclose(theirs.counts.data.ravel(), spectrum.counts)
    np.testing.assert_allclose(theirs.stat_sum(), float(spectrum.onoff.stat_sum()), rtol=1e-6)
    np.testing.assert_allclose(theirs.edisp.get_edisp_kernel().pdf_matrix, spectrum.edisp, rtol=1e-6)
    np.testing.assert_allclose(theirs.exposure.quantity.to_value("m2 s").ravel(), spectrum.exposure, rtol=1e-6)
    theirs.write(tmp_path / "pha_theirs.fits", format="ogip", overwrite=True)
    back = open_ogip(tmp_path / "pha_theirs.fits")
    np.testing.assert_allclose(back.onoff.alpha, spectrum.onoff.alpha, rtol=1e-6)
    for name in ("counts", "counts_off", "exposure", "edisp", "energy_bounds", "energy_true_bounds", "mask_safe"):
        np.testing.assert_allclose(back[name], spectrum[name], rtol=1e-5, atol=1e-9, err_msg=name)
    assert back.region.item() == spectrum.region.item()
    np.testing.assert_allclose([back.lon, back.lat], [spectrum.lon, spectrum.lat], rtol=1e-9)
    np.testing.assert_allclose(back.onoff.stat_sum(), spectrum.onoff.stat_sum(), rtol=1e-6)
    np.testing.assert_allclose(back.onoff.gti.duration, spectrum.onoff.gti.duration, atol=1e-6)


def without_cards(path: Path) -> None:
    """Leave of the region what other programs write, the table."""
    with fits.open(path, mode="update") as file:
        for card in ("REGION", "REG_LON", "REG_LAT", "REG_FRAM"):
            file[0].header.remove(card)


CENTER = TUTORIAL.center
SHAPES = {
    "circle": TUTORIAL,
    "galactic": CircleSkyRegion(CENTER.galactic, 0.3 * u.deg),
    "ellipse": EllipseSkyRegion(CENTER, 0.3 * u.deg, 0.5 * u.deg, 30 * u.deg),
    "annulus": CircleAnnulusSkyRegion(CENTER, 0.1 * u.deg, 0.3 * u.deg),
    "rectangle": RectangleSkyRegion(CENTER, 0.3 * u.deg, 0.5 * u.deg, 10 * u.deg),
    "polygon": PolygonSkyRegion(SkyCoord([83.4, 83.9, 83.6], [21.8, 21.9, 22.2], unit="deg")),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_table_of_the_region(ds, tmp_path, shape):
    spectrum = ds.onoff.to_spectrum(SHAPES[shape])
    to_ogip(spectrum, tmp_path / "pha.fits")
    without_cards(tmp_path / "pha.fits")
    back = open_ogip(tmp_path / "pha.fits")
    assert back.region.item() == spectrum.region.item()
    found, wanted = (SkyCoord(x.lon, x.lat, unit="deg", frame=x.lon.attrs["frame"]) for x in (back, spectrum))
    assert found.separation(wanted).deg < 1e-9


def test_a_region_of_two_shapes(spectrum, tmp_path):
    to_ogip(spectrum, tmp_path / "pha.fits")
    without_cards(tmp_path / "pha.fits")
    with fits.open(tmp_path / "pha.fits") as file:
        table = file["REGION"]
        two = fits.BinTableHDU(np.concatenate([table.data, table.data]), table.header, name="REGION")
        two.data["X"] = [-20, 20]
        fits.HDUList([hdu for hdu in file if hdu is not table] + [two]).writeto(tmp_path / "two.fits")
    back = open_ogip(tmp_path / "two.fits")
    first, second = back.region.item().split(" or ")
    assert first.startswith("(icrs;circle(83.84")
    assert second.startswith("(icrs;circle(83.41")
    np.testing.assert_allclose([back.lon, back.lat], [spectrum.lon, spectrum.lat], atol=1e-3)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"'RA---TAN'", b"'RA---XXX'"),
        (b"CTYPE1  =", b"CTYPE9  ="),
        (b"'SHAPE   '", b"'SHOPE   '"),
        (b"circle", b"pie   "),
        (b"circle", b"!point"),
        (b"circle", b"circus"),
        (b"circle", b"\xff\xffrcle"),
    ],
)
def test_a_table_of_the_region_that_tells_nothing(spectrum, tmp_path, old, new):
    to_ogip(spectrum, tmp_path / "pha.fits")
    without_cards(tmp_path / "pha.fits")
    data = (tmp_path / "pha.fits").read_bytes()
    assert old in data
    (tmp_path / "pha.fits").write_bytes(data.replace(old, new))
    back = open_ogip(tmp_path / "pha.fits")
    assert not {"region", "lon", "lat"} & set(back.coords)


def test_regions_that_get_no_table(ds, spectrum, tmp_path):
    pixels = ds.onoff.to_spectrum(CirclePixelRegion(PixCoord(19.5, 19.5), 3))
    both = ds.onoff.to_spectrum(TUTORIAL | SHAPES["polygon"])
    for number, one in enumerate((pixels, both, spectrum.assign_coords(region="the Crab"))):
        to_ogip(one, tmp_path / f"{number}.fits")
        with fits.open(tmp_path / f"{number}.fits") as file:
            assert "REGION" not in [hdu.name for hdu in file]
        assert open_ogip(tmp_path / f"{number}.fits").region.item() == one.region.item()


def test_other_units(spectrum, tmp_path):
    to_ogip(spectrum, tmp_path / "pha.fits")
    for name, columns in (
        ("arf", {"ENERG_LO": "TeV", "ENERG_HI": "TeV", "SPECRESP": "m2"}),
        ("rmf", {"ENERG_LO": "MeV", "ENERG_HI": "MeV"}),
    ):
        with fits.open(tmp_path / f"pha_{name}.fits", mode="update") as file:
            for column, unit in columns.items():
                file[1].data[column] *= u.Unit(file[1].columns[column].unit).to(unit)
                file[1].columns.change_unit(column, unit)
    assert_equal(open_ogip(tmp_path / "pha.fits"), spectrum)


# -- other programs' files --------------------------------------------------------------------------------------------


def rmf(n_grp, f_chan, n_chan, matrix, first=1) -> fits.HDUList:
    rows = len(n_grp)
    edges = np.geomspace(1e9, 1e10, rows + 1)
    columns = [
        fits.Column("ENERG_LO", "D", "keV", array=edges[:-1]),
        fits.Column("ENERG_HI", "D", "keV", array=edges[1:]),
        fits.Column("N_GRP", "I", array=n_grp),
        fits.Column("F_CHAN", "PI()", array=np.array([np.array(v, "i2") for v in f_chan], dtype=object)),
        fits.Column("N_CHAN", "PI()", array=np.array([np.array(v, "i2") for v in n_chan], dtype=object)),
        fits.Column("MATRIX", "PE()", array=np.array([np.array(v, "f4") for v in matrix], dtype=object)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="SPECRESP MATRIX")
    table.header.update(HDUCLAS1="RESPONSE", HDUCLAS2="RSP_MATRIX", TLMIN4=first)
    reco = np.geomspace(1e9, 1e10, 5)
    bounds = [fits.Column("CHANNEL", "I", array=np.arange(first, 4 + first)),
              fits.Column("E_MIN", "D", "keV", array=reco[:-1]),
              fits.Column("E_MAX", "D", "keV", array=reco[1:])]  # fmt: skip
    return fits.HDUList([fits.PrimaryHDU(), table, fits.BinTableHDU.from_columns(bounds, name="EBOUNDS")])


def pha(folder: Path, first: int = 1, **cards) -> Path:
    """A spectrum with BACKSCAL in a card, as X-ray programs write it."""
    channels = np.arange(first, first + 4)
    columns = [fits.Column("CHANNEL", "I", array=channels), fits.Column("COUNTS", "J", array=[5, 3, 0, 1])]
    table = fits.BinTableHDU.from_columns(columns, name="SPECTRUM")
    table.header.update({"HDUCLAS1": "SPECTRUM", "EXPOSURE": 100.0, "BACKSCAL": 0.5, "RESPFILE": "x.rmf", **cards})
    path = folder / "x.pha"
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)
    return path


@pytest.mark.parametrize("unstated", [False, True])
@pytest.mark.parametrize("first", [0, 1])
def test_groups_of_channels(tmp_path, first, unstated):
    groups = rmf(
        [1, 2, 0], [[first], [first, first + 3], [0]], [[2], [1, 1], [0]], [[0.25, 0.75], [0.5, 0.125], []], first
    )
    if unstated:
        del groups[1].header["TLMIN4"]
    groups.writeto(tmp_path / "x.rmf")
    ds = open_ogip(pha(tmp_path, first))
    np.testing.assert_allclose(ds.edisp, [[0.25, 0.75, 0, 0], [0.5, 0, 0, 0.125], [0, 0, 0, 0]])
    assert ds.acceptance.values.tolist() == [0.5] * 4
    assert ds.mask_safe.values.all()
    assert float(ds.onoff.livetime) == 100


def test_alpha_scales_with_the_exposures(tmp_path):
    rmf([0], [[1]], [[0]], [[]]).writeto(tmp_path / "x.rmf")
    back = pha(tmp_path, EXPOSURE=400.0, BACKSCAL=2.0)
    back.rename(tmp_path / "back.pha")
    ds = open_ogip(pha(tmp_path, BACKFILE="back.pha"))
    np.testing.assert_allclose(ds.onoff.alpha, 0.5 / 2 * 100 / 400)


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        (
            {"BACKFILE": "../x.pha"},
            r"x.pha: HDU SPECTRUM: card BACKFILE = '../x.pha' found, the name of a file in the same",
        ),
        ({"BACKFILE": "/etc/passwd"}, "the name of a file in the same folder accepted"),
        ({"RESPFILE": "gone.rmf"}, "card RESPFILE = 'gone.rmf': there is no such file"),
        ({"RESPFILE": "none"}, r"x.pha: no table EBOUNDS among the HDUs"),
        ({"EXPOSURE": "long"}, "card EXPOSURE = 'long' found, a number not below 0 accepted"),
        ({"BACKSCAL": "COL"}, "BACKSCAL: a number a channel is wanted"),
        ({"AREASCAL": 2.0}, "AREASCAL other than 1 is not supported"),
        ({"EXPOSURE": 0.0}, r"card EXPOSURE = 0\.0 found, a number above 0 accepted: set it to the livetime"),
        ({"HDUCLAS2": "NET"}, "card HDUCLAS2 = 'NET', counts less background, found, 'TOTAL' or 'BKG' accepted: take"),
        ({"HDUCLAS3": "RATE"}, "card HDUCLAS3 = 'RATE' found, 'COUNT' accepted: multiply the rates"),
        ({"CORRFILE": "corr.pha"}, "card CORRFILE = 'corr.pha' found, 'none' accepted: corrections are not supported"),
        ({"BACKFILE": "x.pha"}, "card BACKFILE = 'x.pha', the file itself, found, another one or 'none' accepted"),
    ],
)
def test_spectra_at_fault(tmp_path, cards, message):
    rmf([0], [[1]], [[0]], [[]]).writeto(tmp_path / "x.rmf")
    with pytest.raises(xonoff.FormatError, match=message):
        open_ogip(pha(tmp_path, **cards))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1], [[4]], [[2]], [[1, 1]]), "row 1: channels 4 and 2 on found, 4 channels there"),
        (([1], [[0]], [[1]], [[1]]), "row 1: channels 0 and 1 on found"),
        (([2], [[1]], [[1]], [[1]]), "row 1: N_GRP = 2, but 1 groups found"),
        (([1], [[1]], [[3]], [[1]]), "row 1: channels 1 and 3 on"),
    ],
)
def test_matrices_at_fault(tmp_path, arguments, message):
    rmf(*arguments).writeto(tmp_path / "x.rmf")
    with pytest.raises(xonoff.FormatError, match=f"x.rmf: HDU SPECRESP MATRIX: {message}"):
        open_ogip(pha(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"'REDIST  '", b"'FULL    '", "card HDUCLAS3 = 'FULL', a matrix times the area, found: divide the area out"),
        (b"'N_GRP   '", b"'GROUPS  '", "column N_GRP is missing"),
        (b"'keV     '", b"'m       '", "column ENERG_LO: numbers in a unit that converts to TeV are wanted"),
        (b"'keV     '", b"'        '", "column ENERG_LO has no unit"),
    ],
)
def test_matrices_of_another_kind(tmp_path, old, new, message):
    hdus = rmf([1], [[1]], [[1]], [[1]])
    hdus[1].header["HDUCLAS3"] = "REDIST"
    hdus.writeto(tmp_path / "x.rmf")
    data = (tmp_path / "x.rmf").read_bytes()
    (tmp_path / "x.rmf").write_bytes(data.replace(old, new, 1))
    with pytest.raises(xonoff.FormatError, match=message):
        open_ogip(pha(tmp_path))


def test_a_matrix_that_does_not_give_its_first_channel(tmp_path):
    hdus = rmf([1], [[0]], [[1]], [[1]])
    del hdus[1].header["TLMIN4"]
    hdus.writeto(tmp_path / "x.rmf")
    with pytest.raises(xonoff.FormatError, match="4 channels there from 1 on: give the first as TLMIN4"):
        open_ogip(pha(tmp_path))


SPECTRUM_COLUMNS = ("CHANNEL", "COUNTS", "QUALITY", "BACKSCAL")


@pytest.mark.parametrize(
    ("file", "table", "columns", "order", "message"),
    [
        (
            "pha",
            "SPECTRUM",
            SPECTRUM_COLUMNS,
            slice(None, None, -1),
            "7 and 6 found in rows 1 and 2, numbers that incr",
        ),
        ("pha_bkg", "SPECTRUM", SPECTRUM_COLUMNS, slice(None, None, -1), "7 and 6 found in rows 1 and 2"),
        ("pha", "SPECTRUM", ("CHANNEL",), [0, 1, 2, 2, 4, 5, 6, 7], "2 and 2 found in rows 3 and 4"),
        ("pha_rmf", "EBOUNDS", ("CHANNEL",), [1, 0, 2, 3, 4, 5, 6, 7], "1 and 0 found in rows 1 and 2"),
        ("pha", "EBOUNDS", ("CHANNEL",), slice(None, None, -1), "7 and 6 found in rows 1 and 2"),
    ],
)
def test_channels_in_another_order(spectrum, tmp_path, file, table, columns, order, message):
    to_ogip(spectrum, tmp_path / "pha.fits")
    with fits.open(tmp_path / f"{file}.fits", mode="update") as hdus:
        for column in columns:
            hdus[table].data[column] = hdus[table].data[column][order].copy()
    with pytest.raises(xonoff.FormatError, match=rf"{file}\.fits: HDU {table}: column CHANNEL: {message}"):
        open_ogip(tmp_path / "pha.fits")


@pytest.mark.parametrize(("file", "table"), [("pha_bkg", "SPECTRUM"), ("pha_rmf", "EBOUNDS"), ("pha", "EBOUNDS")])
def test_other_channels(spectrum, tmp_path, file, table):
    to_ogip(spectrum, tmp_path / "pha.fits")
    with fits.open(tmp_path / f"{file}.fits", mode="update") as hdus:
        hdus[table].data["CHANNEL"] += 1
    message = r"column CHANNEL: 8 channels \(1 to 8\) found, 8 channels \(0 to 7\) as in pha.fits accepted: take"
    with pytest.raises(xonoff.FormatError, match=rf"{file}\.fits: HDU {table}: {message}"):
        open_ogip(tmp_path / "pha.fits")


@pytest.mark.parametrize("form", ["D", "2I", None])
def test_channels_that_are_no_integers(tmp_path, form):
    rmf([0], [[1]], [[0]], [[]]).writeto(tmp_path / "x.rmf")
    with fits.open(pha(tmp_path)) as file:
        columns = [column for column in file[1].columns if column.name != "CHANNEL"]
        if form:
            columns.append(fits.Column("CHANNEL", form, array=np.ones((4, 2) if form == "2I" else 4)))
        table = fits.BinTableHDU.from_columns(columns, file[1].header.copy(), name="SPECTRUM")
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "y.pha")
    message = "an integer a row is wanted" if form else "is missing"
    with pytest.raises(xonoff.FormatError, match=f"y.pha: HDU SPECTRUM: column CHANNEL:? {message}"):
        open_ogip(tmp_path / "y.pha")


@pytest.mark.parametrize(("file", "where"), [("pha", "pha"), ("pha_bkg", "pha_bkg"), ("pha_rmf", "pha")])
def test_files_have_to_agree_on_energies(spectrum, tmp_path, file, where):
    to_ogip(spectrum, tmp_path / "pha.fits")
    with fits.open(tmp_path / f"{file}.fits", mode="update") as hdus:
        for column in ("E_MIN", "E_MAX"):
            hdus["EBOUNDS"].data[column] *= 1 + 1e-6
    open_ogip(tmp_path / "pha.fits")  # as two programs round
    with fits.open(tmp_path / f"{file}.fits", mode="update") as hdus:
        for column in ("E_MIN", "E_MAX"):
            hdus["EBOUNDS"].data[column] *= 2
    with pytest.raises(
        xonoff.FormatError, match=rf"{where}\.fits: HDU EBOUNDS: columns E_MIN, E_MAX: energies (?s:.*) as in pha_rmf"
    ):
        open_ogip(tmp_path / "pha.fits")


def test_backgrounds_at_fault(tmp_path):
    rmf([0], [[1]], [[0]], [[]]).writeto(tmp_path / "x.rmf")
    for cards, message in (
        ({"EXPOSURE": 0.0}, r"card EXPOSURE = 0\.0 found"),
        ({"HDUCLAS2": "NET"}, "card HDUCLAS2 = 'NET'"),
        ({"first": 0}, "column CHANNEL: 4 channels"),
    ):
        pha(tmp_path, **cards).replace(tmp_path / "back.pha")
        with pytest.raises(xonoff.FormatError, match=f"back.pha: HDU SPECTRUM: {message}"):
            open_ogip(pha(tmp_path, BACKFILE="back.pha"))


@pytest.mark.parametrize(("backscal", "there"), [(1.0, False), (0.5, True)])
def test_an_acceptance_that_no_file_gives(tmp_path, backscal, there):
    rmf([0], [[1]], [[0]], [[]]).writeto(tmp_path / "x.rmf")
    assert ("acceptance" in open_ogip(pha(tmp_path, BACKSCAL=backscal))) == there


def test_a_matrix_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("xonoff.io.ogip_response.MAX_ELEMENTS", 7)
    rmf([0, 0], [[1], [1]], [[0], [0]], [[], []]).writeto(tmp_path / "x.rmf")
    with pytest.raises(xonoff.FormatError, match="a matrix of 2 energies and 4 channels found, up to 7 elements"):
        open_ogip(pha(tmp_path))


def test_a_link_out_of_the_folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    rmf([0], [[1]], [[0]], [[]]).writeto(tmp_path / "x.rmf")
    (folder / "x.rmf").symlink_to(tmp_path / "x.rmf")
    with pytest.raises(xonoff.FormatError, match=r"card RESPFILE = 'x\.rmf' is a link out of the folder"):
        open_ogip(pha(folder))


def test_what_is_a_spectrum(ds, spectrum, tmp_path):
    import gzip

    ds.onoff.to_fits(tmp_path / "map.fits")
    to_ogip(spectrum, tmp_path / "pha.fits")
    packed = gzip.compress((tmp_path / "pha.fits").read_bytes(), mtime=0)
    (tmp_path / "pha.fits.gz").write_bytes(packed)
    (tmp_path / "cut.fits.gz").write_bytes(packed[:200])
    (tmp_path / "damaged.fits.gz").write_bytes(packed[:10] + b"\xff" * 90)
    (tmp_path / "text").write_bytes(b"EXTNAME = 'SPECTRUM'")
    found = {path.name for path in tmp_path.iterdir() if is_ogip(path)}
    assert found == {"pha.fits", "pha_bkg.fits", "pha.fits.gz"}


def test_damaged_files_are_refused(spectrum, tmp_path):
    """Bytes changed at random: the right kind of dataset, or a FormatError; with checksums only the latter."""
    to_ogip(spectrum, tmp_path / "pha.fits")
    open_ogip(tmp_path / "pha.fits", checksum=True)
    rng = np.random.default_rng(5)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for _ in range(40):
            data = bytearray(whole)
            for place in rng.integers(0, len(data), rng.choice([1, 20])):
                data[place] ^= 1 << rng.integers(8)
            path.write_bytes(data)
            with pytest.raises(xonoff.FormatError):
                open_ogip(tmp_path / "pha.fits", checksum=True)
            with contextlib.suppress(xonoff.FormatError):
                open_ogip(tmp_path / "pha.fits")
        path.write_bytes(whole)


def test_a_heap_that_is_too_short(tmp_path):
    rmf([1], [[1]], [[2]], [[0.5, 0.5]]).writeto(tmp_path / "x.rmf")
    data = bytearray((tmp_path / "x.rmf").read_bytes())
    with fits.open(tmp_path / "x.rmf") as file:
        start = file[1].fileinfo()["datLoc"]
    data[start + 8 + 8 + 2 + 8 + 8 : start + 8 + 8 + 2 + 8 + 8 + 4] = (2**30).to_bytes(4, "big")
    (tmp_path / "x.rmf").write_bytes(data)
    with pytest.raises(xonoff.FormatError, match="column MATRIX points outside of the 12 bytes of its heap"):
        open_ogip(pha(tmp_path))


def test_what_is_not_written(ds, spectrum, tmp_path):
    path = tmp_path / "pha.fits"
    with pytest.raises(
        xonoff.SchemaError, match=r"counts on \('energy',\) are wanted, .* found: use to_spectrum first"
    ):
        to_ogip(ds, path)
    with pytest.raises(
        xonoff.SchemaError, match=r"pha\.fits: not written: the dataset has no livetime: add the coordinate"
    ):
        to_ogip(spectrum.drop_vars("livetime"), path)
    with pytest.raises(xonoff.SchemaError, match="off counts without acceptance_off found: add it"):
        to_ogip(spectrum.drop_vars("acceptance_off"), path)
    for seconds in (0.0, np.inf):
        livetime = xr.Variable("obs", [seconds, seconds], {"units": "s"})
        message = rf"pha\.fits: not written: a livetime of {seconds} s found, a positive, finite one accepted: give"
        with pytest.raises(xonoff.SchemaError, match=message):
            to_ogip(spectrum.assign_coords(livetime=livetime), path)
    with pytest.raises(xonoff.FormatError, match="FITS is written uncompressed here"):
        to_ogip(spectrum, tmp_path / "pha.fits.gz")
    for name in (".hid.fits", "z .fits ", " z.fits", "z\\y.fits"):
        with pytest.raises(
            xonoff.FormatError, match=r"not written: the file name '.*' found, one without a leading dot"
        ):
            to_ogip(spectrum, tmp_path / name)
    with pytest.raises(xonoff.FormatError, match=r"é\.fits: not written: HDU SPECTRUM: card BACKFILE holds"):
        to_ogip(spectrum, tmp_path / "é.fits")
    with pytest.raises(
        xonoff.SchemaError, match=r"pha\.fits: not written: name 'Krebs-é' found, .* ds.onoff.copy\(name"
    ):
        to_ogip(spectrum.onoff.copy("Krebs-é"), path)
    with pytest.raises(
        xonoff.SchemaError, match=r"not written: region 'a\\nb' found, one line of printable ASCII accept"
    ):
        to_ogip(spectrum.assign_coords(region="a\nb"), path)
    wide = spectrum.assign(exposure=spectrum.exposure.expand_dims({"y_exposure": 2, "x_exposure": 2}, (1, 2)))
    with pytest.raises(
        xonoff.SchemaError, match=r"pha\.fits: not written: exposure on .* found, \('energy_true',\) acc"
    ):
        to_ogip(wide, path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "pha_arf.fits").write_text("mine")
    with pytest.raises(FileExistsError, match=r"pha_arf\.fits"):
        to_ogip(spectrum, path)
    assert [p.name for p in tmp_path.iterdir()] == ["pha_arf.fits"]
    to_ogip(spectrum, path, overwrite=True)
    assert_equal(open_ogip(path), spectrum)


def test_a_failed_write_leaves_the_old_files(spectrum, tmp_path, monkeypatch):
    path = tmp_path / "pha.fits"
    to_ogip(spectrum, path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    monkeypatch.setattr(xonoff.io.ogip, "write_rmf", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        to_ogip(spectrum.assign(counts=spectrum.counts + 1), path, overwrite=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize("last", ["pha.fits", "pha_arf.fits"])
@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("linked", [False, True])
def test_a_failed_publication_is_taken_back(spectrum, tmp_path, monkeypatch, last, links, linked):
    """Old files are there again, also if the file system has no links, or the files are links to another folder."""
    path = tmp_path / "pha.fits"
    to_ogip(spectrum.drop_vars("edisp"), path)
    if linked:
        (tmp_path / "elsewhere").mkdir()
        for old in list(tmp_path.glob("*.fits")):
            old.rename(tmp_path / "elsewhere" / old.name)
            old.symlink_to(tmp_path / "elsewhere" / old.name)
    folder = tmp_path / "elsewhere" if linked else tmp_path
    before, names, replace = contents(folder), sorted(p.name for p in tmp_path.iterdir()), os.replace

    def refuse(source, target):
        if Path(target).name == last:
            raise OSError(f"the disk has no room for {last}")
        replace(source, target)

    def no_links(source, target):
        raise OSError("links are not supported")

    monkeypatch.setattr(os, "replace", refuse)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(OSError, match=f"no room for {last}"):
        to_ogip(spectrum.assign(counts=spectrum.counts + 1), path, overwrite=True)
    assert contents(folder) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    monkeypatch.undo()
    to_ogip(spectrum, path, overwrite=True)
    if not linked:  # links out of the folder are not followed in reading
        assert_equal(open_ogip(path), spectrum)
    assert len(list(folder.iterdir())) == (3 if linked else 4)  # nothing is left of what was kept aside


def test_files_that_appear_meanwhile_stay_alone(spectrum, tmp_path, monkeypatch):
    path = tmp_path / "pha.fits"
    write = xonoff.io.ogip.write_rmf

    def appear(*args):
        write(*args)
        path.write_text("theirs")

    monkeypatch.setattr(xonoff.io.ogip, "write_rmf", appear)
    with pytest.raises(FileExistsError, match=r"pha\.fits exists"):
        to_ogip(spectrum, path)
    assert contents(tmp_path) == {"pha.fits": b"theirs"}


def test_overwriting_removes_companions_that_are_no_longer_named(spectrum, tmp_path):
    path = tmp_path / "q.fits"
    bare = spectrum.drop_vars(
        ["counts_off", "acceptance_off", "exposure", "edisp", "energy_true", "energy_true_bounds"]
    )
    to_ogip(spectrum, path)
    to_ogip(spectrum, tmp_path / "r.fits")
    (tmp_path / "r_arf.fits").rename(tmp_path / "q_arf.fits")  # of another writing
    to_ogip(bare, path, overwrite=True)
    assert sorted(p.name for p in tmp_path.glob("q*")) == ["q.fits", "q_arf.fits"]
    assert_equal(open_ogip(path), bare)
    path.write_text("no FITS")
    to_ogip(spectrum, path, overwrite=True)
    assert_equal(open_ogip(path), spectrum)


def test_files_of_two_writings_are_not_mixed(spectrum, tmp_path):
    """A kill between the publication of two files: the old spectrum must not be read with the new background."""
    to_ogip(spectrum, tmp_path / "pha.fits")
    old = (tmp_path / "pha.fits").read_bytes()
    to_ogip(spectrum, tmp_path / "pha.fits", overwrite=True)
    (tmp_path / "pha.fits").write_bytes(old)
    with pytest.raises(xonoff.FormatError, match=r"pha_bkg.fits: card SETID = '\w+' found, '\w+' in pha.fits: write"):
        open_ogip(tmp_path / "pha.fits")
    (tmp_path / "other.fits").write_bytes(old)  # that names another's files on purpose
    assert_equal(open_ogip(tmp_path / "other.fits"), spectrum)


def test_checksums_are_checked_on_request(spectrum, tmp_path):
    path = tmp_path / "pha.fits"
    to_ogip(spectrum, path)
    assert_equal(xonoff.open_dataset(path, checksum=True), spectrum)
    with fits.open(path) as file:
        start = file["SPECTRUM"].fileinfo()["datLoc"]
    data = bytearray(path.read_bytes())
    data[start + 7] ^= 1
    path.write_bytes(data)
    with pytest.raises(xonoff.FormatError, match="damaged"):
        xonoff.open_dataset(path, checksum=True)
