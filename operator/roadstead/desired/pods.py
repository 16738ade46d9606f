"""The apps/v1 Deployment and its pod template.

``spec.replicas`` is never rendered here: it belongs to a second field manager or to an autoscaler (docs/design/0001).
"""

from __future__ import annotations

from dataclasses import dataclass

from roadstead.api.artifact import ArtifactSpec
from roadstead.api.container import Container, container_names, port, primary_index
from roadstead.api.deployment import Importance
from roadstead.api.platform import PlatformSpec
from roadstead.api.workload import Workload
from roadstead.desired import gpu, resources
from roadstead.desired.child import Body, Child, ChildKind, child, labels, metadata, selector
from roadstead.desired.digest import digest
from roadstead.desired.disruption import priority_class
from roadstead.desired.probes import probe, progress_deadline_seconds
from roadstead.desired.security import HOME_PATH, container_security, pod_security
from roadstead.desired.volumes import mounts, pod_volumes
from roadstead.errors import Reason, Refusal
from roadstead.names import PORT_NAME, RESTARTED_ANNOTATION

DRAIN_SECONDS = 5
"""A terminating pod goes on serving this long, so that every proxy has heard that it leaves before it stops listening."""
GRACE_SECONDS = 60
"""Time for requests in flight after the drain, where the Workload says nothing else."""
REVISION_HISTORY = 3


@dataclass(frozen=True, slots=True)
class PodInputs:
    """What a pod template is built from."""

    workload: Workload
    containers: tuple[Container, ...]
    platform: PlatformSpec
    importance: Importance | None = None
    in_place: bool = False


def containers_of(artifact: ArtifactSpec) -> tuple[Container, ...]:
    """The containers of an Artifact's one group. Raises Refusal when it has none."""
    groups = artifact.container_groups or ()
    if not groups or not groups[0].containers:
        raise Refusal(Reason.ARTIFACT_INVALID, "The Artifact has no containers; give it spec.containerGroups with at least one")
    return tuple(groups[0].containers)


def build_deployment(inputs: PodInputs) -> Child:
    """The Deployment. Raises Refusal for an unknown GPU type, bundle or volume, or a field that Platform forbids."""
    template = _pod_template(inputs)
    return child(
        ChildKind.DEPLOYMENT,
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata(inputs.workload),
            "spec": {
                "selector": {"matchLabels": selector(inputs.workload)},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": _strategy(inputs.in_place)},
                "progressDeadlineSeconds": progress_deadline_seconds(inputs.containers),
                "revisionHistoryLimit": REVISION_HISTORY,
                "template": template,
            },
        },
        template=digest(template),
        user_template=user_template_digest(inputs.workload, inputs.containers),
    )


def gpu_placements(inputs: PodInputs) -> list[gpu.GpuPlacement | None]:
    """What each container needs to get its GPUs, in the containers' order; None for those without."""
    return [gpu.placement(one, inputs.platform) for one in _asks(inputs)]


def user_template_digest(workload: Workload, containers: tuple[Container, ...]) -> str:
    """Digest of what the user declared for the pods, normalised: writing a default out is no change; scaling and names aren't in it."""
    names = container_names(containers)
    lead = primary_index(containers)
    normal = []
    for index, container in enumerate(containers):
        declared = container.model_dump(by_alias=True, exclude_none=True, mode="json")
        declared |= {"name": names[index], "primary": index == lead}
        declared |= {"port": port(container)} if index == lead else {}
        for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
            if (one := getattr(container, _snake(kind))) is not None:
                declared[kind] = probe(one)
        normal.append({name: value for name, value in declared.items() if value not in ([], {}) and name != "description"})
    spec = workload.spec
    runtime = spec.runtime
    return digest(
        {
            "containers": normal,
            "template": spec.template.model_dump(by_alias=True, exclude_none=True, mode="json") if spec.template else {},
            "bundles": [entry.resource_bundle_id for entry in runtime.resources or ()] if runtime else [],
            "restartedAt": spec.restarted_at.isoformat() if spec.restarted_at else None,
        }
    )


def _strategy(in_place: bool) -> Body:
    """Surge first, so that a bad version takes nothing away; in place where full GPU nodes leave no room for a surge."""
    return {"maxSurge": 0, "maxUnavailable": 1} if in_place else {"maxSurge": 1, "maxUnavailable": 0}


def _pod_template(inputs: PodInputs) -> Body:
    workload, platform = inputs.workload, inputs.platform
    _check_forbidden(workload, platform)
    lead = primary_index(inputs.containers)
    asks = _asks(inputs)
    placements = gpu_placements(inputs)
    names = container_names(inputs.containers)
    declared = workload.spec.template
    grace = GRACE_SECONDS
    if declared is not None and declared.termination_grace_period_seconds is not None:
        grace = declared.termination_grace_period_seconds
    gpus = any(placements)
    spec: Body = {
        "containers": [
            _container(inputs, names[index], c, asks[index], placements[index], lead=index == lead)
            for index, c in enumerate(inputs.containers)
        ],
        "volumes": pod_volumes(workload, platform, gpus=gpus),
        "securityContext": pod_security(platform.pods),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": DRAIN_SECONDS + max(grace, 1),
    }
    spec |= _scheduling(inputs, [p for p in placements if p is not None])
    template: Body = {"metadata": {"labels": labels(workload)}, "spec": spec}
    if workload.spec.restarted_at is not None:
        template["metadata"]["annotations"] = {RESTARTED_ANNOTATION: workload.spec.restarted_at.isoformat()}
    return template


