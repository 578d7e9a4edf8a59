"""Projects: several datasets and their models, as a YAML file beside the files of the datasets.

The YAML is that of gammapy: a list ``datasets`` of entries with ``name``, ``type`` and ``filename``. The models of a
dataset, JSON in ``ds.attrs["models"]``, which FITS has no place for, are in its entry under ``models``. A file is
untrusted: only names of files in its own folder are followed.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from xonoff.errors import FormatError, SchemaError
from xonoff.geometry import sky_dims
from xonoff.io import fits, ogip, store
from xonoff.io.atomic import replacing
from xonoff.io.backend import open_dataset

__all__ = ["from_dict", "open_datasets", "save_datasets", "to_dict"]

PathLike = str | os.PathLike[str]
SUFFIXES = {"fits": ".fits", "netcdf": ".nc", "zarr": ".zarr"}
TYPES = ("MapDatasetOnOff", "MapDataset", "SpectrumDatasetOnOff", "SpectrumDataset")
MAX_BYTES = 16 << 20  # of a project file


def to_dict(ds: xr.Dataset, filename: str = "") -> dict[str, Any]:
    """Entry of a dataset in a project: its name, its type in gammapy's words, its file, its models.

    Examples
    --------
    >>> import xonoff
    >>> to_dict(xonoff.tutorial.dataset(), "crab.fits")
    {'name': 'tutorial', 'type': 'MapDatasetOnOff', 'filename': 'crab.fits'}
    """
    kind = "MapDataset" if sky_dims(ds) or "wcs" in ds.coords else "SpectrumDataset"
    off = "OnOff" if "counts_off" in ds or "acceptance" in ds else ""
    entry: dict[str, Any] = {"name": str(ds.attrs.get("name") or ""), "type": kind + off, "filename": filename}
    if ds.attrs.get("models"):
        entry["models"] = _parsed(ds.attrs["models"], entry["name"])
    return entry


def from_dict(
    data: Mapping[str, Any],
    components: Iterable[Mapping[str, Any]] | None = None,
    models: Iterable[Mapping[str, Any]] | None = None,
    *,
    folder: PathLike = ".",
    chunks: Any = None,
) -> xr.Dataset:
    """Open the dataset of an entry of a project.

    Parameters
    ----------
    data : mapping
        With ``filename`` and, if it is to be renamed, ``name``; as made by `to_dict`.
    components, models : iterable of mapping, optional
        Models as dicts, both taken together. One that lists ``datasets_names`` belongs to these datasets only. They are
        kept in ``attrs["models"]``, after those of the entry itself.
    folder : path
        Where the file is.
    chunks
        As for `xonoff.open_dataset`.

    Raises
    ------
    FormatError
        If a key is missing or odd, or the file is not in the folder.

    Examples
    --------
    >>> import tempfile, xonoff
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     xonoff.tutorial.dataset().onoff.to_netcdf(f"{folder}/crab.nc")
    ...     ds = from_dict({"name": "crab", "filename": "crab.nc"}, folder=folder).load()
    >>> ds.onoff.name
    'crab'
    """
    if not isinstance(data, Mapping):
        raise FormatError(f"entry of a dataset: a {type(data).__name__} found, a mapping with a filename accepted")
    name = data.get("name", "")
    if not isinstance(name, str):
        raise FormatError(f"entry of a dataset: name {name!r} found, text accepted")
    kind = data.get("type", "MapDatasetOnOff")
    if kind not in TYPES:
        raise FormatError(f"dataset {name!r}: type {kind!r} found, {', '.join(TYPES)} accepted")
    ds = open_dataset(_inside(Path(folder), data.get("filename"), name), chunks=chunks)
    found = _list_of_mappings(data.get("models") or [], f"dataset {name!r}: models")
    for given in (components, models):
        listed = _list_of_mappings(list(given or []), "models")
        found += [model for model in listed if name in _names(model.get("datasets_names"), name)]
    attrs = dict(ds.attrs) | ({"name": name} if name else {}) | ({"models": json.dumps(found)} if found else {})
    ds.attrs = attrs
    return ds


def open_datasets(path: PathLike | Iterable[PathLike], *, chunks: Any = None) -> list[xr.Dataset]:
    """Open several datasets.

    Parameters
    ----------
    path : path or iterable of path
        A project, as written by `save_datasets` or by gammapy; or the files of the datasets, OGIP spectra for example.
    chunks
        As for `xonoff.open_dataset`.

    Raises
    ------
    FormatError
        If the project is no such file; names the file, and the key at fault.

    Examples
    --------
    >>> import tempfile, xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_datasets([ds, ds.onoff.copy("twin")], f"{folder}/project.yaml")
    ...     [opened.onoff.name for opened in open_datasets(f"{folder}/project.yaml")]
    ['tutorial', 'twin']
    """
    if not isinstance(path, str | os.PathLike):
        return [open_dataset(each, chunks=chunks) for each in path]
    path = Path(path)
    content = _read_yaml(path)
    entries = content.get("datasets")
    if not isinstance(entries, list) or not entries:
        raise FormatError(f"{path}: key datasets: {type(entries).__name__} found, a list of datasets accepted")
    components = _list_of_mappings(content.get("components") or [], f"{path}: key components")
    out = []
    for number, entry in enumerate(entries, 1):
        try:
            out.append(from_dict(entry, components, folder=path.parent, chunks=chunks))
        except FormatError as error:
            raise FormatError(f"{path}: datasets, entry {number}: {error}") from error
    return out


def save_datasets(
    datasets: Sequence[xr.Dataset], path: PathLike, *, format: str = "fits", overwrite: bool = False
) -> None:
    """Write several datasets and their models as a project.

    Everything is checked before anything is written, and the project itself is written last: until then a project of
    this name opens as before, as long as its files are not overwritten.

    Parameters
    ----------
    datasets : sequence of Dataset
        With names of their own; dask datasets are computed.
    path : path
        The YAML file. The datasets are put beside it, as ``<stem>_<name>``.
    format : {"fits", "netcdf", "zarr"}
        Of the datasets; spectra in "fits" are OGIP files.
    overwrite : bool
        Replace existing files; otherwise they are refused.

    Raises
    ------
    SchemaError
        If there is no dataset, or two have one name.
    FileExistsError
        If a file exists.
    """
    import yaml

    path = Path(path)
    if path.suffix not in (".yaml", ".yml"):
        raise FormatError(f"{path}: not written: a project is a YAML file, name it .yaml")
    if format not in SUFFIXES:
        raise SchemaError(f"format {format!r} found, {', '.join(map(repr, SUFFIXES))} accepted")
    if not isinstance(datasets, list | tuple) or not datasets:
        raise SchemaError(f"{path}: not written: a list of datasets is wanted, {type(datasets).__name__} found")
    names = [str(ds.attrs.get("name") or "") for ds in datasets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not all(names):
        what = f"the name {twice[0]!r} is there twice" if twice and twice[0] else "a dataset has no name"
        raise SchemaError(f"{path}: not written: {what}: give names with ds.onoff.copy(name)")
    files = _file_names(names, path.stem, format, datasets)
    existing = [file for file in (path.name, *files) if (path.parent / file).exists()]
    if existing and not overwrite:
        raise FileExistsError(f"{path.parent / existing[0]} exists: use overwrite=True, or another name")
    content = {"datasets": [to_dict(ds, file) for ds, file in zip(datasets, files, strict=True)]}
    text = yaml.safe_dump(content, sort_keys=False)
    written: list[Path] = []
    try:
        for ds, file in zip(datasets, files, strict=True):
            _writer(ds, format)(ds, path.parent / file, overwrite=overwrite)
            written.append(path.parent / file)
        with replacing(path, overwrite) as part:
            part.write_text(text)
    except BaseException:
        for target in written if not existing else ():  # nothing was there before, so nothing stays
            _remove(target)
        raise


def _writer(ds: xr.Dataset, format: str) -> Any:
    if format == "fits":
        return fits.to_fits if sky_dims(ds) or "wcs" in ds.coords else ogip.to_ogip
    return store.to_netcdf if format == "netcdf" else store.to_zarr


def _remove(path: Path) -> None:
    import shutil

    if path.is_dir():
        shutil.rmtree(path)
        return
    for part in (path, *(path.with_name(f"{path.stem}_{key}{path.suffix}") for key in ("bkg", "arf", "rmf"))):
        part.unlink(missing_ok=True)


def _file_names(names: Sequence[str], stem: str, format: str, datasets: Sequence[xr.Dataset]) -> list[str]:
    """Names of files, which may only hold letters that every file system takes; equal ones are numbered."""
    out: list[str] = []
    for name in names:
        base = f"{stem}_{re.sub(r'[^A-Za-z0-9.+-]+', '_', name).strip('._') or 'dataset'}"
        file, number = f"{base}{SUFFIXES[format]}", 2
        while file.lower() in (other.lower() for other in out):
            file, number = f"{base}_{number}{SUFFIXES[format]}", number + 1
        out.append(file)
    return out


def _read_yaml(path: Path) -> Mapping[str, Any]:
    import yaml

    if path.stat().st_size > MAX_BYTES:
        raise FormatError(f"{path}: {path.stat().st_size} bytes found, up to {MAX_BYTES} accepted for a project")
    try:
        text = path.read_text(encoding="utf-8")
        if re.search(r"(^|[\s\[{,:-])[&*][A-Za-z0-9_]", text):
            raise FormatError(f"{path}: anchors and aliases (& and *) are not accepted in a project: write values out")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{path}: this is no YAML: {str(error)[:300]}") from error
    if not isinstance(content, dict):
        raise FormatError(f"{path}: a {type(content).__name__} found, a mapping with the key datasets accepted")
    return content


def _inside(folder: Path, filename: Any, name: str) -> Path:
    """Path of a file that has to be in a folder."""
    if not isinstance(filename, str) or not filename:
        raise FormatError(f"dataset {name!r}: filename {filename!r} found, the name of a file in the folder accepted")
    path = folder / filename
    if Path(filename).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        raise FormatError(
            f"dataset {name!r}: filename {filename!r} leaves the folder of the project: move the file there"
        )
    if not path.exists():
        raise FormatError(f"dataset {name!r}: there is no file {filename!r} in {folder}: copy it there")
    return path


def _list_of_mappings(value: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise FormatError(f"{what}: {str(value)[:80]!r} found, a list of mappings accepted")
    return [dict(item) for item in value]


def _names(value: Any, default: str) -> list[str]:
    """Names of the datasets that a model belongs to; all of them if it names none."""
    return [default] if value is None else [value] if isinstance(value, str) else list(value)


def _parsed(models: Any, name: str) -> list[dict[str, Any]]:
    try:
        return _list_of_mappings(json.loads(models), f"dataset {name!r}: attrs['models']")
    except (TypeError, ValueError) as error:
        raise SchemaError(f"dataset {name!r}: attrs['models'] is no JSON list of models: {error}") from error
