"""The images of the demo and the tests, made without a container engine from what the Dockerfile uses too.

A Python root filesystem from Debian packages, the locked dependencies, our wheel: three layers, each cached by the hash of what goes
into it, so that a change of our sources repacks one small layer. Debian's security updates arrive when the cache is cleared.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from hack.cluster.binaries import cache_root
from hack.cluster.console import ClusterError, say
from hack.cluster.debian import unpack
from hack.cluster.oci import Blob, Image, read_layer, write_image, write_layer

REPOSITORY_ROOT = Path(__file__).parents[2]
RUNTIME_LOCK = REPOSITORY_ROOT / "requirements" / "runtime.txt"
SITE = "app"
PYTHON_PACKAGES = (
    *("python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libc6", "libgcc-s1", "zlib1g", "libexpat1", "libssl3"),
    *("libffi8", "liblzma5", "libbz2-1.0", "libuuid1", "libsqlite3-0", "libcrypt1", "ca-certificates", "tzdata"),
    "libstdc++6",  # of grpcio and protobuf
)
UNNEEDED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/lintian",
    "usr/share/bug",
    "usr/share/binfmts",
    "usr/share/applications",
    "usr/share/pixmaps",
    "usr/lib/python3.11/lib2to3",
    "usr/lib/python3.11/pydoc_data",
    "usr/lib/python3.11/ensurepip",
)
RECIPE = Path(__file__)
"""This file is part of what a layer is made from."""
NON_ROOT = 10001
ENVIRONMENT = [
    "PATH=/usr/local/bin:/usr/bin:/bin",
    "LANG=C.UTF-8",
    "PYTHONUNBUFFERED=1",
    "PYTHONDONTWRITEBYTECODE=1",
    "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
]


def operator_image() -> Image:
    """The operator, as user 10001; entry point, folder and environment are the Dockerfile's."""
    config = {
        "Entrypoint": ["python3.11", "-P", "-m", "roadstead"],
        "Env": [*ENVIRONMENT, f"PYTHONPATH=/{SITE}"],
        "User": f"{NON_ROOT}:0",
        "WorkingDir": "/",
        "Labels": {"org.opencontainers.image.title": "roadstead", "org.opencontainers.image.licenses": "Apache-2.0"},
    }
    return _image("operator", [_python_layer(), _dependencies_layer(), _application_layer()], config)


def whoami_image() -> Image:
    """The example service. It names no user, as most images in the wild: it is made for root and has to run as non-root all the same."""
    script = REPOSITORY_ROOT / "examples" / "whoami" / "whoami.py"

    def fill(tree: Path) -> None:
        (tree / "app").mkdir()
        shutil.copyfile(script, tree / "app" / "whoami.py")

    config = {"Entrypoint": ["/usr/bin/python3", "/app/whoami.py"], "Env": ENVIRONMENT, "ExposedPorts": {"8080/tcp": {}}}
    return _image("whoami", [_python_layer(), _layer("whoami", _digest([script]), fill)], config)


def envoy_image() -> Image:
    """Envoy, where the official image has it; the binary is that of a Python package, and all it needs is the C library."""
    from hack.cluster.envoy import binary  # noqa: PLC0415 - tests that need no Envoy should not need its package

    file = binary()

    def fill(tree: Path) -> None:
        unpack(["libc6"], tree)
        for name in UNNEEDED:
            shutil.rmtree(tree / name, ignore_errors=True)
        _program(file, tree / "usr/local/bin/envoy")

    config: dict[str, object] = {"Entrypoint": ["/usr/local/bin/envoy"], "Env": ["PATH=/usr/local/bin:/usr/bin"], "User": "101:101"}
    return _image("envoy", [_layer("envoy", _digest([], _hash(file)), fill)], config)


def keda_image(programs: Iterable[Path]) -> Image:
    """KEDA's programs, each at the root under its own name. They are built without C, so there is nothing else in it."""
    files = sorted(programs)

    def fill(tree: Path) -> None:
        for file in files:
            _program(file, tree / file.name)

    return _image("keda", [_layer("keda", _digest([], *map(_hash, files)), fill)], {"User": "1000:1000"})


def pause_image() -> Image:
    """What holds a pod's namespaces: busybox, which must be called by its own name, since it looks at it."""

    def fill(tree: Path) -> None:
        unpack(["busybox-static"], tree)
        for path in sorted(tree.iterdir()):
            if path.name != "bin":
                shutil.rmtree(path)

    config = {"Entrypoint": ["/bin/busybox", "sleep", "inf"], "User": "65535:65535"}
    return _image("pause", [_layer("pause", _digest([]), fill)], config)


