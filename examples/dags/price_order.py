"""Price an order: exact money, precise complaints, and a run that succeeds without an answer.

`parse_order` checks the order, `price` adds it up, `clean_up` removes the work file that
`parse_order` left, whether or not there was a price.

The point to see: `clean_up` has the trigger rule `all_done` and is the last task. When an order is
bad, `parse_order` fails, `price` never runs, `clean_up` succeeds, and so Airflow calls the whole
run a *success*. Only the result task tells: a caller has to learn of the failure even so.

**conf** (all optional)

- `lines`: the order's lines, each `{"sku": string, "quantity": whole number from 1, "unit_price":
  decimal string such as "19.99"}`. Default: two lines.
- `country`: two letters that decide the VAT rate. Default: "DE".

**result**, for the default conf

    {
      "country": "DE",
      "lines": [
        {"sku": "TEA-100", "quantity": 3, "unit_price": "4.95", "net": "14.85"},
        {"sku": "MUG-1", "quantity": 1, "unit_price": "12.50", "net": "12.50"}
      ],
      "vat_rate": "0.19",
      "net": "27.35",
      "vat": "5.20",
      "gross": "32.55"
    }

Amounts are strings, since JSON numbers are not exact. Each line is rounded to cents, half up, and
so is the VAT on their sum.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from airflow.sdk import Param, dag, get_current_context, result, task

# Standard rates.
VAT_RATES = {
    "AT": "0.20",
    "BE": "0.21",
    "DE": "0.19",
    "DK": "0.25",
    "ES": "0.21",
    "FR": "0.20",
    "IE": "0.23",
    "IT": "0.22",
    "NL": "0.21",
    "PL": "0.23",
    "SE": "0.25",
}

log = logging.getLogger(__name__)


def work_file(run_id: str) -> Path:
    """Name the file, on this worker, in which a run keeps the order as it was received."""
    digest = hashlib.sha256(run_id.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"price_order-{digest}.json"


def check_line(line: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a line in plain form, or complain about it by name."""
    sku, quantity, text = line["sku"].strip(), line["quantity"], line["unit_price"]
    if not sku:
        raise ValueError(f"{where}: sku is empty")
    if not 1 <= quantity <= 1_000_000:
        raise ValueError(f"{where}: quantity must be from 1 to 1000000, got {quantity}")
    try:
        unit_price = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{where}: unit_price {text!r} is not a decimal number") from None
    if not (unit_price.is_finite() and 0 <= unit_price <= 1_000_000):
        raise ValueError(f"{where}: unit_price must be from 0 to 1000000, got {text!r}")
    if unit_price != round(unit_price, 4):
        raise ValueError(f"{where}: unit_price has more than 4 decimals, got {text!r}")
    return {"sku": sku, "quantity": int(quantity), "unit_price": text.strip()}


def to_cents(amount: Decimal) -> Decimal:
    """Round an amount to cents, half up."""
    return amount.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


# multiple_outputs=False: one XCom holds the whole dict, rather than one more XCom for each key.
@task(multiple_outputs=False)
def parse_order() -> dict[str, Any]:
    """Keep the order as it was received in a work file, and check it."""
    context = get_current_context()
    params = context["params"]
    received = {"country": params["country"], "lines": params["lines"]}
    work_file(context["run_id"]).write_text(json.dumps(received))

    country = received["country"].strip().upper()
    if country not in VAT_RATES:
        known = ", ".join(VAT_RATES)
        raise ValueError(f"country: no VAT rate for {country!r}, only for {known}")
    lines = [check_line(line, f"lines[{i}]") for i, line in enumerate(received["lines"])]
    return {"country": country, "lines": lines}


@result
@task(multiple_outputs=False)
def price(order: dict[str, Any]) -> dict[str, Any]:
    """Add up the order, and the VAT on it."""
    nets = [to_cents(line["quantity"] * Decimal(line["unit_price"])) for line in order["lines"]]
    rate = Decimal(VAT_RATES[order["country"]])
    net = sum(nets, start=Decimal("0.00"))
    vat = to_cents(net * rate)
    return {
        "country": order["country"],
        "lines": [
            {**line, "net": str(amount)} for line, amount in zip(order["lines"], nets, strict=True)
        ],
        "vat_rate": str(rate),
        "net": str(net),
        "vat": str(vat),
        "gross": str(net + vat),
    }


@task(trigger_rule="all_done")
def clean_up() -> None:
    """Remove the work file, whatever became of the order."""
    path = work_file(get_current_context()["run_id"])
    path.unlink(missing_ok=True)
    log.info("removed %s", path)


@dag(
    dag_id="price_order",
    description="Price an order with VAT, and clean up even if the order was bad.",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=16,
    tags=["example"],
    params={
        "lines": Param(
            [
                {"sku": "TEA-100", "quantity": 3, "unit_price": "4.95"},
                {"sku": "MUG-1", "quantity": 1, "unit_price": "12.50"},
            ],
            description="The order's lines; parse_order checks what is in them",
            type="array",
            minItems=1,
            maxItems=1000,
            items={
                "type": "object",
                "properties": {
                    "sku": {"type": "string"},
                    "quantity": {"type": "integer"},
                    "unit_price": {"type": "string"},
                },
                "required": ["sku", "quantity", "unit_price"],
                "additionalProperties": False,
            },
        ),
        "country": Param(
            "DE",
            description="Two letters that decide the VAT rate",
            type="string",
        ),
    },
)
def price_order() -> None:
    """Wire the tasks: parse_order, price, clean_up."""
    order = parse_order()
    priced = price(order)
    priced >> clean_up()


price_order()
