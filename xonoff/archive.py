"""An archive of observations: one Zarr store that holds many runs, with an index to search them.

An archive is a folder or a URL::

    zarr.json                          an empty Zarr group, with the version of the layout
    index/<obs_id>.json                one entry a run: where it is, pointing, time, energies, outline on the sky
    runs/<obs_id>.<random>/            a run, as Zarr: any Zarr library reads it
    snapshot.json                      a copy of the index, for speed

A run is written into a folder of its own and becomes part of the archive by one object, its entry, which is put in one
step where nothing was. So several processes append at once without a lock, and one that is killed leaves the archive as
it was, with a folder that nothing points to; `Archive.clean` removes such.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from xonoff import survey
from xonoff.errors import DamagedRunWarning, FormatError, SchemaError
from xonoff.geometry import Geom
from xonoff.io.catalog import html, in_cone, in_time, summary, table
from xonoff.io.groups import remove_group
from xonoff.io.index import INDEX, Entry, RunId, describe, id_of, key_of, name_of, read_entries, write_snapshot
from xonoff.io.layout import check_layout, make_layout
from xonoff.io.objects import Objects
from xonoff.io.runs import RUNS, Run, check_run, garbage, new_group, open_run, write_run
from xonoff.io.urls import open_objects
from xonoff.units import Position, Value, value_in

__all__ = ["Archive"]

#: Appends of one archive object after which it renews the copy of the index.
RENEW = 256


class Archive(Mapping[RunId, xr.Dataset]):
    """Runs of an archive, a mapping of their ids to lazy datasets; use `create` or `open`.

    It knows the runs that were there when it was opened, and those it has appended itself; see `refresh`.

    Attributes
    ----------
    name : str
        Path or URL.
    damaged : dict
        Ids whose entry cannot be read, and why; their runs are not among the others.

    Examples
    --------
    >>> import tempfile, xonoff
    >>> archive = Archive.create(tempfile.mkdtemp() + "/runs.zarr")
    >>> archive.append(xonoff.tutorial.dataset(), obs_id="crab")
    'crab'
    >>> archive
    <Archive of 1 run, livetime 0.9306 h, 2026-01-17T20:00 to 2026-01-17T21:02>
    >>> archive["crab"].onoff.name
    'tutorial'
    >>> len(archive.select(cone=((83.63, 22.01), "1 deg"))), len(archive.select(time=("2026-02-01", None)))
    (1, 0)
    """

    def __init__(
        self, objects: Objects, entries: dict[str, Entry], damaged: dict[RunId, str], chunks: Any = None
    ) -> None:
        self._objects, self._entries, self.damaged, self._chunks = objects, entries, damaged, chunks
        self._appended = 0

    __eq__ = object.__eq__  # that of a mapping would read all runs
    __hash__ = object.__hash__

    # -- making and opening -------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, url: Any, *, chunks: Any = None, storage_options: Mapping[str, Any] | None = None) -> "Archive":
        """Make an empty archive.

        Parameters
        ----------
        url : path, URL, obstore store or fsspec mapper
            A new folder, see `xonoff.io.urls.open_objects`.
        chunks : optional
            As in `open`.
        storage_options : dict, optional
            Of a URL, see `xonoff.io.urls.open_objects`.

        Raises
        ------
        FileExistsError
            If there is something already.
        """
        objects = open_objects(url, storage_options)
        make_layout(objects)
        return cls(objects, {}, {}, chunks)

    @classmethod
    def open(cls, url: Any, *, chunks: Any = None, storage_options: Mapping[str, Any] | None = None) -> "Archive":
        """Open an archive: read its index.

        Parameters
        ----------
        url
            As in `create`.
        chunks : optional
            How runs are opened, as in `xonoff.open_dataset`: None reads arrays when they are looked at, ``{}`` makes
            dask arrays.
        storage_options
            As in `create`.

        Raises
        ------
        FileNotFoundError
            If there is nothing; FormatError if it is no archive, or of a later layout.

        Warns
        -----
        DamagedRunWarning
            If entries cannot be read; they are in `damaged`.
        """
        objects = open_objects(url, storage_options)
        check_layout(objects)
        archive = cls(objects, {}, {}, chunks).refresh()
        if archive.damaged:
            import warnings

            first = next(iter(archive.damaged.values()))
            names = ", ".join(repr(obs_id) for obs_id in list(archive.damaged)[:10])
            warnings.warn(
                f"{archive.name}: {len(archive.damaged)} damaged runs: {names}: {first}: append them again with "
                "overwrite=True, or remove them",
                DamagedRunWarning,
                stacklevel=2,
            )
        return archive

    def refresh(self) -> "Archive":
        """Return the archive with all runs that are there now."""
        entries, faults = read_entries(self._objects)
        return type(self)(self._objects, entries, {name_of(key): why for key, why in faults.items()}, self._chunks)

    @property
    def name(self) -> str:
        """Path or URL, without what may be secret in it."""
        return self._objects.name

    # -- writing ------------------------------------------------------------------------------------------------------

    def append(
        self, ds: xr.Dataset, obs_id: RunId | None = None, *, overwrite: bool = False, source: str = ""
    ) -> RunId:
        """Add a run; it is there whole, or not at all.

        Parameters
        ----------
        ds : Dataset
            Dask arrays are computed and written block by block.
        obs_id : int or str, optional
            Name of the run; by default the one ``obs_id`` of the dataset. A number and its text are the same.
        overwrite : bool
            Replace a run of this name, in one step.
        source : str
            Where it comes from, kept in the index.

        Returns
        -------
        int or str
            Its id.

        Raises
        ------
        FileExistsError
            If there is a run of this name; also if another process appended it meanwhile.
        SchemaError, GeometryError, FormatError
            If it has no id, or something in it cannot be stored; nothing is written then.
        """
        if not isinstance(ds, xr.Dataset):
            raise SchemaError(f"a {type(ds).__name__} found, an xarray.Dataset accepted")
        name = id_of(_own_id(ds) if obs_id is None else obs_id)
        key = key_of(name)
        group = new_group(name)
        entry = describe(ds, name, group, source)
        path = f"{INDEX}/{key}.json"
        if not overwrite and self._objects.has(path):
            raise self._exists(name)
        data = (entry := replace(entry, seal=write_run(self._objects, group, ds))).to_bytes()
        if overwrite:
            self._objects.put(path, data)
            self._objects.flush([path])
        elif not self._objects.create(path, data):
            remove_group(self._objects, self._objects.find(group))
            raise self._exists(name)
        self._entries[key] = entry
        self.damaged.pop(name_of(key), None)
        self._appended += 1
        if self._appended % RENEW == 0:
            self.compact()
        return name

    def _exists(self, obs_id: RunId) -> FileExistsError:
        return FileExistsError(
            f"{self.name} holds a run {obs_id!r}: pass overwrite=True to replace it, or give another obs_id"
        )

    def remove(self, obs_id: RunId) -> None:
        """Take a run out of the archive, in one step; `clean` frees its space."""
        key = key_of(id_of(obs_id))
        if not self._objects.has(f"{INDEX}/{key}.json"):
            raise KeyError(f"{self.name} holds no run {obs_id!r}")
        self._objects.delete([f"{INDEX}/{key}.json"])
        self._entries.pop(key, None)
        self.damaged.pop(name_of(key), None)

    def clean(self, older_than: Value = "1 day") -> list[str]:
        """Delete what interrupted appends, replaced and removed runs have left.

        Parameters
        ----------
        older_than : time, s
            What was written later may be an append at work, and is left alone.

        Returns
        -------
        list of str
            Folders that were deleted.
        """
        seconds = value_in(older_than, "s")
        if not seconds >= 0:
            raise SchemaError(f"older_than: {older_than!r} found, a time of 0 s or more accepted")
        left = garbage(self._objects, seconds)
        for keys in left.values():
            remove_group(self._objects, keys)
        self._objects.prune(RUNS)
        return list(left)

    def compact(self) -> None:
        """Renew the copy of the index with which a large archive opens in few requests; done by itself now and then."""
        write_snapshot(self._objects)

    # -- looking up ---------------------------------------------------------------------------------------------------

    @property
    def ids(self) -> list[RunId]:
        """Ids of the runs: numbers first, then texts."""
        return [entry.obs_id for entry in self._entries.values()]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[RunId]:
        return iter(self.ids)

    def __contains__(self, obs_id: object) -> bool:
        try:
            return key_of(id_of(obs_id)) in self._entries
        except SchemaError:
            return False

    def __getitem__(self, obs_id: RunId) -> xr.Dataset:
        """Open a run lazily; FormatError names it if it is damaged."""
        return open_run(self._objects, self._run(obs_id), self._chunks)

    def _run(self, obs_id: RunId) -> Run:
        key = key_of(id_of(obs_id))
        if key not in self._entries:
            if name_of(key) in self.damaged:
                raise FormatError(f"{self.name}: run {obs_id!r}: {self.damaged[name_of(key)]}")
            raise KeyError(f"{self.name} holds no run {obs_id!r}; it has {len(self)} runs, see its ids")
        return Run.of(self._entries[key])

    @property
    def index(self) -> xr.Dataset:
        """What the index knows, as a table on ``obs``.

        Examples
        --------
        >>> import tempfile, xonoff
        >>> archive = Archive.create(tempfile.mkdtemp() + "/runs.zarr")
        >>> _ = archive.append(xonoff.tutorial.dataset(), obs_id=1)
        >>> archive.index.livetime.item(), archive.index.energy_max.item()
        (3350.0, 50.0)
        """
        return table(list(self._entries.values()), self.name)

    def select(
        self,
        cone: tuple[Position, Value] | None = None,
        time: tuple[Any, Any] | None = None,
        obs_id: Any = None,
        *,
        by: str = "footprint",
    ) -> "Archive":
        """Runs that fulfil all of some conditions, as an archive of fewer runs; reads nothing.

        Parameters
        ----------
        cone : (position, radius), optional
            Position as SkyCoord or (lon, lat) in ICRS, and angle.
        time : (start, stop), optional
            Runs that overlap with it; either may be None. Texts, datetime64 on the TT clock, or astropy Times.
        obs_id : id or list of ids, optional
            A KeyError names those that are not there.
        by : {"footprint", "pointing"}
            What has to be in the cone: any part of the map, or the pointing.

        Returns
        -------
        Archive
            Damaged runs may belong to it as long as no ids exclude them, so they stay in `damaged`.
        """
        entries = list(self._entries.values())
        keep = np.ones(len(self), bool)
        damaged = dict(self.damaged)
        if by not in ("footprint", "pointing"):
            raise SchemaError(f"by: {by!r} found, 'footprint' or 'pointing' accepted")
        if cone is not None:
            keep &= in_cone(entries, cone, by)
        if time is not None:
            keep &= in_time(entries, time)
        if obs_id is not None:
            wanted = {key_of(id_of(one)): one for one in _several(obs_id)}
            missing = [one for key, one in wanted.items() if key not in self._entries]
            damaged = {name: why for name, why in damaged.items() if key_of(name) in wanted}
            if missing := [one for one in missing if str(one) not in damaged]:
                raise KeyError(f"{self.name} holds no run {', '.join(map(repr, missing[:10]))}")
            keep &= np.array([key in wanted for key in self._entries], bool)
        chosen = {key: entry for (key, entry), kept in zip(self._entries.items(), keep, strict=True) if kept}
        return type(self)(self._objects, chosen, damaged, self._chunks)

    # -- using --------------------------------------------------------------------------------------------------------

    def to_datatree(self) -> xr.DataTree:
        """Return all runs as the children of one tree, lazily; odd letters of an id are escaped in its name."""
        return xr.DataTree.from_dict({key: self[entry.obs_id] for key, entry in self._entries.items()}, name="archive")

    def check(self, *, data: bool = False) -> dict[RunId, str]:
        """Look for damage.

        Parameters
        ----------
        data : bool
            Read all data and check every checksum; else the metadata only.

        Returns
        -------
        dict
            Ids of damaged runs, and what is wrong.
        """
        faults = dict(self.damaged)
        for entry in tqdm(self._entries.values(), desc="check", unit="run", disable=None):
            if fault := check_run(self._objects, Run.of(entry), data):
                faults[entry.obs_id] = fault
        return faults

    def stack(
        self,
        geom: Geom,
        selection: "Archive | Iterable[RunId] | None" = None,
        *,
        out: Any,
        tile: int | None = None,
        restart: bool = False,
        client: Any = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> xr.Dataset:
        """Stack runs into a cube that may be larger than memory, tile by tile; the same call resumes it after a kill.

        Parameters
        ----------
        geom : Geom
            Geometry of the cube.
        selection : Archive or ids, optional
            Runs to stack, as `select` gives them; by default all of this archive.
        out : path, URL, obstore store or fsspec mapper
            Zarr store to write. It opens when all of it is there.
        tile : int, optional
            Pixels along the sides of a tile, which is a chunk of the store; by default about 16 MiB.
        restart : bool
            Throw away an unfinished stack of other runs, or with other parameters, that is there.
        client : distributed.Client, optional
            Runs the tiles; by default the client that is active, or else this process, one tile after the other.
        storage_options : dict, optional
            Of a URL.

        Returns
        -------
        Dataset
            The cube, lazy; bit for bit what `xonoff.stack` makes of the same runs, and the attribute ``provenance``.

        Raises
        ------
        FormatError
            If a run is damaged, which it names; also if the selection may contain one of `damaged`.
        FileExistsError
            If there is something else at ``out``.
        """
        runs = (
            self
            if selection is None
            else selection
            if isinstance(selection, Archive)
            else self.select(obs_id=selection)
        )
        if runs.damaged:
            raise FormatError(
                f"{self.name}: the selection may contain {len(runs.damaged)} damaged runs, "
                f"{', '.join(map(repr, list(runs.damaged)[:5]))}: append them again with overwrite=True, remove them, "
                "or leave them out with archive.select(obs_id=archive.ids)"
            )
        target = open_objects(out, storage_options)
        plan = survey.Plan.of(runs._objects, [Run.of(entry) for entry in runs._entries.values()], geom, tile)
        return survey.stack(plan, target, restart=restart, client=client, chunks=self._chunks)

    # -- showing ------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<Archive of {', '.join(self._summary())}>"

    def _summary(self) -> list[str]:
        return summary(list(self._entries.values()), len(self.damaged))

    def _repr_html_(self) -> str:
        return html(self.name, list(self._entries.values()), self.damaged)


def _own_id(ds: xr.Dataset) -> Any:
    found: Any = np.unique(ds["obs_id"].values.astype(np.dtypes.StringDType())) if "obs_id" in ds.variables else []
    if len(found) == 1:
        return np.atleast_1d(ds["obs_id"].values)[0]
    raise SchemaError(f"{len(found)} values of obs_id found, one is wanted as the name of the run: give obs_id=...")


def _several(obs_id: Any) -> list[Any]:
    if isinstance(obs_id, str | int | np.integer):
        return [obs_id]
    return list(np.asarray(obs_id.values if isinstance(obs_id, xr.DataArray) else list(obs_id), object).ravel())
