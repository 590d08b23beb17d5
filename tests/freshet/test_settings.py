import os
from pathlib import Path

import pytest

from freshet.settings import BadSettings, load_settings
from stream.kinds import DEFAULT_KINDS


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder and none of our variables."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("FRESHET_")]:
        monkeypatch.delenv(name)


def write_file(text: str, name: str = "freshet.toml") -> None:
    Path(name).write_text(text, encoding="utf-8")


def test_without_anything_given_defaults_are_in_force(tmp_path: Path) -> None:
    settings, sources = load_settings()

    assert settings.data_dir == tmp_path / "freshet-data"
    assert (settings.host, settings.port, settings.partitions, settings.log_max_mb) == ("127.0.0.1", 8000, 4, None)
    assert set(sources.values()) == {"default"}
    assert sources.keys() == settings.model_dump().keys()


def test_default_kinds_are_those_of_the_stream() -> None:
    assert list(load_settings().settings.event_kinds()) == list(DEFAULT_KINDS)


def test_argument_wins_over_environment_over_file_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    write_file("port = 1\npartitions = 2\nseed = 3\n")
    monkeypatch.setenv("FRESHET_PORT", "10")
    monkeypatch.setenv("FRESHET_PARTITIONS", "20")

    settings, sources = load_settings({"port": 100, "seed": None})

    assert (settings.port, settings.partitions, settings.seed, settings.max_seen) == (100, 20, 3, 2_000)
    assert (sources["port"], sources["partitions"], sources["seed"], sources["max_seen"]) == (
        "argument",
        "environment",
        "freshet.toml",
        "default",
    )


def test_file_is_taken_from_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file("port = 1", "other.toml")
    monkeypatch.setenv("FRESHET_CONFIG", str(tmp_path / "other.toml"))

    settings, sources = load_settings()

    assert (settings.port, sources["port"]) == (1, str(tmp_path / "other.toml"))


def test_named_file_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_CONFIG", "nowhere.toml")

    with pytest.raises(BadSettings, match=r"FRESHET_CONFIG=nowhere\.toml: there is no such file"):
        load_settings()


def test_file_that_is_no_toml_is_an_error() -> None:
    write_file("port 1")

    with pytest.raises(BadSettings, match=r"settings file freshet\.toml cannot be read: .*line 1"):
        load_settings()


def test_kinds_come_from_the_file() -> None:
    write_file('[[kinds]]\nname = "skip"\nis_target = false\n[[kinds]]\nname = "listen"\n')

    kinds = load_settings().settings.event_kinds()

    assert kinds.names == ("skip", "listen")
    assert (kinds.get("skip").enters_sequence, kinds.get("skip").is_target) == (True, False)
    assert (kinds.get("listen").enters_sequence, kinds.get("listen").is_target) == (True, True)


def test_kinds_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_KINDS", '[{"name": "listen"}]')

    assert load_settings().settings.event_kinds().names == ("listen",)


def test_kinds_in_the_environment_that_are_no_json_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_KINDS", "listen")

    with pytest.raises(BadSettings, match=r'environment: .*"kinds".*; it is read as JSON'):
        load_settings()


def test_home_folder_may_be_abbreviated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "taken").write_text("a file")

    assert load_settings({"data_dir": "~/data"}).settings.data_dir == tmp_path / "data"
    with pytest.raises(BadSettings, match=r"data_dir='~/taken' \(argument\): is a file; name a folder"):
        load_settings({"data_dir": "~/taken"})


def test_unknown_name_in_the_file_is_an_error() -> None:
    write_file("prot = 1")

    with pytest.raises(BadSettings, match=r"unknown setting 'prot' in freshet\.toml; see `freshet config`"):
        load_settings()


