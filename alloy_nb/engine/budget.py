"""A limit on spending that holds also when several requests run side by side.

Before each request its worst case is reserved, after it what it really cost is settled. A request
whose worst case does not fit into what is left is not sent.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from alloy_nb.engine.window.measure import Measured, fixed_at_most, most_tokens
from alloy_nb.errors import BudgetExceeded, ConfigError, ProviderError, StreamTruncated, TimedOut
from alloy_nb.providers import catalog
from alloy_nb.providers.base import ModelOptions, ModelRequest, Provider
from alloy_nb.usage import Cost, Usage

__all__ = ["UNKNOWN_PRICES", "Budget", "Spending", "UnknownPrice", "estimate_tokens", "price"]

# Output that is reserved where a request sets no limit of its own; it is sent along as the limit.
RESERVED_OUTPUT = 8_192

# Both are frozen, so all runs may begin with the same ones.
_NO_USAGE, _NO_COST = Usage(), Cost()

UnknownPrice = Literal["refuse", "worst"]
UNKNOWN_PRICES: tuple[UnknownPrice, ...] = ("refuse", "worst")


class Budget:
    """A number of US dollars that may be spent, shared by everything that is given it.

    Args:
        limit: US dollars; 0 allows no request at all.
        within: A budget that this one is a part of; both must have room.

    Raises:
        ConfigError: The limit is negative or no number.
    """

    def __init__(self, limit: Decimal | float | str, *, within: Budget | None = None) -> None:
        self.limit = _amount(limit)
        # What has to have room, itself first; each stands in it once.
        self._levels: tuple[Budget, ...] = (self, *(within._levels if within is not None else ()))
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

    def check(self) -> None:
        """Refuse when all of it is spent, also what costs nothing.

        Raises:
            BudgetExceeded: Nothing is left.
        """
        for level in self._levels:
            if level._spent >= level.limit:
                raise BudgetExceeded(
                    f"${level._spent:.4f} is spent, and the limit is ${level.limit}. Raise the "
                    "limit."
                )

    def reserve(self, amount: Decimal) -> None:
        """Set an amount aside.

        Raises:
            BudgetExceeded: It is more than is left.
        """
        held: list[Budget] = []
        try:
            for level in self._levels:
                level._hold(amount)
                held.append(level)
        except BudgetExceeded:
            for level in held:
                level._let_go(amount, Decimal(0))
            raise

    def settle(self, reserved: Decimal, cost: Cost) -> None:
        """Give a reservation back and count what was really spent.

        A cost that is unknown, because a reply was cut or its server counts nothing, counts as
        the worst case.
        """
        spent = cost.usd if cost.usd is not None else max(reserved, cost.known)
        for level in self._levels:
            level._let_go(reserved, max(spent, Decimal(0)))

    def _hold(self, amount: Decimal) -> None:
        with self._lock:
            left = self.limit - self._spent - self._reserved
            if amount <= left:
                self._reserved += amount
                return
        raise BudgetExceeded(
            f"The next request may cost up to ${amount:.4f}, and ${max(left, 0):.4f} of "
            f"${self.limit} is left. Raise the limit, or ask for less output."
        )

    def _let_go(self, reserved: Decimal, spent: Decimal) -> None:
        with self._lock:
            self._reserved -= reserved
            self._spent += spent


class _Joined(Budget):
    """Several budgets at once; what it shows is the one with the least left."""

    def __init__(self, levels: tuple[Budget, ...]) -> None:
        self._levels = levels

    @property
    def limit(self) -> Decimal:  # type: ignore[override]  # nobody sets a budget's limit
        """US dollars of the one with the least left."""
        return self._tightest.limit

    @property
    def spent(self) -> Decimal:
        """US dollars that are settled of the one with the least left."""
        return self._tightest.spent

    @property
    def left(self) -> Decimal:
        """US dollars that neither of them has spent or reserved."""
        return self._tightest.left

    @property
    def _tightest(self) -> Budget:
        return min(self._levels, key=lambda level: level.left)


def joined(one: Budget | None, other: Budget | None) -> Budget | None:
    """Return a budget that both limit; what they have in common counts once."""
    if one is None or other is None:
        return one if other is None else other
    levels = tuple(dict.fromkeys((*one._levels, *other._levels)))
    for budget in (one, other):
        if set(budget._levels) == set(levels):
            return budget
    return _Joined(levels)


class Spending:
    """What a run used and what it cost, and the limit that it keeps.

    Args:
        budget: The limit, or ``None``.
        unknown_price: What happens under a limit where the price of a model is unknown: *refuse*
            sends nothing, *worst* counts the dearest price of any model in the catalog.
    """

    def __init__(self, budget: Budget | None, unknown_price: UnknownPrice = "refuse") -> None:
        self.budget = budget
        self.usage, self.cost = _NO_USAGE, _NO_COST
        self._dearest = unknown_price == "worst"

    def reserve(
        self, providers: Sequence[Provider], request: ModelRequest, measured: Measured | None = None
    ) -> Decimal:
        """Set aside what a request may cost, whichever of the providers answers it.

        Args:
            providers: Who may answer.
            request: What is sent.
            measured: The sizes of its messages, where they are known.

        Raises:
            BudgetExceeded: That is more than is left.
            ConfigError: A price is unknown, and so no limit could be held.
        """
        if self.budget is None:
            return Decimal(0)
        self.budget.check()
        input_tokens = estimate_tokens(request) if measured is None else measured.most
        amount = max(self._worst_case(provider, request, input_tokens) for provider in providers)
        self.budget.reserve(amount)
        return amount

    def settle(self, reserved: Decimal, provider: Provider, usage: Usage | None) -> Cost:
        """Count a whole reply, and give back what was reserved for more; return what it cost."""
        usage = believable(usage)
        cost = price(provider, usage)
        self.usage += usage or Usage(unreported=1)
        self.cost += cost
        if self.budget is not None:
            self.budget.settle(reserved, self._charged(cost, usage))
        return cost

    def settle_attempt(self, reserved: Decimal, error: ProviderError) -> bool:
        """Count an attempt that failed before it is made again; return whether it may be billed.

        A server that was too slow, or hung up, may have done the work all the same.
        """
        if not isinstance(error, (TimedOut, StreamTruncated)):
            return False
        self.cost += Cost.unknown()
        if self.budget is not None:
            self.budget.settle(reserved, Cost.unknown())
        return True

    def settle_failed(
        self,
        reserved: Decimal,
        provider: Provider,
        usage: Usage | None,
        error: BaseException,
        *,
        has_output: bool,
        was_sent: bool,
    ) -> None:
        """Count a request that failed; what its reply reported so far is not all of it.

        A request that was refused, or never sent, uses nothing of a limit. One that timed out or
        was stopped may be billed all the same.
        """
        answered = has_output or usage is not None
        if answered:
            usage = believable(usage)
            self.usage += usage or Usage(unreported=1)
            self.cost += Cost(known=price(provider, usage).known, complete=False)
        if self.budget is None:
            return
        refused = isinstance(error, (ProviderError, ConfigError)) and not isinstance(
            error, TimedOut
        )
        is_free = not was_sent or (refused and not answered)
        self.budget.settle(reserved, Cost() if is_free else Cost.unknown())

    def _worst_case(self, provider: Provider, request: ModelRequest, input_tokens: int) -> Decimal:
        output = request.options.max_output_tokens or RESERVED_OUTPUT
        usage = Usage(input_tokens=input_tokens, output_tokens=output)
        cost = self._charged(price(provider, usage), usage)
        if cost.usd is None:
            raise ConfigError(
                f"The price of {provider.name}/{provider.model} is unknown, so a limit on cost "
                "cannot be held. Set it with al.catalog.override(...), count the dearest price "
                "that is known with unknown_price='worst', or leave the limit out."
            )
        written = usage.model_copy(update=_written(provider, request, input_tokens))
        return max(cost.usd, self._charged(price(provider, written), written).known)

    def _charged(self, cost: Cost, usage: Usage | None) -> Cost:
        """Return what counts against the limit: where it is asked for, a price for the unknown."""
        if cost.usd is None and usage is not None and self._dearest:
            return Cost(known=catalog.dearest().cost(usage))
        return cost


def price(provider: Provider, usage: Usage | None) -> Cost:
    """Return what a reply of this provider cost."""
    stated = getattr(provider, "cost", None)
    if stated is not None:
        cost: Cost = stated(usage)
        return cost
    return catalog.cost(provider.name, provider.model, usage)


def _written(provider: Provider, request: ModelRequest, input_tokens: int) -> dict[str, int]:
    """Return what a vendor may put into its cache, which some sell dearer than what they read."""
    options = request.options.over(getattr(provider, "options", None) or ModelOptions())
    if not options.cache:
        return {}
    long = input_tokens if options.cache == "1h" else 0
    return {"cache_write_tokens": input_tokens, "cache_write_1h_tokens": long}


def believable(usage: Usage | None) -> Usage | None:
    """Return a report, or ``None`` where it says what cannot be: that would lower the spend."""
    if usage is None:
        return None
    counts = (
        *(usage.input_tokens, usage.output_tokens, usage.reasoning_tokens, usage.searches),
        *(usage.cache_read_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens),
    )
    stated = usage.stated_cost
    if min(counts) < 0 or (stated is not None and not stated >= 0):
        return None
    return usage


def estimate_tokens(request: ModelRequest) -> int:
    """Return about how many tokens a request has, rather too many than too few."""
    return fixed_at_most(request.system, request.tools) + sum(map(most_tokens, request.messages))


def _amount(limit: Decimal | float | str) -> Decimal:
    try:
        amount = Decimal(str(limit))
    except ArithmeticError:
        raise ConfigError(f"{limit!r} is no amount of US dollars.") from None
    if not amount.is_finite() or amount < 0:
        raise ConfigError(f"A limit on cost cannot be {limit}.")
    return amount
