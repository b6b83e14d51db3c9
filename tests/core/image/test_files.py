import pytest

from edgevit.core.image.files import evenly_spaced, images_in


def test_image_files_are_found_in_folders_of_folders_and_sorted(tmp_path):
    for name in ("b.jpg", "a/c.PNG", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert images_in(tmp_path) == [tmp_path / "a" / "c.PNG", tmp_path / "b.jpg"]


@pytest.mark.parametrize(
    ("count", "taken"), [(1, [0]), (2, [0, 2]), (3, [0, 1, 3]), (9, [0, 1, 2, 3, 4])]
)
def test_a_few_are_evenly_spaced_over_all(count, taken):
    assert evenly_spaced(range(5), count) == taken
