"""What the REST face decides without a cluster: names, places, sentences, states and order."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from roadstead.api.conditions import State
from roadstead.desired.quantities import in_bytes
from roadstead.kube.errors import Invalid
from roadstead.rest import gitops, idempotency
from roadstead.rest.cache import Cache, Order
from roadstead.rest.operators import Operators
from roadstead.rest.pages import Proxies
from roadstead.rest.problems import Problem, of_api, steps
from roadstead.rest.records import artifact_record, workload_record
from roadstead.rest.v241 import artifacts, deployments, workloads
from roadstead.rest.v241.lists import Listing
from roadstead.rest.v241.models import Sort

Body = dict[str, Any]


def stored(
    name: str = "w", version: int = 1, uid: str = "u", spec: Body | None = None, status: Body | None = None, **metadata: Any
) -> Body:
    fixed = {"name": name, "namespace": "team", "uid": uid, "generation": 1, "resourceVersion": str(version)}
    return {
        "metadata": {"creationTimestamp": "2026-11-25T10:00:00Z", **fixed, **metadata},
        "spec": {"artifactRef": {"name": "a"}, **(spec or {})},
        "status": status or {},
    }


@given(st.one_of(st.none(), st.text(max_size=80)))
def test_names_are_ones_that_a_workload_may_have(title: str | None) -> None:
    name = idempotency.slug(title, "workload")
    assert re.fullmatch("[a-z]([-a-z0-9]{0,52}[a-z0-9])?", name)
    assert "--" not in name.removesuffix(name[-7:])
    assert not name.startswith("keda-hpa-")


@pytest.mark.parametrize(
    ("title", "stem"),
    [
        ("Whoami", "whoami"),
        ("  Größe 7!", "groe-7"),
        ("123", "workload"),
        ("7 dwarfs", "dwarfs"),
        ("", "workload"),
        (None, "workload"),
        ("keda-hpa-x", "workload"),
        ("日本", "workload"),
        ("a" * 90, "a" * 47),
    ],
)
def test_a_name_begins_with_the_title(title: str | None, stem: str) -> None:
    assert idempotency.slug(title, "workload")[:-7] == stem


def test_a_key_names_the_same_thing_for_one_user_alone() -> None:
    mine, again, other = (idempotency.once("k", user, b'{"b": 1, "a": 2}') for user in ("me", "me", "you"))
    spaced = idempotency.once("k", "me", b'{ "a": 2, "b": 1}')
    assert mine
    assert again
    assert other
    assert spaced
    assert mine == again == spaced
    assert mine.name("workload") != other.name("workload")
    assert mine.name("workload") != mine.name("artifact")
    assert idempotency.once(None, "me", b"{}") is None


@pytest.mark.parametrize(
    ("amount", "wanted"),
    [(5, 5), ("512Mi", 536870912), ("1G", 10**9), ("1.5Gi", 1610612736), ("1e3", 1000), ("2E", 2 * 10**18), ("100m", 1), (".5Ki", 512)],
)
def test_quantities_in_bytes(amount: int | str, wanted: int) -> None:
    assert in_bytes(amount) == wanted


@pytest.mark.parametrize("amount", ["", "Mi", "1 Gi", "x"])
def test_what_is_no_quantity(amount: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        in_bytes(amount)


def test_places_in_bodies() -> None:
    path = steps('spec.containerGroups[0].containers[1].readinessProbe.httpHeaders["X.Y"]')
    assert path == ("spec", "containerGroups", 0, "containers", 1, "readinessProbe", "httpHeaders", "X.Y")
    assert artifacts.place(path[:4]) == ("body", "spec", "containerGroups", 0, "containers")
    assert artifacts.place_inline(("spec", "displayName")) == ("body", "artifact", "name")
    assert artifacts.place(("spec", "collection")) == ("body", "artifactCollectionId")
    assert artifacts.place(("metadata", "name")) == ("body",)
    assert workloads.place(("spec", "runtime", "replicaCount")) == ("body", "runtime", "replicaCount")
    assert workloads.place(("spec", "artifactRef", "name")) == ("body", "artifactId")
    assert deployments.place(("spec", "workloadRef", "name")) == ("body", "workloadId")


@pytest.mark.parametrize(
    ("cause", "says"),
    [
        ("spec.a: Invalid value: must be good", "must be good"),
        ('spec.a: Invalid value: "ob\\"ject": must: be good', "must: be good"),
        ("spec.a: Invalid value: -1.5: must be good", "must be good"),
        ("spec.a: Forbidden: not so", "not so"),
        ("spec.a: Required value: needed", "needed"),
        ('spec.a: Duplicate value: {"name":"A"}', 'Duplicate value: {"name":"A"}'),
    ],
)
def test_the_api_servers_sentences_lose_their_prelude(cause: str, says: str) -> None:
    unchecked = "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid"
    problem = of_api(Invalid(422, "Invalid", "m", causes=(cause, unchecked)), lambda path: ("body", *path))
    assert problem.detail == [{"loc": ["body", "spec", "a"], "msg": says, "type": "value_error"}]


@pytest.mark.parametrize(
    ("state", "suspended", "observed", "seen"),
    [
        ("running", False, True, "running"),
        ("errored", False, True, "errored"),
        ("running", True, False, "stopping"),
        ("stopped", True, False, "stopped"),
        ("stopped", False, False, "submitted"),
        ("stopping", False, False, "submitted"),
        ("errored", False, False, "submitted"),
        ("running", False, False, "running"),
        ("initializing", False, False, "initializing"),
        (None, False, False, "submitted"),
    ],
)
def test_a_state_is_about_the_present_wish(state: str | None, suspended: bool, observed: bool, seen: str) -> None:
    body = stored(spec={"suspend": suspended}, status={"observedGeneration": 1 if observed else -1, **({"state": state} if state else {})})
    assert workloads.status(workload_record(body), True) == seen
    assert workloads.status(workload_record(body), False) is State.UNKNOWN


def test_times_and_creators_of_what_did_not_come_through_here() -> None:
    fields = [
        {"manager": "kubectl", "time": "2026-11-25T10:00:00Z"},
        {"manager": "argocd-controller", "time": "2026-11-25T11:00:00Z"},
        {"manager": "roadstead", "time": "2026-11-25T12:00:00Z"},
        {"manager": "roadstead", "subresource": "status", "time": "2026-11-25T13:00:00Z"},
    ]
    record = workload_record(stored(managedFields=fields))
    assert (record.creator, record.created_at) == ("kubectl", "2026-11-25T10:00:00.000000+00:00")
    assert record.updated_at == "2026-11-25T11:00:00.000000+00:00"
    bare = workload_record(stored())
    assert (bare.creator, bare.updated_at) == ("unknown", bare.created_at)


def test_a_log_tail_is_passed_on() -> None:
    seen = workloads.formatted(workload_record(stored(status={"logTail": ["a", "b"]})), "http://x", True)
    assert orjson.loads(orjson.dumps(seen))["statusDetails"] == {"conditions": [], "logTail": ["a", "b"]}


def test_a_collection_made_by_hand_has_an_id_too() -> None:
    body = stored(spec={"collection": "models"})
    made = artifact_record(body)
    assert re.fullmatch("[0-9a-f]{24}", made.collection)
    assert made.lineage == "models"
    assert artifact_record(stored(spec={"collection": "a" * 24})).collection == "a" * 24


def test_pages_do_not_overlap_and_miss_nothing() -> None:
    records = [workload_record(stored(f"w{number}", uid=str(number), spec={"displayName": f"n{number % 7}"})) for number in range(250)]
    for sort in Sort:
        listing = Listing(0, 10, None, None, sort)
        ordered = sorted(records, key=listing.order.key)
        pages = [replace(listing, offset=offset).part(ordered, lambda record: record.state) for offset in range(0, 260, 10)]
        assert pages.pop() == []
        whole = [record.id for page in pages for record in page]
        assert sorted(whole) == sorted(record.id for record in records)
        keys = {"name": "title", "createdAt": "created_at", "updatedAt": "updated_at", "status": "state"}
        values = [getattr(next(each for each in records if each.id == id), keys[sort.removeprefix("-")]) for id in whole]
        assert values == sorted(values, reverse=sort.startswith("-"))


@pytest.mark.parametrize(
    ("sender", "forwarded", "origin"),
    [
        ("9.9.9.9", "", "9.9.9.9"),
        ("9.9.9.9", "1.1.1.1", "9.9.9.9"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
        ("10.0.0.1", "nonsense", "nonsense"),
    ],
)
def test_where_a_request_comes_from(sender: str, forwarded: str, origin: str) -> None:
    proxies = Proxies.of(["10.0.0.0/8"])
    assert proxies.address({"client": (sender, 1)}, Headers({"X-Forwarded-For": forwarded})) == origin
    assert Proxies.of([]).address({"client": (sender, 1)}, Headers({"X-Forwarded-For": forwarded})) == sender


class TestMirror:
    """What was written here isn't undone by an older word of the watch, and goes when the watch says so."""

    @staticmethod
    def heard(cache: Cache, body: Body | None, old: Body | None = None) -> None:
        new, before = (None if each is None else workload_record(each) for each in (body, old))
        cache.workloads._heard(("team", "w"), before, new)

    def test_an_older_word_changes_nothing_and_a_newer_one_does(self) -> None:
        cache = Cache(None)  # type: ignore[arg-type]  # nothing is asked here
        mirror = cache.workloads
        written = mirror.put(stored(version=5, spec={"displayName": "written"}))
        self.heard(cache, stored(version=4, spec={"displayName": "old"}))
        assert mirror.get(written.id) == written
        self.heard(cache, stored(version=6, spec={"displayName": "newer"}))
        assert mirror.named("team", "w") is not written
        assert mirror.put(stored(version=5)).version == 5
        assert mirror.get(written.id).title == "newer"  # type: ignore[union-attr]

    def test_deleted_by_the_watch_it_is_gone_and_a_successor_stays(self) -> None:
        cache = Cache(None)  # type: ignore[arg-type]
        mirror = cache.workloads
        id = mirror.put(stored(version=5)).id
        self.heard(cache, None, stored(version=4))
        assert mirror.get(id) is None
        assert list(mirror.namespaces) == []
        mirror.put(stored(version=9, uid="successor"))
        self.heard(cache, None, stored(version=8, uid="u"))
        assert mirror.get(id) is not None

    def test_it_is_in_order_after_every_change(self) -> None:
        cache = Cache(None)  # type: ignore[arg-type]
        mirror = cache.workloads
        for number, title in enumerate(("b", "C", "a")):
            mirror.put(stored(f"w{number}", uid=str(number), spec={"displayName": title}))
        assert [record.title for record in mirror.ordered(Order.TITLE)] == ["a", "b", "C"]
        mirror.put(stored("w9", uid="9", spec={"displayName": "aa"}))
        mirror.drop(mirror.ordered(Order.TITLE)[0])
        assert [record.title for record in mirror.ordered(Order.TITLE)] == ["aa", "b", "C"]

    def test_what_the_watch_never_brought_goes_in_time(self) -> None:
        cache = Cache(None)  # type: ignore[arg-type]
        mirror = cache.workloads
        id = mirror.put(stored(version=5)).id
        other = stored("other", uid="other")
        mirror._heard(("team", "other"), None, workload_record(other))
        assert mirror.get(id) is not None
        mirror.reflector.last_heard += 1000
        assert mirror.get(id) is None
        assert [record.name for record in mirror.within(["team"])] == ["other"]


