from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xonoff.axes import axis_coords, axis_edges, bin_centers, check_edges, energy_edges
from xonoff.errors import GeometryError, SchemaError

EDGES = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=20, unique=True).map(sorted)


@settings(deadline=None)
@given(EDGES)
def test_edges_come_back_to_the_last_bit(edges: list[float]) -> None:
    ds = xr.Dataset(coords=axis_coords("energy", edges))
    assert axis_edges(ds, "energy").tolist() == edges
    assert (ds["energy"].values >= ds["energy_bounds"].values[:, 0] * (1 - 1e-15)).all()
    assert (ds["energy"].values <= ds["energy_bounds"].values[:, 1] * (1 + 1e-15)).all()


@settings(deadline=None)
@given(EDGES, st.data())
def test_a_slice_keeps_its_own_edges(edges: list[float], data: st.DataObject) -> None:
    lo = data.draw(st.integers(0, len(edges) - 2))
    hi = data.draw(st.integers(lo + 1, len(edges) - 1))
    ds = xr.Dataset(coords=axis_coords("energy", edges)).isel(energy=slice(lo, hi))
    assert axis_edges(ds, "energy").tolist() == edges[lo : hi + 1]


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-6, 1.0), st.floats(1.001, 1e6), st.integers(1, 50))
def test_energy_edges_meet_both_ends_exactly(lo: float, ratio: float, n: int) -> None:
    edges = energy_edges(lo, lo * ratio, n=n)
    assert (edges[0], edges[-1], len(edges)) == (lo, lo * ratio, n + 1)
    np.testing.assert_allclose(np.diff(np.log(edges)), np.log(ratio) / n, rtol=1e-6)


def test_centers_are_logarithmic_for_energies_only() -> None:
    bounds = np.array([[1.0, 100.0]])
    assert bin_centers("energy_true", bounds).tolist() == [10.0]
    assert bin_centers("rad", bounds).tolist() == bin_centers("migra", bounds).tolist() == [50.5]
    assert bin_centers("energy", np.array([[1e-200, 1e-180]])) == pytest.approx([1e-190], rel=1e-12, abs=0)


def test_the_axis_says_its_unit_and_bounds() -> None:
    coords = axis_coords("energy", ["100 GeV", "1 TeV"])
    assert coords["energy"].attrs == {"units": "TeV", "bounds": "energy_bounds"}
    assert coords["energy_bounds"].attrs == {}  # CF: those of the axis
    assert coords["energy_bounds"].values.tolist() == [[0.1, 1.0]]


def test_one_bin_picked_out_keeps_its_edges() -> None:
    ds = xr.Dataset(coords=axis_coords("energy", [1, 2, 4])).isel(energy=1)
    assert axis_edges(ds, "energy").tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    "change",
    [
        lambda ds: ds.isel(energy=slice(None, None, 2)),
        lambda ds: ds.isel(energy=slice(None, None, -1)),
        lambda ds: ds.isel(energy=[0, 3]),
        lambda ds: ds.coarsen(energy=2).mean(),
        lambda ds: ds.coarsen(energy=2).max(),
    ],
    ids=["strided", "reversed", "picked", "coarsened", "coarsened_max"],
)
def test_bins_that_do_not_adjoin_are_refused(change: Any) -> None:
    ds = xr.Dataset({"counts": ("energy", np.ones(4))}, coords=axis_coords("energy", [1, 2, 4, 8, 16]))
    with pytest.raises(GeometryError, match="energy: the bins do not adjoin in increasing order"):
        axis_edges(change(ds), "energy")


def test_no_axis_and_no_bins_are_refused() -> None:
    ds = xr.Dataset(coords=axis_coords("energy", [1, 2, 4]))
    with pytest.raises(GeometryError, match="has no 'rad_bounds': add the axis"):
        axis_edges(ds, "rad")
    with pytest.raises(GeometryError, match="energy: no bin is left"):
        axis_edges(ds.isel(energy=slice(0)), "energy")


@pytest.mark.parametrize("edges", [[], [1], 5.0, [1, np.nan], [1, np.inf], [[1, 2], [3, 4]]])
def test_edges_are_finite_and_at_least_two(edges: Any) -> None:
    with pytest.raises(GeometryError, match="energy: at least two finite edges are wanted"):
        check_edges("energy", edges)


@pytest.mark.parametrize(
    ("name", "edges"), [("energy", [2, 1]), ("energy", [1, 1]), ("energy", [0, 1]), ("rad", [-1, 1])]
)
def test_edges_increase_from_zero(name: str, edges: list[float]) -> None:
    with pytest.raises(GeometryError, match=f"{name}: strictly increasing edges (not below|above) 0"):
        check_edges(name, edges)


def test_offsets_may_begin_at_zero() -> None:
    assert check_edges("rad", [0, 0.5]).tolist() == check_edges("migra", [0, 0.5]).tolist() == [0.0, 0.5]


@pytest.mark.parametrize(
    ("lo", "hi", "n"), [(1, 1, 3), (0, 1, 3), (-1, 1, 3), (1, 2, 0), (1, np.inf, 2), (np.nan, 1, 2)]
)
def test_energy_edges_refuse_nonsense(lo: float, hi: float, n: int) -> None:
    with pytest.raises(GeometryError, match="0 < lo < hi and n >= 1 are wanted"):
        energy_edges(lo, hi, n=n)


def test_energies_in_degrees_are_refused() -> None:
    with pytest.raises(SchemaError, match="TeV"):
        energy_edges("1 deg", "2 TeV", n=3)
