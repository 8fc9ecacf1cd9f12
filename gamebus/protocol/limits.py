"""Limits of one connection, as `welcome` names them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one connection; rates of event types stand in the catalog.

    Attributes:
        frame_bytes: largest message, fragments together. Kept by the driver, told by `welcome`.
        batch: publishes in one `batch`.
        rooms: rooms joined at the same time.
        ping_interval_ms: websocket keep-alive. Kept by the driver, told by `welcome`.
        hello_timeout_ms: how long a connection may take to say `hello`.
        token_leeway_ms: how long past `exp` a connection stays: the clock difference that `verify` forgives too.
    """

    frame_bytes: int = 65_536
    batch: int = 256
    rooms: int = 64
    ping_interval_ms: int = 10_000
    hello_timeout_ms: int = 5_000
    token_leeway_ms: int = 5_000
