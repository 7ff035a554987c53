"""The command ``alloy-nb``: open the lab with the first notebook, or ask from a shell."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from alloy_nb import __version__, bash, edit, read, stream, write
from alloy_nb.errors import AlloyError
from alloy_nb.events import Event, ToolStarted
from alloy_nb.providers import default_provider, provider

__all__ = ["main"]

FIRST_NOTEBOOK = Path("notebooks/01-first-cell.ipynb")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["lab"] and not {"-h", "--help"} & set(words):
        return _lab(words[1:])  # what follows is JupyterLab's to read
    parser = _parser()
    options = parser.parse_args(words)
    try:
        if options.prompt is not None:
            return _ask(options)
        if options.command == "chat":
            return _chat()
    except AlloyError as error:
        print(f"alloy-nb: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nalloy-nb: stopped", file=sys.stderr)
        return 130
    parser.print_help()
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="alloy-nb", description="An agent for notebooks.")
    parser.add_argument("--version", action="version", version=f"alloy_nb {__version__}")
    parser.add_argument("-p", "--prompt", help="ask once, print the answer, and end")
    parser.add_argument("-m", "--model", help="vendor/model; by default what a key is found for")
    parser.add_argument("--base-url", help="the address of the model's server")
    parser.add_argument("--max-cost", help="US dollars that may be spent")
    parser.add_argument(
        "--tools",
        action="store_true",
        help="let the model read, write and edit files here and run commands, with your rights",
    )
    commands = parser.add_subparsers(dest="command", metavar="lab | chat")
    lab = commands.add_parser(
        "lab",
        help="open JupyterLab, on the first notebook if it is here",
        description="Open JupyterLab. Its own options, such as --no-browser, are passed on to it.",
    )
    lab.add_argument("notebook", nargs="?", help="another notebook")
    commands.add_parser("chat", help="start IPython with %%alloy loaded")
    return parser


def _ask(options: argparse.Namespace) -> int:
    settings = {"base_url": options.base_url} if options.base_url else {}
    chosen = provider(options.model, **settings) if options.model else default_provider()
    more = {"max_cost": options.max_cost} if options.max_cost else {}
    tools = [read, write, edit, bash] if options.tools else []
    result = stream(options.prompt, _say, provider=chosen, on_event=_tell, tools=tools, **more)
    print()
    if label := getattr(chosen, "label", None):
        print(f"({label})", file=sys.stderr)
    if result.error:
        print(f"alloy-nb: {result.error}", file=sys.stderr)
    return 0 if result.ok and result.turns else 1


def _say(text: str) -> None:
    print(text, end="", flush=True)


def _tell(event: Event) -> None:
    if isinstance(event.body, ToolStarted):
        print(f"\n[{event.body.call.name}]", file=sys.stderr)


def _lab(arguments: Sequence[str]) -> int:
    if importlib.util.find_spec("jupyterlab") is None:
        print("alloy-nb: JupyterLab is missing: pip install 'alloy-nb[lab]'", file=sys.stderr)
        return 1
    named = [word for word in arguments if word.endswith(".ipynb")]
    for missing in (name for name in named if not Path(name).exists()):
        print(f"alloy-nb: there is no {missing}", file=sys.stderr)
        return 1
    opened = [] if named or not FIRST_NOTEBOOK.exists() else [str(FIRST_NOTEBOOK)]
    # In a container one is often root, which Jupyter refuses unless it is told that this is meant.
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command = [sys.executable, "-m", "jupyterlab", *opened, *root, *arguments]
    return subprocess.call(command)  # noqa: S603  # our own interpreter and a path


def _chat() -> int:
    from IPython import start_ipython

    start_ipython(argv=["--ext", "alloy_nb"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
