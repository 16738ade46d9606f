"""Causes that lie where a pod is or should be: no node for it, a node lost, a pod driven off, volumes that don't come."""

from __future__ import annotations

from datetime import datetime

from roadstead.observed.cause import Cause, Scene
from roadstead.observed.hearing import eviction_words, setup_words
from roadstead.observed.views import PodView
from roadstead.observed.wording import short

DISRUPTED = {
    "PreemptionByScheduler": "Preempted",
    "TerminationByKubelet": "Evicted",
    "EvictionByEvictionAPI": "Evicted",
    "DeletionByTaintManager": "NodeLost",
    "DeletionByPodGC": "NodeLost",
}
"""Reasons of a pod's DisruptionTarget condition (https://kubernetes.io/docs/concepts/workloads/pods/disruptions)."""
OVER = {"Evicted": "Evicted", "Preempting": "Preempted", "Terminated": "Evicted", "NodeShutdown": "Evicted", "NodeLost": "NodeLost"}
"""Reasons in the status of a pod that has failed (pkg/kubelet)."""
REPLACED_SECONDS = 60.0
"""A pod made within so long of another's end is its replacement."""


def unschedulable(pod: PodView, _: Scene) -> Cause | None:
    """No node for it, in the scheduler's words."""
    if not pod.alive or pod.node is not None or not pod.unschedulable:
        return None
    head = f"Pod {pod.name} has no node: "
    return Cause("Unschedulable", f"{head}{short(pod.unschedulable)}{_remedy(pod.unschedulable)}", False, head=head)


def lost(pod: PodView, scene: Scene) -> Cause | None:
    """A node that the cluster has lost sight of: what runs there can't be reached, and what goes can't be seen to go."""
    if pod.finished or pod.node is None or pod.node not in scene.lost_nodes or (pod.ready and not pod.terminating):
        return None
    head = f"Node {pod.node}, on which pod {pod.name} is, is lost (not ready)"
    return Cause("NodeLost", f"{head}; the pod is replaced once the eviction timeout has passed", False, head=head)


def disrupted(pod: PodView, _: Scene) -> Cause | None:
    """A pod that is being driven off its node."""
    reason = DISRUPTED.get(pod.disruption)
    if pod.finished or reason is None:
        return None
    head = f"Pod {pod.name}, on node {pod.node}: "
    return Cause(reason, f"{head}{short(pod.disruption_message or pod.disruption)}; it is replaced by itself", False, head=head)


def over(pod: PodView, scene: Scene) -> Cause | None:
    """A pod that was ended from outside, or turned away by its node. One that ended well when it was evicted doesn't say so itself."""
    if not pod.finished:
        return None
    evicted = eviction_words(scene.heard.get(pod.uid, ()))
    if not pod.reason and evicted is None:
        return None
    reason = OVER.get(pod.reason, "PodRejected") if pod.reason else "Evicted"
    head = f"Pod {pod.name}, on node {pod.node}: "
    return Cause(reason, f"{head}{short(pod.message or evicted or pod.reason)}; it is replaced by itself", False, head=head)


def setup(pod: PodView, scene: Scene) -> Cause | None:
    """Volumes or network that the kubelet can't bring."""
    words = setup_words(scene.heard.get(pod.uid, ()))
    if not pod.alive or pod.ready or pod.sandboxed is not False or words is None:
        return None
    head = f"Pod {pod.name}: "
    reason = "VolumeMountFailed" if "olume" in words else "SandboxFailed"
    remedy = "; correct spec.template.volumes, or create what it names" if reason == "VolumeMountFailed" else ""
    return Cause(reason, f"{head}{short(words)}{remedy}", False, head=head)


def awaited(pods: tuple[PodView, ...]) -> tuple[PodView, ...]:
    """The pods without the finished ones whose replacement has long come: those are history."""
    waiting = [pod for pod in pods if pod.alive and not pod.ready]
    alive = any(pod.alive for pod in pods)
    return tuple(pod for pod in pods if not pod.finished or not alive or any(_replaces(other, pod) for other in waiting))


def _replaces(new: PodView, old: PodView) -> bool:
    if new.template_hash != old.template_hash:
        return False
    if not old.turned_at:
        return True
    return abs((datetime.fromisoformat(new.created) - datetime.fromisoformat(old.turned_at)).total_seconds()) <= REPLACED_SECONDS


def _remedy(words: str) -> str:
    if "persistentvolumeclaim" in words or "volume node affinity" in words or "unbound" in words:
        return "; look at the claim in spec.template.volumes"
    if "Insufficient" in words or "Too many pods" in words:
        return "; lower resourceRequest or add nodes"
    if "node affinity" in words or "node selector" in words or "untolerated taint" in words:
        return "; correct spec.template.nodeSelector or tolerations, or add nodes"
    return ""
