"""Compare samplers on the demo model at equal evaluated tokens, and judge their winners on report text.

usage: python -m benchmarks.search run [--only GROUPS] [--tokens 320000] [--folder FOLDER]
       python -m benchmarks.search judge [--folder FOLDER] [--keep]
       python -m benchmarks.search fresh [--folder FOLDER]

`run` takes hours on two cores; interrupted, the same command goes on. `judge` writes docs/benchmarks.json, and with
`--keep` only what the folder has replaces what stands there. `fresh` judges those that may be the best on more text.
`python -m benchmarks.search show` makes the tables and pictures of docs/benchmarks.md from it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.comparison import tables
from benchmarks.comparison.curves import draw
from benchmarks.comparison.fresh_text import judge_fresh, on_fresh_text
from benchmarks.comparison.jobs import (
    BUDGETS,
    OURS_LONG,
    OURS_LONGEST,
    RIVALS_LONGEST,
    RIVALS_THAT_LEARN,
    Job,
    comparison,
    imatrix,
    long_runs,
    ours_long,
    ours_longest,
    rivals_longest,
    spaces,
)
from benchmarks.comparison.judging_runs import JudgedChunks, judge_runs, updated
from benchmarks.comparison.longest_rivals import rivals_with_more_tokens
from benchmarks.comparison.running import run_jobs
from benchmarks.pages import fill

DOCS = Path(__file__).resolve().parent.parent / "docs"
FIGURES, PAGE, PICTURE = DOCS / "benchmarks.json", DOCS / "benchmarks.md", DOCS / "images" / "benchmark-search.svg"


def jobs_of(options: argparse.Namespace) -> list[Job]:
    groups = {
        "equal": comparison(options.tokens),
        "spaces": spaces(options.tokens),
        "imatrix": imatrix(options.tokens, (options.rivals.split(",")[0],)),
        OURS_LONG: ours_long(3 * options.tokens),
        OURS_LONGEST: ours_longest(9 * options.tokens),
        "long": long_runs(5 * options.tokens, tuple(options.rivals.split(","))),
        # five times what the longest of ours have evaluated when they end, after the trial that exceeds their tokens
        RIVALS_LONGEST: rivals_longest(46 * options.tokens, RIVALS_THAT_LEARN),
    }
    wanted = set(options.samplers.split(",")) if options.samplers else None
    return [job for name in options.only.split(",") for job in groups[name] if not wanted or job.sampler in wanted]


TABLES = (
    tables.at_equal_tokens,
    tables.tokens_to_arrive,
    rivals_with_more_tokens,
    tables.against_presets,
    tables.with_imatrix,
    tables.against_optimum,
    on_fresh_text,
    tables.leftovers,
)
"""Each stands in docs/benchmarks.md between a comment with its name and `<!-- end -->`."""


def read() -> dict[str, Any]:
    return dict(json.loads(FIGURES.read_text(encoding="utf-8")))


def write(figures: dict[str, Any]) -> None:
    beside = FIGURES.with_suffix(".part")
    beside.write_text(json.dumps(figures) + "\n", encoding="utf-8")
    beside.replace(FIGURES)


def show() -> None:
    """Put the tables into docs/benchmarks.md, and draw the curves."""
    figures = read()
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), TABLES, figures), encoding="utf-8")
    panels = {f"{budget} bytes": tables.curves(figures, budget) for budget in BUDGETS}
    PICTURE.write_text(draw(panels, "evaluated tokens"), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["run", "judge", "fresh", "show"])
    parser.add_argument(
        "--only",
        default="equal,spaces,imatrix,ours_long,ours_longest,long,rivals_longest",
        help="groups of jobs, by commas",
    )
    parser.add_argument("--samplers", default="", help="only these, separated by commas")
    parser.add_argument("--tokens", type=int, default=320_000)
    parser.add_argument("--rivals", default="tpe_shape,evolution_short", help="samplers of the long runs")
    parser.add_argument("--chunks", type=int, default=48, help="of search text")
    parser.add_argument("--report-chunks", type=int, default=1152, help="of report text, for winners")
    parser.add_argument("--rival-chunks", type=int, default=288, help="of them, for samplers that begin without probes")
    parser.add_argument("--curve-chunks", type=int, default=96, help="of them, for the picture")
    parser.add_argument("--fresh-pool", type=int, default=4608, help="chunks after those, to draw fresh ones from")
    parser.add_argument("--fresh-chunks", type=int, default=1536, help="drawn from them")
    parser.add_argument(
        "--keep", action="store_true", help="replace the same jobs only; ours stay among the best known"
    )
    parser.add_argument("--ctx-size", type=int, default=256)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("studies/benchmark"))
    options = parser.parse_args()
    if options.step == "run":
        run_jobs(jobs_of(options), options.folder, options.chunks, options.ctx_size, options.processes)
    elif options.step == "judge":
        judged = JudgedChunks(options.report_chunks, options.rival_chunks, options.curve_chunks)
        figures = judge_runs(options.folder, judged, options.ctx_size, with_presets=not options.keep)
        write(updated(read(), figures) if options.keep else figures)
    elif options.step == "fresh":
        figures = read()
        write({**figures, "fresh": judge_fresh(figures, options.folder, options.fresh_pool, options.fresh_chunks)})
    else:
        show()


if __name__ == "__main__":
    main()
