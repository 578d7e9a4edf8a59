"""Projects: several datasets and their models, as a YAML file beside the files of the datasets.

The YAML is that of gammapy: a list ``datasets`` of entries with ``name``, ``type`` and ``filename``. The models of a
dataset, JSON in ``ds.attrs["models"]``, are in its entry under ``models``, or, as gammapy has them, in a second YAML
file (`xonoff.io.model_yaml`); where a file of a dataset has models of its own, the YAML decides. A file is untrusted:
only names of files in its own folder are followed. Spectra are OGIP files; gammapy's own layout of spectra, of
gamma-astro-data-formats, is refused.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from xonoff.errors import FormatError, SchemaError, XonoffError
from xonoff.geometry import sky_dims
from xonoff.io import fits, ogip, store
from xonoff.io.atomic import replacing_together
from xonoff.io.backend import open_dataset
from xonoff.io.ogip_files import COMPANIONS, companion_name
from xonoff.io.project_checks import inside_folder, plain, plain_models
from xonoff.io.yamlfile import at, read_yaml, yaml_text

if TYPE_CHECKING:
    from xonoff.io.model_yaml import Assigned
    from xonoff.models import SkyModel

__all__ = ["from_dict", "open_datasets", "save_datasets", "to_dict"]

PathLike = str | os.PathLike[str]
SUFFIXES = {"fits": ".fits", "netcdf": ".nc", "zarr": ".zarr"}
TYPES = ("MapDatasetOnOff", "MapDataset", "SpectrumDatasetOnOff", "SpectrumDataset")
MAX_STEM, MAX_NAME = 70, 140  # letters of the names of files, so that temporary names with more in them are valid


def to_dict(ds: xr.Dataset, filename: str = "") -> dict[str, Any]:
    """Entry of a dataset in a project: its name, its type in gammapy's words, its file, its models.

    Parameters
    ----------
    ds : Dataset
    filename : str

    Returns
    -------
    dict

    Examples
    --------
    >>> import xonoff
    >>> to_dict(xonoff.tutorial.dataset(), "crab.fits")
    {'name': 'tutorial', 'type': 'MapDatasetOnOff', 'filename': 'crab.fits'}
    """
    entry: dict[str, Any] = {"name": str(ds.attrs.get("name") or ""), "type": _type(ds), "filename": filename}
    if ds.attrs.get("models"):
        entry["models"] = _parsed(ds.attrs["models"], entry["name"])
    return entry


def _is_map(ds: xr.Dataset) -> bool:
    return bool(sky_dims(ds)) or "wcs" in ds.coords


def _type(ds: xr.Dataset) -> str:
    kind = "MapDataset" if _is_map(ds) else "SpectrumDataset"
    return kind + ("OnOff" if "counts_off" in ds or "acceptance" in ds else "")


def _parsed(models: Any, name: str) -> Any:
    """Models of the attribute, for an entry: a list, or the mapping with such a list of `xonoff.models.to_json`."""
    where = f"dataset {name!r}: attrs['models']"
    try:
        parsed = json.loads(models)
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaError(f"{where} is no JSON list of models: {error}") from error
    try:
        head, found = _headed(parsed, where)
    except FormatError as error:
        raise SchemaError(str(error)) from error
    return {**head, "models": found} if head else found


def _headed(value: Any, what: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Models, and what stands beside them if they are in a mapping."""
    if isinstance(value, Mapping) and "models" in value:
        head = plain({key: item for key, item in value.items() if key != "models"}, what)
        return head, plain_models(value["models"], f"{what}: key models")
    return {}, plain_models(value, what)


