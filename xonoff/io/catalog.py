"""What can be told of runs from the index alone: which lie in a cone or in a time, their table, a summary."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xonoff.errors import SchemaError
from xonoff.footprint import cone_of, near, touched
from xonoff.io.index import Entry, RunId
from xonoff.units import Position, Value

__all__ = ["html", "in_cone", "in_time", "summary", "table"]

#: Rows of the table in a notebook.
ROWS = 10

Bools = npt.NDArray[np.bool_]


def in_cone(entries: Sequence[Entry], cone: tuple[Position, Value], by: str) -> Bools:
    """True for runs whose map has a part in a cone, or with ``by="pointing"`` one of its pointings."""
    where = cone_of(cone)
    if by == "footprint":
        return touched(where, [entry.footprint for entry in entries])
    pairs = [(i, *pair) for i, entry in enumerate(entries) for pair in entry.pointing]
    number, lon, lat = np.array(pairs, float).reshape(-1, 3).T
    return np.isin(np.arange(len(entries)), number[near(where, lon, lat)])


def in_time(entries: Sequence[Entry], time: tuple[Any, Any]) -> Bools:
    """True for runs that overlap with a time; False for those that do not tell theirs."""
    start, stop = _interval(time)
    keep = ~np.isnat(_times(entries, "start"))
    if start is not None:
        keep &= _times(entries, "stop") > start
    if stop is not None:
        keep &= _times(entries, "start") < stop
    return keep


def table(entries: Sequence[Entry], name: str) -> xr.Dataset:
    """All that the index knows, as a table on ``obs``."""
    string = np.dtypes.StringDType()
    pointing = [entry.pointing[0] if entry.pointing else (np.nan, np.nan) for entry in entries]
    center = [entry.footprint.center if entry.footprint else (np.nan, np.nan) for entry in entries]
    columns: dict[str, tuple[list[float], str]] = {
        "ra_pnt": ([lon for lon, _ in pointing], "deg"),
        "dec_pnt": ([lat for _, lat in pointing], "deg"),
        "livetime": ([entry.livetime for entry in entries], "s"),
        "energy_min": ([entry.energy[0] for entry in entries], "TeV"),
        "energy_max": ([entry.energy[1] for entry in entries], "TeV"),
        "ra": ([lon for lon, _ in center], "deg"),
        "dec": ([lat for _, lat in center], "deg"),
        "radius": ([entry.footprint.radius if entry.footprint else np.nan for entry in entries], "deg"),
    }
    variables = {name: xr.Variable("obs", np.array(v, float), {"units": units}) for name, (v, units) in columns.items()}
    for column, which in (("time_start", "start"), ("time_stop", "stop")):
        variables[column] = xr.Variable("obs", _times(entries, which), {"time_scale": "TT"})
    for column in ("name", "source", "version"):
        variables[column] = xr.Variable("obs", np.array([getattr(entry, column) for entry in entries], string))
    variables["bytes"] = xr.Variable("obs", np.array([entry.size for entry in entries], np.int64))
    ids = [entry.obs_id for entry in entries]
    numbers = all(isinstance(one, int) and abs(one) < 2**63 for one in ids)
    names = np.array(ids, np.int64) if numbers else np.array([str(one) for one in ids], string)
    return xr.Dataset(variables, {"obs_id": xr.Variable("obs", names)}, {"archive": name})


def summary(entries: Sequence[Entry], damaged: int) -> list[str]:
    """Number of runs, livetime and times in a few words."""
    parts = [f"{len(entries)} run{'' if len(entries) == 1 else 's'}"]
    livetime = np.nansum([entry.livetime for entry in entries])
    if livetime:
        parts.append(f"livetime {livetime / 3600:.4g} h")
    start, stop = _times(entries, "start"), _times(entries, "stop")
    if not np.isnat(start).all():
        first, last = (str(t.astype("datetime64[m]")) for t in (np.nanmin(start), np.nanmax(stop)))
        parts.append(f"{first} to {last}")
    if damaged:
        parts.append(f"{damaged} damaged")
    return parts


def html(name: str, entries: Sequence[Entry], damaged: Mapping[RunId, str]) -> str:
    """Summary and the first runs as HTML."""
    head = f"<strong>Archive</strong> {escape(name)}<br>{escape(', '.join(summary(entries, len(damaged))))}"
    cells = "".join(
        f'<th style="text-align: left">{column}</th>'
        for column in ("obs_id", "name", "start (TT)", "livetime (s)", "energy (TeV)", "ra, dec (deg)")
    )
    rows = [f"<tr>{cells}</tr>"]
    for entry in entries[:ROWS]:
        where = entry.pointing[0] if entry.pointing else entry.footprint.center if entry.footprint else None
        texts = [
            str(entry.obs_id),
            entry.name,
            entry.start[:16],
            f"{entry.livetime:.6g}",
            f"{entry.energy[0]:.4g} to {entry.energy[1]:.4g}",
            f"{where[0]:.3f}, {where[1]:.3f}" if where else "",
        ]
        rows.append("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in texts) + "</tr>")
    if len(entries) > ROWS:
        rows.append(f'<tr><td colspan="6">... and {len(entries) - ROWS} more</td></tr>')
    for obs_id, why in list(damaged.items())[:ROWS]:
        rows.append(f'<tr><td>{escape(str(obs_id))}</td><td colspan="5">damaged: {escape(why)}</td></tr>')
    return f"<div>{head}<table>{''.join(rows)}</table></div>"


def _times(entries: Sequence[Entry], which: str) -> npt.NDArray[np.datetime64]:
    return np.array([getattr(entry, which) for entry in entries], "datetime64[ns]")


def _interval(time: Any) -> tuple[np.datetime64 | None, np.datetime64 | None]:
    try:
        start, stop = (_moment(moment) for moment in time)
    except (TypeError, ValueError) as error:
        raise SchemaError(
            f"time: {time!r} found, (start, stop) accepted, each None, a text such as '2026-01-17T20:00', a datetime64 "
            "or an astropy Time"
        ) from error
    if start is not None and stop is not None and stop < start:
        raise SchemaError(f"time: it ends at {stop} before it starts at {start}")
    return start, stop


def _moment(moment: Any) -> np.datetime64 | None:
    if moment is None:
        return None
    if hasattr(moment, "tt"):
        moment = moment.tt.datetime64
    found = np.datetime64(moment, "ns")
    if np.isnat(found):
        raise ValueError("NaT")
    return found
