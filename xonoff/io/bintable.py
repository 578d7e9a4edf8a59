"""Columns of FITS binary tables: their cards checked, their bytes turned into arrays.

References
----------
FITS standard 4.0: binary tables section 7.3.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xonoff.io.cards import Cards, Where
from xonoff.io.images import Scaling

__all__ = ["HEAP_DTYPES", "Column", "columns_of"]

MAX_FIELDS = 999
WIDTHS = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
COLUMN_DTYPES = {"L": "u1", "B": ">u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
HEAP_DTYPES = {"B": "u1", "I": ">i2", "J": ">i4", "E": ">f4", "D": ">f8"}
SHARED_BYTES = 2**26  # vectors may share bytes of the heap; above this size they may not

_TFORM = re.compile(r"(\d{0,18})(?:([LXBIJKEDCM])|(A)(?:\d+|:.*)?|([PQ])([LXBIJKADECM])(?:\(\d*\))?)")
_TDIM = re.compile(r"\( *\d{1,9}( *, *\d{1,9}){0,7} *\)")


@dataclass(frozen=True)
class Column:
    """One column of a binary table.

    Attributes
    ----------
    name, unit : str
        ``TTYPE`` and ``TUNIT``.
    code : str
        Letter of the type.
    repeat : int
        Elements in a cell.
    offset : int
        Byte of a row where the cell starts.
    dim : str
        ``TDIM``.
    form : str
        Type of the elements in the heap, of a column of variable length.
    scaling : Scaling, optional
        Of a column of numbers.
    """

    name: str
    unit: str
    code: str
    repeat: int
    offset: int
    dim: str
    form: str
    scaling: Scaling | None

    @property
    def width(self) -> int:
        """Bytes of a cell."""
        return -(-self.repeat // 8) if self.code == "X" else self.repeat * WIDTHS[self.code]

    @property
    def in_heap(self) -> bool:
        """True if the cells are vectors of any length, which are stored in the heap."""
        return self.code in "PQ" and self.repeat == 1 and self.form in HEAP_DTYPES

    def read_heap(self, where: Where, table: NDArray[np.uint8], heap: NDArray[np.uint8]) -> NDArray[Any]:
        """Vectors of a column in the heap, as an array of arrays.

        Raises
        ------
        FormatError
            A vector lies outside of the heap, or many share so many of its bytes that a small file would fill the
            memory.
        """
        raw = np.ascontiguousarray(table[:, self.offset : self.offset + self.width])
        pairs = raw.view(">i4" if self.code == "P" else ">i8").astype(np.int64)
        dtype = np.dtype(HEAP_DTYPES[self.form])
        counts, starts = pairs.T
        outside = (counts < 0) | (starts < 0) | (counts > (len(heap) - starts) // dtype.itemsize)
        if (outside & (counts != 0)).any():  # an empty vector is nowhere
            where.fail(f"column {self.name} points outside of the {len(heap)} bytes of its heap; fetch the file again")
        total = sum(counts.tolist()) * dtype.itemsize
        if total > max(len(heap), SHARED_BYTES):
            where.fail(f"column {self.name} makes {total} bytes of the {len(heap)} of its heap; rewrite the table")
        out = np.empty(len(table), dtype=object)
        for i, (count, start) in enumerate(pairs.tolist()):
            cell = np.frombuffer(heap[start : start + count * dtype.itemsize].tobytes(), dtype)
            out[i] = self.scaling(cell) if self.scaling is not None else cell.astype(dtype.newbyteorder("="))
        return out

    def read(self, where: Where, table: NDArray[np.uint8]) -> NDArray[Any]:
        """Values of the column, of the bytes of a table (rows, bytes in a row)."""
        if self.code not in COLUMN_DTYPES and self.code != "A":
            where.fail(
                f"column {self.name} has TFORM type {self.code}; L B I J K E D A and P, Q of numbers are accepted: "
                "rewrite the table without it"
            )
        shape = self._cell(where)
        raw = np.ascontiguousarray(table[:, self.offset : self.offset + self.width])
        if self.code == "A":
            return self._text(where, raw, shape)
        stored = raw.view(COLUMN_DTYPES[self.code]).reshape(len(table), *shape)
        if self.scaling is not None:
            return self.scaling(stored)
        if not np.isin(stored, (ord("T"), ord("F"))).all():
            where.fail(f"column {self.name} holds logical values other than T and F")
        return np.asarray(stored == ord("T"))

    def _cell(self, where: Where) -> tuple[int, ...]:
        """Shape of one cell; of a text column, with the letters first lost."""
        if not self.dim:
            return () if self.repeat == 1 and self.code != "A" else (self.repeat,)
        if not _TDIM.fullmatch(self.dim):
            where.fail(f"column {self.name} has TDIM {self.dim!r}; '(n,m,...)' is accepted")
        shape = tuple(int(part) for part in reversed(self.dim.strip("()").split(",")))
        if math.prod(shape) != self.repeat:
            where.fail(f"column {self.name} has TDIM {self.dim!r} and {self.repeat} elements; they have to agree")
        return shape

    def _text(self, where: Where, raw: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[Any]:
        """Strings end at the first NUL and lose trailing blanks."""
        if not raw.size:
            return np.zeros((len(raw), *shape[:-1]), "U1")
        text = raw.reshape(len(raw), *shape)
        text = np.where(np.logical_or.accumulate(text == 0, axis=-1), np.uint8(0), text)
        try:
            decoded = text.view(f"S{shape[-1]}")[..., 0].astype("U")
        except UnicodeDecodeError:
            where.fail(f"column {self.name} holds text that is not ASCII")
        return np.asarray(np.strings.rstrip(decoded, " "))


def columns_of(cards: Cards, row: int) -> tuple[Column, ...]:
    """Columns of a binary table, whose widths have to fill its rows of `row` bytes.

    Raises
    ------
    FormatError
        A card is missing or wrong, or two columns have one name.
    """
    columns: list[Column] = []
    offset = 0
    for i in range(1, cards.integer("TFIELDS", 0, MAX_FIELDS) + 1):
        form = cards.text(f"TFORM{i}").rstrip()
        match = _TFORM.fullmatch(form)
        if not match:
            cards.where.fail(f"card TFORM{i} is {form!r}; a count and a type such as '1D' or '8A' is accepted")
        code = match[2] or match[3] or match[4]
        scaling = None
        stored = HEAP_DTYPES.get(match[5]) if match[5] else COLUMN_DTYPES.get(code)
        if stored and code != "L":
            scaling = Scaling.of(cards, stored, f"TSCAL{i}", f"TZERO{i}", f"TNULL{i}")
        name = cards.text(f"TTYPE{i}", f"col{i}").strip()
        unit, dim = cards.text(f"TUNIT{i}").strip(), cards.text(f"TDIM{i}").strip()
        columns.append(Column(name, unit, code, int(match[1] or 1), offset, dim, match[5] or "", scaling))
        offset += columns[-1].width
    if offset != row:
        cards.where.fail(f"the TFORMn cards make rows of {offset} bytes and NAXIS1 is {row}; they have to agree")
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        cards.where.fail(f"two columns have the name {twice!r} (TTYPEn); every column needs its own")
    return tuple(columns)
