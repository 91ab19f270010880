"""Train the demo model on the CPU and write it as an F16 GGUF.

Usage: python -m demo.train [--steps 2150] [--seed 0] [--out demo/model]

Needs the packages torch, tokenizers and gguf. A checkpoint is written beside the model every 100 steps; the same
command continues an interrupted training from it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy

from demo.corpus import END_OF_TEXT, documents
from demo.export import write_gguf
from demo.model import Model, Shape
from demo.muon import Muon
from demo.tokenizer import train_tokenizer

ROWS = 8
RATE = 2e-3
WARM_UP = 50
FALLING = 0.45
BLANK_LINE_ROWS = 0.1
CHECKPOINT_STEPS = 100


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, a level part, then a linear fall to 1 % over the last ``FALLING`` part."""
    left = (steps - step) / (steps * FALLING)
    return RATE * min(1.0, (step + 1) / WARM_UP, max(left, 0.01))


def rows(tokenizer: Tokenizer, length: int, seed: int) -> Iterator[list[int]]:
    """Rows of ``length`` + 1 tokens, each opening with a new document and cut off at its end.

    Documents are ended by the end-of-text token; in a tenth of the rows by a blank line, as in the committed texts.
    """
    end, blank_line = [tokenizer.token_to_id(END_OF_TEXT)], tokenizer.encode("\n\n").ids
    stream = documents("training", seed)
    choice = torch.Generator().manual_seed(seed)
    while True:
        row: list[int] = []
        ending = blank_line if torch.rand(1, generator=choice).item() < BLANK_LINE_ROWS else end
        while len(row) <= length:
            row += tokenizer.encode(next(stream)).ids + ending
        yield row[: length + 1]


def make_optimizers(model: Model) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embedding, output and norms."""
    inner = [parameter for parameter in model.layers.parameters() if parameter.dim() == 2]
    outer = [model.embedding.weight, model.output.weight]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    groups = [{"params": outer, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    return [Muon(inner), torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)]


def train(steps: int, seed: int, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    vocabulary_file, checkpoint = out / "tokenizer.json", out / "checkpoint.pt"
    if not vocabulary_file.exists():
        train_tokenizer(seed).save(str(vocabulary_file))
    tokenizer = Tokenizer.from_file(str(vocabulary_file))
    torch.manual_seed(seed)
    shape = Shape(vocabulary=tokenizer.get_vocab_size())
    model = Model(shape)
    optimizers = make_optimizers(model)
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first = state["step"]
    source = rows(tokenizer, shape.context, seed + first)  # a continued training sees fresh documents
    started, losses = time.monotonic(), []
    for step in range(first, steps):
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = learning_rate(step, steps)
        batch = torch.tensor([next(source) for _ in range(ROWS)])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(batch[:, :-1])
        loss = cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 20 == 0:
            speed = len(losses) * ROWS * shape.context / (time.monotonic() - started)
            print(f"step {step + 1}/{steps} loss {sum(losses[-20:]) / 20:.4f} {speed:.0f} tokens/s", flush=True)
        if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == steps:
            states = [optimizer.state_dict() for optimizer in optimizers]
            state = {"model": model.state_dict(), "optimizers": states, "step": step + 1}
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").rename(checkpoint)
    write_gguf(model, tokenizer, out / "demo-F16.gguf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("demo/model"))
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    train(arguments.steps, arguments.seed, arguments.out)


if __name__ == "__main__":
    main()
