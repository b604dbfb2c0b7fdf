"""What MkDocs has to be told about links: the site holds docs/ and nothing else."""

from __future__ import annotations

import re
from typing import Any

#: A link to a file outside of docs/, such as ``[the manifests](../docker/kserve)``.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#]+)[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Name files of the repository where a reader of the repository finds a link."""
    return _OUTSIDE.sub(_name, markdown)


def _name(link: re.Match[str]) -> str:
    text, path = link.groups()
    return text if path in text else f"{text} (`{path}`)"
