// The launch page: starts a launch (or follows one that exists), keeps the page true to it, and goes to the server when it is ready.
// What is said comes from the server as a piece of HTML, fetched anew at each step; the event stream tells when, and brings the log.
"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const { baseUrl: base, launch: given } = window.pageConfig;
  const LOG_PHASES = new Set(["fetching", "building", "pushing", "unknown"]);
  let id = given.id; // "" until the launch exists
  let stream = null;
  let lines = []; // of the log, kept until it is opened
  let view = null; // the log, once opened
  let clock = 0; // performance.now() when the status was fetched
  let news = 0; // only the newest status counts
  let asked = 0; // performance.now() when it was last asked for
  let went = false; // whether this page has gone to the server
  let seen = [0, 0]; // number of the last event and of the last line of the log

  const state = () => at("status").dataset.state;
  const OVER = new Set(["done", "failed", "cancelled", "stopped"]);
  const over = () => OVER.has(state());
  function say(text) { if (at("live").textContent !== text) at("live").textContent = text; }

  function tell(text, after = "") { // what the page itself has to say: no connection, refused
    const line = at("now") ?? document.querySelector("#status .why");
    line.textContent = text;
    let then = line.parentNode.querySelector(".then, .hint");
    if (after && !then) {
      then = Object.assign(document.createElement("span"), { className: "then" });
      line.after(" ", then);
    }
    if (then) then.textContent = after;
    say(`${text} ${after}`);
  }

  // --- the status -----------------------------------------------------------------------------------------------

  function follow() { // what the status says to the rest of the page
    const status = at("status");
    clock = performance.now();
    if (status.dataset.title) document.title = status.dataset.title;
    if (status.dataset.icon) at("icon").href = status.dataset.icon;
    if (status.dataset.build) at("log").hidden = false;
    if (status.dataset.origin) at("origin").href = status.dataset.origin;
    const back = state() === "ready" && opened(); // who comes back wants to stay here, and is told when the server will end
    if (back) at("now").textContent = "Your server is running.";
    if (at("at")) at("at").textContent = `at ${new Date(at("at").dateTime).toLocaleTimeString([], { timeStyle: "short" })}`;
    const said = at("now") ?? status.querySelector(".why");
    const parts = [said, said?.parentNode.querySelector(".then, .hint"), ...status.querySelectorAll(".ending .why, .ending .then")];
    say(parts.map((part) => part?.textContent ?? "").join(" ").trim());
    if (state() === "failed") failed();
    if (state() === "ready" && !back) go();
    place();
    tick();
  }

  async function refresh() {
    const mine = ++news;
    asked = performance.now();
    try {
      const response = await fetch(`${base}launches/${id}/status`, { headers: { accept: "text/html" } });
      if (!response.ok) throw new Error(response.statusText);
      const text = await response.text();
      if (mine !== news) return;
      const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("status");
      const held = at("status").contains(document.activeElement) ? document.activeElement : null;
      at("status").replaceWith(document.adoptNode(fresh));
      if (held) {
        const same = held.dataset.do ? `[data-do="${held.dataset.do}"]` : held.id ? `#${held.id}` : held.className ? `.${held.className}` : "a";
        (fresh.querySelector(same) ?? fresh.querySelector("[data-do], #open") ?? at("main")).focus();
      }
      follow();
    } catch {
      if (mine === news) setTimeout(refresh, 2000);
    }
  }

  function tick() { // durations count on; the band shows how much time has gone, and when the end is expected
    if (at("left")) {
      const left = Math.max(0, Number(at("left").dataset.left) - (performance.now() - clock) / 1000);
      const minutes = Math.round(left / 60);
      at("left").textContent = "exact" in at("left").dataset ? duration(left) :
        minutes < 1 ? "less than a minute" : minutes === 1 ? "1 minute" : `${minutes} minutes`;
    }
    const time = document.querySelector("time[data-since]");
    if (!time) return;
    const spent = Number(time.dataset.since) + (performance.now() - clock) / 1000;
    time.textContent = duration(spent);
    const band = document.querySelector(".band");
    if (!band) return;
    const [low, high, gone] = [Number(band.dataset.low), Number(band.dataset.high), spent - Number(time.dataset.since)];
    const whole = (spent - gone + high) * 1.1; // it may well take a little longer
    band.hidden = false;
    if (at("about")) at("about").textContent = `${about(Math.max(low - gone, 0.3), Math.max(high - gone, 0.3))}.`;
    band.querySelector("i").style.width = `${Math.min(97, 100 * spent / whole)}%`;
    const expected = band.querySelector("b").style;
    expected.left = `${100 * (spent - gone + low) / whole}%`;
    expected.right = `${100 / 11}%`;
  }

  function duration(seconds) {
    const shown = Math.floor(seconds);
    return shown < 60 ? `${shown} s` : `${Math.floor(shown / 60)} min ${String(shown % 60).padStart(2, "0")} s`;
  }

  function about(low, high) { // as `about` of api/pages/story.py says it
    if (high < 3) return "A moment";
    const [unit, size, least] = high < 90 ? ["seconds", 5, 1] : ["minutes", 1, 60];
    const rounded = (seconds) => Math.max(size, Math.round(seconds / least / size) * size);
    const [first, last, middle] = [low, high, (low + high) / 2].map(rounded);
    if (high <= 1.7 * low || first === last) return middle * least >= 55 && middle * least <= 75 ? "About a minute" : `About ${middle} ${unit}`;
    return low < high / 6 ? `Up to ${last} ${unit}` : `${first} to ${last} ${unit}`;
  }

  // --- ends -----------------------------------------------------------------------------------------------------

  const keyOfOpened = () => `opened ${id}`;
  function opened() {
    try { return went || sessionStorage.getItem(keyOfOpened()) !== null; } catch { return went; } // no storage: known to this page alone
  }

  function go() {
    if (!at("open")) return;
    went = true;
    try { sessionStorage.setItem(keyOfOpened(), "1"); } catch { /* as above */ }
    location.assign(at("open").href);
  }

  async function failed() {
    if (!at("status").dataset.build) return;
    at("log").open = true;
    const log = await open();
    log.whenQuiet(() => {
      if ("found" in (at("matter")?.dataset ?? {})) log.mark(at("matter").textContent.split("\n"));
    });
  }

  // --- the log --------------------------------------------------------------------------------------------------

  let opening = null;
  function open() {
    opening ??= import(given.log).then(({ Log }) => {
      const build = at("status").dataset.build;
      view = new Log(at("log-box"), {
        style: given.logStyle, page: build && `${base}builds/${build}`, text: build && `${base}api/v1/builds/${build}/log`,
      });
      for (const line of lines) view.write(line);
      lines = [];
      return view;
    });
    return opening;
  }
  at("log").addEventListener("toggle", () => { if (at("log").open) open(); });

  const preview = { line: "", planned: 0 }; // the last line, beside the step: it shows that something moves
  function show(text) {
    const line = text.replace(/\x1b\[[0-?]*[ -/]*[@-~]/g, "").split(/[\r\n]/).filter((part) => part.trim()).at(-1);
    if (line) { preview.line = line.trim().slice(0, 200); preview.planned ||= requestAnimationFrame(place); }
  }
  function place() {
    preview.planned = 0;
    if (preview.line && state() === "building" && at("detail")) at("detail").textContent = preview.line;
  }

  // --- the stream -----------------------------------------------------------------------------------------------

  let soon = 0;
  let phase = ""; // of the log
  let waits = false;
  function listen() {
    stream?.close();
    stream = new EventSource(`${base}api/v1/launches/${id}/events?until=stopped`);
    let cut = 0;
    stream.onopen = () => { if (cut) { clearTimeout(cut); cut = 0; refresh(); } };
    stream.onmessage = ({ data, lastEventId }) => {
      const [, number, line] = lastEventId.split(".").map(Number);
      if (number <= seen[0] && line <= seen[1]) return; // told already, on a connection before this one
      if (line >= 0) seen = [number, line];
      const event = JSON.parse(data);
      const turn = waits || event.waits; // what it waits for stands beside the line, which the server tells
      waits = event.waits;
      if (event.kind === "progress" && !turn) {
        if (state() === "launching" && at("detail")) at("detail").textContent = event.message.trim();
      } else if (event.state) {
        soon ||= setTimeout(() => { soon = 0; refresh(); }, 15); // events of one moment come together
        if (OVER.has(event.state)) stream.close();
      } else if (LOG_PHASES.has(event.phase)) {
        at("log").hidden = false;
        if (view) view.write(event.message ?? ""); else lines.push(event.message ?? "");
        show(event.message ?? "");
        if (event.phase !== phase) { phase = event.phase; soon ||= setTimeout(() => { soon = 0; refresh(); }, 400); }
      }
    };
    stream.onerror = () => {
      if (over()) { stream.close(); return; }
      const what = state() === "ready" ? "Your server" : "The launch";
      cut ||= setTimeout(() => tell(`The connection dropped. ${what} goes on; reconnecting…`), 1500);
      if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 3000); // refused for now, not only cut
    };
  }

  // --- what can be done -----------------------------------------------------------------------------------------

  // A wish has one key until it is answered: asked again after an answer was lost, be it by a reload, it is the same launch.
  const keys = {};
  function key(wish) {
    try { keys[wish] ??= sessionStorage.getItem(wish) ?? undefined; } catch { /* no storage: then a reload is a new wish */ }
    keys[wish] ??= Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    try { sessionStorage.setItem(wish, keys[wish]); } catch { /* as above */ }
    return keys[wish];
  }
  function answered(wish) {
    delete keys[wish];
    try { sessionStorage.removeItem(wish); } catch { /* as above */ }
  }

  async function start(more = {}, again = false) {
    const { provider, spec, urlpath, subdir, environment } = given;
    const wish = JSON.stringify({ provider, spec, urlpath, subdir, environment, ...more });
    for (const button of document.querySelectorAll("[data-do]")) button.disabled = true;
    try {
      const response = await fetch(`${base}api/v1/launches`, {
        method: "POST", headers: { "content-type": "application/json", "idempotency-key": key(wish) },
        body: JSON.stringify({ ...JSON.parse(wish), build_token: at("status").dataset.token }),
      });
      const answer = await response.json();
      if (answer.code === "build_token" && !again) { await renew(); return start(more, true); }
      if (!response.ok) { refused(answer, more); return; }
      answered(wish);
      id = answer.id;
      history.replaceState(null, "", `${base}launches/${id}`);
      went = false; seen = [0, 0]; lines = []; opening = null; view?.clear(); view = null;
      at("log").open = false; at("log").hidden = true;
      await refresh();
      listen();
    } catch {
      refused({ detail: "The server does not answer." });
    }
  }

  async function renew() { // the page has been open for so long that its token has run out
    const answer = await fetch(id ? `${base}launches/${id}/status` : location.href, { headers: { accept: "text/html" } });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("status");
    at("status").dataset.token = fresh?.dataset.token ?? "";
  }

  function refused({ detail, retry_after: wait }, more = {}) {
    tell(detail, wait ? `Trying again in ${wait} seconds.` : "");
    for (const button of document.querySelectorAll("[data-do]")) button.disabled = false;
    if (wait) setTimeout(() => start(more), wait * 1000);
  }

  document.addEventListener("submit", (event) => {
    const what = event.submitter?.dataset.do;
    if (!what) return;
    event.preventDefault();
    if (what === "cancel" || what === "stop") {
      event.submitter.disabled = true;
      fetch(`${base}api/v1/launches/${id}`, { method: "DELETE" }).then(refresh, refresh);
      if (what === "stop") setTimeout(refresh, 1500);
    } else {
      start(what === "rebuild" ? { rebuild: true } : {});
    }
  });

  // A server that is ready lives for hours: its page holds a connection only while it is looked at, for a browser has few.
  function wake() {
    if (!id || over()) return;
    if (document.hidden) { if (state() === "ready") stream?.close(); return; }
    refresh();
    if (!stream || stream.readyState === EventSource.CLOSED) listen();
  }
  setInterval(() => {
    tick();
    const wait = document.hidden ? (state() === "ready" ? 50 : 0) : Number(at("status").dataset.poll ?? 0);
    if (id && wait && performance.now() - asked >= wait * 1000) refresh();
  }, 1000);
  document.addEventListener("visibilitychange", wake);
  addEventListener("pageshow", ({ persisted }) => { if (persisted) wake(); });
  if (id) {
    follow();
    if (!over() || at("status").dataset.build) listen(); // the log of an ended one is told from its first line
  } else if (given.start) {
    if (document.prerendering) document.addEventListener("prerenderingchange", () => start(), { once: true }); else start();
  }
})();
