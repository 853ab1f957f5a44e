"""What an operator can set, and what is said of what cannot be."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dag_inference_server.settings import ENV_PREFIX, Settings, unknown_environment

SetEnvironment = Callable[..., None]


@pytest.fixture(autouse=True)
def set_environment(monkeypatch: pytest.MonkeyPatch) -> SetEnvironment:
    """Set the gateway's variables by name; none is set before."""
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)

    def set_environment(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(ENV_PREFIX + name, value)

    return set_environment


def test_nothing_has_to_be_set() -> None:
    """The defaults serve a local Airflow to this machine."""
    settings = Settings()

    assert settings.airflow_url == "http://127.0.0.1:8080"
    assert settings.listen == "127.0.0.1:50051"
    assert settings.listens_on_loopback
    assert settings.dags is None


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("AIRFLOW_URL", "https://airflow.example/prefix/", "https://airflow.example/prefix"),
        ("AIRFLOW_TIMEOUT", "2.5", 2.5),
        ("LISTEN", "[::1]:0", "[::1]:0"),
        ("DAGS", "a", ("a",)),
        ("DAGS", " a, b_* ,,c ", ("a", "b_*", "c")),
        ("DAGS", ",", ()),
        ("DAGS", "", None),
        ("RUN_ID_PREFIX", "team.blue~1", "team.blue~1"),
        ("RESULT_TASKS", '{"iris": "predict"}', {"iris": ("predict",)}),
        ("RESULT_TASKS", '{"a": "x, y", "b": ["z"]}', {"a": ("x", "y"), "b": ("z",)}),
        ("RESULT_TASKS", "{}", {}),
        ("TASK_EXCEPTIONS", "false", False),
        ("TASK_CODES", '{"a": {"b": "ABORTED"}}', {"a": {"b": "ABORTED"}}),
        ("EXCEPTION_CODES", '{"KeyError": "NOT_FOUND"}', {"KeyError": "NOT_FOUND"}),
        ("REFLECTION", "false", False),
        ("REFLECTION", "", None),
        ("ALLOW_RESULT_TASK_IDS", "0", False),
        ("MAX_RESULT_BYTES", "1024", 1024),
        ("LOG_LEVEL", "debug", "debug"),
    ],
)
def test_a_variable_sets_what_it_names(
    set_environment: SetEnvironment, variable: str, text: str, value: object
) -> None:
    """Lists are separated by commas, an empty variable is as good as none."""
    set_environment(**{variable: text})

    assert getattr(Settings(), variable.lower()) == value


