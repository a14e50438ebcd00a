"""Tiny random encoders of every supported family, padded batches for them, and a data folder of the
test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sdq.data.registry import load_task
from sdq.data.task import Task
from sdq.settings import ASSETS
from tests.helpers.architectures import ARCHITECTURES, VOCABULARY, config_of

torch.set_num_threads(1)


@pytest.fixture(params=["bert", "minilm", "roberta", "xlmr", "distilbert"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    """For the contract that every family keeps (models/test_families.py); other tests take
    `family`, which is shorter."""
    return str(request.param)


@pytest.fixture(params=["sequence", "token"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tiny() -> Callable[..., nn.Module]:
    """tiny(family, kind, labels=3, seed=0) -> a random model in eval mode whose biases and norms
    are random too."""
    import transformers

    def build(
        family: str = "xlmr", kind: str = "sequence", labels: int = 3, seed: int = 0
    ) -> nn.Module:
        config, name = config_of(family)
        config.num_labels = labels
        end = {"sequence": "ForSequenceClassification", "token": "ForTokenClassification"}[kind]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model: nn.Module = getattr(transformers, name + end)(config)
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.data += 0.1 * torch.randn_like(parameter)
        return model.eval()

    return build


@pytest.fixture
def eager(tiny: Callable[..., Any]) -> Callable[..., nn.Module]:
    """eager(...) -> tiny(...), its attention computed step by step, as sdq loads models."""

    def build(*args: Any, **kwargs: Any) -> nn.Module:
        model = tiny(*args, **kwargs)
        model.set_attn_implementation("eager")
        return model  # type: ignore[no-any-return]

    return build


@pytest.fixture
def padded() -> Callable[..., dict[str, Tensor]]:
    """padded(model, lengths, width=None, fill=None, seed=0) -> input ids and mask; `fill` is what
    stands in the padding."""

    def build(
        model: Any,
        lengths: tuple[int, ...] = (9, 4, 6, 1),
        width: int | None = None,
        fill: int | None = None,
        seed: int = 0,
    ) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        width = width or max(lengths)
        ids = torch.full((len(lengths), width), model.config.pad_token_id if fill is None else fill)
        mask = torch.zeros(len(lengths), width, dtype=torch.long)
        for row, n in enumerate(lengths):
            ids[row, :n] = torch.randint(5, VOCABULARY, (n,), generator=generator)
            mask[row, :n] = 1
        return {"input_ids": ids, "attention_mask": mask}

    return build


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own, without the shipped runs."""
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SDQ_SHIPPED", "no")
    return tmp_path / "data"


@pytest.fixture(scope="module")
def embedded_tasks() -> dict[str, Task]:
    """The embedded tasks as they are."""
    return {name: load_task(name) for name in ("intent", "slots")}


@pytest.fixture(scope="module")
def tiny_model(embedded_tasks: dict[str, Task], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random XLM-R of two narrow blocks with the embedded tokenizer and one output per intent."""
    import transformers

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    labels = len(embedded_tasks["intent"].labels)
    config = transformers.XLMRobertaConfig(
        vocab_size=16_000,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=32,
        max_position_embeddings=130,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        num_labels=labels,
        initializer_range=0.3,
    )
    transformers.XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(ASSETS / "mini" / "encoder").save_pretrained(folder)
    return folder
