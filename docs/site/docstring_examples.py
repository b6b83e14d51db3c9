"""Docstrings' `Example:` as code, for the API reference."""

import re
from textwrap import dedent

import griffe

EXAMPLE = re.compile(r"^Example:\n((?:(?: {4}.*)?(?:\n|\Z))+)", re.MULTILINE)


def as_code(match):
    """Fence a docstring's example, doctests as a session."""
    code = dedent(match[1]).strip()
    return f"**Example**\n\n```{'pycon' if '>>>' in code else 'python'}\n{code}\n```\n\n"


class Examples(griffe.Extension):
    """Turns `Example:`, which griffe takes for prose, into a block of code."""

    def on_instance(self, *, obj, **rest):
        """Rewrite one docstring before it is parsed."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(as_code, obj.docstring.value)
