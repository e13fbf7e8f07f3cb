from __future__ import annotations

import ipaddress

import pytest

from e2e.cluster.slots import SLOTS, Addresses, NoFreeSlotError, check_name, choose


def test_a_name_always_gets_the_same_slot() -> None:
    assert choose("paceline", [], []) == choose("paceline", [], [])


def test_a_slot_of_another_bed_is_passed_over() -> None:
    own = choose("paceline", [], []).slot
    assert choose("paceline", [own], []).slot == (own + 1) % SLOTS


def test_a_slot_that_overlaps_a_route_of_the_host_is_passed_over() -> None:
    own = choose("paceline", [], [])
    assert choose("paceline", [], [own.pod_network]).slot != own.slot


def test_routes_of_ipv6_and_of_other_networks_do_not_matter() -> None:
    assert choose("paceline", [], ["fe80::/64", "192.168.0.0/16"]) == choose("paceline", [], [])


def test_without_a_free_slot_the_message_says_how_to_free_one() -> None:
    with pytest.raises(NoFreeSlotError, match=r"e2e\.cluster down"):
        choose("paceline", range(SLOTS), [])


def test_no_two_slots_share_an_address() -> None:
    networks = [ipaddress.IPv4Network(net) for slot in range(SLOTS) for net in Addresses(slot).networks]
    assert not any(a.overlaps(b) for i, a in enumerate(networks) for b in networks[i + 1 :])


def test_nodes_and_pods_lie_in_the_networks_of_their_bed() -> None:
    addresses = Addresses(3)
    assert ipaddress.IPv4Address(addresses.node(50)) in ipaddress.IPv4Network(addresses.link_network)
    assert ipaddress.IPv4Network(addresses.node_pods(50)).subnet_of(ipaddress.IPv4Network(addresses.pod_network))


def test_a_link_name_fits_into_the_kernels_fifteen_characters() -> None:
    assert len(Addresses(SLOTS - 1).netns) <= 15


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "-a", "a-", "a" * 41, "a b"])
def test_a_name_that_is_no_good_file_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="lower-case letters"):
        check_name(name)