def test_unknown_names_in_the_environment_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_PROT", "1")
    monkeypatch.setenv("FRESHET_HOTS", "x")

    with pytest.raises(BadSettings, match="unknown settings in the environment: FRESHET_HOTS, FRESHET_PROT; see"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port = 65536", "port=65536 (freshet.toml): Input should be less than or equal to 65535"),
        ('port = "ssh"', "port='ssh' (freshet.toml): Input should be a valid integer"),
        ("partitions = 0", "partitions=0 (freshet.toml): Input should be greater than or equal to 1"),
        ("retention_days = 0", "retention_days=0 (freshet.toml): Input should be greater than 0"),
        ("retention_days = inf", "retention_days=inf (freshet.toml): Input should be a finite number"),
        ("cycle_s = nan", "cycle_s=nan (freshet.toml): Input should be"),
        ("sequence_length = 256", "sequence_length=256 (freshet.toml): Input should be less than or equal to 255"),
        ("segment_rows = 500000", "segment_rows=500000 (freshet.toml): Input should be less than 500000"),
        ("gate_margin = 1.0", "gate_margin=1.0 (freshet.toml): Input should be less than 1"),
        ("watch_share = 1.5", "watch_share=1.5 (freshet.toml): Input should be less than or equal to 1"),
        ("blend_share = 0", "blend_share=0 (freshet.toml): Input should be greater than 0"),
        (
            'log_level = "loud"',
            "log_level='loud' (freshet.toml): Input should be 'debug', 'info', 'warning' or 'error'",
        ),
        (
            'host = "0.0.0.0"',
            "host='0.0.0.0' (freshet.toml): must be a loopback address without api_keys, so that nobody else is let in",
        ),
        ('host = "example.org"', "host='example.org' (freshet.toml): must be a loopback address without api_keys"),
        ('log = "kafka://ada:secret@a/shop-"', "log='kafka://***@a/shop-' (freshet.toml): the log's URL must look"),
        ('log = "kafka://ada:hunt/er2@a:9092"', "log='kafka://***@a:9092' (freshet.toml): the log's URL must look"),
        ('log = "kafka://a/shop/"', "log='kafka://a/shop/' (freshet.toml): prefix='shop/': up to 200 letters"),
        ('log = "redis://a"', "log='redis://a' (freshet.toml): must be `embedded` or kafka://host:port"),
        ('roles = ["feeds"]', "settings (all together): roles=['feeds'] with the embedded log: one process has it"),
        ('roles = ["cooking"]', "roles.0='cooking' (freshet.toml): Input should be 'feeds', 'learning' or 'watching'"),
        ("roles = []", "roles=[] (freshet.toml): List should have at least 1 item"),
        ('api_keys = { short = "read" }', "api_keys (freshet.toml): a key has fewer than 16 characters"),
        (
            '[api_keys]\n0123456789abcdef = "reader"',
            "api_keys (freshet.toml): Input should be 'ingest', 'read' or 'admin'",
        ),
        ('kafka_sasl_password = ["hunter2"]', "kafka_sasl_password (freshet.toml): Input should be a valid string"),
        (
            'kafka_sasl_username = "ada"\nkafka_sasl_password = "hunter2"\nkafka_ssl_cafile = "freshet.toml"',
            "settings (all together): kafka_security_protocol=PLAINTEXT does not use "
            "kafka_sasl_password, kafka_sasl_username, kafka_ssl_cafile; ",
        ),
        (
            'kafka_security_protocol = "SSL"\nkafka_sasl_mechanism = "PLAIN"',
            "settings (all together): kafka_security_protocol=SSL does not use kafka_sasl_mechanism; ",
        ),
        (
            'kafka_security_protocol = "SASL_PLAINTEXT"\nkafka_ssl_keyfile = "freshet.toml"',
            "settings (all together): kafka_security_protocol=SASL_PLAINTEXT does not use kafka_ssl_keyfile; ",
        ),
        (
            'log = "kafka://a"\nlog_max_mb = 10',
            "settings (all together): log_max_mb=10 bounds the embedded log alone; brokers have limits of their own",
        ),
        (
            'kafka_security_protocol = "SSL"\nkafka_ssl_cafile = "nowhere.pem"',
            "kafka_ssl_cafile='nowhere.pem' (freshet.toml): there is no such file",
        ),
        *(
            (
                f'log = "kafka://a"\nhost = "{host}"\n[api_keys]\n0123456789abcdef = "read"',
                f"host='{host}' (freshet.toml): write the address in full, such as 0.0.0.0",
            )
            for host in ("", "0", "0.0")
        ),
        (
            'log = "kafka://a"\nhost = "::0"\n[api_keys]\n0123456789abcdef = "read"',
            "settings (all together): host=::0 is no address that other replicas could reach; set public_url",
        ),
        ('public_url = "there/"', "public_url='there/' (freshet.toml): must be http://host:port"),
        (
            'log = "kafka://a"\nhost = "0.0.0.0"\n[api_keys]\n0123456789abcdef = "read"',
            "settings (all together): host=0.0.0.0 is no address that other replicas could reach; set public_url",
        ),
        ('data_dir = "freshet.toml"', "data_dir='freshet.toml' (freshet.toml): is a file; name a folder"),
        (
            "retention_days = 0.001\nsnapshot_s = 60.0",
            "settings (all together): retention_days=0.001 must be at least twice snapshot_s=60.0 seconds",
        ),
        (
            "attribution_window_s = 0.0005",
            "attribution_window_s=0.0005 (freshet.toml): Input should be greater than or equal to 0.001",
        ),
        ("kinds = []", "settings (all together): 0 event kinds given; 1 to 256 are possible"),
        ('[[kinds]]\nname = ""', "settings (all together): kind name '' must have 1 to 32 characters"),
        (
            '[[kinds]]\nname = "a"\nweight = 1.0',
            "unknown setting 'kinds.0.weight' in freshet.toml; see `freshet config`",
        ),
        (
            '[[kinds]]\nname = "a"\nis_target = "often"',
            "kinds.0.is_target='often' (freshet.toml): Input should be a valid boolean",
        ),
    ],
)
def test_value_that_cannot_be_used_is_named_with_its_source_and_limit(text: str, message: str) -> None:
    write_file(text)

    with pytest.raises(BadSettings) as caught:
        load_settings()

    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_every_problem_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    write_file("port = -1")
    monkeypatch.setenv("FRESHET_SEED", "many")

    with pytest.raises(BadSettings) as caught:
        load_settings({"data_dir": "freshet.toml"})

    assert [line.split(" ")[:2] for line in str(caught.value).splitlines()] == [
        ["data_dir='freshet.toml'", "(argument):"],
        ["port=-1", "(freshet.toml):"],
        ["seed='many'", "(environment):"],
    ]
