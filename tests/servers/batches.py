"""A vendor's batch interface: takes batches, is in no hurry, and can fail at each step.

::

    with BatchServer("anthropic", answer=lambda body: Reply([Say("yes")])) as server:
        Anthropic("scripted-1", base_url=server.url, api_key="k")
        server.finish()                  # what was asked so far is answered from now on
        server.asked                     # the id of every request of every batch that was made

Each request is checked against the official SDK's types, and so is each answer of the server.
Batches are made and read under a lock, so that counts are exact.
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

from tests.oracles.strict import validate_anthropic, validate_chat, validate_responses
from tests.providers.responses_streams import call, message, response
from tests.servers.sse import RESET, Answer, Request, Server, json_answer
from tests.servers.wire import Call, Reply, Say, anthropic_body, chat_body

__all__ = ["BatchServer", "Refused"]

Kind = Literal["anthropic", "responses", "chat"]
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True)
class Refused:
    """A request that failed."""

    status: int
    kind: str
    text: str


What = Reply | Refused | Literal["expired", "canceled"]


@dataclass
class Made:
    """A batch that was made."""

    id: str
    requests: list[tuple[str, dict[str, Any]]]
    created: float
    label: str | None = None
    file: str = ""
    over: bool = False
    failure: str | None = None
    results: list[bytes] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)


class BatchServer:
    """The interface of one vendor.

    Args:
        kind: Whose.
        answer: What comes of a request, by its body.
        patient: Whether batches end only with `finish`, and not when they are first asked about.
        key: The key that every request must have.
    """

    def __init__(
        self,
        kind: Kind,
        *,
        answer: Callable[[dict[str, Any]], What] | None = None,
        patient: bool = False,
        key: str = "k-12345678",
    ) -> None:
        self.kind = kind
        self.batches: list[Made] = []
        self.asked: list[str] = []
        self.silent_creates = 0
        """How many of the next batches are made, but not answered: the connection breaks."""
        self.cut_results = 0
        """How many of the next downloads break off in the middle of a line."""
        self.short_results = 0
        """How many of the next downloads end well, with half of the lines."""
        self.failures: list[Answer] = []
        """What the next requests get instead of an answer, whatever they ask."""
        self._answer = answer or (lambda body: Reply([Say("ok")]))
        self._patient, self._key = patient, key
        self._lock = threading.RLock()
        self._files: dict[str, bytes] = {}
        self._server = Server(otherwise=self._handle)
        self.url = self._server.url
        self.requests = self._server.requests
        self.made = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.__exit__(*exc)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The bodies of all requests of all batches."""
        return [body for batch in self.batches for _, body in batch.requests]

    def finish(self) -> None:
        """End every batch."""
        with self._lock:
            for batch in self.batches:
                self._finish(batch)

    def count(self, method: str, path: str) -> int:
        """Return how many requests there were of a method, to a path that holds this."""
        return sum(r.method == method and path in r.path for r in self.requests)

    # --- what is asked ------------------------------------------------------------------------

    def _handle(self, request: Request) -> Answer:
        given = request.headers.get("x-api-key") or request.headers.get("authorization", "")
        assert given.removeprefix("Bearer ") == self._key, "a request without the key"
        with self._lock:
            if self.failures:
                return self.failures.pop(0)
            split = urlsplit(request.path)
            query = {name: values[0] for name, values in parse_qs(split.query).items()}
            return self._routed(request, split.path.removeprefix("/v1"), query)

    def _routed(self, request: Request, path: str, query: dict[str, str]) -> Answer:
        root = "/messages/batches" if self.kind == "anthropic" else "/batches"
        match request.method, path:
            case "POST", "/files":
                return self._upload(request)
            case "GET", _ if path.startswith("/files/"):
                return self._download(path.split("/")[2])
            case "POST", _ if path == root:
                return self._create(request)
            case "GET", _ if path == root:
                return self._list(query)
            case "GET", _ if path.endswith("/results"):
                return self._download(path.split("/")[-2])
            case _, _ if path.startswith(f"{root}/"):
                return self._one(path.removeprefix(f"{root}/"), request.method)
        return json_answer({"error": {"message": f"no such path: {path}"}}, status=404)

    def _upload(self, request: Request) -> Answer:
        border = request.headers["content-type"].split("boundary=")[1]
        parts = request.body.split(f"--{border}".encode())
        assert parts[0] == b"" and parts[-1] == b"--\r\n"
        heads = [part.split(b"\r\n\r\n", 1) for part in parts[1:-1]]
        named = {re.search(rb'name="(\w+)"', head)[1]: rest[:-2] for head, rest in heads}  # type: ignore[index]
        assert named[b"purpose"] == b"batch"
        id_ = f"file-in{len(self._files)}"
        self._files[id_] = named[b"file"]
        return json_answer(_checked_file(id_, len(named[b"file"])))

    def _create(self, request: Request) -> Answer:
        number = len(self.batches)
        if self.kind == "anthropic":
            lines = [(each["custom_id"], each["params"]) for each in request.json["requests"]]
            batch = Made(f"msgbatch_{number}", lines, time.time())
        else:
            asked = request.json
            assert set(asked) == {"input_file_id", "endpoint", "completion_window", "metadata"}
            read = [json.loads(line) for line in self._files[asked["input_file_id"]].splitlines()]
            assert {(each["method"], each["url"]) for each in read} == {("POST", asked["endpoint"])}
            lines = [(each["custom_id"], each["body"]) for each in read]
            batch = Made(f"batch_{number}", lines, float(int(time.time())))
            batch.label, batch.file = asked["metadata"]["alloy"], asked["input_file_id"]
        self._check(lines)
        self.batches.append(batch)
        self.asked += [id_ for id_, _ in lines]
        self.made.set()
        if self.silent_creates:
            self.silent_creates -= 1
            return Answer([RESET], raw=True)
        return json_answer(self._state(batch))

    def _check(self, lines: list[tuple[str, dict[str, Any]]]) -> None:
        assert lines and len({id_ for id_, _ in lines}) == len(lines)
        validate = {
            "anthropic": validate_anthropic,
            "responses": validate_responses,
            "chat": validate_chat,
        }[self.kind]
        for id_, body in lines:
            assert _ID.fullmatch(id_)
            assert "stream" not in body
            validate(body)

    def _one(self, rest: str, method: str) -> Answer:
        id_, _, verb = rest.partition("/")
        batch = next((b for b in self.batches if b.id == id_), None)
        if batch is None:
            return json_answer({"error": {"message": f"no such batch: {id_}"}}, status=404)
        if verb == "cancel":
            assert method == "POST"
            self._finish(batch, canceled=True)
        elif not self._patient:
            self._finish(batch)
        return json_answer(self._state(batch))

    def _list(self, query: dict[str, str]) -> Answer:
        newest = self.batches[::-1]
        after = query.get("after_id") or query.get("after")
        start = next((n + 1 for n, b in enumerate(newest) if b.id == after), 0)
        page = newest[start : start + 2]  # a short page, so that a second one is asked for
        data = [self._state(batch) for batch in page]
        more = {"has_more": start + 2 < len(newest)}
        return json_answer({"data": data, **more})

    def _download(self, id_: str) -> Answer:
        which, _, batch_id = id_.partition("-of-")
        batch = next(b for b in self.batches if b.id == (batch_id or id_))
        lines = batch.errors if which == "errors" else batch.results
        data = b"".join(line + b"\n" for line in lines)
        kind = {"content_type": "application/x-jsonl"}
        if self.short_results:
            self.short_results -= 1
            return Answer([b"".join(line + b"\n" for line in lines[: len(lines) // 2])], **kind)
        if self.cut_results:
            self.cut_results -= 1
            return Answer([data[: len(data) // 2], RESET], **kind)
        return Answer(_pieces(data), **kind)

    # --- what comes of it ---------------------------------------------------------------------

    def _finish(self, batch: Made, *, canceled: bool = False) -> None:
        if batch.over:
            return
        batch.over = True
        for id_, body in batch.requests:
            what = "canceled" if canceled else self._answer(body)
            line = json.dumps(self._line(id_, what)).encode()
            failed = self.kind != "anthropic" and not isinstance(what, Reply)
            (batch.errors if failed else batch.results).append(line)
        random.Random(len(batch.requests)).shuffle(batch.results)

    def _line(self, id_: str, what: What) -> dict[str, Any]:
        if self.kind == "anthropic":
            return _checked_line({"custom_id": id_, "result": _anthropic_result(what)})
        line = {"id": f"batch_req_{id_}", "custom_id": id_, "response": None, "error": None}
        match what:
            case Reply():
                body = chat_body(what) if self.kind == "chat" else _response(what)
                line["response"] = {"status_code": 200, "request_id": "r", "body": body}
            case Refused(status, kind, text):
                error = {"error": {"type": kind, "code": None, "message": text}}
                line["response"] = {"status_code": status, "request_id": "r", "body": error}
            case "expired":
                text = "This request could not be executed before the completion window expired."
                line["error"] = {"code": "batch_expired", "message": text}
            case "canceled":
                line["error"] = {"code": "batch_cancelled", "message": "cancelled"}
        return line

    def _state(self, batch: Made) -> dict[str, Any]:
        if self.kind == "anthropic":
            return _anthropic_state(batch, self.url)
        return _openai_state(batch, self.kind)


def _pieces(data: bytes) -> Iterable[bytes]:
    return [data[start : start + 1000] for start in range(0, len(data), 1000)]


def _anthropic_result(what: What) -> dict[str, Any]:
    match what:
        case Reply():
            return {"type": "succeeded", "message": anthropic_body(what)}
        case Refused(_, kind, text):
            error = {"type": "error", "error": {"type": kind, "message": text}}
            return {"type": "errored", "error": error}
    return {"type": what}


def _anthropic_state(batch: Made, url: str) -> dict[str, Any]:
    from anthropic.types.messages import MessageBatch

    total = len(batch.requests)
    read = [json.loads(line)["result"]["type"] for line in batch.results]
    names = ("succeeded", "errored", "canceled", "expired")
    counts = {name: read.count(name) for name in names} | {"processing": total - len(read)}
    made = datetime.fromtimestamp(batch.created, UTC)
    state = {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": "ended" if batch.over else "in_progress",
        "request_counts": counts,
        "created_at": made.isoformat().replace("+00:00", "Z"),
        "expires_at": (made + timedelta(days=1)).isoformat(),
        "ended_at": made.isoformat() if batch.over else None,
        "archived_at": None,
        "cancel_initiated_at": None,
        # Another host, on purpose: a key must not go there.
        "results_url": f"https://evil.invalid/{batch.id}" if batch.over else None,
    }
    MessageBatch.model_validate(state)
    return state


def _openai_state(batch: Made, kind: str) -> dict[str, Any]:
    from openai.types import Batch

    status = "failed" if batch.failure else "completed" if batch.over else "in_progress"
    counts = {"completed": len(batch.results), "failed": len(batch.errors)}
    state = {
        "id": batch.id,
        "object": "batch",
        "endpoint": "/v1/responses" if kind == "responses" else "/v1/chat/completions",
        "completion_window": "24h",
        "created_at": int(batch.created),
        "input_file_id": batch.file,
        "status": status,
        "output_file_id": f"results-of-{batch.id}" if batch.results else None,
        "error_file_id": f"errors-of-{batch.id}" if batch.errors else None,
        "metadata": {"alloy": batch.label},
        "request_counts": counts | {"total": len(batch.requests)},
        "errors": None,
    }
    if batch.failure:
        told = {"code": "invalid_json_line", "message": batch.failure, "line": 1, "param": None}
        state["errors"] = {"object": "list", "data": [told]}
    Batch.model_validate(state)
    return state


def _checked_line(line: dict[str, Any]) -> dict[str, Any]:
    from anthropic.types.messages import MessageBatchIndividualResponse

    MessageBatchIndividualResponse.model_validate(line)
    return line


def _checked_file(id_: str, size: int) -> dict[str, Any]:
    from openai.types import FileObject

    about = {"id": id_, "bytes": size, "created_at": 1, "filename": "f", "object": "file"}
    FileObject.model_validate(about | {"purpose": "batch", "status": "processed"})
    return about


def _response(reply: Reply) -> dict[str, Any]:
    items = [
        call(block.name, block.input) if isinstance(block, Call) else message(block.text)  # type: ignore[union-attr]
        for block in reply.blocks
    ]
    return response(reply.id, items)
