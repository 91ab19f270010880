"""One line a trial, as it ends: number, where its recipe came from, bytes, damage, and how it stands."""

from rich.markup import escape

from optimizer.search.best import estimated_kld, kept_out, only_lucky, prompts_solved
from optimizer.store import TrialRecord

HEADER = f"{'trial':>5} {'recipe':<20} {'bytes':>14} {'KLD (nats/token)':<19} {'chunks':>6} {'s':>6}"


def trial_line(trial: TrialRecord, *, crowned: bool) -> str:
    """The KLD carries its standard error; a star marks the new best, `out` a trial that lost its race, whose KLD is
    estimated for all chunks (~).

    A trial that answered prompts says how many of the search half it solved.
    """
    start = f"{trial.number:>5} {(trial.name or trial.origin):<20.20}"
    if trial.state == "failed":
        return f"[red]{start} failed: {escape(str(trial.error))}[/red]"
    estimate = estimated_kld(trial)
    kld = f"{trial.mean_kld:.6f} ± {trial.mean_kld_standard_error:.6f}" if trial.mean_kld is not None else ""
    kld = kld if estimate is None else f"~{estimate:.6f}"
    text = f"{start} {trial.size_bytes:>14,} {kld:<19} {trial.chunks_scored:>6} {trial.duration_seconds or 0:>6.1f}"
    if (solved := prompts_solved(trial)) is not None:
        text += f" {solved} solved"
    if (reason := kept_out(trial)) is not None:
        return f"[yellow]{text} kept out: {escape(reason)}[/yellow]"
    if only_lucky(trial) is not None:
        return f"{text} less here, not on fresh text"
    if crowned:
        return f"[bold green]{text} * best[/bold green]"
    return f"[dim]{text} out[/dim]" if trial.state == "pruned" else text