def from_dict(
    data: Mapping[str, Any],
    components: Iterable[Mapping[str, Any]] | None = None,
    models: "Iterable[Mapping[str, Any] | SkyModel] | None" = None,
    *,
    folder: PathLike = ".",
    chunks: Any = None,
    round_counts_off: bool = True,
    checksum: bool = False,
) -> xr.Dataset:
    """Open the dataset of an entry of a project.

    Parameters
    ----------
    data : mapping
        With ``filename`` and, if it is to be renamed, ``name``; as made by `to_dict`. A ``type`` has to be that of what
        is in the file.
    components, models : iterable of mapping or SkyModel, optional
        Models, both taken together: dicts as gammapy writes them, see `xonoff.io.model_yaml.models_from_dict`, or sky
        models. A dict that lists ``datasets_names`` belongs to these datasets only. They come after those of the entry
        itself. Models in the file itself are not taken.
    folder : path
        Where the file is.
    chunks, round_counts_off, checksum
        As for `xonoff.open_dataset`.

    Returns
    -------
    Dataset

    Raises
    ------
    FormatError
        If a key is missing or odd, the file is not in the folder, or holds another type of dataset.
    ModelError
        If xonoff has no such model, or two have one name.

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
    kind = data.get("type")
    if "type" in data and kind not in TYPES:
        raise FormatError(f"dataset {name!r}: type {kind!r} found, {', '.join(TYPES)} accepted")
    path = inside_folder(Path(folder), data.get("filename"), name)
    head, own = _headed(data.get("models") or [], f"dataset {name!r}: models")
    given = [*_given(components, "components"), *_given(models, "models")]
    ds = open_dataset(path, chunks=chunks, round_counts_off=round_counts_off, checksum=checksum)
    if kind:
        _check_type(ds, kind, name, path)
    ds.attrs = {key: value for key, value in ds.attrs.items() if key != "models"} | ({"name": name} if name else {})
    if own or head:
        ds.attrs["models"] = json.dumps({**head, "models": own} if head else own)
    return _with_models(ds, given)


def _given(value: Any, what: str) -> "list[Assigned]":
    """Models of an argument or key."""
    if value is None:
        return []
    from xonoff.io.model_yaml import assigned_models  # here, for importing astropy.modeling takes long

    with at(what):
        return assigned_models(_listed(value))


def _with_models(ds: xr.Dataset, given: "Sequence[Assigned]", *, replace: bool = False) -> xr.Dataset:
    """Dataset that carries those of some models that belong to it: besides its own, or in their place."""
    if not given and not replace:
        return ds
    from xonoff.io.model_yaml import belonging
    from xonoff.models import assign_models, models_of

    name = str(ds.attrs.get("name") or "")
    found = belonging(given, name)
    with at(f"dataset {name!r}"):
        if found and not replace:
            found = [*models_of(ds), *found]
        return assign_models(ds, found) if found or replace else ds


def _listed(value: Any) -> Any:
    """A list of what can be listed, but for text and mappings, which are no lists of models."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str | Mapping) else value


def _check_type(ds: xr.Dataset, kind: str, name: str, path: Path) -> None:
    """Hold the type of an entry against what the file holds; a spectrum without off counts may be of either type."""
    holds = _type(ds)
    off = "counts_off" in ds, holds.endswith("OnOff") or not _is_map(ds)  # has to be on/off, may be
    if holds.removesuffix("OnOff") != kind.removesuffix("OnOff") or kind.endswith("OnOff") not in off:
        raise FormatError(
            f"dataset {name!r}: type {kind!r} found, but {path.name} holds a {holds}: correct the type or the filename"
        )


def open_datasets(
    path: PathLike | Iterable[PathLike],
    *,
    models: PathLike | None = None,
    chunks: Any = None,
    round_counts_off: bool = True,
    checksum: bool = False,
) -> list[xr.Dataset]:
    """Open several datasets.

    Parameters
    ----------
    path : path or iterable of path
        A project, as written by `save_datasets`, or by gammapy if it has no spectra, which gammapy writes in a layout
        of its own; or the files of the datasets, OGIP spectra for example.
    models : path, optional
        A YAML file of gammapy's models. Each dataset carries those that name it in ``datasets_names``, or have no such
        list, in the place of any others.
    chunks, round_counts_off, checksum
        As for `xonoff.open_dataset`; with ``checksum=True`` every file is verified.

    Returns
    -------
    list of Dataset

    Raises
    ------
    FormatError
        If the project is no such file, or there are no datasets; names the file, and the entry and key at fault.
    ModelError
        If xonoff has no such model, or two have one name.
    FileNotFoundError
        If there is nothing at a path.

    Examples
    --------
    >>> import tempfile, xonoff
    >>> ds = xonoff.tutorial.dataset()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_datasets([ds, ds.onoff.copy("twin")], f"{folder}/project.yaml")
    ...     [opened.onoff.name for opened in open_datasets(f"{folder}/project.yaml")]
    ['tutorial', 'twin']
    """
    options: dict[str, Any] = {"chunks": chunks, "round_counts_off": round_counts_off, "checksum": checksum}
    given: list[Assigned] = []
    if models is not None:
        from xonoff.io.model_yaml import read_assigned_models

        given = read_assigned_models(models)
    if isinstance(path, str | os.PathLike):
        out = _open_project(Path(path), options)
    else:
        out = [open_dataset(each, **options) for each in _paths(path)]
    return out if models is None else [_with_models(ds, given, replace=True) for ds in out]


