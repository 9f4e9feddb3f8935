// The few behaviours htmx does not have. No inline handlers anywhere: everything hangs on data attributes.
(function () {
  "use strict";

  const root = document.documentElement;
  const on = (name, selector, act) =>
    document.addEventListener(name, (event) => {
      const hit = event.target instanceof Element ? event.target.closest(selector) : null;
      if (hit) act(hit, event);
    });

  // ---------------------------------------------------------------- navigation on narrow screens
  const rail = (open) => {
    document.body.classList.toggle("rail-on", open);
    document.querySelectorAll("[data-rail]").forEach((b) => b.setAttribute("aria-expanded", String(open)));
  };
  on("click", "[data-rail]", () => rail(!document.body.classList.contains("rail-on")));
  on("click", "[data-rail-close]", () => rail(false));

  // ---------------------------------------------------------------- keys printed on the buttons
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      const box = document.querySelector("[data-search]");
      if (box) { event.preventDefault(); box.focus(); box.select(); }
      return;
    }
    if (event.key === "Escape") { rail(false); clearAnswers(); return; }
    if (/^F\d+$/.test(event.key)) {
      const target = document.querySelector(`[data-key="${event.key}"]`);
      if (!target) return;
      event.preventDefault();
      if (target.matches("input[type=radio]")) { target.checked = true; target.focus(); }
      else if (target.matches("input, select, textarea")) { target.focus(); if (target.select) target.select(); }
      else target.click();
    }
  });

  // ---------------------------------------------------------------- search answers: arrows and Enter
  const clearAnswers = () =>
    document.querySelectorAll(".answers:not(.answers-flow)").forEach((box) => box.replaceChildren());
  document.addEventListener("keydown", (event) => {
    const box = event.target instanceof Element ? event.target.closest("[data-search-area]") : null;
    if (!box || !["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) return;
    const answers = [...box.querySelectorAll(".answer")];
    if (!answers.length) return;
    const at = answers.indexOf(document.activeElement);
    if (event.key === "Enter") {
      if (at < 0 && answers.length === 1) { event.preventDefault(); answers[0].click(); }
      return;
    }
    event.preventDefault();
    const next = event.key === "ArrowDown" ? at + 1 : at - 1;
    if (next < 0) box.querySelector("input").focus();
    else answers[Math.min(next, answers.length - 1)].focus();
  });
  document.addEventListener("click", (event) => {
    if (event.target instanceof Element && !event.target.closest("[data-search-area]")) clearAnswers();
  });

  // ---------------------------------------------------------------- counter: presets fill the amount
  on("click", "[data-amount]", (button) => {
    const field = document.getElementById(button.dataset.amountFor || "amount");
    if (!field) return;
    field.value = button.dataset.amount;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.focus();
  });

  on("click", "[data-print]", () => window.print());
  on("click", "[data-close]", (button) => {
    const box = document.querySelector(button.dataset.close);
    const hint = box && box.dataset.hint ? document.querySelector(box.dataset.hint) : null;
    if (box) box.replaceChildren(...(hint ? [hint.content.cloneNode(true)] : []));
    document.querySelectorAll(".tile[aria-current]").forEach((t) => t.removeAttribute("aria-current"));
  });
  on("change", "[data-submit-on-change]", (field) => field.form.requestSubmit());
  on("click", ".tile", (tile) => {
    document.querySelectorAll(".tile[aria-current]").forEach((t) => t.removeAttribute("aria-current"));
    tile.setAttribute("aria-current", "true");
  });

  // A form that moves money goes out once per click; the key in it makes a repeat harmless anyway.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-once]")) return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
    form.querySelectorAll("button[type=submit]").forEach((b) => b.setAttribute("aria-busy", "true"));
  });
  window.addEventListener("pageshow", () =>
    document.querySelectorAll("form[data-sent]").forEach((form) => { delete form.dataset.sent; }));

  // Dangerous acts name their object; the sentence comes from the server.
  document.addEventListener("submit", (event) => {
    const words = (event.submitter && event.submitter.dataset.sure) || event.target.dataset.sure;
    if (words && !window.confirm(words)) event.preventDefault();
  }, true);

  // ---------------------------------------------------------------- live parts say what they already show
  document.addEventListener("htmx:configRequest", (event) => {
    const box = event.target;
    if (box.hasAttribute("data-live")) event.detail.parameters.seen = box.dataset.seen || "";
    if (box.hasAttribute("data-floors")) {
      event.detail.parameters.floors = [...document.querySelectorAll("[data-floor]")]
        .map((row) => `${row.dataset.floor}:${row.dataset.digest}`).join(",");
    }
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    // Nobody looks at a hidden page, and an opened detail must not close under the reader's eyes.
    const box = event.target;
    if (!box.hasAttribute("data-live") && !box.hasAttribute("data-floors")) return;
    const guarded = box.dataset.guard ? document.querySelector(box.dataset.guard) : null;
    if (document.hidden || box.querySelector("details[open]") || (guarded && guarded.querySelector("details[open]"))) event.preventDefault();
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const seen = event.detail.xhr && event.detail.xhr.getResponseHeader("X-Seen");
    if (seen && event.target.hasAttribute("data-live")) event.target.dataset.seen = seen;
  });

  const ready = () => {
    root.dataset.ready = "1";
    const first = document.querySelector("[data-focus]");
    if (first) { first.focus(); if (first.select) first.select(); }
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", ready); else ready();
})();
