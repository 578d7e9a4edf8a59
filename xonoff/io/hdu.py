"""Read the structure of untrusted FITS files: bytes to a list of HDUs, lazily.

`scan` walks the raw 2880-byte blocks and checks every card and size by itself; nothing of the file reaches astropy, and
no memory is allocated for what a header claims, before the claim is proven against the bytes that are there. So any
file gives either the right HDUs or one `xonoff.errors.FormatError` that says where it is wrong, in bounded time and
memory. What the HDUs mean is the business of the layer above (`xonoff.io.fits`); writing is `xonoff.io.hdu_writer`.

The parts are in modules of their own: header cards in `xonoff.io.cards`, bytes plain or gzip in
`xonoff.io.bytesource`, images in `xonoff.io.images`, compressed ones in `xonoff.io.tiles`, tables in
`xonoff.io.bintable`, checksums in `xonoff.io.checksum`.

References
----------
FITS standard 4.0: file structure section 3, headers section 4, extensions section 7.
"""

import math
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from xonoff.errors import FormatError
from xonoff.io.bintable import Column, columns_of
from xonoff.io.bytesource import Reader, Source, open_reader
from xonoff.io.cards import BLOCK, CARD, MAX_LENGTH, Cards, Where
from xonoff.io.images import IMAGE_DTYPES, ImageArray, Scaling
from xonoff.io.tiles import image_cards, tiled_image

__all__ = ["HDU", "ImageArray", "scan"]

MAX_HDUS = 10_000
MAX_HEADER_BLOCKS = 2_000  # 72 000 cards
MAX_CARDS = 100_000  # in one file: a second or two of parsing
MAX_PADDING = 1 << 20  # blank bytes tolerated after the last HDU


@dataclass(frozen=True)
class HDU:
    """One HDU of a scanned file; it holds no open handle and no data (save those of a gzip file).

    Attributes
    ----------
    path : str
        Absolute path of the file.
    index : int
        Position in the file, 0 for the primary HDU.
    name : str
        ``EXTNAME`` in upper case, ``""`` if there is none.
    kind : {"image", "table", "compressed"}
        A compressed image is read like an image.
    shape : tuple of int
        In numpy order; ``(rows,)`` of a table, ``()`` of an HDU without data.
    dtype : numpy dtype
        Native dtype of the scaled values; of a table, a void of the width of a row.
    """

    path: str
    index: int
    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _cards: Cards = field(repr=False)
    _source: Source = field(repr=False)
    _array: ImageArray | None = field(default=None, repr=False)
    _columns: tuple[Column, ...] = field(default=(), repr=False)

    @property
    def cards(self) -> Mapping[str, Any]:
        """Values of the header by keyword, the first of each; much cheaper than `header`."""
        return self._cards.values

    @cached_property
    def header(self) -> fits.Header:
        """Header for astropy; of a compressed image, that of the image and not of the table that stores it."""
        return self._cards.header()

    def array(self) -> ImageArray:
        """Lazy array of an image, for `xarray.core.indexing.LazilyIndexedArray`.

        Returns
        -------
        ImageArray
            An xarray `BackendArray`, picklable; every read opens the file, checks that it has not changed, and
            closes it.

        Raises
        ------
        FormatError
            The HDU holds no image. On reading: the file changed since the scan, or a compressed tile is damaged.
        """
        if self._array is None:
            self._source.where.fail("it holds no image data; an image HDU is needed")
        return self._array

    def table(self) -> dict[str, NDArray[Any]]:
        """Read the columns of a binary table.

        Returns
        -------
        dict of str to ndarray (rows,) or (rows, ...)
            Native byte order, scaled; strings decoded and without trailing blanks. A column of vectors of variable
            length (P or Q) is an array of arrays.

        Raises
        ------
        FormatError
            The HDU holds no binary table, a column has a type that is not supported or points outside of the heap, or
            the file changed since the scan.
        """
        source = self._source
        if self.kind != "table" or self.cards.get("XTENSION") != "BINTABLE":
            source.where.fail("it holds no binary table; a BINTABLE HDU is needed")
        with source.open(source.data) as file:
            rows = np.empty((self.shape[0], self.dtype.itemsize), np.uint8)
            source.fill(file, rows)
        heap = np.zeros(0, np.uint8)
        if any(column.in_heap for column in self._columns):
            heap = source.mapped()[self._cards.integer("THEAP", rows.size, source.size, rows.size) :]
        try:
            return {
                column.name: column.read_heap(source.where, rows, heap)
                if column.in_heap
                else column.read(source.where, rows)
                for column in self._columns
            }
        except FormatError:
            raise
        except Exception as error:
            source.where.fail(f"the table cannot be read ({type(error).__name__}: {error})")

    @property
    def units(self) -> dict[str, str]:
        """Unit of each column of a table, ``""`` where none is given."""
        return {column.name: column.unit for column in self._columns}


