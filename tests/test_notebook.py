"""Habits of a notebook: what a cell shows, what the tab key offers, how long an error is."""

from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes

import xonoff
from xonoff.models import GaussianSource, PointSource, PowerLaw1D, SkyModel

HOSTILE = "<script>alert(1)</script>&\"'"


class Tags(HTMLParser):
    """Tags and text of a page; an error where a tag is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_pages_of_hostile_names_hold_them_as_text(ds: xr.Dataset) -> None:
    source = SkyModel(HOSTILE, PowerLaw1D(3e-11, 1, 2.4, fixed={"x_0": True}), PointSource(83.65, 22.0))
    named = ds.assign_attrs(name=HOSTILE)
    result = xonoff.fit(ds, source)
    for shown in (named.onoff, source, result):
        page = Tags(shown._repr_html_())
        assert "script" not in page.tags
        assert HOSTILE in page.text
        assert "table" in page.tags


def test_a_model_in_words() -> None:
    crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), GaussianSource(83.63, 22.01, 0.1), psf=False)
    spatial = "GaussianSource(lon_0=83.63, lat_0=22.01, sigma=0.1, e=0, phi=0)"
    assert repr([crab]) == (
        f"[<SkyModel 'crab': PowerLaw1D(amplitude=3.5e-11, x_0=1, alpha=2.6), {spatial}, without psf>]"
    )
    page = Tags(crab._repr_html_())
    assert page.text.startswith("crab: PowerLaw1D, GaussianSource, without psf")
    assert all(f"crab.{name}" in page.text for name in ("amplitude", "alpha", "lon_0", "sigma"))


def test_the_tab_key_offers_all_names(ds: xr.Dataset) -> None:
    assert set(xonoff.__all__) <= set(dir(xonoff))
    assert {"fit", "models", "Archive", "show_versions", "sky_map", "explore"} <= set(dir(xonoff))
    assert "onoff" in dir(ds)
    assert {"excess", "fit", "plot", "to_zarr", "cutout"} <= set(dir(ds.onoff))
    assert {"counts", "residuals", "interactive"} <= set(dir(ds.onoff.plot))


def test_peek_takes_the_options_of_maps(ds: xr.Dataset) -> None:
    figure = ds.onoff.peek(scale_bar="0.5 deg")
    assert isinstance(figure.axes[0], Axes)
    assert "0.5 deg" in [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize(
    "call",
    [
        lambda ds: xr.Dataset({n: ("q", np.zeros(3)) for n in xonoff.schema.VARIABLES}).onoff.validate(),
        lambda ds: (ds * np.nan).onoff.validate(),
        lambda ds: ds.drop_vars("counts").onoff.excess,
        lambda ds: ds.onoff.cutout((1, 2), 3),
        lambda ds: xonoff.stack([ds, ds.isel(energy=slice(2))]),
        lambda ds: ds.onoff.plot.counts(grid="horizon"),
        lambda ds: ds.onoff.plot.interactive("exposure"),
        lambda ds: xonoff.fit(ds, SkyModel("x", PowerLaw1D(), PointSource(200, 0))),
        lambda ds: ds.onoff.resample_energy([1, 2, 3]),
    ],
)
def test_errors_fit_on_a_screen(ds: xr.Dataset, call: object) -> None:
    with pytest.raises(ValueError, match=r"found|has|off|no ") as error:
        call(ds)
    text = str(error.value)
    assert text.count("\n") < 20
    assert len(text) < 2500
