"""The command ``roadstead`` as a process of its own, as a person or a script runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.clusters import ROOT


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        """The words of each line of a table."""
        return [line.split() for line in self.out.splitlines()]


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A user: a kubeconfig, and the namespace to act in."""

    kubeconfig: Path
    namespace: str

    def environment(self) -> dict[str, str]:
        """Nothing of ours from outside; no colours are asked for or forbidden."""
        dropped = ("NO_COLOR", "FORCE_COLOR", "COLUMNS")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ROADSTEAD_") and name not in dropped}
        return {**kept, "PYTHONPATH": str(ROOT / "operator"), "KUBECONFIG": str(self.kubeconfig)}

    def __call__(self, verb: str, *args: str, input: str | None = None, code: int | None = 0) -> Ran:
        """Run it in the namespace; fails unless it ends with ``code`` (None: with any)."""
        return self.run(verb, "-n", self.namespace, *args, input=input, code=code)

    def run(self, *args: str, input: str | None = None, code: int | None = 0) -> Ran:
        """The same as it is, without a namespace."""
        command = [sys.executable, "-m", "roadstead", *args]
        done = subprocess.run(command, env=self.environment(), input=input, capture_output=True, text=True, check=False, timeout=150)
        assert "Traceback" not in done.stderr, done.stderr
        assert code is None or done.returncode == code, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Ran(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def running(self, verb: str, *args: str) -> Iterator[subprocess.Popen[str]]:
        """One that goes on until the end of the block."""
        command = [sys.executable, "-m", "roadstead", verb, "-n", self.namespace, *args]
        process = subprocess.Popen(command, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()
