"""Models of all vendors behind one interface: `provider("vendor/model")` makes one."""

from __future__ import annotations

import difflib
import os
import re
import socket
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from alloy_nb.errors import ConfigError
from alloy_nb.providers import catalog
from alloy_nb.providers.base import EFFORTS, ModelOptions, ModelRequest, Provider, ToolSpec
from alloy_nb.providers.chat import OpenAICompat, Quirks
from alloy_nb.providers.presets import PRESETS
from alloy_nb.providers.vendor import VendorProvider

if TYPE_CHECKING:
    from alloy_nb.providers.anthropic import Anthropic
    from alloy_nb.providers.codex import Codex
    from alloy_nb.providers.gemini import Gemini
    from alloy_nb.providers.responses import OpenAI
    from alloy_nb.providers.xai import XAI

__all__ = [
    "XAI",
    "Anthropic",
    "Codex",
    "Gemini",
    "ModelOptions",
    "ModelRequest",
    "OpenAI",
    "OpenAICompat",
    "Provider",
    "Quirks",
    "ToolSpec",
    "default_provider",
    "provider",
    "split_effort",
    "vendors",
]

# Every wire: the vendor's name -> its module and class; servers that speak one are in `presets`.
# A module is imported when it is asked for, because an import of all takes longer than the first.
_WIRES = {
    "anthropic": ("anthropic", "Anthropic"),
    "openai": ("responses", "OpenAI"),
    "gemini": ("gemini", "Gemini"),
    "xai": ("xai", "XAI"),
    "codex": ("codex", "Codex"),
    "openai-compat": ("chat", "OpenAICompat"),
    "demo": ("demo", "Demo"),
}

# Which model a vendor's key alone stands for.
DEFAULT_MODELS = {
    "anthropic": "claude-sonnet-4-6",
    "openai": "gpt-5.4",
    "gemini": "gemini-2.5-pro",
    "openrouter": "anthropic/claude-sonnet-4-6",
    "xai": "grok-4",
    "deepseek": "deepseek-chat",
    "mistral": "mistral-large-latest",
    "groq": "llama-3.3-70b-versatile",
}


def provider(spec: str | Provider, **settings: Any) -> Provider:
    """Make a provider from ``"vendor/model"``, or from a bare model name that the catalog knows.

    A provider object is returned as it is. ``"demo"`` is the built-in demo.

    Args:
        spec: ``vendor/model``; the model may hold more slashes.
        settings: What the vendor's class takes: ``api_key``, ``base_url``, ``timeout``, ...

    Raises:
        ConfigError: No such vendor or model; the message names the nearest match.
    """
    if not isinstance(spec, str):
        if settings:
            raise ConfigError("Settings go to the provider's own constructor, not beside it.")
        return spec
    vendor, _, model = ("demo/demo" if spec == "demo" else spec).partition("/")
    if vendor in vendors() and model:
        return _of_vendor(vendor, model, settings)
    if vendor in vendors():
        raise ConfigError(f"{spec!r} names a vendor without a model: write {vendor}/MODEL.")
    # The table's rules match parts of names, so a mistyped vendor would be taken for another.
    if not model and (known := catalog.vendor_of(spec)):
        return _of_vendor(known, spec, settings)
    raise ConfigError(_unknown(spec))


def vendors() -> list[str]:
    """Return every name that can stand before the slash."""
    return [*_WIRES, *PRESETS]


def split_effort(spec: str) -> tuple[str, str | None]:
    """Split ``model:effort``; a colon that belongs to a model's name (``llama3.2:3b``) stays."""
    model, colon, effort = spec.rpartition(":")
    return (model, effort) if colon and effort in EFFORTS else (spec, None)


def default_provider(model: str | None = None) -> Provider:
    """Return what answers when nothing was chosen.

    ``ALLOY_MODEL`` goes first, then the first vendor whose key is in the environment, then an
    Ollama server on this machine, then the demo.
    """
    if chosen := model or os.environ.get("ALLOY_MODEL"):
        return provider(chosen)
    for vendor, default in DEFAULT_MODELS.items():
        candidate = _of_vendor(vendor, default, {})
        if isinstance(candidate, VendorProvider) and candidate.has_key:
            return candidate
    if local := _local_model():
        return provider(f"ollama/{local}")
    return provider("demo")


