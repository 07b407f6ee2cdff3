"""The container images: built on this machine out of Debian packages, cached as archives, loaded into nodes.

No container registry is used at all. Each archive's folder is named by a hash of what goes into it, so a
changed recipe makes a new one and a half-made one is never used.
"""
from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import layout
from layout import ClusterError, Node
from processes import clean_environment, run, run_logged, say

RECIPES = layout.HERE / "images"
# What a slim Debian leaves out; apt still works in it.
SLIM = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "var/cache/apt", "var/lib/apt/lists",
        "var/log")


@dataclass(frozen=True)
class Image:
    """An image that is built here: `base` is another image's short name, `suite` a Debian release."""

    short: str
    name: str
    base: str | None = None
    suite: str | None = None
    for_nodes: bool = True


IMAGES = {image.short: image for image in (
    Image("pause", layout.PAUSE_IMAGE),
    Image("bookworm", layout.DEBIAN_IMAGE, suite="bookworm", for_nodes=False),
    Image("redis", layout.REDIS_IMAGE, base="bookworm"),
    Image("tools", layout.TOOLS_IMAGE, base="bookworm"),
    Image("trixie", layout.TRIXIE_IMAGE, suite="trixie", for_nodes=False),
    Image("valkey", layout.VALKEY_IMAGE, base="trixie"),
)}


def recipe_text(image: Image) -> str:
    """All that decides an image's contents, except the state of the Debian mirror."""
    if image.short == "pause":
        return (RECIPES / "pause.c").read_text()
    if image.suite:
        return "\n".join([image.suite, *SLIM, (RECIPES / "debian.Containerfile").read_text()])
    return recipe_text(IMAGES[image.base]) + (RECIPES / f"{image.short}.Containerfile").read_text()


def archive(image: Image) -> Path:
    """Where the image's archive is cached."""
    key = hashlib.sha256(recipe_text(image).encode()).hexdigest()[:16]
    return layout.cache_dir() / "images" / key / f"{image.short}.tar"


def buildah(*argv: str, check: bool = True) -> str:
    return run("buildah", *argv, check=check, env=_buildah_environment())


def _buildah_environment() -> dict[str, str]:
    # The caller's variables stay, for they may say how this machine reaches its Debian mirror.
    return {**os.environ, "STORAGE_DRIVER": "overlay", "BUILDAH_ISOLATION": "chroot"}


def debian_mirror() -> str:
    """The mirror of Debian's main archive that apt on this machine uses."""
    lines = run("apt-get", "indextargets", "--format", "$(RELEASE)|$(COMPONENT)|$(REPO_URI)", "Created-By: Packages")
    for line in lines.splitlines():
        release, component, address = line.split("|", 2)
        if component == "main" and release in ("bookworm", "trixie", "stable", "testing", "sid"):
            return address
    raise ClusterError("apt on this machine names no mirror of Debian's main archive: add one to its sources")


def ensure_all() -> None:
    """Builds what is missing in the cache, and gives buildah its Debian base back if it lost it."""
    folder = layout.cache_dir() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for image in IMAGES.values():
            if not archive(image).exists():
                say(f"building image {image.name}")
                _build(image)
        _give_buildah(IMAGES["bookworm"])


def _build(image: Image) -> None:
    out = archive(image)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    part.unlink(missing_ok=True)
    work = layout.cache_dir() / "images" / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        if image.short == "pause":
            _build_pause(image, work, part)
        else:
            if image.suite:
                _make_rootfs(image.suite, work)
            else:
                _give_buildah(IMAGES[image.base])
            _build_with_buildah(image, work, part)
        part.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _build_pause(image: Image, work: Path, out: Path) -> None:
    run("gcc", "-static", "-Os", "-s", "-o", str(work / "pause"), str(RECIPES / "pause.c"))
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        entry = tarfile.TarInfo("pause")
        entry.mode, entry.size = 0o755, (work / "pause").stat().st_size
        tar.addfile(entry, (work / "pause").open("rb"))
    diff = hashlib.sha256(layer.getvalue()).hexdigest()
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff}"]}}).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = [{"Config": config_name, "RepoTags": [image.name], "Layers": [f"{diff}.tar"]}]
    with tarfile.open(out, "w") as tar:
        for name, data in ((config_name, config), (f"{diff}.tar", layer.getvalue()),
                           ("manifest.json", json.dumps(manifest).encode())):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def _make_rootfs(suite: str, work: Path) -> None:
    root = work / "root"
    run_logged("images", ["debootstrap", "--variant=minbase", suite, str(root), debian_mirror()],
               env={**os.environ, "PATH": clean_environment()["PATH"]})
    for part in SLIM:
        shutil.rmtree(root / part, ignore_errors=True)
        (root / part).mkdir(parents=True)
    (root / "var/lib/apt/lists/partial").mkdir()
    (root / "var/cache/apt/archives/partial").mkdir(parents=True)
    run("tar", "-C", str(root), "--numeric-owner", "--exclude=./dev/*", "-cf", str(work / "rootfs.tar"), ".")
    shutil.rmtree(root)


