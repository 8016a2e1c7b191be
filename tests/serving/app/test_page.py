"""The page, in a real browser, before a real server."""

import gzip
from pathlib import Path

import httpx
import numpy as np
import pytest
from app_graphs import said, tens
from PIL import Image

import motet as mt
from helpers import keyed
from helpers.browser import Browser, found
from motet.runtime.pool.need import Need
from motet.runtime.pool.pool import Pool
from motet.serving.config import ServeConfig
from motet.serving.server import Server

pytestmark = pytest.mark.skipif(
    found() is None, reason="no Chromium is installed; on Debian or Ubuntu: apt-get install chromium"
)
DATA = Path("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz")

EXAMPLES = Path(__file__).parents[3] / "examples"


def whole():
    """Gives back whole numbers, and says what it was given."""
    one, two = mt.input("one", "int64"), mt.input("two", "uint64[2]")
    cast = mt.ops.columns.cast
    same = {"one": mt.map(cast, one, dtype="int64"), "two": mt.map(cast, two, dtype="uint64")}
    return mt.Graph("whole", outputs={"said": mt.map(said, one, outputs="string"), **same})


@pytest.fixture(scope="module")
def server(live):
    """Everything, as `motet serve` sets it up."""

    async def started():
        graphs = [str(EXAMPLES / "fashion" / f"{name}.yaml") for name in ("fashion", "ab")]
        made = Server([*graphs, tens("unlucky"), whole()], ServeConfig(port=0))
        await made.start()
        await made.load()
        return made

    made = live.run(started())
    yield made
    live.run(made.close())


@pytest.fixture(scope="module")
def url(server):
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def browser():
    made = Browser()
    yield made
    made.close()


@pytest.fixture
def page(browser, url):
    """The page, and nothing that went wrong in it."""
    browser.troubles.clear()
    browser.look_like(1400, 1000)
    browser.open("about:blank")
    browser.open(f"{url}/#fashion")
    browser.until("document.querySelector('#ready').textContent === 'ready'")
    yield browser
    assert browser.troubles == []


@pytest.fixture(scope="module")
def boot(tmp_path_factory, picture):
    """The first picture of Fashion-MNIST's test split, an ankle boot; another where the data set is not installed."""
    image = picture
    if DATA.exists():
        image = np.frombuffer(gzip.decompress(DATA.read_bytes())[16 : 16 + 784], np.uint8).reshape(28, 28)
    path = tmp_path_factory.mktemp("page") / "boot.png"
    Image.fromarray(image).save(path)
    return path, image


def node_rows(page, name):
    """How many rows a node has played, as the page's table says."""
    return page.run(
        f"""(() => {{
          const rows = [...document.querySelectorAll('#nodes tbody tr')];
          const row = rows.find((each) => each.cells[0].textContent === '{name}');
          return row ? Number(row.cells[1].textContent) : -1;
        }})()"""
    )


def shown(page, output):
    """What the page shows of an output."""
    return page.until(f"document.querySelector('[data-output={output}] dd')?.textContent")


def test_an_upload_is_answered_and_drawn(page, boot, fashion_graph):
    path, image = boot
    wanted = fashion_graph({"image": image[None]})
    page.upload("#file-image", path)
    page.until("document.querySelector('.picture .note').textContent.includes('28 × 28')")
    page.run("document.querySelector('#try button.main').click()")
    page.until("document.querySelector('.opinion')")
    assert shown(page, "name") == wanted["name"][0]
    assert float(shown(page, "score")) == pytest.approx(float(wanted["score"][0]), rel=1e-3)
    members = page.run("[...document.querySelectorAll('.opinion')].map((each) => each.dataset.member)")
    assert members == ["linear", "mlp", "cnn"]
    assert page.run("document.querySelectorAll('.opinion .bars li').length") == 9
    assert page.run("document.querySelector('.times').textContent").startswith("in the queue")


def test_the_numbers_of_the_nodes_move(page, url, picture):
    page.until("document.querySelectorAll('#nodes tbody tr').length >= 4")
    before = node_rows(page, "vote")
    rows = [{"image": picture.tolist()}] * 40
    assert httpx.post(f"{url}/predict/fashion", json={"rows": rows}, timeout=20).status_code == 200
    page.until(
        "[...document.querySelectorAll('#nodes tbody tr')].some("
        f"(row) => row.cells[0].textContent === 'vote' && Number(row.cells[1].textContent) >= {before + 40})"
    )
    drawn = (
        "[...document.querySelector('#drawing').shadowRoot.querySelectorAll('.live')].map((each) => each.textContent)"
    )
    assert any("rows" in text for text in page.until(f"({drawn}).some((text) => text.includes('rows')) && {drawn}"))


def test_an_error_is_said_where_it_was_asked_and_in_the_log(page, url):
    page.run("location.hash = 'unlucky'")
    page.until("document.querySelector('#title').textContent === 'unlucky'")
    page.run("document.querySelector('#input-x').value = '13'")
    page.run("document.querySelector('#input-x').focus()")
    page.press("Enter")
    said = page.until("document.querySelector('#answer .failed')?.textContent")
    assert said.startswith("422: node model_1 in ten: ValueError: 13 brings bad luck")
    row = page.until(
        "[...document.querySelectorAll('#errors tbody tr')].map((row) => row.textContent)"
        ".find((text) => text.includes('bad luck'))"
    )
    assert "unlucky" in row
    assert "ValueError" in row
    page.troubles[:] = [each for each in page.troubles if "422" not in each.get("text", "")]  # the browser's own note


