"""The page, in a real browser, before a real server."""

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

import motet as mt
from helpers import keyed
from helpers.browser import Browser, found
from motet.runtime.resources.need import Need
from motet.runtime.resources.pool import Pool
from motet.serving.config.server import ServeConfig
from motet.serving.process.server import Server
from serving.rest.app_graphs import said, tens

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


def ranked():
    """The three best of three scores, with their names; and the positions alone."""
    best = mt.map(mt.ops.scores.topk, mt.input("x", "float32[3]"), k=3)
    named = mt.map(mt.ops.scores.label, best.indices, labels=["cat", "dog", "cow"])
    return mt.Graph("ranked", outputs={"index": best.indices, "label": named, "score": best.scores})


def unnamed():
    """As many scores as there are labels of something else."""
    best = mt.map(mt.ops.scores.top1, mt.input("x", "float32[3]"))
    named = mt.map(mt.ops.scores.label, best.index, labels=["cat", "dog", "cow"])
    other = mt.map(mt.ops.scores.softmax, mt.input("y", "float32[3]"))
    return mt.Graph("unnamed", outputs={"name": named, "place": best.index, "other": other})


@mt.returns({"boxes": "float32[?,4]", "label": "string[?]", "score": "float32[?]"})
def found_in(images):
    """Two boxes a picture: its left upper quarter, surely, and its middle, less so... the other way round."""
    sides = [image.shape[1::-1] for image in images]
    boxes = [np.array([[w / 4, h / 4, 3 * w / 4, 3 * h / 4], [0, 0, w / 2, h / 2]], np.float32) for w, h in sides]
    return {
        "boxes": boxes,
        "label": [np.array(["middle", "corner"], object) for _ in sides],
        "score": [np.array([0.25, 0.75], np.float32) for _ in sides],
    }


def detector():
    """Boxes on a photograph, and the photograph given back in three ways."""
    photo = mt.input("photo", "uint8[?,?,3]")
    found = mt.map(found_in, photo)
    small = mt.map(mt.ops.image.resize, photo, size=[40, 60])
    shown = {"file": mt.map(mt.ops.image.encode, small), "pixels": small, "grey": mt.map(mt.ops.image.to_grey, small)}
    outputs = {"boxes": found.boxes, "label": found.label, "score": found.score, **shown}
    return mt.Graph("detector", outputs=outputs)


def noted():
    """A photograph, a text and a number."""
    photo, note, count = mt.input("photo", "uint8[?,?,3]"), mt.input("note", "string"), mt.input("count", "int64")
    return mt.Graph("noted", outputs={"said": mt.map(said, photo, note, count, outputs="string")})


@pytest.fixture(scope="module")
def server(live):
    """Everything, as `motet serve` sets it up."""

    async def started():
        graphs = [str(EXAMPLES / "fashion" / f"{name}.yaml") for name in ("fashion", "ab")]
        made = Server(
            [*graphs, tens("unlucky"), whole(), ranked(), unnamed(), detector(), noted()],
            ServeConfig(port=0, admin="open"),
        )
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


def choose(page, name):
    page.run(f"location.hash = '{name}'")
    page.until(f"document.querySelector('#title').textContent === '{name}'")
    page.run("document.querySelector('#tab-form').click()")


def ask(page):
    page.run("document.querySelector('#answer').replaceChildren()")
    page.run("document.querySelector('#try button.main').click()")
    page.until("document.querySelector('#answer .answer')")


def listed(page, output):
    """The names and values of a ranked list, in order."""
    return page.run(
        f"""[...document.querySelectorAll('#answer [data-output={output}] .bars li')].map((each) =>
          [each.children[0].firstChild.textContent, each.querySelector('.value').textContent])"""
    )


def test_names_stand_beside_their_own_scores(page):
    choose(page, "ranked")
    page.run("document.querySelector('#input-x').value = '[0.1, 0.2, 0.7]'")
    ask(page)
    assert listed(page, "score") == [["cow", "0.700"], ["dog", "0.200"], ["cat", "0.100"]]
    assert (
        page.run("document.querySelectorAll('#answer .answer > .outputs .bars').length") == 1
    )  # positions are no bars
    choose(page, "unnamed")
    page.run("document.querySelector('#input-x').value = '[0.1, 0.2, 0.7]'")
    page.run("document.querySelector('#input-y').value = '[0, 0, 1]'")
    ask(page)
    assert shown(page, "place") == "2 (cow)"
    assert {name for name, _ in listed(page, "other")} == {"0", "1", "2"}


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """60 x 40 pixels, red but for a green quarter, in a file with an odd name."""
    pixels = np.full((40, 60, 3), (200, 0, 0), np.uint8)
    pixels[:20, :30] = (0, 200, 0)
    path = tmp_path_factory.mktemp("photo") / "it's a photo.png"
    Image.fromarray(pixels).save(path)
    return path, pixels


