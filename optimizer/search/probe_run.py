"""Measure a model's sensitivities on their own, without a study."""

from collections.abc import Mapping
from typing import Any

from evaluators.process import EvaluatorProcess
from optimizer.errors import ConfigError
from optimizer.progress import Reporter
from optimizer.search.bench import open_bench, probe_chunks
from optimizer.search.claiming import add_model
from optimizer.search.planning import Plan
from optimizer.search.probing import Probing, plan_probing, run_probes
from optimizer.search.texts import choose_text, prepare_text
from optimizer.workplace import Workplace


def probe_only(
    plan: Plan, workplace: Workplace, reporter: Reporter, given: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Measure a plan's sensitivities without a study; `given` rows are kept as imported and not measured again.

    Returns one row a probe: unit, tensor_type, kld, standard_error, base, source.
    """
    choice = choose_text(plan.config.search_text, "search")
    if choice.bundled:
        reporter.line(f"[yellow]using the bundled {choice.path.name}; text like your readers' own is better[/yellow]")
    with workplace.open_store() as store:
        model = add_model(store, plan)
        with open_bench(plan, workplace, store, model, reporter, EvaluatorProcess) as bench:
            reporter.phase("reference: search text", plan.config.evaluation.chunks)
            text = prepare_text(
                store,
                bench.evaluator,
                plan.model,
                choice,
                plan.config.evaluation.chunks,
                workplace.references,
                lambda done, _: reporter.advance(done),
                imatrix_sha256=plan.imatrix.sha256 if plan.imatrix else None,
            )
            measurer = bench.measurer(None, text, reporter)
            probing = plan_probing(plan)
            imported = {(row["unit"], row["tensor_type"]): row["kld"] for row in given}
            _check_units(probing, imported)
            chunks = probe_chunks(plan.config, text.n_chunks)
            run_probes(plan, probing, measurer, store, chunks, reporter, lambda: None, bench.builder.prefetch, imported)
        wanted = {(probe.subject, probe.tensor_type) for probe in probing.probes}
        return [
            {
                "unit": each.unit,
                "tensor_type": each.probe_type,
                "kld": each.kld,
                "standard_error": each.standard_error,
                "base": each.base,
                "source": each.source,
            }
            for each in store.sensitivities(model.id, text.text_id, text.settings_key)
            if (each.unit, each.probe_type) in wanted
        ]


def _check_units(probing: Probing, imported: Mapping[tuple[str, str], float]) -> None:
    known = {(probe.subject, probe.tensor_type) for probe in probing.probes}
    strange = sorted(set(imported) - known)
    if strange:
        unit, tensor_type = strange[0]
        raise ConfigError(
            f"the table of sensitivities names {unit} at {tensor_type}, which is no probe of this model and these "
            f"types ({len(strange)} such rows); was it made for another model?"
        )
