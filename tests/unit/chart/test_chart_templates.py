"""The Helm chart as text: lint, determinism, least rights, restricted pods, and values that are refused.

``ROADSTEAD_UPDATE_GOLDEN=1 pytest tests/unit/chart`` writes the golden file anew.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import roadstead
from hack.cluster.helm import helm
from roadstead.api.platform import PlatformSpec
from roadstead.certificates import dns_names
from roadstead.cli.main import app
from roadstead.desired.disruption import ORDER, priority_class
from roadstead.observed.views import GPU_LABELS
from roadstead.settings import ApiSettings, GatewaySettings, Settings

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CHART = ROOT / "charts" / "roadstead"
GOLDEN = HERE / "golden" / "default.yaml"
FULL = ("--values", str(HERE / "full-values.yaml"))
NAMESPACE = "roadstead-system"
KEDA = ("--set", "keda.enabled=true")
CERTS = ("roadstead-certs", "roadstead-certs-hook")
CERT_MANAGER = ("--set", "gateway.tls.certManager.enabled=true,gateway.tls.certManager.issuerRef.name=private")
CRDS = {f"{plural}.roadstead.dev" for plural in ("artifacts", "workloads", "deployments", "platforms")}
Body = dict[str, Any]


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(helm()), *args], capture_output=True, text=True, check=False)


def template(*flags: str) -> str:
    done = run("template", "roadstead", str(CHART), "--namespace", NAMESPACE, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(*flags: str) -> list[Body]:
    return [body for body in yaml.safe_load_all(template(*flags)) if body]


def named(bodies: list[Body], kind: str, name: str) -> Body:
    return next(body for body in bodies if body["kind"] == kind and body["metadata"]["name"] == name)


@pytest.fixture(scope="module")
def defaults() -> list[Body]:
    """The objects of a default installation, hooks included."""
    return objects()


@pytest.fixture(scope="module")
def full() -> list[Body]:
    """The objects with every value set."""
    return objects(*FULL)


@pytest.mark.parametrize("flags", [(), FULL], ids=["defaults", "full"])
def test_lint_is_clean(flags: tuple[str, ...]) -> None:
    done = run("lint", "--strict", str(CHART), *flags)

    assert done.returncode == 0, done.stdout
    assert not [line for line in done.stdout.splitlines() if line.startswith(("[WARNING]", "[ERROR]"))]


def test_default_render_is_the_golden_file() -> None:
    rendered = template()
    if os.environ.get("ROADSTEAD_UPDATE_GOLDEN"):
        GOLDEN.write_text(rendered)

    assert rendered == GOLDEN.read_text(), "run ROADSTEAD_UPDATE_GOLDEN=1 pytest tests/unit/chart, and look at what changed"


def test_two_renders_are_equal() -> None:
    assert template(*FULL) == template(*FULL)


def test_templates_call_nothing_that_differs_between_renders() -> None:
    unsteady = re.compile(
        r"\b(genCA|genSignedCert|genSelfSignedCert|genPrivateKey|rand[A-Z]\w*|uuidv4|now|lookup|shuffle|\.Release\.Revision)\b"
    )
    found = {path.name: unsteady.findall(path.read_text()) for path in CHART.rglob("templates/**/*.yaml")}

    assert not {name: calls for name, calls in found.items() if calls}


def test_chart_and_package_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert chart["version"] == chart["appVersion"] == roadstead.__version__


# Rights


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


# Pods


def pod_specs(bodies: list[Body]) -> Iterator[Body]:
    for body in bodies:
        if body["kind"] in ("Deployment", "Job"):
            yield body["spec"]["template"]["spec"]
        elif body["kind"] == "CronJob":
            yield body["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def test_pods_satisfy_restricted_with_a_read_only_root(defaults: list[Body]) -> None:
    specs = list(pod_specs(defaults))
    assert len(specs) == 6
    for spec in specs:
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for volume in spec.get("volumes", ()):
            assert set(volume) - {"name"} <= {"emptyDir", "secret", "projected"}
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize(
    ("flags", "image"),
    [
        ((), f"ghcr.io/roadstead/roadstead:{roadstead.__version__}"),
        (("--set", "image.tag=v2"), "ghcr.io/roadstead/roadstead:v2"),
        (("--set", f"image.tag=v2,image.digest=sha256:{'a' * 64}"), f"ghcr.io/roadstead/roadstead@sha256:{'a' * 64}"),
    ],
)
def test_digest_wins_over_tag_over_version(flags: tuple[str, ...], image: str) -> None:
    assert {container["image"] for spec in pod_specs(objects(*flags)) for container in spec["containers"]} == {image}


def environment_of(container: Body) -> dict[str, str]:
    return {entry["name"]: entry.get("value") or f"value of {entry['valueFrom']['fieldRef']['fieldPath']}" for entry in container["env"]}


def started(deployment: Body) -> dict[str, int]:
    """Run the command of the only container, in its environment; returns its ports."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    environment: dict[str, str | None] = {name: None for name in os.environ if name.startswith("ROADSTEAD_")}
    environment |= environment_of(container)
    result = CliRunner().invoke(app, container["args"], env=environment)
    assert result.exit_code == 0, result.output
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def test_operator_command_is_one_that_the_operator_takes(full: list[Body], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []
    monkeypatch.setattr("roadstead.operator.main.run", seen.append)

    ports = started(named(full, "Deployment", "roadstead-operator"))

    assert seen == [
        Settings(
            namespace="value of metadata.namespace",
            identity="value of metadata.name",
            log_format="text",
            log_level="DEBUG",
            workers=4,
            health_port=ports["health"],
            metrics_port=ports["metrics"],
        )
    ]


def test_the_apis_command_is_one_that_it_takes(full: list[Body], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ApiSettings] = []
    monkeypatch.setattr("roadstead.rest.server.run", seen.append)

    ports = started(named(full, "Deployment", "roadstead-api"))

    assert seen == [
        ApiSettings(
            namespace="value of metadata.namespace",
            default_namespace="models",
            log_format="text",
            log_level="DEBUG",
            port=ports["http"],
            health_port=ports["health"],
            metrics_port=ports["metrics"],
            requests_per_second=5,
            burst=10,
            trusted_proxies=("10.0.0.0/8",),
            gateway="roadstead-gateway-peers.roadstead-system.svc:18001",
            certificates=Path("/certificates"),
        )
    ]


def test_the_api_asks_the_gateway_if_there_is_one(full: list[Body], defaults: list[Body]) -> None:
    spec = named(defaults, "Deployment", "roadstead-api")["spec"]["template"]["spec"]
    (volume,) = spec["volumes"]
    assert volume["secret"]["optional"] is True, "the API starts before the certificates are there"
    assert volume["secret"]["secretName"] == "roadstead-gateway-tls"
    assert named(defaults, "Service", "roadstead-gateway-peers")["metadata"]["namespace"] == "roadstead-system"
    labels = named(full, "Deployment", "roadstead-api")["spec"]["template"]["metadata"]["labels"]
    admitted = [
        {port["port"] for port in rule["ports"]}
        for rule in named(full, "NetworkPolicy", "roadstead-gateway")["spec"]["ingress"]
        for peer in rule.get("from", ())
        if peer.get("podSelector", {}).get("matchLabels", {"": None}).items() <= labels.items()
    ]
    assert admitted == [{18001}]
    without = named(objects("--set", "gateway.enabled=false"), "Deployment", "roadstead-api")["spec"]["template"]["spec"]
    assert "volumes" not in without
    assert not [part for part in without["containers"][0]["args"] if part.startswith(("--gateway", "--certificates"))]


def test_the_gateways_command_is_one_that_it_takes(full: list[Body], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[GatewaySettings] = []
    monkeypatch.setattr("roadstead.gateway.server.run", seen.append)

    ports = started(named(full, "Deployment", "roadstead-gateway"))

    assert seen == [
        GatewaySettings(
            namespace="value of metadata.namespace",
            identity="value of metadata.name",
            log_format="text",
            log_level="DEBUG",
            health_port=ports["health"],
            metrics_port=ports["metrics"],
            peer_port=ports["peer"],
            peer_authoriser_port=ports["authoriser"],
            scaler_port=ports["scaler"],
            certificates=Path("/certificates"),
            peer_service="roadstead-gateway-peers",
            state=Path("/state"),
            drain_limit_seconds=7170,
        )
    ]


def test_envoys_bootstrap_is_made_by_a_command_that_exists(full: list[Body], tmp_path: Path) -> None:
    bootstrap, envoy = named(full, "Deployment", "roadstead-gateway")["spec"]["template"]["spec"]["initContainers"]
    (out,) = (part for part in bootstrap["args"] if part.startswith("--out="))
    assert envoy["args"][:2] == ["-c", out.partition("=")[2]]
    args = [f"--out={tmp_path / 'envoy.json'}" if part == out else part for part in bootstrap["args"]]

    result = CliRunner().invoke(app, args, env=environment_of(bootstrap))

    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "envoy.json").read_text())["static_resources"]


