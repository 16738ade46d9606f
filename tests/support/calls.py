"""The operator's own client in tests that aren't coroutines: hypothesis calls plain functions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from hack.cluster.api import Cluster
from roadstead.kube.client import ApiClient
from roadstead.kube.config import load

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@contextmanager
def calls(cluster: Cluster) -> Iterator[tuple[ApiClient, Run]]:
    """A client of the cluster's administrator, and what runs one call of it to its end."""
    with asyncio.Runner() as runner:
        client = ApiClient(load(cluster.kubeconfig), user_agent="roadstead-tests")
        runner.run(client.__aenter__())
        try:
            yield client, runner.run
        finally:
            runner.run(client.__aexit__(None, None, None))
