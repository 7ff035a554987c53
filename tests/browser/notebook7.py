"""Drive a real Notebook 7 as `lab` drives JupyterLab: one page for one notebook, no status bar.

::

    with start_lab(chromium, folder, front_end=Notebook7) as notebook7: ...
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tests.browser.lab import Lab

__all__ = ["Notebook7"]

OWN_FAILURE = "Cannot read properties of undefined (reading 'schema')"
"""What Notebook 7.6.5 says of itself at the start of each page, with or without outputs of ours."""


class Notebook7(Lab):
    """A Notebook 7 server and a browser with one page."""

    program: ClassVar[Sequence[str]] = ("notebook",)

    def wait_for_kernel(self, path: Path, timeout: float) -> None:
        """Wait until the server says that the notebook's kernel is idle and the page is heard.

        The page itself shows a kernel's state only while it changes.
        """
        end = time.monotonic() + timeout
        found = None
        while time.monotonic() < end:
            for session in self.page.request.get(f"{self.url}/api/sessions").json():
                found = session["kernel"]
                ready = found["connections"] and found["execution_state"] == "idle"
                if ready and session["path"] == path.name:
                    return
            self.page.wait_for_timeout(100)
        raise TimeoutError(f"no idle kernel in {timeout} s; the last: {json.dumps(found)}")

    def assert_clean(self, *, console: bool = True) -> None:
        """Assert that nothing was asked of strangers and that no script failed, but for its own."""
        while OWN_FAILURE in self.page_errors:
            self.page_errors.remove(OWN_FAILURE)
        super().assert_clean(console=console)

    def _address(self, path: Path) -> str:
        return f"{self.url}/notebooks/{path.name}"
