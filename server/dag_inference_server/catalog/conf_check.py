"""Whether a conf fits a DAG's params: by Airflow's own rule, but everything at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

import structlog
from jsonschema import FormatChecker
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, extend, validator_for
from referencing import Registry

from dag_inference.errors import Violation
from dag_inference_server.airflow import Param
from dag_inference_server.results.conf import canonical, step
from dag_inference_server.results.struct import Json

log = structlog.get_logger(__name__)

_FORMATS = FormatChecker(formats=("date", "email", "idn-email", "ipv4", "ipv6", "regex", "uuid"))
"""Those that every installation of jsonschema checks alike: Airflow may have more."""

_KEPT = 4096
"""Schemas, one for each param."""

_MAX_VIOLATIONS = 10
"""More than an error tells."""


def _unique(
    _: Validator, wanted: bool, instance: Any, __: Mapping[str, Any]
) -> Iterator[ValidationError]:
    """As the library judges it, which compares each item with each other."""
    if not wanted or not isinstance(instance, list):
        return
    if len({canonical(item) for item in instance}) < len(instance):
        yield ValidationError("has an item twice")


_FASTER = {"uniqueItems": _unique}


def violations(params: Mapping[str, Param], conf: Mapping[str, Json]) -> list[Violation]:
    """What of a conf breaks the params, as Airflow will see it; the first ten.

    What Airflow's schemas do not allow to be judged here is left to Airflow: a schema that is
    none, that refers to another document, or formats that it may check or not.
    """
    return list(islice(dict.fromkeys(_violations(params, conf)), _MAX_VIOLATIONS))


def _violations(params: Mapping[str, Param], conf: Mapping[str, Json]) -> Iterator[Violation]:
    for name, param in params.items():
        field = f"conf{step(name)}"
        # A default that is not null has been validated by Airflow
        # (`airflow/serialization/definitions/param.py`, `SerializedParam.resolve`, 3.3).
        if name not in conf and param.value is not None:
            continue
        validator = _validator(json.dumps(param.schema_, sort_keys=True))
        if validator is None:
            continue
        try:
            errors = list(islice(validator.iter_errors(conf.get(name)), _MAX_VIOLATIONS))
        except Exception as why:
            # A reference that leads nowhere, a pattern that is none, numbers that the library
            # cannot compare … Airflow judges by the same library.
            log.debug("conf_not_checked", param=name, error=type(why).__name__)
            continue
        if errors and name not in conf:
            yield Violation(field, "is required")
            continue
        for error in errors:
            yield from _told(error, field)


@lru_cache(maxsize=_KEPT)
def _validator(schema: str) -> Validator | None:
    """As `jsonschema.validate` would choose it; nothing is fetched."""
    document = json.loads(schema)
    kind = extend(validator_for(document, default=Draft202012Validator), _FASTER)
    try:
        kind.check_schema(document)
    except (SchemaError, RecursionError):
        return None
    validator: Validator = kind(document, registry=Registry(), format_checker=_FORMATS)
    return validator


def _told(error: ValidationError, field: str) -> Iterator[Violation]:
    where = field + "".join(step(key) for key in error.absolute_path)
    keyword, rule = str(error.validator), error.validator_value
    if keyword == "required" and isinstance(error.instance, dict):
        missing = (key for key in rule if key not in error.instance)
        yield from (Violation(where + step(key), "is required") for key in missing)
        return
    if keyword == "additionalProperties" and rule is False and isinstance(error.instance, dict):
        extra = _extra(error.instance, error.schema)
        yield from (Violation(where + step(key), "must not be there") for key in extra)
        return
    yield Violation(
        where,
        _WORDS.get(keyword, "breaks {keyword}: {rule}").format(keyword=keyword, rule=_rule(rule)),
    )


def _extra(instance: Mapping[str, Json], schema: Any) -> Iterator[str]:
    patterns = schema.get("patternProperties", {})
    for key in instance:
        named = key in schema.get("properties", {})
        if not named and not any(re.search(pattern, key) for pattern in patterns):
            yield key


def _rule(rule: Any) -> str:
    if isinstance(rule, list):
        return ", ".join(map(_rule, rule))
    return rule if isinstance(rule, str) else json.dumps(rule, ensure_ascii=False)


# Without the value: it may be long, or nobody else's business.
_WORDS = {
    "type": "must be of type {rule}",
    "enum": "must be one of: {rule}",
    "const": "must be {rule}",
    "minimum": "must be at least {rule}",
    "maximum": "must be at most {rule}",
    "exclusiveMinimum": "must be more than {rule}",
    "exclusiveMaximum": "must be less than {rule}",
    "multipleOf": "must be a multiple of {rule}",
    "minLength": "must have at least {rule} characters",
    "maxLength": "must have at most {rule} characters",
    "pattern": "must match {rule}",
    "format": "must be a valid {rule}",
    "minItems": "must have at least {rule} items",
    "maxItems": "must have at most {rule} items",
    "uniqueItems": "must not have an item twice",
    "minProperties": "must have at least {rule} fields",
    "maxProperties": "must have at most {rule} fields",
    "additionalProperties": "has a field that does not fit",
}
