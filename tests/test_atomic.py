import errno
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from xonoff.io import atomic
from xonoff.io.atomic import replacing, replacing_store


def make_store(path, text="old"):
    path.mkdir()
    (path / "zarr.json").write_text(text)


@contextmanager
def file_writer(path, overwrite=False, text="new"):
    with replacing(path, overwrite) as part:
        part.write_text(text)
        yield part


@contextmanager
def store_writer(path, overwrite=False, text="new"):
    with replacing_store(path, overwrite) as part:
        make_store(part, text)
        yield part


def content(path):
    return (path / "zarr.json" if path.is_dir() else path).read_text()


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


BOTH = pytest.mark.parametrize(("writer", "old"), [(file_writer, Path.write_text), (store_writer, make_store)])
RENAMES = pytest.mark.parametrize("renameat2", [True, False])


@pytest.fixture
def without_renameat2(monkeypatch, renameat2):
    if not renameat2:
        monkeypatch.setattr(atomic, "_renameat2", lambda *arguments: False)


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@BOTH
@RENAMES
@pytest.mark.usefixtures("without_renameat2")
class TestPublish:
    def test_new(self, tmp_path, writer, old):
        for overwrite in (False, True):
            with writer(tmp_path / f"a{overwrite}", overwrite) as part:
                assert part.parent == tmp_path
                assert not (tmp_path / f"a{overwrite}").exists()
            assert content(tmp_path / f"a{overwrite}") == "new"
        assert names(tmp_path) == ["aFalse", "aTrue"]

    def test_replace(self, tmp_path, writer, old):
        old(tmp_path / "a", "old")
        with writer(tmp_path / "a", True):
            assert content(tmp_path / "a") == "old"
        assert content(tmp_path / "a") == "new"
        assert names(tmp_path) == ["a"]

    def test_refuse_before_work(self, tmp_path, writer, old):
        old(tmp_path / "a", "old")
        worked = False
        with pytest.raises(FileExistsError, match=r"/a exists; pass overwrite=True"), writer(tmp_path / "a"):
            worked = True
        assert not worked
        assert content(tmp_path / "a") == "old"

    def test_refuse_at_the_end_what_came_meanwhile(self, tmp_path, writer, old):
        with pytest.raises(FileExistsError, match=r"/a exists; pass overwrite=True"), writer(tmp_path / "a"):
            old(tmp_path / "a", "other")
        assert content(tmp_path / "a") == "other"
        assert names(tmp_path) == ["a"]

    def test_overwrite_what_came_or_went_meanwhile(self, tmp_path, writer, old):
        with writer(tmp_path / "a", True):
            old(tmp_path / "a", "other")
        assert content(tmp_path / "a") == "new"
        with writer(tmp_path / "a", True, text="newer"):
            os.rename(tmp_path / "a", tmp_path / "b")
        assert content(tmp_path / "a") == "newer"
        assert names(tmp_path) == ["a", "b"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_failure_leaves_old(self, tmp_path, writer, old, error):
        for target in ("a", "b"):
            if target == "a":
                old(tmp_path / "a", "old")
            with pytest.raises(error), writer(tmp_path / target, True):
                raise error
        assert content(tmp_path / "a") == "old"
        assert names(tmp_path) == ["a"]

    def test_symbolic_link_stays(self, tmp_path, writer, old):
        (tmp_path / "data").mkdir()
        old(tmp_path / "data" / "a", "old")
        (tmp_path / "link").symlink_to(tmp_path / "data" / "a")
        with writer(tmp_path / "link", True):
            pass
        assert (tmp_path / "link").is_symlink()
        assert content(tmp_path / "data" / "a") == "new"
        assert names(tmp_path / "data") == ["a"]


@BOTH
def test_mode_follows_umask(tmp_path, writer, old):
    before = os.umask(0o027)
    try:
        with writer(tmp_path / "a"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == (0o640 if writer is file_writer else 0o750)


@BOTH
def test_parent_missing(tmp_path, writer, old):
    with pytest.raises(FileNotFoundError, match="create it before writing a"), writer(tmp_path / "nowhere" / "a"):
        pass


@pytest.mark.parametrize("overwrite", [False, True])
def test_file_over_directory(tmp_path, overwrite):
    make_store(tmp_path / "a")
    with pytest.raises((IsADirectoryError, FileExistsError)), file_writer(tmp_path / "a", overwrite):
        pass
    assert content(tmp_path / "a") == "old"


def test_store_over_file(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(NotADirectoryError, match="is a file, not a Zarr store"), store_writer(tmp_path / "a", True):
        pass
    assert content(tmp_path / "a") == "old"


def test_store_over_other_directory(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1").write_text("old")
    with pytest.raises(FileExistsError, match="not a Zarr store"), store_writer(tmp_path / "thesis", True):
        pass
    assert names(tmp_path) == ["thesis"]
    assert content(tmp_path / "thesis" / "chapter1") == "old"


@BOTH
def test_debris_of_the_dead_is_removed_and_no_other(tmp_path, writer, old):
    host, dead = socket.gethostname(), dead_pid()
    old(tmp_path / f".a.{host}.{dead}.0123abcd.part", "debris")
    kept = [
        f".a.{host}.{os.getpid()}.0123abcd.part",  # alive
        f".a.{host}.1.0123abcd.part",  # alive, of another user perhaps
        f".a.else{host}.{dead}.0123abcd.part",  # another host
        f".b.{host}.{dead}.0123abcd.part",  # another target
        f".a.{host}.{dead}.part",  # not one of our names
    ]
    for name in kept:
        old(tmp_path / name, "other")
    with writer(tmp_path / "a"):
        pass
    assert names(tmp_path) == sorted(["a", *kept])


def test_old_store_comes_back_if_the_swap_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_renameat2", lambda *arguments: False)
    make_store(tmp_path / "a")
    rename = os.rename

    def failing(source, target):
        if Path(source).name.endswith(".part") and content(Path(source)) == "new":
            raise OSError(errno.EIO, "broken disk")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="broken disk"), store_writer(tmp_path / "a", True):
        pass
    assert content(tmp_path / "a") == "old"
    assert names(tmp_path) == ["a"]


def test_old_store_survives_a_kill_between_the_renames(tmp_path, monkeypatch):
    # What such a kill leaves: nothing under the name, the old store set aside. A later write that fails must keep it.
    aside = tmp_path / f".a.{socket.gethostname()}.{dead_pid()}.0123abcd.part"
    make_store(aside)
    with pytest.raises(ValueError, match="later"), store_writer(tmp_path / "a", True):
        raise ValueError("later")
    assert content(aside) == "old"
    with store_writer(tmp_path / "a", True):
        pass
    assert names(tmp_path) == ["a"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is a call of Linux")
def test_swap_is_one_call(tmp_path, monkeypatch):
    make_store(tmp_path / "a")
    monkeypatch.setattr(os, "rename", None)
    monkeypatch.setattr(os, "replace", None)
    with store_writer(tmp_path / "a", True):
        pass
    assert content(tmp_path / "a") == "new"
