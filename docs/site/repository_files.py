"""What pages show of the repository outside docs/: pictures come along, other links become text."""

import re
from pathlib import Path

from mkdocs.structure.files import File

PICTURES = Path(__file__).parents[2] / "examples" / "pictures"
OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?!examples/pictures/)[^)]*\)")


def on_files(files, config):
    """Add the drawn pictures."""
    for path in sorted(PICTURES.glob("*_*.jpg")):
        files.append(File.generated(config, f"pictures/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Point at the pictures, and write the names of files that a site does not hold."""
    if "/" in page.file.src_uri:
        return markdown
    return OUTSIDE.sub(r"\1", markdown).replace("../examples/pictures/", "pictures/")
