import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from datasets import make
from hypothesis import example, given, settings
from hypothesis import strategies as st

import xonoff
from xonoff.io import atomic
from xonoff.io.project import from_dict, open_datasets, save_datasets, to_dict

MODELS = json.dumps([{"name": "crab", "spectral": {"type": "pl", "index": 2.3}}])
FORMS = pytest.mark.parametrize("form", ["fits", "netcdf", "zarr"])


def three() -> list[xr.Dataset]:
    from regions import CirclePixelRegion, PixCoord

    maps = [make(1), make(2, "CAR").assign_attrs(models=MODELS)]
    return [*maps, make(3).onoff.to_spectrum(CirclePixelRegion(PixCoord(4, 3), 1.5))]


def spectrum(name: str, factor: int = 1) -> xr.Dataset:
    ds = three()[2].onoff.copy(name)
    ds["counts"] = ds.counts * factor
    return ds


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@FORMS
def test_there_and_back(tmp_path, form):
    datasets = three()
    save_datasets(datasets, tmp_path / "crab.yaml", format=form)
    opened = open_datasets(tmp_path / "crab.yaml")
    assert [ds.onoff.name for ds in opened] == ["run 1", "run 2", "run 3"]
    for ours, back in zip(datasets, opened, strict=True):
        for name in ours.data_vars:
            np.testing.assert_allclose(back[name], ours[name], rtol=1e-13, err_msg=str(name))
    assert json.loads(opened[1].attrs["models"]) == json.loads(MODELS)
    assert "models" not in opened[0].attrs
    lazy = open_datasets(tmp_path / "crab.yaml", chunks={})
    assert all(ds.counts.chunks for ds in lazy)


def test_names_that_make_the_same_file(tmp_path):
    datasets = [make(1).onoff.copy(name) for name in ("a b", "a_b", "A b", "../x", "..")]
    save_datasets(datasets, tmp_path / "p.yaml")
    assert [ds.onoff.name for ds in open_datasets(tmp_path / "p.yaml")] == ["a b", "a_b", "A b", "../x", ".."]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "p.yaml", "p_A_b_3.fits", "p_a_b.fits", "p_a_b_2.fits", "p_dataset.fits", "p_x.fits",
    ]  # fmt: skip


def test_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "p.yaml"
    bad = make(2)
    bad["counts"].attrs["units"] = "m"
    with pytest.raises(xonoff.SchemaError, match="units 'm' found"):
        save_datasets([make(1), bad], path)
    assert not list(tmp_path.iterdir())
    save_datasets([make(1)], path)
    with pytest.raises(FileExistsError, match=r"p\.yaml exists"):
        save_datasets([make(2)], path)
    with pytest.raises(xonoff.SchemaError, match="units 'm' found"):
        save_datasets([make(1), bad], path, overwrite=True)
    assert [ds.onoff.name for ds in open_datasets(path)] == ["run 1"]
    save_datasets([make(1).onoff.copy("run 1"), make(3)], path, overwrite=True)
    assert [ds.onoff.name for ds in open_datasets(path)] == ["run 1", "run 3"]


@FORMS
def test_a_failed_overwrite_changes_nothing(tmp_path, form):
    path = tmp_path / "p.yaml"
    save_datasets([spectrum("a"), make(1).onoff.copy("b")], path, format=form)
    before = tree(tmp_path)
    bad = make(2).onoff.copy("b").assign(psf=("energy", ["x"] * 4))  # found out when it is written
    bad = bad if form == "fits" else bad.assign_attrs(odd={"a": 1})
    with pytest.raises(xonoff.XonoffError, match=r"p\.yaml: not written: dataset 'b'") as caught:
        save_datasets([spectrum("a", 2), bad], path, format=form, overwrite=True)
    assert ".part" not in str(caught.value)
    assert tree(tmp_path) == before
    assert not list(tmp_path.glob(".*"))


def test_a_failure_removes_no_file_of_others(tmp_path):
    (tmp_path / "p_a_bkg.fits").write_text("mine")
    bad = make(2).onoff.copy("b").assign(psf=("energy", ["x"] * 4))
    for first in (make(1).onoff.copy("a"), spectrum("a")):
        with pytest.raises((xonoff.SchemaError, FileExistsError)):
            save_datasets([first, bad], tmp_path / "p.yaml")
        assert tree(tmp_path) == {"p_a_bkg.fits": b"mine"}
    with pytest.raises(FileExistsError, match=r"p_a_bkg\.fits exists"):
        save_datasets([spectrum("a")], tmp_path / "p.yaml")
    save_datasets([make(1).onoff.copy("a")], tmp_path / "p.yaml")  # writes no such file
    assert (tmp_path / "p_a_bkg.fits").read_text() == "mine"


