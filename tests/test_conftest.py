"""The test ground itself keeps its promises."""

import socket

import pytest


def test_a_call_to_another_machine_is_refused_and_noted(outside_calls):
    with socket.socket() as stranger, pytest.raises(PermissionError):
        stranger.connect(("192.0.2.1", 80))
    assert outside_calls == ["192.0.2.1"]
    outside_calls.clear()


def test_a_call_to_this_machine_is_allowed():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


def test_tests_are_marked_by_their_fixtures(request):
    items = [item for item in request.session.items if "kernel" in item.fixturenames]
    assert all(item.get_closest_marker("kernel") for item in items)
