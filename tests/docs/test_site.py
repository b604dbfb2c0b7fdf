"""The site builds without a warning, holds every public name, and loads nothing from elsewhere."""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright
from reading import ROOT

import mlserver_pyfunc
import pyfunc_packaging
from pyfunc_packaging import errors


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, by the generator of the hashed constraints."""
    folder = tmp_path_factory.mktemp("site")
    python = folder / "venv" / "bin" / "python"
    uv, lock = str(Path(sys.executable).with_name("uv")), str(ROOT / "constraints" / "docs.txt")
    install = [uv, "pip", "install", "--quiet", "--system-certs", "--require-hashes"]
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")],
        [*install, "--python", str(python), "-r", lock],
        [str(python.with_name("mkdocs")), "build", "--strict", "--site-dir", str(folder / "site")],
    ):
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_every_public_name_has_its_place(site: Path) -> None:
    reference = {
        "pyfunc_packaging": (site / "reference-packaging.html").read_text(encoding="utf-8"),
        "mlserver_pyfunc": (site / "reference-runtime.html").read_text(encoding="utf-8"),
    }
    for package in (pyfunc_packaging, mlserver_pyfunc):
        names = set(package.__all__) - {"__version__"}
        assert names
        page = reference[package.__name__]
        missing = {name for name in names if f'id="{package.__name__}.{name}"' not in page}
        assert missing == set()


def test_every_page_has_a_title_and_a_description_of_its_own(site: Path) -> None:
    pages = {file.name: file.read_text(encoding="utf-8") for file in site.glob("*.html")}
    del pages["404.html"]
    for kind in (r"<title>([^<]+)</title>", r'<meta name="description" content="([^"]+)"'):
        found = {name: re.findall(kind, page) for name, page in pages.items()}
        assert {name for name, texts in found.items() if len(texts) != 1} == set()
        texts = [texts[0] for texts in found.values()]
        assert len(set(texts)) == len(texts)


def test_every_error_is_on_the_page(site: Path) -> None:
    page = (site / "errors.html").read_text(encoding="utf-8")
    classes = {
        name
        for name, each in vars(errors).items()
        if isinstance(each, type) and each.__module__ == errors.__name__
    }
    assert len(classes) > 40
    assert {name for name in classes if f'id="pyfunc_packaging.errors.{name}"' not in page} == set()


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Requests are not reported."""

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(site))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser_page(url: str) -> Iterator[tuple[Page, list[str]]]:
    """A page as wide as a telephone's, and what went wrong on it or left for elsewhere."""
    program = shutil.which("chromium")
    assert program, "expected chromium (Debian package chromium), found none; install it"
    wrong: list[str] = []
    with sync_playwright() as playwright:
        # a sandbox needs rights that a container does not have
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 400, "height": 900})
        ours = (url, "data:", "blob:")
        page.on(
            "request", lambda each: None if each.url.startswith(ours) else wrong.append(each.url)
        )
        page.on(
            "response",
            lambda each: wrong.append(f"{each.status} {each.url}") if each.status >= 400 else None,
        )
        page.on("console", lambda each: wrong.append(each.text) if each.type == "error" else None)
        page.on("pageerror", lambda each: wrong.append(str(each)))
        yield page, wrong
        browser.close()


def test_no_page_loads_anything_from_elsewhere(
    site: Path, url: str, browser_page: tuple[Page, list[str]]
) -> None:
    page, wrong = browser_page
    names = sorted(file.relative_to(site).as_posix() for file in site.glob("*.html"))
    assert len(names) > 15
    for name in names:
        page.goto(url + name, wait_until="networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, name
    assert wrong == []


def test_the_search_finds_a_variable(url: str, browser_page: tuple[Page, list[str]]) -> None:
    page, wrong = browser_page
    page.set_viewport_size({"width": 1400, "height": 900})
    # in the address, and not typed: the field takes no text before the index is loaded
    page.goto(url + "index.html?q=PYFUNC_MAX_QUEUE")
    page.wait_for_selector(
        ".md-search-result__item a[href*='environment']", state="attached", timeout=90_000
    )
    assert wrong == []
