"""The client that most AI teams use, as it is: the official ``openai`` package talks to web_pod.py's model behind an endpoint."""

from __future__ import annotations

import httpx
import openai
import pytest

from tests.support.web_pod import WORDS


def converse(url: str, token: str) -> None:
    """An answer as a whole, one word by word, and none for a stranger. ``url`` is the endpoint's, without a slash at its end; one pod."""
    question: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Does it hold?"}]
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key=token, timeout=30, max_retries=0) as client,
        httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30) as other,
    ):
        before = other.get(f"{url}/seen").json()
        whole = client.chat.completions.create(model="toy", messages=question)
        assert whole.choices[0].message.content == "".join(WORDS)
        said = []
        with client.chat.completions.create(model="toy", messages=question, stream=True) as stream:
            for chunk in stream:
                said.append(chunk.choices[0].delta.content)
                # Each word arrives before the model says the next one: nothing is gathered on the way.
                assert other.post(f"{url}/v1/heard").status_code == 200
        assert tuple(said) == WORDS
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="nobody").chat.completions.create(model="toy", messages=question)
        seen = other.get(f"{url}/seen").json()[len(before) :]
    assert [asked["path"] for asked in seen].count("/v1/chat/completions") == 2
    assert [asked for asked in seen if "authorization" in asked["headers"]] == []
