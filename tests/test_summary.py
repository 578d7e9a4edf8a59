import numpy as np
import xarray as xr

from xonoff import summary


def test_text_has_every_total(ds: xr.Dataset) -> None:
    text = summary.text(ds)
    totals = ds.onoff.info()
    for name in totals:
        if name != "invalid":
            assert f"\n{name} " in text
    assert f"{float(totals.stat_sum):.7g}" in text
    assert "40 x 40 pixels of 0.1 deg, icrs CAR around 83.6330, 22.0140 deg" in text
    assert "invalid: negative         0" in text


def test_units_of_the_totals(ds: xr.Dataset) -> None:
    totals = ds.onoff.info()
    assert totals.livetime.attrs["units"] == totals.ontime.attrs["units"] == "s"
    assert totals.exposure_max.attrs["units"] == "m2 s"
    assert float(totals.ontime) == 3600.0
    inside = ds.mask_safe.values
    np.testing.assert_allclose(totals.counts, ds.counts.values[inside].sum())
    np.testing.assert_allclose(totals.excess, ds.onoff.excess.values[inside].sum(), rtol=1e-12)
    np.testing.assert_allclose(totals.acceptance, ds.acceptance.values[inside].sum(dtype=float))
    assert int(totals.n_bins_valid) == inside.sum()


def test_html_shows_totals_and_escapes(ds: xr.Dataset) -> None:
    ds.attrs["name"] = "<script>alert(1)</script>"
    html = ds.onoff._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    for word in ("excess", "significance", "40 x 40 pixels", "mask_safe", "8 bins, 0.5 to 50 TeV"):
        assert word in html


def test_html_computes_nothing(lazy: xr.Dataset, no_compute: None) -> None:
    html = lazy.onoff._repr_html_()
    assert "not computed" in html
    assert "0.5 to 50 TeV" in html


def test_repr(ds: xr.Dataset, lazy: xr.Dataset, no_compute: None) -> None:
    assert repr(ds.onoff).startswith("<on/off dataset 'tutorial'>")
    assert repr(ds.onoff) == repr(lazy.onoff)


def test_an_empty_interval_table_is_no_fault(ds: xr.Dataset) -> None:
    assert "fault" not in repr(ds.isel(gti=slice(0, 0)).onoff)
    assert "fault: a dimension of the data is empty" in repr(ds.isel(energy=slice(0, 0)).onoff)


def test_html_of_what_has_no_counts(ds: xr.Dataset) -> None:
    html = ds.drop_vars(set(ds.data_vars) - {"exposure"}).onoff._repr_html_()
    assert "energy_true" in html
    assert "stat_sum" not in html
