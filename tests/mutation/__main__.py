"""python -m tests.mutation: all mutants, or some; exit code 0 if every survivor is a known one."""

import argparse
import os
import random
import sys
import time
from collections import Counter

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: one process per mutant is enough
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from .noticing import find_all
from .survivors import known_survivors
from .targets import all_mutants


def main():
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description="Is every spoiled gradient noticed?"
    )
    parser.add_argument(
        "names", nargs="*", help="subjects of the checker, ends of functions, mutants"
    )
    parser.add_argument("--show", action="store_true", help="print the mutants' names and stop")
    parser.add_argument("--sample", type=int, metavar="N", help="that many, at random")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the sample")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: all cores)")
    parser.add_argument("--no-tests", action="store_true", help="run the checker alone")
    parser.add_argument("--tests", metavar="EXPR", help="the tests that a pytest -k EXPR names")
    parser.add_argument("--verbose", action="store_true", help="print who noticed which")
    options = parser.parse_args()
    mutants = list(all_mutants(options.names))
    if options.sample:
        mutants = random.Random(options.seed).sample(mutants, min(options.sample, len(mutants)))
    if options.show:
        print("\n".join(mutant.name for mutant in mutants))
        return 0
    return report(mutants, options)


def report(mutants, options):
    known, counts, began = set(known_survivors()), Counter(), time.monotonic()

    def on_result(mutant, found):
        if found.by:
            counts[found.by] += 1
            if mutant.name in known:
                counts["wrongly listed"] += 1
                print(f"LISTED, BUT NOTICED by {found.by} ({found.how}): {mutant.name}")
            elif options.verbose:
                print(f"noticed by {found.by} ({found.how}): {mutant.name}")
        elif mutant.name in known:
            counts["known survivors"] += 1
        else:
            counts["survivors"] += 1
            print(f"SURVIVES: {mutant.name}", flush=True)
        done = sum(counts.values()) - counts["wrongly listed"]
        if sys.stderr.isatty() or done % 100 == 0:
            print(f"\r{done} of {len(mutants)}", end="", file=sys.stderr, flush=True)

    tests = not options.no_tests and (options.tests or True)
    find_all(mutants, on_result, options.workers, tests=tests)
    summary = ", ".join(f"{count} {who}" for who, count in counts.most_common())
    print(f"\n{len(mutants)} mutants in {time.monotonic() - began:.0f} s: {summary}")
    return 1 if counts["survivors"] or counts["wrongly listed"] else 0


if __name__ == "__main__":
    sys.exit(main())
