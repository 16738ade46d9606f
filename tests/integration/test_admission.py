"""The chart's admission policies on a real API server: which images may be declared, and who may delete softly. No operator runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.cluster.api import ClusterError
from hack.cluster.control import ControlCluster
from roadstead.gateway.fastpath import ZERO_TO_ONE
from tests.build import raw_artifact, raw_container, raw_workload
from tests.clusters import NAMESPACE, apply, get, wait_for
from tests.world import here, patch

pytestmark = pytest.mark.timeout(120)
Body = dict[str, Any]
DENIED_BY = "ValidatingAdmissionPolicy 'images.roadstead.dev' with binding 'images.roadstead.dev' denied request: "


def artifact(image: str, name: str = "model", **spec: Any) -> Body:
    return raw_artifact(name, containers=[raw_container(imageUri=image)], **spec)


def refusal(cluster: ControlCluster, *args: str, body: Body | None = None) -> str | None:
    """What the API server says to a kubectl command that it refuses; None if it is carried out."""
    try:
        cluster.kubectl(*args, input=None if body is None else yaml.safe_dump(body))
    except ClusterError as error:
        return str(error)
    return None


def declare(cluster: ControlCluster, namespace: str, body: Body, *flags: str) -> str | None:
    return refusal(cluster, "apply", "--server-side", "-f", "-", *flags, body=here(namespace, body))


def set_images(cluster: ControlCluster, probe: str, **lists: list[str] | None) -> None:
    """Change Platform's lists and wait until they are in force: until the image ``probe`` is refused."""
    cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", json.dumps({"spec": {"images": lists}}))
    wait_for(lambda: declare(cluster, "default", artifact(probe), "--dry-run=server"), f"{probe} to be refused")


@pytest.fixture
def images(cluster: ControlCluster) -> Iterator[None]:
    """Takes the lists away after a test that sets them, and waits until that is in force."""
    yield
    cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", '{"spec":{"images":null}}')
    wait_for(lambda: declare(cluster, "default", artifact("any.test/image:1"), "--dry-run=server") is None, "no lists")


@pytest.fixture
def member(cluster: ControlCluster, namespace: str) -> Path:
    """A user who may change objects of the namespace, but not delete them."""
    return _user(cluster, namespace, "member", "get", "create", "patch", "update")


@pytest.fixture
def owner(cluster: ControlCluster, namespace: str) -> Path:
    """A user who may also delete the one Workload ``chat``."""
    path = _user(cluster, namespace, "owner", "get", "create", "patch", "update")
    flags = ("--verb=delete", "--resource=workloads.roadstead.dev", "--resource-name=chat")
    cluster.kubectl("create", "role", "owner-deletes", "-n", namespace, *flags)
    cluster.kubectl("create", "rolebinding", "owner-deletes", "-n", namespace, "--role=owner-deletes", "--user=owner")
    return path


def _user(cluster: ControlCluster, namespace: str, name: str, *verbs: str) -> Path:
    kinds = "--resource=workloads.roadstead.dev,artifacts.roadstead.dev"
    cluster.kubectl("create", "role", name, "-n", namespace, f"--verb={','.join(verbs)}", kinds)
    cluster.kubectl("create", "rolebinding", name, "-n", namespace, f"--role={name}", f"--user={name}")
    return cluster.client_kubeconfig(name)


def test_the_policies_fit_our_types(cluster: ControlCluster) -> None:
    """The API server checks the expressions against the CRDs' schemas and says in the status what doesn't fit."""
    for name in ("images.roadstead.dev", "deletion.roadstead.dev", "fast-path.roadstead.dev"):

        def checked(policy: str = name) -> Body | None:
            body = json.loads(cluster.kubectl("get", "validatingadmissionpolicies", policy, "-o", "json"))
            return body.get("status") if body.get("status", {}).get("observedGeneration") else None

        assert wait_for(checked, "the type check")["typeChecking"] == {}


