"""How Sphinx builds the site: by python tutorials/build.py, which puts the notebooks beside this file."""

import inspect
import re
import textwrap

import typeset  # beside build.py

import tinydiv

project = "tinydiv"
author = "the tinydiv authors"
project_copyright = "the tinydiv authors; text CC BY 4.0, code MIT"
release = version = tinydiv.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "tinydiv"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
exclude_patterns = ["downloads"]  # the notebooks as they lie in the repository: pages link them
pygments_dark_style = "monokai"  # the theme's own underlines every import
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
autodoc_inherit_docstrings = False  # what a base class describes stands once, with the base class

SPECIAL = re.compile(r"([*_`|\\])")
CODE = re.compile(r"(?<!`)`([^`\s](?:[^`]*[^`\s])?)`(?!`)")


def prose(text):
    """A paragraph of plain text in Sphinx's own marks: what stands between single backticks is code."""
    pieces = CODE.split(text)  # text, code, text, code, ..., text
    for i, piece in enumerate(pieces):
        # An escaped space at each end: code may touch a letter, as in `name`s.
        words = " ".join(piece.split())
        pieces[i] = rf"\ ``{words}``\ " if i % 2 else SPECIAL.sub(r"\\\1", piece)
    return "".join(pieces)


def readable(app, what, name, obj, options, lines):
    """Docstrings are plain text: prose stays prose, formulas are typeset, other indented lines stay."""
    text = inspect.cleandoc("\n".join(lines))
    shown = []
    for paragraph in re.split(r"\n\s*\n", text):
        if any(line.startswith(" ") for line in paragraph.splitlines()):
            # A heading line above a list or formula belongs to it.
            formulas = typeset.latex(paragraph)
            box = [".. math::"] if formulas else ["::"]
            shown += [*box, "", textwrap.indent(formulas or paragraph, "    "), ""]
        else:
            shown += [prose(paragraph), ""]
    lines[:] = "\n".join(shown).splitlines()


def setup(app):
    app.connect("autodoc-process-docstring", readable)
