"""managedFields as API servers write them (shortened); what each hand edit looks like, and what takes it back."""

from __future__ import annotations

import copy

import pytest

from roadstead.kube.managed_fields import Ownership, ownership, removal_patch
from roadstead.kube.resource import Body

US = "roadstead"
MAIN = 'k:{"name":"main"}'
LEAF: Body = {}
HERE = {".": LEAF}


def container(**fields: Body) -> Body:
    return {"f:spec": {"f:template": {"f:spec": {"f:containers": {MAIN: fields}}}}}


def entry(manager: str, fields: Body, *, operation: str = "Update", subresource: str = "") -> Body:
    made: Body = {"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": fields}
    return made | ({"subresource": subresource} if subresource else {})


OURS: Body = {
    "f:metadata": {"f:labels": {"f:app": LEAF}},
    "f:spec": {
        "f:selector": LEAF,
        "f:template": {
            "f:metadata": {"f:labels": {"f:app": LEAF}},
            "f:spec": {
                "f:containers": {
                    MAIN: {
                        **HERE,
                        "f:name": LEAF,
                        "f:image": LEAF,
                        "f:args": LEAF,
                        "f:env": {'k:{"name":"OURS"}': {**HERE, "f:name": LEAF, "f:value": LEAF}},
                        "f:ports": {'k:{"containerPort":8080,"protocol":"TCP"}': {**HERE, "f:containerPort": LEAF, "f:name": LEAF}},
                    }
                },
                "f:volumes": {'k:{"name":"scratch"}': {**HERE, "f:name": LEAF, "f:emptyDir": LEAF}},
            },
        },
    },
}
CONTROLLER = entry(
    "kube-controller-manager",
    {
        "f:metadata": {"f:annotations": {**HERE, "f:deployment.kubernetes.io/revision": LEAF}},
        "f:status": {"f:conditions": {**HERE, 'k:{"type":"Available"}': {**HERE, "f:type": LEAF}}, "f:readyReplicas": LEAF},
    },
    subresource="status",
)


def deployment(*entries: Body) -> Body:
    return {
        "metadata": {
            "name": "d",
            "resourceVersion": "77",
            "managedFields": [entry(US, OURS, operation="Apply"), CONTROLLER, *entries],
        },
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "d"}},
            "template": {
                "metadata": {"labels": {"app": "d"}, "annotations": {"a/b": "c"}},
                "spec": {
                    "hostNetwork": True,
                    "containers": [
                        {"name": "sidecar", "image": "s"},
                        {
                            "name": "main",
                            "image": "i",
                            "env": [
                                {"name": "FOREIGN", "value": "1"},
                                {"name": "OURS", "value": "1"},
                                {"name": "FOREIGN2", "value": "2"},
                            ],
                            "ports": [
                                {"containerPort": 8080, "protocol": "TCP", "name": "http", "hostPort": 8080},
                                {"containerPort": 9090, "protocol": "TCP"},
                            ],
                        },
                    ],
                    "volumes": [{"name": "scratch", "emptyDir": {"medium": "Memory"}}],
                    "nodeSelector": {"a/b~c": "d"},
                },
            },
        },
    }


def variable(name: str) -> Body:
    return {f'k:{{"name":"{name}"}}': {**HERE, "f:name": LEAF, "f:value": LEAF}}


POD = "/spec/template/spec"
IN_MAIN = f"{POD}/containers/{MAIN}"

