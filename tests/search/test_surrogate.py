"""The surrogate against the same regression written out with explicit features."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from optimizer.search.problem import PAIRED_SHARE, Observation
from optimizer.search.surrogate import FAR_ERROR, MODEL_ERROR, DamageModel, Spreads

N_UNITS, N_OPTIONS = 7, 4
SPREADS = Spreads(0.3, 0.5, 0.2, 0.1)


def set_up(seed: int, n_trials: int) -> tuple[np.ndarray, np.ndarray, list[Observation]]:
    rng = np.random.default_rng(seed)
    prior = rng.lognormal(0, 1, (N_UNITS, 1)) * np.exp(-np.arange(N_OPTIONS))
    prior[2, 3] = np.inf
    classes = (np.arange(N_OPTIONS) + np.arange(N_UNITS)[:, None]) % 5
    observations = []
    for number in range(n_trials):
        choice = rng.integers(0, N_OPTIONS - 1, N_UNITS)
        damage = float(prior[np.arange(N_UNITS), choice].sum() * rng.lognormal(0, 0.2))
        share, paired = (0.25, 0.05 * damage) if number % 3 == 1 else (1.0, 0.0)
        observations.append(Observation(choice, damage, 0.1 * damage, share, paired))
    return prior, classes, observations


def features(prior: np.ndarray, classes: np.ndarray, choice: np.ndarray) -> np.ndarray:
    """Scale, units, classes and options, each times its spread."""
    rows = np.arange(N_UNITS)
    terms = prior[rows, choice]
    by_class = np.zeros(5)
    np.add.at(by_class, classes[rows, choice], terms)
    by_option = np.zeros((N_UNITS, N_OPTIONS))
    by_option[rows, choice] = terms
    parts = ([terms.sum()], terms, by_class, by_option.ravel())
    return np.concatenate([spread * np.asarray(part) for spread, part in zip(SPREADS, parts, strict=True)])


def explicit(
    prior: np.ndarray, classes: np.ndarray, observations: list[Observation]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features of the trials, their damages, what the prior expects of them, and the noise's variances."""
    table = np.array([features(prior, classes, o.choice) for o in observations])
    damage = np.array([o.damage for o in observations])
    expected = np.array([prior[np.arange(N_UNITS), o.choice].sum() for o in observations])
    error = np.array([max(PAIRED_SHARE * o.standard_error, o.paired_error) for o in observations])
    noise = error**2 + (MODEL_ERROR * damage) ** 2 + (FAR_ERROR * (damage - damage.min())) ** 2
    return table, damage, expected, noise


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_prediction_is_that_of_the_explicit_regression(seed: int, n_trials: int) -> None:
    prior, classes, observations = set_up(seed, n_trials)
    table, damage, expected, noise = explicit(prior, classes, observations)
    precision = np.eye(table.shape[1]) + (table.T / noise) @ table
    weights = np.linalg.solve(precision, table.T @ ((damage - expected) / noise))
    choice = np.random.default_rng(seed + 1).integers(0, N_OPTIONS - 1, N_UNITS)
    row = features(prior, classes, choice)
    mean = prior[np.arange(N_UNITS), choice].sum() + row @ weights
    variance = row @ np.linalg.solve(precision, row)
    variance += (MODEL_ERROR * mean) ** 2 + (FAR_ERROR * max(0.0, mean - damage.min())) ** 2
    variance += np.median([PAIRED_SHARE * o.standard_error for o in observations if o.share == 1.0]) ** 2
    model = DamageModel(prior, classes, observations, SPREADS)
    found = model.predictive(choice)
    assert found.mean == pytest.approx(mean, rel=1e-6)
    assert found.standard_deviation == pytest.approx(np.sqrt(variance), rel=1e-5)
    assert model.predict(choice) == pytest.approx(mean, rel=1e-6)
    assert np.isinf(model.mean()[2, 3])


def test_evidence_is_the_density_of_the_trials() -> None:
    prior, classes, observations = set_up(3, 20)
    table, damage, expected, noise = explicit(prior, classes, observations)
    density = multivariate_normal(expected, table @ table.T + np.diag(noise)).logpdf(damage)
    found = DamageModel(prior, classes, observations, SPREADS).log_evidence()
    assert found == pytest.approx(density + 10 * np.log(2 * np.pi), rel=1e-6)


def test_looking_at_the_model_changes_nothing() -> None:
    """Told one by one with looks in between, or in one go: the same to the last bit, over new bests and not."""
    prior, classes, observations = set_up(5, 40)
    looked_at = DamageModel(prior, classes)
    for observation in observations:
        foreseen = looked_at.predictive(observation.choice)
        looked_at.mean()
        assert looked_at.tell(observation) == foreseen
    at_once = DamageModel(prior, classes, observations)
    assert np.array_equal(looked_at.mean(), at_once.mean())
    draws = [model.sample(np.random.default_rng(1)) for model in (looked_at, at_once)]
    assert np.array_equal(*draws)


def test_draws_scatter_as_the_posterior_says() -> None:
    prior, classes, observations = set_up(7, 12)
    model = DamageModel(prior, classes, observations, SPREADS)
    table, damage, _, noise = explicit(prior, classes, observations)
    choice = np.array([0, 1, 2, 0, 1, 2, 0])
    row = features(prior, classes, choice)
    variance = row @ np.linalg.solve(np.eye(table.shape[1]) + (table.T / noise) @ table, row)
    rng = np.random.default_rng(0)
    drawn = np.array([model.sample(rng)[np.arange(N_UNITS), choice].sum() for _ in range(1500)])
    assert drawn.mean() == pytest.approx(model.predict(choice), abs=5 * np.sqrt(variance / 1500))
    assert drawn.std() == pytest.approx(np.sqrt(variance), rel=0.1)
    assert np.sqrt(variance) < damage.min()


def test_repeated_trials_do_not_break_the_factor() -> None:
    prior, classes, observations = set_up(9, 1)
    exact = Observation(observations[0].choice, observations[0].damage, 0.0)
    model = DamageModel(prior, classes, [exact] * 30)
    assert model.predict(exact.choice) == pytest.approx(exact.damage, rel=0.01)
