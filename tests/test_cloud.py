"""Archives, stacks and datasets on an S3 server on loopback: as on a disk, with faults, and when either side dies."""

import multiprocessing
import signal
import threading
import time

import numpy as np
import pytest
import xarray as xr
from datasets import make
from killing import Forker
from s3 import KEY, SECRET, Server

import xonoff
from xonoff import Archive
from xonoff.errors import FormatError, XonoffError
from xonoff.io.store import open_zarr, to_zarr

#: Chance of each fault for every request.
FAULTS = "error=0.05,refuse=0.03,lose=0.03,cut=0.03,slow=0.01"
RUNS = range(4)
GEOM = make(0).onoff.geom


@pytest.fixture(scope="module")
def s3():
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def forker():
    with Forker(__name__) as forker:
        yield forker


@pytest.fixture(scope="module")
def archive(s3):
    archive = Archive.create(s3.url("runs"), storage_options=s3.options())
    for number in RUNS:
        archive.append(run_of(number))
    return archive


@pytest.fixture(scope="module")
def whole():
    return xonoff.stack([run_of(number) for number in RUNS], geom=GEOM)


def run_of(number: int) -> xr.Dataset:
    return make(number, storage=np.float32)


def opened(s3, name):
    return Archive.open(s3.url(name), storage_options=s3.options())


def assert_is_stack(found, whole):
    xr.testing.assert_identical(found.load().drop_attrs(deep=False), whole.drop_attrs(deep=False))


def test_archive(s3, archive, whole):
    again = opened(s3, "runs")
    assert again.ids == list(RUNS)
    for number in RUNS:
        xr.testing.assert_identical(again[number].load(), run_of(number))
    assert again.check(data=True) == {}
    with pytest.raises(FileExistsError, match=r"s3://bucket/runs holds a run 1: pass overwrite=True"):
        again.append(run_of(1))
    made = again.stack(GEOM, out=s3.url("stack"), tile=4, storage_options=s3.options())
    assert_is_stack(made, whole)
    assert_is_stack(xonoff.open_dataset(s3.url("stack"), storage_options=s3.options(), chunks={}), whole)


def test_a_run_opens_in_one_request(archive, monkeypatch):
    from xonoff.io.remote import Bucket

    asked = []
    get = Bucket.get
    monkeypatch.setattr(Bucket, "get", lambda self, key, *part: asked.append(key) or get(self, key, *part))
    ds = archive[1]
    assert ds.onoff.geom == GEOM
    assert ds.livetime.item() == 1001
    assert len(asked) == 1
    _ = ds.counts.values
    assert len(asked) == 2


def test_index_of_many_in_few_requests(archive, s3, monkeypatch):
    from xonoff.io.remote import Bucket

    archive.compact()
    asked = []
    get = Bucket.get
    monkeypatch.setattr(Bucket, "get", lambda self, key, *part: asked.append(key) or get(self, key, *part))
    assert opened(s3, "runs").ids == list(RUNS)
    assert asked == ["zarr.json", "snapshot.json"]


def test_s3fs(s3, archive):
    """Through s3fs as well, which has a conditional put too."""
    pytest.importorskip("s3fs")
    import fsspec

    client = {"endpoint_url": s3.options()["endpoint"], "region_name": "us-east-1"}
    fs = fsspec.filesystem("s3", key=KEY, secret=SECRET, client_kwargs=client)
    through = Archive.open(fs.get_mapper("bucket/runs"))
    xr.testing.assert_identical(through[1].load(), run_of(1))
    with pytest.raises(FileExistsError, match="holds a run 1"):
        through.append(run_of(1))


