"""Models in the YAML of gammapy: exact both ways, the same numbers as gammapy has, and nothing in a file is trusted."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.modeling.functional_models import Const1D
from astropy.modeling.powerlaws import Schechter1D
from hypothesis import example, given, settings
from hypothesis import strategies as st

import xonoff
from xonoff import FormatError, ModelError
from xonoff.io.model_table import ABSORPTION, COMPOUND, SHAPES, SPECTRA, TEMPLATE
from xonoff.io.model_yaml import models_from_dict, models_to_dict, read_models, write_models
from xonoff.models import (
    Absorption,
    BrokenPowerLaw1D,
    ConstantSource,
    DiskSource,
    ExponentialCutoffPowerLaw1D,
    GaussianSource,
    LogParabola1D,
    PointSource,
    PowerLaw1D,
    ShellSource,
    SkyModel,
    SmoothlyBrokenPowerLaw1D,
    TemplateSource,
    TemplateSpectrum,
    flux,
    named_parameters,
    parameters,
    to_json,
)

ENERGIES = np.geomspace(0.05, 80, 41)
PLACE = (83.63, 22.01)
SKY = xonoff.SkyGrid.create((0, 0), shape=(2, 2), pixel_size=1)


def changed(model, **parameters):
    """Model with other bounds, errors and fixed parameters."""
    for name, (fixed, bounds, error) in parameters.items():
        parameter = getattr(model, name)
        parameter.fixed, parameter.bounds, parameter.std = fixed, bounds, error
    return model


def absorption():
    energies, redshifts = np.geomspace(0.01, 100, 9), [0.01, 0.1, 0.5]
    return Absorption(energies, redshifts, np.outer(redshifts, 3 * energies), redshift=0.2, strength=1.1)


def table(**norm):
    return changed(TemplateSpectrum([0.01, 1, 100], [1e-9, 1e-12, 1e-16], norm=1.7), **norm)


def exact() -> list[SkyModel]:
    """Models whose numbers are the same on both sides."""
    power = changed(PowerLaw1D(3.5e-11, 0.7, 2.6), alpha=(False, (1, 5), 0.07), x_0=(True, (None, None), None))
    plain = changed(table(), norm=(True, (0, None), None))
    plain.norm.value = 1
    return [
        SkyModel("power", power, PointSource(*PLACE)),
        SkyModel("log é", LogParabola1D(1e-12, 10, 2.3, 0.1), GaussianSource(*PLACE, 0.2, frame="galactic"), psf=False),
        SkyModel("broken", BrokenPowerLaw1D(1e-12, 0.5, 1.5, 3), GaussianSource(*PLACE, 0.15, 0.6, 40), edisp=False),
        SkyModel("constant", PowerLaw1D() + Const1D(1e-15), DiskSource(*PLACE, 0.3)),
        SkyModel("difference", LogParabola1D() - PowerLaw1D(1e-14, 1, 2), DiskSource(*PLACE, 0.3, 0.7, -30)),
        SkyModel("product", PowerLaw1D(1e-12, 1, 2) * LogParabola1D(2, 10, 0.1, 0.05), ShellSource(*PLACE, 0.3, 0.1)),
        SkyModel("table", plain),
        SkyModel("free table", table(norm=(False, (0.1, 9), 0.2))),
        SkyModel("tables", table() * PowerLaw1D(1.5, 1, 0.2) + table(norm=(True, (0, 9), None))),
    ]


def converted() -> list[SkyModel]:
    """Models whose numbers are converted, so that the last digit may be another one."""
    cutoff = changed(ExponentialCutoffPowerLaw1D(1e-12, 1, 1.8, 49), x_cutoff=(False, (10, 300), 7))
    smooth = changed(
        SmoothlyBrokenPowerLaw1D(1e-12, 0.5, 1.5, 3, 0.4),
        amplitude=(True, (1e-13, 1e-11), 3e-13),
        delta=(True, (0.1, 2), 0.1),
    )
    return [
        SkyModel("cutoff", cutoff, ConstantSource(2.5)),
        SkyModel("smooth", smooth, ConstantSource(frame="galactic")),
        SkyModel("other way", SmoothlyBrokenPowerLaw1D(1e-12, 0.5, 3, 1.5, 0.4)),
        SkyModel("absorbed", absorption() * (PowerLaw1D(1e-12, 1, 2) + cutoff.copy())),
        SkyModel("cut twice", PowerLaw1D(1e-12, 1, 2) * ExponentialCutoffPowerLaw1D(1, 1, 0.1, 20)),
    ]


def assert_same(one: list[SkyModel], other: list[SkyModel], rtol: float) -> None:
    assert [(m.name, m.psf, m.edisp) for m in one] == [(m.name, m.psf, m.edisp) for m in other]
    first, second = parameters(one), parameters(other)
    for column in ("name", "unit", "fixed"):
        assert first[column].tolist() == second[column].tolist()
    for column in ("value", "min", "max", "error"):
        np.testing.assert_allclose(second[column], first[column], rtol=rtol, err_msg=column)
    for model, back in zip(one, other, strict=True):
        assert [type(part) for part in back.parts] == [type(part) for part in model.parts]
        assert getattr(back.spatial, "frame", None) == getattr(model.spatial, "frame", None)
        np.testing.assert_allclose(flux(back.spectral, ENERGIES), flux(model.spectral, ENERGIES), rtol=100 * rtol)


def test_there_and_back(tmp_path):
    write_models(exact(), tmp_path / "m.yaml")
    assert to_json(read_models(tmp_path / "m.yaml")) == to_json(exact())
    write_models(converted(), tmp_path / "m.yaml", overwrite=True)
    assert_same(converted(), read_models(tmp_path / "m.yaml"), 1e-14)
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.yaml"]


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3))
def test_every_float_comes_back_bit_by_bit(values):
    values[1] = abs(values[1]) or 1.0  # an energy
    text = yaml.safe_dump(models_to_dict(SkyModel("m", PowerLaw1D(*values))))
    (back,) = models_from_dict(yaml.safe_load(text))
    assert back.spectral.parameters.tobytes() == np.array(values).tobytes()


def test_models_in_units_are_written_in_ours():
    in_units = PowerLaw1D(3e-8 * u.Unit("m-2 s-1 TeV-1"), 300 * u.GeV, 2.2)
    in_units.x_0.bounds = (100, None)
    (back,) = models_from_dict(models_to_dict(SkyModel("m", in_units)))
    np.testing.assert_allclose(back.spectral.parameters, [3e-12, 0.3, 2.2], rtol=1e-15)
    assert back.spectral.x_0.bounds == (pytest.approx(0.1), None)
    np.testing.assert_allclose(flux(back.spectral, ENERGIES), flux(in_units, ENERGIES), rtol=1e-14)


def test_models_of_datasets(tmp_path):
    power, logs, *_ = exact()
    content = models_to_dict({"run 1": [power], "run 2": [power.copy(), logs]})
    assert [entry.get("datasets_names") for entry in content["components"]] == [None, ["run 2"]]
    write_models({"run 1": [power], "run 2": [power, logs]}, tmp_path / "m.yaml")
    assert [m.name for m in read_models(tmp_path / "m.yaml")] == ["power", "log é"]
    assert [m.name for m in read_models(tmp_path / "m.yaml", dataset="run 1")] == ["power"]
    assert [m.name for m in read_models(tmp_path / "m.yaml", dataset="run 2")] == ["power", "log é"]
    with pytest.raises(ModelError, match="model 'power' of dataset 'b' found, which is another one in dataset 'a'"):
        models_to_dict({"a": [power], "b": [SkyModel("power", PowerLaw1D())]})


# -- files of gammapy -------------------------------------------------------------------------------------------------


def test_the_models_of_the_reference(data_dir):
    reference = json.loads((data_dir / "reference.json").read_text())
    found = 0
    for dataset in reference["datasets"].values():
        for entry in dataset.get("models", {}).values():
            (model,) = models_from_dict({"components": [entry["model"]]})
            assert_as_written(model, entry["model"])
            found += 1
    assert found > 10


def assert_as_written(model: SkyModel, entry: dict) -> None:
    """Values, bounds and frozen parameters of models whose parameters are those of ours but for their names."""
    ours = {"index": "alpha", "reference": "x_0"}
    named = named_parameters(model)
    for part in (entry["spectral"], entry["spatial"]):
        for theirs in part["parameters"]:
            parameter = named[f"{model.name}.{ours.get(theirs['name'], theirs['name'])}"]
            assert parameter.value == theirs["value"]
            if "frozen" in theirs:
                assert parameter.fixed == theirs["frozen"]
                for ours_, theirs_ in zip(parameter.bounds, (theirs["min"], theirs["max"]), strict=True):
                    assert ours_ == pytest.approx(theirs_, abs=1e-6) or theirs_ is None
            assert parameter.std is None
    assert model.spatial.frame == entry["spatial"]["frame"]


def test_the_true_models_of_the_simulation(data_dir):
    path = data_dir / "cta-sim" / "true_models.yaml"
    point, gauss = read_models(path)
    for model, entry in zip((point, gauss), yaml.safe_load(path.read_text())["components"], strict=True):
        assert_as_written(model, entry)
    assert point.spectral.x_0.fixed
    assert not point.spectral.alpha.fixed
    assert gauss.spatial.e.bounds == pytest.approx((0, 1))
    assert gauss.spatial.lat_0.bounds == (-90, 90)


def component(spectral="{type: pl}", spatial=None, name="crab", **others) -> str:
    """YAML of one model."""
    keys = {"name": name, "type": "SkyModel", "spectral": spectral, "spatial": spatial, **others}
    return "components:\n- " + "\n  ".join(f"{key}: {value}" for key, value in keys.items() if value is not None)


def read(tmp_path, text):
    path = tmp_path / "models.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_models(path)


@pytest.mark.parametrize("kind", SPECTRA, ids=lambda kind: kind.tags[1])
def test_what_is_left_out_is_as_in_gammapy(tmp_path, kind):
    smooth = kind.tags[1] == "sbpl"  # without a break by default
    text = f"{{type: {kind.tags[1]}, parameters: [{'{name: index2, value: 3}' if smooth else ''}]}}"
    factor = "{type: pl-norm}" if kind.is_flux else "{type: pl}"
    (model,) = read(tmp_path, component(f"{{type: compound, operator: mul, model1: {factor}, model2: {text}}}"))
    for twin in kind.twins:
        if twin.ours in model.spectral.right.param_names and not smooth:
            parameter = getattr(model.spectral.right, twin.ours)
            assert parameter.value == pytest.approx(1 / twin.default if twin.inverse else twin.default)
            assert parameter.fixed == twin.frozen


def test_defaults_of_shapes(tmp_path):
    values = {"point": [0, 0], "gauss": [0, 0, 1, 0, 0], "disk": [0, 0, 1, 0, 0], "shell": [0, 0, 1, 0.2]}
    values["const"] = [4 * np.pi]
    for kind in SHAPES:
        (model,) = read(tmp_path, component(spatial=f"{{type: {kind.tags[1]}, parameters: []}}"))
        assert type(model.spatial) is kind.ours
        np.testing.assert_allclose(model.spatial.parameters, values[kind.tags[1]])
        assert model.spatial.frame == "icrs"
        assert (model.psf, model.edisp) == (True, True)


def test_units_are_converted(tmp_path):
    spectral = """{type: pl, parameters: [
      {name: amplitude, value: 3e-8, unit: 1 / (m2 s TeV), min: 1.0e-8, max: .nan, error: 1e-9},
      {name: reference, value: 300, unit: GeV, frozen: false, min: null, max: .inf}]}"""
    spatial = """{type: gauss, frame: galactic, parameters: [{name: sigma, value: 30, unit: arcmin, error: .nan},
      {name: lon_0, value: 1, unit: rad}, {name: e, value: 0.5, unit: "", frozen: false}]}"""
    (model,) = read(tmp_path, component(spectral, spatial, apply_irf="{psf: false}"))
    amplitude, x_0, sigma = model.spectral.amplitude, model.spectral.x_0, model.spatial.sigma
    np.testing.assert_allclose([amplitude.value, *amplitude.bounds[:1], amplitude.std], [3e-12, 1e-12, 1e-13])
    assert amplitude.bounds[1] is None
    assert (x_0.value, x_0.fixed, x_0.bounds) == (pytest.approx(0.3), False, (None, None))
    assert (sigma.value, sigma.bounds, sigma.std) == (pytest.approx(0.5), GaussianSource().sigma.bounds, None)
    assert model.spatial.lon_0.value == pytest.approx(np.degrees(1))
    assert not model.spatial.e.fixed
    assert (model.spatial.frame, model.psf, model.edisp) == ("galactic", False, True)


def test_the_bounds_of_a_cutoff_change_places(tmp_path):
    text = (
        "{type: ecpl, parameters: [{name: lambda_, value: 2.0e-4, unit: GeV-1, min: %s, max: 1.0e-3, error: 1.0e-5}]}"
    )
    (model,) = read(tmp_path, component(text % "1.0e-4"))
    cutoff = model.spectral.x_cutoff
    np.testing.assert_allclose([cutoff.value, *cutoff.bounds, cutoff.std], [5, 1, 10, 0.25])
    (model,) = read(tmp_path, component(text % "-1"))
    assert model.spectral.x_cutoff.bounds == (pytest.approx(1), None)


def test_lists_that_models_share(tmp_path):
    text = f"{component(datasets_names='&a [x, y]', apply_irf='&b {psf: false}')}\n{component(name='other')[12:]}"
    text += "\n  datasets_names: *a\n  apply_irf: *b\nmetadata: {creator: gammapy}\ncovariance: cov.dat\nchecksum: '1'"
    assert [(model.name, model.psf) for model in read(tmp_path, text)] == [("crab", False), ("other", False)]
    assert not read_models(tmp_path / "models.yaml", dataset="z")


INDEX = "{type: pl, parameters: [{name: index, value: %s}]}"
TABLE = "{type: template, energy: {data: %s, unit: TeV}, values: {data: [1.0e-9, 1.0e-10], unit: %s}}"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (b"\xff\xfe\x00", FormatError, "this is no YAML: 'utf-8' codec"),
        ("components: [", FormatError, "this is no YAML"),
        ("[1]", FormatError, "a list found, a mapping with the key components accepted"),
        ("datasets: []", FormatError, "components: None found, a list of models accepted"),
        ("components: {a: 1}", FormatError, "components: {'a': 1} found, a list of models accepted"),
        ("components: [1]", FormatError, r"item 1: 1 found, a mapping with the keys \['apply_irf'"),
        ("a: " + "[" * 5000, FormatError, "nested too deeply"),
        ("a: &x [b]\nb: &y [*x, *x]\ncomponents: []", FormatError, "line 2: anchors and aliases .* plain values only"),
        ("a: &x [*x]\ncomponents: []", FormatError, "line 1: anchors and aliases"),
        (f"a: &x [{'b,' * 1001}]", FormatError, "line 1: anchors .* accepted for up to 1000 plain values only"),
        ("a: &x {b: [1]}\nb: {<<: *x}", FormatError, "line 1: anchors and aliases"),
        (
            f"a: &x [{'1,' * 1000}]\nb: [{'*x,' * 100}]",
            FormatError,
            "line 2: aliases .* more than 100000 values",
        ),
        (
            f"a: &x {{{'1: 2,' * 1}}}\nb: [{'{<<: *x},' * 40000}]",
            FormatError,
            "line 2: aliases .* more than 100000 values",
        ),
        (f"a: &x 1\nb: [{'*x,' * 100001}]", FormatError, "line 2: aliases .* more than 100000 values"),
        (
            "components: []\ncomponents: []",
            FormatError,
            "line 2: key 'components' found twice in one mapping",
        ),
        ('a: {b: 1, "b": 2}', FormatError, "line 1: key 'b' found twice"),
        (component(INDEX % "2, value: 3"), FormatError, "key 'value' found twice"),
        (component(INDEX % f"0x{'f' * 9000}"), FormatError, "value: a int too long to show found"),
        (component(INDEX % "2, unit: dex(1)"), FormatError, r"unit 'dex\(1\)' found, one that converts to ''"),
        (
            component("{type: pl, parameters: [{name: amplitude, value: 2, unit: dex(cm-2 s-1 TeV-1)}]}"),
            FormatError,
            r"unit 'dex\(cm-2 s-1 TeV-1\)' found",
        ),
        (component(spatial="{type: gauss, frame: altaz}"), ModelError, "frame 'altaz' found, one of .*'galactic'"),
        ("a: !!python/object:os.system x", FormatError, "this is no YAML"),
        ("components: [{type: SkyModel, spectral: {type: pl}}]", FormatError, "item 1: no key 'name' found, .*needed"),
        (component(name=3), ModelError, r"item 1 \(3\): name 3 found, text accepted"),
        (f"{component()}\n{component()[12:]}", ModelError, "components: models: the name 'crab' found twice"),
        ("components: [{name: a, type: SkyModel}]", FormatError, "no key 'spectral' found"),
        ("components: [{name: a, type: FoVBackgroundModel}]", ModelError, "type 'FoVBackgroundModel' found, SkyModel"),
        ("components: [{name: a, type: [1]}]", ModelError, r"type \[1\] found, SkyModel accepted"),
        (component(temporal="{type: sine}"), FormatError, r"item 1 \('crab'\): key 'temporal' found, .* take it out"),
        (component(datasets_names="[1]"), FormatError, r"datasets_names: \[1\] found, a list of names accepted"),
        (component(apply_irf="{exposure: false}"), ModelError, "apply_irf: exposure False found, true accepted"),
        (component(apply_irf="{psf: 1}"), ModelError, "psf = 1 found, True or False"),
        (component(apply_irf="3"), FormatError, "apply_irf: 3 found, a mapping"),
        (component("3"), FormatError, r"spectral: 3 found, a mapping with the keys \['type'\]"),
        (component("{parameters: []}"), FormatError, "spectral: no key 'type' found"),
        (
            component("{type: PowerLaw2SpectralModel}"),
            ModelError,
            "'PowerLaw2SpectralModel' found, one of .*'PowerLawS",
        ),
        (component("{type: [1]}"), ModelError, r"type \[1\] found"),
        (
            component("{type: pl, parameters: {index: 2}}"),
            FormatError,
            "PowerLawSpectralModel: key parameters: {'index'",
        ),
        (component("{type: pl, parameters: [2]}"), FormatError, "parameters, item 1: 2 found, a mapping with the keys"),
        (component("{type: pl, parameters: [{value: 2}]}"), FormatError, "item 1: no key 'name' found"),
        (component("{type: pl, parameters: [{name: i}]}"), FormatError, r"name 'i' found, each of \['index', 'ampl"),
        (
            component("{type: pl, parameters: [{name: index}, {name: index}]}"),
            FormatError,
            "parameters, item 2: name 'index' found twice",
        ),
        (component("{type: pl, parameters: [{name: index, link: a}]}"), FormatError, "key 'link' found, .*take it out"),
        (component("{type: pl, parameters: [{name: index, prior: {}}]}"), FormatError, "key 'prior' found"),
        (component("{type: pl, code: 1}"), FormatError, "key 'code' found"),
        (component(INDEX % ".nan"), FormatError, "parameter index: value: nan found, a finite number accepted"),
        (component(INDEX % "null"), FormatError, "value: None found, a finite number"),
        (component(INDEX % ".inf"), FormatError, "value: inf found"),
        (component(INDEX % "true"), FormatError, "value: True found, a number accepted"),
        (component(INDEX % "two"), FormatError, "value: 'two' found, a number accepted"),
        (component(INDEX % "'2'"), FormatError, "value: '2' found"),
        (component(INDEX % "2020-01-01"), FormatError, r"value: datetime.date\(2020, 1, 1\) found"),
        (component(INDEX % ("9" * 400)), FormatError, "finite number accepted"),
        (component(INDEX % "2, frozen: 'no'"), FormatError, "frozen: 'no' found, true or false"),
        (component(INDEX % "2, min: a"), FormatError, "min: 'a' found, a number"),
        (component(INDEX % "2, error: []"), FormatError, r"error: \[\] found, a number"),
        (component(INDEX % "2, unit: TeV"), FormatError, "unit 'TeV' found, one that converts to ''"),
        (component(INDEX % "2, unit: 3"), FormatError, "unit 3 found"),
        (component(INDEX % f"2, unit: {'m' * 200}"), FormatError, "unit 'm{79}... found"),
        (component(INDEX.replace("index", "reference") % "1, unit: m"), FormatError, "unit 'm' found.*'TeV'"),
        (
            component("{type: ecpl, parameters: [{name: alpha, value: 2}]}"),
            ModelError,
            "alpha: 2.0, frozen, found, 1 a",
        ),
        (component("{type: ecpl, parameters: [{name: alpha, frozen: false}]}"), ModelError, "1.0, free, found"),
        (
            component("{type: ecpl, parameters: [{name: lambda_, value: 0}]}"),
            ModelError,
            "lambda_: 0.0 found, a number a",
        ),
        (component("{type: ecpl, parameters: [{name: lambda_, value: 1e-320}]}"), ModelError, "x_cutoff = inf found"),
        (component("{type: sbpl}"), ModelError, "index1 = index2 found: without a break write a PowerLawSpectralModel"),
        (
            component("{type: sbpl, parameters: [{name: index1, value: 1}, {name: ebreak, value: 0}]}"),
            ModelError,
            "parameter ebreak: value: 0.0 TeV found, an energy above 0 accepted",
        ),
        (
            component(INDEX.replace("index", "reference") % "0"),
            ModelError,
            "reference: value: 0.0 TeV found, an energy",
        ),
        (component(INDEX.replace("index", "reference") % "-1"), ModelError, "reference: value: -1.0 TeV found"),
        (
            component("{type: sbpl, parameters: [{name: index1, value: 1}, {name: reference, frozen: false}]}"),
            ModelError,
            "a reference that is free found, a frozen one accepted",
        ),
        (
            component("{type: sbpl, parameters: [{name: index1, value: 1}, {name: beta, value: 2000}]}"),
            ModelError,
            "an amplitude found that is too large or too small",
        ),
        (
            component("{type: sbpl, parameters: [{name: index1, value: 1}, {name: beta, value: -1}]}"),
            ModelError,
            "SmoothBrokenPowerLawSpectralModel: delta parameter must be >= 0.001; .*'delta': -1.0.* found",
        ),
        (component("{type: pl-norm}"), ModelError, "spectral: units that make no flux found, cm-2 s-1 TeV-1"),
        (
            component("{type: compound, operator: mul, model1: {type: pl}, model2: {type: pl}}"),
            ModelError,
            "units that make no flux",
        ),
        (
            component("{type: compound, operator: add, model1: {type: pl}, model2: {type: pl-norm}}"),
            ModelError,
            "operator 'add' of a flux and a factor found",
        ),
        (
            component("{type: compound, operator: system, model1: {type: pl}, model2: {type: pl}}"),
            ModelError,
            r"operator 'system' found, one of \['add', 'sub', 'mul'\] accepted",
        ),
        (
            component("{type: compound, operator: add, model1: {type: pl}, model2: {type: naima}}"),
            ModelError,
            "CompoundSpectralModel: model2: type 'naima' found",
        ),
        (
            component("{type: compound, operator: add, model1: {type: pl}, model2: " * 60 + "{type: pl}" + "}" * 60),
            ModelError,
            "50 in each other at most",
        ),
        (component(TABLE % ("[1]", "cm-2 s-1 TeV-1")), ModelError, "TemplateSpectralModel: TemplateSpectrum: "),
        (component(TABLE % ("[2, 1]", "cm-2 s-1 TeV-1")), ModelError, "increasing energies are wanted"),
        (component(TABLE % ("[1, .nan]", "cm-2 s-1 TeV-1")), FormatError, "energy: data .* found, finite numbers"),
        (component(TABLE % ("[1, a]", "cm-2 s-1 TeV-1")), FormatError, "finite numbers accepted"),
        (
            component(TABLE % (f"[{'1,' * 10**5} {'a' * 10**6}]", "cm-2 s-1 TeV-1")),
            FormatError,
            "finite numbers accepted",
        ),
        (component(TABLE % ("[1, true]", "cm-2 s-1 TeV-1")), FormatError, "finite numbers accepted"),
        (component(TABLE % ("[1, [2]]", "cm-2 s-1 TeV-1")), FormatError, "rows of different lengths"),
        (component(TABLE % ("[1, 2]", "m")), FormatError, "values: unit 'm' found"),
        (component("{type: template, energy: 1, values: 2}"), FormatError, "energy: 1 found, a mapping"),
        (
            component("{type: ebl-norm, filename: ebl.fits}"),
            ModelError,
            "a table in the file 'ebl.fits' found, .*filename",
        ),
        (
            component(spatial="{type: TemplateSpatialModel}"),
            ModelError,
            "spatial: type 'TemplateSpatialModel' found, one",
        ),
        (
            component(spatial="{type: gauss, frame: nowhere}"),
            ModelError,
            "GaussianSpatialModel: .*frame 'nowhere' found",
        ),
        (component(spatial="{type: gauss, frame: [1]}"), ModelError, r"frame '\[1\]' found"),
        (
            component(spatial="{type: gauss, parameters: [{name: sigma, value: -1}]}"),
            ModelError,
            "sigma = -1.0 found",
        ),
        (
            component(spatial="{type: disk, parameters: [{name: edge_width, value: 0.1}]}"),
            ModelError,
            "edge_width: 0.1, frozen, found, 0 to 0.01 and frozen accepted",
        ),
    ],
)
def test_what_is_refused(tmp_path, text, error, message):
    with pytest.raises(error, match=rf"models\.yaml: .*{message}"):
        read(tmp_path, text)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file found, a YAML file of gammapy's models accepted"):
        read_models(tmp_path / "none.yaml")
    with pytest.raises(FormatError, match="a directory found"):
        read_models(tmp_path)


def nodes(content, path=()):
    """Path of every part of nested lists and mappings."""
    yield path
    for key, value in (
        content.items() if isinstance(content, dict) else enumerate(content if isinstance(content, list) else ())
    ):
        yield from nodes(value, (*path, key))


CONTENT = models_to_dict([*exact(), *converted()])
JUNK = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["m**1e9", "1 / (", "TeV-1"])
    | st.lists(st.integers() | st.text(), max_size=3)
    | st.dictionaries(st.text() | st.integers(), st.integers(), max_size=2)
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(where=st.sampled_from(list(nodes(CONTENT))[1:]), junk=JUNK)
@example(where=("components", 0, "name"), junk="")
def test_anything_in_the_place_of_anything(where, junk):
    content = copy.deepcopy(CONTENT)
    *keys, last = where
    part = content
    for key in keys:
        part = part[key]
    part[last] = junk
    try:
        models = models_from_dict(content)
    except xonoff.XonoffError:
        return
    to_json(models)  # what is accepted are models


def test_the_page_names_what_corresponds():
    page = (Path(__file__).parents[1] / "docs" / "models.md").read_text()
    for kind in (*SPECTRA, *SHAPES, TEMPLATE, ABSORPTION, COMPOUND):
        assert f"`{kind.tags[0]}`" in page


# -- what is not written ----------------------------------------------------------------------------------------------


def tied():
    spectrum = PowerLaw1D()
    spectrum.alpha.tied = lambda model: 2.0
    return spectrum


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (SkyModel("m", Schechter1D()), "a Schechter1D found here, .*'PowerLaw1D'.* with xonoff.models.to_json"),
        (SkyModel("m", PowerLaw1D() / PowerLaw1D()), "a compound by '/' found"),
        (SkyModel("m", absorption()), "a Absorption found here"),
        (SkyModel("m", PowerLaw1D() * Const1D(2)), "a Const1D found here"),
        (SkyModel("m", tied()), "alpha: it is tied by a function"),
        (SkyModel("m", PowerLaw1D(1e-12, 0, 2)), "x_0: 0.0 TeV found, an energy above 0 accepted"),
        (SkyModel("m", changed(PowerLaw1D(), alpha=(False, (np.inf, None), None))), "alpha: bounds .* finite ones"),
        (SkyModel("m", PowerLaw1D(np.nan)), "amplitude: nan found, a finite number"),
        (SkyModel("m", ExponentialCutoffPowerLaw1D(1, 1, 1, -3)), "x_cutoff: -3.0 found, a number above 0"),
        (SkyModel("m", SmoothlyBrokenPowerLaw1D(1, 1, 2, 2)), "alpha_1 = alpha_2 found"),
        (SkyModel("m", PowerLaw1D(1 * u.m, 1 * u.TeV, 2)), "amplitude: unit m found, one that converts to 'cm-2 s-1"),
        (
            SkyModel("m", PowerLaw1D(), TemplateSource(np.ones((2, 2)), SKY)),
            "a TemplateSource found here",
        ),
        (SkyModel("m", sum((PowerLaw1D() for _ in range(60)), PowerLaw1D())), "50 in each other at most"),
    ],
)  # fmt: skip
def test_what_is_not_written(tmp_path, model, message):
    with pytest.raises(ModelError, match=rf"m\.yaml: not written: model 'm': .*{message}"):
        write_models(model, tmp_path / "m.yaml")
    assert not list(tmp_path.iterdir())


def test_files_that_are_not_written(tmp_path):
    with pytest.raises(FormatError, match=r"m\.fits: not written: this is a YAML file, name it \.yaml"):
        write_models(exact(), tmp_path / "m.fits")
    write_models(exact()[0], tmp_path / "m.yml")
    with pytest.raises(FileExistsError, match="exists"):
        write_models(exact()[1], tmp_path / "m.yml")
    assert [model.name for model in read_models(tmp_path / "m.yml")] == ["power"]
    with pytest.raises(ModelError, match="the name 'a' found twice"):
        write_models([SkyModel("a", PowerLaw1D())] * 2, tmp_path / "n.yaml")
    assert not (tmp_path / "n.yaml").exists()


# -- beside gammapy ---------------------------------------------------------------------------------------------------


@pytest.fixture
def gammapy():
    models = pytest.importorskip(
        "gammapy.modeling.models", reason="gammapy 2.1 is not installed: make bench runs these"
    )
    return models


def around(size: float) -> SkyCoord:
    """Positions within a distance of the place of the shapes."""
    rng = np.random.default_rng(1)
    turns, distances = rng.uniform(0, 360, 2000) * u.deg, size * np.sqrt(rng.uniform(0, 1, 2000)) * u.deg
    return SkyCoord(*PLACE, unit="deg").directional_offset_by(turns, distances)


#: How far the brightness is from that of gammapy, whose shells and elongated Gaussians have the norm of the plane.
TOLERANCES = {"GaussianSource": 5e-7, "DiskSource": 1e-8, "ShellSource": 5e-6, "ConstantSource": 1e-14}


def assert_same_values(ours: SkyModel, theirs) -> None:
    expected = theirs.spectral_model(ENERGIES * u.TeV).to_value("cm-2 s-1 TeV-1")
    np.testing.assert_allclose(flux(ours.spectral, ENERGIES), expected, rtol=1e-12)
    name = type(ours.spatial).__name__
    if name == "PointSource":
        assert ours.spatial.position.separation(theirs.position).arcsec < 1e-9
    elif name in TOLERANCES:
        positions = around(0.5)
        values = u.Quantity(theirs.spatial_model(positions.ra, positions.dec)).to_value("sr-1")
        found = ours.spatial(positions.ra.deg, positions.dec.deg)
        np.testing.assert_allclose(found, np.broadcast_to(values, found.shape), rtol=TOLERANCES[name], atol=1e-9)


@pytest.mark.filterwarnings("default")
def test_gammapy_reads_what_is_written(gammapy, tmp_path):
    ours = [*exact(), *converted()]
    write_models(ours, tmp_path / "m.yaml")
    theirs = gammapy.Models.read(tmp_path / "m.yaml")
    assert theirs.names == [model.name for model in ours]
    for one, other in zip(ours, theirs, strict=True):
        assert_same_values(one, other)
        assert (other.apply_irf["psf"], other.apply_irf["edisp"]) == (one.psf, one.edisp)
    index = theirs["power"].spectral_model.index
    assert (index.value, index.frozen, index.min, index.max, index.error) == (2.6, False, 1, 5, 0.07)
    assert theirs["power"].spectral_model.reference.frozen
    assert theirs["log é"].frame == "galactic"
    # and back, as gammapy writes it
    theirs.write(tmp_path / "theirs.yaml", write_covariance=False, full_output=True)
    back = read_models(tmp_path / "theirs.yaml")
    for model in ours:
        if isinstance(model.spatial, ConstantSource):  # gammapy writes neither its value nor its frame
            model.spatial.frame, model.spatial.value = "icrs", 4 * np.pi
    assert_same(ours, back, 1e-13)


@pytest.mark.filterwarnings("default")
def test_models_of_gammapy(gammapy, tmp_path):
    place = {"lon_0": f"{PLACE[0]} deg", "lat_0": f"{PLACE[1]} deg"}
    spectra = [
        gammapy.PowerLawSpectralModel(index=2.3, amplitude="3e-8 m-2 s-1 TeV-1", reference="300 GeV"),
        gammapy.ExpCutoffPowerLawSpectralModel(index=2, lambda_="7e-5 GeV-1"),
        gammapy.LogParabolaSpectralModel(alpha=2.3, beta=0.1),
        gammapy.BrokenPowerLawSpectralModel(index1=1.5, index2=3, ebreak="500 GeV"),
        gammapy.SmoothBrokenPowerLawSpectralModel(index1=1.5, index2=3, ebreak="500 GeV", beta=0.7, reference="2 TeV"),
        gammapy.SmoothBrokenPowerLawSpectralModel(index1=3, index2=1.5, ebreak="500 GeV", beta=1.7),
        gammapy.ConstantSpectralModel(const="1e-12 cm-2 s-1 TeV-1"),
        gammapy.TemplateSpectralModel(ENERGIES * u.TeV, ENERGIES**-2.5 * u.Unit("m-2 s-1 GeV-1")),
        gammapy.EBLAbsorptionNormSpectralModel(
            ENERGIES * u.TeV, u.Quantity([0.1, 0.5]), np.exp(-np.outer([0.1, 0.5], ENERGIES)), 0.2, 1.1
        ) * gammapy.PowerLawSpectralModel(),
        gammapy.PowerLawSpectralModel() * gammapy.LogParabolaNormSpectralModel(alpha=0.2, beta=0.1, norm=2),
        gammapy.ExpCutoffPowerLawNormSpectralModel(index=0.3) * gammapy.PowerLawSpectralModel(),
        gammapy.PowerLawSpectralModel() - gammapy.ConstantSpectralModel(const="1e-18 cm-2 s-1 TeV-1"),
    ]  # fmt: skip
    shapes = [
        gammapy.PointSpatialModel(**place),
        gammapy.GaussianSpatialModel(sigma="0.1 deg", **place),
        gammapy.GaussianSpatialModel(sigma="0.15 deg", e=0.6, phi="40 deg", **place),
        gammapy.DiskSpatialModel(r_0="0.3 deg", edge_width=1e-6, **place),
        gammapy.DiskSpatialModel(r_0="0.3 deg", e=0.7, phi="-30 deg", edge_width=1e-6, **place),
        gammapy.ShellSpatialModel(radius="0.3 deg", width="0.1 deg", **place),
        gammapy.ConstantSpatialModel(),
    ]
    theirs = gammapy.Models(
        [gammapy.SkyModel(spectrum, name=f"spectrum {n}", datasets_names=["a"]) for n, spectrum in enumerate(spectra)]
        + [gammapy.SkyModel(spectra[0].copy(), shape, name=f"shape {n}") for n, shape in enumerate(shapes)]
    )
    theirs.write(tmp_path / "theirs.yaml")
    ours = read_models(tmp_path / "theirs.yaml", dataset="a")
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert_same_values(one, other)
    assert len(read_models(tmp_path / "theirs.yaml", dataset="b")) == len(shapes)


@pytest.mark.filterwarnings("default")
def test_the_table_has_the_defaults_of_gammapy(gammapy):
    for kinds, registry in ((SPECTRA, gammapy.SPECTRAL_MODEL_REGISTRY), (SHAPES, gammapy.SPATIAL_MODEL_REGISTRY)):
        for kind in kinds:
            cls = registry.get_cls(kind.tags[0])
            assert registry.get_cls(kind.tags[1]) is cls
            assert cls.default_parameters.names == sorted(
                (twin.theirs for twin in kind.twins), key=cls.default_parameters.names.index
            )
            for twin in kind.twins:
                parameter = cls.default_parameters[twin.theirs]
                bounds = [None if np.isnan(bound) else bound for bound in (parameter.min, parameter.max)]
                if twin.theirs != "edge_width":  # which has no counterpart
                    assert bounds == [twin.low, twin.high]
                assert parameter.quantity.to_value(u.Unit(twin.unit)) == twin.default
                assert parameter.frozen == twin.frozen
