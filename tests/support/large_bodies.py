"""Large bodies through a gateway to a pod of web_pod.py: they pass, and cost neither Envoy nor the gateway memory that grows with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import httpx

from tests.support.gateways import Replica
from tests.support.memory import FLAT_MIB, resident_mib
from tests.support.web_pod import MIB


def transfer(gateway: Replica, path: str, token: str, mib: int) -> None:
    """Upload and download that much at the endpoint whose path, without a slash at its end, that is."""
    assert gateway.envoy is not None
    assert gateway.process is not None
    pids = {"Envoy": gateway.envoy.pid, "the gateway": gateway.process.pid}
    before = {who: resident_mib(pid) for who, pid in pids.items()}
    most = dict(before)
    digest = hashlib.sha256()

    def look() -> None:
        most.update({who: max(most[who], resident_mib(pid)) for who, pid in pids.items()})

    def pieces() -> Iterator[bytes]:
        for number in range(mib):
            piece = number.to_bytes(4, "big") * (MIB // 4)
            digest.update(piece)
            yield piece
            look()

    with httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {token}"}, timeout=120) as client:
        said = client.post(f"{path}/upload", content=pieces()).json()
        assert said == {"size": mib * MIB, "sha256": digest.hexdigest()}
        size = 0
        with client.stream("GET", f"{path}/download?mib={mib}") as answer:
            for piece in answer.iter_raw(MIB):
                size += len(piece)
                look()
        assert size == mib * MIB
    print(f"{mib} MiB up and down: " + ", ".join(f"{who} {before[who]:.0f} MiB, at most {most[who]:.0f}" for who in pids))
    assert {who: most[who] - before[who] for who in pids if most[who] - before[who] >= FLAT_MIB} == {}