def test_boxes_and_pictures_are_drawn(page, photo):
    path, _ = photo
    choose(page, "detector")
    assert page.run("document.querySelector('.zone b').textContent") == "Drop a photograph here"
    page.upload("#file-photo", path)
    page.until("document.querySelector('.picture .note').textContent.includes('60 × 40')")
    ask(page)
    assert page.until("document.querySelector('canvas.boxed').dataset.boxes") == "2"
    canvas = "document.querySelector('canvas.boxed')"
    at = f"((x, y) => [...{canvas}.getContext('2d').getImageData(x * {canvas}.width, y * {canvas}.height, 1, 1).data])"
    assert page.run(f"{at}(0.1, 0.4)") == [0, 200, 0, 255]
    assert page.run(f"{at}(0.5, 0.9)") == [200, 0, 0, 255]
    assert page.run(f"{at}(0.75, 0.6)") == [255, 93, 93, 255]  # the right side of the first box
    assert "middle at 15, 10, 45, 30; corner at 0, 0, 30, 20" in page.run(f"{canvas}.title")
    assert listed(page, "score") == [["middle", "0.250"], ["corner", "0.750"]]  # in the order of the boxes
    assert page.until("document.querySelector('[data-output=file] img').naturalWidth") == 60
    for output, wanted in (("pixels", [0, 200, 0, 255]), ("grey", [117, 117, 117, 255])):
        drawn = f"document.querySelector('[data-output={output}] canvas')"
        assert page.run(f"[{drawn}.width, {drawn}.height]") == [60, 40]
        assert page.run(f"[...{drawn}.getContext('2d').getImageData(5, 5, 1, 1).data]") == wanted


@pytest.mark.parametrize("how", ["curl", "python"])
@pytest.mark.parametrize("kind", ["file", "json", "drawing"])
def test_what_is_asked_can_be_copied_as_a_command_that_works(page, photo, boot, how, kind):
    path, pixels = photo
    if kind == "drawing":
        choose(page, "fashion")
        page.run("document.querySelector('#answer').replaceChildren()")
        box = page.run(
            "(({x, y, width}) => ({x, y, width}))(document.querySelector('.picture canvas').getBoundingClientRect())"
        )
        page.drag([(box["x"] + box["width"] * each, box["y"] + 80) for each in (0.3, 0.7)])
    else:
        choose(page, "noted")
        page.upload("#file-photo", path)
        page.run("""document.querySelector('#input-note').value = `it's "grün" 😀 $HOME`""")
        page.run("document.querySelector('#input-count').value = '9007199254740993'")
    if kind == "json":
        page.run("document.querySelector('#tab-json').click()")
        row = {"photo": pixels.tolist(), "note": 'it\'s "grün" 😀 $HOME', "count": 9007199254740993}
        page.run(f"document.querySelector('#json').value = {json.dumps(json.dumps({'rows': [row]}))}")
    page.run(f"document.querySelector('#copy-{how}').click()")
    command = page.until("!document.querySelector('#command').hidden && document.querySelector('#command').textContent")
    if how == "python":
        ran = subprocess.run(
            [sys.executable, "-c", command], capture_output=True, text=True, cwd=path.parent, timeout=60
        )
    elif shutil.which("curl") is None:
        pytest.skip("no curl is installed")
    else:
        ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=path.parent, timeout=60)
    assert ran.returncode == 0, ran.stderr + command
    answer = ran.stdout if how == "python" else json.loads(ran.stdout)
    if kind == "drawing":
        assert "'score': " in str(answer)
    else:
        wanted = said(pixels[None], ['it\'s "grün" 😀 $HOME'], [9007199254740993])[0].replace("'", "")
        assert wanted.partition("|")[0] in str(answer)
        assert "grün" in str(answer)
        assert "9007199254740993" in str(answer)


def test_the_whole_graph_is_seen_on_a_phone(page):
    page.look_like(390, 800)
    box = "document.querySelector('#drawing')"
    page.until(f"{box}.shadowRoot.querySelector('svg')")
    assert page.run(f"{box}.scrollWidth <= {box}.clientWidth")
    page.run("document.querySelector('#larger').click()")
    assert page.run(f"{box}.scrollWidth > {box}.clientWidth")
    page.run("document.querySelector('#larger').click()")


def test_latencies_are_called_what_everybody_calls_them(page):
    names = page.until(
        "(() => { const all = [...document.querySelectorAll('#tiles dt')].map((each) => each.textContent); return all.length && all; })()"
    )
    assert {"p50", "p99"} <= set(names)


def test_nodes_say_the_rate_that_the_graph_has_explained_or_not(page, url):
    status = httpx.get(f"{url}/status.json", timeout=20).json()["graphs"]["unnamed"]
    row = {"x": [0.1, 0.2, 0.7], "y": [0, 0, 1]}
    for query in ("?explain=1", ""):
        assert httpx.post(f"{url}/predict/unnamed{query}", json=row, timeout=20).status_code == 200
    now = httpx.get(f"{url}/status.json", timeout=20).json()["graphs"]["unnamed"]
    assert now["rows"] - status["rows"] == 2
    assert {name: node["rows"] - status["nodes"][name]["rows"] for name, node in now["nodes"].items()} == dict.fromkeys(
        now["nodes"], 2
    )
    assert {node["rows_per_s"] for node in now["nodes"].values()} == {now["rows_per_s"]}


@pytest.fixture(scope="module")
def shared(live, tmp_path_factory):
    """A server that shares its machine, and whose models share places."""
    folder = tmp_path_factory.mktemp("pool")

    async def started():
        made = Server([keyed.graph(12, 3)], ServeConfig(port=0, admin="open", pool={"folder": str(folder), "cpu": 4}))
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
    other = Pool(server.repository.pool.capacity, folder=folder, name="a long run")
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
