"""``%alloy key``: a key that is typed, unseen, and never written down."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping

from IPython.core.error import StdinNotImplementedError, UsageError

from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.words import Words
from alloy_nb.providers import DEFAULT_MODELS, provider, vendors
from alloy_nb.providers.vendor import VendorProvider

__all__ = ["commands"]


def commands(desk: Desk) -> Mapping[str, Callable[[Words], None]]:
    """Return what does each word."""

    def key(words: Words) -> None:
        """Ask for a key in hiding, and keep it in memory; or forget it."""
        vendor = words.arguments[0] if words.arguments else _vendor(desk)
        variable = _variable(vendor)
        if len(words.arguments) == 2:
            if words.arguments[1] != "forget":
                raise UsageError(
                    "A key does not belong into a cell, where it is saved: write %alloy key "
                    f"{vendor}, and type it when you are asked."
                )
            was = desk.keychain.forget(variable)
            status.say(f"The key of {vendor} is forgotten." if was else "None was typed.")
            return
        desk.keychain.keep(variable, _typed(vendor, variable))
        status.say(f"{vendor} has a key now, in this kernel's memory alone.{_next(desk, vendor)}")

    return {"key": key}


def _typed(vendor: str, variable: str) -> str:
    """Return what the person types.

    Raises:
        UsageError: Nobody can type, or what was typed is no key.
    """
    try:
        key = getpass.getpass(f"Key of {vendor} ({variable}), which is not shown: ").strip()
    except (StdinNotImplementedError, EOFError):
        raise UsageError(
            f"Nobody can type a key here. Set {variable} in the environment, or in a .env file."
        ) from None
    if not key:
        raise UsageError("Nothing was typed; nothing has changed.")
    if not key.isascii() or any(c.isspace() for c in key):
        raise UsageError("That holds a space or a character that no key has. Copy it again.")
    return key


def _vendor(desk: Desk) -> str:
    name = desk.session().provider.name
    if name == "demo":
        raise UsageError(f"Whose key? %alloy key VENDOR, such as {', '.join(DEFAULT_MODELS)}.")
    return name


def _variable(vendor: str) -> str:
    """Return the environment variable that a vendor's key is known by."""
    if vendor not in vendors():
        raise UsageError(f"There is no vendor {vendor}. Known are: {', '.join(vendors())}.")
    made = provider("demo" if vendor == "demo" else f"{vendor}/any")
    variable = made.key_variable if isinstance(made, VendorProvider) else None
    if not variable:
        raise UsageError(f"{vendor} needs no key.")
    return variable


def _next(desk: Desk, vendor: str) -> str:
    model = DEFAULT_MODELS.get(vendor, "MODEL")
    session = desk.sessions.get(desk.current)
    if session is not None and session.provider.name == vendor:
        return ""
    return f" %alloy model {vendor}/{model} lets it answer."
