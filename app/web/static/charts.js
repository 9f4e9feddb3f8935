// One theme for every chart, light and dark. A chart is described by the server in plain data:
//   {kind: "bars"|"lines"|"steps"|"heat", unit, x: [...], series: [{name, data, estimated?}], zero?: [{label, at}]}
// and always has its table beside it; where this file does not run, the table is the chart.
(function () {
  "use strict";

  const charts = new Map();
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const palette = () => [token("--th-jade"), token("--th-blue"), token("--th-amber"), token("--th-violet"), token("--th-slate")];
  const grouped = (value, per) => {
    if (value === null || value === undefined) return "–";
    return (Number(value) / (per || 1)).toLocaleString(document.documentElement.lang, { maximumFractionDigits: 2 });
  };

  const axes = (spec, ink, line) => {
    const ruler = { axisTick: { show: false }, axisLine: { lineStyle: { color: line } }, axisLabel: { color: ink, hideOverlap: true } };
    return {
      xAxis: spec.kind === "steps" ? { type: "time", ...ruler, axisLabel: { ...ruler.axisLabel, formatter: "{MM}-{dd}" } }
        : { type: "category", data: spec.x, boundaryGap: spec.kind === "bars", ...ruler },
      yAxis: { type: "value", name: spec.unit, nameTextStyle: { color: ink, align: "left" }, scale: spec.kind !== "bars",
        axisLabel: { color: ink, formatter: (v) => grouped(v, spec.per) }, splitLine: { lineStyle: { color: line } } },
    };
  };

  const hatch = (color) => ({ color, decal: { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [3, 4], rotation: -Math.PI / 4,
    color: "rgba(255,255,255,.55)" } });

  const one = (spec, item, index, colors) => {
    const color = colors[index % colors.length];
    const common = { name: item.name, animation: false, itemStyle: { color }, emphasis: { focus: "none" } };
    if (spec.kind === "bars") {
      const data = item.data.map((value, i) => (item.estimated && item.estimated[i] ? { value, itemStyle: hatch(color) } : value));
      return { ...common, type: "bar", data, barMaxWidth: 26, stack: spec.stacked ? "all" : undefined,
        itemStyle: { color, borderRadius: spec.stacked ? 0 : [2, 2, 0, 0] } };
    }
    const marks = (spec.marks || []).map((m, i) => ({ yAxis: m.at, label: { formatter: m.label, position: i % 2 ? "insideStartBottom" : "insideEndTop", color: token("--th-ink"), textBorderWidth: 0 },
      lineStyle: { color: token(m.tone || "--th-red"), type: "dashed" } }));
    return { ...common, type: "line", data: spec.kind === "steps" ? item.data.map((v, i) => [spec.x[i], v]) : item.data, showSymbol: item.data.length < 3, connectNulls: false,
      step: spec.kind === "steps" ? "end" : false, lineStyle: { color, width: 2 },
      areaStyle: index === 0 && spec.fill ? { color, opacity: 0.1 } : undefined,
      markLine: index === 0 && marks.length ? { symbol: "none", silent: true, animation: false, data: marks } : undefined };
  };

  const heat = (spec, ink, line) => ({
    grid: { left: 44, right: 12, top: 8, bottom: 52 },
    xAxis: { type: "category", data: spec.x, axisLabel: { color: ink, hideOverlap: true }, axisLine: { lineStyle: { color: line } } },
    yAxis: { type: "category", data: spec.y, axisLabel: { color: ink }, axisLine: { lineStyle: { color: line } } },
    visualMap: { min: 0, max: spec.max || 1, orient: "horizontal", left: "center", bottom: 0, itemHeight: 120, itemWidth: 10,
      textStyle: { color: ink }, text: [`${grouped(spec.max, spec.per)} ${spec.unit}`, "0"], inRange: { color: [token("--th-jade-soft"), token("--th-jade")] } },
    series: [{ type: "heatmap", data: spec.cells, animation: false, itemStyle: { borderColor: token("--th-surface"), borderWidth: 1 } }],
  });

  const option = (spec) => {
    const ink = token("--th-quiet");
    const line = token("--th-line");
    const surface = token("--th-surface");
    const base = {
      animation: false, aria: { enabled: true, decal: { show: false } }, color: palette(),
      textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: ink },
      // Rich text is painted on the canvas; an HTML tooltip would need inline styles, which the page's policy refuses.
      tooltip: { trigger: spec.kind === "heat" ? "item" : "axis", renderMode: "richText", confine: true, backgroundColor: surface,
        borderColor: line, textStyle: { color: token("--th-ink"), fontSize: 12 }, valueFormatter: (v) => `${grouped(Array.isArray(v) ? v[v.length - 1] : v, spec.per)} ${spec.unit}` },
    };
    if (spec.kind === "heat") return { ...base, ...heat(spec, ink, line) };
    const colors = palette();
    return { ...base, ...axes(spec, ink, line),
      grid: { left: 8, right: 24, top: 34, bottom: spec.series.length > 1 ? 34 : 8, outerBoundsMode: "same", containLabel: true },
      legend: spec.series.length > 1 ? { bottom: 0, textStyle: { color: ink }, itemWidth: 14, itemHeight: 8 } : undefined,
      series: spec.series.map((item, index) => one(spec, item, index, colors)) };
  };

  const paint = (box, spec) => {
    let chart = charts.get(box);
    if (!chart) {
      chart = window.echarts.init(box, null, { renderer: "canvas" });
      charts.set(box, chart);
    }
    chart.spec = spec;
    chart.setOption(option(spec), { notMerge: true, lazyUpdate: true });
  };

  const refresh = async (box) => {
    if (document.hidden) return;
    const answer = await fetch(box.dataset.source, { headers: { Accept: "application/json" } });
    if (answer.ok && document.contains(box)) paint(box, await answer.json());
  };

  const start = (scope) => {
    scope.querySelectorAll(".chart:not([data-on])").forEach((box) => {
      box.dataset.on = "1";
      const data = document.getElementById(box.dataset.from);
      if (data) paint(box, JSON.parse(data.textContent));
      if (box.dataset.source && box.dataset.every) {
        const timer = setInterval(() => (document.contains(box) ? refresh(box) : clearInterval(timer)), box.dataset.every * 1000);
      }
    });
    charts.forEach((chart, box) => {
      if (!document.contains(box)) { chart.dispose(); charts.delete(box); }
    });
  };

  const again = () => charts.forEach((chart) => chart.setOption(option(chart.spec), { notMerge: true }));
  window.addEventListener("resize", () => charts.forEach((chart) => chart.resize()));
  document.addEventListener("themechange", again);
  document.addEventListener("htmx:afterSettle", (event) => start(event.target.parentElement || document));
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => start(document));
  else start(document);
})();
