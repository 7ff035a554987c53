"""Programs of npm that tests run; users need none of them.

Each is installed once a machine into a folder of ``$ALLOY_TEST_CACHE`` (``~/.cache/alloy_nb``),
where ``ALLOY_TEST_REQUIRE`` names ``axe``; elsewhere a test without it is skipped.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.conftest import required
from tests.real_model.build import cache_dir

__all__ = ["from_npm"]


def from_npm(package: str, *, folder: str, file: str) -> Path:
    """Return a file of a package; where it must be there, the package is installed.

    Args:
        package: Its name and version, as in ``axe-core@4.14``.
        folder: Where it is kept, within the cache.
        file: Its path, below ``node_modules``.
    """
    place = cache_dir() / folder
    found = place / "node_modules" / file
    lack = f"no {package}: npm i --prefix {place} {package}"
    if not found.exists():
        if not required("axe"):
            pytest.skip(lack)
        if shutil.which("npm") is None:
            pytest.fail(f"no npm; then {lack}")
        _install(package, place)
    return found


def _install(package: str, place: Path) -> None:
    """Install it beside and move it there whole: several workers may want it at once."""
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as made:
        install = ["npm", "i", "--prefix", made, package]
        subprocess.run(install, check=True, capture_output=True, timeout=300)
        with contextlib.suppress(OSError):  # another worker was first
            (Path(made) / "node_modules").rename(place / "node_modules")