@FORMS
@pytest.mark.parametrize("renameat2", [True, False])
@pytest.mark.parametrize("failing", range(3))
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_failure_while_names_are_given(tmp_path, monkeypatch, form, renameat2, failing, overwrite):
    path = tmp_path / "p.yaml"
    if overwrite:
        save_datasets([make(1).onoff.copy("a")], path, format=form)
    before, calls = tree(tmp_path), []
    name = "_swap" if overwrite else "_rename_to_free_name"
    give = getattr(atomic, name)

    def fail_once(source, target):
        if target.parent == tmp_path:  # not within the temporary folder
            calls.append(target)
            if len(calls) == failing + 1:
                raise OSError("broken disk")
        give(source, target)

    monkeypatch.setattr(atomic, name, fail_once)
    if not renameat2:
        monkeypatch.setattr(atomic, "_renameat2", lambda *arguments: False)
    with pytest.raises(OSError, match="broken disk"):
        save_datasets([make(2).onoff.copy("a"), make(3).onoff.copy("b")], path, format=form, overwrite=overwrite)
    assert (calls[failing].name == "p.yaml") == (failing == 2)  # the last
    assert tree(tmp_path) == before
    assert not list(tmp_path.glob(".*"))
    monkeypatch.undo()
    save_datasets([make(2).onoff.copy("a"), make(3).onoff.copy("b")], path, format=form, overwrite=overwrite)
    assert [int(ds.counts.sum()) for ds in open_datasets(path)] == [int(make(n).counts.sum()) for n in (2, 3)]


def test_what_cannot_be_put_back_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "p.yaml"
    save_datasets([make(1).onoff.copy("a")], path)
    old, swap, broken = (tmp_path / "p_a.fits").read_bytes(), atomic._swap, []

    def breaks(source, target):
        if broken or target.name == "p.yaml":
            broken.append(target)
            raise OSError("broken disk")
        swap(source, target)

    monkeypatch.setattr(atomic, "_swap", breaks)
    with pytest.raises(OSError, match="broken disk") as caught:
        save_datasets([make(2).onoff.copy("a")], path, overwrite=True)
    (kept,) = tmp_path.glob("p_a.fits.*.old")
    assert kept.read_bytes() == old
    assert str(kept) in caught.value.__notes__[0]


def test_names_that_are_something_else(tmp_path):
    (tmp_path / "p_a.fits").mkdir()
    with pytest.raises(IsADirectoryError, match=r"p_a\.fits is a directory"):
        save_datasets([make(1).onoff.copy("a")], tmp_path / "p.yaml", overwrite=True)
    (tmp_path / "p_a.zarr").mkdir()
    with pytest.raises(FileExistsError, match=r"p_a\.zarr is a directory but not a Zarr store"):
        save_datasets([make(1).onoff.copy("a")], tmp_path / "p.yaml", format="zarr", overwrite=True)
    (tmp_path / "p_b.fits").symlink_to("data.fits")
    (tmp_path / "p_c.fits").symlink_to("data.fits")
    with pytest.raises(FileExistsError, match="links give it two of the names"):
        save_datasets([make(1).onoff.copy("b"), make(2).onoff.copy("c")], tmp_path / "p.yaml", overwrite=True)
    assert not tree(tmp_path)
    with pytest.raises(FileNotFoundError, match="gone is not a directory"):
        save_datasets([make(1)], tmp_path / "gone" / "p.yaml")


