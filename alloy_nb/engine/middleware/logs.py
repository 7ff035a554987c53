"""What is written to the log: nothing by default, never a key, and more where one asks for it.

The package's logger is ``alloy_nb``. It has a handler that drops everything, so a program that
sets up no logging sees nothing; one that does gets a line for each request, tool and approval at
the level DEBUG, and faults with their tracebacks. `Logger` is a middleware that writes the story
of a run, to any logger.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence

from alloy_nb.engine.middleware.base import HookContext, Middleware, ModelNext
from alloy_nb.engine.run import Result
from alloy_nb.events import ModelEvent
from alloy_nb.messages import ToolCall, ToolResult
from alloy_nb.providers.base import ModelRequest
from alloy_nb.secrets import redact

__all__ = ["Logger", "log"]

_LONGEST = 500


class _Masking(logging.Filter):
    """Takes the keys out of a record before any handler sees it, and out of its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            text = record.getMessage()
        except Exception as error:  # a value that cannot be written must not end what was logged
            text = f"(a line that could not be written: {type(error).__name__})"
        record.msg, record.args = redact(text), None
        if record.exc_info:
            traceback = logging.Formatter().formatException(record.exc_info)
            # As text alone: the frames hold whatever the code held.
            record.exc_info, record.exc_text = None, redact(traceback)
        return True


def _package_logger() -> logging.Logger:
    """Return the package's logger: quiet, and safe to turn on."""
    logger = logging.getLogger("alloy_nb")
    if not any(isinstance(known, _Masking) for known in logger.filters):
        logger.addFilter(_Masking())
        logger.addHandler(logging.NullHandler())
    return logger


log = _package_logger()


class Logger(Middleware):
    """Writes what a run does: each request, its tools, how it ended, and what went wrong.

    Requests and tools are DEBUG, the end of a run is INFO, an error is ERROR.

    Example:
        >>> import alloy_nb as al
        >>> al.run("What is 6 * 7?", provider="demo", middleware=[Logger()]).ok
        True

    Args:
        logger: Where to write; a logger or its name.
        contents: Whether arguments and results are written too, shortened. Keys never are.
    """

    def __init__(
        self, logger: logging.Logger | str = "alloy_nb", *, contents: bool = False
    ) -> None:
        self._log = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._contents = contents

    def model(self, request: ModelRequest, next: ModelNext) -> AsyncIterator[ModelEvent]:  # noqa: A002
        """Write that a request goes out."""
        self._say(logging.DEBUG, f"Asking with {len(request.messages)} messages")
        return next(request)

    async def before_tool_call(self, call: ToolCall, context: HookContext) -> None:
        """Write what is called, as it stands by then."""
        what = f" {call.input!r}" if self._contents else ""
        self._say(logging.DEBUG, f"Turn {_turn(context)} calls {call.name}{what}")

    async def after_tool_execution(
        self, results: Sequence[ToolResult], context: HookContext
    ) -> None:
        """Write how the calls came out."""
        for result in results:
            how = "failed" if result.is_error else "answered"
            what = f": {result.text}" if self._contents else ""
            self._say(logging.DEBUG, f"Turn {_turn(context)} {result.name} {how}{what}")

    async def after_completion(self, result: Result, context: HookContext) -> None:
        """Write how the run ended."""
        run = context.run.correlation_id if context.run else "-"
        used = f"{result.usage.input_tokens} + {result.usage.output_tokens} tokens"
        self._say(
            logging.INFO,
            f"Run {run} {result.status.value} after {result.turns} turns, {used}, {result.cost}",
        )

    async def on_error(self, error: Exception, context: HookContext) -> None:
        """Write what went wrong."""
        run = context.run.correlation_id if context.run else "-"
        self._say(logging.ERROR, f"Run {run} failed: {type(error).__name__}: {error}")

    def _say(self, level: int, text: str) -> None:
        if not self._log.isEnabledFor(level):
            return
        # One line, whatever a model or a tool wrote: a line break could pass for an entry.
        safe = redact(text[: 8 * _LONGEST]).encode("unicode_escape").decode("ascii")
        self._log.log(level, "%s", safe if len(safe) <= _LONGEST else f"{safe[:_LONGEST]}...")


def _turn(context: HookContext) -> int:
    return context.run.turn if context.run else 0
