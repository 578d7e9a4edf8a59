"""Flux points in files: round trips, other writers, damaged and hostile files."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xonoff
from xonoff import read_sed, write_sed
from xonoff.io.ecsv import ecsv_text, read_ecsv
from xonoff.io.sed import SED_TYPES
from xonoff.models import PointSource, PowerLaw1D, SkyModel

SUFFIXES = ("fits", "ecsv")


@pytest.fixture(scope="module")
def points() -> xr.Dataset:
    """With a point that has no bin."""
    ds = xonoff.tutorial.dataset()
    mask = ds.mask_safe.copy(deep=True)
    mask[2] = False
    crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.633, 22.014))
    return xonoff.flux_points(ds.assign(mask_safe=mask), crab, n_sigma_ul=3)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_there_and_back(points, tmp_path, suffix):
    write_sed(points, tmp_path / f"a.{suffix}")
    xr.testing.assert_identical(read_sed(tmp_path / f"a.{suffix}"), points)
    write_sed(read_sed(tmp_path / f"a.{suffix}"), tmp_path / f"b.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["dnde", "e2dnde", "flux", "eflux"])
def test_one_flux_alone(points, tmp_path, suffix, kind):
    write_sed(points, tmp_path / f"a.{suffix}", sed_type=kind)
    read = read_sed(tmp_path / f"a.{suffix}")
    assert read.attrs == {**points.attrs, "sed_type": kind}
    for name in (kind, *(f"{kind}{end}" for end in ("_err", "_errn", "_errp", "_ul")), "ts", "counts", "is_ul"):
        xr.testing.assert_identical(read[name].drop_attrs(), points[name].drop_attrs())
    assert "norm" not in read
    if "dnde" in kind:  # the one follows from the other
        np.testing.assert_allclose(read.e2dnde_ul, points.e2dnde_ul, rtol=1e-14)
        np.testing.assert_allclose(read.dnde_ul, points.dnde_ul, rtol=1e-14)
    write_sed(read, tmp_path / f"b.{suffix}")
    xr.testing.assert_identical(read_sed(tmp_path / f"b.{suffix}"), read)
    with pytest.raises(
        xonoff.SchemaError, match=r"sed_type 'likelihood': the points have no ref_dnde, .*give sed_type="
    ):
        write_sed(read, tmp_path / f"c.{suffix}", sed_type="likelihood")


def test_astropy_reads_what_is_written(points, tmp_path):
    for suffix in SUFFIXES:
        write_sed(points, tmp_path / f"a.{suffix}")
    one, two = Table.read(tmp_path / "a.fits", hdu="FLUXPOINTS"), Table.read(tmp_path / "a.ecsv")
    assert one.colnames == two.colnames
    for name in one.colnames:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
        assert str(one[name].unit or "") == str(two[name].unit or "")
    assert str(one["ref_dnde"].unit) == "1 / (TeV s cm2)"
    assert two.meta["SED_TYPE"] == one.meta["SED_TYPE"] == "likelihood"
    assert two.meta["UL_CONF"] == pytest.approx(0.9973002)
    assert one["counts"].shape == (8, 1)
    # What the format asks for.
    for name in SED_TYPES["likelihood"] + ("ref_npred", "norm_err", "norm_scan", "ts", "loglike", "dloglike_scan"):
        assert name in one.colnames
    there = np.isfinite(one["norm"])
    np.testing.assert_allclose(-2 * (one["loglike_null"] - one["loglike"])[there], one["ts"][there], atol=1e-9)
    zero = np.flatnonzero(one["norm_scan"][0] == 0)
    assert (one["dloglike_scan"][there][:, zero] == 0).all()
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "FLUXPOINTS", "PROVENANCE"]


def test_log_likelihoods_alone_and_profiles_of_their_own(points, tmp_path):
    """As the format has it, and fermipy writes it: other units, and other norms for each point."""
    energy = np.array([100.0, 300.0, 1000.0])
    table = Table({"e_min": energy / 1.5, "e_ref": energy, "e_max": energy * 1.5})
    for name, unit in (("ref_dnde", "MeV-1 cm-2 s-1"), ("ref_flux", "cm-2 s-1"), ("ref_eflux", "MeV cm-2 s-1")):
        table[name], table[name].unit = np.array([3e-12, 2e-13, 1e-14]), unit
    for name in ("e_min", "e_ref", "e_max"):
        table[name].unit = "MeV"
    table["norm"], table["norm_err"] = np.array([1.0, 1.2, 0.4]), np.full(3, 0.2)
    table["ts"], table["loglike"] = np.array([25.0, 36.0, 4.0]), np.array([-50.0, -40.0, -30.0])
    table["norm_scan"] = table["norm"].data[:, None] * np.linspace(0, 2, 5)
    table["dloglike_scan"] = table["ts"].data[:, None] / 2 * np.array([0, 0.75, 1, 0.75, 0])
    table["bin_name"] = np.array(["a", "b", "c"])
    table.meta["SED_TYPE"] = "likelihood"
    table.write(tmp_path / "a.fits")
    read = read_sed(tmp_path / "a.fits")
    np.testing.assert_allclose(read.energy, energy * 1e-6)
    np.testing.assert_allclose(read.dnde, [3e-6, 2.4e-7, 4e-9])
    np.testing.assert_allclose(read.ref_eflux, np.array([3e-12, 2e-13, 1e-14]) * 1e-6)
    np.testing.assert_allclose(read.stat, [100, 80, 60])
    np.testing.assert_allclose(read.stat_null, [125, 116, 64])
    assert read.norm_scan.dims == read.stat_scan.dims == ("energy", "scan")
    np.testing.assert_allclose(read.stat_scan[:, 2], read.stat)
    np.testing.assert_allclose(read.stat_scan[:, 0], read.stat_null)
    write_sed(read, tmp_path / "b.ecsv")
    xr.testing.assert_allclose(read_sed(tmp_path / "b.ecsv"), read)


def test_a_list_of_fluxes_is_enough(tmp_path):
    table = Table({"e_ref": [1.0, 3.0], "dnde": [1e-11, 1e-12], "note": ["first", "second"]})
    table["e_ref"].unit, table["dnde"].unit = "TeV", "m-2 s-1 TeV-1"
    table.write(tmp_path / "a.ecsv")
    read = read_sed(tmp_path / "a.ecsv")
    assert set(read.data_vars) == {"dnde", "e2dnde"}
    assert "energy_bounds" not in read.coords
    np.testing.assert_allclose(read.dnde, [1e-15, 1e-16])
    table["e_min"], table["e_max"], table["flux"] = [0.5, 2.0], [2.0, 5.0], [1e-11, 1e-12]
    for name, unit in (("e_min", "TeV"), ("e_max", "TeV"), ("flux", "cm-2 s-1")):
        table[name].unit = unit
    table.remove_columns(["e_ref", "dnde"])
    table.write(tmp_path / "b.ecsv", delimiter=",")
    np.testing.assert_allclose(read_sed(tmp_path / "b.ecsv").energy, [1.0, np.sqrt(10)])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_existing_files_are_kept(points, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_sed(points, path)
    assert path.read_text() == "mine"
    write_sed(points, path, overwrite=True)
    assert read_sed(path).sizes["energy"] == 8
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_names_of_sources(points, tmp_path):
    odd = 'it\'s "2": [a]\n# {b} & *c é'
    named = points.assign_attrs(source=odd)
    write_sed(named, tmp_path / "a.ecsv")
    assert read_sed(tmp_path / "a.ecsv").attrs["source"] == odd
    assert Table.read(tmp_path / "a.ecsv").meta["SOURCE"] == odd
    with pytest.raises(xonoff.FormatError, match="card SOURCE"):
        write_sed(named, tmp_path / "a.fits")
    assert not (tmp_path / "a.fits").exists()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda p: (p, "a.txt"), xonoff.FormatError, "named .fits or .ecsv"),
        (lambda p: (p, "a.fits.gz"), xonoff.FormatError, "not written"),
        (lambda p: (p.drop_vars("energy"), "a.fits"), xonoff.SchemaError, "no coordinate energy"),
        (lambda p: (p.drop_vars("ref_flux"), "a.fits"), xonoff.SchemaError, "no ref_flux: give sed_type='likelihood'"),
        (lambda p: (p[["ts"]], "a.fits"), xonoff.SchemaError, "sed_type 'likelihood'.*they have no fluxes at all"),
        (lambda p: (p[["ts"]].assign_attrs(sed_type="x"), "a.fits"), xonoff.SchemaError, "sed_type 'x' found"),
    ],
)
def test_what_is_not_written(points, tmp_path, change, error, message):
    changed, name = change(points)
    with pytest.raises(error, match=message):
        write_sed(changed, tmp_path / name)
    assert not list(tmp_path.iterdir())


def as_table(points: xr.Dataset, path: Path) -> Table:
    write_sed(points, path)
    return Table.read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.remove_column("norm"), "no column norm found"),
        (lambda t: t.meta.update(SED_TYPE="light curve"), "SED_TYPE 'light curve' found"),
        (lambda t: t.meta.update(SED_TYPE=["a"]), "SED_TYPE"),
        (lambda t: t.replace_column("norm", np.full(8, "x")), "column norm: <U1 found, numbers accepted"),
        (lambda t: t.replace_column("is_ul", np.ones(8)), "column is_ul: float64 found, bool accepted"),
        (lambda t: t.replace_column("norm", np.ones((8, 2))), r"column norm: cells of shape \(2,\) found"),
        (lambda t: t.replace_column("stat_scan", np.ones(8)), "column stat_scan: cells of shape"),
        (lambda t: t.replace_column("ref_dnde", np.ones(8)), "column ref_dnde: unit '' found"),
        (lambda t: setattr(t["ref_dnde"], "unit", "m"), "column ref_dnde: unit 'm' found"),
        (lambda t: t.replace_column("e_max", t["e_min"]), "e_min below e_max"),
        (lambda t: t["e_ref"].__setitem__(0, -1), "positive energies"),
        (lambda t: t.remove_rows(slice(None)), "one point or more"),
    ],
)
def test_wrong_columns(points, tmp_path, change, message):
    table = as_table(points, tmp_path / "a.ecsv")
    change(table)
    table.write(tmp_path / "b.ecsv")
    with pytest.raises(xonoff.FormatError, match=message) as caught:
        read_sed(tmp_path / "b.ecsv")
    assert "b.ecsv" in str(caught.value)


HEAD = "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: e_ref, unit: TeV, datatype: float64}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line '' found"),
        ("e_ref\n1\n", "first line 'e_ref' found"),
        ("# %ECSV 1.0\n# ---\n# [\ne_ref\n1\n", "no YAML"),
        ("# %ECSV 1.0\n# ---\n# datatype: 3\ne_ref\n1\n", "datatype: 3 found"),
        ("# %ECSV 1.0\n# ---\n# datatype: [3]\ne_ref\n1\n", "3 found, a mapping"),
        (HEAD.replace("e_ref,", "[a],") + "e_ref\n1\n", "name of a column"),
        (HEAD + "# delimiter: ';'\ne_ref\n1\n", "delimiter"),
        (HEAD + "dnde\n1\n", "they have to agree"),
        (HEAD, "they have to agree"),
        (HEAD + "e_ref\n1 2\n", "row 1: 2 values found, 1 accepted"),
        (HEAD + "e_ref\nx\n", "column e_ref: could not convert"),
        (HEAD + 'e_ref\n"1\n', "rows: "),
        (HEAD.replace("float64", "complex128") + "e_ref\n1\n", "datatype 'complex128'"),
        (HEAD.replace("float64", "object") + "e_ref\n1\n", "datatype 'object'"),
        (HEAD.replace("float64", "string, subtype: json") + "e_ref\n1\n", "subtype 'json'"),
        (HEAD.replace("float64", "string, subtype: 'float64[2]'") + "e_ref\n[1]\n", "column e_ref"),
        (HEAD.replace("float64", "string, subtype: 'float64[2]'") + "e_ref\n" + "[" * 5000 + "\n", "column e_ref"),
        (HEAD.replace("float64", "bool") + "e_ref\nmaybe\n", "'maybe' found"),
        (HEAD + "# meta: 3\ne_ref\n1\n", "meta: 3 found"),
        (HEAD + "# meta: !!python/object/apply:os.system ['true']\ne_ref\n1\n", "no YAML"),
        (HEAD + "# meta: !astropy.table.SerializedColumn {a: 1}\ne_ref\n1\n", "no YAML"),
        (HEAD + "e_ref\n1\n", "SED_TYPE None found"),
    ],
)
def test_text_that_is_no_table(tmp_path, text, message):
    (tmp_path / "a.ecsv").write_text(text)
    with pytest.raises(xonoff.FormatError, match=message) as caught:
        read_sed(tmp_path / "a.ecsv")
    assert "a.ecsv" in str(caught.value)


def test_files_that_are_none(points, tmp_path):
    for suffix in SUFFIXES:
        with pytest.raises(FileNotFoundError):
            read_sed(tmp_path / f"a.{suffix}")
        (tmp_path / f"folder.{suffix}").mkdir()
        with pytest.raises(xonoff.FormatError, match="directory"):
            read_sed(tmp_path / f"folder.{suffix}")
    (tmp_path / "b.ecsv").write_bytes(b"# %ECSV 1.0\n\xff")
    with pytest.raises(xonoff.FormatError, match="no ECSV"):
        read_sed(tmp_path / "b.ecsv")
    xonoff.tutorial.dataset().onoff.to_fits(tmp_path / "map.fits")
    with pytest.raises(xonoff.FormatError, match="no table FLUXPOINTS"):
        read_sed(tmp_path / "map.fits")
    with pytest.raises(xonoff.FormatError, match=r"named .fits or .ecsv"):
        read_sed(tmp_path / "a.csv")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), suffix=st.sampled_from(SUFFIXES))
def test_a_damaged_file_is_refused_or_read(points, tmp_path, data, suffix):
    path = tmp_path / f"a.{suffix}"
    write_sed(points, path, overwrite=True)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.sampled_from([len(raw), len(raw) // 2]))])
    said = ""
    try:
        assert read_sed(path).sizes["energy"] > 0
    except xonoff.FormatError as error:
        said = str(error)
    assert not said or path.name in said


def test_tables_of_text(tmp_path):
    columns = {"a": np.array([1, 2]), "b": np.array([[1.5, np.nan], [np.inf, 0.1]]), "c": np.array([True, False])}
    (tmp_path / "a.ecsv").write_text(ecsv_text(columns, {"a": "TeV"}, {"N": 1}))
    read, units, meta = read_ecsv(tmp_path / "a.ecsv")
    for name, values in columns.items():
        np.testing.assert_array_equal(read[name], values)
        assert read[name].dtype == values.dtype
    assert (units["a"], meta) == ("TeV", {"N": 1})
    assert str(Table.read(tmp_path / "a.ecsv")["a"].unit) == "TeV"
