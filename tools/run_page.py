"""Run a Markdown page as if it were a notebook, and compare every output.

    python tools/run_page.py docs/autograd_chapter.md [--show] [--as PACKAGE] [--ctx gpu] [--pictures]

A page is ordinary Markdown. Its ```python blocks run in order, in one namespace, in this process. What a block
prints, followed by the repr of its last line when that line is an expression other than None, must equal the
```text block after it, character by character. A block without a ```text block must print nothing.

Two marks change how a block is treated:

* ```python docs-extra        needs matplotlib; it is skipped, and says so, where matplotlib is missing.
* <!-- not in MXNet: why -->  the next block is skipped by `--as mxnet`: MXNet cannot run it.

`--as mxnet` runs the page with `mxnet` under the name `oxgrad`, to check the page against the original.
`--ctx gpu` runs the page on a GPU, where the last digits of numbers may differ.
Blocks run in a scratch folder, so a page may write files; `--pictures` keeps the pictures that the page shows.
The exit status is 0 if every output matched, and 1 otherwise. Only the standard library is needed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import importlib
import importlib.util
import io
import os
import re
import shutil
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(.*)$")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
NOT_IN_MXNET = "<!-- not in MXNet"


@dataclass
class Part:
    """A stretch of the page: prose (`kind == ""`) or one fenced block."""

    kind: str
    body: str
    line: int  # of the first line of `body`, counted from 1


@dataclass
class Block:
    """A Python block and the output that the page promises."""

    source: str
    line: int
    expected: str
    needs_matplotlib: bool
    not_in_mxnet: bool


def parts(text: str) -> Iterator[Part]:
    """Cut a page into prose and fenced blocks, in order."""
    kind, body, start = "", [], 1
    for number, line in enumerate(text.split("\n"), 1):
        fence = FENCE.match(line)
        opens = fence is not None and not kind
        closes = fence is not None and bool(kind) and not fence[1]
        if not (opens or closes):
            body.append(line)
            continue
        yield Part(kind, "\n".join(body), start)
        kind = (fence[1].strip() or "text") if fence and opens else ""
        body, start = [], number + 1
    if kind:
        raise ValueError(f"the block that starts at line {start} is never closed")
    yield Part("", "\n".join(body), start)


def is_python(part: Part) -> bool:
    return part.kind.split(" ")[0] == "python"


def blocks(page: list[Part]) -> list[Block]:
    """The Python blocks of a page, each with the output that follows it and the marks before it."""
    found = []
    for i, part in enumerate(page):
        if not is_python(part):
            continue
        after = [p for p in page[i + 1 : i + 3] if p.kind or p.body.strip()]
        expected = after[0].body if after and after[0].kind == "text" else ""
        mark = page[i - 1].body.rstrip().rpartition("\n")[2] if page[i - 1].kind == "" else ""
        found.append(
            Block(part.body, part.line, expected, part.kind.endswith("docs-extra"), mark.startswith(NOT_IN_MXNET))
        )
    return found


def execute(block: Block, namespace: dict[str, object], filename: str) -> tuple[str, bool]:
    """Run one block; give back what a notebook would show below it, and whether that ends with a value."""
    tree = ast.parse(block.source, filename)
    ast.increment_lineno(tree, block.line - 1)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    shown, value = io.StringIO(), None
    with contextlib.redirect_stdout(shown):
        exec(compile(tree, filename, "exec"), namespace)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), filename, "eval"), namespace)
        if value is not None:
            print(repr(value))
    return shown.getvalue().removesuffix("\n"), value is not None


def impersonate(package: str) -> None:
    """Make `import oxgrad` give `package`, its submodules included."""
    importlib.import_module(package)
    for name in [n for n in sys.modules if n == package or n.startswith(package + ".")]:
        sys.modules["oxgrad" + name[len(package) :]] = sys.modules[name]


@contextlib.contextmanager
def scratch_folder(pictures: list[str], keep_in: Path | None) -> Iterator[None]:
    """Work in an empty folder; afterwards keep the page's pictures beside the page if asked to."""
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        for name in pictures:
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        try:
            yield
            for name in pictures:
                if keep_in and Path(name).exists():
                    shutil.copyfile(name, keep_in / name)
        finally:
            os.chdir(home)


def prose(text: str) -> str:
    """Prose as a terminal shows it: comments gone, headings underlined, pictures named."""
    lines = []
    for line in PICTURE.sub(r"[picture: \1, see \2]", COMMENT.sub("", text)).split("\n"):
        heading = re.match(r"(#+) (.*)", line)
        if heading:
            rule = "=" if len(heading[1]) == 1 else "-"
            lines += [heading[2], rule * len(heading[2])]
        else:
            lines.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def labelled(label: str, text: str) -> str:
    """`text` behind a label, its further lines aligned with the first."""
    lines = [(" " * len(label) + line).rstrip() for line in text.split("\n")]
    return "\n".join([(label + lines[0][len(label) :]).rstrip(), *lines[1:]])


NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")


