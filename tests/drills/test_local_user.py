"""Another user of this machine, who runs what he likes on it: the cluster takes nothing from him,
and shows him nothing."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sdq.jobs import cluster

NOBODY = 65534
# all imports first: afterwards the interpreter's own files may be out of reach
ATTACK = f"""
import os, socket, sys
import cloudpickle, distributed.comm.tcp, encodings.idna
from distributed import Client, Security
from distributed.core import rpc
_, address, secret, *keys = sys.argv
own = Security(require_encryption=True, tls_ca_file=keys[0], tls_client_cert=keys[0], \
tls_client_key=keys[1])
for path in keys:
    open(path).close()
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
try:
    open(secret).close()
    print("this user may read the file anyhow")
except OSError:
    pass
port = address.rpartition(":")[2]
for way, security in ((f"tcp://127.0.0.1:{{port}}", None), (f"tls://127.0.0.1:{{port}}", own)):
    try:
        with Client(way, security=security, timeout=2, set_as_default=False) as client:
            print("got in, and read", client.run_on_scheduler(lambda: open(secret).read()))
    except Exception as error:
        print("refused", type(error).__name__)
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """The cluster, with one worker, and its scratch folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "lanes", lambda cores: {"look": (1, 1)})
        scratch = tmp_path_factory.mktemp("cluster") / "dask"
        made = cluster._cluster(scratch)
        yield made, scratch
        made.close()


def test_another_user_gets_no_code_in(running: tuple[Any, Path], tmp_path: Path) -> None:
    """Also not with a certificate that he made himself. The right owner of the file reads it
    through the same door."""
    from distributed import Client

    made, _ = running
    secret = tmp_path / "secret.txt"
    secret.write_text("for my eyes only")
    secret.chmod(0o600)
    with Client(made, set_as_default=False) as client:
        assert (
            client.submit(lambda path: Path(path).read_text(), str(secret)).result(20)
            == "for my eyes only"
        )
    if os.geteuid() != 0:
        print("attack from another account skipped: only root can take another account on")
        pytest.skip("only root can take another account on")
    other = tmp_path / "other"
    cluster.security(other)
    command = [
        sys.executable,
        "-c",
        ATTACK,
        made.scheduler_address,
        str(secret),
        str(other / "certificate.pem"),
        str(other / "key.pem"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["refused", "refused"], (
        done.stdout + done.stderr
    )


def test_nobody_else_may_open_the_folder_of_the_key(running: tuple[Any, Path]) -> None:
    _, scratch = running
    assert stat.S_IMODE(scratch.stat().st_mode) == 0o700
    assert stat.S_IMODE((scratch / "key.pem").stat().st_mode) == 0o600


def test_no_port_of_the_cluster_answers_a_stranger(running: tuple[Any, Path]) -> None:
    """Of scheduler, nanny and worker: each listens on this machine only, and neither talks without
    the key nor shows how it stands."""
    me = psutil.Process()
    ports = [
        c.laddr
        for p in (me, *me.children(recursive=True))
        for c in p.net_connections("inet")
        if c.status == psutil.CONN_LISTEN
    ]
    assert len(ports) >= 5
    for host, port in ports:
        assert host == "127.0.0.1"
        for path in (
            "",
            "health",
            "metrics",
            "info/main/workers.html",
            "json/identity.json",
            "proxy/22/127.0.0.1/",
        ):
            with pytest.raises((urllib.error.HTTPError, OSError)):
                urllib.request.urlopen(f"http://{host}:{port}/{path}", timeout=5)
