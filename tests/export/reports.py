"""A study's report as `report --json` shows it, made up."""

from typing import Any


def row(name: str, kind: str, size_bytes: int, kld: float, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "size_bytes": size_bytes,
        "bits_per_weight": 8 * size_bytes / 8_000_000,
        "mean_kld": kld,
        "mean_kld_standard_error": kld / 20,
        "perplexity": 5.0 + kld,
        "perplexity_standard_error": 0.02,
        "top1_agreement": 0.97,
        **more,
    }


def front(budget_bytes: int = 4_500_000, **more: Any) -> dict[str, Any]:
    best = row("", "", budget_bytes - 100, 0.008)
    del best["name"], best["kind"]
    return {
        "budget": "IQ4_XS",
        "budget_bytes": budget_bytes,
        "best": {
            **best,
            "trial": 17,
            "layer_types": '[\n["DEF","MIX_1","preset=Q4_K_M","attn_v=Q6_K"],\n[0,"MIX_1"],\n[1,"Q4_K_S"]\n]',
            "flags": "--token-embedding-type Q6_K",
        },
        "baselines": [
            row("Q3_K_M", "preset", 4_000_000, 0.05),
            row("IQ4_XS", "preset", budget_bytes, 0.012),
            row("Q4_K_S", "preset", budget_bytes + 200_000, 0.011),
            row("QwQ hybrid | stretched", "hybrid", 4_400_000, 0.02),
        ],
        "interpolated_preset_kld": 0.0121,
        "interpolated_allowed_preset_kld": None,
        "extrapolated": False,
        "verdict": "the winner loses 0.67 x the KLD of IQ4_XS, the best stock preset that fits",
        **more,
    }


def report(**more: Any) -> dict[str, Any]:
    return {
        "study": "demo",
        "model": {
            "name": "Demo <b>&</b> `model`",
            "path": "/home/someone/models/demo-F16.gguf",
            "architecture": "qwen3",
            "n_layer": 2,
            "parameters": 8_000_000,
            "size_bytes": 16_000_000,
        },
        "report_text": {"path": "/home/someone/texts/report.txt", "sha256": "00", "chunks": 32},
        "engine": {"name": "llama.cpp", "version": "0.3.36"},
        "reference_perplexity": 5.0,
        "noise_floor_kld": 3.2e-7,
        **front(),
        "fronts": None,
        **more,
    }


FINDINGS: dict[str, Any] = {
    "honesty": {
        "pairs": 3,
        "spearman": 0.5,
        "median_ratio": 1.1,
        "spread": 0.042,
        "trials": [{"trial": n, "predicted_kld": 0.01 * n, "mean_kld": 0.011 * n} for n in (1, 2, 3)],
    },
    "front": {
        "points": [
            {"budget": "Q3_K_M", "trial": 4, "size_bytes": 3_999_900, "mean_kld": 0.02,
             "mean_kld_standard_error": 0.001, "why_not": None},
            {"budget": "Q5_K_S", "trial": 9, "size_bytes": 4_999_900, "mean_kld": 0.03,
             "mean_kld_standard_error": 0.001,
             "why_not": "on report text trial 9 of budget Q5_K_S loses 50.0 % more <b>"},
        ],
        "hypervolume": 1.5e6,
        "mean_log_reduction": 1.25,
        "search_hypervolume_over_tokens": [{"tokens": 10, "hypervolume": 0.0}, {"tokens": 30, "hypervolume": 1.6e6}],
    },
}  # fmt: skip
"""Of a study with several budgets."""
WIDER = [
    {"budget": "IQ4_XS", "change": "decide by groups", "expected_ratio": 0.8, "low": 0.7, "high": 0.9,
     "error_from": "assumed", "note": "why <i>"},
]  # fmt: skip

RECIPE = {
    "token_embd.weight": "Q6_K",
    "blk.0.attn_v.weight": "Q6_K",
    "blk.1.attn_v.weight": "Q4_K",
    "blk.0.ffn_down.weight": "Q4_K",
    "blk.1.ffn_down.weight": "Q4_K",
    "blk.1.ssm_out.weight": "Q8_0",
}

PROMPTS: dict[str, Any] = {
    "suite": "core/report <i>",
    "total": 24,
    "kept_out": None,
    "rows": [
        {"kind": kind, "name": name, "solved": solved, "total": 24, "unavailable": 1, "solved_interval": [0.5, 0.9],
         "loops": loops, "out_of_tokens": 3, "generated_tokens": 12_345, "agreement": agreement, "paired": paired}
        for kind, name, solved, loops, agreement, paired in (
            ("source", "source", 20, 0, None, {"gained": 1, "lost": 2, "compared": 23, "p_value": 1.0}),
            ("winner", "trial 17", 19, 0, {"share": 0.625}, None),
            ("preset", "IQ4_XS", 16, 1, {"share": 0.5}, {"gained": 4, "lost": 1, "compared": 23, "p_value": 0.375}),
        )
    ],
}  # fmt: skip
"""Of one budget: answers to the report half of a suite."""
