"""A watch outlives its streams; a scripted API server commits the faults that a real one can't be asked to."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from roadstead.cli.connection import connect
from roadstead.cli.watching import Change, Watch
from roadstead.kube.errors import Forbidden
from tests.unit.kube.fake import ScriptedApi, bookmark, break_off, error, event, hang_up, lists, refuse, thing, watch

PATH = "/api/v1/namespaces/ns/things"


def kubeconfig(folder: Path, url: str) -> Path:
    file = folder / "kubeconfig"
    context = {"name": "c", "context": {"cluster": "c"}}
    file.write_text(json.dumps({"current-context": "c", "contexts": [context], "clusters": [{"name": "c", "cluster": {"server": url}}]}))
    return file


async def told(folder: Path, count: int, *script: Callable[..., object]) -> tuple[list[tuple[str, str, str]], list[str]]:
    """The list and the first ``count`` changes after it as type, name and version; and the query of each request."""
    async with ScriptedApi() as api:
        api.will(*script)  # type: ignore[arg-type]
        file = kubeconfig(folder, api.url)

        def run() -> list[Change]:
            begun = Watch(connect(file, None, None), PATH, {"labelSelector": "a=b"})
            return [*begun.present(), *itertools.islice(begun.follow(time.monotonic() + 60), count)]

        found = await asyncio.to_thread(run)
        queries = [request.query_string for request in api.requests]
    return [(change.type, change.metadata["name"], change.metadata["resourceVersion"]) for change in found], queries


async def test_a_stream_that_ends_is_taken_up_where_it_was(tmp_path: Path) -> None:
    found, queries = await told(
        tmp_path,
        3,
        lists(thing("a")),
        watch(event("MODIFIED", thing("a", "11")), event("ADDED", thing("b", "12")), bookmark("20"), ends=True),
        watch(event("DELETED", thing("b", "21")), ends=True),
    )

    assert found == [("ADDED", "a", "1"), ("MODIFIED", "a", "11"), ("ADDED", "b", "12"), ("DELETED", "b", "21")]
    assert ["resourceVersion=10" in queries[1], "resourceVersion=20" in queries[2]] == [True, True]
    assert all("labelSelector=a%3Db" in query for query in queries)


@pytest.mark.parametrize("gone", [watch(error(410), ends=True), refuse(410)])
async def test_a_version_no_longer_kept_is_compared_with_a_new_list(tmp_path: Path, gone: Callable[..., object]) -> None:
    found, _ = await told(
        tmp_path,
        4,
        lists(thing("same"), thing("changed"), thing("deleted")),
        gone,
        lists(thing("same"), thing("changed", "31"), thing("new", "32"), version="40"),
        watch(event("MODIFIED", thing("same", "41")), ends=True),
    )

    assert found[3:] == [("DELETED", "deleted", "1"), ("MODIFIED", "changed", "31"), ("ADDED", "new", "32"), ("MODIFIED", "same", "41")]


@pytest.mark.parametrize("fault", [hang_up(), break_off(), refuse(503)])
async def test_a_server_that_restarts_is_waited_for(
    tmp_path: Path, fault: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    found, _ = await told(tmp_path, 1, lists(thing("a")), fault, fault, watch(event("MODIFIED", thing("a", "11")), ends=True))

    assert found[1:] == [("MODIFIED", "a", "11")]
    assert capsys.readouterr().err.count("The watch broke off") == 1


async def test_a_right_that_was_taken_away_ends_it(tmp_path: Path) -> None:
    with pytest.raises(Forbidden):
        await told(tmp_path, 1, lists(thing("a")), refuse(403))


async def test_a_deadline_ends_it_without_a_change(tmp_path: Path) -> None:
    async with ScriptedApi() as api:
        api.will(lists(thing("a")))
        begun = Watch(connect(kubeconfig(tmp_path, api.url), None, None), PATH, {})
        await asyncio.to_thread(begun.present)

        assert list(begun.follow(time.monotonic() - 1)) == []
