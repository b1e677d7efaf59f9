"use strict";
(() => {
  const collator = new Intl.Collator("en", { numeric: true });
  const fixed = (digits) => (value) =>
    value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const formats = {
    text: String,
    integer: (value) => value.toLocaleString("en-US"),
    share: fixed(3),
    real: fixed(3),
    fine: fixed(6),
  };
  const show = (kind, value) => (value === null ? "–" : formats[kind](value));
  const count = (value) => value.toLocaleString("en-US");

  document.documentElement.classList.add("scripted");

  function compare(values, kind) {
    const order = kind === "text" ? collator.compare : (a, b) => a - b;
    // What is not known stays at the end, whichever way the rest is sorted.
    return (direction) => (i, j) => {
      const a = values[i];
      const b = values[j];
      if (a === null || b === null) return (a === null) - (b === null) || i - j;
      return direction * order(a, b) || i - j;
    };
  }

  function quoted(value) {
    const text = value === null ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  function dataTable(root) {
    const { columns, noun, sorted: initially } = JSON.parse(root.querySelector("script").textContent);
    const total = columns[0].values.length;
    const body = root.querySelector("tbody");
    const heads = [...root.querySelectorAll("thead th")];
    const search = root.querySelector("input[type=search]");
    const where = root.querySelector(".where");
    const previous = root.querySelector(".previous");
    const next = root.querySelector(".next");
    const size = root.querySelector("select");
    const everything = Array.from({ length: total }, (_, row) => row);
    let page = Number(size.value);
    let words = null;
    let rows = everything;
    let first = 0;
    let sorted = initially;
    let direction = 1;

    function draw() {
      const shown = rows.slice(first, first + page);
      body.replaceChildren(
        ...shown.map((row) => {
          const line = document.createElement("tr");
          for (const { kind, values } of columns) {
            const cell = line.insertCell();
            const value = values[row];
            cell.className = kind;
            cell.textContent = show(kind, value);
            if (kind === "share" && value !== null) {
              cell.style.setProperty("--share", Math.min(Math.max(value, 0), 1).toFixed(3));
            }
          }
          return line;
        }),
      );
      const last = first + shown.length;
      const found = rows.length === total ? count(total) : `${count(rows.length)} found`;
      where.textContent = shown.length
        ? `${count(first + 1)}–${count(last)} of ${found}`
        : `No ${noun} found`;
      previous.disabled = first === 0;
      next.disabled = last >= rows.length;
    }

    function arrange() {
      const wanted = search.value.trim().toLowerCase();
      words ??= everything.map((row) =>
        columns
          .filter(({ kind }) => kind === "text" || kind === "integer")
          .map(({ values }) => String(values[row]).toLowerCase())
          .join("\n"),
      );
      rows = wanted ? everything.filter((row) => words[row].includes(wanted)) : [...everything];
      if (sorted !== initially || direction < 0) {
        rows.sort(compare(columns[sorted].values, columns[sorted].kind)(direction));
      }
      first = 0;
      draw();
    }

    heads.forEach((head, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.addEventListener("click", () => {
        direction = sorted === index ? -direction : 1;
        sorted = index;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
        arrange();
      });
      head.replaceChildren(button);
    });
    search.addEventListener("input", arrange);
    size.addEventListener("change", () => {
      page = Number(size.value);
      first -= first % page;
      draw();
    });
    previous.addEventListener("click", () => {
      first = Math.max(0, first - page);
      draw();
    });
    next.addEventListener("click", () => {
      first += page;
      draw();
    });
    root.querySelector(".save").addEventListener("click", () => {
      const lines = [
        columns.map(({ label }) => quoted(label)),
        ...rows.map((row) => columns.map(({ values }) => quoted(values[row]))),
      ];
      const link = document.createElement("a");
      const text = lines.map((line) => line.join(",")).join("\r\n");
      link.href = URL.createObjectURL(new Blob([text, "\r\n"], { type: "text/csv" }));
      link.download = `${root.id}.csv`;
      link.click();
      URL.revokeObjectURL(link.href);
    });
    draw();
  }

  function readout(figure) {
    const line = figure.querySelector(".readout");
    if (!line) return;
    const data = JSON.parse(figure.querySelector("script").textContent);
    const { span, names, counts } = data;
    const bins = counts[0].length;
    for (const area of figure.querySelectorAll(".area")) {
      area.addEventListener("pointermove", (event) => {
        const box = area.getBoundingClientRect();
        const at = Math.floor((bins * (event.clientX - box.left)) / box.width);
        const bin = Math.min(Math.max(at, 0), bins - 1);
        const edge = (index) => (span[0] + ((span[1] - span[0]) * index) / bins).toFixed(3);
        const parts = names.map((name, index) => `${name} ${count(counts[index][bin])}`);
        line.textContent = `${edge(bin)} to ${edge(bin + 1)}: ${parts.join(" · ")}`;
      });
    }
  }

  // In a notebook's frame a link to a part of the page would lead out of it, to the notebook.
  function staysInside(link) {
    if (!location.href.startsWith("about:")) return;
    link.addEventListener("click", (event) => {
      event.preventDefault();
      document.getElementById(link.hash.slice(1)).scrollIntoView();
    });
  }

  // Says that there is more beside a table that is wider than the page.
  function hint(scroller) {
    scroller.classList.toggle("overflowing", scroller.scrollWidth > scroller.clientWidth + 1);
  }

  const scrollers = document.querySelectorAll(".scroller");
  const hints = () => scrollers.forEach(hint);
  window.addEventListener("resize", hints);

  document.querySelectorAll("nav a").forEach(staysInside);
  document.querySelectorAll(".data-table").forEach(dataTable);
  document.querySelectorAll("figure").forEach(readout);
  hints();
})();
