"""Whether a proxy stands between us and a server, by what the environment says."""

from __future__ import annotations

import functools
import ipaddress
from urllib.request import getproxies, proxy_bypass

__all__ = ["is_proxied", "way"]


@functools.lru_cache(maxsize=256)
def is_proxied(host: str) -> bool:
    """Return whether the environment names a proxy that may be meant for this host.

    Never for a server on this machine. The environment is read once for each host.
    """
    return bool(getproxies()) and not _is_loopback(host)


def way(scheme: str, host: str) -> str:
    """Say that a proxy stands between, which then may be the one that is not there."""
    if not is_proxied(host):
        return ""
    is_meant = {scheme, "all"} & getproxies().keys() and not proxy_bypass(host)
    return " through the proxy that HTTPS_PROXY or the like names" if is_meant else ""


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
