"""One line a trial, as it ends: number, where it came from, bytes, damage, and how it stands."""

from optimizer.search.budget import Budget
from optimizer.store import TrialRecord

HEADER = (
    f"{'trial':>5}  {'recipe':<22} {'bytes':>16} {'left':>9}  {'KLD (nats/token)':<20} "
    f"{'PPL':>8}  {'chunks':>6}  {'s':>5}"
)


def trial_line(trial: TrialRecord, budget: Budget, *, crowned: bool) -> str:
    """`left`: bytes below the budget. The KLD carries its standard error; a star marks the new best."""
    if trial.state == "failed":
        return f"{trial.number:>5}  [red]{_origin(trial):<22} failed: {trial.error}[/red]"
    kld = f"{trial.mean_kld:.6f} ± {trial.mean_kld_standard_error:.6f}" if trial.mean_kld is not None else ""
    left = budget.n_bytes - trial.size_bytes
    text = (
        f"{trial.number:>5}  {_origin(trial):<22} {trial.size_bytes:>16,} {left:>9,}  {kld:<20} "
        f"{trial.perplexity or 0:>8.4f}  {trial.chunks_scored:>6}  {trial.duration_seconds or 0:>5.1f}"
    )
    if crowned:
        return f"[bold green]{text}  * best so far[/bold green]"
    return f"[dim]{text}  out[/dim]" if trial.state == "pruned" else text


def _origin(trial: TrialRecord) -> str:
    return trial.name or trial.origin
