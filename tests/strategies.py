"""Hypothesis strategies for what users may declare: everything the CRDs admit, in the awkward combinations."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.build import raw_artifact, raw_workload

Body = dict[str, Any]
LABEL = st.from_regex(r"[a-z]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
PATHS = st.sampled_from(["/", "/healthz", "/a/b?c=d", "/ü"])


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Body]:
    """Any subset of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


PROBE = st.builds(
    lambda path, rest: {"path": path, **rest},
    PATHS,
    some(
        port=st.integers(1, 65535),
        scheme=st.sampled_from(["HTTP", "HTTPS"]),
        host=st.sampled_from(["10.0.0.1", "model.example"]),
        httpHeaders=st.dictionaries(st.sampled_from(["X-A", "Accept", "host"]), st.sampled_from(["", "1", "a, b"]), max_size=3),
        initialDelaySeconds=st.integers(0, 3600),
        periodSeconds=st.integers(1, 3600),
        timeoutSeconds=st.integers(1, 3600),
        failureThreshold=st.integers(1, 1000),
    ),
)
REQUEST = st.builds(
    lambda cpu, memory, gpu: {"cpu": cpu, "memory": memory, **gpu},
    st.one_of(st.integers(1, 64), st.floats(0.001, 64, allow_nan=False)),
    st.one_of(st.integers(1_048_576, 2**40), st.sampled_from(["64Mi", "1G", "1.5Gi", "1e9"])),
    st.one_of(
        st.just({}),
        st.builds(lambda n: {"gpu": n}, st.integers(0, 8)),
        st.builds(lambda n, t: {"gpu": n, "gpuType": t}, st.integers(1, 8), st.sampled_from(["h100", "l4", "unknown"])),
    ),
)
ENVIRONMENT = st.lists(
    st.one_of(
        st.builds(lambda name, value: {"name": name, "value": value}, st.sampled_from(["A", "HOME", "_x.y-z"]), st.text(max_size=8)),
        st.builds(lambda name, key: {"name": name, "valueFrom": {"secretKeyRef": {"name": key, "key": key}}}, st.just("TOKEN"), LABEL),
    ),
    max_size=4,
    unique_by=lambda entry: entry["name"],
)
CONTAINER = st.builds(
    lambda request, rest: {"imageUri": "registry.test/model:1", "resourceRequest": request, **rest},
    REQUEST,
    some(
        description=st.text(max_size=5),
        entrypoint=st.lists(st.text(max_size=5), max_size=3),
        environmentVars=ENVIRONMENT,
        readinessProbe=PROBE,
        livenessProbe=PROBE,
        startupProbe=PROBE,
        volumeMounts=st.lists(
            st.builds(
                lambda name, path: {"name": name, "mountPath": path},
                st.sampled_from(["data", "keys"]),
                st.sampled_from(["/d", "/home/roadstead"]),
            ),
            max_size=2,
            unique_by=lambda mount: mount["mountPath"],
        ),
        securityContext=some(runAsUser=st.integers(1, 70000), runAsGroup=st.integers(0, 70000), readOnlyRootFilesystem=st.booleans()),
    ),
)
FRONT = some(port=st.integers(1024, 65535), protocol=st.sampled_from(["http", "h2c", "https"]))


@st.composite
def groups(draw: st.DrawFn) -> list[Body]:
    """The containers of a group: one primary, perhaps with sidecars, named or not."""
    containers = draw(st.lists(CONTAINER, min_size=1, max_size=3))
    lead = draw(st.integers(0, len(containers) - 1))
    names = draw(st.lists(LABEL, min_size=3, max_size=3, unique=True))
    for index, container in enumerate(containers):
        if draw(st.booleans()):
            container["name"] = names[index]
        if index == lead:
            container.update(draw(FRONT))
            if len(containers) > 1 or draw(st.booleans()):
                container["primary"] = True
    return containers


