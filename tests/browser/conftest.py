"""Asserts in modules that hold tests for several front ends say what they saw."""

import pytest
from playwright.sync_api import expect

# What is waited for comes at once on a quiet machine; one that runs other tests takes its time.
expect.set_options(timeout=30_000)
pytest.register_assert_rewrite("tests.browser.panel_controls")
