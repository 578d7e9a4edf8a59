"""Sky models: names, the table of parameters, and JSON text that is exact and never trusted."""

import copy
import json

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.modeling import Fittable1DModel
from hypothesis import given, settings
from hypothesis import strategies as st
from regions import CircleSkyRegion

import xonoff
from xonoff import ModelError
from xonoff.models import (
    Absorption,
    ConstantSource,
    DiskSource,
    ExponentialCutoffPowerLaw1D,
    GaussianSource,
    LogParabola1D,
    PointSource,
    PowerLaw1D,
    ShellSource,
    SkyModel,
    TemplateSource,
    TemplateSpectrum,
    flux,
    from_json,
    model_list,
    named_parameters,
    parameters,
    to_json,
)

SKY = xonoff.SkyGrid.create((110, 1), shape=(3, 4), pixel_size=0.1, projection="TAN", frame="galactic")


def every_kind() -> list[SkyModel]:
    absorbed = PowerLaw1D(1e-12, 1, 2) * Absorption([0.1, 10], [0, 1], [[0, 0], [1, 5]], redshift=0.5)
    in_units = PowerLaw1D(3e-8 * u.Unit("m-2 s-1 TeV-1"), 1000 * u.GeV, 2.2)
    bounded = LogParabola1D(1e-12, 1, 2.3, 0.1)
    bounded.alpha.bounds, bounded.x_0.fixed, bounded.alpha.std = (1, 5), True, 0.07
    image = np.random.default_rng(1).uniform(size=(3, 4))
    return [
        SkyModel("point", in_units, PointSource(83.63, 22.01)),
        SkyModel("gauss", bounded, GaussianSource(109.5, 1.3, 0.15, 0.6, 40, frame="galactic"), psf=False),
        SkyModel("disk", absorbed, DiskSource(1, 2, 0.3), edisp=False),
        SkyModel("shell", absorbed + PowerLaw1D(1e-13, 1, 3), ShellSource(1, 2, 0.3, 0.1)),
        SkyModel("all", TemplateSpectrum([1, 10], [1e-12, 1e-14]), ConstantSource()),
        SkyModel("map", ExponentialCutoffPowerLaw1D(1e-12, 1, 2, 10), TemplateSource(image, SKY)),
        SkyModel("region", PowerLaw1D(1e-12, 1, 2)),
    ]


def test_json_is_exact_both_ways():
    models = every_kind()
    text = to_json(models)
    again = from_json(text)
    assert to_json(again) == text
    for one, two in zip(models, again, strict=True):
        assert (one.name, one.psf, one.edisp) == (two.name, two.psf, two.edisp)
        for part, other in zip(one.parts, two.parts, strict=True):
            assert type(part) is type(other)
            assert part.parameters.tolist() == other.parameters.tolist()
            assert part.fixed == other.fixed
            assert part.bounds == other.bounds
        np.testing.assert_array_equal(flux(one.spectral, [0.5, 3]), flux(two.spectral, [0.5, 3]))
    assert again[1].spatial.frame == "galactic"
    np.testing.assert_array_equal(again[5].spatial.image, models[5].spatial.image)
    assert again[5].spatial.sky == models[5].spatial.sky


def test_json_keeps_the_names_of_parts():
    parts = PowerLaw1D(1e-12, 1, 2, name="source"), Absorption([0.1, 10], [0, 1], [[0, 0], [1, 5]], name="ebl")
    spectrum = (parts[0] * parts[1]).rename("absorbed") + PowerLaw1D(name="")
    template = TemplateSource(np.ones((3, 4)), SKY)
    template.name = "map"
    models = [SkyModel("one", spectrum, GaussianSource(1, 2, 3, name="core")), SkyModel("two", PowerLaw1D(), template)]
    one, two = from_json(to_json(models))
    assert to_json([one, two]) == to_json(models)
    assert [one.spectral.name, one.spectral.left.name, one.spectral.right.name] == [None, "absorbed", ""]
    assert one.spectral["ebl"].redshift.value == 0
    assert [one.spectral.left.left.name, one.spatial.name, two.spatial.name] == ["source", "core", "map"]


def test_what_a_fit_may_have_made_of_a_model_is_not_written():
    for change in (
        lambda model: setattr(model.spatial, "sigma", -1.0),
        lambda model: setattr(model.spatial, "e", 1.0),
        lambda model: setattr(model.spectral.alpha, "bounds", (3, 1)),
        lambda model: setattr(model.spectral.alpha, "std", -0.1),
    ):
        model = SkyModel("m", PowerLaw1D(), GaussianSource(1, 2, 3))
        change(model)
        with pytest.raises(ModelError, match="found"):
            to_json(model)
        with pytest.raises(ModelError, match="found"):
            model.copy()


