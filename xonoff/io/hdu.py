"""Read the structure of untrusted FITS files: bytes to a list of HDUs, lazily.

`scan` walks the raw 2880-byte blocks and checks every card and size by itself; nothing of the file reaches astropy, and
no memory is allocated for what a header claims, before the claim is proven against the bytes that are there. So any
file gives either the right HDUs or one `xonoff.errors.FormatError` that says where it is wrong, in bounded time and
memory. What the HDUs mean is the business of the layer above (`xonoff.io.fits`); writing is `xonoff.io.hdu_writer`.

Values are parsed here too: astropy's parser warns instead of raising, reads ``'a'' / b'`` as ``a'`` with a comment,
takes quadratic time over long strings of blanks, and turns the name ``'obs: 1'`` into another keyword.

References
----------
FITS standard 4.0: headers section 4, images and scaling 4.4 and 5, binary tables 7.3, tile compression 10.1.
"""

import gzip
import io
import itertools
import math
import os
import re
import stat
import zlib
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NoReturn

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from xonoff.errors import FormatError
from xonoff.io.hdu_writer import BLOCK, BUFFER_BYTES, CARD, fold, word_sum

__all__ = ["HDU", "ImageArray", "scan"]

MAX_HDUS = 10_000
MAX_HEADER_BLOCKS = 2_000  # 72 000 cards
MAX_CARDS = 100_000  # in one file: a second or two of parsing
MAX_AXES = 8
MAX_LENGTH = 2**48  # of one axis
MAX_FIELDS = 999
MAX_PADDING = 1 << 20  # blank bytes tolerated after the last HDU
MAX_TILE = 2**28  # elements
FREE_BYTES = 64 << 20  # an expansion up to this size is always accepted, beyond it only at a plausible ratio
MAX_GZIP_RATIO = 250
MAX_TILE_RATIO = 1000
MAX_DEFLATE_RATIO = 1032  # what one byte of a deflate stream can give at most

IMAGE_DTYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
WIDTHS = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
COLUMN_DTYPES = {"L": "u1", "B": ">u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
HEAP_DTYPES = {"B": "u1", "I": ">i2", "J": ">i4", "E": ">f4", "D": ">f8"}
# HCOMPRESS and PLIO are missing on purpose: their C decoders trust sizes found in the stream.
COMPRESSIONS = ("GZIP_1", "GZIP_2", "RICE_1", "RICE_ONE", "NOCOMPRESS")

_PRINTABLE = bytes(range(32, 127))
_EXPONENT = str.maketrans("Dd", "Ee")
_KEYWORD = re.compile(r"([A-Z0-9_-]{1,8}) *")
_HIERARCH = re.compile(r"HIERARCH +([!-<>-~][ -<>-~]*?) *= *(.*)")
_VALUE = re.compile(
    r" *(?:'(?P<text>(?:[^']|'')*)'|(?P<logical>[TF])|(?P<integer>[+-]?\d+)"
    r"|(?P<real>[+-]?(?:\d+\.?\d*|\.\d+)(?:[EDed][+-]?\d+)?)|(?P<complex>\([ 0-9.,EDed+-]+\)))? *(?:/(?P<comment>.*))?"
)
_ONCE = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|GROUPS|TFIELDS|THEAP|T(?:FORM|TYPE|UNIT|DIM|SCAL|ZERO|NULL)\d+|EXTNAME"
    r"|BSCALE|BZERO|BLANK|CHECKSUM|DATASUM|Z(?:IMAGE|BITPIX|CMPTYPE|NAXIS\d*|(?:TILE|NAME|VAL)\d+|QUANTIZ|DITHER0|BLANK)"
)
_TFORM = re.compile(r"(\d{0,18})(?:([LXBIJKEDCM])|(A)(?:\d+|:.*)?|([PQ])([LXBIJKADECM])(?:\(\d*\))?)")
_TABLE_CARD = re.compile(
    r"(?:SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|THEAP|CHECKSUM|DATASUM|BLANK|T(?:FORM|TYPE|UNIT)\d+"
    r"|Z(?:IMAGE|BITPIX|CMPTYPE|NAXIS\d*|(?:TILE|NAME|VAL)\d+|QUANTIZ|DITHER0|BLANK|MASKCMP|SIMPLE|TENSION|EXTEND|BLOCKED"
    r"|PCOUNT|GCOUNT|HECKSUM|DATASUM|SCALE|ZERO))"
)


@dataclass(frozen=True)
class _Where:
    """What an error message says about the place."""

    path: str
    index: int = -1
    name: str = ""

    def fail(self, fault: str) -> NoReturn:
        hdu = f": HDU {self.index}" + (f" ({self.name})" if self.name else "") if self.index >= 0 else ""
        raise FormatError(f"{self.path}{hdu}: {fault}")


