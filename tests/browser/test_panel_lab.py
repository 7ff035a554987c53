"""The chat panel in JupyterLab: every control."""

import pytest

from tests.browser.panel_controls import *  # noqa: F403

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def front(lab):
    return lab
