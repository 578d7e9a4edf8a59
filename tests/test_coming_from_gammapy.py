"""The page for those who know gammapy: its tables are up to date, and every name on either side exists."""

import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xonoff

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "docs" / "tools" / "gammapy_names.py"
NO_GAMMAPY = "gammapy is not in this environment: make bench has one of its own"

#: Where a class of the last table is in gammapy.
PLACES = {
    **dict.fromkeys(("Datasets", "MapDatasetOnOff"), "gammapy.datasets"),
    **dict.fromkeys(("WcsGeom", "MapAxis"), "gammapy.maps"),
    **dict.fromkeys(("RingBackgroundMaker", "AdaptiveRingBackgroundMaker"), "gammapy.makers"),
    "ReflectedRegionsBackgroundMaker": "gammapy.makers",
    **dict.fromkeys(("ExcessMapEstimator", "TSMapEstimator", "FluxPointsEstimator"), "gammapy.estimators"),
    "Fit": "gammapy.modeling",
    "Models": "gammapy.modeling.models",
    "WStatCountsStatistic": "gammapy.stats",
    "find_peaks": "gammapy.estimators.utils",
}


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gammapy_names", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NAMES = tool()
MEMBERS = [row for rows in NAMES.MEMBERS.values() for row in rows]
ROWS = [*MEMBERS, *NAMES.GONE, *NAMES.AROUND]


def quoted(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]*)`", text)


def lookup(name: str, ds: xr.Dataset) -> Any:
    """Object that a dotted name of ours stands for, modules imported on the way."""
    first, *rest = name.split(".")
    found: Any = {"ds": ds, "xonoff": xonoff}[first]
    path = first
    for part in rest:
        path = f"{path}.{part}"
        if isinstance(found, ModuleType) and not hasattr(found, part):
            found = importlib.import_module(path)
        elif found is ds and part in ds.variables:
            found = ds[part]
        elif part in dir(type(found)):  # without computing a property
            found = getattr(type(found), part) if part != "onoff" else found.onoff
        else:
            found = getattr(found, part)
    return found


@pytest.fixture
def full(ds: xr.Dataset) -> xr.Dataset:
    """A dataset with every variable of the data model."""
    return ds.assign(mask_fit=ds.mask_safe, background=ds.counts * 0.0)


def test_the_page_is_up_to_date() -> None:
    text = NAMES.PAGE.read_text()
    assert NAMES.page(text) == text, f"run python {TOOL.relative_to(ROOT)}"


def test_the_tables_have_room_for_themselves_only() -> None:
    for row in ROWS:
        assert "|" not in "".join(row), row
    assert len({row.name for row in MEMBERS}) == len(MEMBERS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_our_names_exist(row: Any, full: xr.Dataset) -> None:
    names = [name for name in quoted(row.ours + row.differs) if re.fullmatch(r"(ds|xonoff)(\.\w+)+", name)]
    assert names or row.ours.startswith(("not needed", "variables on `obs`", "`ds.attrs")), row
    for name in names:
        lookup(name, full)


def test_a_name_that_is_made_up_is_found_out(full: xr.Dataset) -> None:
    for name in ("ds.onoff.excesss", "xonoff.stacked", "ds.countss", "xonoff.io.model_yaml.read_model"):
        with pytest.raises((AttributeError, ModuleNotFoundError)):
            lookup(name, full)


def test_code_in_the_page_names_what_exists(full: xr.Dataset) -> None:
    found = set(re.findall(r"\b((?:ds\.onoff|xonoff)(?:\.[a-zA-Z_]\w*)+)", NAMES.PAGE.read_text()))
    assert len(found) > 60
    for name in found:
        parts = name.split(".")
        depth = 3 if parts[0] == "ds" else 4 if parts[1] in ("io", "stats", "psf", "masks") else 2
        lookup(".".join(parts[:depth]), full)


# -- the other side ---------------------------------------------------------------------------------------------------


def test_every_name_of_the_class_is_in_the_table() -> None:
    datasets = pytest.importorskip("gammapy.datasets", reason=NO_GAMMAPY)
    instance = datasets.MapDatasetOnOff(name="x")
    public = {name for name in {*dir(datasets.MapDatasetOnOff), *vars(instance)} if not name.startswith("_")}
    assert public == {row.name for row in MEMBERS}