def scan(path: str | os.PathLike[str], checksum: bool = False) -> list[HDU]:
    """List the HDUs of a FITS file, plain or gzip, after checking its whole structure.

    Data of a plain file are stepped over, not read; a gzip file is decompressed once, into memory.

    Parameters
    ----------
    path : str or path-like
        The file. Compression is told by content, not by name.
    checksum : bool
        Also read everything and verify the ``CHECKSUM`` and ``DATASUM`` cards, which then every HDU must have. In a
        plain file any single flipped bit is found.

    Returns
    -------
    list of HDU

    Raises
    ------
    FormatError
        Anything in the file is not as the FITS standard has it, truncated, implausible, or fails its checksum.
    FileNotFoundError
        There is no such file.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from astropy.io import fits
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "a.fits")
    ...     fits.PrimaryHDU(np.arange(6, dtype="i2").reshape(2, 3)).writeto(path, checksum=True)
    ...     [hdu] = scan(path, checksum=True)
    ...     hdu.shape, hdu.dtype, hdu.array().get_duck_array()[1]
    ((2, 3), dtype('int16'), array([3, 4, 5], dtype=int16))
    """
    where = Where(os.path.abspath(os.fsdecode(path)))
    if not stat.S_ISREG(os.stat(where.path).st_mode):
        where.fail("it is a directory or device; a FITS file is needed")
    with open(where.path, "rb") as file:
        reader = open_reader(file, where)
        hdus: list[HDU] = []
        cards = 0
        while header := _read_header(reader, Where(where.path, len(hdus))):
            if len(hdus) == MAX_HDUS or cards > MAX_CARDS:
                where.fail(f"more than {MAX_HDUS} HDUs or {MAX_CARDS} cards; split the file")
            hdus.append(_build(reader, Where(where.path, len(hdus)), header))
            cards += len(hdus[-1]._cards.cards)
            if checksum:
                _verify(hdus[-1])
    return hdus


def _read_header(reader: Reader, where: Where) -> bytes:
    """Blocks up to the END card; empty at the end of the file."""
    block = reader.read(BLOCK)
    if where.index == 0 and not block.startswith(b"SIMPLE  ="):
        found = f"begins with {block[:16]!r}" if block else "is empty"
        where.fail(f"not a FITS file: it {found}; a first card SIMPLE = T is needed")
    if where.index > 0 and not block.startswith(b"XTENSION"):
        return _check_padding(reader, where, block)
    blocks = []
    while True:
        if len(block) < BLOCK:
            where.fail(
                f"the file is truncated in a header: {BLOCK - len(block)} or more bytes are missing; fetch it again"
            )
        blocks.append(block)
        for i in range(0, BLOCK, CARD):
            if block.startswith(b"END     ", i):
                if block[i + 3 :].strip(b" "):
                    where.fail("the header goes on after its END card; only blanks are accepted there")
                return b"".join(blocks)
        if len(blocks) == MAX_HEADER_BLOCKS:
            where.fail(f"the header has no END card within {MAX_HEADER_BLOCKS} blocks of {BLOCK} bytes")
        block = reader.read(BLOCK)