class TestImages:
    def test_all_are_accepted_without_lists(self, cluster: ControlCluster, namespace: str) -> None:
        assert declare(cluster, namespace, artifact("anything.test/image:latest")) is None

    def test_one_that_no_pattern_allows_is_refused(self, cluster: ControlCluster, namespace: str, images: None) -> None:
        set_images(cluster, "other.test/llm:1", allow=[r"^registry\.test/", r"^ghcr\.io/team/"])
        assert declare(cluster, namespace, artifact("registry.test/llm:1")) is None
        said = declare(cluster, namespace, artifact("other.test/llm:1", "second"))
        assert said is not None
        assert said.endswith(
            f'artifacts.roadstead.dev "second" is forbidden: {DENIED_BY}image other.test/llm:1 is not allowed by Platform "default": '
            r"it matches none of spec.images.allow (^registry\.test/, ^ghcr\.io/team/); "
            "use another image, or ask an administrator to change the list"
        )

    def test_one_that_a_pattern_denies_is_refused(self, cluster: ControlCluster, namespace: str, images: None) -> None:
        set_images(cluster, "a.test/llm:latest", deny=["^evil/", ":latest$"], allow=[r"\.test/"])
        assert declare(cluster, namespace, artifact("a.test/llm:1")) is None
        said = declare(cluster, namespace, artifact("a.test/llm:latest", "second"))
        assert said is not None
        assert said.endswith(
            f'{DENIED_BY}image a.test/llm:latest is denied by Platform "default": it matches ":latest$" of spec.images.deny; '
            "use another image, or ask an administrator to change the list"
        )

    def test_an_inline_artifact_and_every_container_count(self, cluster: ControlCluster, namespace: str, images: None) -> None:
        set_images(cluster, "other.test/llm:1", allow=[r"^registry\.test/"])
        containers = [raw_container(imageUri="registry.test/llm:1", primary=True), raw_container(imageUri="other.test/proxy:1")]
        inline = {"containerGroups": [{"containers": containers}]}
        said = declare(cluster, namespace, raw_workload(inline=inline))
        assert said is not None
        assert "image other.test/proxy:1 is not allowed" in said
        inline["containerGroups"][0]["containers"].pop()
        assert declare(cluster, namespace, raw_workload(inline=inline)) is None

    def test_a_draft_without_containers_and_a_workload_with_a_reference_pass(
        self, cluster: ControlCluster, namespace: str, images: None
    ) -> None:
        set_images(cluster, "other.test/llm:1", allow=[r"^registry\.test/"])
        draft = raw_artifact()
        del draft["spec"]["containerGroups"]
        assert declare(cluster, namespace, draft) is None
        assert declare(cluster, namespace, raw_workload()) is None

    def test_a_stricter_list_leaves_old_objects_free(self, cluster: ControlCluster, namespace: str, images: None) -> None:
        old = {"containerGroups": [{"containers": [raw_container(imageUri="other.test/llm:1")]}]}
        apply(cluster, here(namespace, raw_workload(inline=old)))
        cluster.kubectl("patch", "rsw", "chat", "-n", namespace, "--type=merge", "-p", '{"metadata":{"finalizers":["test.dev/hold"]}}')
        set_images(cluster, "other.test/llm:1", allow=[r"^registry\.test/"])
        cluster.kubectl("label", "rsw", "chat", "-n", namespace, "team=a")
        patch(cluster, "rsw", "chat", namespace, suspend=True)
        new = {"containerGroups": [{"containers": [raw_container(imageUri="other.test/llm:2")]}]}
        said = declare(cluster, namespace, raw_workload(inline=new), "--force-conflicts")
        assert said is not None
        assert "image other.test/llm:2 is not allowed" in said
        cluster.kubectl("delete", "rsw", "chat", "-n", namespace, "--wait=false")
        cluster.kubectl("patch", "rsw", "chat", "-n", namespace, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        assert get(cluster, "rsw", "chat", namespace) is None

    def test_a_changed_list_is_in_force(self, cluster: ControlCluster, namespace: str, images: None) -> None:
        set_images(cluster, "b.test/llm:1", allow=[r"^a\.test/"])
        assert declare(cluster, namespace, artifact("a.test/llm:1")) is None
        set_images(cluster, "a.test/llm:2", allow=[r"^b\.test/"])
        assert declare(cluster, namespace, artifact("b.test/llm:1", "second")) is None

    def test_long_lists_are_within_the_servers_budget(self, cluster: ControlCluster, namespace: str, images: None) -> None:
        patterns = [rf"^registry-{number:02}\.example\.com/[a-z0-9._/-]+:[0-9]+\.[0-9]+\.[0-9]+$" for number in range(32)]
        set_images(cluster, "other.test/llm:1", allow=patterns)
        image = "registry-31.example.com/a-team/with/a/long/path/of/an/image:1.20.300"
        containers = [raw_container(imageUri=image, primary=number == 0) for number in range(8)]
        assert declare(cluster, namespace, raw_artifact(containers=containers)) is None
        said = declare(cluster, namespace, artifact("other.test/llm:1", "second"))
        assert said is not None
        assert "…); use another image" in said

    def test_without_a_platform_nothing_is_blocked(self, cluster: ControlCluster, namespace: str, images: None) -> None:
        set_images(cluster, "other.test/llm:1", allow=[r"^registry\.test/"])
        before = json.loads(cluster.kubectl("get", "rsp", "default", "-o", "json"))
        cluster.kubectl("delete", "rsp", "default")
        try:
            wait_for(lambda: declare(cluster, namespace, artifact("other.test/llm:1")) is None, "no Platform")
        finally:
            body = {key: before[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": "default"}}
            cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=yaml.safe_dump(body))
        wait_for(lambda: declare(cluster, namespace, artifact("other.test/llm:1", "second")), "the lists again")


class TestDeletion:
    def test_needs_the_verb_delete_either_way(self, cluster: ControlCluster, namespace: str, member: Path) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        for kind, plural, name in (("rsw", "workloads", "chat"), ("rsa", "artifacts", "model")):
            for wanted in ("true", "false"):
                said = self._set(cluster, member, namespace, kind, name, wanted)
                assert said is not None
                assert said.endswith(
                    "ValidatingAdmissionPolicy 'deletion.roadstead.dev' with binding 'deletion.roadstead.dev' denied request: "
                    f"member may not change spec.deleted of {plural}.roadstead.dev {namespace}/{name}: "
                    'it needs the verb "delete" on it; ask an administrator of the namespace'
                )
                assert self._set(cluster, None, namespace, kind, name, wanted) is None

    def test_everything_else_needs_no_more_than_update(self, cluster: ControlCluster, namespace: str, member: Path) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        assert self._set(cluster, member, namespace, "rsw", "chat", "false") is None
        change = ("patch", "rsw", "chat", "-n", namespace, "--type=merge", "-p", '{"spec":{"suspend":true}}')
        assert refusal(cluster, "--kubeconfig", str(member), *change) is None

    def test_is_allowed_with_it_on_that_very_object(self, cluster: ControlCluster, namespace: str, owner: Path) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()), here(namespace, raw_workload("other")))
        assert self._set(cluster, owner, namespace, "rsw", "chat", "true") is None
        assert self._set(cluster, owner, namespace, "rsw", "chat", "false") is None
        assert "owner may not change spec.deleted" in (self._set(cluster, owner, namespace, "rsw", "other", "true") or "")

    def test_the_operator_may(self, cluster: ControlCluster, namespace: str, operator_kubeconfig: Path) -> None:
        """It has the verb, since it purges."""
        assert "roadstead-operator" in cluster.kubectl("get", "serviceaccounts", "-n", NAMESPACE)
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        assert self._set(cluster, operator_kubeconfig, namespace, "rsw", "chat", "true") is None

    @staticmethod
    def _set(cluster: ControlCluster, user: Path | None, namespace: str, kind: str, name: str, wanted: str) -> str | None:
        who = ("--kubeconfig", str(user)) if user is not None else ()
        return refusal(cluster, *who, "patch", kind, name, "-n", namespace, "--type=merge", "-p", f'{{"spec":{{"deleted":{wanted}}}}}')


