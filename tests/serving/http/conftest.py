"""A server whose application does what a test asks it to."""

import pytest

from helpers.loops import Loop
from serving.http.http_live import App, Site, graphs


@pytest.fixture(scope="session")
def http_loop():
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(autouse=True)
def no_errors(http_loop):
    """Nothing that happens in a callback goes unseen."""
    yield
    errors, http_loop.errors = http_loop.errors, []
    assert not errors


@pytest.fixture(scope="session")
def app():
    return App()


@pytest.fixture(scope="session")
def site(http_loop, app):
    site = Site(http_loop, graphs(), app)
    yield site
    site.close()


@pytest.fixture
def make_site(http_loop, app):
    """Makes servers with bounds of their own."""
    made = []

    def make(**options):
        made.append(Site(http_loop, options.pop("graphs", None) or graphs(), options.pop("app", app), **options))
        return made[-1]

    yield make
    for site in made:
        site.close()
