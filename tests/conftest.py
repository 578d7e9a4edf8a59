import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
import xarray as xr

import xonoff

DATA = Path(os.environ.get("XONOFF_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--run-slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: run with --run-slow"))


@pytest.fixture
def data_dir() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"no test data at {DATA}: set XONOFF_TEST_DATA")
    return DATA


@pytest.fixture(scope="session")
def _tutorial() -> xr.Dataset:
    return xonoff.tutorial.dataset()


@pytest.fixture
def ds(_tutorial: xr.Dataset) -> xr.Dataset:
    """The tutorial dataset, a copy for each test."""
    return _tutorial.copy(deep=True)


@pytest.fixture
def lazy(ds: xr.Dataset) -> xr.Dataset:
    """The tutorial dataset as dask arrays in uneven chunks."""
    return ds.chunk({"energy": 3, "lat": 17, "lon": 40})


@pytest.fixture
def no_compute() -> Iterator[None]:
    """Any computation of a dask array fails the test."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a dask array was computed")

    with dask.config.set(scheduler=refuse):
        yield
