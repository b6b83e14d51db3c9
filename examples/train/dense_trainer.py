"""One training run of a detector or segmenter: batches, moving average, optimizers, checkpoint."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundled_backbone import bundled_backbone
from numpy.typing import NDArray
from pointwise import replace_pointwise
from schedule import Pace, set_rates
from torch import Tensor, nn
from trainer import Ema, build_optimizers, on_cpu, plain_options, write_checkpoint
from workers import Worker, run_workers

from edgevit.errors import EdgeVitError
from edgevit.export.checkpoint.weights import load_strictly, read_checkpoint

CHECKPOINT = "checkpoint.pth"
REPORT_STEPS = 10
SAVE_STEPS = 100
MEAN = np.array((0.485, 0.456, 0.406), np.float32)  # RGB, as the backbones were trained with
STD = np.array((0.229, 0.224, 0.225), np.float32)

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Recipe:
    """What distinguishes one data set and task from another.

    Args:
        name: name of the slim weights file, `NAME.pth`.
        model: puts neck and head on a backbone; parameters outside `backbone` start fresh.
        last: the layers that answer, which AdamW trains even if they are convolutions.
        draw: draws about so many augmented examples: images uint8 (S, S, 3), BGR, of one size, and
            a target for each.
        loss: of the model's outputs and a list of targets, a scalar.
    """

    name: str
    model: Callable[[nn.Module], nn.Module]
    last: Callable[[Any], list[nn.Module]]  # Any: the module that `model` gave
    draw: Callable[[np.random.Generator, int], tuple[list[Image], list[Any]]]
    loss: Callable[[Any, list[Any]], Tensor]


def add_options(parser: argparse.ArgumentParser, *, size: int) -> None:
    """Options of every dense training run; `size` is the recipe's crop."""
    add = parser.add_argument
    add("--data", type=Path, required=True, help="the unpacked data set")
    add("--output", type=Path, required=True, help="folder for the checkpoints")
    add("--resume", action="store_true", help=f"go on from OUTPUT/{CHECKPOINT}")
    add("--weights", type=Path, help="start from the weights of a checkpoint of this model")
    add("--processes", type=int, default=1, help="CPU workers of one thread each")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, default=5000, help="length of a whole run")
    length.add_argument("--minutes", type=float, help="length of a whole run by the clock")
    add("--crop", type=int, default=size, help="height and width of the training pictures")
    add("--batch-size", type=int, default=8, help="pictures in a step, of all workers together")
    add("--lr", type=float, default=1e-3, help="peak rate of AdamW")
    add("--muon-lr", type=float, default=0.01, help="peak rate of Muon; 0 uses AdamW alone")
    add("--weight-decay", type=float, default=0.05, help="decoupled, for both optimizers")
    add("--freeze-norms", type=float, default=1.0,
        help="share of the run from which normalizations use their running statistics")  # fmt: skip
    add("--ema-decay", type=float, default=0.998, help="per step")
    add("--seed", type=int, default=0, help="start of every random number")


def batch_from(images: list[Image]) -> Tensor:
    """Normalize uint8 (S, S, 3) BGR images to float32 (B, 3, S, S) RGB, channels last in memory."""
    pixels = np.stack(images)[..., ::-1] / np.float32(255)
    return torch.from_numpy((pixels - MEAN) / STD).permute(0, 3, 1, 2)


