// The ops page: asks every two seconds for the sections that have changed and puts only their differences in place, so that the
// focus, the scroll position and what somebody is reading stay. Shows a job in a drawer and asks in a dialog before it acts.
"use strict";
(() => {
  const base = window.pageConfig.baseUrl;
  const byId = (id) => document.getElementById(id);
  const login = byId("login");
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) history.replaceState(null, "", location.pathname);
  if (login) {
    if (token) {
      byId("token").value = token;
      login.submit();
    }
    return;
  }
  const field = byId("q"), kind = byId("kind"), live = byId("live"), drawer = byId("drawer"), asking = byId("asking");
  if (!field) return;
  const every = 2000;
  let skip = Number(new URLSearchParams(location.search).get("skip") || 0);
  let lost = 0, timer = 0, turn = 0, shown = "", before = null;

  const parse = (html) => new DOMParser().parseFromString(html, "text/html").body;

  // Makes `old` what `fresh` is, with as few changes as possible. Children with a key are found again wherever they are.
  function morph(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) return old.replaceWith(document.adoptNode(fresh));
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    for (const { name, value } of [...fresh.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    children(old, fresh);
  }
  function children(old, fresh) {
    const keyed = new Map([...old.children].filter((node) => node.dataset && node.dataset.key).map((node) => [node.dataset.key, node]));
    let at = old.firstChild;
    for (const node of [...fresh.childNodes]) {
      const key = node.dataset && node.dataset.key;
      const same = key ? keyed.get(key) : at && !(at.dataset && at.dataset.key) ? at : null;
      if (!same) old.insertBefore(document.adoptNode(node), at);
      else {
        const next = same === at ? at.nextSibling : at;
        if (same !== at) old.insertBefore(same, at);
        morph(same, node);
        at = next;
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function age(seconds) {
    for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
    return `${Math.max(0, Math.floor(seconds))} s`;
  }
  function ages() {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const text = age((Date.now() - Date.parse(time.dateTime)) / 1000);
      if (time.textContent !== text) time.textContent = text;
    }
  }

  const query = () => new URLSearchParams({ kind: kind.value, q: field.value.trim(), skip: String(skip) });
  function put(name, { hash, html }) {
    const place = byId(`s-${name}`);
    if (!place) return;
    children(place, parse(html));
    place.dataset.hash = hash;
  }

  async function refresh() {
    clearTimeout(timer);
    timer = setTimeout(refresh, lost ? Math.min(every * 2 ** lost, 15000) : every);
    if (document.hidden) return;
    const mine = ++turn, asked = query();
    const seen = [...document.querySelectorAll("[data-hash]")].map((place) => place.dataset.hash).join(".");
    try {
      const response = await fetch(`${base}ops/fresh?${asked}&seen=${seen}`, { headers: { accept: "application/json" } });
      if (response.status === 401) return location.reload();
      if (!response.ok) throw new Error(String(response.status));
      const changed = await response.json();
      if (mine !== turn) return;
      for (const [name, section] of Object.entries(changed)) put(name, section);
      if (drawer.open && shown) await fill(drawer, shown);
      if (lost) live.textContent = "Connected again.";
      lost = 0;
    } catch {
      lost = Math.min(lost + 1, 6);
      live.textContent = "The server does not answer; asking again.";
    }
    ages();
  }

  async function piece(address) {
    const response = await fetch(address, { headers: { accept: "text/html" } });
    if (response.status === 401) location.reload();
    return new DOMParser().parseFromString(await response.text(), "text/html").querySelector("main");
  }
  async function fill(dialog, address) {
    const main = await piece(address);
    for (const node of main.querySelectorAll("h1, .crumb")) node.remove();
    children(dialog.querySelector(":scope > div"), main);
    ages();
  }
  async function show(dialog, address) {
    try {
      await fill(dialog, address);
    } catch {
      location.assign(address);
      return;
    }
    if (!dialog.open) {
      before = before || document.activeElement;
      dialog.showModal();
    }
    dialog.querySelector("h2")?.focus();
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    if (link.hasAttribute("data-job")) {
      event.preventDefault();
      shown = link.href;
      show(drawer, shown);
    } else if (link.hasAttribute("data-act")) {
      event.preventDefault();
      asking.dataset.at = link.href;
      show(asking, link.href);
    } else if (link.hasAttribute("data-close") && asking.open) {
      event.preventDefault();
      asking.close();
    }
  });
  drawer.addEventListener("close", () => { shown = ""; before?.focus(); before = null; });
  asking.addEventListener("close", () => { if (!drawer.open) { before?.focus(); before = null; } });

  asking.addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target, wrong = form.querySelector(".wrong"), button = form.querySelector("button");
    button.disabled = true;
    try {
      const response = await fetch(asking.dataset.at, {
        method: "POST", body: new URLSearchParams(new FormData(form)), redirect: "manual", headers: { accept: "application/json" } });
      if (response.type !== "opaqueredirect") throw new Error((await response.json()).detail || "That did not work.");
      asking.close();
      live.textContent = "Done.";
      refresh();
    } catch (error) {
      wrong.textContent = error instanceof TypeError ? "The server does not answer. Try again." : error.message;
      wrong.hidden = false;
      button.disabled = false;
    }
  });

  let typing = 0;
  function search() {
    clearTimeout(typing);
    typing = setTimeout(() => {
      skip = 0;
      history.replaceState(null, "", `${base}ops?${new URLSearchParams({ kind: kind.value, q: field.value.trim() })}`);
      refresh();
    }, 250);
  }
  field.addEventListener("input", search);
  kind.addEventListener("change", search);
  field.form.addEventListener("submit", (event) => { event.preventDefault(); search(); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.matches("input, textarea, select") && !drawer.open && !asking.open) {
      event.preventDefault();
      field.focus();
      field.select();
    }
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  timer = setTimeout(refresh, every);
})();
