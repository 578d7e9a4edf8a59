import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from conftest import DATA

import xonoff
from xonoff.__main__ import main

ROOT = Path(__file__).parents[1]
FILES = sorted(DATA.glob("*/*onoff_*.fits.gz")) + sorted(DATA.glob("*/mapdataset_*.fits.gz"))
FILES = [file for file in FILES if file.parent.name != "reference-arrays"]


@pytest.fixture
def file(ds: xr.Dataset, tmp_path: Path) -> Path:
    ds.onoff.to_fits(tmp_path / "in.fits")
    return tmp_path / "in.fits"


def test_info(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(file), "--checksum"]) == 0
    out = capsys.readouterr().out
    assert "tutorial" in out
    assert "stat_sum" in out


@pytest.mark.parametrize("suffix", [".fits", ".nc", ".zarr"])
def test_convert(ds: xr.Dataset, file: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / f"out{suffix}"
    assert main(["convert", str(file), str(out)]) == 0
    np.testing.assert_array_equal(xonoff.open_dataset(out).onoff.excess, ds.onoff.excess)
    assert main(["convert", str(file), str(out)]) == 1
    assert "overwrite" in capsys.readouterr().err
    assert main(["convert", str(file), str(out), "--overwrite"]) == 0


def test_plot(file: Path, tmp_path: Path) -> None:
    assert main(["plot", str(file), "-o", str(tmp_path / "out.png")]) == 0
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "missing.fits"], "no such file"),
        (["info", "notfits.fits"], "none of FITS"),
        (["convert", "in.fits", "out.txt"], "suffix '.txt' found"),
    ],
)
def test_refused_input_is_one_line(
    arguments: list[str], message: str, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    Path("notfits.fits").write_text("hello, world")
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith("xonoff: ")
    assert message in err
    assert err.count("\n") == 1


def test_as_a_module() -> None:
    out = subprocess.run([sys.executable, "-m", "xonoff", "--version"], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == f"xonoff {xonoff.__version__}"


@pytest.mark.parametrize("argument", [None, *FILES], ids=lambda f: f.name if f else "tutorial")
def test_demo(
    argument: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["quickstart.py", *([str(argument)] if argument else [])])
    runpy.run_path(str(ROOT / "examples" / "quickstart.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert ("peak significance: " in out) == ("mapdataset" not in str(argument))
    assert out.strip().endswith("the same")
    assert list(Path("output").glob("*.png"))
