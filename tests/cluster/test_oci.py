"""Images are reproducible: the same content gives the same digest, whatever the times, owners and order of the files."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from hack.cluster.oci import write_image, write_layer


def tree(root: Path, *, at: int, reverse: bool) -> Path:
    names = ["a/one", "a/two", "b/three"]
    for name in reversed(names) if reverse else names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
        os.utime(root / name, (at, at))
    (root / "link").symlink_to("a/one")
    os.link(root / "a/one", root / "hard")
    return root


def test_same_content_same_digest(tmp_path: Path) -> None:
    first = write_layer(tree(tmp_path / "first", at=1_000, reverse=False), tmp_path / "first.tar")
    second = write_layer(tree(tmp_path / "second", at=2_000_000, reverse=True), tmp_path / "second.tar")
    assert first.digest == second.digest
    config = {"Entrypoint": ["/a/one"]}
    images = [write_image(tmp_path / name, [layer], config) for name, layer in (("x", first), ("y", second))]
    assert images[0].manifest.digest == images[1].manifest.digest


def test_entries_belong_to_root_and_hard_links_carry_their_content(tmp_path: Path) -> None:
    layer = write_layer(tree(tmp_path / "tree", at=1_000, reverse=False), tmp_path / "layer.tar")
    with tarfile.open(layer.path) as archive:
        members = archive.getmembers()
        assert {(member.uid, member.gid, member.mtime) for member in members} == {(0, 0, 0)}
        assert not any(member.islnk() for member in members)
        hard = archive.extractfile("hard")
        assert hard is not None
        assert hard.read() == b"a/one"
