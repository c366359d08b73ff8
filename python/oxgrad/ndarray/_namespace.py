"""Operators whose names begin with a prefix, as the attributes of a module: ``_linalg_gemm`` is ``nd.linalg.gemm``."""

from __future__ import annotations

from typing import Any

from .. import _core


def member(module: str, prefix: str, name: str) -> Any:
    """The operator ``name`` of a namespace."""
    try:
        return _core.operators[prefix + name]
    except KeyError:
        raise AttributeError(f"module {module!r} has no attribute {name!r}") from None


def members(prefix: str) -> list[str]:
    """The names of a namespace."""
    return sorted(name.removeprefix(prefix) for name in _core.operators if name.startswith(prefix))
