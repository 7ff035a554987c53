"""The command ``alloy-nb``: open the lab, start a terminal, or ask once from a shell.

What a model says goes to standard output, and everything about it to standard error, so that an
answer can be piped on. All of it is cleaned of what a terminal would obey.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloy_nb import __version__
from alloy_nb.errors import AlloyError, ConfigError

# The engine is imported by what needs it, so that --help and a mistyped flag answer at once.
if TYPE_CHECKING:
    from alloy_nb.engine.calls.tool import Tool
    from alloy_nb.engine.context import ContextFile
    from alloy_nb.engine.run import Result
    from alloy_nb.events import Event
    from alloy_nb.providers.base import Provider

__all__ = ["main"]

FIRST_NOTEBOOK = Path("notebooks/01-first-cell.ipynb")
TOOLS = ("read", "write", "edit", "bash")
# Those of `engine.calls.approval`, which is not imported for --help.
POLICIES = ("ask", "read", "all", "none")
# More is no prompt; a model can read a file with its tool.
_LONGEST_INPUT = 4_000_000
_PATIENCE = 3.0

_USAGE = """\
alloy-nb lab [NOTEBOOK] [JupyterLab's flags]
       alloy-nb chat [settings]
       alloy-nb -p [PROMPT] [--no-stream | --json] [--tools LIST] [settings]"""
_EXAMPLES = """\
examples:
  alloy-nb lab                                   JupyterLab, on the first notebook
  alloy-nb chat -m anthropic/claude-sonnet-4-6   IPython with %%alloy and /commands
  alloy-nb -p "What is in this folder?"          ask once; asks before it changes or runs anything
  git diff | alloy-nb -p "Review this:"          what is piped in follows the prompt
  alloy-nb -p < question.txt                     ... or is the prompt
  alloy-nb -p "/review main.py"                  a skill, from .alloy/skills/review.md
  alloy-nb -p "..." --json | jq .cost_usd        the whole result

A model is vendor/model, such as openai/gpt-5.4, ollama/llama3.2 or gemini/gemini-2.5-pro:high (how
much to think). Its key comes from the environment: ANTHROPIC_API_KEY, OPENAI_API_KEY,
GEMINI_API_KEY, XAI_API_KEY and so on. Without -m, ALLOY_MODEL or the first key found decides, and
without any key a built-in demo answers.

exit status: 0 answered; 1 failed, or stopped at a limit; 2 wrong usage; 130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["lab"] and not {"-h", "--help"} & set(words):
        return _lab(words[1:])  # what follows is JupyterLab's to read
    parser = _parser()
    options = parser.parse_args(words)
    if options.command and options.prompt is not None:
        parser.error(f"-p asks once: leave it out, or {options.command}")
    try:
        if options.command == "lab":
            return _lab([options.notebook] if options.notebook else [])
        if options.command == "chat":
            return _chat(options)
        if options.prompt is not None:
            return _ask(options)
    except AlloyError as error:
        _tell(f"alloy-nb: {error}")
        return 1
    except KeyboardInterrupt:
        _tell("\nalloy-nb: stopped")
        return 130
    except BrokenPipeError:
        # Whoever read the answer has enough of it. Python would complain once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    parser.print_help()
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="alloy-nb",
        usage=_USAGE,
        description="An agent for notebooks, terminals and shells.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"alloy_nb {__version__}")
    asking = parser.add_argument_group("asking once")
    asking.add_argument(
        "-p",
        "--prompt",
        nargs="?",
        const="",
        help="ask, print the answer, and end; what is piped in is appended, or is the prompt",
    )
    asking.add_argument(
        "--no-stream", action="store_true", help="print the answer when it is whole"
    )
    asking.add_argument("--json", action="store_true", help="print the whole result as JSON")
    asking.add_argument(
        "--tools",
        default=",".join(TOOLS),
        metavar="LIST",
        help=f"which of {', '.join(TOOLS)} the model may call (default: all), or none",
    )
    _add_settings(parser.add_argument_group("settings"))
    commands = parser.add_subparsers(dest="command", metavar="lab | chat", prog="alloy-nb")
    lab = commands.add_parser(
        "lab",
        help="open JupyterLab, on the first notebook if it is here",
        description="Open JupyterLab. Its own options, such as --no-browser, are passed on to it.",
    )
    lab.add_argument("notebook", nargs="?", help="another notebook")
    chat = commands.add_parser(
        "chat",
        help="start IPython with %%alloy loaded",
        description="Start IPython with %alloy loaded, and with /model, /cost, /reset, /history, "
        "/skills and /SKILL as shorter ways to write it.",
    )
    _add_settings(chat, unset=argparse.SUPPRESS)
    return parser


def _add_settings(group: Any, *, unset: Any = None) -> None:
    """Add what both ways of asking take; a subcommand must not undo what stands before it."""
    add = group.add_argument
    add("-m", "--model", default=unset, help="vendor/model[:effort]")
    add("--base-url", default=unset, metavar="URL", help="the address of the model's server")
    add("--system", default=unset, metavar="TEXT", help="the system prompt")
    add("--approve", default=unset, choices=POLICIES, help="which calls may run (default: ask)")
    add("--max-turns", default=unset, type=int, metavar="N", help="replies at most (default: 25)")
    add("--max-cost", default=unset, metavar="USD", help="US dollars that may be spent")
    add("--dir", default=unset, metavar="DIR", help="the folder to work in")
    add(
        "--no-context",
        action="store_true",
        default=False if unset is None else unset,
        help="leave out the standing instructions of .alloy/context/*.md",
    )


# --- asking once --------------------------------------------------------------------------------


def _ask(options: argparse.Namespace) -> int:
    from alloy_nb.engine.agent import run, stream

    prompt = _prompt(options)
    chosen = _provider(options)
    settings = _settings(options, chosen)
    writer = _Writer(sys.stdout)
    if options.json or options.no_stream:
        result = run(prompt, **settings)
        if not options.json:
            writer.write(result.text)
    else:
        result = stream(prompt, writer.write, on_event=partial(_show_event, writer), **settings)
    writer.finish()
    if options.json:
        print(_as_json(result))
    _footer(result, chosen)
    return 0 if result.status == "completed" and result.turns else 1


def _settings(options: argparse.Namespace, chosen: Provider) -> dict[str, Any]:
    from alloy_nb.notebook.approval import asker

    directory = _directory(options)
    settings: dict[str, Any] = {
        "provider": chosen,
        "tools": _tools(options.tools),
        "approve": asker(options.approve or "ask", read=_from_terminal),
        "max_turns": 25 if options.max_turns is None else options.max_turns,
        "working_directory": directory,
        "system_prompt": options.system,
    }
    if not options.no_context and (files := _discover(directory)):
        from alloy_nb.engine.context import compose

        settings["system_prompt"] = compose(options.system, files)
    if options.max_cost is not None:
        settings["max_cost"] = options.max_cost.lstrip("$")
    if effort := _effort(options.model):
        settings["effort"] = effort
    return settings


def _prompt(options: argparse.Namespace) -> str:
    """Return what to ask: the words, then what is piped in; a skill is filled in with both."""
    words, piped = options.prompt.strip(), _piped()
    if words.startswith("/"):
        from alloy_nb.engine.skills import from_words

        filled = from_words(words, more=piped, directory=_directory(options))
        if filled is not None:
            return filled
    if not words and not piped.strip():
        raise ConfigError(
            "There is no prompt: write alloy-nb -p PROMPT, or pipe one in. See alloy-nb --help."
        )
    return "\n\n".join(part for part in (words, piped) if part.strip())


def _piped() -> str:
    """Return what is piped in, or nothing where a person sits at standard input."""
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return ""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, io.UnsupportedOperation):
        return ""
    if stat.S_ISCHR(mode):  # /dev/null has nothing, and another device has no end
        return ""
    with _note_after(_PATIENCE, "waiting for the end of standard input (< /dev/null has none)"):
        raw = sys.stdin.buffer.read(_LONGEST_INPUT + 1)
    if len(raw) > _LONGEST_INPUT:
        raise ConfigError(
            f"More than {_LONGEST_INPUT:,} bytes were piped in. Save them to a file, and ask the "
            "model to read it."
        )
    return raw.decode("utf-8-sig", "replace")


