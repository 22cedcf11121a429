"""A private server ends with its owner, however that ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from services import ServiceMissing, server_binary

OWNER = """
import sys
sys.path.insert(0, sys.argv[1])
from services import private_mariadb
with private_mariadb() as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_private_server_and_its_folder_are_gone_after_their_owner(end: signal.Signals, tmp_path: Path) -> None:
    if server_binary() is None:
        if os.environ.get("COFI_REQUIRE_SERVICES") == "1":
            raise ServiceMissing
        pytest.skip("neither mariadbd nor mysqld is installed")
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(Path(__file__).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert owner.stdout is not None
    assert owner.stdin is not None
    assert owner.stdout.readline().startswith(b"mysql+pymysql://")
    (folder,) = tmp_path.glob("cofi-db-*")
    server = int((folder / "server.pid").read_text())
    assert is_running(server)
    owner.send_signal(end)
    owner.wait(timeout=30)
    give_up_at = time.monotonic() + 30
    while (is_running(server) or folder.exists()) and time.monotonic() < give_up_at:
        time.sleep(0.05)
    assert not is_running(server)
    assert not folder.exists()
    owner.stdin.close()
    owner.stdout.close()
