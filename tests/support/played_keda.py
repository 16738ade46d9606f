"""What KEDA's operator does to ScaledObjects, played: what a test of our own operator meets of it, without KEDA's processes and loops.

Finalizer, HPA and conditions as KEDA sets them; the count of pods is left alone, so that two runs of the same end alike. What depends on
KEDA itself is tested with KEDA.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from hack.cluster.api import Cluster
from roadstead.names import PAUSED_ANNOTATION
from tests.clusters import apply, wait_for
from tests.support.sampler import Reader

PATH = "/apis/keda.sh/v1alpha1/scaledobjects"
FINALIZER = "finalizer.keda.sh"
Body = dict[str, Any]


class PlayedKeda:
    """Heeds each change of a ScaledObject, in a thread of its own."""

    def __init__(self, cluster: Cluster) -> None:
        self.trouble: BaseException | None = None
        self._cluster = cluster
        self._reader = Reader(cluster, timeout_seconds=None)
        self._stopping = False
        self._done: dict[str, tuple[int, bool]] = {}
        """By uid, the generation that was heeded last and whether it was paused."""
        self._thread = threading.Thread(target=self._run, name="played-keda", daemon=True)

    def start(self) -> None:
        wait_for(lambda: self._reader.get(PATH), "ScaledObjects to be served")
        self._thread.start()

    def stop(self) -> None:
        """Stop, and fail if anything went wrong."""
        self._stopping = True
        with suppress(OSError):
            self._reader.shut()
        self._thread.join(10)
        self._reader.close()
        if self.trouble is not None:
            raise self.trouble

    def _run(self) -> None:
        try:
            while not self._stopping:  # the API server ends each watch after half an hour or a whole one
                for event in self._reader.watch(f"{PATH}?watch=1"):
                    if event["type"] in ("ADDED", "MODIFIED"):
                        self._heed(event["object"])
        except BaseException as error:
            if not self._stopping:
                self.trouble = error

    def _heed(self, body: Body) -> None:
        meta = body["metadata"]
        if "deletionTimestamp" in meta:
            if meta.get("finalizers"):
                self._patch(meta, {"metadata": {"finalizers": None}})
            return
        if FINALIZER not in meta.get("finalizers", ()):
            self._patch(meta, {"metadata": {"finalizers": [FINALIZER]}})
        paused = PAUSED_ANNOTATION in meta.get("annotations", {})
        if self._done.get(meta["uid"]) == (meta["generation"], paused):
            return
        self._done[meta["uid"]] = (meta["generation"], paused)
        if paused:
            name = body["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["name"]
            self._cluster.kubectl("delete", "hpa", name, "-n", meta["namespace"], "--ignore-not-found")
        else:
            apply(self._cluster, _hpa(body))
        said = {"Ready": "True", "Active": "False", "Fallback": "False", "Paused": str(paused)}
        conditions = [{"type": kind, "status": value, "reason": f"{kind}Played", "message": ""} for kind, value in said.items()]
        self._patch(meta, {"status": {"conditions": conditions}}, "--subresource=status")

    def _patch(self, meta: Body, change: Body, *flags: str) -> None:
        """It may have gone meanwhile."""
        where = ("scaledobjects.keda.sh", meta["name"], "-n", meta["namespace"])
        self._cluster.kubectl("patch", *where, "--type=merge", "-p", json.dumps(change), *flags, check=False)


def _hpa(scaled: Body) -> Body:
    meta, spec = scaled["metadata"], scaled["spec"]
    owner = {"apiVersion": scaled["apiVersion"], "kind": scaled["kind"], "name": meta["name"], "uid": meta["uid"]}
    metric = {"metric": {"name": "s0-played"}, "target": {"type": "AverageValue", "averageValue": "10"}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": spec["advanced"]["horizontalPodAutoscalerConfig"]["name"],
            "namespace": meta["namespace"],
            "labels": meta["labels"],
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {
            "scaleTargetRef": spec["scaleTargetRef"],
            "minReplicas": max(1, spec["minReplicaCount"]),
            "maxReplicas": spec["maxReplicaCount"],
            "metrics": [{"type": "External", "external": metric}],
        },
    }


@contextmanager
def played_keda(cluster: Cluster) -> Iterator[None]:
    """For the length of the block. KEDA's kinds must be there."""
    keda = PlayedKeda(cluster)
    keda.start()
    try:
        yield
    finally:
        keda.stop()