def _open_project(path: Path, options: Mapping[str, Any]) -> list[xr.Dataset]:
    accepted = "the path of a project, a YAML file, accepted; files of datasets are given as a list of paths"
    content = read_yaml(path, "datasets", accepted)
    entries = content.get("datasets")
    if not isinstance(entries, list) or not entries:
        found = "an empty list" if entries == [] else type(entries).__name__
        raise FormatError(f"{path}: key datasets: {found} found, a list of datasets accepted")
    given = _given(content.get("components"), f"{path}: components")
    out: list[xr.Dataset] = []
    names: dict[str, int] = {}
    for number, entry in enumerate(entries, 1):
        with at(f"{path}: datasets, entry {number}"):
            out.append(_with_models(from_dict(entry, folder=path.parent, **options), given))
            name = str(out[-1].attrs.get("name") or "")
            if name and names.setdefault(name, number) != number:
                raise FormatError(f"the name {name!r} is that of entry {names[name]} too: give each a name of its own")
    return out


def _paths(paths: Any) -> list[PathLike]:
    """The files of datasets, if it is a list of at least one."""
    accepted = "the path of a project (.yaml) or a list of paths of datasets accepted"
    if not isinstance(paths, Iterable) or isinstance(paths, bytes | Mapping):
        raise FormatError(f"{type(paths).__name__} found, {accepted}")
    out = list(paths)
    for number, path in enumerate(out, 1):
        if not isinstance(path, str | os.PathLike):
            raise FormatError(f"list of paths, entry {number}: {type(path).__name__} found, {accepted}")
    if not out:
        raise FormatError(f"an empty list found, {accepted}")
    return out


def save_datasets(
    datasets: Sequence[xr.Dataset],
    path: PathLike,
    *,
    models: PathLike | None = None,
    format: str = "fits",
    overwrite: bool = False,
) -> None:
    """Write several datasets and their models as a project.

    The files are written in a temporary folder beside the project and take their names when all of them are whole, the
    project itself last. If anything fails before or meanwhile, all is as it was; so datasets that were opened lazily
    from these very files can be saved over them.

    Parameters
    ----------
    datasets : sequence of Dataset
        With names of their own; dask datasets are computed.
    path : path
        The YAML file. The datasets are put beside it, as ``<stem>_<name>``, shortened and without odd letters; a number
        tells those apart that would have a file in common.
    models : path, optional
        A second YAML file, beside the first, for the models, as gammapy has them. By default they are in the project
        itself, where gammapy passes over them.
    format : {"fits", "netcdf", "zarr"}
        Of the datasets; spectra in "fits" are OGIP files.
    overwrite : bool
        Replace existing files; otherwise they are refused.

    Raises
    ------
    SchemaError
        If there is no dataset, two have one name, or one cannot be written.
    FormatError
        If a YAML file is not named .yaml or .yml, or is too large.
    ModelError
        If gammapy has no such model, or models of one name differ.
    FileExistsError
        If a file exists.

    Examples
    --------
    >>> import tempfile, xonoff
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_datasets([xonoff.tutorial.dataset()], f"{folder}/crab.yaml", format="netcdf")
    ...     sorted(os.listdir(folder))
    ['crab.yaml', 'crab_tutorial.nc']
    """
    path = Path(path)
    if format not in SUFFIXES:
        raise SchemaError(f"format {format!r} found, {', '.join(map(repr, SUFFIXES))} accepted")
    for each in (path, Path(models or path)):
        if len(os.fsencode(each.name)) > MAX_NAME:
            raise FormatError(f"{each}: not written: a name of up to {MAX_NAME} bytes is accepted: give a shorter one")
    names = _distinct_names(datasets, path)
    files = _file_names(names, path, format, datasets)
    entries = [to_dict(ds, file) for ds, file in zip(datasets, files, strict=True)]
    texts: dict[str, str] = {}
    if models is not None:
        texts[Path(models).name] = _models_text(datasets, Path(models), path)
        entries = [{key: value for key, value in entry.items() if key != "models"} for entry in entries]
    texts[path.name] = yaml_text({"datasets": entries}, path)
    written = [*texts, *(file for ds, main in zip(datasets, files, strict=True) for file in _files_of(ds, main))]
    existing = [file for file in written if os.path.lexists(path.parent / file)]
    if existing and not overwrite:
        raise FileExistsError(f"{path.parent / existing[0]} exists: use overwrite=True, or another name")
    with replacing_together(path, overwrite) as folder:
        for ds, file in zip(datasets, files, strict=True):
            try:
                _writer(ds, format)(ds, folder / file, overwrite=False)
            except XonoffError as error:
                message = str(error).replace(str(folder), str(path.parent))
                raise type(error)(f"{path}: not written: dataset {ds.attrs['name']!r}: {message}") from error
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")


