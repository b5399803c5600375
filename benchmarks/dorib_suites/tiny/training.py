"""What all trainings share: one resumable loop with a one-cycle rate and averaged weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dorib.errors import DoribError
from dorib.reporting import Reporter

Loss = Callable[[int, torch.Generator], Tensor]
"""The loss of one step, from its number and its own generator."""
Backward = Callable[[int, torch.Generator], float]
"""Adds one step's gradients to the parameters and gives its loss."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    steps: int
    learning_rate: float
    warm_up: float = 0.1
    """Share of the steps over which the rate rises; it then falls to a hundredth as a cosine."""
    average_decay: float = 0.999
    weight_decay: float = 0.01
    checkpoint_every: int = 250

    def shortened(self, divisor: int) -> Schedule:
        """The same with a `divisor`-th of the steps, one at least."""
        return replace(self, steps=max(1, self.steps // divisor))


def backward_of(loss: Loss) -> Backward:
    """The gradients of a loss, in one piece."""

    def backward(step: int, generator: torch.Generator) -> float:
        value = loss(step, generator)
        value.backward()  # type: ignore[no-untyped-call]
        return value.item()

    return backward


def train(
    name: str,
    module: nn.Module,
    backward: Backward,
    schedule: Schedule,
    folder: Path,
    seed: int,
    reporter: Reporter,
) -> None:
    """Train `module` in place and leave its averaged weights in it.

    Stopped anywhere, it goes on from the last checkpoint in `folder`; step n draws from a
    generator of its own, so that an interrupted training sees the same data.

    Raises:
        DoribError: `folder` holds the finished training with another number of steps.
    """
    finished = folder / f"{name}.safetensors"
    if finished.exists():
        _check_length(finished, schedule)
        module.load_state_dict(load_file(finished))
        return
    folder.mkdir(parents=True, exist_ok=True)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters,
        schedule.learning_rate,
        weight_decay=schedule.weight_decay,
        betas=(0.9, 0.99),
        fused=True,
    )
    average = {k: v.detach().clone() for k, v in module.state_dict().items()}
    checkpoint = folder / f"{name}.checkpoint.safetensors"
    first = _resume(checkpoint, module, average, optimizer, parameters)
    device = parameters[0].device
    running = 0.0
    module.train()
    with reporter.verb("train", name, schedule.steps - first) as advance:
        for step in range(first, schedule.steps):
            generator = torch.Generator("cpu").manual_seed(seed * 1_000_003 + step)
            for group in optimizer.param_groups:
                group["lr"] = _rate(step, schedule)
            optimizer.zero_grad(set_to_none=True)
            value = backward(step, generator)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            _update_average(average, module, step, schedule.average_decay)
            running = value if step == first else 0.98 * running + 0.02 * value
            advance(1)
            if (step + 1) % schedule.checkpoint_every == 0 or step + 1 == schedule.steps:
                _save(checkpoint, step + 1, module, average, optimizer, parameters)
                reporter.note(f"{name}: step {step + 1}/{schedule.steps}, loss {running:.4f}")
    module.load_state_dict({k: v.to(device) for k, v in average.items()})
    module.eval()
    outcome = {"steps": str(schedule.steps), "loss": f"{running:.4f}"}
    save_file({k: v.contiguous() for k, v in module.state_dict().items()}, finished, outcome)
    checkpoint.unlink(missing_ok=True)


def outcomes(folder: Path) -> dict[str, dict[str, str]]:
    """Steps and last loss (a running mean) of each training that is finished in `folder`."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as weights:
            found[path.stem] = weights.metadata() or {}
    return {name: outcome for name, outcome in found.items() if "loss" in outcome}


def _check_length(finished: Path, schedule: Schedule) -> None:
    with safe_open(finished, "pt") as weights:
        steps = int((weights.metadata() or {}).get("steps", schedule.steps))
    if steps != schedule.steps:
        raise DoribError(
            f"{finished} is a training of {steps} steps, where {schedule.steps} are asked for; "
            "remove it, or give another --work"
        )


def _rate(step: int, schedule: Schedule) -> float:
    rise = max(1, int(schedule.warm_up * schedule.steps))
    if step < rise:
        return schedule.learning_rate * (step + 1) / rise
    share = (step - rise) / max(1, schedule.steps - rise)
    cosine = 0.5 * (1 + torch.cos(torch.tensor(share * torch.pi)).item())
    return schedule.learning_rate * (0.01 + 0.99 * cosine)


@torch.no_grad()
def _update_average(average: dict[str, Tensor], module: nn.Module, step: int, decay: float) -> None:
    # Early on the average follows closely, so that it does not drag the initial weights along.
    keep = min(decay, (step + 1) / (step + 10))
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - keep)
        else:
            average[name].copy_(value)


def _save(
    path: Path,
    step: int,
    module: nn.Module,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
) -> None:
    tensors = {"step": torch.tensor(step)}
    tensors |= {f"model.{k}": v.contiguous() for k, v in module.state_dict().items()}
    tensors |= {f"average.{k}": v.contiguous() for k, v in average.items()}
    for number, parameter in enumerate(parameters):
        state = optimizer.state[parameter]
        tensors |= {f"optimizer.{number}.{key}": value for key, value in state.items()}
    temporary = path.with_suffix(".writing")
    save_file(tensors, temporary)
    temporary.replace(path)


def _resume(
    path: Path,
    module: nn.Module,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
) -> int:
    if not path.exists():
        return 0
    tensors = load_file(path)
    module.load_state_dict(_under(tensors, "model."))
    for name, value in _under(tensors, "average.").items():
        average[name].copy_(value)
    for number, parameter in enumerate(parameters):
        optimizer.state[parameter] = _under(tensors, f"optimizer.{number}.")
    return int(tensors["step"])


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
