"""One fault after another into running jobs on real nodes: what is noticed, how soon, and what it costs.

    python -m e2e.chaos [--only NAME ...] [--write FILE.json]      # the table of docs/benchmarks.md

Each fault meets a running digits job that has to end Succeeded, with a history that tells what was done and no
committed checkpoint lost.
"""
