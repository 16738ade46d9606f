from __future__ import annotations

import asyncio
import base64
import datetime
import os
import ssl
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from roadstead.kube import config
from roadstead.kube.client import ApiClient
from roadstead.kube.config import ClusterConfig, ConfigError, load
from roadstead.kube.resource import PODS, Body
from tests.unit.kube.fake import ScriptedApi, answer, refuse, thing


def certificate(name: str) -> tuple[bytes, bytes]:
    """A self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), begin, begin.replace(year=2099))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    return made.public_bytes(encoding), key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


CERTIFICATE, KEY = certificate("one")


def trusted(context: ssl.SSLContext | None) -> set[str]:
    assert context is not None
    return {part[0][1] for ca in context.get_ca_certs() for part in ca["subject"]}


def kubeconfig(path: Path, *, cluster: Body | None = None, user: Body | None = None, **more: object) -> Path:
    document = {
        "current-context": "dev",
        "contexts": [
            {"name": "dev", "context": {"cluster": "c", "user": "u", "namespace": "home"}},
            {"name": "anonymous", "context": {"cluster": "c"}},
            {"name": "broken", "context": {"cluster": "absent", "user": "u"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": "https://api:6443/"} if cluster is None else cluster}],
        "users": [{"name": "u", "user": user or {}}],
    } | more
    file = path / "config"
    file.write_text(yaml.safe_dump(document))
    return file


def data(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize("inline", [True, False])
def test_certificates_inline_or_in_files_beside_the_kubeconfig(tmp_path: Path, inline: bool) -> None:
    for name, content in (("ca", CERTIFICATE), ("cert", CERTIFICATE), ("key", KEY)):
        (tmp_path / name).write_bytes(content)
    cluster: Body = {"server": "https://api:6443/", "tls-server-name": "kubernetes"}
    cluster |= {"certificate-authority-data": data(CERTIFICATE)} if inline else {"certificate-authority": "ca"}
    user = (
        {"client-certificate-data": data(CERTIFICATE), "client-key-data": data(KEY)}
        if inline
        else {"client-certificate": "cert", "client-key": str(tmp_path / "key")}
    )
    loaded = load(kubeconfig(tmp_path, cluster=cluster, user=user))
    assert (loaded.url, loaded.namespace, loaded.server_name, loaded.bearer()) == ("https://api:6443", "home", "kubernetes", None)
    assert trusted(loaded.ssl) == {"one"}


def test_tokens(tmp_path: Path) -> None:
    assert load(kubeconfig(tmp_path, user={"token": "t"})).bearer() == "t"
    (tmp_path / "token").write_text("from-file\n")
    assert load(kubeconfig(tmp_path, user={"tokenFile": "token"})).bearer() == "from-file"
    assert load(kubeconfig(tmp_path, user={"token": "t"}), context="anonymous").bearer() is None


def test_plain_http_and_unverified_tls(tmp_path: Path) -> None:
    assert load(kubeconfig(tmp_path, cluster={"server": "http://localhost:8080"})).ssl is None
    loaded = load(kubeconfig(tmp_path, cluster={"server": "https://x", "insecure-skip-tls-verify": True}))
    assert loaded.ssl is not None
    assert loaded.ssl.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(
    ("changes", "context", "message"),
    [
        ({}, "unknown", "no context 'unknown'"),
        ({}, "broken", "no cluster 'absent'"),
        ({"current-context": ""}, None, "no context ''"),
        ({"cluster": {}}, None, "no server"),
        ({"user": {"exec": {"command": "aws"}}}, None, "'exec'"),
        ({"cluster": {"server": "https://x", "certificate-authority-data": data(b"nonsense")}}, None, "certificates can't be read"),
        ({"cluster": {"server": "https://x", "certificate-authority": "absent"}}, None, "certificates can't be read"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, changes: Body, context: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(kubeconfig(tmp_path, **changes), context)


@pytest.mark.parametrize("content", ["", "[]", "{", None])
def test_files_that_are_no_kubeconfig(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "config"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError):
        load(file)


def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    file = kubeconfig(tmp_path, user={"token": "t"})
    monkeypatch.setenv("KUBECONFIG", f"{file}{os.pathsep}/other")
    assert load().bearer() == "t"
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kube").mkdir()
    file.rename(tmp_path / ".kube" / "config")
    assert load().bearer() == "t"


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a mounted service account, in the environment of a pod."""
    monkeypatch.setattr(config, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    for name, content in (("token", b"first\n"), ("ca.crt", CERTIFICATE), ("namespace", b"here")):
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_in_a_pod_token_and_ca_are_followed_as_they_rotate(pod: Path) -> None:
    time = 0.0
    loaded = load()
    loaded.clock = lambda: time
    assert (loaded.url, loaded.namespace, loaded.bearer()) == ("https://[fd00::1]:6443", "here", "first")
    (pod / "token").write_text("second")
    (pod / "ca.crt").write_bytes(CERTIFICATE + certificate("two")[0])
    time = 59.0
    assert loaded.bearer() == "first"
    time = 61.0
    assert loaded.bearer() == "second"
    assert trusted(loaded.ssl) == {"one", "two"}


def test_files_that_vanish_or_break_for_a_moment_change_nothing(pod: Path) -> None:
    loaded = load()
    assert loaded.bearer() == "first"
    (pod / "token").unlink()
    (pod / "ca.crt").write_text("half a certific")
    assert not loaded.reread()
    assert loaded.bearer() == "first"
    assert trusted(loaded.ssl) == {"one"}


def test_a_pod_without_a_token_is_told_so(pod: Path) -> None:
    (pod / "token").unlink()
    with pytest.raises(ConfigError, match="service account"):
        load()


async def test_a_401_is_tried_again_with_a_token_that_has_changed(api: ScriptedApi, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    async with ApiClient(ClusterConfig(api.url, token_file=file), user_agent="test") as client:
        api.will(answer(thing("p")), refuse(401), answer(thing("p")))
        await client.get(PODS, "ns", "p")
        file.write_text("new")
        await client.get(PODS, "ns", "p")
    assert [request.headers["Authorization"] for request in api.requests] == ["Bearer old", "Bearer old", "Bearer new"]


async def test_calls_that_were_refused_together_are_all_tried_again(api: ScriptedApi, tmp_path: Path) -> None:
    """The first of them reads the new token; for the others it is another one than theirs all the same."""
    (tmp_path / "token").write_text("first")
    rotating = ClusterConfig(url=api.url, token_file=tmp_path / "token")
    api.will(refuse(401), refuse(401), answer(thing("a")), answer(thing("a")))
    async with ApiClient(rotating, user_agent="test") as client:
        assert rotating.bearer() == "first"
        (tmp_path / "token").write_text("second")
        await asyncio.gather(*(client.get(PODS, "ns", "a") for _ in range(2)))
    assert sorted(request.headers["Authorization"] for request in api.requests) == ["Bearer first"] * 2 + ["Bearer second"] * 2