@pytest.mark.parametrize("row", NAMES.AROUND, ids=lambda row: row.name)
def test_names_around_the_class_exist(row: Any) -> None:
    pytest.importorskip("gammapy.datasets", reason=NO_GAMMAPY)
    for name in quoted(row.name):
        first, *rest = name.split(".")
        found = getattr(importlib.import_module(PLACES[first]), first)
        for part in rest:
            found = getattr(found, part)


def peer(**maps: float) -> Any:
    """Dataset of gammapy of one pixel and two energies, with the same values in all bins or a list of two."""
    datasets = pytest.importorskip("gammapy.datasets", reason=NO_GAMMAPY)
    maps_module = importlib.import_module("gammapy.maps")
    axis = maps_module.MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2)
    geom = maps_module.WcsGeom.create(npix=1, binsz=1, axes=[axis])
    arrays = {key: maps_module.Map.from_geom(geom, dtype="float32") for key in maps}
    for key, value in maps.items():
        arrays[key].data[:, 0, 0] = value
    mask = maps_module.Map.from_geom(geom, dtype=bool)
    mask.data[...] = True
    return datasets.MapDatasetOnOff(**arrays, mask_safe=mask, name="x")


def ours(**arrays: Any) -> xr.Dataset:
    geom = xonoff.Geom.create((0, 0), width=1, pixel_size=1, energy=[1, 10, 100])
    ds = xonoff.create(geom, energy_true=[1, 10, 100])
    values = {key: (ds.counts.dims, np.reshape(value, (2, 1, 1))) for key, value in arrays.items()}
    return ds.assign(values | {"mask_safe": ds.mask_safe | True})


def test_alpha_without_off_exposure() -> None:
    bins: dict[str, Any] = {"counts": [5, 5], "counts_off": [3, 3], "acceptance": [1, 1], "acceptance_off": [0, 10]}
    with np.errstate(all="ignore"):
        dataset = peer(**bins)
        assert dataset.alpha.data[0, 0, 0] > 1e38
        assert np.isneginf(dataset.excess.data[0, 0, 0])
        nothing = peer(**bins | {"acceptance": [0, 1]})  # 0 / 0 becomes 0, and WStat with it
        assert nothing.alpha.data[0, 0, 0] == nothing.stat_array()[0, 0, 0] == 0
    for acceptance in ([1, 1], [0, 1]):
        ds = ours(**bins | {"acceptance": acceptance})
        assert np.isnan(ds.onoff.alpha.values.ravel()[0])
        assert np.isnan(ds.onoff.wstat().values.ravel()[0])
    assert ours(**bins).onoff.wstat().values.ravel()[1] == pytest.approx(dataset.stat_array()[1, 0, 0], rel=1e-6)


def test_alpha_of_stacks_without_off_counts() -> None:
    bins: dict[str, Any] = {"counts": [5, 5], "counts_off": [30, 0], "acceptance": [1, 9], "acceptance_off": [10, 10]}
    stacked = peer(**bins)
    stacked.stack(peer(**bins))
    np.testing.assert_allclose(stacked.alpha.data.ravel(), [0.1, 0.1], rtol=1e-6)  # 0.9 was true
    result = xonoff.stack([ours(**bins), ours(**bins)])
    np.testing.assert_allclose(result.onoff.alpha.values.ravel(), [0.1, 0.9], rtol=1e-6)
    assert result.onoff.excess.sum().item() == pytest.approx(np.nansum(stacked.excess.data), rel=1e-6)


def test_the_profiled_background_is_the_same() -> None:
    bins: dict[str, Any] = {"counts": [5, 0], "counts_off": [20, 7], "acceptance": [1, 1], "acceptance_off": [10, 10]}
    dataset, ds = peer(**bins), ours(**bins)
    for name in ("npred_background", "npred_off"):
        expected = getattr(dataset, name)().data.ravel()
        np.testing.assert_allclose(getattr(ds.onoff, name)().values.ravel(), expected, rtol=1e-6)
    assert ds.onoff.npred_background().values.ravel()[0] == pytest.approx(2.2727, abs=1e-4)


def test_padding_is_not_there() -> None:
    with pytest.raises(NotImplementedError):
        peer(counts=1.0).pad()
