"use strict";
/* Shows the run embedded in the page (see run.schema.json; what has its default value is left out). Text only ever
   becomes text: nothing from the run is parsed as HTML. The filter lives in the address' #fragment, so views can be sent. */
(() => {
  const CHUNK = 100;
  const MARK = { failed: "✗", error: "!", waived: "~", skipped: "–", passed: "✓" };
  const KEYS = ["q", "outcome", "host", "area", "severity"];
  const LAYERS = ["config", "live", "actual", "guest"];
  const run = JSON.parse(document.getElementById("run").textContent);
  const list = document.getElementById("results");
  const more = document.getElementById("more");
  const form = document.querySelector(".filters");
  const haystacks = new Map();
  let found = run.results;
  let shown = 0;

  function el(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  /* --- the filter */

  const read = () => new URLSearchParams(location.hash.slice(1));

  function haystack(result) {
    if (!haystacks.has(result)) {
      const words = [result.id, result.control, result.title, result.area, result.severity, result.requirement, result.host,
        where(result), result.outcome, result.message, result.hint, result.expected];
      haystacks.set(result, words.join(" ").toLowerCase());
    }
    return haystacks.get(result);
  }

  function filtered(wanted) {
    const words = (wanted.get("q") || "").toLowerCase().split(/\s+/).filter(Boolean);
    const fixed = KEYS.slice(1).filter((key) => wanted.get(key));
    return run.results.filter((result) =>
      fixed.every((key) => result[key] === wanted.get(key)) && words.every((word) => haystack(result).includes(word)));
  }

  function apply() {
    const wanted = read();
    for (const key of KEYS) if (form.elements[key].value !== (wanted.get(key) || "")) form.elements[key].value = wanted.get(key) || "";
    found = filtered(wanted);
    form.querySelector("output").textContent = `${found.length} of ${run.results.length}`;
    form.querySelector(".clear").hidden = !KEYS.some((key) => wanted.get(key));
    for (const link of document.querySelectorAll(".matrix a, .counts a")) {
      const same = link.hash && new URLSearchParams(link.hash.slice(1)).toString() === wanted.toString();
      if (same) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
    }
    list.replaceChildren();
    shown = 0;
    if (found.length) extend(CHUNK); else list.append(el("li", { class: "nothing" }, "No result matches."));
    more.hidden = shown >= found.length;
  }

  function write() {
    const wanted = new URLSearchParams();
    for (const key of KEYS) if (form.elements[key].value) wanted.set(key, form.elements[key].value);
    history.replaceState(null, "", "#" + wanted);
    apply();
  }

  function choices(name, all, values, label) {
    const select = form.elements[name];
    select.append(el("option", { value: "" }, all));
    for (const value of values) select.append(el("option", { value }, label(value)));
  }

  function extend(count) {
    list.append(...found.slice(shown, shown + count).map(row));
    shown = Math.min(shown + count, found.length);
    more.hidden = shown >= found.length;
  }

  /* --- one result */

  const below = (name, subject) =>
    subject === name || subject.startsWith(name + "/") ? subject : `${name}/${subject.replace(/^[/]/, "")}`;

  const where = (result) => below(result.host, result.guest ? below(result.guest, result.subject) : result.subject);

  function row(result) {
    const head = el("button", { type: "button", class: "head", "aria-expanded": "false" },
      el("span", { class: "mark " + result.outcome, role: "img", "aria-label": result.outcome }, MARK[result.outcome]),
      el("span", { class: "control" }, result.control),
      el("bdi", { class: "where" }, where(result)),
      el("span", { class: "title" }, result.title),
      strip(result),
      el("span", { class: "severity " + result.severity }, result.severity));
    const item = el("li", { class: "result " + result.outcome }, head);
    if (result.outcome !== "passed") item.append(...trouble(result));
    head.addEventListener("click", () => toggle(item, head, result));
    return item;
  }

  function strip(result) {
    const layer = (name) => {
      const seen = result.layers[name];
      return seen ? el("span", { class: seen.verdict.replace(" ", "-"), title: `${name}: ${seen.verdict}` }, name) : el("span", { class: "unread" }, "\u00a0");
    };
    return el("span", { class: "layers" }, ...LAYERS.map(layer));
  }

  function trouble(result) {
    const parts = result.message ? [el("p", { class: "message" }, el("bdi", {}, result.message))] : [];
    if (result.hint && (result.outcome === "failed" || result.outcome === "error")) parts.push(hint(result.hint));
    return parts;
  }

  function hint(command) {
    const code = el("code", {}, command);
    const button = el("button", { type: "button", "aria-label": "Copy the command" }, "Copy");
    button.addEventListener("click", () => copy(command, code, button));
    return el("div", { class: "hint" }, code, button);
  }

  async function copy(command, code, button) {
    try {
      await navigator.clipboard.writeText(command);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  function toggle(item, head, result) {
    const open = head.getAttribute("aria-expanded") === "true";
    head.setAttribute("aria-expanded", String(!open));
    if (open) item.querySelector(".panel").remove(); else item.append(panel(result));
  }

  /* --- its evidence */

  function panel(result) {
    return el("div", { class: "panel" }, evidence(result), about(result));
  }

  function evidence(result) {
    const rows = LAYERS.filter((name) => result.layers[name]).map((name) => layerRow(name, result.layers[name]));
    const heads = ["layer", "must be", "is"].map((text) => el("th", { scope: "col" }, text));
    return rows.length ? el("table", { class: "evidence" }, el("tbody", {}, el("tr", {}, ...heads), ...rows)) : "";
  }

  function layerRow(name, seen) {
    const readings = (seen.readings || []).map(reading);
    return el("tr", { class: seen.verdict.replace(" ", "-") },
      el("th", { scope: "row" }, name, el("small", {}, seen.verdict)),
      el("td", {}, el("bdi", {}, seen.expected)),
      el("td", {}, ...readings, seen.error || seen.not_applicable || ""));
  }

  function reading(one) {
    return el("div", {},
      el("bdi", one.agrees ? {} : { class: "off" }, one.value), " ",
      el("cite", {}, one.source),
      one.excerpt ? el("pre", {}, one.excerpt) : null);
  }

  function about(result) {
    const facts = el("dl", { class: "facts" });
    const fact = (name, ...values) => facts.append(el("dt", {}, name), el("dd", {}, ...values));
    if (result.rationale) fact("why", result.rationale);
    if (result.hint && result.outcome === "passed") fact("set by", el("code", {}, result.hint));
    if (result.mending) fact("mending", `${result.mending.mode}: ${result.mending.outcome}`, ...result.mending.changes.map((change) => el("pre", {}, change)));
    fact("control", `${result.control}, ${result.requirement}, area ${result.area}, ${result.severity}, judged in ${(result.duration * 1000).toFixed(1)} ms`);
    fact("test", el("code", {}, result.id));
    for (const reference of result.references || []) fact("see", link(reference));
    return facts;
  }

  const link = (address) => /^https?:\/\//.test(address) ? el("a", { href: address, rel: "noopener noreferrer" }, address) : address;

  /* --- begin */

  const once = (key) => [...new Set(run.results.map((result) => result[key]))];
  const count = Map.groupBy ? Map.groupBy(run.results, (result) => result.outcome) : new Map();
  const tally = (outcome) => count.has(outcome) ? `${outcome} (${count.get(outcome).length})` : outcome;
  choices("outcome", "any", Object.keys(MARK).filter((outcome) => once("outcome").includes(outcome)), tally);
  choices("host", "all", run.hosts.map((host) => host.name), String);
  choices("area", "all", once("area").sort(), String);
  choices("severity", "any", ["critical", "high", "medium", "low"], String);
  form.hidden = false;

  let typing;
  form.elements.q.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(write, 80); });
  form.addEventListener("change", (event) => { if (event.target.name !== "q") write(); });
  form.addEventListener("submit", (event) => { event.preventDefault(); write(); });
  form.querySelector(".clear").addEventListener("click", (event) => { event.preventDefault(); form.reset(); write(); });
  more.firstChild.addEventListener("click", () => extend(CHUNK));
  new IntersectionObserver((entries) => { if (entries[0].isIntersecting && !more.hidden) extend(CHUNK); }, { rootMargin: "800px" }).observe(more);
  addEventListener("hashchange", () => { apply(); if (location.hash.length > 1) document.getElementById("list").scrollIntoView(); });
  addEventListener("beforeprint", () => extend(2000));
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, select, textarea")) { event.preventDefault(); form.elements.q.focus(); }
  });
  apply();
})();
