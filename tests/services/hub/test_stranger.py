"""Something else than JupyterHub at its address: what it answers tells nothing of launches."""

from pathlib import Path
from urllib.parse import quote

import pytest

from bench.mock_hub import Behaviour, serve
from bench.mock_hub import Hub as MockHub
from services.errors import LaunchFailed, Unreachable
from services.hub import Hub, UserOptions
from services.settings import HubSettings

OPTIONS = UserOptions(
    image="i", token="t", repo_url="https://example.org/r", binder_ref_url="", binder_launch_host="", binder_request="",
    binder_persistent_request="", binder_client_ip="")


async def test_a_refusal_that_jupyterhub_has_not_signed_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "hub.sock"
    mock = MockHub()
    settings = HubSettings(url=f"http+unix://{quote(str(path), safe='')}/hub/api/", public_url="http://localhost:1/")
    async with await serve(mock, path=str(path)), Hub(settings) as hub:
        assert await hub.user("nobody") is None
        for status in (302, 401, 403, 404, 405):
            mock.behaviour = Behaviour(status=status, sign="")
            before = set(mock.links)
            for ask in (hub.user("nobody"), hub.start_server("nobody", OPTIONS), hub.delete_user("nobody"), anext(hub.progress("nobody"))):
                with pytest.raises(Unreachable, match=f"what is at its address says {status}|asked again"):
                    await ask
            assert hub.throttle.losses
            hub.throttle.breaker.succeeded()
            mock.behaviour = Behaviour()
            assert await hub.user("nobody") is None
            assert mock.links - before  # what led astray is not used again
        mock.behaviour = Behaviour(status=404)
        with pytest.raises(LaunchFailed, match="refused"):
            await hub.start_server("nobody", OPTIONS)


async def test_a_proxy_that_takes_the_signature_away_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "hub.sock"
    mock = MockHub(Behaviour(sign=""))
    settings = HubSettings(url=f"http+unix://{quote(str(path), safe='')}/hub/api/", public_url="http://localhost:1/")
    async with await serve(mock, path=str(path)), Hub(settings) as hub:
        await hub.version()
        assert await hub.user("nobody") is None
        await hub.delete_user("nobody")