def _of_vendor(vendor: str, model: str, settings: dict[str, Any]) -> Provider:
    if vendor in _WIRES:
        return _make(_wire(vendor), model, settings)
    preset = PRESETS[vendor]
    headers = {**preset.headers, **settings.pop("extra_headers", {})}
    own = {
        "base_url": preset.base_url,
        "name": vendor,
        # A key for the vendor must not go to another server, so another address needs its own.
        "key_variable": preset.key_variable if not settings.get("base_url") else None,
        "path": preset.path if not settings.get("base_url") else "/v1/chat/completions",
        "quirks": preset.quirks,
        "extra_headers": headers,
    }
    return _make(OpenAICompat, model, {**own, **{k: v for k, v in settings.items() if v}})


def _wire(vendor: str) -> Any:
    module, name = _WIRES[vendor]
    return getattr(import_module(f"alloy_nb.providers.{module}"), name)


def __getattr__(name: str) -> Any:
    """Import a wire's class when it is first asked for (PEP 562)."""
    for vendor, (_, found) in _WIRES.items():
        if found == name:
            return _wire(vendor)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _make(cls: Any, model: str, settings: dict[str, Any]) -> Provider:
    try:
        made: Provider = cls(model, **settings)
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None:
            raise
        raise ConfigError(
            f"{cls.__name__} has no setting {unknown[1]!r}. It takes: {_settings_of(cls)}."
        ) from None
    return made


def _near(word: str) -> str | None:
    """Return a model that a word such as ``claude`` or ``opus`` may stand for."""
    known = sorted({name for vendor in DEFAULT_MODELS for name in catalog.models(vendor)})
    defaults = [name for name in DEFAULT_MODELS.values() if word in name]
    # Of those that have it in their names, the last is seldom the oldest.
    holding = defaults[:1] or [name for name in known if word in name and "/" not in name][-1:]
    near = holding or difflib.get_close_matches(word, known + vendors(), n=1, cutoff=0.7)
    return near[0] if near and word else None


def _settings_of(cls: Any) -> str:
    names = {
        name
        for base in cls.__mro__
        if "__init__" in vars(base) and base is not object
        for name in base.__init__.__kwdefaults__ or {}
    }
    return ", ".join(sorted(names | {"base_url"}))


def _unknown(spec: str) -> str:
    vendor, slash, model = spec.partition("/")
    if slash:
        near = difflib.get_close_matches(vendor, vendors(), n=1)
        hint = f" Did you mean {near[0]}/{model}?" if near else ""
        return f"Unknown vendor {vendor!r}.{hint} Known are: {', '.join(vendors())}."
    meant = _near(spec.lower())
    hint = f" Did you mean {meant!r}?" if meant else ""
    return (
        f"Unknown model {spec!r}.{hint} Any model of a vendor can be named as vendor/model, "
        "such as anthropic/claude-sonnet-4-6."
    )


def _local_model() -> str | None:
    """Return the first model of an Ollama server on this machine, or ``None``.

    A refused connection answers within a millisecond, so asking costs nothing where none runs.
    """
    address = urlsplit(PRESETS["ollama"].base_url)
    try:
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=0.2):
            pass
        return _first_ollama_model(PRESETS["ollama"].base_url)
    except OSError:
        return None


def _first_ollama_model(base_url: str) -> str | None:
    from urllib.request import ProxyHandler, build_opener

    from alloy_nb.providers.wire_json import loads

    # The standard library here: this runs once, before there is an event loop.
    opener = build_opener(ProxyHandler({}))
    with opener.open(f"{base_url}/api/tags", timeout=1) as reply:
        try:
            found = loads(reply.read(1_000_000))
            return str(found["models"][0]["name"])
        except (ValueError, LookupError, TypeError):
            return None
