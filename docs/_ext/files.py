"""Links of `CONTRIBUTING.md` and `CHANGELOG.md` to files of the checkout that are no pages: names, on the site."""

from pathlib import Path

from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

ROOT = Path(__file__).parents[2]


class Names(SphinxPostTransform):
    """Leave the text of such a link."""

    default_priority = 8  # before MyST, at 9, looks for a page

    def run(self) -> None:
        """Go through the links that are no pages."""
        for node in list(self.document.findall(addnodes.pending_xref)):
            if node.get("reftype") == "myst" and (ROOT / node["reftarget"].partition("#")[0]).is_file():
                node.replace_self(node.children)


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the transform."""
    app.add_post_transform(Names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
