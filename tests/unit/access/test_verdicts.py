"""What is kept of the API server's verdicts, for how long, and how often one may ask."""

from __future__ import annotations

import asyncio

import pytest

from roadstead.access.limits import Buckets
from roadstead.access.verdicts import Keeping, Verdicts
from roadstead.kube.errors import Forbidden, Unreachable


def test_a_bucket_empties_and_fills() -> None:
    now = 0.0
    buckets = Buckets(2, 3, lambda: now)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.wait("b") == 0
    assert buckets.take("b") == 0
    now = 0.5
    assert buckets.take("a") == 0
    assert buckets.take("a") > 0
    now = 100
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5], "no more than the burst is saved up"
    assert Buckets(0, 1).take("a") == Buckets(0, 1).take("a") == 0
    buckets.give_back("a")
    assert [buckets.take("a") for _ in range(2)] == [0, 0.5]
    buckets.give_back("c")
    assert [buckets.take("c") for _ in range(4)] == [0, 0, 0, 0.5], "nobody gets more than the burst"


class TestVerdicts:
    """What is kept, for how long, and what an API server that is away changes."""

    @staticmethod
    def verdicts(kept: float = 60, refused: float = 60, stale: float = 60) -> Verdicts[str, bool]:
        return Verdicts(bool, Keeping(kept, refused, lambda: stale))

    async def test_one_question_is_asked_once(self) -> None:
        asked = 0

        async def ask() -> bool:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0)
            return True

        verdicts = self.verdicts()
        assert await asyncio.gather(*(verdicts.get("a", ask) for _ in range(10))) == [True] * 10
        assert await verdicts.get("a", ask)
        assert asked == 1
        verdicts.forget("a")
        await verdicts.get("a", ask)
        assert asked == 2

    async def test_who_leaves_does_not_take_the_answer_along(self) -> None:
        gate = asyncio.Event()

        async def ask() -> bool:
            await gate.wait()
            return True

        verdicts = self.verdicts()
        first, second = (asyncio.create_task(verdicts.get("a", ask)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        gate.set()
        assert await second

    @pytest.mark.parametrize("verdict", [True, False])
    async def test_while_nobody_answers_the_last_word_counts(self, verdict: bool) -> None:
        async def says() -> bool:
            return verdict

        async def away() -> bool:
            raise Unreachable("away")

        verdicts = self.verdicts(kept=0, refused=0)
        await verdicts.get("a", says)
        assert await verdicts.get("a", away) is verdict
        with pytest.raises(Unreachable):
            await verdicts.get("never seen", away)
        strict = self.verdicts(kept=0, refused=0, stale=0)
        await strict.get("a", says)
        with pytest.raises(Unreachable):
            await strict.get("a", away)

    @pytest.mark.parametrize("verdict", [True, False])
    async def test_what_is_kept_is_said_at_once_while_it_is_young(self, verdict: bool) -> None:
        async def says() -> bool:
            return verdict

        for seconds, fresh in ((60, verdict), (0, None)):
            verdicts = self.verdicts(kept=seconds, refused=seconds)
            assert verdicts.fresh("a") is None
            await verdicts.get("a", says)
            assert verdicts.fresh("a") is fresh

    async def test_while_nobody_answers_who_has_an_answer_does_not_wait(self) -> None:
        asked: list[str] = []

        async def says() -> bool:
            return True

        async def away(key: str) -> bool:
            asked.append(key)
            raise Unreachable("away")

        verdicts = self.verdicts(kept=0)
        for key in "ab":
            await verdicts.get(key, says)
        for key in "abab":
            assert await verdicts.get(key, lambda key=key: away(key))  # type: ignore[misc]
        assert asked == ["a"]

    async def test_silence_is_an_answer_after_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("roadstead.access.verdicts.ANSWER_SECONDS", 0.01)

        async def hangs() -> bool:
            await asyncio.sleep(60)
            return True

        with pytest.raises(Unreachable):
            await self.verdicts().get("a", hangs)

    async def test_a_review_that_is_refused_is_no_verdict(self) -> None:
        """A right of our own that lacks; or an API server that has just started, and knows no RBAC yet."""

        async def yes() -> bool:
            return True

        async def refused() -> bool:
            raise Forbidden(403, "Forbidden", "no")

        verdicts = self.verdicts(kept=0)
        with pytest.raises(Unreachable, match="refused"):
            await verdicts.get("a", refused)
        assert await verdicts.get("b", yes)
        assert await verdicts.get("b", refused), "what was said before stays in force"