@pytest.mark.parametrize("component", ["operator", "api", "gateway"])
def test_selector_holds_nothing_that_a_version_changes(defaults: list[Body], component: str) -> None:
    deployment = named(defaults, "Deployment", f"roadstead-{component}")

    assert deployment["spec"]["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "roadstead",
        "app.kubernetes.io/instance": "roadstead",
        "app.kubernetes.io/component": component,
    }


def test_without_the_api_nothing_of_it_is_left() -> None:
    assert not [body for body in objects(*FULL, "--set", "api.enabled=false") if body["metadata"]["name"].startswith("roadstead-api")]


def test_the_api_is_found_from_outside_where_asked_for(full: list[Body]) -> None:
    ports = named(full, "Service", "roadstead-api")["spec"]["ports"]
    (rule,) = named(full, "Ingress", "roadstead-api")["spec"]["rules"]
    (route,) = named(full, "HTTPRoute", "roadstead-api")["spec"]["rules"]

    (path,) = rule["http"]["paths"]
    assert [port["name"] for port in ports] == [path["backend"]["service"]["port"]["name"]]
    assert path["path"] == route["matches"][0]["path"]["value"] == "/api/v2"
    assert route["backendRefs"] == [{"name": "roadstead-api", "port": ports[0]["port"]}]