@contextmanager
def _note_after(seconds: float, text: str) -> Iterator[None]:
    timer = threading.Timer(seconds, _tell, [f"alloy-nb: {text}"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _provider(options: argparse.Namespace) -> Provider:
    from alloy_nb.providers import default_provider, provider, split_effort

    model, _ = split_effort(options.model or os.environ.get("ALLOY_MODEL") or "")
    if options.base_url is None:
        return provider(model) if model else default_provider()
    if not model:
        raise ConfigError("--base-url needs a model: -m openai-compat/NAME --base-url URL.")
    if "/" not in model:
        model = f"openai-compat/{model}"
    return provider(model, base_url=options.base_url)


def _effort(model: str | None) -> str | None:
    from alloy_nb.providers import split_effort

    return split_effort(model or os.environ.get("ALLOY_MODEL") or "")[1]


def _tools(listed: str) -> list[Tool]:
    from alloy_nb import tools

    names = [name for name in listed.replace(",", " ").split() if name != "none"]
    for name in names:
        if name not in TOOLS:
            raise ConfigError(f"--tools {name}: use some of {', '.join(TOOLS)}, or none.")
    return [getattr(tools, name) for name in dict.fromkeys(names)]


def _directory(options: argparse.Namespace) -> Path:
    directory = Path(options.dir or ".").expanduser()
    if not directory.is_dir():
        raise ConfigError(f"--dir {options.dir}: there is no such folder.")
    return directory.absolute()


def _discover(directory: Path) -> Sequence[ContextFile]:
    from alloy_nb.engine.context import discover

    files = discover(directory)
    if files:
        _tell(
            f"[context: {', '.join(str(file.path) for file in files)}; --no-context leaves it out]"
        )
    return files


# --- what is printed ----------------------------------------------------------------------------


class _Writer:
    """Writes an answer as it comes, without what a terminal would obey, nor half of a key."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._held = ""
        self._last = "\n"

    def write(self, text: str) -> None:
        """Write all of it but an unfinished word."""
        from alloy_nb.markup.plain import settled

        text = self._held + text
        ready = settled(text)
        self._held = text[len(ready) :]
        self._say(ready)

    def finish(self) -> None:
        """Write the rest, and end the line."""
        self._say(self._held)
        self._held = ""
        if self._last != "\n":
            self._say("\n")

    def _say(self, text: str) -> None:
        from alloy_nb.markup.plain import clean

        if text := clean(text):
            self._last = text[-1]
            # A terminal of another encoding cannot show every character.
            encoding = self._file.encoding or "utf-8"
            print(
                text.encode(encoding, "replace").decode(encoding),
                end="",
                file=self._file,
                flush=True,
            )


def _tell(text: str) -> None:
    from alloy_nb.markup.plain import clean

    encoding = sys.stderr.encoding or "utf-8"
    print(clean(text).encode(encoding, "replace").decode(encoding), file=sys.stderr, flush=True)


def _show_event(writer: _Writer, event: Event) -> None:
    from alloy_nb.events import RetryScheduled, ToolFinished, TurnFinished
    from alloy_nb.markup.plain import one_line

    match event.body:
        case TurnFinished():
            writer.finish()  # what is said after the tools is a paragraph of its own
        case ToolFinished(call=call, result=result, seconds=seconds):
            about = next((v for v in call.input.values() if isinstance(v, str)), "")
            ended = "failed" if result.is_error else f"{seconds:.1f} s"
            _tell(f"[{one_line(f'{call.name} {about}', 80)}: {ended}]")
        case RetryScheduled(delay=delay, reason=reason):
            _tell(f"[again in {delay:.1f} s: {one_line(reason)}]")


def _footer(result: Result, chosen: Provider) -> None:
    usage = result.usage
    turns = f"{result.turns} turn" + ("" if result.turns == 1 else "s")
    tokens = f"{usage.input_tokens:,} tokens in, {usage.output_tokens:,} out"
    name = f"{chosen.name}/{chosen.model}"
    _tell(f"[{name} · {turns} · {tokens} · {result.cost} · {result.seconds:.1f} s]")
    if label := getattr(chosen, "label", None):
        _tell(f"({label})")
    if result.error:
        _tell(f"alloy-nb: {result.error}")
    elif result.status != "completed":
        _tell(f"alloy-nb: stopped with the status {result.status} after {turns}; see --max-turns.")


def _as_json(result: Result) -> str:
    from pydantic_core import to_jsonable_python

    from alloy_nb.secrets import redact

    fields = {name: result[name] for name in result if name not in ("exception", "cost")}
    fields["cost_usd"] = None if result.cost.usd is None else str(result.cost.usd)
    fields["messages"] = [m.model_dump(mode="json", exclude_none=True) for m in result.messages]
    values = to_jsonable_python(fields, serialize_unknown=True, fallback=repr)
    # In ASCII, so that no hidden or reordering character of an answer reaches a terminal.
    return redact(json.dumps(values, indent=1))


def _from_terminal(question: str) -> str:
    """Ask the person, on standard error, and also where standard input is a pipe.

    Raises:
        EOFError: There is no terminal.
    """
    if sys.stdin is not None and sys.stdin.isatty():
        print(question, end="", file=sys.stderr, flush=True)
        return input()
    try:
        with open("/dev/tty") as terminal:  # noqa: PTH123  # a device is no path of a project
            print(question, end="", file=sys.stderr, flush=True)
            line = terminal.readline()
    except OSError:
        raise EOFError from None
    if not line:
        raise EOFError
    return line


# --- the lab and the terminal -------------------------------------------------------------------


def _lab(arguments: Sequence[str]) -> int:
    if importlib.util.find_spec("jupyterlab") is None:
        _tell("alloy-nb: JupyterLab is missing: pip install 'alloy-nb[lab]'")
        return 1
    named = [word for word in arguments if word.endswith(".ipynb")]
    for missing in (name for name in named if not Path(name).exists()):
        _tell(f"alloy-nb: there is no {missing}")
        return 1
    opened = [] if named or not FIRST_NOTEBOOK.exists() else [str(FIRST_NOTEBOOK)]
    # In a container one is often root, which Jupyter refuses unless it is told that this is meant.
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command = [sys.executable, "-m", "jupyterlab", *opened, *root, *arguments]
    return subprocess.call(command)  # noqa: S603  # our own interpreter and a path


def _chat(options: argparse.Namespace) -> int:
    """Start IPython with the extension, and with what the command line says as its settings."""
    directory = _directory(options)
    # A model that does not exist is told here, in one line, and not at the first question.
    chosen = _provider(options)
    os.chdir(directory)
    if not options.no_context:
        _discover(directory)

    from IPython import start_ipython
    from traitlets.config import Config

    config = Config()
    config.InteractiveShellApp.extensions = ["alloy_nb", "alloy_nb.notebook.slash"]
    config.TerminalInteractiveShell.banner2 = _banner(chosen)
    for name, value in _traits(options).items():
        config.Alloy[name] = value
    if options.base_url is not None:
        words = f'model "{options.model}" --base-url "{options.base_url}"'
        config.InteractiveShellApp.exec_lines = [
            f"get_ipython().run_line_magic('alloy', {words!r})"
        ]
    start_ipython(argv=[], config=config)
    return 0


def _traits(options: argparse.Namespace) -> dict[str, Any]:
    traits: dict[str, Any] = {"context_discovery": not options.no_context}
    if options.system:
        traits["system_prompt"] = options.system
    if options.model and options.base_url is None:
        traits["model"] = options.model
    if options.approve:
        traits["approve"] = options.approve
    if options.max_turns is not None:
        traits["max_turns"] = options.max_turns
    if options.max_cost is not None:
        traits["max_cost"] = _dollars(options.max_cost)
    return traits


def _dollars(text: str) -> float:
    try:
        return float(text.lstrip("$"))
    except ValueError:
        raise ConfigError(f"--max-cost {text}: give US dollars, such as 0.50.") from None


def _banner(chosen: Provider) -> str:
    label = getattr(chosen, "label", None)
    named = f"{chosen.name}/{chosen.model}" + (f" ({label})" if label else "")
    return (
        f"alloy_nb {__version__} · {named}\n"
        "%alloy PROMPT asks, %%alloy asks over several lines; /help shows the rest, exit leaves.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
