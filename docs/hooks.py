"""What MkDocs does not know of our pages and docstrings."""

from __future__ import annotations

import html
import re
from typing import Any

#: A link to a file outside of docs/, such as ``[the manifests](../docker/kserve)``.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#]+)[^)]*\)")
#: What tests/docs reads: the next block is saved under this name.
_FILE = re.compile(r"^<!-- file: (.+) -->\n```(\w+)$", re.MULTILINE)
#: A role of reStructuredText, which editors understand in docstrings.
_ROLE = re.compile(r":(?:attr|class|func|meth|mod):(?=<code>)")
#: The first paragraph: no title, table, list, comment or block.
_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_PARAGRAPH = re.compile(
    r"^(?![#|<:>]|[-*] |\d\. )\S.*?(?=\n\n|\n[-|]|\Z)", re.MULTILINE | re.DOTALL
)
_MARKUP = re.compile(r"\[([^\]]+)\]\([^)]*\)|[`*]")
_CELL = re.compile(r"(?<=<td>).*?(?=</td>)", re.DOTALL)
_CODE = re.compile(r"<code>[^<]*</code>")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Name what the site cannot link to, title the blocks that are files, describe the page."""
    first = _PARAGRAPH.search(_BLOCK.sub("", markdown))
    if first is not None:
        text = " ".join(_MARKUP.sub(lambda found: found[1] or "", first[0]).split())
        page.meta.setdefault("description", html.escape(_shorten(text)))
    return _FILE.sub(r'```\2 title="\1"', _OUTSIDE.sub(_name, markdown))


def on_page_content(content: str, /, **_: Any) -> str:
    """Leave roles out."""
    return _ROLE.sub("", content)


def on_post_page(output: str, **_: Any) -> str:
    """Let names in tables break behind an underscore; the search has read them whole by now."""
    return _CELL.sub(
        lambda cell: _CODE.sub(lambda code: code[0].replace("_", "_<wbr>"), cell[0]), output
    )


def _shorten(text: str, most: int = 160) -> str:
    """As much of a text as a search engine shows, to the end of a word."""
    return text if len(text) <= most else text[:most].rpartition(" ")[0].rstrip(",;:") + " …"


def _name(link: re.Match[str]) -> str:
    text, path = link.groups()
    return text if path in text else f"{text} (`{path}`)"
