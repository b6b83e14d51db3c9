"""Does the cache of compiled models ever answer with a wrong one? POSIX only.

python bench_cache.py [--corruptions N] [--kills N] [--processes N] [--megabytes N]

Corrupts entries in as many ways and counts those that were loaded; kills (-9) processes that store
and remove entries, at as many moments, and counts the entries that are neither whole nor absent
after each; starts processes that want the same model at once and counts those that built it.
"""

import argparse
import json
import logging
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from edgevit.backend import CompiledCache
from edgevit.core.cache.folder import Limits, entries, prune

REMAINS = ("", "unfinished", "it has no record")  # of entries: whole, or nothing that is loaded

WRITER = """
import random, sys, time
from pathlib import Path
from edgevit.backend import CompiledCache
cache = CompiledCache(Path(sys.argv[1]), suffix=".plan")
contents = [random.Random(number).randbytes(int(sys.argv[2])) for number in range(3)]
print("ready", flush=True)
while True:
    for number, content in enumerate(contents):
        with cache.building({"number": number}, Path("model.onnx")) as build:
            if build.found is None:
                build.store(content)
    for number in range(3):
        cache.discard(cache.find({"number": number}))
"""

ONE_OF_MANY = """
import sys, time
from pathlib import Path
from edgevit.backend import CompiledCache
cache = CompiledCache(Path(sys.argv[1]), suffix=".plan")
print("ready", flush=True)
sys.stdin.readline()
found = cache.find({"number": 0})
if found is None:
    with cache.building({"number": 0}, Path("model.onnx")) as build:
        found = build.found
        if found is None:
            time.sleep(1)
            build.store(b"compiled")
print("found" if found else "built")
"""


def content_of(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(size)


def store(cache: CompiledCache, number: int, size: int) -> None:
    """Store an entry unless a whole one is there."""
    with cache.building({"number": number}, Path("model.onnx")) as build:
        if build.found is None:
            build.store(content_of(number, size))


def damaged(content: bytes, other: bytes, chance: random.Random) -> tuple[str, bytes]:
    """Damage a file's content in one of many ways; says in which."""
    position = chance.randrange(len(content))
    flipped = bytes([content[position] ^ 1 << chance.randrange(8)])
    ways = {
        "cut": content[:position],
        "one bit": content[:position] + flipped + content[position + 1 :],
        "overwritten": chance.randbytes(len(content)),
        "longer": content + b"\n",
        "another entry's file": other,
        "foreign JSON": json.dumps({"model": "model.onnx", "sha256": "0" * 64}).encode(),
    }
    if content.startswith(b"{"):
        record = json.loads(content)
        name = chance.choice(sorted(record))
        ways["edited field"] = json.dumps({**record, name: chance.random()}, indent=1).encode()
    return chance.choice(sorted(ways.items()))


def corrupt(folder: Path, count: int, size: int) -> str:
    """Damage one file of an entry at a time."""
    cache, chance = CompiledCache(folder, suffix=".plan"), random.Random(0)
    loaded, ways = 0, Counter[str]()
    for _ in range(count):
        for number in (0, 1):
            store(cache, number, size)
        found, other = (cache.find({"number": number}) for number in (0, 1))
        assert found
        assert other
        suffix = chance.choice([".plan", ".json"])
        victim, another = (each.path.with_suffix(suffix) for each in (found, other))
        way, content = damaged(victim.read_bytes(), another.read_bytes(), chance)
        victim.write_bytes(content)
        ways[f"{way} ({suffix})"] += 1
        loaded += cache.find({"number": 0}) is not None
    listed = ", ".join(f"{way} {times}" for way, times in sorted(ways.items()))
    return f"{count} corruptions: {loaded} loaded\n  {listed}"


def kill(folder: Path, count: int, size: int) -> str:
    """Kill a writer again and again in the same folder, and look at what it left."""
    cache, chance = CompiledCache(folder, suffix=".plan"), random.Random(0)
    corrupt, states = 0, Counter[str]()
    for _ in range(count):
        command = [sys.executable, "-c", WRITER, str(folder), str(size)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout
            child.stdout.readline()
            time.sleep(chance.uniform(0, 0.1))
            child.kill()
        for number in range(3):
            found = cache.find({"number": number})
            corrupt += found is not None and found.content != content_of(number, size)
        problems = [entry.check()[1] for entry in entries(folder)]
        states.update(problem or "whole" for problem in problems)
        states.update(["temporary file"] * len(list(folder.glob(".*"))))
        corrupt += len([problem for problem in problems if problem not in REMAINS])
        prune(folder, Limits())
    left = ", ".join(f"{state} {times}" for state, times in sorted(states.items()))
    return f"{count} kill -9 moments: {corrupt} corrupt entries\n  left behind, in all: {left}"


def race(folder: Path, count: int) -> str:
    """Let processes want the same model at the same time."""
    command = [sys.executable, "-c", ONE_OF_MANY, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    children = [subprocess.Popen(command, text=True, **pipes) for _ in range(count)]
    for child in children:
        child.stdout.readline()
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = [child.communicate()[0].strip() for child in children]
    built, found = answers.count("built"), answers.count("found")
    return f"{count} processes at once: {built} built, {found} found what was built"


def main() -> None:
    """Print the three counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corruptions", type=int, default=200)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--megabytes", type=float, default=4, help="size of the model killed at")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # every corruption is reported by one
    with TemporaryDirectory() as name:
        folder, size = Path(name), int(options.megabytes * 1e6)
        print(corrupt(folder / "corrupt", options.corruptions, 50_000), flush=True)
        print(kill(folder / "kill", options.kills, size), flush=True)
        print(race(folder / "race", options.processes))


if __name__ == "__main__":
    main()
