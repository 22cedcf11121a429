"""Settings: a wrong value stops the start by name, no secret is ever shown, and every one is documented."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofi_api.doctor import env_example
from cofi_mediator.settings import MediatorSettings
from cofi_resources.errors import ConfigError
from cofi_resources.settings import Settings, parse_machines

REPOSITORY = Path(__file__).parent.parent
SECRETS = {
    "COFI_DATABASE_URL": "mysql+pymysql://cofi:open-sesame@db/cofi",
    "MEDIATOR_API_KEY": "open-sesame-1",
    "LLM_API_KEY": "open-sesame-2",
}


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without a .env file."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GPU_MODE", "fastest"),
        ("FILES_PER_RUN", "0"),
        ("FILES_PER_RUN", "many"),
        ("LLM_BACKEND", "oracle"),
        ("LLM1_ENABLED", "perhaps"),
        ("LLM_BASE_URL", "localhost:5066"),
        ("GPU_MACHINES", "ftp://gpu1"),
        ("GPU_MACHINES", "http://gpu1:port"),
        ("GPU_MACHINES", "http://gpu1:5065;protocol=v2"),
        ("GPU_MACHINES", "http://gpu1:5065,http://gpu1:5065/"),
        ("GPU_MACHINES", " , "),
        ("COFI_TIME_ZONE", "Mars/Olympus"),
        ("COFI_TIME_ZONE", "America"),
    ],
)
def test_a_wrong_value_names_its_variable(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=rf"wrong settings: {variable}: "):
        Settings.load()


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_MODE", "fastest")
    monkeypatch.setenv("MIN_CALL_S", "-1")
    with pytest.raises(ConfigError, match=r"GPU_MODE: .*; MIN_CALL_S: "):
        Settings.load()


@pytest.mark.parametrize("variable", ["GPU_MACHINES", "LLM_BASE_URL"])
def test_a_password_in_a_url_is_refused_and_not_repeated(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "http://someone:open-sesame@gpu1:5065")
    with pytest.raises(ConfigError, match="may hold no user and password") as refused:
        Settings.load()
    assert "open-sesame" not in str(refused.value)


def test_no_secret_is_shown_beside_a_wrong_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, secret in SECRETS.items():
        monkeypatch.setenv(variable, secret)
    monkeypatch.setenv("FILES_PER_RUN", "0")
    with pytest.raises(ConfigError) as refused:
        Settings.load()
    assert "open-sesame" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, secret in SECRETS.items():
        monkeypatch.setenv(variable, secret)
    settings = Settings.load()
    assert "open-sesame" in settings.resolved_database_url
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "open-sesame" not in shown


def test_an_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(name.upper(), "")
    settings = Settings.load()
    assert settings.resolved_client_volume == tmp_path / ".cofi" / "client_volume"
    assert settings.resolved_database_url == f"sqlite:///{tmp_path / '.cofi' / 'cofi.db'}"


@pytest.mark.parametrize("settings", [Settings, MediatorSettings])
def test_every_setting_has_a_description(settings: type[Settings] | type[MediatorSettings]) -> None:
    undescribed = [name for name, field in settings.model_fields.items() if not field.description]
    assert settings.model_fields
    assert undescribed == []


def test_the_example_in_the_repository_is_the_generated_one() -> None:
    assert (REPOSITORY / ".env.example").read_text(encoding="utf-8") == env_example(), (
        "run `cofi doctor --env-example > .env.example`"
    )


def test_the_example_lists_every_setting_and_can_be_used_as_it_is(tmp_path: Path) -> None:
    lines = env_example().splitlines()
    for name in [*Settings.model_fields, *MediatorSettings.model_fields]:
        assert any(line.startswith(f"# {name.upper()}=") for line in lines), name
    values = "\n".join(line.removeprefix("# ") for line in lines if line.startswith("# ") and _is_assignment(line))
    (tmp_path / ".env").write_text(values + "\n")
    assert Settings.load() == Settings(_env_file=None)  # type: ignore[call-arg]
    assert MediatorSettings.load() == MediatorSettings(_env_file=None)  # type: ignore[call-arg]


def _is_assignment(line: str) -> bool:
    name, equals, _ = line.removeprefix("# ").partition("=")
    return bool(equals) and name.isupper() and " " not in name


hosts = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{2,5})?", fullmatch=True)
machines = st.tuples(
    st.sampled_from(["http", "https"]),
    hosts,
    st.none() | st.integers(1, 65535),
    st.sampled_from(["v1", "cofi-legacy", "openai"]),
)


@given(st.lists(machines, min_size=1, max_size=6, unique_by=lambda machine: machine[:3]), st.booleans())
def test_machines_are_read_as_they_are_written(named, with_slash: bool) -> None:
    urls = [f"{scheme}://{host}" + (f":{port}" if port else "") for scheme, host, port, _ in named]
    text = " , ".join(
        f"{url}{'/' if with_slash else ''}; protocol={machine[3]}" for url, machine in zip(urls, named, strict=True)
    )
    read = parse_machines(text)
    assert list(read) == urls
    assert [machine.protocol for machine in read] == [machine[3] for machine in named]
    assert parse_machines(urls[0])[0].protocol == "v1"


@given(st.text())
def test_whatever_is_given_for_machines_is_read_or_refused_in_words(text: str) -> None:
    try:
        read = parse_machines(text)
    except ValueError as refused:
        read, reason = (), str(refused)
    else:
        reason = ""
    assert bool(read) != bool(reason)
    assert all(machine.startswith(("http://", "https://")) for machine in read)
