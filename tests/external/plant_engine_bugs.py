#!/usr/bin/env python3
"""Plants bugs in the engine, one at a time, and checks that the random queries catch each.

Run it in a clean checkout: every file is put back as it was, whatever happens.
"""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENGINE = ROOT / "promql" / "src"

# What is broken, in which file of the engine, and how. A test holds the lines to those of the engine.
PLANTS = json.loads((ROOT / "tests" / "external" / "engine_bugs.json").read_text())


def caught(path, right, wrong):
    """Whether the test fails with the plant in place."""
    source = path.read_text()
    if source.count(right) != 1:
        sys.exit(f"{path}: the line to break is there {source.count(right)} times")
    test = ["cargo", "test", "-q", "-p", "tests", "--test", "random_queries", "twenty_thousand"]
    try:
        path.write_text(source.replace(right, wrong))
        build = subprocess.run(test + ["--no-run"], cwd=ROOT, capture_output=True, text=True)
        if build.returncode:
            sys.exit(f"{path}: the plant does not build\n{build.stderr[-2000:]}")
        run = subprocess.run(test, cwd=ROOT, capture_output=True, text=True)
    finally:
        path.write_text(source)
    differ = [line for line in (run.stdout + run.stderr).splitlines() if line.endswith(" differ:")]
    return differ[0].rstrip(":") if differ else None


def main():
    missed = 0
    for plant in PLANTS:
        found = caught(ENGINE / plant["file"], plant["right"], plant["wrong"])
        missed += found is None
        print(f"{plant['what']}: {found or 'NOT CAUGHT'}", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