def settled(**settings):
    """A power law with settings of its index."""
    spectrum = PowerLaw1D()
    for name, value in settings.items():
        setattr(spectrum.alpha, name, value)
    return spectrum


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3))
def test_every_float_comes_back_bit_by_bit(values):
    values[1] = abs(values[1]) or 1.0  # an energy
    model = SkyModel("m", PowerLaw1D(*values))
    assert from_json(to_json(model))[0].spectral.parameters.tobytes() == model.spectral.parameters.tobytes()


def test_the_table_of_parameters():
    table = parameters(every_kind())
    assert table.colnames == ["name", "value", "unit", "min", "max", "fixed", "error"]
    row = table[list(table["name"]).index("gauss.alpha")]
    assert (row["value"], row["min"], row["max"], row["error"], row["fixed"]) == (2.3, 1, 5, 0.07, False)
    row = table[list(table["name"]).index("point.amplitude")]
    assert u.Unit(row["unit"]) == u.Unit("m-2 s-1 TeV-1")
    assert np.isnan(row["error"])
    units = dict(zip(table["name"], table["unit"], strict=True))
    assert units["gauss.amplitude"] == "cm-2 s-1 TeV-1"
    assert units["disk.amplitude_0"] == "cm-2 s-1 TeV-1"  # the absorption has none
    assert units["shell.amplitude_0"] == ""
    assert units["shell.x_0_0"] == units["map.x_cutoff"] == "TeV"
    assert units["gauss.sigma"] == units["gauss.lon_0"] == "deg"
    assert units["gauss.e"] == units["gauss.alpha"] == ""
    assert "<table" in SkyModel("<b>", PowerLaw1D())._repr_html_()
    assert "<b>" not in SkyModel("<b>", PowerLaw1D())._repr_html_()
    assert len(parameters([])) == 0


def test_parameters_are_those_of_the_models_and_copies_have_their_own():
    model = SkyModel("a", PowerLaw1D(1e-12, 1, 2) + PowerLaw1D(1e-13, 1, 3), GaussianSource(1, 2, 0.1))
    named_parameters(model)["a.alpha_1"].value = 2.5
    assert model.spectral.alpha_1.value == 2.5
    assert flux(model.spectral, 10.0) == pytest.approx(1e-14 + 1e-13 * 10**-2.5)
    other = model.copy("b")
    named_parameters(other)["b.sigma"].value = 3
    assert model.spatial.sigma.value == 0.1
    assert copy.deepcopy(other).spatial.frame == "icrs"


def test_a_name_that_both_parts_have():
    template = SkyModel("t", TemplateSpectrum([1, 2], [1, 1]), TemplateSource(np.ones((3, 4)), SKY))
    assert list(named_parameters(template)) == ["t.norm", "t.spatial.norm"]


class Unknown(Fittable1DModel):
    """A class that text cannot name."""

    def evaluate(self, x):
        return x


def tied():
    spectrum = PowerLaw1D()
    spectrum.alpha.tied = lambda model: 2.0
    return SkyModel("m", spectrum)


