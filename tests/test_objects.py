import os
import pickle
import threading

import numpy as np
import pytest
import xarray as xr
from datasets import make

import xonoff
from xonoff import Archive
from xonoff.errors import FormatError
from xonoff.io.folder import Folder
from xonoff.io.remote import Bucket, FileSystem
from xonoff.io.urls import open_objects


def stores(tmp_path):
    """One of each kind."""
    yield open_objects(tmp_path / "folder")
    yield open_objects((tmp_path / "file").as_uri())
    obstore = pytest.importorskip("obstore")
    yield open_objects(obstore.store.MemoryStore())
    fsspec = pytest.importorskip("fsspec")
    yield open_objects(f"memory://{tmp_path}/x")
    yield open_objects(fsspec.get_mapper(f"memory://{tmp_path}/y"))


@pytest.fixture(params=range(5), ids=["path", "file", "obstore", "fsspec", "mapper"])
def objects(request, tmp_path):
    return list(stores(tmp_path))[request.param]


def test_kinds(tmp_path):
    assert [type(store) for store in stores(tmp_path)] == [Folder, Folder, Bucket, FileSystem, FileSystem]


def test_put_get(objects):
    with pytest.raises(FileNotFoundError):
        objects.get("a/b")
    assert not objects.has("a/b")
    objects.put("a/b", b"first")
    objects.put("a/b", memoryview(b"0123456789"))
    assert objects.get("a/b") == b"0123456789"
    assert (objects.get("a/b", 3), objects.get("a/b", 3, 5)) == (b"3456789", b"34")
    with pytest.raises(FileNotFoundError):
        objects.get("a")
    assert objects.has("a/b")
    objects.put("empty", b"")
    assert objects.get("empty") == b""
    found = list(objects.get_many(["a/b", "c", "empty"]))
    assert found[0] == b"0123456789"
    assert isinstance(found[1], FileNotFoundError)
    assert found[2] == b""


def test_create(objects):
    assert objects.create("index/a.json", b"one")
    assert not objects.create("index/a.json", b"two")
    assert objects.get("index/a.json") == b"one"


def test_create_by_many_at_once(objects):
    won = []
    threads = [
        threading.Thread(target=lambda i=i: won.append(i) if objects.create("k", b"%d" % i) else None) for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if isinstance(objects, FileSystem):  # fsspec's memory looks first and writes then
        return
    assert len(won) == 1
    assert objects.get("k") == b"%d" % won[0]


def test_find(objects):
    assert objects.find() == {}
    assert objects.find("nowhere") == {}
    assert objects.names("nowhere") == []
    for key in ("a/b", "a/c/d", "ab/e", "z"):
        objects.put(key, b"xy")
    assert list(objects.find("a")) == ["a/b", "a/c/d"]
    assert list(objects.find()) == ["a/b", "a/c/d", "ab/e", "z"]
    assert objects.find()["a/b"].size == 2
    assert (objects.names(""), objects.names("a")) == (["a", "ab", "z"], ["b", "c"])
    before = objects.find()["z"]
    objects.put("z", b"xyz")
    after = objects.find()["z"]
    assert after.tag != before.tag or not after.tag


def test_delete(objects):
    for key in ("a/b", "a/c", "d"):
        objects.put(key, b"x")
    objects.delete(["a/b", "a/c", "not there"])
    assert list(objects.find()) == ["d"]
    if not isinstance(objects, FileSystem):  # whose folders stay
        assert objects.names("") == ["d"]


def test_pickle(objects, tmp_path):
    if "Memory" in objects.name:
        pytest.skip("what is in the memory of obstore stays there")
    objects.put("a", b"x")
    assert pickle.loads(pickle.dumps(objects)).get("a") == b"x"


def test_archive(objects):
    archive = Archive.create(objects)
    for number in range(3):
        archive.append(make(number))
    archive.append(make(9).assign_attrs(name="new"), 1, overwrite=True)
    archive.remove(2)
    archive.compact()
    opened = Archive.open(objects)
    assert opened.ids == [0, 1]
    xr.testing.assert_identical(opened[0].load(), make(0))
    assert opened[1].onoff.name == "new"
    assert len(opened.clean(0)) == 2
    assert opened.check(data=True) == {}


def test_links_are_not_followed(tmp_path):
    (tmp_path / "secret").write_text("x")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match=r"symbolic link|Too many levels"):
        Folder(tmp_path / "a").get("b")


def test_half_written_file_is_not_seen(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    folder.put("a/b", b"old")

    def failing(source, target):
        raise OSError("broken disk")

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="broken disk"):
        folder.put("a/b", b"new")
    assert folder.get("a/b") == b"old"
    assert os.listdir(tmp_path / "a") == ["b"]


class TestNames:
    def test_without_secrets(self):
        pytest.importorskip("obstore")
        options = {"region": "us-east-1", "access_key_id": "KEY", "secret_access_key": "SECRET"}
        for url in ("s3://bucket/a", "s3://user:SECRET@bucket/a/"):
            assert repr(open_objects(url, options)) == "Bucket('s3://bucket/a')"

    @pytest.mark.parametrize(
        ("url", "options", "message"),
        [
            ("foo://bucket/a", {}, "foo://bucket/a: Protocol not known: foo"),
            (
                "s3://bucket/a",
                {"secret": "SECRET", "nonsense": "SECRET"},
                r"/a: cannot be opened: .*check the URL",
            ),
            ("s3://bucket/a", {"secret_access_key": "SECRET"}, r"s3://bucket/a: cannot be opened: .*[Aa]ccess"),
            ("s3://", {}, "s3: cannot be opened|s3:/*: cannot be opened"),
            ("simplecache::s3://bucket/a", {}, "a chain of file systems found"),
        ],
    )
    def test_refused(self, url, options, message):
        pytest.importorskip("obstore")
        with pytest.raises(FormatError, match=message) as caught:
            open_objects(url, options)
        assert "SECRET" not in str(caught.value) + str(caught.value.__cause__)

    def test_missing_package(self, monkeypatch):
        import sys

        monkeypatch.setitem(sys.modules, "obstore", None)
        monkeypatch.setitem(sys.modules, "obstore.store", None)
        monkeypatch.setitem(sys.modules, "obstore.exceptions", None)
        with pytest.raises(ImportError, match=r"s3://bucket/a: .*pip install 'xonoff\[cloud\]'"):
            open_objects("s3://bucket/a")


def test_a_write_that_fails_leaves_nothing_under_a_url(ds):
    obstore = pytest.importorskip("obstore")
    memory = obstore.store.MemoryStore()

    def breaking(block):
        raise RuntimeError("broken block")

    lazy = ds.chunk(lat=20)
    broken = lazy.assign(counts=lazy.counts.copy(data=lazy.counts.data.map_blocks(breaking, dtype=np.int64)))
    with pytest.raises(RuntimeError, match="broken block"):
        broken.onoff.to_zarr(memory)
    assert [entry for page in memory.list() for entry in page] == []
    lazy.onoff.to_zarr(memory)
    xr.testing.assert_identical(xonoff.open_dataset(memory).load(), ds)
