"""What the fake Airflow has, too, so that both can be asked the same."""

from airflow.sdk import Param, dag, task


@task
def numbers():
    return [1, 2]


@task
def work(number):
    return {"doubled": 2 * number}


@task
def breaks():
    raise ValueError("no luck")


PARAMS = {"n": Param(1, type="integer", minimum=0)}


@dag(schedule=None, params=PARAMS, tags=["result:work"], description="One", doc_md="More")
def same():
    work.expand(number=numbers())
    breaks()


@dag(schedule=None, is_paused_upon_creation=True)
def same_paused():
    numbers()


same()
same_paused()
