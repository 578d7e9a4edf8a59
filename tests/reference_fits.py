"""The fits that ../shared/data/reference.json lists: their data, where they start, and what the peer found."""

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from regions import CircleSkyRegion

import xonoff
from xonoff.geometry import sky_grid
from xonoff.irf import at_position
from xonoff.models import GaussianSource, LogParabola1D, PointSource, PowerLaw1D, SkyModel

DATA = Path(os.environ.get("XONOFF_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
RUNS = (23523, 23526, 23559, 23592)
#: Parameters that the peer calls by another name.
NAMES = {"index": "alpha", "reference": "x_0"}
FIXED = ("x_0", "e", "phi")
CTA = "cta_sim_two_sources"
#: A source that starts on the border of two pixels of the response counts for that of higher longitude, deg.
NUDGE = 1e-6
Floats = np.ndarray


@cache
def reference() -> dict[str, Any]:
    path = DATA / "reference.json"
    return json.loads(path.read_text()) if path.exists() else {"fits": {}}


def path_of(stem: str) -> Path:
    (path,) = DATA.rglob(f"{stem}.fits.gz")
    return path


def stems(name: str) -> list[str]:
    """Files of a fit."""
    if name.startswith("joint"):
        return [f"onoff_run{run}" for run in RUNS]
    if name == CTA:
        return ["onoff_cta_sim"]
    geometry = next((g for g in ("_car_galactic", "_fine") if g in name), "")
    return [f"onoff_stacked{geometry}"]


def entries(name: str) -> list[dict[str, Any]]:
    """Models where a fit starts, as the peer writes them."""
    if name == CTA:
        return reference()["datasets"]["onoff_cta_sim"]["true_models"]["components"]
    kind = name.rsplit("_", 1)[-1] + "_point" if name.startswith("spectrum") else name
    return [next(entry for key, entry in reference()["fit_start"].items() if key in kind)]


def start(name: str) -> list[SkyModel]:
    """Models where a fit starts, with what it holds fixed."""
    models = [sky_model(entry) for entry in entries(name)]
    for model in models:
        fixed = [*FIXED, *(("lon_0", "lat_0") if "fixed_position" in name or name.startswith("spectrum") else ())]
        for part in model.parts:
            for parameter in set(part.param_names) & set(fixed):
                getattr(part, parameter).fixed = True
    return models


def sky_model(entry: dict[str, Any]) -> SkyModel:
    spectral, spatial = ({p["name"]: p["value"] for p in entry[part]["parameters"]} for part in ("spectral", "spatial"))
    shape = ("index",) if "index" in spectral else ("alpha", "beta")
    line = PowerLaw1D if "index" in spectral else LogParabola1D
    flux = line(spectral["amplitude"], spectral["reference"], *(spectral[n] for n in shape))
    sizes = [spatial[n] for n in ("sigma", "e", "phi") if n in spatial]
    source = GaussianSource if sizes else PointSource
    frame = entry["spatial"]["frame"]
    return SkyModel(entry["name"], flux, source(spatial["lon_0"], spatial["lat_0"], *sizes, frame=frame))


def found_by_peer(name: str) -> dict[str, dict[str, float]]:
    """Value and error of each parameter, under our names."""
    listed = reference()["fits"][name]["parameters"]
    by_model = listed if name == CTA else {entries(name)[0]["name"]: listed}
    return {f"{model}.{NAMES.get(p, p)}": number for model, ps in by_model.items() for p, number in ps.items()}


def datasets(name: str) -> list[xr.Dataset]:
    """Data of a fit, with the energy dispersion that the peer takes."""
    opened = [xonoff.open_dataset(path_of(stem)).load() for stem in stems(name)]
    if not name.startswith("spectrum"):
        return [held(ds, start(name)) for ds in opened]
    spectrum, kernel = spectrum_and_kernel(opened[0], name)
    return [spectrum.assign(edisp=spectrum.edisp.copy(data=kernel))]


def spectrum_and_kernel(ds: xr.Dataset, name: str) -> tuple[xr.Dataset, Floats]:
    """Spectrum of a fit, and the energy dispersion that the peer took for it."""
    _, radius, _, corrected, _ = name.split("_")
    for entry in reference()["datasets"]["onoff_stacked"]["to_spectrum_dataset"]:
        region = entry["region"]
        if region["radius_deg"] == float(radius) and entry["containment_correction"] == (corrected == "True"):
            break
    circle = CircleSkyRegion(SkyCoord(region["lon_deg"], region["lat_deg"], unit="deg"), float(radius) * u.deg)
    spectrum = ds.onoff.to_spectrum(circle, containment_correction=entry["containment_correction"])
    return spectrum, np.array(entry["edisp_kernel"])


def held(ds: xr.Dataset, models: list[SkyModel]) -> xr.Dataset:
    """Data whose energy dispersion around each source is that of the pixel nearest to where the source starts.

    So the peer has it, which looks it up once, whereas it interpolates the PSF.
    """
    edisp = ds.edisp.copy(deep=True)
    sky = sky_grid(ds, "edisp")
    for model in models:
        at = model.spatial.position
        moved = SkyCoord(at.spherical.lon + NUDGE * u.deg, at.spherical.lat, frame=at.frame.name)
        nearest = at_position(ds, "edisp", moved, "nearest")
        row, column = (int(pixel) for pixel in sky.sky_to_pixel(moved)[::-1])
        edisp[{"y_edisp": slice(row, row + 2), "x_edisp": slice(column, column + 2)}] = nearest.values[..., None, None]
    return ds.assign(edisp=edisp)


def parabola(stat: Callable[[Floats], float], at: Floats, step: Floats) -> tuple[Floats, Floats]:
    """Minimum and errors of a statistic by central differences, of steps that a noise on its values does not disturb.

    Both in units of the steps, the minimum from where the differences are taken.
    """
    steps = np.diag(step)
    here = stat(at)
    above, below = (np.array([stat(at + sign * row) for row in steps]) for sign in (1, -1))
    second = np.diag(above + below - 2 * here)
    for i, j in zip(*np.tril_indices(at.size, -1), strict=True):
        corners = [
            sign * other * stat(at + sign * steps[i] + other * steps[j]) for sign in (1, -1) for other in (1, -1)
        ]
        second[i, j] = second[j, i] = sum(corners) / 4
    return -np.linalg.solve(second, (above - below) / 2), np.sqrt(np.diag(2 * np.linalg.inv(second)))