def _asks(inputs: PodInputs) -> list[resources.Ask]:
    bundle = resources.bundle_of(inputs.workload, inputs.platform)
    lead = primary_index(inputs.containers)
    return [resources.ask(c, bundle if index == lead else None) for index, c in enumerate(inputs.containers)]


def _container(
    inputs: PodInputs, name: str, container: Container, ask: resources.Ask, placed: gpu.GpuPlacement | None, *, lead: bool
) -> Body:
    limits = {
        key: value
        for key, value in {
            "cpu": ask.cpu,
            "memory": ask.memory,
            placed.resource if placed else gpu.NVIDIA_GPU: str(placed.count) if placed else None,
        }.items()
        if value is not None
    }
    body: Body = {
        "name": name,
        "image": container.image_uri,
        "resources": {"requests": limits, "limits": limits},
        "securityContext": container_security(container),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts(container, inputs.workload, inputs.platform, gpus=placed is not None),
        "env": _environment(container),
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
    }
    if container.entrypoint:
        body["command"] = list(container.entrypoint)
    if lead:
        body["ports"] = [{"name": PORT_NAME, "containerPort": port(container), "protocol": "TCP"}]
    for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
        if (declared := getattr(container, _snake(kind))) is not None:
            body[kind] = probe(declared)
    return body


def _environment(container: Container) -> list[Body]:
    """HOME on the writable volume, unless the user sets it, then the user's variables in their order."""
    theirs = [entry.model_dump(by_alias=True, exclude_none=True, mode="json") for entry in container.environment_vars or ()]
    if any(entry["name"] == "HOME" for entry in theirs):
        return theirs
    return [{"name": "HOME", "value": HOME_PATH}, *theirs]


def _scheduling(inputs: PodInputs, placements: list[gpu.GpuPlacement]) -> Body:
    """Where the pods may run: the user's wishes, the GPU catalogue's nodes, and by default a spread over nodes."""
    declared = inputs.workload.spec.template
    wishes = declared.model_dump(by_alias=True, exclude_none=True, mode="json") if declared is not None else {}
    placement = inputs.platform.placement.model_dump(by_alias=True, exclude_none=True, mode="json")
    spread = [{"labelSelector": {"matchLabels": selector(inputs.workload)}, **c} for c in wishes.get("topologySpreadConstraints", [])]
    found: Body = {
        "serviceAccountName": wishes.get("serviceAccountName"),
        "imagePullSecrets": wishes.get("imagePullSecrets"),
        "runtimeClassName": wishes.get("runtimeClassName") or next((p.runtime_class for p in placements if p.runtime_class), None),
        "nodeSelector": {**placement.get("nodeSelector", {}), **wishes.get("nodeSelector", {})},
        "tolerations": _unique(
            [*placement.get("tolerations", []), *wishes.get("tolerations", []), *(t for p in placements for t in p.tolerations)]
        ),
        "topologySpreadConstraints": spread
        or [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(inputs.workload)},
            }
        ],
        "priorityClassName": priority_class(inputs.importance),
        "affinity": _node_affinity([p.terms for p in placements if p.terms]),
    }
    return {name: value for name, value in found.items() if value}


def _node_affinity(choices: list[tuple[dict[str, str | None], ...]]) -> Body | None:
    """Any one alternative of each GPU type: the terms of a node affinity are alternatives, so several types are multiplied out."""
    terms: list[dict[str, str | None]] = [{}]
    for alternatives in choices:
        terms = [before | more for before in terms for more in alternatives]
    if not any(terms):
        return None
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [_requirement(key, term[key]) for key in sorted(term)]} for term in terms]
            }
        }
    }


def _requirement(key: str, value: str | None) -> Body:
    if value is None:
        return {"key": key, "operator": "DoesNotExist"}
    return {"key": key, "operator": "In", "values": [value]}


def _check_forbidden(workload: Workload, platform: PlatformSpec) -> None:
    template = workload.spec.template
    if template is None:
        return
    for field in platform.pods.forbidden_template_fields or ():
        if template.model_dump(by_alias=True, exclude_none=True, mode="json").get(str(field)):
            raise Refusal(
                Reason.FORBIDDEN_BY_PLATFORM, f'spec.template.{field} is forbidden by Platform "default"; remove it or ask an administrator'
            )


def _unique(entries: list[Body]) -> list[Body]:
    return [entry for index, entry in enumerate(entries) if entry not in entries[:index]]


def _snake(name: str) -> str:
    return name.replace("Probe", "_probe")
