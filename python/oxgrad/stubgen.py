"""Prints the stubs that come from the op records: ``python -m oxgrad.stubgen`` (``make stubs``)."""

from __future__ import annotations

import inspect
import keyword
import sys
from pathlib import Path
from typing import Any

from . import _core

HEADER = '''"""Made from the op records by ``make stubs``: change a record, not this file."""

from collections.abc import Sequence
from typing import Any

from .._core import NDArray as NDArray
from .._core import array as array
from .._core import from_dlpack as from_dlpack
from ..context import Context
from . import contrib as contrib
from . import creation as creation
from . import helpers as helpers
from . import linalg as linalg
from . import methods as methods
from . import random as random
from .creation import *
from .helpers import *

_DType = Any
_Out = NDArray | Sequence[NDArray] | None

op: Any
_internal: Any
'''


# Operators that always return a list.
LISTS = ("_linalg_gelqf", "_linalg_slogdet", "_linalg_syevd", "_split_v2", "moments")


def outputs(record: dict[str, Any]) -> str:
    """The type of what an operator returns."""
    names = ("num_outputs", "ret_typ", "output_mean_var", "state_outputs", "num_weights", "num_tensors", "num_arrays")
    several = any(name in names for name, *_ in record["params"]) or record["name"] in LISTS
    return "Any" if several else "NDArray"


def text() -> str:
    """The stub file."""
    from . import ndarray

    own = (
        set(ndarray.creation.__all__)
        | set(ndarray.helpers.__all__)
        | {"array", "from_dlpack", "NDArray", "random", "contrib", "linalg"}
    )
    lines = [HEADER]
    names: list[str] = []
    for record in sorted(_core.records(), key=lambda r: str(r["name"])):
        # Parameters without a default may follow ones that have it only as keywords.
        params = ", ".join([*record["typed"], "name: str | None = ...", "**kwargs: Any"])
        for name in [record["name"], *record["aliases"]]:
            if name in own or keyword.iskeyword(name) or name.startswith("_"):
                continue
            names.append(name)
            lines.append(f"def {name}({params}) -> {outputs(record)}: ...")
    return "\n".join(lines) + "\n"


def path() -> Path:
    """Where the stub file lives."""
    return Path(__file__).parent / "ndarray" / "__init__.pyi"


START, END = "by `make stubs`.\n", "    # End of the methods made"


def core_text() -> str:
    """The stub of the compiled module, with the methods that records and ``methods.py`` give ``NDArray``."""
    from .ndarray import methods

    lines = []
    for record in sorted(_core.records(), key=lambda r: str(r["name"])):
        params = ", ".join(["self", *record["typed"][1:], "name: str | None = ...", "**kwargs: Any"])
        for name in [record["name"], *record["aliases"]] if record["method"] else []:
            if not name.startswith("_") and isinstance(vars(_core.NDArray)[name], _core.Operator):
                lines.append(f"    def {name}({params}) -> {outputs(record)}: ...\n")
    for name in methods.names():
        lines.append(f"    def {name}{inspect.signature(getattr(methods, name))}: ...\n".replace("'", ""))
    head, rest = core_path().read_text(encoding="utf-8").split(START, 1)
    return head + START + "".join(lines) + END + rest.split(END, 1)[1]


def core_path() -> Path:
    """Where the stub of the compiled module lives."""
    return Path(__file__).parent / "_core.pyi"


def main() -> None:
    """Writes the files; with ``--check`` says whether they are up to date."""
    for file, content in ((path(), text()), (core_path(), core_text())):
        if "--check" in sys.argv:
            if file.read_text(encoding="utf-8") != content:
                raise SystemExit(f"{file} differs from the op records: run `make stubs`")
        else:
            file.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
