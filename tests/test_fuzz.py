"""Damaged FITS files end in data or in an error of ours: nothing else escapes, hangs, or fills the memory."""

import gzip
import io
import resource
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import xonoff

MUTATIONS = 400
SECONDS = 10.0  # generous: a machine under load takes a tenth of it
MEGABYTES = 300


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of 150 kB with every HDU."""
    ds = xonoff.tutorial.dataset().isel(
        energy=slice(2, 5), lat=slice(15, 25), lon=slice(15, 25), energy_true=slice(0, 4), rad=slice(0, 5)
    )
    path = tmp_path_factory.mktemp("fuzz") / "seed.fits"
    ds.assign(mask_fit=ds.mask_safe).onoff.to_fits(path)
    return path.read_bytes()


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip, overwrite, zero, cut or repeat some bytes; half of the time within the headers."""
    data = bytearray(content)
    cards = [i for i in range(0, len(data), 80) if data[i : i + 8].strip().isalnum() and data[i + 8 : i + 10] == b"= "]
    for _ in range(rng.integers(1, 4)):
        kind = rng.integers(0, 6)
        at = int(rng.integers(0, len(data)))
        if rng.random() < 0.5:
            at = int(rng.choice(cards)) + int(rng.integers(0, 40))
        if kind == 0:
            data[at % len(data)] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            data[at % len(data)] = int(rng.integers(32, 127))
        elif kind == 2:  # a digit or a letter of a value
            data[at % len(data)] = int(rng.choice(list(b"0123456789-+.ETF' /")))
        elif kind == 3:
            span = int(rng.integers(1, 3000))
            data[at : at + span] = bytes(len(data[at : at + span]))
        elif kind == 4:
            del data[at : at + int(rng.choice([1, 80, 2880, 10**6]))]
        else:
            data[at:at] = data[at : at + int(rng.choice([80, 2880]))]
        data = data or bytearray(b"\0")
    return bytes(data)


def use(path: Path) -> None:
    """All that a user would do first."""
    ds = xonoff.open_dataset(path).load()
    ds.onoff.info()
    ds.onoff.significance("energy")
    repr(ds.onoff)
    ds.onoff._repr_html_()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_nothing_but_our_errors(packed: bool, content: bytes, tmp_path: Path) -> None:
    rng = np.random.default_rng(7 + packed)
    path = tmp_path / "fuzz.fits"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes: Counter[str] = Counter()
    for number in range(MUTATIONS):
        bad = mutate(content, rng)
        path.write_bytes(gzip.compress(bad, 1) if packed else bad)
        start = time.monotonic()
        try:
            use(path)
            outcomes["opened"] += 1
        except xonoff.XonoffError:
            outcomes["refused"] += 1
        except Exception as error:
            raise AssertionError(f"mutation {number}: {type(error).__name__}: {error}") from error
        assert time.monotonic() - start < SECONDS
    assert outcomes["refused"] > MUTATIONS // 4  # the mutations do bite
    assert outcomes["opened"] > MUTATIONS // 50
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < MEGABYTES


def test_any_flipped_bit_is_found_on_request(content: bytes, tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    path = tmp_path / "flip.fits"
    for _ in range(200):
        bad = bytearray(content)
        bad[int(rng.integers(0, len(bad)))] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(bad)
        with pytest.raises(xonoff.FormatError, match=r"flip\.fits"):
            xonoff.open_dataset(path, checksum=True)
    path.write_bytes(content)
    xonoff.open_dataset(path, checksum=True)


def test_a_gzip_bomb_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.fits.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(400):
            file.write(bytes(2**20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(xonoff.FormatError, match=r"bomb\.fits\.gz"):
        xonoff.open_dataset(path)
    # The same with a header in front that makes it a valid image.
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    1",
             f"NAXIS1  = {400 * 2**20:20d}", "END"]  # fmt: skip
    buffer = io.BytesIO()
    with gzip.open(buffer, "wb", compresslevel=9) as file:
        file.write("".join(card.ljust(80) for card in cards).ljust(2880).encode())
        for _ in range(401):
            file.write(bytes(2**20))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(xonoff.FormatError, match="gunzip"):
        xonoff.open_dataset(path)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEGABYTES


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.fits", b"", "none of FITS"),
        ("text.fits", b"Dear reader, this is no FITS file.", "none of FITS"),
        ("start.fits", b"SIMPLE", "start.fits"),
        ("half.fits.gz", gzip.compress(b"SIMPLE  = T" * 1000, mtime=0)[:20], "half.fits.gz"),
        ("text.nc", b"\x89HDF\r\n\x1a\n" + b"x" * 100, "text.nc"),
        ("text.zarr", b"not a directory", "none of FITS"),
    ],
)
def test_not_a_dataset(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(xonoff.FormatError, match=message):
        xonoff.open_dataset(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no such file"):
        xonoff.open_dataset(tmp_path / "missing.fits")
    with pytest.raises(xonoff.FormatError, match="a directory without"):
        xonoff.open_dataset(tmp_path)
