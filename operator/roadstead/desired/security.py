"""Pod Security "restricted", always; what a user declares can only tighten it.

Images made for root start all the same: they get Platform's uid, group 0 (the arbitrary-uid convention) and a writable HOME.
"""

from __future__ import annotations

from roadstead.api.container import Container
from roadstead.api.platform import PodSettings
from roadstead.desired.child import Body

HOME_VOLUME = "roadstead-home"
HOME_PATH = "/home/roadstead"


def pod_security(settings: PodSettings) -> Body:
    """securityContext of the pod."""
    context: Body = {
        "runAsNonRoot": True,
        "runAsUser": settings.run_as_user,
        "runAsGroup": settings.run_as_group,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if settings.fs_group is not None:
        context |= {"fsGroup": settings.fs_group, "fsGroupChangePolicy": "OnRootMismatch"}
    return context


def container_security(container: Container) -> Body:
    """securityContext of one container: the fixed floor and the user's tightening."""
    context: Body = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    declared = container.security_context
    if declared is not None:
        if declared.run_as_user is not None:
            context["runAsUser"] = declared.run_as_user
        if declared.run_as_group is not None:
            context["runAsGroup"] = declared.run_as_group
        if declared.read_only_root_filesystem is not None:
            context["readOnlyRootFilesystem"] = declared.read_only_root_filesystem
    return context