class TestDataset:
    def test_round_trip(self, s3):
        options = s3.options()
        to_zarr(run_of(1).chunk(y=3), s3.url("ds.zarr"), storage_options=options)
        xr.testing.assert_identical(open_zarr(s3.url("ds.zarr"), storage_options=options).load(), run_of(1))
        xr.testing.assert_identical(
            xonoff.open_dataset(s3.url("ds.zarr"), storage_options=options, chunks={}).compute(), run_of(1)
        )
        for overwrite in (False, True):
            with pytest.raises(FileExistsError, match=r"objects under a URL cannot replace in one step.*Archive"):
                to_zarr(run_of(2), s3.url("ds.zarr"), overwrite=overwrite, storage_options=options)
        with pytest.raises(FileNotFoundError, match="nothing found under this name"):
            open_zarr(s3.url("nothing.zarr"), storage_options=options)

    def test_by_other_writers(self, s3):
        import obstore
        from zarr.storage import ObjectStore

        store = obstore.store.from_url(s3.url("plain.zarr"), client_options={"allow_http": True}, **s3.options())
        run_of(1).to_zarr(ObjectStore(store), zarr_format=3, consolidated=False)
        xr.testing.assert_identical(open_zarr(store).load(), run_of(1))

    def test_lost_chunk(self, s3):
        import obstore

        store = obstore.store.from_url(s3.url("lost.zarr"), client_options={"allow_http": True}, **s3.options())
        to_zarr(run_of(1), store)
        obstore.delete(store, "counts/c/0/0/0")
        ds = open_zarr(store)
        with pytest.raises(FormatError, match="counts/c/0/0/0 is lost"):
            ds.counts.load()


class TestFaults:
    """Requests fail at random: what comes is right, or a clear error."""

    @pytest.mark.parametrize("seeds", [1, pytest.param(5, marks=pytest.mark.slow)])
    def test_append_and_stack(self, s3, whole, seeds):
        right = 0
        for seed in range(seeds):
            with s3.failing(FAULTS, seed):
                archive = Archive.create(s3.url(f"faulty{seeds}-{seed}"), storage_options=s3.options())
                for number in RUNS:
                    archive.append(run_of(number))
                again = opened(s3, f"faulty{seeds}-{seed}")
                for number in RUNS:
                    xr.testing.assert_identical(again[number].load(), run_of(number))
                made = again.stack(
                    GEOM, out=s3.url(f"faulty-stack{seeds}-{seed}"), tile=5, storage_options=s3.options()
                )
                assert_is_stack(made, whole)
                right += 1
            assert opened(s3, f"faulty{seeds}-{seed}").check(data=True) == {}
        assert right == seeds

    @pytest.mark.parametrize("fault", ["error", "refuse", "cut"])
    def test_never_a_wrong_number(self, s3, archive, fault):
        """Far too many faults: an error that says so, without anything secret."""
        retry = {"max_retries": 2, "backoff": {"init_backoff": "10ms", "max_backoff": "20ms", "base": 2}}
        options = s3.options(retry_config=retry)
        with s3.failing(f"{fault}=0.9"):
            for _ in range(3):
                try:
                    ds = Archive.open(s3.url("runs"), storage_options=options)[1].load()
                    xr.testing.assert_identical(ds, run_of(1))
                except (OSError, XonoffError) as error:
                    text = f"{error} {error.__cause__}"
                    assert "s3://bucket/runs" in text
                    assert SECRET not in text
                    assert KEY not in text

    def test_server_is_gone(self, s3, archive):
        options = s3.options(retry_config={"max_retries": 1})
        s3.kill()
        try:
            with pytest.raises(OSError, match=r"s3://bucket/runs: zarr.json could not be read: .* connection"):
                Archive.open(s3.url("runs"), storage_options=options)
        finally:
            s3.start()

    def test_no_bucket(self, s3):
        with pytest.raises((OSError, FormatError), match="s3://nobucket/a"):
            Archive.create("s3://nobucket/a", storage_options=s3.options())


# -- killed clients and servers ---------------------------------------------------------------------------------------


def server_options(port: str) -> dict:
    keys = {"access_key_id": KEY, "secret_access_key": SECRET, "region": "us-east-1"}
    return {"endpoint": f"http://127.0.0.1:{port}", "retry_config": {"max_retries": 1}, **keys}


def append_one(url: str, port: str, number: str) -> None:
    Archive.open(url, storage_options=server_options(port)).append(run_of(int(number)), overwrite=True)


def make_stack(url: str, out: str, port: str) -> None:
    options = server_options(port)
    Archive.open(url, storage_options=options).stack(GEOM, out=out, tile=5, storage_options=options)


def write_dataset(url: str, port: str) -> None:
    to_zarr(run_of(7), url, overwrite=True, storage_options=server_options(port))


