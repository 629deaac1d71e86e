"""The OCI distribution API: the only package that speaks to image registries.

    Reference     an image's name taken apart
    Credentials   who we are there: settings, a config.json of Docker, credential helpers
    Registry      manifests and blobs

Every question has three answers. `None` (or False) means that the registry says it is not there; an error of
`services.errors` means that we do not know (`Unreachable`) or may not ask (`Misconfigured` for a wrong password). Whoever
takes an error for "absent" starts a build that nobody needs.
"""

from services.registry.client import MANIFESTS, OCI, Manifest, Registry
from services.registry.credentials import Credentials
from services.registry.reference import Reference

__all__ = ["MANIFESTS", "OCI", "Credentials", "Manifest", "Reference", "Registry"]
