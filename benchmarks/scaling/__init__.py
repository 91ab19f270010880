"""What a search of a model of any size costs in disk, memory and hours; `python -m benchmarks.scaling`."""
