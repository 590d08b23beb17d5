"""The `freshet` command: one function a subcommand, every failure one clear line."""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freshet.offline import add_offline
from freshet.settings import SECRETS, BadSettings, InForce, Settings, load_settings

if TYPE_CHECKING:
    from models.registry.registry import Registry

N_REFUSALS_SHOWN = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Returns:
        Exit status: 0 done, 1 something failed and was said in one line, 2 a wrong call.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        return 130
    except BadSettings as exc:  # most common, and said at once: what follows imports nearly everything
        return _failed(exc)
    except _expected() as exc:
        return _failed(exc)


def _failed(exc: Exception) -> int:
    print(f"freshet: {exc}", file=sys.stderr)
    return 1


def _expected() -> tuple[type[Exception], ...]:
    """Other errors that are the user's to mend; anything else is a bug and shows its trace."""
    from consumers.learning.segments import BadManifest
    from consumers.sequences.snapshots import KindsDiffer
    from freshet.client import ApiError
    from freshet.demo.story import DemoFailed
    from freshet.demo.tape import WrongTape
    from freshet.evaluation.data import EvaluationError
    from freshet.evaluation.runs import BadRun
    from freshet.http_server import PortTaken
    from freshet.replay import ReplayFailed
    from models.content.table import ContentError
    from models.encoder.checkpoint import BadCheckpoint
    from models.encoder.loop import TrainingDiverged
    from models.encoder.parallel import ParallelError
    from models.evaluation.splits import SplitError
    from models.evaluation.validation import NoQuestions
    from models.registry.bundle import RegistryError
    from models.towers.tower import TowerError
    from stream.kinds import UnknownKind
    from stream.log import LogError
    from stream.replay.rows import BadRowError, DatasetError

    return (
        ApiError,
        BadCheckpoint,
        BadManifest,
        BadRowError,
        BadRun,
        ContentError,
        DatasetError,
        DemoFailed,
        EvaluationError,
        KindsDiffer,
        LogError,
        NoQuestions,
        ParallelError,
        PortTaken,
        RegistryError,
        ReplayFailed,
        SplitError,
        TowerError,
        TrainingDiverged,
        UnknownKind,
        WrongTape,
        OSError,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="freshet", description="A streaming multimodal sequential recommender that never stops learning."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = _command(
        commands, "demo", "stream events, watch feeds change and models being published; then go on serving"
    )
    demo.add_argument("--data", metavar="DIR", help="real data instead of the synthetic shop; see docs/data-formats.md")
    demo.add_argument("--check", action="store_true", help="end by itself and fail if a promise does not hold")
    demo.add_argument("--fresh", action="store_true", help="start over: delete what an earlier demo kept")
    demo.add_argument("--summary", metavar="FILE", help="where to write the JSON summary (default: in the data folder)")
    _add_places(demo)
    demo.set_defaults(run=_demo)

    serve = _command(commands, "serve", "run the service on your own stream, or some of its roles")
    serve.add_argument("--roles", metavar="ROLE,...", help="feeds, learning, watching (default: all)")
    _add_places(serve)
    serve.set_defaults(run=_serve)

    config = _command(commands, "config", "print the settings in force and where each came from")
    config.add_argument("--json", action="store_true", help="print JSON")
    config.set_defaults(run=_config)

    replay = _command(commands, "replay", "send a data set to a running service, in event time")
    replay.add_argument("data", metavar="DIR", nargs="?", help="data folder; none is the synthetic shop")
    replay.add_argument("--speed", default="max", help="event time over wall time, or `max` (default)")
    replay.add_argument("--strict", action="store_true", help="stop at the first bad row")
    replay.add_argument("--url", default="http://127.0.0.1:8000", help="the service (default: %(default)s)")
    replay.set_defaults(run=_replay)

    models = _command(commands, "models", "list model versions and refused cycles; promote one, or roll back")
    models.add_argument("action", choices=("list", "promote", "rollback"))
    models.add_argument("version", nargs="?", help="for promote")
    models.add_argument("--reason", default="by hand", help="kept with the pointer")
    models.add_argument("--data-dir", type=Path, help="folder the service keeps everything in")
    models.set_defaults(run=_models)

    add_offline(commands)

    letters = _command(commands, "dead-letters", "show rejected records, or send them again (service stopped)")
    letters.add_argument("action", choices=("list", "replay"))
    letters.add_argument("--data-dir", type=Path, help="folder the service keeps everything in")
    _add_log(letters)
    letters.set_defaults(run=_dead_letters)
    return parser


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse's private type
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    return parser


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path, help="folder everything is kept in")
    parser.add_argument("--port", type=int, help="port to listen on; 0 takes a free one")
    _add_log(parser)


