"""Private servers for tests and benchmarks: started on a temporary folder, gone when their owner is.

What belongs here: context managers over real server processes, usable without pytest. What does not: fixtures.
Decision: a shell stands between us and the server and waits for the end of a pipe that we hold. When this process
ends, however it ends, the pipe closes, the server is stopped, and its folder is removed.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pymysql
from sqlalchemy import make_url

_START_WITHIN_S = 60.0
_STOP_WITHIN_S = 30.0
_PASSWORD = "only-for-tests"

_GUARD = """
"$@" &
server=$!
echo $server > "$FOLDER/server.pid"
cat > /dev/null
kill -TERM $server 2> /dev/null
wait $server
rm -rf "$FOLDER"
"""
_FAST_OPTIONS = (
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-fast-shutdown=2",
)


class ServiceMissing(Exception):
    """No binary of the server is installed."""


def server_binary() -> Path | None:
    """The MariaDB or MySQL server of this machine, or None."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/usr/libexec"])
    for name in ("mariadbd", "mysqld"):
        found = shutil.which(name, path=search)
        if found is not None:
            return Path(found)
    return None


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def private_mariadb(*, durable: bool = False, options: Sequence[str] = ()) -> Iterator[str]:
    """Runs a server of its own and yields the SQLAlchemy URL of its empty database `cofi`.

    The user may create further databases. `durable` keeps the server's defaults for flushing to disk, as a
    benchmark needs; without it, speed counts. `options` go to the server as they are.
    Raises ServiceMissing without a server binary, RuntimeError with the server's log if it does not come up.
    """
    binary = server_binary()
    if binary is None:
        raise ServiceMissing("neither mariadbd nor mysqld is installed (Debian: apt-get install mariadb-server)")
    folder = Path(tempfile.mkdtemp(prefix="cofi-db-"))
    try:
        _create_data_folder(binary, folder)
        port = free_port()
        guard = _start(binary, folder, port, [*(() if durable else _FAST_OPTIONS), *options])
        try:
            _wait_until_ready(guard, folder, port)
            yield f"mysql+pymysql://cofi:{_PASSWORD}@127.0.0.1:{port}/cofi"
        finally:
            _stop(guard)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def empty_schema(server_url: str) -> Iterator[str]:
    """URL of a database of its own on that server, dropped afterwards."""
    server = make_url(server_url)
    name = f"test_{uuid4().hex}"
    with pymysql.connect(
        host=server.host or "", port=server.port or 0, user=server.username, password=server.password or ""
    ) as connection:
        connection.cursor().execute(f"CREATE DATABASE {name}")
        yield server.set(database=name).render_as_string(hide_password=False)
        connection.ping()
        connection.cursor().execute(f"DROP DATABASE {name}")


def _create_data_folder(binary: Path, folder: Path) -> None:
    (folder / "tmp").mkdir()
    (folder / "init.sql").write_text(
        f"CREATE USER IF NOT EXISTS 'cofi'@'%' IDENTIFIED BY '{_PASSWORD}';\n"
        f"CREATE USER IF NOT EXISTS 'cofi'@'localhost' IDENTIFIED BY '{_PASSWORD}';\n"
        "GRANT ALL ON *.* TO 'cofi'@'%';\nGRANT ALL ON *.* TO 'cofi'@'localhost';\n"
        "CREATE DATABASE IF NOT EXISTS cofi;\n"
    )
    installer = shutil.which("mariadb-install-db") or shutil.which("mysql_install_db")
    if _is_mariadb(binary) and installer:
        command = [
            installer,
            "--no-defaults",
            f"--datadir={folder / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *_as_root(),
        ]
    else:
        command = [str(binary), "--no-defaults", "--initialize-insecure", f"--datadir={folder / 'data'}", *_as_root()]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if finished.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {finished.stdout[-2000:]}{finished.stderr[-2000:]}")


def _start(binary: Path, folder: Path, port: int, options: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [
        str(binary),
        "--no-defaults",
        f"--datadir={folder / 'data'}",
        f"--tmpdir={folder / 'tmp'}",
        f"--socket={folder / 'server.sock'}",
        f"--pid-file={folder / 'mysqld.pid'}",
        f"--log-error={folder / 'error.log'}",
        f"--init-file={folder / 'init.sql'}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--skip-log-bin",
        "--innodb-buffer-pool-size=256M",
        "--max-connections=200",
        *_as_root(),
        *options,
    ]
    return subprocess.Popen(
        ["sh", "-c", _GUARD, "guard", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "FOLDER": str(folder)},
        # Ctrl-C in a terminal goes to us alone; the server then ends in order.
        start_new_session=True,
    )


def _wait_until_ready(guard: subprocess.Popen[bytes], folder: Path, port: int) -> None:
    give_up_at = time.monotonic() + _START_WITHIN_S
    while True:
        try:
            pymysql.connect(host="127.0.0.1", port=port, user="cofi", password=_PASSWORD, database="cofi").close()
            return
        except pymysql.MySQLError as error:
            if guard.poll() is not None or time.monotonic() > give_up_at:
                log = folder / "error.log"
                tail = log.read_text(errors="replace")[-4000:] if log.exists() else ""
                raise RuntimeError(f"the database server did not come up ({error}):\n{tail}") from error
        time.sleep(0.05)


def _stop(guard: subprocess.Popen[bytes]) -> None:
    assert guard.stdin is not None
    guard.stdin.close()
    try:
        guard.wait(timeout=_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(guard.pid, 9)
        guard.wait()


def _is_mariadb(binary: Path) -> bool:
    version = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=True).stdout
    return "mariadb" in version.lower()


def _as_root() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []
