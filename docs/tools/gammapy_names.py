"""Names of gammapy beside those of xonoff, as data, and the tables of docs/coming-from-gammapy.md made of them.

``python docs/tools/gammapy_names.py`` writes the tables into the page, between its markers.
"""

# ruff: noqa: E501 - rows of tables

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[1] / "coming-from-gammapy.md"


class Member(NamedTuple):
    """A public name of ``MapDatasetOnOff`` in gammapy 2.1."""

    name: str
    since: str  # first of 0.16, 0.17, 0.18 that has it, or "later"
    ours: str  # Markdown; names in backticks that start with ds. or xonoff. exist
    differs: str


class Other(NamedTuple):
    """Another name of gammapy: one that is gone, an argument, a class around the dataset."""

    name: str
    ours: str
    differs: str


MEMBERS = {
    "Make and convert": [
        Member("create", "0.16", "`xonoff.create`", "A function. `energy_true` is wanted; `geom` is a `xonoff.Geom`."),
        Member(
            "from_geoms",
            "0.16",
            "`xonoff.from_geoms`",
            "Each response has a `xonoff.ResponseGeom`, or none. `reference_time` is an argument of `xonoff.create` only.",
        ),
        Member(
            "from_map_dataset",
            "0.16",
            "`xonoff.from_map_dataset`",
            "Name and all else are kept. Without off counts they are `background / alpha`, as in gammapy.",
        ),
        Member(
            "to_map_dataset", "0.18", "`ds.onoff.to_map_dataset`", "The background is `alpha * counts_off` in both."
        ),
        Member("copy", "0.16", "`ds.onoff.copy`", "Models are kept; the name too, if none is given."),
        Member("name", "0.16", "`ds.onoff.name`", "It is `ds.attrs['name']`, empty if none is given: never random."),
        Member("tag", "0.16", "not needed: there is one kind of dataset", ""),
        Member(
            "meta",
            "later",
            "`ds.attrs`",
            "Facts of observations are variables on the dimension `obs`. FITS keeps name, models and observations.",
        ),
        Member(
            "meta_table",
            "0.18",
            "variables on `obs`",
            "A row an observation; `xonoff.stack` adds rows. In gammapy the rows of a stack become vectors in one row.",
        ),
        Member("gti", "0.16", "`ds.onoff.gti`", "A Dataset of `start`, `stop` and `duration`. A stack has the union."),
    ],
    "Variables": [
        Member(
            "counts",
            "0.16",
            "`ds.counts`",
            "A DataArray, as all of these. Labels, not axis numbers: `ds.counts.sel(energy=1)`.",
        ),
        Member("counts_off", "0.16", "`ds.counts_off`", "FFT noise such as -5e-6 is rounded off when FITS is read."),
        Member("acceptance", "0.16", "`ds.acceptance`", "Always an array; `xonoff.from_map_dataset` takes a number."),
        Member("acceptance_off", "0.16", "`ds.acceptance_off`", "See [stacks](#stacks)."),
        Member("exposure", "0.16", "`ds.exposure`", "In m2 s, always. Livetime is a coordinate of its own, s."),
        Member(
            "psf",
            "0.16",
            "`ds.psf`, `xonoff.psf`",
            "An array over true energy (or energy), offset and its own sky grid. Its exposure is `psf_exposure`.",
        ),
        Member(
            "edisp",
            "0.16",
            "`ds.edisp`",
            "Kernel (`energy_true`, `energy`) or density (`energy_true`, `migra`), told apart by its dimensions.",
        ),
        Member("mask_safe", "0.16", "`ds.mask_safe`", "Of bool. Without one, all bins count."),
        Member(
            "mask_fit",
            "0.16",
            "`ds.mask_fit`",
            "Set it with `ds.assign(mask_fit=...)`. It is kept by every file format.",
        ),
    ],
    "Masks and geometry": [
        Member("mask", "0.16", "`ds.onoff.mask`", "Never None: True where there is no mask."),
        Member("mask_image", "later", "`ds.onoff.mask_image`", ""),
        Member("mask_safe_image", "0.18", "`ds.onoff.mask_safe_image`", ""),
        Member("mask_fit_image", "later", "`ds.onoff.mask_fit_image`", ""),
        Member(
            "mask_safe_psf",
            "0.18",
            "`ds.onoff.mask_safe_psf`",
            "A pixel of the response counts if any of the pixels nearest to it does. There is `ds.onoff.mask_fit_psf` too.",
        ),
        Member(
            "mask_safe_edisp",
            "0.18",
            "`ds.onoff.mask_safe_edisp`",
            "By nearest pixel; gammapy interpolates a mask linearly, see [stacks](#stacks). There is `ds.onoff.mask_fit_edisp` too.",
        ),
        Member(
            "energy_range", "later", "`ds.onoff.energy_range`", "Two maps, TeV, NaN where nothing is left, in both."
        ),
        Member("energy_range_safe", "later", "`ds.onoff.energy_range_safe`", ""),
        Member("energy_range_fit", "later", "`ds.onoff.energy_range_fit`", ""),
        Member("energy_range_total", "later", "`ds.onoff.energy_range_total`", ""),
        Member("data_shape", "0.16", "`ds.onoff.data_shape`", ""),
        Member(
            "geoms",
            "0.18",
            "`ds.onoff.geom`, `ds.onoff.wcs`",
            "The header of the parent grid and pixel labels travel with the arrays; every geometry is derived from them.",
        ),
    ],
    "Statistics": [
        Member("alpha", "0.16", "`ds.onoff.alpha`", "NaN without off exposure, see [alpha](#alpha)."),
        Member(
            "background", "0.16", "`ds.onoff.background`", "NaN where alpha is. An error, not None, without off counts."
        ),
        Member(
            "excess",
            "0.16",
            "`ds.onoff.excess`",
            "NaN where alpha is; gammapy has the counts there, or minus infinity.",
        ),
        Member(
            "stat_array",
            "0.16",
            "`ds.onoff.stat_array`, `ds.onoff.wstat`",
            "Invalid bins are NaN, not 0. No mask is applied, in both. See [WStat](#wstat).",
        ),
        Member(
            "stat_sum",
            "0.16",
            "`ds.onoff.stat_sum`",
            "Valid bins within the masks. `models=` takes others than the dataset's own.",
        ),
        Member("stat_type", "0.16", "not needed: it is always WStat", ""),
        Member("npred", "0.16", "`ds.onoff.npred`", "Not cut at 0. In 0.16 and 0.17 it is the signal alone."),
        Member(
            "npred_signal",
            "0.18",
            "`ds.onoff.npred_signal`",
            "`per_model=True` is `stack=False`. See [prediction](#prediction).",
        ),
        Member(
            "npred_background",
            "0.18",
            "`ds.onoff.npred_background`",
            "The profiled background in the on region, in both.",
        ),
        Member(
            "npred_off",
            "0.18",
            "`ds.onoff.npred_off`",
            "The profiled background in the off region, exact where alpha is 0.",
        ),
        Member(
            "residuals",
            "0.16",
            "`ds.onoff.residuals`",
            "The same three methods. `smooth=` is an angle; `dim='energy'` sums before it smooths.",
        ),
        Member(
            "info_dict",
            "0.18",
            "`ds.onoff.info`",
            "A Dataset of scalars, lazy on dask, that counts invalid bins by reason. `alpha` is sum(alpha n_off) / sum(n_off) in both.",
        ),
    ],
    "Models": [
        Member(
            "models",
            "0.16",
            "`ds.onoff.models`, `ds.onoff.assign_models`",
            "Assigning gives a new dataset. Models are kept by cutouts, images, copies and every file.",
        ),
        Member(
            "evaluators",
            "0.17",
            "`xonoff.Predictor`",
            "Not needed for a single prediction; a `Predictor` works out only what has changed.",
        ),
        Member(
            "background_model",
            "0.16",
            "not needed: the background is profiled",
            "None in 2.1 for on/off data. In 0.16 an argument of the dataset.",
        ),
        Member(
            "fake",
            "0.16",
            "`ds.onoff.fake`",
            "A new dataset; `seed` in place of `random_state`. The same counts for any chunks.",
        ),
    ],
    "Cut, join, stack": [
        Member("cutout", "0.16", "`ds.onoff.cutout`", "Name and models are kept. The three modes are the same."),
        Member("pad", "0.18", "`ds.onoff.pad`", "gammapy's raises NotImplementedError."),
        Member(
            "slice_by_idx",
            "0.18",
            "`ds.isel`",
            "Of xarray: `ds.isel(energy=slice(1, 4), lat=slice(10, 20))`. WCS and axes follow.",
        ),
        Member(
            "slice_by_energy",
            "0.18",
            "`ds.onoff.slice_by_energy`",
            "Bins with both edges in the range. gammapy takes the nearest edges: 1 to 4.7 TeV may become 1 to 4.64 there.",
        ),
        Member(
            "downsample",
            "0.18",
            "`ds.onoff.downsample`",
            "`axis='energy'` in place of `axis_name=`. Acceptances are summed, not averaged; alpha is the same. PSF and dispersion stay.",
        ),
        Member(
            "resample_energy_axis",
            "0.18",
            "`ds.onoff.resample_energy`",
            "Edges have to be edges of the dataset; gammapy takes the nearest ones without a word.",
        ),
        Member("to_image", "0.16", "`ds.onoff.to_image`", "See [images](#images)."),
        Member(
            "to_masked",
            "later",
            "`ds.onoff.to_masked`",
            "Invalid bins become 0 too, as there with `nan_to_num`. Models are kept.",
        ),
        Member(
            "stack",
            "0.16",
            "`xonoff.stack`, `ds.onoff.stack`",
            "A new dataset, not in place; any order. See [stacks](#stacks).",
        ),
        Member("to_spectrum_dataset", "0.16", "`ds.onoff.to_spectrum`", "See [spectra](#spectra)."),
        Member(
            "to_region_map_dataset",
            "later",
            "`ds.onoff.to_spectrum`",
            "gammapy's loses the off counts of an on/off dataset; a spectrum here has all variables but the PSF.",
        ),
    ],
    "Files": [
        Member(
            "read",
            "0.16",
            "`xonoff.open_dataset`",
            "Lazy where the file allows it. netCDF, Zarr and OGIP by the same name.",
        ),
        Member(
            "write",
            "0.16",
            "`ds.onoff.to_fits`",
            "gammapy reads it. Also `ds.onoff.to_zarr`, `ds.onoff.to_netcdf`, `ds.onoff.to_ogip`.",
        ),
        Member("to_hdulist", "0.16", "`ds.onoff.to_hdulist`", ""),
        Member("from_hdulist", "0.16", "`xonoff.from_hdulist`", ""),
        Member("to_dict", "0.16", "`ds.onoff.to_dict`", "`filename` is an argument, as it was in 0.16 to 0.18."),
        Member("from_dict", "0.16", "`xonoff.from_dict`", "Takes `components` and `models`, as in 0.16."),
        Member("reset_data_cache", "0.18", "not needed: nothing is cached on a dataset", "Open again what was loaded."),
    ],
    "Plots": [
        Member("peek", "later", "`ds.onoff.peek`", "Counts, excess, significance and spectrum."),
        Member(
            "plot_residuals",
            "0.16",
            "`ds.onoff.plot_residuals`",
            "With `region=` the spectrum too, as in 0.16 and 0.17.",
        ),
        Member(
            "plot_residuals_spatial", "0.18", "`ds.onoff.plot_residuals`", "Without `region`. `smooth=` is an angle."
        ),
        Member(
            "plot_residuals_spectral",
            "0.18",
            "`ds.onoff.plot_residuals`",
            "All three methods; gammapy's takes no `diff/model`.",
        ),
    ],
}

