"""The state of an interrupted training: one safetensors file, from which it goes on to the same end."""

from __future__ import annotations

import errno
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


@dataclass
class History:
    """What training did: one row of loss terms per logged step, dev scores, which step's weights were kept, and on how many sentences dev was scored."""

    steps: list[dict[str, float]] = field(default_factory=list)
    checks: list[dict[str, float]] = field(default_factory=list)
    kept: int = 0
    dev_sentences: int = 0  # 0: not said


def moving(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: parameters with gradients, and buffers."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad} | dict(model.named_buffers())


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """A safetensors file, at once or not at all. OSError if the disk refuses."""
    part = path.with_suffix(".part")
    try:
        save_file({k: v.contiguous() for k, v in tensors.items()}, part, metadata=metadata)
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error)) from error
    part.replace(path)


def save(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, history: History, best: float, best_state: dict[str, Tensor], bad: int, step: int
) -> None:
    """Write everything that the next step depends on, the random state included; at once or not at all."""
    tensors = {f"model/{k}": v.detach() for k, v in moving(model).items()} | {f"best/{k}": v for k, v in best_state.items()}
    for name, parameter in model.named_parameters():
        tensors |= {f"optimizer/{name}/{k}": v for k, v in optimizer.state.get(parameter, {}).items()}
    tensors["random"] = torch.get_rng_state()
    told = json.dumps({"history": asdict(history), "best": best, "bad": bad, "step": step})
    write(path, tensors, {"told": told})


def resume_(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[History, float, dict[str, Tensor], int, int]:
    """Put the saved state back; returns (history, best, best_state, bad, step)."""
    with safe_open(path, "pt") as file:
        told = json.loads(file.metadata()["told"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    model.load_state_dict({k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}, strict=False)
    for name, parameter in model.named_parameters():
        start = f"optimizer/{name}/"
        state = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
        if state:
            optimizer.state[parameter] = state
    torch.set_rng_state(tensors["random"])
    best_state = {k.removeprefix("best/"): v for k, v in tensors.items() if k.startswith("best/")}
    return History(**told["history"]), told["best"], best_state, told["bad"], told["step"]