def attempt(s3, forker, victim, seconds, function, *arguments):
    """Call a function in a child, and kill it or the server after some time; return whether it succeeded."""
    if victim == "client":
        status = forker.call(function, *arguments, kill_after=seconds)
        assert status in (0, -signal.SIGKILL)
        return status == 0
    timer = threading.Timer(seconds, s3.kill)
    timer.start()
    status = forker.call(function, *arguments)
    timer.join()
    s3.start()
    return status == 0


def duration(forker, function, *arguments):
    start = time.perf_counter()
    assert forker.call(function, *arguments) == 0
    return time.perf_counter() - start


KILLS = pytest.mark.parametrize("kills", [2, pytest.param(30, marks=pytest.mark.slow)])
VICTIMS = pytest.mark.parametrize("victim", ["client", "server"])


@VICTIMS
@KILLS
def test_killed_append(s3, forker, victim, kills):
    rng = np.random.default_rng(kills)
    name = f"append-{victim}-{kills}"
    url = s3.url(name)
    Archive.create(url, storage_options=s3.options())
    seconds = duration(forker, "append_one", url, s3.port, 0)
    there, failed, number = {0}, 0, 0
    while failed < kills:
        number += 1
        done = attempt(s3, forker, victim, rng.uniform(0, seconds), "append_one", url, s3.port, number)
        failed += not done
        archive = opened(s3, name)
        found = set(archive.ids)
        assert found - {number} == there
        assert number in found or not done
        if number in found:
            xr.testing.assert_identical(archive[number].load(), run_of(number))
        there = found
    for lost in set(range(number + 1)) - there:
        append_one(url, s3.port, lost)
    archive = opened(s3, name)
    assert archive.ids == list(range(number + 1))
    archive.clean(0)
    assert archive.check(data=True) == {}


@VICTIMS
@KILLS
def test_killed_stack(s3, forker, archive, whole, victim, kills):
    rng = np.random.default_rng(kills)
    source, out = archive.name, s3.url(f"stack-{victim}-{kills}")
    seconds = duration(forker, "make_stack", source, f"{out}-first", s3.port)
    failed = rounds = 0
    while failed < kills:
        rounds += 1
        target = f"{out}-{rounds}"
        for last in range(1000):
            done = attempt(s3, forker, victim, rng.uniform(0.2, seconds), "make_stack", source, target, s3.port)
            failed += not done
            try:
                assert_is_stack(open_zarr(target, storage_options=s3.options()), whole)
            except (FileNotFoundError, FormatError):
                assert not done
                continue
            if done or last > 20:
                break
        make_stack(source, target, s3.port)
        assert_is_stack(open_zarr(target, storage_options=s3.options()), whole)


@VICTIMS
@KILLS
def test_killed_dataset(s3, forker, victim, kills):
    rng = np.random.default_rng(kills)
    url = s3.url(f"dataset-{victim}-{kills}")
    seconds = duration(forker, "write_dataset", f"{url}-first", s3.port)
    for number in range(kills):
        target = f"{url}-{number}"
        done = attempt(s3, forker, victim, rng.uniform(0, seconds), "write_dataset", target, s3.port)
        try:
            found = open_zarr(target, storage_options=s3.options()).load()
        except (FileNotFoundError, FormatError):
            assert not done
            write_dataset(target, s3.port)
            found = open_zarr(target, storage_options=s3.options()).load()
        xr.testing.assert_identical(found, run_of(7))


def append_many(url: str, port: str, first: int, number: int) -> None:
    archive = Archive.open(url, storage_options=server_options(port))
    for i in range(first, first + number):
        archive.append(run_of(i))


@pytest.mark.parametrize("number", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_two_processes_append(s3, number):
    url = s3.url(f"two-{number}")
    Archive.create(url, storage_options=s3.options())
    context = multiprocessing.get_context("spawn")
    arguments = [(url, str(s3.port), first, number) for first in (1000, 2000)]
    writers = [context.Process(target=append_many, args=each) for each in arguments]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    archive = opened(s3, f"two-{number}")
    assert archive.ids == [*range(1000, 1000 + number), *range(2000, 2000 + number)]
    assert archive.check(data=True) == {}
