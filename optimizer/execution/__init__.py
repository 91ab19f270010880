"""Where evaluations run: several evaluators on this machine, or a Dask cluster. See docs/execution.md.

What goes out are recipes and what comes back are scores; shards and reference logits are made where they are needed.
"""