# ---------------------------------------------------------------------------------------------------- cards


@dataclass(slots=True)
class _Card:
    """One logical card: a string and its CONTINUE cards are one."""

    keyword: str
    image: str
    value: Any = None
    comment: str = ""
    pieces: list[str] = field(default_factory=list)
    hierarch: bool = False

    def to_astropy(self) -> fits.Card:
        """Numbers keep their text, so that WCS sees the digits of the file; strings are set, never parsed again."""
        if not self.pieces and not self.hierarch:
            return fits.Card.fromstring(self.image)
        card = fits.Card("HIERARCH " + self.keyword if self.hierarch else self.keyword)
        card.value = self.value
        card.comment = self.comment
        return card


class _Cards:
    """The cards of one header, checked one by one, and typed look-ups among them."""

    def __init__(self, raw: bytes, where: _Where) -> None:
        self.where = where
        self.cards: list[_Card] = []
        self.values: dict[str, Any] = {}
        text = raw.decode("latin-1")
        if raw.translate(None, _PRINTABLE):
            bad = next(i for i in range(0, len(raw), CARD) if raw[i : i + CARD].translate(None, _PRINTABLE))
            where.fail(f"card {raw[bad : bad + CARD]!r} holds bytes that are not printable ASCII; rewrite the header")
        for i in range(0, len(text), CARD):
            self._add(text[i : i + CARD])
        for card in self.cards:
            if card.pieces:
                card.value = "".join(card.pieces).rstrip(" ")
            if card.keyword in self.values and _ONCE.fullmatch(card.keyword):
                where.fail(f"card {card.keyword} appears twice; one is accepted")
            self.values.setdefault(card.keyword, card.value)

    def _add(self, image: str) -> None:
        hierarch = _HIERARCH.fullmatch(image) if image.startswith("HIERARCH ") else None
        if hierarch:
            self.cards.append(self._parse(_Card(hierarch[1], image, hierarch=True), hierarch[2]))
        elif image[:8] in ("COMMENT ", "HISTORY ", " " * 8):
            self.cards.append(_Card(image[:8].rstrip(), image, image[8:].rstrip()))
        elif image[:10] == "CONTINUE  ":
            self._continue(image)
        else:
            keyword = _KEYWORD.fullmatch(image[:8])
            if not keyword or image[8:10] != "= ":
                self.where.fail(
                    f"card {image.rstrip()!r} is neither KEYWORD = value nor a comment; a keyword of up to 8 of A-Z, "
                    "0-9, '-' and '_', with '= ' in columns 9-10, is accepted"
                )
            self.cards.append(self._parse(_Card(keyword[1], image), image[10:]))

    def _parse(self, card: _Card, text: str) -> _Card:
        match = _VALUE.fullmatch(text)
        if not match:
            self.where.fail(f"card {card.keyword} has the unreadable value {text.strip()!r}; a quoted text, T, F or a "
                            "number is accepted")  # fmt: skip
        kind = match.lastgroup if match.lastgroup != "comment" else next(
            (key for key, part in match.groupdict().items() if part is not None), None
        )  # fmt: skip
        card.comment = (match["comment"] or "").strip()
        if kind == "text":
            card.pieces = [match["text"].replace("''", "'")]
        elif kind == "logical":
            card.value = match["logical"] == "T"
        elif kind == "integer":
            card.value = int(match["integer"])
        elif kind == "real":
            card.value = float(match["real"].translate(_EXPONENT))
            if not math.isfinite(card.value):
                self.where.fail(f"card {card.keyword} is {match['real']}, which no 64-bit float holds")
        elif kind == "complex":
            try:
                real, imaginary = match["complex"].strip("()").split(",")
                card.value = complex(*(float(part.translate(_EXPONENT)) for part in (real, imaginary)))
            except ValueError:
                self.where.fail(f"card {card.keyword} has the unreadable value {match['complex']}")
        return card

    def _continue(self, image: str) -> None:
        match = _VALUE.fullmatch(image[10:])
        last = self.cards[-1] if self.cards else None
        if not match or match["text"] is None or not last or not last.pieces or not last.pieces[-1].endswith("&"):
            self.where.fail(
                f"card {image.rstrip()!r} does not continue a text; it has to follow a text that ends in '&'"
            )
        last.pieces[-1] = last.pieces[-1][:-1]
        last.pieces.append(match["text"].replace("''", "'"))
        last.comment += (match["comment"] or "").rstrip()

    def header(self) -> fits.Header:
        return fits.Header([card.to_astropy() for card in self.cards])

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """Value of an integer card, which has to lie between `low` and `high`."""
        value = self.values.get(key, default)
        if value is None:
            self.where.fail(f"card {key} is missing; an integer from {low} to {high} is needed")
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.where.fail(f"card {key} is {value!r}; an integer from {low} to {high} is accepted")
        return value

    def choice(self, key: str, accepted: tuple[Any, ...], default: Any = None) -> Any:
        """Value of a card that has to be one of a few."""
        value = self.values.get(key, default)
        if value not in accepted or isinstance(value, bool) != isinstance(accepted[0], bool):
            found = "missing" if value is None else repr(value)
            self.where.fail(f"card {key} is {found}; {', '.join(map(str, accepted))} is accepted")
        return value

    def text(self, key: str, default: str = "") -> str:
        """Value of a text card."""
        value = self.values.get(key, default)
        if not isinstance(value, str) or len(value) > 1000:
            self.where.fail(f"card {key} is {str(value)[:80]!r}; a text of up to 1000 letters is accepted")
        return value

    def number(self, key: str, default: float) -> float | int:
        """Value of an integer or real card."""
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.where.fail(f"card {key} is {value!r}; a number is accepted")
        return value


