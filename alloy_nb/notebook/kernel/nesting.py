"""Lets a cell run a loop inside the kernel's own: ``%config Alloy.nested_loop = True``.

For pasted scripts that call ``asyncio.run(...)``, and for tools that await objects of the kernel's
loop. It is off by default, because it patches asyncio for the whole kernel and cannot be undone.
We need it for nothing ourselves.
"""

from __future__ import annotations

import importlib.util

__all__ = ["allow_nested_loops"]


def allow_nested_loops() -> str:
    """Patch the running loop and return the name of the package that did it.

    nest_asyncio2, which newer kernels bring along, goes first: nest_asyncio 1.6 loses queued cells
    on ipykernel 7.
    """
    if importlib.util.find_spec("nest_asyncio2") is not None:
        import nest_asyncio2

        nest_asyncio2.apply()
        return "nest_asyncio2"
    import nest_asyncio

    nest_asyncio.apply()
    return "nest_asyncio"
