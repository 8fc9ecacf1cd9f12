"""What must hold for docker-compose.yml. Every check is a function from the parsed file to the list of its faults."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import typer
import yaml
from pydantic import BaseModel

from gamebus.settings import Settings

ROOT: Final = Path(__file__).parents[2]
BROKERS: Final = ("kafka-1", "kafka-2", "kafka-3")

Compose = dict[str, Any]
Check = Callable[[Compose], list[str]]

# The keys of the Compose specification that are used; a misspelt key would be a new one.
TOP_KEYS: Final = frozenset({"name", "services", "volumes"})
SERVICE_KEYS: Final = frozenset(
    {"build", "command", "depends_on", "deploy", "environment", "healthcheck", "image", "ports", "profiles", "restart"}
    | {"stop_grace_period", "volumes"}
)
HEALTHCHECK_KEYS: Final = frozenset({"test", "interval", "timeout", "retries", "start_period"})
CONDITIONS: Final = frozenset({"service_started", "service_healthy", "service_completed_successfully"})


def services(compose: Compose) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from compose["services"].items()


def listeners(text: str) -> dict[str, tuple[str, int]]:
    """`NAME://host:port,...` as name -> (host, port)."""
    found = {}
    for listener in text.split(","):
        name, _, address = listener.partition("://")
        host, _, port = address.rpartition(":")
        found[name] = (host, int(port))
    return found


def host_ports(service: dict[str, Any]) -> dict[tuple[str, int], int]:
    """(address, port) on this machine -> port in the container."""
    published = {}
    for text in service.get("ports", ()):
        address, _, rest = text.rpartition(":")[0].rpartition(":")
        published[address, int(rest)] = int(text.rpartition(":")[2])
    return published


def only_known_keys(compose: Compose) -> list[str]:
    """No misspelt key, no `version` (obsolete), no `container_name` (forbids a second gateway)."""
    faults = [f"top level: {key}" for key in compose.keys() - TOP_KEYS]
    for name, service in services(compose):
        faults += [f"{name}: {key}" for key in service.keys() - SERVICE_KEYS]
        faults += [f"{name}: healthcheck.{key}" for key in service.get("healthcheck", {}).keys() - HEALTHCHECK_KEYS]
        # Compose refuses a boolean as the value of a variable: "true" must be text.
        faults += [
            f"{name}: {key} is a boolean"
            for key, value in service.get("environment", {}).items()
            if isinstance(value, bool)
        ]
    return faults


def images_are_pinned(compose: Compose) -> list[str]:
    """A tag with a version: what was tested is what runs next year."""
    return [
        name
        for name, service in services(compose)
        if not re.search(r":v?\d+\.\d+\.\d+(-\w+)?$", service.get("image", ""))
    ]


def memory_is_limited(compose: Compose) -> list[str]:
    """No service can push another out of memory."""
    return [
        name
        for name, service in services(compose)
        if not re.fullmatch(
            r"\d+[mg]", str(service.get("deploy", {}).get("resources", {}).get("limits", {}).get("memory"))
        )
    ]


def heap_fits_its_limit(compose: Compose) -> list[str]:
    """Beside its heap a broker needs as much again; past its limit it would be killed in the middle of a batch."""
    faults = []
    for name in BROKERS:
        service = compose["services"][name]
        heap = re.search(r"-Xmx(\d+)m", service["environment"]["KAFKA_HEAP_OPTS"])
        limit = service["deploy"]["resources"]["limits"]["memory"]
        megabytes = int(limit[:-1]) * (1024 if limit.endswith("g") else 1)
        if heap is None or int(heap[1]) * 2 > megabytes:
            faults.append(f"{name}: {service['environment']['KAFKA_HEAP_OPTS']} in {limit}")
    return faults


def acknowledged_survives_one_broker(compose: Compose) -> list[str]:
    """Three copies, two of them acknowledged, of every topic; no unclean leader; no topic that nobody made."""
    wanted = {
        "KAFKA_DEFAULT_REPLICATION_FACTOR": "3",
        "KAFKA_MIN_INSYNC_REPLICAS": "2",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "3",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "3",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "2",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "3",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "2",
        "KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE": "false",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }
    return [
        f"{name}: {key} is {compose['services'][name]['environment'].get(key)}"
        for name in BROKERS
        for key, value in wanted.items()
        if str(compose["services"][name]["environment"].get(key)) != value
    ]


def brokers_form_one_cluster(compose: Compose) -> list[str]:
    """One cluster id, the same three voters everywhere, each reachable under the name and the port that the voters say."""
    environments = {name: compose["services"][name]["environment"] for name in BROKERS}
    faults = []
    if len({environment["CLUSTER_ID"] for environment in environments.values()}) != 1:
        faults.append("cluster ids differ")
    if {environment["KAFKA_PROCESS_ROLES"] for environment in environments.values()} != {"broker,controller"}:
        faults.append("a node is not broker and controller")
    voters = ",".join(
        f"{environment['KAFKA_NODE_ID']}@{name}:{listeners(environment['KAFKA_LISTENERS'])['CONTROLLER'][1]}"
        for name, environment in environments.items()
    )
    for name, environment in environments.items():
        if environment["KAFKA_CONTROLLER_QUORUM_VOTERS"] != voters:
            faults.append(f"{name}: voters are {environment['KAFKA_CONTROLLER_QUORUM_VOTERS']}, not {voters}")
    if sorted(int(environment["KAFKA_NODE_ID"]) for environment in environments.values()) != [1, 2, 3]:
        faults.append("node ids are not 1, 2, 3")
    return faults


def listeners_are_reachable(compose: Compose) -> list[str]:
    """What a broker advertises leads back to that broker: by its own name inside, through a published port from this machine."""
    faults = []
    for name in BROKERS:
        service = compose["services"][name]
        environment = service["environment"]
        bound = listeners(environment["KAFKA_LISTENERS"])
        advertised = listeners(environment["KAFKA_ADVERTISED_LISTENERS"])
        protocols = dict(pair.split(":") for pair in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
        if protocols.keys() != bound.keys():
            faults.append(f"{name}: protocol map {sorted(protocols)} for listeners {sorted(bound)}")
        if advertised.keys() != bound.keys() - {environment["KAFKA_CONTROLLER_LISTENER_NAMES"]}:
            faults.append(f"{name}: advertises {sorted(advertised)}")
        if environment["KAFKA_INTER_BROKER_LISTENER_NAME"] not in advertised:
            faults.append(f"{name}: the other brokers cannot reach it")
        published = {outside[1]: inside for outside, inside in host_ports(service).items()}
        for listener, (host, port) in advertised.items():
            inside = port if host == name else published.get(port) if host == "localhost" else None
            if inside != bound[listener][1]:
                faults.append(f"{name}: {listener} advertises {host}:{port}, which does not lead to it")
    return faults


def published_ports_are_loopback_and_distinct(compose: Compose) -> list[str]:
    """Nothing without a password listens to the network, and no two services want one port."""
    faults, seen = [], set()
    for name, service in services(compose):
        for address, port in host_ports(service):
            if address != "127.0.0.1":
                faults.append(f"{name}: {port} on {address or 'all addresses'}")
            if port in seen:
                faults.append(f"{name}: {port} is taken twice")
            seen.add(port)
    return faults


def data_is_in_named_volumes(compose: Compose) -> list[str]:
    """`docker compose down` keeps all data; no two servers share a volume."""
    faults, used = [], []
    for name, target in {**dict.fromkeys(BROKERS, "/var/lib/kafka/data"), "redis": "/data"}.items():
        mounts = dict(volume.split(":")[::-1] for volume in compose["services"][name].get("volumes", ()))
        used.append(mounts.get(target))
        if mounts.get(target) not in compose["volumes"]:
            faults.append(f"{name}: {target} is on no named volume")
    faults += [f"volume {volume} is shared" for volume in set(used) if used.count(volume) > 1]
    faults += [
        f"{name}: data in {compose['services'][name]['environment']['KAFKA_LOG_DIRS']}"
        for name in BROKERS
        if compose["services"][name]["environment"]["KAFKA_LOG_DIRS"] != "/var/lib/kafka/data"
    ]
    return faults


def redis_keeps_its_data(compose: Compose) -> list[str]:
    """Append-only file, synced every second; a full Redis refuses writes instead of forgetting keys."""
    words = shlex.split(compose["services"]["redis"]["command"])
    options = dict(zip(words[1::2], words[2::2], strict=True))
    wanted = {"--appendonly": "yes", "--appendfsync": "everysec", "--maxmemory-policy": "noeviction"}
    return [f"{option} is {options.get(option)}" for option, value in wanted.items() if options.get(option) != value]


def dependencies_make_sense(compose: Compose) -> list[str]:
    """Every awaited service exists and can reach the awaited condition; whoever talks to Kafka waits for the topics."""
    faults = []
    for name, service in services(compose):
        for target, wait in service.get("depends_on", {}).items():
            other = compose["services"].get(target)
            if other is None:
                faults.append(f"{name}: {target} does not exist")
            elif wait.get("condition") not in CONDITIONS:
                faults.append(f"{name}: condition {wait.get('condition')}")
            elif wait["condition"] == "service_healthy" and "healthcheck" not in other:
                faults.append(f"{name}: {target} has no health check")
            elif (wait["condition"] == "service_completed_successfully") != (other.get("restart") == "no"):
                faults.append(f"{name}: {target} {'never ends' if other.get('restart') != 'no' else 'ends'}")
    faults += [
        f"{name}: does not wait for the topics"
        for name in ("gateway", "processor-realtime", "processor-durable")
        if "topics" not in compose["services"][name].get("depends_on", {})
    ]
    if not compose["services"]["topics"].get("depends_on", {}).keys() >= set(BROKERS):
        faults.append("topics: does not wait for every broker")
    return faults


def commands_exist(compose: Compose) -> list[str]:
    """Every `gamebus ...` is a command of this version, with those options."""
    faults = []
    for name, service in services(compose):
        words = shlex.split(service.get("command", ""))
        if words[:1] == ["gamebus"]:
            faults += [f"{name}: {fault}" for fault in command_faults(words[1:])]
    return faults


def command_faults(words: list[str]) -> list[str]:
    """What `gamebus WORDS` would refuse."""
    # Here and not above: a command that cannot be imported is a finding of this check alone.
    from gamebus.cli import app

    command: Any = typer.main.get_command(app)
    words = list(words)
    while hasattr(command, "commands"):
        if not words or words[0] not in command.commands:
            return [f"no command {' '.join(words[:1])!r} in {sorted(command.commands)}"]
        command = command.commands[words.pop(0)]
    try:
        command.make_context(command.name, words)
    except Exception as error:  # noqa: BLE001  (click's, or typer's own copy of it: any refusal is the finding)
        return [f"{command.name}: {error}"]
    return []


def settings_exist(compose: Compose) -> list[str]:
    """Every GAMEBUS_ variable is a setting, and its value is one that the setting accepts."""
    faults = []
    for name, service in services(compose):
        for key, value in service.get("environment", {}).items():
            if key.startswith("GAMEBUS_"):
                faults += [f"{name}: {fault}" for fault in setting_faults(key, str(value))]
    return faults


def setting_faults(key: str, value: str) -> list[str]:
    *path, last = key.removeprefix("GAMEBUS_").lower().split("__")
    section: type[BaseModel] = Settings
    for part in path:
        inner = section.model_fields[part].annotation if part in section.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return [f"{key} is no setting"]
        section = inner
    if last not in section.model_fields:
        return [f"{key} is no setting"]
    try:
        section.model_validate({last: "x" * 32 if value.startswith("${") else value})
    except ValueError as error:
        return [f"{key}: {error}"]
    return []


def addresses_lead_to_services(compose: Compose) -> list[str]:
    """Kafka, Redis and the gateway are addressed by the names and the ports that they have inside."""
    faults = []
    inside = [
        f"{name}:{listeners(compose['services'][name]['environment']['KAFKA_LISTENERS'])['PLAINTEXT'][1]}"
        for name in BROKERS
    ]
    for name, service in services(compose):
        environment = service.get("environment", {})
        if environment.get("GAMEBUS_KAFKA__BOOTSTRAP_SERVERS", ",".join(inside)) != ",".join(inside):
            faults.append(f"{name}: {environment['GAMEBUS_KAFKA__BOOTSTRAP_SERVERS']}")
        if environment.get("GAMEBUS_REDIS__URL", "redis://redis:6379/0") != "redis://redis:6379/0":
            faults.append(f"{name}: {environment['GAMEBUS_REDIS__URL']}")
    gateway = shlex.split(compose["services"]["gateway"]["command"])
    port = gateway[gateway.index("--port") + 1]
    if f"ws://gateway:{port}/v1" not in compose["services"]["bots"]["command"]:
        faults.append("bots: play against another address than the gateway's")
    if int(port) not in host_ports(compose["services"]["gateway"]).values():
        faults.append("gateway: its port is not published")
    if f":{gateway[gateway.index('--ops-port') + 1]}/readyz" not in " ".join(
        compose["services"]["gateway"]["healthcheck"]["test"]
    ):
        faults.append("gateway: the health check asks another port than the ops port")
    return faults


def secret_is_demanded(compose: Compose) -> list[str]:
    """No default secret: without one Compose stops with a sentence that says what to set."""
    return [
        name
        for name in ("gateway", "bots")
        if not re.fullmatch(
            r"\$\{GAMEBUS_AUTH__SECRET:\?[^}]+\}",
            compose["services"][name].get("environment", {}).get("GAMEBUS_AUTH__SECRET", ""),
        )
    ]


def extras_stay_at_home(compose: Compose) -> list[str]:
    """Behind profiles: load, and who watches; `docker compose up` starts the whole bus and nothing else."""
    profiles = {"bots": ["bots"], "prometheus": ["observability"], "grafana": ["observability"]}
    return [name for name, service in services(compose) if service.get("profiles", []) != profiles.get(name, [])]


def files_are_there(compose: Compose) -> list[str]:
    """What is mounted from the repository exists, and no container can change it; every other volume has a name."""
    faults = []
    for name, service in services(compose):
        for volume in service.get("volumes", ()):
            source, _, target = volume.partition(":")
            if source.startswith("."):
                faults += [f"{name}: {source}"] if not (ROOT / source).exists() or not target.endswith(":ro") else []
            elif source not in compose["volumes"]:
                faults.append(f"{name}: {source} is no volume")
    return faults


def every_process_is_scraped(compose: Compose) -> list[str]:
    """Prometheus asks every gateway and processor, under the job that the alerts know, at a port that others can reach."""
    scraping = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = scraping["scrape_configs"]
    targets = {target for group in job["static_configs"] for target in group["targets"]}
    wanted = set()
    for name, service in services(compose):
        words = shlex.split(service.get("command", ""))
        if words[:2] in (["gamebus", "gateway"], ["gamebus", "processor"]):
            host, port = ("--host" if words[1] == "gateway" else "--ops-host"), "--ops-port"
            options = dict(zip(words, words[1:], strict=False))
            if options.get(host) == "0.0.0.0":
                wanted.add(f"{name}:{options.get(port)}")
            else:
                wanted.add(f"{name}: {host} is {options.get(host)}")
    return sorted(targets ^ wanted) + ([] if job["job_name"] == "gamebus" else [job["job_name"]])


def builds_exist(compose: Compose) -> list[str]:
    """Every built image has its Dockerfile and its stage."""
    faults = []
    for name, service in services(compose):
        build = service.get("build")
        if build is None:
            continue
        dockerfile = ROOT / build["context"] / build["dockerfile"]
        if not re.search(rf"^FROM \S+ AS {build['target']}$", dockerfile.read_text(encoding="utf-8"), re.MULTILINE):
            faults.append(f"{name}: no stage {build['target']}")
    return faults


CHECKS: Final[tuple[Check, ...]] = (
    only_known_keys,
    images_are_pinned,
    memory_is_limited,
    heap_fits_its_limit,
    acknowledged_survives_one_broker,
    brokers_form_one_cluster,
    listeners_are_reachable,
    published_ports_are_loopback_and_distinct,
    data_is_in_named_volumes,
    redis_keeps_its_data,
    dependencies_make_sense,
    commands_exist,
    settings_exist,
    addresses_lead_to_services,
    secret_is_demanded,
    extras_stay_at_home,
    files_are_there,
    every_process_is_scraped,
    builds_exist,
)
