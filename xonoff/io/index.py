"""The index of an archive: one small object a run, which says where the run is and what can be searched for.

A run is in an archive if, and only if, it has its entry ``index/<id>.json``. An entry is put in one step, holds its own
checksum and that of the run's metadata, and never changes but by being put anew. So writers need no lock, and a reader
sees of every run all or nothing.

Reading thousands of entries takes as many requests; `read_entries` takes those that a copy, ``snapshot.json``, has with
the same tag as the store lists them, and asks for the others. The list alone decides what is there: a copy that is
old, damaged or gone makes reading slower and changes nothing.
"""

import json
import re
import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr

import xonoff
from xonoff.axes import axis_edges
from xonoff.duck import small_values
from xonoff.errors import FormatError, SchemaError
from xonoff.footprint import Footprint, footprint
from xonoff.io.objects import Objects
from xonoff.observations import POINTING

__all__ = ["INDEX", "SNAPSHOT", "Entry", "RunId", "describe", "id_of", "key_of", "name_of", "read_entries"]
__all__ += ["write_snapshot"]

INDEX, SNAPSHOT = "index", "snapshot.json"
#: Letters of an id that its key holds as they are; others become ``=`` and two hex digits for each byte.
PLAIN = re.compile(r"[A-Za-z0-9_-]")
GROUP = re.compile(r"runs/([A-Za-z0-9_=-]+)\.[0-9a-f]{16}")
LONGEST = 200  # characters of a key: names of files end at 255

RunId = int | str


@dataclass(frozen=True)
class Entry:
    """What the index knows of a run.

    Attributes
    ----------
    obs_id : int or str
    group : str
        Folder of the run in the archive, a new one for every writing.
    seal : (int, int)
        Length and CRC-32 of its metadata, see `xonoff.io.groups`.
    name : str
    pointing : tuple of (float, float)
        Of its observations, ICRS, deg; NaN or empty where it does not tell.
    livetime : float
        Total, s; NaN where it does not tell.
    energy : (float, float)
        Lowest and highest edge, TeV; NaN without an energy axis.
    start, stop : str
        First and last moment of its good time intervals, TT; "NaT" without any.
    footprint : Footprint or None
    size : int
        Bytes of its arrays, uncompressed.
    version : str
        Of xonoff that wrote it.
    source : str
        Where it came from, as the writer has it.
    """

    obs_id: RunId
    group: str
    seal: tuple[int, int]
    name: str
    pointing: tuple[tuple[float, float], ...]
    livetime: float
    energy: tuple[float, float]
    start: str
    stop: str
    footprint: Footprint | None
    size: int
    version: str
    source: str

    def to_bytes(self) -> bytes:
        """Return the entry as it is stored."""
        text = json.dumps(asdict(self), ensure_ascii=True)
        return json.dumps({"entry": text, "crc32": zlib.crc32(text.encode())}).encode()

    @classmethod
    def from_bytes(cls, data: bytes, key: str) -> "Entry":
        """Entry of what is stored under a key; FormatError says what is wrong with it."""
        try:
            stored = json.loads(data)
            text = stored["entry"]
            if zlib.crc32(text.encode()) != stored["crc32"]:
                raise FormatError("its checksum does not match")
            values = json.loads(text)
            found = values["footprint"]
            if found is not None:
                outline = tuple((float(lon), float(lat)) for lon, lat in found["outline"])
                found = Footprint(tuple(found["center"]), float(found["radius"]), outline)
            pointing = tuple((float(lon), float(lat)) for lon, lat in values["pointing"])
            pairs = {name: tuple(values[name]) for name in ("seal", "energy")}
            entry = cls(**{**values, **pairs, "footprint": found, "pointing": pointing})
            np.datetime64(entry.start), np.datetime64(entry.stop)
            match = GROUP.fullmatch(entry.group)
            if key_of(entry.obs_id) != key or not match or match[1] != key:
                raise FormatError(f"it is of {entry.obs_id!r} in {entry.group!r}")
            return entry
        except FormatError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"it is no entry ({type(error).__name__}: {error})") from error


def id_of(value: Any) -> RunId:
    """Id of a run as a plain int or text; SchemaError for anything else.

    Examples
    --------
    >>> id_of(np.int64(23523)), id_of("crab 1")
    (23523, 'crab 1')
    """
    if isinstance(value, np.ndarray | xr.DataArray) and not value.ndim:
        value = value.item()
    if isinstance(value, int | np.integer) and not isinstance(value, bool | np.bool_):
        return int(value)
    if isinstance(value, str) and value and value.isprintable() and value.strip() == value:
        if len(_escaped(value)) <= LONGEST:
            return str(value)
        raise SchemaError(f"obs_id: {value[:40]!r}... with {len(value)} letters found, a shorter text accepted")
    raise SchemaError(
        f"obs_id: {value!r} found, a whole number or printable text without blanks at its ends accepted: give "
        "obs_id=... to append"
    )


