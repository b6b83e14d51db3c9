"""README, docs/ and their neighbors: links lead somewhere, code runs, commands exist."""

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

import edgevit
from edgevit.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[1]
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [
    *GUIDES,
    *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs" / "api").glob("*.md")),
    *sorted((ROOT / "examples").rglob("README.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)", re.MULTILINE)
COMMAND = re.compile(r"^(?:\$ |.*&& )?(?:python -m )?(edgevit [a-z].*)", re.MULTILINE)
COMMAND_IN_A_TABLE = re.compile(r"^\| `(edgevit [^`]+)`", re.MULTILINE)

NEED_EXPORT_EXTRA = ("edgevit.export", "edgevit.convert")  # blocks that import these stand alone
HAS_A_TEST_OF_ITS_OWN = "from fastapi import"
TAKES_LONG = {"export.md", "tune.md"}

ROOMS = ("edgevit", "backends", "examples")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks_of(page, language):
    """Each block of a language: its first line's number, and its text."""
    text = page.read_text(encoding="utf-8")
    for block in FENCE.finditer(text):
        if block[1] == language:
            yield text.count("\n", 0, block.start(2)), block[2]


def commands_of(page):
    for language in ("sh", ""):
        for _, text in blocks_of(page, language):
            yield from COMMAND.findall(text)
    yield from COMMAND_IN_A_TABLE.findall(page.read_text(encoding="utf-8"))


def needs_export_extra(code):
    return any(f"from {module} import" in code for module in NEED_EXPORT_EXTRA)


def script_of(blocks):
    """One program of a page's blocks, each at the line that it has on the page."""
    script = ""
    for line, code in blocks:
        script += "\n" * (line - script.count("\n")) + code
    return script


def programs():
    for page in GUIDES:
        blocks = [b for b in blocks_of(page, "python") if HAS_A_TEST_OF_ITS_OWN not in b[1]]
        alone = [block for block in blocks if needs_export_extra(block[1])]
        together = [block for block in blocks if block not in alone]
        for part in [[block] for block in alone] + [together] * bool(together):
            code = script_of(part)
            marks = list(marks_of(page.name, code))
            yield pytest.param(code, id=f"{name_of(page)}:{part[0][0]}", marks=marks)


def marks_of(page, code):
    if page in TAKES_LONG:
        yield pytest.mark.slow
    if needs_export_extra(code):
        yield pytest.mark.torch


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with the files that the pages name."""
    folder = tmp_path_factory.mktemp("desk")
    assets, pictures = ROOT / "edgevit" / "assets", ROOT / "examples" / "pictures"
    for name in ("cas_vit_s", "cas_vit_xs"):
        shutil.copy(assets / "cas_vit_xs_cifar10.onnx", folder / f"{name}.onnx")
    shutil.copy(ROOT / "tests" / "data" / "bare_224.onnx", folder / "mine.onnx")
    shown = {"airliner": "airplane", "ship": "ship", "truck": "truck"}
    for name, shows in shown.items():
        (folder / "photos" / shows).mkdir(parents=True)
        shutil.copy(pictures / f"{name}.jpg", folder / "photos" / shows)
    for copy, name in {"photo": "airliner", "frame": "ship", "street": "street"}.items():
        shutil.copy(pictures / f"{name}.jpg", folder / f"{copy}.jpg")
    (folder / "cards").mkdir()
    for copy in ("cards.jpg", "cards/cards.jpg"):
        shutil.copy(pictures / "cards.jpg", folder / copy)
    return folder


@pytest.mark.parametrize("code", list(programs()))
def test_the_pages_programs_run(code, desk):
    script = desk / "page.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", script.name],
        cwd=desk,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_web_service_answers_pictures_and_refuses_what_is_none(desk, monkeypatch):
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    codes = [code for _, code in blocks_of(ROOT / "docs" / "embedding.md", "python")]
    (code,) = [code for code in codes if HAS_A_TEST_OF_ITS_OWN in code]
    monkeypatch.chdir(desk)
    service = {}
    exec(code, service)
    bodies = [(desk / "photo.jpg").read_bytes(), b"no picture"]
    (status, answer), (refusal, reason) = asyncio.run(posted(service["app"], "/classify", bodies))
    assert (status, answer["class_names"][0]) == (200, "airplane")
    assert refusal == 422
    assert "image" in reason["detail"]


async def posted(app, path, bodies):
    async with app.router.lifespan_context(app):
        return [await post(app, path, body) for body in bodies]


async def post(app, path, body):
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
    await app(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent))


def test_the_specs_yaml_says_what_its_python_says(tmp_path):
    page = ROOT / "docs" / "spec.md"
    ((_, document),) = blocks_of(page, "yaml")
    (tmp_path / "spec.yaml").write_text(document, encoding="utf-8")
    code = next(blocks_of(page, "python"))[1].partition("with ")[0]
    names = {}
    exec(code, names)
    assert edgevit.ModelSpec.from_yaml(tmp_path / "spec.yaml") == names["spec"]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, id=f"{name_of(page)}: {command}"[:100])
        for page in GUIDES
        for command in commands_of(page)
    ],
)
def test_the_pages_commands_exist_and_take_these_options(command):
    _, *words = shlex.split(command.partition(" | ")[0], comments=True)
    found, name = main, "edgevit"
    while isinstance(found, click.Group):
        name, *words = words
        found = found.get_command(click.Context(found), name)
        assert found is not None, name
    found.make_context(name, words)


def test_every_command_is_described_with_an_example():
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = {part.split()[0]: part for part in re.split(r"^## edgevit ", text, flags=re.M)[1:]}
    assert sorted(sections) == sorted(COMMANDS)
    assert [name for name in sections if f"\nedgevit {name} " not in sections[name]] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_link_is_broken(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [first or second for first, second in LINK.findall(text)]
    assert [target for target in targets if not is_there(page, target)] == []


def is_there(page, target):
    if target.startswith(("https://", "http://")):
        return True  # the tests need no network
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    return file.exists() and (not anchor or anchor in anchors_of(file))


def anchors_of(page):
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text("utf-8")), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 160
    assert [line for line in lines if len(line) > 100] == []


def test_no_line_installs_from_an_index_that_does_not_hold_this_project():
    foreign = re.compile(r"pip install [^`\n&(]*?(?<![/\w-])edgevit(?!-\d|\w)")
    files = [*PAGES, *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
    assert [name_of(path) for path in files if foreign.search(path.read_text("utf-8"))] == []
