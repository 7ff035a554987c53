"""Asserts in modules that hold tests for several front ends say what they saw."""

import pytest

pytest.register_assert_rewrite("tests.browser.panel_controls")
