"""Names of the series that tell Prometheus of each endpoint: the gateway writes them, the REST API asks for them.

Counters bear ``kind``, ``id`` and ``counter``, the name of one counter in its life, in which it never falls. So whoever scrapes a process
twice (two Prometheuses behind one address, two jobs) counts nothing twice, and a process that starts anew isn't taken for the one before.
No label is called ``endpoint``, ``pod``, ``service`` or ``namespace``: scrape configurations set those themselves.
"""

from __future__ import annotations

import re
from typing import Final

LETTERS: Final = {"workloads": "w", "deployments": "d"}
"""What an endpoint is counted by: ``w-<id>`` or ``d-<id>``."""
PROCESSES: Final = "roadstead_gateway_endpoints"
"""How many endpoints a ``process`` has counted requests of. It is always there: where it is, no series of an endpoint means no request."""
REQUESTS: Final = "roadstead_gateway_endpoint_requests_total"
ERRORS: Final = "roadstead_gateway_endpoint_errors_total"
"""By ``class``: USER or SERVER."""
USER, SERVER = "4xx", "5xx"
SECONDS: Final = "roadstead_gateway_endpoint_request_seconds"
"""A histogram."""
SINCE: Final = "roadstead_gateway_endpoint_since_timestamp_seconds"
"""When a counter began, at 0."""
LAST: Final = "roadstead_gateway_endpoint_last_request_timestamp_seconds"
"""As all processes know it; by ``process``."""

LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
"""What a label may be called."""
_KINDS: Final = {letter: kind for kind, letter in LETTERS.items()}
_KEY: Final = re.compile(rf"([{''.join(_KINDS)}])-([0-9a-f]{{24}})")


def labels(key: str) -> str | None:
    """The labels of an endpoint, ready to stand between braces; None if the name by which it is counted isn't one of an endpoint."""
    found = _KEY.fullmatch(key)
    return f'kind="{_KINDS[found[1]]}",id="{found[2]}"' if found else None
