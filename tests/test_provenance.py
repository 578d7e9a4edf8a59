"""What made a dataset: recorded by our functions, kept by every format, lost by none of our steps."""

import numpy as np
import pytest
import xarray as xr

import xonoff
from xonoff.provenance import provenance, recorded

VERSION = f"xonoff {xonoff.__version__}"


def test_steps_follow_each_other(ds):
    made = ds.onoff.cutout((83.63, 22.01), "1 deg").onoff.downsample(2).onoff.to_image(keep_energy_true=True)
    steps = made.onoff.provenance
    assert [step["function"] for step in steps] == ["downsample", "to_image"]
    assert steps[0]["parameters"] == {"factor": 2}
    assert steps[1]["parameters"] == {"keep_energy_true": True}
    assert all(step["made_by"] == VERSION and step["inputs"] == ["tutorial"] for step in steps)


def test_inputs_are_left_alone(ds):
    before = dict(ds.attrs)
    ds.onoff.to_image()
    assert ds.attrs == before
    assert provenance(ds) == []


def test_a_stack_names_its_inputs(ds):
    one, two = ds.assign_attrs(name="one"), ds.onoff.downsample(1).assign_attrs(name="two")
    expected = [{"function": "stack", "made_by": VERSION, "inputs": ["one", "two"], "parameters": {}}]
    assert provenance(xonoff.stack([one, two])) == expected
    assert provenance(xonoff.stack(iter([one, two]), geom=ds.onoff.geom)) == expected


def test_the_functions_that_make_datasets_record(ds):
    made = {
        "ring_background": ds.onoff.ring_background("0.5 deg", "0.3 deg"),
        "fake": ds.onoff.fake(ds.onoff.background, seed=1),
        "excess_map": ds.onoff.excess_map("0.1 deg"),
        "group": ds.onoff.group(10),
    }
    for name, result in made.items():
        assert provenance(result)[-1]["function"] == name
    assert provenance(made["fake"])[-1]["parameters"]["background"] == "DataArray 'background'"
    assert provenance(made["fake"])[-1]["parameters"]["seed"] == 1
    ring = provenance(made["ring_background"])[-1]
    assert ring["parameters"] == {"r_in": "0.5 deg", "width": "0.3 deg"}


@pytest.mark.parametrize("end", ["fits", "nc", "zarr"])
def test_every_format_keeps_it(ds, tmp_path, end):
    made = ds.onoff.ring_background("0.5 deg", "0.3 deg")
    path = tmp_path / f"a.{end}"
    getattr(made.onoff, {"fits": "to_fits", "nc": "to_netcdf", "zarr": "to_zarr"}[end])(path)
    again = xonoff.open_dataset(path)
    assert again.onoff.provenance == made.onoff.provenance != []
    assert xonoff.backgrounds.is_correlated(again)


def test_ogip_keeps_it(ds, tmp_path):
    from regions import CircleSkyRegion

    region = CircleSkyRegion(ds.onoff.geom.sky.skycoord()[20, 20], xonoff.units.u.Quantity(0.3, "deg"))
    spectrum = ds.onoff.to_spectrum(region)
    spectrum.onoff.to_ogip(tmp_path / "pha.fits")
    again = xonoff.open_dataset(tmp_path / "pha.fits")
    assert [step["function"] for step in again.onoff.provenance] == ["to_spectrum"]


def test_lazy_data_is_not_looked_at(lazy, no_compute):
    assert lazy.onoff.to_image().onoff.provenance[0]["function"] == "to_image"


def test_long_parameters_are_cut():
    @recorded
    def scaled(ds: xr.Dataset, factors: object, **options: object) -> xr.Dataset:
        return ds

    made = scaled(xr.Dataset(attrs={"name": "a"}), np.arange(10**6), mode="all", when=[1, 2.5, None])
    [step] = provenance(made)
    assert len(step["parameters"].pop("factors")) <= 203
    assert step["parameters"] == {"mode": "all", "when": [1, 2.5, None]}


@recorded
def joined(datasets: object, value: object = None) -> xr.Dataset:
    return xr.Dataset(attrs={"name": "joined"})


@pytest.mark.parametrize("several", [list, tuple, iter])
def test_several_inputs_are_named(several):
    one, two = (xr.Dataset(attrs={"name": name}) for name in ("one", "tw\u00f6"))
    assert provenance(joined(several([one, two])))[0]["inputs"] == ["one", "tw\u00f6"]
    step = joined(one)
    made = provenance(joined(several([step]), value=iter("ab")))
    assert [(entry["inputs"], entry["parameters"]) for entry in made] == [
        (["one"], {}),
        (["joined"], {"value": ["a", "b"]}),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "nan"),
        ([1.5, np.float32(-np.inf)], [1.5, "-inf"]),
        (np.float32(0.5), 0.5),
        ("x" * 10**6, "x" * 200 + "..."),
        (lambda e: e, "<function <lambda>>"),
        (object(), "<object object>"),
        (xonoff.units.u.Quantity([1, 2], "deg"), "[1. 2.] deg"),
        ("a\ud800\0<b>", "a\ud800\0<b>"),
    ],
)
def test_parameters_are_json_that_is_the_same_each_time(value, expected):
    if callable(value):
        expected = expected.replace("<lambda>", value.__qualname__)
    made = joined(xr.Dataset(), value)
    text = made.attrs["provenance"]
    assert text.isascii()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert provenance(made)[0]["parameters"] == {"value": expected}


def test_what_others_wrote_becomes_json():
    made = joined(xr.Dataset(attrs={"provenance": '[{"a": NaN}]'}))
    assert provenance(made)[0] == {"a": "NaN"}
    assert "NaN}" not in made.attrs["provenance"]


@pytest.mark.parametrize("end", ["fits", "nc", "zarr"])
def test_a_stack_of_thousands_is_kept(ds, tmp_path, end):
    names = [f"run {number} of a survey of the whole plane" for number in range(2000)]
    stacked = ds.assign_attrs(xonoff.provenance.made("stack", names, {}))
    assert len(stacked.attrs["provenance"]) > 2**16
    path = tmp_path / f"a.{end}"
    getattr(stacked.onoff, {"fits": "to_fits", "nc": "to_netcdf", "zarr": "to_zarr"}[end])(path)
    assert xonoff.open_dataset(path).onoff.provenance[0]["inputs"] == names


@pytest.mark.parametrize("columns", [[("ACTIVITY", "3A", ["a", "b"])], [("WHAT", "J", [1]), ("WHO", "1A", ["x"])], []])
def test_tables_of_others_are_left_out(ds, tmp_path, columns):
    from astropy.io import fits

    made = [fits.Column(name, form, array=np.array(values)) for name, form, values in columns]
    hdu = fits.BinTableHDU.from_columns(made) if made else fits.ImageHDU(np.zeros((2, 2)))
    hdu.name = "PROVENANCE"
    ds.onoff.to_fits(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as hdus:
        fits.HDUList([*hdus, hdu]).writeto(tmp_path / "b.fits")
    assert "provenance" not in xonoff.open_dataset(tmp_path / "b.fits").attrs


@pytest.mark.parametrize("text", ["", "by hand", "{}", "[1, 2]", 3, "[" * 10**5])
def test_what_others_wrote_is_not_ours(text):
    assert provenance(xr.Dataset(attrs={"provenance": text})) == []
