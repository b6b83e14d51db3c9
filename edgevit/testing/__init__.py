"""For people who write a backend plugin, or test code that uses one.

`check_backend` holds a backend against every rule of `edgevit.backend`; it needs nothing but
edgevit and the plugin:

    from edgevit.testing import check_backend
    check_backend(MyBackend())

With pytest, let every rule be a test of its own:

    @pytest.mark.parametrize("rule", CHECKS)
    def test_backend_keeps_the_rule(rule):
        CHECKS[rule](MyBackend(), "cpu")

`BackendWithOptions(MyBackend(), {...})` runs it with options. `FakeBackend` stands in for a backend
where no model is to be computed.
"""

from edgevit.testing.expect import ConformanceError
from edgevit.testing.fake import FakeAsyncSession, FakeBackend, FakeSession
from edgevit.testing.models import MODELS_FOLDER
from edgevit.testing.rules import CHECKS, check_backend
from edgevit.testing.wrapped import BackendWithOptions

__all__ = [
    "CHECKS",
    "MODELS_FOLDER",
    "BackendWithOptions",
    "ConformanceError",
    "FakeAsyncSession",
    "FakeBackend",
    "FakeSession",
    "check_backend",
]