VOLUMES = st.lists(
    st.one_of(
        st.builds(lambda n: {"name": n, "persistentVolumeClaim": {"claimName": n}}, st.sampled_from(["data"])),
        st.builds(lambda n: {"name": n, "secret": {"secretName": n}}, st.sampled_from(["keys"])),
        st.builds(
            lambda n, s: {"name": n, "emptyDir": s},
            st.sampled_from(["data", "tmp"]),
            st.sampled_from([{}, {"medium": "Memory", "sizeLimit": "1Gi"}]),
        ),
        st.builds(lambda n: {"name": n, "configMap": {"name": n}}, st.sampled_from(["conf"])),
    ),
    max_size=3,
    unique_by=lambda volume: volume["name"],
)
TEMPLATE = some(
    serviceAccountName=LABEL,
    imagePullSecrets=st.lists(st.builds(lambda n: {"name": n}, LABEL), max_size=2, unique_by=lambda ref: ref["name"]),
    nodeSelector=st.dictionaries(st.sampled_from(["disk", "zone.example/a"]), st.sampled_from(["", "ssd"]), max_size=2),
    tolerations=st.lists(st.sampled_from([{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoSchedule"}]), max_size=2),
    topologySpreadConstraints=st.lists(st.just({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}), max_size=1),
    terminationGracePeriodSeconds=st.integers(0, 86400),
    volumes=VOLUMES,
)


TARGET = st.one_of(st.integers(1, 100), st.floats(0.001, 1e9))


@st.composite
def autoscaling(draw: st.DrawFn) -> Body:
    """Policies that agree with each other, as the CRD demands."""
    metrics = draw(
        st.lists(
            st.sampled_from(["cpuAverageUtilization", "httpRequestsPerHour", "httpRequestsInFlight", "httpRequestsConcurrency"]),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    low = draw(st.integers(1, 1000))
    high = draw(st.integers(low, 1000))
    zero = "httpRequestsConcurrency" in metrics and draw(st.booleans())
    policies = []
    for metric in metrics:
        least = (0 if metric == "httpRequestsConcurrency" else draw(st.integers(0, 1))) if zero else low
        policies.append({"scalingMetric": metric, "target": draw(TARGET), "minCount": least, "maxCount": high})
    return {"autoscaling": {"enabled": True, "policies": policies}}


def about_http(runtime: Body) -> bool:
    """Whether it takes KEDA to scale by these policies."""
    return any(policy["scalingMetric"] != "cpuAverageUtilization" for policy in runtime["autoscaling"]["policies"])


RUNTIME = st.one_of(
    st.just({}),
    st.builds(lambda n: {"replicaCount": n}, st.integers(1, 1000)),
    autoscaling(),
    st.just({"resources": [{"type": "resource_bundle", "resourceBundleId": "large"}]}),
)
NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,52}[a-z0-9])?", fullmatch=True)
PLATFORM: Body = {
    "gpuTypes": [
        {"gpuType": "h100", "nodeLabels": [{"matchLabels": {"nvidia.com/gpu.product": "H100"}}]},
        {"gpuType": "l4", "nodeLabels": [{"matchLabels": {"a": "b"}}, {"matchLabels": {"c": "d"}}], "runtimeClassName": "nvidia"},
    ],
    "resourceBundles": [{"id": "large", "cpu": 8, "memory": "64Gi", "gpu": 1, "gpuType": "h100"}],
    "networkPolicy": {"enabled": True},
}


@st.composite
def worlds(draw: st.DrawFn, runtime: st.SearchStrategy[Body] = RUNTIME) -> tuple[Body, Body]:
    """An Artifact and a Workload that runs it."""
    artifact = raw_artifact("model", containers=draw(groups()), status=draw(st.sampled_from(["draft", "registered"])))
    spec: Body = {"runtime": draw(runtime), "template": draw(TEMPLATE)}
    if draw(st.booleans()):
        spec["suspend"] = draw(st.booleans())
    if draw(st.booleans()):
        spec["restartedAt"] = "2026-11-25T12:00:00Z"
    return artifact, raw_workload(draw(NAMES), **spec)