def _python_layer() -> Blob:
    """A root filesystem with Python 3.11 and nothing else: no shell, no package manager."""

    def fill(tree: Path) -> None:
        unpack(PYTHON_PACKAGES, tree)
        for name in UNNEEDED:
            shutil.rmtree(tree / name, ignore_errors=True)
        (tree / "usr/bin/python3").symlink_to("python3.11")
        authorities = sorted((tree / "usr/share/ca-certificates").rglob("*.crt"))
        bundle = tree / "etc/ssl/certs/ca-certificates.crt"
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_bytes(b"".join(path.read_bytes() for path in authorities))
        (tree / "etc/passwd").write_text(
            f"root:x:0:0:root:/root:/usr/sbin/nologin\nroadstead:x:{NON_ROOT}:{NON_ROOT}::/:/usr/sbin/nologin\n"
        )
        (tree / "etc/group").write_text(f"root:x:0:\nroadstead:x:{NON_ROOT}:\n")
        (tree / "etc/nsswitch.conf").write_text("hosts: files dns\n")
        (tree / "tmp").mkdir(exist_ok=True)
        (tree / "tmp").chmod(0o1777)

    return _layer("python", _digest([]), fill, "usr/lib/python3.11")


def _dependencies_layer() -> Blob:
    """The locked dependencies for the image's Python, whatever Python runs this script."""

    def fill(tree: Path) -> None:
        machine = os.uname().machine
        platforms = [f"--platform={name}_{machine}" for name in ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34")]
        target = ["--python-version=3.11", "--implementation=cp", "--abi=cp311", "--abi=abi3", "--abi=none", *platforms]
        options = ["--quiet", "--disable-pip-version-check", "--no-compile", "--only-binary=:all:", "--require-hashes"]
        _pip(["install", *options, *target, f"--target={tree / SITE}", f"--requirement={RUNTIME_LOCK}"])
        shutil.rmtree(tree / SITE / "bin", ignore_errors=True)

    return _layer("dependencies", _digest([RUNTIME_LOCK]), fill, SITE)


def _application_layer() -> Blob:
    sources = [path for path in (REPOSITORY_ROOT / "operator").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    sources = [path for path in sources if not any(part.endswith(".egg-info") for part in path.parts)]

    def fill(tree: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "source"  # setuptools leaves a build folder behind: not in the work tree
            copy.mkdir()
            for path in (*sources, *_project_files()):
                target = copy / path.relative_to(REPOSITORY_ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)
            _pip(["wheel", "--quiet", "--disable-pip-version-check", "--no-deps", f"--wheel-dir={folder}", str(copy)])
            (wheel,) = Path(folder).glob("*.whl")
            options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile", "--no-index"]
            _pip(["install", *options, f"--target={tree / SITE}", str(wheel)])
        for note in ("direct_url.json", "RECORD"):  # they hold the temporary folder's name
            for path in (tree / SITE).glob(f"*.dist-info/{note}"):
                path.unlink()
        shutil.rmtree(tree / SITE / "bin", ignore_errors=True)

    return _layer("application", _digest([*sources, *_project_files()]), fill, SITE)


def _project_files() -> list[Path]:
    return [path for name in ("pyproject.toml", "README.md", "LICENSE") if (path := REPOSITORY_ROOT / name).exists()]


def _image(name: str, layers: list[Blob], config: dict[str, object]) -> Image:
    digest = _digest([], name, repr(config), *(layer.digest for layer in layers))
    target = cache_root() / "images" / f"{name}-{digest}"
    return Image(target) if target.is_dir() else write_image(target, layers, config)


def _layer(name: str, digest: str, fill: Callable[[Path], None], python: str | None = None) -> Blob:
    """The cached layer, or the one that ``fill`` makes in an empty folder; ``python`` is where in it byte-code is to be made."""
    target = cache_root() / "layers" / f"{name}-{digest}.tar"
    if target.exists():
        return read_layer(target)
    say(f"  making the image layer {name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        fill(tree)
        for cache in list(tree.rglob("__pycache__")):
            shutil.rmtree(cache)
        if python is not None:
            _compile(tree, python)
        return write_layer(tree, target)


def _compile(tree: Path, folder: str) -> None:
    """Make byte-code, since with a read-only root every start would compile everything again. Only Python 3.11 can make it."""
    interpreter = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if interpreter is None:
        return
    options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(tree), "-p", "/"]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}  # the order of sets in byte-code hangs on it
    subprocess.run([interpreter, "-m", "compileall", *options, str(tree / folder)], env=environment, check=True)


def _pip(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"pip {arguments[0]} failed:\n{done.stderr.strip()[-3000:]}")


def _program(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)


def _hash(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _digest(files: Iterable[Path], *words: str) -> str:
    digest = hashlib.sha256(RECIPE.read_bytes())
    for word in words:
        digest.update(word.encode() + b"\0")
    for file in sorted(files):
        digest.update(str(file.relative_to(REPOSITORY_ROOT)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
