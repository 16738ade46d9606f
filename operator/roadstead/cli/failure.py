"""How commands fail: one sentence on standard error that says what to do, and an exit code.

0: done. 1: what was asked for failed, or didn't come true. 2: the command line is wrong (Typer's own code). 124: time ran out (as of
``timeout``). 130: interrupted.
"""

from __future__ import annotations

from typing import Final, NoReturn

import typer

from roadstead.kube.errors import (
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    ServerError,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)

FIELD_MANAGER: Final = "roadstead-cli"
FAILED: Final = 1
TIMED_OUT: Final = 124


class Failure(Exception):
    """What was asked for can't be had; the message is the sentence for the user."""

    def __init__(self, sentence: str, code: int = FAILED) -> None:
        super().__init__(sentence)
        self.code = code


def fail(sentence: str, code: int = FAILED) -> NoReturn:
    """Say on standard error what went wrong, and end with exit code 1 or another one."""
    typer.echo(f"roadstead: {sentence}", err=True)
    raise typer.Exit(code)


def sentence(error: ApiError, server: str) -> str:
    """What went wrong in the API server's words, and what to do about it."""
    said = error.message.strip().rstrip(".")
    match error:
        case Unreachable():
            return f"The cluster at {server} doesn't answer: {said}. Is it up, and is this the right context (kubectl config get-contexts)?"
        case Unauthorized():
            return f"The cluster at {server} doesn't accept your credentials (401). Log in again, or choose another --context."
        case Forbidden() if 'User "system:anonymous"' in said:
            return f"The cluster at {server} doesn't know who you are ({said}). Your kubeconfig's user has no credentials; log in again."
        case Forbidden() if "is forbidden: User " in said or said.startswith("User "):
            return f"{said}. Ask an administrator of the namespace for the role view, edit or admin, which Roadstead's rights are part of."
        case Forbidden():
            return f"Refused: {said}."
        case NotFound() if missing_object(error):
            return f"{said}. Is it in another namespace? -n chooses one, `roadstead get KIND -A` looks into all."
        case NotFound():
            return (
                f"The cluster at {server} doesn't know this kind ({said}). Roadstead isn't installed there: "
                "`helm install roadstead charts/roadstead` installs it, `roadstead crds apply` its kinds alone."
            )
        case Conflict() if f'conflict with "{FIELD_MANAGER}"' in said:
            return f"{said}. A command such as start, stop or register set it: say so in the manifest, or take it with --force-conflicts."
        case Conflict() if "conflict with" in said:
            return f"{said}. Leave those fields out of the manifest, change them where they are kept, or take them with --force-conflicts."
        case Conflict():
            return f"{said}. It changed meanwhile; run the command again."
        case Invalid():
            causes = "".join(f"\n  {cause}" for cause in error.causes)
            return f"The object is refused: correct these fields and try again:{causes}" if causes else f"The object is refused: {said}."
        case TooManyRequests():
            return f"The cluster is busy: {said}. Try again{f' in {error.retry_after:.0f} s' if error.retry_after else ''}."
        case ServerError():
            return f"The cluster failed ({error.status}): {said}. Try again; if it stays so, its administrator finds more in its logs."
        case _:
            return f"{said}." if said else f"The cluster answered {error.status} {error.reason}."


def missing_object(error: NotFound) -> bool:
    """Whether it is the object that isn't there, and not the whole kind."""
    return '" not found' in error.message
