"""Causes that a pod's containers tell: images, configuration, crashes, probes."""

from __future__ import annotations

from roadstead.observed.cause import Cause, Scene
from roadstead.observed.hearing import killed_for, probe_answer, under_way
from roadstead.observed.views import ContainerView, PodView
from roadstead.observed.wording import at, configuration_words, pull_words, short, start_words

SECOND_BACK_OFF = 2
"""Restarts at which a crash counts as lasting: the kubelet restarts at once after the first, then backs off, then for the second time."""
BACK_OFF_RESET_SECONDS = 600.0
"""After a run as long as this the kubelet forgets that it was backing off."""
PULL_PATIENCE_SECONDS = 30.0
"""The kubelet's first two back-offs of a pull, 10 and 20 s. It counts no tries, so time has to tell."""
PULL_STATES = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError")
DENIALS = ("unauthorized", "denied", "forbidden", "authorization failed")
TAIL_LINES = 10
LAST_LINE_LIMIT = 240


def image(pod: PodView, scene: Scene) -> Cause | None:
    """An image that can't be had."""
    for container in pod.containers:
        where = at(pod, container)
        if not pod.alive or container.state != "waiting":
            continue
        if container.reason == "InvalidImageName":
            return Cause("InvalidImageName", f"{where}: {short(container.message)}; correct imageUri", True, head=where)
        if container.reason not in PULL_STATES:
            continue
        words = pull_words(container.message)
        text, aside = words.lower(), f" ({words})" if words else ""
        if "not found" in text or "manifest unknown" in text:
            return Cause("ImageNotFound", f"{where}: image not found; correct imageUri{aside}", True, head=where)
        if any(word in text for word in DENIALS):
            remedy = "give spec.template.imagePullSecrets"
            return Cause("ImagePullDenied", f"{where}: the registry denies the pull; {remedy}{aside}", True, head=where)
        waited = (scene.now - (scene.pull_failing_since or scene.now)).total_seconds()
        sentence = f"{where}: image can't be pulled; check that the nodes reach its registry{aside}"
        return Cause("ImagePullFailed", sentence, waited >= PULL_PATIENCE_SECONDS, head=where)
    return None


def fails_to_pull(pod: PodView) -> bool:
    """Whether an image of the pod can't be pulled, for whatever reason."""
    return pod.alive and any(container.state == "waiting" and container.reason in PULL_STATES for container in pod.containers)


def configuration(pod: PodView, _: Scene) -> Cause | None:
    """A container that the kubelet can't or may not make."""
    for container in pod.containers:
        where, words = at(pod, container), configuration_words(container.message)
        if not pod.alive or container.state != "waiting":
            continue
        if container.reason == "CreateContainerConfigError" and "runAsNonRoot" in words:
            remedy = "set securityContext.runAsUser of the container or Platform's pods.runAsUser"
            return Cause(
                "RunAsRoot", f"{where}: the image runs as root, or as a user without a number; {remedy} ({words})", True, head=where
            )
        if container.reason == "CreateContainerConfigError":
            remedy = _config_remedy(words)
            return Cause(container.reason, f"{where}: {words}{remedy}", True, head=where)
        if container.reason == "CreateContainerError":
            return Cause(container.reason, f"{where}: {words}", True, head=where)
        if container.reason == "RunContainerError":
            return _cannot_start(where, container.message)
    return None


def crash(pod: PodView, scene: Scene) -> Cause | None:
    """A container that ended, or was ended, and has not been ready since."""
    for container in pod.containers:
        ended = container.state == "terminated"
        code = container.exit_code if ended else container.last_exit_code
        reason = container.reason if ended else container.last_reason
        if not pod.alive or pod.ready or container.ready or code is None:
            continue
        said = container.message if ended else container.last_message
        where, tail = at(pod, container), tuple(said.splitlines()[-TAIL_LINES:])
        short_run = container.last_seconds is None or container.last_seconds < BACK_OFF_RESET_SECONDS
        lasting = container.restarts >= SECOND_BACK_OFF and short_run
        if reason in ("StartError", "ContainerCannotRun"):
            return _cannot_start(where, said, tail)
        if reason == "OOMKilled":
            limit = f" (its limit is {container.memory_limit})" if container.memory_limit else ""
            return Cause("OOMKilled", f"{where}: killed for want of memory{limit}; raise resourceRequest.memory", lasting, tail, where)
        if (probe := killed_for(container, scene.heard.get(pod.uid, ()))) is not None:
            return _probe_failed(pod, container, probe, scene, lasting=lasting, tail=tail)
        head = f"{where}: exited with code {code}"
        again, last = " again and again" if lasting else "", f": {short(tail[-1])[:LAST_LINE_LIMIT]}" if tail else ""
        return Cause("Crashed", f"{head}{again}{last}; see kubectl logs --previous", lasting, tail, head)
    return None


def killed(pod: PodView, scene: Scene) -> Cause | None:
    """A container that the kubelet is about to end for a failing probe; it drains, and the pod may be ready until it has."""
    kill = scene.kills.get(pod.uid)
    for container in pod.containers:
        if kill is not None and pod.alive and under_way(container, kill):
            return _probe_failed(pod, container, kill.probe, scene)
    return None


def unready(pod: PodView, scene: Scene) -> Cause | None:
    """A container that runs, but whose probes don't pass."""
    for container in pod.containers:
        if pod.alive and container.state == "running" and not container.ready:
            where, probe = at(pod, container), "readiness" if container.started else "startup"
            answer = probe_answer(container, probe, scene.heard.get(pod.uid, ()))
            if answer is None:
                return Cause("NotReady", f"{where}: running, its {probe} probe has not passed yet", False, head=where)
            got = f"its {probe} probe has not passed yet: {short(answer)}"  # which is what a long start looks like, too
            return Cause("NotReady", f"{where}: running, {got}; if it never does, correct its path and port", False, head=where)
    return None


def _probe_failed(
    pod: PodView, container: ContainerView, probe: str, scene: Scene, *, lasting: bool = False, tail: tuple[str, ...] = ()
) -> Cause:
    answer, where = probe_answer(container, probe, scene.heard.get(pod.uid, ())), at(pod, container)
    got = f": {short(answer)}" if answer else ""
    sentence = f"{where}: restarted since its {probe} probe failed{got}; check the probe's path, port and times"
    return Cause(f"{probe.capitalize()}ProbeFailed", sentence, lasting, tail, where)


def _cannot_start(where: str, words: str, tail: tuple[str, ...] = ()) -> Cause:
    return Cause("StartError", f"{where}: can't start; correct entrypoint ({start_words(words)})", True, tail, where)


def _config_remedy(words: str) -> str:
    if "couldn't find key" in words:
        return "; add the key"
    return "; create it in this namespace" if "not found" in words else ""
