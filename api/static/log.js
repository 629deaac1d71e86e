// A build's log: numbered lines with the colours that programs chose, searched, followed, copied, linked to. No terminal library:
// logs use colours (SGR) and carriage returns, nothing else; other control sequences are dropped.
const TOKENS = /\x1b\[([0-9;:]*)m|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]?|\r|\x08|[^\x1b\r\x08]+/g;
const UNSEEN = /[\x00-\x08\x0b-\x1f\x7f]/g;
const PART = 500; // lines that the browser lays out together, or not at all while out of sight
const MOST = 20000; // lines kept on the page; the whole log is one click away
const FRAME = 1500; // lines written between two frames

/** Turns lines into elements; styles carry over from one line to the next. */
class Ansi {
  style = {};

  /** The plain text and the elements of one line. */
  line(raw) {
    let spans = [];
    let back = false; // a carriage return: what follows replaces the line
    for (const [token, sgr] of raw.matchAll(TOKENS)) {
      if (sgr !== undefined) this.select(sgr);
      else if (token === "\r") back = true;
      else if (token === "\x08") { const last = spans.at(-1); if (last) last.text = last.text.slice(0, -1); } else if (token[0] !== "\x1b") {
        if (back) { spans = []; back = false; }
        spans.push({ text: token.replace(UNSEEN, ""), style: { ...this.style } });
      }
    }
    return { plain: spans.map((span) => span.text).join(""), nodes: spans.map(({ text, style }) => element(text, style)) };
  }

  select(codes) {
    const list = codes.split(/[;:]/).map(Number);
    for (let at = 0; at < list.length; at++) {
      const code = list[at];
      const style = this.style;
      if (code === 0) this.style = {};
      else if (code === 1) style.b = true;
      else if (code === 2) style.d = true;
      else if (code === 3) style.i = true;
      else if (code === 4) style.u = true;
      else if (code === 9) style.s = true;
      else if (code === 22) style.b = style.d = false;
      else if (code === 23) style.i = false;
      else if (code === 24) style.u = false;
      else if (code === 29) style.s = false;
      else if (code >= 30 && code <= 37) style.f = code - 30;
      else if (code >= 90 && code <= 97) style.f = code - 82;
      else if (code === 39) delete style.f;
      else if (code >= 40 && code <= 47) style.g = code - 40;
      else if (code >= 100 && code <= 107) style.g = code - 100;
      else if (code === 49) delete style.g;
      else if (code === 38 || code === 48) {
        const wide = list[at + 1] === 2;
        const colour = wide ? `rgb(${list.slice(at + 2, at + 5).map((part) => part & 255).join(" ")})` : indexed(list[at + 2]);
        if (code === 38) style.f = colour; else style.g = colour;
        at += wide ? 4 : 2;
      }
    }
  }
}

function indexed(n) { // the 256 colours: 16 named ones, a cube, a ramp of greys
  if (!(n >= 0 && n < 256)) return 7;
  if (n < 16) return n;
  if (n >= 232) return `rgb(${Array(3).fill(8 + (n - 232) * 10).join(" ")})`;
  const level = (k) => { const v = Math.floor((n - 16) / k) % 6; return v && 55 + v * 40; };
  return `rgb(${level(36)} ${level(6)} ${level(1)})`;
}

function element(text, { f, g, ...flags }) {
  const names = Object.keys(flags).filter((flag) => flags[flag]);
  if (Number.isInteger(f)) names.push(`f${f}`);
  if (Number.isInteger(g)) names.push(`g${g & 7}`);
  if (!names.length && f === undefined && g === undefined) return document.createTextNode(text);
  const span = document.createElement("span");
  span.className = names.join(" ");
  span.textContent = text;
  if (typeof f === "string") span.style.color = f;
  if (typeof g === "string") span.style.backgroundColor = g;
  return span;
}

const make = (tag, props = {}, ...inside) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...inside);
  return node;
};