def _check_padding(reader: Reader, where: Where, block: bytes) -> bytes:
    """Only zeros, or only blanks, may follow the last HDU."""
    filler, count = block[:1], 0
    while block:
        count += len(block)
        if block.strip(filler) or filler not in (b"\0", b" ") or count > MAX_PADDING:
            where.fail(
                f"the bytes after the last HDU begin with {block[:16]!r}; a card XTENSION, or up to {MAX_PADDING} "
                "zeros or blanks, are accepted: cut the file there or fetch it again"
            )
        block = reader.read(BLOCK)
    return b""


def _build(reader: Reader, where: Where, raw: bytes) -> HDU:
    """Check one header and make its HDU."""
    cards = _parse(raw, where)
    name = cards.text("EXTNAME").strip().upper()
    where = cards.where = Where(where.path, where.index, name)
    if where.index == 0:
        cards.choice("SIMPLE", (True,))
        kind = "IMAGE"
    else:
        kind = cards.choice("XTENSION", ("IMAGE", "BINTABLE", "TABLE"))
    table = kind != "IMAGE"
    shape = cards.axes("NAXIS")
    bitpix = cards.choice("BITPIX", (8,) if table else tuple(IMAGE_DTYPES))
    count = math.prod(shape) * abs(bitpix) // 8 if shape else 0
    heap = cards.integer("PCOUNT", 0, MAX_LENGTH if kind == "BINTABLE" else 0, None if where.index else 0)
    cards.integer("GCOUNT", 1, 1, None if where.index else 1)
    if cards.values.get("GROUPS") is True:
        where.fail("card GROUPS is T; random groups are not supported: convert them to images")
    if not table:
        scaling = Scaling.of(cards, IMAGE_DTYPES[bitpix], "BSCALE", "BZERO", "BLANK")
        source = reader.source(where, raw, count)
        array = ImageArray(source, shape, scaling) if shape else None
        return HDU(where.path, where.index, name, "image", shape, scaling.dtype, cards, source, array)
    if len(shape) != 2 or shape[1] >= 2**31 or (shape[0] and not shape[1]):
        where.fail(f"a table has NAXIS = 2 and rows of 1 to 2**31 - 1 bytes; found the axes {shape[::-1]}")
    columns = columns_of(cards, shape[1]) if kind == "BINTABLE" else ()
    source = reader.source(where, raw, count + heap)
    if cards.values.get("ZIMAGE") is True:
        return _build_compressed(cards, source, shape, heap, columns)
    row = np.dtype(("V", shape[1]))
    return HDU(where.path, where.index, name, "table", shape[:1], row, cards, source, None, columns)


def _build_compressed(
    cards: Cards, source: Source, table: tuple[int, ...], heap: int, columns: tuple[Column, ...]
) -> HDU:
    array = tiled_image(cards, source, table, heap, columns)
    where, name = cards.where, cards.where.name
    name = "" if name == "COMPRESSED_IMAGE" else name
    cards = image_cards(cards)
    return HDU(where.path, where.index, name, "compressed", array.shape, array.dtype, cards, source, array, columns)


def _parse(raw: bytes, where: Where) -> Cards:
    """Cards of whole header blocks."""
    return Cards.parse(raw[: raw.rstrip(b" ").rfind(b"END")], where)


def _verify(hdu: HDU) -> None:
    """Compare the checksums of an HDU with its bytes."""
    where = hdu._source.where
    with hdu._source.open() as file:
        cards = _parse(file.read(hdu._source.data - hdu._source.start), where)
    wanted = cards.text("DATASUM").strip()
    if "CHECKSUM" not in cards.values or not re.fullmatch(r"\d{1,10}", wanted):
        where.fail("it has no CHECKSUM and DATASUM cards, so it cannot be checked; open it without checking")
    header, data = hdu._source.sums()
    ones = 0xFFFFFFFF  # zero and all ones are the same number in ones complement
    if int(wanted) % ones != data % ones:
        where.fail(f"the data are damaged: their sum is {data} and DATASUM is {wanted}; fetch the file again")
    if (header + data) % ones:
        where.fail("the header is damaged: the sum of the HDU does not fit its CHECKSUM; fetch the file again")
