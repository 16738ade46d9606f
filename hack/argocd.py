"""What Argo CD needs to know the health of our kinds: one script, as keys of its ConfigMap and in the layout of its repository."""

from __future__ import annotations

from pathlib import Path

import yaml

from roadstead.api.crd import DEFINITIONS
from roadstead.names import GROUP

SCRIPT = "health.lua"
HEADER = f"# Generated from {SCRIPT} by `make generate`. Do not edit.\n"


class _Dumper(yaml.SafeDumper):
    """Scripts as blocks: people read this file before they apply it."""


_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)
)


def write(folder: Path) -> None:
    """Write ``argocd-cm.yaml`` and ``resource_customizations/`` beside the script in ``folder``."""
    script = (folder / SCRIPT).read_text()
    kinds = [kind.model.__name__ for kind in DEFINITIONS]
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "argocd-cm", "labels": {"app.kubernetes.io/name": "argocd-cm", "app.kubernetes.io/part-of": "argocd"}},
        "data": {f"resource.customizations.health.{GROUP}_{kind}": script for kind in kinds},
    }
    (folder / "argocd-cm.yaml").write_text(HEADER + yaml.dump(config_map, Dumper=_Dumper, sort_keys=False, width=120))
    for kind in kinds:
        target = folder / "resource_customizations" / GROUP / kind / SCRIPT
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(script)
