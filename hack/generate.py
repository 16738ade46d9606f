"""`make generate`: write what is generated from the types, everywhere it is kept."""

from __future__ import annotations

from pathlib import Path

from roadstead.api import crd

ROOT = Path(__file__).parent.parent
CRD_FOLDERS = ("crds", "charts/roadstead/crds", "operator/roadstead/crds")


def main() -> None:
    """The CRDs: for readers, for Helm, and for `roadstead crds` in the wheel."""
    crd.main(str(ROOT / folder) for folder in CRD_FOLDERS)


if __name__ == "__main__":
    main()
