"""No warm request fails, whatever goes away: real pods, two gateway replicas, KEDA, and a constant load. Writes the table of the docs.

Beside the load, some requests are held: half of them wait for a pod when the trouble begins, the others begin while it lasts.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from hack.cluster import images, preflight
from hack.cluster.full import FullCluster, full_cluster
from hack.cluster.keda import Keda, keda
from hack.cluster.oci import Image, write_image
from tests.bench.document import write
from tests.build import raw_artifact, raw_deployment, raw_whoami
from tests.clusters import (
    apply,
    declare_platform,
    get,
    install_crds,
    install_rbac,
    operator_access,
    running_operator,
    wait_admission,
    wait_for,
)
from tests.support.callers import calling, ways
from tests.support.gateways import CERTIFICATES, SCALER_HOST, Replica, gateway_access, scaler_authentication, two_gateways
from tests.support.relay import relaying
from tests.support.rest import account
from tests.support.sleepers import EARLY, HELD, LATE, Sleepers
from tests.world import active_workload, condition, gateway, here, new_namespace, patch, pod_images, pod_uids, status

pytestmark = pytest.mark.timeout(600)
Body = dict[str, Any]
COMMAND = "ROADSTEAD_LONG=1 pytest tests/e2e/test_gateway_trouble.py"
AWAY_SECONDS = 60.0
SETTLE_SECONDS = 4.0
SCALING = {"cooldownSeconds": 8, "pollingIntervalSeconds": 2, "scaleDownStabilizationSeconds": 5}


@dataclass
class World:
    """A cluster with real pods, KEDA, the operator and two gateway replicas; what each trouble came to. ``next_image`` is another one."""

    cluster: FullCluster
    image: str
    next_image: str
    keda: Keda
    gateways: tuple[Replica, Replica]
    operator: ExitStack
    sleepers: Sleepers
    operators: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """The last is the one that runs."""
    killed_at: float = 0.0
    """When an Envoy was last killed, in monotonic seconds."""
    rows: dict[str, str] = field(default_factory=dict)

    def start_operator(self) -> None:
        self.operators.append(self.operator.enter_context(running_operator(self.cluster, operator_access(self.cluster))))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if problems := preflight.missing():
        pytest.skip("this machine can't run containers: " + "; ".join(problems))
    with full_cluster() as cluster, ExitStack() as operator:
        whoami = images.whoami_image()
        image, next_image = (cluster.push_image(each, "roadstead/whoami") for each in (whoami, another(whoami)))
        install_crds(cluster)
        install_rbac(cluster)
        with (
            keda(cluster) as running,
            two_gateways(cluster, gateway_access(cluster), SCALER_HOST, ROADSTEAD_DRAIN_SECONDS="2") as gateways,
            relaying(*(each.ports["scaler"] for each in gateways)) as scaler,
            new_namespace(cluster) as namespace,
        ):
            authentication = scaler_authentication(cluster, cluster.state / CERTIFICATES)
            address = f"{SCALER_HOST}:{scaler}"
            declare_platform(cluster, gateway={"scalerAddress": address, "scalerAuthentication": authentication}, scaling=SCALING)
            gateway(cluster, ready=True)
            made = World(cluster, image, next_image, running, gateways, operator, Sleepers(cluster, gateways, image, namespace))
            made.start_operator()
            yield made
            write_table(made.rows)


@pytest.fixture
def namespace(world: World) -> Iterator[str]:
    with new_namespace(world.cluster) as name:
        yield name


def another(image: Image) -> Image:
    """The next build of an image: the same layers, and yet another digest."""
    *layers, config = image.blobs
    run = json.loads(config.path.read_text())["config"]
    target = image.folder.with_name(f"{image.folder.name}-next")
    labels = {"org.opencontainers.image.version": "next"}
    return Image(target) if target.is_dir() else write_image(target, layers, {**run, "Labels": labels})


def write_table(rows: dict[str, str]) -> None:
    """Put the table of this run into the document, if all of it was run."""
    if set(rows) == set(TROUBLES):
        columns = ("while …", "warm requests answered", "failed", "of them in flight on a killed Envoy", "held requests", "lost")
        head = f"| {' | '.join(columns)} |\n| ---{' | ---:' * (len(columns) - 1)} |"
        write("trouble", COMMAND, "\n".join((head, *(rows[name] for name in TROUBLES), "")))


def serving(world: World, namespace: str, *names: str) -> None:
    """Workloads of registered Artifacts with two ready pods each."""
    for name in names:
        apply(world.cluster, here(namespace, raw_whoami(name, world.image, runtime={"replicaCount": 2})))
    for name in names:
        wait_for(lambda name=name: settled(world, namespace, name), f"two ready pods of {name}", 120)


def settled(world: World, namespace: str, name: str, without: str = "") -> bool:
    seen, pods = status(world.cluster, namespace, name), pod_uids(world.cluster, namespace, name).split()
    rolled_out = condition(seen, "Progressing").get("reason") == "RolledOut"
    return rolled_out and seen.get("readyReplicas") == 2 == len(pods) and set(pods).isdisjoint(without.split())


def wait_active(cluster: FullCluster, namespace: str, deployment: str, workload: str) -> None:
    wait_for(lambda: active_workload(cluster, namespace, deployment) == workload, f"{workload} to serve {deployment}", 60)


def renew(world: World, namespace: str, name: str) -> None:
    """The same Workload with the other image: in a new Artifact, since a registered one can't change."""
    declared = get(world.cluster, "rsw", name, namespace)
    assert declared is not None
    (container,) = declared["spec"]["artifact"]["containerGroups"][0]["containers"]
    assert container["imageUri"] == world.image
    renewed = raw_artifact(f"{name}-next", [{**container, "imageUri": world.next_image}], status="registered")
    apply(world.cluster, here(namespace, renewed))
    patch(world.cluster, "rsw", name, namespace, artifact=None, artifactRef={"name": f"{name}-next"})