def _models_text(datasets: Sequence[xr.Dataset], path: Path, project: Path) -> str:
    """Text of the file of the models, which has to be another one in the folder of the project."""
    from xonoff.io.model_yaml import models_to_dict
    from xonoff.models import models_of

    if path.parent.resolve() != project.parent.resolve() or path.name.lower() == project.name.lower():
        raise FormatError(f"{path}: not written: a name of its own in the folder of {project} accepted")
    with at(f"{path}: not written"):
        content = models_to_dict({ds.attrs["name"]: models_of(ds) for ds in datasets})
    return yaml_text(content, path)


def _writer(ds: xr.Dataset, format: str) -> Any:
    if format == "fits":
        return fits.to_fits if _is_map(ds) else ogip.to_ogip
    return store.to_netcdf if format == "netcdf" else store.to_zarr


def _distinct_names(datasets: Any, path: Path) -> list[str]:
    """Names of the datasets of a list; every one has to have a name of its own."""
    if not isinstance(datasets, list | tuple) or not datasets:
        found = "an empty one" if isinstance(datasets, list | tuple) else type(datasets).__name__
        raise SchemaError(f"{path}: not written: a list of datasets is wanted, {found} found")
    for number, ds in enumerate(datasets, 1):
        if not isinstance(ds, xr.Dataset):
            raise SchemaError(
                f"{path}: not written: datasets, entry {number}: {type(ds).__name__} found, Dataset accepted"
            )
    names = [str(ds.attrs.get("name") or "") for ds in datasets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not all(names):
        what = f"the name {twice[0]!r} is there twice" if twice and twice[0] else "a dataset has no name"
        raise SchemaError(f"{path}: not written: {what}: give names with ds.onoff.copy(name)")
    return names


def _file_names(names: Sequence[str], path: Path, format: str, datasets: Sequence[xr.Dataset]) -> list[str]:
    """Names of files, of letters that every file system takes; no dataset has a file in common with another."""
    stem = re.sub(r"[^ -~]|[\\/]", "_", path.stem).lstrip(".")[:MAX_STEM]
    taken, out = {path.name.lower()}, []
    for ds, name in zip(datasets, names, strict=True):
        clean = re.sub(r"[^A-Za-z0-9.+-]+", "_", name).strip("._") or "dataset"
        base, number = f"{stem}_{clean}"[:MAX_NAME].rstrip("."), 1
        while True:
            file = f"{base}{f'_{number}' if number > 1 else ''}{SUFFIXES[format]}"
            reserved = {each.lower() for each in _files_of(ds, file, every=True)}
            if not reserved & taken:
                break
            number += 1
        taken |= reserved
        out.append(file)
    return out


def _files_of(ds: xr.Dataset, file: str, *, every: bool = False) -> list[str]:
    """Files that a dataset is written to; for a spectrum in FITS also, if it has them, its companions."""
    if not file.endswith(SUFFIXES["fits"]) or _is_map(ds):
        return [file]
    return [file, *(companion_name(file, part) for part, variable in COMPANIONS.items() if every or variable in ds)]
