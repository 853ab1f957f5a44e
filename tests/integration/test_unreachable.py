"""Why Airflow cannot be reached: who has to do something about it differs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dag_inference.errors import AirflowUnavailable
from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.airflow import AirflowApi, Doubt
from dag_inference_server.gateway import connect
from fakes.airflow import FakeAirflow
from integration.gateway import running, settings_for
from integration.statuses import failure
from integration.waiting import eventually


@pytest.fixture
async def ports(tmp_path: Path) -> AsyncIterator[dict[str, int]]:
    """Of servers that are not Airflow: one that is gone, one without TLS, one nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path / "both.pem"))

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    servers = {
        name: await asyncio.start_server(greet, "127.0.0.1", 0, ssl=encrypted)
        for name, encrypted in (("gone", None), ("plain", None), ("unknown", context))
    }
    found = {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}
    servers["gone"].close()
    await servers["gone"].wait_closed()
    yield found
    for server in servers.values():
        server.close()


def _certificate(path: Path) -> Path:
    """Write a certificate that signs itself, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "airflow")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    form, nothing = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(
        certificate.public_bytes(encoding) + key.private_bytes(encoding, form, nothing)
    )
    return path


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:{gone}", "it cannot be reached (Connection refused)"),
        ("http://nowhere.invalid:80", "its name cannot be resolved"),
        ("https://127.0.0.1:{plain}", "TLS with it fails ("),
        ("https://127.0.0.1:{unknown}", "its certificate is not trusted (self-signed certificate)"),
    ],
    ids=["refused", "name", "no TLS", "certificate"],
)
async def test_why(
    airflow: FakeAirflow,
    ports: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    why: str,
) -> None:
    """Callers are told, without an address; the log has that, too, when the gateway starts."""
    written = structlog.testing.CapturingLogger()
    monkeypatch.setattr("dag_inference_server.gateway.log", written)
    where = url.format(**ports)

    async with running(settings_for(airflow, airflow_url=where)) as gateway:
        call = gateway.stub.Invoke(pb.InvokeRequest(dag_id="dag"), timeout=60)
        failed = await failure(call)
        tries = await eventually(
            lambda: [c.kwargs for c in written.calls if c.args == ("airflow_not_ready",)]
        )

    assert failed.reason == "AIRFLOW_UNAVAILABLE"
    assert failed.message.startswith(f"Airflow does not answer: {why}")
    assert "127.0.0.1" not in failed.message
    assert tries[0]["url"] == where
    assert tries[0]["error"] == f"AIRFLOW_UNAVAILABLE: {failed.message}"


async def test_what_was_not_sent(airflow: FakeAirflow, ports: dict[str, int]) -> None:
    """A trigger that found nobody there has made no run, so that anybody may repeat it."""
    doubt = Doubt()
    transport = connect(settings_for(airflow, airflow_url=f"http://127.0.0.1:{ports['gone']}"))
    try:
        with pytest.raises(AirflowUnavailable, match="Connection refused"):
            await AirflowApi(transport).trigger("dag", "grpc-1", {}, doubt=doubt)
    finally:
        await transport.close()

    assert not doubt.is_open
