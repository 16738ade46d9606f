"""Which tokens nobody can have made up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from roadstead.access.signatures import Signatures
from tests.support.signer import Signer, b64
from tests.unit.gateway.reviewer import Reviewer, reviewing


class Cluster:
    """Some keys, an API server that tells them, and who asks it."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.reviewer = Reviewer()
        self._stack = stack

    async def serve(self, kept: float = 60, refused: float = 60) -> Signatures:
        return Signatures(await self._stack.enter_async_context(reviewing(self.reviewer)), kept, refused)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        yield Cluster(stack)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512"])
async def test_the_clusters_own_are_known_and_no_others(cluster: Cluster, algorithm: str) -> None:
    ours, stranger = Signer(algorithm), Signer(algorithm)
    cluster.reviewer.keys = [Signer(kid="k0").jwk(), ours.jwk()]
    signatures = await cluster.serve()
    head, payload, signature = ours.token().split(".")
    assert await signatures.ours(f"{head}.{payload}.{signature}")
    wrong = {
        "another's with our key's name": stranger.token(),
        "of a key of another kind": ours.token(kid="k0"),
        "of a key that is none": ours.token(kid="k2"),
        "another's claims": f"{head}.{ours.token('u').split('.')[1]}.{signature}",
        "without a signature": f"{head}.{payload}.",
        "with half of one": f"{head}.{payload}.{b64(ours.sign(f'{head}.{payload}'.encode())[:-1])}",
        "said to need none": ours.token(alg="none"),
        "said to be of a secret": ours.token(alg="HS256"),
        "of another hash": ours.token(alg=f"{algorithm[:2]}{'384' if algorithm[2:] == '256' else '256'}"),
        "written otherwise": f"{head}.{payload}.{signature[:9]}!{signature[9:]}",
        "with its padding": f"{head}.{payload}.{signature}{'=' * (-len(signature) % 4) or '===='}",
        "more parts": f"{head}.{payload}.{signature}.{signature}",
    }
    assert [name for name, token in wrong.items() if await signatures.ours(token)] == []


@pytest.mark.parametrize(
    "token",
    ["", "guess", "a.b.c", "..", f"{b64(b'[]')}.e30.e30", f"{b64(b'{')}.e30.e30", f'{b64(b"""{"kid":[],"alg":{}}""")}.e30.e30', "é.è.à"],
)
async def test_what_is_no_token_of_its_kind_is_no_trouble(cluster: Cluster, token: str) -> None:
    cluster.reviewer.keys = [Signer().jwk()]
    assert not await (await cluster.serve()).ours(token)


async def test_keys_are_asked_for_once_a_while(cluster: Cluster) -> None:
    old, new = Signer(kid="old"), Signer(kid="new")
    cluster.reviewer.keys = [old.jwk()]
    signatures = await cluster.serve()
    assert [await signatures.ours(old.token()) for _ in range(5)] == [True] * 5
    cluster.reviewer.keys = [new.jwk()]
    assert not await signatures.ours(new.token())
    assert cluster.reviewer.asked["jwks"] == 1
    always = await cluster.serve(kept=0)
    assert [await always.ours(signer.token()) for signer in (new, old)] == [True, False]


async def test_where_keys_cannot_be_read_no_token_is_known(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """Be it for want of a right, or since the API server is away; keys that were read before are remembered then."""
    signer = Signer()
    signatures = await cluster.serve()
    cluster.reviewer.forbidden = True
    assert [await signatures.ours(signer.token()) for _ in range(5)] == [False] * 5
    assert cluster.reviewer.asked["jwks"] == 1
    assert "may this process get /openid/v1/jwks" in caplog.text
    cluster.reviewer.forbidden, cluster.reviewer.keys = (
        False,
        [signer.jwk(), {"kty": "EC", "kid": "k"}, {"kty": "oct", "kid": "s", "k": "AA"}],
    )
    signatures = await cluster.serve(kept=0)
    assert await signatures.ours(signer.token())
    cluster.reviewer.away = True
    assert await signatures.ours(signer.token())
    assert not await (await cluster.serve()).ours(signer.token())
