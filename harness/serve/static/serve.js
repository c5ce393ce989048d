/* The pages work without this.  With it, the table is asked for anew as one types, and what changes shows by itself.
   All HTML that is put in place here is our own server's, in which whatever came from a host is escaped. */
"use strict";
(() => {
  document.documentElement.classList.add("js");
  const part = document.getElementById("part");
  const ask = document.getElementById("ask");
  if (!part) return;
  let etag = "", asking = null, chosen = "", over = false;

  const address = () => {
    const url = new URL(location.href);
    url.searchParams.set("part", "1");
    return url;
  };

  // Only what differs is exchanged: a selection, a tooltip or the focus elsewhere survives.
  function place(html) {
    const next = document.createElement("div");
    next.innerHTML = html;
    const focused = document.activeElement && part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const before = [...part.children], after = [...next.children];
    if (before.length !== after.length || before.some((e, n) => e.tagName !== after[n].tagName)) part.replaceChildren(...after);
    else before.forEach((e, n) => { if (e.outerHTML !== after[n].outerHTML) e.replaceWith(after[n]); });
    if (focused && !part.contains(document.activeElement)) part.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({preventScroll: true});
    over = Boolean(part.querySelector("[data-over]"));
    mark(false);
  }

  async function fetchPart() {
    asking?.abort();
    const mine = asking = new AbortController();
    const timer = setTimeout(() => mine.abort(), 10000);
    try {
      const answer = await fetch(address(), {headers: etag ? {"If-None-Match": etag} : {}, signal: mine.signal, cache: "no-store"});
      if (answer.redirected) { const url = new URL(answer.url); url.searchParams.delete("part"); location.replace(url); return; }
      if (answer.status !== 304) {
        if (!answer.ok) throw new Error(String(answer.status));
        const html = await answer.text();
        if (mine !== asking) return;
        etag = answer.headers.get("ETag") || "";
        place(html);
      }
      part.classList.remove("stale");
    } catch (error) {
      if (mine === asking) part.classList.add("stale");
    } finally { clearTimeout(timer); }
  }

  const every = Number(part.dataset.every);
  let typing = 0;
  (async function again() {
    await new Promise(done => setTimeout(done, every));
    if (!document.hidden && !over && !typing) await fetchPart();
    if (!over) again();
  })();
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !over) fetchPart(); });

  function show(url, push) {
    history[push ? "pushState" : "replaceState"](null, "", url);
    etag = "";
    chosen = "";
    return fetchPart();
  }

  function fromForm() {
    const url = new URL("/", location.href);
    for (const [name, value] of new FormData(ask)) if (value && !(name === "sort" && value === "when")) url.searchParams.set(name, value);
    return url;
  }

  function intoForm() {
    const asked = new URL(location.href).searchParams;
    for (const field of ask.elements) if (field.name) field.value = asked.get(field.name) || (field.name === "sort" ? "when" : "");
  }

  if (ask) {
    const soon = () => { clearTimeout(typing); typing = setTimeout(() => { typing = 0; show(fromForm(), false); }, 120); };
    ask.addEventListener("input", soon);
    ask.addEventListener("submit", event => { event.preventDefault(); clearTimeout(typing); typing = 0; show(fromForm(), true); });
    addEventListener("popstate", () => { intoForm(); etag = ""; fetchPart(); });
    part.addEventListener("click", event => {
      const link = event.target.closest("thead a, .pages a");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      show(link.href, true).then(() => { intoForm(); if (link.closest("thead")) part.querySelector("th[aria-sort] a")?.focus({preventScroll: true}); });
    });
  }

  // The row that the keys have chosen is known by its address, so that it stays chosen when rows come and go.
  const rows = () => [...part.querySelectorAll("#runs tbody tr")];
  const addressOf = row => row.querySelector("a.files").getAttribute("href");
  function mark(scroll) {
    for (const row of rows()) row.classList.toggle("here", chosen !== "" && addressOf(row) === chosen);
    const row = part.querySelector("#runs tr.here");
    if (scroll && row) { row.scrollIntoView({block: "nearest"}); row.querySelector("a.open").focus({preventScroll: true}); }
  }
  function step(by) {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex(row => addressOf(row) === chosen);
    chosen = addressOf(all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1)]);
    mark(true);
  }
  const go = selector => { const link = (part.querySelector("#runs tr.here") || document).querySelector(selector); if (link) location.href = link.href; };

  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || !ask) return;
    const field = event.target.closest?.("input, select, textarea");
    if (field) {
      if (event.key === "Escape") { field.blur(); event.preventDefault(); }
      else if (event.key === "ArrowDown" && field.id === "q") { field.blur(); step(1); event.preventDefault(); }
      return;
    }
    const keys = {
      "/": () => { ask.q.focus(); ask.q.select(); },
      j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
      Enter: () => event.target.closest?.("a, button") || go("a.open"),
      f: () => part.querySelector("tr.here") && go("a.files"),
      l: () => { location.href = part.querySelector("tr.here a.live")?.href || "/live/"; },
      n: () => part.querySelector("[data-do=next]")?.click(),
      p: () => part.querySelector("[data-do=previous]")?.click(),
      Escape: () => { show("/", true).then(intoForm); },
    };
    const act = keys[event.key];
    if (!act) return;
    if (event.key !== "Enter") event.preventDefault();
    act();
  });
})();
