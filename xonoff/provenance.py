"""What made a dataset: the attribute ``provenance``, JSON that travels with it through Zarr, netCDF and FITS.

A list of steps, the first one first: which function of which version, of which inputs by name, with which parameters.
What only selects is not in it: the coordinates tell. Nor is what plain xarray does to a dataset in between.
"""

import functools
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec

import numpy as np
import xarray as xr

from xonoff.typed import OnOffDataset, on_off

__all__ = ["made", "provenance", "recorded"]

P = ParamSpec("P")

#: Name of the attribute.
STEPS = "provenance"
#: Characters of one parameter that are kept.
LONGEST = 200


def provenance(ds: xr.Dataset) -> list[dict[str, Any]]:
    """Steps that made a dataset, the first one first; none if it is not known.

    Parameters
    ----------
    ds : Dataset

    Returns
    -------
    list of dict
        ``function``, ``made_by`` (with the version), ``inputs`` and ``parameters`` of each.

    Examples
    --------
    >>> import xonoff
    >>> image = xonoff.tutorial.dataset().onoff.downsample(2).onoff.to_image()
    >>> for step in provenance(image):
    ...     print(step["function"], step["inputs"], step["parameters"])
    downsample ['tutorial'] {'factor': 2}
    to_image ['tutorial'] {}
    """
    try:
        found = json.loads(ds.attrs.get(STEPS, "[]"))
    except (TypeError, ValueError):  # of someone else
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def made(
    function: str, inputs: Iterable[Any], parameters: Mapping[str, Any], *before: dict[str, Any], **more: Any
) -> dict[str, str]:
    """Return the attribute of what a function makes of inputs, by their names, after the steps before."""
    from xonoff import __version__

    step = {"function": function, "made_by": f"xonoff {__version__}", "inputs": list(inputs)}
    return {STEPS: json.dumps([*before, {**step, "parameters": dict(parameters), **more}], default=str)}


def recorded(function: Callable[P, xr.Dataset]) -> Callable[P, OnOffDataset]:
    """Have a function of one or more datasets add itself to the provenance of what it makes.

    Of one input the steps are kept, of several their names only. Parameters that are left at their defaults are left
    out.
    """
    signature = inspect.signature(function)

    @on_off
    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> xr.Dataset:
        result = function(*args, **kwargs)
        given = signature.bind(*args, **kwargs).arguments
        inputs = [value for value in given.values() if isinstance(value, xr.Dataset)]
        before = provenance(inputs[0]) if len(inputs) == 1 else []
        others = {name: value for name, value in given.items() if not isinstance(value, xr.Dataset)}
        parameters = {
            name: _plain(value)
            for name, value in others.items()
            if value is not signature.parameters[name].default  # small constants and texts are one object
        }
        for name in [name for name, value in signature.parameters.items() if value.kind is value.VAR_KEYWORD]:
            parameters |= {key: _plain(value) for key, value in given.get(name, {}).items()}
            parameters.pop(name, None)
        names = [str(ds.attrs.get("name", "")) for ds in inputs]
        return result.assign_attrs(made(function.__name__, names, parameters, *before))

    return run


def _plain(value: Any) -> Any:
    """Parameter as JSON has it: a number or text as it is, of all else what it is in words."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.bool_ | np.integer | np.floating):
        return value.item()
    if isinstance(value, list | tuple) and len(value) <= 8:
        return [_plain(item) for item in value]
    text = f"{type(value).__name__} {value.name!r}" if isinstance(value, xr.DataArray) else " ".join(str(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