def freeze_norms(model: nn.Module) -> None:
    """Let every BatchNorm normalize by its running statistics, as in use.

    Statistics of a batch hide rare large activations, which are part of them; by running ones such
    activations reach the loss, and training removes them.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


class DenseTrainer:
    """Trains one model, step by step; each step draws its examples anew.

    Args:
        args: the command line; see `add_options`.
        recipe: data, model and loss.
        worker: which process of the run this is.
    """

    def __init__(self, args: argparse.Namespace, recipe: Recipe, worker: Worker) -> None:
        self.args, self.recipe, self.worker = args, recipe, worker
        self.step_number = 0
        self.pace = Pace(args.steps, args.minutes)
        self.model = self._build().to(memory_format=torch.channels_last).train()
        self.ema = Ema(self.model, args.ema_decay)
        self.optimizers = build_optimizers(
            self.model,
            lr=args.lr,
            muon_lr=args.muon_lr,
            weight_decay=args.weight_decay,
            worker=worker,
            last=recipe.last(self.model),
        )

    def _build(self) -> nn.Module:
        """The model on the bundled classifier's backbone, or that of `--weights`."""
        torch.manual_seed(self.args.seed)
        images, _ = self.recipe.draw(np.random.default_rng(self.args.seed), 16)
        model = self.recipe.model(bundled_backbone(batch_from(images)))
        if self.args.weights:
            load_strictly(model, read_checkpoint(self.args.weights).state_dict)
        replace_pointwise(model)
        return model

    def run(self) -> None:
        """Train what is left of the run, saving now and then, and at its end."""
        losses: list[float] = []
        started = time.perf_counter()
        while not self.pace.is_done:
            losses.append(self.step())
            self.step_number += 1
            if self.step_number % REPORT_STEPS == 0:
                seconds = (time.perf_counter() - started) / len(losses)
                self.report(losses[-REPORT_STEPS:], seconds)
            if self.step_number % SAVE_STEPS == 0:
                self.save()
        self.save()

    def step(self) -> float:
        """Update the weights with this worker's share of a batch; its loss."""
        set_rates(self.optimizers.values(), self.pace.progress)
        if self.pace.progress >= self.args.freeze_norms:
            freeze_norms(self.model)
        # Depends on nothing but seed, worker and step, so that a resumed run goes on as it would.
        rng = np.random.default_rng((self.args.seed, self.worker.rank, self.step_number))
        images, targets = self.recipe.draw(rng, self.args.batch_size // self.worker.count)
        loss = self.recipe.loss(self.model(batch_from(images)), targets)
        loss.backward()
        share = self.worker.average_gradients(self.model.parameters(), self.pace.tick())
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        self.ema.update(self.model)
        self.pace.progress = min(self.pace.progress + share, 1.0)
        return loss.item()

    def report(self, losses: list[float], seconds: float) -> None:
        """Print where the run is, in the first worker."""
        if self.worker.rank == 0:
            print(
                f"step {self.step_number}  loss {np.mean(losses):.3f}  "
                f"{self.args.batch_size / seconds:.1f} images/s  "
                f"{100 * self.pace.progress:.1f} % of the run",
                flush=True,
            )

    def save(self) -> None:
        """Write `checkpoint.pth` with everything, and a slim file with the EMA weights alone."""
        if self.worker.rank != 0:
            return
        ema = on_cpu(self.ema.model)
        whole = {
            "model": on_cpu(self.model),
            "model_ema": ema,
            "optimizer": {name: value.state_dict() for name, value in self.optimizers.items()},
            "ema_updates": self.ema.updates,
            "step": self.step_number,
            "progress": self.pace.progress,
            "seconds": self.pace.seconds,
            "options": plain_options(self.args),
        }
        write_checkpoint(whole, self.args.output / CHECKPOINT)
        write_checkpoint({"state_dict": ema}, self.args.output / f"{self.recipe.name}.pth")

    def load(self, path: Path) -> None:
        """Take up the state that `save` wrote."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.ema.model.load_state_dict(state["model_ema"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizer"][name])
        self.ema.updates, self.step_number = state["ema_updates"], state["step"]
        self.pace.progress, self.pace.seconds = state["progress"], state["seconds"]


def _work(worker: Worker, args: argparse.Namespace, recipe_of: Callable[..., Recipe]) -> None:
    trainer = DenseTrainer(args, recipe_of(args), worker)
    if args.resume:
        trainer.load(args.output / CHECKPOINT)
    trainer.run()


def check_arguments(args: argparse.Namespace) -> None:
    """Fail before anything starts if the run is impossible or would overwrite another."""
    checkpoint = args.output / CHECKPOINT
    if args.processes < 1 or args.batch_size % args.processes:
        raise ValueError(f"--processes must divide --batch-size {args.batch_size}")
    if args.resume and not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint} is absent; train without --resume first")
    if checkpoint.exists() and not args.resume:
        raise FileExistsError(f"{checkpoint} exists; pass --resume, or another --output")


def main(args: argparse.Namespace, recipe_of: Callable[[argparse.Namespace], Recipe]) -> int:
    """Run a recipe: 0 when done, 1 for wrong data or options, 130 after Ctrl-C."""
    try:
        check_arguments(args)
        args.output.mkdir(parents=True, exist_ok=True)
        run_workers(_work, args.processes, args, recipe_of)
    except (OSError, ValueError, EdgeVitError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f"\nstopped; go on from the last save in {args.output} with the same command "
            "and --resume.",
            file=sys.stderr,
        )
        return 130
    return 0
