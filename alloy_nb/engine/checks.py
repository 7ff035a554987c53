"""What each setting of an agent may be; `settings` says which there are.

A value that cannot be right is refused before anything is sent, in one sentence that names the
setting and what it takes. What is right comes back in its plain form: a list as a tuple, a path as
a `Path`, ``"vendor/model"`` as a provider.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from numbers import Real
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

from pydantic import SecretStr

from alloy_nb.engine.budget import UNKNOWN_PRICES, Budget
from alloy_nb.engine.calls.approval import POLICIES
from alloy_nb.engine.calls.tool import as_tools
from alloy_nb.engine.context import ContextFile
from alloy_nb.engine.middleware.base import Middleware
from alloy_nb.engine.retry import RetryPolicy
from alloy_nb.engine.window.compaction import Compaction
from alloy_nb.engine.window.conversation import View
from alloy_nb.errors import ConfigError
from alloy_nb.messages import Message
from alloy_nb.providers import provider as named_provider
from alloy_nb.providers.base import EFFORTS, ModelOptions, Provider

__all__ = [
    "OPTIONS",
    "PROVIDER_SETTINGS",
    "RUN_SETTINGS",
    "as_provider",
    "check_callback",
    "checked",
    "checked_option",
    "checked_run_setting",
    "positive",
    "shown",
    "whole",
    "wrong",
]

Check = Callable[[str, Any], Any]
_LONGEST_SHOWN = 80


def checked(name: str, value: Any) -> Any:
    """Return a field of `Agent` in its plain form.

    Raises:
        ConfigError: It is not of the kind that it has to be.
    """
    check = _FIELDS.get(name)
    return value if check is None else check(name, value)


def checked_run_setting(name: str, value: Any) -> Any:
    """Return a setting that belongs to one run, such as its history.

    Raises:
        ConfigError: It is not of the kind that it has to be.
    """
    return _RUN[name](name, value)


def checked_option(name: str, value: Any) -> Any:
    """Return a field of `ModelOptions` in its plain form.

    Raises:
        ConfigError: It is not of the kind that it has to be.
    """
    check = _OPTIONS.get(name)
    return value if check is None else check(name, value)


def check_callback(name: str, function: object) -> None:
    """Refuse what cannot be called with one argument; ``None`` is no callback.

    Raises:
        ConfigError: It cannot.
    """
    if function is None or _takes_one(function):
        return
    if callable(function):
        try:
            inspect.signature(function).bind(None)
        except TypeError:
            pass
        except ValueError:  # some built-in functions do not tell their signature
            return
        else:
            return
    raise wrong(name, function, "a function of one argument")


def _takes_one(function: object) -> bool:
    """Tell it of a function or a method, at a fortieth of the cost of asking for its signature."""
    bound = isinstance(function, MethodType)
    plain = function.__func__ if isinstance(function, MethodType) else function
    if not isinstance(plain, FunctionType):
        return False
    code = plain.__code__
    return code.co_argcount == 1 + bound and not code.co_kwonlyargcount


def wrong(name: str, value: object, expected: str) -> ConfigError:
    """Return the error that says what a setting takes."""
    return ConfigError(f"{name} must be {expected}, not {shown(value)}.")


def shown(value: object) -> str:
    """Return a value as an error shows it: short, and never failing itself."""
    try:
        text = repr(value)
    except Exception:  # a repr of the user's own may raise anything
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


# --- plain kinds ----------------------------------------------------------------------------------


def _optional(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


def whole(least: int) -> Check:
    """Return a check for whole numbers from `least`."""

    def check(name: str, value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return value
        raise wrong(name, value, f"a whole number from {least}")

    return check


def positive(of_what: str) -> Check:
    """Return a check for positive numbers that are not infinite."""

    def check(name: str, value: Any) -> float:
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if is_number and math.isfinite(value) and value > 0:
            return float(value)
        raise wrong(name, value, f"a positive number of {of_what}")

    return check


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    raise wrong(name, value, "a text")


def _name(name: str, value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value
    raise wrong(name, value, "a text that is not empty")


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise wrong(name, value, "True or False")


def _mapping(name: str, value: Any) -> Any:
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return value
    raise wrong(name, value, "a mapping with texts as its keys")


def _one_of(allowed: Iterable[str]) -> Check:
    known = tuple(allowed)

    def check(name: str, value: Any) -> str:
        if isinstance(value, str) and value in known:
            return value
        raise wrong(name, value, f"one of {', '.join(known)}")

    return check


def _list_of(check: Check, what: str) -> Check:
    """Return a check for lists, whose items all pass `check`; a text is no list."""

    def check_all(name: str, value: Any) -> tuple[Any, ...]:
        if value is None:
            return ()
        return tuple(check(name, item) for item in _items(name, value, what))

    return check_all


def _items(name: str, value: Any, what: str) -> list[Any]:
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)):
        try:
            return list(value)
        except Exception as error:  # an iterable of the user's own may raise anything
            raise ConfigError(f"{name} could not be read as a list of {what}: {error!r}.") from None
    raise wrong(name, value, f"a list of {what}")


def _path(name: str, value: Any) -> Path:
    if isinstance(value, (str, os.PathLike)):
        path = os.fspath(value)
        if isinstance(path, str) and "\0" not in path:
            return Path(path)
    raise wrong(name, value, "a path")


def _paths(name: str, value: Any) -> tuple[Path, ...]:
    if isinstance(value, (str, os.PathLike)):
        return (_path(name, value),)
    return tuple(_list_of(_path, "paths")(name, value))


def _instance(kind: type, what: str) -> Check:
    def check(name: str, value: Any) -> Any:
        if isinstance(value, kind):
            return value
        raise wrong(name, value, what)

    return check


# --- providers ------------------------------------------------------------------------------------


# Whether an object has what a provider needs takes long to find out, and is asked for each run.
_providers_met: set[type] = set()


def as_provider(name: str, value: Any, settings: Mapping[str, Any] | None = None) -> Provider:
    """Return a provider of ``"vendor/model"``, a provider, or a pair of either and its settings.

    Raises:
        ConfigError: There is no such provider, or its settings are wrong.
    """
    own = dict(settings or {})
    if type(value) in _providers_met and not own:
        known: Provider = value  # as each copy of an agent has one
        return known
    for key, check in _PROVIDER.items():
        if key in own:
            check(key, own[key])
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return as_provider(name, value[0], {**_pairs(name, value[1]), **own})
    if isinstance(value, str):
        return named_provider(value, **_with_options(own))
    if isinstance(value, type):
        return _of_class(name, value, _with_options(own))
    if isinstance(value, Provider):
        _providers_met.add(type(value))
        return named_provider(value, **own)
    raise wrong(name, value, "'vendor/model', a provider, or a pair of either and its settings")


def _pairs(name: str, value: Any) -> dict[str, Any]:
    try:
        pairs = dict(value)
    except Exception:  # a mapping of the user's own may raise anything
        raise wrong(f"{name}: the settings", value, "a mapping") from None
    return dict(_mapping(f"{name}: the settings", pairs))


def _with_options(settings: dict[str, Any]) -> dict[str, Any]:
    """Gather the options of a model, which may stand among a provider's settings."""
    aliases = {"max_tokens": "max_output_tokens", "api_url": "base_url"}
    plain = {aliases.get(key, key): value for key, value in settings.items()}
    options = {f.name: plain.pop(f.name) for f in fields(ModelOptions) if f.name in plain}
    if not options:
        return plain
    given = {key: checked_option(key, value) for key, value in options.items()}
    return {**plain, "options": replace(plain.get("options") or ModelOptions(), **given)}


