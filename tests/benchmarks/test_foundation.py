"""Statistic, excess, reading and writing of 20 x 500 x 500 bins, beside gammapy and beside the memory bandwidth."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xonoff

Measure = Callable[..., Any]


def test_stat_sum_xonoff(measure: Measure, ds: xr.Dataset, benchmark: Any) -> None:
    measure(lambda: float(ds.onoff.stat_sum()), group="stat_sum")
    assert benchmark.extra_info["peak_MB"] * 1e6 < ds.counts.nbytes


def test_stat_sum_gammapy(measure: Measure, ds: xr.Dataset, peer: Any) -> None:
    total = measure(peer.stat_sum, group="stat_sum", rounds=3)
    np.testing.assert_allclose(float(ds.onoff.stat_sum()), total, rtol=1e-5)


def test_excess_xonoff(measure: Measure, ds: xr.Dataset) -> None:
    measure(lambda: ds.onoff.excess, group="excess", rounds=15)


def test_excess_gammapy(measure: Measure, ds: xr.Dataset, peer: Any) -> None:
    excess = measure(lambda: peer.excess, group="excess", rounds=15)
    np.testing.assert_allclose(ds.onoff.excess, excess.data, rtol=1e-5, atol=1e-5)


def read(path: Path) -> xr.Dataset:
    """All arrays of the file in memory; not lat and lon, which neither library has in the file or computes here."""
    opened = xonoff.open_dataset(path)
    for array in opened.data_vars.values():
        array.variable.load()
    return opened


def test_read_xonoff(measure: Measure, ds: xr.Dataset, fits_file: Path) -> None:
    opened = measure(lambda: read(fits_file), group="read FITS", rounds=15)
    for name in ds.data_vars:
        np.testing.assert_array_equal(opened[name], ds[name])


def test_read_xonoff_with_lat_and_lon(measure: Measure, fits_file: Path) -> None:
    measure(lambda: xonoff.open_dataset(fits_file).load(), group="read FITS")


def test_open_xonoff(measure: Measure, fits_file: Path) -> None:
    measure(lambda: xonoff.open_dataset(fits_file, chunks={}), group="read FITS", rounds=15)


def test_read_gammapy(measure: Measure, fits_file: Path, peer: Any) -> None:
    measure(lambda: type(peer).read(fits_file), group="read FITS", rounds=15)


def test_write_xonoff(measure: Measure, ds: xr.Dataset, tmp_path: Path) -> None:
    measure(lambda: ds.onoff.to_fits(tmp_path / "ours.fits", overwrite=True), group="write FITS")


def test_write_gammapy(measure: Measure, peer: Any, tmp_path: Path) -> None:
    measure(lambda: peer.write(tmp_path / "theirs.fits", overwrite=True), group="write FITS")


@pytest.mark.parametrize("group", ["stat_sum", "excess"])
def test_memory_bandwidth(measure: Measure, ds: xr.Dataset, group: str) -> None:
    """The floor: reading the inputs once, or reading them and writing a float64 cube, as numpy does it."""
    inputs = [ds[name].values for name in xonoff.quantities.ON_OFF]
    out = np.empty(ds.counts.shape)

    def touch() -> None:
        for array in inputs:
            array.sum()
        if group == "excess":
            out.fill(1.0)

    measure(touch, group=group, rounds=15)
