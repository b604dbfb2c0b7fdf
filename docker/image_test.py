"""Build both targets of the image for real, without a registry of images, and test them.

``make image-test`` runs this, as root on Debian or Ubuntu. ``debootstrap`` makes a base image from
the mirror that apt uses, ``buildah`` builds docker/Dockerfile on it, and pytest gets the root file
systems and the configuration of what was built. Everything lies in build/image, except the Debian
packages of the two programs; a second run builds again only what has changed.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "image"
STORAGE = WORK / "storage"
#: What tests read: root file system, configuration and size of each target.
IMAGES = WORK / "images.json"
#: The command that a Debian package brings.
PACKAGES = {"buildah": "buildah", "debootstrap": "debootstrap", "curl": "curl"}
TARGETS = ("slim", "full")
TESTS = ("tests/image", "tests/e2e/test_story.py")


def main() -> int:
    """Build and test; the exit status of pytest."""
    if os.geteuid() != 0:
        _fail(
            f"expected root, found user id {os.geteuid()}; building and entering a root file system"
            f" needs it: sudo make image-test"
        )
    if shutil.which("apt-get") is None:
        _fail("expected Debian or Ubuntu, found no apt-get; `make image` builds anywhere")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    if sys.argv[1:] != ["--inside"]:
        return _again_in_namespaces()
    os.chdir(ROOT)
    WORK.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    _install_programs()
    release = _release()
    # a run that was killed leaves containers
    _buildah("rm", "--all")
    base = _base_image(release)
    images = {"base": _mount(base)}
    with ThreadPoolExecutor() as pool:  # two builds, a processor each
        names = dict(
            zip(TARGETS, pool.map(lambda target: _image(target, base), TARGETS), strict=True)
        )
    for target in TARGETS:
        images[target] = _mount(names[target])
        beyond = images[target]["megabytes"] - images["base"]["megabytes"]
        images[target]["beyond_base"] = beyond
        _say(f"{target}: {beyond} MB beyond its base of {images['base']['megabytes']} MB")
    IMAGES.write_text(json.dumps(images, indent=2), encoding="utf-8")
    _say(f"images ready after {time.monotonic() - started:.0f} s")
    tests = [sys.executable, "-Im", "pytest", *TESTS]
    return subprocess.run(
        tests, check=False, env={**os.environ, "PYFUNC_IMAGES": str(IMAGES)}
    ).returncode


def _again_in_namespaces() -> int:
    """Run this program in namespaces of its own.

    However it ends, killed or not, every process that it started and every mount end with it.
    """
    spaces = ("--mount", "--propagation", "private", "--pid", "--mount-proc", "--fork")
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", *spaces, "--kill-child"]
    process = subprocess.Popen([*command, sys.executable, "-I", __file__, "--inside"])
    try:
        return process.wait()
    finally:
        process.kill()
        process.wait()


def _say(text: str) -> None:
    print(f"image-test: {text}", flush=True)


def _fail(text: str) -> NoReturn:
    raise SystemExit(f"image-test: {text}")


def _run(*command: str | Path, log: str, hint: str = "", **options: Any) -> None:
    """Run what has much to say: into a log, whose end is shown when it fails."""
    file = WORK / log
    with file.open("wb") as output:
        done = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, check=False, **options
        )
    if done.returncode != 0:
        tail = "\n".join(file.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
        _fail(f"{command[0]} ended with status {done.returncode}, see {file}{hint}\n{tail}")


_BUILDAH = ("buildah", "--storage-driver", "vfs", "--root", str(STORAGE))
_BUILDAH += ("--runroot", str(STORAGE / "run"))


def _buildah(*arguments: str | Path) -> str:
    done = subprocess.run([*_BUILDAH, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        _fail(f"buildah {shlex.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout.strip()


def _install_programs() -> None:
    missing = [package for package, name in PACKAGES.items() if shutil.which(name) is None]
    if missing:
        _say(f"installing {' '.join(missing)}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        _run("apt-get", "update", log="apt.log", env=environment)
        _run("apt-get", "install", "--yes", *missing, log="apt.log", env=environment)


def _release() -> str:
    """Code name of this machine's Debian or Ubuntu: the base image gets the same."""
    import platform

    return platform.freedesktop_os_release().get("VERSION_CODENAME", "")