def _of_class(name: str, kind: type, settings: dict[str, Any]) -> Provider:
    try:
        made = kind(**settings)
    except TypeError as error:
        raise ConfigError(
            f"{name}: {kind.__name__} cannot be made: {error}. Give a pair of it and its settings,"
            " such as {'model': '...'}."
        ) from None
    if isinstance(made, Provider):
        return made
    raise wrong(name, kind, "a class of providers")


def _secret(name: str, value: Any) -> Any:
    if isinstance(value, (str, SecretStr)):
        return value
    # Whatever it is, it may be a key: it is not shown.
    raise ConfigError(f"{name} must be a text, not a {type(value).__name__}.")


def _client(name: str, value: Any) -> Any:
    if all(callable(getattr(value, method, None)) for method in ("build_request", "send")):
        return value
    raise wrong(name, value, "a client with httpx's async interface")


_PROVIDER: dict[str, Check] = {"api_key": _secret, "base_url": _name, "http_client": _client}


# --- the settings ---------------------------------------------------------------------------------


def _providers(name: str, value: Any) -> tuple[Provider, ...]:
    if isinstance(value, str) or (isinstance(value, Provider) and not isinstance(value, type)):
        return (as_provider(name, value),)
    return tuple(_list_of(as_provider, "providers")(name, value))