# ---------------------------------------------------------------------------------------------------- values


@dataclass(frozen=True)
class _Scaling:
    """From stored to physical values: ``stored * scale + zero``, and NaN for `blank`.

    The FITS way to store the other signedness (scale 1, zero half the range) is a flip of the top bit, and exact.
    Integers with any other scale, or with a blank value, become float64.
    """

    stored: np.dtype[Any]
    scale: float = 1
    zero: float = 0
    blank: int | None = None

    @property
    def _flips(self) -> bool:
        bits = 8 * self.stored.itemsize
        half = -128 if bits == 8 else 2 ** (bits - 1)
        return self.stored.kind in "iu" and self.scale == 1 and self.zero == half and self.blank is None

    @property
    def dtype(self) -> np.dtype[Any]:
        native = self.stored.newbyteorder("=")
        if self._flips:
            return np.dtype(f"{'i' if native.kind == 'u' else 'u'}{native.itemsize}")
        plain = native.kind == "f" or (self.scale == 1 and self.zero == 0 and self.blank is None)
        return native if plain else np.dtype("f8")

    def __call__(self, stored: NDArray[Any]) -> NDArray[Any]:
        if self._flips:
            native = np.array(stored, stored.dtype.newbyteorder("=")).view(f"u{self.dtype.itemsize}")
            native ^= native.dtype.type(1 << (8 * self.dtype.itemsize - 1))
            return native.view(self.dtype)
        values = np.array(stored, self.dtype)
        with np.errstate(all="ignore"):
            if self.scale != 1:
                values *= self.scale
            if self.zero != 0:
                values += self.zero
        if self.blank is not None:
            values[stored == self.blank] = np.nan
        return values


def _scaling(cards: _Cards, stored: str, scale: str, zero: str, blank: str) -> _Scaling:
    dtype = np.dtype(stored)
    bits = 8 * dtype.itemsize
    value = None
    if dtype.kind != "f" and blank in cards.values:
        value = cards.integer(blank, -(2 ** (bits - 1)) if bits > 8 else 0, 2 ** (bits - 1) - 1 if bits > 8 else 255)
    factor = cards.number(scale, 1)
    if factor == 0:
        cards.where.fail(f"card {scale} is 0, which would wipe out the values; anything else is accepted")
    return _Scaling(dtype, float(factor), float(cards.number(zero, 0)), value)