def _add_log(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log", metavar="URL", help="`embedded` (default), or kafka://host:port[,host:port][/prefix]")


def _places(options: argparse.Namespace) -> InForce:
    roles = getattr(options, "roles", None)
    given = {"data_dir": options.data_dir, "port": getattr(options, "port", None), "log": getattr(options, "log", None)}
    return load_settings(given | {"roles": None if roles is None else roles.split(",")})


def _kept(options: argparse.Namespace) -> Settings:
    """Settings whose data folder a service has filled."""
    settings = _places(options).settings
    if not settings.data_dir.is_dir():
        raise BadSettings(f"there is no data folder {settings.data_dir}; name the service's with --data-dir")
    return settings


def _filled(place: Path) -> Path:
    """What a service makes in its data folder, and looking must not."""
    if not place.exists():
        raise BadSettings(f"there is no {place.name} in {place.parent}; name the service's with --data-dir")
    return place


def _demo(options: argparse.Namespace) -> int:
    from freshet.demo.run import DemoOptions, run_demo

    return run_demo(
        _places(options),
        DemoOptions(
            data=Path(options.data) if options.data else None,
            is_check=options.check,
            is_fresh=options.fresh,
            summary=Path(options.summary) if options.summary else None,
        ),
    )


def _serve(options: argparse.Namespace) -> int:
    settings = _places(options).settings

    from freshet.http_server import HttpServer
    from freshet.service import Service
    from monitoring.logs import configure_logging

    configure_logging(settings.log_level, settings.log_json)
    service = Service(settings)
    try:
        server = HttpServer(service.app(), host=settings.host, port=settings.port)
        service.start()
        service.start_trainer()
        server.start()
        service.announce(server.url)
        print(f"freshet serves {server.url}, everything is kept in {settings.data_dir}", flush=True)
        _until_asked_to_stop()
        service.withdraw()
        server.stop()
    finally:
        service.close()
    return 0


def _until_asked_to_stop() -> None:
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    asked.wait()


def _config(options: argparse.Namespace) -> int:
    settings, sources = load_settings()
    values = settings.model_dump(mode="json")
    values |= {name: "(set)" for name in SECRETS if values[name]}
    if options.json:
        rows = {name: {"value": value, "source": sources[name]} for name, value in values.items()}
        print(json.dumps(rows, indent=2))
        return 0
    for name, field in type(settings).model_fields.items():
        setting = f"# {name} is not set" if values[name] is None else f"{name} = {_toml(values[name])}"
        print(f"# {field.description}\n{setting}    # from {sources[name]}\n")
    return 0


def _toml(value: Any) -> str:  # noqa: ANN401 - any setting
    """A value as the settings file has it; TOML and JSON differ in objects only."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(part)}" for name, part in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _replay(options: argparse.Namespace) -> int:
    from freshet.replay import replay_over_http
    from stream.replay.dataset import open_dataset

    dataset = open_dataset(options.data, strict=options.strict, kinds=load_settings()[0].event_kinds())
    return replay_over_http(dataset, url=options.url, speed=options.speed)


def _models(options: argparse.Namespace) -> int:
    from freshet.paths import Paths
    from models.registry.registry import Registry

    if options.version is not None and options.action != "promote":
        raise BadSettings(f"{options.action} takes no version; `freshet models promote VERSION` makes one current")
    registry = Registry(_filled(Paths(_kept(options).data_dir).folders.registry))
    if options.action == "promote":
        if options.version is None:
            raise BadSettings("promote which version? `freshet models list` shows them")
        registry.promote(options.version, by="operator", reason=options.reason)
    elif options.action == "rollback":
        registry.rollback(by="operator", reason=options.reason)
    pointer = registry.current()
    if not registry.versions():
        print("no model yet; the first is trained once there are enough events")
    for version in registry.versions():
        mark = "*" if pointer and version == pointer.version else " "
        print(f"{mark} {version}  {_described(registry, version)}")
    if pointer and pointer.paused:
        print("automatic promotion is paused; promoting a version by hand resumes it")
    for line in _refused(registry):
        print(line)
    return 0


def _described(registry: "Registry", version: str) -> str:
    from models.registry.bundle import RegistryError

    try:
        manifest = registry.manifest(version)
    except RegistryError as exc:  # of one version; the others are shown
        return str(exc)
    return f"parent {manifest.parent or '-'}  {manifest.reason}"


def _refused(registry: "Registry") -> list[str]:
    """A line for each of the newest refused cycles, newest last."""
    from models.registry.bundle import RegistryError

    try:
        newest = registry.refusals()[-N_REFUSALS_SHOWN:]
    except RegistryError as exc:  # versions are shown all the same
        return [str(exc)]
    times = [datetime.fromtimestamp(one.refused_ms / 1_000, UTC) for one in newest]
    return [
        f"refused {at:%Y-%m-%d %H:%M} UTC  parent {one.parent or '-'}  {one.reason}"
        for at, one in zip(times, newest, strict=True)
    ]


def _dead_letters(options: argparse.Namespace) -> int:
    from freshet.letters import list_letters, replay_letters
    from freshet.paths import Paths

    settings = _kept(options)
    if settings.is_embedded:
        _filled(Paths(settings.data_dir).log)
    return list_letters(settings) if options.action == "list" else replay_letters(settings)
