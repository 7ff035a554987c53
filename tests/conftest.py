"""Fixtures of all tests.

``ALLOY_TEST_REQUIRE=realmodel,browser`` turns a skip for want of either into a failure; the model
server is then built where it is missing. ``ALLOY_CHROMIUM`` names the browser.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.browser.lab import Lab
    from tests.kernel_harness import Kernel


# The same examples each time, however slow the machine: a run never fails by chance.
# `--hypothesis-profile=random` looks for new ones.
settings.register_profile(
    "random", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("same", settings.get_profile("random"), derandomize=True)
settings.load_profile("same")

MARKS = {
    "kernel": "kernel",
    "start_kernels": "kernel",
    "chromium": "browser",
    "real_model": "realmodel",
}
"""What a test that uses a fixture is marked with, besides ``slow``."""


def pytest_configure() -> None:
    """Let Ctrl-C interrupt, also where a shell has started the tests in the background.

    Without job control it has that ignored, by these processes and by all that they start. And
    let nobody ask a proxy of this machine for the tests' own servers.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "localhost")))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the fixtures that they use, so that ``-m`` never misses one."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in MARKS:
                item.add_marker(MARKS[fixture])
                item.add_marker("slow")


_outside: list[str] = []


def _refuse_outside(event: str, args: tuple[Any, ...]) -> None:
    """Refuse, and note, each TCP connection of this process to another machine."""
    if event != "socket.connect" or args[0].type & 0xF != socket.SOCK_STREAM:
        return
    if args[0].family in (socket.AF_INET, socket.AF_INET6):
        host = str(args[1][0])
        if not (host.startswith("127.") or host in ("::1", "localhost")):
            _outside.append(host)
            raise PermissionError(f"a test called {host}")


sys.addaudithook(_refuse_outside)


@pytest.fixture(autouse=True)
def outside_calls() -> Iterator[list[str]]:
    """Fail a test that calls another machine, even where the refusal was swallowed.

    A test that means to clears the list, which holds the hosts that it called.
    """
    _outside.clear()
    yield _outside
    assert not _outside, f"the test called {_outside}"


def required(part: str) -> bool:
    """Tell whether this run must not skip a part."""
    return part in os.environ.get("ALLOY_TEST_REQUIRE", "").replace(",", " ").split()


@pytest.fixture(scope="session")
def real_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the base URL of a real inference server, one for each worker."""
    from tests.real_model import build, server

    if not build.server_path().exists() and not required("realmodel"):
        pytest.skip("no model server: python -m tests.real_model.build (about six minutes)")
    build.build()  # where the server is there, at most the model: seconds
    with server.serve(tmp_path_factory.mktemp("real-model") / "log") as url:
        yield url


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """Give a fresh kernel."""
    from tests.kernel_harness import start_kernel

    with start_kernel() as running:
        yield running


@pytest.fixture
def start_kernels() -> Iterator[Callable[..., Kernel]]:
    """Give a function that starts a kernel, to be ended with the test: call it for several."""
    from tests.kernel_harness import start_kernel

    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(start_kernel(**options))


@pytest.fixture(scope="session")
def chromium() -> Path:
    """Give the path of a Chromium."""
    names = (os.environ.get("ALLOY_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, (shutil.which(name) for name in names if name)), None)
    if found is None:
        lack = "no Chromium: install one or name it in ALLOY_CHROMIUM"
        (pytest.fail if required("browser") else pytest.skip)(lack)
    return Path(found)


@pytest.fixture(scope="module")
def lab(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Give a JupyterLab with a browser; `start_lab` takes settings.

    It ends with its file, because Playwright leaves an event loop running in the thread: no later
    test of the worker could call `asyncio.run`.
    """
    from tests.browser.lab import start_lab

    with start_lab(chromium, tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="session")
def start_lab(
    chromium: Path,
) -> Callable[..., AbstractContextManager[Any]]:
    """Give `start_lab` with the browser filled in, for a lab with an environment of its own."""
    from tests.browser.lab import start_lab

    return partial(start_lab, chromium)
