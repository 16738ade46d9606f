"""What only Events tell, from Events and pods as real kubelets write them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from roadstead.observed.cause import Scene
from roadstead.observed.causes import find_cause, find_kill
from roadstead.observed.hearing import Doubt, Heard, Kill, Topic, answers, find_doubt, heard_of, kill_doubt, kill_of, topic_of
from roadstead.observed.places import over
from roadstead.observed.views import PodView, pod_view
from tests.build import raw_pod

NOW = datetime(2026, 11, 25, 12, 10, tzinfo=UTC)
SINCE = "2026-11-25T12:00:00Z"
KILLED = {"exitCode": 137, "reason": "Error", "message": ""}


def event(reason: str, message: str, container: str = "main", at: str = "2026-11-25T12:09:00Z") -> dict[str, Any]:
    path = f"spec.containers{{{container}}}" if container else ""
    return {"reason": reason, "message": message, "lastTimestamp": at, "involvedObject": {"uid": "uid-chat-1", "fieldPath": path}}


def running(*, started: bool = True, **more: Any) -> PodView:
    raw = raw_pod(state={"running": {"startedAt": SINCE}}, started=started, **more)
    probes = {"readinessProbe": {"initialDelaySeconds": 30}, "startupProbe": {"initialDelaySeconds": 90}}
    raw["spec"]["containers"] = [{"name": "main", "resources": {"limits": {"memory": "64Mi"}}, **probes}]
    return pod_view(raw)


def setting_up() -> PodView:
    raw = raw_pod()
    raw["status"]["conditions"] += [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": SINCE},
        {"type": "PodReadyToStartContainers", "status": "False", "lastTransitionTime": SINCE},
    ]
    return pod_view(raw)


READINESS = event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")
STARTUP = event("Unhealthy", 'Startup probe failed: Get "http://10.0.0.7:8080/up": dial tcp 10.0.0.7:8080: connect: connection refused')
LIVENESS = event("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500")
KILL_LIVENESS = event("Killing", "Container main failed liveness probe, will be restarted")
KILL_STARTUP = event("Killing", "Container main failed startup probe, will be restarted")
MOUNT = event("FailedMount", 'MountVolume.SetUp failed for volume "conf" : configmap "conf" not found', container="")


@pytest.mark.parametrize(
    ("pod", "events", "reason", "lasting", "says"),
    [
        pytest.param(running(), [READINESS], "NotReady", False, "not passed yet: HTTP probe failed with statuscode: 503", id="ready"),
        pytest.param(running(started=False), [STARTUP], "NotReady", False, "startup probe has not passed yet: Get", id="startup"),
        pytest.param(running(), [], "NotReady", False, "has not passed yet", id="nothing heard"),
        pytest.param(running(), [STARTUP], "NotReady", False, "yet", id="of another probe"),
        pytest.param(
            running(last=KILLED, restarts=1), [LIVENESS, KILL_LIVENESS], "LivenessProbeFailed", False, "statuscode: 500", id="killed once"
        ),
        pytest.param(running(last=KILLED, restarts=2), [KILL_LIVENESS], "LivenessProbeFailed", True, "liveness probe", id="liveness"),
        pytest.param(running(last=KILLED, restarts=2), [STARTUP, KILL_STARTUP], "StartupProbeFailed", True, "refused", id="startup kills"),
        pytest.param(running(last=KILLED, restarts=2), [], "Crashed", True, "code 137", id="killed by nobody we know"),
        pytest.param(
            running(last=KILLED | {"reason": "OOMKilled"}, restarts=2), [KILL_LIVENESS], "OOMKilled", True, "its limit is 64Mi", id="memory"
        ),
        pytest.param(setting_up(), [MOUNT], "VolumeMountFailed", False, 'configmap "conf" not found', id="volume"),
        pytest.param(
            setting_up(), [event("FailedCreatePodSandBox", "plugin is down", "")], "SandboxFailed", False, "plugin is down", id="network"
        ),
    ],
)
def test_events_name_the_cause(pod: PodView, events: list[dict[str, Any]], reason: str, lasting: bool, says: str) -> None:
    cause = find_cause(None, [pod], Scene(NOW, heard={pod.uid: heard_of(events)}))
    assert cause is not None
    assert (cause.reason, cause.lasting) == (reason, lasting)
    assert says in cause.message


@pytest.mark.parametrize(
    ("pod", "doubt"),
    [
        pytest.param(running(), (Topic.READINESS, 34), id="readiness"),
        pytest.param(running(started=False), (Topic.STARTUP, 94), id="startup"),
        pytest.param(running(last=KILLED, restarts=1), (Topic.KILL, 600), id="killed"),
        pytest.param(setting_up(), (Topic.SETUP, 4), id="volumes"),
        pytest.param(pod_view(raw_pod(ready=True)), None, id="ready"),
        pytest.param(pod_view(raw_pod()), None, id="being pulled"),
        pytest.param(pod_view(raw_pod(node=None)), None, id="no node"),
        pytest.param(running(terminating=True), None, id="going"),
    ],
)
def test_what_is_worth_asking(pod: PodView, doubt: tuple[Topic, int] | None) -> None:
    began = datetime.fromisoformat(SINCE)
    assert find_doubt([pod], (), NOW) == (None if doubt is None else Doubt(pod.uid, doubt[0], began + timedelta(seconds=doubt[1])))


@pytest.mark.parametrize(
    ("body", "topic"),
    [(READINESS, Topic.READINESS), (STARTUP, Topic.STARTUP), (MOUNT, Topic.SETUP), (LIVENESS, None), (KILL_LIVENESS, None)],
)
def test_what_an_event_is_about(body: dict[str, Any], topic: Topic | None) -> None:
    assert [topic_of(heard) for heard in heard_of([body])] == [topic]


def test_the_newest_answer_counts() -> None:
    older = event("Unhealthy", "Readiness probe failed: 404", at="2026-11-25T12:01:00Z")
    cause = find_cause(None, [running()], Scene(NOW, heard={"uid-chat-1": heard_of([older, READINESS])}))
    assert cause is not None
    assert "503" in cause.message
    assert answers(Topic.READINESS, heard_of([READINESS]))
    assert not answers(Topic.READINESS, heard_of([STARTUP]))


def test_a_pod_that_ended_without_a_word_is_asked_about_once_and_first() -> None:
    """Evicted, and it ended well: the kubelet leaves it as Succeeded, and only an Event tells."""
    ended = replace(pod_view(raw_pod("chat-1")), phase="Succeeded")
    starting = pod_view(raw_pod("chat-2"))
    doubt = find_doubt([starting, ended], (), NOW)
    assert doubt == Doubt(ended.uid, Topic.END, NOW)
    assert answers(Topic.END, ())
    after = find_doubt([starting, ended], {ended.uid: ()}, NOW)
    assert after is None or after.uid == starting.uid
    assert find_doubt([replace(ended, reason="Evicted", phase="Failed")], (), NOW) is None


def test_its_event_names_the_eviction() -> None:
    ended = replace(pod_view(raw_pod()), phase="Succeeded")
    told = {ended.uid: (Heard("Evicted", "Usage of EmptyDir volume exceeds the limit", ""),)}
    cause = over(ended, Scene(NOW, heard=told))
    assert cause is not None
    assert cause.reason == "Evicted"
    assert "Usage of EmptyDir volume exceeds the limit; it is replaced by itself" in cause.message
    assert over(ended, Scene(NOW)) is None


STOPPED = event("Killing", "Stopping container main")
KILL = Kill("main", "liveness", "2026-11-25T12:09:00Z")


@pytest.mark.parametrize(
    ("body", "kill"),
    [
        pytest.param(KILL_LIVENESS, KILL, id="liveness"),
        pytest.param(KILL_STARTUP, replace(KILL, probe="startup"), id="startup"),
        pytest.param(STOPPED, None, id="the end of a pod"),
        pytest.param(LIVENESS, None, id="a probe that failed once"),
        pytest.param(KILL_LIVENESS | {"lastTimestamp": None}, None, id="without a time"),
        pytest.param(KILL_LIVENESS | {"message": None}, None, id="without words"),
    ],
)
def test_what_is_a_kill(body: dict[str, Any], kill: Kill | None) -> None:
    assert kill_of(body) == kill


READY = running(ready=True)


@pytest.mark.parametrize(
    ("pod", "kill", "named"),
    [
        pytest.param(READY, KILL, True, id="it drains, ready"),
        pytest.param(running(), KILL, True, id="it drains, unready"),
        pytest.param(READY, replace(KILL, at=SINCE), False, id="the one before it was killed"),
        pytest.param(READY, replace(KILL, container="proxy"), False, id="another container"),
        pytest.param(running(ready=True, terminating=True), KILL, False, id="the pod goes anyway"),
        pytest.param(pod_view(raw_pod(state={"terminated": KILLED})), KILL, False, id="it has ended"),
        pytest.param(READY, None, False, id="nothing heard"),
    ],
)
def test_a_kill_is_named_while_the_container_drains(pod: PodView, kill: Kill | None, named: bool) -> None:
    kills = {pod.uid: kill} if kill is not None else {}
    cause = find_kill([pod], Scene(NOW, heard={pod.uid: heard_of([LIVENESS])}, kills=kills))
    assert (cause is not None) == named
    assert kill_doubt([pod], kills, NOW) == (Doubt(pod.uid, Topic.KILL, NOW) if named else None)
    if cause is not None:
        assert (cause.reason, cause.lasting) == ("LivenessProbeFailed", False)
        assert "restarted since its liveness probe failed: HTTP probe failed with statuscode: 500; check" in cause.message
        assert find_cause(None, [pod], Scene(NOW, heard={pod.uid: heard_of([LIVENESS])}, kills=kills)) == cause
