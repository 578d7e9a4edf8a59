"""Write FITS HDUs as a stream, each with its checksums.

`HDUWriter` turns arrays into bytes and knows nothing of what they mean; `xonoff.io.hdu` reads them back. A header is
written first with its checksums left open, the data follow block by block, then the header is patched: so an HDU of
any size needs one block of memory (one slab of chunks for a dask array) and one pass.

Cards are formatted here and not by `astropy.io.fits.Card`, which cuts floats at 20 characters
(``-1.2345678901234567E-05`` loses digits) and splits long strings between the two halves of a doubled quote. The tests
read every kind of card back with astropy.

References
----------
FITS standard 4.0: cards sections 4.1-4.2, binary tables section 7.3.
"""

import math
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from xonoff.errors import FormatError
from xonoff.io.cards import BLOCK, CARD
from xonoff.io.checksum import encode_checksum, fold, word_sum

__all__ = ["HDUWriter"]

BUFFER_BYTES = 4 << 20
SLAB_BYTES = 256 << 20
MAX_COLUMNS = 999

# Every dtype that FITS lacks is stored in the next wider one it has. uint64 is held against 2**63 as it is written.
IMAGE_DTYPES = {
    "b1": "u1", "u1": "u1", "i1": "i2", "i2": "i2", "u2": "i4", "i4": "i4", "u4": "i8", "i8": "i8", "u8": "i8",
    "f2": "f4", "f4": "f4", "f8": "f8",
}  # fmt: skip
COLUMN_CODES = {"u1": "B", "i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"}

_KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}")
_TEXT = re.compile(r"[ -~]*")
_OWN = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|TFIELDS|THEAP|T(?:FORM|TYPE|UNIT|DIM|SCAL|ZERO|NULL)\d+"
    r"|EXTNAME|BSCALE|BZERO|BLANK|CHECKSUM|DATASUM|END|COMMENT|HISTORY|CONTINUE|HIERARCH"
)


