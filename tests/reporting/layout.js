// What a browser says of the page: read by test_browser_layout.py, which calls the functions by name.
"use strict";
window.look = {
  showAll: () => document.querySelectorAll(".panel").forEach((panel) => { panel.hidden = false; }),
  cut: () => {
    const cut = [];
    const named = (node) => `${node.tagName}.${node.getAttribute("class") || ""} ${(node.textContent || "").slice(0, 40)}`;
    for (const node of document.querySelectorAll("header *, nav *, main, main *")) {
      const inDrawing = node.closest("svg");
      if ((inDrawing && node !== inDrawing) || !node.getClientRects().length) continue;
      if (node.closest(".hidden, .skip, blockquote")) continue;
      const room = node.parentElement.closest(".scroll, [role=tablist]");
      if (room) continue;
      const box = node.getBoundingClientRect();
      if (box.right > innerWidth + 1 || box.left < -1) cut.push("beyond the page: " + named(node));
      const style = getComputedStyle(node);
      if (!["auto", "scroll"].includes(style.overflowX) && node.clientWidth && node.scrollWidth > node.clientWidth + 2
          && style.display !== "inline") {
        cut.push("wider than its room: " + named(node));
      }
    }
    for (const drawing of document.querySelectorAll("svg")) {
      const room = drawing.getBoundingClientRect();
      if (!room.width) continue;
      for (const text of drawing.querySelectorAll("text")) {
        const box = text.getBoundingClientRect();
        if (box.left < room.left - 1 || box.right > room.right + 1 || box.top < room.top - 1 || box.bottom > room.bottom + 1)
          cut.push("text beyond its drawing: " + text.textContent);
      }
    }
    return cut;
  },
  unmarked: () => [...document.querySelectorAll(".scroll")].filter((room) => {
    if (!room.clientWidth || room.scrollWidth <= room.clientWidth + 1) return false;
    const hint = room.previousElementSibling;
    return !(hint && hint.matches(".hint") && hint.getClientRects().length && room.tabIndex === 0);
  }).map((room) => room.getAttribute("aria-label")),
  faint: () => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (color) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      return [...canvas.getImageData(0, 0, 1, 1).data].map((value) => value / 255);
    };
    const light = (color) => {
      const [r, g, b] = color.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (first, second) => {
      const [a, b] = [light(first), light(second)].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    };
    const behind = (node) => {
      for (let at = node; at; at = at.parentElement) {
        const color = rgba(getComputedStyle(at).backgroundColor);
        if (color[3] > 0.99) return color;
      }
      return [1, 1, 1, 1];
    };
    const faint = [];
    const judge = (node, color, under) => {
      const value = ratio(rgba(color), under);
      if (value < 4.5) faint.push(`${value.toFixed(2)} ${node.tagName}.${node.getAttribute("class") || ""} ${node.textContent.slice(0, 30)}`);
    };
    for (const node of document.querySelectorAll("body *")) {
      if (!node.getClientRects().length || node.closest(".hidden, .skip, script, style")) continue;
      const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
      if (!own || node.tagName === "title") continue;
      if (!node.closest("svg")) judge(node, getComputedStyle(node).color, behind(node));
      else if (node.tagName === "text" && !node.matches(".value")) judge(node, getComputedStyle(node).fill, behind(node.closest("svg")));
    }
    for (const text of document.querySelectorAll("svg text.value")) {
      if (!text.getClientRects().length) continue;
      const cell = text.previousElementSibling;
      judge(text, getComputedStyle(text).fill, rgba(getComputedStyle(cell).fill));
    }
    return faint;
  },
  reachable: () => [...document.querySelectorAll("a[href], button, select, input, summary, [tabindex='0']")]
    .filter((node) => node.getClientRects().length && node.tabIndex >= 0 && !node.disabled)
    .map((node, index) => { node.dataset.reach = index; return index; }),
};
