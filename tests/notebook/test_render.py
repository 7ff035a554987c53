"""What comes out of the renderer is safe, faithful and small."""

from __future__ import annotations

import base64
import json
import re
import time
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from alloy_nb.markup.markdown import MARK
from alloy_nb.markup.plain import clean, one_line, settled
from alloy_nb.messages import Citation, Image
from alloy_nb.notebook.drawing.render import Bundle, combine, render, render_phase, render_text
from alloy_nb.notebook.drawing.segments import (
    FooterSegment,
    NoticeSegment,
    Reference,
    Segment,
    TextSegment,
    ThinkingSegment,
    ToolSegment,
)
from alloy_nb.usage import Cost, Usage

from .hostile import CONTROL, HALVES, PAYLOADS, as_jupyterlab, offences

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 40).decode()
KEY = "sk-ant-api03-" + "Ab3" * 12


def text(markdown: str, *references: Reference) -> TextSegment:
    return TextSegment(pieces=[markdown], references=list(references), finished=True)


def tool(**fields: object) -> ToolSegment:
    given = {"id": "c1", "name": "run_python", "arguments": {}, "state": "done", "seconds": 0.3}
    return ToolSegment(**{**given, "result": "ok", **fields})  # type: ignore[arg-type]


def footer(**fields: object) -> FooterSegment:
    given = {
        "model": "claude-sonnet-4-6",
        "usage": Usage(input_tokens=3100, output_tokens=410, cache_read_tokens=2800),
        "cost": Cost(known=Decimal("0.012")),
        "seconds": 6.4,
        "status": "completed",
        "turns": 1,
        "window": 200_000,
        "window_share": 0.12,
    }
    return FooterSegment(**{**given, **fields})  # type: ignore[arg-type]


def everywhere(payload: str) -> list[Segment]:
    """Put a hostile text in each place that somebody else may write."""
    source = Citation(title=payload, url=payload)
    quoted = Citation(kind="document", quote=payload)
    return [
        text(payload),
        text(f"Before {payload} after", Reference(1, source, 6), Reference(2, quoted, None)),
        text("| a |\n|---|\n| " + payload.replace("\n", " ") + " |"),
        ThinkingSegment(pieces=[payload], done=True, seconds=1),
        ThinkingSegment(pieces=[payload]),
        tool(name=payload),
        tool(arguments={payload: payload, "list": [payload]}),
        tool(arguments=None, pieces=[payload]),
        tool(result=payload, is_error=True, state="failed"),
        tool(state="running", arguments={"a": payload}, progress=[payload]),
        tool(state="approval", subject=payload, result=None),
        tool(images=(Image(media_type=payload, data=payload), Image(data=payload))),
        NoticeSegment("error", payload),
        footer(model=payload, label=payload, status=payload),
    ]


def hostile(name: str) -> list[Segment]:
    # Half a payload is what a live answer shows; the other places are filled at once.
    return everywhere(PAYLOADS[name]) if name in PAYLOADS else everywhere(HALVES[name])[:2]


# --- nothing runs, nothing is fetched -----------------------------------------------------------


@pytest.mark.parametrize("name", [*PAYLOADS, *HALVES])
def test_a_hostile_text_is_harmless_as_html_wherever_it_stands(name: str) -> None:
    for segment in hostile(name):
        for live in (True, False):
            assert offences(render(segment, live=live).html) == [], segment


@pytest.mark.parametrize("name", [*PAYLOADS, *HALVES])
def test_a_hostile_text_is_harmless_as_markdown_rendered_by_jupyterlab(name: str) -> None:
    for segment in hostile(name):
        assert as_jupyterlab(render(segment).markdown) == [], segment


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_phase_line_is_harmless(name: str) -> None:
    assert offences(render_phase(PAYLOADS[name]).html) == []