def alike(got: str, expected: str) -> bool:
    """Whether two texts differ in the context's name, blanks, and last digits of numbers only."""

    def words(text: str) -> tuple[str, list[float]]:
        text = text.replace("@gpu(0)", "@cpu(0)").replace("gpu(0)", "cpu(0)")
        return re.sub(r"\s+", "", NUMBER.sub("#", text)), [float(n) for n in NUMBER.findall(text)]

    (form, numbers), (other, wanted) = words(got), words(expected)
    near = (abs(a - b) <= 1e-5 * max(abs(a), abs(b), 1e-3) for a, b in zip(numbers, wanted, strict=False))
    return form == other and len(numbers) == len(wanted) and all(near)


class Runner:
    """Runs the blocks of one page and remembers what did not match."""

    def __init__(self, path: Path, say: Callable[[str], None], skip_not_in_mxnet: bool, loose: bool = False) -> None:
        self.loose = loose
        self.path, self.say, self.skip_not_in_mxnet = path, say, skip_not_in_mxnet
        self.namespace: dict[str, object] = {"__name__": "__main__"}
        self.matched = self.count = 0
        self.skipped: list[str] = []
        self.failures: list[str] = []

    def why_skip(self, block: Block) -> str:
        if block.needs_matplotlib and importlib.util.find_spec("matplotlib") is None:
            return "skipped: matplotlib is not installed"
        if block.not_in_mxnet and self.skip_not_in_mxnet:
            return "skipped: not in MXNet"
        return ""

    def step(self, block: Block) -> bool:
        """Run one block; False if it raised, so that the blocks after it have no ground to stand on."""
        self.count += 1
        self.say(labelled(f"In [{self.count}]: ", block.source) + "\n")
        reason = self.why_skip(block)
        if reason:
            self.skipped.append(f"In [{self.count}] {reason}")
            self.say(f"({reason})\n")
            return True
        try:
            got, has_value = execute(block, self.namespace, str(self.path))
        except Exception:
            self.failures.append(f"{self.path}:{block.line}: In [{self.count}] raised\n{traceback.format_exc()}")
            return False
        if got:
            self.say((labelled(f"Out[{self.count}]: ", got) if has_value else got) + "\n")
        if got == block.expected or (self.loose and alike(got, block.expected)):
            self.matched += 1
        else:
            # repr makes blanks at line ends visible, where they are what differs.
            wanted, given = ([repr(s)[1:-1] for s in t.split("\n")] for t in (block.expected, got))
            diff = "\n".join(difflib.unified_diff(wanted, given, "page", "run", lineterm="", n=99))
            self.failures.append(f"{self.path}:{block.line}: In [{self.count}] printed something else\n{diff}\n")
        return True


def run_page(
    path: Path, *, show: bool = False, package: str = "oxgrad", keep_pictures: bool = False, ctx: str = "cpu"
) -> int:
    """Run the page at `path`; print the result; return the exit status."""
    path = path.resolve()
    page = list(parts(path.read_text(encoding="utf-8")))
    pictures = [m[1] for p in page if not p.kind for m in PICTURE.findall(p.body) if "://" not in m[1]]
    os.environ.setdefault("MPLBACKEND", "Agg")
    if package != "oxgrad":
        impersonate(package)
    runner = Runner(path, print if show else lambda text: None, package == "mxnet", ctx != "cpu")
    context = importlib.import_module(package).Context(ctx) if ctx != "cpu" else contextlib.nullcontext()
    todo = iter(blocks(page))
    expects_output = False
    with scratch_folder(pictures, path.parent if keep_pictures else None), context:
        for part in page:
            if is_python(part):
                if not runner.step(next(todo)):
                    break
                expects_output = True
            elif part.kind == "text" and expects_output:
                expects_output = False  # what the run printed has been shown in its place
            elif part.kind:
                runner.say(textwrap.indent(part.body, "    ") + "\n")
            elif part.body.strip():
                expects_output = False
                shown = prose(part.body)
                if shown:
                    runner.say(shown + "\n")
    return report(runner, [path.parent / name for name in pictures])


def report(runner: Runner, pictures: list[Path]) -> int:
    """Say how the page went; return the exit status."""
    runner.failures += [f"{p}: the page shows this picture, but it is not there\n" for p in pictures if not p.exists()]
    for line in runner.skipped:
        print(line)
    if runner.failures:
        print("\n".join(runner.failures))
        print(f"{runner.path.name}: {runner.matched} blocks matched, {len(runner.failures)} did not match")
        return 1
    print(f"every printed value matched ({runner.matched} blocks)")
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run a Markdown page and compare every printed output.")
    parser.add_argument("page", type=Path)
    parser.add_argument(
        "--show", action="store_true", help="print the page as a reader sees it, with this run's output"
    )
    parser.add_argument("--as", dest="package", default="oxgrad", help="run with this package in place of oxgrad")
    parser.add_argument("--ctx", default="cpu", help="the context that arrays are made on")
    parser.add_argument("--pictures", action="store_true", help="keep the pictures that the page draws")
    options = parser.parse_args(arguments)
    return run_page(
        options.page, show=options.show, package=options.package, keep_pictures=options.pictures, ctx=options.ctx
    )


if __name__ == "__main__":
    sys.exit(main())
