"""Small FITS files as byte strings, made card by card, and ways to damage them."""

import gzip
import io
import itertools
from collections.abc import Callable, Iterable

import numpy as np
from astropy.io import fits

from xonoff.io.hdu_writer import HDUWriter

BLOCK = 2880


def card(key: str, value: object = None, text: str | None = None) -> str:
    """One 80-column card; `text` is put in as it is, whatever the standard says."""
    if text is None:
        text = (
            f"'{value}'"
            if isinstance(value, str)
            else f"{('T' if value else 'F') if isinstance(value, bool) else value}"
        )
    return f"{key:<8}= {text:>20}".ljust(80)[:80]


def header(*cards: str | tuple[str, object]) -> bytes:
    """A whole header block: cards, END and blanks."""
    images = [image if isinstance(image, str) else card(*image) for image in cards]
    raw = "".join([*images, "END".ljust(80)]).encode("latin-1")
    return raw.ljust(-(-len(raw) // BLOCK) * BLOCK)


def pad(data: bytes, filler: bytes = b"\0") -> bytes:
    """Fill up to whole blocks."""
    return data.ljust(-(-len(data) // BLOCK) * BLOCK, filler)


PRIMARY = (("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0))
IMAGE = (
    ("XTENSION", "IMAGE"), ("BITPIX", -32), ("NAXIS", 2), ("NAXIS1", 4), ("NAXIS2", 3), ("PCOUNT", 0), ("GCOUNT", 1),
    ("EXTNAME", "COUNTS"),
)  # fmt: skip
TABLE = (
    ("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", 24), ("NAXIS2", 3), ("PCOUNT", 0), ("GCOUNT", 1),
    ("TFIELDS", 3), ("TTYPE1", "CHANNEL"), ("TFORM1", "K"), ("TTYPE2", "ENERGY"), ("TFORM2", "1D"), ("TUNIT2", "TeV"),
    ("TTYPE3", "LABEL"), ("TFORM3", "8A"), ("EXTNAME", "BANDS"),
)  # fmt: skip
TILED = (
    ("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", 8), ("NAXIS2", 3), ("PCOUNT", 100), ("GCOUNT", 1),
    ("TFIELDS", 1), ("TTYPE1", "COMPRESSED_DATA"), ("TFORM1", "1PB(100)"), ("ZIMAGE", True), ("ZBITPIX", 16),
    ("ZNAXIS", 2), ("ZNAXIS1", 4), ("ZNAXIS2", 3), ("ZTILE1", 4), ("ZTILE2", 1), ("ZCMPTYPE", "GZIP_1"),
    ("EXTNAME", "TILED"),
)  # fmt: skip

Cards = Iterable[str | tuple[str, object]]


def change(cards: Cards, **values: object) -> list[str | tuple[str, object]]:
    """Replace, drop (None) or append cards; ``NAXIS_1`` and the like are not needed, names are keywords."""
    left = dict(values)
    changed = [
        entry if isinstance(entry, str) or entry[0] not in left else (entry[0], left.pop(entry[0])) for entry in cards
    ]
    kept = [entry for entry in changed if isinstance(entry, str) or entry[1] is not None]
    return [*kept, *left.items()]


def one_image(cards: Cards = IMAGE, count: int = 48) -> bytes:
    """A primary HDU and an image of `count` bytes."""
    return header(*PRIMARY) + header(*cards) + pad(np.arange(12, dtype=">f4").tobytes()[:count])


def one_table(cards: Cards = TABLE) -> bytes:
    """A primary HDU and a table of 3 rows."""
    rows = np.array([(0, 0.5, b"a"), (1, 1.5, b"b b"), (2, 2.5, b"")], [("c", ">i8"), ("e", ">f8"), ("l", "S8")])
    return header(*PRIMARY) + header(*cards) + pad(rows.tobytes())


def one_tiled(cards: Cards = TILED) -> bytes:
    """A primary HDU and the frame of a compressed image, with nothing in its tiles."""
    return header(*PRIMARY) + header(*cards) + pad(bytes(124))


def sample(tiled: bool = False, seed: int = 0) -> bytes:
    """A whole file of 20-60 kB with checksums: images of several types, tables, and compressed images if `tiled`."""
    rng = np.random.default_rng(seed)
    file = io.BytesIO()
    if tiled:
        counts = rng.poisson(3, (3, 40, 50)).astype("i4")
        hdus = [
            fits.PrimaryHDU(),
            fits.CompImageHDU(counts, name="RICE", compression_type="RICE_1", tile_shape=(1, 20, 25)),
            fits.CompImageHDU(counts.astype("f4"), name="GZIP", compression_type="GZIP_2", quantize_level=0),
            fits.CompImageHDU(rng.normal(size=(60, 50)).astype("f4"), name="LOSSY", compression_type="RICE_1"),
        ]
        fits.HDUList(hdus).writeto(file, checksum=True)
        return file.getvalue()
    writer = HDUWriter(file)
    writer.primary({"NAME": "sample", "LIVETIME": 1.5, "META": '{"text": "' + "it's long " * 20 + '"}'})
    for name, dtype in {"COUNTS": "f4", "MASK": "b1", "EXPOSURE": "f8", "COUNTS_OFF": "i2"}.items():
        writer.image(name, rng.integers(0, 2, (3, 20, 17)).astype(dtype), {"BUNIT": "", "CRVAL1": 83.63308000000001})
        edges = {"CHANNEL": np.arange(3), "E_MIN": rng.random(3), "LABEL": np.array(["a", "bc", ""])}
        writer.table(f"{name}_BANDS", edges, {"E_MIN": "TeV"}, {"AXCOLS1": "E_MIN,E_MAX"})
    return file.getvalue()


def flip(data: bytes, bit: int) -> bytes:
    """Invert one bit."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _cards_of(data: bytes) -> list[int]:
    """Where the cards with an integer value are."""
    return [
        i for i in range(0, len(data), 80) if data[i + 8 : i + 10] == b"= " and data[i + 10 : i + 30].strip().isdigit()
    ]


def _lie(data: bytes, rng: np.random.Generator) -> bytes:
    """Give a card another number."""
    cards = _cards_of(data)
    at = cards[rng.integers(len(cards))]
    numbers = (
        -1,
        0,
        1,
        2,
        3,
        7,
        8,
        9,
        16,
        999,
        1000,
        2**15,
        2**31 - 1,
        2**31,
        2**32,
        2**48,
        10**12,
        2**63,
        2**64,
        10**25,
    )
    value = numbers[rng.integers(len(numbers))]
    return data[: at + 10] + f"{value:>20}".encode()[:70] + data[at + 30 :]


def _zero_span(data: bytes, rng: np.random.Generator) -> bytes:
    start, count = rng.integers(len(data)), int(2 ** rng.uniform(0, 12))
    return data[:start] + bytes(len(data[start : start + count])) + data[start + count :]


def _drop_span(data: bytes, rng: np.random.Generator) -> bytes:
    start, count = rng.integers(len(data) // 80) * 80, int(2 ** rng.integers(1, 6)) * 80
    return data[:start] + data[start + count :]


def _flips(data: bytes, rng: np.random.Generator) -> bytes:
    for bit in rng.integers(8 * len(data), size=rng.integers(1, 6)):
        data = flip(data, int(bit))
    return data


def _flip_header(data: bytes, rng: np.random.Generator) -> bytes:
    """A flip where it matters: in the written part of a card."""
    cards = _cards_of(data)
    return flip(data, 8 * cards[rng.integers(len(cards))] + int(rng.integers(8 * 32)))


def _swap_cards(data: bytes, rng: np.random.Generator) -> bytes:
    cards = _cards_of(data)
    one, two = (cards[i] for i in rng.integers(len(cards), size=2))
    return data[:one] + data[two : two + 80] + data[one + 80 :]


MUTATIONS: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    _lie,
    _flip_header,
    _zero_span,
    _flips,
    _swap_cards,
    _drop_span,
    lambda data, rng: data[: rng.integers(len(data))],
)


def mutations(data: bytes, count: int, seed: int, packed: bool = False) -> Iterable[bytes]:
    """Damage a file in `count` ways; a packed one before or after compression in turn."""
    rng = np.random.default_rng(seed)
    compressed = gzip.compress(data, mtime=0)
    for i, mutate in zip(range(count), itertools.cycle(MUTATIONS)):
        if not packed:
            yield mutate(data, rng)
        elif i % 2 or mutate in (_lie, _flip_header, _swap_cards):
            yield gzip.compress(mutate(data, rng), 1)
        else:
            yield mutate(compressed, rng)
