"""What the documentation shows is what the package does: pages and docstrings are executed."""

import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RUNNER = ROOT / "tools" / "run_page.py"


def pages_with_code() -> list[str]:
    """README and every page of docs/ that has Python blocks."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
    return [str(p.relative_to(ROOT)) for p in pages if "```python" in p.read_text(encoding="utf-8")]


def run_page(page: Path) -> subprocess.CompletedProcess[str]:
    """Run a page in a process of its own, so that random numbers start afresh."""
    command = [sys.executable, str(RUNNER), str(page)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=300)


def test_the_main_pages_are_among_them():
    assert {"README.md", "docs/autograd_chapter.md"} <= set(pages_with_code())


@pytest.mark.parametrize("page", pages_with_code())
def test_page(page):
    done = run_page(ROOT / page)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every printed value matched" in done.stdout.splitlines()[-1]


WRONG_PAGES = {
    "another value": "```python\n1 + 1\n```\n\n```text\n3\n```\n",
    "a blank at the end": "```python\nprint('a ')\n```\n\n```text\na\n```\n",
    "output that is not shown": "```python\n1 + 1\n```\n\nSome words.\n",
    "no output where some is shown": "```python\nx = 1\n```\n\n```text\n1\n```\n",
    "an exception": "```python\n1 / 0\n```\n",
    "a picture that is missing": "![curve](img/curve.png)\n",
}


@pytest.mark.parametrize("text", WRONG_PAGES.values(), ids=WRONG_PAGES.keys())
def test_the_runner_refuses(text, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    done = run_page(page)
    assert done.returncode == 1, done.stdout
    assert "did not match" in done.stdout.splitlines()[-1]


def test_the_runner_shows_what_a_notebook_shows(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\nprint('a')\n[1, 2]\n```\n\n```text\na\n[1, 2]\n```\n", encoding="utf-8")
    command = [sys.executable, str(RUNNER), str(page), "--show"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.splitlines() == [
        *("Title", "=====", ""),
        *("In [1]: print('a')", "        [1, 2]", ""),
        *("Out[1]: a", "        [1, 2]", ""),
        "every printed value matched (1 blocks)",
    ]


def modules() -> list[str]:
    """Every module of the package; `__main__` would run."""
    package = importlib.import_module("oxgrad")
    found = [m.name for m in pkgutil.walk_packages(package.__path__, "oxgrad.")]
    return ["oxgrad", *(name for name in found if not name.endswith("__main__"))]


def documented(module) -> dict[str, str]:
    """The docstrings of a module that hold examples; ops are callables of our own type, which doctest cannot find."""
    found = {module.__name__: module.__doc__}
    for name, value in vars(module).items():
        if str(getattr(value, "__module__", "")).startswith("oxgrad"):
            found[name] = value.__doc__
            members = vars(value).items() if isinstance(value, type) else ()
            found |= {f"{name}.{member}": getattr(part, "__doc__", None) for member, part in members}
    return {name: doc for name, doc in found.items() if isinstance(doc, str) and ">>>" in doc}


@pytest.mark.parametrize("name", modules())
def test_docstrings(name):
    module = importlib.import_module(name)
    # Examples may use what a reader of the documentation has imported.
    package = importlib.import_module("oxgrad")
    reader = {"mx": package, "nd": package.nd, "autograd": package.autograd}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for owner, doc in documented(module).items():
        globs = {**vars(module), **reader, "__name__": name}
        runner.run(doctest.DocTestParser().get_doctest(doc, globs, f"{name}: {owner}", None, None))
    assert runner.summarize(verbose=False).failed == 0
