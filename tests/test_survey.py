import multiprocessing
import os
import signal
import time
import tracemalloc

import numpy as np
import pytest
import xarray as xr
from datasets import make, parent
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from killing import Forker

import xonoff
from xonoff import Archive
from xonoff.errors import FormatError, GeometryError, SchemaError

EDGES = tuple(make(0).onoff.geom.energy)
SKY = (20, 26)


def big_parent(projection: str) -> xonoff.SkyGrid:
    return parent(projection).window((-7, -9), (SKY[0] - 7, SKY[1] - 9))


def run_of(number: int, projection: str = "TAN", **options: object) -> xr.Dataset:
    """A run that covers a part of the sky of the survey, on a response grid of which it has a part."""
    rng = np.random.default_rng(number)
    ds = make(number, projection, storage=np.float32, **options)
    dy, dx = rng.integers(-5, 12), rng.integers(-7, 16)
    moved = ds.assign_coords(y=ds.y + dy, x=ds.x + dx)
    for grid in ("psf", "edisp"):
        moved = moved.assign_coords({f"y_{grid}": ds[f"y_{grid}"] + dy // 3, f"x_{grid}": ds[f"x_{grid}"] + dx // 3})
    sky = xonoff.geometry.sky_grid(moved)
    coords = {**sky.coords()}
    for grid in ("psf", "edisp"):
        coords |= xonoff.geometry.sky_grid(moved, grid).coords(grid)
    return moved.assign_coords(coords)


def archive_of(path, runs):
    archive = Archive.create(path)
    for ds in runs:
        archive.append(ds)
    return archive


def assert_same_bits(found: xr.Dataset, expected: xr.Dataset) -> None:
    found, expected = found.load(), expected.compute()
    assert found.onoff.provenance[-1]["function"] == "Archive.stack"
    assert {**found.attrs, "provenance": ""} == {**expected.attrs, "provenance": ""}
    xr.testing.assert_identical(
        found.assign_attrs(expected.attrs).drop_attrs(deep=False), expected.drop_attrs(deep=False)
    )
    for name, variable in expected.variables.items():
        assert found.variables[name].dtype == variable.dtype, name
        assert found.variables[name].attrs == variable.attrs, name
        if variable.dtype.kind == "f":
            assert found.variables[name].values.tobytes() == variable.values.tobytes(), name


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return archive_of(tmp_path_factory.mktemp("survey") / "a.zarr", map(run_of, range(8)))


GEOM = xonoff.Geom(big_parent("TAN"), EDGES)


@pytest.fixture(scope="module")
def whole():
    return xonoff.stack([run_of(i) for i in range(8)], geom=GEOM)


class TestEquality:
    @settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(st.lists(st.integers(0, 10_000), min_size=1, max_size=4, unique=True), st.data())
    @pytest.mark.parametrize("projection", ["TAN", "CAR"])
    @pytest.mark.parametrize("kind", ["plain", "no mask", "migra", "kernels", "no response"])
    def test_is_what_stack_makes(self, tmp_path_factory, projection, kind, seeds, data):
        """Any tiles, any geometry that the runs reach into or not."""
        folder = tmp_path_factory.mktemp("survey")
        runs = [run_of(s, projection, masks=kind != "no mask", migra=kind == "migra") for s in sorted(seeds)]
        if kind == "kernels":
            runs = [ds.isel({d: 0 for g in ("psf", "edisp") for d in xonoff.geometry.sky_dims(ds, g)}) for ds in runs]
            runs = [ds.drop_vars([n for n in ds.coords if n.endswith(("_psf", "_edisp"))]) for ds in runs]
        if kind == "no response":
            runs = [ds.drop_vars(["psf", "psf_exposure", "edisp", "edisp_exposure", "exposure"]) for ds in runs]
        y, x = data.draw(st.integers(0, 15), "y"), data.draw(st.integers(0, 20), "x")
        height, width = data.draw(st.integers(1, SKY[0] - y), "height"), data.draw(st.integers(1, SKY[1] - x), "width")
        geom = xonoff.Geom(big_parent(projection).slice(slice(y, y + height), slice(x, x + width)), EDGES)
        tile = data.draw(st.sampled_from([None, 3, 4, 7, 100]), "tile")
        archive = archive_of(folder / "a.zarr", runs)
        assert archive.ids == sorted(seeds)
        assert_same_bits(archive.stack(geom, out=folder / "out.zarr", tile=tile), xonoff.stack(runs, geom=geom))

    def test_runs_on_the_grid_of_the_counts_with_a_template(self, tmp_path):
        runs = []
        for i in range(3):
            ds = run_of(i)
            ds["background"] = ds.acceptance * np.float32(0.3)
            ds["background"].attrs["units"] = "1"
            runs.append(ds)
        archive = archive_of(tmp_path / "a.zarr", runs)
        assert_same_bits(archive.stack(GEOM, out=tmp_path / "o.zarr", tile=6), xonoff.stack(runs, geom=GEOM))

    def test_spectra(self, tmp_path, ds):
        import astropy.units as u
        import regions
        from astropy.coordinates import SkyCoord

        region = regions.CircleSkyRegion(SkyCoord(83.63, 22.01, unit="deg"), 0.3 * u.deg)
        spectra = [ds.onoff.to_spectrum(region).assign_coords(obs_id=("obs", [i, i])) for i in range(3)]
        archive = archive_of(tmp_path / "a.zarr", spectra)
        geom = spectra[0].onoff.geom
        assert_same_bits(archive.stack(geom, out=tmp_path / "o.zarr"), xonoff.stack(spectra, geom=geom))

    def test_selection(self, tmp_path, archive):
        for selection in ([1, 3], archive.select(obs_id=[3, 1])):
            name = f"{type(selection).__name__}.zarr"
            assert_same_bits(
                archive.stack(GEOM, selection, out=tmp_path / name, tile=9),
                xonoff.stack([run_of(1), run_of(3)], geom=GEOM),
            )

    def test_the_store(self, tmp_path, archive, whole):
        """It is a store like any other: checked when opened, chunks are tiles, no remains of the making."""
        lazy = Archive.open(archive.name, chunks={}).stack(GEOM, out=tmp_path / "o.zarr", tile=8)
        assert lazy.counts.chunks[1:] == ((8, 8, 4), (8, 8, 8, 2))
        assert lazy.lat.chunks == ((8, 8, 4), (8, 8, 8, 2))
        assert_same_bits(xonoff.open_dataset(tmp_path / "o.zarr"), whole)
        assert_same_bits(xr.open_zarr(tmp_path / "o.zarr", consolidated=False), whole)
        assert not (tmp_path / "o.zarr" / ".xonoff_survey").exists()
        (tmp_path / "o.zarr" / "counts" / "c" / "0" / "1" / "1").unlink()
        with pytest.raises(FormatError, match="array 'counts' has 11 of its 12 chunks"):
            xonoff.open_dataset(tmp_path / "o.zarr")

    def test_provenance(self, tmp_path, archive):
        import json

        made = archive.stack(GEOM, [2, 5], out=tmp_path / "o.zarr", tile=8)
        [told] = json.loads(made.attrs["provenance"])
        assert told["made_by"] == f"xonoff {xonoff.__version__}"
        assert told["inputs"] == [2, 5]
        assert told["parameters"]["tile"]["counts"] == 8
        assert told["parameters"]["grids"]["counts"][1] == list(SKY)


class TestResume:
    def test_done_tiles_are_not_made_again(self, tmp_path, archive, whole, monkeypatch):
        from xonoff.survey import Work

        made = []
        call = Work.__call__

        def breaking(work):
            if len(made) == 5:
                made.append("")
                raise KeyboardInterrupt
            made.append(call(work))
            return made[-1]

        monkeypatch.setattr(Work, "__call__", breaking)
        with pytest.raises(KeyboardInterrupt):
            archive.stack(GEOM, out=tmp_path / "o.zarr", tile=9)
        for function in (xonoff.open_dataset, lambda path: xr.open_zarr(path, consolidated=False)):
            with pytest.raises((FormatError, FileNotFoundError)):
                function(tmp_path / "o.zarr")
        chunk = next((tmp_path / "o.zarr" / "counts" / "c").rglob("2"))
        made_before = [name for name in made if name]
        assert_same_bits(archive.stack(GEOM, out=tmp_path / "o.zarr", tile=9), whole)
        assert len(made) == len(set(made))
        assert len(made_before) == 5
        assert chunk.exists()

    def test_done_stack_is_opened(self, tmp_path, archive, whole, monkeypatch):
        archive.stack(GEOM, out=tmp_path / "o.zarr", tile=9)
        monkeypatch.setattr("xonoff.survey.Work.__call__", None)
        assert_same_bits(archive.stack(GEOM, out=tmp_path / "o.zarr", tile=9), whole)

    def test_other_parameters(self, tmp_path, archive, monkeypatch):
        target = tmp_path / "o.zarr"
        archive.stack(GEOM, [1], out=target)
        for options in ({"selection": [2]}, {"selection": [1], "tile": 5}):
            with pytest.raises(FileExistsError, match=r"o.zarr holds another dataset: remove it, or give another name"):
                archive.stack(GEOM, out=target, **options)
        (target / "zarr.json").unlink()
        (target / ".xonoff_survey").mkdir()
        (target / ".xonoff_survey" / "plan.json").write_text("{}")
        with pytest.raises(FileExistsError, match="an unfinished stack of other runs or with other parameters"):
            archive.stack(GEOM, [1], out=target)
        assert archive.stack(GEOM, [2], out=target, restart=True).obs_id.values.tolist() == [2]

    def test_a_run_that_was_replaced_meanwhile(self, tmp_path, monkeypatch):
        archive = archive_of(tmp_path / "a.zarr", [run_of(1), run_of(2)])
        done = []

        def breaking(work):
            raise KeyboardInterrupt

        monkeypatch.setattr("xonoff.survey.Work.__call__", breaking)
        with pytest.raises(KeyboardInterrupt):
            archive.stack(GEOM, out=tmp_path / "o.zarr")
        monkeypatch.undo()
        archive.append(run_of(1).assign_attrs(name="new"), overwrite=True)
        with pytest.raises(FileExistsError, match="unfinished stack of other runs"):
            archive.stack(GEOM, out=tmp_path / "o.zarr")
        assert not done

    def test_something_else_is_there(self, tmp_path, archive):
        (tmp_path / "o").mkdir()
        (tmp_path / "o" / "thesis.tex").write_text("x")
        with pytest.raises(FileExistsError, match=r"holds 'thesis.tex', no stack"):
            archive.stack(GEOM, out=tmp_path / "o")
        run_of(1).onoff.to_zarr(tmp_path / "p.zarr")
        with pytest.raises(FileExistsError, match="holds another dataset"):
            archive.stack(GEOM, out=tmp_path / "p.zarr", restart=True)
        assert (tmp_path / "o" / "thesis.tex").read_text() == "x"
        xr.testing.assert_identical(xonoff.open_dataset(tmp_path / "p.zarr").load(), run_of(1))

    def test_another_way_to_the_archive(self, tmp_path, archive, monkeypatch):
        monkeypatch.setattr("xonoff.survey.Work.__call__", None)
        with pytest.raises(TypeError):
            archive.stack(GEOM, out=tmp_path / "o.zarr")
        monkeypatch.undo()
        other = Archive.open(os.path.relpath(archive.name, os.getcwd()))
        assert other.stack(GEOM, out=tmp_path / "o.zarr").sizes["obs"] == 8


class TestRefusal:
    def test_runs_that_do_not_fit(self, tmp_path):
        archive = archive_of(tmp_path / "a.zarr", [run_of(1), run_of(2).drop_vars("psf"), run_of(3, "CAR")])
        with pytest.raises(SchemaError, match=r"a.zarr: run 2: .*psf"):
            archive.stack(GEOM, [1, 2], out=tmp_path / "o.zarr")
        with pytest.raises(SchemaError, match=r"a.zarr: run 3: .*'lat', 'lon'"):
            archive.stack(GEOM, [1, 3], out=tmp_path / "o.zarr")
        with pytest.raises(GeometryError, match=r"a.zarr: run 1: .*two sky grids"):
            archive.stack(xonoff.Geom(big_parent("SIN"), EDGES), [1], out=tmp_path / "o.zarr")
        assert not (tmp_path / "o.zarr").exists()

    def test_folder_that_does_not_exist(self, tmp_path, archive):
        with pytest.raises(FileNotFoundError, match="nowhere does not exist: create it"):
            archive.stack(GEOM, out=tmp_path / "nowhere" / "o.zarr")

    @pytest.mark.parametrize("tile", [0, -1, 2.5, True])
    def test_tile(self, tmp_path, archive, tile):
        with pytest.raises(SchemaError, match=r"tile: .* a number of pixels accepted"):
            archive.stack(GEOM, out=tmp_path / "o.zarr", tile=tile)

    def test_chunks_that_are_too_large(self, tmp_path, archive):
        wide = xonoff.Geom(big_parent("TAN").window((-700, -700), (800, 800)), EDGES)
        with pytest.raises(SchemaError, match="tile: 1500 pixels found, which make chunks of 86 MiB, up to 64 MiB"):
            archive.stack(wide, out=tmp_path / "o.zarr", tile=1500)

    def test_geometry(self, tmp_path, archive):
        with pytest.raises(GeometryError, match="a Geom accepted"):
            archive.stack("TAN", out=tmp_path / "o.zarr")


# -- killed stacks ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forker():
    with Forker(__name__) as forker:
        yield forker


def make_stack(archive: str, out: str) -> None:
    Archive.open(archive).stack(GEOM, out=out, tile=5)


@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_killed(tmp_path, archive, whole, forker, kills):
    """A stack is killed again and again until it is done; then it is what it would have been."""
    rng = np.random.default_rng(kills)
    start = time.perf_counter()
    assert forker.call("make_stack", archive.name, tmp_path / "first.zarr") == 0
    duration = time.perf_counter() - start
    killed = rounds = 0
    while killed < kills:
        out, rounds = tmp_path / f"{rounds}.zarr", rounds + 1
        while (status := forker.call("make_stack", archive.name, out, kill_after=rng.uniform(0, duration))) != 0:
            assert status == -signal.SIGKILL
            killed += 1
            try:
                found = xonoff.open_dataset(out)
            except (FormatError, FileNotFoundError):
                continue
            assert_same_bits(found, whole)
        assert_same_bits(xonoff.open_dataset(out), whole)


def test_two_at_once(tmp_path, archive, whole):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=make_stack, args=(archive.name, str(tmp_path / "o.zarr"))) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert 0 in [process.exitcode for process in processes]
    assert_same_bits(archive.stack(GEOM, out=tmp_path / "o.zarr", tile=5), whole)


def test_cluster_with_a_killed_worker(tmp_path, archive, whole):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", local_directory=str(tmp_path / "spill")
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        victim = next(iter(client.run(os.getpid).values()))
        import threading

        threading.Timer(0.5, os.kill, [victim, signal.SIGKILL]).start()
        assert_same_bits(archive.stack(GEOM, out=tmp_path / "o.zarr", tile=4), whole)
        assert_same_bits(archive.stack(GEOM, out=tmp_path / "p.zarr", tile=7, client=client), whole)


def test_memory_is_that_of_a_tile(tmp_path):
    """A cube of 200 MB from runs that are 1 MB each."""
    energy = tuple(np.geomspace(1, 100, 51).tolist())
    sky = xonoff.SkyGrid.create((83.6, 22.0), shape=(300, 300), pixel_size=0.02, projection="TAN")
    archive = Archive.create(tmp_path / "a.zarr")
    for number in range(6):
        geom = xonoff.Geom(
            sky.slice(slice(40 * number, 40 * number + 60), slice(40 * number, 40 * number + 60)), energy
        )
        arrays = {n: (geom.dims, np.ones(geom.shape, np.float32), {"units": "1"}) for n in xonoff.quantities.ON_OFF}
        archive.append(xr.Dataset(arrays, geom.coords()), number)
    whole = xonoff.Geom(sky, energy)
    archive.stack(whole, [0], out=tmp_path / "warm.zarr", tile=50)
    tracemalloc.start()
    try:
        made = archive.stack(whole, out=tmp_path / "o.zarr", tile=50)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert made.counts.nbytes * 4 > 140e6
    assert peak < 25e6
