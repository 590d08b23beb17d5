"""Every setting of a Freshet process: one class, read from arguments, environment, file and defaults, in that order.

The file is TOML, `freshet.toml` in the current folder or the one that `FRESHET_CONFIG` names. An environment variable
is `FRESHET_` and the setting's name in capitals. `freshet config` prints what is in force and where it came from.
"""

import ipaddress
import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from serving.settings import MIN_KEY_LENGTH, KeyRole
from stream.kafka.settings import SCHEME, KafkaSettings, unused_security, without_password
from stream.kinds import DEFAULT_KINDS, EventKind, EventKinds
from stream.windows.attribution import AttributionSettings

PREFIX = "FRESHET_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
DEFAULT_FILE = "freshet.toml"
OF_OTHERS = (f"{PREFIX}API_KEY", f"{PREFIX}METRICS_PORT")  # the client's and the worker's, in the same environment
OF_WORKERS = f"{PREFIX}WORKER_"


_PLACE = re.compile(r"https?://[^/?#\s]+")


class BadSettings(Exception):
    """A setting that cannot be used: one line a problem, each with its name, value, source and limit."""


class Kind(BaseModel):
    """An event kind; see `stream.kinds.EventKind`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    enters_sequence: bool = True
    is_target: bool = True


def _default_kinds() -> list[Kind]:
    return [
        Kind(name=kind.name, enters_sequence=kind.enters_sequence, is_target=kind.is_target) for kind in DEFAULT_KINDS
    ]


RoleName = Literal["feeds", "learning", "watching"]
ROLES: tuple[RoleName, ...] = ("feeds", "learning", "watching")
EMBEDDED = "embedded"
SECRETS = ("api_keys", "kafka_sasl_password")  # never printed


class Settings(BaseSettings):
    """What is in force. A name here is the name in the file; descriptions are printed by `freshet config`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, allow_inf_nan=False)

    data_dir: Path = Field(Path("freshet-data"), description="Folder that everything is kept in.")
    roles: list[RoleName] = Field(list(ROLES), min_length=1, description="What this process does.")
    api_keys: dict[str, KeyRole] = Field(
        default_factory=dict, description="Keys of the API (X-API-Key), each with its role; none: loopback only."
    )
    host: str = Field("127.0.0.1", description="Address to listen on; beyond loopback only with keys.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    public_url: str | None = Field(None, description="Where other replicas reach this one; default host and port.")

    log: str = Field("embedded", description="`embedded`, or kafka://host:port[,host:port][/prefix].")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How brokers are talked to."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="How this process says who it is."
    )
    kafka_sasl_username: str | None = Field(None, description="User at the brokers.")
    kafka_sasl_password: SecretStr | None = Field(None, description="Password at the brokers.")
    kafka_ssl_cafile: Path | None = Field(None, description="Authorities that brokers' certificates are checked by.")
    kafka_ssl_certfile: Path | None = Field(None, description="This process's certificate.")
    kafka_ssl_keyfile: Path | None = Field(None, description="Its key.")

    partitions: int = Field(4, ge=1, le=128, description="Partitions of each topic; fixed once the log exists.")
    retention_days: float = Field(30.0, gt=0, description="Days that events and exposures stay on the log.")
    log_max_mb: int | None = Field(None, ge=1, description="Largest size of the log's file; then ingest answers 503.")
    kinds: list[Kind] = Field(default_factory=_default_kinds, description="The closed set of event kinds.")

    sequence_length: int = Field(50, ge=1, le=255, description="Newest events kept by user.")
    max_seen: int = Field(2_000, ge=0, description="Older items remembered by user, so as not to recommend them.")
    snapshot_s: float = Field(60.0, gt=0, description="Seconds between snapshots of the sequences.")

    text_tower: str = Field(
        "sentence-transformers/all-MiniLM-L6-v2",
        description="Hub id or folder of a transformers text model, or `tfidf`.",
    )
    image_tower: str = Field(
        "patch",
        description="`patch` (trained here), `keywords` or `keywords:` and a CLIP, or a transformers vision model.",
    )

    attribution_window_s: float = Field(
        1_800.0, ge=0.001, description="Seconds after a feed in which what follows counts as its outcome."
    )
    lateness_s: float = Field(120.0, ge=0, description="How late an event or exposure may come to be joined, seconds.")

    segment_rows: int = Field(20_000, ge=1, lt=500_000, description="Events that make a training segment.")
    segment_s: float = Field(10.0, gt=0, description="Longest wait of an event for its segment, seconds.")
    first_events: int = Field(5_000, ge=1, description="Events that start the first training.")
    cycle_events: int = Field(20_000, ge=1, description="Fresh events that start a training cycle.")
    cycle_s: float = Field(600.0, gt=0, description="Seconds after which fewer fresh events start one too.")
    time_buckets: bool = Field(
        True,
        description="Let a first or pretrained model read how far apart a user's events are; later ones keep to it.",
    )
    first_pretrain_epochs: int = Field(2, ge=0, description="Contrastive epochs of the first training.")
    first_finetune_epochs: int = Field(
        8, ge=1, description="Next-item epochs of the first training, where events are too few to hold some out."
    )
    first_max_finetune_epochs: int = Field(
        20, ge=1, description="Next-item epochs at most where events are held out; predicted no better, they stop it."
    )
    cycle_pretrain_epochs: int = Field(1, ge=0, description="Contrastive epochs of a cycle.")
    cycle_finetune_epochs: int = Field(1, ge=1, description="Next-item epochs of a cycle.")
    replay_ratio: float = Field(3.0, ge=0, description="Old events replayed in a cycle for each fresh one.")
    gate_margin: float = Field(0.05, ge=0, lt=1, description="Loss of NDCG@10 the gate tolerates, as a share.")
    gate_wait_s: float = Field(20.0, ge=0, description="Longest wait for events to judge a new model by, seconds.")
    training_threads: int = Field(1, ge=1, description="CPU threads of a cycle, which runs beside serving.")
    first_training_threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="CPU threads of the first training."
    )
    seed: int = Field(0, ge=0, description="Of everything drawn in training.")

    watch_share: float = Field(1.0, gt=0, le=1, description="Share of users whose events are predicted first.")
    blend: bool = Field(
        True, description="Blend the model with what is learned from every event; off: it answers alone."
    )
    blend_share: float = Field(0.2, gt=0, le=1, description="Share of users whose events the blend is learned from.")
    serving_threads: int = Field(1, ge=1, description="CPU threads of the model that answers.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged.")
    log_json: bool = Field(False, description="Log JSON lines.")

    @field_validator("api_keys")
    @classmethod
    def _are_long(cls, keys: dict[str, KeyRole]) -> dict[str, KeyRole]:
        if any(len(key) < MIN_KEY_LENGTH for key in keys):
            raise ValueError(f"a key has fewer than {MIN_KEY_LENGTH} characters; make longer ones")
        return keys

    @field_validator("host")
    @classmethod
    def _is_safe(cls, host: str, info: ValidationInfo) -> str:
        if not host.strip("0123456789.") and _address(host) is None:  # "0", and nothing, would listen everywhere
            raise ValueError("write the address in full, such as 0.0.0.0")
        if not (info.data.get("api_keys") or _is_loopback(host)):
            raise ValueError("must be a loopback address without api_keys, so that nobody else is let in; set some")
        return host

    @field_validator("public_url")
    @classmethod
    def _is_place(cls, url: str | None) -> str | None:
        if url is not None and not _PLACE.fullmatch(url):
            raise ValueError("must be http://host:port or https://host:port, without a path")
        return url

    @field_validator("log")
    @classmethod
    def _is_log(cls, log: str) -> str:
        if log != EMBEDDED and not log.startswith(SCHEME):
            raise ValueError(f"must be `{EMBEDDED}` or kafka://host:port[,host:port][/prefix]")
        if log != EMBEDDED:
            KafkaSettings.from_url(log)
        return log

    @field_validator("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile")
    @classmethod
    def _is_file(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError("there is no such file")
        return path

    @field_validator("data_dir")
    @classmethod
    def _is_folder(cls, data_dir: Path) -> Path:
        folder = data_dir.expanduser().resolve()
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir():
            raise ValueError("is a file; name a folder" if there == folder else f"{there} is a file; name a folder")
        return folder

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.retention_days * 86_400 < 2 * self.snapshot_s:
            raise ValueError(
                f"retention_days={self.retention_days} must be at least twice snapshot_s={self.snapshot_s} seconds"
            )
        if self._is_anywhere and not self.is_embedded and "feeds" in self.roles and self.public_url is None:
            raise ValueError(f"host={self.host} is no address that other replicas could reach; set public_url")
        if self.log == EMBEDDED and set(self.roles) != set(ROLES):
            raise ValueError(f"roles={self.roles} with the embedded log: one process has it, and does all of {ROLES}")
        unused = unused_security(self.kafka_security_protocol, self.of_brokers())
        if unused:
            raise ValueError(
                f"kafka_security_protocol={self.kafka_security_protocol} does not use {', '.join(unused)}; "
                "set the one that the brokers speak, or leave those out"
            )
        if self.log_max_mb is not None and not self.is_embedded:
            raise ValueError(
                f"log_max_mb={self.log_max_mb} bounds the embedded log alone; brokers have limits of their own"
            )
        self.event_kinds()
        return self

    def of_brokers(self) -> list[str]:
        """Names of what is set of how brokers are talked to, the default protocol aside."""
        is_set = (name for name in self.model_fields_set if name.startswith("kafka_") and getattr(self, name))
        return sorted(name for name in is_set if getattr(self, name) != "PLAINTEXT")

    @property
    def _is_anywhere(self) -> bool:
        """Whether it listens on every address, which names none."""
        address = _address(self.host)
        return address is not None and address.is_unspecified

    @property
    def is_embedded(self) -> bool:
        """Whether the log is a file of this process."""
        return self.log == EMBEDDED

    def attribution(self) -> AttributionSettings:
        """The window in which an exposure is joined to what follows."""
        return AttributionSettings(
            window_ms=int(self.attribution_window_s * 1_000), lateness_ms=int(self.lateness_s * 1_000)
        )

    def event_kinds(self) -> EventKinds:
        """The closed set of kinds."""
        return EventKinds([EventKind(**kind.model_dump()) for kind in self.kinds])


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """None where it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class InForce(NamedTuple):
    """Settings, and where each value came from: `argument`, `environment`, the file's path, or `default`."""

    settings: Settings
    sources: dict[str, str]


def load_settings(arguments: dict[str, Any] | None = None) -> InForce:
    """Read settings from arguments, environment and file.

    Args:
        arguments: Values given on the command line; None values are as if not given.

    Raises:
        BadSettings: a value cannot be used, or a name is unknown.
    """
    given = {name: value for name, value in (arguments or {}).items() if value is not None}
    file, in_file = _read_file()
    in_environment = _read_environment()
    sources = dict.fromkeys(Settings.model_fields, "default")
    for layer, source in ((in_file, str(file)), (in_environment, "environment"), (given, "argument")):
        sources |= dict.fromkeys(layer, source)
    try:
        settings = Settings(**(in_file | in_environment | given))
    except ValidationError as exc:
        raise BadSettings("\n".join(_explained(error, sources) for error in exc.errors())) from exc
    return InForce(settings, sources)


def _read_file() -> tuple[Path, dict[str, Any]]:
    named = os.environ.get(CONFIG_VARIABLE)
    path = Path(named or DEFAULT_FILE)
    if not path.exists():
        if named:
            raise BadSettings(f"{CONFIG_VARIABLE}={named}: there is no such file")
        return path, {}
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as exc:
        raise BadSettings(f"settings file {path} cannot be read: {exc}") from exc


def _read_environment() -> dict[str, Any]:
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields} | {CONFIG_VARIABLE, *OF_OTHERS}
    ours = (name for name in os.environ if name.startswith(PREFIX) and not name.startswith(OF_WORKERS))
    unknown = sorted(name for name in ours if name not in known)
    if unknown:
        raise BadSettings(f"unknown settings in the environment: {', '.join(unknown)}; see `freshet config`")
    try:
        return EnvSettingsSource(Settings)()
    except ValueError as exc:
        raise BadSettings(f"environment: {exc}; it is read as JSON") from exc


def _explained(error: Any, sources: dict[str, str]) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    is_secret = any(name in SECRETS for name in error["loc"][:1])
    loc = error["loc"][:1] if is_secret else error["loc"]  # within api_keys the place is the key itself
    place = ".".join(str(part) for part in loc) or "settings"  # such as kinds.0.name
    source = sources.get(str(loc[0]), "settings") if loc else "all together"
    if error["type"] == "extra_forbidden":
        return f"unknown setting {place!r} in {source}; see `freshet config`"
    value = f"={without_password(repr(error['input']))}" if loc and not is_secret else ""
    return f"{place}{value} ({source}): {error['msg'].removeprefix('Value error, ')}"