GONE = [
    Other(
        "`apply_mask_safe()` (0.18)", "`ds.onoff.to_masked`", "In place there, a new dataset here. gammapy renamed it."
    ),
    Other("`parameters` (0.16)", "`ds.onoff.parameters`", "A table here. gammapy 2.1 has it at `models.parameters`."),
    Other(
        "`evaluation_mode=` (0.16, 0.17)",
        "`evaluation_mode=` of `ds.onoff.npred_signal` and the statistics",
        "`'local'` leaves out 1e-5 of a source and hands it to the rest. A constant of a module in gammapy 2.1.",
    ),
    Other(
        "`background_model=` (0.16)",
        "`ds.background` with `xonoff.from_map_dataset`",
        "On/off data need none: the background is profiled.",
    ),
    Other(
        "`fake(background_model)` (0.16, 0.17)",
        "`ds.onoff.fake`",
        "The first argument is `background`: a number or an array.",
    ),
    Other("`fake(npred_background)` (from 0.18)", "`ds.onoff.fake`", "The same argument."),
    Other("`to_image(spectrum)` (0.16, 0.17)", "`ds.onoff.to_image`", "`spectrum=` is here again, an astropy model."),
    Other(
        "`plot_residuals(smooth_kernel, smooth_radius)` (0.16, 0.17)",
        "`ds.onoff.plot_residuals`",
        "`smooth='0.1 deg'`, a Gaussian.",
    ),
    Other(
        "`excess` and `mask_fit` as arrays (0.16, 0.17)",
        "`ds.onoff.excess`, `ds.mask_fit`",
        "DataArrays; `.values` is the array.",
    ),
    Other("`likelihood()` (before 0.16)", "`ds.onoff.stat_sum`, `xonoff.Likelihood`", ""),
]

