"""The chart as text and as objects, as ``helm template`` renders it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from hack.cluster.helm import helm

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CHART = ROOT / "charts" / "roadstead"
FULL = ("--values", str(HERE / "full-values.yaml"))
NAMESPACE = "roadstead-system"
KEDA = ("--set", "keda.enabled=true")
CERTS = ("roadstead-certs", "roadstead-certs-hook")
Body = dict[str, Any]


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(helm()), *args], capture_output=True, text=True, check=False)


def template(*flags: str) -> str:
    done = run("template", "roadstead", str(CHART), "--namespace", NAMESPACE, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(*flags: str) -> list[Body]:
    return [body for body in yaml.safe_load_all(template(*flags)) if body]


def named(bodies: list[Body], kind: str, name: str) -> Body:
    return next(body for body in bodies if body["kind"] == kind and body["metadata"]["name"] == name)


def pod_specs(bodies: list[Body]) -> Iterator[Body]:
    for body in bodies:
        if body["kind"] in ("Deployment", "Job"):
            yield body["spec"]["template"]["spec"]
        elif body["kind"] == "CronJob":
            yield body["spec"]["jobTemplate"]["spec"]["template"]["spec"]
