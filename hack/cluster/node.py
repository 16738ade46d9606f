"""The node of the full tier: configuration and commands of containerd, the registry, kubelet, kube-proxy and CoreDNS."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from hack.cluster import binaries
from hack.cluster.certificates import Authority
from hack.cluster.processes import Command
from hack.cluster.slot import Slot

NODE_NAME = "roadstead-node"
GPUS = 8
GPU_LABELS = {
    "nvidia.com/gpu.present": "true",
    "nvidia.com/gpu.count": str(GPUS),
    "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
    "nvidia.com/gpu.family": "ampere",
    "nvidia.com/gpu.memory": "81920",
    "nvidia.com/gpu.replicas": "1",
    "nvidia.com/gpu.compute.major": "8",
    "nvidia.com/gpu.compute.minor": "0",
    "nvidia.com/mig.capable": "true",
    "nvidia.com/mig.strategy": "single",
}
CONTAINERD = """\
version = 2
root = "{state}/containerd"
state = "/run/containerd"
oom_score = 0
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{state}/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{state}/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{state}/registries"
"""
REGISTRY = """\
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {state}/registry}}
  delete: {{enabled: true}}
http: {{addr: {registry}}}
"""
COREFILE = """\
cluster.local in-addr.arpa {{
  bind {node}
  kubernetes {{
    kubeconfig {state}/coredns.kubeconfig
    pods insecure
  }}
  cache 5
}}
. {{
  bind {node}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Node:
    """The one node of a slot's cluster."""

    slot: Slot
    authority: Authority

    @property
    def state(self) -> Path:
        return self.slot.state

    def containerd(self, pause: str) -> Command:
        """The container runtime; ``pause`` is the reference of the image that holds a pod's namespaces."""
        host = self._folder(f"registries/{self.slot.registry}")
        url = f"http://{self.slot.registry}"
        (host / "hosts.toml").write_text(f'server = "{url}"\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n')
        network = {
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "pods0",
                    "isGateway": True,
                    "hairpinMode": True,
                    "ipam": {"type": "host-local", "ranges": [[{"subnet": self.slot.pods}]], "routes": [{"dst": "0.0.0.0/0"}]},
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }
        (self._folder("cni") / "10-pods.conflist").write_text(json.dumps(network))
        config = self._write("containerd.toml", CONTAINERD.format(state=self.state, pause=pause))
        return Command("containerd", ("containerd", "--config", str(config), "--log-level", "warn"))

    def registry(self) -> Command:
        config = self._write("registry.yaml", REGISTRY.format(state=self.state, registry=self.slot.registry))
        return Command("docker-registry", ("docker-registry", "serve", str(config)), (("OTEL_TRACES_EXPORTER", "none"),))

    def kubelet(self) -> Command:
        kubeconfig = self.authority.kubeconfig(
            self.state / "kubelet.kubeconfig", self.slot.url, f"system:node:{NODE_NAME}", ("system:nodes",)
        )
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.slot.node,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self.authority.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "healthzBindAddress": "127.0.0.1",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.slot.cgroup}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            "oomScoreAdj": 0,  # lowering it needs CAP_SYS_RESOURCE
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "podLogsDir": str(self._folder("pod-logs")),
            "volumePluginDir": str(self._folder("volume-plugins")),
            "clusterDNS": [self.slot.node],
            "clusterDomain": "cluster.local",
            "resolvConf": str(self._write("resolv.conf", f"nameserver {self.slot.node}\n")),
            "featureGates": {"KubeletInUserNamespace": True},
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "serializeImagePulls": False,
            "maxPods": 250,
            "registryPullQPS": 0,
            "eventRecordQPS": 500,  # 0 would be the client's own default, 5: Events then come a minute late when many pods start
            "eventBurst": 1000,
            "nodeStatusUpdateFrequency": "2s",  # GPUs in the capacity become allocatable at the next one
            "shutdownGracePeriod": "0s",
        }
        labels = ",".join(f"{name}={value}" for name, value in GPU_LABELS.items())
        arguments = (
            f"--config={self._write('kubelet.json', json.dumps(config, indent=2))}",
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={self.slot.node}",
            f"--root-dir={self._folder('kubelet')}",
            f"--cert-dir={self._folder('kubelet-pki')}",
            f"--node-labels={labels}",
        )
        return Command("kubelet", (str(binaries.path_to(binaries.KUBERNETES, "kubelet")), *arguments))

    def proxy(self) -> Command:
        kubeconfig = self.authority.kubeconfig(self.state / "kube-proxy.kubeconfig", self.slot.url, "system:kube-proxy")
        config = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "mode": "nftables",
            "conntrack": {"maxPerCore": 0, "min": 0},
            "hostnameOverride": NODE_NAME,
            "nodeIPOverride": [self.slot.node],
            "clusterCIDR": self.slot.pods,
            "bindAddress": "127.0.0.1",
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
        }
        path = self._write("kube-proxy.json", json.dumps(config, indent=2))
        return Command("kube-proxy", (str(binaries.path_to(binaries.KUBERNETES, "kube-proxy")), f"--config={path}"))

    def coredns(self) -> Command:
        self.authority.kubeconfig(self.state / "coredns.kubeconfig", self.slot.url, "coredns", ("system:masters",))
        path = self._write("Corefile", COREFILE.format(node=self.slot.node, state=self.state))
        return Command("coredns", (str(binaries.path_to(binaries.COREDNS, "coredns")), "-conf", str(path)))

    def _folder(self, name: str) -> Path:
        path = self.state / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _write(self, name: str, text: str) -> Path:
        path = self.state / name
        path.write_text(text)
        return path
