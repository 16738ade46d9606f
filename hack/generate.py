"""`make generate`: write what is generated from the types, everywhere it is kept."""

from __future__ import annotations

from pathlib import Path

from hack import argocd
from roadstead.api import crd

ROOT = Path(__file__).parent.parent
ARGOCD_FOLDER = "deploy/argocd"
CRD_FOLDERS = ("crds", "charts/roadstead/crds", "operator/roadstead/crds")


def main() -> None:
    """The CRDs: for readers, for Helm, and for `roadstead crds` in the wheel. And the health scripts of Argo CD."""
    crd.main(str(ROOT / folder) for folder in CRD_FOLDERS)
    argocd.write(ROOT / ARGOCD_FOLDER)


if __name__ == "__main__":
    main()