@pytest.mark.parametrize(
    ("variables", "field", "says"),
    [
        ({"AIRFLOW_URL": "airflow:8080"}, "airflow_url", "must be an http or https URL"),
        ({"AIRFLOW_URL": "ftp://airflow"}, "airflow_url", "must be an http or https URL"),
        ({"AIRFLOW_URL": "http://a/?b=c"}, "airflow_url", "must be an http or https URL"),
        ({"LISTEN": "50051"}, "listen", "must be HOST:PORT"),
        ({"LISTEN": ":50051"}, "listen", "must be HOST:PORT"),
        ({"LISTEN": "host:"}, "listen", "must be HOST:PORT"),
        ({"LISTEN": "host:http"}, "listen", "must be HOST:PORT"),
        ({"LISTEN": "host:65536"}, "listen", "must be HOST:PORT"),
        ({"LISTEN": "host:-1"}, "listen", "must be HOST:PORT"),
        ({"METRICS_LISTEN": "on"}, "metrics_listen", "must be HOST:PORT"),
        ({"OTLP_ENDPOINT": "localhost:4317"}, "otlp_endpoint", "must be an http or https URL"),
        ({"LOG_FORMAT": "xml"}, "log_format", "'text' or 'json'"),
        ({"AIRFLOW_TIMEOUT": "0"}, "airflow_timeout", "greater than 0"),
        ({"DEFAULT_DEADLINE": "nan"}, "default_deadline", "finite number"),
        ({"POLL_INTERVAL_MAX": "inf"}, "poll_interval_max", "finite number"),
        ({"AIRFLOW_TIMEOUT": "301"}, "airflow_timeout", "less than or equal to 300"),
        ({"AIRFLOW_TIMEOUT": "soon"}, "airflow_timeout", "valid number"),
        ({"AIRFLOW_CONNECTIONS": "1.5"}, "airflow_connections", "valid integer"),
        ({"RUN_ID_PREFIX": "grpc-"}, "run_id_prefix", "match pattern"),
        ({"RUN_ID_PREFIX": "a b"}, "run_id_prefix", "match pattern"),
        ({"RUN_ID_PREFIX": "a/b"}, "run_id_prefix", "match pattern"),
        ({"RUN_ID_PREFIX": "a" * 65}, "run_id_prefix", "at most 64"),
        ({"RESULT_TASKS": "predict"}, "result_tasks", "must be a JSON object"),
        ({"RESULT_TASKS": '["a"]'}, "result_tasks", "valid dictionary"),
        ({"TASK_CODES": "ABORTED"}, "task_codes", "must be a JSON object"),
        ({"TASK_CODES": '{"a": "ABORTED"}'}, "task_codes.a", "valid dictionary"),
        ({"TASK_CODES": '{"a": {"b": "OK"}}'}, "task_codes.a.b", "not look like a success"),
        ({"TASK_CODES": '{"a": {"b": "NONE"}}'}, "task_codes.a.b", "NONE is no code of gRPC"),
        ({"EXCEPTION_CODES": '["a"]'}, "exception_codes", "valid dictionary"),
        (
            {"EXCEPTION_CODES": '{"OSError": "UNAVAILABLE"}'},
            "exception_codes.OSError",
            "UNAVAILABLE is not for failed tasks: meshes and clients repeat calls",
        ),
        (
            {"EXCEPTION_CODES": '{"KeyError": "NOT_FOUND"}', "TASK_EXCEPTIONS": "false"},
            "",
            "exception_codes needs task_exceptions",
        ),
        ({"REFLECTION": "perhaps"}, "reflection", "valid boolean"),
        ({"LOG_LEVEL": "loud"}, "log_level", "match pattern"),
        ({"MAX_RESULT_BYTES": "1023"}, "max_result_bytes", "greater than or equal to 1024"),
        ({"AIRFLOW_USERNAME": "me"}, "", "go together"),
        ({"AIRFLOW_PASSWORD": "pw"}, "", "go together"),
        ({"AIRFLOW_TOKEN": "t", "AIRFLOW_USERNAME": "me"}, "", "not both"),
        ({"AIRFLOW_TOKEN": "t", "AIRFLOW_PASSWORD": "pw"}, "", "not both"),
        ({"AIRFLOW_TOKEN": "t", "AIRFLOW_TOKEN_FILE": __file__}, "", "not both"),
        ({"AIRFLOW_PASSWORD": "pw", "AIRFLOW_PASSWORD_FILE": __file__}, "", "not both"),
        ({"AIRFLOW_TOKEN_FILE": __file__, "AIRFLOW_USERNAME": "me"}, "", "not both"),
        ({"AIRFLOW_PASSWORD_FILE": __file__}, "", "go together"),
        ({"AIRFLOW_TOKEN_FILE": "nowhere"}, "airflow_token_file", "not point to a file"),
        ({"TRACES_PER_SECOND": "0"}, "traces_per_second", "greater than 0"),
        ({"POLL_INTERVAL_MIN": "3"}, "", "poll_interval_min must not exceed"),
        ({"DEFAULT_DEADLINE": "4000"}, "", "default_deadline must not exceed"),
        ({"MAX_PENDING_CALLS": "20000"}, "", "max_pending_calls must be more than max_calls"),
    ],
)
def test_a_bad_value_is_refused_in_plain_words(
    set_environment: SetEnvironment, variables: dict[str, str], field: str, says: str
) -> None:
    """With the name of the setting, where it is one alone."""
    set_environment(**variables)

    with pytest.raises(ValueError, match=says) as refused:
        Settings()
    errors: list[dict[str, Any]] = refused.value.errors()  # type: ignore[attr-defined]
    assert [".".join(map(str, error["loc"])) for error in errors] == [field]


def test_a_refusal_does_not_show_secrets(set_environment: SetEnvironment) -> None:
    """Wherever the error is printed or logged."""
    set_environment(AIRFLOW_PASSWORD="hush")

    with pytest.raises(ValueError, match="go together") as refused:
        Settings()
    assert "hush" not in str(refused.value)