class HDUWriter:
    """Append HDUs to a file; the first has to be `primary`.

    Parameters
    ----------
    file : binary file
        Open for writing and seeking (``"w+b"``), at the place where the first HDU goes.

    Examples
    --------
    >>> import io
    >>> from astropy.io import fits
    >>> file = io.BytesIO()
    >>> writer = HDUWriter(file)
    >>> writer.primary({"CREATOR": "xonoff"})
    >>> writer.image("COUNTS", np.ones((2, 3), "f4"), {"BUNIT": ("", "counts have no unit")})
    >>> fits.open(io.BytesIO(file.getvalue()), checksum=True)["COUNTS"].data.sum()
    np.float32(6.0)
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def primary(self, cards: Mapping[str, Any]) -> None:
        """Write a primary HDU without data.

        Parameters
        ----------
        cards : mapping of str to value or (value, comment)
            Further cards: str, bool, int or float values.

        Raises
        ------
        FormatError
            A card cannot be stored exactly, or is one that the writer makes itself.
        """
        head = {"SIMPLE": True, "BITPIX": 8, "NAXIS": 0, "EXTEND": True}
        self._hdu("PRIMARY", head, cards, iter(()))

    def image(self, name: str, data: Any, cards: Mapping[str, Any]) -> None:
        """Write an image extension.

        Parameters
        ----------
        name : str
            ``EXTNAME``.
        data : ndarray or dask array, any shape of 1 to 999 axes
            bool becomes ``BITPIX`` 8, and a dtype that FITS lacks the next wider one. A dask array is computed slab
            by slab along its leading axis, in slabs of at most 256 MiB where its chunks allow.
        cards : mapping of str to value or (value, comment)
            Further cards.

        Raises
        ------
        FormatError
            The dtype has no FITS form, a uint64 exceeds 2**63 - 1, or a card cannot be stored.
        """
        stored = IMAGE_DTYPES.get(np.dtype(data.dtype).newbyteorder("=").str[1:])
        if stored is None or not data.shape:
            raise FormatError(
                f"HDU {name}: cannot store an array of dtype {data.dtype} and shape {tuple(data.shape)} as a FITS "
                "image; bool, integers and floats of up to 64 bits with at least one axis are accepted"
            )
        dtype = np.dtype(">" + stored)
        bitpix = 8 * dtype.itemsize * (-1 if dtype.kind == "f" else 1)
        head: dict[str, Any] = {"XTENSION": "IMAGE", "BITPIX": bitpix, "NAXIS": len(data.shape)}
        head |= {f"NAXIS{i}": int(n) for i, n in enumerate(reversed(data.shape), 1)}
        head |= {"PCOUNT": 0, "GCOUNT": 1, "EXTNAME": name}
        self._hdu(name, head, cards, _image_blocks(name, data, dtype))

    def table(self, name: str, columns: Mapping[str, Any], units: Mapping[str, str], cards: Mapping[str, Any]) -> None:
        """Write a binary table extension.

        Parameters
        ----------
        name : str
            ``EXTNAME``.
        columns : mapping of str to ndarray (rows,) or (rows, n)
            Numbers, bool, or ASCII strings, which are padded to the longest.
        units : mapping of str to str
            ``TUNIT`` by column name; a column without one gets no card.
        cards : mapping of str to value or (value, comment)
            Further cards.

        Raises
        ------
        FormatError
            Columns differ in length or have a dtype or shape without FITS form, or a card cannot be stored.
        """
        fields = {key: _column(name, key, np.asarray(values)) for key, values in columns.items()}
        rows = len(next(iter(fields.values()))[1]) if fields else 0
        for key, (_, values, _) in fields.items():
            if len(values) != rows:
                raise FormatError(f"HDU {name}: column {key} has {len(values)} rows and the first column {rows}")
        if len(fields) > MAX_COLUMNS:
            raise FormatError(f"HDU {name}: {len(fields)} columns; a FITS table holds up to {MAX_COLUMNS}")
        width = sum(values.itemsize * math.prod(values.shape[1:]) for _, values, _ in fields.values())
        head: dict[str, Any] = {"XTENSION": "BINTABLE", "BITPIX": 8, "NAXIS": 2, "NAXIS1": width, "NAXIS2": rows}
        head |= {"PCOUNT": 0, "GCOUNT": 1, "TFIELDS": len(fields)}
        for i, (key, (form, _, dim)) in enumerate(fields.items(), 1):
            head |= {f"TTYPE{i}": key, f"TFORM{i}": form}
            if dim:
                head[f"TDIM{i}"] = dim
            if units.get(key):
                head[f"TUNIT{i}"] = units[key]
        head["EXTNAME"] = name
        self._hdu(name, head, cards, _table_blocks([values for _, values, _ in fields.values()], rows, width))

    def _hdu(self, name: str, head: Mapping[str, Any], cards: Mapping[str, Any], blocks: Iterator[Any]) -> None:
        """Header with open checksums, data, padding; then the header again with its checksums."""
        for key in cards:
            if _OWN.fullmatch(key):
                raise FormatError(f"HDU {name}: card {key} is made by the writer; leave it out of the cards")
        body = "".join(_format_card(name, key, value) for key, value in [*head.items(), *cards.items()])
        if "CONTINUE  '" in body and "LONGSTRN" not in cards:  # the convention that other software looks for
            body += _format_card(name, "LONGSTRN", "OGIP 1.0")
        start = self._file.tell()
        self._file.write(_header(body, "0" * 16, 0))
        total, count = 0, 0
        tail = b""  # of a block whose length is no multiple of 4
        with ThreadPoolExecutor(1) as disk:  # a block is summed while it is written
            for block in blocks:
                written = disk.submit(self._file.write, block)
                count += len(block)
                total, tail = _add(total, tail, block)
                written.result()
        padding = bytes(-count % BLOCK)
        self._file.write(padding)
        total = fold(_add(total, tail, padding)[0])
        end = self._file.tell()
        header = _header(body, "0" * 16, total)
        self._file.seek(start)
        self._file.write(_header(body, encode_checksum(fold(word_sum(header) + total)), total))
        self._file.seek(end)


def _add(total: int, tail: bytes, block: Any) -> tuple[int, bytes]:
    """Add a block to a sum of words, keeping the bytes of an unfinished word for the next."""
    if tail or len(block) % 4:
        block = tail + bytes(block)
    whole = len(block) - len(block) % 4
    return total + word_sum(memoryview(block)[:whole]), bytes(block[whole:])


def _header(body: str, checksum: str, datasum: int) -> bytes:
    """All cards of a header, padded; its length does not depend on the sums."""
    sums = f"CHECKSUM= '{checksum}'".ljust(CARD) + f"DATASUM = '{datasum}'".ljust(CARD)
    text = body + sums + "END".ljust(CARD)
    return text.ljust(-(-len(text) // BLOCK) * BLOCK).encode("ascii")


def _format_card(name: str, key: str, entry: Any) -> str:
    """One card, or the run of CONTINUE cards of a long string."""
    value, comment = entry if isinstance(entry, tuple) else (entry, "")
    value = value.item() if isinstance(value, np.generic) else value
    if not _KEYWORD.fullmatch(key):
        raise FormatError(f"HDU {name}: {key!r} is no FITS keyword; up to 8 of A-Z, 0-9, '-' and '_' are accepted")
    for text in (value, comment):
        if isinstance(text, str) and not _TEXT.fullmatch(text):
            raise FormatError(f"HDU {name}: card {key} holds {text!r}; FITS cards take printable ASCII only")
    if isinstance(value, str):
        pieces = _pieces(value)
    elif isinstance(value, bool):
        pieces = [f"{'T' if value else 'F':>20}"]
    elif isinstance(value, int):
        pieces = [f"{value:>20}"]
    elif isinstance(value, float) and math.isfinite(value):
        pieces = [f"{repr(value).upper():>20}"]  # repr is the shortest text that reads back to the last bit
    else:
        raise FormatError(f"HDU {name}: card {key} is {value!r}; text, bool, int and finite floats are accepted")
    if len(pieces[0]) > CARD - 10:
        raise FormatError(f"HDU {name}: card {key} is a number of {len(pieces[0])} digits; up to 70 are accepted")
    pieces[-1] += f" / {comment}" if comment else ""
    heads = [f"{key:<8}= ", *["CONTINUE  "] * (len(pieces) - 1)]
    return "".join((head + piece).ljust(CARD)[:CARD] for head, piece in zip(heads, pieces, strict=True))


def _pieces(text: str) -> list[str]:
    """Quote a string, cut so that every piece fits a card and no doubled quote is split."""
    quoted = text.replace("'", "''")
    if len(quoted) <= 68:
        return [f"'{quoted:<8}'".ljust(20)]
    pieces, piece = [], ""
    for letter in text:
        letter = "''" if letter == "'" else letter
        if len(piece) + len(letter) > 67:
            pieces.append(f"'{piece}&'")
            piece = ""
        piece += letter
    return [*pieces, f"'{piece}'"]


def _blocks(shape: tuple[int, ...], chunks: tuple[tuple[int, ...], ...], itemsize: int, limit: int) -> Iterator[Any]:
    """Index tuples that cover an array in C order, in runs of whole leading chunks of at most `limit` bytes.

    A chunk that is too big is cut along the leading axis, and a single layer that is too big along the next axis.
    """
    layer = itemsize * math.prod(shape[1:])
    most = max(limit // layer, 1) if layer else max(shape[0], 1)
    start = 0
    for chunk in chunks[0]:
        for low in range(start, start + chunk, most):
            high = min(low + most, start + chunk)
            if layer > limit and len(shape) > 1:
                yield from ((low, *rest) for rest in _blocks(shape[1:], chunks[1:], itemsize, limit))
            else:
                yield (slice(low, high),)
        start += chunk


def _image_blocks(name: str, data: Any, dtype: np.dtype[Any]) -> Iterator[memoryview]:
    """Big-endian bytes of an array in C order, through one reused buffer."""
    if math.prod(data.shape) == 0:
        return
    buffer = np.empty(max(BUFFER_BYTES // dtype.itemsize, 1), dtype)
    chunks = getattr(data, "chunks", None)
    slabs: Iterator[Any] = (
        iter([()]) if chunks is None else _blocks(data.shape, chunks, data.dtype.itemsize, SLAB_BYTES)
    )
    for slab in slabs:
        block = np.asarray(data[slab])
        single = tuple((n,) for n in block.shape)
        for index in _blocks(block.shape, single, dtype.itemsize, BUFFER_BYTES):
            values = block[index]
            _check_range(name, values)
            part = buffer[: values.size]
            part.reshape(values.shape)[...] = values
            yield part.view(np.uint8).data


def _check_range(name: str, values: NDArray[Any]) -> None:
    if values.dtype.kind == "u" and values.dtype.itemsize == 8 and values.size and values.max() > 2**63 - 1:
        raise FormatError(
            f"HDU {name}: {values.max()} does not fit a FITS integer; values up to 2**63 - 1 are accepted"
        )


def _column(name: str, key: str, values: NDArray[Any]) -> tuple[str, NDArray[Any], str]:
    """TFORM, values as stored, and TDIM of a column."""
    code = values.dtype.newbyteorder("=").str[1:]
    repeat = math.prod(values.shape[1:])
    if values.ndim in (1, 2):
        if values.dtype.kind in "SU":
            try:
                text = values.astype("U").astype("S") if values.size else np.zeros(values.shape, "S1")
            except UnicodeError:
                raise FormatError(f"HDU {name}: column {key} holds text that is not ASCII") from None
            size = text.dtype.itemsize
            return f"{size * repeat}A", text, f"({size},{repeat})" if values.ndim == 2 else ""
        if code == "b1":
            return f"{repeat}L", np.where(values, np.uint8(ord("T")), np.uint8(ord("F"))), ""
        if code in IMAGE_DTYPES:
            _check_range(name, values)
            stored = IMAGE_DTYPES[code]
            one = "(1)" if values.ndim == 2 and repeat == 1 else ""  # or it would be read without its second dimension
            return f"{repeat}{COLUMN_CODES[stored]}", values.astype(">" + stored), one
    raise FormatError(
        f"HDU {name}: cannot store column {key} of dtype {values.dtype} and shape {values.shape}; bool, numbers of up "
        "to 64 bits and strings in 1 or 2 dimensions are accepted"
    )


def _table_blocks(columns: list[NDArray[Any]], rows: int, width: int) -> Iterator[memoryview]:
    """Interleave columns into rows, a few MiB at a time."""
    step = max(BUFFER_BYTES // max(width, 1), 1)
    for low in range(0, rows if width else 0, step):
        block = [np.ascontiguousarray(values[low : low + step]) for values in columns if values[:1].nbytes]
        flat = [part.view(np.uint8).reshape(len(part), -1) for part in block]
        yield np.concatenate(flat, axis=1).reshape(-1).data
