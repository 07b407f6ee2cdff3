#!/usr/bin/python3
"""Packs a program that is built already, with the libraries it links, into an image archive.

For the daily loop: it takes seconds where the Dockerfile takes minutes. The image is built from
scratch (no shell, no package manager), runs as a user without rights, and its bytes depend only on
what goes in, so an unchanged program gives the same image.

    pack_image.py IMAGE OUT.tar PROGRAM     e.g. regroup.dev/operator:dev out.tar build/regroup-operator
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pathlib
import subprocess
import sys
import tarfile

USER_ID = 65532
NAME = "regroup-operator"  # whatever the file is called: the chart and people look for this


def libraries_of(program: pathlib.Path) -> list[pathlib.Path]:
    """The shared libraries that the loader would map, the loader itself included."""
    listing = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True)
    found: list[pathlib.Path] = []
    for line in listing.stdout.splitlines():
        paths = [word for word in line.split() if word.startswith("/")]
        if paths:
            found.append(pathlib.Path(paths[0]))
        elif "not found" in line:
            raise SystemExit(f"{program}: {line.strip()}; install the packages of tests/packages.txt")
    return sorted(found)


def add_file(layer: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name.lstrip("/"))
    info.size = len(data)
    info.mode = mode
    layer.addfile(info, io.BytesIO(data))


def make_layer(program: pathlib.Path) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as layer:
        for library in libraries_of(program):
            add_file(layer, str(library), library.resolve().read_bytes(), 0o755)
        add_file(layer, f"/usr/local/bin/{NAME}", program.read_bytes(), 0o755)
        add_file(layer, "/etc/passwd", b"nonroot:x:65532:65532:nonroot:/:/sbin/nologin\n", 0o644)
    return raw.getvalue()


def main() -> int:
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    image, out, program = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    layer = make_layer(program)
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [f"/usr/local/bin/{NAME}"], "User": f"{USER_ID}:{USER_ID}"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }, sort_keys=True).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [image],
                            "Layers": [f"{digest}.tar.gz"]}]).encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(out, "w") as archive:
        add_file(archive, config_name, config, 0o644)
        add_file(archive, f"{digest}.tar.gz", gzip.compress(layer, 1, mtime=0), 0o644)
        add_file(archive, "manifest.json", manifest, 0o644)
    print(f"{image} {len(layer) >> 20} MiB -> {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
