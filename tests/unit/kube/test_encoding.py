"""JSON for a server that reads it as YAML."""

from __future__ import annotations

import orjson
import yaml
from hypothesis import given
from hypothesis import strategies as st

from roadstead.kube.encoding import NOT_YAML, encoded

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.dictionaries(TEXT, TEXT, max_size=3))
def test_the_value_survives_and_nothing_forbidden_is_sent(value: dict[str, str]) -> None:
    data = encoded(value)
    assert orjson.loads(data) == value
    assert not NOT_YAML.search(data.decode())


def test_a_yaml_parser_reads_the_same() -> None:
    value = {"a": "\x7f\x85\x9f\u2028\u2029\ufeff ü 🚢"}
    assert yaml.safe_load(encoded(value)) == value
