"""Every cause of trouble, produced with real pods: the status names it, everybody's tools agree, and it heals with the cure.

All cases run in namespaces of their own and side by side, as the kubelet's back-offs may. `make test` plays a sample of them;
`make test-long` plays all, and writes what it measured into docs/status.md.
"""

from __future__ import annotations

import json
import queue
import re
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from hack.cluster import images, preflight
from hack.cluster.full import full_cluster
from tests.clusters import NAMESPACE, install_crds, install_rbac, running_operator
from tests.conftest import LONG
from tests.e2e.status_cases import LAST, REST, SAMPLE
from tests.e2e.status_steps import cluster_objects
from tests.support.causes import WATCHED, Case, Row, World, play, table
from tests.support.doorman import doorman
from tests.support.scaler import external_scaler
from tests.support.timeline import timeline

CASES = (*SAMPLE, *REST, LAST)
WRITES_AT_MOST = 25
"""Status writes of one case from cause to cure; each is a change that a user sees."""
PAUSE_SECONDS = 3
"""Between the starts of two cases, when all are played: else they would measure how two cores take fifty first pods."""
PAGE = Path(__file__).parents[2] / "docs" / "status.md"
MARKED = re.compile(r"(?<=<!-- measured by tests/e2e/test_status.py -->\n).*(?=<!-- end -->)", re.DOTALL)
Rows = dict[str, Row | BaseException]
pytestmark = pytest.mark.timeout(2400)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if problems := preflight.missing():
        pytest.skip("this machine can't run containers: " + "; ".join(problems))
    with ExitStack() as stack:
        cluster = stack.enter_context(full_cluster())
        image = cluster.push_image(images.whoami_image(), "roadstead/whoami")
        scaler = stack.enter_context(external_scaler())
        install_crds(cluster)
        install_rbac(cluster)
        settings = {"spec": {"gateway": {"scalerAddress": scaler.address}}}
        cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", json.dumps(settings))
        login = stack.enter_context(doorman(cluster, login=True, is_open=True))
        dark = stack.enter_context(doorman(cluster, login=False, is_open=False))
        kubeconfig = cluster.client_kubeconfig(f"system:serviceaccount:{NAMESPACE}:roadstead-operator")
        stack.enter_context(running_operator(cluster, kubeconfig))
        watched = stack.enter_context(timeline(cluster, WATCHED))
        made = World(cluster, image, login, dark, watched, scaler, stack)
        made.apply("default", *cluster_objects())
        yield made
        for stop in made.fights.values():
            stop.set()


@pytest.fixture(scope="module")
def rows(world: World, request: pytest.FixtureRequest) -> Rows:
    """The chosen cases, played at once; one that follows another waits for it, and the last one for all."""
    chosen = [case for item in request.session.items if (case := _case(item)) is not None]
    played: dict[str, Future[Row]] = {}

    def run(case: Case, others: list[Future[Row]], delay_seconds: float) -> Row:
        time.sleep(delay_seconds)
        for other in others:
            other.exception()
        return play(case, world)

    with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
        for number, case in enumerate(sorted(chosen, key=lambda case: -case.seconds)):
            others = list(played.values()) if case is LAST else [played[case.after]] if case.after in played else []
            played[case.number] = pool.submit(run, case, others, number * PAUSE_SECONDS if LONG else 0)
        while not all(future.done() for future in played.values()):
            try:
                call = world.calls.get(timeout=0.5)
            except queue.Empty:
                continue
            call()
    return {number: future.exception() or future.result() for number, future in played.items()}


def _case(item: pytest.Item) -> Case | None:
    """The case that this test is about, if it is one of ours and to be run."""
    if item.path != Path(__file__) or (item.get_closest_marker("long") and not LONG):
        return None
    found = getattr(item, "callspec", None)
    return found.params["case"] if found is not None else None


PARAMETERS = [pytest.param(case, id=f"{case.number} {case.cause}", marks=() if case in SAMPLE else pytest.mark.long) for case in CASES]


@pytest.mark.parametrize("case", PARAMETERS)
def test_a_cause_is_named_and_heals(rows: Rows, case: Case) -> None:
    row = rows[case.number]
    if isinstance(row, BaseException):
        raise row
    print(f"{row.state} {row.reason} after {row.shown_seconds:.1f} s, healed after {row.healed_seconds:.1f} s, {row.writes} writes")
    print(row.message)
    assert row.writes <= WRITES_AT_MOST
    if row.state != "errored":
        assert row.log_tail == ()
    if row.state == "errored" and row.reason == "Crashed":
        assert row.log_tail[-1] in row.message


@pytest.mark.long
def test_the_table_is_written(rows: Rows) -> None:
    """Nothing in it by hand; a case that failed is named as such. It is only written when all cases were played."""
    if len(rows) < len(CASES):
        pytest.skip("only some of the cases were played")
    good = [row for row in rows.values() if isinstance(row, Row)]
    failures = {case.number: case.cause for case in CASES if not isinstance(rows[case.number], Row)}
    text = PAGE.read_text()
    assert MARKED.search(text) is not None
    written = table(sorted(good, key=lambda row: _order(row.case)), failures)
    PAGE.write_text(MARKED.sub(lambda _: written + "\n", text))


def _order(case: Case) -> tuple[int, str]:
    digits = re.match(r"\d+", case.number)
    assert digits is not None
    return int(digits[0]), case.number
