"""Objects to try the edge on, as our own field manager applies them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from roadstead.kube.resource import Body

US = "roadstead"


async def until(true: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - conditions of many kinds, and none of them tells when it turns true
            await asyncio.sleep(0.02)


def deployment(name: str = "d") -> Body:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [
                        {
                            "name": "main",
                            "image": "image:1",
                            "env": [{"name": "OURS", "value": "1"}],
                            "ports": [{"name": "http", "containerPort": 8080}],
                            "resources": {"requests": {"cpu": "500m", "memory": "536870912"}},
                            "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
                        }
                    ],
                    "volumes": [{"name": "scratch", "emptyDir": {}}],
                },
            },
        },
    }


def service() -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "d"},
        "spec": {"selector": {"app": "d"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }
