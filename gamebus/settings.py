"""Settings: environment and `.env` at the edge, frozen values inside.

Every setting is an environment variable: prefix `GAMEBUS_`, nested by `__` (`GAMEBUS_KAFKA__BOOTSTRAP_SERVERS`).
docs/settings.md is generated from this module. Components take the section they need, never the whole.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from gamebus.catalog import Catalog
from gamebus.catalog_file import BUILT_IN, DEFAULT_TOPIC_PREFIX, parse_catalog
from gamebus.errors import CatalogError, ConfigurationError

USUAL_CATALOG: Final = Path("gamebus.toml")
"""Where the catalog is looked for when no setting names it."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(_Section):
    """How to reach Kafka."""

    bootstrap_servers: str = Field("127.0.0.1:9092", description="Brokers to begin with, `host:port`, comma separated.")
    topic_prefix: str = Field(
        DEFAULT_TOPIC_PREFIX, description="Prefix of the built-in topics, so that several games can share a cluster."
    )
    group_prefix: str = Field("gamebus.", description="Prefix of the consumer groups, one for each delivery class.")


class RedisSettings(_Section):
    """How to reach Redis (or Valkey)."""

    url: str = Field("redis://127.0.0.1:6379/0", description="Redis URL; `rediss://` for TLS.")
    cluster: bool = Field(default=False, description="The URL names a node of a Redis Cluster.")
    key_prefix: str = Field("gamebus:", description="Prefix of all keys.")
    timeout_s: float = Field(2.0, gt=0, le=60, description="Deadline of one command.")
    max_connections: int = Field(32, ge=1, le=10_000, description="Connections of one process; more callers wait.")


class AuthSettings(_Section):
    """Whose tokens are believed."""

    secret: SecretStr | None = Field(None, description="Shared secret of HS256 tokens; at least 32 bytes.")
    jwks_file: Path | None = Field(None, description="JWKS file with public keys for RS256, ES256 and EdDSA.")
    algorithms: tuple[Literal["HS256", "RS256", "ES256", "EdDSA"], ...] = Field(
        ("HS256",), description="Accepted algorithms, explicit because a token must not choose its own."
    )
    audience: str = Field("gamebus", description="Value that `aud` is or contains.")
    leeway_s: int = Field(5, ge=0, le=60, description="Clock difference that `exp` forgives.")


class GatewaySettings(_Section):
    """The websocket gateway."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    advertised_url: str = Field(
        "",
        pattern="^(wss?://[^ ]+)?$",
        description="Websocket URL under which clients reach this gateway, for `/place`; empty: the address it listens on, "
        "unless that is a wildcard.",
    )
    ops_port: int = Field(0, ge=0, le=65535, description="Port of `/healthz` and `/metrics`; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=64, description="Processes that share the port (SO_REUSEPORT).")
    origins: tuple[str, ...] = Field((), description="Allowed `Origin` values of browsers; empty allows all.")
    tick_hz: int = Field(20, ge=1, le=60, description="Ticks a second of a room.")
    max_connections: int = Field(10_000, ge=1, description="Connections of one process; past it HTTP 503.")
    hello_per_second: float = Field(
        500.0,
        gt=0,
        description="Clients let in by one process, a second; the others are told when to come back (4003).",
    )
    hello_burst: int = Field(100, ge=1, description="The same, at once.")
    frame_bytes: int = Field(65_536, ge=1024, le=1_048_576, description="Largest message, fragments together.")
    max_batch: int = Field(256, ge=1, le=256, description="Publishes in one `batch` frame.")
    max_rooms: int = Field(64, ge=1, le=1024, description="Rooms of one connection.")
    outbox_bytes: int = Field(262_144, ge=4096, description="Durable events queued for one client; past it close 4001.")
    ping_interval_ms: int = Field(10_000, ge=100, description="Websocket keep-alive pings.")
    ping_timeout_ms: int = Field(5_000, ge=100, description="Silence after a ping that closes with 4002.")
    hello_timeout_ms: int = Field(5_000, ge=100, description="How long a connection may take to say `hello`.")
    close_timeout_ms: int = Field(5_000, ge=100, description="How long a close may take before the socket is cut.")
    drain_timeout_ms: int = Field(10_000, ge=0, description="Deadline of a graceful shutdown.")
    history_ms: int = Field(120_000, ge=0, description="Retention of durable events for duplicates and resume.")
    history_events: int = Field(1_000, ge=0, description="The same, in events of a room.")


class RealtimeProducerSettings(_Section):
    """Producer of at-most-once events; names and defaults are the seed's."""

    linger_ms: float = Field(5.0, ge=0, le=1000, description="Longest wait for a fuller batch (seed: linger.ms).")
    batch_bytes: int = Field(32_768, ge=1024, le=1_048_576, description="Size of a batch (seed: batch.size).")
    buffer_bytes: int = Field(67_108_864, ge=65_536, description="Bound of all buffers (seed: buffer.memory).")
    max_in_flight: int = Field(
        1000, ge=1, description="Produce requests of one broker whose bytes the kernel has not taken yet."
    )
    max_age_ms: int = Field(1000, ge=10, le=60_000, description="Older records are dropped before they are written.")
    stall_timeout_ms: int = Field(1000, ge=50, description="A connection that takes no bytes for so long is aborted.")
    compression: Literal["none", "snappy"] = Field("none", description="Only codecs that do not stall the event loop.")


