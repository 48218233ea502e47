"use strict";
(() => {
  const root = document.documentElement;
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const make = (tag, props = {}, ...children) => {
    const node = Object.assign(document.createElement(tag), props);
    node.append(...children);
    return node;
  };

  // light or dark: the system's choice until the reader uses the switch
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

  // what is wider than its room says that it can be scrolled
  const rooms = new Map();
  const showEffect = (room) => {  // a chart of changes begins where its first effect can be seen, with zero if there is room
    const zero = [...room.querySelectorAll("line.zero")].find((line) => line.getAttribute("x1") === line.getAttribute("x2"));
    if (!zero) return;
    const start = room.getBoundingClientRect().left - room.scrollLeft;
    const [from, to] = [zero, room.querySelector("circle.effect") ?? zero].map((mark) => mark.getBoundingClientRect().left - start);
    const right = Math.abs(from - to) < 0.7 * room.clientWidth ? Math.max(from, to) : to;
    room.scrollLeft = Math.max(0, right - 0.75 * room.clientWidth);
  };
  const look = new ResizeObserver(() => rooms.forEach((hint, room) => {
    const wider = room.scrollWidth > room.clientWidth + 1;
    if (wider && !room.classList.contains("overflows")) showEffect(room);
    room.classList.toggle("overflows", wider);
    hint.hidden = !wider;
  }));
  for (const room of document.querySelectorAll(".scroll")) {
    const hint = make("p", { className: "hint", textContent: "Wider than the page: scroll sideways ↔", hidden: true });
    rooms.set(room, hint);
    room.before(hint);
    look.observe(room);
    if (room.firstElementChild) look.observe(room.firstElementChild);
  }

  // on a wide screen tables that are about as high as their charts stand beside them
  if (matchMedia("(min-width: 110rem)").matches) {
    document.querySelectorAll(".panel > details.table").forEach((table) => { table.open = table.querySelectorAll("tbody tr").length <= 16; });
  }

  // panels of a section become tabs, of the chosen group if there are several; arrow keys move between them
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
    let now = 0;
    const select = (number, focus) => {
      now = number;
      tabs.forEach((tab, index) => {
        tab.setAttribute("aria-selected", String(index === number));
        tab.tabIndex = index === number ? 0 : -1;
        tab.hidden = panels[index].dataset.group !== panels[number].dataset.group;
        panels[index].hidden = index !== number;
      });
      if (focus) tabs[number].focus();
    };
    const groups = [...new Set(panels.map((panel) => panel.dataset.group))];
    if (groups.length > 1) {
      const choice = make("select", {}, ...groups.map((value) => make("option", { value, textContent: value })));
      choice.addEventListener("change", () => {
        const own = panels.filter((panel) => panel.dataset.group === choice.value);
        const same = own.find((panel) => panel.dataset.title === panels[now].dataset.title);
        select(panels.indexOf(same ?? own[0]));
      });
      box.prepend(make("label", { className: "groups" }, "Evaluation", choice));
    }
    tabs.forEach((tab, number) => tab.addEventListener("click", () => select(number)));
    list.addEventListener("keydown", (event) => {
      const shown = tabs.filter((tab) => !tab.hidden);
      const at = shown.indexOf(document.activeElement);
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: shown.length - 1 }[event.key];
      if (to === undefined || at < 0) return;
      event.preventDefault();
      select(tabs.indexOf(shown[(to + shown.length) % shown.length]), true);
    });
    list.append(...tabs);
    (box.querySelector(".groups") ?? box).insertAdjacentElement(groups.length > 1 ? "afterend" : "afterbegin", list);
    select(0);
  }

  // sort plain tables
  const compare = (first, second) => {
    if (first === null || second === null) return (first === null) - (second === null);
    if (typeof first === "number" && typeof second === "number") return first - second;
    return String(first).localeCompare(String(second), undefined, { numeric: true });
  };
  const toggleSort = (headings, heading) => {
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
      const sign = toggleSort(headings, heading);
      const rows = [...table.tBodies[0].rows].map((row) => [cellValue(row.cells[column]), row]);
      rows.sort(([a], [b]) => (a === null || b === null ? compare(a, b) : sign * compare(a, b)));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    }));
  }

  // downloads
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

  // mark the visible section in the navigation
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
  const extras = [...new Set(neurons.flatMap((neuron) => Object.keys(neuron.extra)))];
  const columns = [
    ["set", (neuron) => neuron.set], ["rank", (neuron) => neuron.rank], ["module", (neuron) => neuron.module],
    ["layer", (neuron) => neuron.layer], ["index", (neuron) => neuron.index], ["score", (neuron) => neuron.score],
    ["culture", (neuron) => neuron.culture || null],
    ...extras.map((name) => [name, (neuron) => neuron.extra[name] ?? null]),
  ];
  if (neurons.some((neuron) => neuron.drivers.length)) {
    columns.push(["raised by", (neuron) => [...new Set(neuron.drivers.map((driver) => driver.word.trim()))].join(" · ") || null]);
  }
  const haystack = neurons.map((neuron) => [
    neuron.set, neuron.module, "layer " + neuron.layer, neuron.index, neuron.culture,
    ...neuron.drivers.flatMap((driver) => [driver.word, items[driver.item].id, items[driver.item].text]),
  ].join("\n").toLowerCase());
  const number = (value) => {
    if (value === null) return "–";
    const text = Number.isInteger(value) ? String(value) : Math.abs(value) < 0.0001 ? value.toExponential(2) : value.toPrecision(3);
    return text.replace(/^-/, "−");
  };

  const options = (name, values) => {
    form.elements[name].append(make("option", { value: "", textContent: "all" }),
      ...values.map((value) => make("option", { value, textContent: value })));
  };
  const distinct = (of) => [...new Set(neurons.map(of))].filter((value) => value !== "").sort(compare);
  for (const name of ["set", "culture", "module", "layer"]) options(name, distinct((neuron) => neuron[name]));

  const numbers = new Set(columns.map(([, of]) => of).filter((of) => neurons.some((neuron) => typeof of(neuron) === "number")));
  const numeric = (of) => numbers.has(of);
  const headings = columns.map(([name, of]) => make("th", { scope: "col", className: numeric(of) ? "number" : "" }, make("button", { type: "button", textContent: name })));
  document.querySelector("#neuron-table thead tr").append(make("th", {}, make("span", { className: "hidden", textContent: "details" })), ...headings);
  headings.forEach((heading, index) => heading.firstChild.addEventListener("click", () => {
    sorted = [columns[index][1], toggleSort(headings, heading)];
    draw();
  }));

  const details = (neuron) => {
    const scores = make("div", { className: "scores" });
    const known = neuron.values.filter((value) => value !== null);
    const most = Math.max(...known.map(Math.abs), 0) || 1;
    neuron.values.map((value, index) => [value, cultures[index]]).filter(([value]) => value !== null)
      .sort(([a], [b]) => b - a).forEach(([value, culture]) => {
        const fill = make("span", { className: "fill " + (value < 0 ? "negative" : "positive") });
        fill.style.width = 50 * Math.abs(value) / most + "%";
        scores.append(make("span", { textContent: culture, dir: "auto" }), make("span", { className: "barbox" }, fill),
          make("span", { textContent: number(value) }));
      });
    const left = make("div", {}, make("h4", { textContent: "Score by culture" }));
    left.append(known.length ? scores : make("p", { textContent: "Give report the run of this set to see the scores." }));
    const right = make("div", {}, make("h4", { textContent: "Raised most by" }));
    for (const driver of neuron.drivers) {
      const item = items[driver.item];
      const about = [item.id, item.culture, item.topic, "correct: " + item.gold, "answered: " + item.predicted.trim(), "score " + number(driver.score)];
      const quote = make("blockquote", { dir: "auto", tabIndex: 0 });
      const end = Math.min(driver.end, item.text.length);
      if (driver.start < end) {
        quote.append(item.text.slice(0, driver.start), make("mark", { textContent: item.text.slice(driver.start, end) }), item.text.slice(end));
      } else {
        quote.append(item.text);
      }
      right.append(make("div", { className: "question" }, make("p", { textContent: about.filter(Boolean).join(" · "), dir: "auto" }), quote));
    }
    if (!neuron.drivers.length) right.append(make("p", { textContent: "The run stores no scores of single questions." }));
    return make("div", { className: "detail" }, left, right);
  };

  const rowOf = (neuron, index) => {
    const open = make("button", { type: "button", className: "open", textContent: "▸" });
    const id = "details-" + index;
    open.setAttribute("aria-expanded", "false");
    open.setAttribute("aria-label", `Details of neuron ${neuron.index} of ${neuron.module}, layer ${neuron.layer}`);
    const row = make("tr", {}, make("td", {}, open));
    for (const [, of] of columns) {
      const value = of(neuron);
      const isNumber = typeof value === "number";
      const className = isNumber || numeric(of) ? "number" : "";
      row.append(make("td", { textContent: isNumber ? number(value) : value ?? "–", dir: isNumber ? "" : "auto", className }));
    }
    const flip = () => {
      const isOpen = row.nextElementSibling?.id === id;
      if (isOpen) row.nextElementSibling.remove();
      else row.after(make("tr", { className: "details", id }, make("td", { colSpan: columns.length + 1 }, details(neuron))));
      open.setAttribute("aria-expanded", String(!isOpen));
      open.textContent = isOpen ? "▸" : "▾";
    };
    open.addEventListener("click", (event) => { event.stopPropagation(); flip(); });
    row.addEventListener("click", () => { if (!getSelection().toString()) flip(); });
    return row;
  };

  const draw = () => {
    const filters = Object.fromEntries(new FormData(form));
    const words = filters.text.toLowerCase().split(/\s+/).filter(Boolean);
    let matches = neurons.map((neuron, index) => [neuron, index]).filter(([neuron, index]) =>
      (!filters.set || neuron.set === filters.set) && (!filters.culture || neuron.culture === filters.culture) &&
      (!filters.module || neuron.module === filters.module) && (!filters.layer || String(neuron.layer) === filters.layer) &&
      words.every((word) => haystack[index].includes(word)));
    if (sorted) {
      const [of, sign] = sorted;
      matches = matches.sort(([a], [b]) => {
        const first = of(a), second = of(b);
        return first === null || second === null ? compare(first, second) : sign * compare(first, second);
      });
    }
    body.replaceChildren(...matches.slice(0, shown).map(([neuron, index]) => rowOf(neuron, index)));
    count.textContent = `${matches.length} of ${neurons.length} neurons`;
    more.hidden = matches.length <= shown;
  };
  form.addEventListener("input", () => { shown = STEP; draw(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { shown += STEP; draw(); });
  draw();
})();
