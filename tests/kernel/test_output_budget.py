"""A long answer stays small on the wire, in the page and in the saved notebook."""

import json
import os

import pytest

from tests.servers.sse import Server, loop
from tests.servers.wire import Reply, Say

TOKENS = 20_000


def markdown(size):
    """A report with headings, paragraphs, lists, tables and code, of so many characters."""
    sections, number = [], 0
    while sum(map(len, sections)) < size:
        number += 1
        sections.append(
            f"## Finding {number}\n\n"
            + f"Sales of region **{number}** rose by {number % 17} %, `df.loc[{number}]`. " * 6
            + "\n\n- one *point*\n- another, with $5 and a < b\n\n"
            + "| region | sum |\n|---|---:|\n"
            + "".join(f"| r{row} | {row * number} |\n" for row in range(6))
            + f"\n```python\nfor row in range({number}):\n    print(row, row ** 2)\n```\n\n"
        )
    return "".join(sections)[:size]


@pytest.mark.parametrize(
    "per_second",
    [
        500,
        pytest.param(
            100,
            marks=pytest.mark.skipif(
                not os.environ.get("ALLOY_TEST_FULL"), reason="200 s; set ALLOY_TEST_FULL=1"
            ),
        ),
    ],
)
def test_a_long_answer_stays_small(asking, record_property, per_second):
    text = markdown(5 * TOKENS)
    reply = Reply([Say(text, size=5)])
    with Server(*loop(reply, per_second=per_second)) as server:
        asking.use(server)
        run = asking.ask("report", "-o report", timeout=600)
    assert run.ok
    frames = run.of("display_data", "update_display_data")
    saved = sum(len(text) for output in run.outputs for text in output["data"].values())
    in_file = len(json.dumps(run.outputs, ensure_ascii=False))
    figures = {
        "tokens a second": per_second,
        "seconds": round(run.seconds, 1),
        "text": len(text),
        "bytes": run.bytes,
        "messages": len(run.messages),
        "frames": len(frames),
        "largest": max(message.size for message in run.messages),
        "outputs": len(run.outputs),
        "saved": saved,
        "in the file": in_file,
    }
    record_property("figures", figures)
    print(f"\n{figures}")
    assert asking.evaluate("len(report.text)") == len(text)
    assert run.bytes <= 2_000_000 * max(1, run.seconds / 40)
    assert len(run.messages) <= 2_500
    assert len(run.outputs) <= 25
    assert saved <= 4 * len(text)
