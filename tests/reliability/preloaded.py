"""What the processes of these tests need, imported once in the server that they are forked from."""

# ruff: noqa: F401 (imported to be there after the fork)
import evaluators.fake
import optimizer.cli
import optimizer.commands.results
import optimizer.commands.search
import optimizer.commands.studies
import optimizer.search.runner
