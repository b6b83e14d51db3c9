"""`edgevit cache`."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgevit.cli.command import Group, examples
from edgevit.cli.options import json_option, runtime_options
from edgevit.core.cache.digests import file_digests
from edgevit.core.cache.entry import Record
from edgevit.core.cache.files import absolute_path, cache_dir
from edgevit.core.cache.folder import EntryFiles, Limits, cache_folders, entries, prune
from edgevit.errors import EdgeVitError
from edgevit.predictor import Predictor
from edgevit.zoo import find_model

SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt]?)(?:i?b)?", re.IGNORECASE)
POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
HEADINGS = ("backend", "model", "device", "size", "age", "last use")
SPANS_S = (("d", 86400), ("h", 3600), ("min", 60))


@click.group(
    cls=Group,
    epilog=examples("edgevit cache warm cas_vit_s.onnx --backend openvino", "edgevit cache list"),
)
def cache() -> None:
    """List, explain, make and remove compiled models."""


@cache.command("list", epilog=examples("edgevit cache list", "edgevit cache list --json"))
@json_option
def list_entries(*, as_json: bool) -> None:
    """List the compiled models that are kept, the last used first."""
    with _readable():
        rows = [(entry, *entry.check(contents=False)) for entry in _all_entries()]
    if as_json:
        document = {"folder": str(cache_dir()), "entries": [_row(*row) for row in rows]}
        click.echo(json.dumps(document))
        return
    console = Console()
    console.print(_table([_cells(*row) for row in rows], console.width))
    total = sum(entry.size_bytes for entry, _, _ in rows)
    click.echo(f"{len(rows)} in {cache_dir()}, {_size(total)}")


@cache.command(epilog=examples("edgevit cache why cas_vit_s.onnx"))
@click.argument("model")
@json_option
def why(*, model: str, as_json: bool) -> None:
    """Say of each compiled model of MODEL why it was built, and whether it is still whole."""
    path = absolute_path(find_model(model))
    with _readable():
        files = file_digests(path)
        checked = [(entry, *entry.check()) for entry in _all_entries()]
    rows = [row for row in checked if row[1] and _is_of(row[1], path, files)]
    if as_json:
        click.echo(json.dumps({"model": str(path), "entries": [_row(*row) for row in rows]}))
        return
    for entry, record, problem in rows:
        if record is not None:
            click.echo(_story(entry, record, problem, record.facts.get("files") == files))
    if not rows:
        click.echo(f"no compiled model of {path.name} is kept; `edgevit cache warm` makes one")


@cache.command(epilog=examples("edgevit cache warm cas_vit_s.onnx --backend openvino --threads 4"))
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@runtime_options
def warm(*, models: tuple[str, ...], backend: str, device: str, threads: int | None) -> None:
    """Load each MODEL, so that its compiled model is there when a program starts.

    The options count: a program that asks for another device or other threads builds its own.
    """
    for model in models:
        before = _states()
        status = Console(stderr=True).status(f"loading {escape(model)}")
        with status, Predictor(model, backend=backend, device=device, threads=threads) as predictor:
            found = f"{predictor.path.stem} on {predictor.backend} {predictor.device}"
        click.echo(f"{found}: {_outcome(before, _states(), predictor.backend)}")


@cache.command(
    "prune",
    epilog=examples(
        "edgevit cache prune --older-than 30 --dry-run", "edgevit cache prune --limit 2G"
    ),
)
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Remove what was not used for so many days.",
)
@click.option(
    "--limit",
    metavar="SIZE",
    callback=lambda _context, _parameter, text: _parse_size(text),
    help="Keep the last used up to SIZE for each backend, such as 500M or 2G.",
)
@click.option("--all", "everything", is_flag=True, help="Remove all compiled models.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
def prune_entries(
    *, older_than: float | None, limit: int | None, everything: bool, dry_run: bool
) -> None:
    """Remove damaged and left-over files; with options, compiled models too.

    What is being built stays.
    """
    idle_s = None if older_than is None else older_than * 86400
    limits = Limits(limit, idle_s, everything)
    with _readable():
        removals = [
            (folder.name, gone)
            for folder in cache_folders()
            for gone in prune(folder, limits, dry_run=dry_run)
        ]
    for backend, gone in removals:
        click.echo(f"{backend} {gone.model or gone.key}: {gone.reason}, {_size(gone.size_bytes)}")
    total = _size(sum(gone.size_bytes for _, gone in removals))
    click.echo(f"{len(removals)} {'would be removed' if dry_run else 'removed'}, {total}")


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise EdgeVitError(
            f"the cache in {str(cache_dir())!r} cannot be used: {exc}; "
            "correct its permissions, or name another folder in EDGEVIT_CACHE"
        ) from exc


def _parse_size(text: str | None) -> int | None:
    if text is None:
        return None
    match = SIZE.fullmatch(text.strip())
    if match is None:
        raise click.BadParameter(f"{text!r} is not a size; write bytes, or 500M or 2G (of 1024)")
    return int(float(match[1]) * 1024 ** POWERS[match[2].lower()])


def _all_entries() -> list[EntryFiles]:
    found = [entry for folder in cache_folders() for entry in entries(folder)]
    return sorted(found, key=lambda entry: entry.used, reverse=True)


def _states() -> dict[tuple[str, str], tuple[EntryFiles, Record]]:
    """Whole entries by backend and key."""
    with _readable():
        checked = [(entry, *entry.check(contents=False)) for entry in _all_entries()]
    return {
        (entry.folder.name, entry.key): (entry, record)
        for entry, record, problem in checked
        if record is not None and not problem
    }


def _outcome(
    before: dict[tuple[str, str], tuple[EntryFiles, Record]],
    after: dict[tuple[str, str], tuple[EntryFiles, Record]],
    backend: str,
) -> str:
    """Tell from the entries what a load did: a store writes one, a find marks one as used."""
    for place, (entry, record) in after.items():
        known = before.get(place)
        if known is None or known[1].built_at != record.built_at:
            return f"built in {record.build_s:.1f} s ({record.why})"
        if known[0].used != entry.used:
            return "already there"
    return f"loaded; backend {backend!r} keeps nothing"


def _is_of(record: Record, path: Path, files: dict[str, str] | None) -> bool:
    return record.model == str(path) or (files is not None and record.facts.get("files") == files)


def _story(entry: EntryFiles, record: Record, problem: str, is_current: bool) -> str:
    state = problem or ("whole" if is_current else "whole, of an earlier file")
    return (
        f"{entry.folder.name} {_device(record)}, built {_span(time() - record.built_at)} ago "
        f"in {record.build_s:.1f} s: {record.why}; {state}"
    )


def _row(entry: EntryFiles, record: Record | None, problem: str) -> dict[str, Any]:
    """Describe as JSON values."""
    known = {} if record is None else {"name": record.name, "model": record.model}
    built = {} if record is None else {"built_at": record.built_at, "build_s": record.build_s}
    facts = {} if record is None else {"why": record.why, "facts": record.facts}
    return {
        "backend": entry.folder.name,
        "key": entry.key,
        **known,
        "size_bytes": entry.size_bytes,
        "used_at": entry.used,
        **built,
        **facts,
        "problem": problem or None,
    }


def _cells(entry: EntryFiles, record: Record | None, problem: str) -> tuple[str, ...]:
    size, used = _size(entry.size_bytes), _span(time() - entry.used)
    if record is None or problem:
        return entry.folder.name, f"({problem})", "-", size, "-", used
    age = _span(time() - record.built_at)
    return entry.folder.name, record.name, _device(record), size, age, used


def _table(rows: list[tuple[str, ...]], width: int) -> Table:
    """Where the terminal is narrow, only the models' names are cut."""
    widths = [max(map(len, column)) + 1 for column in zip(HEADINGS, *rows, strict=True)]
    room = width - sum(widths) + widths[HEADINGS.index("model")]
    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading in HEADINGS:
        most = max(len(heading), room - 1) if heading == "model" else None
        table.add_column(heading, no_wrap=True, max_width=most)
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _device(record: Record) -> str:
    parts = (record.facts.get("device"), record.facts.get("precision"))
    return " ".join(str(part).lower() for part in parts if part)


def _size(count: int) -> str:
    return f"{count / 1024**2:.1f} MiB"


def _span(seconds: float) -> str:
    for unit, length_s in SPANS_S:
        if seconds >= length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return "< 1 min"
