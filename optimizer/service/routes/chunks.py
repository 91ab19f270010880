"""`/api/studies/STUDY/trials/N/chunks`: what a trial cost chunk by chunk, on both texts."""

from math import exp
from typing import Any

from fastapi import APIRouter

from evaluators.divergence import ChunkScore
from optimizer.service.context import Here
from optimizer.service.pages.trial_data import scores_of
from optimizer.service.routes.trials import Number, trial_of
from optimizer.service.shapes import answers
from optimizer.service.trial_shapes import TrialChunks

router = APIRouter(prefix="/studies/{study}", tags=["trials"])


@router.get("/trials/{number}/chunks", **answers(TrialChunks))
def list_chunks(study: str, number: Number, here: Here) -> dict[str, Any]:
    """Every chunk that it was scored on, of the search text and then of the report text; none while it waits."""
    record = here.study(study)
    texts = [
        {
            "text": each.text,
            "tokens": sum(chunk.tokens for chunk in each.chunks),
            "mean_kld": each.score.mean_kld,
            "mean_kld_standard_error": each.score.mean_kld_standard_error,
            "chunks": [_chunk(chunk, each.counts.get(chunk.chunk, 0.0)) for chunk in each.chunks],
        }
        for each in scores_of(here, record, trial_of(here, record, number))
    ]
    return {"study": study, "number": number, "texts": texts}


def _chunk(score: ChunkScore, counts: float) -> dict[str, Any]:
    return {
        "chunk": score.chunk,
        "tokens": score.tokens,
        "counts": counts,
        "mean_kld": score.mean_kld,
        "perplexity": exp(score.nll_sum / score.tokens),
        "reference_perplexity": exp(score.reference_nll_sum / score.tokens),
        "top1_agreement": score.same_top / score.tokens,
    }
