"""How Sphinx builds the site: by python tutorials/build.py, which puts the notebooks beside this file."""

import inspect
import re
import textwrap

import tinydiv

project = "tinydiv"
author = "the tinydiv authors"
project_copyright = "the tinydiv authors; text CC BY 4.0, code MIT"
release = version = tinydiv.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
html_theme = "furo"
html_title = "tinydiv"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False

# One execution feeds everything: build.py ran the notebooks, here they are only shown.
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]

# MathJax lies beside the pages: the site needs no network.
mathjax_path = "mathjax/tex-svg.js"

highlight_language = (
    "none"  # formulas and layouts in docstrings are no Python; code blocks name theirs
)

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the alias Array would read "Any"
autodoc_preserve_defaults = True

SPECIAL = re.compile(r"([*_`|\\])")


def readable(app, what, name, obj, options, lines):
    """Docstrings are plain text: prose stays prose, and whatever is indented keeps its lines."""
    text = inspect.cleandoc("\n".join(lines))
    shown = []
    for paragraph in re.split(r"\n\s*\n", text):
        if any(line.startswith(" ") for line in paragraph.splitlines()):
            # A heading line above a list or formula belongs to it.
            shown += ["::", "", textwrap.indent(paragraph, "    "), ""]
        else:
            shown += [SPECIAL.sub(r"\\\1", paragraph), ""]
    lines[:] = "\n".join(shown).splitlines()


def setup(app):
    app.connect("autodoc-process-docstring", readable)
