"""The chart's gateway: its ports and addresses, who reaches them, and what KEDA and cert-manager are told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from roadstead.certificates import LIFE, dns_names
from tests.unit.chart.rendering import CERTS, CHART, FULL, KEDA, NAMESPACE, Body, named, objects, pod_specs, run

PATH = "/api/v2/endpoints"
CERT_MANAGER = ("--set", "gateway.tls.certManager.enabled=true,gateway.tls.certManager.issuerRef.name=private")


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


@pytest.mark.parametrize("flags", [FULL, ()], ids=["full", "defaults"])
def test_without_the_gateway_nothing_of_it_is_left(flags: tuple[str, ...]) -> None:
    bodies = objects(*flags, "--set", "gateway.enabled=false,keda.enabled=false")
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
    (path,) = rule["http"]["paths"]

    assert path["path"] == PATH
    assert path["backend"]["service"] == {"name": "roadstead-gateway", "port": {"name": "http"}}


def test_a_route_takes_grpc_over_http_2_and_all_else_as_it_comes(full: list[Body]) -> None:
    """In the form of the Gateway API v1: header matches of type Exact are all that each implementation has."""
    ports = {port["port"]: port for port in named(full, "Service", "roadstead-gateway")["spec"]["ports"]}
    rest, grpc = named(full, "HTTPRoute", "roadstead-gateway")["spec"]["rules"]

    assert rest["matches"] == [{"path": {"type": "PathPrefix", "value": PATH}}]
    for match in grpc["matches"]:
        (header,) = match.pop("headers")
        assert header.pop("value") in ("application/grpc", "application/grpc+proto", "application/grpc+json")
        assert header == {"type": "Exact", "name": "content-type"}
        assert match == rest["matches"][0], "with another path the headers wouldn't decide"
    assert len(grpc["matches"]) == 3
    for rule, protocol in ((rest, "http"), (grpc, "kubernetes.io/h2c")):
        assert rule["timeouts"] == {"request": "0s"}
        (backend,) = rule["backendRefs"]
        assert backend["name"] == "roadstead-gateway"
        assert (ports[backend["port"]]["appProtocol"], ports[backend["port"]]["targetPort"]) == (protocol, 8000)


def test_a_load_balancer_may_have_tls_and_tell_who_calls(full: list[Body]) -> None:
    spec = named(full, "Service", "roadstead-gateway-public")["spec"]
    plain = named(objects("--set", "gateway.service.type=LoadBalancer"), "Service", "roadstead-gateway-public")["spec"]

    assert (spec["ports"][0]["port"], spec["externalTrafficPolicy"]) == (443, "Local")
    assert (plain["ports"][0]["port"], plain.get("externalTrafficPolicy")) == (80, None)
    assert 443 not in [port["port"] for port in named(full, "Service", "roadstead-gateway")["spec"]["ports"]]


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


def test_the_fast_path_without_its_fence_is_refused() -> None:
    flags = ("--set", "platform.gateway.fastPath=true,admissionPolicies.fastPath=false")
    done = run("template", "roadstead", str(CHART), *flags)

    assert done.returncode != 0
    assert "platform.gateway.fastPath needs admissionPolicies.fastPath" in done.stderr
    assert objects(*flags, "--set", "gateway.enabled=false"), "without a gateway there is nobody to fence in"


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
    lasts = timedelta(hours=int(gateway["duration"].removesuffix("h")))
    assert (gateway["duration"], lasts) == (scaler["spec"]["duration"], LIFE), "KEDA has to be restarted once while an old one lasts"
    default = objects(*KEDA, *CERT_MANAGER, "--set", "gateway.tls.certManager.duration=")
    assert "duration" not in named(default, "Certificate", "roadstead-gateway-tls")["spec"]
    done = run("template", "roadstead", str(CHART), "--set", "gateway.tls.certManager.enabled=true")
    assert done.returncode != 0
    assert "gateway.tls.certManager.issuerRef.name must name the issuer" in done.stderr
