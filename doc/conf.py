"""How the site is built: ``sphinx-build -W -n doc doc/_build/html``.

Nothing here needs the network: formulas are rendered by a copy of MathJax, and the names
that the pages link to at other projects are listed in `inventories.py`.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "doc")]
# Progress bars and pictures of examples look the same wherever the site is built.
os.environ["MPLBACKEND"] = "agg"

import inventories  # noqa: E402
from members import own_members  # noqa: E402

import skinfluence  # noqa: E402

project = "skinfluence"
copyright = "The skinfluence developers, BSD-3-Clause"
version = release = skinfluence.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]

# `name` in a docstring is a link where there is such an object, and code where not.
default_role = "autolink"
nitpicky = True
nitpick_ignore_regex = inventories.UNDOCUMENTED

# -- Pages ---------------------------------------------------------------------------------

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
# A function in autosummary_context is not cached.
suppress_warnings = ["config.cache"]

# -- Reference -----------------------------------------------------------------------------

autosummary_generate = True
autosummary_context = {"own_members": own_members}
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
intersphinx_mapping = inventories.write(ROOT / "doc" / "_build" / "inventories")

# -- Gallery -------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    "within_subsection_order": "gallery.Story",
    "thumbnail_size": (640, 320),
    "reference_url": {"skinfluence": None},
    "doc_module": ("skinfluence",),
    "backreferences_dir": "generated/backreferences",
    "show_signature": False,
    "show_memory": False,
    "min_reported_time": 1,
    "write_computation_times": False,
    "plot_gallery": "True",
    "remove_config_comments": True,
    "capture_repr": ("_repr_html_", "__repr__"),
    "parallel": 2,
}

# -- Looks ---------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "skinfluence"
# That package is a copy of MathJax.
MATHJAX = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static"
html_static_path = ["_static", str(MATHJAX)]
mathjax_path = "mathjax/tex-chtml.js"
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
# Pages without pages below them have nothing to navigate in.
PLAIN = (
    "index installation getting_started supported_models mathematics internals policies "
    "changelog"
)
html_sidebars = {page: [] for page in PLAIN.split()}
html_theme_options = {
    "logo": {"text": "skinfluence"},
    "show_prev_next": True,
    "navigation_depth": 2,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "navbar_align": "left",
    "header_links_before_dropdown": 5,
    "pygments_light_style": "friendly",
    "pygments_dark_style": "monokai",
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
mathjax3_config = {"chtml": {"displayAlign": "left", "displayIndent": "1em"}}
