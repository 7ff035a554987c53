"""A run that ends with a value: ``until_tool=`` with a type.

A tool is made of the type. The model ends the run by calling it, and its arguments, validated, are
`Result.output`. Arguments that are not valid go back to the model with what is wrong with them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from alloy_nb.engine.calls.approval import Approver, Decider, Decision, decided
from alloy_nb.engine.calls.tool import Tool
from alloy_nb.engine.checks import shown
from alloy_nb.errors import ConfigError, ToolError
from alloy_nb.messages import ToolCall
from alloy_nb.providers.base import ToolSpec

__all__ = ["Answer", "Structured", "reminder"]

_PURPOSE = "Call this once, at the end, with your answer: it ends the task."
# The one argument of a tool that is made of a type which is no object.
_WRAPPED = "value"


@dataclass(frozen=True)
class Structured:
    """A type that a run ends with, and the tool that is made of it."""

    type: Any
    adapter: TypeAdapter[Any]
    spec: ToolSpec
    is_wrapped: bool

    @classmethod
    def of(cls, wanted: Any, taken: Iterable[str] = ()) -> Structured:
        """Make a tool of a type, under a name that is not `taken`.

        Raises:
            ConfigError: No tool can be made of it.
        """
        try:
            adapter = wanted if isinstance(wanted, TypeAdapter) else TypeAdapter(wanted)
            schema = adapter.json_schema()
        except Exception as error:  # pydantic asks the object itself, which may raise anything
            reason = str(error).split("\n", 1)[0]
            raise ConfigError(
                "until_tool must be a tool's name, or a type such as a pydantic model; no tool can "
                f"be made of {shown(wanted)}: {reason}"
            ) from None
        is_wrapped = schema.get("type") != "object" or "properties" not in schema
        name = _name(wanted)
        while name in taken:
            name += "_"
        title = schema.pop("title", None) or name
        about = _documentation(wanted)
        spec = ToolSpec(
            name=name,
            description=f"{about}\n\n{_PURPOSE}" if about else f"{title}. {_PURPOSE}",
            input_schema=_wrap(schema) if is_wrapped else schema,
        )
        return cls(wanted, adapter, spec, is_wrapped)

    def validated(self, arguments: dict[str, Any]) -> Any:
        """Return the value of these arguments.

        Raises:
            ToolError: They are not valid; the text says how, for the model.
        """
        value = arguments
        if self.is_wrapped:
            if set(arguments) != {_WRAPPED}:
                raise ToolError(f"Give exactly one argument, named {_WRAPPED!r}.")
            value = arguments[_WRAPPED]
        try:
            # As JSON: a strict model takes a date from a JSON text, but not from a Python one.
            return self.adapter.validate_json(to_json(value, inf_nan_mode="constants"))
        except ValidationError as error:
            raise ToolError(_explain(self.spec.name, error)) from None
        except Exception as error:  # a validator of the user's own may raise anything
            raise ToolError(
                f"The arguments of {self.spec.name} could not be checked: "
                f"{type(error).__name__}: {error}"
            ) from None


class Answer:
    """What one run waits for: its tool, and the value once it has come."""

    def __init__(self, structured: Structured) -> None:
        self.spec = structured.spec
        self.given = False
        self.value: Any = None
        self._structured = structured
        self.tool = Tool(
            function=self._take,
            name=self.spec.name,
            description=self.spec.description,
            # The type checks the arguments, and says it better.
            input_schema={"type": "object"},
            # One after the other, in the model's order: the first valid one counts.
            concurrent=False,
        )

    def allowed_by(self, approve: Decider | None) -> Approver | None:
        """Return what decides about calls, but for this one: to answer is always allowed."""
        if approve is None:
            return None

        async def decide(call: ToolCall, tool: Tool) -> Decision:
            if tool is self.tool:
                return Decision(allowed=True)
            return await decided(approve, call, tool)

        return decide

    async def _take(self, **arguments: Any) -> str:
        if self.given:
            return "There is an answer already; this one was not taken."
        self.value = self._structured.validated(arguments)
        self.given = True
        return "The answer was taken."


def reminder(name: str) -> str:
    """Return what the model is told when it stops without the call that it has to make."""
    return f"You are not done: go on, and call the tool {name}."


def _name(wanted: Any) -> str:
    own = getattr(wanted, "__name__", None) if isinstance(wanted, type) else None
    cleaned = re.sub(r"[^A-Za-z0-9_-]+", "_", own or "").strip("_")[:60]
    return cleaned if cleaned and wanted.__module__ != "builtins" else "answer"


def _documentation(wanted: Any) -> str:
    """Return the first paragraph of a class's own docstring; one that it inherits says nothing."""
    own = vars(wanted).get("__doc__") if isinstance(wanted, type) else None
    if not own or getattr(wanted, "__module__", "") == "builtins":
        return ""
    if own.startswith(f"{wanted.__name__}("):  # the one that a dataclass makes of its signature
        return ""
    return inspect.cleandoc(own).split("\n\n", 1)[0].replace("\n", " ").strip()


def _wrap(schema: dict[str, Any]) -> dict[str, Any]:
    definitions = schema.pop("$defs", None)
    wrapped: dict[str, Any] = {
        "type": "object",
        "properties": {_WRAPPED: schema},
        "required": [_WRAPPED],
        "additionalProperties": False,
    }
    return wrapped if definitions is None else {**wrapped, "$defs": definitions}


def _explain(name: str, error: ValidationError) -> str:
    problems = (
        f"{'.'.join(str(part) for part in issue['loc']) or 'the whole'}: {issue['msg']}"
        for issue in error.errors(include_url=False, include_input=False, include_context=False)
    )
    return f"The arguments of {name} are not valid, so there is no answer yet. " + "; ".join(
        problems
    )
