"""How much memory a model of the size of XLM-R base takes: `python -m benchmarks.memory [FOLDER]`
(two minutes, 1.2 GB of disk).

The model has XLM-R base's real shape (vocabulary 250,002) and random weights; it is made on the
spot, and kept if FOLDER is given. Each measurement is a process of its own and one JSON line:
`peak` is its largest resident memory, `before` what it took before anything was loaded (Python,
torch, transformers), `checkpoint` the FP32 weights on disk, all in bytes.

1. run: PTQ INT8 (dynamic) of the model, evaluation of 64 sentences in 3 languages, all tables of
the pages. `ratio` is peak / checkpoint.
2. inspect: a Subject of that run, 128 sentences in 3 languages: weights, activations, depth and the
estimate from gradients. `ratio` is
   (peak - before - checkpoint) / checkpoint: what comes on top of the model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdq.cli.allocator import keep_freed_memory
from sdq.data import registry as tasks
from sdq.models.checkpoint import folder_of
from sdq.settings import ASSETS, ROOT

LANGUAGES = ("en", "ru", "zh")
RECIPE = "ptq-int8-dynamic"


def measure(folder: Path) -> Iterator[dict[str, Any]]:
    """Both measurements of the model in `folder` (made there if there is none), one after the
    other."""
    if not (folder / "config.json").is_file():
        _child("make", folder)
    yield _child("run", folder)
    yield _child("inspect", folder)


def _child(what: str, folder: Path) -> dict[str, Any]:
    env = {
        **os.environ,
        "SDQ_DATA": str(folder / "data"),
        "SDQ_SHIPPED": "no",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", what, str(folder)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{what} failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _resident(key: str) -> int:
    """Bytes of this process: "VmRSS" now, "VmHWM" at most."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)
    )
    return int(line.split()[1]) * 1024


def _make(folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaForSequenceClassification

    labels = tasks.load_task("intent").labels
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=250_002,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        id2label=dict(enumerate(labels)),
        label2id={x: i for i, x in enumerate(labels)},
    )
    XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(ASSETS / "mini" / "encoder").save_pretrained(folder)


@contextmanager
def _few(test: int, languages: tuple[str, ...]) -> Iterator[None]:
    """Inside, the task intent has so many test sentences, in these languages alone."""
    whole = tasks.TASKS["intent"]("intent")
    chosen = {code: [e for e in whole.splits["test"] if e.language == code] for code in languages}
    few = [
        chosen[code][i // len(languages)]
        for i, code in zip(range(test), languages * test, strict=False)
    ]
    small = replace(whole, languages=languages, splits=whole.splits | {"test": few})
    before = tasks.TASKS["intent"]
    tasks.TASKS["intent"] = lambda name: small
    try:
        yield
    finally:
        tasks.TASKS["intent"] = before


def _run(folder: Path) -> None:
    from sdq.pipeline.run import run
    from sdq.recipe import PRESETS
    from sdq.store import Store

    with _few(64, LANGUAGES):
        run(PRESETS[RECIPE], str(folder), "intent", Store.default())


def _inspect(folder: Path) -> None:
    from sdq.analyses.activations import activations
    from sdq.analyses.fisher import estimate
    from sdq.analyses.layerwise_error import layerwise_error
    from sdq.analyses.weights import weights
    from sdq.inspection.subject import Subject
    from sdq.store import Store

    store = Store.default()
    with _few(128, LANGUAGES):
        subject = Subject.of_run(store.finished()[0], store, 128)
        data = subject.data
        for analysis in (
            lambda: weights(subject.student),
            lambda: activations(subject.student, data, subject.languages),
            lambda: layerwise_error(subject.student, None, data, subject.languages),
            lambda: estimate(subject.student, data),
        ):
            analysis()


def _measured(what: str, folder: Path) -> dict[str, Any]:
    import torch
    import transformers

    torch.set_num_threads(1)
    keep_freed_memory()  # as the command line does
    transformers.AutoModelForSequenceClassification  # noqa: B018  # is imported at its first use
    before, checkpoint = (
        _resident("VmRSS"),
        (folder_of(str(folder), "intent") / "model.safetensors").stat().st_size,
    )
    {"run": _run, "inspect": _inspect}[what](folder)
    peak = _resident("VmHWM")
    ratio = peak / checkpoint if what == "run" else (peak - before - checkpoint) / checkpoint
    return {
        "what": what,
        "ratio": round(ratio, 3),
        "peak": peak,
        "before": before,
        "checkpoint": checkpoint,
    }


def main(words: list[str]) -> None:
    """No word or a folder: both measurements. Two words: one child."""
    if len(words) == 2:
        if words[0] == "make":
            _make(Path(words[1]))
            print(json.dumps({"made": words[1]}))
        else:
            print(json.dumps(_measured(words[0], Path(words[1]))))
        return
    with tempfile.TemporaryDirectory() as own:
        folder = Path(words[0] if words else own)
        for row in measure(folder):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
