"""Tile-compressed images: a binary table whose rows hold the packed tiles of an image.

`tiled_image` checks all that astropy's decoders take on trust, `image_cards` gives the header of the image instead of
that of the table, and `TiledArray` decompresses the tiles that a selection needs.

References
----------
FITS standard 4.0: tiled image compression section 10.1.
"""

import io
import itertools
import math
import re
import zlib
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from xonoff.errors import FormatError
from xonoff.io.bintable import HEAP_DTYPES, Column
from xonoff.io.bytesource import FREE_BYTES, Source, Window
from xonoff.io.cards import MAX_LENGTH, Card, Cards, Where
from xonoff.io.images import IMAGE_DTYPES, ImageArray, Scaling

__all__ = ["TiledArray", "image_cards", "tiled_image"]

MAX_TILE = 2**28  # elements
MAX_TILE_RATIO = 1000
MAX_DEFLATE_RATIO = 1032  # what one byte of a deflate stream can give at most

# HCOMPRESS and PLIO are missing on purpose: their C decoders trust sizes found in the stream.
COMPRESSIONS = ("GZIP_1", "GZIP_2", "RICE_1", "RICE_ONE", "NOCOMPRESS")
DITHERS = ("NONE", "NO_DITHER", "SUBTRACTIVE_DITHER_1", "SUBTRACTIVE_DITHER_2")
PARAMETERS = {"BLOCKSIZE": (16, 32), "BYTEPIX": (1, 2, 4)}

_UNWANTED = re.compile(r"T(?:NULL|DISP|DIM|SCAL|ZERO)\d+")
_TABLE_CARD = re.compile(
    r"(?:SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|THEAP|CHECKSUM|DATASUM|BLANK|T(?:FORM|TYPE|UNIT)\d+"
    r"|Z(?:IMAGE|BITPIX|CMPTYPE|NAXIS\d*|(?:TILE|NAME|VAL)\d+|QUANTIZ|DITHER0|BLANK|MASKCMP|SIMPLE|TENSION|EXTEND|BLOCKED"
    r"|PCOUNT|GCOUNT|HECKSUM|DATASUM|SCALE|ZERO))"
)


