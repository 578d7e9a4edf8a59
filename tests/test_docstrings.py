"""Every public name has a docstring that numpydoc finds complete, an example, and types."""

import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache, reduce
from typing import Any

import pytest

import xonoff
from xonoff.plot import Plots

#: What numpydoc asks for and is not followed, and why.
IGNORED = {
    "ES01": "a summary that says all needs no second paragraph",
    "SA01": "links stand in the sentences, where they are needed",
    "SS05": "the summary of a quantity is a noun, whose plural is taken for a verb",
    "PR04": "arguments that are handed on refer to the function that describes them; types are in the signature",
    "PR07": "name and type of a parameter, such as ds : Dataset, may say it all",
    "RT02": "values that are returned together have names",
    "RT03": "so may the type of a result",
    "SA04": "titles of functions under See Also say what these do",
}
#: Not asked of a method that is described in a sentence or two, nor of a quantity of a dataset in one line.
ONE_LINE = {"PR01", "RT01"}

#: Classes that nobody calls: what makes them does.
MADE_FOR_YOU = (xonoff.OnOffAccessor, xonoff.Archive, Plots)

NO_NUMPYDOC = "numpydoc is not installed: pip install 'xonoff[test]'"

MODULES = ["stats", "models", "masks", "psf", "tutorial"]
NAMES = [
    f"xonoff.io.model_yaml.{name}" for name in ("read_models", "write_models", "models_from_dict", "models_to_dict")
]


def is_ours(found: Any) -> bool:
    return getattr(found, "__module__", "").startswith("xonoff")


@cache
def public() -> dict[str, Any]:
    """Functions and classes by the name of where they are defined: exported, or what the accessor refers to."""
    names = [getattr(xonoff, name) for name in xonoff.__all__]
    for module in MODULES:
        place = importlib.import_module(f"xonoff.{module}")
        names += [getattr(place, name) for name in place.__all__]
    names += [target(name) for name in NAMES]
    names += [target(reference) for _, member in members(xonoff.OnOffAccessor) for reference in references(member)]
    found = [name for name in names if callable(name) and is_ours(name) and "." not in name.__qualname__]
    return {f"{name.__module__}.{name.__qualname__}": name for name in found}


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """Public functions of a class of ours and of its bases: methods, and what is behind properties."""
    for base in cls.__mro__:
        if is_ours(base):
            for name, value in vars(base).items():
                function = getattr(value, "fget", None) or getattr(value, "__func__", value)
                function = getattr(function, "func", function)  # of a cached property
                if not name.startswith("_") and inspect.isfunction(function) and is_ours(function):
                    yield f"{base.__module__}.{base.__qualname__}.{name}", function


def references(function: Any) -> list[str]:
    """Names that a docstring sends its reader to."""
    return re.findall(r"[Ss]ee\s+`(xonoff\.[\w.]+)`", inspect.getdoc(function) or "")


def target(name: str) -> Any:
    """Object of a dotted name: what the longest name of a module in front of it holds."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:end])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        return reduce(getattr, parts[end:], found)
    raise AssertionError(name)


def faults(name: str, ignored: set[str]) -> list[str]:
    """Return what numpydoc says of a docstring."""
    validate = pytest.importorskip("numpydoc.validate", reason=NO_NUMPYDOC)
    return [f"{code} {text}" for code, text in validate.validate(name)["errors"] if code not in ignored]


def classes() -> dict[str, type]:
    return {name: found for name, found in public().items() if inspect.isclass(found)}


MEMBERS = {name: function for cls in classes().values() for name, function in members(cls)}
ACCESSOR = dict(members(xonoff.OnOffAccessor))


def test_there_is_something_to_look_at() -> None:
    assert len(public()) > 130
    assert len(MEMBERS) > 150
    assert len(ACCESSOR) > 65


@pytest.mark.parametrize("name", sorted(public()))
def test_functions_and_classes_are_documented(name: str) -> None:
    found = public()[name]
    ignored = set(IGNORED)
    if inspect.isclass(found):
        ignored |= {"PR01"} if fields(found) <= described(found) else set()
        ignored |= {"EX01"} if issubclass(found, Exception) else set()  # raised for you
    else:
        text = inspect.getdoc(found) or ""
        ignored |= (
            {"PR01", "RT01"} if "\n" not in text and list(inspect.signature(found).parameters) == ["ds"] else set()
        )
        ignored |= {"EX01"} if name in shown_by_the_accessor() else set()
    assert not faults(name, ignored)


def fields(cls: type) -> set[str]:
    """Arguments that a reader may give to a class."""
    if cls in MADE_FOR_YOU or issubclass(cls, Exception):
        return set()
    return set(inspect.signature(cls).parameters)


def described(cls: type) -> set[str]:
    """Arguments of a class, or attributes, that its docstring describes; the fields of a dataclass are both."""
    docscrape = pytest.importorskip("numpydoc.docscrape", reason=NO_NUMPYDOC)
    parsed = docscrape.NumpyDocString(inspect.getdoc(cls))
    names = [name for section in ("Parameters", "Attributes") for name, _, _ in parsed[section]]
    return {name for names_of_one in names for name in names_of_one.split(", ")}


@cache
def shown_by_the_accessor() -> set[str]:
    """Functions whose method or property the examples of the accessor use."""
    examples = (inspect.getdoc(xonoff.OnOffAccessor) or "").split("Examples")[1]
    used = set(re.findall(r"ds\.onoff\.(\w+)", examples))
    of_these = [member for name, member in ACCESSOR.items() if name.split(".")[-1] in used]
    return {reference for member in of_these for reference in references(member)}


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_methods_are_documented(name: str) -> None:
    text = inspect.getdoc(MEMBERS[name]) or ""
    prose = set() if "Parameters\n" in text else ONE_LINE
    assert not faults(name, set(IGNORED) | {"EX01", "YD01"} | prose)


@pytest.mark.parametrize("name", sorted(set(ACCESSOR) - {"xonoff.accessor.OnOffAccessor.name"}))
def test_the_accessor_sends_its_reader_to_a_function_with_the_same_arguments(name: str) -> None:
    function = ACCESSOR[name]
    found = references(function)
    assert found or len(inspect.signature(function).parameters) == 1, "say: See `xonoff.module.function`"
    for reference in found[:1]:
        wanted = inspect.signature(target(reference)).parameters
        if any(p.kind is p.VAR_KEYWORD for p in wanted.values()):
            continue
        own = {n for n, p in inspect.signature(function).parameters.items() if p.kind is not p.VAR_KEYWORD}
        extra = own - {"self"} - set(wanted)
        assert extra <= {"models", "other"}, f"{name}: {sorted(extra)} are not arguments of {reference}"


@pytest.mark.parametrize("name", sorted({*public(), *MEMBERS}))
def test_signatures_are_typed(name: str) -> None:
    found = public().get(name, MEMBERS.get(name))
    if inspect.isclass(found):
        found = found.__init__
        if not (inspect.isfunction(found) and is_ours(found)):
            return  # of Exception, or made by a dataclass of its annotated fields
    if name.startswith("xonoff.models.") and found.__name__ in ("__init__", "evaluate"):
        return  # astropy makes the one and takes annotations of the other for units
    signature = inspect.signature(found)
    bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name not in ("self", "cls")]
    assert not bare
    assert signature.return_annotation is not signature.empty


def test_what_is_ignored_is_needed() -> None:
    codes = {fault.split()[0] for name in public() for fault in faults(name, set())}
    assert set(IGNORED) <= codes
