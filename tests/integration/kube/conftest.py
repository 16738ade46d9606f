"""A client of the edge itself in place of the REST API's, and a namespace of its own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest

from hack.cluster.control import ControlCluster
from roadstead.kube.client import ApiClient
from roadstead.kube.config import load
from roadstead.kube.resource import NAMESPACES

numbers = itertools.count()


@pytest.fixture
async def client(cluster: ControlCluster) -> AsyncIterator[ApiClient]:
    async with ApiClient(load(cluster.kubeconfig), user_agent="roadstead-test") as entered:
        yield entered


@pytest.fixture
async def namespace(client: ApiClient) -> str:
    name = f"kube-{next(numbers)}"
    await client.create(NAMESPACES, None, {"metadata": {"name": name}})
    return name