def test_a_route_without_a_gateway_is_refused() -> None:
    done = run("template", "roadstead", str(CHART), "--set", "api.httpRoute.enabled=true")

    assert done.returncode != 0
    assert "api.httpRoute.parentRefs must name the Gateways" in done.stderr


# The gateway


@pytest.mark.parametrize("flags", [FULL, KEDA], ids=["full", "with KEDA"])
def test_without_the_gateway_nothing_of_it_is_left(flags: tuple[str, ...]) -> None:
    bodies = objects(*flags, "--set", "gateway.enabled=false")
    names = {body["metadata"]["name"] for body in bodies}

    assert not [name for name in names if name.startswith(("roadstead-gateway", "roadstead-certs", "roadstead-scaler", "fast-path"))]
    assert "scalerAddress" not in named(bodies, "Platform", "default")["spec"].get("gateway", {})


def test_its_ports_lead_to_its_containers(defaults: list[Body]) -> None:
    spec = named(defaults, "Deployment", "roadstead-gateway")["spec"]["template"]["spec"]
    containers = [*spec["containers"], *spec["initContainers"]]
    ports = {port["name"]: port["containerPort"] for container in containers for port in container.get("ports", ())}
    wanted = {
        port["targetPort"]
        for body in defaults
        if body["kind"] == "Service" and body["metadata"]["name"].startswith("roadstead-gateway")
        for port in body["spec"]["ports"]
    }

    assert ports == {"http": 8000, "peer": 18001, "authoriser": 18003, "scaler": 9090, "metrics": 8080, "health": 8081}
    assert {ports.get(port, port) for port in wanted} == set(ports.values()) - {8081}
    assert named(defaults, "Service", "roadstead-gateway-peers")["spec"]["publishNotReadyAddresses"] is True


def test_a_network_policy_knows_every_port(defaults: list[Body], full: list[Body]) -> None:
    spec = named(defaults, "Deployment", "roadstead-gateway")["spec"]["template"]["spec"]
    ports = {port["containerPort"] for part in ("containers", "initContainers") for held in spec[part] for port in held.get("ports", ())}
    rules = named(full, "NetworkPolicy", "roadstead-gateway")["spec"]["ingress"]

    assert {port["port"] for rule in rules for port in rule["ports"]} == ports
    assert {port["port"] for rule in rules if "from" not in rule for port in rule["ports"]} == {8000, 8080, 8081}


