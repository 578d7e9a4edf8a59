import io
import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from xonoff import versions

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    found = {re.split(r"[\[<>=~ ]", text)[0].lower() for text in requirements}
    return found - {"xonoff"}


def test_all_dependencies_are_listed() -> None:
    assert {name.lower() for name in versions.REQUIRED} == names(PROJECT["dependencies"])
    extras = {k: v for k, v in PROJECT["optional-dependencies"].items() if k not in ("test", "docs", "bench")}
    known = {name.lower() for name in (*versions.REQUIRED, *versions.OPTIONAL)}
    for extra, requirements in extras.items():
        assert names(requirements) <= known, extra


def test_versions_are_those_that_are_installed() -> None:
    found = versions.versions()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["numpy"] == version("numpy")
    assert found["xonoff"] == version("xonoff")
    assert int(found["cores"] or 0) >= 1


def test_they_are_printed_and_none_is_a_dash(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "OPTIONAL", ("no-such-package",))
    versions.show_versions()
    printed = capsys.readouterr().out
    lines = dict(line.split(maxsplit=1) for line in printed.splitlines())
    assert lines["no-such-package"] == "-"
    assert lines["xarray"] == version("xarray")
    text = io.StringIO()
    versions.show_versions(text)
    assert text.getvalue() == printed
    assert not capsys.readouterr().out
