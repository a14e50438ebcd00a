"""The state of an interrupted training: one safetensors file, from which it goes on to the same
end.

The file says a SHA-256 of what it holds, so that a flipped bit is noticed and does not become a
number.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sdq.io import files


class Unusable(ValueError):
    """A saved state from which this training cannot go on."""


@dataclass
class History:
    """What training did: one row of loss terms per logged step, dev scores, which step's weights
    were kept, and on how many sentences dev was scored."""

    steps: list[dict[str, float]] = field(default_factory=list)
    checks: list[dict[str, float]] = field(default_factory=list)
    kept: int = 0
    dev_sentences: int = 0  # 0: not said
    unfinished: bool = False  # dev still rose when the rate had to decay


def moving(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: parameters with gradients, and buffers."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad} | dict(
        model.named_buffers()
    )


@dataclass
class State:
    """Where a training is: its history, the best dev score so far and its weights, how many looks
    at dev in a row were no better (`bad`), the last step, and the one after which the learning rate
    decays (0: not known, see `sdq.train.schedule`)."""

    history: History = field(default_factory=History)
    best: float = -math.inf
    best_state: dict[str, Tensor] = field(default_factory=dict)
    bad: int = 0
    step: int = 0
    decay_from: int = 0

    def look(self, score: float, model: nn.Module) -> None:
        """Note a look at dev; keep the weights if none was better."""
        self.history.checks.append({"step": float(self.step), "dev": score})
        self.bad = 0 if score > self.best else self.bad + 1
        if score >= self.best:
            self.best, self.history.kept = score, self.step
            self.best_state = {k: v.detach().clone() for k, v in moving(model).items()}


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """A safetensors file, at once or not at all. OSError if the disk refuses.

    path: of the file
    tensors: by name
    metadata: text by name
    """
    with files.replacing(path) as part:
        try:
            save_file({k: v.contiguous() for k, v in tensors.items()}, part, metadata=metadata)
        except SafetensorError as error:
            raise OSError(errno.EIO, str(error)) from error


def save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: State) -> None:
    """Write everything that the next step depends on, the random state included; at once or not at
    all.

    path: of the checkpoint
    model, optimizer: as they are after the step
    state: of the training
    """
    tensors = {f"model/{k}": v.detach() for k, v in moving(model).items()} | {
        f"best/{k}": v for k, v in state.best_state.items()
    }
    for name, parameter in model.named_parameters():
        tensors |= {
            f"optimizer/{name}/{k}": v for k, v in optimizer.state.get(parameter, {}).items()
        }
    tensors["random"] = torch.get_rng_state()
    told = json.dumps(
        {
            "history": asdict(state.history),
            "best": state.best,
            "bad": state.bad,
            "step": state.step,
            "decay_from": state.decay_from,
        }
    )
    write(path, tensors, {"told": told, "sha256": _sum(tensors, told)})


def _sum(tensors: Mapping[str, Tensor], told: str) -> str:
    """SHA-256 over names, kinds, shapes and bytes of tensors, and a text."""
    digest = hashlib.sha256(told.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def resume_(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> State:
    """Put the saved weights and random state back; returns where the training was. Unusable, with
    nothing changed, for a file that is damaged or of another training than this one.

    path: of the checkpoint
    model, optimizer: are written into
    steps: of the training
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if metadata.get("sha256") != _sum(tensors, metadata["told"]):
            raise Unusable("its SHA-256 is another one")
        told = json.loads(metadata["told"])
        state = State(
            history=History(**told["history"]),
            best=float(told["best"]),
            bad=int(told["bad"]),
            step=int(told["step"]),
            decay_from=int(told.get("decay_from", 0)),
        )
        random = tensors.pop("random")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise Unusable(str(error) or type(error).__name__) from error
    saved = {part: _under(f"{part}/", tensors) for part in ("model", "best", "optimizer")}
    here = {name: tensor.shape for name, tensor in moving(model).items()}
    for part in ("model", "best"):
        if {name: tensor.shape for name, tensor in saved[part].items()} != here:
            raise Unusable("its weights are not those of this model")
    if not 0 < state.step <= steps:
        raise Unusable(f"it is at step {state.step} of {steps}")
    model.load_state_dict(saved["model"], strict=False)
    for name, parameter in model.named_parameters():
        if moments := _under(f"{name}/", saved["optimizer"]):
            optimizer.state[parameter] = moments
    torch.set_rng_state(random)
    state.best_state = saved["best"]
    return state


def _under(start: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that beginning."""
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }
