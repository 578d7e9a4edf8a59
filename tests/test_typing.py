"""What type checkers, and so editors, know of ``ds.onoff``."""

import re
from pathlib import Path

import pytest
import xarray as xr
from mypy import api

import xonoff
from xonoff import typed

ROOT = Path(__file__).parents[1]

#: Expressions and what they are: a part of the type that is revealed.
KNOWN = {
    "ds.onoff": "OnOffAccessor",
    "ds.isel(energy=0).onoff.excess": "DataArray",
    "ds.where(ds.counts > 0).onoff": "OnOffAccessor",
    "(2 * ds).onoff": "OnOffAccessor",
    "ds.onoff.cutout((83.6, 22.0), '1 deg').onoff.downsample(2).onoff": "OnOffAccessor",
    "ds.onoff.to_spectrum(None).onoff": "OnOffAccessor",
    "ds.onoff.excess_map('0.1 deg').onoff": "OnOffAccessor",
    "xonoff.open_dataset('crab.fits', chunks={}).onoff.plot": "Plots",
    "xonoff.stack([ds, ds]).onoff": "OnOffAccessor",
    "xonoff.ring_background(ds, 0.5, 0.3).onoff": "OnOffAccessor",
    "xonoff.fit(ds)": "FitResult",
    "xonoff.models.PointSource(83.6, 22.0).extent": "float",
    "ds.onoff.peek()": "Figure",
}
#: What is wrong, and how that is said.
WRONG = {
    "ds.onoff.exces": '"OnOffAccessor" has no attribute "exces"',
    "ds.onoff.plot.counts(gird=True)": 'Unexpected keyword argument "gird"',
    "ds.onoff.cutout()": 'Missing positional arguments "position", "width"',
    "xonoff.open_dataset('crab.fits', chunk={})": 'Unexpected keyword argument "chunk"',
}


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """What mypy says of each line of a script; that of the first expression is line 3."""
    path = tmp_path_factory.mktemp("typing") / "script.py"
    lines = ["import xonoff", "ds = xonoff.tutorial.dataset()", *(f"reveal_type({text})" for text in KNOWN), *WRONG]
    path.write_text("\n".join(lines))
    out, err, _ = api.run(["--config-file", str(ROOT / "pyproject.toml"), "--no-warn-unreachable", str(path)])
    assert not err
    found = re.findall(r"script\.py:(\d+): (?:note|error): (.*)", out)
    assert found, out
    return {int(line): text for line, text in reversed(found)}


@pytest.mark.parametrize("number", range(len(KNOWN)), ids=list(KNOWN))
def test_types_are_known(messages: dict[int, str], number: int) -> None:
    assert re.search(rf"\b{list(KNOWN.values())[number]}\b", messages[3 + number])


@pytest.mark.parametrize("number", range(len(WRONG)), ids=list(WRONG))
def test_faults_are_found(messages: dict[int, str], number: int) -> None:
    assert list(WRONG.values())[number] in messages[3 + len(KNOWN) + number]


def test_when_a_program_runs_it_is_a_plain_dataset(ds: xr.Dataset) -> None:
    assert typed.OnOffDataset is xr.Dataset
    assert type(xonoff.stack([ds, ds])) is xr.Dataset
    assert xonoff.stack is xonoff.combine.stack
