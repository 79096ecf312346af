"""The site that `make docs` builds: every Markdown page of the repository, so that links work as in a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cloudroute import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "cloudroute"
release = version = __version__
copyright = "the authors of cloudroute, Apache-2.0"  # noqa: A001 - Sphinx' name

# The source folder is the repository's root. Pages are named here by pattern: one more needs no word here.
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/**.md",
    "deploy/**README.md",
    "terraform/**README.md",
]
exclude_patterns = [".venv", ".git", "dist", "build", "tests", "**/.terraform"]
extensions = ["myst_parser"]
myst_heading_anchors = 4  # as GitHub makes them: [...](design.md#decisions)
suppress_warnings = ["toc.not_included"]  # the READMEs beside the code are reached by links
nitpicky = True
smartquotes = False  # or --once becomes a dash and a word

html_theme = "furo"
html_title = f"cloudroute {__version__}"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False


def _entry(app: Sphinx, failed: Exception | None) -> None:
    """Whoever opens the built folder is led to the first page."""
    if failed is None:
        Path(app.outdir, "index.html").write_text(
            '<!doctype html><meta charset="utf-8"><title>cloudroute</title>'
            '<meta http-equiv="refresh" content="0; url=docs/index.html"><a href="docs/index.html">cloudroute</a>\n'
        )


def setup(app: Sphinx) -> None:
    """Sphinx' hook."""
    app.connect("build-finished", _entry)
