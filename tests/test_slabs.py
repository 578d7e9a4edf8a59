"""Large lazy datasets are written part after part, and the result is the same."""

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from killing import Forker, kill_writer

import xonoff
from xonoff.io import slabs, store


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Parts of everything lazy, and a list of the regions that are written."""
    monkeypatch.setattr(slabs, "LARGE", 0)
    monkeypatch.setattr(slabs, "PART", 1)
    regions: list[Any] = []
    write = xr.Dataset.to_zarr

    def to_zarr(ds: xr.Dataset, *args: Any, **kwargs: Any) -> Any:
        regions.append(kwargs.get("region"))
        return write(ds, *args, **kwargs)

    monkeypatch.setattr(xr.Dataset, "to_zarr", to_zarr)
    return regions


def chunked(ds: xr.Dataset) -> xr.Dataset:
    return ds.chunk(lat=8, lon=20).assign(edisp=ds.edisp.chunk())


def tall() -> xr.Dataset:
    """A map of 16 rows of chunks, in memory."""
    geom = xonoff.Geom.create((0, 0), width=(2, 64), pixel_size=0.1, projection="CAR", energy=[1, 3, 10])
    rng = np.random.default_rng(1)
    shape = (2, 640, 20)
    arrays = {"counts": rng.poisson(1, shape), "counts_off": rng.poisson(9, shape)}
    arrays |= {"acceptance": np.ones(shape), "acceptance_off": np.full(shape, 9.0)}
    return xr.Dataset({name: (geom.dims, array) for name, array in arrays.items()}, geom.coords(), {"name": "tall"})


@pytest.mark.parametrize("made", ["as it is", "ring", "stack"])
def test_it_is_the_same(tmp_path, in_parts, made):
    lazy = tall().chunk(lat=40, lon=20)
    if made == "ring":
        lazy = lazy.onoff.ring_background("0.3 deg", "0.2 deg")
    elif made == "stack":
        lazy = xonoff.stack([lazy, lazy])
    lazy.onoff.to_zarr(tmp_path / "a.zarr")
    assert [region for region in in_parts if region] == [{"lat": slice(n, n + 40)} for n in range(0, 640, 40)]
    xr.testing.assert_identical(xonoff.open_dataset(tmp_path / "a.zarr").load(), lazy.compute())
    assert xonoff.open_dataset(tmp_path / "a.zarr", chunks={}).counts.chunksizes["lat"] == (40,) * 16


def like(ds: xr.Dataset, array: Any, *dims: str) -> xr.Variable:
    return xr.Variable(
        dims, array(tuple(ds.sizes[dim] for dim in dims), chunks=[40 if dim == "lat" else 1 for dim in dims])
    )


@pytest.mark.parametrize("where", ["path", "objects", "archive"])
@pytest.mark.parametrize(
    "more",
    {
        "no_mask": lambda ds: {"mask_safe": like(ds, da.zeros, "energy", "lat", "lon").astype(bool)},
        "zeros": lambda ds: {"counts": like(ds, da.zeros, "lat", "lon")},
        "nan": lambda ds: {"flux": like(ds, da.ones, "energy", "lat") * np.nan},
        "scalar": lambda ds: {"total": ((), da.zeros(()))},
        "other_dims": lambda ds: {"livetime": ("obs", da.arange(3, chunks=1)), "rate": like(ds, da.zeros, "energy")},
        "other_chunks": lambda ds: {"acceptance": ds.acceptance.chunk(lat=80, lon=7, energy=1)},
        "one_chunk": lambda ds: {"acceptance": ds.acceptance.chunk(lat=-1, lon=7)},
        "empty": lambda ds: {"none": (("energy", "gti", "lat"), da.zeros((2, 0, 640), chunks=(1, 1, 40)))},
        "times": lambda ds: {"when": like(ds, da.zeros, "lat").astype("datetime64[ns]")},
        "big_endian": lambda ds: {"counts": ds.counts.astype(">f4")},
    }.items(),
    ids=lambda item: item[0],
)
def test_whatever_is_in_it(tmp_path, in_parts, monkeypatch, more, where):
    """Chunks that hold nothing but the fill value too: a missing chunk is a lost one."""
    monkeypatch.setattr(slabs, "AGAIN", 1)
    lazy = tall().chunk(lat=40, lon=20)
    lazy = lazy.assign(more[1](lazy))
    if where == "path":
        lazy.onoff.to_zarr(tmp_path / "a.zarr")
        written = xonoff.open_dataset(tmp_path / "a.zarr")
    elif where == "objects":
        lazy.onoff.to_zarr(f"memory://{tmp_path}")
        written = xonoff.open_dataset(f"memory://{tmp_path}")
    else:
        archive = xonoff.Archive.create(tmp_path / "archive")
        archive.append(lazy, 1)
        written = archive[1]
        assert not archive.check()
    assert len([region for region in in_parts if region]) == (8 if more[0] == "other_chunks" else 16)
    xr.testing.assert_identical(written.load(), lazy.compute())


def test_numbers_and_single_chunks_go_in_one(tmp_path, in_parts, monkeypatch):
    monkeypatch.setattr(slabs, "AGAIN", 1)
    xr.Dataset({"a": ((), da.zeros(())), "b": ("x", da.zeros(3))}).onoff.to_zarr(tmp_path / "a.zarr")
    assert xonoff.open_dataset(tmp_path / "a.zarr").b.shape == (3,)
    xr.Dataset({"a": ((), da.zeros(()))}).onoff.to_zarr(tmp_path / "b.zarr")
    assert in_parts == [None, None]


@pytest.mark.parametrize("where", ["path", "archive"])
def test_what_fails_in_between_leaves_nothing(tmp_path, in_parts, where):
    def fail(block: Any, block_info: Any = None) -> Any:
        if block_info[0]["chunk-location"][1] == 9:
            raise RuntimeError("no more")
        return block

    lazy = tall().chunk(lat=40, lon=20)
    lazy["counts"] = lazy.counts.copy(data=lazy.counts.data.map_blocks(fail, dtype=int))
    if where == "path":
        with pytest.raises(RuntimeError, match="no more"):
            lazy.onoff.to_zarr(tmp_path / "a.zarr")
        assert not list(tmp_path.iterdir())
    else:
        archive = xonoff.Archive.create(tmp_path / "a")
        with pytest.raises(RuntimeError, match="no more"):
            archive.append(lazy, 1)
        assert not list(archive)
        assert not [
            path for path in (tmp_path / "a" / "runs").rglob("*") if path.is_file() and path.name != "zarr.json"
        ]
    assert len([region for region in in_parts if region]) == 10


@pytest.fixture(scope="module")
def forker():
    with Forker(__name__) as forker:
        yield forker


def version_of(number: int) -> xr.Dataset:
    lazy = tall().isel(lat=slice(160)).chunk(lat=40, lon=20)
    return lazy.assign(counts=lazy.counts + number, mask_safe=lazy.counts < 0)


def write_version(path: str, number: str) -> None:
    """Write in a child that may be killed."""
    slabs.LARGE, slabs.PART, slabs.AGAIN = 0, 1, 1
    version_of(int(number)).onoff.to_zarr(path, overwrite=True)


def test_killed_between_parts(tmp_path, forker):
    """The name opens as the old data or the new, and the next writer leaves nothing else."""
    path = tmp_path / "a.zarr"
    current, fates = 0, []
    for number, killed in kill_writer(forker, "write_version", path, range(7)):
        fates.append(killed)
        found = xonoff.open_dataset(path).load()
        if found.identical(version_of(number).compute()):
            current = number
        xr.testing.assert_identical(found, version_of(current).compute())
        assert killed or current == number
    assert any(fates)
    assert forker.call("write_version", path, 7) == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zarr"]


def test_with_a_response_on_grids_of_its_own(ds, tmp_path, in_parts):
    chunked(ds).onoff.to_zarr(tmp_path / "a.zarr")
    assert len([region for region in in_parts if region]) == 5
    xr.testing.assert_identical(xonoff.open_dataset(tmp_path / "a.zarr").load(), ds)


def test_among_objects(ds, tmp_path, in_parts):
    obstore = pytest.importorskip("obstore")
    memory = obstore.store.MemoryStore()
    lazy = chunked(ds)
    lazy.onoff.to_zarr(memory)
    assert len([region for region in in_parts if region]) == 5
    xr.testing.assert_identical(xonoff.open_dataset(memory).load(), ds)


def test_what_every_part_needs_is_worked_out_once(ds, tmp_path, in_parts):
    lazy = chunked(ds)
    shared = lazy.assign(counts=lazy.counts / lazy.counts.sum())
    shared.onoff.to_zarr(tmp_path / "a.zarr")
    assert in_parts == [None]


def test_small_data_and_one_chunk_go_in_one(ds, tmp_path, in_parts, monkeypatch):
    ds.onoff.to_zarr(tmp_path / "a.zarr")
    ds.chunk().onoff.to_zarr(tmp_path / "b.zarr")
    monkeypatch.setattr(slabs, "LARGE", 2**30)
    chunked(ds).onoff.to_zarr(tmp_path / "c.zarr")
    assert in_parts == [None] * 3


def test_parts_are_whole_chunks_and_as_large_as_they_may_be():
    assert list(slabs._joined((4, 4, 4, 2), 8)) == [slice(0, 8), slice(8, 14)]
    assert list(slabs._joined((4, 4, 4, 2), 1)) == [slice(0, 4), slice(4, 8), slice(8, 12), slice(12, 14)]
    assert list(slabs._joined((4, 9, 1), 8)) == [slice(0, 4), slice(4, 13), slice(13, 14)]


def test_memory_is_that_of_a_part(tmp_path, monkeypatch):
    """Of a ring in a map of 32 rows of chunks few are there at any time."""
    alive, most = set(), [0]
    monkeypatch.setattr(slabs, "LARGE", 0)
    monkeypatch.setattr(slabs, "PART", 1)

    class Read:
        shape, dtype, ndim = (2, 640, 20), np.dtype(np.float32), 3

        def __getitem__(self, key):
            import weakref

            found = np.ones([len(range(*k.indices(n))) for k, n in zip(key, self.shape, strict=True)], np.float32)
            alive.add(key[1].start)
            weakref.finalize(found, alive.discard, key[1].start)
            most[0] = max(most[0], len(alive))
            return found

    edges = xonoff.energy_edges("1 TeV", "10 TeV", n=2)
    geom = xonoff.Geom.create((0, 0), width=(2, 64), pixel_size=0.1, projection="CAR", energy=edges)
    counts = da.from_array(Read(), chunks=(2, 20, 20), asarray=False, meta=np.empty((0, 0, 0), np.float32))
    ds = xr.Dataset({"counts": (geom.dims, counts), "acceptance": (geom.dims, counts)}, geom.coords())
    with dask.config.set(scheduler="synchronous"):
        ds.onoff.ring_background("0.3 deg", "0.2 deg").onoff.to_zarr(tmp_path / "a.zarr")
    assert store.open_zarr(tmp_path / "a.zarr").counts_off.max() > 0
    assert most[0] <= 6