@FORMS
@pytest.mark.parametrize("chunks", [None, {}])
def test_lazy_datasets_over_their_own_files(tmp_path, form, chunks):
    path = tmp_path / "o.yaml"
    save_datasets([make(1).onoff.copy("a b"), make(2).onoff.copy("a_b"), spectrum("c")], path, format=form)
    opened = open_datasets(path, chunks=chunks)
    order = [opened[1], opened[0], opened[2].onoff.copy("a.b")]
    save_datasets(order, path, format=form, overwrite=True)
    back = open_datasets(path)
    assert [ds.onoff.name for ds in back] == ["a_b", "a b", "a.b"]
    for ds, ours in zip(back, (make(2), make(1), spectrum("c")), strict=True):
        np.testing.assert_array_equal(ds.counts, ours.counts)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_no_file_is_of_two_datasets(tmp_path, order):
    datasets = [spectrum("x"), spectrum("x_bkg", 2), spectrum("x_bkg_bkg", 3), make(1).onoff.copy("X_arf")][order]
    for _ in range(2):
        save_datasets(datasets, tmp_path / "p.yaml", overwrite=True)
        for ds, back in zip(datasets, open_datasets(tmp_path / "p.yaml", checksum=True), strict=True):
            assert back.onoff.name == ds.onoff.name
            np.testing.assert_array_equal(back.counts, ds.counts)
            np.testing.assert_array_equal(back.counts_off, ds.counts_off)


@settings(max_examples=30, deadline=None)
@given(st.text(min_size=1), st.text())
@example("R&D *x", "- &a *a")
@example("&a", "*a")
@example("x" * 300, "2020-01-01")
@example("\ud800", "\0")
def test_any_text_comes_back(name, text):
    import xonoff.io.project as project

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(project.store, "to_netcdf", lambda ds, path, overwrite: path.write_bytes(b""))  # of the YAML only
        patch.setattr(project, "open_dataset", lambda path, **options: make(1).assign_attrs(name="other"))
        models = [{"text": text, text: 1.5}]
        datasets = [make(1).assign_attrs(name=each, models=json.dumps(models)) for each in (name, f"{name}'")]
        save_datasets(datasets, f"{folder}/p.yaml", format="netcdf")
        first, second = open_datasets(f"{folder}/p.yaml")
    assert (first.attrs["name"], second.attrs["name"]) == (name, f"{name}'")
    assert json.loads(second.attrs["models"]) == models


@pytest.mark.parametrize("stem", ["é" * 40, "x" * 120, ".p", "a\\b", "a b"])
def test_names_of_projects(tmp_path, stem):
    datasets = [spectrum("q" * 60), spectrum("r" * 60), make(1)]
    save_datasets(datasets, tmp_path / f"{stem}.yaml")
    assert [ds.onoff.name for ds in open_datasets(tmp_path / f"{stem}.yaml")] == [ds.onoff.name for ds in datasets]


@FORMS
def test_models_are_those_of_the_yaml(tmp_path, form):
    save_datasets([make(1).assign_attrs(models=MODELS)], tmp_path / "p.yaml", format=form)
    (ds,) = open_datasets(tmp_path / "p.yaml")
    assert json.loads(ds.attrs["models"]) == json.loads(MODELS)
    text = (tmp_path / "p.yaml").read_text()
    (tmp_path / "p.yaml").write_text(text[: text.index("  models:")])
    (ds,) = open_datasets(tmp_path / "p.yaml")
    assert "models" not in ds.attrs


@FORMS
def test_sky_models_come_back(tmp_path, form):
    from xonoff.models import PointSource, PowerLaw1D, SkyModel, to_json

    text = to_json(
        [SkyModel(name, PowerLaw1D(3.5e-11, 1, x), PointSource(83.63, 22.01)) for name, x in (("a", 2), ("b", 0.1))]
    )
    save_datasets([make(1).assign_attrs(models=text), make(2)], tmp_path / "p.yaml", format=form)
    first, second = open_datasets(tmp_path / "p.yaml")
    assert json.loads(first.attrs["models"]) == json.loads(text)
    assert "models" not in second.attrs


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**1000), 2**1000))
def test_numbers_of_models_come_back(number):
    entry = to_dict(xr.Dataset(attrs={"models": json.dumps([{"a": number}])}))
    back = yaml.safe_load(yaml.safe_dump(entry))["models"][0]["a"]
    assert (back, type(back)) == (number, type(number))