def key_of(obs_id: RunId) -> str:
    """Id as part of a key: letters that are special anywhere are escaped; a number and its text have one key.

    Examples
    --------
    >>> key_of(23523), key_of("../Crab 1")
    ('23523', '=2E=2E=2FCrab=201')
    """
    return _escaped(str(obs_id))


def name_of(key: str) -> str:
    """Id of a key, as text."""
    try:
        return bytes(re.sub(rb"=([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), key.encode())).decode()
    except ValueError:
        return key


def _escaped(text: str) -> str:
    parts = (c if PLAIN.fullmatch(c) else "".join(f"={b:02X}" for b in c.encode("utf-8", "replace")) for c in text)
    return "".join(parts)


def describe(ds: xr.Dataset, obs_id: RunId, group: str, source: str = "") -> Entry:
    """Entry of a dataset, yet without the seal; looks at its coordinates only.

    Examples
    --------
    >>> entry = describe(xonoff.tutorial.dataset(), 1, "runs/1.0123456789abcdef")
    >>> entry.start, entry.livetime, entry.energy
    ('2026-01-17T20:00:00.000000000', 3350.0, (0.5, 50.0))
    """
    pointing: list[tuple[float, float]] = []
    if all(name in ds.variables and ds.variables[name].dtype.kind in "fiu" for name in POINTING):
        lon, lat = (np.atleast_1d(small_values(ds.variables[name])).ravel().astype(float) for name in POINTING)
        pointing = sorted(set(zip(lon.tolist(), lat.tolist(), strict=True)))
    energy = (np.nan, np.nan)
    if "energy" in ds.dims:
        edges = axis_edges(ds, "energy")
        energy = (float(edges[0]), float(edges[-1]))
    times = [np.datetime64("NaT"), np.datetime64("NaT")]
    if "gti_start" in ds.variables and "gti_stop" in ds.variables and ds.variables["gti_start"].size:
        times = [small_values(ds.variables["gti_start"]).min(), small_values(ds.variables["gti_stop"]).max()]
    livetime = small_values(ds.variables["livetime"]).sum() if "livetime" in ds.variables else np.nan
    return Entry(
        obs_id=obs_id,
        group=group,
        seal=(0, 0),
        name=str(ds.attrs.get("name", "")),
        pointing=tuple(pointing),
        livetime=float(livetime),
        energy=energy,
        start=str(times[0]),
        stop=str(times[1]),
        footprint=footprint(ds),
        size=int(sum(v.nbytes for v in ds.data_vars.values())),
        version=xonoff.__version__,
        source=source,
    )


def read_entries(objects: Objects) -> tuple[dict[str, Entry], dict[str, str]]:
    """Read the index of an archive.

    Returns
    -------
    dict of str to Entry
        By key, see `key_of`: numbers first, then texts.
    dict of str to str
        Entries that cannot be read, and why.
    """
    entries, faults = {}, {}
    for key, (_, content) in _contents(objects).items():
        if isinstance(content, FileNotFoundError):  # removed meanwhile
            continue
        if isinstance(content, Exception):
            faults[key] = str(content)
            continue
        try:
            entries[key] = Entry.from_bytes(content, key)
        except FormatError as error:
            faults[key] = f"{INDEX}/{key}.json is damaged: {error}"
    return entries, faults


def write_snapshot(objects: Objects) -> None:
    """Put a copy of all entries with their tags; an entry that is put anew meanwhile has another tag."""
    contents = _contents(objects)
    copies = {key: [tag, content.decode()] for key, (tag, content) in contents.items() if isinstance(content, bytes)}
    text = json.dumps(copies)
    objects.put(SNAPSHOT, json.dumps({"entries": text, "crc32": zlib.crc32(text.encode())}).encode())


def _contents(objects: Objects) -> dict[str, tuple[str, bytes | Exception]]:
    """Tag and content of every entry, of the copy where that has the same tag."""
    tags = {}
    for path, stat in objects.find(INDEX).items():
        key = path.removeprefix(f"{INDEX}/").removesuffix(".json")
        if path.endswith(".json") and "/" not in key:
            tags[key] = stat.tag
    known = _snapshot(objects) if len(tags) > 1 else {}
    data: dict[str, bytes | Exception] = {
        key: known[key][1].encode() for key, tag in tags.items() if tag and key in known and known[key][0] == tag
    }
    missing = [key for key in tags if key not in data]
    data |= zip(missing, objects.get_many([f"{INDEX}/{key}.json" for key in missing]), strict=True)
    return {key: (tags[key], data[key]) for key in sorted(tags, key=_order)}


def _snapshot(objects: Objects) -> dict[str, list[str]]:
    try:
        stored = json.loads(objects.get(SNAPSHOT))
        if zlib.crc32(stored["entries"].encode()) == stored["crc32"]:
            copies: dict[str, list[str]] = json.loads(stored["entries"])
            return copies
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    return {}


def _order(key: str) -> tuple[int, int, str]:
    return (0, int(key), "") if key.isdecimal() and len(key) < 20 else (1, 0, key)
