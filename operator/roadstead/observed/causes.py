"""Why no pod is ready: the cause a person can act on, in one sentence, and whether waiting may still help.

Checks are functions ``(PodView, Scene) -> Cause | None``; of what they find the most telling is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from roadstead.observed import containers, places
from roadstead.observed.cause import Cause, Scene
from roadstead.observed.views import DeploymentView, PodView
from roadstead.observed.wording import refusal_words, short

IMAGE_REASONS = frozenset({"InvalidImageName", "ImageNotFound", "ImagePullDenied", "ImagePullFailed"})
CRASH_REASONS = frozenset({"StartError", "Crashed", "OOMKilled", "StartupProbeFailed", "LivenessProbeFailed"})
FAMILIES = (IMAGE_REASONS, CRASH_REASONS)
DISRUPTIONS = frozenset({"Evicted", "Preempted", "NodeLost", "PodRejected"})
PATIENT = frozenset({"QuotaExceeded", "Unschedulable", *DISRUPTIONS})
"""Lasting at no deadline while no pod serves: room and quota may come at any time. Beside a serving pod the rollout has failed then."""
CHECKS: tuple[Callable[[PodView, Scene], Cause | None], ...] = (
    containers.image,
    containers.configuration,
    containers.crash,
    containers.killed,
    places.lost,
    places.disrupted,
    places.over,
    places.setup,
    places.unschedulable,
    containers.unready,
)


def stalled_before(previous: Mapping[str, Any]) -> tuple[str, str] | None:
    """Reason and time of what the last status called lasting."""
    found = next((entry for entry in previous.get("conditions") or () if entry["type"] == "Stalled"), None)
    return None if found is None else (found["reason"], found["lastTransitionTime"])


def find_cause(deployment: DeploymentView | None, pods: Iterable[PodView], scene: Scene) -> Cause | None:
    """The cause to show while something isn't as it should be: the most telling one, of the newest pod that has it."""
    known = sorted(places.awaited(tuple(pods)), key=lambda pod: (pod.created, pod.name), reverse=True)
    seen = [(cause, pod) for pod in known for check in CHECKS if (cause := check(pod, scene)) is not None]
    seen.sort(key=lambda one: not one[0].lasting)  # what lasts by itself stays ahead of what only was found lasting before
    found = [replace(cause, lasting=cause.lasting or _latched(cause, pod, known, scene)) for cause, pod in seen]
    if deployment is not None and deployment.spec_replicas == 0:
        found = [cause for cause in found if cause.reason not in DISRUPTIONS]
    if deployment is not None and (refused := _refused(deployment)):
        found.append(refused)
    if deployment is not None and (late := _deadline(deployment)) and not any(cause.lasting for cause in found):
        serving = any(pod.alive and pod.ready for pod in known)
        found = [replace(cause, lasting=serving or cause.reason not in PATIENT) for cause in found] or [late]
    best = min(found, key=_telling, default=None)
    homeless = next((cause for cause in found if cause.reason == "Unschedulable"), None)
    if best is not None and best.reason in DISRUPTIONS and homeless is not None:
        return replace(best, message=f"{best.message}; {homeless.message}")
    return best


def find_kill(pods: Iterable[PodView], scene: Scene) -> Cause | None:
    """What is to be said although everything serves: that the kubelet is about to restart a container."""
    newest_first = sorted(pods, key=lambda pod: (pod.created, pod.name), reverse=True)
    return next((cause for pod in newest_first if (cause := containers.killed(pod, scene)) is not None), None)


def _telling(cause: Cause) -> int:
    """Lasting before passing ones; what befell a pod explains why its replacement waits for a node or isn't ready yet."""
    if cause.lasting:
        return 0
    if cause.reason in DISRUPTIONS:
        return 2
    return {"Unschedulable": 3, "NotReady": 4}.get(cause.reason, 1)


def _latched(cause: Cause, pod: PodView, pods: Iterable[PodView], scene: Scene) -> bool:
    """Whether the like of it was found lasting in this version before: only a ready pod takes that back."""
    if scene.stalled is None:
        return False
    reason, since = scene.stalled
    alike = any(reason in family and cause.reason in family for family in FAMILIES)
    return alike and any(other.template_hash == pod.template_hash and other.created <= since for other in pods)


def _refused(deployment: DeploymentView) -> Cause | None:
    """Pods that the API server refuses to create: quota (passes by itself), LimitRange, Pod Security or an admission policy."""
    failure = deployment.conditions.get("ReplicaFailure")
    if failure is None or failure.status != "True":
        return None
    words, head = refusal_words(failure.message), "Pods are refused: "
    if "exceeded quota" in words:
        return Cause("QuotaExceeded", f"{head}{words}; ask for less, or for more quota", False, head=head)
    return Cause("PodRefused", f"{head}{words}", True, head=head)


def _deadline(deployment: DeploymentView) -> Cause | None:
    progressing = deployment.conditions.get("Progressing")
    if progressing is None or progressing.status != "False" or progressing.reason != "ProgressDeadlineExceeded":
        return None
    return Cause("ProgressDeadlineExceeded", f"The new version made no progress: {short(progressing.message)}", True)
