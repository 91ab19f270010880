"""Word problems in the manner of goldcoin, worked step by step.

A problem tracks the counts of two things through a chain of events, with sentences in between that change nothing. The
worked answer repeats each event and computes it: "He finds 5 apples: 24 + 5 = 29 apples."
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from demo.events import LARGEST, LARGEST_OPERAND, Hero, make_event

HEROES: dict[str, tuple[str, str]] = {
    "Tom": ("He", "his"), "Ben": ("He", "his"), "Max": ("He", "his"), "Sam": ("He", "his"),
    "Leo": ("He", "his"), "Jack": ("He", "his"), "Paul": ("He", "his"), "Karl": ("He", "his"),
    "Anna": ("She", "her"), "Lucy": ("She", "her"), "Mia": ("She", "her"), "Emma": ("She", "her"),
    "Rose": ("She", "her"), "Ella": ("She", "her"), "Kate": ("She", "her"), "Nora": ("She", "her"),
}  # fmt: skip
GOODS = ("apples", "pears", "eggs", "nuts", "plums", "shells", "stones", "cards", "stamps", "beads", "books", "roses")
SCENERY = (
    "The river runs near a big city.", "It rains all day.", "The sun is warm.", "The road is long.",
    "The wind is cold.",
    "The market is full of people.", "The old house is dark.", "The moon is bright.", "The bridge is old.",
)  # fmt: skip
COUNTED_SCENERY = (
    "A bell rings {n} times.", "The road is {n} miles long.", "The old man is {n} years old.",
    "A friend has {n} {item}.",
    "There are {n} trees near the river.", "A friend finds {n} {item}.", "A friend loses {n} {item}.",
)  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """A question, its worked answer as the model shall write it, the final number and the number of events."""

    question: str
    worked: str
    answer: int
    steps: int

    @property
    def prompt(self) -> str:
        """The text the model continues; its tokens end before the space that opens the answer."""
        return f"Question: {self.question}\nAnswer:"

    @property
    def document(self) -> str:
        return f"{self.prompt} {self.worked}"


def make_scenery(source: random.Random, items: list[str]) -> str:
    if source.random() < 0.5:
        return source.choice(SCENERY)
    return source.choice(COUNTED_SCENERY).format(n=source.randint(2, LARGEST_OPERAND), item=source.choice(items))


def make_problem(source: random.Random, steps: int) -> Problem:
    """A problem of ``steps`` events over two things, asking for one of them or for both together."""
    name = source.choice(list(HEROES))
    hero = Hero(name, *HEROES[name])
    first, second = source.sample(GOODS, 2)
    if source.random() < 0.7:
        second = "coins"
    counts = {first: source.randint(3, 50), second: source.randint(3, 50)}
    sentences = [f"{name} has {counts[first]} {first} and {counts[second]} {second}."]
    lines, seen = [], set[str]()
    for _ in range(steps):
        if source.random() < 0.2:
            sentences.append(make_scenery(source, [first, second]))
        event = make_event(source, hero, counts, seen)
        seen.add(event.sentence)
        sentences.append(event.sentence + ".")
        lines.append(f"{event.sentence}: {event.work}.")
        counts = event.counts
    total = counts[first] + counts[second]
    if source.random() < 0.3 and total <= LARGEST:
        sentences.append(f"How many {first} and {second} does {name} have together?")
        lines.append(f"How many {first} and {second}? {counts[first]} + {counts[second]} = {total}.")
        answer = total
    else:
        item = source.choice((first, second))
        sentences.append(f"How many {item} does {name} have?")
        lines.append(f"How many {item}?")
        answer = counts[item]
    lines.append(f"The answer is {answer}.")
    return Problem(" ".join(sentences), " ".join(lines), answer, steps)
