(() => {
  "use strict";
  const section = document.currentScript.closest("section");
  const form = section.querySelector("form");
  const body = section.querySelector("tbody.points");
  const rows = [...body.rows];
  const sliders = [...form.querySelectorAll("input")];
  const number = (text) => (text === "" ? NaN : Number(text));

  // what is not known matters only where it weighs something
  const utility = (row) =>
    sliders.reduce(
      (sum, s) => (Number(s.value) ? sum - s.value * number(row.dataset[s.name]) : sum),
      number(row.dataset.pass),
    );
  const worth = (weight, unit) =>
    weight ? `${weight.toPrecision(2)}: a pass is worth ${(1 / weight).toPrecision(3)} ${unit}` : "nothing";

  const update = () => {
    for (const s of sliders) {
      const words = worth(Number(s.value), s.dataset.unit);
      s.parentElement.querySelector("output").textContent = words;
      s.setAttribute("aria-valuetext", words);
    }
    const scored = rows.map((row, order) => ({ row, order, u: utility(row) }));
    const key = (x) => (Number.isNaN(x.u) ? -Infinity : x.u);
    scored.sort((a, b) => (key(a) === key(b) ? a.order - b.order : key(b) - key(a)));
    const best = scored.find((x) => x.row.dataset.kind !== "oracle" && !Number.isNaN(x.u));
    for (const { row, u } of scored) {
      const isBest = best !== undefined && row === best.row;
      row.querySelector("td.yours").textContent = Number.isNaN(u) ? "not known" : u.toFixed(3);
      row.querySelector(".mark-now").textContent = isBest ? "← best" : "";
      row.classList.toggle("now", isBest);
      for (const g of section.querySelectorAll(`svg g[data-row="${row.dataset.row}"]`)) {
        g.classList.toggle("now", isBest);
      }
      body.append(row);
    }
    form.querySelector(".told").textContent = best
      ? `Best at these weights: ${best.row.querySelector("strong").textContent}, utility ${best.u.toFixed(3)}.`
      : "Nothing can be compared at these weights.";
  };

  for (const hidden of section.querySelectorAll("[hidden]")) hidden.hidden = false;
  form.addEventListener("input", update);
  form.addEventListener("reset", () => setTimeout(update));
  form.addEventListener("submit", (event) => event.preventDefault());
  update();
})();
