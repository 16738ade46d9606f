"""Looking at a Workload's Deployment, pods and scalers every 50 ms, to see what a single look would miss."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from hack.cluster.api import Cluster

PAUSE_SECONDS = 0.05
Body = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """One look: ``wanted`` is the Deployment's spec.replicas; pods that terminate don't count; scalers are those that aren't leaving."""

    phase: str
    at: float
    wanted: int
    pods: int
    ready: int
    scalers: tuple[str, ...]


class Sampler(threading.Thread):
    """Samples until stopped; ``phase`` is what the test calls the present moment."""

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        super().__init__(name="sampler", daemon=True)
        self.samples: list[Sample] = []
        self.phase = ""
        self.trouble: BaseException | None = None
        self._namespace = namespace
        self._name = name
        self._done = threading.Event()
        self._reader = Reader(cluster)

    def run(self) -> None:
        try:
            while not self._done.is_set():
                self._look()
                self._done.wait(PAUSE_SECONDS)
        except BaseException as error:
            self.trouble = error
        finally:
            self._reader.close()

    def stop(self) -> None:
        """Stop, and fail if sampling did."""
        self._done.set()
        self.join(10)
        if self.trouble is not None:
            raise self.trouble

    def least(self, *phases: str) -> tuple[int, int]:
        """The smallest wanted and existing count of pods in these phases."""
        chosen = self._of(phases)
        return min(sample.wanted for sample in chosen), min(sample.pods for sample in chosen)

    def most(self, *phases: str) -> int:
        """The greatest wanted count in these phases."""
        return max(sample.wanted for sample in self._of(phases))

    def story(self) -> str:
        """Every change, for a failure's message."""
        lines, before = [], None
        for sample in self.samples:
            now = (sample.phase, sample.wanted, sample.pods, sample.ready, sample.scalers)
            if now != before:
                what = f"wanted={sample.wanted} pods={sample.pods} ready={sample.ready} scalers={sample.scalers}"
                lines.append(f"{sample.at - self.samples[0].at:7.2f} s {sample.phase}: {what}")
                before = now
        return "\n".join(lines)

    def _of(self, phases: tuple[str, ...]) -> list[Sample]:
        return [sample for sample in self.samples if sample.phase in phases]

    def _look(self) -> None:
        phase, at = self.phase, time.monotonic()
        deployment = self._reader.get(f"/apis/apps/v1/namespaces/{self._namespace}/deployments/{self._name}")
        if deployment is None:
            return
        selector = f"labelSelector=roadstead.dev%2Fworkload%3D{self._name}"
        pods = [pod for pod in self._items(f"/api/v1/namespaces/{self._namespace}/pods?{selector}") if stays(pod)]
        hpas = [hpa for hpa in self._items(f"/apis/autoscaling/v2/namespaces/{self._namespace}/horizontalpodautoscalers") if stays(hpa)]
        scaled = [so for so in self._items(f"/apis/keda.sh/v1alpha1/namespaces/{self._namespace}/scaledobjects") if stays(so)]
        scalers = [f"HPA {hpa['metadata']['name']}" for hpa in hpas] + [f"SO {so['metadata']['name']}" for so in scaled]
        ready = sum(any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", [])) for pod in pods)
        self.samples.append(Sample(phase, at, deployment["spec"]["replicas"], len(pods), ready, tuple(sorted(scalers))))

    def _items(self, path: str) -> list[Body]:
        found = self._reader.get(path)
        return found["items"] if found else []


def stays(body: Body) -> bool:
    """Whether an object isn't being deleted."""
    return "deletionTimestamp" not in body["metadata"]


@contextmanager
def sampling(cluster: Cluster, namespace: str, name: str = "chat") -> Iterator[Sampler]:
    """Sample for the length of the block; the story is printed where the block fails."""
    sampler = Sampler(cluster, namespace, name)
    sampler.start()
    try:
        yield sampler
    finally:
        sampler.stop()
        print(sampler.story())


class Reader:
    """GETs over one connection; kubectl takes longer to start than the pause between two looks."""

    def __init__(self, cluster: Cluster, timeout_seconds: float | None = 10) -> None:
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        user = config["users"][0]["user"]
        context = ssl.create_default_context(cafile=str(cluster.ca_file))
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = Path(folder) / "crt", Path(folder) / "key"
            certificate.write_bytes(base64.b64decode(user["client-certificate-data"]))
            key.write_bytes(base64.b64decode(user["client-key-data"]))
            context.load_cert_chain(certificate, key)
        parts = urlsplit(cluster.url)
        self._connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout_seconds, context=context)

    def get(self, path: str) -> Body | None:
        """One object or list; None where there is none."""
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status in (404, 429):  # 429: a kind that was defined this very moment
            return None
        assert answer.status == 200, text
        found: Body = json.loads(text)
        return found

    def watch(self, path: str) -> Iterator[Body]:
        """The events of a watch, those of what is there already first; ends with ``shut`` or with the watch."""
        self._connection.request("GET", path)
        with self._connection.getresponse() as answer:
            assert answer.status == 200, answer.read()
            while line := answer.readline():
                yield json.loads(line)

    def shut(self) -> None:
        """End a watch from another thread."""
        if self._connection.sock is not None:
            self._connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._connection.close()
