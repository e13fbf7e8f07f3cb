"""The page of plots: drawn from `benchmarks/results/*.json` alone, never from a run."""
