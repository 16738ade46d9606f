"""The words of a cause: bounded, without what the kubelet changes at every try, and kept while nothing but a number differs.

A status that repeats back-off durations, ports or the time stamps in a log would be written at every retry.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from roadstead.observed.cause import Cause
from roadstead.observed.views import ContainerView, PodView

WORDS_LIMIT = 480
NUMBER = re.compile(r"\d+")
TRY = re.compile(
    r'^Back-off pulling image "[^"]*"(: )?|^(ErrImagePull|RegistryUnavailable|ImageInspectError): |^rpc error: code = \w+ desc = '
)
RUNTIME = re.compile(r"^.*(unable to start container process|error during container init): ", re.DOTALL)
GENERATED = re.compile(r'^pods "[^"]*" is forbidden: ')
IN_POD = re.compile(r" \(pod: .*\)$")


def at(pod: PodView, container: ContainerView) -> str:
    """Where something happened."""
    return f"Pod {pod.name}, container {container.name}"


def short(text: str) -> str:
    """One line of bounded length, that a sentence can go on after."""
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= WORDS_LIMIT else line[: WORDS_LIMIT - 1] + "…"


def pull_words(text: str) -> str:
    """Why a pull failed, the same during a try and during the back-off after it (pkg/kubelet/images/image_manager.go)."""
    while (cut := TRY.sub("", text)) != text:
        text = cut
    return short(text)


def start_words(text: str) -> str:
    """Why a container can't start, without the layers of the runtime that say so."""
    return short(RUNTIME.sub("", text))


def refusal_words(text: str) -> str:
    """Why a pod was refused, without the name that was generated for it: a new one at every try."""
    return short(GENERATED.sub("", text))


def configuration_words(text: str) -> str:
    """What is wrong with a container's configuration; which pod's has been said."""
    return short(IN_POD.sub("", text))


def kept(cause: Cause, previous: Mapping[str, Any], generation: int) -> Cause:
    """The cause in the words last written, log tail included, if nothing but numbers in its details changed since."""
    words = steady(cause.message, previous, "Progressing")
    if previous.get("observedGeneration") != generation or not words.startswith(cause.head):
        return cause
    tail = previous.get("logTail") if words != cause.message else None
    return replace(cause, message=words, log_tail=tuple(tail or cause.log_tail))


def steady(words: str, previous: Mapping[str, Any], kind: str) -> str:
    """The words of that condition as last written, if only numbers differ."""
    before = next((str(entry["message"]) for entry in previous.get("conditions") or () if entry["type"] == kind), "")
    return before if NUMBER.sub("#", before) == NUMBER.sub("#", words) else words