_SCRAPS = st.sampled_from(
    [
        *(
            "<script>",
            "</script>",
            "<img src=x onerror=a()>",
            "<!--",
            "-->",
            "<a",
            "<pre>",
            "</pre>",
        ),
        *("![a](http://e.x/i)", "![a]", "[a](javascript:a())", "https://e.x/a", "(", ")", "[", "]"),
        *(
            "`",
            "``",
            "```",
            "````",
            "~~~",
            "~~",
            "*",
            "**",
            "_",
            "!",
            "|",
            "-",
            "1.",
            ">",
            "#",
            ":",
        ),
        *("$", "$$", "\\(", "\\)", "\\[", "\\]", "\\begin{a}", "\\end{a}", "{", "}", "\\", "@@0@@"),
        *(
            "&lt;",
            "&#60;",
            "&#10;",
            "&#36;",
            "&#96;",
            "===",
            "---",
            "x=1",
            "word",
            "é",
            "日本",
            "$x^2$",
        ),
        *("\n", "\n\n", "\n    ", "\n  ", "\n> ", "\n- ", "\n|---|\n", " ", "\t", "\r", "\n```\n"),
        *("\n````\n", "\n> ```\n> ", "\n- ```\n  ", "\n  ```\n", "| a |\n|---|\n| "),
    ]
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_SCRAPS, max_size=40).map("".join))
def test_no_mixture_of_markdown_scraps_lets_anything_through(source: str) -> None:
    bundle = render_text(source)
    assert offences(bundle.html) == []
    assert as_jupyterlab(bundle.markdown) == []


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
@example("\ud800")
def test_any_text_at_all_renders_and_can_be_encoded(source: str) -> None:
    for segment in (text(source), tool(result=source), NoticeSegment("info", source)):
        bundle = render(segment)
        json.dumps(bundle.mimebundle(), ensure_ascii=False).encode("utf-8")


def test_an_image_becomes_words_that_lead_to_it() -> None:
    html = render(text("![a chart](https://evil.example/x.png)")).html
    assert "[image: a chart — evil.example]</a>" in html
    assert "<img" not in html


def test_an_escaped_exclamation_mark_before_a_link_does_not_make_an_image() -> None:
    assert as_jupyterlab(render(text("\\![a](http://evil.example/x.png)")).markdown) == []


def test_a_link_opens_in_a_new_tab_and_tells_nothing_about_the_notebook() -> None:
    html = render(text("[a](https://ok.example)")).html
    assert 'target="_blank"' in html
    assert 'rel="noopener noreferrer"' in html


def test_a_forbidden_link_keeps_its_words() -> None:
    html = render(text("[press here](javascript:alert(1))")).html
    assert html == "<p>press here (link removed)</p>"


def test_a_picture_of_a_tool_is_shown() -> None:
    html = render(tool(images=(Image(data=PNG),))).html
    assert f'src="data:image/png;base64,{PNG}"' in html


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("image/svg+xml", PNG),
        ("image/png", "not base64!"),
        ("image/png", base64.b64encode(b"<svg onload=alert(1)>").decode()),
        ('image/png"onerror="x', PNG),
        ("text/html", PNG),
    ],
)
def test_what_is_no_picture_is_not_shown_as_one(kind: str, data: str) -> None:
    assert "<img" not in render(tool(images=(Image(media_type=kind, data=data),))).html


def test_a_remote_picture_of_a_tool_is_not_fetched() -> None:
    image = Image(data=None, url="http://evil.example/x.png")
    assert "evil.example" not in render(tool(images=(image,))).html


# --- faithful -----------------------------------------------------------------------------------


def test_the_plain_text_of_an_answer_is_its_markdown() -> None:
    assert render(text("**a** `<b>`\n\n- c")).plain == "**a** `<b>`\n\n- c"


def test_code_in_a_fence_is_shown_as_it_is() -> None:
    bundle = render(text("```python\nif a < b: print('$x')\n```"))
    assert bundle.html == "<pre><code>if a &lt; b: print('$x')\n</code></pre>"
    assert bundle.markdown == "```python\nif a < b: print('$x')\n```"


def test_code_in_a_sentence_keeps_its_signs_in_markdown() -> None:
    from markdown_it import MarkdownIt

    markdown = render(text("use `a<b> & $x`")).markdown
    shown = MarkdownIt("commonmark", {"html": True}).render(markdown)
    assert re.sub(r"&#(\d+);", lambda m: chr(int(m[1])), shown) != ""
    assert "<code>a&#60;b&#62; &#38; &#36;x</code>" in markdown


def test_the_markdown_says_the_same_as_the_html() -> None:
    from markdown_it import MarkdownIt

    source = (
        "# A *b*\n\nSnake_case, 2 \\* 3, **bold `code`** and ~~old~~.\nNext  \nbroken\n\n"
        "- one\n- two\n  1. x\n  2. y\n\n> quoted\n> - a\n\n"
        "| a | b |\n|---|:-:|\n| 1 | `2` |\n\n---\n\n"
        "3. three\n4. four\n\n[l](https://ok.example/?a=1&b=2)\n"
    )
    bundle = render(text(source))
    md = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    again = md.render(bundle.markdown).replace(" />", ">")
    flat = re.sub(r' (?:target|rel)="[^"]*"', "", bundle.html)
    assert re.sub(r"\s+", "", again) == re.sub(r"\s+", "", flat)


def test_prices_are_not_taken_for_mathematics() -> None:
    bundle = render(text("It was $5 and is $6 now."))
    assert "<span>$</span>5 and is <span>$</span>6" in bundle.html
    assert bundle.markdown == "It was \\$5 and is \\$6 now."