def _build_with_buildah(image: Image, work: Path, out: Path) -> None:
    recipe = RECIPES / ("debian.Containerfile" if image.suite else f"{image.short}.Containerfile")
    run_logged("images", ["buildah", "bud", "--pull-never", "--layers=false", "-t", image.name, "-f", str(recipe),
                          str(work)], env=_buildah_environment())
    run_logged("images", ["buildah", "push", image.name, f"docker-archive:{out}:{image.name}"],
               env=_buildah_environment())


def _give_buildah(image: Image) -> None:
    if not buildah("images", "-q", image.name, check=False).strip():
        say(f"giving {image.name} to buildah")
        identity = buildah("pull", f"docker-archive:{archive(image)}").strip().splitlines()[-1]
        buildah("tag", identity, image.name)


def ctr(node: Node, *argv: str, check: bool = True) -> str:
    return run("ctr", "-a", str(node.socket), "-n", "k8s.io", *argv, check=check)


def archive_names(path: Path) -> dict[str, str]:
    """The image names in an archive, each with a digest that changes with the image."""
    try:
        with tarfile.open(path) as tar:
            members = set(tar.getnames())
            if "manifest.json" in members:
                entries = json.load(tar.extractfile("manifest.json"))
                return {name: entry["Config"] for entry in entries for name in entry["RepoTags"] or []}
            index = json.load(tar.extractfile("index.json"))
    except (OSError, KeyError, tarfile.TarError) as error:
        raise ClusterError(f"{path} is no docker or OCI archive ({error}): "
                           "make it with `buildah push NAME docker-archive:FILE:NAME`") from None
    key = "org.opencontainers.image.ref.name"
    return {m["annotations"][key]: m["digest"] for m in index["manifests"] if key in m.get("annotations", {})}


def load(nodes: list[Node], paths: list[Path]) -> None:
    """Imports archives into each node's containerd; what a node has already is skipped."""
    for path in paths:
        if not archive_names(path):
            raise ClusterError(f"{path} names no image: make it with `buildah push NAME docker-archive:FILE:NAME`")
    with ThreadPoolExecutor(max_workers=2) as pool:
        for _ in pool.map(lambda node: _load_node(node, paths), nodes):
            pass


def _load_node(node: Node, paths: list[Path]) -> None:
    memory = node.folder / "containerd" / "loaded.json"
    loaded = json.loads(memory.read_text()) if memory.exists() else {}
    present = set(ctr(node, "images", "ls", "-q").split())
    for path in paths:
        names = archive_names(path)
        if all(loaded.get(name) == digest and name in present for name, digest in names.items()):
            continue
        _import(node, path, names)
        loaded.update(names)
        memory.write_text(json.dumps(loaded, indent=1))
        say(f"{node.name} has {', '.join(names)}")


def _import(node: Node, path: Path, names: dict[str, str]) -> None:
    if not all(digest.startswith("sha256:") for digest in names.values()):
        ctr(node, "images", "import", str(path))
        return
    # An OCI archive holds its names where ctr does not look: import it by digest, then name it.
    ctr(node, "images", "import", "--digests", "--base-name", "regroup-import", str(path))
    for name, digest in names.items():
        ctr(node, "images", "tag", "--force", f"regroup-import@{digest}", name)
        ctr(node, "images", "rm", f"regroup-import@{digest}")


def node_archives() -> list[Path]:
    return [archive(image) for image in IMAGES.values() if image.for_nodes]
