"""JSON that is YAML as well: the server reads a server-side apply as YAML, whatever it was sent as."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

NOT_YAML: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What JSON strings may hold as it is and YAML may not, or takes for a line break: DEL, C1 controls, separators, marks, non-characters.

Unescaped, an environment variable with one of them could never be applied ("control characters are not allowed"), or would arrive
with a space in its place.
"""


def encoded(body: Any) -> bytes:
    """The JSON text of a body; strings keep their value under a YAML parser too."""
    data = orjson.dumps(body)
    if data.isascii() and b"\x7f" not in data:
        return data
    return NOT_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", data.decode()).encode()
