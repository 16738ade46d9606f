"""The command lines of the control plane, for both tiers. Every flag was tried; the reasons of odd ones stand next to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hack.cluster import binaries
from hack.cluster.certificates import Authority, Pair, signing_key
from hack.cluster.processes import Command

KWOK_STAGES = Path(__file__).parent / "kwok" / "stages.yaml"
AUDIT_POLICY = '{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}\n'


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where a control plane lives and which keys it uses; the methods give the commands that run it."""

    state: Path
    url: str
    etcd_port: int
    etcd_peer_port: int
    authority: Authority
    front_proxy: Authority
    serving: Pair
    kubelet_client: Pair
    proxy_client: Pair
    service_account_key: Path

    @classmethod
    def create(cls, state: Path, *, url: str, etcd_ports: tuple[int, int], names: Sequence[str], addresses: Sequence[str]) -> ControlPlane:
        """Make all certificates and kubeconfig files of a new control plane under ``state``."""
        authority = Authority.create(state / "pki")
        front_proxy = Authority.create(state / "pki-front-proxy", "roadstead-front-proxy-ca")
        plane = cls(
            state=state,
            url=url,
            etcd_port=etcd_ports[0],
            etcd_peer_port=etcd_ports[1],
            authority=authority,
            front_proxy=front_proxy,
            serving=authority.server("kube-apiserver", names, addresses),
            kubelet_client=authority.client("kubelet-client", "kube-apiserver-kubelet-client", ("system:masters",)),
            proxy_client=front_proxy.client("front-proxy-client", "front-proxy-client"),
            service_account_key=signing_key(state / "pki"),
        )
        authority.kubeconfig(plane.admin, url, "kubernetes-admin", ("system:masters",))
        for name in ("kube-controller-manager", "kube-scheduler"):
            authority.kubeconfig(state / f"{name}.kubeconfig", url, f"system:{name}")
        return plane

    @property
    def admin(self) -> Path:
        return self.state / "admin.kubeconfig"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def audit_log(self) -> Path:
        return self.state / "audit.jsonl"

    def etcd(self) -> Command:
        client, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{self.etcd_peer_port}"
        flags = {
            "name": "etcd",
            "data-dir": self.state / "etcd",
            "unsafe-no-fsync": "true",  # throw-away data
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"etcd={peer}",
            "log-level": "warn",
        }
        return _command(binaries.ETCD, "etcd", flags)

    def apiserver(self, *, port: int, bind: str, advertise: str, services: str, audit: bool, extra: Sequence[str] = ()) -> Command:
        flags: dict[str, object] = {
            "etcd-servers": f"http://127.0.0.1:{self.etcd_port}",
            "bind-address": bind,
            "advertise-address": advertise,
            "secure-port": port,
            "tls-cert-file": self.serving.certificate,
            "tls-private-key-file": self.serving.key,
            "client-ca-file": self.authority.certificate,
            "service-account-key-file": self.service_account_key,
            "service-account-signing-key-file": self.service_account_key,
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-cluster-ip-range": services,
            "authorization-mode": "Node,RBAC",
            "allow-privileged": "true",
            "enable-aggregator-routing": "true",
            "requestheader-client-ca-file": self.front_proxy.certificate,
            "requestheader-allowed-names": "front-proxy-client",
            "requestheader-username-headers": "X-Remote-User",
            "requestheader-group-headers": "X-Remote-Group",
            "requestheader-extra-headers-prefix": "X-Remote-Extra-",
            "proxy-client-cert-file": self.proxy_client.certificate,
            "proxy-client-key-file": self.proxy_client.key,
            "kubelet-client-certificate": self.kubelet_client.certificate,
            "kubelet-client-key": self.kubelet_client.key,
            "kubelet-preferred-address-types": "InternalIP",  # else exec and logs look the node's name up in DNS
        }
        if audit:
            policy = self.state / "audit-policy.json"
            policy.write_text(AUDIT_POLICY)
            # By default it is begun anew every 100 MB, and whoever reads on from a place in it would find nothing.
            flags |= {"audit-policy-file": policy, "audit-log-path": self.audit_log, "audit-log-maxsize": 100_000}
        return _command(binaries.KUBERNETES, "kube-apiserver", flags, extra)

    def controller_manager(self, *extra: str) -> Command:
        flags: dict[str, object] = {
            "kubeconfig": self.state / "kube-controller-manager.kubeconfig",
            "secure-port": 0,  # nobody scrapes it, and a port less to choose
            "service-account-private-key-file": self.service_account_key,
            "root-ca-file": self.authority.certificate,
            "cluster-signing-cert-file": self.authority.certificate,
            "cluster-signing-key-file": self.authority.key,
            "use-service-account-credentials": "true",
            "leader-elect": "false",
            "kube-api-qps": 500,
            "kube-api-burst": 1000,
            "horizontal-pod-autoscaler-sync-period": "5s",
        }
        return _command(binaries.KUBERNETES, "kube-controller-manager", flags, extra)

    def scheduler(self) -> Command:
        flags = {
            "kubeconfig": self.state / "kube-scheduler.kubeconfig",
            "secure-port": 0,
            "leader-elect": "false",
            "kube-api-qps": 500,
            "kube-api-burst": 1000,
        }
        return _command(binaries.KUBERNETES, "kube-scheduler", flags)

    def kwok(self, port: int) -> Command:
        """Fake nodes (annotation ``kwok.x-k8s.io/node: fake``) and the life of their pods, as ``kwok/stages.yaml`` says."""
        flags = {
            "config": KWOK_STAGES,
            "kubeconfig": self.admin,
            "manage-all-nodes": "false",
            "manage-nodes-with-annotation-selector": "kwok.x-k8s.io/node=fake",
            "node-ip": "127.0.0.1",
            "node-port": port,
            "server-address": f"127.0.0.1:{port}",
            "node-lease-duration-seconds": 40,
            "cidr": "198.18.0.0/16",
        }
        return _command(binaries.KWOK, "kwok", flags)


def _command(tools: binaries.ToolSet, name: str, flags: dict[str, object], extra: Sequence[str] = ()) -> Command:
    return Command(name, (str(binaries.path_to(tools, name)), *(f"--{flag}={value}" for flag, value in flags.items()), *extra))
