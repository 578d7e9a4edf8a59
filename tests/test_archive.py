import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import astropy.units as u
import dask
import numpy as np
import pytest
import regions
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.time import Time
from datasets import make
from killing import Forker, kill_writer

import xonoff
from xonoff import Archive
from xonoff.errors import DamagedRunWarning, FormatError, GeometryError, SchemaError


def run_of(number: int, **attrs: object) -> xr.Dataset:
    """A small run; its data depend on the number alone."""
    return make(number, "TAN", storage=np.float32).assign_attrs(attrs)


@pytest.fixture
def archive(tmp_path):
    archive = Archive.create(tmp_path / "a.zarr")
    for number in range(3):
        archive.append(run_of(number))
    return archive


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


class TestMapping:
    def test_runs_come_back_bit_for_bit(self, tmp_path, archive):
        for opened in (archive, Archive.open(tmp_path / "a.zarr")):
            assert opened.ids == [0, 1, 2] == list(opened)
            assert len(opened) == 3
            for number in opened:
                ds = opened[number].load()
                xr.testing.assert_identical(ds, run_of(number))
                assert {k: v.dtype for k, v in ds.variables.items()} == {
                    k: v.dtype for k, v in run_of(number).variables.items()
                }

    def test_a_number_and_its_text_are_one(self, archive):
        assert "1" in archive
        assert np.int64(1) in archive
        assert archive["1"].identical(archive[1])
        with pytest.raises(FileExistsError, match="holds a run '1'"):
            archive.append(run_of(7), "1")

    def test_missing(self, archive):
        assert 7 not in archive
        assert None not in archive
        with pytest.raises(KeyError, match="holds no run 7"):
            archive[7]
        with pytest.raises(KeyError, match="holds no run 7, 8"):
            archive.select(obs_id=[1, 7, 8])
        with pytest.raises(KeyError, match="holds no run 7"):
            archive.remove(7)

    def test_lazy(self, tmp_path, archive):
        def refuse(*arguments, **options):
            raise AssertionError("computed")

        opened = Archive.open(tmp_path / "a.zarr", chunks={})
        with dask.config.set(scheduler=refuse):
            assert dask.is_dask_collection(opened[1].counts.data)
            tree = opened.to_datatree()
        assert not archive[1].counts.variable._in_memory
        assert list(tree.children) == ["0", "1", "2"]
        xr.testing.assert_identical(tree["1"].to_dataset().compute(), run_of(1))

    def test_lazy_runs_are_told_apart(self, tmp_path, archive):
        """Blocks of two runs have names of their own in dask, so that they do not stand for each other."""
        runs = list(Archive.open(tmp_path / "a.zarr", chunks={}).values())
        assert len({ds.counts.data.name for ds in runs}) == 3
        expected = xonoff.stack([run_of(number) for number in range(3)])
        assert xonoff.stack(runs).counts.compute().identical(expected.counts)

    def test_chunked_runs(self, tmp_path):
        archive = Archive.create(tmp_path / "a.zarr")
        archive.append(run_of(1).chunk(energy=3, y=4, x=5))
        xr.testing.assert_identical(archive[1].load(), run_of(1))

    def test_runs_computed_on_a_cluster(self, tmp_path):
        distributed = pytest.importorskip("distributed")
        archive = Archive.create(tmp_path / "a.zarr")
        options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": ":0"}
        with distributed.LocalCluster(**options, local_directory=str(tmp_path)) as cluster:
            with distributed.Client(cluster):
                archive.append(run_of(1).chunk(energy=3, y=4, x=5))
            xr.testing.assert_identical(archive[1].load(), run_of(1))

    def test_equality_reads_nothing(self, tmp_path, archive):
        assert archive == archive
        assert archive != Archive.open(tmp_path / "a.zarr")
        assert archive in {archive}

    def test_spectrum(self, tmp_path, ds):
        archive = Archive.create(tmp_path / "a.zarr")
        center = SkyCoord(83.63, 22.01, unit="deg")
        spectrum = ds.onoff.to_spectrum(regions.CircleSkyRegion(center, 0.3 * u.deg))
        archive.append(spectrum, "crab")
        xr.testing.assert_identical(archive["crab"].load(), spectrum)
        assert len(archive.select(cone=((83.6, 22), 180))) == 0

    @pytest.mark.parametrize(
        "obs_id", [0, -5, 10**30, "crab", "../../x", ".", "a/b", "a b", "A=2E", "é☃", "x" * 200, "con", "%41", "a.b.c"]
    )
    def test_odd_ids(self, tmp_path, obs_id):
        archive = Archive.create(tmp_path / "a.zarr")
        assert archive.append(run_of(1), obs_id) == obs_id
        opened = Archive.open(tmp_path / "a.zarr")
        assert opened.ids == [obs_id]
        assert opened[obs_id].onoff.name == "run 1"
        assert [str(i) for i in opened.index.obs_id.values] == [str(obs_id)]
        assert list(tmp_path.iterdir()) == [tmp_path / "a.zarr"]
        assert {path.split("/")[0] for path in files(tmp_path / "a.zarr")} == {"zarr.json", "index", "runs"}

    @pytest.mark.parametrize("obs_id", ["", " a", "a\n", "\0", 1.5, True, None, b"a", "x" * 201, "\ud800"])
    def test_ids_that_are_refused(self, tmp_path, obs_id):
        archive = Archive.create(tmp_path / "a.zarr")
        with pytest.raises(SchemaError, match="obs_id"):
            archive.append(run_of(1).drop_vars("obs_id"), obs_id)
        assert files(tmp_path / "a.zarr") == {"zarr.json", "runs/zarr.json"}

    def test_id_of_the_dataset(self, tmp_path, ds):
        archive = Archive.create(tmp_path / "a.zarr")
        assert archive.append(run_of(5)) == 5
        with pytest.raises(SchemaError, match=r"2 values of obs_id found, one is wanted.*give obs_id="):
            archive.append(ds)
        named = run_of(6).assign_coords(obs_id=("obs", np.array(["six"], np.dtypes.StringDType())))
        assert archive.append(named) == "six"

    def test_any_zarr_library_reads_a_run(self, tmp_path, archive):
        group = next((tmp_path / "a.zarr" / "runs").glob("1.*"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zarr names our objects beside its own
            xr.testing.assert_identical(xr.open_zarr(group, consolidated=False).load(), run_of(1))
        xr.testing.assert_identical(xonoff.open_dataset(group).load(), run_of(1))

    def test_show(self, tmp_path, archive):
        archive.append(run_of(9, name="<script>"), "<b>")
        assert repr(archive).startswith("<Archive of 4 runs, livetime 1.114 h, 2026-01-01T00:00 to 2026-01-1")
        html = archive._repr_html_()
        assert "&lt;b&gt;" in html
        assert "<script>" not in html

    def test_index(self, archive):
        table = archive.index
        assert table.obs_id.values.tolist() == [0, 1, 2]
        assert table.livetime.values.tolist() == [1000, 1001, 1002]
        assert table.time_start.dtype == np.dtype("datetime64[ns]")
        np.testing.assert_allclose([table.energy_min[0], table.energy_max[0]], [1, 16])
        np.testing.assert_allclose(table.ra, 83.6, atol=0.1)


class TestSelect:
    def pointed(self, tmp_path, positions):
        archive = Archive.create(tmp_path / "a.zarr")
        for number, (lon, lat) in enumerate(positions):
            sky = xonoff.SkyGrid.create((lon, lat), shape=(10, 10), pixel_size=0.2, projection="TAN")
            geom = xonoff.Geom(sky, (1.0, 10.0))
            counts = xr.Variable(geom.dims, np.ones(geom.shape), {"units": "1"})
            start = np.datetime64("2026-01-01", "ns") + np.timedelta64(number, "D")
            coords = {
                "ra_pnt": ("obs", [lon], {"units": "deg"}),
                "dec_pnt": ("obs", [lat], {"units": "deg"}),
                "gti_start": ("gti", [start]),
                "gti_stop": ("gti", [start + np.timedelta64(1, "h")]),
            }
            archive.append(xr.Dataset({"counts": counts}, {**geom.coords(), **coords}), number)
        return archive

    def test_cone(self, tmp_path):
        archive = self.pointed(tmp_path, [(359.5, 0), (0.5, 0), (180, 89.5), (0, 89.5), (83.6, 22), (90, -90)])
        select = archive.select
        assert select(cone=((0, 0), 0.6), by="pointing").ids == [0, 1]
        assert select(cone=((0.0, 0.0), 0.4), by="pointing").ids == []
        assert select(cone=((0.0, 0.0), 0.4)).ids == [0, 1]  # the maps reach 1 deg
        assert select(cone=((0.0, 1.3), 0.2)).ids == []
        assert select(cone=((0.0, 1.3), "20 arcmin")).ids == [0, 1]
        assert select(cone=((0, 90), 0.51), by="pointing").ids == [2, 3]
        assert select(cone=((77, 90), 0.001)).ids == [2, 3]  # inside of both maps
        assert select(cone=((77, -90), 0.001)).ids == [5]
        crab = SkyCoord(83.633, 22.014, unit="deg")
        assert select(cone=(crab.galactic, "1 deg")).ids == [4]
        assert select(cone=(crab, 180)).ids == archive.ids

    def test_conditions_are_joined_by_and(self, tmp_path):
        archive = self.pointed(tmp_path, [(0, 0), (0.5, 0), (40, 0), (0.2, 0)])
        near = archive.select(cone=((0, 0), 1), time=("2026-01-02", "2026-01-04T00:30"))
        assert near.ids == [1, 3]
        assert near.select(obs_id=3).ids == [3]
        assert archive.select(cone=((0, 0), 1), obs_id=[0, 2]).ids == [0]
        assert archive.select().ids == [0, 1, 2, 3]

    def test_time(self, tmp_path):
        select = self.pointed(tmp_path, [(0, 0)] * 3).select
        assert select(time=("2026-01-02T00:30", None)).ids == [1, 2]
        assert select(time=("2026-01-02T01:00", None)).ids == [2]  # run 1 has ended
        assert select(time=(None, np.datetime64("2026-01-02"))).ids == [0]
        assert select(time=(Time("2026-01-02T00:00:01", scale="tt"), Time("2026-01-02T00:00:02", scale="tt"))).ids == [
            1
        ]
        without = run_of(8).drop_vars(["gti_start", "gti_stop"])
        archive = Archive.create(tmp_path / "b.zarr")
        archive.append(without)
        assert archive.select(time=(None, None)).ids == []

    @pytest.mark.parametrize(
        ("condition", "message"),
        [
            ({"cone": (0, 0, 1)}, "cone: .* found, .position, radius. accepted"),
            ({"cone": ((0, 0), -1)}, "an angle from 0 to 180 deg accepted"),
            ({"cone": ((0, 0), "1 TeV")}, "1 TeV"),
            ({"cone": ((0, 95), 1)}, "one position on the sky accepted"),
            ({"cone": ((0, 0), 1), "by": "center"}, "'footprint' or 'pointing' accepted"),
            ({"time": "2026"}, "time: '2026' found, .start, stop. accepted"),
            ({"time": ("2026-02", "2026-01")}, "it ends at .* before it starts"),
            ({"time": ("NaT", None)}, "accepted"),
            ({"obs_id": [1.5]}, "1.5 found"),
        ],
    )
    def test_refused(self, archive, condition, message):
        with pytest.raises(SchemaError, match=message):
            archive.select(**condition)

    def test_empty(self, tmp_path):
        archive = Archive.create(tmp_path / "a.zarr")
        assert len(Archive.open(tmp_path / "a.zarr").select(cone=((0, 0), 1), time=(None, None))) == 0
        assert dict(archive.index.sizes) == {"obs": 0}
        assert repr(archive) == "<Archive of 0 runs>"
        assert archive._repr_html_()
        assert archive.check() == {}
        assert archive.clean() == []
        assert list(archive.to_datatree().children) == []
        with pytest.raises(SchemaError, match="no run selected"):
            archive.stack(run_of(1).onoff.geom, out=tmp_path / "out.zarr")


class TestRefusal:
    def test_create_over_something(self, tmp_path, archive):
        with pytest.raises(FileExistsError, match=r"holds an archive or another Zarr store: use Archive\.open"):
            Archive.create(tmp_path / "a.zarr")
        with pytest.raises(FileExistsError, match=r"holds 'a\.zarr'"):
            Archive.create(tmp_path)
        with pytest.raises(FileNotFoundError, match="does not exist: create it"):
            Archive.create(tmp_path / "nowhere" / "a.zarr")
        (tmp_path / "b.zarr" / "runs").mkdir(parents=True)  # of a creation that was killed
        assert Archive.create(tmp_path / "b.zarr").ids == []

    def test_open_something_else(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no archive found"):
            Archive.open(tmp_path / "a.zarr")
        run_of(1).onoff.to_zarr(tmp_path / "ds.zarr")
        with pytest.raises(FormatError, match="a Zarr store without the attribute xonoff_archive found"):
            Archive.open(tmp_path / "ds.zarr")
        with pytest.raises(FormatError, match=r"but no zarr\.json found"):
            Archive.open(tmp_path)
        with pytest.raises(TypeError, match="a path, a URL"):
            Archive.open(3)
        (tmp_path / "file").write_text("x")
        with pytest.raises(FileNotFoundError, match="no archive found"):
            Archive.open(tmp_path / "file")

    def test_later_layout(self, tmp_path, archive):
        root = tmp_path / "a.zarr" / "zarr.json"
        root.write_text(root.read_text().replace('"xonoff_archive": 1', '"xonoff_archive": 2'))
        with pytest.raises(FormatError, match="layout 2 found, 1 accepted: use a newer xonoff"):
            Archive.open(tmp_path / "a.zarr")
        root.write_text("{")
        with pytest.raises(FormatError, match=r"zarr.json is damaged"):
            Archive.open(tmp_path / "a.zarr")

    def test_same_run_twice(self, tmp_path, archive):
        before = files(tmp_path / "a.zarr")
        with pytest.raises(FileExistsError, match="holds a run 1: pass overwrite=True"):
            archive.append(run_of(1, name="other"))
        assert files(tmp_path / "a.zarr") == before
        archive.append(run_of(1, name="other"), overwrite=True)
        assert archive[1].onoff.name == Archive.open(tmp_path / "a.zarr")[1].onoff.name == "other"

    @pytest.mark.parametrize(
        ("ds", "error", "message"),
        [
            (run_of(1).assign(bad=("n", np.ones(3, complex))), FormatError, "'bad' has dtype complex128"),
            (run_of(1).assign({"../x": ((), 1.0)}), FormatError, "cannot be stored"),
            (run_of(1).assign_coords(x=("x", [0, 1, 2, 3, 4, 5, 6, 9])), GeometryError, "not evenly spaced"),
            (run_of(1).counts, SchemaError, "a DataArray found, an xarray.Dataset accepted"),
        ],
    )
    def test_what_cannot_be_stored(self, tmp_path, archive, ds, error, message):
        before = files(tmp_path / "a.zarr")
        with pytest.raises(error, match=message):
            archive.append(ds, 9)
        assert files(tmp_path / "a.zarr") == before

    def test_a_block_that_cannot_be_computed(self, tmp_path, archive):
        def breaking(block):
            raise RuntimeError("broken block")

        before = files(tmp_path / "a.zarr")
        ds = run_of(9).chunk(y=3)
        ds["counts"] = ds.counts.copy(data=ds.counts.data.map_blocks(breaking, dtype=np.int64))
        with pytest.raises(RuntimeError, match="broken block"):
            archive.append(ds)
        assert files(tmp_path / "a.zarr") == before
        assert Archive.open(tmp_path / "a.zarr").ids == [0, 1, 2]

    @pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
    def test_read_only_folder(self, tmp_path, archive):
        for path in [tmp_path / "a.zarr", *(tmp_path / "a.zarr").rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        opened = Archive.open(tmp_path / "a.zarr")
        xr.testing.assert_identical(opened[1].load(), run_of(1))
        with pytest.raises(PermissionError):
            opened.append(run_of(5))


class TestDamage:
    """One run is damaged: it is named, and the others are as they were."""

    def object_of(self, tmp_path, number, name):
        return next((tmp_path / "a.zarr").glob(f"runs/{number}.*/{name}"))

    def assert_named(self, tmp_path, message, *, data=True, opens=False):
        archive = Archive.open(tmp_path / "a.zarr")
        for number in (0, 2):
            xr.testing.assert_identical(archive[number].load(), run_of(number))
        assert list(archive.check(data=data)) == [1]
        with pytest.raises(FormatError, match=rf"(?s)a.zarr.*{message}"):
            archive[1].load()
        if not opens:
            with pytest.raises(FormatError, match=rf"(?s)a.zarr: run 1: .*{message}"):
                _ = archive[1]
        geom = run_of(1).onoff.geom
        with pytest.raises(FormatError, match=r"a.zarr: run 1: "):
            archive.stack(geom, out=tmp_path / "out.zarr")
        sound = archive.stack(geom, [0, 2], out=tmp_path / "sound.zarr")
        assert sound.counts.identical(xonoff.stack([run_of(0), run_of(2)], geom).counts)

    def test_lost_chunk(self, tmp_path, archive):
        self.object_of(tmp_path, 1, "counts/c/0/0/0").unlink()
        self.assert_named(tmp_path, r"runs/1\..*/counts/c/0/0/0 is lost", opens=True)

    def test_flipped_bits(self, tmp_path, archive):
        """Wherever a bit of a run turns, it is an error that names the run, or nothing that is read."""
        rng = random.Random(1)
        folder = self.object_of(tmp_path, 1, "zarr.json").parent
        good = run_of(1)
        objects = sorted(path for path in folder.rglob("*") if path.is_file())
        silent = 0
        for _ in range(60):
            path = rng.choice(objects)
            whole = path.read_bytes()
            damaged = bytearray(whole)
            damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
            path.write_bytes(damaged)
            try:
                xr.testing.assert_identical(Archive.open(tmp_path / "a.zarr")[1].load(), good)
                silent += 1  # a copy of what the pack has
            except FormatError as error:
                assert "1" in str(error)  # noqa: PT017
            path.write_bytes(whole)
        assert 0 < silent < 60

    @pytest.mark.parametrize("name", ["counts/c/0/0/0", "psf/c/0/0/0/0"])
    def test_damaged_chunk(self, tmp_path, archive, name):
        path = self.object_of(tmp_path, 1, name)
        path.write_bytes(path.read_bytes()[:-3])
        self.assert_named(tmp_path, "is damaged, its checksum does not match", opens=True)

    def test_damaged_metadata(self, tmp_path, archive):
        path = self.object_of(tmp_path, 1, "xonoff_manifest/pack")
        path.write_bytes(path.read_bytes()[:-100])
        self.assert_named(tmp_path, "does not match its checksum", data=False)

    def test_metadata_of_another_run(self, tmp_path, archive):
        other = self.object_of(tmp_path, 2, "xonoff_manifest/pack").read_bytes()
        self.object_of(tmp_path, 1, "xonoff_manifest/pack").write_bytes(other)
        self.assert_named(tmp_path, "does not match its checksum", data=False)

    def test_lost_run(self, tmp_path, archive):
        shutil.rmtree(self.object_of(tmp_path, 1, "zarr.json").parent)
        self.assert_named(tmp_path, r"its data in runs/1\.[0-9a-f]{16} are gone", data=False)

    @pytest.mark.parametrize("damage", ["truncated", "flipped", "of another", "empty", "list", "escape"])
    def test_damaged_entry(self, tmp_path, archive, damage):
        path = tmp_path / "a.zarr" / "index" / "1.json"
        text = path.read_text()
        stored = json.loads(text)
        escape = {**json.loads(stored["entry"]), "group": "runs/../../x"}
        changed = {
            "truncated": text[:-30],
            "flipped": text.replace("run 1", "run 3"),
            "of another": path.with_name("2.json").read_text(),
            "empty": "",
            "list": "[1]",
            "escape": json.dumps({"entry": json.dumps(escape), "crc32": zlib.crc32(json.dumps(escape).encode())}),
        }
        path.write_text(changed[damage])
        with pytest.warns(DamagedRunWarning, match="1 damaged runs: '1': index/1.json is damaged"):
            opened = Archive.open(tmp_path / "a.zarr")
        assert opened.ids == [0, 2]
        assert list(opened.damaged) == ["1"]
        assert "1 damaged" in repr(opened)
        assert "damaged" in opened._repr_html_()
        with pytest.raises(FormatError, match=r"run 1: index/1\.json is damaged"):
            _ = opened[1]
        xr.testing.assert_identical(opened[2].load(), run_of(2))
        geom = run_of(1).onoff.geom
        for selection in (None, opened.select(time=(None, None)), [0, 1]):
            with pytest.raises(FormatError, match="may contain 1 damaged runs, '1': append"):
                opened.stack(geom, selection, out=tmp_path / "out.zarr")
        assert opened.stack(geom, opened.ids, out=tmp_path / "out.zarr").sizes["obs"] == 2
        opened.append(run_of(1), overwrite=True)
        assert not opened.damaged
        xr.testing.assert_identical(opened[1].load(), run_of(1))

    def test_index_is_a_folder_of_rubbish(self, tmp_path, archive):
        index = tmp_path / "a.zarr" / "index"
        (index / "sub").mkdir()
        (index / "sub" / "x.json").write_text("{}")
        (index / "README").write_text("hello")
        assert Archive.open(tmp_path / "a.zarr").ids == [0, 1, 2]


class TestSnapshot:
    def test_is_only_a_copy(self, tmp_path, archive):
        archive.compact()
        snapshot = tmp_path / "a.zarr" / "snapshot.json"
        archive.append(run_of(3))
        archive.append(run_of(1, name="new"), overwrite=True)
        archive.remove(2)
        for content in (snapshot.read_text(), "", "{}", snapshot.read_text().replace("run 0", "run 9")):
            snapshot.write_text(content)
            opened = Archive.open(tmp_path / "a.zarr")
            assert opened.ids == [0, 1, 3]
            assert opened.index.name.values.tolist() == ["run 0", "new", "run 3"]

    def test_saves_reading(self, tmp_path, archive, monkeypatch):
        archive.compact()
        from xonoff.io.folder import Folder

        read = []
        get = Folder.get
        monkeypatch.setattr(Folder, "get", lambda self, key, *part: read.append(key) or get(self, key, *part))
        assert Archive.open(tmp_path / "a.zarr").ids == [0, 1, 2]
        assert read == ["zarr.json", "snapshot.json"]


class TestClean:
    def test_garbage(self, tmp_path, archive):
        root = tmp_path / "a.zarr"
        archive.append(run_of(1), overwrite=True)
        archive.remove(0)
        opened = archive.refresh()
        (root / "runs" / "5.0123456789abcdef" / "counts").mkdir(parents=True)
        (root / "runs" / "5.0123456789abcdef" / "counts" / "zarr.json.0123456789abcdef.part").write_text("half")
        assert opened.clean() == []  # all of it is new: it may be an append at work
        removed = opened.clean(older_than=0)
        assert [name.split(".")[0] for name in removed] == ["runs/0", "runs/1", "runs/5"]
        assert sorted(path.name.split(".")[0] for path in (root / "runs").iterdir()) == ["1", "2", "zarr"]
        for number in (1, 2):
            xr.testing.assert_identical(Archive.open(root)[number].load(), run_of(number))
        assert opened.clean(0) == []

    def test_nothing_of_a_damaged_entry(self, tmp_path, archive):
        (tmp_path / "a.zarr" / "index" / "1.json").write_text("{")
        assert archive.clean(0) == []

    def test_a_reader_of_a_replaced_run_is_told(self, tmp_path, archive):
        old = Archive.open(tmp_path / "a.zarr")
        archive.append(run_of(1, name="new"), overwrite=True)
        assert old[1].onoff.name == "run 1"
        archive.clean(0)
        with pytest.raises(FormatError, match=r"run 1: its data .* are gone: if it was replaced .* archive.refresh"):
            _ = old[1]
        assert old.refresh()[1].onoff.name == "new"

    @pytest.mark.parametrize("older_than", [-1, "1 TeV", np.nan])
    def test_refused(self, archive, older_than):
        with pytest.raises(SchemaError):
            archive.clean(older_than)


# -- several writers, and killed ones ---------------------------------------------------------------------------------


def append_many(path: str, first: int, number: int) -> None:
    archive = Archive.open(path)
    for i in range(first, first + number):
        archive.append(run_of(i))


def append_same(path: str, name: str) -> None:
    try:
        Archive.open(path).append(run_of(5, name=name))
    except FileExistsError:
        sys.exit(3)


@pytest.mark.parametrize("number", [15, pytest.param(50, marks=pytest.mark.slow)])
def test_processes_append_at_once(tmp_path, number):
    """Two processes, many runs each; and four of them the same run, of which one gets it."""
    path = str(tmp_path / "a.zarr")
    Archive.create(path)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_many, args=(path, first, number)) for first in (1000, 2000)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    archive = Archive.open(path)
    assert archive.ids == [*range(1000, 1000 + number), *range(2000, 2000 + number)]
    assert archive.check(data=True) == {}
    assert archive.clean(0) == []
    writers = [context.Process(target=append_same, args=(path, name)) for name in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(writer.exitcode for writer in writers) == [0, 3, 3, 3]
    winner = "abcd"[[writer.exitcode for writer in writers].index(0)]
    assert Archive.open(path)[5].onoff.name == winner


@pytest.fixture(scope="module")
def forker():
    with Forker(__name__) as forker:
        yield forker


def append_version(path: str, version: str) -> None:
    """Append a run of this number and replace run 0, in a child that may be killed."""
    archive = Archive.open(path)
    archive.append(run_of(int(version)), overwrite=True)
    archive.append(run_of(int(version)), 1000, overwrite=True)


@pytest.mark.parametrize("kills", [6, pytest.param(30, marks=pytest.mark.slow)])
def test_killed_append(tmp_path, forker, kills):
    path = tmp_path / "a.zarr"
    archive = Archive.create(path)
    archive.append(run_of(0), 2000)
    killed, versions = 0, {0}
    for version, was_killed in kill_writer(forker, "append_version", path, range(kills + 1), seed=kills):
        killed += was_killed
        opened = Archive.open(path)
        found = set(opened.ids)
        assert found - {1000, 2000, version} == versions
        versions = found - {1000, 2000}
        for number in versions:
            xr.testing.assert_identical(opened[number].load(), run_of(number))
        last = opened[1000].obs_id.item()
        assert last in versions
        xr.testing.assert_identical(opened[1000].load(), run_of(last))
        xr.testing.assert_identical(opened[2000].load(), run_of(0))
        if not was_killed:
            assert last == version
    assert killed > 0
    for version in set(range(kills + 1)) - versions:  # resumed
        append_version(path, version)
    opened = Archive.open(path)
    assert set(opened.ids) == {*range(kills + 1), 1000, 2000}
    opened.clean(0)
    assert opened.check(data=True) == {}
    assert len(list((path / "runs").iterdir())) == len(opened) + 1


def test_import_is_cheap():
    code = (
        "import sys, warnings; warnings.simplefilter('error'); import xonoff; xonoff.Archive;"
        "heavy = {'matplotlib', 'numba', 'scipy', 'distributed', 'zarr', 'fsspec', 'obstore', 's3fs'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"