@pytest.fixture
def write_config(tmp_path: Path, set_environment: SetEnvironment) -> Callable[[str], None]:
    """Write the TOML file, and name it in the environment."""

    def write_config(text: str) -> None:
        (tmp_path / "gateway.toml").write_text(text)
        set_environment(CONFIG=str(tmp_path / "gateway.toml"))

    return write_config


def test_a_file_sets_what_it_names(write_config: Callable[[str], None]) -> None:
    """In TOML's own types, or as the variables are written."""
    write_config(
        """
        airflow_url = "http://airflow:8080"
        airflow_timeout = 5
        dags = ["a", "b_*"]
        reflection = true
        [result_tasks]
        iris = "predict"
        order = ["price", "tax"]
        [task_codes.order]
        check = "INVALID_ARGUMENT"
        """
    )

    settings = Settings()

    assert settings.airflow_url == "http://airflow:8080"
    assert settings.airflow_timeout == 5
    assert settings.dags == ("a", "b_*")
    assert settings.reflection is True
    assert settings.result_tasks == {"iris": ("predict",), "order": ("price", "tax")}
    assert settings.task_codes == {"order": {"check": "INVALID_ARGUMENT"}}


def test_arguments_win_over_the_environment_and_that_over_the_file(
    write_config: Callable[[str], None], set_environment: SetEnvironment
) -> None:
    """Each setting by itself."""
    write_config('listen = "file:1"\nshutdown_grace = 3\nlog_level = "error"\ndags = "f"')
    set_environment(LISTEN="environment:1", LOG_LEVEL="debug")

    settings = Settings(listen="argument:1")

    assert settings.listen == "argument:1"
    assert settings.log_level == "debug"
    assert settings.shutdown_grace == 3
    assert settings.dags == ("f",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('listne = "127.0.0.1:1"', "listne"),
        ('listen = "nowhere"', "must be HOST:PORT"),
        ("listen = ", r"CONFIG names \S+gateway\.toml, which is no TOML: Invalid value"),
    ],
)
def test_a_bad_file_is_refused(write_config: Callable[[str], None], text: str, says: str) -> None:
    """A name that is no setting is most likely a typing error."""
    write_config(text)

    with pytest.raises(ValueError, match=says):
        Settings()


def test_a_file_that_is_not_there_is_refused(
    set_environment: SetEnvironment, tmp_path: Path
) -> None:
    """Rather than served without what it says."""
    set_environment(CONFIG=str(tmp_path))

    with pytest.raises(ValueError, match=f"DAG_INFERENCE_CONFIG names {tmp_path}, which is no"):
        Settings()


def test_secrets_are_masked_where_settings_are_shown(set_environment: SetEnvironment) -> None:
    """Everything else is shown as it is in effect."""
    set_environment(AIRFLOW_USERNAME="me", AIRFLOW_PASSWORD="hush")

    shown = Settings().shown()

    assert shown.keys() == Settings.model_fields.keys()
    assert shown["airflow_username"] == "me"
    assert shown["airflow_password"] == "********"
    assert shown["airflow_token"] is None
    assert "hush" not in repr(Settings())
    assert "hush" not in repr(shown)


def test_variables_that_are_no_settings_are_reported(
    set_environment: SetEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those with the gateway's prefix, but for the client's and the file's name."""
    set_environment(LISTNE="1", AIRFLOW_URI="2", LISTEN="a:1", TARGET="b:1", CONFIG="c")
    monkeypatch.setenv("AIRFLOW_HOME", "/nowhere")

    assert unknown_environment() == ["DAG_INFERENCE_AIRFLOW_URI", "DAG_INFERENCE_LISTNE"]


@pytest.mark.parametrize(
    ("listen", "is_loopback"),
    [
        ("127.0.0.1:50051", True),
        ("127.0.0.53:1", True),
        ("[::1]:50051", True),
        ("::1:50051", True),
        ("localhost:50051", True),
        ("0.0.0.0:50051", False),
        ("[::]:50051", False),
        ("10.0.0.1:50051", False),
        ("gateway.example:50051", False),
        ("localhost.example:50051", False),
        ("128.0.0.1:50051", False),
    ],
)
def test_only_this_machine_reaches_a_loopback_address(listen: str, is_loopback: bool) -> None:
    """By address, or by the one name that means it; any other name may lead elsewhere."""
    assert Settings(listen=listen).listens_on_loopback is is_loopback


def test_settings_do_not_change() -> None:
    """What was checked at the start holds."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().listen = "0.0.0.0:1"  # type: ignore[misc]
