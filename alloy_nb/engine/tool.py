"""Tools: functions with type hints become what a model can call.

::

    @tool
    def lookup(city: str, *, days: int = 1) -> str:
        \"\"\"Look up the weather of a city.\"\"\"

The name, the first paragraph of the docstring and a JSON schema of the parameters go to the
model. Arguments are validated with pydantic before the function is called; what is wrong with
them goes back to the model and the function does not run. A parameter annotated `ToolContext` is
filled in by the engine and not shown to the model.

What a tool may return: text; an `Image` or a list of texts and images; a `ToolOutput` (text for the
model, data for the program); anything else becomes JSON, or its ``repr`` where it has none. A tool
that raises `ToolError` tells the model why, in its own words; any other exception is reported to
the model as a failure of the tool, and the run goes on.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_json

from alloy_nb.errors import ConfigError, ToolError
from alloy_nb.messages import Document, Image, Text

__all__ = ["Tool", "ToolContext", "ToolOutput", "tool"]

# What every vendor accepts as a tool's name (OpenAI and Anthropic document this pattern).
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

_T = TypeVar("_T")


def _silent(_text: str) -> None:
    """Drop a progress line where nobody listens."""


async def _here(function: Callable[[], _T]) -> _T:
    """Run a main-thread request where there is no main thread to hand it to."""
    return function()


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a running tool may know and use.

    Args:
        working_directory: What relative paths are relative to.
        allowed_paths: Directories outside of which file tools refuse to go; ``None`` allows the
            working directory alone, an empty tuple allows everything.
        values: The agent's ``context=`` mapping.
        call_id: The id of this call.
        progress: Shows one line to the person while the tool runs.
        on_main: Runs a function on the caller's main thread and awaits its value.
        deadline: ``time.monotonic()`` at which the tool is stopped, or ``None``.
    """

    working_directory: Path = field(default_factory=Path)
    allowed_paths: tuple[Path, ...] | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    call_id: str = ""
    progress: Callable[[str], None] = _silent
    on_main: Callable[[Callable[[], Any]], Awaitable[Any]] = _here
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """A result with two sides: `content` for the model, `data` for the program."""

    content: str | Image | Document | Sequence[str | Image | Document]
    data: Any = None
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model can call.

    Args:
        function: What runs, plain or ``async``. A plain function runs in a thread.
        name: What the model calls it: letters, digits, ``_`` and ``-``, at most 64.
        description: What the model is told about it.
        input_schema: JSON schema of an object, the arguments.
        concurrent: Whether it may run beside other calls of the same message.
        main_thread: Whether it must run on the caller's main thread (the kernel's tools).
        risk: ``"read"`` runs unasked; ``"write"`` and ``"run"`` ask under the policy *ask*.
        timeout: Seconds after which a call is stopped; ``None`` takes the agent's.
        max_result_chars: Longer results are cut in the middle, with a mark that says so.
        subject: Makes the exact text that a person is asked to approve, from the arguments.
    """

    function: Callable[..., Any]
    name: str
    description: str
    input_schema: Mapping[str, Any]
    concurrent: bool = True
    main_thread: bool = False
    risk: str = "read"
    timeout: float | None = None
    max_result_chars: int | None = None
    subject: Callable[[Mapping[str, Any]], str] | None = None
    _arguments: type[BaseModel] | None = field(default=None, repr=False)
    _context_parameter: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"{self.name!r} cannot be a tool's name: use up to 64 letters, digits, _ and -."
            )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as if it were no tool."""
        return self.function(*args, **kwargs)

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        return inspect.iscoroutinefunction(inspect.unwrap(self.function))

    def bind(self, arguments: Mapping[str, Any], context: ToolContext) -> Callable[[], Any]:
        """Validate the arguments and return the call, ready to run.

        Raises:
            ToolError: The arguments do not fit the schema; the text says how, for the model.
        """
        values = self._validated(arguments)
        if self._context_parameter:
            values[self._context_parameter] = context
        return lambda: self.function(**values)

    def subject_of(self, arguments: Mapping[str, Any]) -> str:
        """Return exactly what would run, for a person to read before it does."""
        if self.subject is not None:
            return self.subject(arguments)
        return f"{self.name}({json.dumps(dict(arguments), ensure_ascii=False, indent=2)})"

    def with_options(self, **options: Any) -> Tool:
        """Return a copy with other settings, such as ``risk`` or ``timeout``."""
        return replace(self, **options)

    def _validated(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if self._arguments is None:
            return dict(arguments)
        try:
            model = self._arguments.model_validate(dict(arguments))
        except ValidationError as error:
            raise ToolError(_explain(self.name, error)) from None
        fields = type(model).model_fields
        return {str(info.alias): getattr(model, name) for name, info in fields.items()}


def _explain(name: str, error: ValidationError) -> str:
    problems = (
        f"{'.'.join(str(part) for part in issue['loc']) or 'arguments'}: {issue['msg']}"
        for issue in error.errors(include_url=False, include_input=False)
    )
    return f"The arguments of {name} are not valid, so it did not run. " + "; ".join(problems)


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    concurrent: bool = True,
    main_thread: bool = False,
    risk: str = "read",
    timeout: float | None = None,
    max_result_chars: int | None = None,
    subject: Callable[[Mapping[str, Any]], str] | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a tool of a function; use it bare or with settings (see `Tool`).

    Example:
        >>> @tool
        ... def add(a: int, b: int) -> int:
        ...     \"\"\"Add two numbers.\"\"\"
        ...     return a + b
        >>> add.name, add(1, 2)
        ('add', 3)
    """
    if function is None:
        return lambda actual: _from_function(actual, **options)
    return _from_function(function, **options)


def as_tool(candidate: Tool | Callable[..., Any]) -> Tool:
    """Return a tool as it is, and make one of a function.

    Raises:
        ConfigError: It is neither.
    """
    if isinstance(candidate, Tool):
        return candidate
    if callable(candidate):
        return _from_function(candidate)
    raise ConfigError(f"{candidate!r} is no tool: give a function with type hints, or a Tool.")


def _from_function(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    **options: Any,
) -> Tool:
    title = name if name is not None else str(getattr(function, "__name__", "tool"))
    arguments, context_parameter = _arguments_model(title, function)
    schema = arguments.model_json_schema()
    schema.pop("title", None)
    for property_schema in schema.get("properties", {}).values():
        property_schema.pop("title", None)
    return Tool(
        function=function,
        name=title,
        description=description or _first_paragraph(function),
        input_schema=schema,
        _arguments=arguments,
        _context_parameter=context_parameter,
        **options,
    )


def _arguments_model(
    title: str, function: Callable[..., Any]
) -> tuple[type[BaseModel], str | None]:
    """Return a pydantic model of the parameters, and the name of the one that takes the context."""
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError as error:
        raise ConfigError(f"The type hints of {title} cannot be resolved: {error}.") from None
    fields: dict[str, Any] = {}
    context_parameter = None
    for parameter in signature.parameters.values():
        if parameter.annotation is ToolContext:
            context_parameter = parameter.name
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigError(f"{title} takes *{parameter.name}; a tool needs named parameters.")
        fields[f"p{len(fields)}"] = _field(parameter)
    model = create_model(title, __config__=ConfigDict(extra="forbid"), **fields)
    return model, context_parameter


def _field(parameter: inspect.Parameter) -> tuple[Any, Any]:
    """Return a field that goes by the parameter's name as its alias.

    An alias may be any name, where pydantic refuses fields such as ``_private`` and ``copy``.
    """
    annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
    default = parameter.default
    if isinstance(default, FieldInfo):
        annotation, default = Annotated[annotation, default], default.default
    if default is parameter.empty or default is PydanticUndefined:
        return annotation, Field(alias=parameter.name)
    return annotation, Field(default=default, alias=parameter.name)


def _first_paragraph(function: Callable[..., Any]) -> str:
    documentation = inspect.getdoc(function) or ""
    return documentation.split("\n\n", 1)[0].replace("\n", " ").strip()


def content_of(value: Any) -> tuple[tuple[Text | Image | Document, ...], Any, bool]:
    """Turn what a tool returned into blocks for the model, data for the program, and an error flag.

    Never raises: an object whose ``repr`` fails is described by its type.
    """
    if isinstance(value, ToolOutput):
        return _parts(value.content), value.data, value.is_error
    return _parts(value), None, False


def _parts(value: Any) -> tuple[Text | Image | Document, ...]:
    if isinstance(value, (Image, Document, Text)):
        return (value,)
    if (
        isinstance(value, (list, tuple))
        and value
        and all(isinstance(part, (str, Text, Image, Document)) for part in value)
        and any(not isinstance(part, str) for part in value)
    ):
        return tuple(Text(text=part) if isinstance(part, str) else part for part in value)
    return (Text(text=_as_text(value)),)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "(no output)"
    with contextlib.suppress(Exception):  # anything may fail to serialise; its repr comes next
        return to_json(value).decode()
    try:
        return repr(value)
    except Exception as error:  # a user's __repr__ may raise anything; the model must still hear
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"
