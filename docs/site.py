"""Build the documentation site: the README, docs/ and the examples, each with its files, as zensical.toml says.

gather() ──► pages/, laid out as the repository is, so that links hold in both ──► zensical ──► site/

python docs/site.py            into build/docs/site; a link or anchor that leads nowhere fails
python docs/site.py FOLDER     into FOLDER/site
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_CODE = re.compile(r"`[^`\n]+`")
SHOWN = {".yaml": "yaml", ".py": "python"}


def gather(folder: Path) -> None:
    """Copy the pages, and what they show, to `folder`; examples show their files."""
    for path in _pages():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    for page in folder.rglob("*.md"):  # in tables GitHub wants `a \| b`, and zensical shows the backslash
        text = page.read_text(encoding="utf-8")
        page.write_text(_CODE.sub(lambda code: code[0].replace("\\|", "|"), text), encoding="utf-8")
    for readme in folder.glob("examples/*/README.md"):
        with readme.open("a", encoding="utf-8") as page:
            page.writelines(_files(readme.parent))


def _pages() -> Iterator[Path]:
    """The files of the site."""
    yield from (*ROOT.glob("*.md"), ROOT / "examples" / "README.md")
    for pattern in ("*.md", "*.css", "reference/*.md", "images/*"):
        yield from (ROOT / "docs").glob(pattern)
    for suffix in (".md", ".svg", *SHOWN):
        yield from (ROOT / "examples").glob(f"*/*{suffix}")


def _files(folder: Path) -> Iterator[str]:
    """The files of an example, each folded."""
    yield "\n## The files\n"
    for suffix, language in SHOWN.items():
        for path in sorted(folder.glob(f"*{suffix}")):
            text = path.read_text(encoding="utf-8").rstrip().replace("\n", "\n    ")
            yield f'\n??? note "{path.name}"\n\n    ````{language}\n    {text}\n    ````\n'


def build(folder: Path) -> int:
    """Build the site into `folder/site`; zensical's exit code."""
    shutil.rmtree(folder, ignore_errors=True)
    gather(folder / "pages")
    shutil.copyfile(ROOT / "docs" / "zensical.toml", folder / "zensical.toml")
    return subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=folder).returncode


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "docs")))
