"""`xonoff.io.hdu`, its parts, and `xonoff.io.hdu_writer`: the right arrays, or one FormatError, whatever the bytes."""

import gzip
import io
import os
import pickle
import re
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.array as da
import fitsfiles as files
import numpy as np
import pytest
from astropy.io import fits
from fitsfiles import IMAGE, PRIMARY, TABLE, TILED, card, change, header, one_image, one_table, one_tiled, pad
from hypothesis import given
from hypothesis import strategies as st
from xarray.core.indexing import BasicIndexer, LazilyIndexedArray

from xonoff.errors import FormatError
from xonoff.io import bytesource, images
from xonoff.io import hdu as hdu_module
from xonoff.io.hdu import HDU, scan
from xonoff.io.hdu_writer import HDUWriter

MIB = 1 << 20


def read(hdu: HDU) -> Any:
    return hdu.array().get_duck_array()


def read_all(path: Path, checksum: bool = False) -> list[Any]:
    """Everything a reader can ask for."""
    contents: list[Any] = []
    for hdu in scan(path, checksum):
        contents.append([(entry.keyword, entry.value, entry.comment) for entry in hdu.header.cards])
        if hdu.kind == "table":
            contents.append((hdu.table(), hdu.units))
        elif hdu.shape:
            contents.append(read(hdu))
    return contents


def write(path: Path, *steps: tuple[str, tuple[Any, ...]]) -> Path:
    with open(path, "w+b") as file:
        writer = HDUWriter(file)
        writer.primary({})
        for method, arguments in steps:
            getattr(writer, method)(*arguments)
    return path


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# ------------------------------------------------------------------------------------------------ malformed

BIG = 10**12
LONG = "x" * 68

