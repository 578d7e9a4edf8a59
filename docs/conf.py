"""Sphinx: MyST pages, notebooks that run in the build, and nothing that asks another host."""

import os
import sys
from pathlib import Path

import xonoff

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
# For the kernels: no progress bars in pages, and no word of tqdm on widgets that it would like to have.
os.environ |= {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore:IProgress not found"}

project = "xonoff"
author = "the xonoff developers"
project_copyright = author
version = release = xonoff.__version__

extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "api", "files", "mathml"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]

# Pages with the header `file_format: mystnb` are run, each in a kernel and a folder of its own. An error is a warning
# with its traceback, and so is anything on stderr; warnings fail the build (-W).
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "cells")
nb_execution_in_temp = True
nb_execution_timeout = 120
nb_execution_show_tb = True
nb_merge_streams = True
nb_output_stderr = "remove-warn"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}

myst_enable_extensions = ["amsmath", "attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # numpydoc says types, with units and shapes
autosummary_generate = False
default_role = "autolink"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
html_math_renderer = "mathml"
FOREIGN = ("astropy", "dask", "functools", "holoviews", "matplotlib", "numpy", "obstore", "regions", "xarray")
nitpick_ignore_regex = [(r"py:.*", rf"{package}(\..*)?") for package in FOREIGN]

html_theme = "pydata_sphinx_theme"
html_title = "xonoff"
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
html_use_index = html_domain_indices = False  # the search finds names
html_sidebars = {
    page: [] for page in ("index", "install", "tour", "changes", "contributing", "coming-from-gammapy", "benchmarks")
}
html_theme_options = {
    "logo": {"text": "xonoff"},
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "pygments_light_style": "friendly",
    "pygments_dark_style": "github-dark",
}
