"""The scripts of examples/ run as a reader would run them, on the tutorial dataset and on real files."""

import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import xonoff

EXAMPLES = Path(__file__).parents[1] / "examples"
#: Scripts with tests elsewhere: test_cli.py, and test_ogip.py with the numbers of Sherpa, which is no dependency.
ELSEWHERE = {"quickstart.py", "sherpa_wstat.py"}

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run a script in an empty directory; return what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")

    def script(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    yield script
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def number_after(words: str, text: str) -> float:
    return float(text.split(words)[1].split()[0].strip(",;"))


def test_every_script_is_run_and_short() -> None:
    text = Path(__file__).read_text()
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert len(scripts) == 5 + len(ELSEWHERE)
    for script in scripts:
        assert len(script.read_text().splitlines()) < 60, script.name
        assert script.name in ELSEWHERE or f'run("{script.name}"' in text


def test_significance_map(run: Run) -> None:
    out = run("significance_map.py")
    assert abs(number_after("mean", out)) < 0.2
    assert abs(number_after("width", out) - 1) < 0.1
    value, *_, lon, lat = (float(word) for word in out.strip().splitlines()[-1].split())
    assert value > 40
    assert np.hypot((lon - 83.633) * np.cos(np.radians(22)), lat - 22.014) < 0.1
    assert Path("output/significance_map.png").stat().st_size > 20_000


def test_significance_map_of_a_file(run: Run, data_dir: Path) -> None:
    out = run("significance_map.py", data_dir / "hess-crab/mapdataset_run23526.fits.gz")
    assert abs(number_after("mean", out)) < 0.15
    assert abs(number_after("width", out) - 1) < 0.1
    assert float(out.strip().splitlines()[-1].split()[0]) > 15


def test_stack_runs(run: Run) -> None:
    out = run("stack_runs.py")
    assert number_after("significance", out) > 15
    stacked = xonoff.open_dataset("output/stacked.zarr")
    rows = [line.split() for line in out.splitlines()[1:5]]
    assert sum(int(row[1]) for row in rows[:-1]) == int(rows[-1][1]) == int(stacked.onoff.info().counts)


def test_stack_runs_of_files(run: Run, data_dir: Path) -> None:
    files = sorted(data_dir.glob("hess-crab/onoff_run?????.fits.gz"))
    assert len(files) == 4
    out = run("stack_runs.py", *files)
    reference = xonoff.open_dataset(data_dir / "hess-crab/onoff_stacked.fits.gz").onoff.info()
    assert int(out.splitlines()[5].split()[1]) == int(reference.counts)


def test_fit_crab(run: Run) -> None:
    out = run("fit_crab.py")
    assert number_after("sqrt(TS) =", out) > 50
    points = xonoff.read_sed("output/crab.ecsv")
    at_1_tev = float(points.dnde[np.argmin(np.abs(np.log(points.energy.values)))])
    assert at_1_tev == pytest.approx(3.5e-11, rel=0.5)
    assert Path("output/fit_crab.png").stat().st_size > 10_000


def test_fit_crab_of_a_file(run: Run, data_dir: Path) -> None:
    out = run("fit_crab.py", data_dir / "hess-crab/onoff_stacked.fits.gz")
    assert number_after("crab.lon_0", out) == pytest.approx(83.63, abs=0.03)
    assert number_after("crab.alpha", out) == pytest.approx(2.7, abs=0.2)


def test_large_cube(run: Run) -> None:
    out = run("large_cube.py")
    cube, image = xonoff.open_dataset("output/cube.zarr"), xonoff.open_dataset("output/image.zarr")
    assert number_after("MB, counts in", out) == 9
    assert int(cube.counts.sum()) == int(image.counts.sum()) == int(out.splitlines()[1].split()[0])
    assert 5_000 < number_after("excess", out) < 20_000
    assert Path("output/large_cube.png").stat().st_size > 20_000


def test_large_cube_of_a_file(run: Run, data_dir: Path) -> None:
    file = data_dir / "hess-crab/onoff_stacked_fine.fits.gz"
    out = run("large_cube.py", file)
    inside = xonoff.open_dataset(file).onoff.to_masked().counts.sum()
    assert int(out.splitlines()[1].split()[0]) == int(inside)


@pytest.mark.parametrize("stem", ["", "hess-crab/onoff_stacked", "cta-sim/onoff_cta_sim"])
def test_gammapy_to_ogip(run: Run, stem: str, request: pytest.FixtureRequest) -> None:
    arguments = [request.getfixturevalue("data_dir") / f"{stem}.fits.gz"] if stem else []
    out = run("gammapy_to_ogip.py", *arguments)
    assert number_after("a source:", out) == pytest.approx(number_after("before,", out), rel=1e-9)
    names = ["pha_source.fits", "pha_source_arf.fits", "pha_source_bkg.fits", "pha_source_rmf.fits"]
    assert [line.removeprefix("output/") for line in out.splitlines()[:4]] == names
    with fits.open("output/pha_source.fits") as hdus:
        assert hdus["SPECTRUM"].data["COUNTS"].sum() > 0


def test_gammapy_to_ogip_of_a_circle(run: Run) -> None:
    xonoff.tutorial.dataset().onoff.to_fits("here.fits")
    out = run("gammapy_to_ogip.py", "here.fits", 83.6, 22.0, 0.3)
    assert "circle(83.6000000000,22.0000000000,0.3000000000)" in out


def test_a_file_that_is_not_there_is_said_in_one_line(run: Run) -> None:
    for script in sorted(EXAMPLES.glob("*.py")):
        if script.name not in ELSEWHERE:
            with pytest.raises(SystemExit, match=r"nowhere\.fits: no such file"):
                run(script.name, "nowhere.fits")
