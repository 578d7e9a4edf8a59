"""What README and documentation say: their code runs, their links lead somewhere, and no public name is missing."""

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from regions import CircleSkyRegion
from s3 import KEY, SECRET, Server

import xonoff
from xonoff.models import GaussianSource, PointSource, PowerLaw1D, SkyModel

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES]
NAMES = {str(path.relative_to(DOCS if DOCS in path.parents else ROOT)): path for path in TEXTS}

#: Fences that hold no code of Python.
OTHER = {"", "bash", "console", "ini", "json", "sh", "text", "toml", "yaml"}
#: Pages whose code another test runs.
ELSEWHERE = {"archive.md": "test_archive_page.py, with an S3 server"}
#: Blocks that are not run, by page and a line of theirs, and why.
NOT_RUN = {
    (
        "interoperability.md",
        "from_gammapy(theirs)",
    ): "gammapy is elsewhere: test_interop_gammapy.py",
}
#: Pages that need a package of an extra.
PACKAGES = {"interoperability.md": "astropy_healpix", "plots.md": "holoviews"}
#: What is run in a smaller form, so that the tests stay quick.
SMALLER = {
    "fitting.md": ("n=500", "n=2"),
    "simulation.md": ("range(1000)", "range(3)"),
}

Names = dict[str, Any]


def names_of(ds: xr.Dataset) -> Names:
    """What every page takes for granted: the tutorial dataset, a region, models, runs."""
    crab = SkyCoord(83.633, 22.014, unit="deg")
    region = CircleSkyRegion(crab, 0.3 * u.deg)
    source = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.633, 22.014))
    halo = SkyModel("halo", PowerLaw1D(1e-11, 1, 2.2), GaussianSource(83.5, 22.1, 0.3))
    runs = {name: ds.onoff.copy(name) for name in ("run 1", "run 2")}
    ones: Names = dict.fromkeys(("a", "run1", "ds1", "on"), runs["run 1"])
    twos: Names = dict.fromkeys(("b", "run2", "run3", "ds2", "off", "other"), runs["run 2"])
    models: Names = {"crab": source, "halo": halo, "models": [source, halo]}
    regions: Names = {"region": region, "regions": [region], "exclusion": region}
    run = {"run": ds.isel(obs=[0], gti=[0]), "runs": list(runs.values()), "geom": ds.onoff.geom}
    return {"xonoff": xonoff, "np": np, "ds": ds, **run, **ones, **twos, **models, **regions}


def _background(names: Names) -> Names:
    return {"crab": names["region"].center}


def _seen(names: Names) -> Names:
    """Datasets in which both models are seen."""
    ds = names["ds"].onoff.fake(names["ds"].acceptance, seed=1, models=names["models"])
    return {"ds": ds, "ds1": ds.onoff.copy("run 1"), "ds2": ds.onoff.copy("run 2")}


def _fitting(names: Names) -> Names:
    seen = _seen(names)
    likelihood = xonoff.Likelihood([seen["ds1"], seen["ds2"]], names["models"])
    return {**seen, "values": likelihood.values, "ds": seen["ds1"]}


def _maps(names: Names) -> Names:
    return {"exclusion": xonoff.masks.from_regions(names["ds"], names["region"]).any("energy")}


def _models(names: Names) -> Names:
    from xonoff.io.model_yaml import write_models

    write_models({"run 1": [names["crab"]], "run 2": [names["crab"]]}, "models.yaml")
    xonoff.save_datasets([names["a"], names["b"]], "theirs.yaml")
    return {}


def _prediction(names: Names) -> Names:
    return {"values": xonoff.Predictor(names["ds"], names["models"]).values}


def _regions(names: Names) -> Names:
    pointing = {"ra_pnt": ("obs", [83.63, 83.63]), "dec_pnt": ("obs", [22.8, 22.8])}
    off = xonoff.on_off_spectrum
    return {"ds": names["ds"].assign_coords(pointing), "regions_off": [], "on_off_spectrum": off}


#: What the code of a page takes for granted beside that, and the files.
GIVEN: dict[str, Callable[[Names], Names]] = {
    "background.md": _background,
    "fitting.md": _fitting,
    "flux-points.md": _seen,
    "maps.md": _maps,
    "models.md": _models,
    "prediction.md": _prediction,
    "regions.md": _regions,
}


def fences(text: str) -> Iterator[tuple[str, str]]:
    """Language and content of each fence."""
    for found in re.finditer(r"^(`{3,}|:{3,})([^\n]*)\n(.*?)^\1 *$", text, flags=re.M | re.S):
        yield found[2].strip(), found[3]


def is_notebook(text: str) -> bool:
    """Whether the build runs the code cells of a page."""
    return bool(re.match(r"---\nfile_format: mystnb\n", text))


