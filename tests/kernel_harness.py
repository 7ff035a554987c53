"""Real kernels for tests.

::

    with start_kernel(env={"ALLOY_MODEL": "scripted"}) as kernel:
        run = kernel.run("print('hi'); 1 + 1")
        assert run.ok and run.stdout == "hi\n"

A kernel runs in an empty world: its own IPython and Jupyter folders, its own home and working
directory, and an environment without keys, proxies or settings of ours except those passed.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager
from jupyter_client.session import Session

__all__ = ["CellRun", "Iopub", "Kernel", "clean_environment", "start_kernel"]

REPOSITORY = Path(__file__).parent.parent
_PRIVATE = re.compile(
    r"ALLOY|API_?KEY|TOKEN|SECRET|_BASE_URL|PROXY|JUPYTER|IPYTHON|JPY_|^XDG_|^PYTEST|^COV_",
    re.IGNORECASE,
)


def clean_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment whose every folder is under `home` and which holds no key."""
    env = {name: value for name, value in os.environ.items() if not _PRIVATE.search(name)}
    folders = {
        "HOME": "",
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "jupyter-config",
        "JUPYTER_DATA_DIR": "jupyter-data",
        "JUPYTER_RUNTIME_DIR": "jupyter-runtime",
        "JUPYTERLAB_SETTINGS_DIR": "lab-settings",
        "JUPYTERLAB_WORKSPACES_DIR": "lab-workspaces",
        "XDG_CONFIG_HOME": "xdg-config",
        "XDG_CACHE_HOME": "xdg-cache",
        "XDG_DATA_HOME": "xdg-data",
        "XDG_STATE_HOME": "xdg-state",
        "MPLCONFIGDIR": "mpl",
    }
    for name, folder in folders.items():
        (home / folder).mkdir(parents=True, exist_ok=True)
        env[name] = str(home / folder)
    env["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    return env | dict(extra or {})


@dataclass(frozen=True)
class Iopub:
    """One message on iopub, when it arrived (``time.monotonic()``) and its bytes on the wire."""

    type: str
    content: dict[str, Any]
    arrived_at: float
    size: int


@dataclass
class CellRun:
    """What one execution brought."""

    code: str
    started_at: float
    reply: dict[str, Any] = field(default_factory=dict)
    replied_at: float = 0.0
    messages: list[Iopub] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the cell ended without an error."""
        return self.reply.get("status") == "ok"

    @property
    def error(self) -> str | None:
        """The error's class and message, or None."""
        if self.reply.get("status") != "error":
            return None
        return f"{self.reply['ename']}: {self.reply['evalue']}"

    @property
    def seconds(self) -> float:
        """From sending the code to the reply."""
        return self.replied_at - self.started_at

    @property
    def bytes(self) -> int:
        """All of iopub for this cell, on the wire."""
        return sum(message.size for message in self.messages)

    def of(self, *types: str) -> list[Iopub]:
        """Return the messages of these types, in order."""
        return [message for message in self.messages if message.type in types]

    @property
    def stdout(self) -> str:
        """What was printed."""
        return self._stream("stdout")

    @property
    def stderr(self) -> str:
        """What was written to stderr."""
        return self._stream("stderr")

    def _stream(self, name: str) -> str:
        parts = [m.content["text"] for m in self.of("stream") if m.content["name"] == name]
        return "".join(parts)

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """The cell's final outputs as a notebook would save them."""
        return final_outputs(self.messages)

    @property
    def text(self) -> str:
        """The final outputs as a terminal would show them: streams and ``text/plain``."""
        return "\n".join(_plain(output) for output in self.outputs)

    @property
    def html(self) -> str:
        """The ``text/html`` of the final outputs."""
        return "\n".join(o.get("data", {}).get("text/html", "") for o in self.outputs)


def final_outputs(messages: Sequence[Iopub]) -> list[dict[str, Any]]:
    """Fold messages into outputs: join streams, apply updates by display id and clears."""
    outputs: list[dict[str, Any]] = []
    clear_next = False
    for message in messages:
        if message.type == "clear_output":
            clear_next = message.content["wait"]
            if not clear_next:
                outputs.clear()
        elif message.type == "update_display_data":
            _update(outputs, message.content)
        elif message.type in ("stream", "display_data", "execute_result", "error"):
            if clear_next:
                outputs.clear()
                clear_next = False
            _append(outputs, message)
    return outputs


def _append(outputs: list[dict[str, Any]], message: Iopub) -> None:
    last = outputs[-1] if outputs else {}
    if message.type == "stream" and last.get("name") == message.content["name"]:
        last["text"] += message.content["text"]
    else:
        outputs.append({"output_type": message.type, **message.content})


def _update(outputs: list[dict[str, Any]], content: dict[str, Any]) -> None:
    display_id = content["transient"]["display_id"]
    for output in outputs:
        if output.get("transient", {}).get("display_id") == display_id:
            output.update(data=content["data"], metadata=content["metadata"])


def _plain(output: dict[str, Any]) -> str:
    match output["output_type"]:
        case "stream":
            return output["text"]
        case "error":
            return "\n".join(output["traceback"])
        case _:
            return output["data"].get("text/plain", "")


class _MeasuringSession(Session):
    """Notes each message's size and arrival, which the client otherwise loses."""

    def deserialize(self, msg_list: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        arrived_at = time.monotonic()
        size = sum(len(getattr(part, "bytes", part)) for part in msg_list)
        message = super().deserialize(msg_list, *args, **kwargs)
        return message | {"arrived_at": arrived_at, "size": size}


Answers = Callable[[str], str] | Sequence[str]


class Kernel:
    """A running kernel and a client of it."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient, home: Path) -> None:
        self.manager = manager
        self.client = client
        self.home = home
        self.others: list[Iopub] = []
        """What came while a cell was followed, and belongs to another one."""
        self._poller = zmq.Poller()
        for channel in (client.shell_channel, client.iopub_channel, client.stdin_channel):
            self._poller.register(channel.socket, zmq.POLLIN)

    @property
    def pid(self) -> int:
        """The kernel's process id."""
        provisioner: Any = self.manager.provisioner
        return provisioner.pid

    @property
    def log(self) -> str:
        """What the process itself wrote to stdout and stderr, such as a crash."""
        return (self.home / "kernel.log").read_text(errors="replace")

    def run(
        self,
        code: str,
        timeout: float = 60.0,
        *,
        store_history: bool = True,
        answers: Answers | None = None,
        on_message: Callable[[Iopub], object] | None = None,
        cell_id: str | None = None,
    ) -> CellRun:
        """Execute code and wait until the kernel is idle again.

        `answers` switches stdin on: a sequence of lines or a function from prompt to line.
        `on_message` sees each message as it comes, to interrupt at a given point for example.
        `cell_id` is sent as front ends with notebooks do.
        """
        run, id_ = self.send(
            code,
            store_history=store_history,
            allow_stdin=answers is not None,
            cell_id=cell_id,
        )
        return self.finish(run, id_, timeout, answers=answers, on_message=on_message)

    def send(
        self,
        code: str,
        *,
        store_history: bool = True,
        allow_stdin: bool = False,
        cell_id: str | None = None,
    ) -> tuple[CellRun, str]:
        """Send code and do not wait; pass both results to `finish`."""
        run = CellRun(code, time.monotonic())
        content = {
            "code": code,
            "silent": False,
            "store_history": store_history,
            "user_expressions": {},
            "allow_stdin": allow_stdin,
            "stop_on_error": True,
        }
        metadata = {} if cell_id is None else {"cellId": cell_id}
        message = self.client.session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(message)
        return run, message["header"]["msg_id"]

    def finish(
        self,
        run: CellRun,
        id_: str,
        timeout: float = 60.0,
        *,
        answers: Answers | None = None,
        on_message: Callable[[Iopub], object] | None = None,
    ) -> CellRun:
        """Collect the reply and the messages of a sent execution, until idle."""
        end = time.monotonic() + timeout
        answer = _answerer(answers)
        idle = False
        while not (idle and run.reply):
            if time.monotonic() > end:
                raise TimeoutError(f"no end of the cell in {timeout} s; so far: {run.messages}")
            self._poller.poll(100)  # on all channels: a reply's time must not wait for an output
            self._take_reply(run, id_)
            self._answer_prompt(run, answer)
            idle = self._take_message(run, id_, on_message) or idle
        return run

    def interrupt(self, after: float = 0.0) -> threading.Timer | None:
        """Interrupt the kernel as the stop button does; with `after`, from a thread, later."""
        if not after:
            self.manager.interrupt_kernel()
            return None
        timer = threading.Timer(after, self.manager.interrupt_kernel)
        timer.start()
        return timer

    def kill(self) -> None:
        """End the kernel with SIGKILL and wait for it."""
        self.manager.shutdown_kernel(now=True)

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, through `repr` and `ast.literal_eval`."""
        import ast

        probe = self.client.execute("", silent=True, user_expressions={"value": expression})
        run = self.finish(CellRun(expression, time.monotonic()), probe)
        result = run.reply["user_expressions"]["value"]
        assert result["status"] == "ok", result
        return ast.literal_eval(result["data"]["text/plain"])

    def _take_reply(self, run: CellRun, id_: str) -> None:
        with contextlib.suppress(queue.Empty):
            message = self.client.get_shell_msg(timeout=0)
            if message["parent_header"].get("msg_id") == id_:
                run.reply, run.replied_at = message["content"], message["arrived_at"]

    def _answer_prompt(self, run: CellRun, answer: Callable[[str], str]) -> None:
        with contextlib.suppress(queue.Empty):
            request = self.client.get_stdin_msg(timeout=0)
            run.prompts.append(request["content"]["prompt"])
            self.client.input(answer(request["content"]["prompt"]))

    def _take_message(
        self, run: CellRun, id_: str, on_message: Callable[[Iopub], object] | None
    ) -> bool:
        """Take one message if there is one; return whether it says idle."""
        try:
            raw = self.client.get_iopub_msg(timeout=0)
        except queue.Empty:
            return False
        message = Iopub(raw["msg_type"], raw["content"], raw["arrived_at"], raw["size"])
        if raw["parent_header"].get("msg_id") != id_:
            self.others.append(message)
            return False
        run.messages.append(message)
        if on_message:
            on_message(message)
        return message.type == "status" and message.content["execution_state"] == "idle"


def _answerer(answers: Answers | None) -> Callable[[str], str]:
    if callable(answers):
        return answers
    lines = iter(answers or ())

    def next_line(prompt: str) -> str:
        line = next(lines, None)
        assert line is not None, f"no answer left for the prompt {prompt!r}"
        return line

    return next_line


@contextlib.contextmanager
def start_kernel(
    env: Mapping[str, str] | None = None, *, cwd: Path | None = None, timeout: float = 180.0
) -> Iterator[Kernel]:
    """Start a kernel in an empty world of its own, and end it with the block."""
    with tempfile.TemporaryDirectory(prefix="alloy-kernel-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        work = cwd or home / "work"
        work.mkdir(exist_ok=True)
        with _managed(home, work, clean_environment(home, env), timeout) as kernel:
            yield kernel


@contextlib.contextmanager
def _managed(home: Path, cwd: Path, env: dict[str, str], timeout: float) -> Iterator[Kernel]:
    try:
        manager, client = _started(home, cwd, env, timeout)
    except RuntimeError:  # it died: somebody took a port between its choice and its use
        manager, client = _started(home, cwd, env, timeout)
    try:
        yield Kernel(manager, client, home)
    finally:
        _ended(manager, client)


def _started(
    home: Path, cwd: Path, env: dict[str, str], timeout: float
) -> tuple[KernelManager, BlockingKernelClient]:
    manager = KernelManager(connection_file=str(home / "connection.json"))
    # Not the kernel spec: its `python` may be another one, and it would need folders of ours.
    manager.kernel_spec.argv = [
        *(sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher"),
        *("-f", "{connection_file}"),
    ]
    manager.session = _MeasuringSession(parent=manager)
    with (home / "kernel.log").open("wb") as log:
        manager.start_kernel(env=env, cwd=str(cwd), stdout=log, stderr=log)
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=timeout)
    except BaseException:
        _ended(manager, client)
        raise
    return manager, client


def _ended(manager: KernelManager, client: BlockingKernelClient) -> None:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()
    client.context.destroy(linger=0)