def _tools(name: str, value: Any) -> Any:
    return () if value is None else as_tools(_items(name, value, "functions and tools"))


def _approve(name: str, value: Any) -> Any:
    if (isinstance(value, str) and value in POLICIES) or (
        callable(value) and not isinstance(value, type)
    ):
        return value
    policies = ", ".join(POLICIES)
    raise wrong(name, value, f"one of {policies}, or a function of a call and its tool")


def _options(name: str, value: Any) -> ModelOptions:
    if not isinstance(value, ModelOptions):
        raise wrong(name, value, "a ModelOptions")
    if value == _NO_OPTIONS:
        return value
    changed = {}
    for option in _OPTIONS:
        given = getattr(value, option)
        plain = checked_option(option, given)
        if plain is not given:
            changed[option] = plain
    return replace(value, **changed) if changed else value


def _overrides(name: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    try:
        return dict(value)  # a list of pairs too; entries that make no sense are ignored
    except Exception:  # a mapping of the user's own may raise anything
        raise wrong(name, value, "a mapping of a model's name to its window") from None


def _discovery(name: str, value: Any) -> Any:
    # What was discovered stays with the agent, and comes back here when it is copied.
    if isinstance(value, bool) or (
        isinstance(value, tuple) and all(isinstance(item, ContextFile) for item in value)
    ):
        return value
    raise wrong(name, value, "True or False")


def _on_compaction(name: str, value: Any) -> Any:
    if value is None or callable(value):
        return value
    raise wrong(name, value, "a function of messages and a run")


def _cache(name: str, value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, str) and value in ("5m", "1h")):
        return value
    raise wrong(name, value, "True, False, '5m' or '1h'")


def _search(name: str, value: Any) -> Any:
    if isinstance(value, (bool, Mapping)):
        return value
    raise wrong(name, value, "True, False, or a mapping of its settings")


def _texts(name: str, value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(_list_of(_text, "texts")(name, value))


def _built_in(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, Mapping):
        return (_mapping(name, value),)
    return tuple(_list_of(_mapping, "mappings")(name, value))


def _number(name: str, value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value
    raise wrong(name, value, "a number")


def _extra_body(name: str, value: Any) -> Any:
    return {} if value is None else _mapping(name, value)


_NO_OPTIONS = ModelOptions()
_SECONDS = _optional(positive("seconds"))
_FIELDS: dict[str, Check] = {
    "provider": as_provider,
    "tools": _tools,
    "system_prompt": _optional(_text),
    "max_turns": whole(0),
    "middleware": _list_of(_instance(Middleware, "a list of Middleware"), "Middleware"),
    "options": _options,
    "approve": _approve,
    "budget": _optional(_instance(Budget, "a Budget")),
    "unknown_price": _one_of(UNKNOWN_PRICES),
    "timeout": _SECONDS,
    "tool_timeout": _SECONDS,
    "retry": _instance(RetryPolicy, "a RetryPolicy"),
    "fallback_providers": _providers,
    "working_directory": _path,
    "allowed_paths": _optional(_paths),
    "context": lambda name, value: {} if value is None else _mapping(name, value),
    "context_budget": _optional(whole(1)),
    "compaction": lambda _, value: Compaction.of(value),
    "on_compaction": _on_compaction,
    "context_discovery": _discovery,
    "model_metadata_overrides": _overrides,
    "name": _name,
}
_OPTIONS: dict[str, Check] = {
    "max_output_tokens": _optional(whole(1)),
    "effort": _optional(_one_of(EFFORTS)),
    "temperature": _optional(_number),
    "tool_choice": _optional(_name),
    "stop": _texts,
    "thinking_budget": _optional(whole(1)),
    "cache": _optional(_cache),
    "web_search": _optional(_search),
    "x_search": _optional(_search),
    "code_execution": _optional(_flag),
    "built_in_tools": _built_in,
    "store": _optional(_flag),
    "include": _texts,
    "parallel_tool_calls": _optional(_flag),
    "previous_response_id": _optional(_name),
    "extra_body": _extra_body,
}
_RUN: dict[str, Check] = {
    "messages": _list_of(_instance(Message, "a list of messages"), "messages"),
    "provider_state": _optional(_mapping),
    "view": _optional(_instance(View, "the view of a result")),
}
OPTIONS = tuple(f.name for f in fields(ModelOptions))
PROVIDER_SETTINGS = tuple(_PROVIDER)
RUN_SETTINGS = tuple(_RUN)
