"""Start, watch and stop processes, and recognise one again later without ever going by its name.

A process is identified by its pid **and** its start time (field 22 of ``/proc/<pid>/stat``): a reused pid has another start time.
Children of a cluster get ``PR_SET_PDEATHSIG`` through util-linux' ``setpriv``, so that they die with their parent even on kill -9.
The kernel ties that signal to the *thread* that started the child: start a cluster in a thread that lives as long as it does.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hack.cluster.console import ClusterError

POLL_SECONDS = 0.05
ANSWER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Command:
    """One component of a cluster: the name of its log file and its arguments."""

    name: str
    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Running:
    """A started component."""

    command: Command
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def tail(self, lines: int = 12) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, grace_seconds: float = 8) -> None:
        """SIGTERM, then SIGKILL after the grace; returns when the process is gone."""
        if self.alive:
            self.process.terminate()
        try:
            self.process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        self.process.kill()
        self.process.wait()


def start(command: Command, logs: Path) -> Running:
    """Start a component in a session of its own (a Ctrl-C at the terminal doesn't reach it); it dies with its parent."""
    log = logs / f"{command.name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command.arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **dict(command.environment)},
            start_new_session=True,
        )
    return Running(command, process, log)


def wait_until(condition: Callable[[], bool], what: str, timeout_seconds: float, watched: Sequence[Running] = ()) -> None:
    """Poll the condition; raises ClusterError at the timeout, or at once when a watched component has ended, with its log's end."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        for running in watched:
            if not running.alive:
                raise ClusterError(f"{running.command.name} ended while waiting for {what}:\n{running.tail()}")
        if time.monotonic() > deadline:
            ends = "\n".join(f"--- {running.log}\n{running.tail(5)}" for running in watched)
            raise ClusterError(f"Waited {timeout_seconds:.0f} s in vain for {what}\n{ends}")
        time.sleep(POLL_SECONDS)


def answers(url: str) -> bool:
    """Whether a GET is answered by 200 within ANSWER_SECONDS."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - ours
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False


@dataclass(frozen=True, slots=True)
class Identity:
    """A process of this machine, told apart from a later one with the same pid."""

    pid: int
    start_time: int

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The identity of that pid now, or None when there is no such process or it is a zombie."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] == "Z" else cls(pid, int(fields[19]))

    @classmethod
    def load(cls, path: Path) -> Identity | None:
        """Read what ``save`` wrote; None when there is nothing readable."""
        try:
            pid, start_time = path.read_text().split()
            return cls(int(pid), int(start_time))
        except (OSError, ValueError):
            return None

    def save(self, path: Path) -> None:
        scratch = path.with_name(path.name + ".tmp")
        scratch.write_text(f"{self.pid} {self.start_time}\n")
        scratch.rename(path)

    @property
    def alive(self) -> bool:
        return Identity.of(self.pid) == self

    def end(self, grace_seconds: float) -> None:
        """SIGTERM and, after the grace, SIGKILL to this very process; returns when it is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if not self.alive:  # checked after the handle was taken: from here on it can't be another process
                return
            for number, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 20.0)):
                try:
                    signal.pidfd_send_signal(handle, number)
                except ProcessLookupError:
                    return
                deadline = time.monotonic() + patience
                while time.monotonic() < deadline:
                    if not self.alive:
                        with contextlib.suppress(ChildProcessError):
                            os.waitpid(self.pid, os.WNOHANG)  # if it was our child, don't leave a zombie
                        return
                    time.sleep(POLL_SECONDS)
        finally:
            os.close(handle)
        raise ClusterError(f"Process {self.pid} does not end, even on SIGKILL")
