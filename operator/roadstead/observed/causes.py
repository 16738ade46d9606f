"""Why no pod is ready: the cause a person can act on, in one sentence, and whether waiting may still help.

Checks are functions ``PodView -> Cause | None``, most telling first; the first answer wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from roadstead.observed.views import ContainerView, DeploymentView, PodView

SECOND_BACK_OFF = 2
"""Restarts at which a crash counts as lasting: the kubelet then backs off for the second time."""
MESSAGE_LIMIT = 1024


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason (CamelCase), a sentence, and ``lasting``: it won't pass by itself. ``log_tail`` are the container's last lines."""

    reason: str
    message: str
    lasting: bool
    log_tail: tuple[str, ...] = ()


def find_cause(deployment: DeploymentView | None, pods: Iterable[PodView]) -> Cause | None:
    """The cause to show while something isn't as it should be; lasting causes before passing ones, newest pods first."""
    found: list[Cause] = []
    wanted = deployment is None or deployment.spec_replicas > 0
    for pod in sorted(pods, key=lambda pod: (pod.created, pod.name), reverse=True):
        if not pod.terminating and not pod.ready and (wanted or not pod.finished):
            found.extend(cause for check in POD_CHECKS if (cause := check(pod)))
    if deployment is not None and (refused := _refused(deployment)):
        found.append(refused)
    if deployment is not None and (late := _deadline(deployment)) and not any(cause.lasting for cause in found):
        found = [Cause(cause.reason, cause.message, True, cause.log_tail) for cause in found] or [late]
    return min(found, key=_telling, default=None)


def _telling(cause: Cause) -> int:
    """Lasting causes before passing ones; that a probe has not passed yet says least."""
    return 0 if cause.lasting else 2 if cause.reason == "NotReady" else 1


def _image(pod: PodView) -> Cause | None:
    for container in pod.containers:
        if container.state != "waiting" or container.reason not in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName"):
            continue
        text = container.message.lower()
        if container.reason == "InvalidImageName":
            return Cause("InvalidImageName", f"{_at(pod, container)}: {container.message}; correct imageUri", True)
        if "not found" in text or "manifest unknown" in text:
            return Cause("ImageNotFound", f"{_at(pod, container)}: image not found; correct imageUri ({_short(container.message)})", True)
        if any(word in text for word in ("unauthorized", "denied", "forbidden", "authorization failed")):
            return Cause(
                "ImagePullDenied",
                f"{_at(pod, container)}: the registry denies the pull; give spec.template.imagePullSecrets ({_short(container.message)})",
                True,
            )
        lasting = container.reason == "ImagePullBackOff"
        return Cause("ImagePullFailed", f"{_at(pod, container)}: image can't be pulled ({_short(container.message)})", lasting)
    return None


def _configuration(pod: PodView) -> Cause | None:
    for container in pod.containers:
        if container.state == "waiting" and container.reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
            return Cause(container.reason, f"{_at(pod, container)}: {_short(container.message)}", True)
    return None


def _crash(pod: PodView) -> Cause | None:
    for container in pod.containers:
        ended = container.state == "terminated"
        code = container.exit_code if ended else container.last_exit_code
        reason = container.reason if ended else container.last_reason
        if code is None or (container.state == "running" and container.started and container.restarts == 0):
            continue
        tail = tuple((container.message if ended else container.last_message).splitlines()[-10:])
        lasting = container.restarts >= SECOND_BACK_OFF
        if reason == "OOMKilled":
            return Cause("OOMKilled", f"{_at(pod, container)}: killed for want of memory; raise resourceRequest.memory", lasting, tail)
        if reason in ("StartError", "ContainerCannotRun"):
            return Cause("StartError", f"{_at(pod, container)}: can't start; correct entrypoint ({_short(' '.join(tail))})", True, tail)
        times = f", restarted {container.restarts} times" if container.restarts else ""
        last = f": {_short(tail[-1])}" if tail else ""
        return Cause("Crashed", f"{_at(pod, container)}: exited with code {code}{times}{last}", lasting, tail)
    return None


def _unschedulable(pod: PodView) -> Cause | None:
    if pod.node is None and pod.unschedulable:
        return Cause("Unschedulable", f"Pod {pod.name} has no node: {_short(pod.unschedulable)}", False)
    return None


def _evicted(pod: PodView) -> Cause | None:
    if pod.phase == "Failed" and pod.reason:
        return Cause(pod.reason, f"Pod {pod.name}: {_short(pod.message or pod.reason)}", False)
    return None


def _unready(pod: PodView) -> Cause | None:
    for container in pod.containers:
        if container.state == "running" and not container.ready:
            what = "readiness" if container.started else "startup"
            return Cause("NotReady", f"{_at(pod, container)}: running, its {what} probe has not passed yet", False)
    return None


POD_CHECKS: tuple[Callable[[PodView], Cause | None], ...] = (_image, _configuration, _crash, _unschedulable, _evicted, _unready)


def _refused(deployment: DeploymentView) -> Cause | None:
    """Pods that the API server refuses to create: quota (passes by itself), LimitRange, Pod Security or an admission policy."""
    failure = deployment.conditions.get("ReplicaFailure")
    if failure is None or failure.status != "True":
        return None
    quota = "exceeded quota" in failure.message
    return Cause("QuotaExceeded" if quota else "PodRefused", f"Pods are refused: {_short(failure.message)}", not quota)


def _deadline(deployment: DeploymentView) -> Cause | None:
    progressing = deployment.conditions.get("Progressing")
    if progressing is None or progressing.status != "False" or progressing.reason != "ProgressDeadlineExceeded":
        return None
    return Cause("ProgressDeadlineExceeded", f"The new version made no progress: {_short(progressing.message)}", True)


def _at(pod: PodView, container: ContainerView) -> str:
    return f"Pod {pod.name}, container {container.name}"


def _short(text: str) -> str:
    """One line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"
