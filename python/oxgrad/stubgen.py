"""Prints ``ndarray/__init__.pyi`` from the op records: ``python -m oxgrad.stubgen`` (``make stubs``)."""

from __future__ import annotations

import keyword
import sys
from pathlib import Path
from typing import Any

from . import _core

HEADER = '''"""Made from the op records by ``make stubs``: change a record, not this file."""

from collections.abc import Sequence
from typing import Any

from .. import _core
from .._core import NDArray as NDArray
from .._core import array as array
from .._core import from_dlpack as from_dlpack
from ..context import Context
from . import creation as creation
from . import helpers as helpers
from . import methods as methods
from . import random as random
from .creation import *
from .helpers import *

_DType = Any
_Out = NDArray | Sequence[NDArray] | None

op: Any
_internal: Any
'''


def outputs(record: dict[str, Any]) -> str:
    """The type of what an operator returns."""
    several = any(name in ("num_outputs", "ret_typ", "output_mean_var") for name, *_ in record["params"])
    return "Any" if several else "NDArray"


def text() -> str:
    """The stub file."""
    from . import ndarray

    own = set(ndarray.creation.__all__) | set(ndarray.helpers.__all__) | {"array", "from_dlpack", "NDArray", "random"}
    lines = [HEADER]
    names: list[str] = []
    for record in sorted(_core.records(), key=lambda r: str(r["name"])):
        # Parameters without a default may follow ones that have it only as keywords.
        params = ", ".join([*record["typed"], "name: str | None = ...", "**kwargs: Any"])
        for name in [record["name"], *record["aliases"]]:
            if name in own or keyword.iskeyword(name):
                continue
            names.append(name)
            lines.append(f"def {name}({params}) -> {outputs(record)}: ...")
    return "\n".join(lines) + "\n"


def path() -> Path:
    """Where the stub file lives."""
    return Path(__file__).parent / "ndarray" / "__init__.pyi"


def main() -> None:
    """Writes the file; with ``--check`` says whether it is up to date."""
    if "--check" in sys.argv:
        if path().read_text(encoding="utf-8") != text():
            raise SystemExit(f"{path()} differs from the op records: run `make stubs`")
        return
    path().write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
