"""Tables of texts in Markdown, for the cards that measurements are kept as."""

from collections.abc import Iterable, Sequence


def markdown_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: int | None = None
) -> str:
    r"""Write a table.

    Args:
        headings: of the columns.
        rows: a text for each column; a bar in it is escaped.
        left: how many columns are words, aligned to the left; the others are numbers, aligned to
            the right. None: all are words.

    Returns:
        Lines without a last newline.

    Example:
        >>> print(markdown_table(("name", "ms"), [("a|b", "4.00")], left=1))
        | name | ms |
        | :-- | --: |
        | a\|b | 4.00 |
    """
    words = len(headings) if left is None else left
    marks = [":--" if index < words else "--:" for index in range(len(headings))]
    return "\n".join(map(_row, (headings, marks, *rows)))


def _row(texts: Sequence[str]) -> str:
    cells = (text.replace("|", "\\|") for text in texts)
    return f"| {' | '.join(cells)} |"
