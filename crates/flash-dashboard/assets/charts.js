// Draws the curves with uPlot, from the data in the page.
"use strict";

window.flashCharts = (() => {
  const drawn = new Map();
  // As the marks of the legend: solid, dashed, dotted.
  const dashes = [[], [8, 4], [2, 3]];
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function shown(value) {
    if (value == null) return "–";
    return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
  }

  function read(element) {
    const data = JSON.parse(element.dataset.chart);
    return { names: data.names, columns: [data.times, ...data.values], areCounts: data.areCounts };
  }

  // Steps between the ticks of counts, so that all ticks are whole.
  const wholeSteps = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power)).flat();

  function options(element, { names, areCounts }) {
    const axis = { stroke: colour("--dim"), font: "11px system-ui, sans-serif", grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    const series = names.map((name, at) => ({
      label: name,
      stroke: colour(`--curve-${(at % 6) + 1}`),
      dash: dashes[at % dashes.length],
      width: 1.5,
      points: { show: false },
      // Without a pointer, the latest.
      value: (plot, value) => shown(value ?? plot.data[at + 1].at(-1)),
    }));
    return {
      width: Math.max(200, element.clientWidth),
      height: 150,
      series: [{ label: "Time", value: (_, time) => (time == null ? "now" : new Date(time * 1000).toLocaleTimeString([], { hourCycle: "h23" })) }, ...series],
      axes: [
        // Whole minutes, so that no two ticks have one label.
        { ...axis, incrs: [60, 120, 300, 900], values: (_, times) => times.map((time) => new Date(time * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" })) },
        { ...axis, size: 44, values: (_, values) => values.map(shown), ...(areCounts && { incrs: wholeSteps }) },
      ],
      scales: { y: { range: (_, low, high) => [0, Math.max(high ?? 0, areCounts ? 1 : 0.1) * 1.08] } },
      cursor: { drag: { x: false, y: false } },
      legend: { live: true, markers: { width: 2, dash: (_, at) => ["solid", "dashed", "dotted"][(at - 1) % 3] } },
    };
  }

  function drawOne(element) {
    const chart = read(element);
    drawn.get(element)?.plot.destroy();
    element.replaceChildren();
    drawn.set(element, { plot: new uPlot(options(element, chart), chart.columns, element), names: chart.names.join("\n") });
  }

  function all() {
    return [...document.querySelectorAll("[data-chart]")];
  }

  function update(fresh) {
    const news = [...fresh.querySelectorAll("[data-chart]")];
    all().forEach((element, at) => {
      const other = news[at];
      if (!other || other.dataset.chart === element.dataset.chart) return;
      element.dataset.chart = other.dataset.chart;
      element.setAttribute("aria-label", other.getAttribute("aria-label"));
      const { names, columns } = read(element);
      const own = drawn.get(element);
      if (own && own.names === names.join("\n")) own.plot.setData(columns);
      else drawOne(element);
    });
  }

  function draw() {
    all().forEach(drawOne);
    dark.addEventListener("change", () => all().forEach(drawOne));
    let width = innerWidth;
    addEventListener("resize", () => {
      if (innerWidth === width) return;
      width = innerWidth;
      for (const [element, { plot }] of drawn) plot.setSize({ width: Math.max(200, element.clientWidth), height: 150 });
    });
  }

  return { draw, update };
})();
