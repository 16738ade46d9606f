"""What describe tells."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from roadstead.cli import story
from roadstead.cli.kinds import WORKLOAD, Target
from roadstead.cli.output import Table
from tests.build import cpu_autoscaling, raw_artifact, raw_container, raw_workload

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
CHAT = Target(WORKLOAD, "chat")
MADE = "2026-11-25T11:00:00Z"


def workload(status: dict[str, Any] | None = None, generation: int = 1, **spec: Any) -> dict[str, Any]:
    body = raw_workload(**spec)
    body["metadata"] |= {"creationTimestamp": MADE, "generation": generation}
    return body if status is None else {**body, "status": {"observedGeneration": 1, **status}}


def told(body: dict[str, Any], artifact: dict[str, Any] | None = None, width: int | None = None) -> str:
    return "\n".join(story.render("", [*story.workload(body, artifact, NOW), *story.truths(body, NOW)], width))


def test_the_first_line_says_how_it_is() -> None:
    running = workload({"state": "running", "message": "2 of 2 replicas ready", "runningSince": "2026-11-25T11:57:00Z"})

    assert story.heading(CHAT, running, NOW) == 'workload/chat in namespace "team" is running since 3m: 2 of 2 replicas ready'


def test_the_first_line_says_whether_it_is_about_the_present() -> None:
    late = workload({"state": "running"}, generation=2)
    unseen = workload({"observedGeneration": -1})

    assert "about an older version" in story.heading(CHAT, late, NOW)
    assert story.heading(CHAT, unseen, NOW).endswith("was made 60m ago, and the operator hasn't looked at it yet: does it run?")


def test_a_workload_is_told_with_its_artifact() -> None:
    container = raw_container(
        environmentVars=[{"name": "API_KEY", "value": "hunter2"}], resourceRequest={"cpu": 4, "memory": "16Gi", "gpu": 2, "gpuType": "h100"}
    )
    status = {
        "state": "errored",
        "artifact": {"name": "model", "version": 3},
        "internalUrl": "http://chat.team.svc.cluster.local",
        "replicas": 20,
        "replicasDetail": [{"name": "chat-1", "state": "pending", "node": "n1", "restarts": 2}],
        "scaler": {"kind": "HorizontalPodAutoscaler", "why": "Scaled from 1 to 20", "when": "2026-11-25T11:50:00Z"},
        "lastWake": {"at": "2026-11-25T11:00:00Z", "succeeded": False, "message": "no node"},
        "logTail": ["Traceback", "ValueError: \x1b[31mno"],
    }

    text = told(workload(status, runtime=cpu_autoscaling(target=50, low=1, high=20)), raw_artifact(containers=[container]))

    assert "artifact          model, version 3" in text or "artifact         model, version 3" in text
    assert "http on port 8080; cpu 4; memory 16Gi; 2 GPU of type h100; environment: API_KEY" in text
    assert "1 to 20, by cpuAverageUtilization (target 50)" in text
    assert "chat-1   pending   2          n1" in text
    assert "not listed   19" in text
    assert "Scaled from 1 to 20 (10m ago)" in text
    assert "60m ago, failed: no node" in text
    assert "  ValueError:  [31mno" in text
    assert "hunter2" not in text, "people put secrets into values"


def test_what_is_not_there_takes_no_room() -> None:
    text = told(workload(suspend=True))

    assert "yes (spec.suspend)" in text
    assert "(it isn't there, or you may not see it)" in text
    for title in ("Replicas", "Reached at", "Why as many", "Conditions", "Last lines"):
        assert title not in text


def test_long_messages_wrap_below_themselves() -> None:
    rows = (("Ready", "every word of a message is worth reading and none is cut off at the edge of the terminal"),)

    lines = story.render("", [story.Section("Conditions", table=Table(("TYPE", "MESSAGE"), rows))], 44)

    assert lines[3:] == [
        "  TYPE    MESSAGE",
        "  Ready   every word of a message is worth",
        "          reading and none is cut off at the",
        "          edge of the terminal",
    ]


def test_events_are_told_in_order_and_counted() -> None:
    def event(reason: str, minute: int, **more: Any) -> dict[str, Any]:
        when = f"2026-11-25T11:{minute}:00.000000Z"
        return {"metadata": {"creationTimestamp": MADE}, "type": "Normal", "reason": reason, "message": "m", "eventTime": when, **more}

    series = {"count": 4, "lastObservedTime": "2026-11-25T11:58:00.000000Z"}
    section = story.events([event("Stopped", 50), event("Running", 40), event("Failed", 10, series=series)], NOW)

    assert section.table is not None
    assert [row[:3] + row[3:] for row in section.table.rows] == [
        ("20m", "Normal", "Running", "m"),
        ("10m", "Normal", "Stopped", "m"),
        ("2m", "Normal", "Failed", "m (x4)"),
    ]
