from importlib.metadata import entry_points, version

import pytest

from edgevit.core.machine.packages import installed, load, registered, registering


def distribution(folder, name, text):
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "entry_points.txt").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("group", ["edgevit.backends", "console_scripts", "pytest11"])
def test_the_standard_library_finds_the_same(group):
    expected = {entry.name: entry.value for entry in entry_points(group=group)}
    assert registered(group) == expected


def test_no_folder_means_no_plugin(tmp_path):
    assert registered("edgevit.backends", [str(tmp_path / "nowhere"), str(tmp_path)]) == {}


def test_names_keep_their_case_and_other_groups_stay_out(tmp_path):
    distribution(
        tmp_path, "one", "[other]\na = b:c\n[edgevit.backends]\nMyRuntime = pkg.mod:Make\n"
    )
    assert registered("edgevit.backends", [str(tmp_path)]) == {"MyRuntime": "pkg.mod:Make"}


def test_the_first_distribution_of_a_name_on_the_path_counts(tmp_path):
    distribution(tmp_path / "a", "one", "[g]\nx = first:make\n")
    distribution(tmp_path / "b", "one", "[g]\nx = second:make\ny = second:other\n")
    assert registered("g", [str(tmp_path / "a"), str(tmp_path / "b")]) == {"x": "first:make"}


def test_a_damaged_file_of_another_project_is_passed_over(tmp_path):
    distribution(tmp_path, "bad", "[g]\nno value here\n")
    distribution(tmp_path, "good", "[g]\nx = good:make\n")
    assert registered("g", [str(tmp_path)]) == {"x": "good:make"}


def test_an_entry_point_is_imported_with_its_attributes():
    assert load("os.path:join").__name__ == "join"
    assert load("collections:OrderedDict.fromkeys [extra]").__name__ == "fromkeys"


@pytest.mark.parametrize(
    ("value", "error"), [("no_such_module:x", ImportError), ("os:no", AttributeError)]
)
def test_what_is_not_there_is_an_error(value, error):
    with pytest.raises(error):
        load(value)


def test_installed_versions_are_the_standard_librarys():
    known = installed()
    assert all(known[name] == version(name) for name in ("numpy", "pyyaml", "pytest-cov"))


def test_distributions_are_known_by_their_standard_names(tmp_path):
    distribution(tmp_path, "My_Run.Time", "[g]\nx = pkg:make\n")
    distribution(tmp_path, "other", "[h]\nx = pkg:make\n")
    (tmp_path / "old-2.5-py3.11.egg-info").mkdir()
    assert registering("g", [str(tmp_path)]) == {"my-run-time"}
    assert installed([str(tmp_path)]) == {"my-run-time": "1.0", "old": "2.5", "other": "1.0"}