def _mirror(release: str) -> str | None:
    """Where apt finds the main packages of the release: ``500 URL bookworm/main amd64 …``."""
    done = subprocess.run(["apt-cache", "policy"], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        words = line.split()
        if len(words) > 2 and words[2] == f"{release}/main" and words[1].startswith("http"):
            return words[1]
    return None


def _base_image(release: str) -> str:
    name = f"localhost/mlserver-pyfunc-base:{release}"
    if _buildah("images", "--quiet", "--filter", f"reference={name}"):
        return name
    mirror = os.environ.get("MIRROR") or _mirror(release)
    if mirror is None:
        _run("apt-get", "update", log="apt.log")
        mirror = _mirror(release)
    if mirror is None:
        _fail(
            f"expected a mirror with {release}/main in the answer of `apt-cache policy`, found"
            f" none; pass one: MIRROR=http://… make image-test"
        )
    _say(f"making the base image of {release}")
    container = _buildah("from", "scratch")
    root = Path(_buildah("mount", container))
    packages = "--include=python3,python3-venv,ca-certificates"
    command = ("debootstrap", "--variant=minbase", packages, release, root, mirror)
    hint = f"; it asked {mirror}, and MIRROR=http://… names another"
    _run(*command, log="debootstrap.log", hint=hint)
    for folder in ("var/cache/apt", "var/lib/apt/lists", "var/log"):
        shutil.rmtree(root / folder)
        (root / folder).mkdir()
    _buildah("commit", "--rm", container, name)
    return name


def _image(target: str, base: str) -> str:
    """Build a target, unless it was built of the same files."""
    repository = f"localhost/mlserver-pyfunc-{target}"
    name = f"{repository}:{_inputs(base)}"
    if _buildah("images", "--quiet", "--filter", f"reference={name}"):
        return name
    for old in _buildah("images", "--quiet", "--filter", f"reference={repository}").split():
        _buildah("rmi", "--force", old)
    _say(f"building {target}")
    started = time.monotonic()
    _run(
        *(*_BUILDAH, "build", "--isolation", "chroot", "--network", "host", "--pull-never"),
        *("--file", "docker/Dockerfile", "--target", target, "--tag", name),
        *("--build-arg", f"BASE_IMAGE={base}", "--build-arg", f"VERSION={_version()}"),
        *_pip_options(),
        ".",
        log=f"{target}.log",
    )
    _say(f"built {target} in {time.monotonic() - started:.0f} s")
    return name


def _version() -> str:
    from pyfunc_packaging import __version__

    return __version__


def _inputs(base: str) -> str:
    """A digest of everything that a build reads."""
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    roots = [ROOT / line[1:] for line in allowed if line.startswith("!")]
    files = [ROOT / ".dockerignore"]
    for root in roots:
        files += [root] if root.is_file() else sorted(root.rglob("*"))
    digest = hashlib.sha256(_buildah("images", "--quiet", "--no-trunc", base).encode())
    for file in files:
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _pip_options() -> list[str]:
    """Let pip in the build do as pip does here: its settings, and the files that they name."""
    done = subprocess.run(
        [sys.executable, "-Im", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    settings = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        scope, _, key = name.partition(".")
        # later ones win, as they do for pip; options of single commands are not for a build
        if scope in ("global", "install", ":env:"):
            settings[key] = ast.literal_eval(value)
    authorities = os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt"
    if Path(authorities).is_file():
        settings.setdefault("cert", authorities)
    file = WORK / "pip.conf"
    lines = [f"{key} = {' '.join(value.split())}" for key, value in sorted(settings.items())]
    file.write_text("\n".join(["[global]", *lines, ""]), encoding="utf-8")
    options = ["--secret", f"id=pip.conf,src={file}"]
    for key, value in settings.items():
        for word in value.split():
            path = Path(word.removeprefix("file://"))
            # an index in a folder links to files beside it
            folder = path.parent if key.endswith("index-url") else path
            if path.is_absolute() and path.exists():
                options += ["--volume", f"{folder}:{folder}:ro"]
    return options


def _mount(image: str) -> dict[str, Any]:
    """Root file system, configuration and size of an image."""
    container = _buildah("from", "--pull-never", image)
    rootfs = _buildah("mount", container)
    config = json.loads(_buildah("inspect", "--type", "image", image))["OCIv1"]["config"]
    size = subprocess.run(["du", "-sm", rootfs], capture_output=True, text=True, check=True).stdout
    return {"rootfs": rootfs, "config": config, "megabytes": int(size.split()[0])}


if __name__ == "__main__":
    sys.exit(main())
