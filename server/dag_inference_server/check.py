"""Whether the settings lead to an Airflow that the gateway can work with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from fnmatch import fnmatchcase

from dag_inference.errors import AirflowDenied, AirflowUnavailable
from dag_inference_server.airflow import (
    AirflowApi,
    Listings,
    NotFound,
    Refused,
    Values,
)
from dag_inference_server.airflow.pages import all_pages
from dag_inference_server.apart import Apart
from dag_inference_server.gateway import connect
from dag_inference_server.settings import Settings


class CheckFailed(Exception):
    """The gateway could not work. The message is a plain sentence."""


async def check_airflow(settings: Settings) -> AsyncIterator[str]:
    """Try what the gateway needs of Airflow, and tell of each thing that works.

    Permissions are tried on a DAG that does not exist: Airflow looks at the account
    first, and says "forbidden" or "not found". What the settings name and Airflow does not have
    may come later, and is warned of.

    Raises:
        CheckFailed: Something does not work.
    """
    transport = connect(settings)
    api = AirflowApi(transport)
    try:
        try:
            yield f"Airflow {await api.version()} answers at {settings.airflow_url}."
            await api.prove_account()
            yield "It accepts the gateway's account."
        except AirflowDenied as error:
            raise CheckFailed(
                f"{error.message}. Set AIRFLOW_USERNAME and AIRFLOW_PASSWORD, or AIRFLOW_TOKEN."
            ) from error
        except (AirflowUnavailable, NotFound, Refused) as error:
            what = error.message if isinstance(error, AirflowUnavailable) else "no Airflow answers"
            raise CheckFailed(f"{what}. Set AIRFLOW_URL to where its API server is.") from error
        for what, attempt in (
            ("trigger runs", api.prove_may_trigger),
            ("read XComs", Values(transport, Apart()).prove_readable),
            ("end runs", api.prove_may_end_runs),
        ):
            try:
                await attempt()
            except AirflowDenied as error:
                raise CheckFailed(f"The account may not {what}: {error.message}.") from error
            except (AirflowUnavailable, Refused) as error:
                raise CheckFailed(f"Whether the account may {what} is unknown: {error}.") from error
            yield f"The account may {what}."
        listings = Listings(api, transport, prefix=settings.run_id_prefix)
        yield await _told_of_listings(listings)
        if settings.task_exceptions:
            yield await _told_of_logs(api)
        try:
            async for finding in _missing(settings, api):
                yield f"warning: {finding}"
        except (AirflowDenied, AirflowUnavailable) as error:
            raise CheckFailed(
                f"Whether Airflow has what the settings name is unknown: {error}."
            ) from error
    finally:
        await transport.close()


async def _told_of_listings(listings: Listings) -> str:
    try:
        if await listings.may_list_all_dags():
            return "The account may list runs of all DAGs."
    except (AirflowUnavailable, NotFound) as error:
        raise CheckFailed(f"Whether runs can be listed is unknown: {error}.") from error
    return (
        "The account may not list runs of all DAGs: the gateway asks for the runs of each DAG by "
        "itself, which costs more the more DAGs are called at once."
    )


async def _told_of_logs(api: AirflowApi) -> str:
    try:
        await api.prove_may_read_logs()
    except AirflowDenied:
        return "The account may not read task logs: errors do not tell what a failed task raised."
    except AirflowUnavailable as error:
        raise CheckFailed(f"Whether task logs can be read is unknown: {error}.") from error
    return "The account may read task logs."


async def _missing(settings: Settings, api: AirflowApi) -> AsyncIterator[str]:
    """What the settings name that Airflow does not have, or does not show the account."""
    if settings.dags:
        dags = await all_pages(api.dags)
        ids = [dag.dag_id for dag in dags if dag.has_import_errors or not dag.is_stale]
        for pattern in settings.dags:
            if not any(fnmatchcase(dag_id, pattern) for dag_id in ids):
                yield f"DAGS names {pattern}, and Airflow shows the account no such DAG."
    for setting, by_dag in (
        ("RESULT_TASKS", settings.result_tasks),
        ("TASK_CODES", settings.task_codes),
    ):
        for dag_id, named in by_dag.items():
            try:
                known = {task.task_id for task in await api.tasks(dag_id)}
            except (NotFound, AirflowDenied):
                yield f"{setting} names {dag_id}, and Airflow shows the account no such DAG."
                continue
            for task_id in named:
                if task_id not in known:
                    yield f"{setting} names {task_id}, and {dag_id} has no such task."
