"""Bytes of the HDUs of a file, plain or gzip.

`open_reader` gives a `PlainReader` or a `GzipReader`, which walk a file from header to header; what they leave behind
for each HDU is a `Source`: where its bytes are, and how to read them later, when the file may have changed. `Window`
shows one HDU to astropy as if it were a file.
"""

import gzip
import io
import os
import zlib
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from xonoff.io.cards import BLOCK, Where
from xonoff.io.checksum import fold, word_sum

__all__ = ["FREE_BYTES", "Reader", "Source", "Window", "open_reader"]

BUFFER_BYTES = 4 << 20
FREE_BYTES = 64 << 20  # an expansion up to this size is always accepted, beyond it only at a plausible ratio
MAX_GZIP_RATIO = 250


@dataclass(frozen=True)
class Source:
    """The bytes of one HDU, in the file or, of a gzip file, in memory; never an open handle.

    Attributes
    ----------
    where : Where
    start, data, end : int
        Where the header starts, the data start and, without padding, the data end.
    stamp : (int, int)
        Size and time of the file when it was scanned.
    held : bytes, optional
        Header and data of an HDU of a gzip file.
    """

    where: Where
    start: int
    data: int
    end: int
    stamp: tuple[int, int]
    held: bytes | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """Bytes of data, without padding."""
        return self.end - self.data

    def open(self, at: int | None = None) -> BinaryIO:
        """Open for reading, at a position or at the start of the header.

        Raises
        ------
        FormatError
            The file changed since it was scanned.
        """
        file: BinaryIO = io.BytesIO(self.held) if self.held is not None else open(self.where.path, "rb")  # noqa: SIM115
        if self.held is None and _stamp(file) != self.stamp:
            file.close()
            self.where.fail("the file changed since it was opened; open it again")
        file.seek(self.start if at is None else at)
        return file

    def fill(self, file: BinaryIO, out: NDArray[Any]) -> None:
        """Read the next bytes of an open file into a contiguous array.

        Raises
        ------
        FormatError
            The file ends before: it was cut while it was read.
        """
        count = file.readinto(out)  # type: ignore[attr-defined]  # typeshed: of io classes, not of BinaryIO
        if count != out.nbytes:
            self.where.fail(
                f"{out.nbytes - count} bytes are missing: the file was cut while it was read; fetch it again"
            )

    def mapped(self) -> NDArray[np.uint8]:
        """All data bytes, read-only and not read yet: for reading few of them."""
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


class Window(io.RawIOBase):
    """One HDU as a file of its own, because astropy begins at the start of any file it is handed."""

    def __init__(self, file: BinaryIO, source: Source) -> None:
        self._file, self._start, self._at = file, source.start, 0
        self._size = source.end + -source.size % BLOCK - source.start

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position within the HDU."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read bytes, none beyond the end of the HDU."""
        self._file.seek(self._start + self._at)
        block = self._file.read(max(min(len(buffer), self._size - self._at), 0))
        buffer[: len(block)] = block
        self._at += len(block)
        return len(block)


def _stamp(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


class PlainReader:
    """Walk a file, seeking over data."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.stamp = _stamp(file)
        file.seek(0)

    def read(self, count: int) -> bytes:
        """Up to `count` bytes; fewer only at the end."""
        return self.file.read(count)

    def source(self, where: Where, header: bytes, count: int) -> Source:
        """Step over `count` data bytes and their padding."""
        data = self.file.tell()
        padded = -(-count // BLOCK) * BLOCK
        missing = data + padded - self.stamp[0]
        if missing > 0:
            where.fail(f"the file is truncated: {missing} of {padded} data bytes are missing; fetch it again")
        self.file.seek(padded, os.SEEK_CUR)
        return Source(where, data - len(header), data, data + count, self.stamp)


class GzipReader:
    """Decompress a file once, front to back, and hold each HDU; refuse implausible growth."""

    def __init__(self, file: BinaryIO, where: Where) -> None:
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

    def source(self, where: Where, header: bytes, count: int) -> Source:
        """Read `count` data bytes and their padding."""
        padded = -(-count // BLOCK) * BLOCK
        held = io.BytesIO()
        held.write(header)
        left = padded
        while left and (block := self.read(min(left, 1 << 20))):
            held.write(block)
            left -= len(block)
        if left:
            where.fail(f"the file is truncated: {left} of {padded} data bytes are missing; fetch it again")
        return Source(where, 0, len(header), len(header) + count, self.stamp, held.getvalue())


Reader = PlainReader | GzipReader


def open_reader(file: BinaryIO, where: Where) -> Reader:
    """Reader of an open file at its start; compression is told by content."""
    return GzipReader(file, where) if file.read(2) == b"\x1f\x8b" else PlainReader(file)
