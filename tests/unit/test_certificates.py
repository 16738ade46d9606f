"""When certificates are made and renewed, and that at no moment of it two processes refuse each other, whatever each has read so far."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from cryptography import x509

from roadstead.certificates import DUE, LATE, LIFE, STAGED, Renewal, dns_names, renewal

NOW = datetime.now(UTC).replace(microsecond=0)
NAMES = dns_names("roadstead-system", "roadstead-gateway", "roadstead-gateway-peers")
HOUR = timedelta(hours=1)


def due(data: dict[str, bytes] | None, now: datetime, names: tuple[str, ...] = NAMES) -> Renewal:
    found = renewal(data, names, now)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def first() -> dict[str, bytes]:
    return due(None, NOW).data


@pytest.fixture(scope="module")
def staged(first: dict[str, bytes]) -> dict[str, bytes]:
    return due(first, NOW + LIFE - DUE + HOUR).data


@pytest.fixture(scope="module")
def promoted(staged: dict[str, bytes]) -> dict[str, bytes]:
    return due(staged, NOW + LIFE - DUE + STAGED + 2 * HOUR).data


def test_names_are_those_by_which_pods_and_keda_call() -> None:
    assert set(NAMES) == {
        "roadstead-gateway",
        "roadstead-gateway.roadstead-system",
        "roadstead-gateway.roadstead-system.svc",
        "roadstead-gateway.roadstead-system.svc.cluster.local",
        "roadstead-gateway-peers",
        "roadstead-gateway-peers.roadstead-system",
        "roadstead-gateway-peers.roadstead-system.svc",
        "roadstead-gateway-peers.roadstead-system.svc.cluster.local",
        "*.roadstead-gateway-peers.roadstead-system",
        "*.roadstead-gateway-peers.roadstead-system.svc",
        "*.roadstead-gateway-peers.roadstead-system.svc.cluster.local",
    }


def test_no_key_of_an_authority_is_kept(first: dict[str, bytes], staged: dict[str, bytes]) -> None:
    assert set(first) == {"tls.crt", "tls.key", "client.crt", "client.key", "ca.crt"}
    assert set(staged) - set(first) == {"next-tls.crt", "next-tls.key", "next-client.crt", "next-client.key"}


@pytest.mark.parametrize("age", [timedelta(), LIFE / 2, LIFE - DUE - HOUR])
def test_nothing_is_due_with_more_than_a_third_left(first: dict[str, bytes], age: timedelta) -> None:
    assert renewal(first, NAMES, NOW + age) is None


def test_the_next_is_trusted_long_before_it_is_used(first: dict[str, bytes], staged: dict[str, bytes], promoted: dict[str, bytes]) -> None:
    begin = NOW + LIFE - DUE + HOUR
    own = ("tls.crt", "tls.key", "client.crt", "client.key")

    assert {name: staged[name] for name in own} == {name: first[name] for name in own}
    assert len(x509.load_pem_x509_certificates(staged["ca.crt"])) == 2
    assert renewal(staged, NAMES, begin + STAGED - HOUR) is None
    assert {name: promoted[name] for name in own} == {name: staged[f"next-{name}"] for name in own}
    assert promoted["ca.crt"] == staged["ca.crt"]
    assert set(promoted) == set(first)
    assert renewal(promoted, NAMES, begin + STAGED + timedelta(days=7)) is None


def test_who_comes_late_doesnt_wait(first: dict[str, bytes]) -> None:
    late = NOW + LIFE - LATE + HOUR
    followed = due(first, late)

    assert due(followed.data, late).data["tls.crt"] == followed.data["next-tls.crt"]


def test_what_has_ended_is_trusted_no_longer(promoted: dict[str, bytes]) -> None:
    later = due(promoted, NOW + LIFE - DUE + LIFE - DUE + 2 * HOUR)

    assert len(x509.load_pem_x509_certificates(later.data["ca.crt"])) == 2


def test_a_broken_pair_is_replaced_by_the_staged_one(staged: dict[str, bytes]) -> None:
    assert due({**staged, "tls.key": staged["client.key"]}, NOW).data["tls.crt"] == staged["next-tls.crt"]


@pytest.mark.parametrize(
    "broken",
    [
        {"tls.crt": b"no certificate"},
        {"tls.key": b""},
        {"client.crt": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
        {"ca.crt": b""},
    ],
    ids=str,
)
def test_what_is_broken_is_made_anew(first: dict[str, bytes], broken: dict[str, bytes]) -> None:
    made = due({**first, **broken}, NOW).data

    assert made["tls.crt"] != first["tls.crt"]
    assert renewal(made, NAMES, NOW) is None


def test_key_and_certificate_must_belong_together(first: dict[str, bytes]) -> None:
    assert due({**first, "tls.key": first["client.key"]}, NOW).data["tls.crt"] != first["tls.crt"]


def test_another_name_needs_another_certificate_but_the_old_one_stays_trusted(first: dict[str, bytes]) -> None:
    made = due(first, NOW, (*NAMES, "gateway.example")).data

    assert first["ca.crt"] in made["ca.crt"]
    assert made["ca.crt"] != first["ca.crt"]


def test_an_ended_pair_is_replaced_at_once(first: dict[str, bytes]) -> None:
    made = due(first, NOW + LIFE + HOUR).data

    assert made["tls.crt"] != first["tls.crt"]
    assert first["ca.crt"] not in made["ca.crt"]


@pytest.fixture(scope="module")
def steps(first: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A rollover begun now, as folders that pods would mount: the first, the staged and the promoted state."""
    old = due(None, NOW - LIFE + DUE - HOUR).data
    staged = due(old, NOW).data
    promoted = due(staged, NOW + STAGED + HOUR).data
    folders = []
    for number, state in enumerate((old, staged, promoted)):
        folder = tmp_path_factory.mktemp(f"step{number}")
        for name, content in state.items():
            (folder / name).write_bytes(content)
        folders.append(folder)
    return folders