def test_a_formula_is_left_to_mathjax() -> None:
    bundle = render(text("so $x^2 < y_1$ and \\(a + \\frac{1}{2}\\), $$\\sum_i x_i$$"))
    assert "$x^2 &lt; y_1$" in bundle.html
    assert "$x^2 \\lt  y_1$" in bundle.markdown
    assert "$a + \\frac{1}{2}$" in bundle.markdown
    assert "$$\\sum_i x_i$$" in bundle.markdown


def test_the_share_of_prices_beside_a_formula_is_kept() -> None:
    html = render(text("$5 for $x^2$")).html
    assert html == "<p><span>$</span>5 for $x^2$</p>"


def test_a_number_stands_where_its_citation_ends() -> None:
    source = Citation(url="https://src.example/a", title="Source")
    bundle = render(text("**It fell.** More.", Reference(1, source, 12)))
    assert "<strong>It fell.</strong><a " in bundle.html
    assert "It fell.**[1] More." in bundle.plain
    assert "[1] Source — https://src.example/a" in bundle.plain


def test_a_citation_in_the_middle_of_code_leaves_the_code_alone() -> None:
    bundle = render(text("```\ncode line\n```", Reference(1, Citation(url="https://a.b"), 8)))
    assert "<pre><code>code line\n</code></pre>" in bundle.html
    assert MARK not in bundle.html + bundle.markdown


def test_a_citation_after_a_fence_does_not_keep_it_open() -> None:
    source = "```\ncode\n```\n\nAfter."
    bundle = render(text(source, Reference(1, Citation(url="https://a.b"), 12)))
    assert "<p>After.</p>" in bundle.html
    assert "[1]" in bundle.plain


def test_a_source_with_a_forbidden_address_is_named_and_not_linked() -> None:
    source = Citation(url="javascript:alert(1)", title="Bad")
    bundle = render(text("x", Reference(1, source, 1)))
    assert "Bad" in bundle.html
    assert "href" not in bundle.html


def test_one_source_cited_twice_is_listed_once() -> None:
    source = Citation(url="https://a.b/c", title="T")
    plain = render(text("one two", Reference(1, source, 3), Reference(1, source, 7))).plain
    assert plain == "one[1] two[1]\n\n[1] T — https://a.b/c"


def test_thinking_is_folded_with_blank_lines_around_its_markdown() -> None:
    bundle = render(ThinkingSegment(pieces=["hm *so*"], done=True, seconds=4.04))
    assert bundle.markdown == (
        "<details><summary>Thought for 4.0 s</summary>\n\nhm *so*\n\n</details>"
    )
    assert bundle.html.startswith("<details")
    assert bundle.plain == "Thought for 4.0 s\n    hm *so*"


def test_live_thinking_shows_only_its_end() -> None:
    segment = ThinkingSegment(pieces=["word "] * 5000)
    assert len(render(segment, live=True).html) < 1500


def test_a_tool_card_says_name_arguments_result_and_time() -> None:
    plain = render(tool(arguments={"code": "a = 1\nb", "n": 2}, result="DataFrame")).plain
    assert plain == "🔧 run_python ✓ 0.3 s\n    code:\n    a = 1\n    b\n    n: 2\n  → DataFrame"


def test_a_long_result_is_cut_and_the_card_says_by_how_much() -> None:
    bundle = render(tool(result="line of output\n" * 500))
    assert "480 more lines not shown" in bundle.plain.replace("479", "480")
    assert len(bundle.html) < 3000


@pytest.mark.parametrize(
    ("state", "sign"), [("failed", "✗ failed"), ("denied", "✗ not allowed"), ("done", "✓")]
)
def test_a_tool_card_says_in_words_how_it_ended(state: str, sign: str) -> None:
    assert sign in render(tool(state=state)).html


def test_the_footer_is_one_line_in_a_fixed_order() -> None:
    assert render(footer(label="demo")).plain == (
        "↑3.1k ↓410 · cached 2.8k · $0.0120 · 6.4 s · 12% of 200k · claude-sonnet-4-6 · demo"
    )


def test_an_unknown_cost_is_said_to_be_unknown() -> None:
    assert "cost unknown" in render(footer(cost=Cost.unknown())).plain


def test_unreported_tokens_are_not_shown_as_zero() -> None:
    assert "tokens unknown" in render(footer(usage=Usage(unreported=1))).plain


def test_the_total_of_a_session_stands_beside_the_cost() -> None:
    assert "(Σ $0.3100)" in render(footer(total=Cost(known=Decimal("0.31")))).plain


