"""The house keeps its rules: which layer may import which, and who may touch the outside world."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
LAYERS = ("cofi_resources", "cofi_assets", "cofi_sensors", "cofi_api", "cofi_mediator")
ALLOWED = {
    "cofi_resources": {"cofi_resources"},
    "cofi_assets": {"cofi_resources", "cofi_assets"},
    "cofi_sensors": {"cofi_resources", "cofi_assets", "cofi_sensors"},
    "cofi_api": {"cofi_resources", "cofi_api"},
    "cofi_mediator": {"cofi_mediator"},
}
COMPOSITION_ROOT = "cofi_assets/definitions.py"
SHARED_WITH_MEDIATORS = "cofi_resources.mediators.protocol"


def sources(layer: str) -> list[Path]:
    return sorted((REPOSITORY / layer).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def files_importing(package: str, layers: tuple[str, ...] = LAYERS) -> set[str]:
    return {
        name_of(path)
        for layer in layers
        for path in sources(layer)
        if any(module.split(".")[0] == package for module in imported_modules(path))
    }


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_one_way(layer: str) -> None:
    faults = [
        f"{name_of(path)} imports {module}"
        for path in sources(layer)
        for module in imported_modules(path)
        if (top := module.split(".")[0]) in LAYERS
        and top not in ALLOWED[layer]
        and not (name_of(path) == COMPOSITION_ROOT and top == "cofi_sensors")
        and not (layer == "cofi_mediator" and module == SHARED_WITH_MEDIATORS)
    ]
    assert sources(layer), f"{layer} has no sources: the test looks in the wrong place"
    assert faults == []


def test_only_the_database_package_imports_sqlalchemy() -> None:
    assert {name.split("/")[1] for name in files_importing("sqlalchemy")} == {"database"}


def test_only_the_outward_packages_speak_http() -> None:
    allowed = ("cofi_resources/mediators/", "cofi_resources/llm/", "cofi_resources/stt_service", "cofi_api/dev.py")
    speakers = files_importing("httpx") | files_importing("aiohttp")
    assert speakers
    assert [name for name in speakers if not name.startswith(allowed)] == []


def test_engine_and_stages_hold_no_sql_and_no_url() -> None:
    suspicious = ("SELECT ", "INSERT ", "UPDATE ", "DELETE FROM", "http://", "https://")
    texts = {
        name_of(path): path.read_text(encoding="utf-8")
        for path in sources("cofi_assets")
        if path.parent.name in ("engine", "stages")
    }
    assert texts
    assert [(name, mark) for name, text in texts.items() for mark in suspicious if mark in text] == []


def test_the_engine_knows_no_stage_by_name() -> None:
    from cofi_assets.stages import STAGES

    names = {stage.name for stage in STAGES}
    found = [
        (path.name, node.value)
        for path in sources("cofi_assets")
        if path.parent.name == "engine"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert found == []


def test_the_environment_is_read_in_settings_alone() -> None:
    readers = {
        name_of(path)
        for layer in LAYERS
        for path in sources(layer)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and node.attr in ("environ", "getenv")
    }
    assert {Path(name).name for name in readers} <= {"settings.py"}


def test_modules_say_what_belongs_there() -> None:
    silent = [
        name_of(path)
        for layer in LAYERS
        for path in sources(layer)
        if path.read_text(encoding="utf-8").strip() and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []
