"""The chart's rights: no more than each part needs, and none that stays behind a hook."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.chart.rendering import CERTS, CHART, KEDA, Body, named, objects

CRDS = {f"{plural}.roadstead.dev" for plural in ("artifacts", "workloads", "deployments", "platforms")}


def roles(bodies: list[Body]) -> Iterator[tuple[str, Body]]:
    for body in bodies:
        if body["kind"] in ("Role", "ClusterRole"):
            for rule in body["rules"]:
                yield body["metadata"]["name"], rule


def test_no_wildcards_and_nothing_that_leads_to_more_rights(defaults: list[Body]) -> None:
    forbidden = {
        "secrets",
        "configmaps",
        "pods/exec",
        "pods/log",
        "pods/attach",
        "pods/portforward",
        "serviceaccounts",
        "serviceaccounts/token",
    }
    for name, rule in roles(defaults):
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], name
        assert not (forbidden - ({"secrets"} if name in CERTS else set())) & set(rule["resources"]), name
        assert not {"rbac.authorization.k8s.io", "admissionregistration.k8s.io"} & set(rule["apiGroups"]), name
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"]), name


@pytest.mark.parametrize("flags", [(), KEDA], ids=["alone", "with KEDA"])
def test_who_makes_certificates_reaches_these_secrets_only(flags: tuple[str, ...]) -> None:
    bodies = objects(*flags)
    expected = {("roadstead-system", "roadstead-gateway-tls")} | ({("keda", "roadstead-scaler-tls")} if flags else set())
    for name in CERTS:
        held = [body for body in bodies if body["kind"] in ("Role", "ClusterRole") and body["metadata"]["name"] == name]
        assert {(role["metadata"]["namespace"], *role["rules"][0]["resourceNames"]) for role in held} == expected
        for role in held:
            (rule,) = role["rules"]
            assert (rule["resources"], rule["verbs"]) == (["secrets"], ["get", "create", "patch"])


@pytest.mark.parametrize("component", ["operator", "api", "gateway"])
def test_every_right_says_what_needs_it(component: str) -> None:
    lines = (CHART / "templates" / component / "rbac.yaml").read_text().splitlines()
    bare = [
        number + 1
        for number, line in enumerate(lines)
        if line.startswith("  - apiGroups:") and not lines[number - 1].lstrip().startswith("#")
    ]

    assert not bare, f"rules without a comment: lines {bare}"


def hooked(bodies: list[Body]) -> list[Body]:
    return [body for body in bodies if "helm.sh/hook" in body["metadata"].get("annotations", {})]


def test_certificates_are_there_before_the_first_pod_and_their_hook_leaves_nothing(defaults: list[Body]) -> None:
    hooks = [body for body in hooked(defaults) if body["metadata"]["name"] == "roadstead-certs-hook"]
    weights = {body["kind"]: int(body["metadata"]["annotations"]["helm.sh/hook-weight"]) for body in hooks}

    assert set(weights) == {"ServiceAccount", "Role", "RoleBinding", "Job"}
    assert all(weights[kind] < weights["Job"] for kind in weights if kind != "Job")
    for body in hooks:
        annotations = body["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"


def test_hook_reaches_our_four_crds_only_and_leaves_nothing(defaults: list[Body]) -> None:
    hooks = [body for body in hooked(defaults) if body["metadata"]["name"] == "roadstead-crds"]
    (rule,) = [rule for name, rule in roles(hooks)]

    assert {body["kind"] for body in hooks} == {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Job"}
    assert set(rule["resourceNames"]) == CRDS
    assert sorted(rule["verbs"]) == ["create", "get", "patch"]
    for body in hooks:
        annotations = body["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-upgrade"
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"


def test_user_roles_are_aggregated_unless_switched_off(defaults: list[Body], full: list[Body]) -> None:
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    for role, level in (("view", "view"), ("edit", "edit"), ("invoke", "edit"), ("admin", "admin")):
        on, off = (named(bodies, "ClusterRole", f"roadstead-{role}")["metadata"]["labels"] for bodies in (defaults, full))
        assert [name for name in on if name.startswith(prefix)] == [prefix + level]
        assert not [name for name in off if name.startswith(prefix)]


def test_viewers_only_read(defaults: list[Body]) -> None:
    rules = named(defaults, "ClusterRole", "roadstead-view")["rules"]

    assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list", "watch"}