def code_of(name: str) -> list[str]:
    """Blocks of Python of a page that this file runs."""
    return [content for language, content in fences(NAMES[name].read_text()) if language == "python"]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An S3 server where the environment says that the buckets are."""
    with Server() as server:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.options()["endpoint"])
        yield


@pytest.mark.parametrize("name", [name for name in NAMES if code_of(name) and name not in ELSEWHERE])
def test_code_runs(
    name: str, ds: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib (extra plot)")
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name], reason=f"{name} shows {PACKAGES[name]}")
    monkeypatch.chdir(tmp_path)
    if any("s3://" in block for block in code_of(name)):
        request.getfixturevalue("bucket")
    names = names_of(ds)
    names |= GIVEN.get(name, lambda names: {})(names)
    before, after = SMALLER.get(name, ("", ""))
    assert before in NAMES[name].read_text()
    for block in code_of(name):
        if not any(page == name and line in block for page, line in NOT_RUN):
            exec(compile(block.replace(before, after) if before else block, name, "exec"), names)
            plt.close("all")


@pytest.mark.parametrize("name", NAMES)
def test_no_code_escapes(name: str) -> None:
    text = NAMES[name].read_text()
    languages = {language for language, _ in fences(text) if not language.startswith("{")}
    assert languages <= OTHER | {"python"}, f"{languages - OTHER}: write ```python, or add it to OTHER"
    cells = [language for language, _ in fences(text) if language.startswith("{code-cell")]
    assert not cells or is_notebook(text), "code cells run in pages with the header file_format: mystnb only"


def test_exceptions_are_true() -> None:
    for page, line in NOT_RUN:
        assert any(line in block for block in code_of(page)), f"{page} has no line {line}"
    for test in ELSEWHERE.values():
        assert (ROOT / "tests" / test.split(",")[0]).is_file()


def test_the_build_runs_the_cells() -> None:
    conf = (DOCS / "conf.py").read_text()
    assert 'nb_execution_mode = "cache"' in conf
    assert "nb_execution_excludepatterns" not in conf
    targets = re.findall(r"sphinx-build .*", (ROOT / "Makefile").read_text())
    assert targets
    assert all(" -W " in target for target in targets)


def plain(text: str) -> str:
    """Text without code."""
    text = re.sub(r"^(`{3,}).*?^\1 *$", "", text, flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "code", text)


def anchors(path: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub and MyST make them, and those that it names itself."""
    text = re.sub(r"^(`{3,}).*?^\1 *$", "", path.read_text(), flags=re.M | re.S)
    heads = re.findall(r"^#+ +(.+?) *$", text, flags=re.M)
    slugs = [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]
    return {*slugs, *re.findall(r"^\(([\w-]+)\)=$", text, flags=re.M)}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    path = NAMES[name]
    dead = []
    for target in re.findall(r"\]\(<?([^)>\s]+)>?\)", plain(path.read_text())):
        if re.match(r"[a-z]+:", target):
            good = re.fullmatch(r"https://[\w-]+(\.[\w-]+)+(/\S*)?", target)
        else:
            file, _, anchor = target.partition("#")
            found = (path.parent / file) if file else path
            good = found.exists() and (not anchor or found.suffix != ".md" or anchor in anchors(found))
        if not good:
            dead.append(target)
    assert not dead


def documented() -> set[str]:
    """Full names that the reference pages document."""
    found = set()
    for page in (DOCS / "reference").glob("*.rst"):
        text = page.read_text()
        found |= set(re.findall(r"^\.\. (?:auto\w+|py:class|py:module):: ([\w.]+)$", text, flags=re.M))
        for owner, content in re.findall(r"^\.\. api:: ([\w.]+)\n((?:\n|   .*\n)*)", text, flags=re.M):
            names = content.split() or import_module(owner).__all__
            found |= {f"{owner}.{name}" for name in names}
    return found


@pytest.mark.parametrize("module", [xonoff, xonoff.stats, xonoff.models], ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module: Any) -> None:
    missing = {f"{module.__name__}.{name}" for name in module.__all__} - documented()
    assert not missing, "name them on a page of docs/reference"


def test_every_member_of_the_accessor_is_in_the_reference() -> None:
    members = {name for name in dir(xonoff.OnOffAccessor) if not name.startswith("_")}
    missing = {f"xonoff.OnOffAccessor.{name}" for name in members} - documented()
    assert not missing, "name them in docs/reference/accessor.rst"


def test_the_reference_names_what_exists() -> None:
    for name in documented():
        module, _, member = name.rpartition(".")
        owner: Any = getattr(xonoff, module.rpartition(".")[2], None)
        assert not module or hasattr(owner if isinstance(owner, type) else import_module(module), member), name
