"""The process that works the queue off on dask.distributed: `python -m sdq.jobs.cluster`, started
by sdq.jobs.queue when none is alive.

A local cluster has three lanes, each with workers of its own: "quick" (post-training quantization
and inspections, minutes or less), "train", and "look" (typed sentences; this worker keeps the
models it loaded). With SDQ_SCHEDULER=tcp://host:port a remote scheduler is used instead; its
workers need the data folder at the same path (a shared file system), this project installed, and
resources: `dask worker tcp://host:port --nworkers 2 --resources "quick=1 train=1 look=1"`.

No more is handed to dask than there are workers for: who is next is settled when one becomes free
(sdq.jobs.dispatch).

The task key is the run id, so that equal requests are one computation. A task runs `python -m sdq
run` (or `inspect`) as a process of its own: it can be stopped at once, its memory is given back,
and a worker that dies does not take the computation along: its successor adopts it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

from sdq.io.limits import limits
from sdq.jobs.processes import write_pid
from sdq.jobs.worker import LOOK, lanes
from sdq.settings import UserError
from sdq.store import Store

log = logging.getLogger("sdq.jobs.cluster")


def security(folder: Path) -> Any:
    """What only this cluster's own processes know: a key and its certificate, made anew in
    `folder`, which nobody else may open.

    Scheduler, workers and clients all must show it (TLS both ways). UserError where none can be
    made.
    """
    from distributed import Security

    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if shutil.which("openssl") is None:
        try:
            return Security.temporary()
        except ImportError as error:
            raise UserError(
                "the cluster must have a key of its own, neither openssl nor the package "
                "cryptography is here; install one of them"
            ) from error
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "365",
        "-subj",
        "/CN=sdq",
    ]
    done = subprocess.run(
        [*made, "-keyout", str(key), "-out", str(certificate)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        raise UserError(
            "the cluster must have a key of its own, openssl made none "
            f"({(done.stderr.strip().splitlines() or ['no word'])[-1][:160]}); mend openssl"
        )
    roles = {
        f"tls_{role}_{what}": str(path)
        for role in ("client", "scheduler", "worker")
        for what, path in (("key", key), ("cert", certificate))
    }
    return Security(
        require_encryption=True,
        tls_ca_file=str(certificate),
        tls_min_version=ssl.TLSVersion.TLSv1_3,
        **roles,
    )


def _cluster(scratch: Path) -> Any:
    """A local cluster with the lanes as resources. It listens on this machine only, to those who
    have its key, and writes to `scratch` only."""
    import dask
    from distributed import Nanny, Scheduler, SpecCluster

    secret = security(scratch)
    # the status pages ask nobody who they are
    dask.config.set({"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []})
    here = {
        "host": "127.0.0.1",
        "protocol": "tls://",
        "security": secret,
        "dashboard": False,
        "dashboard_address": "127.0.0.1:0",
    }
    workers = {}
    for lane, (count, _) in lanes(os.cpu_count() or 1).items():
        for i in range(count):
            workers[f"{lane}-{i}"] = {
                "cls": Nanny,
                "options": {
                    **here,
                    "nthreads": 1,
                    "resources": {lane: 1},
                    "memory_limit": 0,
                    "local_directory": str(scratch),
                },
            }
    scheduler = {"cls": Scheduler, "options": {**here, "port": 0, "allowed_failures": 10}}
    return SpecCluster(
        workers=workers, scheduler=scheduler, security=secret, silence_logs=logging.ERROR
    )


def dispatch(store: Store) -> None:
    """Work the queue off until it has been empty for SDQ_CLUSTER_IDLE seconds."""
    from distributed import Client

    from sdq.jobs.dispatch import Dispatcher

    idle, address = limits().cluster_idle, os.environ.get("SDQ_SCHEDULER")
    cluster = None if address else _cluster(store.folder.parent / "dask")
    busy = time.monotonic()
    with Client(address or cluster, set_as_default=False) as client:  # the cluster brings its key
        dispatcher = Dispatcher(store, client, here=cluster is not None)
        while time.monotonic() - busy < idle:
            wanted = dispatcher.look()
            if wanted:
                busy = time.monotonic()
            time.sleep(LOOK if wanted else 2 * LOOK)
    if cluster is not None:
        cluster.close()


def main() -> None:
    """Take the lock (or leave, if another process has it), say who we are, and work."""
    logging.basicConfig(format="%(asctime)s %(message)s")
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "error")  # of the workers
    logging.getLogger("distributed").setLevel(logging.ERROR)
    store = Store.default()
    data = store.folder.parent
    with (data / "cluster.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        write_pid(data / "cluster.pid", os.getpid())
        try:
            dispatch(store)
        finally:
            (data / "cluster.pid").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