def test_types_are_held_against_the_files(tmp_path):
    spectrum("s").drop_vars(["counts_off", "acceptance", "acceptance_off"]).onoff.to_ogip(tmp_path / "s.fits")
    spectrum("o").onoff.to_ogip(tmp_path / "o.fits")
    make(1).onoff.to_fits(tmp_path / "m.fits")
    make(1).onoff.to_map_dataset().onoff.to_fits(tmp_path / "b.fits")
    right = {
        ("s", "SpectrumDataset"), ("s", "SpectrumDatasetOnOff"),  # all PHA files are of this type in gammapy
        ("o", "SpectrumDatasetOnOff"), ("m", "MapDatasetOnOff"), ("b", "MapDataset"),
    }  # fmt: skip
    for file in "somb":
        for kind in ("SpectrumDataset", "SpectrumDatasetOnOff", "MapDataset", "MapDatasetOnOff"):
            entry = {"name": "n", "type": kind, "filename": f"{file}.fits"}
            if (file, kind) in right:
                assert from_dict(entry, folder=tmp_path).onoff.name == "n"
                continue
            with pytest.raises(xonoff.FormatError, match=f"type '{kind}' found, but {file}.fits holds a "):
                from_dict(entry, folder=tmp_path)
    assert from_dict({"filename": "o.fits"}, folder=tmp_path).onoff.name == "o"


def test_projects_and_lists_are_verified(tmp_path):
    save_datasets([make(1), spectrum("s")], tmp_path / "p.yaml")
    for name in ("p_run_1.fits", "p_s_rmf.fits"):
        data = bytearray((tmp_path / name).read_bytes())
        data[-2880] ^= 1
        (tmp_path / name).write_bytes(data)
        for path in (tmp_path / "p.yaml", [tmp_path / "p_run_1.fits", tmp_path / "p_s.fits"]):
            with pytest.raises(xonoff.FormatError, match=rf"{name}.*(DATASUM|CHECKSUM|checksum)"):
                open_datasets(path, checksum=True)
        data[-2880] ^= 1
        (tmp_path / name).write_bytes(data)
    assert len(open_datasets(tmp_path / "p.yaml", checksum=True)) == 2
    off = make(1)
    off["counts_off"] = off.counts_off + 1e-5
    save_datasets([off], tmp_path / "r.yaml")
    assert float((open_datasets(tmp_path / "r.yaml")[0].counts_off % 1).max()) == 0
    assert float((open_datasets(tmp_path / "r.yaml", round_counts_off=False)[0].counts_off % 1).max()) > 0


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (5, "int found, the path of a project \\(.yaml\\) or a list of paths of datasets accepted"),
        (b"p.yaml", "bytes found, the path of a project"),
        ({}, "dict found, the path of a project"),
        ([None], "list of paths, entry 1: NoneType found, the path of a project"),
        ([], "an empty list found, the path of a project"),
        (".", "a directory found, the path of a project, a YAML file, accepted; files of datasets are given as a list"),
        (os.devnull, "a device found, the path of a project, a YAML file, accepted"),
        ("a\0b.yaml", "null (byte|character).*: the path of a project, a YAML file, accepted"),
        ("a" * 5000, "too long.*: the path of a project, a YAML file, accepted"),
    ],
)
def test_what_is_no_project(path, message):
    with pytest.raises(xonoff.FormatError, match=message):
        open_datasets(path)


