"""Texts that are no word problems: drills, counting, lists, diaries and plain stories."""

from __future__ import annotations

import random

from demo.events import LARGEST, LARGEST_OPERAND
from demo.problems import GOODS, HEROES

PLACES = ("river", "market", "old bridge", "forest", "lake", "mill", "castle", "garden", "hill", "harbor")
ANIMALS = ("dog", "cat", "horse", "bird", "fox", "goat")
COLORS = ("red", "green", "blue", "white", "black", "yellow", "old", "new", "small", "big")
FINDS = ("ring", "key", "map", "letter", "lamp", "clock", "boat", "hat", "box", "flute")
WEATHER = ("The sun was warm", "It rained all day", "The wind was cold", "The moon was bright", "Snow fell on the road")
DEEDS = (
    "walked to the {place}", "slept near the {place}", "met a {color} {animal}", "followed the {animal} to the {place}",
    "found a {color} {find} near the {place}", "lost the {color} {find}", "looked for the {find} all day",
    "asked an old man about the {find}", "gave the {find} to a friend", "sang a song for the {animal}",
    "drew a map of the {place}", "opened the {color} box", "ran home", "wrote a letter to a friend",
)  # fmt: skip
ENDINGS = ("They went home together.", "It was a good day.", "The {animal} was happy.", "The {find} was safe again.")


def fill(source: random.Random, text: str) -> str:
    return text.format(
        place=source.choice(PLACES),
        animal=source.choice(ANIMALS),
        color=source.choice(COLORS),
        find=source.choice(FINDS),
    )


def question(request: str, answer: str) -> str:
    return f"Question: {request}\nAnswer:{answer}"


def make_drill(source: random.Random) -> str:
    """A page of bare sums over the numbers 0-99."""
    sums = []
    while len(sums) < 16:
        operator = source.choice("++--*/")
        left, right = source.randint(0, LARGEST), source.randint(1, LARGEST_OPERAND)
        if operator == "+" and left + right <= LARGEST:
            sums.append(f"{left} + {right} = {left + right}")
        elif operator == "-" and left >= right:
            sums.append(f"{left} - {right} = {left - right}")
        elif operator == "*":
            left, right = (left % 50, 2) if source.random() < 0.3 else (source.randint(2, 9), source.randint(2, 9))
            sums.append(f"{left} * {right} = {left * right}")
        elif operator == "/":
            right = source.randint(2, 5)
            left = right * source.randint(1, LARGEST // right)
            sums.append(f"{left} / {right} = {left // right}")
    return "Sums: " + ", ".join(sums) + "."


def make_counting(source: random.Random) -> str:
    step, length = source.choice((1, 1, 2, 3, 5)), source.randint(8, 40)
    start = source.randint(0, max(0, LARGEST - step * length))
    numbers = list(range(start, LARGEST + 1, step))[: length + 1]
    if source.random() < 0.4:
        numbers.reverse()
    direction = "up" if numbers[-1] > numbers[0] else "down"
    return question(
        f"Count {direction} from {numbers[0]} to {numbers[-1]} by {step}.", " " + ", ".join(map(str, numbers)) + "."
    )


def make_list(source: random.Random) -> str:
    length, place = source.randint(6, 24), source.choice(PLACES)
    lines = [
        f"{number}. {source.randint(2, 40)} {source.choice(COLORS)} {source.choice(GOODS)}"
        for number in range(1, length + 1)
    ]
    return question(f"Write a list of {length} things near the {place}.", "\n" + "\n".join(lines))


def make_diary(source: random.Random) -> str:
    """One line a day, the count of one thing carried from day to day; the request says how many days."""
    name, item = source.choice(list(HEROES)), source.choice(GOODS)
    days, change = source.randint(5, 20), source.randint(1, 4)
    start = source.randint(0, LARGEST - days * change)
    lines = [
        f"Day {day}: {name} {fill(source, source.choice(DEEDS))} and had {start + day * change} {item}."
        for day in range(1, days + 1)
    ]
    request = f"Write the diary of {name} for {days} days. {name} had {start} {item} and found {change} {item} a day."
    return question(request, "\n" + "\n".join(lines))


def make_story(source: random.Random, requested: bool) -> str:
    """A story in numbered parts where it is requested, else plain paragraphs."""
    name = source.choice(list(HEROES))
    parts, paragraphs = source.randint(2, 8), []
    for part in range(1, parts + 1):
        sentences = [f"{source.choice(WEATHER)}."] if source.random() < 0.5 else []
        for position in range(source.randint(2, 3)):
            subject = name if position == 0 else HEROES[name][0]
            sentences.append(f"{subject} {fill(source, source.choice(DEEDS))}.")
        paragraphs.append((f"Part {part}: " if requested else "") + " ".join(sentences))
    paragraphs[-1] += " " + fill(source, source.choice(ENDINGS))
    text = "\n".join(paragraphs)
    return question(f"Write a story about {name} in {parts} parts.", "\n" + text) if requested else text
