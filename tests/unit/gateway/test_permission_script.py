"""Envoy's script beside a clock that tests set: what it remembers, and for how long. What Envoy makes of it: test_envoy_verdicts.py."""

from __future__ import annotations

from importlib.resources import files

import pytest
from lupa import lua51

PATH = "/api/v2/endpoints/workloads/0123456789abcdef01234567/x"
SCRIPT = files("roadstead.gateway.envoy").joinpath("permission.lua").read_text()
CLOCK = "now = 1000.9; os.time = function() return math.floor(now) end"
ENVOY = """
seconds, asked = 4, 0

function call(authorization)
  local fields = {[":path"] = PATH, authorization = authorization}
  local headers, info, handle = {}, {}, {}
  function headers:get(name) return fields[name] end
  function headers:add(name, value) fields[name] = value end
  headers.replace = headers.add
  function info:downstreamRemoteAddress() return "10.0.0.1:5000" end
  function handle:headers() return headers end
  function handle:streamInfo() return info end
  function handle:httpCall()
    asked = asked + 1
    now = now + thinks
    return {[":status"] = "200", ["x-roadstead-cluster"] = "w", ["x-roadstead-verdict-seconds"] = tostring(seconds)}, ""
  end
  envoy_on_request(handle)
  return fields["x-roadstead-known"] or fields["x-roadstead-cluster"]
end
"""


class Script:
    """One worker thread's, and the Envoy around it."""

    def __init__(self) -> None:
        self._lua = lua51.LuaRuntime()
        self._lua.globals()["PATH"] = PATH
        self._lua.globals()["thinks"] = 0
        for text in (CLOCK, SCRIPT, ENVOY):
            self._lua.execute(text)

    def put(self, name: str, value: float) -> None:
        self._lua.globals()[name] = value

    def asks(self, authorization: str = "Bearer a") -> bool:
        """Let a request through; whether the authoriser was asked for it."""
        before = self._lua.globals()["asked"]
        assert self._lua.globals()["call"](authorization) == "w"
        return bool(self._lua.globals()["asked"] > before)


@pytest.fixture
def script() -> Script:
    return Script()


def test_it_remembers_for_so_long(script: Script) -> None:
    found = []
    for now in (1000.9, 1001, 1003.9, 1004, 1005):
        script.put("now", now)
        found.append(script.asks())
    assert found == [True, False, False, True, False]


def test_the_time_that_the_answer_took_counts(script: Script) -> None:
    script.put("thinks", 3)
    assert script.asks()
    script.put("thinks", 0)
    script.put("now", 1004)
    assert script.asks()


def test_a_clock_that_is_set_back_prolongs_nothing_and_what_is_said_then_is_remembered(script: Script) -> None:
    script.put("now", 5000)
    script.asks()
    script.put("now", 1400)
    assert [script.asks(), script.asks()] == [True, False]
    script.put("now", 1404)
    assert script.asks()


def test_others_are_asked_about(script: Script) -> None:
    assert [script.asks(), script.asks("Bearer b"), script.asks("Bearer a "), script.asks()] == [True, True, True, False]


@pytest.mark.parametrize("seconds", [0, -1, 0.9, 3600])
def test_a_lifetime_that_is_none_is_not_kept(script: Script, seconds: float) -> None:
    script.put("seconds", seconds)
    assert [script.asks(), script.asks()] == [True, True]


def test_its_memory_is_bounded_and_what_is_over_makes_room_first(script: Script) -> None:
    for number in range(9_000):
        script.asks(f"Bearer {number}")
    script.put("now", 1005)
    for number in range(9_000, 12_000):
        assert script.asks(f"Bearer {number}")
    assert not script.asks("Bearer 9000")  # the first nine thousand were over, and made room
    for number in range(12_000, 20_000):
        script.asks(f"Bearer {number}")
    assert script.asks("Bearer 9000")  # all were in use: it began anew
