// The build page: the whole log of a build, live while it runs, with an address for every line.
"use strict";
(async () => {
  const at = (id) => document.getElementById(id);
  const { baseUrl: base, build } = window.pageConfig;
  const { Log } = await import(build.log);
  const log = new Log(at("log-box"), { style: build.logStyle, text: `${base}api/v1/builds/${build.id}/log`, whole: true });
  if (build.ended) {
    log.follows = false;
    log.follow();
    const response = await fetch(`${base}api/v1/builds/${build.id}/log`);
    log.write(response.ok ? await response.text() : "The log cannot be read.\n");
    if ("found" in (at("matter")?.dataset ?? {})) log.whenQuiet(() => log.mark(at("matter").textContent.split("\n")));
    return;
  }
  const stream = new EventSource(`${base}api/v1/builds/${build.id}/events`);
  stream.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (["built", "failed", "cancelled"].includes(event.state)) { stream.close(); location.reload(); return; }
    if (!event.state && event.message) log.write(event.message);
  };
})();
