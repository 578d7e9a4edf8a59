"""The snippets of docs/archive.md, one after the other, as they are."""

import re
from pathlib import Path

import pytest
from s3 import Server

import xonoff

PAGE = (Path(__file__).parents[1] / "docs" / "archive.md").read_text()


@pytest.fixture(scope="module")
def s3():
    with Server() as server:
        yield server


def test_snippets(tmp_path, monkeypatch, ds, s3):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("distributed")
    run = ds.assign_coords(obs_id=("obs", [1, 1]), ra_pnt=("obs", [83.6, 83.6]), dec_pnt=("obs", [22.5, 22.5]))
    names = {"run": run, "other": ds, "options": s3.options()}
    snippets = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    assert len(snippets) == 7
    for snippet in snippets:
        if "group" in snippet and "group" not in names:
            names["group"] = next(path for path in (tmp_path / "runs.zarr" / "runs").iterdir() if path.is_dir())
            names["group"] = str(names["group"].relative_to(tmp_path / "runs.zarr"))
        code = compile(snippet, "docs/archive.md", "exec")
        exec(code, names)
        if "near" in names:
            assert 1 in names["near"]
    expected = xonoff.stack([run], geom=names["geom"])
    assert names["survey"].counts.identical(expected.counts)
    assert names["ds"].counts.compute().identical(expected.counts)
