"""Train CAS-ViT on CIFAR-10; README.md beside this file gives commands and explains the parts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from cifar10 import Split, load_split, split_file, split_holdout
from evaluation import describe, evaluate, predict, write_json
from schedule import DEFAULT_PHASES, Phase
from trainer import Trainer, plain_options
from workers import Worker, run_workers

from edgevit.errors import EdgeVitError
from edgevit.models.cas_vit import CONFIGS

CHECKPOINT = "checkpoint.pth"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; the defaults are the recipe of the bundled classifier."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add_run_options(parser)
    add_recipe_options(parser)
    args = parser.parse_args(arguments)
    if args.processes < 1 or args.batch_size % args.processes:
        parser.error(f"--processes must divide --batch-size {args.batch_size}")
    if args.processes > 1 and args.device == "cuda":
        parser.error("--processes is for CPUs; train on CUDA with --processes 1")
    return args


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Options that say where, how and how long to run."""
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with cifar10_train.npz, cifar10_test.npz")
    add("--output", type=Path, required=True, help="folder for the checkpoints and results.json")
    add("--resume", action="store_true", help=f"go on from OUTPUT/{CHECKPOINT}")
    add("--weights", type=Path, help="start from the weights of a checkpoint")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: CUDA if present")
    add("--amp", choices=("auto", "on", "off"), default="auto",
        help="mixed precision; auto: on CUDA only; CPUs need bfloat16 instructions")  # fmt: skip
    add("--processes", type=int, default=1, help="CPU workers; more than 1 have a thread each")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, default=16, help="length of a whole run")
    length.add_argument("--minutes", type=float, help="length of a whole run by the clock")


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """Options that change the trained weights."""
    add = parser.add_argument
    add("--model", choices=sorted(CONFIGS), default="cas_vit_xs", help="variant to train")
    add("--seed", type=int, default=0, help="start of every random number")
    add("--phases", type=Phase.parse, nargs="+", metavar="UNTIL:SIZE", default=DEFAULT_PHASES,
        help="picture sizes, each until a share of the run")  # fmt: skip
    add("--eval-size", type=int, default=64, help="picture size of the final test")
    add("--batch-size", type=int, default=256, help="pictures in a step, of all workers together")
    add("--lr", type=float, default=2e-3, help="peak rate of AdamW")
    add("--muon-lr", type=float, default=0.02, help="peak rate of Muon; 0 uses AdamW alone")
    add("--weight-decay", type=float, default=0.05, help="decoupled, for both optimizers")
    add("--drop-path", type=float, default=0.0, help="stochastic depth of the last block")
    add("--label-smoothing", type=float, default=0.1, help="share spread over all classes")
    add("--ema-decay", type=float, default=0.998, help="per step")
    add("--max-shift", type=int, default=4, help="random shift in pixels of the 32x32 picture")
    add("--cutout", type=float, default=0.3, help="side of the erased square over the picture's")
    add("--cutmix", type=float, default=0.0, help="share of pictures with a part of another")
    add("--holdout", type=int, default=2000, help="training pictures kept back for the log")


def check_files(args: argparse.Namespace) -> None:
    """Fail before the workers start if a file is absent, or would be overwritten."""
    for name in ("train", "test"):
        split_file(args.data, name)
    checkpoint = args.output / CHECKPOINT
    if args.resume and not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint} is absent; train without --resume first")
    if checkpoint.exists() and not args.resume:
        raise FileExistsError(f"{checkpoint} exists; pass --resume, or another --output")


def choose_device(args: argparse.Namespace) -> torch.device:
    """The device that `--device` names; several processes are for the CPU."""
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("error: --device cuda, but torch sees no CUDA device; use --device cpu")
    if args.device == "auto" and args.processes == 1 and torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu" if args.device == "auto" else args.device)


def run(worker: Worker, args: argparse.Namespace) -> None:
    """Train and test as the command line says, as one of the workers."""
    device = choose_device(args)
    pictures, holdout = split_holdout(load_split(split_file(args.data, "train")), args.holdout)
    trainer = Trainer(args, device, pictures, worker)
    if args.resume:
        trainer.load(args.output / CHECKPOINT)
    train(trainer, holdout.to(device))
    if worker.rank == 0:
        test(trainer)


def train(trainer: Trainer, holdout: Split) -> None:
    """Run what is left, saving after each epoch; the first save precedes the first epoch."""
    save(trainer)
    while not trainer.pace.is_done:
        trainer.run_epoch()
        save(trainer)
        if len(holdout.labels) > 0:
            report_holdout(trainer, holdout)


def save(trainer: Trainer) -> None:
    """Write the checkpoints, in the first worker."""
    if trainer.worker.rank == 0:
        trainer.save(trainer.args.output)


def report_holdout(trainer: Trainer, holdout: Split) -> None:
    """Print the top-1 of the EMA weights over the hold-out, of which each worker does a part."""
    worker, size = trainer.worker, trainer.size
    part = holdout.select(worker.share(torch.arange(len(holdout.labels))))
    is_right = predict(trainer.ema.model, part, size) == part.labels
    (right,) = worker.totals([is_right.sum().float()])
    if worker.rank == 0:
        share = 100 * right.item() / len(holdout.labels)
        print(f"  hold-out top-1 of the EMA at {size} px: {share:.2f} %", flush=True)


def test(trainer: Trainer) -> None:
    """Read the test pictures, once, and write results.json."""
    args = trainer.args
    split = load_split(split_file(args.data, "test")).to(trainer.device)
    results = evaluate(args.output / CHECKPOINT, split, model=args.model, size=args.eval_size)
    facts = {
        "epochs": trainer.epoch,
        "minutes": trainer.pace.seconds / 60,
        "images_seen": dict(trainer.images_seen),
        "options": plain_options(args),
    }
    write_json(results | facts, args.output / "results.json")
    print(describe(results))


def main() -> int:
    """Entry point: 0 when done, 1 for a wrong file, 130 after Ctrl-C."""
    args = parse_arguments()
    checkpoint = args.output / CHECKPOINT
    try:
        check_files(args)
        args.output.mkdir(parents=True, exist_ok=True)
        run_workers(run, args.processes, args)
    except (FileNotFoundError, FileExistsError, EdgeVitError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(stop_message(checkpoint), file=sys.stderr)
        return 130
    return 0


def stop_message(checkpoint: Path) -> str:
    """What Ctrl-C leaves."""
    if not checkpoint.exists():
        return "\nstopped before the first checkpoint"
    return (
        f"\nstopped; {checkpoint} holds the last whole epoch. "
        "Go on with the same command and --resume."
    )


if __name__ == "__main__":
    raise SystemExit(main())