AROUND = [
    Other(
        "`Datasets.read`, `Datasets.write`",
        "`xonoff.open_datasets`, `xonoff.save_datasets`",
        "gammapy needs `lazy=False` for on/off data.",
    ),
    Other("`Datasets.stack_reduce`", "`xonoff.stack`", "Takes an iterator with `geom=`: one run in memory at a time."),
    Other("`Datasets.info_table`", "`ds.onoff.info` of each", "`xr.concat([d.onoff.info() for d in runs], 'run')`."),
    Other("`Datasets`, many runs", "`xonoff.Archive`", "One store, an index to search, surveys beyond memory."),
    Other("`WcsGeom.create`, `MapAxis.from_energy_bounds`", "`xonoff.Geom`, `xonoff.energy_edges`", ""),
    Other(
        "`RingBackgroundMaker`",
        "`xonoff.ring_background`",
        "Radii are true angles, off counts whole. See [ring backgrounds](background.md).",
    ),
    Other(
        "`AdaptiveRingBackgroundMaker`",
        "`xonoff.adaptive_ring_background`",
        "See [ring backgrounds](background.md#beside-gammapy).",
    ),
    Other(
        "`ReflectedRegionsBackgroundMaker`",
        "`xonoff.reflected_spectrum`, `xonoff.reflected_regions`",
        "Of maps, weighted by acceptance.",
    ),
    Other(
        "`ExcessMapEstimator`",
        "`ds.onoff.excess_map`, `ds.onoff.correlate`",
        "Off counts of a ring are not summed a second time.",
    ),
    Other("`TSMapEstimator`", "`xonoff.ts_map`", "gammapy's refuses on/off datasets."),
    Other(
        "`FluxPointsEstimator`",
        "`xonoff.flux_points`",
        "Bins are those of the data. gammapy reads the files of `xonoff.write_sed`.",
    ),
    Other("`Fit`", "`xonoff.fit`, `ds.onoff.fit`", "A new list of models with the best values; yours are left alone."),
    Other(
        "`Models.read`, `Models.write`",
        "`xonoff.io.model_yaml.read_models`, `xonoff.io.model_yaml.write_models`",
        "See [models](models.md#gammapys-yaml).",
    ),
    Other(
        "`WStatCountsStatistic`",
        "`xonoff.stats.excess_errors`, `xonoff.stats.upper_limit`",
        "For whole arrays. See [errors and limits](intervals.md).",
    ),
    Other("`find_peaks`", "`xonoff.find_peaks`", ""),
]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown of a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def members() -> str:
    """Markdown of `MEMBERS`: a heading and a table for each group."""
    parts = []
    for group, rows in MEMBERS.items():
        cells = [(f"`{row.name}`", row.since, row.ours, row.differs) for row in rows]
        parts.append(f"### {group}\n\n" + table(("gammapy 2.1", "since", "xonoff", "what differs"), cells))
    return "\n\n".join(parts)


TABLES = {
    "members": members(),
    "gone": table(("gammapy 0.16 to 0.18", "xonoff", "what differs"), GONE),
    "around": table(("gammapy", "xonoff", "what differs"), AROUND),
}


def page(text: str) -> str:
    """Put the tables into the text of the page, between ``<!-- name -->`` and ``<!-- /name -->``."""
    for name, markdown in TABLES.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, rest = text.split(start)
        text = f"{before}{start}\n\n{markdown}\n\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
