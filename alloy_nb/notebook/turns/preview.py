"""``--dry-run``: what would be sent, how long it is, and what it may cost. Nothing is sent.

Tokens are estimated, corrected by what the vendor counted in this conversation. Prices are those
that the limit on cost reckons with; one that is not known is said to be unknown, never taken for 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from IPython.core.error import UsageError

from alloy_nb.engine.budget import Budget, Spending, price
from alloy_nb.engine.sessions.proposed import Proposed, proposed
from alloy_nb.engine.sessions.session import Session
from alloy_nb.engine.window.compaction import window_of
from alloy_nb.errors import ConfigError
from alloy_nb.markup.alongside import referenced
from alloy_nb.markup.plain import one_line
from alloy_nb.messages import Document, Image, Message, Text, user
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.turns.asking import Asking, cue_of, weighed
from alloy_nb.notebook.words import Words
from alloy_nb.providers.base import ModelOptions, Provider
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.secrets import redact
from alloy_nb.usage import Cost, Usage

__all__ = ["preview"]

# Under these names the wires send the limit of an answer.
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens")
_A_THOUSAND = 1000
_ENDLESS = 10**12

Rows = list[list[str]]


def preview(desk: Desk, words: Words, namespace: dict[str, Any]) -> None:
    """Show what the prompt would send.

    Raises:
        UsageError: A flag has a value that cannot be.
    """
    asking = weighed(desk, words, namespace)
    plan = _plan(desk, asking, words.flags)
    body = _body(plan)
    status.show(_rows(asking.session, plan, body))
    if asking.look.detail == "verbose":
        status.say(_shown(plan, body))


def _plan(desk: Desk, asking: Asking, flags: Mapping[str, Any]) -> Proposed:
    session = asking.session
    if flags.get("once"):
        return proposed(session, asking.prompt.prompt, asking.settings, until=0)
    key = desk.places.peek()
    cue = cue_of(desk, asking, replay="off", key=key)
    until = _until(session, flags, key)
    return proposed(session, asking.prompt.prompt, asking.settings, cue=cue, until=until)


def _until(session: Session, flags: Mapping[str, Any], key: str) -> int | None:
    """Return how many messages would come before the prompt, ``None`` for all."""
    if flags.get("new"):
        return 0
    if "at" in flags:
        return session.first_of(int(flags["at"]))
    journal = session.journal
    if journal is None:
        return None
    if "fork" in flags and flags["fork"] in set(journal.branches()) - {journal.branch}:
        raise UsageError(
            f"--dry-run does not look at another branch: %alloy use {flags['fork']} first."
        )
    turns = journal.turns() if key else []
    place = next((n for n in reversed(range(len(turns))) if turns[n].key == key), None)
    # A cell that asks again takes the place of what it asked before.
    return None if place is None else sum(len(turn.messages) for turn in turns[:place])


# --- what is in it --------------------------------------------------------------------------------


def _rows(session: Session, plan: Proposed, body: Mapping[str, Any] | None) -> Rows:
    provider, request = plan.agent.provider, plan.request
    window = window_of(provider, plan.agent.model_metadata_overrides)
    parts = _parts(session, plan)
    total = sum(tokens for _, tokens in parts)
    head = f"{provider.name}/{provider.model}"
    rows = [[f"nothing was sent to {head}", "about tokens", "of the window"]]
    rows += [[what, f"{tokens:,}", _share(tokens, window)] for what, tokens in parts]
    rows.append(["all together", f"{total:,}", _share(total, window)])
    rows.append(["window", f"{window:,}" if window else "unknown", ""])
    limit = _limit(request.options, body)
    rows.append(["answer at most", f"{limit:,}" if limit else "no limit is set", ""])
    rows += [[what, cost, ""] for what, cost in _costs(plan, total, limit)]
    budget = plan.agent.budget
    if budget is not None:
        refused = "it would be refused" if _reserved(plan) > budget.left else ""
        rows.append(["left of the limit", f"${budget.left:.4f}", refused])
    return rows


def _parts(session: Session, plan: Proposed) -> list[tuple[str, int]]:
    request = plan.request

    def sized(*messages: Message) -> int:
        return session.tokens_of(messages)

    parts = [("system prompt", sized(user(request.system)) if request.system else 0)]
    for spec in request.tools:
        told = f"{spec.name} {spec.description} {spec.input_schema}"
        parts.append((f"tool {one_line(spec.name, 60)}", sized(user(told))))
    count = len(plan.history)
    parts.append((f"conversation, {count} message{'s' * (count != 1)}", sized(*plan.history)))
    return [*parts, *_prompt_parts(session, plan.said)]


def _prompt_parts(session: Session, said: Message) -> list[tuple[str, int]]:
    texts = [block.text for block in said.content if isinstance(block, Text)]
    found = [one for text in texts for one in referenced(text)]
    parts = [(f"@{one_line(n, 40)}", session.tokens_of([user(block)])) for n, block in found]
    parts += [
        (f"{block.type} in the prompt", session.tokens_of([user(block)]))
        for block in said.content
        if isinstance(block, (Image, Document))
    ]
    whole = session.tokens_of([said])
    return [("prompt", max(0, whole - sum(tokens for _, tokens in parts))), *parts]


def _share(tokens: int, window: int | None) -> str:
    return f"{tokens / window:.1%}" if window else "?"


# --- what it costs --------------------------------------------------------------------------------


def _costs(plan: Proposed, tokens: int, limit: int | None) -> list[tuple[str, str]]:
    """Return rows of costs."""
    provider = plan.agent.provider
    fresh = price(provider, Usage(input_tokens=tokens))
    if fresh.usd is None:
        return [("cost", "unknown price")]
    rows = [("input costs", str(fresh))]
    inputs = [fresh.usd]
    for what, usage in _cached(plan, tokens):
        cost = price(provider, usage)
        if cost.usd is not None and cost.usd != fresh.usd:
            rows.append((what, str(cost)))
            inputs.append(cost.usd)
    output = price(provider, Usage(output_tokens=limit or _A_THOUSAND))
    if output.usd is None:
        return [*rows, ("output costs", "unknown price")]
    if limit is None:
        rows.append(("each 1,000 tokens of the answer cost", str(output)))
        return [*rows, ("all together", f"{Cost(known=min(inputs))} and more")]
    rows.append(("output costs", f"$0 to {output}"))
    low, high = min(inputs), max(inputs) + output.usd
    same = low == high
    shown = str(Cost(known=low)) if same else f"{Cost(known=low)} to {Cost(known=high)}"
    return [*rows, ("this request", f"{shown}; each round of tools is one more")]


def _reserved(plan: Proposed) -> Decimal:
    """Return what a limit sets aside for the request: its worst case, which is infinite if unknown.

    That counts more tokens than the table, which says what is likely.
    """
    agent = plan.agent
    spending = Spending(Budget(_ENDLESS), agent.unknown_price)
    try:
        return spending.reserve((agent.provider, *agent.fallback_providers), plan.request)
    except ConfigError:  # without a price no limit can be held
        return Decimal("Infinity")


def _cached(plan: Proposed, tokens: int) -> list[tuple[str, Usage]]:
    """Return what else the input may cost, at a vendor that keeps what it was sent."""
    own = getattr(plan.agent.provider, "options", None) or ModelOptions()
    cache = plan.request.options.over(own).cache
    out = []
    if plan.history:
        said = min(tokens, sum(_length(block) for block in plan.said.content) // 4)
        read = Usage(input_tokens=tokens, cache_read_tokens=tokens - said)
        out.append(("input, where the vendor kept what came before", read))
    if cache:
        long = tokens if cache == "1h" else 0
        whole = {"cache_write_tokens": tokens, "cache_write_1h_tokens": long}
        written = Usage(input_tokens=tokens).model_copy(update=whole)
        out.append(("input, where the vendor is to keep all of it", written))
    return out


def _length(block: Any) -> int:
    return len(block.text) if isinstance(block, Text) else 0


def _limit(options: ModelOptions, body: Mapping[str, Any] | None) -> int | None:
    """Return the limit of the answer: as it is sent, since some vendors demand one."""
    for place in (body or {}, (body or {}).get("generationConfig", {})):
        for name in _LIMITS:
            if isinstance(place.get(name), int):
                return int(place[name])
    return options.max_output_tokens


# --- exactly --------------------------------------------------------------------------------------


def _body(plan: Proposed) -> Mapping[str, Any] | None:
    provider: Provider = plan.agent.provider
    if not isinstance(provider, VendorProvider):
        return None
    body: Mapping[str, Any] = json.loads(provider.body(plan.request))
    return body


def _shown(plan: Proposed, body: Mapping[str, Any] | None) -> str:
    """Return the request in its vendor's words, as ``%alloy sent`` would show it."""
    provider, head = plan.agent.provider, ""
    shown: Mapping[str, Any] | Sequence[Any] | None = body
    if isinstance(provider, VendorProvider):
        head = f"POST {provider.url}\n"
    else:
        messages = plan.request.messages
        shown = [message.model_dump(mode="json", exclude_none=True) for message in messages]
    return redact(head + json.dumps(shown, indent=1, ensure_ascii=False))
