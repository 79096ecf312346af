"""The status page: one self-contained document, assembled from separate files for HTML, CSS and JavaScript.

Its only request is the one for /api/status. Its Content-Security-Policy names the hashes of its style and its script,
so that a browser runs nothing else, whatever the name of a Node contains.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files

_PARTS = {"/*STYLE*/": ("page.css",), "/*SCRIPT*/": ("draw.js", "nodes.js", "live.js")}


def _text(*names: str) -> str:
    return "".join(files(__name__).joinpath(name).read_text(encoding="utf-8") for name in names)


def page() -> bytes:
    """Return the document."""
    html = _text("page.html")
    for mark, names in _PARTS.items():
        html = html.replace(mark, _text(*names))
    return html.encode()


def _hash(names: tuple[str, ...]) -> str:
    return f"'sha256-{b64encode(sha256(_text(*names).encode()).digest()).decode()}'"


def _headers() -> Mapping[str, str]:
    style, script = map(_hash, _PARTS.values())
    policy = {
        "default-src": "'none'",
        "style-src": style,
        "script-src": script,
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
        "Vary": "Accept-Encoding",
    }


HEADERS: Mapping[str, str] = _headers()
"""Response headers of the page and of /api/status."""