MALFORMED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a FITS file: it is empty"),
    "text": (b"# name, flux\n" * 300, "not a FITS file: it begins with b'# name"),
    "zeros": (bytes(28800), "not a FITS file"),
    "simple-false": (header(("SIMPLE", False), *PRIMARY[1:]), r"HDU 0: card SIMPLE is False; True is accepted"),
    "first-card": (header(PRIMARY[1], PRIMARY[0], PRIMARY[2]), "first card SIMPLE"),
    "no-end": (header(*PRIMARY).replace(b"END", b"   "), "truncated in a header: 2880 or more bytes are missing"),
    "never-ends": (header(*PRIMARY).replace(b"END", b"   ") + b" " * 2880 * 2000, "no END card within 2000 blocks"),
    "cut-header": (one_image()[:4000], r"HDU 1: the file is truncated in a header: 1760 or more bytes"),
    "cut-data": (one_image()[:-2850], r"HDU 1 \(COUNTS\): the file is truncated: 2850 of 2880 data bytes"),
    "cut-padding": (one_image()[:-1], "1 of 2880 data bytes"),
    "after-end": (header(*PRIMARY)[:-3] + b"abc", "goes on after its END card"),
    "trailing-text": (one_image() + b"trailing", "bytes after the last HDU begin with b'trailing'"),
    "trailing-mixed": (one_image() + b"\0\0  ", "bytes after the last HDU"),
    "trailing-late": (one_image() + bytes(20000) + b"x", "bytes after the last HDU"),
    "trailing-long": (one_image() + bytes(2 * MIB), "up to 1048576 zeros or blanks"),
    "non-ascii": (one_image(change(IMAGE, AUTHOR="J\xf6rg")), r"J\\xf6rg.* not printable ASCII"),
    "nul-in-card": (header(*PRIMARY).replace(b" NAXIS", b"\0NAXIS", 1).replace(b"NAXIS ", b"NAXIS\0", 1), "printable"),
    "lower-case": (header(*PRIMARY, "naxis1  =  3".ljust(80)), "neither KEYWORD = value nor a comment"),
    "no-indicator": (header(*PRIMARY, "HELLO WORLD".ljust(80)), "'HELLO WORLD' is neither"),
    "no-space": (header(*PRIMARY, "HELLO   =1".ljust(80)), "neither KEYWORD"),
    "open-quote": (header(*PRIMARY, card("NAME", text="'abc")), 'card NAME has the unreadable value "\'abc"'),
    "two-values": (header(*PRIMARY, card("WIDTH", text="1 2")), "card WIDTH has the unreadable value '1 2'"),
    "nan-card": (header(*PRIMARY, card("WIDTH", text="NaN")), "unreadable value 'NaN'"),
    "overflow": (header(*PRIMARY, card("WIDTH", text="1E999")), "card WIDTH is 1E999, which no 64-bit float"),
    "bad-complex": (header(*PRIMARY, card("WIDTH", text="(1,2,3)")), "unreadable value"),
    "orphan": (header(*PRIMARY, "CONTINUE  'x'".ljust(80)), "does not continue a text"),
    "orphan-number": (header(*PRIMARY, card("A", 1), "CONTINUE  'x'".ljust(80)), "does not continue a text"),
    "continue-number": (header(*PRIMARY, card("A", "x&"), "CONTINUE  5".ljust(80)), "does not continue a text"),
    "xtension": (one_image(change(IMAGE, XTENSION="FOREIGN")), "card XTENSION is 'FOREIGN'; IMAGE, BINTABLE, TABLE"),
    "extname": (one_image(change(IMAGE, EXTNAME=5)), "card EXTNAME is '5'; a text"),
    "duplicate": (one_image((*IMAGE, ("NAXIS1", 4))), "card NAXIS1 appears twice"),
    "hierarch-twice": (one_image((*IMAGE, "HIERARCH NAXIS1 = 3".ljust(80))), "card NAXIS1 appears twice"),
    "bitpix": (one_image(change(IMAGE, BITPIX=24)), "card BITPIX is 24; 8, 16, 32, 64, -32, -64 is accepted"),
    "bitpix-text": (one_image(change(IMAGE, BITPIX="8")), "card BITPIX is '8'"),
    "no-bitpix": (one_image(change(IMAGE, BITPIX=None)), "card BITPIX is missing"),
    "naxis-missing": (one_image(change(IMAGE, NAXIS=None)), "card NAXIS is missing; an integer from 0 to 8"),
    "naxis-9": (one_image(change(IMAGE, NAXIS=9)), "card NAXIS is 9; an integer from 0 to 8"),
    "naxis-negative": (one_image(change(IMAGE, NAXIS=-1)), "card NAXIS is -1"),
    "naxis-huge": (one_image(change(IMAGE, NAXIS=BIG)), f"card NAXIS is {BIG}"),
    "naxis-logical": (one_image(change(IMAGE, NAXIS=True)), "card NAXIS is True"),
    "naxis-real": (one_image(change(IMAGE, NAXIS=2.0)), r"card NAXIS is 2\.0"),
    "naxisn-missing": (one_image(change(IMAGE, NAXIS=3)), "card NAXIS3 is missing"),
    "naxisn-extra": (one_image(change(IMAGE, NAXIS=1)), "card NAXIS is 1, but there are cards of further axes"),
    "naxisn-negative": (one_image(change(IMAGE, NAXIS1=-4)), "card NAXIS1 is -4; an integer from 0 to"),
    "naxisn-absurd": (one_image(change(IMAGE, NAXIS1=2**63)), f"card NAXIS1 is {2**63}"),
    "axes-overflow": (one_image(change(IMAGE, NAXIS1=2**40, NAXIS2=2**40)), r"the axes .* are absurd"),
    "axes-empty-overflow": (
        one_image(change(IMAGE, NAXIS=3, NAXIS1=2**48, NAXIS2=2**48, NAXIS3=0)),
        "the axes .* are absurd",
    ),
    "axes-lie": (one_image(change(IMAGE, NAXIS1=BIG)), "truncated: 11999999998080 of 12000000000960 data bytes"),
    "pcount-image": (one_image(change(IMAGE, PCOUNT=8)), "card PCOUNT is 8; an integer from 0 to 0"),
    "pcount-missing": (one_image(change(IMAGE, PCOUNT=None)), "card PCOUNT is missing"),
    "gcount": (one_image(change(IMAGE, GCOUNT=2)), "card GCOUNT is 2; an integer from 1 to 1"),
    "groups": (header(*PRIMARY, ("GROUPS", True)), "card GROUPS is T"),
    "bscale-zero": (one_image(change(IMAGE, BSCALE=0.0)), "card BSCALE is 0, which would wipe out"),
    "bzero-text": (one_image(change(IMAGE, BZERO="1")), "card BZERO is '1'; a number"),
    "blank-range": (one_image(change(IMAGE, BITPIX=16, NAXIS2=6, BLANK=40000)), "card BLANK is 40000; an integer from"),
    "table-bitpix": (one_table(change(TABLE, BITPIX=16)), "card BITPIX is 16; 8 is accepted"),
    "table-naxis": (one_table(change(TABLE, NAXIS=3, NAXIS3=1)), "a table has NAXIS = 2"),
    "table-row-zero": (one_table(change(TABLE, NAXIS1=0)), "rows of 1 to"),
    "table-row-huge": (one_table(change(TABLE, NAXIS1=2**31, NAXIS2=0)), "rows of 1 to 2..31 - 1 bytes"),
    "tfields-missing": (one_table(change(TABLE, TFIELDS=None)), "card TFIELDS is missing"),
    "tfields-1000": (one_table(change(TABLE, TFIELDS=1000)), "card TFIELDS is 1000; an integer from 0 to 999"),
    "tfields-huge": (one_table(change(TABLE, TFIELDS=2**31)), f"card TFIELDS is {2**31}"),
    "tform-missing": (one_table(change(TABLE, TFIELDS=4)), "card TFORM4 is ''; a count and a type"),
    "tform-type": (one_table(change(TABLE, TFORM2="1Y")), "card TFORM2 is '1Y'"),
    "tform-number": (one_table(change(TABLE, TFORM2=8)), "card TFORM2 is '8'; a text"),
    "tform-sum": (one_table(change(TABLE, TFORM2="2D")), "TFORMn cards make rows of 32 bytes and NAXIS1 is 24"),
    "tform-huge": (one_table(change(TABLE, TFORM2="9" * 18 + "D")), "make rows of"),
    "ttype-twice": (one_table(change(TABLE, TTYPE2="CHANNEL")), "two columns have the name 'CHANNEL'"),
    "tscal-zero": (one_table(change(TABLE, TSCAL1=0)), "card TSCAL1 is 0"),
    "tnull-real": (one_table(change(TABLE, TNULL1=1.5)), "card TNULL1 is 1.5; an integer"),
    "pcount-lie": (one_table(change(TABLE, PCOUNT=2**40)), "truncated: .* data bytes are missing"),
    "rows-lie": (one_table(change(TABLE, NAXIS2=BIG)), "truncated: .* data bytes are missing"),
    "tdim": (one_table(change(TABLE, TDIM3="(4,3)")), r"TDIM '\(4,3\)' and 8 elements"),
    "tdim-form": (one_table(change(TABLE, TDIM3="4x2")), "TDIM '4x2'"),
    "variable-length": (
        one_table(change(TABLE, TFORM2="1PE(3)")),
        "LABEL|TFORM type P|column ENERGY points outside of the 0 bytes of its heap",
    ),
    "bits": (one_table(change(TABLE, TFORM2="64X")), "column ENERGY has TFORM type X"),
    "logical": (one_table(change(TABLE, TFORM2="8L")), "column ENERGY holds logical values other than T and F"),
    "text-not-ascii": (one_table().replace(b"b b", b"b\xffb"), "column LABEL holds text that is not ASCII"),
    "tiled-rows": (one_tiled(change(TILED, ZTILE2=2)), "make 2 tiles and the table has 3 rows"),
    "tiled-none": (one_tiled(change(TILED, ZNAXIS=0, ZNAXIS1=None, ZNAXIS2=None)), "make 1 tiles"),
    "tiled-negative": (one_tiled(change(TILED, ZTILE1=-1)), "card ZTILE1 is -1; an integer from 1"),
    "tiled-no-tile": (one_tiled(change(TILED, ZTILE1=None)), "card ZTILE1 is missing"),
    "tiled-huge": (one_tiled(change(TILED, ZNAXIS1=2**30, ZTILE1=2**30)), "tiles of 1073741824 elements"),
    "tiled-growth": (one_tiled(change(TILED, ZNAXIS1=2**27, ZTILE1=2**27)), "124 stored bytes cannot hold an image of"),
    "tiled-znaxis": (one_tiled(change(TILED, ZNAXIS=BIG)), "card ZNAXIS is"),
    "tiled-zbitpix": (one_tiled(change(TILED, ZBITPIX=12)), "card ZBITPIX is 12"),
    "tiled-hcompress": (one_tiled(change(TILED, ZCMPTYPE="HCOMPRESS_1")), "card ZCMPTYPE is 'HCOMPRESS_1'; GZIP_1"),
    "tiled-blocksize": (
        one_tiled(change(TILED, ZCMPTYPE="RICE_1", ZNAME1="BLOCKSIZE", ZVAL1=0)),
        "card ZVAL1 is 0; 16, 32 is accepted",
    ),
    "tiled-dither": (one_tiled(change(TILED, ZDITHER0=-5)), "card ZDITHER0 is -5; an integer from 1 to 10000"),
    "tiled-column": (one_tiled(change(TILED, TTYPE1="DATA")), "without a column COMPRESSED_DATA"),
    "tiled-form": (one_tiled(change(TILED, TFORM1="1D")), "column 'COMPRESSED_DATA' of type D"),
    "tiled-theap": (one_tiled(change(TILED, THEAP=200)), "card THEAP is 200; an integer from 24 to 124"),
    "tiled-tnull": (one_tiled(change(TILED, TNULL1=1)), "with the card TNULL1"),
    "tiled-empty": (one_tiled(), "a compressed tile is damaged"),
    "tiled-outside": (
        one_tiled().replace(bytes(24), np.array([(90, 20)] * 3, ">i4").tobytes(), 1),
        "column COMPRESSED_DATA points outside the data",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_malformed_file_is_refused_by_name_and_fault(case: str, packed: bool, tmp_path: Path) -> None:
    data, message = MALFORMED[case]
    path = put(tmp_path / "bad.fits", gzip.compress(data, 1) if packed else data)
    with pytest.raises(FormatError, match=rf"bad\.fits: .*({message})"):
        read_all(path)


def test_lies_cost_no_memory(tmp_path: Path) -> None:
    tracemalloc.start()
    for case, (data, _) in MALFORMED.items():
        if len(data) < MIB:
            with pytest.raises(FormatError):
                read_all(put(tmp_path / f"{case}.fits", data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * MIB


def test_helpers_make_good_files(tmp_path: Path) -> None:
    """The malformed cases differ from these in the named fault only."""
    image = scan(put(tmp_path / "a.fits", one_image() + bytes(5)))[1]
    np.testing.assert_array_equal(read(image), np.arange(12, dtype="f4").reshape(3, 4))
    table = scan(put(tmp_path / "b.fits", one_table()))[1]
    assert table.units == {"CHANNEL": "", "ENERGY": "TeV", "LABEL": ""}
    assert {name: column.tolist() for name, column in table.table().items()} == {
        "CHANNEL": [0, 1, 2],
        "ENERGY": [0.5, 1.5, 2.5],
        "LABEL": ["a", "b b", ""],
    }
    tiled = scan(put(tmp_path / "c.fits", one_tiled()))[1]
    assert (tiled.kind, tiled.name, tiled.shape, tiled.dtype) == ("compressed", "TILED", (3, 4), np.dtype("i2"))


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        scan(tmp_path / "none.fits")
    with pytest.raises(FormatError, match="is a directory or device"):
        scan(tmp_path)


def test_too_many_hdus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = header(*change(IMAGE, NAXIS=0, NAXIS1=None, NAXIS2=None))
    path = put(tmp_path / "many.fits", header(*PRIMARY) + 60 * empty)
    assert len(scan(path)) == 61
    monkeypatch.setattr(hdu_module, "MAX_HDUS", 50)
    with pytest.raises(FormatError, match=r"many\.fits: more than 50 HDUs"):
        scan(path)
    monkeypatch.setattr(hdu_module, "MAX_HDUS", 100)
    monkeypatch.setattr(hdu_module, "MAX_CARDS", 200)
    with pytest.raises(FormatError, match="more than 100 HDUs or 200 cards"):
        scan(path)


def test_wrong_kind_is_refused(tmp_path: Path) -> None:
    primary, image = scan(put(tmp_path / "a.fits", one_image()))
    with pytest.raises(FormatError, match="HDU 0: it holds no image data"):
        primary.array()
    with pytest.raises(FormatError, match=r"HDU 1 \(COUNTS\): it holds no binary table"):
        image.table()
    table = scan(put(tmp_path / "b.fits", one_table()))[1]
    with pytest.raises(FormatError, match="holds no image data"):
        table.array()


def test_ascii_table_does_not_spoil_the_file(tmp_path: Path) -> None:
    ascii_table = fits.TableHDU.from_columns([fits.Column("A", "I5", array=np.arange(3))])
    fits.HDUList([fits.PrimaryHDU(), ascii_table]).writeto(tmp_path / "a.fits")
    table = scan(tmp_path / "a.fits")[1]
    assert (table.kind, table.shape) == ("table", (3,))
    with pytest.raises(FormatError, match="a BINTABLE HDU is needed"):
        table.table()


# ------------------------------------------------------------------------------------------------ fuzz


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("tiled", [False, True], ids=["images", "tiled"])
def test_fuzz(tiled: bool, packed: bool, tmp_path: Path) -> None:
    """160 damaged files each: an array or FormatError, and never a warning (which pytest makes an error)."""
    path = tmp_path / "fuzz.fits"
    refused = 0
    for data in files.mutations(files.sample(tiled), 160, seed=tiled + 2 * packed, packed=packed):
        put(path, data)
        try:
            read_all(path)
        except FormatError as error:
            refused += 1
            assert "fuzz.fits" in str(error)  # noqa: PT017 - either outcome is right
            assert not isinstance(error.__context__, Warning)  # noqa: PT017
    assert 110 < refused < 160


@pytest.mark.parametrize("tiled", [False, True], ids=["images", "tiled"])
def test_any_flipped_bit_is_found(tiled: bool, tmp_path: Path) -> None:
    data = files.sample(tiled)
    path = put(tmp_path / "flip.fits", data)
    assert len(scan(path, checksum=True)) > 3
    rng = np.random.default_rng(3)
    for bit in rng.choice(8 * len(data), 110, replace=False):
        put(path, files.flip(data, int(bit)))
        with pytest.raises(FormatError, match=r"flip\.fits"):
            scan(path, checksum=True)


def test_flipped_gzip_is_found_or_harmless(tmp_path: Path) -> None:
    """Bits of the time stamp and the like are under no checksum, and mean nothing."""
    packed = gzip.compress(files.sample(), mtime=0)
    path = put(tmp_path / "flip.fits.gz", packed)
    good = pickle.dumps(read_all(path, checksum=True))
    for bit in np.random.default_rng(4).choice(8 * len(packed), 60, replace=False):
        put(path, files.flip(packed, int(bit)))
        try:
            assert pickle.dumps(read_all(path, checksum=True)) == good
        except FormatError as error:
            assert "flip.fits.gz" in str(error)  # noqa: PT017 - either outcome is right


def test_checksum_on_request_needs_the_cards(tmp_path: Path) -> None:
    path = put(tmp_path / "a.fits", one_image())
    assert len(scan(path)) == 2
    with pytest.raises(FormatError, match="HDU 0: it has no CHECKSUM and DATASUM cards, so it cannot be checked"):
        scan(path, checksum=True)


# ------------------------------------------------------------------------------------------------ hostile sizes


def test_gzip_bomb_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    """1000:1, and the header is honest about it."""
    path = tmp_path / "bomb.fits.gz"
    size = 200 * MIB
    with gzip.open(path, "wb", 9) as file:
        file.write(header(*PRIMARY) + header(*change(IMAGE, BITPIX=8, NAXIS1=MIB, NAXIS2=200)))
        for _ in range(200):
            file.write(bytes(MIB))
    assert size > 900 * path.stat().st_size
    tracemalloc.start()
    with pytest.raises(FormatError, match=r"grow to more than .* gunzip it first if you trust it"):
        scan(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * 64 * MIB


def test_gzip_bomb_in_a_tile(tmp_path: Path) -> None:
    tile = zlib.compressobj(9, wbits=31)
    packed = tile.compress(bytes(100 * MIB)) + tile.flush()
    image = change(TILED, NAXIS2=1, PCOUNT=len(packed), ZNAXIS2=1)
    rows = np.array([(len(packed), 0)], ">i4").tobytes()
    path = put(tmp_path / "bomb.fits", header(*PRIMARY) + header(*image) + pad(rows + packed))
    tracemalloc.start()
    with pytest.raises(FormatError, match="grows to more than the 32 bytes that a tile can hold"):
        read(scan(path)[1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * MIB


def test_sparse_10_gb_file_is_scanned_without_reading(tmp_path: Path) -> None:
    cards = change(IMAGE, NAXIS=3, NAXIS1=25_000, NAXIS2=10_000, NAXIS3=10)
    head = header(*PRIMARY) + header(*cards)
    path = put(tmp_path / "sparse.fits", head)
    os.truncate(path, len(head) + -(-10 * 10**9 // 2880) * 2880)
    tracemalloc.start()
    image = scan(path)[1]
    corner = LazilyIndexedArray(image.array())[BasicIndexer((9, slice(-2, None), slice(3)))].get_duck_array()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert image.shape == (10, 10_000, 25_000)
    np.testing.assert_array_equal(corner, np.zeros((2, 3), "f4"))
    assert peak < MIB


def test_big_header(tmp_path: Path) -> None:
    history = [f"HISTORY step {i}".ljust(80) for i in range(20_000)]
    numbers = [card(f"K{i}", 0.1 * i) for i in range(2000)]
    primary = scan(put(tmp_path / "big.fits", header(*PRIMARY, *history, *numbers)))[0]
    assert len(primary.header) == 22_003
    assert primary.header["K1999"] == 0.1 * 1999


def test_long_text_takes_linear_time(tmp_path: Path) -> None:
    """Astropy's parser takes minutes over this one."""
    blanks = ["CONTINUE  '" + " " * 66 + "&'" + " "] * 20_000
    data = header(*PRIMARY, card("LONG", "a&"), *blanks, "CONTINUE  'end'".ljust(80))
    assert scan(put(tmp_path / "long.fits", data))[0].header["LONG"] == "a" + " " * 66 * 20_000 + "end"


# ------------------------------------------------------------------------------------------------ round trips

DTYPES = {
    "bool": "u1", "u1": "u1", "i1": "i2", "i2": "i2", "u2": "i4", "i4": "i4", "u4": "i8", "i8": "i8", "u8": "i8",
    "f2": "f4", "f4": "f4", "f8": "f8", ">f4": "f4", ">i2": "i2",
}  # fmt: skip


def random_array(dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(5)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        values = rng.normal(size=shape).astype(dtype)
        values.flat[:3] = np.nan, np.inf, -0.0
        return values
    if kind.kind == "b":
        return rng.random(shape) > 0.5
    info = np.iinfo(kind)
    high = min(int(info.max), 2**63 - 1)
    values = rng.integers(info.min, high, size=shape, endpoint=True, dtype=kind.newbyteorder("="))
    values.flat[:2] = info.min, high
    return values.astype(kind)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4, 5), (0, 4)])
def test_image_round_trip(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    """Odd byte counts included, where the last checksum word is unfinished."""
    data = random_array(dtype, shape) if 0 not in shape else np.zeros(shape, dtype)
    path = write(tmp_path / "a.fits", ("image", ("data", data, {"BUNIT": "m2 s"})))
    image = scan(path, checksum=True)[1]
    assert (image.name, image.kind, image.shape, image.header["BUNIT"]) == ("DATA", "image", shape, "m2 s")
    assert image.dtype == np.dtype(DTYPES[dtype])
    assert read(image).dtype.isnative
    np.testing.assert_array_equal(read(image), data.astype(DTYPES[dtype]))
    with fits.open(path, checksum=True) as peer:
        peer.verify("exception")
        if 0 not in shape:
            np.testing.assert_array_equal(peer["data"].data, data.astype(DTYPES[dtype]))


def test_table_round_trip(tmp_path: Path) -> None:
    columns: dict[str, Any] = {name.strip(">"): random_array(name, (5,)) for name in DTYPES if name != ">f4"}
    columns |= {"v" + name: random_array(name, (5, 3)) for name in ("bool", "i4", "f8")}
    columns |= {"text": np.array(["a", "b b", "", "longest one", "x "]), "names": np.array([["p", "qq"]] * 5)}
    columns |= {"bytes": np.array([b"a", b"bc"] * 2 + [b"d"]), "none": np.array([""] * 5), "void": np.zeros((5, 0))}
    path = write(tmp_path / "a.fits", ("table", ("GTI", columns, {"f8": "s"}, {"TIMESYS": "tt"})))
    table = scan(path, checksum=True)[1]
    assert (table.name, table.kind, table.shape, table.header["TIMESYS"]) == ("GTI", "table", (5,), "tt")
    assert table.units["f8"] == "s"
    result = table.table()
    assert list(result) == list(columns)
    with fits.open(path, checksum=True) as peer:
        peer.verify("exception")
        for name, values in columns.items():
            expected = np.strings.rstrip(values.astype("U")) if values.dtype.kind in "SU" else values
            assert result[name].dtype.isnative
            assert result[name].shape == values.shape
            np.testing.assert_array_equal(result[name], expected, err_msg=name)
            if name != "void":
                np.testing.assert_array_equal(peer["GTI"].data[name], expected, err_msg=name)


def test_table_without_rows_or_columns(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.fits",
        ("table", ("NO_ROWS", {"A": np.zeros(0), "T": np.zeros(0, "U3")}, {}, {})),
        ("table", ("NO_COLUMNS", {}, {}, {})),
    )
    _, rows, columns = scan(path, checksum=True)
    assert {name: (values.shape, values.dtype.kind) for name, values in rows.table().items()} == {
        "A": ((0,), "f"),
        "T": ((0,), "U"),
    }
    assert columns.table() == {}


def test_long_table_is_written_in_pieces(tmp_path: Path) -> None:
    columns = {"A": np.arange(700_001), "B": np.arange(700_001) % 3 == 0, "C": np.arange(700_001, dtype="f4")}
    path = write(tmp_path / "a.fits", ("table", ("LONG", columns, {}, {})))
    result = scan(path, checksum=True)[1].table()
    for name, values in columns.items():
        np.testing.assert_array_equal(result[name], values)


def test_checksums_match_those_of_astropy(tmp_path: Path) -> None:
    data = random_array("i2", (31, 37))
    path = write(tmp_path / "a.fits", ("image", ("A", data, {})))
    theirs = fits.ImageHDU(data)
    theirs.add_datasum()
    assert scan(path)[1].header["DATASUM"] == theirs.header["DATASUM"]
    fits.HDUList([fits.PrimaryHDU(), theirs]).writeto(tmp_path / "b.fits", checksum=True)
    assert len(scan(tmp_path / "b.fits", checksum=True)) == 2


# ------------------------------------------------------------------------------------------------ cards

FLOATS = [0.1 + 0.2, 83.63308000000001, -1.2345678901234567e-05, 1e300, 5e-324, -0.0, 1e22, 3.0, 1.7976931348623157e308]


def header_round_trip(path: Path, cards: dict[str, Any]) -> tuple[fits.Header, fits.Header]:
    """The header as `scan` has it and as astropy reads it."""
    with open(path, "w+b") as file:
        HDUWriter(file).primary(cards)
    with fits.open(path, checksum=True) as peer:
        peer.verify("exception")
        return scan(path, checksum=True)[0].header, peer[0].header


def test_numbers_in_cards_are_exact(tmp_path: Path) -> None:
    cards = {f"F{i}": value for i, value in enumerate(FLOATS)} | {"I": -(2**70), "T": True, "F": np.bool_(False)}
    cards |= {"F4": np.float32(0.1), "I8": np.int64(-5)}
    for result in header_round_trip(tmp_path / "a.fits", cards):
        for key, value in cards.items():
            assert result[key] == value
            assert isinstance(result[key], type(value.item() if isinstance(value, np.generic) else value))
    again = fits.Header.fromstring(scan(tmp_path / "a.fits")[0].header.tostring())
    assert again["F2"] == FLOATS[2]  # WCS(header) goes through such a text


@pytest.mark.parametrize("length", [0, 1, 8, 60, 67, 68, 69, 134, 135, 500, 3000])
def test_text_cards_of_any_length(length: int, tmp_path: Path) -> None:
    text = ('{"it\'s": "a quoted \'\' word", ' * 110)[:length].rstrip()
    ours, theirs = header_round_trip(tmp_path / "a.fits", {"META": (text, "a comment"), "AFTER": 1})
    assert ours["META"] == theirs["META"] == text
    assert ours["AFTER"] == theirs["AFTER"] == 1


@given(text=st.text(st.sampled_from("a&' /=:1."), max_size=220))
def test_text_cards_of_any_content(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Only our reader: astropy's takes ``a' / b`` and a long text with a final ``&`` for something else."""
    path = tmp_path_factory.getbasetemp() / "text.fits"
    with open(path, "w+b") as file:
        HDUWriter(file).primary({"META": text, "NAME": "x"})
    result = scan(path, checksum=True)[0].header
    assert result["META"] == text.rstrip(" ")
    assert result["NAME"] == "x"


def test_names_with_a_colon_stay_plain_text(tmp_path: Path) -> None:
    """Astropy would read a 'record-valued keyword' NAME.obs."""
    ours, _ = header_round_trip(tmp_path / "a.fits", {"NAME": "obs: 23523"})
    assert ours["NAME"] == "obs: 23523"


def test_reads_every_form_of_card(tmp_path: Path) -> None:
    cards = [
        card("REAL", text="1.5D-3 / lower"), card("EXP", text="2e3"), card("PLUS", text="+5"), card("NONE", text=""),
        card("CPLX", text="(1.0, 2.0)"), card("QUOTE", text="'it''s / fine' / comment"), "HISTORY".ljust(80), " " * 80,
        "COMMENT any = text".ljust(80), "HIERARCH ESO tel name = 'long' / far".ljust(80), "HIERARCH A b = 5".ljust(80),
    ]  # fmt: skip
    result = scan(put(tmp_path / "a.fits", header(*PRIMARY, *cards)))[0].header
    assert (result["REAL"], result["EXP"], result["CPLX"], result["PLUS"]) == (1.5e-3, 2000.0, 1 + 2j, 5)
    assert result["NONE"] is None
    assert (result["QUOTE"], result.comments["QUOTE"]) == ("it's / fine", "comment")
    assert str(result["COMMENT"]) == "any = text"
    assert (result["ESO TEL NAME"], result["A B"]) == ("long", 5)


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"X": float("nan")}, "card X is nan; text, bool, int and finite floats"),
        ({"X": np.float32("inf")}, "card X is inf"),
        ({"X": None}, "card X is None"),
        ({"X": [1]}, r"card X is \[1\]"),
        ({"X": 10**80}, "number of 81 digits"),
        ({"X": "Crab µ"}, "printable ASCII only"),
        ({"X": "two\nlines"}, "printable ASCII only"),
        ({"X": (1, "ä")}, "printable ASCII only"),
        ({"lower": 1}, "'lower' is no FITS keyword"),
        ({"TOO_LONG_": 1}, "no FITS keyword"),
        ({"NAXIS1": 1}, "card NAXIS1 is made by the writer"),
        ({"EXTNAME": "X"}, "card EXTNAME is made by the writer"),
    ],
)
def test_cards_that_cannot_be_stored(cards: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=f"HDU A: .*{message}"):
        HDUWriter(io.BytesIO()).image("A", np.zeros(3), cards)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros(3, "c8"), "dtype complex64"),
        (np.zeros(3, "O"), "dtype object"),
        (np.zeros(3, "M8[s]"), "dtype datetime64"),
        (np.zeros(3, "U2"), "dtype <U2"),
        (np.float32(3), r"shape \(\)"),
        (np.array([1, 2**63], "u8"), "9223372036854775808 does not fit a FITS integer"),
    ],
)
def test_images_that_cannot_be_stored(data: Any, message: str) -> None:
    with pytest.raises(FormatError, match=f"HDU A: .*{message}"):
        HDUWriter(io.BytesIO()).image("A", data, {})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"X": np.zeros(3), "Y": np.zeros(2)}, "column Y has 2 rows and the first column 3"),
        ({"X": np.zeros((3, 2, 2))}, r"column X of dtype float64 and shape \(3, 2, 2\)"),
        ({"X": np.zeros(3, "c8")}, "column X of dtype complex64"),
        ({"X": np.array(["µ"])}, "column X holds text that is not ASCII"),
        ({"X": np.array([b"\xb5"])}, "column X holds text that is not ASCII"),
        ({"X": np.array([2**63], "u8")}, "does not fit a FITS integer"),
        ({f"X{i}": np.zeros(1) for i in range(1000)}, "1000 columns"),
    ],
)
def test_tables_that_cannot_be_stored(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=f"HDU A: .*{message}"):
        HDUWriter(io.BytesIO()).table("A", columns, {}, {})


# ------------------------------------------------------------------------------------------------ reading

SCALED = {
    "u2": ("i2", {"BZERO": 2**15}, "u2"),
    "u4": ("i4", {"BZERO": 2.0**31}, "u4"),
    "u8": ("i8", {"BZERO": 2**63}, "u8"),
    "i1": ("u1", {"BZERO": -128}, "i1"),
    "scaled": ("i2", {"BSCALE": 0.25, "BZERO": 7}, "f8"),
    "scaled-float": ("f4", {"BSCALE": 2.0, "BZERO": 1.0}, "f4"),
    "blank": ("i2", {"BLANK": -32768}, "f8"),
    "blank-u2": ("i2", {"BLANK": -32768, "BZERO": 32768}, "f8"),
    "blank-u1": ("u1", {"BLANK": 255}, "f8"),
    "blank-float": ("f4", {"BLANK": 5}, "f4"),
}


@pytest.mark.parametrize("case", SCALED)
def test_bscale_bzero_blank(case: str, tmp_path: Path) -> None:
    dtype, cards, expected = SCALED[case]
    stored = random_array(dtype, (3, 5))
    if "blank" in case:
        stored[1, 1] = cards["BLANK"]
    image = change(IMAGE, BITPIX=8 * stored.itemsize * (-1 if dtype == "f4" else 1), NAXIS1=5, **cards)
    big = stored.astype(stored.dtype.newbyteorder(">")).tobytes()
    for name, pack in {"a.fits": bytes, "a.fits.gz": gzip.compress}.items():
        hdu = scan(put(tmp_path / name, pack(header(*PRIMARY) + header(*image) + pad(big))))[1]
        exact = stored.astype("O") * cards.get("BSCALE", 1) + cards.get("BZERO", 0)
        values = exact.astype(expected)
        if stored.dtype.kind != "f" and "BLANK" in cards:
            values[stored == cards["BLANK"]] = np.nan
        assert hdu.dtype == read(hdu).dtype == np.dtype(expected)
        np.testing.assert_array_equal(read(hdu), values)


def test_scaled_columns(tmp_path: Path) -> None:
    cards = change(TABLE, TFORM1="4I", TZERO1=32768, TFORM2="2J", TSCAL2=0.5, TNULL2=-1, TDIM3="(4,2)", TDIM1="(2,2)")
    data = np.array([([-32768, 0, 1, 32767], [4, -1], b"ab\0xcd")], [("c", ">i2", 4), ("e", ">i4", 2), ("l", "S8")])
    table = scan(put(tmp_path / "a.fits", header(*PRIMARY) + header(*change(cards, NAXIS2=1)) + pad(data.tobytes())))[1]
    columns = table.table()
    np.testing.assert_array_equal(columns["CHANNEL"], np.array([[[0, 32768], [32769, 65535]]], "u2"))
    np.testing.assert_array_equal(columns["ENERGY"], [[2.0, np.nan]])
    np.testing.assert_array_equal(columns["LABEL"], [["ab", "cd"]])


KEYS = [
    (slice(None), slice(None), slice(None)),
    (1, slice(5, 30), slice(None, None, 7)),
    (slice(None, None, -1), -1, slice(40, 3, -4)),
    (2, 39, 49),
    (slice(1, 1), slice(None), 3),
    (slice(0, 2), slice(19, 21), slice(24, 26)),
]


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("i2", {"compression_type": "RICE_1"}),
        ("i4", {"compression_type": "RICE_1", "tile_shape": (1, 20, 25)}),
        ("i4", {"compression_type": "GZIP_1", "tile_shape": (2, 15, 50)}),
        ("f4", {"compression_type": "GZIP_2", "quantize_level": 0, "tile_shape": (1, 40, 50)}),
        ("f8", {"compression_type": "GZIP_2", "quantize_level": 0}),
        ("f4", {"compression_type": "RICE_1", "quantize_method": 1, "dither_seed": 7}),
        ("u2", {"compression_type": "GZIP_2", "tile_shape": (3, 40, 50)}),
        ("i2", {"compression_type": "NOCOMPRESS"}),
    ],
)
def test_tile_compressed_images(dtype: str, options: dict[str, Any], tmp_path: Path) -> None:
    data = np.random.default_rng(6).poisson(5, (3, 40, 50)).astype(dtype)
    if dtype[0] == "f":
        data += np.random.default_rng(7).normal(size=data.shape).astype(dtype)
    cards = fits.Header([("BUNIT", "m2 s"), ("CRVAL1", 83.63308000000001)])
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, cards, name="counts", **options)]).writeto(
        tmp_path / "a.fits", checksum=True
    )
    with fits.open(tmp_path / "a.fits") as peer:
        expected, theirs = peer[1].data.copy(), peer[1].header.copy()
    put(tmp_path / "a.fits.gz", gzip.compress((tmp_path / "a.fits").read_bytes(), 1))
    for name in ("a.fits", "a.fits.gz"):
        image = scan(tmp_path / name, checksum=True)[1]
        assert (image.name, image.kind, image.shape, image.dtype) == ("COUNTS", "compressed", data.shape, data.dtype)
        shown = {key: value for key, value in theirs.items() if key not in ("EXTNAME", "CHECKSUM", "DATASUM")}
        assert {key: image.header[key] for key in shown} == shown
        assert not set(image.header) - set(theirs)
        for key in KEYS:
            part = image.array()[BasicIndexer(key)]
            assert part.dtype == data.dtype
            np.testing.assert_array_equal(part, expected[key])


def test_only_the_tiles_needed_are_read(tmp_path: Path) -> None:
    """The last tile is damaged, and that matters only to who asks for it."""
    data = np.random.default_rng(8).integers(0, 1000, (4, 30, 30)).astype("i4")
    image = fits.CompImageHDU(data, compression_type="GZIP_2", tile_shape=(1, 30, 30))
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(tmp_path / "a.fits")
    raw = (tmp_path / "a.fits").read_bytes().rstrip(b"\0")
    put(tmp_path / "a.fits", pad(raw[:-40] + bytes(40)))
    array = scan(tmp_path / "a.fits")[1].array()
    np.testing.assert_array_equal(array[BasicIndexer((slice(3), slice(None), 4))], data[:3, :, 4])
    with pytest.raises(FormatError, match="a compressed tile is damaged"):
        array[BasicIndexer((3, 0, 0))]


RUNS = [
    ((slice(None), slice(None), slice(None)), True),
    ((slice(1, 3), slice(None), slice(None)), True),
    ((2, slice(None), slice(None)), True),
    ((-1, -2, slice(1, 4)), True),
    ((slice(1, 2), slice(2, 4), slice(None)), True),
    ((3, 4, 5), True),
    ((slice(2, 2), slice(None), slice(None)), True),
    ((slice(None), 0, slice(None)), False),
    ((slice(None), slice(None), slice(1, None)), False),
    ((0, slice(None, None, 2), slice(None)), False),
    ((slice(None, None, -1), slice(None), slice(None)), True),  # xarray turns it afterwards
    ((0, 0, slice(None, None, -2)), False),
]


@pytest.mark.parametrize(("key", "run"), RUNS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_one_run_of_bytes_is_read_and_the_rest_mapped(
    key: Any, run: bool, pack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of 16 bytes, in two threads: the same values either way, and a map of selections with gaps only."""
    monkeypatch.setattr(images, "PIECE_BYTES", 16)
    monkeypatch.setattr(images, "THREADED_BYTES", 100)
    data = random_array("i2", (4, 5, 7))
    path = write(tmp_path / "a.fits", ("image", ("A", data, {})))
    array = scan(put(path, pack(path.read_bytes())))[1].array()
    np.testing.assert_array_equal(array[BasicIndexer(key)], data[key], strict=True)
    squares = array.map(square, "f8")
    np.testing.assert_array_equal(squares[BasicIndexer(key)], data[key].astype("f8") ** 2)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(squares)).get_duck_array(), data.astype("f8") ** 2)
    assert (array.dtype, squares.dtype) == (np.dtype("i2"), np.dtype("f8"))
    monkeypatch.setattr(bytesource.Source, "mapped", lambda _: pytest.fail("a memory map"))
    if run:
        np.testing.assert_array_equal(array[BasicIndexer(key)], data[key])
    else:
        with pytest.raises(pytest.fail.Exception, match="a memory map"):
            array[BasicIndexer(key)]


def square(values: Any) -> Any:
    return values.astype("f8") ** 2


def test_large_image_is_read_by_two_threads(tmp_path: Path) -> None:
    data = random_array("f4", (3, 1001, 1003))
    path = write(tmp_path / "a.fits", ("image", ("A", data, {})))
    image = scan(path)[1]
    assert data.nbytes > images.THREADED_BYTES
    np.testing.assert_array_equal(read(image), data)
    with ThreadPoolExecutor(2) as pool:  # as dask does
        for values in pool.map(read, [image] * 3):
            np.testing.assert_array_equal(values, data)


@pytest.mark.parametrize("shape", [(30, 40), (3, 1001, 1003)], ids=["small", "threaded"])
def test_file_cut_while_it_is_read(shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.fits", ("image", ("A", random_array("f4", shape), {})), ("table", TABLE_OF_TWO))
    _, image, table = scan(path)
    stamp = image.array().source.stamp
    monkeypatch.setattr(bytesource, "_stamp", lambda file: stamp)  # the check comes too early to see it
    os.truncate(path, 2 * 2880 + 4 * (np.prod(shape) - 10))
    with pytest.raises(
        FormatError, match=r"a\.fits: HDU 1 \(A\): \d+ bytes are missing: the file was cut while it was"
    ):
        read(image)
    with pytest.raises(FormatError, match=r"HDU 2 \(T\): 32 bytes are missing"):
        table.table()


TABLE_OF_TWO = ("T", {"A": np.arange(2.0), "B": np.arange(2.0)}, {}, {})


@pytest.mark.parametrize("tiled", [False, True], ids=["images", "tiled"])
def test_cheap_cards_are_those_of_the_header(tiled: bool, tmp_path: Path) -> None:
    for hdu in scan(put(tmp_path / "a.fits", files.sample(tiled))):
        assert dict(hdu.cards) == {key: hdu.header[key] for key in hdu.cards}
        assert set(hdu.cards) == set(hdu.header)


def test_changed_file_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "a.fits", one_image())
    image, table = scan(path)[1], scan(put(tmp_path / "b.fits", one_table()))[1]
    status = path.stat()
    put(path, one_image())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    read(image)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(FormatError, match=r"a\.fits: HDU 1 \(COUNTS\): the file changed since it was opened"):
        read(image)
    put(tmp_path / "b.fits", one_table() + b" ")
    with pytest.raises(FormatError, match="the file changed"):
        table.table()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("tiled", [False, True], ids=["images", "tiled"])
def test_arrays_pickle_and_serve_threads(pack: Any, tiled: bool, tmp_path: Path) -> None:
    path = put(tmp_path / "a.fits", pack(files.sample(tiled)))
    image = scan(path)[1]
    expected = read(image)
    array = pickle.loads(pickle.dumps(image.array()))
    if pack is gzip.compress:
        path.unlink()  # it is in memory
    else:
        assert len(pickle.dumps(array)) < 4000
    np.testing.assert_array_equal(array.get_duck_array(), expected)

    def part(i: int) -> bool:
        key = (i % 3, slice(i % 7, None), slice(None, None, 1 + i % 4))
        return bool(np.array_equal(array[BasicIndexer(key)], expected[key]))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(part, range(48)))


def test_no_file_stays_open(tmp_path: Path) -> None:
    path = put(tmp_path / "a.fits", files.sample(tiled=True))
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    contents = read_all(path, checksum=True)
    after = set(os.listdir("/proc/self/fd")) if before else set()
    assert len(after) <= len(before)
    assert len(contents) == 7


# ------------------------------------------------------------------------------------------------ streaming


def test_dask_array_is_streamed(tmp_path: Path) -> None:
    """96 MB in slabs of 8 MB, and only a few of them in memory at a time."""
    data = da.random.default_rng(9).random((12, 1000, 1000), chunks=(1, 500, 1000))
    path = tmp_path / "a.fits"
    tracemalloc.start()
    write(path, ("image", ("BIG", data, {})))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 48 * MIB
    result = LazilyIndexedArray(scan(path, checksum=True)[1].array())
    np.testing.assert_array_equal(result[BasicIndexer((11, slice(499, 502)))].get_duck_array(), data[11, 499:502])


@pytest.mark.parametrize("chunks", [(2, 3, 4), (5, 7, 9), (1, 7, 4), (3, 7, 9)])
@pytest.mark.parametrize("limit", [40, 300, 1000, 10**6])
def test_slabs_of_any_size(chunks: Any, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slabs and buffers much smaller than chunks, rows and words, in the right order all the same."""
    monkeypatch.setattr("xonoff.io.hdu_writer.SLAB_BYTES", limit)
    monkeypatch.setattr("xonoff.io.hdu_writer.BUFFER_BYTES", limit // 2)
    data = np.arange(5 * 7 * 9, dtype="i2").reshape(5, 7, 9)
    steps = [("image", ("DASK", da.from_array(data, chunks), {})), ("image", ("VIEW", data[::-1, :, ::2] > 50, {}))]
    _, lazy, view = scan(write(tmp_path / "a.fits", *steps), checksum=True)
    np.testing.assert_array_equal(read(lazy), data)
    np.testing.assert_array_equal(read(view), data[::-1, :, ::2] > 50)


def test_writing_is_in_place_and_appends(tmp_path: Path) -> None:
    """Each header is patched where it is, and the next HDU follows."""
    path = tmp_path / "a.fits"
    path.write_bytes(files.sample())
    with open(path, "r+b") as file:
        file.seek(0, os.SEEK_END)
        HDUWriter(file).image("MORE", np.arange(5), {})
    hdus = scan(path, checksum=True)
    assert hdus[-1].name == "MORE"
    assert len(hdus) == 10
    assert re.fullmatch(r"\d+", hdus[-1].header["DATASUM"])


# ------------------------------------------------------------------------------------------------ variable length


def vectors(code: str, pairs: list[tuple[int, int]], heap: bytes, **cards: object) -> bytes:
    """A file with one column of descriptors (number of elements, place in the heap)."""
    rows = np.array(pairs, ">i4" if code[0] == "P" else ">i8").tobytes()
    width = 8 if code[0] == "P" else 16
    head = [("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", width), ("NAXIS2", len(pairs))]
    head += [("PCOUNT", len(heap)), ("GCOUNT", 1), ("TFIELDS", 1), ("TTYPE1", "V"), ("TFORM1", f"1{code}(9)")]
    return header(*PRIMARY) + header(*head, ("EXTNAME", "VECTORS"), *cards.items()) + pad(rows + heap)


@pytest.mark.parametrize("kind", "PQ")
@pytest.mark.parametrize(("form", "dtype"), [("B", "u1"), ("I", "i2"), ("J", "i4"), ("E", "f4"), ("D", "f8")])
def test_vectors_of_variable_length(tmp_path: Path, kind: str, form: str, dtype: str) -> None:
    heap = np.array([1, 2, 3], np.dtype(dtype).newbyteorder(">")).tobytes()
    size = np.dtype(dtype).itemsize
    pairs = [(2, 0), (0, 99), (3, 0), (1, 2 * size)]  # those of no element may point anywhere
    values = scan(put(tmp_path / "a.fits", vectors(kind + form, pairs, heap)))[1].table()["V"]
    assert [v.tolist() for v in values] == [[1, 2], [], [1, 2, 3], [3]]
    assert {v.dtype for v in values} == {np.dtype(dtype)}


def test_vectors_of_unsigned_numbers_after_a_gap(tmp_path: Path) -> None:
    heap = bytes(6) + np.array([-32768, 32767], ">i2").tobytes()
    data = vectors("PI", [(2, 0)], heap, TZERO1=32768, THEAP=14)
    values = scan(put(tmp_path / "a.fits", data))[1].table()["V"]
    assert values[0].tolist() == [0, 65535]


@pytest.mark.parametrize("pair", [(2, 2), (1, 4), (-1, 0), (1, -2), (2**31 - 1, 0)])
def test_vectors_outside_of_the_heap(tmp_path: Path, pair: tuple[int, int]) -> None:
    with pytest.raises(FormatError, match=r"VECTORS.*column V points outside of the 4 bytes of its heap"):
        scan(put(tmp_path / "a.fits", vectors("PI", [pair], bytes(4))))[1].table()


def test_vectors_that_share_the_heap_too_often(tmp_path: Path) -> None:
    """A file of 3 MiB that stands for 100 GiB."""
    data = vectors("PB", [(2**20, 0)] * 100_000, bytes(2**20))
    with pytest.raises(FormatError, match="column V makes 104857600000 bytes of the 1048576 of its heap"):
        scan(put(tmp_path / "a.fits", data))[1].table()
