"""What docs/extending.md says is true: one file and one line make a stage."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from machines import running_stub

REPOSITORY = Path(__file__).parent.parent
PAGE = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
TWO_CALLS = Path(__file__).parent / "audit_two_calls.py"


def code_block(heading: str) -> str:
    """The first block of code under a heading of the page."""
    section = PAGE.split(f"## {heading}\n", 1)[1]
    found = re.search(r"```\w+\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found.group(1)


def file_named_in(heading: str) -> str:
    section = PAGE.split(f"## {heading}\n", 1)[1]
    found = re.search(r"`(cofi_assets/\S+\.py)`", section)
    assert found is not None
    return found.group(1)


@pytest.fixture
def extended(tmp_path: Path) -> Path:
    """A folder with a copy of `cofi_assets` to which exactly what the page says was added."""
    folder = tmp_path / "extended"
    shutil.copytree(REPOSITORY / "cofi_assets", folder / "cofi_assets", ignore=shutil.ignore_patterns("__pycache__"))
    new_file = folder / file_named_in("1. One file")
    assert not new_file.exists()
    new_file.write_text(code_block("1. One file"), encoding="utf-8")
    table = folder / file_named_in("2. One line")
    line = code_block("2. One line")
    assert line.count("\n") == 1
    before = '    "llm1_conversations",\n'
    text = table.read_text(encoding="utf-8")
    assert text.count(before) == 1
    table.write_text(text.replace(before, f"    {line}{before}"), encoding="utf-8")
    return folder


@pytest.mark.slow
def test_one_file_and_one_line_make_a_stage(extended: Path, tmp_path: Path) -> None:
    with running_stub() as stub:
        finished = subprocess.run(
            [sys.executable, str(TWO_CALLS), "talk_share", str(tmp_path / "seen.json")],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(extended), str(REPOSITORY)]),
                "COFI_HOME": str(tmp_path / "home"),
                "GPU_MACHINES": stub.url,
                "LLM_BACKEND": "mediator",
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert finished.returncode == 0, finished.stderr[-4000:]
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert Path(seen["package"]).is_relative_to(extended), "the copy was not the one that ran"
    assert seen["success"]
    assert seen["after"] == ["transcripts"]
    measured = {"speakers": 2, "longest_speaker_share": 0.5}
    assert seen["rows"] == [["done", measured], ["done", measured]]
    assert seen["materialized"] == seen["keys"]
    assert sorted(shown["file"] for shown in seen["shown"]) == ["one.wav", "two.wav"]
    assert all(shown.items() >= measured.items() for shown in seen["shown"])
    assert seen["log"] > 0
    assert seen["batch"] == "Completed"