SET_ENV = entry("kubectl-set", container(**{"f:env": variable("FOREIGN") | variable("FOREIGN2")}))
SECOND_CONTAINER = entry(
    "kubectl-patch",
    {
        "f:spec": {
            "f:template": {
                "f:spec": {
                    "f:hostNetwork": LEAF,
                    "f:containers": {
                        'k:{"name":"sidecar"}': {**HERE, "f:image": LEAF, "f:name": LEAF, "f:resources": LEAF},
                        MAIN: {"f:ports": {'k:{"containerPort":8080,"protocol":"TCP"}': {"f:hostPort": LEAF}}},
                    },
                }
            }
        }
    },
)
RESTART = entry(
    "kubectl-rollout",
    {"f:spec": {"f:template": {"f:metadata": {"f:annotations": {**HERE, "f:kubectl.kubernetes.io/restartedAt": LEAF}}}}},
)
SCALE = entry("kube-controller-manager", {"f:spec": {"f:replicas": LEAF}}, subresource="scale")
REPLICAS = entry("roadstead-replicas", {"f:spec": {"f:replicas": LEAF}}, operation="Apply")
SAME_VALUE = entry("kubectl-client-side-apply", container(**{"f:image": LEAF, "f:name": LEAF, ".": LEAF}))
NODE_SELECTOR = entry("kubectl-edit", {"f:spec": {"f:template": {"f:spec": {"f:nodeSelector": LEAF}}}})
MEDIUM = entry(
    "kubectl-edit",
    {"f:spec": {"f:template": {"f:spec": {"f:volumes": {'k:{"name":"scratch"}': {"f:emptyDir": {"f:medium": LEAF}}}}}}},
)
NEW_LIST = entry(
    "kubectl-edit",
    {"f:spec": {"f:template": {"f:spec": {"f:initContainers": {**HERE, 'k:{"name":"init"}': {**HERE, "f:name": LEAF}}}}}},
)
PORT = entry("kubectl-edit", container(**{"f:ports": {'k:{"containerPort":9090,"protocol":"TCP"}': {**HERE, "f:containerPort": LEAF}}}))


@pytest.mark.parametrize(
    ("entries", "foreign"),
    [
        pytest.param([], [], id="nobody"),
        pytest.param([SET_ENV], [f'{IN_MAIN}/env/k:{{"name":"FOREIGN"}}', f'{IN_MAIN}/env/k:{{"name":"FOREIGN2"}}'], id="kubectl set env"),
        pytest.param(
            [SECOND_CONTAINER],
            [
                f'{POD}/containers/k:{{"name":"sidecar"}}',
                f'{IN_MAIN}/ports/k:{{"containerPort":8080,"protocol":"TCP"}}/hostPort',
                f"{POD}/hostNetwork",
            ],
            id="a second container and the host's network, with the hostPort that brings",
        ),
        pytest.param([RESTART], [], id="kubectl rollout restart"),
        pytest.param([SCALE], [], id="a scaler"),
        pytest.param([REPLICAS], [], id="our second manager"),
        pytest.param([SAME_VALUE], [], id="co-owned at the same value"),
        pytest.param([NODE_SELECTOR], [f"{POD}/nodeSelector"], id="an atomic map"),
        pytest.param([MEDIUM], [f'{POD}/volumes/k:{{"name":"scratch"}}/emptyDir/medium'], id="inside an object we left empty"),
        pytest.param([NEW_LIST], [f"{POD}/initContainers"], id="a whole list"),
        pytest.param([PORT], [f'{IN_MAIN}/ports/k:{{"containerPort":9090,"protocol":"TCP"}}'], id="an item with two keys"),
        pytest.param([NODE_SELECTOR, NODE_SELECTOR], [f"{POD}/nodeSelector"], id="two managers, one path"),
    ],
)
def test_foreign_additions(entries: list[Body], foreign: list[str]) -> None:
    found = ownership(deployment(*entries), US)
    assert list(found.foreign) == sorted(foreign)
    assert found.ours == ownership(deployment(), US).ours


def test_a_field_taken_from_us_changes_our_hash() -> None:
    body = deployment()
    ours = body["metadata"]["managedFields"][0]
    ours["fieldsV1"] = copy.deepcopy(OURS)
    del ours["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"][MAIN]["f:image"]
    assert ownership(body, US).ours != ownership(deployment(), US).ours