def test_envoy_outlives_the_process_that_drains_it_and_has_no_way_into_the_cluster(defaults: list[Body]) -> None:
    spec = named(defaults, "Deployment", "roadstead-gateway")["spec"]["template"]["spec"]
    (gateway,) = spec["containers"]
    _, envoy = spec["initContainers"]
    limit = next(part for part in gateway["args"] if part.startswith("--drain-limit-seconds="))

    assert envoy["restartPolicy"] == "Always"
    assert spec["terminationGracePeriodSeconds"] > int(limit.partition("=")[2])
    assert spec["automountServiceAccountToken"] is False
    assert not [mount for mount in envoy["volumeMounts"] if mount["name"] == "token"]
    assert [mount for mount in gateway["volumeMounts"] if mount["name"] == "token"]


def test_it_is_found_from_outside_where_asked_for(full: list[Body]) -> None:
    (rule,) = named(full, "Ingress", "roadstead-gateway")["spec"]["rules"]
    (route,) = named(full, "HTTPRoute", "roadstead-gateway")["spec"]["rules"]
    (path,) = rule["http"]["paths"]

    assert path["path"] == route["matches"][0]["path"]["value"] == "/api/v2/endpoints"
    assert path["backend"]["service"] == {"name": "roadstead-gateway", "port": {"name": "http"}}
    assert route["backendRefs"] == [{"name": "roadstead-gateway", "port": 80}]
    assert route["timeouts"] == {"request": "0s"}


def test_what_keda_asks_is_never_exposed(full: list[Body]) -> None:
    outside = [body for body in full if body["kind"] == "Service" and body["spec"]["type"] != "ClusterIP"]

    assert {body["metadata"]["name"] for body in outside} == {"roadstead-api", "roadstead-gateway-public"}
    assert {port["name"] for body in outside for port in body["spec"]["ports"]} == {"http"}


def test_a_route_to_the_gateway_without_a_gateway_is_refused() -> None:
    done = run("template", "roadstead", str(CHART), "--set", "gateway.httpRoute.enabled=true")

    assert done.returncode != 0
    assert "gateway.httpRoute.parentRefs must name the Gateways" in done.stderr


def test_an_autoscaler_alone_owns_the_replicas(defaults: list[Body], full: list[Body]) -> None:
    assert named(defaults, "Deployment", "roadstead-gateway")["spec"]["replicas"] == 2
    assert not [body for body in defaults if body["kind"] == "HorizontalPodAutoscaler"]
    assert "replicas" not in named(full, "Deployment", "roadstead-gateway")["spec"]
    assert named(full, "HorizontalPodAutoscaler", "roadstead-gateway")["spec"]["minReplicas"] == 3


def test_it_may_scale_only_where_the_fast_path_is_wanted(defaults: list[Body]) -> None:
    def groups(bodies: list[Body]) -> set[str]:
        return {group for rule in named(bodies, "ClusterRole", "roadstead-gateway")["rules"] for group in rule["apiGroups"]}

    assert "apps" not in groups(defaults)
    assert "apps" in groups(objects("--set", "platform.gateway.fastPath=true"))


def test_without_keda_there_is_nothing_of_it(defaults: list[Body]) -> None:
    assert not [body for body in defaults if body["apiVersion"].startswith("keda.sh") or body["metadata"].get("namespace") == "keda"]


def test_keda_and_platform_name_the_same_things() -> None:
    bodies = objects(*KEDA)
    settings = named(bodies, "Platform", "default")["spec"]["gateway"]
    authentication = named(bodies, "ClusterTriggerAuthentication", settings["scalerAuthentication"])
    (copy,) = {entry["name"] for entry in authentication["spec"]["secretTargetRef"]}

    assert {entry["parameter"]: entry["key"] for entry in authentication["spec"]["secretTargetRef"]} == {
        "caCert": "ca.crt",
        "tlsClientCert": "tls.crt",
        "tlsClientKey": "tls.key",
    }
    for spec in pod_specs([body for body in bodies if body["metadata"]["name"] in CERTS]):
        assert f"--keda-secret={copy}" in spec["containers"][0]["args"]
    host, _, port = settings["scalerAddress"].partition(":")
    assert host in dns_names(NAMESPACE, "roadstead-gateway", "roadstead-gateway-peers")
    assert int(port) in {entry["port"] for entry in named(bodies, "Service", "roadstead-gateway")["spec"]["ports"]}


