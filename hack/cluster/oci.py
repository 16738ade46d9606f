"""Write OCI images without a container engine: one tar per layer, a config, a manifest, an image layout folder around them.

Reproducible: entries are sorted, times are zero, owners are root; the same input gives the same digest. Layers are not compressed:
they only travel to a registry on the same machine. Format: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True, slots=True)
class Blob:
    """A file that is named by the hash of its content."""

    path: Path
    digest: str
    media_type: str

    @property
    def descriptor(self) -> dict[str, object]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.path.stat().st_size}


@dataclass(frozen=True, slots=True)
class Image:
    """An image in an image layout folder."""

    folder: Path

    @property
    def manifest(self) -> Blob:
        entry = json.loads((self.folder / "index.json").read_text())["manifests"][0]
        return self._blob(entry)

    @property
    def blobs(self) -> list[Blob]:
        """The layers and the config: what has to be in a registry before the manifest."""
        document = json.loads(self.manifest.path.read_text())
        return [self._blob(entry) for entry in (*document["layers"], document["config"])]

    def _blob(self, entry: Mapping[str, str]) -> Blob:
        return Blob(self.folder / "blobs" / "sha256" / entry["digest"].removeprefix("sha256:"), entry["digest"], entry["mediaType"])


def write_layer(tree: Path, target: Path) -> Blob:
    """Pack the folder's content as a layer into the file ``target``."""
    scratch = target.with_name(target.name + ".tmp")
    with tarfile.open(scratch, "w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(tree.rglob("*")):
            entry = archive.gettarinfo(path, arcname=str(path.relative_to(tree)))
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = ""
            if entry.islnk():  # a hard link would depend on the order of the walk
                entry.type, entry.linkname, entry.size = tarfile.REGTYPE, "", path.stat().st_size
            if entry.isreg():
                with path.open("rb") as content:
                    archive.addfile(entry, content)
            else:
                archive.addfile(entry)
    scratch.rename(target)
    return read_layer(target)


def read_layer(path: Path) -> Blob:
    """The layer in a file that ``write_layer`` wrote earlier."""
    with path.open("rb") as content:
        return Blob(path, f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}", LAYER_TYPE)


def write_image(target: Path, layers: Sequence[Blob], config: Mapping[str, object]) -> Image:
    """Write an image layout folder; ``config`` is the run configuration (``Entrypoint``, ``Env``, ``User`` …)."""
    scratch = target.with_name(target.name + ".tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    blobs = scratch / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def store(document: object, media_type: str) -> Blob:
        content = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return Blob(blobs / digest, f"sha256:{digest}", media_type)

    for layer in layers:
        link = blobs / layer.digest.removeprefix("sha256:")
        if not link.exists():
            os.link(layer.path, link)
    described = store(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        },
        CONFIG_TYPE,
    )
    manifest = store(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": described.descriptor,
            "layers": [layer.descriptor for layer in layers],
        },
        MANIFEST_TYPE,
    )
    (scratch / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}\n')
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [manifest.descriptor]}
    (scratch / "index.json").write_text(json.dumps(index))
    shutil.rmtree(target, ignore_errors=True)
    scratch.rename(target)
    return Image(target)
