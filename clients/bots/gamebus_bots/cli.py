"""`gamebus bots`: load tests from the command line."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from gamebus_bots import loop
from gamebus_bots.broker import NoStack
from gamebus_bots.comparison import changes, unlike
from gamebus_bots.config import BotsConfig
from gamebus_bots.crew import Crew, CrewError
from gamebus_bots.html_report import html
from gamebus_bots.limit import LimitSearch
from gamebus_bots.limit_report import limit_document, limit_words, step_line, step_of
from gamebus_bots.live import watch
from gamebus_bots.report import BotsReport
from gamebus_bots.run import Plan
from gamebus_bots.run import run as play
from gamebus_bots.scenario import Scenario, ScenarioError, duration_s
from gamebus_bots.scenario_files import find, shipped
from gamebus_bots.summary import change_table, summary
from gamebus_bots.target import NoTarget, find_secret, find_url
from gamebus_bots.threshold import Threshold, ThresholdError
from gamebus_client import GameClientError

EXIT_FAILED: Final = 1
EXIT_INVALID: Final = 3
EXIT_CROSSED: Final = 99

app = typer.Typer(
    help="Load tests: bots that play over real websockets, measure, and check what the bus promises.",
    no_args_is_help=True,
)

Url = Annotated[
    str | None,
    typer.Option(
        help="Websocket address of the gateway; without it that of a running `gamebus dev`.", show_default=False
    ),
]
Folder = Annotated[Path, typer.Option(help="Folder of `gamebus dev`: its address, its secret, its brokers.")]
Secret = Annotated[
    str,
    typer.Option(
        "--token-secret", envvar="GAMEBUS_AUTH__SECRET", show_envvar=True, help="HMAC secret of the gateway's tokens."
    ),
]
Players = Annotated[int | None, typer.Option(min=1, help="In place of the scenario's; so the next ones.")]
Rooms = Annotated[int | None, typer.Option(min=1)]
Duration = Annotated[str | None, typer.Option(help="Measured time: 500ms, 60s, 2m, 1h.")]
Rate = Annotated[float | None, typer.Option(help="Positions a second of each player.")]
Ramp = Annotated[str | None, typer.Option(help="Time in which the first players come.")]
WarmUp = Annotated[str | None, typer.Option(help="Time after the ramp that is not measured.")]
Processes = Annotated[int, typer.Option(min=1, help="Play with so many processes; each has whole rooms.")]
Seed = Annotated[int, typer.Option(help="The same seed, the same game.")]
Thresholds = Annotated[
    list[str] | None,
    typer.Option("--threshold", help="Must be kept, else exit code 99; may be repeated: 'position_p99<100ms'."),
]
DEFAULT_FOLDER: Final = Path(".gamebus/stack")


@app.command()
def run(
    scenario: Annotated[
        str, typer.Argument(help="Name, or path of a .toml or .py file; see `gamebus bots scenarios`.")
    ],
    url: Url = None,
    players: Players = None,
    rooms: Rooms = None,
    duration: Duration = None,
    rate_hz: Rate = None,
    ramp: Ramp = None,
    warm_up: WarmUp = None,
    processes: Processes = 1,
    seed: Seed = 1,
    threshold: Thresholds = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report to this file.")] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Write a page with charts to this file; it opens by itself.")
    ] = None,
    hgrm: Annotated[
        Path | None, typer.Option(help="Write a percentile distribution of each latency into this folder.")
    ] = None,
    room_prefix: Annotated[str, typer.Option(help="Rooms are PREFIX-1, PREFIX-2, ...")] = "arena",
    player_prefix: Annotated[
        str, typer.Option(help="Players are PREFIX-1, ...; the game server PREFIX-server.")
    ] = "bot",
    combat: Annotated[bool | None, typer.Option(help="Whether a game server publishes kills and deaths.")] = None,
    folder: Folder = DEFAULT_FOLDER,
    token_secret: Secret = "",
) -> None:
    """Play a scenario, show it, and judge it.

    Exit code 0: every promise and every threshold was kept. 99: a threshold was crossed. 1: a promise was broken, or there was no run.
    3: the generator was saturated, so that the latencies say nothing. 2: wrong usage.

    Example: gamebus bots run steady --players 200 --duration 60s --threshold 'position_p99<100ms'
    """
    with _usage():
        _refuse_unwritable(json_file, html_file)
        given = _options(players, rooms, duration, rate_hz, ramp, warm_up, combat)
        chosen = find(scenario).scaled(**given)
        thresholds = _thresholds(chosen, threshold)
        config = BotsConfig(
            find_url(url, folder),
            find_secret(token_secret, folder),
            chosen,
            seed=seed,
            room_prefix=room_prefix,
            player_prefix=player_prefix,
            parts=processes,
        )
    report = _play(config, Plan(thresholds, folder), Console())
    # First of all: a disk that is full costs the files only.
    Console().print(summary(report), soft_wrap=True, highlight=False)
    if json_file is not None:
        json_file.write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
    if html_file is not None:
        html_file.write_text(html(report), encoding="utf-8")
    if hgrm is not None:
        _write_hgrm(report, hgrm)
    raise typer.Exit(exit_code(report))


@app.command()
def scenarios() -> None:
    """List the scenarios that ship."""
    grid = Table(box=None, show_header=False, pad_edge=False)
    for name, scenario in shipped().items():
        grid.add_row(name, f"{scenario.players} in {scenario.rooms}", f"{scenario.duration_s:g} s", scenario.about)
    Console().print(grid)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Report of a run (--json).", exists=True, dir_okay=False)],
    second: Annotated[Path, typer.Argument(help="Another one.", exists=True, dir_okay=False)],
    force: Annotated[bool, typer.Option("--force", help="Compare what cannot be compared, too.")] = False,
) -> None:
    """Show what changed from one run to another.

    Refuses (exit code 1) runs on unlike machines, of unlike scenarios, or invalid ones, and says what differs.
    """
    try:
        documents = [json.loads(path.read_text(encoding="utf-8")) for path in (first, second)]
        reasons = unlike(*documents)
    except (ValueError, AttributeError) as error:
        raise typer.BadParameter(str(error)) from error
    for reason in reasons:
        typer.echo(f"unlike: {reason}", err=True)
    if reasons and not force:
        _fail("these runs cannot be compared; --force does it all the same")
    Console().print(change_table(changes(*documents), first.stem, second.stem))


@app.command(name="find-limit")
def find_limit(
    scenario: Annotated[str, typer.Argument(help="Name or path; players per room stay as in it.")] = "steady",
    threshold: Thresholds = None,
    start: Annotated[int, typer.Option(min=1, help="Players of the first step.")] = 50,
    most: Annotated[int, typer.Option(min=1, help="Never more than that.")] = 5_000,
    duration: Annotated[str, typer.Option(help="Measured time of each step.")] = "15s",
    ramp: Ramp = None,
    warm_up: WarmUp = None,
    tolerance: Annotated[float, typer.Option(min=0.01, max=0.5, help="How near, as a share.")] = 0.05,
    url: Url = None,
    processes: Processes = 1,
    seed: Seed = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the steps to this file.")] = None,
    folder: Folder = DEFAULT_FOLDER,
    token_secret: Secret = "",
) -> None:
    """Search the largest number of players that keeps the thresholds and every promise.

    Doubles until a step fails, then bisects. A step whose own generator is saturated says nothing and bounds the search: then the answer
    is what this machine could ask for. Exit code 0: found; 1: not even the least load keeps them.

    Example: gamebus bots find-limit --threshold 'position_p99<100ms' --processes 2
    """
    with _usage():
        _refuse_unwritable(json_file)
        if not threshold:
            raise ThresholdError("without a --threshold there is no limit to find, for instance 'position_p99<100ms'")
        model = find(scenario).scaled(**_options(None, None, duration, None, ramp, warm_up, None))
        thresholds = _thresholds(model, threshold)
        address, secret = find_url(url, folder), find_secret(token_secret, folder)
    searching = LimitSearch(min(start, most), most, tolerance)
    steps: list[BotsReport] = []
    console = Console()
    while (players := searching.next()) is not None:
        rooms = max(1, round(players * model.rooms / model.players))
        played = model.scaled(players=players, rooms=rooms)
        # Rooms of this step alone: nothing of the one before is in them.
        prefix = f"limit-{uuid.uuid4().hex[:6]}"
        config = BotsConfig(address, secret, played, seed=seed, room_prefix=prefix, parts=min(processes, rooms))
        report = _play(config, Plan(thresholds, folder), console, live=False)
        steps.append(report)
        searching.tell(players, step_of(report))
        console.print(step_line(report), soft_wrap=True, highlight=False)
    outcome = limit_document(searching, steps)
    console.print(limit_words(outcome), soft_wrap=True, highlight=False)
    if json_file is not None:
        json_file.write_text(json.dumps(outcome, indent=1) + "\n", encoding="utf-8")
    raise typer.Exit(0 if searching.limit else EXIT_FAILED)


def exit_code(report: BotsReport) -> int:
    """What the run means to a program: a crossed threshold comes first, as with k6."""
    if report.crossed:
        return EXIT_CROSSED
    if report.failures:
        return EXIT_FAILED
    return 0 if report.invalid is None else EXIT_INVALID


class _usage:  # noqa: N801 - used as a function
    """Turns what is wrong with the arguments into exit code 2."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, (ScenarioError, ThresholdError, NoTarget)) or type(error) is ValueError:
            raise typer.BadParameter(str(error)) from error


