"""Run the bench: `make bench`, `make bench ONLY=fake`, `make bench QUICK=1`."""

from __future__ import annotations

import argparse
import signal
import sys
import time

from benchmarks.fake import part as fake_part
from benchmarks.processes import KEPT
from benchmarks.real import part as real_part
from benchmarks.report import Report
from benchmarks.sizes import FULL, QUICK

PARTS = {"fake": fake_part.run, "real": real_part.run}


def main() -> None:
    """Measure, show what came out, and exit with 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="one part")
    parser.add_argument("--quick", action="store_true", help="small numbers, to try the harness")
    options = parser.parse_args()
    # So that everything that runs is ended in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    start, report = time.monotonic(), Report()
    try:
        for name in options.only or PARTS:
            PARTS[name](QUICK if options.quick else FULL, report)
    finally:
        # What was measured before something broke is worth as much.
        report.conclude(KEPT / "figures.json")
    report.say(f"{(time.monotonic() - start) / 60:.1f} minutes; the same in .bench/figures.json")
    # Small numbers mean little.
    missed = not options.quick and not all(bar.holds for bar in report.bars)
    if report.broken or missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
