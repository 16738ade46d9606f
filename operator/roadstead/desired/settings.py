"""Whether a Platform can be put in force: what its schema can't say."""

from __future__ import annotations

import re
from collections.abc import Iterator

from roadstead.api.platform import PlatformSpec


def problems(spec: PlatformSpec) -> list[str]:
    """Sentences on what is wrong and what to write instead; empty if all is well."""
    return [*_patterns(spec), *_bundles(spec)]


def _patterns(spec: PlatformSpec) -> Iterator[str]:
    images = spec.images
    if images is None:
        return
    for field, patterns in (("allow", images.allow), ("deny", images.deny)):
        for pattern in patterns or ():
            try:
                re.compile(pattern)
            except re.error as error:
                yield f'spec.images.{field}: "{pattern}" is not a regular expression ({error}); correct it'


def _bundles(spec: PlatformSpec) -> Iterator[str]:
    known = {entry.gpu_type for entry in spec.gpu_types or ()}
    for bundle in spec.resource_bundles or ():
        if bundle.gpu_type is not None and bundle.gpu_type not in known:
            offer = ", ".join(sorted(known)) or "none"
            yield (
                f'spec.resourceBundles: bundle "{bundle.id}" names GPU type "{bundle.gpu_type}", '
                f"which spec.gpuTypes lacks (it has: {offer})"
            )
