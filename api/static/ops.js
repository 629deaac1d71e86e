// The ops page: keeps itself fresh, filters by typing, and signs in with the token after # that `up` prints.
"use strict";
(() => {
  const base = window.pageConfig.baseUrl;
  const login = document.getElementById("login");
  if (login) {
    const token = new URLSearchParams(location.hash.slice(1)).get("token");
    if (token) {
      history.replaceState(null, "", location.pathname);
      document.getElementById("token").value = token;
      login.submit();
    }
    return;
  }
  if (location.hash.startsWith("#token=")) history.replaceState(null, "", location.pathname);
  const part = () => document.getElementById("part");
  const field = Object.assign(document.createElement("input"), { type: "search", placeholder: "Filter the tables", ariaLabel: "Filter the tables" });
  const box = Object.assign(document.createElement("div"), { className: "find-rows" });
  box.append(field);
  document.querySelector(".row h1").after(box);

  function filter() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of document.querySelectorAll("[data-filter] tbody tr")) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  }

  async function refresh() {
    if (document.hidden || part().contains(document.activeElement) && document.activeElement.matches("button, a")) return;
    try {
      const response = await fetch(`${base}ops/part`);
      if (response.status === 401) { location.reload(); return; }
      if (!response.ok) return;
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("part");
      const places = [...part().querySelectorAll(".table")].map((table) => [table.scrollLeft, table.scrollTop]);
      part().replaceWith(document.adoptNode(fresh));
      part().querySelectorAll(".table").forEach((table, n) => { if (places[n]) [table.scrollLeft, table.scrollTop] = places[n]; });
      filter();
    } catch { /* the server is away for a moment: the next turn asks again */ }
  }

  field.addEventListener("input", filter);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.matches("input")) { event.preventDefault(); field.focus(); }
  });
  setInterval(refresh, 3000);
})();
