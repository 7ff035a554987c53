"""Keys never reach a repr, a log, an output or a file.

A key lives in a :class:`pydantic.SecretStr` and travels in request headers only. Everything that
a person or a file may see goes through :func:`redact`, which knows the keys in use, the values of
environment variables that are named like keys, and the shapes in which vendors issue keys.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache

__all__ = [
    "MASK",
    "api_key_names",
    "environment_without_keys",
    "keys_in",
    "redact",
    "register",
    "register_all",
]

MASK = "***"

# A key shorter than this is more likely a word than a secret: masking it would garble text.
_SHORTEST = 8

_known: set[str] = set()

# Prefixes that vendors document for their keys: Anthropic, OpenAI and OpenRouter (sk-), Google
# (AIza), xAI, Groq, GitHub, Hugging Face, AWS; then any bearer token.
_SHAPES = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"sk-(?:ant-|proj-|or-)?[A-Za-z0-9_-]{16,}"
    r"|AIza[A-Za-z0-9_-]{30,}"
    r"|xai-[A-Za-z0-9]{20,}"
    r"|gsk_[A-Za-z0-9]{20,}"
    r"|gh[pousr]_[A-Za-z0-9]{30,}"
    r"|github_pat_[A-Za-z0-9_]{30,}"
    r"|hf_[A-Za-z0-9]{30,}"
    r"|AKIA[A-Z0-9]{16}"
    r")|(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{16,}"
)
_KEY_NAME = re.compile(r"(?:API_?KEY|_TOKEN|_SECRET|SECRET_KEY|PASSWORD|ACCESS_KEY)$", re.I)


def register(secret: str) -> None:
    """Mask this value in every text from now on."""
    if len(secret) >= _SHORTEST:
        _known.add(secret)


def register_all(values: Mapping[str, str]) -> None:
    """Mask each of these values whose name is that of a key."""
    for name, value in values.items():
        if _names_a_key(name):
            register(value)


def api_key_names() -> list[str]:
    """Return the names of environment variables that look like keys."""
    return [name for name in os.environ if _names_a_key(name)]


def environment_without_keys() -> dict[str, str]:
    """Return this process's environment for a program that it starts."""
    return {name: value for name, value in os.environ.items() if not _names_a_key(name)}


@lru_cache(maxsize=1024)  # every text that is shown asks this of every variable
def _names_a_key(name: str) -> bool:
    return _KEY_NAME.search(name) is not None


def redact(text: str) -> str:
    """Return `text` with every known or recognisable key replaced by ``***``."""
    for secret in _secrets():
        if secret in text:
            text = text.replace(secret, MASK)
    return _SHAPES.sub(MASK, text)


def keys_in(text: str) -> list[str]:
    """Return the keys that stand in a text: those in use, and those that look like one."""
    return [*(s for s in _secrets() if s in text), *(m[0] for m in _SHAPES.finditer(text))]


def _secrets() -> list[str]:
    values = {os.environ[name] for name in api_key_names() if name in os.environ}
    # The longest first: one key may be the beginning of another.
    return sorted(
        _known | {v for v in values if len(v) >= _SHORTEST and not v.isdigit()},
        key=len,
        reverse=True,
    )
