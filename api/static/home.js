// The home page: shows at once what a link means, lets it be corrected, and copies. The grammar of links lives on the server.
"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const base = window.pageConfig.baseUrl;
  const parts = ["provider", "repo", "ref", "path", "subdir", "environment"];
  let found = null; // what the server made of the last input
  let asked = 0; // only the newest answer counts
  let timer = 0;

  const say = (text) => { at("said").textContent = text; };
  const wrong = (text) => { at("wrong").textContent = text; at("wrong").hidden = !text; };

  function show(answer, fill) {
    found = answer;
    at("found").hidden = false;
    if (fill) for (const part of parts) at(part).value = answer[part];
    if (answer.subdir || answer.environment) at("subdir").closest("details").open = true;
    at("share-link").value = answer.page;
    at("share-md").value = answer.badges.markdown;
    at("share-rst").value = answer.badges.rst;
    at("share-html").value = answer.badges.html;
    at("note").textContent = answer.note;
    at("note").hidden = !answer.note;
    const name = at("provider").selectedOptions[0]?.text ?? answer.provider;
    say(`${name}: ${answer.repo}${answer.ref ? `, ${answer.ref}` : ""}${answer.path ? `, opens ${answer.path}` : ""}.`);
  }

  async function look(query, fill) {
    const mine = ++asked;
    try {
      const response = await fetch(`${base}api/v1/links?${new URLSearchParams(query)}`);
      const answer = await response.json();
      if (mine !== asked) return;
      if (response.ok) { wrong(""); show(answer, fill); } else { found = null; wrong(answer.detail); }
    } catch {
      if (mine === asked) { found = null; wrong("The server does not answer. Is it still running?"); }
    }
  }

  function soon(work, wait = 220) { clearTimeout(timer); timer = setTimeout(work, wait); }

  function fromLink(wait) {
    const link = at("link").value.trim();
    if (!link) { asked++; clearTimeout(timer); found = null; wrong(""); say(""); at("found").hidden = true; return; }
    soon(() => look({ link }, true), wait);
  }

  at("link").addEventListener("input", () => fromLink());
  at("fields").addEventListener("input", () => {
    soon(() => look(Object.fromEntries(parts.map((part) => [part, at(part).value.trim()])), false));
  });
  at("ask").addEventListener("submit", (event) => {
    if (!found) return; // the server reads the link itself, and says what is wrong with it
    event.preventDefault();
    location.assign(found.launch);
  });

  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const field = at(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(field.value);
        button.textContent = "Copied";
      } catch { // no clipboard on plain http: select it, so that one key press copies
        field.select();
        button.textContent = "Selected";
      }
      say(`${button.textContent}.`);
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
  if (at("link").value) fromLink(0); else if (matchMedia("(hover: hover)").matches) at("link").focus();
})();
