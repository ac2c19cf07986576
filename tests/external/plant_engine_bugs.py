#!/usr/bin/env python3
"""Plants bugs in the engine, one at a time, and checks that the random queries catch each.

Run it in a clean checkout: every file is put back as it was, whatever happens.
"""
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENGINE = ROOT / "promql" / "src"

# What is broken, where, and how.
PLANTS = [
    (
        "a window holds the sample at its left edge",
        "eval/window/mod.rs",
        "while first < end && times_ms[first] <= open_ms {",
        "while first < end && times_ms[first] < open_ms {",
    ),
    (
        "a rate is extrapolated a little too eagerly",
        "eval/window/rate.rs",
        "let threshold = spacing * 1.1;",
        "let threshold = spacing * 1.2;",
    ),
    (
        "NaN is the greatest value of topk",
        "eval/aggregate/pick.rs",
        "(a, b) => a.cmp(&b),",
        "(a, b) => b.cmp(&a),",
    ),
    (
        "sums lose what rounding lost",
        "math/kahan.rs",
        "self.compensation += (value - total) + self.sum;",
        "self.compensation += 0.0 * ((value - total) + self.sum);",
    ),
    (
        "a counter that lacks _count in its name is told of too little",
        "eval/call.rs",
        '["_total", "_sum", "_count", "_bucket"]',
        '["_total", "_sum", "_count", "_bucket", "a"]',
    ),
    (
        "the quantile of a histogram forgets what lies below the bucket",
        "histogram/rank.rs",
        "rank - (count - bucket.count)",
        "rank - (count - bucket.count) * 0.999",
    ),
]


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
    for what, file, right, wrong in PLANTS:
        found = caught(ENGINE / file, right, wrong)
        missed += found is None
        print(f"{what}: {found or 'NOT CAUGHT'}", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
