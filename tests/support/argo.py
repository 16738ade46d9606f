"""Argo CD's judgement of an object by a health script: its order (gitops-engine pkg/health) around its interpreter (util/lua).

A deletion is answered before any script. Scripts run in Lua 5.1 with the libraries base, package, table and a part of os; numbers are
floats, nulls are absent. An error and a word that isn't one of Argo CD's become Unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from lupa import lua51


class Health(StrEnum):
    """Argo CD's words."""

    UNKNOWN = "Unknown"
    PROGRESSING = "Progressing"
    HEALTHY = "Healthy"
    SUSPENDED = "Suspended"
    DEGRADED = "Degraded"
    MISSING = "Missing"


BARE = """
string, math, io, debug, coroutine, jit = nil
os = { time = os.time, date = os.date }
"""


def argo_health(script: str, body: Mapping[str, Any]) -> tuple[Health, str]:
    """Health and message of an object as the API server sends it."""
    if body["metadata"].get("deletionTimestamp"):
        return Health.PROGRESSING, "Pending deletion"
    lua = lua51.LuaRuntime(register_eval=False, register_builtins=False)
    lua.execute('getmetatable("").__index = nil' + BARE)
    lua.globals().obj = _value(lua, body)
    try:
        answer = lua.execute(script)
    except lua51.LuaError as error:
        return Health.UNKNOWN, str(error)
    if lua51.lua_type(answer) != "table":
        return Health.UNKNOWN, f"expect table output from Lua script, not {answer!r}"
    if answer["status"] not in set(Health):
        return Health.UNKNOWN, "Lua returned an invalid health status"
    return Health(answer["status"]), answer["message"] or ""


def _value(lua: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return lua.table_from({key: _value(lua, inner) for key, inner in value.items() if inner is not None})
    if isinstance(value, list | tuple):
        return lua.table_from([_value(lua, inner) for inner in value])
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
