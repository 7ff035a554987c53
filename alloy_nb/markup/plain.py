"""Text of others, made fit to be shown: no control characters, no hidden characters, no keys.

A terminal obeys what it is sent, and a reader trusts what she sees. Of the control characters only
newline and tab survive; characters that reorder what is shown become visible escapes, and those
that show nothing at all, so that text may be hidden in them, go.
"""

from __future__ import annotations

import re

from alloy_nb.secrets import redact

__all__ = ["clean", "middle_cut", "one_line", "settled", "without_escapes"]

# Whole escape sequences, so that their parameters do not stay behind as litter: CSI; OSC, DCS,
# SOS, PM and APC up to their end on the same line, so that one without an end hides no text;
# two-character ones. \x90-\x9f are in C1. None begins within another: each text is read once.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f\n\r]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
_NEWLINES = re.compile(r"\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_HIDDEN = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e0fff]"
)
_REORDERING = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
_SUSPECT = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    r"\U000e0000-\U000e0fff]"
)
# The end of a stream may be the first part of a key, of an escape sequence, of a surrogate pair.
_UNSETTLED = re.compile(
    r"(?:(?:[Bb]earer )?[!-~]+|[Bb]earer |[\ud800-\udbff]|\x1b[^\n\x1b]{0,20})\Z"
)


def clean(text: str) -> str:
    """Return `text` without keys, control characters and hidden characters."""
    if _SUSPECT.search(text):
        text = _paired(text)
        text = without_escapes(text)
        text = _NEWLINES.sub("\n", text)
        text = _HIDDEN.sub("", text)
        text = _REORDERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    # Last, because a key may have been cut in two by a character that shows nothing.
    return redact(text)


def without_escapes(text: str) -> str:
    """Return `text` without the escape sequences of terminals."""
    return _ESCAPES.sub("", text)


def settled(text: str) -> str:
    """Return `text` without an unfinished last word, which may be the beginning of a key."""
    tail = text[-500:]
    found = _UNSETTLED.search(tail)
    return text if found is None else text[: len(text) - len(tail) + found.start()]


def one_line(text: str, width: int = 120) -> str:
    """Return the beginning of `text` as one clean line."""
    line = " ".join(clean(text[: 40 * width]).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _paired(text: str) -> str:
    """Join the halves of surrogate pairs and replace those that have no other half."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def middle_cut(text: str, most: int) -> str:
    """Return a text without its middle where it has more than `most` characters."""
    missing = len(text) - most
    if missing <= 0:
        return text
    half = most // 2
    return f"{text[:half]}\n... {missing:,} characters are left out ...\n{text[-half:]}"