@dataclass(frozen=True)
class _Column:
    """One column of a binary table."""

    name: str
    unit: str
    code: str
    repeat: int
    offset: int
    dim: str
    form: str
    scaling: _Scaling | None

    @property
    def width(self) -> int:
        return -(-self.repeat // 8) if self.code == "X" else self.repeat * WIDTHS[self.code]


# ---------------------------------------------------------------------------------------------------- bytes


@dataclass(frozen=True)
class _Source:
    """The bytes of one HDU, in the file or, of a gzip file, in memory; never an open handle."""

    where: _Where
    start: int  # of the header
    data: int  # start of the data
    end: int  # of the data, without padding
    stamp: tuple[int, int]
    held: bytes | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """Bytes of data, without padding."""
        return self.end - self.data

    def open(self) -> BinaryIO:
        """Open for reading, at the start of the header."""
        if self.held is not None:
            return io.BytesIO(self.held)  # shares the bytes; the header is at its start
        file = open(self.where.path, "rb")  # noqa: SIM115 - the caller closes it
        if _stamp(file) != self.stamp:
            file.close()
            self.where.fail("the file changed since it was opened; open it again")
        file.seek(self.start)
        return file

    def content(self) -> NDArray[Any]:
        """Read all data bytes as a read-only view."""
        if self.held is not None:
            return np.frombuffer(self.held, np.uint8, self.size, self.data)
        with self.open() as file:
            if not self.size:
                return np.zeros(0, np.uint8)
            return np.memmap(file, np.uint8, "r", self.data, (self.size,))

    def sums(self) -> tuple[int, int]:
        """Ones-complement sums of header and data."""
        with self.open() as file:
            header = word_sum(file.read(self.data - self.start))
            data, left = 0, -(-self.size // BLOCK) * BLOCK
            while left and (block := file.read(min(left, BUFFER_BYTES))):
                data += word_sum(block)
                left -= len(block)
        return fold(header), fold(data)


class _Window(io.RawIOBase):
    """One HDU as a file of its own, because astropy begins at the start of any file it is handed."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self._file, self._start, self._size, self._at = file, start, end - start, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._at)
        block = self._file.read(max(min(len(buffer), self._size - self._at), 0))
        buffer[: len(block)] = block
        self._at += len(block)
        return len(block)


def _stamp(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


class _PlainReader:
    """Walk a file, seeking over data."""

    def __init__(self, file: BinaryIO, where: _Where) -> None:
        self.file = file
        self.stamp = _stamp(file)
        file.seek(0)

    def read(self, count: int) -> bytes:
        return self.file.read(count)

    def source(self, where: _Where, header: bytes, count: int) -> _Source:
        """Step over `count` data bytes and their padding."""
        data = self.file.tell()
        padded = -(-count // BLOCK) * BLOCK
        missing = data + padded - self.stamp[0]
        if missing > 0:
            where.fail(f"the file is truncated: {missing} of {padded} data bytes are missing; fetch it again")
        self.file.seek(padded, os.SEEK_CUR)
        return _Source(where, data - len(header), data, data + count, self.stamp)


class _GzipReader:
    """Decompress a file once, front to back, and hold each HDU; refuse implausible growth."""

    def __init__(self, file: BinaryIO, where: _Where) -> None:
        self.where = where
        self.stamp = _stamp(file)
        self.limit = max(FREE_BYTES, MAX_GZIP_RATIO * self.stamp[0])
        self.total = 0
        file.seek(0)
        self.stream = gzip.GzipFile(fileobj=file)

    def read(self, count: int) -> bytes:
        """Up to `count` bytes; fewer only at the end."""
        try:
            block = self.stream.read(count)
        except (OSError, EOFError, zlib.error) as error:
            self.where.fail(f"the gzip stream is damaged or truncated ({error}); fetch it again")
        self.total += len(block)
        if self.total > self.limit:
            self.where.fail(
                f"{self.stamp[0]} gzip bytes grow to more than {self.limit}, as a decompression bomb does; "
                "gunzip it first if you trust it"
            )
        return block

    def source(self, where: _Where, header: bytes, count: int) -> _Source:
        padded = -(-count // BLOCK) * BLOCK
        held = io.BytesIO()
        held.write(header)
        left = padded
        while left and (block := self.read(min(left, 1 << 20))):
            held.write(block)
            left -= len(block)
        if left:
            where.fail(f"the file is truncated: {left} of {padded} data bytes are missing; fetch it again")
        return _Source(where, 0, len(header), len(header) + count, self.stamp, held.getvalue())


_Reader = _PlainReader | _GzipReader


# ---------------------------------------------------------------------------------------------------- HDUs


class ImageArray(BackendArray):
    """A plain image, mapped anew for every read."""

    def __init__(self, source: _Source, shape: tuple[int, ...], scaling: _Scaling) -> None:
        self.source, self.shape, self.scaling = source, shape, scaling
        self.dtype = scaling.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        return self.scaling(self.source.content().view(self.scaling.stored).reshape(self.shape)[key])


class TiledArray(ImageArray):
    """A tile-compressed image, of which only the tiles needed are decompressed."""

    def __init__(
        self,
        source: _Source,
        shape: tuple[int, ...],
        scaling: _Scaling,
        tile: tuple[int, ...],
        columns: tuple[_Column, ...],
        layout: tuple[int, int, int],
    ) -> None:
        super().__init__(source, shape, scaling)
        self.tile, self.columns, self.layout = tile, columns, layout

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        # Only forward slices without steps reach astropy; integers, steps and reversals are applied afterwards.
        spans, rest = zip(*(_span(part, size) for part, size in zip(key, self.shape, strict=True)), strict=True)
        if any(span.start == span.stop for span in spans):
            stored = np.zeros([span.stop - span.start for span in spans], self.scaling.stored)
        else:
            self._check_tiles(spans)
            try:
                with self.source.open() as file:
                    window = _Window(file, self.source.start, self.source.end + -self.source.size % BLOCK)
                    table = fits.BinTableHDU.readfrom(io.BufferedReader(window))
                    stored = fits.CompImageHDU(bintable=table, do_not_scale_image_data=True).section[spans]
            except FormatError:
                raise
            except Exception as error:
                self.source.where.fail(
                    f"a compressed tile is damaged ({type(error).__name__}: {error}); fetch it again"
                )
        return self.scaling(stored[rest])

    def _check_tiles(self, spans: tuple[slice, ...]) -> None:
        """Refuse tiles outside the heap, and gzip tiles that grow beyond what a tile can hold."""
        data = self.source.content()
        row, rows, heap = self.layout
        counts = [-(-size // step) for size, step in zip(self.shape, self.tile, strict=True)]
        ranges = [np.arange(s.start // t, (s.stop - 1) // t + 1) for s, t in zip(spans, self.tile, strict=True)]
        tiles = np.ravel_multi_index(np.ix_(*ranges), counts).ravel()
        limit = 8 * math.prod(self.tile)
        for column in self.columns:
            if column.code not in "PQ":
                continue
            kind = ">i4" if column.code == "P" else ">i8"
            pairs = np.ndarray((rows, 2), kind, data, column.offset, (row, np.dtype(kind).itemsize))[tiles].astype("i8")
            size = np.dtype(HEAP_DTYPES[column.form]).itemsize
            if (pairs < 0).any() or (pairs[:, 1] > len(data) - heap - pairs[:, 0] * size).any():
                self.source.where.fail(f"column {column.name} points outside the data; fetch the file again")
            for count, offset in pairs[pairs[:, 0] * size * MAX_DEFLATE_RATIO > max(limit, FREE_BYTES)]:
                _check_inflation(self.source.where, data[heap + offset : heap + offset + count * size], limit)


def _check_inflation(where: _Where, tile: NDArray[Any], limit: int) -> None:
    packed = tile.tobytes()
    if not packed.startswith(b"\x1f\x8b"):
        return  # not gzip: astropy has no other decoder here that can grow
    inflate = zlib.decompressobj(wbits=31)
    try:
        grown = len(inflate.decompress(packed, limit + 1))
    except zlib.error as error:
        where.fail(f"a compressed tile is damaged ({error}); fetch it again")
    if grown > limit or inflate.unused_data:
        where.fail(f"a compressed tile grows to more than the {limit} bytes that a tile can hold")


def _span(key: int | slice, size: int) -> tuple[slice, int | slice]:
    """Find a forward slice without step that covers `key`, and the index that picks `key` from it."""
    if not isinstance(key, slice):
        low = int(key) % size
        return slice(low, low + 1), 0
    picked = range(*key.indices(size))
    if not picked:
        return slice(0, 0), slice(0, 0)
    low, high = min(picked[0], picked[-1]), max(picked[0], picked[-1])
    return slice(low, high + 1), slice(None, None, picked.step)


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
    header : astropy.io.fits.Header
        Of a compressed image, the header of the image and not of the table that stores it.
    shape : tuple of int
        In numpy order; ``(rows,)`` of a table, ``()`` of an HDU without data.
    dtype : numpy dtype
        Native dtype of the scaled values; of a table, a void of the width of a row.
    """

    path: str
    index: int
    name: str
    kind: str
    header: fits.Header = field(repr=False)
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _source: _Source = field(repr=False)
    _array: ImageArray | None = field(default=None, repr=False)
    _columns: tuple[_Column, ...] = field(default=(), repr=False)

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
            Native byte order, scaled; strings decoded and without trailing blanks.

        Raises
        ------
        FormatError
            The HDU holds no binary table, a column has variable length or another type that is not supported, or
            the file changed since the scan.
        """
        if self.kind != "table" or self.header.get("XTENSION") != "BINTABLE":
            self._source.where.fail("it holds no binary table; a BINTABLE HDU is needed")
        data = self._source.content()
        try:
            return {column.name: _read_column(self._source.where, column, data, self) for column in self._columns}
        except FormatError:
            raise
        except Exception as error:
            self._source.where.fail(f"the table cannot be read ({type(error).__name__}: {error})")

    @property
    def units(self) -> dict[str, str]:
        """Unit of each column of a table, ``""`` where none is given."""
        return {column.name: column.unit for column in self._columns}


def _read_column(where: _Where, column: _Column, data: NDArray[Any], hdu: HDU) -> NDArray[Any]:
    rows, row = hdu.shape[0], hdu.dtype.itemsize
    if column.code not in COLUMN_DTYPES and column.code != "A":
        where.fail(
            f"column {column.name} has TFORM type {column.code}; L B I J K E D and A of fixed length are accepted: "
            "rewrite the table without it"
        )
    shape = _column_shape(where, column)
    raw = np.ascontiguousarray(data[: rows * row].reshape(rows, row)[:, column.offset : column.offset + column.width])
    if column.code == "A":
        return _read_text(where, column, raw, shape)
    stored = raw.view(COLUMN_DTYPES[column.code]).reshape(rows, *shape)
    if column.scaling is not None:
        return column.scaling(stored)
    if not np.isin(stored, (ord("T"), ord("F"))).all():
        where.fail(f"column {column.name} holds logical values other than T and F")
    return np.asarray(stored == ord("T"))


def _column_shape(where: _Where, column: _Column) -> tuple[int, ...]:
    """Shape of one cell; of a text column, with the letters first lost."""
    if not column.dim:
        return () if column.repeat == 1 and column.code != "A" else (column.repeat,)
    if not re.fullmatch(r"\( *\d{1,9}( *, *\d{1,9}){0,7} *\)", column.dim):
        where.fail(f"column {column.name} has TDIM {column.dim!r}; '(n,m,...)' is accepted")
    shape = tuple(int(part) for part in reversed(column.dim.strip("()").split(",")))
    if math.prod(shape) != column.repeat:
        where.fail(f"column {column.name} has TDIM {column.dim!r} and {column.repeat} elements; they have to agree")
    return shape


def _read_text(where: _Where, column: _Column, raw: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Strings end at the first NUL and lose trailing blanks."""
    if not raw.size:
        return np.zeros((len(raw), *shape[:-1]), "U1")
    text = raw.reshape(len(raw), *shape)
    text = np.where(np.logical_or.accumulate(text == 0, axis=-1), np.uint8(0), text)
    try:
        decoded = text.view(f"S{shape[-1]}")[..., 0].astype("U")
    except UnicodeDecodeError:
        where.fail(f"column {column.name} holds text that is not ASCII")
    return np.asarray(np.strings.rstrip(decoded, " "))


# ---------------------------------------------------------------------------------------------------- scan


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
    where = _Where(os.path.abspath(os.fsdecode(path)))
    if not stat.S_ISREG(os.stat(where.path).st_mode):
        where.fail("it is a directory or device; a FITS file is needed")
    with open(where.path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        reader: _Reader = _GzipReader(file, where) if packed else _PlainReader(file, where)
        hdus: list[HDU] = []
        cards = 0
        while header := _read_header(reader, _Where(where.path, len(hdus))):
            if len(hdus) == MAX_HDUS or cards > MAX_CARDS:
                where.fail(f"more than {MAX_HDUS} HDUs or {MAX_CARDS} cards; split the file")
            hdus.append(_build(reader, _Where(where.path, len(hdus)), header))
            cards += len(hdus[-1].header)
            if checksum:
                _verify(hdus[-1])
    return hdus


def _read_header(reader: _Reader, where: _Where) -> bytes:
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


def _check_padding(reader: _Reader, where: _Where, block: bytes) -> bytes:
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


def _build(reader: _Reader, where: _Where, raw: bytes) -> HDU:
    """Check one header and make its HDU."""
    end = raw.rstrip(b" ").rfind(b"END")
    cards = _Cards(raw[:end], where)
    name = cards.text("EXTNAME").strip().upper()
    where = cards.where = _Where(where.path, where.index, name)
    if where.index == 0:
        cards.choice("SIMPLE", (True,))
        kind = "IMAGE"
    else:
        kind = cards.choice("XTENSION", ("IMAGE", "BINTABLE", "TABLE"))
    table = kind != "IMAGE"
    shape = _axes(cards, "NAXIS", MAX_AXES)
    bitpix = cards.choice("BITPIX", (8,) if table else tuple(IMAGE_DTYPES))
    count = math.prod(shape) * abs(bitpix) // 8 if shape else 0
    heap = cards.integer("PCOUNT", 0, MAX_LENGTH if kind == "BINTABLE" else 0, None if where.index else 0)
    cards.integer("GCOUNT", 1, 1, None if where.index else 1)
    if cards.values.get("GROUPS") is True:
        where.fail("card GROUPS is T; random groups are not supported: convert them to images")
    if not table:
        return _build_image(cards, reader.source(where, raw, count), shape, bitpix)
    if len(shape) != 2 or shape[1] >= 2**31 or (shape[0] and not shape[1]):
        where.fail(f"a table has NAXIS = 2 and rows of 1 to 2**31 - 1 bytes; found the axes {shape[::-1]}")
    columns = _columns(cards, shape[1]) if kind == "BINTABLE" else ()
    source = reader.source(where, raw, count + heap)
    if cards.values.get("ZIMAGE") is True:
        return _build_compressed(cards, source, shape, heap, columns)
    row = np.dtype(("V", shape[1]))
    return HDU(where.path, where.index, name, "table", cards.header(), shape[:1], row, source, None, columns)


def _axes(cards: _Cards, key: str, most: int) -> tuple[int, ...]:
    """Lengths of the axes, in numpy order."""
    naxis = cards.integer(key, 0, most)
    shape = tuple(cards.integer(f"{key}{i}", 0, MAX_LENGTH) for i in range(naxis, 0, -1))
    if any(re.fullmatch(rf"{key}\d+", other) and int(other[len(key) :]) > naxis for other in cards.values):
        cards.where.fail(f"card {key} is {naxis}, but there are cards of further axes")
    if math.prod(max(size, 1) for size in shape) >= 2**60:
        cards.where.fail(f"the axes {shape[::-1]} are absurd; up to 2**60 elements are accepted")
    return shape


def _build_image(cards: _Cards, source: _Source, shape: tuple[int, ...], bitpix: int) -> HDU:
    where = cards.where
    scaling = _scaling(cards, IMAGE_DTYPES[bitpix], "BSCALE", "BZERO", "BLANK")
    array = ImageArray(source, shape, scaling) if shape else None
    return HDU(where.path, where.index, where.name, "image", cards.header(), shape, scaling.dtype, source, array)


def _columns(cards: _Cards, row: int) -> tuple[_Column, ...]:
    """Columns of a binary table, whose widths have to fill its rows."""
    columns: list[_Column] = []
    offset = 0
    for i in range(1, cards.integer("TFIELDS", 0, MAX_FIELDS) + 1):
        form = cards.text(f"TFORM{i}").rstrip()
        match = _TFORM.fullmatch(form)
        if not match:
            cards.where.fail(f"card TFORM{i} is {form!r}; a count and a type such as '1D' or '8A' is accepted")
        code = match[2] or match[3] or match[4]
        scaling = None
        if code in COLUMN_DTYPES and code != "L":
            scaling = _scaling(cards, COLUMN_DTYPES[code], f"TSCAL{i}", f"TZERO{i}", f"TNULL{i}")
        name = cards.text(f"TTYPE{i}", f"col{i}").strip()
        unit, dim = cards.text(f"TUNIT{i}").strip(), cards.text(f"TDIM{i}").strip()
        columns.append(_Column(name, unit, code, int(match[1] or 1), offset, dim, match[5] or "", scaling))
        offset += columns[-1].width
    if offset != row:
        cards.where.fail(f"the TFORMn cards make rows of {offset} bytes and NAXIS1 is {row}; they have to agree")
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        cards.where.fail(f"two columns have the name {twice!r} (TTYPEn); every column needs its own")
    return tuple(columns)


def _build_compressed(
    cards: _Cards, source: _Source, table: tuple[int, ...], heap: int, columns: tuple[_Column, ...]
) -> HDU:
    """Check all that astropy's tile decoders take on trust."""
    rows, row = table
    compression = cards.choice("ZCMPTYPE", COMPRESSIONS)
    bitpix = cards.choice("ZBITPIX", tuple(IMAGE_DTYPES))
    shape = _axes(cards, "ZNAXIS", MAX_AXES)
    tile = tuple(min(cards.integer(f"ZTILE{len(shape) - i}", 1, MAX_LENGTH), max(n, 1)) for i, n in enumerate(shape))
    tiles = math.prod(-(-size // step) for size, step in zip(shape, tile, strict=True))
    where = cards.where
    if not shape or tiles != rows:
        where.fail(f"the ZNAXISn and ZTILEn cards make {tiles} tiles and the table has {rows} rows; they have to agree")
    if math.prod(tile) > MAX_TILE:
        where.fail(f"the ZTILEn cards make tiles of {math.prod(tile)} elements; up to {MAX_TILE} are accepted")
    stored, size = row * rows + heap, math.prod(shape) * abs(bitpix) // 8
    if size > MAX_TILE_RATIO * stored + FREE_BYTES:
        where.fail(f"{stored} stored bytes cannot hold an image of {size} bytes; uncompress it first if you trust it")
    _check_compression(cards, compression, bitpix, columns)
    start = cards.integer("THEAP", row * rows, row * rows + heap, row * rows)
    header = _image_header(cards, bitpix, shape)
    scaling = _scaling(cards, IMAGE_DTYPES[bitpix], "BSCALE", "BZERO", "BLANK" if "BLANK" in cards.values else "ZBLANK")
    array = TiledArray(source, shape, scaling, tile, columns, (row, rows, start))
    name = "" if where.name == "COMPRESSED_IMAGE" else where.name
    return HDU(where.path, where.index, name, "compressed", header, shape, scaling.dtype, source, array, columns)


def _check_compression(cards: _Cards, compression: str, bitpix: int, columns: tuple[_Column, ...]) -> None:
    """Refuse what makes the decoders loop for ever, read out of bounds, or warn."""
    cards.choice("ZTENSION", ("IMAGE",), "IMAGE")
    cards.choice("ZQUANTIZ", ("NONE", "NO_DITHER", "SUBTRACTIVE_DITHER_1", "SUBTRACTIVE_DITHER_2"), "NO_DITHER")
    cards.integer("ZDITHER0", 1, 10_000, 1)
    accepted = {"BLOCKSIZE": (16, 32), "BYTEPIX": (1, 2, 4)}
    for i in itertools.count(1):
        if f"ZNAME{i}" not in cards.values:
            break
        if (key := cards.text(f"ZNAME{i}").upper()) in accepted:
            cards.choice(f"ZVAL{i}", accepted[key])
    forms = {column.name: column for column in columns}
    if "COMPRESSED_DATA" not in forms:
        cards.where.fail("a compressed image without a column COMPRESSED_DATA")
    for column in columns:
        packed = column.name in ("COMPRESSED_DATA", "GZIP_COMPRESSED_DATA", "UNCOMPRESSED_DATA")
        scalar = column.name in ("ZSCALE", "ZZERO", "ZBLANK") and column.code in "IJKED"
        if column.repeat != 1 or not (scalar or (packed and column.code in "PQ" and column.form in HEAP_DTYPES)):
            cards.where.fail(
                f"a compressed image with the column {column.name!r} of type {column.code}, which it cannot have"
            )
    if ("ZSCALE" in forms) != ("ZZERO" in forms) or ("ZSCALE" in forms and bitpix > 0):
        cards.where.fail("the columns ZSCALE and ZZERO go together, and with a negative ZBITPIX only")
    if bitpix > 0 and "ZBLANK" in forms and not cards.values.keys() & {"BLANK", "ZBLANK"}:
        cards.where.fail("a column ZBLANK without a card BLANK or ZBLANK")
    for key in cards.values:
        if re.fullmatch(r"T(?:NULL|DISP|DIM|SCAL|ZERO)\d+", key) or (key == "BLANK" and bitpix < 0):
            cards.where.fail(f"a compressed image with the card {key}, which it cannot have")


def _image_header(cards: _Cards, bitpix: int, shape: tuple[int, ...]) -> fits.Header:
    """Header of a compressed image: the cards of its table that speak of the image."""
    made: list[tuple[str, Any]] = [("XTENSION", "IMAGE"), ("BITPIX", bitpix), ("NAXIS", len(shape))]
    made += [(f"NAXIS{i}", size) for i, size in enumerate(reversed(shape), 1)]
    made += [("PCOUNT", 0), ("GCOUNT", 1)]
    if bitpix > 0 and (blank := cards.values.get("BLANK", cards.values.get("ZBLANK"))) is not None:
        made.append(("BLANK", blank))
    kept = [
        card.to_astropy()
        for card in cards.cards
        if not _TABLE_CARD.fullmatch(card.keyword)
        and not (card.keyword == "EXTNAME" and card.value == "COMPRESSED_IMAGE")
    ]
    return fits.Header([fits.Card(*entry) for entry in made] + kept)


def _verify(hdu: HDU) -> None:
    """Compare the checksums of an HDU with its bytes."""
    where = hdu._source.where
    with hdu._source.open() as file:
        raw = file.read(hdu._source.data - hdu._source.start)
    cards = _Cards(raw[: raw.rstrip(b" ").rfind(b"END")], where)
    wanted = cards.text("DATASUM").strip()
    if "CHECKSUM" not in cards.values or not re.fullmatch(r"\d{1,10}", wanted):
        where.fail("it has no CHECKSUM and DATASUM cards, so it cannot be checked; open it without checking")
    header, data = hdu._source.sums()
    ones = 0xFFFFFFFF  # zero and all ones are the same number in ones complement
    if int(wanted) % ones != data % ones:
        where.fail(f"the data are damaged: their sum is {data} and DATASUM is {wanted}; fetch the file again")
    if (header + data) % ones:
        where.fail("the header is damaged: the sum of the HDU does not fit its CHECKSUM; fetch the file again")