def test_files_that_are_no_project(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml: no such file found, the path of a project, a YAML file"):
        open_datasets(tmp_path / "none.yaml")
    make(1).onoff.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(xonoff.FormatError, match=r"a\.nc: this is no YAML.*given as a list of paths"):
        open_datasets(tmp_path / "a.nc")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: save_datasets([], path), "a list of datasets is wanted"),
        (lambda path: save_datasets(make(1), path), "a list of datasets is wanted, Dataset found"),
        (lambda path: save_datasets([make(1), make(1)], path), "the name 'run 1' is there twice: give names with"),
        (lambda path: save_datasets([make(1).assign_attrs(name="")], path), "a dataset has no name"),
        (lambda path: save_datasets([make(1)], path, format="asdf"), "format 'asdf' found, 'fits', 'netcdf', 'zarr'"),
        (lambda path: save_datasets([make(1)], path.with_suffix(".txt")), "this is a YAML file, name it"),
        (lambda path: save_datasets([make(1), 3], path), "datasets, entry 2: int found, Dataset accepted"),
        (lambda path: save_datasets([make(1)], path.with_stem("p" * 200)), "a name of up to 140 bytes is accepted"),
        (
            lambda path: save_datasets([make(1).assign_attrs(models='[{"a": NaN}]')], path),
            "attrs\\['models'\\], item 1: key a: float 'nan' found",
        ),
        (
            lambda path: save_datasets([make(1).assign_attrs(models=json.dumps([{"a": "x" * (17 << 20)}]))], path),
            "bytes, up to 16777216 accepted",
        ),
        (lambda path: save_datasets([make(1).assign_attrs(models="{")], path), "attrs\\['models'\\] is no JSON list"),
    ],
)
def test_what_is_not_written(tmp_path, call, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        call(tmp_path / "p.yaml")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets: [", "this is no YAML"),
        ("- a", "a list found, a mapping with the key datasets accepted"),
        ("models: []", "key datasets: NoneType found"),
        ("datasets: 3", "key datasets: int found"),
        ("datasets: [x]", "entry 1: entry of a dataset: a str found"),
        ("datasets: [{name: a}]", "entry 1: dataset 'a': filename None found"),
        ("datasets: [{name: 3, filename: a}]", "name 3 found, text accepted"),
        ("datasets: [{name: a, filename: gone.fits}]", "there is no file 'gone.fits'"),
        ("datasets: [{name: a, filename: /etc/passwd}]", "filename '/etc/passwd' leaves the folder"),
        ("datasets: [{name: a, filename: ../x.fits}]", "filename '../x.fits' leaves the folder"),
        ("datasets: [{name: a, filename: link.fits}]", "filename 'link.fits' leaves the folder"),
        ("datasets: [{name: a, type: FluxPoints, filename: a}]", "type 'FluxPoints' found, MapDatasetOnOff"),
        ("datasets: [{name: a, filename: ok.fits, models: 3}]", "dataset 'a': models: '3' found, a list"),
        ("components: 1\ndatasets: [{name: a, filename: ok.fits}]", "components: 1 found, a list of models accepted"),
        ("datasets: [{name: a, filename: !!python/object:os.system x}]", "this is no YAML"),
        ("a: &x [1]\nb: [*x, *x]\ndatasets: []", "line 1: anchors and aliases"),
        ("a: [*x]", "line 1: anchors and aliases"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: 2020-13-45", "this is no YAML"),
        ("a: !!bool x", "this is no YAML"),
        ("a: !!timestamp x", "this is no YAML"),
        ("datasets: []", "key datasets: an empty list found"),
        (
            "datasets: [{name: a, filename: ok.fits, models: [{b: 2020-01-01}]}]",
            "entry 1: dataset 'a': models, item 1: key b: date '2020-01-01' found",
        ),
        (
            "datasets: [{name: a, filename: ok.fits, models: [{b: [1, !!binary aGk=]}]}]",
            "models, item 1: key b, item 2: bytes",
        ),
        ("datasets: [{name: a, filename: ok.fits, models: [{b: !!set {x}}]}]", "models, item 1: key b: set"),
        ("datasets: [{name: a, filename: ok.fits, models: [{b: .nan}]}]", "models, item 1: key b: float 'nan' found"),
        (
            "datasets: [{name: a, filename: ok.fits, models: [{on: 1}]}]",
            "models, item 1: key True found, text accepted",
        ),
        (
            "components: [{name: m, type: SkyModel, spectral: {type: pl}, datasets_names: 5}]\ndatasets: [{}]",
            r"components: item 1 \('m'\): key datasets_names: 5 found, a list of names accepted",
        ),
        (
            'datasets: [{name: a, filename: "a\\0b"}]',
            "filename 'a.x00b' found .*null.*, the name of a file in the folder",
        ),
        (f"datasets: [{{name: a, filename: {'a' * 5000}}}]", "filename 'a{80}...' found .*too long"),
        ("datasets: [{name: a, filename: ok.fits, type: SpectrumDataset}]", "entry 1: .* holds a MapDatasetOnOff"),
        (
            "datasets: [{name: a, filename: ok.fits}, {name: a, filename: ok.fits}]",
            "entry 2: the name 'a' is that of entry 1 too",
        ),
        ("datasets: [{filename: ok.fits}, {filename: ok.fits}]", "entry 2: the name 'run 1' is that of entry 1 too"),
    ],
)
def test_projects_at_fault(tmp_path, text, message):
    folder = tmp_path / "in"
    folder.mkdir()
    make(1).onoff.to_fits(folder / "ok.fits")
    make(1).onoff.to_fits(tmp_path / "x.fits")
    os.symlink(tmp_path / "x.fits", folder / "link.fits")
    (folder / "p.yaml").write_text(text)
    with pytest.raises(xonoff.FormatError, match=f"p.yaml.*{message}"):
        open_datasets(folder / "p.yaml")


def models_yaml(**datasets: str) -> str:
    """Models of gammapy by name, and the datasets that they belong to."""
    lines = [f"- {{name: {name}, type: SkyModel, spectral: {{type: pl}}{names}}}" for name, names in datasets.items()]
    return "components:\n" + "\n".join(lines) + "\n"


def names_of(ds: xr.Dataset) -> list[str]:
    return [model.name for model in ds.onoff.models]


def test_models_of_all_and_of_some_datasets(tmp_path):
    make(1).onoff.to_fits(tmp_path / "a.fits")
    text = models_yaml(m1="", m2=", datasets_names: [run 1]", m3=", datasets_names: other")
    text += "datasets:\n- {name: run 1, type: MapDatasetOnOff, filename: a.fits}\n"
    (tmp_path / "p.yaml").write_text(text)
    (ds,) = open_datasets(tmp_path / "p.yaml")
    assert names_of(ds) == ["m1", "m2"]
    entry = ds.onoff.to_dict("a.fits")
    assert from_dict(entry, folder=tmp_path).attrs["models"] == ds.attrs["models"]
    content = yaml.safe_load(models_yaml(c="", n=", datasets_names: [x]"))["components"]
    one = from_dict({**entry, "name": "b"}, content, [sky_model("m")], folder=tmp_path)
    assert names_of(one) == ["m1", "m2", "c", "m"]
    assert one.onoff.name == "b"
    assert "models" not in from_dict({"filename": "a.fits"}, content[1:], folder=tmp_path).attrs
    with pytest.raises(xonoff.ModelError, match="dataset 'run 1': models: the name 'm1' found twice"):
        from_dict(entry, models=[sky_model("m1")], folder=tmp_path)
    with pytest.raises(xonoff.FormatError, match="models: 'm' found, a list of models accepted"):
        from_dict(entry, models="m", folder=tmp_path)
    with pytest.raises(xonoff.ModelError, match=r"dataset 'b': models: .*'m'.* found, .*version"):
        from_dict({"name": "b", "filename": "a.fits", "models": [{"name": "m"}]}, content, folder=tmp_path)


def sky_model(name: str, index: float = 2) -> object:
    from xonoff.models import PointSource, PowerLaw1D, SkyModel

    return SkyModel(name, PowerLaw1D(3.5e-11, 1, index), PointSource(83.63, 22.01))


@FORMS
def test_models_in_a_file_of_their_own(tmp_path, form):
    shared, own = sky_model("shared"), sky_model("own", 2.5)
    datasets = [make(1).onoff.assign_models([shared, own]), make(2).onoff.assign_models(shared), make(3)]
    save_datasets(datasets, tmp_path / "p.yaml", models=tmp_path / "m.yaml", format=form)
    assert "models" not in (tmp_path / "p.yaml").read_text()
    assert [names_of(ds) for ds in open_datasets(tmp_path / "p.yaml")] == [[], [], []]
    opened = open_datasets(tmp_path / "p.yaml", models=tmp_path / "m.yaml")
    assert [names_of(ds) for ds in opened] == [["shared", "own"], ["shared"], []]
    assert opened[0].attrs["models"] == datasets[0].attrs["models"]
    save_datasets(datasets[:2], tmp_path / "p.yaml", format=form, overwrite=True)
    assert [names_of(ds) for ds in open_datasets(tmp_path / "p.yaml")] == [["shared", "own"], ["shared"]]
    (tmp_path / "m.yaml").write_text(models_yaml(other=""))
    opened = open_datasets(tmp_path / "p.yaml", models=tmp_path / "m.yaml")  # in the place of those in the project
    assert [names_of(ds) for ds in opened] == [["other"], ["other"]]
    files = sorted(path for path in tmp_path.glob("p_run*") if path.suffix in (".fits", ".nc", ".zarr"))
    assert names_of(open_datasets(files, models=tmp_path / "m.yaml")[1]) == ["other"]


@pytest.mark.parametrize(
    ("datasets", "models", "message"),
    [
        ([make(1)], "../m.yaml", "m.yaml: not written: a name of its own in the folder of .*p.yaml accepted"),
        ([make(1)], "P.yaml", "a name of its own"),
        ([make(1)], "m.txt", "m.txt: not written: this is a YAML file"),
        ([make(1)], "m" * 200 + ".yaml", "a name of up to 140 bytes"),
        ([make(1).assign_attrs(models=MODELS)], "m.yaml", "m.yaml: not written: models: .* found"),
        (
            [make(1).onoff.assign_models(sky_model("m")), make(2).onoff.assign_models(sky_model("m", 3))],
            "m.yaml",
            "model 'm' of dataset 'run 2' found, which is another one in dataset 'run 1'",
        ),
    ],
)
def test_models_that_are_not_written(tmp_path, datasets, models, message):
    with pytest.raises(xonoff.XonoffError, match=message):
        save_datasets(datasets, tmp_path / "p.yaml", models=tmp_path / models)
    assert not list(tmp_path.iterdir())


def test_nothing_is_replaced_but_together_with_the_models(tmp_path):
    (tmp_path / "m.yaml").write_text("mine")
    with pytest.raises(FileExistsError, match=r"m\.yaml exists"):
        save_datasets([make(1)], tmp_path / "p.yaml", models=tmp_path / "m.yaml")
    bad = make(2).onoff.copy("b").assign(psf=("energy", ["x"] * 4))
    with pytest.raises(xonoff.XonoffError, match="dataset 'b'"):
        save_datasets([make(1), bad], tmp_path / "p.yaml", models=tmp_path / "m.yaml", overwrite=True)
    assert tree(tmp_path) == {"m.yaml": b"mine"}
    with pytest.raises(xonoff.FormatError, match=r"m\.yaml: a str found"):
        open_datasets(tmp_path / "p.yaml", models=tmp_path / "m.yaml")


def test_types():
    assert [to_dict(ds)["type"] for ds in three()] == ["MapDatasetOnOff"] * 2 + ["SpectrumDatasetOnOff"]
    assert to_dict(make(1).onoff.to_map_dataset())["type"] == "MapDataset"


@pytest.mark.filterwarnings("default")
def test_projects_of_gammapy(ds, tmp_path):
    datasets = pytest.importorskip("gammapy.datasets", reason="gammapy 2.1 is not installed: make bench runs these")
    from regions import CirclePixelRegion, PixCoord

    spectrum = ds.onoff.to_spectrum(CirclePixelRegion(PixCoord(19.5, 19.5), 3)).assign_attrs(name="spectrum")
    save_datasets([ds, spectrum], tmp_path / "ours.yaml")
    theirs = datasets.Datasets.read(tmp_path / "ours.yaml", lazy=False)
    assert theirs.names == ["tutorial", "spectrum"]
    for one, other in zip(theirs, (ds, spectrum), strict=True):
        np.testing.assert_allclose(one.stat_sum(), float(other.onoff.stat_sum()), rtol=1e-5)
    (tmp_path / "out").mkdir()
    datasets.Datasets([theirs[0]]).write(tmp_path / "out" / "theirs.yaml")
    back = open_datasets(tmp_path / "out" / "theirs.yaml")
    assert [b.onoff.name for b in back] == ["tutorial"]
    np.testing.assert_allclose(back[0].onoff.stat_sum(), ds.onoff.stat_sum(), rtol=1e-5)
    theirs.write(tmp_path / "out" / "both.yaml", overwrite=True)
    with pytest.raises(xonoff.FormatError, match=r"entry 2: .* a table found, an image accepted"):
        open_datasets(tmp_path / "out" / "both.yaml")


@pytest.mark.filterwarnings("default")
def test_models_are_exchanged_with_gammapy(ds, tmp_path):
    datasets = pytest.importorskip("gammapy.datasets", reason="gammapy 2.1 is not installed: make bench runs these")
    both = [
        ds.onoff.assign_models([sky_model("a"), sky_model("b")]),
        ds.onoff.copy("twin").onoff.assign_models(sky_model("a")),
    ]
    save_datasets(both, tmp_path / "ours.yaml", models=tmp_path / "models.yaml")
    theirs = datasets.Datasets.read(tmp_path / "ours.yaml", tmp_path / "models.yaml", lazy=False)
    assert [dataset.models.names for dataset in theirs] == [["a", "b"], ["a"]]
    (tmp_path / "out").mkdir()
    theirs.write(tmp_path / "out" / "theirs.yaml", tmp_path / "out" / "models.yaml")
    back = open_datasets(tmp_path / "out" / "theirs.yaml", models=tmp_path / "out" / "models.yaml")
    assert [dataset.attrs["models"] for dataset in back] == [dataset.attrs["models"] for dataset in both]
