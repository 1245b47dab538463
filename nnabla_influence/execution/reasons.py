"""Why a Dask scheduler cannot be reached, in plain words."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Optional


def reason_of(error: BaseException, address: str, seconds: float) -> str:
    """Return why nothing can be had from a scheduler, in a few words.

    Args:
        error: What trying led to. Dask hides what the system said of it among its causes.
        address: The scheduler's.
        seconds: How long it was tried.
    """
    protocol, place = address.split("://") if "://" in address else ("tcp", address)
    if protocol not in ("tcp", "tls"):
        return f"there is no way to it by {protocol}://"
    if protocol == "tls" and isinstance(error, TypeError):
        return "for tls:// Dask's settings distributed.comm.tls must name certificates"
    causes = _causes(error)
    if any(_is_timeout(cause) for cause in causes):
        # Dask's last try may have had no time left to learn why.
        causes += _causes(_connect(place))
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return (
                f"TLS: {(getattr(cause, 'reason', None) or 'it failed').replace('_', ' ').lower()}"
            )
        if isinstance(cause, socket.gaierror):
            return "the host is not known"
        if isinstance(cause, ConnectionRefusedError):
            return "the connection is refused: nothing listens there"
    for cause in causes:
        if (
            isinstance(cause, OSError)
            and cause.strerror
            and not isinstance(cause, (ConnectionError, TimeoutError, socket.timeout))
        ):
            return cause.strerror[0].lower() + cause.strerror[1:]
    if any(_is_timeout(cause) for cause in causes):
        return f"no answer within {seconds:g} seconds"
    return "what answers there does not speak Dask's protocol"


def _connect(place: str) -> Optional[OSError]:
    host, port = place.rsplit(":", 1)
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
    except OSError as error:
        if not _is_timeout(error):
            return error
    return None


def _causes(error: Optional[BaseException]) -> list[BaseException]:
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, (asyncio.TimeoutError, TimeoutError, socket.timeout))