def test_an_address_of_the_administrators_own_stays() -> None:
    bodies = objects("--set", "platform.gateway.scalerAddress=scaler.example:1,platform.gateway.queueTotal=7")

    assert named(bodies, "Platform", "default")["spec"]["gateway"] == {"scalerAddress": "scaler.example:1", "queueTotal": 7}


@pytest.mark.parametrize("name", CERTS)
def test_the_command_that_makes_certificates_is_one_that_exists(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (spec,) = pod_specs([body for body in objects(*KEDA) if body["metadata"]["name"] == name])
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    result = CliRunner().invoke(app, spec["containers"][0]["args"], env={"ROADSTEAD_KUBECONFIG": str(tmp_path / "missing")})

    assert (result.exit_code, result.output.partition(":")[0]) == (1, "roadstead")
    assert "missing does not exist" in result.output


def test_cert_manager_makes_what_the_chart_would() -> None:
    bodies = objects(*KEDA, *CERT_MANAGER)
    gateway = named(bodies, "Certificate", "roadstead-gateway-tls")["spec"]
    scaler = named(bodies, "Certificate", "roadstead-scaler-tls")

    assert not [body for body in bodies if body["metadata"]["name"] in CERTS]
    assert set(gateway["dnsNames"]) == set(dns_names(NAMESPACE, "roadstead-gateway", "roadstead-gateway-peers"))
    assert {"server auth", "client auth"} <= set(gateway["usages"])
    assert "server auth" not in scaler["spec"]["usages"]
    assert scaler["metadata"]["namespace"] == "keda"
    assert {gateway["secretName"], scaler["spec"]["secretName"]} == {"roadstead-gateway-tls", "roadstead-scaler-tls"}
    done = run("template", "roadstead", str(CHART), "--set", "gateway.tls.certManager.enabled=true")
    assert done.returncode != 0
    assert "gateway.tls.certManager.issuerRef.name must name the issuer" in done.stderr


def test_no_object_of_the_chart_looks_like_a_child_of_a_workload(full: list[Body]) -> None:
    assert not [body for body in full if body["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") == "roadstead"]


def test_one_replica_has_no_disruption_budget() -> None:
    kinds = {body["kind"] for body in objects("--set", "operator.replicas=1,api.replicas=1,gateway.replicas=1")}

    assert "PodDisruptionBudget" not in kinds


def test_priority_classes_are_those_that_importance_names(defaults: list[Body]) -> None:
    classes = {body["metadata"]["name"]: body["value"] for body in defaults if body["kind"] == "PriorityClass"}
    ascending = [priority_class(level) for level in ORDER]

    assert sorted(classes, key=lambda name: classes[name]) == ascending


# GPUs


def test_the_catalogue_is_one_that_a_platform_takes() -> None:
    spec = PlatformSpec.model_validate(yaml.safe_load((CHART / "values.yaml").read_text())["platform"])
    names = [entry.gpu_type for entry in spec.gpu_types or ()]
    labels = [tuple(sorted(alternative.match_labels.items())) for entry in spec.gpu_types or () for alternative in entry.node_labels]

    assert len(names) == len(set(names))
    assert len(labels) == len(set(labels)), "two types are recognised by the same labels"
    assert {label for term in labels for label, _ in term if not label.endswith("-memory")} == set(GPU_LABELS)


def test_the_guides_table_and_examples_are_true() -> None:
    guide = (ROOT / "docs" / "gpu.md").read_text()
    catalogue = PlatformSpec.model_validate(yaml.safe_load((CHART / "values.yaml").read_text())["platform"]).gpu_types or ()
    examples = [entry for block in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL) for entry in yaml.safe_load(block)]

    for entry in catalogue:
        (row,) = [line for line in guide.splitlines() if line.startswith(f"| `{entry.gpu_type}` |")]
        for alternative in entry.node_labels:
            assert all(f"`{value}`" in row for value in alternative.match_labels.values()), row
    assert len(PlatformSpec.model_validate({"gpuTypes": examples}).gpu_types or ()) == 4


