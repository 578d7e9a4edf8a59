"""Files around the code that nothing else would notice: workflows, issue templates, citation, contributing guide."""

import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

import xonoff

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))
MAKE = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def steps(path: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(path.read_text())["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def commands(path: Path) -> list[str]:
    return [line for step in steps(path) for line in step.get("run", "").splitlines()]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_what_there_is(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert content["permissions"] == {"contents": "read"}
    assert content[True]  # "on" is a truth value in YAML 1.1
    assert all(job["runs-on"] and job["timeout-minutes"] for job in content["jobs"].values())
    assert all(("uses" in step) != ("run" in step) for step in steps(path))
    for command in commands(path):
        assert all(target in MAKE for target in re.findall(r"\bmake ([a-z]+)", command)), command
        for file in re.findall(r"\b(?:tests|examples|docs)/[\w/]+\.py", command):
            assert (ROOT / file).exists(), command
        for extra in re.findall(r"\.\[(\w+)\]", command):
            assert extra in PROJECT["project"]["optional-dependencies"], command


def test_workflows_cover_what_contributing_says() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert [path.stem for path in WORKFLOWS] == sorted(re.findall(r"^\| `(\w+)` \| each", text, re.MULTILINE))
    everything = "\n".join(command for path in WORKFLOWS for command in commands(path))
    for needed in ("make test", "make check", "make docs", "make bench", "make demo", "--run-slow", "lowest-direct"):
        assert needed in everything


def test_python_versions() -> None:
    matrix = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]["complete"]["strategy"][
        "matrix"
    ]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert PROJECT["project"]["requires-python"] == f">={matrix['python'][0]}"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_issue_templates_are_forms(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert set(form) == {"name", "description", "labels", "body"}
    ids = [part["id"] for part in form["body"]]
    assert len(ids) == len(set(ids))
    for part in form["body"]:
        assert part["type"] in {"textarea", "input", "checkboxes"}
        assert part["attributes"]["label"]
    assert any(part.get("validations", {}).get("required") for part in form["body"])


def test_a_wrong_number_comes_with_both_numbers() -> None:
    assert {path.stem for path in TEMPLATES} == {"bug", "feature", "wrong-number"}
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/wrong-number.yml").read_text())
    required = {part["id"] for part in form["body"] if part.get("validations", {}).get("required")}
    assert {"ours", "theirs", "source", "code", "versions"} <= required
    for path in TEMPLATES:
        if path.stem != "feature":
            assert "xonoff.show_versions()" in path.read_text()
    assert hasattr(xonoff, "show_versions")


def test_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert cited["type"] == "software"
    assert {"message", "title", "authors"} <= set(cited)  # what the schema asks for
    known = {"abstract", "keywords", "license", "version", "date-released", "cff-version", "type"}
    assert set(cited) <= known | {"message", "title", "authors"}
    assert cited["version"] == xonoff.__version__
    assert cited["license"] == PROJECT["project"]["license"]
    assert cited["title"] == PROJECT["project"]["name"]
    assert cited["abstract"] == f"{PROJECT['project']['description']}."
    assert cited["authors"] == PROJECT["project"]["authors"]
    first = re.search(r"^## (\S+) \(([^)]*)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first is not None
    assert first[1] == xonoff.__version__
    if first[2] == "unreleased":
        assert "date-released" not in cited
    else:
        assert cited["date-released"] == date.fromisoformat(first[2])


def test_ci_and_contributing_name_the_same_commands() -> None:
    run = (ROOT / ".ci" / "run").read_text()
    assert {"test", "check", "demo"} <= set(re.findall(r"^make (\w+)", run, re.MULTILINE)) <= MAKE
    for target in re.findall(r"`make (\w+)", (ROOT / "CONTRIBUTING.md").read_text()):
        assert target in MAKE
