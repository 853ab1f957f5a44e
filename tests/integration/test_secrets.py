"""Secrets that lie in files are read again when they may have changed: nothing is restarted."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from dag_inference.v1 import dag_inference_pb2 as pb
from dag_inference_server.settings import ENV_PREFIX
from fakes.airflow import Dag, FakeAirflow, Kind, steps
from integration.gateway import running, settings_for
from integration.statuses import failure
from integration.waiting import eventually, first_run

REQUEST = pb.InvokeRequest(dag_id="dag")


def by_file(airflow: FakeAirflow, kind: str, secret: Path) -> Any:
    """The settings of a gateway with a secret in a file."""
    others: dict[str, Any] = {"airflow_password": None, f"airflow_{kind}_file": secret}
    if kind == "token":
        others["airflow_username"] = None
    return settings_for(airflow, **others)


async def test_the_password_is_rotated(airflow: FakeAirflow, tmp_path: Path) -> None:
    """Calls in flight go on, whichever of file and account changes first, and new ones work."""
    dag, secret = airflow.add(Dag("dag")), tmp_path / "password"
    secret.write_text(f"{airflow.accounts.password}\n")
    async with running(by_file(airflow, "password", secret)) as gateway:
        waiting = asyncio.ensure_future(gateway.stub.Invoke(REQUEST, timeout=20))
        run = await first_run(dag)
        airflow.accounts.password = "new"
        airflow.accounts.expire()
        await eventually(lambda: airflow.count(Kind.TOKEN) >= 3)
        refused = await failure(gateway.stub.Invoke(REQUEST, timeout=5))
        run.finish("predict", {"a": 1})
        assert not waiting.done()

        secret.write_text("new\n")
        answer = await waiting
        new = asyncio.ensure_future(gateway.stub.Invoke(REQUEST, timeout=20))
        await eventually(lambda: len(dag.made) == 2)
        dag.made[1].finish("predict", 2)
        await new

    assert refused.reason == "AIRFLOW_DENIED"
    assert MessageToDict(answer.result) == {"a": 1}


async def test_the_token_is_rotated(airflow: FakeAirflow, tmp_path: Path) -> None:
    """It is read again when Airflow refuses the one before; Airflow is never asked for one."""
    dag, secret = airflow.add(Dag("dag")), tmp_path / "token"
    secret.write_text(airflow.accounts.issue())
    async with running(by_file(airflow, "token", secret)) as gateway:
        waiting = asyncio.ensure_future(gateway.stub.Invoke(REQUEST, timeout=20))
        run = await first_run(dag)
        airflow.accounts.expire()
        refused = await failure(gateway.stub.Invoke(REQUEST, timeout=5))
        run.finish("predict", {"a": 1})
        assert not waiting.done()
        secret.write_text(airflow.accounts.issue())
        answer = await waiting

    assert (refused.reason, refused.message) == (
        "AIRFLOW_DENIED",
        "Airflow refuses the gateway's token",
    )
    assert MessageToDict(answer.result) == {"a": 1}
    assert not airflow.count(Kind.TOKEN)


@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        ("password", None, "the gateway cannot read secret, which holds its secret"),
        ("token", None, "the gateway cannot read secret, which holds its secret"),
        ("password", b"\xff\xfe", "the gateway cannot read secret, which holds its secret"),
        ("password", b"\n", "secret, which holds the gateway's secret, is empty"),
        ("token", b"two lines\r\nof text", "the gateway's token holds what no HTTP header can"),
    ],
)
async def test_a_file_that_holds_no_secret(
    airflow: FakeAirflow, tmp_path: Path, kind: str, content: bytes | None, says: str
) -> None:
    """Calls are told so, without its content, until it does."""
    airflow.add(Dag("dag", script=[steps.finish("predict", 1)]))
    secret = tmp_path / "secret"
    secret.touch()
    async with running(by_file(airflow, kind, secret)) as gateway:
        if content is None:
            secret.unlink()
        else:
            secret.write_bytes(content)
        refused = await failure(gateway.stub.Invoke(REQUEST, timeout=5))
        good = airflow.accounts.password if kind == "password" else airflow.accounts.issue()
        secret.write_text(good)
        await gateway.stub.Invoke(REQUEST, timeout=5)

    assert (refused.reason, refused.message) == ("AIRFLOW_DENIED", says)


@pytest.mark.parametrize("kind", ["password", "token"])
async def test_check_with_a_file(airflow: FakeAirflow, tmp_path: Path, kind: str) -> None:
    """`dag-inference-server check` tells where the secret lies, and that Airflow takes it."""
    secret = tmp_path / "secret"
    secret.write_text(airflow.accounts.password if kind == "password" else airflow.accounts.issue())
    named = {"AIRFLOW_URL": airflow.url, f"AIRFLOW_{kind.upper()}_FILE": str(secret)}
    if kind == "password":
        named["AIRFLOW_USERNAME"] = airflow.accounts.username
    check = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("dag-inference-server"),
        "check",
        env={**os.environ, **{ENV_PREFIX + name: value for name, value in named.items()}},
        stdout=asyncio.subprocess.PIPE,
    )
    said = (await check.communicate())[0].decode()

    assert check.returncode == 0
    assert f"{ENV_PREFIX}AIRFLOW_{kind.upper()}_FILE={secret}\n" in said
    assert "It accepts the gateway's account." in said
    assert secret.read_text() not in said.replace(str(secret), "")
