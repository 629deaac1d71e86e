"""The proxy's API, with something else at its address for a moment."""

from aiohttp import web
from jupyterhub.httpclient import JupyterHubHTTPClient

from deploy.hub.watched_proxy import WatchedProxy


async def test_what_is_no_proxy_is_not_taken_at_its_word() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.method)
        if len(asked) % 3:
            return web.Response(status=404)
        return web.json_response({"/user/a/": {"jupyterhub": True, "target": "http://a"}}, status=200 if request.method == "GET" else 201)

    app = web.Application()
    app.router.add_route("*", "/api/routes/{path:.*}", answer)
    app.router.add_route("*", "/api/routes", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    proxy = WatchedProxy(api_url=f"http://127.0.0.1:{runner.addresses[0][1]}", auth_token="t", should_start=False)
    try:
        assert (await (await proxy.api_request("")).json()).keys() == {"/user/a/"}
        await proxy.add_route("/user/b/", "http://b", {})
        assert asked == ["GET"] * 3 + ["POST"] * 3
        await proxy.delete_route("/user/b/")  # here a 404 is the proxy's own: there is no such route
        assert asked[6:] == ["DELETE"]
    finally:
        await JupyterHubHTTPClient.loop_instance().close()
        await runner.cleanup()
