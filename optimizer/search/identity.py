"""What all trials of a study are measured with: one engine, and one number of threads. Others do not compare."""

from evaluators.evaluator import EngineInfo
from optimizer.errors import EngineError
from optimizer.search.facts import Facts
from optimizer.search.scoring import Scorer

ENGINE, THREADS = "execution_engine", "execution_threads"
"""Keys of a study's progress."""


def kept_threads(facts: Facts) -> int | None:
    """The threads that the study began with; None for a new one."""
    found: int | None = facts.kept(THREADS)
    return found


def keep_identity(facts: Facts, scorer: Scorer, n_trials: int) -> None:
    """Note what the study is measured with. Raises EngineError where its trials were measured with another engine."""
    engine, known = scorer.engine(), facts.kept(ENGINE)
    if known is not None and known != engine.identity and n_trials:
        raise EngineError(
            f"the study was begun with another engine than the one here, {show_engine(engine)}; their results do not "
            "compare. Continue it where it was begun, or start another study with --study NAME"
        )
    facts.keep(ENGINE, engine.identity)
    facts.keep(THREADS, scorer.settings.resolved_threads())


def show_engine(engine: EngineInfo) -> str:
    return f"{engine.name} {engine.version}, {', '.join(engine.devices)}, build {engine.library_sha256[:8]}"
