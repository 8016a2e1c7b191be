"""Models of tests that write their texts piece by piece."""

import threading

import motet as mt

GATES: dict[str, threading.Event] = {}
"""What writers wait for before each piece, by the first word of what they are asked."""
CLOSED: list[str] = []
"""What was written no further, since nobody listened."""


def words(text):
    """Each word, with the space behind it but for the last."""
    return [each + " " for each in text.split(" ")[:-1]] + text.split(" ")[-1:]


@mt.returns("string")
def shouting(texts):
    """Says each text in capitals, word by word; 13 fails."""
    for row, text in enumerate(texts):
        gate = GATES.get(text.split(" ")[0])
        try:
            for word in words(text):
                if word.strip() == "13":
                    yield row, ValueError("13 brings bad luck")
                    break
                if gate is not None:
                    gate.wait(60)
                    gate.clear()
                yield row, word.upper()
        except GeneratorExit:
            CLOSED.append(text)
            raise


def endless(texts):
    """Writes on and on."""
    try:
        while True:
            yield 0, "on and on " * 20
    finally:
        CLOSED.append(texts[0])


@mt.returns("string")
def halving(texts):
    """Says half of a character (a surrogate) behind a word."""
    for row, text in enumerate(texts):
        yield row, f"{text} "
        yield row, "\ud83d"
        yield row, "\ude00"


def mumbling(texts):
    """Yields something else behind a row and a piece."""
    yield 0, texts[0]
    yield texts[0]


@mt.returns({"text": "string", "score": "float64"})
def sure(texts):
    """Whole answers, surer of short texts."""
    return {"text": [f"small {text}" for text in texts], "score": [0.99 if len(t) < 8 else 0.1 for t in texts]}


@mt.returns({"text": "string", "score": "float64"})
def surest(texts):
    """Surer still."""
    return sure(texts) | {"score": [1.0] * len(texts)}


@mt.returns("string")
def titled(texts):
    """Changes what was written."""
    return [f"{text}!" for text in texts]


class Counting:
    """Counts to what it is asked, as an object whose calls yield."""

    def __init__(self, start=0):
        self.start = start

    def __call__(self, text):
        for row, each in enumerate(text):
            for number in range(self.start, int(each)):
                yield row, f"{number},"
