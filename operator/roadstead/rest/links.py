"""What can be done with an answer, as OpenAPI links: generated clients and tests walk from what was made to everything about it."""

from __future__ import annotations

from typing import Any, Final

FOLLOWS: Final = {
    "createArtifact": ("createWorkload", {"artifactId": "$response.body#/id", "runtime": {"replicaCount": 1}}),
    "createWorkload": ("createDeployment", {"name": "whoami", "workloadId": "$response.body#/id"}),
}
"""What is made of what has just been made, and the body for it."""


def add_links(paths: dict[str, dict[str, Any]]) -> None:
    """From each POST that makes an object to all that the same path has for one object."""
    for path, operations in paths.items():
        about_one = [
            operation["operationId"] for other, all_of in paths.items() if other.startswith(path + "{id}/") for operation in all_of.values()
        ]
        if not about_one:
            continue
        links: dict[str, Any] = {each: {"operationId": each, "parameters": {"id": "$response.body#/id"}} for each in about_one}
        if (made := operations["post"]["operationId"]) in FOLLOWS:
            following, body = FOLLOWS[made]
            links[following] = {"operationId": following, "requestBody": body}
        operations["post"]["responses"]["201"]["links"] = links
