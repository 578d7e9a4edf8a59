import numpy as np
import pytest
import xarray as xr

import xonoff
from xonoff.observations import join_observations


def intervals(*pairs: tuple[int, int]) -> xr.Dataset:
    start, stop = (np.array(values, "datetime64[m]").astype("datetime64[ns]") for values in zip(*pairs, strict=True))
    return xr.Dataset(coords={"gti_start": ("gti", start), "gti_stop": ("gti", stop)})


def minutes(joined):
    pair = zip(joined["gti_start"].values, joined["gti_stop"].values, strict=True)
    return [tuple(t.astype("datetime64[m]").astype(int).tolist() for t in times) for times in pair]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([[(0, 10)], [(20, 30)]], [(0, 10), (20, 30)]),
        ([[(20, 30)], [(0, 10)]], [(0, 10), (20, 30)]),
        ([[(0, 10)], [(5, 15)]], [(0, 15)]),
        ([[(0, 10)], [(10, 15)]], [(0, 15)]),
        ([[(0, 30)], [(5, 15), (40, 50)]], [(0, 30), (40, 50)]),
        ([[(0, 30)], [(5, 15)], [(16, 31)]], [(0, 31)]),
    ],
)
def test_intervals_are_united(given, expected):
    assert minutes(join_observations([intervals(*pairs) for pairs in given])) == expected


def test_no_intervals_and_empty_ones():
    empty = intervals((0, 1)).isel(gti=slice(0, 0))
    assert join_observations([xr.Dataset()]) == {}
    assert minutes(join_observations([empty, intervals((0, 1))])) == [(0, 1)]
    assert join_observations([empty, empty])["gti_start"].size == 0


def test_columns_that_are_missing_are_filled():
    text = np.dtypes.StringDType()
    a = xr.Dataset(
        coords={"obs_id": ("obs", [1, 2]), "target": ("obs", np.array(["a", "b"], text)), "t": ("obs", [1.0, 2])}
    )
    b = xr.Dataset(coords={"obs_id": ("obs", [3]), "when": ("obs", np.array(["2026-01-01"], "datetime64[ns]"))})
    joined = join_observations([a, b])
    assert joined["obs_id"].values.tolist() == [1, 2, 3]
    assert joined["obs_id"].dtype.kind == "i"
    assert joined["target"].values.tolist() == ["a", "b", ""]
    assert np.isnan(joined["t"].values[2])
    assert np.isnat(joined["when"].values[:2]).all()
    c = xr.Dataset(coords={"n": ("obs", [7])})
    assert join_observations([c, b])["n"].values.tolist()[0] == 7.0


def test_livetime_of_each_or_the_total():
    each = xr.Dataset(coords={"livetime": ("obs", [10.0, 20.0], {"units": "s"})})
    total = xr.Dataset(coords={"livetime": ((), 5.0, {"units": "s"})})
    assert join_observations([each, each])["livetime"].values.tolist() == [10, 20, 10, 20]
    joined = join_observations([each, total])["livetime"]
    assert joined.ndim == 0
    assert float(joined) == 35.0


def test_columns_that_do_not_fit():
    a = xr.Dataset(coords={"v": ("obs", [1])})
    b = xr.Dataset(coords={"v": ("obs", np.array(["x"]))})
    with pytest.raises(xonoff.SchemaError, match="v: columns of dtypes"):
        join_observations([a, b])
    c = xr.Dataset(coords={"v": (("obs", "k"), [[1, 2]])})
    with pytest.raises(xonoff.SchemaError, match="v: columns of several shapes"):
        join_observations([a, c])
