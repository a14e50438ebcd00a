"""Which run a request is: whoever computes and whoever asks say the same id, and models that are read in another way than before have another one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from sdq.checkpoint import fingerprint, folder_of
from sdq.data.tasks import fingerprint as task_fingerprint
from sdq.identity import identify
from sdq.recipe import PRESETS
from sdq.run import run
from sdq.settings import ASSETS
from sdq.store import run_id


class Kept:
    """A store in which every run is finished: it tells which one was looked for."""

    folder = Path("nowhere")

    def done(self, run: str, weights: bool = False) -> bool:
        self.asked = run
        return True

    def report(self, run: str) -> Any:
        return run


@pytest.mark.parametrize("own", [False, True])
def test_both_say_the_same_id_and_only_the_embedded_model_keeps_the_earlier_one(tmp_path: Path, own: bool) -> None:
    model = "mini"
    if own:
        model = str(shutil.copytree(ASSETS / "mini" / "intent", tmp_path / "mine"))
    earlier = run_id(PRESETS["ptq-w3a8"], fingerprint(folder_of(model, "intent")), task_fingerprint("intent"))
    store: Any = Kept()
    assert run(PRESETS["ptq-w3a8"], model, "intent", store) == store.asked == identify(PRESETS["ptq-w3a8"], model, "intent")
    assert (store.asked == earlier) is not own
