"""Tools: functions with type hints become what a model can call.

::

    @tool
    def lookup(city: str, *, days: int = 1) -> str:
        \"\"\"Look up the weather of a city.\"\"\"

The name, the first paragraph of the docstring and a JSON schema of the parameters go to the
model. Arguments are validated with pydantic before the function is called; what is wrong with
them goes back to the model and the function does not run. A parameter annotated `ToolContext` is
filled in by the engine and not shown to the model.

A tool may also be a class with `name`, `description`, `input_schema` (a pydantic model, or a JSON
schema) and a method ``run(self, input, context)``, or a mapping with the same keys::

    {"name": "lookup", "description": "...", "input_schema": {...}, "execute": look_up}

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
import reprlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeVar, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_json

from alloy_nb.engine.calls.arguments import problems, without_nulls
from alloy_nb.errors import ConfigError, ToolError
from alloy_nb.messages import Document, Image, Text

__all__ = ["Tool", "ToolContext", "ToolOutput", "as_tool", "as_tools", "ask_anew", "tool"]

# What every vendor accepts as a tool's name (OpenAI and Anthropic document this pattern).
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MOST_ITEMS = 100_000
RISKS = ("read", "write", "run")
CALLERS = ("human", "code_execution")
RESULT_TYPES = ("text", "structured")

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
        ask: Asks a person a question of yes or no about this call, whatever was allowed before;
            ``None`` where there is nobody to ask.
    """

    working_directory: Path = field(default_factory=Path)
    allowed_paths: tuple[Path, ...] | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    call_id: str = ""
    progress: Callable[[str], None] = _silent
    on_main: Callable[[Callable[[], Any]], Awaitable[Any]] = _here
    deadline: float | None = None
    ask: Callable[[str], Awaitable[bool]] | None = None


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
        risk: ``"read"`` runs unasked; ``"write"`` and ``"run"`` ask under the policy *ask*. The
            default is ``"run"``, because a function may do anything: say ``"read"`` of one that
            only looks.
        timeout: Seconds after which a call is stopped; ``None`` takes the agent's.
        max_result_chars: Longer results are cut in the middle, with a mark that says so.
        subject: Makes the exact text that a person is asked to approve, from the arguments.
        allowed_callers: Who may call it: ``"human"`` (the model, in its answer) and
            ``"code_execution"`` (code that the model runs at the vendor). Empty says nothing.
        result_type: ``"structured"`` keeps what the function returns as the record's data too.
        strict: Whether the vendor holds the model to the schema.
        input_examples: Arguments that show the model how to call it.
        defer_loading: Whether the vendor tells the model of the tool only when it searches for it.
        native: The definition by which a vendor knows the tool itself, by the vendor's name.
        ask_anew: Whether a person must answer this question, whatever was allowed before.
    """

    function: Callable[..., Any]
    name: str
    description: str
    input_schema: Mapping[str, Any]
    concurrent: bool = True
    main_thread: bool = False
    risk: str = "run"
    timeout: float | None = None
    max_result_chars: int | None = None
    subject: Callable[[Mapping[str, Any]], str] | None = None
    allowed_callers: tuple[str, ...] = ()
    result_type: str | None = None
    strict: bool | None = None
    input_examples: tuple[Mapping[str, Any], ...] = ()
    defer_loading: bool | None = None
    native: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    ask_anew: bool = field(default=False, repr=False)
    _arguments: type[BaseModel] | None = field(default=None, repr=False)
    _context_parameter: str | None = field(default=None, repr=False)
    _takes_whole: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"{self.name!r} cannot be a tool's name: use up to 64 letters, digits, _ and -."
            )
        callers = self.allowed_callers
        object.__setattr__(
            self, "allowed_callers", (callers,) if isinstance(callers, str) else tuple(callers)
        )
        object.__setattr__(self, "input_examples", tuple(self.input_examples))
        _check_settings(self)

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
        whole = (values,) if self._takes_whole else ()
        named = {} if self._takes_whole else values
        if self._context_parameter:
            named = {**named, self._context_parameter: context}
        if self.result_type != "structured":
            return lambda: self.function(*whole, **named)
        if self.is_async:
            return lambda: _awaited_with_data(self.function(*whole, **named))
        return lambda: _with_data(self.function(*whole, **named))

    def subject_of(self, arguments: Mapping[str, Any]) -> str:
        """Return exactly what would run, for a person to read before it does."""
        if self.subject is not None:
            return self.subject(arguments)
        return f"{self.name}({json.dumps(dict(arguments), ensure_ascii=False, indent=2)})"

    def with_options(self, **options: Any) -> Tool:
        """Return a copy with other settings, such as ``risk`` or ``timeout``."""
        return replace(self, **options)

    def _validated(self, arguments: Mapping[str, Any]) -> Any:
        given = dict(arguments)
        if self.strict:
            given = without_nulls(self.input_schema, given)
        if self._arguments is None:
            if found := problems(self.input_schema, given):
                raise ToolError(_explain(self.name, found))
            return given
        try:
            model = self._arguments.model_validate(given)
        except ValidationError as error:
            raise ToolError(_explain(self.name, _issues(error))) from None
        if self._takes_whole:
            return model
        fields = type(model).model_fields
        return {str(info.alias): getattr(model, name) for name, info in fields.items()}


def _explain(name: str, found: Iterable[str]) -> str:
    return f"The arguments of {name} are not valid, so it did not run. " + "; ".join(found)


def _issues(error: ValidationError) -> Iterator[str]:
    for issue in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in issue["loc"]) or "arguments"
        yield f"{place}: {issue['msg']}"


def _check_settings(one: Tool) -> None:
    """Refuse settings that cannot be meant, before any request."""
    wrong = [caller for caller in one.allowed_callers if caller not in CALLERS]
    limit = one.max_result_chars
    if one.risk not in RISKS:
        _refuse(one, "risk", one.risk, RISKS)
    if wrong:
        _refuse(one, "allowed_callers", wrong[0], CALLERS)
    if one.result_type not in (None, *RESULT_TYPES):
        _refuse(one, "result_type", one.result_type, RESULT_TYPES)
    if one.timeout is not None and not one.timeout > 0:
        raise ConfigError(f"{one.name}: timeout must be a positive number of seconds.")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit <= 0):
        raise ConfigError(f"{one.name}: max_result_chars must be a positive whole number.")
    for example in one.input_examples:
        if found := problems(one.input_schema, example):
            raise ConfigError(f"An example of {one.name} does not fit its schema: {found[0]}.")


def _refuse(one: Tool, setting: str, value: object, allowed: Sequence[str]) -> None:
    raise ConfigError(f"{one.name}: {setting}={value!r}: use one of {', '.join(allowed)}.")


def _with_data(value: Any) -> ToolOutput:
    if isinstance(value, ToolOutput):
        return value
    data = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return ToolOutput(_as_text(value), data=data)


async def _awaited_with_data(value: Awaitable[Any]) -> ToolOutput:
    return _with_data(await value)


def ask_anew(
    approve: Callable[[Any, Tool], Awaitable[Any]] | None, call: Any, one: Tool
) -> Callable[[str], Awaitable[bool]] | None:
    """Return what asks a person about a call once more, or ``None`` where nobody decides.

    The question goes the way of all others: to whatever decides about calls, as a tool of the same
    name whose subject is the question.
    """
    if approve is None:
        return None

    async def ask(question: str) -> bool:
        asked = one.with_options(subject=lambda _: question, risk="run", ask_anew=True)
        decision = await approve(call, asked)
        return bool(decision.allowed)

    return ask


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    concurrent: bool = True,
    main_thread: bool = False,
    risk: str = "run",
    timeout: float | None = None,
    max_result_chars: int | None = None,
    subject: Callable[[Mapping[str, Any]], str] | None = None,
    allowed_callers: Sequence[str] = (),
    result_type: str | None = None,
    strict: bool | None = None,
    input_examples: Sequence[Mapping[str, Any]] = (),
    defer_loading: bool | None = None,
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


def as_tool(candidate: Any) -> Tool:
    """Return a tool as it is, and make one of a function, a class, an object of it, or a mapping.

    Raises:
        ConfigError: It is none of these.
    """
    if isinstance(candidate, Tool):
        return candidate
    if isinstance(candidate, Mapping):
        return _from_mapping(candidate)
    if not isinstance(candidate, type) and callable(getattr(candidate, "as_tool", None)):
        made: Tool = candidate.as_tool()  # an agent
        return made
    if any(hasattr(candidate, method) for method in _METHODS) and hasattr(candidate, "name"):
        return _from_object(candidate() if isinstance(candidate, type) else candidate)
    if callable(candidate):
        return _from_function(candidate)
    what = reprlib.repr(candidate)  # a table or a list of a notebook may be long
    raise ConfigError(f"{what} is no tool: give a function with type hints, or a Tool.")


def as_tools(candidates: Iterable[Any]) -> tuple[Tool, ...]:
    """Return tools of all of these; one that has `tools` of its own, a server, stands for them."""
    found: list[Tool] = []
    for candidate in candidates:
        is_group = isinstance(getattr(type(candidate), "tools", None), property)
        found += map(as_tool, candidate.tools if is_group else [candidate])
    return tuple(found)


# The methods by which a class or a mapping may say what runs, and the settings that it may have.
_METHODS = ("run", "execute", "function")
_SETTINGS = (
    *("concurrent", "main_thread", "risk", "timeout", "max_result_chars", "subject"),
    *("allowed_callers", "result_type", "strict", "input_examples", "defer_loading"),
    "native",
)


def _from_mapping(given: Mapping[str, Any]) -> Tool:
    method = next((given[name] for name in _METHODS if name in given), None)
    known = ("name", "description", "input_schema", *_METHODS, *_SETTINGS)
    for name in given:
        if name not in known:
            raise ConfigError(
                f"A tool given as data has no {name!r}. Its keys are: {', '.join(known)}."
            )
    if not isinstance(given.get("name"), str) or not callable(method):
        raise ConfigError(
            "A tool given as data needs a name, an input_schema, and a function under 'execute'."
        )
    options = {name: given[name] for name in _SETTINGS if name in given}
    return _from_parts(
        str(given["name"]), given.get("description"), given.get("input_schema"), method, options
    )


def _from_object(one: Any) -> Tool:
    """Make a tool of an object; its class says what a mapping would say."""
    method = next(getattr(one, name) for name in _METHODS if hasattr(one, name))
    options = {name: getattr(one, name) for name in _SETTINGS if hasattr(one, name)}
    description = getattr(one, "description", None) or _first_paragraph(type(one))
    return _from_parts(one.name, description, getattr(one, "input_schema", None), method, options)


def _from_parts(
    name: str, description: str | None, schema: Any, method: Callable[..., Any], options: Any
) -> Tool:
    """Make a tool whose function takes the whole input; without a schema, its signature is one."""
    if schema is None:
        return _from_function(method, name=name, description=description, **options)
    model = schema if isinstance(schema, type) and issubclass(schema, BaseModel) else None
    if model is None and not isinstance(schema, Mapping):
        raise ConfigError(f"The input_schema of {name} must be a pydantic model or a JSON schema.")
    return Tool(
        function=method,
        name=name,
        description=description or _first_paragraph(method),
        input_schema=_schema_of(model) if model else {"type": "object", **schema},
        _arguments=model,
        _context_parameter=_second_parameter(name, method),
        _takes_whole=True,
        **options,
    )


def _second_parameter(name: str, method: Callable[..., Any]) -> str | None:
    """Return the name of the parameter that takes the context, if there is one."""
    parameters = list(inspect.signature(method).parameters.values())
    if not parameters:
        raise ConfigError(f"The function of {name} must take the input as its first parameter.")
    others = [p for p in parameters[1:] if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    wanted = [p.name for p in others if p.default is p.empty or p.annotation is ToolContext]
    return wanted[0] if wanted else None


def _from_function(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    **options: Any,
) -> Tool:
    title = name if name is not None else str(getattr(function, "__name__", "tool"))
    arguments, context_parameter = _arguments_model(title, function)
    return Tool(
        function=function,
        name=title,
        description=description or _first_paragraph(function),
        input_schema=_schema_of(arguments),
        _arguments=arguments,
        _context_parameter=context_parameter,
        **options,
    )


def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    schema.pop("title", None)
    for property_schema in schema.get("properties", {}).values():
        property_schema.pop("title", None)
    return schema


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


def _first_paragraph(function: Any) -> str:
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
        # An iterator may have no end, and its JSON would fill the memory.
        whole = list(islice(value, _MOST_ITEMS)) if isinstance(value, Iterator) else value
        return to_json(whole).decode()
    try:
        return repr(value)
    except Exception as error:  # a user's __repr__ may raise anything; the model must still hear
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"
