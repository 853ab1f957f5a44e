"""A DAG with a param for each kind of rule. It is paused: runs are made, and never run."""

from airflow.sdk import DAG, Param, get_current_context, task

RULES = {
    "integer": Param(1, type="integer", minimum=0, exclusiveMaximum=100),
    "number": Param(0.5, type="number", multipleOf=0.5),
    "string": Param("ab", type="string", minLength=2, maxLength=5),
    "pattern": Param("ab", type="string", pattern="^[a-z]+$"),
    "date": Param("2026-01-01", type="string", format="date"),
    "moment": Param("2026-01-01T00:00:00Z", type="string", format="date-time"),
    "maybe": Param(None, type=["null", "boolean"]),
    "choice": Param("a", enum=["a", 1, None]),
    "list": Param([1], type="array", items={"type": "integer"}, minItems=1, uniqueItems=True),
    "object": Param(
        {"sku": "TEA"},
        type="object",
        properties={"sku": {"type": "string"}, "n": {"$ref": "#/$defs/n"}},
        required=["sku"],
        additionalProperties=False,
        **{"$defs": {"n": {"type": "integer"}}},
    ),
    "one_of": Param(1, oneOf=[{"type": "integer"}, {"type": "string"}]),
    "plain": 1,
    "dotted.name": Param("x", type="string"),
}

with DAG("conf_rules", schedule=None, params=RULES, is_paused_upon_creation=True):

    @task
    def nothing():
        pass

    nothing()

with DAG(
    "conf_required",
    schedule=None,
    params={
        "name": Param(type="string", description="Who is greeted."),
        "times": Param(1, type="integer", minimum=1),
    },
    tags=["result:greet"],
):

    @task
    def greet():
        params = get_current_context()["params"]
        return [f"Hello {params['name']}"] * params["times"]

    greet()
