"""kill -9 of the searching process, at moments of chance: the next run finds whole results, and counts each once."""

import signal
import subprocess
import sys
import time

from optimizer.store import NewEvent, Store, TrialOutcome
from tests.store.studies import new_study

KILLS = 3

SEARCH = """
import sys
from optimizer.store import NewEvaluation, NewEvent, Store, TrialOutcome

store = Store.open(sys.argv[1])
study = store.find_study("night")
lease = store.acquire_lease(study.id, 600)
again = store.reconcile(lease)
while True:
    trial = again.pop(0).trial if again else store.start_trial(
        lease, origin="surrogate", recipe_id=1, size_bytes=100, params={}
    )
    number = trial.number
    key = store.add_settings({"ctx_size": 512, "engine": "b1"})
    scored = NewEvaluation(1, 1, key, number, 1, 512, ({"kld_sum": number},), {}, 0.1)
    store.finish_trial(
        lease, trial.id, TrialOutcome("complete", mean_kld=number), evaluations=[scored],
        events=[NewEvent("trial.finished", {"number": number}, trial.id)],
    )
    print(number, flush=True)
"""


def test_kill_9_in_the_middle_of_writing(database: str) -> None:
    with Store.open(database) as store:
        study = new_study(store)
        store.release_lease(study.lease)
    for kill in range(KILLS):
        command = [sys.executable, "-c", SEARCH, database]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = [process.stdout.readline() for _ in range(5)]
            time.sleep(0.007 * kill)
            process.send_signal(signal.SIGKILL)
        assert all(told)
    with Store.open(database) as store:
        lease = store.acquire_lease(study.study_id, 60)  # its holder is gone: no wait
        for interrupted in store.reconcile(lease):
            number = interrupted.trial.number
            store.add_evaluations([study.evaluation(number, n_chunks=1, tokens=512)], lease)
            store.finish_trial(
                lease,
                interrupted.trial.id,
                TrialOutcome("complete", mean_kld=number),
                events=[NewEvent("trial.finished", {"number": number}, interrupted.trial.id)],
            )
        trials = store.trials(study.study_id)
        numbers = list(range(len(trials)))
        assert len(trials) >= 5 * KILLS
        assert [(trial.number, trial.state, trial.mean_kld) for trial in trials] == [
            (number, "complete", number) for number in numbers
        ]
        events = store.pending_events(limit=100_000)
        assert sorted(event.payload["number"] for event in events) == numbers
        scored = store.find_evaluations(study.recipe_id, study.text_id, study.settings_key)
        assert [each.first_chunk for each in scored] == numbers
        assert store.study(study.study_id).tokens_evaluated == 512 * len(trials)
