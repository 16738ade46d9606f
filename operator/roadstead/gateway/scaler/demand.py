"""How much is asked of a Workload, from the counts of its own endpoint and of the Deployments' in front of it. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from roadstead.api.scaling import ScalingMetric
from roadstead.gateway.directory import DEPLOYMENT, WORKLOAD, Directory
from roadstead.gateway.ledger.ledger import Ledger
from roadstead.gateway.ledger.present import MEAN_SECONDS
from roadstead.kube.resource import Key
from roadstead.series import LETTERS

AGAIN_LEAST_SECONDS, AGAIN_MOST_SECONDS = 5.0, 30.0
LATE_SECONDS: Final = 2.0
METRICS: Final = (ScalingMetric.REQUESTS_IN_FLIGHT, ScalingMetric.CONCURRENCY, ScalingMetric.REQUESTS_PER_HOUR)
KINDS: Final = {LETTERS[kind]: kind for kind in (WORKLOAD, DEPLOYMENT)}


class NotKnown(Exception):
    """The answer isn't known now. KEDA then leaves the replica count as it is, which "nothing" would not."""


class NoSuchWorkload(Exception):
    """There is no such Workload."""


class Demand:
    """``ready`` says whether the mirrors are filled, every peer has told its whole state and our own Envoy has reported; ``hears_all``
    whether all peers on the list are heard of right now.
    """

    def __init__(self, ledger: Ledger, directory: Directory, *, ready: Callable[[], bool], hears_all: Callable[[], bool]) -> None:
        self.ready = ready
        self._ledger = ledger
        self._directory = directory
        self._hears_all = hears_all

    def known(self, key: Key, id: str) -> None:
        """Raises NoSuchWorkload, or NotKnown while it may just not have been heard of yet."""
        view = self._directory.workload(key)
        if view is None or view.id != id:
            raise NoSuchWorkload(f'Workload "{key[0]}/{key[1]}" does not exist') if self.ready() else NotKnown("not all is known yet")

    @property
    def again_seconds(self) -> float:
        """How often KEDA is told again that a Workload is active. It counts the cooldown from when it last heard so; its own looks may be
        minutes apart, and meet a pause.
        """
        polling = self._directory.platform.scaling.polling_interval_seconds
        return min(max(polling / 4, AGAIN_LEAST_SECONDS), AGAIN_MOST_SECONDS)

    def active(self, key: Key) -> bool:
        """Whether the Workload must run: now, or a moment ago, so that KEDA hears of it once more afterwards. Only a yes is sure while not
        ``ready``.
        """
        ledger, name = self._ledger, "/".join(key)
        if ledger.held(name) or ledger.waking(name) or self._directory.awaited(key):
            return True
        recent = ledger.now - self.again_seconds - LATE_SECONDS
        if (ledger.last_demand(name) or 0.0) > recent:
            return True
        endpoints = self._endpoints(key)
        return ledger.in_flight(endpoints) > 0 or any((ledger.last_request(each) or 0.0) > recent for each in endpoints)

    def sleeps(self, key: Key) -> bool:
        """Whether the Workload may go to zero: of others KEDA counts no cooldown, and each word costs it a write."""
        view = self._directory.workload(key)
        return view is not None and view.sleeps

    def fast(self, key: Key) -> bool:
        """Whether the gateway itself asks for the Workload's first pod (fastpath.py) when a request wakes it."""
        view = self._directory.workload(key)
        asleep = view is not None and view.sleeps and not view.replicas
        return asleep and self._directory.platform.gateway.fast_path and not self._directory.awaited(key)

    def settled(self) -> bool:
        """Whether callers have been let in for long enough that what is in flight tells what is asked for."""
        return self.ready() and self._ledger.attended_since <= self._ledger.now - MEAN_SECONDS

    def sure_of_no(self, key: Key) -> bool:
        """Whether a Workload that isn't ``active`` may be said to be idle. One without pods has nothing to lose by that."""
        view = self._directory.workload(key)
        return self.settled() or (self.ready() and (view is None or not view.replicas))

    def value(self, key: Key, metric: str, target: float) -> float:
        """One of METRICS in all, not by replica. Raises NotKnown.

        While it is only a lower bound it is answered if more replicas follow from it, never if fewer could.
        """
        if not self.ready():
            raise NotKnown("counts are being gathered")
        ledger, name, endpoints = self._ledger, "/".join(key), self._endpoints(key)
        now = ledger.in_flight(endpoints) + ledger.held(name)
        match metric:
            case ScalingMetric.REQUESTS_IN_FLIGHT:
                value, sure, why = float(now), self.sure_of_no(key), "callers have only just been let in again"
            case ScalingMetric.CONCURRENCY:
                value, sure, why = max(now, ledger.mean(endpoints, name)), self.sure_of_no(key), "callers have only just been let in again"
            case _:
                count = ledger.last_hour(endpoints)
                value, sure, why = count.value, count.exact and self._hears_all(), "not every request of the last hour is known of yet"
        view = self._directory.workload(key)
        if sure or (view is not None and value > target * view.replicas):
            return value
        raise NotKnown(why)

    def behind(self, endpoint: str) -> Key | None:
        """The Workload that serves an endpoint now, by the name that it is counted under."""
        letter, _, id = endpoint.partition("-")
        target = self._directory.find(KINDS.get(letter, ""), id)
        return None if target is None else target.serving

    def _endpoints(self, key: Key) -> list[str]:
        return [target.figures for target in self._directory.in_front(key)]
