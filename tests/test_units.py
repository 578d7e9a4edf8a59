import re
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import ICRS, SkyCoord

from xonoff.errors import SchemaError
from xonoff.units import floats_in, lonlat_in, unit_factor, value_in


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (3, 3.0),
        (np.float32(0.5), 0.5),
        ("100 GeV", 0.1),
        ("0.1TeV", 0.1),
        (250 * u.GeV, 0.25),
        ([1, 2], [1.0, 2.0]),
        ((1 * u.TeV, "1 GeV", 3), [1.0, 1e-3, 3.0]),
        (np.array([1, 10]) * u.PeV, [1e3, 1e4]),
    ],
)
def test_energies(given: Any, expected: Any) -> None:
    out = floats_in(given, "TeV")
    assert out.dtype == float
    np.testing.assert_allclose(out, expected, rtol=1e-15)


def test_plain_numbers_are_not_touched() -> None:
    values = np.array([0.1, np.pi, 1e-300])
    assert floats_in(values, "TeV").tolist() == values.tolist()


@pytest.mark.parametrize(
    "wrong",
    [
        "1 deg",
        1 * u.m,
        "fast",
        "1",
        "",
        None,
        True,
        1j,
        b"1",
        [1, None],
        ["1 TeV", "1 deg"],
        [["1 TeV"], 2, [3, 4]],
        {},
    ],
)
def test_what_is_no_energy_is_refused(wrong: Any) -> None:
    with pytest.raises(SchemaError, match="a number in TeV, text such as '1 TeV' or a Quantity accepted"):
        floats_in(wrong, "TeV")


def test_what_has_no_unit_takes_none() -> None:
    assert floats_in(0.5 * u.dimensionless_unscaled, "") == 0.5
    with pytest.raises(SchemaError, match="a number without unit accepted"):
        floats_in("1 deg", "")


def test_one_value_is_one() -> None:
    assert value_in("6 arcmin", "deg") == pytest.approx(0.1, rel=1e-15)
    with pytest.raises(SchemaError, match="one value in deg is wanted, 4 found"):
        value_in([[1, 2], [3, 4]], "deg")


@pytest.mark.parametrize(
    ("found", "accepted", "factor"),
    [("keV", "TeV", 1e-9), ("cm2 s", "m2 s", 1e-4), ("", "1", 1.0), ("1/sr", "sr-1", 1.0)],
)
def test_unit_factor(found: str, accepted: str, factor: float) -> None:
    assert unit_factor(found, accepted) == pytest.approx(factor, rel=1e-15)


@pytest.mark.parametrize("found", ["s", "lightyear per parsec", "mag"])
def test_units_of_another_kind_are_refused(found: str) -> None:
    with pytest.raises(SchemaError, match=f"unit '{found}' found, one that converts to 'TeV' accepted"):
        unit_factor(found, "TeV")


@pytest.mark.parametrize(("found", "accepted"), [("dex(TeV)", "TeV"), ("mag(TeV)", "TeV"), ("dex(1)", ""), ("dB", "")])
def test_logarithmic_units_are_refused(found: str, accepted: str) -> None:
    with pytest.raises(
        SchemaError, match=rf"unit '{re.escape(found)}' found, one that converts to '{accepted}' accepted"
    ):
        unit_factor(found, accepted)


@pytest.mark.parametrize("position", [SkyCoord(83.633, 22.014, unit="deg"), ICRS(83.633 * u.deg, 22.014 * u.deg)])
def test_coordinates_change_frame(position: Any) -> None:
    lon, lat = lonlat_in(position, "galactic")
    expected = SkyCoord(83.633, 22.014, unit="deg").galactic
    assert (float(lon), float(lat)) == pytest.approx((expected.l.deg, expected.b.deg), abs=1e-12)


def test_pairs_are_in_the_frame_of_the_map() -> None:
    lon, lat = lonlat_in(([1, 2], "30 arcmin"), "galactic")
    assert lon.tolist() == [1.0, 2.0]
    assert lat == 0.5


@pytest.mark.parametrize("wrong", [3.0, (1, 2, 3), "crab", None])
def test_what_is_no_position_is_refused(wrong: Any) -> None:
    with pytest.raises(SchemaError, match="is no position: give a SkyCoord or"):
        lonlat_in(wrong, "icrs")
