"""Directives of the reference pages: ``api`` documents names from their docstrings, ``schema`` shows the data model."""

import inspect
from importlib import import_module
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from xonoff import schema

#: How the reference calls what a notebook reaches through a dataset.
DOORS = {"OnOffAccessor.": "ds.onoff.", "Plots.": "ds.onoff.plot."}


def resolve(name: str) -> Any:
    """Return the module or class of a dotted name."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for part in parts[n:]:
            found = inspect.getattr_static(found, part, None) or getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def directive(owner: Any, name: str) -> tuple[str, Any]:
    """Return the directive of autodoc for a name, and its object."""
    if inspect.isclass(owner):
        member = inspect.getattr_static(owner, name)
        return ("autoproperty" if isinstance(member, property) else "automethod"), member
    found = getattr(owner, name)
    if inspect.isclass(found):
        return ("autoexception" if issubclass(found, Exception) else "autoclass"), found
    return ("autofunction" if callable(found) else "autodata"), found


class Api(SphinxDirective):
    """Names of a module or a class: a table with the first line of each, then all that their docstrings say.

    Without names, those of ``__all__``. Members of a class get no table. What a module has from another package is
    named, not explained again.
    """

    has_content = True
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the nodes of the table and the docstrings."""
        path = self.arguments[0]
        owner = resolve(path)
        names = " ".join(self.content).split() or sorted(owner.__all__, key=str.lower)
        rows, entries = [], []
        for name in names:
            kind, found = directive(owner, name)
            documented = inspect.isclass(found) or callable(found) or isinstance(found, property)
            first = (inspect.getdoc(found) or "").strip().splitlines()[0] if documented else f"``{found}``"
            foreign = inspect.isclass(found) and not found.__module__.startswith("xonoff")
            rows.append(f"   * - :py:obj:`{name} <{path}.{name}>`\n     - {first}")
            if foreign:
                text = f"``{found.__module__.split('.')[0]}``'s class of this name. {first}"
                entries.append(f".. py:class:: {name}\n   :module: {path}\n\n   {text}\n")
            else:
                members = "\n   :members:" if kind == "autoclass" else ""
                entries.append(f".. {kind}:: {path}.{name}{members}\n")
        table = ".. list-table::\n   :class: names\n   :widths: auto\n\n" + "\n".join(rows) + "\n"
        text = "\n".join(entries if inspect.isclass(owner) else [table, *entries])
        self.content = StringList(text.splitlines(), source=self.get_source_info()[0])
        return self.parse_content_to_nodes()


class Schema(SphinxDirective):
    """The variables of the data model, as `xonoff.schema` declares them."""

    def run(self) -> list[nodes.Node]:
        """Return a table of axes, and of each variable its rules and dimensions."""
        axes = [["axis", "units", "scale", "meaning"]]
        axes += [[f"``{a.name}``", a.units, a.scale, a.description] for a in schema.AXES.values()]
        variables = [["variable", "units", "stack", "coarser bins", "meaning"]]
        for v in schema.VARIABLES.values():
            rules = [v.stack, v.coarsen or "--"]
            variables.append([f"``{v.name}``", v.units or "bool", *rules, v.description])
        dims = [["variable", "accepted dimensions"]]
        for v in schema.VARIABLES.values():
            accepted = [f"``({', '.join(names)})``" for names in schema.accepted_dims(v)]
            dims.append([f"``{v.name}``", ", ".join(accepted)])
        text = "\n".join(self._table(rows) for rows in (axes, variables, dims))
        self.content = StringList(text.splitlines(), source="xonoff.schema")
        return self.parse_content_to_nodes()

    @staticmethod
    def _table(rows: list[list[str]]) -> str:
        lines = [("   * - " if n == 0 else "     - ") + cell for row in rows for n, cell in enumerate(row)]
        return ".. list-table::\n   :header-rows: 1\n   :widths: auto\n\n" + "\n".join(lines) + "\n"


def open_doors(app: Sphinx, doctree: nodes.document) -> None:
    """Write ``ds.onoff.alpha`` where Python says ``OnOffAccessor.alpha``."""
    for node in doctree.findall(addnodes.desc_addname):
        for name, door in DOORS.items():
            if node.astext().endswith(name):
                node.children = [nodes.Text(door)]


def follow(app: Sphinx, env: Any, node: addnodes.pending_xref, text: nodes.Element) -> nodes.Element | None:
    """Find what a docstring calls `xonoff.fitting.fit`, or `fit`, where it is explained: as ``xonoff.fit``."""
    target = node.get("reftarget", "")
    short = "xonoff." + target.removeprefix(node.get("py:module") or "xonoff").rpartition(".")[2]
    if node.get("refdomain") != "py":
        return None
    for name in (short, f"xonoff.{target}"):
        found = env.domains.python_domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, text)
        if found is not None:
            return found
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directives."""
    app.add_directive("api", Api)
    app.add_directive("schema", Schema)
    app.connect("doctree-read", open_doors)
    app.connect("missing-reference", follow)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