def test_a_bundle_has_three_kinds_when_it_is_final() -> None:
    assert set(render(text("x")).mimebundle()) == {"text/html", "text/markdown", "text/plain"}


def test_a_live_bundle_has_no_markdown() -> None:
    assert set(render(text("x y"), live=True).mimebundle()) == {"text/html", "text/plain"}


def test_combined_bundles_keep_their_order() -> None:
    both = combine([Bundle("<p>a</p>", "a", "a"), Bundle("<p>b</p>", "b", "b")])
    assert both == Bundle("<p>a</p>\n<p>b</p>", "a\n\nb", "a\n\nb")


@pytest.mark.parametrize("segment", [text("a **b**"), tool(), footer(), NoticeSegment("info", "x")])
def test_no_output_needs_what_an_untrusted_notebook_loses(segment: Segment) -> None:
    assert not re.search(
        r"<(?:style|script|svg|button)|\s(?:id|class|on\w+)=", render(segment).html
    )


# --- keys, control characters, hidden characters ------------------------------------------------


@pytest.mark.parametrize("name", CONTROL)
def test_of_the_control_characters_only_newline_and_tab_survive(name: str) -> None:
    for segment in everywhere(CONTROL[name]):
        for kind in render(segment).mimebundle().values():
            assert not re.search(
                r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff"
                r"\U000e0000-\U000e0fff]",
                kind,
            )


def test_a_character_that_reorders_text_is_made_visible() -> None:
    assert clean("a\u202eb") == "a\\u202eb"


def test_text_behind_an_escape_sequence_stays_legible() -> None:
    assert clean("\x1b[31mred\x1b[0m\r\nnext") == "red\nnext"


@pytest.mark.parametrize("opened", ["\x1b]0;", "\x9d0;", "\x1bP", "\x90", "\x1b_", "\x1b["])
def test_an_escape_sequence_without_an_end_hides_no_line(opened):
    assert clean(f"{opened}\none\ntwo").endswith("\none\ntwo")


@pytest.mark.parametrize("opened", ["\x1b]", "\x9d", "\x90", "\x1b[", "\x9b", "\x1b", "\x1b[0;"])
def test_escape_sequences_without_an_end_cost_no_more_than_their_length(opened):
    # Read again from each beginning, this would take minutes.
    began = time.process_time()
    assert len(clean(opened * 100_000)) <= 200_000
    assert time.process_time() - began < 10


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert clean("a\ud83d") == "a\ufffd"


def test_two_halves_of_a_surrogate_pair_are_joined() -> None:
    assert clean("\ud83d\ude00") == "😀"


def test_a_key_that_arrived_in_two_deltas_is_masked_everywhere() -> None:
    segments: list[Segment] = [
        TextSegment(pieces=[f"the key {KEY[:9]}", KEY[9:]], finished=True),
        ThinkingSegment(pieces=[KEY[:9], KEY[9:]], done=True),
        tool(arguments=None, pieces=[KEY[:9], KEY[9:]]),
        tool(result=KEY, arguments={"k": KEY}, name=KEY),
        NoticeSegment("error", KEY),
        footer(model=KEY),
        text("x", Reference(1, Citation(url=f"https://a.b/?k={KEY}", title=KEY), 1)),
    ]
    for segment in segments:
        for live in (True, False):
            assert KEY[15:] not in str(render(segment, live=live)), segment


def test_a_key_written_with_entities_is_masked() -> None:
    assert KEY[15:] not in str(render(text(KEY.replace("-", "&#45;"))).html)


def test_a_key_behind_a_hidden_character_is_masked() -> None:
    assert KEY[15:] not in str(render(text(KEY[:20] + "\u2060" + KEY[20:])))


def test_a_live_frame_holds_back_a_word_that_may_become_a_key() -> None:
    assert settled("the key sk-an") == "the key "


def test_the_words_before_are_shown_at_once() -> None:
    assert settled("two words ") == "two words "


def test_one_line_is_one_line() -> None:
    assert one_line("a\nb\r\n c\x1b[0m") == "a b c"


# --- size and speed -----------------------------------------------------------------------------


HOSTILE = {
    "brackets": "[",
    "code": "` ``",
    "emphasis": "*a",
    "dollars": "$",
    "images": "![",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_hostile_nesting_takes_time_in_proportion(piece) -> None:
    def seconds(times: int) -> float:
        begin = time.process_time()
        render_text(piece * times)
        return time.process_time() - begin

    # Against itself: sixteen times the text would take 256 times as long in the square.
    short = min(seconds(250) for _ in range(3))
    assert min(seconds(4_000) for _ in range(2)) < 80 * short + 0.05
