"""The events of a word problem: gains, losses, sharing and prices, each with its calculations.

A maker draws one event for the counts as they stand; None where it would leave 0-99 or not divide evenly.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

GAIN_VERBS = ("finds", "wins", "gets", "gains", "picks up", "is given")
LOSS_VERBS = ("loses", "drops", "gives away", "breaks", "throws away", "forgets")
CARRIERS = ("birds", "friends", "boys", "girls", "men", "dogs")
LARGEST = 99
LARGEST_OPERAND = 29


@dataclass(frozen=True)
class Hero:
    name: str
    subject: str
    possessive: str


@dataclass(frozen=True)
class Event:
    """One sentence (without its full stop), the calculations that work it out, and the counts after it."""

    sentence: str
    work: str
    counts: dict[str, int]


Maker = Callable[[random.Random, Hero, dict[str, int]], Event | None]


def gain(source: random.Random, hero: Hero, counts: dict[str, int]) -> Event | None:
    item, number = source.choice(list(counts)), source.randint(2, LARGEST_OPERAND)
    after = counts[item] + number
    if after > LARGEST:
        return None
    return Event(
        f"{hero.subject} {source.choice(GAIN_VERBS)} {number} {item}",
        f"{counts[item]} + {number} = {after} {item}",
        counts | {item: after},
    )


def loss(source: random.Random, hero: Hero, counts: dict[str, int]) -> Event | None:
    item, number = source.choice(list(counts)), source.randint(2, LARGEST_OPERAND)
    after = counts[item] - number
    if after < 0:
        return None
    return Event(
        f"{hero.subject} {source.choice(LOSS_VERBS)} {number} {item}",
        f"{counts[item]} - {number} = {after} {item}",
        counts | {item: after},
    )


def carried(source: random.Random, hero: Hero, counts: dict[str, int]) -> Event | None:
    item, carriers, each = source.choice(list(counts)), source.randint(2, 5), source.randint(2, 9)
    after = counts[item] + carriers * each
    if after > LARGEST:
        return None
    return Event(
        f"{carriers} {source.choice(CARRIERS)} bring {each} {item} each",
        f"{carriers} * {each} = {carriers * each}, {counts[item]} + {carriers * each} = {after} {item}",
        counts | {item: after},
    )


def doubled(source: random.Random, hero: Hero, counts: dict[str, int]) -> Event | None:
    item = source.choice(list(counts))
    after = counts[item] * 2
    if not 0 < after <= LARGEST:
        return None
    return Event(
        f"A wizard doubles {hero.possessive} {item}", f"{counts[item]} * 2 = {after} {item}", counts | {item: after}
    )


def shared(source: random.Random, hero: Hero, counts: dict[str, int]) -> Event | None:
    item, friends = source.choice(list(counts)), source.randint(1, 4)
    if counts[item] == 0 or counts[item] % (friends + 1):
        return None
    after = counts[item] // (friends + 1)
    return Event(
        f"{hero.subject} shares {hero.possessive} {item} equally with {friends} friend{'s' if friends > 1 else ''}",
        f"{counts[item]} / {friends + 1} = {after} {item}",
        counts | {item: after},
    )


def won_together(source: random.Random, hero: Hero, counts: dict[str, int]) -> Event | None:
    item, friends, part = source.choice(list(counts)), source.randint(1, 4), source.randint(1, 9)
    whole, after = part * (friends + 1), counts[item] + part
    if after > LARGEST:
        return None
    return Event(
        f"{hero.subject} wins {whole} {item} but shares them with {friends} friend{'s' if friends > 1 else ''}",
        f"{whole} / {friends + 1} = {part}, {counts[item]} + {part} = {after} {item}",
        counts | {item: after},
    )


def traded(source: random.Random, hero: Hero, counts: dict[str, int]) -> Event | None:
    """Buying or selling at a price; needs coins among the counts."""
    goods = [item for item in counts if item != "coins"]
    if len(goods) == len(counts):
        return None
    item, number, price = source.choice(goods), source.randint(2, 9), source.randint(2, 5)
    sign = source.choice((1, -1))
    coins, things = counts["coins"] - sign * number * price, counts[item] + sign * number
    if not (0 <= coins <= LARGEST and 0 <= things <= LARGEST):
        return None
    coin_operator, thing_operator = ("-", "+") if sign > 0 else ("+", "-")
    return Event(
        f"{hero.subject} {'buys' if sign > 0 else 'sells'} {number} {item} for {price} coins each",
        f"{number} * {price} = {number * price}, {counts['coins']} {coin_operator} {number * price} = {coins} coins, "
        f"{counts[item]} {thing_operator} {number} = {things} {item}",
        counts | {"coins": coins, item: things},
    )


MAKERS: tuple[tuple[Maker, int], ...] = (
    (gain, 28), (loss, 28), (carried, 10), (doubled, 6), (shared, 8), (won_together, 8), (traded, 16),
)  # fmt: skip


def make_event(source: random.Random, hero: Hero, counts: dict[str, int], seen: set[str]) -> Event:
    """An event that fits the counts and whose sentence is not in ``seen`` yet."""
    makers, weights = zip(*MAKERS, strict=True)
    while True:
        event = source.choices(makers, weights)[0](source, hero, counts)
        if event is not None and event.sentence not in seen:
            return event
