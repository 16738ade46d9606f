"""The address plan: slots never overlap, and never leave the block that is reserved for tests."""

from __future__ import annotations

import itertools
from ipaddress import ip_network

from hack.cluster.slot import COUNT, Slot


def test_ranges_of_all_slots_are_disjoint_and_inside_the_test_block() -> None:
    networks = []
    for slot in map(Slot, range(COUNT)):
        link = ip_network(f"{slot.host_end}/30", strict=False)
        networks += [ip_network(slot.pods), ip_network(slot.node_network), ip_network(slot.services), link]
    assert all(network.subnet_of(ip_network("198.18.0.0/15")) for network in networks)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(networks, 2))


def test_names_fit_what_the_kernel_allows() -> None:
    assert all(len(slot.host_link) <= 15 for slot in map(Slot, range(COUNT)))