def rolls(world: World, namespace: str) -> None:
    """Pods roll to a new image, those that requests are held for too."""
    before = pod_uids(world.cluster, namespace, "a")
    renew(world, world.sleepers.namespace, EARLY)
    renew(world, namespace, "a")
    # Those held for go back to zero soon after.
    wait_for(lambda: world.next_image in pod_images(world.cluster, world.sleepers.namespace, EARLY), "a new pod for those held", 60)
    wait_for(lambda: settled(world, namespace, "a", before), "the new pods", 120)
    assert pod_images(world.cluster, namespace, "a") == {world.next_image}


def switches(world: World, namespace: str) -> None:
    """The Workload behind the Deployment is switched, and back; and behind one that requests are held for."""
    fronts = ((namespace, "front", ("b", "a")), (world.sleepers.namespace, EARLY, (LATE, EARLY)))
    for turn in (0, 1):
        for where, front, behind in fronts:
            patch(world.cluster, "rsd", front, where, workloadRef={"name": behind[turn]})
        for where, front, behind in fronts:
            wait_active(world.cluster, where, front, behind[turn])
        time.sleep(SETTLE_SECONDS)


def replica_goes(world: World, namespace: str) -> None:
    """A gateway replica is deleted: SIGTERM, drained; another comes in its place."""
    one = world.gateways[0]
    one.stop(60)
    time.sleep(SETTLE_SECONDS)
    one.start_process()
    one.start_envoy()
    one.wait_ready()


def processes_killed(world: World, namespace: str) -> None:
    """Each gateway process, not Envoy, is killed in turn, and the kubelet starts it anew after a while."""
    for one in world.gateways:
        one.kill_process()
        time.sleep(SETTLE_SECONDS)
        one.start_process()
        one.wait_ready()
        time.sleep(SETTLE_SECONDS)


def keda_killed(world: World, namespace: str) -> None:
    """KEDA is killed, and away for a while."""
    world.keda.kill()
    time.sleep(2 * SETTLE_SECONDS)
    world.keda.start()


