#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Names the tests that failed in JUnit reports of ctest, with the end of what each of them printed.

    test/failures.py REPORT.xml...
"""
import pathlib
import sys
import xml.etree.ElementTree

TESTS = 10
LINES = 25
COLUMNS = 200


def failures(report):
    """(name, output) of each test in `report` that failed."""
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        if case.get("status") == "fail" or case.find("failure") is not None:
            yield case.get("name"), case.findtext("system-out") or ""


def main(reports):
    if not reports:
        sys.exit(__doc__.strip())
    found = [(pathlib.Path(report).stem, name, output)
             for report in reports for name, output in failures(report)]
    for preset, name, output in found[:TESTS]:
        print(f"\n==> Failed: {name} ({preset}); it ended with")
        for line in output.rstrip().splitlines()[-LINES:]:
            print("    " + line[:COLUMNS])
    for preset, name, _ in found[TESTS:]:
        print(f"==> Failed: {name} ({preset})")


if __name__ == "__main__":
    main(sys.argv[1:])
