"""One kernel for each module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.kernel.asking import Asking


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the kernels of this folder."""
    for item in items:
        if "asking" in getattr(item, "fixturenames", ()):
            item.add_marker("kernel")
            item.add_marker("slow")


@pytest.fixture(scope="module")
def asking() -> Iterator[Asking]:
    """Give a kernel with the extension loaded; `use` connects it with a server."""
    from tests.kernel.asking import start_asking

    with start_asking() as running:
        yield running