def test_the_hash_knows_no_order() -> None:
    body = deployment()
    body["metadata"]["managedFields"][0]["fieldsV1"] = dict(reversed(OURS.items()))
    assert ownership(body, US).ours == ownership(deployment(), US).ours


def test_an_object_we_never_applied() -> None:
    assert ownership({"metadata": {"name": "x"}, "spec": {}}, US) == Ownership("", ())
    assert ownership(deployment(), "somebody").ours == ""


def test_what_counts_as_shared_is_the_caller_s() -> None:
    assert ownership(deployment(SCALE, RESTART), US, shared=()).foreign == ("/spec/replicas", "/spec/template/metadata/annotations")
    assert ownership(deployment(NODE_SELECTOR), US, shared=[POD]).foreign == ()


def remove(body: Body, patch: list[Body]) -> None:
    for operation in patch:
        *parents, last = (part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:])
        at = body
        for part in parents:
            at = at[int(part)] if isinstance(at, list) else at[part]
        if operation["op"] == "test":
            assert at[last] == operation["value"]
        elif isinstance(at, list):
            del at[int(last)]
        else:
            del at[last]


def test_removal_takes_out_the_additions_and_nothing_else() -> None:
    body = deployment(SET_ENV, SECOND_CONTAINER, PORT, NODE_SELECTOR, MEDIUM, RESTART, SCALE)
    patch = removal_patch(body, ownership(body, US).foreign, manager=US)
    assert patch[0] == {"op": "test", "path": "/metadata/resourceVersion", "value": "77"}
    remove(body, patch)
    assert body["spec"] == {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "d"}},
        "template": {
            "metadata": {"labels": {"app": "d"}, "annotations": {"a/b": "c"}},
            "spec": {
                "containers": [
                    {
                        "name": "main",
                        "image": "i",
                        "env": [{"name": "OURS", "value": "1"}],
                        "ports": [{"containerPort": 8080, "protocol": "TCP", "name": "http"}],
                    }
                ],
                "volumes": [{"name": "scratch", "emptyDir": {}}],
            },
        },
    }


def test_indices_from_ten_on_are_removed_from_the_back() -> None:
    names = [f"V{number}" for number in range(12)]
    fields: Body = {}
    for name in names[1:]:
        fields |= variable(name)
    body = deployment(entry("kubectl-set", container(**{"f:env": fields})))
    main = body["spec"]["template"]["spec"]["containers"][1]
    main["env"] = [{"name": name} for name in names]
    remove(body, removal_patch(body, ownership(body, US).foreign, manager=US))
    assert main["env"] == [{"name": "V0"}]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(f"{IN_MAIN}/image", id="ours"),
        pytest.param(f"{POD}/containers", id="holds something of ours"),
        pytest.param("/spec", id="everything"),
        pytest.param(f'{IN_MAIN}/env/k:{{"name":"ABSENT"}}', id="already gone"),
        pytest.param(f"{POD}/absent/deeper", id="never there"),
        pytest.param(f"{POD}/containers/i:9", id="index out of range"),
    ],
)
def test_removal_leaves_alone(path: str) -> None:
    assert removal_patch(deployment(), [path], manager=US) == []


def test_names_with_slashes_and_sets_survive_the_way_to_a_path_and_back() -> None:
    fields = {"f:spec": {"f:set": {'v:"a/b"': LEAF}, "f:map": {"f:k:odd": LEAF, "f:x/y~z": LEAF}, "f:list": {"i:1": LEAF}}}
    body = {
        "metadata": {"resourceVersion": "1", "managedFields": [entry("other", fields)]},
        "spec": {"set": ["c", "a/b"], "map": {"k:odd": 1, "x/y~z": 2, "stays": 3}, "list": [1, 2]},
    }
    found = ownership(body, US).foreign
    assert len(found) == 4
    remove(body, removal_patch(body, found, manager=US))
    assert body["spec"] == {"set": ["c"], "map": {"stays": 3}, "list": [1]}
