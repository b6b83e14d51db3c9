import pytest

from edgevit.core.image.files import pictures_of, spread
from edgevit.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a/c.PNG", "images/val/e.webp", "images/test/d.bmp", "labels/val/e.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(paths, folder):
    return [str(path.relative_to(folder)) for path in paths]


def test_only_pictures_in_the_folder_images_count_where_there_is_one(folder):
    assert names(pictures_of(folder), folder) == ["images/test/d.bmp", "images/val/e.webp"]
    assert names(pictures_of(folder, "val"), folder) == ["images/val/e.webp"]


def test_all_pictures_of_other_folders_count(folder):
    assert names(pictures_of(folder / "a"), folder) == ["a/c.PNG"]
    assert len(pictures_of(folder / "labels")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "is not there"),
        (("images", "train"), "no pictures in"),
        (("images", None, 0), "limit must be from 1 up"),
    ],
    ids=str,
)
def test_what_holds_no_pictures_is_refused(folder, arguments, message):
    name, *others = arguments
    with pytest.raises(InputError, match=message):
        pictures_of(folder / name, *others)


@pytest.mark.parametrize(
    ("count", "taken"), [(1, [0]), (2, [0, 2]), (3, [0, 1, 3]), (9, [0, 1, 2, 3, 4])]
)
def test_a_few_are_spread_over_all(count, taken):
    assert spread(range(5), count) == taken