def changed(**entries):
    """Text of a model with some of its entries changed."""
    data = json.loads(to_json(SkyModel("m", PowerLaw1D(), PointSource(1, 2))))
    for path, value in entries.items():
        *keys, last = path.split("__")
        target = data["models"][0]
        for key in keys:
            target = target[key]
        target[last] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SkyModel("", PowerLaw1D()), r"name '' found, text accepted"),
        (lambda: SkyModel("m", 3), r"a int found, an astropy model"),
        (lambda: SkyModel("m", PowerLaw1D(), PowerLaw1D()), r"a PowerLaw1D for its shape found"),
        (lambda: SkyModel("m", PowerLaw1D(), psf=1), r"psf = 1 found, True or False"),
        (lambda: SkyModel("m", PowerLaw1D()).copy(""), r"name '' found"),
        (lambda: SkyModel("m", settled(bounds=(3, 1))), r"m.alpha: bounds \(3.0, 1.0\) found, \(low, high\) accepted"),
        (lambda: SkyModel("m", settled(bounds=(np.nan, None))), r"m.alpha: bounds \(nan, None\) found"),
        (
            lambda: SkyModel("m", settled(std=-0.1) + PowerLaw1D()),
            r"m.alpha_0: an error \(std\) of -0.1 found, 0 or more",
        ),
        (lambda: SkyModel("m", settled(std=np.nan)), r"m.alpha: an error \(std\) of nan found"),
        (lambda: to_json(SkyModel("m", PowerLaw1D(name=3))), r"m: name '3' found, text accepted"),
        (lambda: model_list([3]), r"a int found, xonoff.models.SkyModel"),
        (lambda: model_list([SkyModel("m", PowerLaw1D())] * 2), r"the name 'm' found twice"),
        (lambda: to_json(SkyModel("m", Unknown())), r"class Unknown found, one of \['Absorption'"),
        (lambda: to_json(tied()), r"m.alpha: it is tied by a function"),
        (lambda: to_json(SkyModel("m", PowerLaw1D(np.nan))), r"not finite"),
        (lambda: from_json("{"), r"no JSON"),
        (lambda: from_json(3), r"no JSON"),
        (lambda: from_json("[" * 100_000), r"no JSON"),
        (lambda: from_json('{"version": 1, "models": [{"a": NaN}]}'), r"NaN found"),
        (lambda: from_json("[]"), r"'\[\]' found"),
        (lambda: from_json('{"version": 2, "models": []}'), r'"version": 1'),
        (lambda: from_json(changed(spectral__type="eval")), r"m.spectral: type 'eval' found, one of"),
        (lambda: from_json(changed(spectral__type="__import__('os')")), r"type \"__import__\('os'\)\" found"),
        (lambda: from_json(changed(spectral__type=["PowerLaw1D"])), r"type .* found, one of"),
        (lambda: from_json(changed(spatial__type="PowerLaw1D")), r"m.spatial: type 'PowerLaw1D' found"),
        (lambda: from_json(changed(spectral__code="1")), r"m.spectral: 'code' found"),
        (lambda: from_json(changed(spectral__parameters={})), r"no 'alpha' found"),
        (lambda: from_json(changed(spectral__parameters__alpha__value="2")), r"m.spectral.alpha.value: '2' found"),
        (lambda: from_json(changed(spectral__parameters__alpha__value=True)), r"'True' found, a number"),
        (lambda: from_json(changed(spectral__parameters__alpha__unit="foo")), r"unit 'foo' found"),
        (lambda: from_json(changed(spectral__parameters__alpha__bounds=[1])), r"bounds \[1\] found"),
        (lambda: from_json(changed(spectral__parameters__alpha__fixed="no")), r"fixed is true or false"),
        (lambda: from_json(changed(spectral__parameters__alpha__bounds=[3, 1])), r"m.alpha: bounds \(3.0, 1.0\) found"),
        (lambda: from_json(changed(spectral__parameters__alpha__error=-1)), r"m.alpha: an error \(std\) of -1 found"),
        (lambda: from_json(changed(spectral__name=["a"])), r"m.spectral: name \"\['a'\]\" found, text accepted"),
        (
            lambda: from_json(changed(spatial__parameters__lat_0__value=100)),
            r"m.spatial: PointSource: lat_0 = 100.0 found",
        ),
        (lambda: from_json(changed(spatial__frame="nowhere")), r"frame 'nowhere' found"),
        (lambda: from_json(changed(spatial__frame=3)), r"frame 3 found"),
        (lambda: from_json(changed(name=3)), r"name 3 found"),
        (lambda: from_json(changed(psf="yes")), r"psf = 'yes' found"),
        (lambda: from_json(changed(spectral__parameters__alpha__value=10**400)), r"not finite found"),
        (lambda: from_json(changed(spectral__parameters__alpha__unit=5)), r"unit '5' found"),
        (lambda: from_json(changed(spectral__parameters__alpha__unit="dex(m)")), r"unit 'dex\(m\)' found, .*not log"),
        (lambda: from_json(changed(spectral__parameters__alpha__unit="m" * 10**6)), r"(?s)\A.{,250}\Z"),
        (lambda: from_json(changed(spectral__parameters__alpha__bounds=["m" * 10**6])), r"(?s)\A.{,250}\Z"),
        (lambda: from_json(changed(spatial__frame=["m" * 10**6])), r"(?s)\A.{,250}\Z"),
        (lambda: from_json(changed(**{"spectral__" + "k" * 10**6: 1})), r"(?s)\A.{,350}\Z"),
        (lambda: from_json(changed(name="n" * 10**6, spectral=3)), r"(?s)\A.{,700}\Z"),
        (
            lambda: from_json(changed(spectral__parameters__x_0__value=0)),
            r"m.spectral.x_0: 0.0 found, an energy above 0",
        ),
        (lambda: from_json(changed(spectral__parameters__x_0__value=-1)), r"m.spectral.x_0: -1.0 found, an energy"),
        (lambda: to_json(SkyModel("m", PowerLaw1D(1, 0, 2))), r"m.x_0: 0.0 found, an energy above 0 accepted"),
        (lambda: to_json(SkyModel("m", settled(bounds=(np.inf, None)))), r"not finite found"),
        (lambda: from_json('{"version": true, "models": []}'), r'"version": 1'),
        (lambda: from_json('{"version": 1.0, "models": []}'), r'"version": 1'),
        (
            lambda: from_json('{"version": 1, "models": [], "models": []}'),
            r"the key 'models' found twice in one object",
        ),
        (lambda: from_json(changed().replace('"value": ', '"value": 9, "value": ', 1)), r"the key 'value' found twice"),
        (lambda: from_json(changed().replace(": 1.0,", ": 1e400,", 1)), r"not finite found"),
        (lambda: to_json(SkyModel("m", sum((PowerLaw1D() for _ in range(60)), PowerLaw1D()))), r"50 in each other"),
    ],
)
def test_what_is_no_model_is_refused(call, message):
    with pytest.raises(ModelError, match=message):
        call()


