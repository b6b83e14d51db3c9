"""Show what device profiles say, and whether they count."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevit.core.runtime.profile import Profile, ProfileMatch, find_profile, read_profile
from edgevit.core.runtime.settings import profiles_dir
from edgevit.errors import InputError
from edgevit.zoo import find_model


@dataclass(frozen=True, slots=True)
class Explanation:
    """One device profile.

    Args:
        path: the profile's file; removing it is how a profile is forgotten.
        profile: what it says, evidence included.
        problem: why Predictor ignores it here and now; None where it obeys.
    """

    path: Path
    profile: Profile
    problem: str | None

    @property
    def evidence(self) -> Mapping[str, Any]:
        """`TuneReport.to_dict()` of the search that wrote it."""
        return self.profile.evidence

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as plain values that `json.dumps` takes, by name."""
        return {
            "profile": str(self.path),
            "model": self.profile.model.path,
            "says": self.profile.says,
            "made": self.profile.made,
            "recommends": self.profile.recommends,
            "problem": self.problem,
            "fingerprint": dict(self.profile.fingerprint),
            **self.evidence,
        }


def explain(model: str | os.PathLike[str] | None) -> Explanation:
    """Explain the profile that `Predictor(model)` finds.

    Args:
        model: an ONNX file, a zoo name, or None for the bundled classifier.

    Raises:
        ModelNotFoundError: if the model is not there.
        InputError: if there is no profile for it.
    """
    path = find_model(model)
    found = find_profile(path)
    if found is None:
        raise InputError(
            f"there is no device profile for {str(path)!r}; write one with "
            f"`edgevit tune {path.name} --data DIR`"
        )
    return _explained(found)


def explain_all() -> list[Explanation]:
    """Explain every profile there is, in the order of their files' names."""
    read = map(read_profile, sorted(profiles_dir().glob("*.json")))
    return [_explained(found) for found in read if found is not None]


def _explained(found: ProfileMatch) -> Explanation:
    problem = found.problem or _gone(found.profile) or found.profile.reason_ignored()
    return Explanation(found.path, found.profile, problem)


def _gone(profile: Profile) -> str | None:
    if profile.model.holds(Path(profile.model.path)):
        return None
    return f"the model {profile.model.path!r} that it is for is gone or another one"