def test_an_operator_is_alive_while_its_lease_changes() -> None:
    now = datetime.now(UTC)
    lease = {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": now.isoformat()}
    operators = Operators(None, "ns")  # type: ignore[arg-type]  # nothing is asked here
    assert operators._judge(lease), "renewed just now, by the cluster's clock"
    operators._changed_at -= 1000
    assert not operators._judge(lease), "nobody has renewed it, by our own"
    assert operators._judge({**lease, "renewTime": (now - timedelta(hours=1)).isoformat()}), "a clock that goes wrong renews all the same"
    old = Operators(None, "ns")  # type: ignore[arg-type]
    assert not old._judge({**lease, "renewTime": (now - timedelta(hours=1)).isoformat()})


def test_a_registered_artifact_is_compared_by_meaning() -> None:
    container = {"imageUri": "a", "resourceRequest": {"cpu": 1, "memory": "512Mi"}}
    before = {"status": "registered", "containerGroups": [{"containers": [container]}]}
    same = {"imageUri": "a", "port": None, "resourceRequest": {"cpu": 1.0, "memory": 536870912}}
    assert "containerGroups" not in artifacts._allowed(before, {"containerGroups": [{"containers": [same]}], "description": "x"})
    with pytest.raises(Problem, match="immutable"):
        artifacts._allowed(before, {"containerGroups": [{"containers": [{**same, "port": 8080}]}]})
    with pytest.raises(Problem, match="cannot become a draft"):
        artifacts._allowed(before, {"status": "draft"})
    assert "containerGroups" in artifacts._allowed({"containerGroups": []}, {"containerGroups": [{"containers": [same]}]})


@pytest.mark.parametrize(
    ("manager", "kept"),
    [
        ("argocd-controller", True),
        ("argocd-application-controller", True),
        ("kustomize-controller", True),
        ("helm-controller", True),
        ("Helm", True),
        ("flux-client-side-apply", True),
        ("fleetagent", True),
        ("kubectl", False),
        ("kubectl-client-side-apply", False),
        ("roadstead-api", False),
    ],
)
def test_who_keeps_fields(manager: str, kept: bool) -> None:
    entry = {"manager": manager, "operation": "Apply", "fieldsV1": {"f:spec": {"f:suspend": {}}}}
    body = {"metadata": {"managedFields": [entry]}, "spec": {}}
    assert gitops.keeper(body, ["suspend"]) == (("suspend", manager) if kept else None)
    assert gitops.keeper(body, ["deleted"]) is None
    entry["subresource"] = "status"
    assert gitops.keeper(body, ["suspend"]) is None
