"""What a search and `layerquant probe` do while the database is away: they wait, and say so."""

from rich.markup import escape

from optimizer.config import SearchConfig
from optimizer.progress import Reporter
from optimizer.store import Store


def wait_through_outages(store: Store, config: SearchConfig, reporter: Reporter) -> None:
    """From now on, `database_wait` seconds at most; see docs/store.md."""
    store.wait_when_away(config.database_wait, lambda text: reporter.line(f"[yellow]{escape(text)}[/yellow]"))
