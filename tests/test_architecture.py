"""What holds the package together: layers, cheap import, public names, lint of the documents."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import xonoff
from xonoff import schema

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "xonoff"

#: Modules by layer; imports point down, or to the same layer.
LAYERS = {
    0: [
        *("errors", "typed", "versions", "provenance", "schema", "units", "duck", "axes", "skyheader", "skygrid"),
        *("geometry", "stats"),
    ],
    1: [
        *("quantities", "validity", "summary", "region", "masks", "irf", "rings", "psf", "observations"),
        *("create", "cutout", "joining", "rebin", "spectrum", "stacking", "combine", "models"),
        *("vicinity", "neighbours", "excluded", "backgrounds", "exclusion", "reco_exposure", "correlation", "joint"),
        *("outlines", "off_regions", "reflected", "pairs", "footprint"),
        *("radial", "plane", "wide", "spread", "nearby", "source"),
    ],
    2: [
        *("predict", "predictor", "term", "likelihood", "low_counts", "widths", "minimum"),
        *("fit_result", "fitting", "profiles", "calibration", "ts", "sed", "sed_columns", "error_band"),
        *("reach", "pattern", "source_scan", "peaks", "simulate", "residuals"),
        *("plot", "figure", "graticule", "map_plot", "spectrum_plot", "overlay", "histogram", "region_plot"),
        *("fit_plot", "sed_plot", "interactive", "io", "interop", "survey", "archive"),
    ],
    3: ["estimates", "accessor", "tutorial", "__main__", "__init__"],
}
LEVEL = {module: level for level, modules in LAYERS.items() for module in modules}


def imported(path: Path) -> list[str]:
    """Top-level modules of xonoff that a file imports, also within functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name.split(".")[1] for name in found if name.startswith("xonoff.") and name.count(".")]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in LEVEL, f"give {own} a layer"
    names = [name for name in imported(path) if name in LEVEL and (own, name) != ("typed", "accessor")]  # a type only
    above = [name for name in names if LEVEL[name] > LEVEL[own]]
    assert not above, f"{own} (layer {LEVEL[own]}) imports {above}"


def test_modules_stay_readable() -> None:
    long = {path.name: n for path in PACKAGE.rglob("*.py") if (n := len(path.read_text().splitlines())) > 450}
    assert not long, f"split {long}"


def test_import_is_cheap_and_quiet() -> None:
    code = (
        "import sys, warnings; warnings.simplefilter('error'); import xonoff;"
        "heavy = {'matplotlib', 'numba', 'scipy', 'distributed', 'gammapy', 'netCDF4', 'zarr', 'fsspec', 'obstore'};"
        "heavy |= {'regions', 'holoviews', 'bokeh', 'astropy_healpix'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"
    assert not out.stderr


def test_public_names_exist() -> None:
    for name in xonoff.__all__:
        assert hasattr(xonoff, name)
    assert (PACKAGE / "py.typed").exists()


def test_the_data_model_page_shows_the_schema() -> None:
    assert schema.markdown_table() in (ROOT / "docs" / "data-model.md").read_text()


def test_contributing_shows_the_layers() -> None:
    spec = importlib.util.spec_from_file_location("architecture", ROOT / "docs" / "tools" / "architecture.py")
    assert spec is not None
    assert spec.loader is not None
    drawn = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawn)
    text = drawn.PAGE.read_text()
    assert drawn.page(text, LAYERS) == text, "run python docs/tools/architecture.py"
    assert drawn.PICTURE.read_text() == drawn.picture(LAYERS), "run python docs/tools/architecture.py"
    for module in LEVEL:
        assert f"`{drawn.shown(module)}`" in text
        assert f">{drawn.shown(module)}</text>" in drawn.PICTURE.read_text()


def test_every_layer_names_modules_that_exist() -> None:
    files = {path.stem for path in PACKAGE.glob("*.py")}
    assert sorted(LEVEL) == sorted(files | {path.parent.name for path in PACKAGE.glob("*/__init__.py")})