export { Ansi };

/** The log in its box. `page` is where a line's address leads (empty: this page), `text` the whole log as text. */
export class Log {
  constructor(box, { style, page = "", text = "", whole = false }) {
    this.page = page;
    this.text = text;
    this.ansi = new Ansi();
    this.plain = []; // finished lines
    this.raw = ""; // of the line that is not finished
    this.todo = []; // finished lines that are not on the page yet
    this.follows = !location.hash;
    this.hit = -1;
    this.quiet = [];
    if (style) document.head.append(make("link", { rel: "stylesheet", href: style }));
    this.lines = make("div", { className: "lines wraps", tabIndex: 0, role: "log", ariaLive: "off", ariaLabel: "Log" });
    this.scroller = whole ? document.scrollingElement : this.lines;
    this.last = this.row(0, []); // the unfinished line
    this.last.hidden = true;
    this.lines.append(this.last);
    box.replaceChildren(this.bar(), this.lines);
    (whole ? window : this.lines).addEventListener("scroll", () => this.scrolled(), { passive: true });
    if (whole) window.addEventListener("hashchange", () => this.go());
  }

  bar() {
    this.field = make("input", { type: "search", placeholder: "Search the log", ariaLabel: "Search the log" });
    this.count = make("span", { className: "count" });
    this.count.setAttribute("role", "status");
    const button = (text, work, more = {}) => make("button", { type: "button", textContent: text, onclick: work, ...more });
    this.following = button("Follow", () => { this.follows = !this.follows; this.follow(); });
    const wrap = button("Wrap", () => wrap.setAttribute("aria-pressed", String(this.lines.classList.toggle("wraps"))));
    wrap.setAttribute("aria-pressed", "true");
    const copy = button("Copy", async () => {
      try { await navigator.clipboard.writeText(this.plain.join("\n")); copy.textContent = "Copied"; } catch { copy.textContent = "Not allowed"; }
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    });
    let timer = 0;
    this.field.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => this.search(), 150); });
    this.field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") { event.preventDefault(); this.step(event.shiftKey ? -1 : 1); }
      if (event.key === "Escape") { this.field.value = ""; this.search(); }
    });
    const find = make("div", { className: "find" }, this.field, this.count,
      button("↑", () => this.step(-1), { className: "narrow", ariaLabel: "Previous match" }),
      button("↓", () => this.step(1), { className: "narrow", ariaLabel: "Next match" }));
    const bar = make("div", { className: "bar" }, find, this.following, wrap, copy);
    if (this.text) bar.append(make("a", { className: "button", href: this.text, download: "log.txt", textContent: "Download" }));
    this.follow();
    return bar;
  }

  /** Add text as it came: parts of lines, many lines. */
  write(text) {
    const parts = (this.raw + text).split("\n");
    this.raw = parts.pop();
    for (const part of parts) this.todo.push(part.endsWith("\r") ? part.slice(0, -1) : part);
    this.later();
  }

  /** Call once nothing has come for a moment. */
  whenQuiet(work) { this.quiet.push(work); this.later(); }

  later() {
    // No animation frames come to a tab in the background; its log is written all the same.
    this.planned ??= setTimeout(() => { this.planned = undefined; this.flush(); }, document.hidden ? 500 : 30);
  }

  flush() {
    for (const raw of this.todo.splice(0, FRAME)) this.add(raw);
    this.last.hidden = !this.raw;
    if (this.raw) {
      const kept = this.ansi.style; // it is rendered again when it is finished
      this.ansi.style = { ...kept };
      this.last.lastChild.replaceChildren(...this.ansi.line(this.raw).nodes);
      this.ansi.style = kept;
      this.last.firstChild.dataset.n = this.plain.length + 1;
    }
    if (this.follows) this.scroller.scrollTop = this.scroller.scrollHeight;
    const digits = Math.max(3, String(this.plain.length).length);
    if (digits !== this.digits) { this.digits = digits; this.lines.style.setProperty("--n", digits); }
    if (this.todo.length) { this.later(); return; }
    if (this.field.value) this.tally();
    if (location.hash && !this.gone) this.go();
    clearTimeout(this.hush);
    this.hush = setTimeout(() => { for (const work of this.quiet.splice(0)) work(); }, 250);
  }

  row(number, nodes) {
    const link = make("a", { href: `${this.page}#L${number}`, tabIndex: -1, ariaLabel: `Line ${number}` });
    link.dataset.n = number;
    return make("div", { className: "l" }, link, make("span", {}, ...nodes));
  }

  add(raw) {
    const { plain, nodes } = this.ansi.line(raw);
    const number = this.plain.push(plain);
    if (!this.part || this.part.childElementCount >= PART) {
      this.part = make("div", { className: "part" });
      this.last.before(this.part);
      if (number > MOST) this.forget();
    }
    const row = this.row(number, nodes);
    row.id = `L${number}`;
    if (this.field.value && plain.toLowerCase().includes(this.field.value.toLowerCase())) row.classList.add("is-hit");
    this.part.append(row);
  }

  forget() {
    this.lines.querySelector(".part").remove();
    if (this.lines.querySelector(".more")) return;
    const whole = this.text ? make("a", { href: this.text, textContent: "the whole log" }) : "the whole log";
    this.lines.prepend(make("p", { className: "more" }, "Earlier lines are in ", whole, "."));
  }

  clear() { this.lines.parentNode?.replaceChildren(); }

  // --- following and finding ------------------------------------------------------------------------------------

  follow() {
    this.following.setAttribute("aria-pressed", String(this.follows));
    if (this.follows && this.lines) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  scrolled() { // scrolling up lets go, scrolling to the end takes hold again
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const atEnd = scrollHeight - scrollTop - clientHeight < 40;
    if (atEnd === this.follows) return;
    if (atEnd || scrollTop < (this.top ?? 0)) { this.follows = atEnd; this.following.setAttribute("aria-pressed", String(atEnd)); }
    this.top = scrollTop;
  }

  here(row) {
    this.lines.querySelector(".is-here")?.classList.remove("is-here");
    row.classList.add("is-here");
    this.follows = false;
    this.follow();
    row.scrollIntoView({ block: "center" });
  }

  go() {
    const row = /^#L\d+$/.test(location.hash) && this.lines.querySelector(location.hash);
    if (row) { this.gone = true; this.here(row); }
  }

  search() {
    const text = this.field.value.toLowerCase();
    this.hit = -1;
    for (const row of this.lines.querySelectorAll(".l[id]")) {
      row.classList.toggle("is-hit", Boolean(text) && this.plain[row.id.slice(1) - 1].toLowerCase().includes(text));
    }
    this.lines.querySelector(".is-here")?.classList.remove("is-here");
    this.tally();
    if (text) this.step(1);
  }

  tally() {
    const hits = this.lines.querySelectorAll(".is-hit").length;
    this.count.textContent = this.field.value ? `${this.hit >= 0 ? `${this.hit + 1} of ` : ""}${hits}` : "";
  }

  step(by) {
    const hits = this.lines.querySelectorAll(".is-hit");
    if (!hits.length) return;
    this.hit = (this.hit + by + hits.length) % hits.length;
    this.here(hits[this.hit]);
    this.tally();
  }

  /** Mark the lines that begin so, from the last one on: those that say what went wrong. */
  mark(texts) {
    const wanted = texts.map((text) => text.trim()).filter(Boolean);
    for (let at = this.plain.length - 1; at >= 0 && wanted.length; at--) {
      if (!this.plain[at].trim().startsWith(wanted.at(-1))) continue;
      wanted.pop();
      this.lines.querySelector(`#L${at + 1}`)?.classList.add("is-bad");
    }
  }
}
