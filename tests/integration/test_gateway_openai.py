"""The client that most AI teams use, as it is: the official ``openai`` package streams from a service behind an endpoint."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.support.place import Place
from tests.support.pods import WORDS, ChatPod, chat_pod


@pytest.fixture
def model() -> Iterator[ChatPod]:
    with chat_pod() as made:
        yield made


@pytest.fixture
def client(place: Place, model: ChatPod) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=place.url(place.workload(model), "/v1"), api_key=place.token, timeout=30, max_retries=0) as made:
        yield made


def test_the_openai_client_streams(model: ChatPod, client: openai.OpenAI) -> None:
    question: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Does it hold?"}]
    whole = client.chat.completions.create(model="toy", messages=question)
    assert whole.choices[0].message.content == "".join(WORDS)
    said = []
    with client.chat.completions.create(model="toy", messages=question, stream=True) as stream:
        for chunk in stream:
            said.append(chunk.choices[0].delta.content)
            model.heard.release()  # each word arrives before the service says the next one: nothing is gathered on the way
    assert tuple(said) == WORDS
    assert [asked for asked in model.seen if "authorization" in asked["headers"]] == []
    assert len(model.seen) == 2
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="nobody").chat.completions.create(model="toy", messages=question)
