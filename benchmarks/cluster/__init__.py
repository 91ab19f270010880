"""How well a search uses many evaluators; `python -m benchmarks.cluster`."""
