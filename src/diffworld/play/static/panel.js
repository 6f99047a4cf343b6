// The panel and its tabs.

import { $, $$ } from "./dom.js";

export class Panel {
  // `changed(name)` is called with the tab that is seen now, or null.
  constructor(changed) {
    this.changed = changed;
    $("#panel-button").addEventListener("click", () => this.toggle(this.chosen));
    $("#panel-close").addEventListener("click", () => this.open(null));
    for (const tab of $$("[role=tab]")) {
      tab.addEventListener("click", () => this.open(tab.getAttribute("aria-controls")));
      tab.addEventListener("keydown", (event) => this.move(event));
    }
    for (const button of $$(".about")) {
      const text = document.getElementById(button.getAttribute("aria-controls"));
      button.setAttribute("aria-expanded", false);
      button.addEventListener("click", () => {
        text.hidden = !text.hidden;
        button.setAttribute("aria-expanded", !text.hidden);
      });
    }
  }

  get chosen() {
    return $("[role=tab][aria-selected=true]").getAttribute("aria-controls");
  }

  // The tab that is seen.
  get tab() {
    return $("#panel").hidden ? null : this.chosen;
  }

  toggle(name) {
    this.open($("#panel").hidden ? name : null);
  }

  open(name) {
    $("#panel").hidden = !name;
    document.body.classList.toggle("with-panel", Boolean(name));
    $("#panel-button").setAttribute("aria-expanded", Boolean(name));
    const chosen = name ?? this.chosen;
    for (const tab of $$("[role=tab]")) {
      const controls = tab.getAttribute("aria-controls");
      tab.setAttribute("aria-selected", controls === chosen);
      tab.tabIndex = controls === chosen ? 0 : -1;
      document.getElementById(controls).hidden = controls !== chosen;
    }
    this.changed(name);
  }

  move(event) {
    const tabs = $$("[role=tab]");
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const next = tabs[(tabs.indexOf(event.target) + by + tabs.length) % tabs.length];
    next.focus();
    this.open(next.getAttribute("aria-controls"));
  }
}
