"""Redis: does it answer, does it keep what it is told, does its clock agree."""

from __future__ import annotations

import time

from gamebus.doctor.finding import Finding, fail, ok, warn
from gamebus.errors import StateError
from gamebus.settings import RedisSettings
from gamebus.state.connection import connect
from gamebus.state.server_info import ServerInfo, read_server_info

_OLDEST = (6, 2)
_NEAR_FULL = 0.8
_SKEW_MS = 500


async def examine_redis(settings: RedisSettings) -> list[Finding]:
    """Everything about Redis; one failure where it does not answer."""
    connection = connect(settings)
    try:
        before_ms = time.time() * 1000
        info = await read_server_info(connection)
        after_ms = time.time() * 1000
    except StateError as error:
        return [fail("redis", str(error), "gamebus stack up, or set GAMEBUS_REDIS__URL")]
    finally:
        await connection.close()
    return [
        *_examine_version(info),
        *_examine_memory(info),
        *_examine_persistence(info),
        _examine_clock(info.now_ms, before_ms, after_ms),
    ]


def _examine_version(info: ServerInfo) -> list[Finding]:
    numbers = tuple(int(part) for part in info.version.split(".")[:2])
    if numbers < _OLDEST:
        return [
            fail("redis", f"version {info.version}: scripts need 6.2", "upgrade to Redis 7 or Valkey 7.2, or newer")
        ]
    return [ok("redis", f"version {info.version} answers")]


def _examine_memory(info: ServerInfo) -> list[Finding]:
    findings = []
    if info.policy != "noeviction" and info.max_bytes:
        detail = f"maxmemory-policy is {info.policy}: effects and the checks against doubling may be evicted"
        findings.append(
            fail("redis eviction", detail, "redis-cli CONFIG SET maxmemory-policy noeviction, and in redis.conf")
        )
    if info.max_bytes and info.used_bytes > info.max_bytes * _NEAR_FULL:
        share = info.used_bytes / info.max_bytes
        findings.append(
            warn("redis memory", f"{share:.0%} of maxmemory is used; when it is full effects wait", "raise maxmemory")
        )
    return findings or [ok("redis memory", f"{info.used_bytes / 1e6:,.0f} MB used, nothing is evicted")]


def _examine_persistence(info: ServerInfo) -> list[Finding]:
    if info.append_only:
        return [ok("redis persistence", "append-only file")]
    return [
        warn(
            "redis persistence",
            "no append-only file: after a crash the state of days is read again from Kafka, as far as it keeps it",
            "redis-cli CONFIG SET appendonly yes, and in redis.conf",
        )
    ]


def _examine_clock(now_ms: float, before_ms: float, after_ms: float) -> Finding:
    skew_ms = max(before_ms - now_ms, now_ms - after_ms, 0.0)
    if skew_ms > _SKEW_MS:
        detail = f"{skew_ms:,.0f} ms apart from Redis: presence comes and goes too early or too late by as much"
        return warn("clock", detail, "run NTP (chrony, systemd-timesyncd) on every machine")
    return ok("clock", f"agrees with Redis within {max(1.0, after_ms - before_ms):.0f} ms")