def operator_killed(world: World, namespace: str) -> None:
    """The operator is killed, and away for a while."""
    world.operators[-1].kill()
    world.operator.close()
    time.sleep(2 * SETTLE_SECONDS)
    world.start_operator()


def server_away(world: World, namespace: str) -> None:
    """The API server is away for a minute."""
    world.cluster.stop_component("kube-apiserver")
    time.sleep(AWAY_SECONDS)
    world.cluster.start_component("kube-apiserver")
    wait_admission(world.cluster)


def envoy_killed(world: World, namespace: str) -> None:
    """An Envoy is killed by SIGKILL: what it was just carrying is lost, and what is sent there until the balancer looks again."""
    one = world.gateways[1]
    one.kill_envoy()
    world.killed_at = time.monotonic()
    time.sleep(SETTLE_SECONDS)
    one.start_envoy()
    one.wait_ready()


TROUBLES: dict[str, Callable[[World, str], None]] = {
    "pods roll to a new image": rolls,
    "the Workload behind a Deployment is switched, and back": switches,
    "a gateway replica is deleted (SIGTERM, drained)": replica_goes,
    "each gateway process is killed": processes_killed,
    "KEDA is killed, and away for a while": keda_killed,
    "the operator is killed, and away for a while": operator_killed,
    "the API server is away for a minute": server_away,
    "an Envoy is killed (SIGKILL)": envoy_killed,
}


SAMPLE = (switches,)
"""What ``make test`` shows with real pods; what happens to the gateway itself it shows in tests/integration/test_gateway_replicas.py."""


@pytest.mark.parametrize(
    "trouble", [name if cause in SAMPLE else pytest.param(name, marks=pytest.mark.long) for name, cause in TROUBLES.items()]
)
def test_no_warm_request_fails(world: World, namespace: str, trouble: str) -> None:
    """Half of the load goes to a Workload, half to a Deployment in front of it."""
    serving(world, namespace, "a", *(("b",) if TROUBLES[trouble] is switches else ()))
    apply(world.cluster, here(namespace, raw_deployment("front", "a")))
    wait_active(world.cluster, namespace, "front", "a")
    token = account(world.cluster, namespace, "caller", "roadstead-invoke")
    world.sleepers.wait_rested()
    with ExitStack() as stack:
        calls = [stack.enter_context(calling(world.gateways, path, token, 6)) for path in ways(namespace, "a", "front")]
        wait_for(lambda: all(called.answered > 50 for called in calls), "warm requests", 60)
        warm_at = {id(called): len(called.failed) for called in calls}
        with world.sleepers.holding() as held:
            TROUBLES[trouble](world, namespace)
            time.sleep(SETTLE_SECONDS)
    failed = [each for called in calls for each in called.failed[warm_at[id(called)] :]]
    answered = sum(called.answered for called in calls)
    lost = [each for called in held for each in called.failed]
    killed = TROUBLES[trouble] is envoy_killed
    cut = [each for called in calls for each in called.under_way_at(world.killed_at)] if killed else []
    world.rows[trouble] = f"| {trouble} | {answered:,} | {len(failed)} | {len(cut) if killed else '–'} | {HELD} | {len(lost)} |"
    print(json.dumps({"trouble": trouble, "answered": answered, "failed": failed[:10], "lost": lost}))
    assert sum(called.answered for called in held) + len(lost) == HELD, held
    if TROUBLES[trouble] is not processes_killed:  # who is asked about anew, with the pod there by then, isn't told of the wait
        assert sum(called.cold for called in held) + len(lost) == HELD, held
    if killed:
        elsewhere = [each for each in failed + lost if each[2].startswith("gateway-0")]
        assert not elsewhere, elsewhere
        late = [each for called in (*calls, *held) for each in called.begun_after_a_look()]
        assert not late, late
        assert len(failed) <= 24, failed  # no more than a request of each client, in flight or while the balancer hadn't looked
        assert len(lost) <= HELD / 4, lost  # half of those that wait when it is killed
    else:
        assert not failed, failed[:10]
        assert not lost, lost
