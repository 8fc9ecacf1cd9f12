"""Ingest of a gateway: positions for each CPU second of one process, from real websocket clients into real Kafka.

Clients on the `websockets` library, in a process of their own, send the same frames at the same steady rate to each server in turn:

========  =========================================================================================================
ours      `gamebus gateway`: decodes, validates, limits, numbers, accounts for, and writes every position into Kafka
receive   a bare `websockets` asyncio loop that only receives and decodes
produce   the same loop with `AIOKafkaProducer.send(acks=0)`
model     the same, each position through a pydantic model and written as JSON, as FastStream's handlers do
========  =========================================================================================================

The clients are game servers and join no room, so that nobody fans out: neither do the rivals.

CPU time is that of the server's process from the first position to the answer that everything was taken. For ours, Kafka must hold at least
99 % of the positions afterwards, or the round does not count.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import psutil

from bench import report
from bench.servers import catalog_of, create, end_offsets, environment, module, new_prefix, running, servers
from gamebus.catalog_file import parse_catalog
from gamebus.localstack.stack import StackAddresses

# Below the 60 a second that the gateway allows a client.
_RATE_PER_S: Final = 50
_SECONDS: Final = 2.0
_NAMES: Final = {
    "receive": "websockets, receive only",
    "produce": "websockets + AIOKafkaProducer",
    "model": "websockets + pydantic + AIOKafkaProducer",
}


def load(url: str, env: Mapping[str, str], server: psutil.Process, *, clients: int, batch: int) -> dict[str, float]:
    """Put the load on a server and measure what it takes."""
    command = [sys.executable, "-m", "bench.websocket_load", url, "--clients", str(clients), "--rate", str(_RATE_PER_S)]
    command += ["--seconds", str(_SECONDS), "--batch", str(batch)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the load did not start")
        before = server.cpu_times()
        result: dict[str, Any] = json.loads(process.stdout.readline())
        after = server.cpu_times()
    cpu_s = after.user + after.system - before.user - before.system
    return {"sent": result["sent"], "per_cpu_s": result["sent"] / cpu_s, "cores": cpu_s / result["seconds"]}


def ours(addresses: StackAddresses, *, clients: int, batch: int) -> dict[str, float]:
    """One round of the gateway."""
    prefix = new_prefix()
    asyncio.run(create(addresses.kafka, parse_catalog(topic_prefix=prefix)))
    env = environment(addresses, prefix)
    with running(module("gamebus", "gateway", "--port", "0"), env) as (server, line):
        figures = load(json.loads(line)["gateway"], env, server, clients=clients, batch=batch)
    ends = asyncio.run(end_offsets(addresses.kafka, {f"{prefix}position": 12}))
    figures["delivered"] = sum(ends.values()) / figures["sent"]
    if figures["delivered"] < 0.99:
        raise RuntimeError(f"only {figures['delivered']:.1%} of the positions are in Kafka: too much load to measure")
    return figures


def rival(addresses: StackAddresses, kind: str, *, clients: int, batch: int) -> dict[str, float]:
    """One round of a bare loop."""
    prefix = new_prefix()
    asyncio.run(create(addresses.kafka, catalog_of(prefix, "position")))
    env = environment(addresses, prefix)
    with running(module("bench.rival_websocket", kind, f"{prefix}position"), env) as (server, line):
        return load(line.strip(), env, server, clients=clients, batch=batch)


def main() -> None:
    """Run the bench."""
    given = report.arguments(__doc__).parse_args()
    rows = []
    with servers() as addresses:
        for case, clients, batch, targets in (
            ("one position a frame", 100, 1, {"receive": 0.8, "produce": 3.0, "model": 3.0}),
            ("frames of 10 positions", 200, 10, {"produce": 3.0}),
        ):
            runs = {"ours": partial(ours, addresses, clients=clients, batch=batch)}
            runs |= {kind: partial(rival, addresses, kind, clients=clients, batch=batch) for kind in targets}
            found = report.interleaved(runs, rounds=given.rounds, warm_up_rounds=0)
            for kind, target in targets.items():
                mine, theirs = found["ours"]["per_cpu_s"], found[kind]["per_cpu_s"]
                name = _NAMES[kind]
                rows.append(report.compare(case, "positions/CPU s", mine, theirs, name, target=target))
    report.publish("gateway_ingest", rows, given.json)


if __name__ == "__main__":
    main()
