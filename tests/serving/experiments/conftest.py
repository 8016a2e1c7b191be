"""What tests of experiments share."""

import contextlib

import pytest


@pytest.fixture(scope="module", autouse=True)
def folder_of_servers(tmp_path_factory):
    """Servers without a file have their spools, and the key, in the working directory."""
    with contextlib.chdir(tmp_path_factory.mktemp("servers")):
        yield
