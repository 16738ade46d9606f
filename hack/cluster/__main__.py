"""``python -m hack.cluster <command>``: what the Makefile's cluster targets call."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import deque

from hack.cluster import binaries, envoy, everyday, prometheus
from hack.cluster.console import ClusterError, say
from hack.cluster.demo import demo
from hack.cluster.everyday import Everyday
from hack.cluster.helm import helm


def _required() -> Everyday:
    found = everyday.find()
    if found is None:
        raise ClusterError("No cluster is up; start one with: make up")
    return found


def build(options: argparse.Namespace) -> None:
    """Build tool sets from Go sources."""
    names = list(binaries.ALL) if options.all else options.sets
    unknown = set(names) - set(binaries.ALL)
    if unknown:
        raise ClusterError(f"No tool set {', '.join(sorted(unknown))}; there are {', '.join(binaries.ALL)}")
    sets = tuple(binaries.ALL[name] for name in names) or (*binaries.FULL_TIER, binaries.KWOK)
    binaries.ensure(sets)
    if options.all:
        helm()
        envoy.binary()
        try:
            prometheus.binary()
        except ClusterError as error:  # its tests are skipped then
            say(str(error))
    if options.quiet:
        return
    for tools in sets:
        print(tools.directory)


def up(options: argparse.Namespace) -> None:
    """Start the everyday cluster."""
    cluster = everyday.up(options.tier)
    say(f'The cluster is up ({cluster.engine}). For kubectl in this shell: eval "$(make -s env)"')


def down(_options: argparse.Namespace) -> None:
    """Stop the everyday cluster and take its traces away."""
    everyday.down()
    say("Nothing is left of the cluster")


def env(_options: argparse.Namespace) -> None:
    """Print what a shell has to evaluate."""
    print(f"export KUBECONFIG={shlex.quote(str(_required().kubeconfig))}")
    print(f'export PATH={shlex.quote(str(everyday.kubectl_folder()))}:"$PATH"')


def logs(options: argparse.Namespace) -> None:
    """Print the end of each component's log."""
    folder = everyday.logs_folder()
    for file in sorted(folder.glob(f"{options.component}.log")):
        print(f"==> {file}")
        with file.open(errors="replace") as lines:
            print("".join(deque(lines, options.lines)))


def status(_options: argparse.Namespace) -> None:
    """Say what is up."""
    found = everyday.find()
    if found is None:
        print("No cluster is up")
        return
    print(f"{found.engine}: KUBECONFIG={found.kubeconfig}")
    print(found.kubectl("get", "nodes", "--output", "wide"), end="")
    print(found.kubectl("get", "pods", "--all-namespaces", check=False), end="")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.cluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for function in (build, up, down, env, logs, status):
        command = commands.add_parser(function.__name__, help=function.__doc__)
        command.set_defaults(function=function)
        match function.__name__:
            case "build":
                command.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(binaries.ALL)}; default: what the tiers need")
                command.add_argument("--all", action="store_true", help="everything that the tests need, Helm too")
                command.add_argument("--quiet", action="store_true", help="don't print the folders")
            case "up":
                command.add_argument("--tier", choices=("full", "control"), default="full")
            case "logs":
                command.add_argument("component", nargs="?", default="*")
                command.add_argument("--lines", type=int, default=20)
    commands.add_parser("demo", help="Show the whole thing").set_defaults(function=lambda _options: demo())
    options = parser.parse_args()
    try:
        options.function(options)
    except ClusterError as error:
        say(f"Error: {error}")
        return 1
    except KeyboardInterrupt:
        say("Interrupted; `make down` takes away what was started")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