def test_a_drawing_is_sent(page):
    box = page.run(
        "(({x, y, width}) => ({x, y, width}))(document.querySelector('.picture canvas').getBoundingClientRect())"
    )
    x, y, side = box["x"], box["y"], box["width"]
    page.drag(
        [(x + side * across, y + side * down) for across, down in ((0.3, 0.3), (0.7, 0.3), (0.7, 0.8), (0.3, 0.8))]
    )
    page.run("document.querySelector('#try button.main').click()")
    assert page.until("document.querySelector('[data-output=name] dd')?.textContent")


def test_rows_as_json_and_text_inputs(page, picture):
    page.run("location.hash = 'ab'")
    page.until("document.querySelector('#title').textContent === 'ab'")
    page.run("document.querySelector('#tab-json').click()")
    page.run(
        f"document.querySelector('#json').value = JSON.stringify({{rows: [{{image: {picture.tolist()}, user: 'ann'}}, 7]}})"
    )
    page.run("document.querySelector('#try button.main').click()")
    page.until("document.querySelectorAll('#answer .answer').length === 2")
    assert page.run("document.querySelector('[data-output=arm] dd').textContent") in ("champion", "challenger")
    assert "a row must be an object" in page.run("document.querySelector('#answer .failed').textContent")


def test_whole_numbers_keep_all_their_digits_both_ways(page):
    page.run("location.hash = 'whole'")
    page.until("document.querySelector('#input-one')")
    page.run("document.querySelector('#tab-form').click()")
    page.run("document.querySelector('#input-one').value = '-9007199254740993'")
    page.run("document.querySelector('#input-two').value = '[18446744073709551615, 1]'")
    page.run("document.querySelector('#try button.main').click()")
    assert shown(page, "said") == "np.int64(-9007199254740993)"
    assert shown(page, "one") == "-9007199254740993"
    assert shown(page, "two") == "[18446744073709551615,1]"


def test_nothing_is_asked_without_a_picture(page):
    page.run("document.querySelector('#tab-form').click()")
    page.run("document.querySelector('#try button.main').click()")
    assert page.until("document.querySelector('#answer .failed')?.textContent") == (
        "image: draw something, or choose a file"
    )


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (1400, "dark"), (390, "light"), (390, "dark")])
def test_it_fits_wide_and_narrow_light_and_dark(page, width, scheme):
    page.look_like(width, 900, scheme)
    page.until("document.querySelector('#drawing').shadowRoot.querySelector('svg')")
    assert page.run("document.documentElement.scrollWidth") <= width
    background = page.run("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(14, 16, 21)") == (scheme == "dark")


def test_everything_can_be_reached_by_keyboard(page):
    reached = []
    for _ in range(60):
        page.press("Tab")
        reached.append(
            page.run("(({tagName, id, className}) => tagName + '#' + id + '.' + className)(document.activeElement)")
        )
    for wanted in ("A#.skip", "INPUT#file-image.", "BUTTON#.main", "INPUT#explain.", "DIV#drawing.drawing"):
        assert wanted in reached


def test_the_api_is_described_on_a_page(browser, url):
    browser.open(f"{url}/docs")
    browser.until("document.querySelectorAll('.operation').length > 20")
    text = browser.run("document.querySelector('#predict_fashion').textContent")
    assert f"curl -F image=@picture.png '{url}/predict/fashion?explain=1'" in text
    assert "image: uint8[28,28]" in text


def test_parameters_of_the_api_can_be_read_in_a_narrow_window(browser, url):
    browser.look_like(360, 900)
    browser.open(f"{url}/docs")
    browser.until("document.querySelector('#predict_fashion td')")
    assert browser.run(
        "[...document.querySelectorAll('.operation[open] .scroll')].every((each) => each.scrollWidth <= each.clientWidth)"
    )


@pytest.fixture(scope="module")
def shared(live, tmp_path_factory):
    """A server that shares its machine, and whose models share places."""
    folder = tmp_path_factory.mktemp("pool")

    async def started():
        made = Server([keyed.graph(12, 3)], ServeConfig(port=0, pool={"folder": str(folder), "cpu": 4}))
        await made.start()
        await made.load()
        return made

    made = live.run(started())
    yield made, folder
    live.run(made.close())


def test_the_page_shows_who_has_borrowed_what_and_which_models_are_loaded(browser, shared):
    server, folder = shared
    url = f"http://127.0.0.1:{server.port}"
    rows = [{"k": key, "x": 1.0} for key in (1, 2, 3, 4)]
    assert httpx.post(f"{url}/predict/keyed", json={"rows": rows}, timeout=20).status_code == 200
    other = Pool(server.gateway.pool.capacity, folder=folder, name="a long run")
    browser.troubles.clear()
    browser.look_like(1400, 1000)
    browser.open(f"{url}/#keyed")
    with other.borrow(Need(cpu=1.5), priority="bulk"):
        text = "document.querySelector('#pool .lent').textContent"
        browser.until(f"{text}.includes('a long run') && {text}.includes('motet serve')")
        row = (
            "[...document.querySelectorAll('#pool tbody tr')].find((each) => each.textContent.startsWith('a long run'))"
        )
        assert browser.run(f"{row}.cells[1].textContent + ' ' + {row}.cells[3].textContent") == "bulk 1.5"
        assert browser.run("document.querySelectorAll('#pool figure[data-resource=cpu] polygon').length") == 2
    browser.until(f"!{text}.includes('a long run') || !({row})")
    said = browser.run("document.querySelector('#pool .place').textContent")
    assert "3 of 12 models loaded · 3 places · 4 loads" in said
    assert browser.run("document.querySelectorAll('#pool .chip.in').length") == 3
    assert browser.troubles == []


def test_a_server_that_shares_nothing_shows_no_pool(page):
    assert page.until("document.querySelector('#nodes tbody tr') && document.querySelector('#pool').hidden")
