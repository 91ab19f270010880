"""Measure a model's sensitivities on their own, without a study."""

from dataclasses import dataclass
from typing import Any

from evaluators.process import EvaluatorProcess
from optimizer.errors import ConfigError
from optimizer.progress import Reporter
from optimizer.search.bench import EvaluatorFactory, open_bench, pool_chunks, probe_chunks
from optimizer.search.claiming import add_model
from optimizer.search.outages import wait_through_outages
from optimizer.search.planning import Plan
from optimizer.search.probes import Sensitivities
from optimizer.search.probing import Probing, plan_probing, run_probes
from optimizer.search.sensitivity_shares import own_subjects
from optimizer.search.sensitivity_table import LAYERQUANT, UNIFORM, SensitivityTable, check_same_model
from optimizer.search.texts import choose_text, prepare_text
from optimizer.search.units import group_tensors
from optimizer.store import SensitivityRecord
from optimizer.workplace import Workplace


@dataclass(frozen=True)
class ProbeOutcome:
    """records: one a probe that could be measured or was taken from a file. fitted: shares and curve made of them.

    tensors: the quantizable ones in the model's order.
    """

    records: tuple[SensitivityRecord, ...]
    fitted: Sensitivities
    probe_type: str
    tensors: tuple[str, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One a probe: unit, tensor_type, kld, standard_error, base, source."""
        return [
            {
                "unit": each.unit,
                "tensor_type": each.probe_type,
                "kld": each.kld,
                "standard_error": each.standard_error,
                "base": each.base,
                "source": each.source,
            }
            for each in self.records
        ]

    @property
    def group_klds(self) -> dict[str, float]:
        """Tensor group -> KLD of the model with that group at the probe type, by the fitted shares."""
        return {
            group: sum(self.fitted.damage(tensor, self.probe_type) for tensor in members)
            for group, members in group_tensors(self.tensors, "groups").items()
        }


def probe_only(
    plan: Plan,
    workplace: Workplace,
    reporter: Reporter,
    given: SensitivityTable | None = None,
    *,
    evaluator_factory: EvaluatorFactory = EvaluatorProcess,
) -> ProbeOutcome:
    """Measure a plan's sensitivities without a study; what `given` has is kept as imported and not measured again."""
    probing = plan_probing(plan)
    imported = taken_probes(given, probing, plan) if given else {}
    choice = choose_text(plan.config.search_text, "search")
    if choice.bundled:
        reporter.line(f"[yellow]using the bundled {choice.path.name}; text like your readers' own is better[/yellow]")
    with workplace.open_store() as store:
        wait_through_outages(store, plan.config, reporter)
        model = add_model(store, plan)
        with open_bench(plan, workplace, store, model, reporter, evaluator_factory) as bench:
            pool = pool_chunks(plan.config, bench.scorer.count_chunks(choice.path))
            reporter.phase("reference: search text", pool)
            text = prepare_text(bench, choice, pool, lambda done, _: reporter.advance(done))
            measurer = bench.measurer(None, text, reporter)
            chunks = probe_chunks(plan.config, text.n_chunks)
            fitted = run_probes(plan, probing, measurer, store, chunks, reporter, lambda: None, imported)
        wanted = {(probe.subject, probe.tensor_type) for probe in probing.probes}
        kept = store.sensitivities(model.id, text.text_id, text.settings_key)
        ours = [each for each in kept if (each.unit, each.probe_type) in wanted and each.base == probing.base.name]
        return ProbeOutcome(tuple(ours), fitted, probing.probe_type, tuple(plan.parameters))


def taken_probes(table: SensitivityTable, probing: Probing, plan: Plan) -> dict[tuple[str, str], float]:
    """(unit, type) -> KLD of the probes that a table has in place of a measurement.

    Raises ConfigError for a table of another model, of relative changes, from another base, or without any such probe.
    """
    probe_type, base = probing.probe_type, probing.base
    if table.relative:
        raise ConfigError(
            f"{table.path} holds percentages, and a probe needs KLD; collect the results with --no-percentage, "
            "or take shares only: layerquant search --sensitivities FILE"
        )
    made_from = table.base_type or "source"
    if made_from != base.name:
        raise ConfigError(
            f"{table.path} was measured from {made_from}, and these probes start from {base.name}; "
            f"set probe_base={'source' if made_from == 'source' else 'budget'}"
        )
    parts = {probe.subject: probe.tensors for probe in probing.probes if probe.kind != UNIFORM}
    known = own_subjects(plan.parameters) if table.form == LAYERQUANT else {*plan.model.by_name}
    found = table.by_part(probe_type, parts)
    is_partial = table.form == LAYERQUANT or probe_type not in table.klds  # then nothing is said of the others
    check_same_model(table, known, len(parts) if is_partial else len(found), len(parts))
    if table.form == LAYERQUANT and not {*table.klds.get(probe_type, {})} <= {*parts}:
        raise ConfigError(
            f"{table.path} was probed by other parts than these probes ({', '.join(list(parts)[:3])}, …); "
            "set probing=groups or probing=layers_roles"
        )
    taken = {(part, probe_type): kld for part, kld in found.items()}
    taken |= {(UNIFORM, tensor_type): kld for tensor_type, kld in table.curve.items()}
    wanted = {(probe.subject, probe.tensor_type) for probe in probing.probes}
    taken = {key: kld for key, kld in taken.items() if key in wanted}
    if not taken:
        raise ConfigError(
            f"{table.path} has {', '.join(table.klds or table.curve) or 'no type'} and none of the probes of this "
            f"model at {probe_type}; take its shares with layerquant search --sensitivities FILE"
        )
    return taken
