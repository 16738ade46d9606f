"""A Prometheus for statistics, as the chart's values name it: what the API shows it, and what it finds at the gateway."""

from __future__ import annotations

from tests.unit.chart.rendering import Body, named, objects

URL = ("--set", "api.prometheus.url=http://prometheus:9090")
NO_GATEWAY = ("--set", "gateway.enabled=false")
TOKEN = ("--set", "api.prometheus.tokenSecret.name=t")


def pod(*flags: str) -> Body:
    return dict(named(objects(*flags), "Deployment", "roadstead-api")["spec"]["template"]["spec"])


def test_the_api_has_what_prometheus_wants_to_see(full: list[Body]) -> None:
    volumes = named(full, "Deployment", "roadstead-api")["spec"]["template"]["spec"]["volumes"]
    (volume,) = (volume for volume in volumes if "projected" in volume)
    secret, config_map = volume["projected"]["sources"]
    assert secret["secret"] == {"name": "prometheus-token", "optional": True, "items": [{"key": "bearer", "path": "token"}]}
    assert config_map["configMap"] == {"name": "service-ca", "optional": True, "items": [{"key": "service-ca.crt", "path": "ca.crt"}]}

    assert [volume["name"] for volume in pod(*URL)["volumes"]] == ["certificates"]
    assert "volumes" not in pod(*URL, *NO_GATEWAY)
    assert "volumes" not in pod(*TOKEN, *NO_GATEWAY), "there is nobody to show it"
    (alone,) = pod(*URL, *NO_GATEWAY, *TOKEN)["volumes"]
    assert len(alone["projected"]["sources"]) == 1
    assert [mount["name"] for mount in pod(*URL, *NO_GATEWAY, *TOKEN)["containers"][0]["volumeMounts"]] == ["prometheus"]


def test_endpoints_are_scraped_where_statistics_need_it(full: list[Body]) -> None:
    def paths(bodies: list[Body], name: str) -> list[str]:
        return [endpoint.get("path", "/metrics") for endpoint in named(bodies, "ServiceMonitor", name)["spec"]["endpoints"]]

    assert paths(full, "roadstead-gateway") == ["/metrics", "/metrics/endpoints"]
    assert named(full, "Service", "roadstead-gateway-metrics")["spec"]["publishNotReadyAddresses"] is True, "one that drains still counts"
    assert paths(full, "roadstead-api") == ["/metrics"]
    assert paths(objects("--set", "metrics.serviceMonitor.enabled=true"), "roadstead-gateway") == ["/metrics"]
