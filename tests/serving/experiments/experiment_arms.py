"""Graphs with an experiment, and what asks a server of one."""

import json
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing

import motet as mt
from helpers.until import until

NAMES = ("plain", "bold")


def plain(x):
    if (x == -1).any():
        raise ValueError("a row of -1")
    return {"score": x}


def bold(x):
    if (x < 0).any():
        raise ValueError("a row below 0")
    return {"score": x + 100}


def models():
    uri = "python:serving.experiments.experiment_arms:{}"
    return [mt.Model(uri.format(n), n, inputs={"x": "float32"}, outputs={"score": "float32"}) for n in NAMES]


def shop(name="shop", metric="clicked", **split):
    """Two arms by user; -1 fails in either, and -2 in the second."""
    user, x = mt.input("user", "string"), mt.input("x", "float32")
    arm = mt.route(models(), x, split=split or {"plain": 1, "bold": 1}, by=user, metric=metric, name="ab")
    return mt.Graph(name, outputs={"score": arm})


class Asked:
    """What a server answered: `status`, `headers`, `body`."""

    def __init__(self, url, body=None, key=None):
        headers = {"content-type": "application/json"} | ({"x-api-key": key} if key else {})
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(url, data, headers), timeout=60) as answer:
                self.status, self.headers, self.body = answer.status, answer.headers, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                self.status, self.headers, self.body = error.code, error.headers, json.loads(error.read())


def predict(url, users, x=1.0, graph="shop"):
    """The rows that these users are answered."""
    return Asked(f"{url}/predict/{graph}", {"rows": [{"user": user, "x": x} for user in users]}).body["rows"]


def feedback(url, rows, graph="shop"):
    """What a server says of feedback; told again where its disk did not keep up."""
    return until(lambda: (found := Asked(f"{url}/feedback/{graph}", rows)).status != 503 and found)


def table(path, statement, *values):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement, values).fetchall()


def until_rows(path, name, number):
    """The rows of a table, once there are so many."""

    def found():
        try:
            rows = table(path, f"SELECT * FROM {name}")
        except sqlite3.OperationalError:  # it is not there yet
            return None
        return rows if len(rows) >= number else None

    return until(found)
