"""The address of a server as it was given: checked, and who signs in by it."""

from __future__ import annotations

import base64
from urllib.parse import unquote, urlsplit

from alloy_nb import secrets
from alloy_nb.errors import ConfigError

__all__ = ["signed_in", "without_version"]


def without_version(url: str, *, named: str | None = None) -> str:
    """Return an address to put paths behind; `named` is the variable that it comes from.

    Raises:
        ConfigError: It is none.
    """
    url = url.strip().rstrip("/")
    if not _has_host(url):
        raise ConfigError(
            f"{named or 'base_url'}={url!r} is no address: write http://host:port or https://host."
        )
    address, mark, _ = url.partition("?" if "?" in url else "#")
    if mark:  # a path is put behind it, and what stands here may be a key
        raise ConfigError(
            f"{named or 'base_url'}={address!r} goes on with {mark!r}: leave out what follows."
        )
    return url.removesuffix("/v1")


def signed_in(url: str) -> dict[str, str]:
    """Return the header for a name and a password in an address; a key goes in its place."""
    parts = urlsplit(url)
    if parts.username is None and parts.password is None:
        return {}
    both = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    token = base64.b64encode(both.encode()).decode("ascii")
    secrets.register(token)
    return {"authorization": f"Basic {token}"}


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != -1
    except ValueError:  # also of a port that is none
        return False
