"""Run an image's root file system as Kubernetes would, without a container engine.

``container.py IMAGES TARGET [--bundle DIRECTORY] [--env NAME=VALUE …] [COMMAND …]``, as root, in
new mount, network and PID namespaces (``unshare``). The root file system is read-only, /tmp is not,
the bundle is at /mnt/models, and there is no network but loopback. User, environment, working
directory and command are those of the image; ``COMMAND`` stands in for all of its command.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any


def loopback_up() -> None:
    """Set IFF_UP | IFF_RUNNING on ``lo`` with SIOCSIFFLAGS; see netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


def mount_all(root: Path, bundle: Path | None) -> None:
    mount("--bind", root, root)
    mount("-o", "remount,bind,ro", root)
    mount("-t", "proc", "proc", root / "proc")
    mount("-t", "sysfs", "-o", "ro", "sysfs", root / "sys")
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", root / "dev")
    for name in ("null", "zero", "random", "urandom"):
        (root / "dev" / name).touch()
        mount("--bind", f"/dev/{name}", root / "dev" / name)
    (root / "dev" / "shm").mkdir()
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / "dev" / "shm")
    mount("-t", "tmpfs", "-o", "mode=1777,nosuid,nodev", "tmpfs", root / "tmp")
    if bundle is not None:
        # an engine makes the mount point; here the root file system is read-only already
        mount("-t", "tmpfs", "tmpfs", root / "mnt")
        (root / "mnt" / "models").mkdir()
        mount("--bind", bundle, root / "mnt" / "models")
        mount("-o", "remount,bind,ro", root / "mnt" / "models")
        mount("-o", "remount,ro", root / "mnt")


def become(root: Path, config: dict[str, Any]) -> None:
    os.chroot(root)
    os.chdir(config["WorkingDir"])
    user, group = config["User"].split(":")
    os.setgroups([])
    os.setgid(int(group))
    os.setuid(int(user))
    prctl = ctypes.CDLL(None).prctl
    # allowPrivilegeEscalation: false, which is PR_SET_NO_NEW_PRIVS
    assert prctl(38, 1, 0, 0, 0) == 0
    # PR_SET_PDEATHSIG: end with unshare, which asked for the same before the user changed
    assert prctl(1, signal.SIGKILL, 0, 0, 0) == 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=Path)
    parser.add_argument("target")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("command", nargs="*")
    options = parser.parse_args()
    image = json.loads(options.images.read_text(encoding="utf-8"))[options.target]
    config = image["config"]
    loopback_up()
    mount_all(Path(image["rootfs"]), options.bundle)
    become(Path(image["rootfs"]), config)
    command = options.command or [*config["Entrypoint"], *config["Cmd"]]
    os.execve(command[0], command, dict(pair.split("=", 1) for pair in config["Env"] + options.env))


if __name__ == "__main__":
    main()
