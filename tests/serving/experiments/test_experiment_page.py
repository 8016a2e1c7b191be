"""The server's page shows what each arm came to, in a real browser."""

import json

import pytest

from helpers.browser import Browser, found
from helpers.until import until
from motet.serving import start
from serving.experiments.experiment_arms import Asked, feedback, predict, shop, table

pytestmark = pytest.mark.skipif(
    found() is None, reason="no Chromium is installed; on Debian or Ubuntu: apt-get install chromium"
)


def test_the_page_shows_the_arms_and_what_to_do(tmp_path):
    config = {"to": f"sqlite:///{tmp_path}/kept.db", "poll_s": 0.1}
    browser = Browser()
    try:
        with start(shop(), port=0, admin="open", experiments=config) as server:
            rows = predict(server.url, [f"u{number}" for number in range(300)])
            clicked = [number % 10 < (8 if row["score"] > 100 else 2) for number, row in enumerate(rows)]
            told = [{"id": row["feedback_id"], "outcome": each} for row, each in zip(rows, clicked, strict=True)]
            assert feedback(server.url, told).body["accepted"] == 300
            until(lambda: len(table(tmp_path / "kept.db", "SELECT id FROM exposures")) == 300)
            until(lambda: len(table(tmp_path / "kept.db", "SELECT id FROM outcomes")) == 300)
            Asked(f"{server.url}/experiments/shop", {"action": "promote", "arm": "bold"})
            sentence = Asked(f"{server.url}/experiments/shop").body["experiments"][0]["report"]["sentence"]
            browser.look_like(1200, 900)
            browser.open(f"{server.url}/#shop")
            text = "document.querySelector('#experiments').textContent"
            browser.until(f"{text}.includes({json.dumps(sentence)})")
            said = browser.run(text)
            listed = "[...document.querySelectorAll('#experiments tbody tr')].map((each) => each.cells[0].textContent)"
            assert browser.run(f"{listed}.join(' ')") == "plain bold"
            assert "Last decision: promote bold" in said
            browser.open("about:blank")
            browser.open(f"{server.url}/#shop.plain")
            browser.until(
                "document.querySelector('#ready').textContent === 'ready' && document.title.startsWith('shop.plain')"
            )
            assert browser.run("document.querySelector('#experiments').hidden")
            assert browser.troubles == []
    finally:
        browser.close()