class DurableProducerSettings(_Section):
    """Producer of at-least-once events."""

    linger_ms: float = Field(0.0, ge=0, le=1000, description="Longest wait for a fuller batch.")
    request_timeout_ms: int = Field(5_000, ge=100, description="Deadline of one request to a broker.")
    delivery_timeout_ms: int = Field(
        10_000, ge=100, description="When a record is not acknowledged by then, its outcome is unknown."
    )
    outbox_bytes: int = Field(33_554_432, ge=65_536, description="Bound of unacknowledged records; past it overloaded.")
    outbox_records: int = Field(20_000, ge=1, description="The same, in records.")


class ConsumerSettings(_Section):
    """Consumers of both classes; max.poll.records is the seed's."""

    max_poll_records: int = Field(500, ge=1, le=100_000, description="Records of one poll (seed: max.poll.records).")
    session_timeout_ms: int = Field(10_000, ge=1000, description="Silence after which a member is evicted.")
    rebalance_timeout_ms: int = Field(30_000, ge=1000, description="Time that members have to rejoin.")
    max_poll_interval_ms: int = Field(
        60_000, ge=1000, description="A member that reads nothing for so long leaves the group; handlers run beside."
    )
    max_attempts: int = Field(5, ge=1, le=100, description="Tries of a durable record before its dead letter.")
    retry_backoff_ms: int = Field(100, ge=1, description="First wait between tries; doubles up to 5 s.")


class DashboardSettings(_Section):
    """What operators see in a browser."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    password: SecretStr | None = Field(
        None, description="Password of operators; tokens with the role `operator` do, too."
    )
    hosts: tuple[str, ...] = Field((), description="Names under which browsers reach it, besides its own address.")
    insecure: bool = Field(default=False, description="Let everyone in who reaches it; on a loopback address only.")
    actions: bool = Field(default=False, description="Let operators kick and mute players, and drain gateways.")


class TracingSettings(_Section):
    """Traces go to an OpenTelemetry collector; needs `pip install 'gamebus[tracing]'`."""

    enabled: bool = Field(default=False, description="Trace events through Kafka.")
    endpoint: str = Field(
        "http://127.0.0.1:4318/v1/traces", pattern="^https?://[^ ]+$", description="Where spans go: OTLP over HTTP."
    )
    durable_ratio: float = Field(1.0, ge=0, le=1, description="Share of at-least-once events that is traced.")
    realtime_ratio: float = Field(0.0001, ge=0, le=1, description="Share of at-most-once events that is traced.")


class LogSettings(_Section):
    """Logs go to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is written.")
    format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, else JSON.")


class Settings(BaseSettings):
    """All settings of a gamebus process."""

    model_config = SettingsConfigDict(
        env_prefix="GAMEBUS_", env_nested_delimiter="__", env_file=".env", extra="ignore", frozen=True
    )

    catalog: Path | None = Field(None, description="Catalog file; without it `gamebus.toml` here, if there is one.")
    loop: Literal["auto", "uvloop", "asyncio"] = Field(
        "auto", description="Event loop; auto: uvloop where it installs."
    )
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    auth: AuthSettings = AuthSettings()
    gateway: GatewaySettings = GatewaySettings()
    realtime: RealtimeProducerSettings = RealtimeProducerSettings()
    durable: DurableProducerSettings = DurableProducerSettings()
    consumer: ConsumerSettings = ConsumerSettings()
    dashboard: DashboardSettings = DashboardSettings()
    tracing: TracingSettings = TracingSettings()
    log: LogSettings = LogSettings()


def load_settings() -> Settings:
    """Read all settings.

    Raises:
        ConfigurationError: a value is wrong or a variable is unknown; the message names each one.
    """
    known = {f"GAMEBUS_{name.upper()}" for name in Settings.model_fields}
    unknown = [
        name
        for name in os.environ
        # GAMEBUS_TEST_* belongs to the test suite.
        if name.startswith("GAMEBUS_") and not name.startswith("GAMEBUS_TEST_") and name.split("__")[0] not in known
    ]
    if unknown:
        raise ConfigurationError(f"unknown settings {', '.join(sorted(unknown))}; docs/settings.md lists all of them")
    try:
        return Settings()
    except ValidationError as error:
        # The value is left out: it may be a secret.
        wrong = "; ".join(
            f"GAMEBUS_{'__'.join(str(part).upper() for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors()
        )
        raise ConfigurationError(f"wrong settings: {wrong} (docs/settings.md lists all of them)") from error


def load_catalog(settings: Settings) -> Catalog:
    """Read the catalog that `settings` name.

    Raises:
        CatalogError: the file cannot be read, or breaks a rule.
    """
    path = settings.catalog or USUAL_CATALOG
    if settings.catalog is None and not path.exists():
        return parse_catalog(file=BUILT_IN, topic_prefix=settings.kafka.topic_prefix)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(
            f"cannot be read: {error}; set GAMEBUS_CATALOG to a readable file", file=str(path)
        ) from error
    return parse_catalog(text, file=str(path), topic_prefix=settings.kafka.topic_prefix)
