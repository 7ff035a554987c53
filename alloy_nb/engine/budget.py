"""A limit on spending that holds also when several requests run side by side.

Before each request its worst case is reserved, after it what it really cost is settled. A request
whose worst case does not fit into what is left is not sent.
"""

from __future__ import annotations

import threading
from decimal import Decimal

from alloy_nb.errors import BudgetExceeded, ConfigError
from alloy_nb.messages import Document, Image, Message, Text, Thinking, ToolCall, ToolResult
from alloy_nb.providers import catalog
from alloy_nb.providers.base import ModelRequest, Provider
from alloy_nb.usage import Cost, Usage

__all__ = ["Budget", "estimate_tokens"]

# Output that is reserved where a request sets no limit of its own; it is sent along as the limit.
RESERVED_OUTPUT = 8_192
# A token is rarely shorter than this many bytes, so the estimate errs on the dear side. Bytes and
# not characters: one of Chinese is a token or more.
_BYTES_A_TOKEN = 3
_IMAGE_TOKENS = 1_600


class Budget:
    """A number of US dollars that may be spent, shared by everything that is given it.

    Args:
        limit: US dollars; 0 allows no request that costs anything.
        within: A budget that this one is a part of; both must have room.

    Raises:
        ConfigError: The limit is negative or no number.
    """

    def __init__(self, limit: Decimal | float | str, *, within: Budget | None = None) -> None:
        self.limit = _amount(limit)
        self._within = within
        self._spent = Decimal(0)
        self._reserved = Decimal(0)
        self._lock = threading.Lock()

    @property
    def spent(self) -> Decimal:
        """US dollars that are settled."""
        return self._spent

    @property
    def left(self) -> Decimal:
        """US dollars that are neither spent nor reserved."""
        with self._lock:
            return self.limit - self._spent - self._reserved

    def reserve(self, amount: Decimal) -> None:
        """Set an amount aside.

        Raises:
            BudgetExceeded: It is more than is left.
        """
        if self._within is not None:
            self._within.reserve(amount)
        with self._lock:
            left = self.limit - self._spent - self._reserved
            if amount <= left:
                self._reserved += amount
                return
        if self._within is not None:
            self._within.settle(amount, Cost())
        raise BudgetExceeded(
            f"The next request may cost up to ${amount:.4f}, and ${max(left, 0):.4f} of "
            f"${self.limit} is left. Raise the limit, or ask for less output."
        )

    def settle(self, reserved: Decimal, cost: Cost) -> None:
        """Give a reservation back and count what was really spent.

        A cost that is unknown, because a reply was cut or its server counts nothing, counts as
        the worst case.
        """
        if self._within is not None:
            self._within.settle(reserved, cost)
        spent = cost.usd if cost.usd is not None else max(reserved, cost.known)
        with self._lock:
            self._reserved -= reserved
            self._spent += max(spent, Decimal(0))


def worst_case(provider: Provider, request: ModelRequest) -> Decimal:
    """Return the most that a request may cost, in US dollars.

    Raises:
        ConfigError: The price of the model is unknown, so no limit could be held.
    """
    output = request.options.max_output_tokens or RESERVED_OUTPUT
    usage = Usage(input_tokens=estimate_tokens(request), output_tokens=output)
    cost = catalog.cost(provider.name, provider.model, usage)
    if cost.usd is None:
        raise ConfigError(
            f"The price of {provider.name}/{provider.model} is unknown, so a limit on cost cannot "
            "be held. Set it with al.catalog.override(...), or leave the limit out."
        )
    return cost.usd


def estimate_tokens(request: ModelRequest) -> int:
    """Return about how many tokens a request has, rather too many than too few."""
    size = _bytes(request.system or "") + sum(_size(message) for message in request.messages)
    size += sum(
        _bytes(tool.name) + _bytes(tool.description) + _bytes(str(tool.input_schema))
        for tool in request.tools
    )
    return size // _BYTES_A_TOKEN + 16 * len(request.messages) + 16


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _size(message: Message) -> int:
    return sum(_block_size(block) for block in message.content)


def _block_size(block: object) -> int:
    match block:
        case Text() | Thinking():
            return _bytes(block.text) + _bytes(str(block.replay or ""))
        case ToolCall():
            return _bytes(block.name) + _bytes(str(block.input)) + _bytes(block.invalid or "")
        case ToolResult():
            return sum(_block_size(part) for part in block.content)
        case Image():
            return _IMAGE_TOKENS * _BYTES_A_TOKEN
        case Document():
            # What its pages hold cannot be seen from here.
            return len(block.data or "") + _IMAGE_TOKENS * _BYTES_A_TOKEN
    return _bytes(str(block))


def _amount(limit: Decimal | float | str) -> Decimal:
    try:
        amount = Decimal(str(limit))
    except ArithmeticError:
        raise ConfigError(f"{limit!r} is no amount of US dollars.") from None
    if not amount.is_finite() or amount < 0:
        raise ConfigError(f"A limit on cost cannot be {limit!r}.")
    return amount
