"""What MkDocs does not know of our pages and docstrings."""

from __future__ import annotations

import re
from typing import Any

#: A link to a file outside of docs/, such as ``[the manifests](../docker/kserve)``.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#]+)[^)]*\)")
#: What tests/docs reads: the next block is saved under this name.
_FILE = re.compile(r"^<!-- file: (.+) -->\n```(\w+)$", re.MULTILINE)
#: A role of reStructuredText, which editors understand in docstrings.
_ROLE = re.compile(r":(?:attr|class|func|meth|mod):(?=<code>)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Name what the site cannot link to, and title the blocks that are files."""
    return _FILE.sub(r'```\2 title="\1"', _OUTSIDE.sub(_name, markdown))


def on_page_content(html: str, **_: Any) -> str:
    """Leave roles out."""
    return _ROLE.sub("", html)


def _name(link: re.Match[str]) -> str:
    text, path = link.groups()
    return text if path in text else f"{text} (`{path}`)"
