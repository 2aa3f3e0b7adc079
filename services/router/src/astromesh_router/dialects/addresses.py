"""Where a candidate is asked: its endpoint, the profile's path, and the key in the header that the vendor reads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote, urlsplit

from astromesh_core.errors import AstromeshError
from astromesh_core.resources.secrets import resolve
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.profiles import Profile
from astromesh_router.failures import failed
from astromesh_router.wire import Address, address


class Addresses:
    """Makes addresses. Keys and endpoints are looked up in `environ` each time; all methods raise CandidateFailed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def chat(self, candidate: Candidate, profile: Profile) -> Address:
        """Where a reply is asked for."""
        versioned = profile.versioned_chat_path if candidate.api_version else ""
        return self._address(
            candidate, profile, root(self._endpoint(candidate), profile), versioned or profile.chat_path
        )

    def models(self, candidate: Candidate, profile: Profile) -> Address:
        """Where the models are listed."""
        versioned = profile.versioned_models_path if candidate.api_version else ""
        path = versioned or profile.models_path
        return self._address(candidate, profile, root(self._endpoint(candidate), profile), path)

    def health(self, candidate: Candidate, profile: Profile) -> Address:
        """Where the server says that it can take calls: on its host as declared, else on its root as its kind does."""
        if candidate.health_path:
            parts = urlsplit(self._endpoint(candidate))
            return self._address(candidate, profile, f"{parts.scheme}://{parts.netloc}", candidate.health_path)
        return self._address(candidate, profile, root(self._endpoint(candidate), profile), profile.health_path)

    def _endpoint(self, candidate: Candidate) -> str:
        try:
            return resolve(candidate.endpoint, self._environ).rstrip("/")
        except AstromeshError as error:
            raise failed(candidate, type(error), error.message) from error

    def _address(self, candidate: Candidate, profile: Profile, base: str, path: str) -> Address:
        try:
            key = resolve(candidate.key, self._environ) if candidate.key else ""
        except AstromeshError as error:
            raise failed(candidate, type(error), error.message) from error
        headers = dict(profile.headers)
        if key:
            headers[profile.key_header] = profile.key_prefix + key
        return address(candidate, base + filled(path, candidate.model, candidate.api_version), key, headers)


@lru_cache(maxsize=1024)
def filled(path: str, model: str, api_version: str) -> str:
    """A profile's path with what it names filled in."""
    return path.replace("{model}", quote(model, safe="")).replace("{api_version}", quote(api_version, safe=""))


def root(endpoint: str, profile: Profile) -> str:
    """The endpoint without what its end has in common with the beginning of the chat's path.

    So `http://host:8000` and `http://host:8000/v1` are the same server, as vendors' pages write it both ways.
    """
    steps = profile.chat_path.split("/")[1:-1]
    for count in range(len(steps), 0, -1):
        shared = "/" + "/".join(steps[:count])
        if endpoint.endswith(shared):
            return endpoint.removesuffix(shared)
    return endpoint
