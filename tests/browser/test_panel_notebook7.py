"""The chat panel in Notebook 7: every control."""

import pytest

from tests.browser.notebook7 import Notebook7
from tests.browser.panel_controls import *  # noqa: F403

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def front(start_lab, tmp_path_factory):
    with start_lab(tmp_path_factory.mktemp("notebook7"), front_end=Notebook7) as running:
        yield running