class TiledArray(ImageArray):
    """A tile-compressed image, of which only the tiles needed are decompressed.

    Parameters
    ----------
    source : Source
    shape : tuple of int
    scaling : Scaling
    tile : tuple of int
        Shape of a tile.
    columns : tuple of Column
        Of the table of tiles.
    layout : (int, int, int)
        Bytes in a row of the table, rows, and bytes before its heap.
    """

    def __init__(
        self,
        source: Source,
        shape: tuple[int, ...],
        scaling: Scaling,
        tile: tuple[int, ...],
        columns: tuple[Column, ...],
        layout: tuple[int, int, int],
    ) -> None:
        super().__init__(source, shape, scaling)
        self.tile, self.columns, self.layout = tile, columns, layout

    def _read(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        # Only forward slices without steps reach astropy; integers, steps and reversals are applied afterwards.
        spans, rest = zip(*(_span(part, size) for part, size in zip(key, self.shape, strict=True)), strict=True)
        if any(span.start == span.stop for span in spans):
            return self._convert(np.zeros([span.stop - span.start for span in spans], self.scaling.stored)[rest])
        self._check_tiles(spans)
        try:
            with self.source.open() as file:
                table = fits.BinTableHDU.readfrom(io.BufferedReader(Window(file, self.source)))
                stored = fits.CompImageHDU(bintable=table, do_not_scale_image_data=True).section[spans]
        except FormatError:
            raise
        except Exception as error:
            self.source.where.fail(f"a compressed tile is damaged ({type(error).__name__}: {error}); fetch it again")
        return self._convert(stored[rest])

    def _check_tiles(self, spans: tuple[slice, ...]) -> None:
        """Refuse tiles outside the heap, and gzip tiles that grow beyond what a tile can hold."""
        data = self.source.mapped()
        row, rows, heap = self.layout
        counts = [-(-size // step) for size, step in zip(self.shape, self.tile, strict=True)]
        ranges = [np.arange(s.start // t, (s.stop - 1) // t + 1) for s, t in zip(spans, self.tile, strict=True)]
        tiles = np.ravel_multi_index(np.ix_(*ranges), counts).ravel()
        limit = 8 * math.prod(self.tile)
        for column in self.columns:
            if column.code not in "PQ":
                continue
            kind = np.dtype(">i4" if column.code == "P" else ">i8")
            pairs = np.ndarray((rows, 2), kind, data, column.offset, (row, kind.itemsize))[tiles].astype("i8")
            size = np.dtype(HEAP_DTYPES[column.form]).itemsize
            if (pairs < 0).any() or (pairs[:, 1] > len(data) - heap - pairs[:, 0] * size).any():
                self.source.where.fail(f"column {column.name} points outside the data; fetch the file again")
            for count, offset in pairs[pairs[:, 0] * size * MAX_DEFLATE_RATIO > max(limit, FREE_BYTES)]:
                _check_inflation(self.source.where, data[heap + offset : heap + offset + count * size], limit)


def _check_inflation(where: Where, tile: NDArray[Any], limit: int) -> None:
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


def tiled_image(
    cards: Cards, source: Source, table: tuple[int, ...], heap: int, columns: tuple[Column, ...]
) -> TiledArray:
    """Array of a tile-compressed image.

    Parameters
    ----------
    cards : Cards
        Of the table.
    source : Source
    table : (int, int)
        Rows of the table, and bytes in a row.
    heap : int
        Bytes after the rows.
    columns : tuple of Column

    Raises
    ------
    FormatError
        The cards do not make a compressed image that can be decompressed without harm.
    """
    rows, row = table
    cards.choice("ZCMPTYPE", COMPRESSIONS)
    bitpix = cards.choice("ZBITPIX", tuple(IMAGE_DTYPES))
    shape = cards.axes("ZNAXIS")
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
    _check_compression(cards, bitpix, columns)
    start = cards.integer("THEAP", row * rows, row * rows + heap, row * rows)
    blank = "BLANK" if "BLANK" in cards.values else "ZBLANK"
    scaling = Scaling.of(cards, IMAGE_DTYPES[bitpix], "BSCALE", "BZERO", blank)
    return TiledArray(source, shape, scaling, tile, columns, (row, rows, start))


def _check_compression(cards: Cards, bitpix: int, columns: tuple[Column, ...]) -> None:
    """Refuse what makes the decoders loop for ever, read out of bounds, or warn."""
    cards.choice("ZTENSION", ("IMAGE",), "IMAGE")
    cards.choice("ZQUANTIZ", DITHERS, "NO_DITHER")
    cards.integer("ZDITHER0", 1, 10_000, 1)
    for i in itertools.count(1):
        if f"ZNAME{i}" not in cards.values:
            break
        if (key := cards.text(f"ZNAME{i}").upper()) in PARAMETERS:
            cards.choice(f"ZVAL{i}", PARAMETERS[key])
    names = {column.name for column in columns}
    if "COMPRESSED_DATA" not in names:
        cards.where.fail("a compressed image without a column COMPRESSED_DATA")
    for column in columns:
        packed = column.name in ("COMPRESSED_DATA", "GZIP_COMPRESSED_DATA", "UNCOMPRESSED_DATA")
        scalar = column.name in ("ZSCALE", "ZZERO", "ZBLANK") and column.code in "IJKED"
        if column.repeat != 1 or not (scalar or (packed and column.code in "PQ" and column.form in HEAP_DTYPES)):
            cards.where.fail(
                f"a compressed image with the column {column.name!r} of type {column.code}, which it cannot have"
            )
    if ("ZSCALE" in names) != ("ZZERO" in names) or ("ZSCALE" in names and bitpix > 0):
        cards.where.fail("the columns ZSCALE and ZZERO go together, and with a negative ZBITPIX only")
    if bitpix > 0 and "ZBLANK" in names and not cards.values.keys() & {"BLANK", "ZBLANK"}:
        cards.where.fail("a column ZBLANK without a card BLANK or ZBLANK")
    for key in cards.values:
        if _UNWANTED.fullmatch(key) or (key == "BLANK" and bitpix < 0):
            cards.where.fail(f"a compressed image with the card {key}, which it cannot have")


def image_cards(cards: Cards) -> Cards:
    """Cards of the compressed image: those of its table that speak of the image."""
    bitpix, shape = cards.values["ZBITPIX"], cards.axes("ZNAXIS")
    made = [Card.of("XTENSION", "IMAGE"), Card.of("BITPIX", bitpix), Card.of("NAXIS", len(shape))]
    made += [Card.of(f"NAXIS{i}", size) for i, size in enumerate(reversed(shape), 1)]
    made += [Card.of("PCOUNT", 0), Card.of("GCOUNT", 1)]
    if bitpix > 0 and (blank := cards.values.get("BLANK", cards.values.get("ZBLANK"))) is not None:
        made.append(Card.of("BLANK", blank))
    kept = [
        card
        for card in cards.cards
        if not _TABLE_CARD.fullmatch(card.keyword)
        and not (card.keyword == "EXTNAME" and card.value == "COMPRESSED_IMAGE")
    ]
    return Cards(made + kept, cards.where)
