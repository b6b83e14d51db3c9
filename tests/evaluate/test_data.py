"""Which images a data set has, whatever its layout and whoever asks."""

import pytest

from edgevit.errors import InputError
from edgevit.evaluate import DataSet

PLAIN = ("b.jpg", "a/c.PNG")
LISTED = ("labels.csv", "images/1.png", "images/2.png")
SPLIT_LIST = ("val/labels.csv", "val/images/1.png", "train/images/2.png")
PAIRED = ("images/val/1.jpg", "images/test/2.jpg", "labels/val/1.png", "labels/test/2.png")
COCO = ("annotations/instances_val.json", "images/1.jpg", "preview.png")


@pytest.fixture
def folder(tmp_path):
    def write(files):
        for name in files:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("files", "split", "found"),
    [
        (PLAIN, None, ["a/c.PNG", "b.jpg"]),
        (PLAIN, "a", ["a/c.PNG"]),
        (LISTED, None, ["images/1.png", "images/2.png"]),
        (SPLIT_LIST, "val", ["val/images/1.png"]),
        (SPLIT_LIST, None, ["train/images/2.png", "val/images/1.png"]),
        (PAIRED, None, ["images/test/2.jpg", "images/val/1.jpg"]),
        (PAIRED, "val", ["images/val/1.jpg"]),
        (COCO, None, ["images/1.jpg"]),
        (COCO, "val", ["images/1.jpg"]),
    ],
    ids=str,
)
def test_every_layout_has_its_images_and_no_labels(folder, files, split, found):
    root = folder(files)
    paths = DataSet(root, split=split).image_paths()
    assert [path.relative_to(root).as_posix() for path in paths] == found


def test_images_that_are_elsewhere_are_found_there(folder):
    root = folder(("data/labels/1.png", "photos/1.jpg"))
    data = DataSet(root / "data", images=root / "photos")
    assert data.image_paths() == [root / "photos" / "1.jpg"]


def test_a_limit_is_for_those_who_take_images_and_not_for_the_list(folder):
    data = DataSet.of(folder(PAIRED), limit=1)
    assert len(data.image_paths()) == 2
    assert len(data.limited(data.image_paths())) == 1


@pytest.mark.parametrize(
    ("split", "match"),
    [
        ("train", r"no folder of images: '.*images.train'"),
        ("labels", "no images in .*accepted: files .bmp"),
    ],
)
def test_what_holds_no_images_is_refused(folder, split, match):
    root = folder(("images/val/1.jpg", "labels/labels.csv"))
    with pytest.raises(InputError, match=match):
        DataSet(root, split=split).image_paths()


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not there"):
        DataSet.of(tmp_path / "nowhere")