def replicas(cluster: ControlCluster, namespace: str) -> int:
    return int(cluster.kubectl("get", "deployments.apps", "chat", "-n", namespace, "-o", "jsonpath={.spec.replicas}"))


class TestFastPath:
    """The gateway's account, given more rights than the chart ever does: the policy is what holds it."""

    @pytest.fixture
    def gateway(self, cluster: ControlCluster, namespace: str) -> Path:
        user = f"system:serviceaccount:{NAMESPACE}:roadstead-gateway"
        cluster.kubectl("create", "role", "gateway", "-n", namespace, "--verb=get,patch,update", "--resource=deployments.apps/scale")
        cluster.kubectl("create", "rolebinding", "gateway", "-n", namespace, "--role=gateway", f"--user={user}")
        return cluster.client_kubeconfig(user)

    @staticmethod
    def deployment(cluster: ControlCluster, namespace: str, replicas: int, **selector: str) -> None:
        labels = selector or {"roadstead.dev/workload": "chat"}
        body = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "chat", "namespace": namespace},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "a.test/llm:1"}]}},
            },
        }
        apply(cluster, body)

    @staticmethod
    def scale(cluster: ControlCluster, access: Path, namespace: str, before: int, after: int) -> str | None:
        """As the gateway does it, which tests the count before; here also from and to other counts."""
        test, add = ZERO_TO_ONE
        operations = [{**test, "value": before} if before else test, {**add, "value": after}]
        patch = ("patch", "deployment", "chat", "-n", namespace, "--subresource=scale", "--type=json", "-p", json.dumps(operations))
        return refusal(cluster, "--kubeconfig", str(access), *patch)

    def test_it_may_wake(self, cluster: ControlCluster, namespace: str, gateway: Path) -> None:
        self.deployment(cluster, namespace, 0)
        assert self.scale(cluster, gateway, namespace, 0, 1) is None
        assert replicas(cluster, namespace) == 1

    @pytest.mark.parametrize(("before", "after"), [(0, 2), (1, 2), (1, 0), (3, 1)])
    def test_it_may_do_nothing_else(self, cluster: ControlCluster, namespace: str, gateway: Path, before: int, after: int) -> None:
        self.deployment(cluster, namespace, before)
        said = self.scale(cluster, gateway, namespace, before, after)
        assert said is not None
        assert said.endswith("the gateway may scale from 0 to 1 only")
        assert replicas(cluster, namespace) == before

    @pytest.mark.parametrize("label", [{"app": "chat"}, {"roadstead.dev/workload": "other"}], ids=str)
    def test_only_what_belongs_to_a_workload(self, cluster: ControlCluster, namespace: str, gateway: Path, label: dict[str, str]) -> None:
        self.deployment(cluster, namespace, 0, **label)
        said = self.scale(cluster, gateway, namespace, 0, 1)
        assert said is not None
        assert said.endswith("the gateway may scale only what belongs to a Workload of Roadstead")

    def test_who_is_too_late_changes_nothing(self, cluster: ControlCluster, namespace: str) -> None:
        """The patch by itself, without the policy: as administrator."""
        self.deployment(cluster, namespace, 3)
        assert self.scale(cluster, cluster.kubeconfig, namespace, 0, 1) is not None
        assert replicas(cluster, namespace) == 3

    def test_others_scale_as_ever(self, cluster: ControlCluster, namespace: str) -> None:
        self.deployment(cluster, namespace, 0)
        assert refusal(cluster, "scale", "deployment.apps/chat", "-n", namespace, "--replicas=5") is None

    def test_the_chart_gives_the_right_only_where_it_is_wanted(self, cluster: ControlCluster, namespace: str) -> None:
        user = f"--as=system:serviceaccount:{NAMESPACE}:roadstead-gateway"
        asked = ("auth", "can-i", "patch", "deployments.apps/chat", "--subresource=scale", "-n", namespace, user)
        assert cluster.kubectl(*asked, check=False).strip() == "no"
