"""Cards of an untrusted FITS header: bytes to checked values.

`Cards` parses every card of a header by itself, and looks values up among them by type and range; `Where` names the
place in each error. Nothing reaches astropy before it is checked, and nothing does at all unless `Cards.header` is
called: making an `astropy.io.fits.Header` takes ten times as long as parsing.

Values are parsed here because astropy's parser warns instead of raising, reads ``'a'' / b'`` as ``a'`` with a comment,
takes quadratic time over long strings of blanks, and turns the name ``'obs: 1'`` into another keyword.

References
----------
FITS standard 4.0: headers section 4, long strings 4.2.1.2, keywords of axes 4.4.1.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from astropy.io import fits

from xonoff.errors import FormatError

__all__ = ["BLOCK", "CARD", "Card", "Cards", "Where"]

BLOCK = 2880
CARD = 80
MAX_AXES = 8
MAX_LENGTH = 2**48  # of one axis

_PRINTABLE = bytes(range(32, 127))
_COMMENTARY = {"COMMENT ", "HISTORY ", " " * 8}
_EXPONENT = str.maketrans("Dd", "Ee")
_VALUE = (
    r" *(?:'([^']*(?:''[^']*)*)'|([TF])|([+-]?\d+)|([+-]?(?:\d+\.?\d*|\.\d+)(?:[EDed][+-]?\d+)?)"
    r"|(\([ 0-9.,EDed+-]+\)))? *(?:/(.*))?"
)  # text, logical, integer, real, complex; comment
_NAMED = re.compile(r"(?=[A-Z0-9_ -]{8}= )([A-Z0-9_-]+) *= " + _VALUE)
_HIERARCH = re.compile(r"HIERARCH +([!-<>-~][ -<>-~]*?) *= *(.*)")
_VALUE_ONLY = re.compile(_VALUE)
_ONCE = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|GROUPS|TFIELDS|THEAP|T(?:FORM|TYPE|UNIT|DIM|SCAL|ZERO|NULL)\d+|EXTNAME"
    r"|BSCALE|BZERO|BLANK|CHECKSUM|DATASUM|Z(?:IMAGE|BITPIX|CMPTYPE|NAXIS\d*|(?:TILE|NAME|VAL)\d+|QUANTIZ|DITHER0|BLANK)"
)


@dataclass(frozen=True)
class Where:
    """What an error message says about the place."""

    path: str
    index: int = -1
    name: str = ""

    def fail(self, fault: str) -> NoReturn:
        """Raise the `FormatError` of a fault found here."""
        hdu = f": HDU {self.index}" + (f" ({self.name})" if self.name else "") if self.index >= 0 else ""
        raise FormatError(f"{self.path}{hdu}: {fault}")


@dataclass(slots=True)
class Card:
    """One logical card: a string and its CONTINUE cards are one."""

    keyword: str
    image: str
    value: Any = None
    comment: str = ""
    pieces: list[str] | None = None
    hierarch: bool = False

    @classmethod
    def of(cls, keyword: str, value: str | int) -> "Card":
        """Make the card of a short text or an integer."""
        text = f"'{value:<8}'" if isinstance(value, str) else f"{value:>20}"
        return cls(keyword, f"{keyword:<8}= {text}".ljust(CARD), value)

    def to_astropy(self) -> fits.Card:
        """Numbers keep their text, so that WCS sees the digits of the file; strings are set, never parsed again."""
        if not self.pieces and not self.hierarch:
            return fits.Card.fromstring(self.image)
        card = fits.Card("HIERARCH " + self.keyword if self.hierarch else self.keyword)
        card.value = self.value
        card.comment = self.comment
        return card


class Cards:
    """The cards of one header, and typed look-ups among them.

    Parameters
    ----------
    cards : list of Card
    where : Where

    Attributes
    ----------
    values : dict
        Value by keyword; the first one of a keyword that may stand more than once.

    Raises
    ------
    FormatError
        A card that tells the structure of the file is there twice.

    Examples
    --------
    >>> cards = Cards.parse(b"NAXIS   =                    2".ljust(80), Where("a.fits", 1))
    >>> cards.integer("NAXIS", 0, 8)
    2
    >>> cards.integer("NAXIS1", 0, 8)
    Traceback (most recent call last):
    xonoff.errors.FormatError: a.fits: HDU 1: card NAXIS1 is missing; an integer from 0 to 8 is needed
    """

    def __init__(self, cards: list[Card], where: Where) -> None:
        self.cards, self.where = cards, where
        self.values: dict[str, Any] = {}
        for card in cards:
            if card.keyword in self.values and _ONCE.fullmatch(card.keyword):
                where.fail(f"card {card.keyword} appears twice; one is accepted")
            self.values.setdefault(card.keyword, card.value)

    @classmethod
    def parse(cls, raw: bytes, where: Where) -> "Cards":
        """Check and parse the bytes of a header up to its END card.

        Raises
        ------
        FormatError
            A card is not as the FITS standard has it.
        """
        if raw.translate(None, _PRINTABLE):
            bad = next(i for i in range(0, len(raw), CARD) if raw[i : i + CARD].translate(None, _PRINTABLE))
            where.fail(f"card {raw[bad : bad + CARD]!r} holds bytes that are not printable ASCII; rewrite the header")
        text = raw.decode("ascii")
        cards: list[Card] = []
        for i in range(0, len(text), CARD):
            _append(cards, text[i : i + CARD], where)
        for card in cards:
            if card.pieces:
                card.value = "".join(card.pieces).rstrip(" ")
        return cls(cards, where)

    def header(self) -> fits.Header:
        """Make a header for astropy, with every digit of the file."""
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

    def axes(self, key: str) -> tuple[int, ...]:
        """Lengths of the axes in numpy order, of the cards ``NAXIS`` (or another `key`), ``NAXIS1``, ``NAXIS2``, ..."""
        naxis = self.integer(key, 0, MAX_AXES)
        shape = tuple(self.integer(f"{key}{i}", 0, MAX_LENGTH) for i in range(naxis, 0, -1))
        numbers = [other[len(key) :] for other in self.values if other.startswith(key)]
        if any(number.isdigit() and int(number) > naxis for number in numbers):
            self.where.fail(f"card {key} is {naxis}, but there are cards of further axes")
        if math.prod(max(size, 1) for size in shape) >= 2**60:
            self.where.fail(f"the axes {shape[::-1]} are absurd; up to 2**60 elements are accepted")
        return shape


def _append(cards: list[Card], image: str, where: Where) -> None:
    """Parse one card of 80 columns and add it to those before it."""
    start = image[:8]
    if start in _COMMENTARY:
        cards.append(Card(start.rstrip(), image, image[8:].rstrip()))
    elif start == "HIERARCH" and (hierarch := _HIERARCH.fullmatch(image)):
        parts = _split(hierarch[1], hierarch[2], where)
        cards.append(_card(hierarch[1], image, parts, where, hierarch=True))
    elif image.startswith("CONTINUE  "):
        _continue(cards, image, where)
    elif match := _NAMED.fullmatch(image):
        keyword, *parts = match.groups()
        cards.append(_card(keyword, image, parts, where))
    elif re.fullmatch("[A-Z0-9_-]+ *", start) and image[8:10] == "= ":
        _split(start.rstrip(), image[10:], where)
    else:
        where.fail(
            f"card {image.rstrip()!r} is neither KEYWORD = value nor a comment; a keyword of up to 8 of A-Z, 0-9, '-' "
            "and '_', with '= ' in columns 9-10, is accepted"
        )


def _split(keyword: str, text: str, where: Where) -> Sequence[str | None]:
    """Groups of the pattern of a value."""
    match = _VALUE_ONLY.fullmatch(text)
    if not match:
        where.fail(
            f"card {keyword} has the unreadable value {text.strip()!r}; a quoted text, T, F or a number is accepted"
        )
    return match.groups()


def _card(keyword: str, image: str, parts: Sequence[str | None], where: Where, hierarch: bool = False) -> Card:
    """Make a card of the groups of its value."""
    text, logical, integer, real, pair, comment = parts
    card = Card(keyword, image, None, comment.strip() if comment else "", None, hierarch)
    if text is not None:
        card.pieces = [text.replace("''", "'")]
    elif logical:
        card.value = logical == "T"
    elif integer:
        card.value = int(integer)
    elif real:
        card.value = float(real.translate(_EXPONENT))
        if not math.isfinite(card.value):
            where.fail(f"card {keyword} is {real}, which no 64-bit float holds")
    elif pair:
        try:
            one, two = pair.strip("()").split(",")
            card.value = complex(*(float(part.translate(_EXPONENT)) for part in (one, two)))
        except ValueError:
            where.fail(f"card {keyword} has the unreadable value {pair}")
    return card


def _continue(cards: list[Card], image: str, where: Where) -> None:
    """Add a CONTINUE card to the text before it."""
    match = _VALUE_ONLY.fullmatch(image[10:])
    last = cards[-1] if cards else None
    if not match or match[1] is None or not last or not last.pieces or not last.pieces[-1].endswith("&"):
        where.fail(f"card {image.rstrip()!r} does not continue a text; it has to follow a text that ends in '&'")
    last.pieces[-1] = last.pieces[-1][:-1]
    last.pieces.append(match[1].replace("''", "'"))
    last.comment += (match[6] or "").rstrip()
