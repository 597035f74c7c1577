"""Sums up a report of the Autobahn test suite by section; exits 1 unless every case passed.

Arguments: the report's directory, and the number of cases that were asked for by name; 0 means all,
of which there must be 517 for each agent. For Python 2.7 and 3.
"""
from __future__ import print_function

import json
import os
import sys

# INFORMATIONAL: the specification leaves the choice, or none is right in time (7.1.6).
GOOD = ("OK", "INFORMATIONAL")
CASES = 517


def section(case):
    return int(case.split(".")[0])


def main(directory, named):
    with open(os.path.join(directory, "index.json")) as file:
        agents = json.load(file)
    failed = not agents
    for agent in sorted(agents):
        cases = agents[agent]
        print("%-5s %7s %7s %7s %7s" % (agent, "section", "ok", "info", "bad"))
        bad = []
        for number in sorted(set(map(section, cases))):
            told = [case for case in cases if section(case) == number]
            verdicts = [(cases[case]["behavior"], cases[case]["behaviorClose"]) for case in told]
            wrong = [case for case, both in zip(told, verdicts) if not all(it in GOOD for it in both)]
            informed = sum("INFORMATIONAL" == both[0] for both in verdicts)
            ok = len(told) - len(wrong) - informed
            print("%-5s %7d %7d %7d %7d" % ("", number, ok, informed, len(wrong)))
            bad += wrong
        for case in sorted(bad):
            print("%s %s: %s, close %s" % (agent, case, cases[case]["behavior"], cases[case]["behaviorClose"]))
        if named == 0 and len(cases) != CASES:
            print("%s: %d cases were run, not %d" % (agent, len(cases), CASES))
            failed = True
        failed = failed or bool(bad) or not cases
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
