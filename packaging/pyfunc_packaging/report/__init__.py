"""The model card of a bundle: ``report.html``, one file that needs no network."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from pyfunc_packaging.report.subject import Subject

__all__ = ["REPORT_FILE", "Subject", "write_report"]

#: The report within a bundle.
REPORT_FILE = "report.html"

logger = logging.getLogger(__name__)


def write_report(directory: Path, subject: Subject) -> list[dict[str, Any]]:
    """Write the model card of a bundle; whatever goes wrong, the bundle goes on without it.

    Parameters
    ----------
    directory : pathlib.Path
        The bundle.
    subject : Subject
        What the report is about.

    Returns
    -------
    list of dict
        For the manifest: the metrics of each target, with ``target``, ``kind``, ``rows`` and
        ``figures``. Empty without a target, or without a report.
    """
    try:
        # here, so that importing this package loads neither matplotlib nor jinja2
        from pyfunc_packaging.report.render import render

        html, metrics = render(subject)
        (directory / REPORT_FILE).write_text(html, encoding="utf-8")
    except Exception:
        logger.warning("the bundle has no report.html, because writing it failed", exc_info=True)
        (directory / REPORT_FILE).unlink(missing_ok=True)
        return []
    return metrics
