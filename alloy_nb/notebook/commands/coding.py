"""Code out of answers: ``%alloy code`` and ``promote``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from IPython.core.error import UsageError

from alloy_nb.engine.documents.story import Turn, story_of
from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import ConfigError
from alloy_nb.markup.plain import one_line
from alloy_nb.messages import Message, ToolResult
from alloy_nb.notebook.code.next_cell import CodeBlock, code_blocks, offer
from alloy_nb.notebook.code.promote import Promoted, effects, promoted, steps_of
from alloy_nb.notebook.code.proof import prove
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.words import Words

__all__ = ["commands"]

_LINE = 60
_MANY_STEPS = 3


def commands(desk: Desk) -> Mapping[str, Callable[[Words], None]]:
    """Return what does each word."""
    words = _CodeWords(desk)
    return {"code": words.code, "promote": words.promote}


class _CodeWords:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def code(self, words: Words) -> None:
        """List the code of the last answer, or put a block of it into a cell."""
        session = self._desk.session(words.flags.get("session"))
        blocks = code_blocks(_last_answer(session))
        if not blocks:
            raise UsageError("The last answer holds no block of code.")
        if not words.arguments and len(blocks) > 1:
            status.show(_listed(blocks))
            return
        number = _number(words.arguments[0], len(blocks)) if words.arguments else 1
        offer(self._desk.shell, blocks[number - 1].code, told=f"Block {number} of {len(blocks)}.")

    def promote(self, words: Words) -> None:
        """Make one cell or a file of the steps of a turn, and run it again to prove it."""
        wanted, form = _asked_for(words.arguments)
        session = self._desk.session(words.flags.get("session"))
        turn = _turn(session, wanted)
        title = (
            f"Made from turn {turn.number} of the conversation {session.name}; it needs no agent"
        )
        steps = steps_of(turn)
        made = promoted(steps, title=title, prompt=turn.prompt)
        text = _in_form(made, form)
        proof = self._proof(made, words)
        if isinstance(form, Path):
            _write(form, text, force="force" in words.flags)
            status.say(f"{_counted(made)} written to {form}. {proof}")
        elif form == "script":
            status.say(f"{text}\n{_counted(made)}. {proof}")
        else:
            offer(self._desk.shell, text, told=f"{_counted(made)}. {proof}")

    def _proof(self, made: Promoted, words: Words) -> str:
        """Run the steps again, apart from the user's variables; return what came of it."""
        if "no_verify" in words.flags:
            return "It was not run again."
        reaching = [name for step in made.steps for name in effects(step.code)]
        if reaching and "verify" not in words.flags:
            listed = ", ".join(dict.fromkeys(reaching))
            return (
                f"It was not run again, since it reaches out of the kernel ({listed}); "
                "--verify does it all the same."
            )
        if len(made.steps) > _MANY_STEPS:
            status.say(f"Running {len(made.steps)} steps again, apart from your variables …")
        return prove(
            made,
            self._desk.shell,
            self._desk.settings.tool_timeout,
            before=self._desk.names.before_last(),
        )


# --- what is asked for --------------------------------------------------------------------------


def _asked_for(words: tuple[str, ...]) -> tuple[int | None, Path | str]:
    """Return the number of a turn, if one is given, and the form: a file, a script or a cell."""
    number: int | None = None
    form: Path | str = "cell"
    for word in words:
        if word.isdecimal():
            number = int(word)
        elif word in ("cell", "script"):
            form = word
        elif Path(word).suffix.lower() in (".py", ".ipynb"):
            form = Path(word).expanduser()
        else:
            raise UsageError(
                f"promote {word}: give the number of a turn, and script, FILE.py or FILE.ipynb."
            )
    return number, form


def _turn(session: Session, wanted: int | None) -> Turn:
    """Return the turn that is to be promoted: the last that ran Python, or the one that is named.

    Raises:
        UsageError: There is none, or it ran none that worked.
    """
    turns = story_of(session.export_session()).turns
    worked = {t.number: t for t in turns if any(not step.failed for step in steps_of(t))}
    if not worked:
        raise UsageError("No turn of this conversation ran Python that worked.")
    if wanted is None:
        return worked[max(worked)]
    if wanted not in worked:
        listed = ", ".join(map(str, worked))
        raise UsageError(f"Turn {wanted} ran no Python that worked. Turns that did: {listed}.")
    return worked[wanted]


def _number(text: str, most: int) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise UsageError(f"code {text}: give a number from 1 to {most}; %alloy code lists them.")
    return int(text)


def _last_answer(session: Session) -> str:
    """Return all that was said since the last prompt."""
    said: list[str] = []
    for message in reversed(session.messages):
        if message.role == "assistant":
            said.append(message.text)
        elif _is_prompt(message):
            break
    return "\n\n".join(reversed(said))


def _is_prompt(message: Message) -> bool:
    return any(not isinstance(block, ToolResult) for block in message.content)


# --- what is made of it -------------------------------------------------------------------------


def _listed(blocks: list[CodeBlock]) -> list[list[str]]:
    rows = [["", "language", "lines", "begins with"]]
    for number, block in enumerate(blocks, 1):
        lines = block.code.strip("\n").split("\n")
        begins = next((line for line in lines if line.strip()), "")
        rows.append([str(number), block.language, str(len(lines)), one_line(begins, _LINE)])
    return [*rows, ["", "", "", "%alloy code K puts one into a cell"]]


def _counted(made: Promoted) -> str:
    count = len(made.steps)
    left = f", {made.left_out} left out (failed, or the same again)" if made.left_out else ""
    needs = f"; it needs {', '.join(made.inputs)}" if made.inputs else ""
    return f"{count} step{'s' * (count != 1)}{left}{needs}"


def _in_form(made: Promoted, form: Path | str) -> str:
    if form == "script" or (isinstance(form, Path) and form.suffix.lower() == ".py"):
        return made.script()
    return made.notebook() if isinstance(form, Path) else made.cell()


def _write(path: Path, text: str, *, force: bool) -> None:
    if path.exists() and not force:
        raise UsageError(f"{path} is there already; --force replaces it.")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"Cannot write {path}: {reason}.") from None
