"""Checksums of FITS HDUs: sums of big-endian words in ones complement, and the text that a header holds of them.

References
----------
FITS standard 4.0: section 4.4.2.7 and appendix J.
"""

from typing import Any

import numpy as np

__all__ = ["encode_checksum", "fold", "word_sum"]


def word_sum(block: Any) -> int:
    r"""Sum a block of bytes as big-endian 32-bit words.

    Parameters
    ----------
    block : buffer
        Its length is a multiple of 4.

    Returns
    -------
    int
        The plain sum; `fold` makes it a ones-complement sum.

    Examples
    --------
    >>> word_sum(b"\0\0\0\1\0\0\1\0")
    257
    """
    return int(np.frombuffer(block, ">u4").sum(dtype=np.uint64))


def fold(total: int) -> int:
    """Fold a sum of words into 32 bits with end-around carry: the ones-complement sum.

    Examples
    --------
    >>> fold(2**32 + 1)
    2
    """
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def encode_checksum(total: int) -> str:
    """Encode the complement of a 32-bit sum in 16 letters and digits (FITS standard 4.0, appendix J).

    Put in place of 16 zeros in the ``CHECKSUM`` card of the HDU whose sum is `total`, the text makes its sum all ones.

    Parameters
    ----------
    total : int
        Ones-complement sum of the HDU, 0 to 2**32 - 1.

    Returns
    -------
    str
        The value of the ``CHECKSUM`` card.

    Examples
    --------
    >>> encode_checksum(868229149)
    'hcHjjc9ghcEghc9g'
    """
    columns = [_four_letters(byte) for byte in (total ^ 0xFFFFFFFF).to_bytes(4, "big")]
    text = "".join(chr(columns[i][j]) for j in range(4) for i in range(4))
    return text[-1] + text[:-1]  # the text starts at byte 11 of its card, so it is rotated onto the word grid


def _four_letters(byte: int) -> list[int]:
    """Four alphanumeric ASCII codes whose sum is `byte` + 4 x 48."""
    codes = [byte // 4 + byte % 4 + 48] + [byte // 4 + 48] * 3
    while not all(chr(code).isalnum() for code in codes):
        for i in (0, 2):
            if not (chr(codes[i]).isalnum() and chr(codes[i + 1]).isalnum()):
                codes[i] += 1
                codes[i + 1] -= 1
    return codes
