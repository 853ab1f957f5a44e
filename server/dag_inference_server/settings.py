"""What an operator can set, and how: environment, TOML file, defaults.

Every setting is an environment variable `DAG_INFERENCE_<NAME>`; the file named by
`DAG_INFERENCE_CONFIG` holds the same names in lower case. The environment wins.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, FilePath, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from dag_inference_server.failure_codes import check_code

ENV_PREFIX = "DAG_INFERENCE_"
CONFIG_ENV = f"{ENV_PREFIX}CONFIG"

# Read by the client's command line, not by the gateway.
_FOREIGN_ENV = {CONFIG_ENV, f"{ENV_PREFIX}TARGET"}


def _split_commas(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _json_like(example: str) -> BeforeValidator:
    def parse(value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError(f"must be a JSON object, for example {example}") from None

    return BeforeValidator(parse)


def _is_address(value: str) -> str:
    host, separator, port = value.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("must be HOST:PORT, for example 127.0.0.1:50051 or [::1]:50051")
    return value


def _is_address_or_off(value: str) -> str:
    return value if value == "off" else _is_address(value)


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_header(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces or line ends")
    return value


def _is_http_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#@\s]*)?", value):
        raise ValueError(
            "must be an http or https URL without account or query, for example http://host:8080"
        )
    return value.rstrip("/").removesuffix("/api/v2")


def _is_collector(value: str) -> str:
    if not re.fullmatch(r"https?://[^/?#@\s]+/?", value):
        raise ValueError("must be an http or https URL without a path, such as http://host:4317")
    return value


CollectorUrl = Annotated[str, AfterValidator(_is_collector)]
Patterns = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]
PatternsByDag = Annotated[dict[str, Patterns], NoDecode, _json_like('{"my_dag": "my_task"}')]
Code = Annotated[str, AfterValidator(check_code)]
CodesByTask = Annotated[
    dict[str, dict[str, Code]],
    NoDecode,
    _json_like('{"my_dag": {"my_task": "INVALID_ARGUMENT"}}'),
]
CodesByException = Annotated[
    dict[str, Code], NoDecode, _json_like('{"ValueError": "INVALID_ARGUMENT"}')
]
Token = Annotated[SecretStr, AfterValidator(_is_header)]
Address = Annotated[str, AfterValidator(_is_address)]
AddressOrOff = Annotated[str, AfterValidator(_is_address_or_off)]
HttpUrl = Annotated[str, AfterValidator(_is_http_url)]


class Settings(BaseSettings):
    """The settings of one gateway. Times are seconds, sizes are bytes."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        # The input may be a password.
        hide_input_in_errors=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    airflow_url: HttpUrl = "http://127.0.0.1:8080"
    """Where Airflow's API server answers, without `/api/v2`."""

    airflow_username: str | None = None
    """The account that triggers runs and reads results. With a password, a token is fetched and
    renewed."""

    airflow_password: SecretStr | None = None
    """The account's password."""

    airflow_password_file: FilePath | None = None
    """Where the password lies instead. It is read again whenever a token is fetched, so that a new
    password needs no restart."""

    airflow_token: Token | None = None
    """A ready token instead of username and password."""

    airflow_token_file: FilePath | None = None
    """Where the token lies instead. It is read again when Airflow refuses the one before."""

    airflow_timeout: float = Field(default=10, gt=0, le=300)
    """How long one request to Airflow may take."""

    airflow_connections: int = Field(default=8, ge=2, le=256)
    """How many requests of calls may be under way to Airflow at once, beside eight of polls, logs
    and health. One API server jams at 15 from all sides, unless its pool of database connections
    is larger."""

    listen: Address = "127.0.0.1:50051"
    """Where gRPC is served. Port 0 takes a free one."""

    metrics_listen: AddressOrOff = "127.0.0.1:9464"
    """Where Prometheus finds `/metrics`, and probes `/livez` and `/readyz`; `off` for nowhere, and
    nothing is measured."""

    metrics_dags: int = Field(default=50, ge=0)
    """How many DAGs have series of their own, some 450 each; those whose runs are seen first. What
    there is to tell of the others goes by `other`."""

    otlp_endpoint: CollectorUrl | None = None
    """Where traces go, by OTLP over gRPC, such as `http://127.0.0.1:4317`. Unset: nowhere, at no
    cost. Needs the extra `otel`."""

    traces_per_second: float = Field(default=1, gt=0)
    """How many calls at most are traced of those that come without a trace of their own; what ten
    seconds have not used may come at once. Those whose caller records them always are.
    `OTEL_TRACES_SAMPLER` replaces both rules."""

    channelz: bool = False
    """Whether gRPC tells of its channels and sockets, by `grpc.channelz.v1`."""

    dags: Patterns | None = None
    """Which DAGs are served: shell patterns of ids, separated by commas. All, when unset and
    `listen` is a loopback address; must be set otherwise."""

    run_id_prefix: str = Field(
        default="grpc", max_length=64, pattern=r"^([A-Za-z0-9_.~:+-]*[A-Za-z0-9])$"
    )
    """How the ids of the gateway's runs begin. Replicas share it; other gateways on the same
    Airflow need their own. Ends with a letter or digit."""

    result_tasks: PatternsByDag = Field(default_factory=dict)
    """Result tasks by DAG id, for DAGs that declare none. In the environment: a JSON object."""

    allow_result_task_ids: bool = True
    """Whether a request may name the tasks whose values it wants."""

    task_exceptions: bool = True
    """Whether the error of a failed task tells its exception, class and first line. They are read
    from the task's log, which the account has to be allowed to read, and which holds the error up
    for 0.3 s at most."""

    task_codes: CodesByTask = Field(default_factory=dict)
    """Other codes than `ABORTED` for failed tasks, by DAG id and task id:
    `{"my_dag": {"validate": "INVALID_ARGUMENT"}}`. Only codes that no mesh or client repeats, holds
    against the replica, or takes for the gateway's or the caller's own."""

    exception_codes: CodesByException = Field(default_factory=dict)
    """The same by what was raised: `{"ValueError": "INVALID_ARGUMENT"}`. The name is the class's
    own, without its module, because Airflow's log tells no more. What `task_codes` says goes
    first."""

    default_deadline: float = Field(default=300, gt=0)
    """How long a call without a deadline waits."""

    max_deadline: float = Field(default=3600, gt=0)
    """How long any call waits at most."""

    max_calls: int = Field(default=20_000, ge=1)
    """How many calls that make runs may be in flight, at some 40 KiB each; as many again that wait
    for runs that exist, as many streams of `ModelStreamInfer`, and as many who watch health. More
    get `OVERLOADED`."""

    max_calls_per_dag: int | None = Field(default=None, ge=1)
    """How many of them may be of one DAG. Unset: no limit but `max_calls`."""

    max_triggers: int = Field(default=10_000, ge=1)
    """How many calls may wait for their run to be made. The last of them waits as long as Airflow
    needs for so many triggers: fewer, where deadlines are short."""

    max_pending_calls: int = Field(default=100_000, ge=1, le=1_000_000_000)
    """How many calls may have come that the gateway has not got to yet, by each of eight servers
    that its connections are spread over. Of more gRPC itself cancels some, from twice as many on
    all, `Wait` and health among them, without a reason or the time to come back: so there is room
    for any burst, and `max_calls`, which must be less, is what refuses."""

    refuse_hopeless: bool = False
    """Whether a call is refused at once when runs of its DAG have lately been queued for longer
    than it may wait, instead of making a run that it will not see the end of."""

    heartbeat_interval: float = Field(default=15, gt=0)
    """How long a stream may be quiet before a heartbeat goes out."""

    poll_interval_min: float = Field(default=0.05, ge=0.02)
    """How often Airflow is asked for news while a young run is in flight."""

    poll_interval_max: float = Field(default=0.17, gt=0)
    """How often it is asked when all runs in flight are older than some seconds."""

    poll_interval_old: float = Field(default=2, gt=0)
    """How often runs of more than an hour are read. Also how long Airflow is left alone at most
    when it gives bad answers."""

    max_request_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    """How large a request may be, conf included: as large as gRPC lets a message be by default. One
    of more than twice that is refused by gRPC itself, without our reason."""

    max_metadata_bytes: int = Field(default=16 * 1024, ge=4096)
    """How large the metadata of a call may be: a token and a trace have room, a flood has not."""

    keepalive_interval: float = Field(default=30, ge=1)
    """How long a connection may be silent before it is asked for a sign of life. Without, a caller
    whose machine is gone keeps its call until the deadline; proxies cut what is silent, often after
    a minute."""

    keepalive_timeout: float = Field(default=10, ge=1)
    """How long that sign may take. Then its calls are those of callers who went away."""

    client_keepalive_interval: float = Field(default=5, ge=0)
    """How often clients may ask for a sign of life, also without a call. gRPC closes the connection
    of one that asks more often, by default than every five minutes, which many do."""

    max_connection_age: float = Field(default=1800, ge=0)
    """How old a connection becomes, so that callers find new replicas and leave old ones; a tenth
    more or less. Calls on it go on to their ends. 0: it is never too old."""

    max_result_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    """How large an answer may be. Stock gRPC clients refuse more than 4 MiB. Of a result, four
    times as much is read: Airflow's JSON is longer than ours where it names classes."""

    max_map_indexes: int = Field(default=1024, ge=1)
    """How many map indexes of a result task are read, each of which is a request while the run goes
    on. As many as Airflow itself maps over, unless its `max_map_length` is another."""

    reflection: bool | None = None
    """Whether gRPC reflection is served. Unset: by `standalone` yes, by `serve` no."""

    shutdown_delay: float = Field(default=0, ge=0)
    """How long new calls are still taken after SIGTERM, while health says NOT_SERVING already: as
    long as a proxy that goes by health needs to notice, so that it sees no call refused. The grace
    comes after it. A second signal, 0.3 s or more after the first, ends it."""

    shutdown_grace: float = Field(default=10, ge=0)
    """How long it may take, after SIGTERM and the delay, until the process has exited. In the first
    half second new calls are told to go elsewhere; after that new connections are refused. Calls in
    flight may go on until two and a half seconds before the end, a second earlier for each thousand
    of them beyond the first; then those that are left are told where to come back. A grace is long
    enough for that from 5 s on, with two more for each thousand beyond the first: of a shorter one
    half is for the calls, and the exit may come up to three seconds after it. A second signal,
    0.3 s or more after the first, ends it."""

    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    """The least serious line that is logged."""

    log_format: Literal["text", "json"] = "text"
    """How lines look: for people, or a JSON object each."""

    @classmethod
    def settings_customise_sources(  # type: ignore[override]
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        **_: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the TOML file."""
        path = os.environ.get(CONFIG_ENV)
        if not path:
            return init_settings, env_settings
        if not Path(path).is_file():
            raise ValueError(f"{CONFIG_ENV} names {path}, which is no file")
        try:
            file = TomlConfigSettingsSource(settings_cls, Path(path))
        except ValueError as error:
            raise ValueError(f"{CONFIG_ENV} names {path}, which is no TOML: {error}") from error
        return init_settings, env_settings, file

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        self._one_account()
        if self.exception_codes and not self.task_exceptions:
            raise ValueError("exception_codes needs task_exceptions, or no exception is known")
        if self.poll_interval_min > self.poll_interval_max:
            raise ValueError("poll_interval_min must not exceed poll_interval_max")
        if self.poll_interval_max > self.poll_interval_old:
            raise ValueError("poll_interval_max must not exceed poll_interval_old")
        if self.default_deadline > self.max_deadline:
            raise ValueError("default_deadline must not exceed max_deadline")
        if self.max_pending_calls <= self.max_calls:
            raise ValueError(
                "max_pending_calls must be more than max_calls, or gRPC cancels calls without a "
                "reason that would be served or told to come back"
            )
        return self

    def _one_account(self) -> None:
        for secret in ("airflow_password", "airflow_token"):
            if getattr(self, secret) and getattr(self, f"{secret}_file"):
                raise ValueError(f"set {secret} or {secret}_file, not both")
        password = bool(self.airflow_password or self.airflow_password_file)
        token = bool(self.airflow_token or self.airflow_token_file)
        if token and (self.airflow_username or password):
            raise ValueError(
                "set airflow_token, or airflow_username and airflow_password, not both"
            )
        if bool(self.airflow_username) != password:
            raise ValueError("airflow_username and airflow_password go together")

    @property
    def listens_on_loopback(self) -> bool:
        """Whether `listen` is reachable from this machine alone."""
        return _is_loopback(self.listen)

    @property
    def exposed(self) -> list[str]:
        """The addresses that other machines can reach."""
        return [
            address
            for address in (self.listen, self.metrics_listen)
            if address != "off" and not _is_loopback(address)
        ]

    def shown(self) -> dict[str, Any]:
        """Every effective setting by name, secrets masked and paths as text."""
        return {name: _shown(getattr(self, name)) for name in type(self).model_fields}


def _shown(value: Any) -> Any:
    match value:
        case SecretStr():
            return "********"
        case Path():
            return str(value)
        case _:
            return value


def unknown_environment() -> list[str]:
    """Variables that look like settings and are none: most likely typing errors."""
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields} | _FOREIGN_ENV
    return sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name not in known)
