"""Whether the cluster has KEDA: a Workload that scales on HTTP is refused beforehand where nothing could scale it."""

from __future__ import annotations

from typing import Final

from roadstead.access.verdicts import Keeping, Verdicts
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import ApiError
from roadstead.kube.resource import SCALED_OBJECTS
from roadstead.rest.problems import unavailable

KEPT_SECONDS: Final = 60.0
ABSENT_SECONDS: Final = 5.0


class Keda:
    """Asks the API server's discovery, which everybody may."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._verdicts: Verdicts[str, bool] = Verdicts(bool, Keeping(KEPT_SECONDS, ABSENT_SECONDS, lambda: 0.0))

    async def present(self) -> bool:
        """Whether ScaledObjects are known to the cluster. Raises 503 where that can't be asked."""
        try:
            return await self._verdicts.get(SCALED_OBJECTS.kind, lambda: self._client.serves(SCALED_OBJECTS))
        except ApiError as error:
            raise unavailable(retry_after=error.retry_after) from error
