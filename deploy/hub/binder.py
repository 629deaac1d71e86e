"""What a launch tells its server: the `BINDER_*` environment, the token, the image.

`BinderMixin` does for any Spawner what BinderHub's `BinderSpawnerMixin` does for KubeSpawner, from the same
`user_options`, so that this hub takes BinderHub's launches and zero-to-jupyterhub takes ours. Software inside of
sessions (nbgitpuller buttons, offline-notebook, cryptnono …) reads these variables.

References: binderhub/binderspawner_mixin.py of BinderHub.
"""

from collections.abc import Mapping
from typing import Any

from deploy.hub.failure import BROKEN, StartFailed

VARIABLES: Mapping[str, str] = {
    "repo_url": "BINDER_REPO_URL",
    "binder_ref_url": "BINDER_REF_URL",
    "binder_launch_host": "BINDER_LAUNCH_HOST",
    "binder_request": "BINDER_REQUEST",
    "binder_persistent_request": "BINDER_PERSISTENT_REQUEST",
    "binder_client_ip": "BINDER_CLIENT_IP",
}


def option(options: Mapping[str, Any], key: str) -> str:
    """A text from `user_options`, empty where it is absent; refuses what cannot stand in an environment variable."""
    value = options.get(key, "")
    if not isinstance(value, str) or "\0" in value:
        raise StartFailed(f"The option {key} of the server is not a text.", BROKEN)
    return value


def binder_environment(options: Mapping[str, Any]) -> dict[str, str]:
    """The `BINDER_*` variables of a launch."""
    return {name: value for key, name in VARIABLES.items() if (value := option(options, key))}


def without_token(_target: Any, options: Any, _old: Any, _initiator: Any) -> Any:
    """What the hub may store of a launch's options: all but the token, which is nobody's to read in a database.

    Listens to "set" of `jupyterhub.orm.Spawner.user_options`; the Spawner in memory keeps the whole.
    """
    return {key: value for key, value in options.items() if key != "token"} if isinstance(options, dict) else options


class BinderMixin:
    """Stands before a Spawner class whose server gets its image and token from the launch (Docker, Kubernetes).

    `cors_allow_origin` (trait or attribute of the Spawner, may be empty) lets pages of that origin use the server.
    """

    cors_allow_origin = ""

    def get_args(self: Any) -> list[str]:
        """Arguments for `jupyter …` in an image that repo2docker made, old (NotebookApp) or new (ServerApp)."""
        values = {"base_url": self.server.base_url, "token": option(self.user_options, "token"), "trust_xheaders": "True"}
        if self.default_url:
            values["default_url"] = self.default_url
        if self.cors_allow_origin:
            values["allow_origin"] = self.cors_allow_origin
        if self.cors_allow_origin == "*":
            values["allow_origin_pat"] = ".*"
        args = ["--ip=0.0.0.0", f"--port={self.port}"]
        for app in ("NotebookApp", "ServerApp"):
            args += [f"--{app}.{key}={value}" for key, value in values.items()]
        return [*args, *self.args]

    def get_env(self: Any) -> dict[str, str]:
        """The Spawner's own environment and the launch's."""
        return dict(super().get_env()) | binder_environment(self.user_options)  # type: ignore[misc]

    def start(self: Any) -> Any:
        """Start the server of the launch's image."""
        for key in ("token", "image"):
            if not option(self.user_options, key):
                raise StartFailed(f"A server needs the option {key}.", BROKEN)
        self.image = self.user_options["image"]
        return super().start()  # type: ignore[misc]
