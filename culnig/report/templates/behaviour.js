"use strict";
(() => {
  const root = document.documentElement;
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const make = (tag, props = {}, ...children) => {
    const node = Object.assign(document.createElement(tag), props);
    node.append(...children);
    return node;
  };

  // light and dark: the system's choice until the switch is used
  const theme = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const show = (dark) => {
    root.dataset.theme = dark ? "dark" : "light";
    theme.textContent = dark ? "Light" : "Dark";
    theme.setAttribute("aria-pressed", String(dark));
  };
  let chosen = false;
  show(system.matches);
  system.addEventListener("change", () => { if (!chosen) show(system.matches); });
  theme.addEventListener("click", () => { chosen = true; show(root.dataset.theme !== "dark"); });

  // panels of a section as tabs; arrow keys walk over them
  let numbered = 0;
  for (const box of document.querySelectorAll("[data-tabs]")) {
    const panels = [...box.children];
    const list = make("div", { role: "tablist" });
    list.setAttribute("aria-label", box.dataset.tabs);
    const tabs = panels.map((panel) => {
      const id = "tab-" + ++numbered;
      const tab = make("button", { type: "button", id, role: "tab", textContent: panel.dataset.title, dir: "auto" });
      panel.id = id + "-panel";
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", id);
      tab.setAttribute("aria-controls", panel.id);
      return tab;
    });
    const select = (number, focus) => {
      tabs.forEach((tab, place) => {
        tab.setAttribute("aria-selected", String(place === number));
        tab.tabIndex = place === number ? 0 : -1;
        panels[place].hidden = place !== number;
      });
      if (focus) tabs[number].focus();
    };
    tabs.forEach((tab, number) => tab.addEventListener("click", () => select(number)));
    list.addEventListener("keydown", (event) => {
      const now = tabs.indexOf(document.activeElement);
      const to = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined || now < 0) return;
      event.preventDefault();
      select((to + tabs.length) % tabs.length, true);
    });
    list.append(...tabs);
    box.prepend(list);
    select(0);
  }

  // sorting of plain tables
  const compare = (first, second) => {
    if (first === null || second === null) return (first === null) - (second === null);
    if (typeof first === "number" && typeof second === "number") return first - second;
    return String(first).localeCompare(String(second), undefined, { numeric: true });
  };
  const turn = (headings, heading) => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    headings.forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    return down ? -1 : 1;
  };
  const cellValue = (cell) => {
    if ("v" in cell.dataset) return Number(cell.dataset.v);
    return cell.textContent === "–" ? null : cell.textContent;
  };
  for (const table of document.querySelectorAll("table.data:not(#neuron-table)")) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => heading.querySelector("button")?.addEventListener("click", () => {
      const sign = turn(headings, heading);
      const rows = [...table.tBodies[0].rows].map((row) => [cellValue(row.cells[column]), row]);
      rows.sort(([a], [b]) => (a === null || b === null ? compare(a, b) : sign * compare(a, b)));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    }));
  }

  // files
  let files = null;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-file]");
    if (!button) return;
    files ??= read("file-data");
    const blob = new Blob([files[button.dataset.file][button.dataset.kind]], { type: "text/plain;charset=utf-8" });
    const link = make("a", { href: URL.createObjectURL(blob), download: button.dataset.file + "." + button.dataset.kind });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  // the section in view is marked in the navigation
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -75% 0px" });
  document.querySelectorAll("main section").forEach((section) => watcher.observe(section));

  // the list of neurons
  const form = document.getElementById("filters");
  if (!form) return;
  const { cultures, items, neurons } = read("neuron-data");
  const body = document.querySelector("#neuron-table tbody");
  const count = document.getElementById("count");
  const more = document.getElementById("more");
  const STEP = 50;
  let shown = STEP;
  let sorted = null;
  const extras = [...new Set(neurons.flatMap((one) => Object.keys(one.extra)))];
  const columns = [
    ["set", (one) => one.set], ["rank", (one) => one.rank], ["module", (one) => one.module],
    ["layer", (one) => one.layer], ["index", (one) => one.index], ["score", (one) => one.score],
    ["culture", (one) => one.culture || null],
    ...extras.map((name) => [name, (one) => one.extra[name] ?? null]),
    ["raised by", (one) => one.drivers.map((driver) => driver.word.trim()).join(" · ") || null],
  ];
  const haystack = neurons.map((one) => [
    one.set, one.module, "layer " + one.layer, one.index, one.culture,
    ...one.drivers.flatMap((driver) => [driver.word, items[driver.item].id, items[driver.item].text]),
  ].join("\n").toLowerCase());
  const number = (value) => {
    if (value === null) return "–";
    const text = Number.isInteger(value) ? String(value) : Math.abs(value) < 0.01 ? value.toExponential(2) : value.toPrecision(3);
    return text.replace(/^-/, "−");
  };

  const options = (name, values) => {
    form.elements[name].append(make("option", { value: "", textContent: "all" }),
      ...values.map((value) => make("option", { value, textContent: value })));
  };
  const distinct = (of) => [...new Set(neurons.map(of))].filter((value) => value !== "").sort(compare);
  for (const name of ["set", "culture", "module", "layer"]) options(name, distinct((one) => one[name]));

  const numbers = new Set(columns.map(([, of]) => of).filter((of) => neurons.some((one) => typeof of(one) === "number")));
  const numeric = (of) => numbers.has(of);
  const headings = columns.map(([name, of]) => make("th", { scope: "col", className: numeric(of) ? "number" : "" }, make("button", { type: "button", textContent: name })));
  document.querySelector("#neuron-table thead tr").append(make("th", {}, make("span", { className: "hidden", textContent: "details" })), ...headings);
  headings.forEach((heading, place) => heading.firstChild.addEventListener("click", () => {
    sorted = [columns[place][1], turn(headings, heading)];
    draw();
  }));

  const details = (one) => {
    const scores = make("div", { className: "scores" });
    const known = one.values.filter((value) => value !== null);
    const most = Math.max(...known.map(Math.abs), 0) || 1;
    one.values.map((value, place) => [value, cultures[place]]).filter(([value]) => value !== null)
      .sort(([a], [b]) => b - a).forEach(([value, culture]) => {
        const fill = make("span", { className: "fill " + (value < 0 ? "negative" : "positive") });
        fill.style.width = 50 * Math.abs(value) / most + "%";
        scores.append(make("span", { textContent: culture, dir: "auto" }), make("span", { className: "barbox" }, fill),
          make("span", { textContent: number(value) }));
      });
    const left = make("div", {}, make("h4", { textContent: "Score by culture" }));
    left.append(known.length ? scores : make("p", { textContent: "Give the run of this set to see them." }));
    const right = make("div", {}, make("h4", { textContent: "Raised most by" }));
    for (const driver of one.drivers) {
      const item = items[driver.item];
      const about = [item.id, item.culture, item.topic, "right: " + item.gold, "answered: " + item.predicted.trim(), "score " + number(driver.score)];
      const quote = make("blockquote", { dir: "auto", tabIndex: 0 });
      const end = Math.min(driver.end, item.text.length);
      if (driver.start < end) {
        quote.append(item.text.slice(0, driver.start), make("mark", { textContent: item.text.slice(driver.start, end) }), item.text.slice(end));
      } else {
        quote.append(item.text);
      }
      right.append(make("div", { className: "question" }, make("p", { textContent: about.filter(Boolean).join(" · "), dir: "auto" }), quote));
    }
    if (!one.drivers.length) right.append(make("p", { textContent: "The run keeps no scores of single questions." }));
    return make("div", { className: "detail" }, left, right);
  };

  const rowOf = (one, place) => {
    const open = make("button", { type: "button", className: "open", textContent: "▸" });
    const id = "details-" + place;
    open.setAttribute("aria-expanded", "false");
    open.setAttribute("aria-label", `Details of neuron ${one.index} of ${one.module}, layer ${one.layer}`);
    const row = make("tr", {}, make("td", {}, open));
    for (const [, of] of columns) {
      const value = of(one);
      const isNumber = typeof value === "number";
      const className = isNumber || numeric(of) ? "number" : "";
      row.append(make("td", { textContent: isNumber ? number(value) : value ?? "–", dir: isNumber ? "" : "auto", className }));
    }
    const flip = () => {
      const there = row.nextElementSibling?.id === id;
      if (there) row.nextElementSibling.remove();
      else row.after(make("tr", { className: "details", id }, make("td", { colSpan: columns.length + 1 }, details(one))));
      open.setAttribute("aria-expanded", String(!there));
      open.textContent = there ? "▸" : "▾";
    };
    open.addEventListener("click", (event) => { event.stopPropagation(); flip(); });
    row.addEventListener("click", () => { if (!getSelection().toString()) flip(); });
    return row;
  };

  const draw = () => {
    const wanted = Object.fromEntries(new FormData(form));
    const words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
    let found = neurons.map((one, place) => [one, place]).filter(([one, place]) =>
      (!wanted.set || one.set === wanted.set) && (!wanted.culture || one.culture === wanted.culture) &&
      (!wanted.module || one.module === wanted.module) && (!wanted.layer || String(one.layer) === wanted.layer) &&
      words.every((word) => haystack[place].includes(word)));
    if (sorted) {
      const [of, sign] = sorted;
      found = found.sort(([a], [b]) => {
        const first = of(a), second = of(b);
        return first === null || second === null ? compare(first, second) : sign * compare(first, second);
      });
    }
    body.replaceChildren(...found.slice(0, shown).map(([one, place]) => rowOf(one, place)));
    count.textContent = `${found.length} of ${neurons.length} neurons`;
    more.hidden = found.length <= shown;
  };
  form.addEventListener("input", () => { shown = STEP; draw(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { shown += STEP; draw(); });
  draw();
})();
