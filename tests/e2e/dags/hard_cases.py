"""DAGs to which something happens. What is in a pool waits until a test opens it."""

from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import dag, get_current_context, result, task, task_group, teardown
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

TAGGED = {"schedule": None, "tags": ["result:answer"]}


@task
def answer():
    """The try that it is."""
    return {"try": get_current_context()["ti"].try_number}


@task
def fails():
    raise AirflowFailException("as told")


@task
def skips():
    raise AirflowSkipException("as told")


@dag(**TAGGED)
def held():
    answer.override(pool="held")()


@dag(**TAGGED, dagrun_timeout=timedelta(seconds=1))
def times_out():
    answer.override(pool="times_out")()


@dag(**TAGGED, fail_fast=True)
def fails_fast():
    answer.override(pool="fails_fast")()
    fails()


@dag(**TAGGED)
def fails_beside():
    """The answer is skipped by its own choice, after a failure that it does not depend on."""
    fails()
    skips.override(task_id="answer", pool="fails_beside")()
    answer.override(task_id="open_end", pool="fails_beside_end")()


@dag(**TAGGED)
def echoes():
    """What it was called with, when its pool is open.

    A task fails that cannot reach the API server in time, as after an outage.
    """

    @task(task_id="answer", pool="echoes", retries=5, retry_delay=timedelta(seconds=1))
    def echo():
        return get_current_context()["dag_run"].conf

    echo()


@dag(**TAGGED)
def cleans_up():
    @teardown
    @task
    def clean_up():
        pass

    answer.override(pool="cleans_up")() >> clean_up()


@dag(**TAGGED, max_active_runs=1)
def one_at_a_time():
    answer.override(pool="one_at_a_time")()


@dag(**TAGGED)
def goes_on():
    answer()
    answer.override(task_id="other", pool="goes_on")()


@dag(**TAGGED)
def skipped_first():
    """`between` is skipped before its other upstream fails, and the answer does not mind."""
    between = answer.override(task_id="between")()
    [skips(), fails.override(pool="skipped_first_fails")()] >> between
    between >> answer.override(pool="skipped_first", trigger_rule="none_failed")()


@dag(**TAGGED)
def tries_again():
    """The first try fails, and the next one is far away."""

    @task(task_id="answer", retries=1, retry_delay=timedelta(hours=1))
    def breaks():
        raise ValueError("no luck")

    breaks()


@dag(**TAGGED)
def ends_empty():
    """The answer is nothing, and no worker ever has it."""
    answer.override(task_id="first", pool="ends_empty")() >> EmptyOperator(task_id="answer")


@dag(schedule=None, tags=["result:nothing"])
def tagged_with_nothing():
    answer()


@dag(schedule=None)
def named_anew():
    """The result is in a group, under another name than its function's."""

    @result
    @task
    def work(number):
        return {"number": number}

    @task_group
    def inner():
        for number in (1, 2):
            work.override(task_id=f"work_{number}")(number)

    inner()


held()
times_out()
fails_fast()
fails_beside()
echoes()
cleans_up()
one_at_a_time()
goes_on()
skipped_first()
tries_again()
ends_empty()
tagged_with_nothing()
named_anew()
