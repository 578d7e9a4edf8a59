import json
import os

import numpy as np
import pytest
import xarray as xr
from datasets import make

import xonoff
from xonoff.io.project import from_dict, open_datasets, save_datasets, to_dict

MODELS = json.dumps([{"name": "crab", "spectral": {"type": "pl", "index": 2.3}}])


def three() -> list[xr.Dataset]:
    from regions import CirclePixelRegion, PixCoord

    maps = [make(1), make(2, "CAR").assign_attrs(models=MODELS)]
    return [*maps, make(3).onoff.to_spectrum(CirclePixelRegion(PixCoord(4, 3), 1.5))]


@pytest.mark.parametrize("form", ["fits", "netcdf", "zarr"])
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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: save_datasets([], path), "a list of datasets is wanted"),
        (lambda path: save_datasets(make(1), path), "a list of datasets is wanted, Dataset found"),
        (lambda path: save_datasets([make(1), make(1)], path), "the name 'run 1' is there twice: give names with"),
        (lambda path: save_datasets([make(1).assign_attrs(name="")], path), "a dataset has no name"),
        (lambda path: save_datasets([make(1)], path, format="asdf"), "format 'asdf' found, 'fits', 'netcdf', 'zarr'"),
        (lambda path: save_datasets([make(1)], path.with_suffix(".txt")), "a project is a YAML file"),
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
        ("components: 1\ndatasets: [{name: a, filename: ok.fits}]", "key components: '1' found"),
        ("datasets: [{name: a, filename: !!python/object:os.system x}]", "this is no YAML"),
        ("a: &x [1]\nb: [*x, *x]\ndatasets: []", "anchors and aliases"),
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


def test_models_of_all_and_of_some_datasets(tmp_path):
    make(1).onoff.to_fits(tmp_path / "a.fits")
    text = (
        "components:\n- {name: m1}\n- {name: m2, datasets_names: [run 1]}\n- {name: m3, datasets_names: other}\n"
        "datasets:\n- {name: run 1, type: MapDatasetOnOff, filename: a.fits}\n"
    )
    (tmp_path / "p.yaml").write_text(text)
    (ds,) = open_datasets(tmp_path / "p.yaml")
    assert [model["name"] for model in json.loads(ds.attrs["models"])] == ["m1", "m2"]
    entry = ds.onoff.to_dict("a.fits")
    assert from_dict(entry, folder=tmp_path).attrs["models"] == ds.attrs["models"]
    one = from_dict({"name": "b", "filename": "a.fits"}, [{"name": "c"}], [{"name": "m"}], folder=tmp_path)
    assert [model["name"] for model in json.loads(one.attrs["models"])] == ["c", "m"]
    assert one.onoff.name == "b"


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
