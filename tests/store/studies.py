"""A study in a store, with what its trials need."""

from dataclasses import dataclass

from optimizer.store import Lease, NewEvaluation, NewEvent, Store, TrialOutcome, TrialRecord


@dataclass
class Fixture:
    store: Store
    study_id: int
    lease: Lease
    recipe_id: int
    text_id: int
    settings_key: str

    def start(self, **changes: object) -> TrialRecord:
        values = {"origin": "surrogate", "recipe_id": self.recipe_id, "size_bytes": 100, "params": {"blk.0": "Q4_K"}}
        return self.store.start_trial(self.lease, **(values | changes))

    def finish(self, trial: TrialRecord, mean_kld: float = 0.5, **changes: object) -> TrialRecord:
        outcome = TrialOutcome("complete", mean_kld=mean_kld)
        return self.store.finish_trial(
            self.lease, trial.id, outcome, **({"events": [NewEvent("trial.finished", trial_id=trial.id)]} | changes)
        )

    def evaluation(self, first_chunk: int = 0, **changes: object) -> NewEvaluation:
        values = {
            "recipe_id": self.recipe_id,
            "text_id": self.text_id,
            "settings_key": self.settings_key,
            "first_chunk": first_chunk,
            "n_chunks": 2,
            "tokens": 1024,
            "chunks": ({"kld_sum": 0.1 + 0.2}, {"kld_sum": 1e-300}),
            "summary": {"mean_kld": 0.3},
            "duration_seconds": 1.5,
        }
        return NewEvaluation(**(values | changes))


def new_study(store: Store, name: str = "night") -> Fixture:
    model = store.add_model(
        fingerprint="f1", name="tiny", path="tiny.gguf", architecture="qwen3", n_layer=2, size_bytes=1000
    )
    study = store.create_study(name, model.id, {"budget": "IQ4_XS"}, seed=7)
    recipe = store.add_recipe(model.id, "k1", {"blk.0.ffn_up.weight": "Q4_K"}, plain_bytes=100)
    text = store.add_text(sha256="t1", path="search.txt", n_bytes=5000)
    key = store.add_settings({"ctx_size": 512, "engine": "b1"})
    return Fixture(store, study.id, store.acquire_lease(study.id, 60), recipe.id, text.id, key)
