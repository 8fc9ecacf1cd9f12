"""Vitals: what every process says about itself once a second, for operators.

Each process writes one key that expires, so a process that died is seen to be stale within seconds and is forgotten within a
minute. Nothing here is needed by the game: when Redis does not answer, a second of the history is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from gamebus.state.connection import Command, Connection
from gamebus.telemetry.histogram import Distribution
from gamebus.telemetry.metrics import Sample

TTL_MS: Final = 60_000
"""The vitals of a process are kept so long after the last time, so that operators see what has gone and when."""

STALE_MS: Final = 5_000
"""Vitals older than this are those of a process that hangs, is cut off, or has died."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """One process at one moment."""

    id: str
    """Of this boot of the process; a gateway's streams carry it in the loss ledger."""

    role: str
    """`gateway`, `processor-realtime`, `processor-durable` or `processor-all`."""

    host: str
    pid: int
    version: str
    started_ms: int
    at_ms: int
    """When they were taken, by the clock of that process."""

    url: str
    """Where clients connect; empty for a processor."""

    ops: str
    """Where `/metrics` is."""

    samples: Mapping[str, Sample]
    """Every statistic by its Prometheus name without the prefix."""


class VitalsState:
    """Vitals in Redis. All methods raise :exc:`~gamebus.errors.StateError` when Redis cannot answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._index = connection.keys.shared("vitals", "index")

    async def write(self, vitals: Vitals) -> None:
        """Write vitals in place of the last ones of that process."""
        # The index is in another slot than the vitals; a process that is only in one of the two is not there.
        await self._connection.pipeline(
            [
                ("SET", self._key(vitals.id), encode_vitals(vitals), "PX", TTL_MS),
                ("ZADD", self._index, vitals.at_ms, vitals.id),
                ("ZREMRANGEBYSCORE", self._index, "-inf", vitals.at_ms - TTL_MS),
                ("PEXPIRE", self._index, TTL_MS),
            ]
        )

    async def forget(self, id_: str) -> None:
        """Take out a process that ends in order."""
        await self._connection.pipeline([("DEL", self._key(id_)), ("ZREM", self._index, id_)])

    async def read(self) -> list[Vitals]:
        """The vitals of all processes that wrote some within the last minute."""
        ids = [id_.decode() for id_ in await self._connection.execute("ZRANGE", self._index, 0, -1)]
        commands: Iterable[Command] = [("GET", self._key(id_)) for id_ in ids]
        values = await self._connection.pipeline(list(commands))
        return [decode_vitals(value) for value in values if value is not None]

    def _key(self, id_: str) -> str:
        return self._connection.keys.shared("vitals", id_)


def encode_vitals(vitals: Vitals) -> bytes:
    """Vitals as msgpack: a map of the fields; a distribution is `[counts, sum_s]`."""
    fields = {name: getattr(vitals, name) for name in Vitals.__dataclass_fields__}
    fields["samples"] = {
        name: [sample.counts, sample.sum_s] if isinstance(sample, Distribution) else sample
        for name, sample in vitals.samples.items()
    }
    encoded: bytes = msgpack.packb(fields)
    return encoded


def decode_vitals(value: bytes) -> Vitals:
    """Inverse of :func:`encode_vitals`; fields of a newer version are passed over."""
    fields: dict[str, Any] = msgpack.unpackb(value)
    samples = {
        name: Distribution(tuple(sample[0]), sample[1]) if isinstance(sample, list) else sample
        for name, sample in fields["samples"].items()
    }
    known = {name: fields[name] for name in Vitals.__dataclass_fields__}
    return Vitals(**known | {"samples": samples})
