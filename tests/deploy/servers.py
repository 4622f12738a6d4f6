"""PostgreSQL and Redis of the system (Debian's packages), with TLS and passwords, in a test's own folders and on free ports."""

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import asyncpg
from stylobate.testing.authority import Authority
from stylobate.testing.ports import free_ports
from stylobate.testing.until import wait_until

PASSWORD = "pass word/äöü@:"  # what a URL must escape
WITHIN = timedelta(seconds=30)
NOBODY = 65534


def postgres_programs() -> Path | None:
    """Return the folder of the system's PostgreSQL programs, the newest; None when there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    return found[-1] if found else None


def redis_program() -> str | None:
    """Return the system's Redis or Valkey server; None when there is none."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


@contextmanager
def postgres(programs: Path, authority: Authority, *, is_plain_too: bool = False) -> Iterator[str]:
    """Run a server that takes a password over TLS only; give the URL of its owner.

    :param is_plain_too: whether it takes the password without TLS as well.

    Its folder is none of pytest's, which closes them to other users whenever a run begins.
    """
    with TemporaryDirectory(prefix="stylobate-postgres-") as folder:
        yield from _postgres(Path(folder), programs, authority, "host" if is_plain_too else "hostssl")


def _postgres(folder: Path, programs: Path, authority: Authority, taken: str) -> Iterator[str]:
    certificate, key = authority.issue("postgres")
    for file in (certificate, key):
        shutil.copy(file, folder / file.name)
    (folder / "password").write_text(PASSWORD, encoding="utf-8")
    as_other = _unprivileged(folder)
    data, port = folder / "data", free_ports(1)
    (folder / key.name).chmod(0o600)
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}

    def run(*command: str) -> None:
        subprocess.run([*as_other, *command], check=True, capture_output=True, env=environ, cwd=folder)

    run(str(programs / "initdb"), "-D", str(data), "-U", "owner", "--auth=scram-sha-256", "--pwfile=password", "--no-sync")
    (data / "pg_hba.conf").write_text(f"{taken} all all 127.0.0.1/32 scram-sha-256\n")
    options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "ssl": "on"}
    options |= {"ssl_cert_file": folder / certificate.name, "ssl_key_file": folder / key.name}
    arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*as_other, str(programs / "postgres"), "-D", str(data), *arguments], stdout=log, stderr=log, env=environ, cwd=folder
        )
    try:
        url = f"postgresql://owner:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres?sslmode=verify-full"
        url += f"&sslrootcert={quote(str(authority.file), safe='')}"
        assert wait_until(lambda: asyncio.run(_answers(url)), WITHIN), (folder / "log").read_text()
        yield url
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def redis(folder: Path, program: str, authority: Authority) -> Iterator[str]:
    """Run a server that takes TLS with a password only; give its URL."""
    folder.mkdir()
    certificate, key = authority.issue("redis")
    port = free_ports(1)
    options = {"port": "0", "tls-port": str(port), "bind": "127.0.0.1", "requirepass": PASSWORD, "save": "", "dir": str(folder)}
    options |= {"tls-cert-file": str(certificate), "tls-key-file": str(key), "tls-ca-cert-file": str(authority.file)}
    options |= {"tls-auth-clients": "no"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, *(part for name, value in options.items() for part in (f"--{name}", value))], stdout=log, stderr=log
        )
    try:
        assert wait_until(lambda: _listens(port), WITHIN), (folder / "log").read_text()
        yield f"rediss://:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/0?ssl_ca_certs={quote(str(authority.file), safe='')}"
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def plain_redis(folder: Path, program: str) -> Iterator[int]:
    """Run a server that takes anybody and speaks no TLS; give its port."""
    folder.mkdir()
    port = free_ports(1)
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        assert wait_until(lambda: _listens(port), WITHIN), (folder / "log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _unprivileged(folder: Path) -> list[str]:
    """Return what runs a command as another user where we are root, which PostgreSQL refuses to run as."""
    if os.getuid() != 0:
        return []
    for path in (folder, *folder.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    for parent in folder.parents:
        if parent.stat().st_uid == 0 and str(parent) not in {"/", "/tmp"}:
            parent.chmod(parent.stat().st_mode | 0o011)
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def _answers(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url, timeout=5)
    except (OSError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True
