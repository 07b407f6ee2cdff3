#!/usr/bin/python3
"""Builds the Dockerfile as a user would, from the local Debian base, and runs what came out.

A build of the same inputs is not repeated: its proof is a file beside the other cached images.
"""
from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import images
import layout

ROOT = Path(__file__).resolve().parents[2]
NAME = "regroup.dev/operator:dockerfile"


def key_of_inputs() -> str:
    digest = hashlib.sha256()
    paths = [ROOT / "Dockerfile", ROOT / "CMakeLists.txt", ROOT / "CMakePresets.json"]
    for folder in ("cmake", "operator"):
        paths += sorted(path for path in (ROOT / folder).rglob("*") if path.is_file())
    for path in paths:
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def main() -> int:
    proof = layout.cache_dir() / "images" / f"dockerfile-{key_of_inputs()}"
    if proof.exists():
        print(f"the Dockerfile of these inputs was built before: {proof.read_text().strip()}")
        return 0
    images.ensure_all()
    environment = {**os.environ, "STORAGE_DRIVER": "overlay", "BUILDAH_ISOLATION": "chroot"}
    command = ["buildah", "bud", "--pull-never", "--layers=false", "-t", NAME, str(ROOT)]
    if subprocess.run(command, env=environment, check=False).returncode != 0:
        print("the Dockerfile does not build; see above", file=sys.stderr)
        return 1
    size = images.buildah("inspect", "--type", "image", "-f", "{{.FromImageID}}", NAME).strip()
    proof.write_text(f"{NAME} {size}\n")
    print(f"built {NAME}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
