import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from datasets import make

import xonoff
from xonoff.create import create
from xonoff.io.hdulist import from_hdulist, to_hdulist


@pytest.mark.parametrize("projection", ["CAR", "TAN"])
def test_there_and_back(projection):
    ds = make(1, projection)
    back = from_hdulist(to_hdulist(ds))
    for name in ds.data_vars:
        np.testing.assert_array_equal(back[name], ds[name])
    assert back.onoff.geom == ds.onoff.geom
    assert back.onoff.name == "run 1"
    assert float(back.onoff.livetime) == float(ds.onoff.livetime)


def test_the_same_hdus_as_in_a_file(ds: xr.Dataset, tmp_path):
    ds.onoff.to_fits(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as file:
        ours = to_hdulist(ds)
        assert [hdu.name for hdu in file] == [hdu.name for hdu in ours]
        for one, two in zip(file, ours, strict=True):
            assert fits.HDUDiff(one, two, ignore_keywords=["CREATED", "CHECKSUM"]).identical


def test_a_list_changed_by_astropy(ds: xr.Dataset):
    hdulist = to_hdulist(ds)
    hdulist["COUNTS"].data = hdulist["COUNTS"].data + 1
    del hdulist[0].header["NAME"]
    back = from_hdulist(hdulist)
    np.testing.assert_array_equal(back.counts, ds.counts + 1)
    assert back.onoff.name == ""


def test_an_empty_dataset_states_its_reference_time():
    geom = xonoff.Geom.create((83, 22), width=1.0, pixel_size=0.1, energy=[1, 10])
    ds = create(geom, energy_true=[1, 10], reference_time="2026-01-01")
    assert to_hdulist(ds)["GTI"].header["MJDREFI"] == 61041
    assert from_hdulist(to_hdulist(ds)).sizes["gti"] == 0


def test_what_is_no_list():
    with pytest.raises(xonoff.FormatError, match="a str found, an astropy HDUList accepted"):
        from_hdulist("a.fits")
    with pytest.raises(xonoff.FormatError, match="no HDU COUNTS"):
        from_hdulist(fits.HDUList([fits.PrimaryHDU()]))
    with pytest.raises(xonoff.SchemaError, match=r"write a spectrum with ds.onoff.to_ogip"):
        to_hdulist(create(xonoff.Geom(None, (1.0, 2.0)), energy_true=[1, 2]))


def test_arrays_may_be_written_to_and_errors_name_no_temporary_file():
    hdus = xonoff.tutorial.dataset().onoff.to_hdulist()
    hdus["COUNTS"].data[:] = 3
    assert (xonoff.from_hdulist(hdus).counts == 3).all()
    with pytest.raises(xonoff.FormatError, match="without HDUs found"):
        xonoff.from_hdulist(fits.HDUList())
    del hdus["COUNTS"].header["BANDSHDU"]
    with pytest.raises(xonoff.FormatError) as caught:
        xonoff.from_hdulist(hdus)
    assert "HDUList" in str(caught.value)
    assert "/tmp" not in str(caught.value)