def test_the_examples_ask_for_types_of_the_catalogue() -> None:
    known = {entry["gpuType"] for entry in yaml.safe_load((CHART / "values.yaml").read_text())["platform"]["gpuTypes"]}
    asked = re.findall(r"gpuType: (\S+)", "".join(path.read_text() for path in (ROOT / "examples").rglob("*.yaml")))

    assert asked
    assert set(asked) <= known


# Admission policies


def test_admission_policies_can_be_switched_off_one_by_one(defaults: list[Body], full: list[Body]) -> None:
    def names(bodies: list[Body]) -> set[str]:
        return {body["metadata"]["name"] for body in bodies if body["kind"].startswith("ValidatingAdmissionPolicy")}

    assert names(defaults) == {"images.roadstead.dev", "deletion.roadstead.dev", "fast-path.roadstead.dev"}
    assert names(objects("--set", "admissionPolicies.images=false")) == {"deletion.roadstead.dev", "fast-path.roadstead.dev"}
    assert names(objects("--set", "gateway.enabled=false")) == {"images.roadstead.dev", "deletion.roadstead.dev"}
    assert names(full) == set()


# Values


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("operator.replicas=two", "at '/operator/replicas': got string, want integer"),
        ("operator.replica=3", "at '/operator': additional properties 'replica' not allowed"),
        ("operator.logLevel=loud", "at '/operator/logLevel': value must be one of 'debug', 'info', 'warning', 'error'"),
        ("image.digest=latest", "at '/image/digest': 'latest' does not match pattern"),
        ("image.repository=", "at '/image/repository'"),
        ("imgae.tag=v1", "additional properties 'imgae' not allowed"),
        ("admissionPolicies.images=maybe", "at '/admissionPolicies/images': got string, want boolean"),
        ("platform.gpus=1", "at '/platform': additional properties 'gpus' not allowed"),
        ("priorityClasses.low=none", "at '/priorityClasses/low': got string, want integer"),
        ("metrics.serviceMonitor.interval=often", "at '/metrics/serviceMonitor/interval': 'often' does not match pattern"),
        ("imagePullSecrets[0]=mirror", "at '/imagePullSecrets/0': got string, want object"),
    ],
)
def test_wrong_values_are_refused_with_their_path(setting: str, message: str) -> None:
    done = run("template", "roadstead", str(CHART), "--set", setting)

    assert done.returncode != 0
    assert message in done.stderr


def test_old_clusters_are_refused() -> None:
    done = run("template", "roadstead", str(CHART), "--kube-version", "1.32.9")

    assert done.returncode != 0
    assert ">=1.33" in done.stderr


def test_schema_is_strict_about_what_is_ours() -> None:
    def lax(node: Any, path: str) -> Iterator[str]:
        if isinstance(node, dict):
            if "properties" in node and node.get("additionalProperties") is not False:
                yield path
            for key, value in node.items():
                yield from lax(value, f"{path}/{key}")

    assert not list(lax(json.loads((CHART / "values.schema.json").read_text()), ""))


def test_full_values_leave_no_default() -> None:
    def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                yield from leaves(value, f"{path}.{key}")
        else:
            yield path, node

    given = dict(leaves(yaml.safe_load((HERE / "full-values.yaml").read_text())))
    same = [path for path, value in leaves(yaml.safe_load((CHART / "values.yaml").read_text())) if given.get(path, value) == value]

    unset = [path for path in same if not any(other.startswith(path + ".") for other in given)]
    assert unset == [".api.enabled", ".gateway.enabled"]  # off, there would be nothing to look at


def test_platform_values_are_the_fields_of_the_crd() -> None:
    (crd,) = [
        body for file in (ROOT / "crds").glob("*.yaml") if (body := yaml.safe_load(file.read_text()))["spec"]["names"]["kind"] == "Platform"
    ]
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    known = json.loads((CHART / "values.schema.json").read_text())["properties"]["platform"]["properties"]

    assert {name: field["type"] for name, field in known.items()} == {name: field["type"] for name, field in spec["properties"].items()}