def shaken(server: Path, client: Path, pair: str, name: str) -> bool:
    """Whether a server and a client that hold these files come to terms, by mutual TLS."""
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(server / "ca.crt"))
    server_side.load_cert_chain(server / "tls.crt", server / "tls.key")
    server_side.verify_mode = ssl.CERT_REQUIRED
    client_side = ssl.create_default_context(cafile=str(client / "ca.crt"))
    client_side.load_cert_chain(client / f"{pair}.crt", client / f"{pair}.key")
    left, right = socket.socketpair()
    refused: list[Exception] = []

    def serve() -> None:
        try:
            with server_side.wrap_socket(left, server_side=True) as secured:
                secured.sendall(secured.recv(1))
        except OSError as error:
            refused.append(error)
            left.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client_side.wrap_socket(right, server_hostname=name) as secured:
            secured.sendall(b"x")
            return secured.recv(1) == b"x" and not refused
    except OSError:
        return False
    finally:
        right.close()
        thread.join()


@pytest.mark.parametrize(("server", "client"), [pair for pair in product(range(3), repeat=2) if set(pair) != {0, 2}])
@pytest.mark.parametrize("pair", ["tls", "client"])
@pytest.mark.parametrize("name", ["roadstead-gateway.roadstead-system.svc", "10-0-0-1.roadstead-gateway-peers.roadstead-system.svc"])
def test_neighbouring_steps_come_to_terms(steps: list[Path], server: int, client: int, pair: str, name: str) -> None:
    """Who has read only the step before is never refused; two steps lie months apart."""
    assert shaken(steps[server], steps[client], pair, name)


def test_a_stranger_is_refused(steps: list[Path], tmp_path: Path) -> None:
    for name, content in due(None, NOW).data.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "ca.crt").write_bytes((steps[0] / "ca.crt").read_bytes())

    assert not shaken(steps[0], tmp_path, "tls", NAMES[0])
    assert not shaken(tmp_path, steps[0], "tls", NAMES[0])


def test_kedas_pair_is_no_servers(steps: list[Path], tmp_path: Path) -> None:
    for source, target in (("client.crt", "tls.crt"), ("client.key", "tls.key"), ("ca.crt", "ca.crt")):
        (tmp_path / target).write_bytes((steps[0] / source).read_bytes())

    assert not shaken(tmp_path, steps[0], "tls", "roadstead-scaler-client")
