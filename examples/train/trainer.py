"""Model, moving average and optimizers of one training run, with their checkpoint."""

from __future__ import annotations

import argparse
import copy
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from cifar10 import Split, cutmix, cutout, normalize, shift_and_flip
from muon import Muon, split_parameters
from pointwise import replace_pointwise
from schedule import ERASE_UNTIL, Pace, set_rates, size_at
from torch import Tensor, nn
from torch.nn import functional
from workers import Worker

from edgevit.export.checkpoint.weights import load_strictly, read_checkpoint
from edgevit.models.cas_vit import CONFIGS, CASViT

REPORT_STEPS = 20


class Ema:
    """Exponential moving average of a model's parameters and floating-point buffers."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards `model`; the first updates weigh more."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        source, target = model.state_dict(), self.model.state_dict()
        names = [name for name, value in target.items() if value.is_floating_point()]
        averages, values = [target[name] for name in names], [source[name] for name in names]
        torch._foreach_lerp_(averages, values, 1 - decay)


def build_model(args: argparse.Namespace, num_classes: int) -> CASViT:
    """The untrained model, the same for the same seed, or that of `--weights`."""
    torch.manual_seed(args.seed)
    model = CASViT(CONFIGS[args.model], num_classes, args.drop_path)
    if args.weights:
        load_strictly(model, read_checkpoint(args.weights).state_dict)
    return model


def build_optimizers(
    model: nn.Module,
    *,
    lr: float,
    muon_lr: float,
    weight_decay: float,
    worker: Worker,
    last: Collection[nn.Module] = (),
) -> dict[str, torch.optim.Optimizer]:
    """AdamW, and Muon for the dense convolutions but `last`, unless `muon_lr` is 0."""
    dense, others = split_parameters(model, last)
    if muon_lr == 0:
        dense, others = [], dense + others
    groups = [
        {"params": [weight for weight in others if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in others if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizers: dict[str, torch.optim.Optimizer] = {
        "adamw": torch.optim.AdamW(groups, lr=lr, fused=True)
    }
    if dense:
        optimizers["muon"] = Muon(dense, lr=muon_lr, weight_decay=weight_decay, worker=worker)
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def mixed_precision_dtype(device: torch.device, amp: str) -> torch.dtype | None:
    """The autocast dtype for `--amp`, or None."""
    if amp == "off" or (amp == "auto" and device.type != "cuda"):
        return None
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16


class Trainer:
    """Trains one model over one split, epoch by epoch.

    Args:
        args: the command line of `train_cifar10.py`.
        device: where to train.
        train: training pictures; they are kept on `device`.
        worker: which process of the run this is.
    """

    def __init__(
        self, args: argparse.Namespace, device: torch.device, train: Split, worker: Worker
    ) -> None:
        self.args = args
        self.device = device
        self.train = train.to(device)
        self.worker = worker
        model = build_model(args, len(train.class_names))
        if device.type == "cpu":
            replace_pointwise(model)
        self.model = model.to(device, memory_format=torch.channels_last)
        self.ema = Ema(self.model, args.ema_decay)
        self.optimizers = build_optimizers(
            self.model,
            lr=args.lr,
            muon_lr=args.muon_lr,
            weight_decay=args.weight_decay,
            worker=worker,
        )
        self.first_flip = torch.randint(0, 2, train.labels.shape).to(device)
        self.amp_dtype = mixed_precision_dtype(device, args.amp)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.amp_dtype == torch.float16)
        self.epoch = 0
        self.images_seen: Counter[int] = Counter()  # by picture size
        self.pace = Pace(args.epochs * (len(train.labels) // args.batch_size), args.minutes)

    @property
    def size(self) -> int:
        """Picture size of the next step."""
        return size_at(self.args.phases, self.pace.progress)

    def run_epoch(self) -> None:
        """Train one epoch, or what is left of the run."""
        self.model.train()
        batches, started = self.shuffled_batches(), time.perf_counter()
        for done, rows in enumerate(batches, start=1):
            loss = self.step(self.worker.share(rows))
            is_last = done == len(batches) or self.pace.is_done
            if self.worker.rank == 0 and (is_last or done % REPORT_STEPS == 0):
                speed = done * self.args.batch_size / (time.perf_counter() - started)
                self.report(loss.item(), speed, is_last)
            if is_last:
                break
        self.epoch += 1

    def shuffled_batches(self) -> Tensor:
        """Rows of the split for each step of this epoch: int64 (steps, batch size).

        The order is the same in all workers and their augmentation is not; both depend on nothing
        but the seed and the epoch, so that a resumed run equals an unbroken one.
        """
        seed = 1000 * self.args.seed + self.epoch
        count, size = len(self.train.labels), self.args.batch_size
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        torch.manual_seed(1000 * seed + self.worker.rank)
        return order[: count - count % size].view(-1, size).to(self.device)

    def step(self, rows: Tensor) -> Tensor:
        """Update the weights with this worker's part of a batch; its loss, float32 ()."""
        set_rates(self.optimizers.values(), self.pace.progress)
        batch, own = self.augmented(rows)
        loss = self.loss(batch, self.train.labels[rows], own)
        self.scaler.scale(loss).backward()
        share = self.worker.average_gradients(self.model.parameters(), self.pace.tick())
        for optimizer in self.optimizers.values():
            self.scaler.step(optimizer)
            optimizer.zero_grad()
        self.scaler.update()
        self.ema.update(self.model)
        self.images_seen[self.size] += self.args.batch_size
        self.pace.progress = min(self.pace.progress + share, 1.0)
        return loss.detach()

    def augmented(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The pictures of int64 rows (B,), moved, mirrored, erased and mixed.

        Returns:
            float (B, 3, S, S), and float (B,), how much of each shows its own class; the rest
            shows that of the picture at the other end of the batch.
        """
        is_flipped = (self.first_flip[rows] + self.epoch) % 2 == 1  # every other epoch
        images = shift_and_flip(self.train.images[rows], is_flipped, self.args.max_shift)
        batch = normalize(images, self.size)
        if self.pace.progress >= ERASE_UNTIL:
            return batch, torch.ones(len(batch), device=batch.device)
        return cutmix(cutout(batch, self.args.cutout), self.args.cutmix)

    def loss(self, batch: Tensor, labels: Tensor, own: Tensor) -> Tensor:
        """Cross-entropy of `augmented` pictures and int64 (B,) labels; in mixed precision if so."""
        with torch.autocast(self.device.type, self.amp_dtype, enabled=self.amp_dtype is not None):
            logits = self.model(batch)
            smoothing = self.args.label_smoothing
            losses, others = (
                functional.cross_entropy(logits, y, reduction="none", label_smoothing=smoothing)
                for y in (labels, labels.flip(0))
            )
            return torch.lerp(others, losses, own.to(losses.dtype)).mean()

    def report(self, loss: float, speed: float, is_last: bool) -> None:
        """Rewrite the progress line, and end it with the epoch."""
        text = (
            f"\repoch {self.epoch + 1}  {self.size} px  loss {loss:.3f}  {speed:.0f} images/s  "
            f"{100 * self.pace.progress:.1f} % of the run "
        )
        print(text, end="\n" if is_last else "", flush=True)

    def save(self, folder: Path) -> None:
        """Write `checkpoint.pth` with everything, and a slim file with the EMA weights alone."""
        ema = on_cpu(self.ema.model)
        whole = {
            "model": on_cpu(self.model),
            "model_ema": ema,
            "optimizer": {name: value.state_dict() for name, value in self.optimizers.items()},
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "args": argparse.Namespace(**plain_options(self.args)),
            "ema_updates": self.ema.updates,
            "images_seen": dict(self.images_seen),
            "progress": self.pace.progress,
            "seconds": self.pace.seconds,
        }
        write_checkpoint(whole, folder / "checkpoint.pth")
        slim = {"model_ema": ema, "epoch": self.epoch}
        write_checkpoint(slim, folder / f"{self.args.model}_cifar10.pth")

    def load(self, path: Path) -> None:
        """Take up the state that `save` wrote."""
        with torch.serialization.safe_globals([argparse.Namespace]):
            state = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.ema.model.load_state_dict(state["model_ema"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizer"][name])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.ema.updates = state["epoch"], state["ema_updates"]
        self.images_seen = Counter(state["images_seen"])
        self.pace.progress, self.pace.seconds = state["progress"], state["seconds"]


def on_cpu(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a model as contiguous CPU tensors."""
    return {name: value.cpu().contiguous() for name, value in model.state_dict().items()}


def plain_options(args: argparse.Namespace) -> dict[str, object]:
    """The command line as numbers and text, for JSON and for any reader of the checkpoint."""
    return {name: _plain(value) for name, value in vars(args).items()}


def _plain(value: object) -> object:
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, int | float | str | None) else str(value)


def write_checkpoint(state: dict[str, Any], path: Path) -> None:  # Any: tensors, numbers and text
    """Write a checkpoint so that `path` is never half a file."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)