def _options(
    players: int | None,
    rooms: int | None,
    duration: str | None,
    rate_hz: float | None,
    ramp: str | None,
    warm_up: str | None,
    combat: bool | None,
) -> dict[str, Any]:
    return {
        "players": players,
        "rooms": rooms,
        "duration_s": None if duration is None else duration_s(duration),
        "rate_hz": rate_hz,
        "ramp_s": None if ramp is None else duration_s(ramp),
        "warm_up_s": None if warm_up is None else duration_s(warm_up),
        "combat": combat,
    }


def _thresholds(scenario: Scenario, given: Iterable[str] | None) -> tuple[Threshold, ...]:
    return tuple(Threshold.parse(text) for text in (*scenario.thresholds, *(given or ())))


def _play(config: BotsConfig, plan: Plan, console: Console, *, live: bool = True) -> BotsReport:
    async def show(crew: Crew) -> None:
        if live:
            await watch(crew, config.scenario, console)

    try:
        return loop.run(play(config, plan, show))
    except (GameClientError, CrewError, NoStack) as error:
        _fail(f"{error}{f' ({error.__cause__})' if error.__cause__ is not None else ''}")


def _fail(words: str) -> NoReturn:
    typer.echo(f"gamebus bots: {words}", err=True)
    raise typer.Exit(EXIT_FAILED)


def _refuse_unwritable(*files: Path | None) -> None:
    """Better before the run than after it."""
    for file in files:
        if file is not None and (file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK)):
            raise ValueError(f"cannot write to {file}: name a file in a folder that exists and may be written to")


def _write_hgrm(report: BotsReport, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, latency in report.tally.latencies.items():
        if len(latency):
            (folder / f"{name}.hgrm").write_bytes(latency.hgrm())
