"""Sky models that a dataset carries, as text in ``attrs["models"]``, so that they travel through every format."""

from collections.abc import Iterable

import xarray as xr

from xonoff.errors import ModelError
from xonoff.models.skymodel import SkyModel
from xonoff.models.text import from_json, to_json
from xonoff.typed import on_off

__all__ = ["assign_models", "models_of"]


@on_off
def assign_models(ds: xr.Dataset, models: SkyModel | Iterable[SkyModel] | None) -> xr.Dataset:
    """Dataset that carries sky models; the arrays are shared with ``ds``.

    Parameters
    ----------
    ds : Dataset
    models : SkyModel, iterable of SkyModel, or None
        In the place of those that it carries; None, or none, takes these away.

    Returns
    -------
    Dataset

    Raises
    ------
    ModelError
        If the models cannot be written as text, see `xonoff.models.to_json`.

    Examples
    --------
    >>> import xonoff
    >>> from xonoff.models import PointSource, PowerLaw1D
    >>> crab = SkyModel("crab", PowerLaw1D(3.5e-11, 1, 2.6), PointSource(83.63, 22.01))
    >>> ds = assign_models(xonoff.tutorial.dataset(), crab)
    >>> [model.name for model in models_of(ds)]
    ['crab']
    """
    listed = [] if models is None else [models] if isinstance(models, SkyModel) else list(models)
    new = ds.copy(deep=False)
    new.attrs = {key: value for key, value in ds.attrs.items() if key != "models"}
    if listed:
        new.attrs["models"] = to_json(listed)
    return new


def models_of(ds: xr.Dataset) -> list[SkyModel]:
    """Sky models that a dataset carries, each time anew: to change them, change these and assign them again.

    Parameters
    ----------
    ds : Dataset

    Returns
    -------
    list of SkyModel

    Raises
    ------
    ModelError
        If ``attrs["models"]`` is not of the layout of `xonoff.models.to_json`.

    Examples
    --------
    >>> import xonoff
    >>> models_of(xonoff.tutorial.dataset())
    []
    """
    text = ds.attrs.get("models")
    if text is None or text == "":
        return []
    if not isinstance(text, str):
        raise ModelError(f"attrs['models']: a {type(text).__name__} found, text accepted: use ds.onoff.assign_models")
    return from_json(text)
