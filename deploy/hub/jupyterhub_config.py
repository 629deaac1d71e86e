"""JupyterHub, as Dockyard runs it: no people, no pages, one service that starts and stops servers.

Everything comes from the settings of Dockyard (`DOCKYARD_…`), and two variables that belong to the proxy:
`CONFIGPROXY_AUTH_TOKEN` and `DOCKYARD_PROXY_API` (its API's address, such as http+unix://%2Frun%2Fproxy.sock).
The hub's own address is the setting `hub.url`.

Why each choice:

- Nobody logs in. Users are made by the service `dockyard` through the REST API, one per launch, and a server lets in
  whoever has its token. The service has the scopes that its calls need and no others.
- Hub, proxy and servers end separately: the supervisor starts the proxy, and servers outlive a hub that stops or is killed.
- `slow_spawn_timeout=0`: a request to start a server returns at once, so its progress can be followed.
- `last_activity_interval`: idle times are as coarse as this; the default is five minutes.
- `trust_user_provided_tokens`: a token that is not taken for random is hashed 16,384 times at each request of the service, which
  was a third of what a launch costs the hub. Ours are random; one that is too short to be so is hashed.
- `consecutive_failure_limit=0`: a repository whose server fails must not end the hub of all.
"""

import sys
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import os
import threading

import sqlalchemy
from jupyterhub import orm

import services.settings
from deploy.hub.binder import without_token
from deploy.hub.logs import log_failure, logging_config
from deploy.hub.pages import NobodyAuthenticator

RANDOM = 32  # characters

c = get_config()  # type: ignore[name-defined]  # noqa: F821  # defined by traitlets
settings = services.settings.load()
directory = Path(settings.home.path) / "hub"

address = urlsplit(settings.hub.url)
c.JupyterHub.hub_bind_url = f"{address.scheme}://{address.netloc}{address.path.removesuffix('hub/api/')}"
c.JupyterHub.hub_connect_url = c.JupyterHub.hub_bind_url
c.JupyterHub.bind_url = c.JupyterHub.public_url = settings.hub.public_url
c.JupyterHub.proxy_class = "deploy.hub.watched_proxy.WatchedProxy"
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = os.environ["DOCKYARD_PROXY_API"]
c.ConfigurableHTTPProxy.auth_token = os.environ["CONFIGPROXY_AUTH_TOKEN"]
c.JupyterHubHTTPClient.connector_options = {"force_close": True}  # a kept connection may lead to where nobody is any more

# No wait for the disk at each of the ten commits of a launch: only a power cut can lose the last ones, and it takes the
# servers that they are about along.
sqlalchemy.event.listen(sqlalchemy.Engine, "connect", lambda connection, _: connection.executescript(
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"))
sqlalchemy.event.listen(orm.Spawner.user_options, "set", without_token, retval=True)
c.JupyterHub.db_url = f"sqlite:///{directory}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = str(directory / "cookie_secret")
c.JupyterHub.cleanup_servers = False
c.JupyterHub.cleanup_proxy = False
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0, "log_function": log_failure}
c.JupyterHub.log_level = settings.log.level.upper()
c.JupyterHub.logging_config = logging_config(settings.log.format)
c.JupyterHub.last_activity_interval = 30
c.JupyterHub.concurrent_spawn_limit = 100
c.JupyterHub.active_server_limit = settings.limits.servers_total
c.Spawner.consecutive_failure_limit = 0
c.Spawner.poll_interval = 10
c.Spawner.apply_user_options = lambda _spawner, _options: None  # our spawners read `user_options` themselves

c.JupyterHub.authenticator_class = NobodyAuthenticator
c.Authenticator.any_allow_config = True  # nobody is meant to get in, so no warning
token = settings.hub.token.get_secret_value()
c.JupyterHub.services = [{"name": "dockyard", "api_token": token}]
c.JupyterHub.trust_user_provided_tokens = len(token) >= RANDOM
c.JupyterHub.load_roles = [{
    "name": "dockyard",
    "services": ["dockyard"],
    "scopes": ["admin:users", "servers", "proxy"],
}]

if settings.runtime.name == "local":
    from deploy.hub.local_spawner import LocalSpawner, warm_up

    c.JupyterHub.spawner_class = LocalSpawner
    c.LocalSpawner.start_timeout = 3600  # it bounds itself, and a turn may be long in coming
    threading.Thread(target=warm_up, daemon=True).start()
elif settings.runtime.name == "kubernetes":
    from deploy.hub.kube_spawner import configure

    configure(c, settings)
elif settings.runtime.name == "docker":
    from deploy.hub import docker_spawner

    docker_spawner.configure(c)
    threading.Thread(target=docker_spawner.warm_up, daemon=True).start()
elif settings.runtime.name == "fake":
    c.JupyterHub.spawner_class = "deploy.hub.trivial_spawner.TrivialSpawner"
    c.TrivialSpawner.directory = str(directory)
    directory.chmod(0o711)  # for the proxy, which may have another account; nothing but a test's servers is in it