@pytest.mark.parametrize("suffix", ["fits", "nc", "zarr"])
def test_models_travel_with_a_dataset(tmp_path, suffix):
    ds = xonoff.tutorial.dataset()
    carrying = ds.onoff.assign_models(every_kind())
    assert ds.onoff.models == []
    assert len(ds.onoff.parameters) == 0
    assert to_json(carrying.onoff.models) == to_json(every_kind())
    assert list(carrying.onoff.parameters["name"]) == list(named_parameters(every_kind()))
    assert to_json(carrying.isel(energy=slice(2)).onoff.to_image().onoff.models) == to_json(every_kind())
    path = tmp_path / f"a.{suffix}"
    getattr(carrying.onoff, {"fits": "to_fits", "nc": "to_netcdf", "zarr": "to_zarr"}[suffix])(path)
    assert to_json(xonoff.open_dataset(path).onoff.models) == to_json(every_kind())
    assert carrying.onoff.assign_models(None).attrs == ds.attrs
    assert carrying.onoff.assign_models([]).attrs == ds.attrs
    assert [m.name for m in carrying.onoff.assign_models(every_kind()[0]).onoff.models] == ["point"]
    with pytest.raises(ModelError, match="a list found, text accepted"):
        _ = ds.assign_attrs(models=[1]).onoff.models


def test_models_travel_with_a_spectrum_and_a_damaged_table_is_refused(tmp_path):
    circle = CircleSkyRegion(SkyCoord(83.63, 22.01, unit="deg"), 0.3 * u.deg)
    spectrum = xonoff.tutorial.dataset().onoff.assign_models(every_kind()).onoff.to_spectrum(circle)
    spectrum.onoff.to_ogip(tmp_path / "pha.fits")
    assert to_json(xonoff.open_dataset(tmp_path / "pha.fits").onoff.models) == to_json(every_kind())
    with pytest.raises(xonoff.SchemaError, match="printable ASCII text accepted"):
        xonoff.tutorial.dataset().assign_attrs(models="é").onoff.to_fits(tmp_path / "e.fits")
    assert not (tmp_path / "e.fits").exists()
    hdus = xonoff.tutorial.dataset().onoff.to_hdulist()
    hdus.append(fits.BinTableHDU.from_columns([fits.Column("TEXT", "J", array=[1, 2])], name="MODELS"))
    with pytest.raises(xonoff.FormatError, match=r"HDU MODELS: .* one text in TEXT accepted"):
        xonoff.from_hdulist(hdus)


def test_names_of_catalogues_have_dots():
    models = [SkyModel(name, PowerLaw1D()) for name in ("4FGL J0534.5+2201", "4FGL J0534")]
    assert "4FGL J0534.5+2201.alpha" in named_parameters(models)
    assert [model.name for model in from_json(to_json(models))] == [model.name for model in models]
    twins = [
        SkyModel("a", TemplateSpectrum([1, 2], [1, 2]), TemplateSource(np.ones((3, 4)), SKY)),
        SkyModel("a.spatial", TemplateSpectrum([1, 2], [1, 2])),
    ]
    with pytest.raises(ModelError, match=r"parameters: the name 'a.spatial.norm' found twice"):
        named_parameters(twins)
