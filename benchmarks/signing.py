"""What a signature costs when a server starts, beyond reading the files for their digests.

python benchmarks/signing.py [--data housing.csv] [--rounds 11] [--megabytes 512] [--output FILE]

Every measurement is a new process, as a server is. The large model is files of random
bytes; its hashing is compared with one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "models" / "california_housing")]

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from data import TARGET, load_housing
from machine import describe_machine
from train import make_pipeline

from pyfunc_packaging import package_model
from pyfunc_packaging.signing import sign_bundle

#: Prints milliseconds: to read all files one after the other, and to verify, imports included.
MEASURED = """
import hashlib, sys, time
from pathlib import Path
bundle, key = Path(sys.argv[1]), sys.argv[2]
def hash_all():
    for file in bundle.rglob("*"):
        if file.is_file() and file.name != "model.sig":
            with file.open("rb") as opened:
                hashlib.file_digest(opened, "sha256")
hash_all()  # the files are in memory, as after a download
import pyfunc_packaging.bundle
start = time.perf_counter()
hash_all()
hashed = time.perf_counter()
from pyfunc_packaging.verification import read_keys, verify_signature
verify_signature(bundle, read_keys([key]))
end = time.perf_counter()
print(1000 * (hashed - start), 1000 * (end - hashed))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="the California housing CSV; default: synthetic data")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--megabytes", type=int, default=512, help="of the large bundle")
    parser.add_argument("--output", type=Path, default=Path("build/bench/signing.json"))
    options = parser.parse_args()
    rows, source = load_housing(options.data)
    X, y = rows.drop(columns=TARGET), rows[TARGET]
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bundle, key = Path(folder, "bundle"), Path(folder, "key")
        private = ec.generate_private_key(ec.SECP256R1())
        key.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        public = Path(folder, "key.pub")
        public.write_bytes(
            private.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        package_model(make_pipeline().fit(X, y), X, y=y, path=bundle, name="california")
        sign_bundle(bundle, private_key=key)
        found["California"] = measure(bundle, public, options.rounds)
        large = Path(folder, "large")  # no bundle: of those, nothing is signed that was added
        large.mkdir()
        shutil.copy(bundle / "MLmodel", large)
        for part in range(8):
            (large / f"part-{part}").write_bytes(os.urandom(options.megabytes * 2**20 // 8))
        sign_bundle(large, private_key=key)
        found[f"{options.megabytes} MiB in 8 files"] = measure(large, public, 3)
    for name, times in found.items():
        print(
            f"{name}: reading all files {times['hash']:.1f} ms, verifying all {times['verify']:.1f}"
            f" ms, imports included: {times['verify'] - times['hash']:+.1f} ms"
        )
    result = {"machine": describe_machine(), "data": source, "milliseconds": found}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measure(bundle: Path, public: Path, rounds: int) -> dict[str, float]:
    """Medians of both times in new processes."""
    times = []
    for _ in range(rounds):
        done = subprocess.run(
            [sys.executable, "-I", "-c", MEASURED, str(bundle), str(public)],
            check=True,
            capture_output=True,
            text=True,
        )
        times.append([float(number) for number in done.stdout.split()])
    hashed, verified = (statistics.median(column) for column in zip(*times, strict=True))
    return {"hash": hashed, "verify": verified}


if __name__ == "__main__":
    main()
