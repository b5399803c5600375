(() => {
  const table = document.getElementById("rows"), tools = document.getElementById("tools"), count = document.getElementById("count");
  const rows = [...table.querySelectorAll("tr.row")].map((element) => ({
    element, details: document.getElementById(`${element.id}-details`), body: element.parentElement,
    cells: [...element.children], numbers: NUMBERS.rows[element.id],
  }));
  const order = rows.slice(), heads = [...table.querySelectorAll("thead th")];
  const field = (id) => document.getElementById(id);
  const FIELDS = ["q", "verdict", "claim", "family", "access", "group", "budget", "judge", "knows"].filter(field);
  const boxes = [...field("columns").querySelectorAll("input")];
  const state = { sort: "", hide: new Set() };

  // Rows open below themselves; the name is a link without a script, and a button with one.
  const open = (row, yes) => {
    row.details.hidden = !yes;
    row.button.setAttribute("aria-expanded", String(yes));
  };
  for (const row of rows) {
    const name = row.element.querySelector("a.name");
    row.button = document.createElement("button");
    row.button.type = "button";
    row.button.className = "open";
    row.button.append(...name.childNodes);
    row.button.setAttribute("aria-controls", row.details.id);
    name.replaceWith(row.button);
    row.button.addEventListener("click", () => {
      open(row, row.details.hidden);
      if (!row.details.hidden) keep(`#${row.element.id}`);
    });
    open(row, false);
  }

  // Ties to even, as the rest of the page has them.
  const two = (value) => {
    const size = Math.abs(value) * 100, floor = Math.floor(size);
    const whole = size - floor === 0.5 ? floor + floor % 2 : Math.round(size);
    return `${value < 0 && whole ? "-" : ""}${(whole / 100).toFixed(2)}`;
  };
  // A cell's numbers at the chosen budget, by the chosen judge: [low, rate, high, oracle, controls].
  const chosen = (cell) => {
    if (!cell) return null;
    if (field("judge")?.value === "second") return cell.second ?? null;
    const budgets = Object.keys(cell.first), wanted = field("budget")?.value;
    return cell.first[wanted && budgets.includes(wanted) ? wanted : budgets.at(-1)] ?? null;
  };
  const original = new Map();
  for (const row of rows) for (const cell of row.cells) original.set(cell, [cell.innerHTML, cell.dataset.v, cell.style.cssText]);
  const plain = () => !field("budget")?.value && !field("judge")?.value;
  const text = (parent, tag, content, name) => {
    const element = document.createElement(tag);
    element.textContent = content;
    if (name) element.className = name;
    parent.append(element);
    return element;
  };
  const redraw = () => {
    for (const row of rows) for (const cell of row.cells) {
      if (!("attack" in cell.dataset) && !cell.classList.contains("gap")) continue;
      const [html, value, style] = original.get(cell);
      // What was there when the page came: nothing new is read as HTML.
      cell.innerHTML = html;
      cell.dataset.v = value;
      cell.style.cssText = style;
      if (plain()) continue;
      if (cell.classList.contains("gap")) drawGap(row, cell);
      else drawRate(row, cell);
    }
  };
  const drawRate = (row, cell) => {
    const found = chosen(row.numbers[Number(cell.dataset.attack)]), link = cell.querySelector("a");
    if (!link) return;
    cell.replaceChildren(link);
    if (!found || found[1] === null) { link.textContent = "-"; cell.dataset.v = ""; cell.style.setProperty("--share", 0); return; }
    const [low, rate, high, oracle, controls] = found;
    link.replaceChildren();
    text(link, "b", two(rate));
    text(cell, "small", `${two(low)} to ${two(high)}`, "range");
    if (oracle !== null) text(cell, "small", `oracle ${two(oracle)}`);
    if (controls !== null) text(cell, "small", `controls ${two(controls)}`);
    cell.dataset.v = rate;
    cell.style.setProperty("--share", rate);
  };
  const drawGap = (row, cell) => {
    if (!cell.dataset.v) return;
    const required = heads.filter((head) => head.dataset.required).map((head) => Number(head.dataset.attack));
    const gaps = required.map((attack) => [chosen(row.numbers[attack]), NUMBERS.attacks[attack]])
      .filter(([found]) => found && found[1] !== null && (found[3] ?? found[4]) !== null)
      .map(([found, attack]) => [found[1] - (found[3] ?? found[4]), attack]);
    cell.replaceChildren();
    if (!gaps.length) { cell.textContent = "-"; cell.dataset.v = ""; return; }
    const [gap, attack] = gaps.reduce((one, other) => (other[0] > one[0] ? other : one));
    text(cell, "b", two(gap));
    text(cell, "small", "without interval");
    text(cell, "small", attack);
    cell.dataset.v = gap;
  };

  const sort = () => {
    const [key, direction] = state.sort.split("."), sign = direction === "down" ? -1 : 1;
    const place = heads.findIndex((head) => head.dataset.key === key);
    for (const head of heads) head.setAttribute("aria-sort", head.dataset.key === key ? (sign < 0 ? "descending" : "ascending") : "none");
    const value = (row) => row.cells[place].dataset.v;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === y) return 0;
      // Rows without a value come last in both orders.
      if (x === "" || y === "") return x === "" ? 1 : -1;
      return sign * (Number.isNaN(Number(x)) ? x.localeCompare(y) : Number(x) - Number(y));
    };
    const sorted = place < 0 ? order : order.slice().sort(compare);
    for (const row of sorted) row.body.append(row.element, row.details);
  };
  const shows = (row) => {
    const { text: words, verdict, claim, family, access } = row.element.dataset, value = (id) => field(id)?.value ?? "";
    return value("q").toLowerCase().split(/\s+/).every((word) => words.includes(word))
      && (!value("verdict") || value("verdict") === verdict) && (!value("claim") || value("claim") === claim) && (!value("family") || value("family") === family)
      && (!value("access") || value("access") === access) && (!value("group") || value("group") === row.body.dataset.group);
  };
  const filter = () => {
    let shown = 0;
    for (const row of rows) {
      const yes = shows(row);
      row.element.hidden = !yes;
      if (!yes) open(row, false);
      shown += yes;
    }
    for (const body of table.tBodies) body.hidden = !body.querySelector("tr.row:not([hidden])");
    count.textContent = `${shown} of ${rows.length} rows${plain() ? "" : "; ranks and verdicts are the suite's judge's within the largest budget"}`;
  };
  const columns = () => {
    const lacks = { "no gradients": "gradients", "no original": "original image" }[field("knows").value];
    for (const head of heads.filter((one) => "attack" in one.dataset)) {
      const away = state.hide.has(head.dataset.attack) || Boolean(lacks) && head.dataset.knows.split(",").includes(lacks);
      head.hidden = away;
      for (const row of rows) row.cells[heads.indexOf(head)].hidden = away;
    }
    for (const box of boxes) box.checked = !state.hide.has(box.value);
  };

  const keep = (hash = location.hash) => {
    const query = new URLSearchParams();
    for (const id of FIELDS) if (field(id).value) query.set(id, field(id).value);
    if (state.sort) query.set("sort", state.sort);
    if (state.hide.size) query.set("hide", [...state.hide].map((number) => NUMBERS.attacks[number]).join(" "));
    const address = query.size ? `?${query}` : location.pathname.split("/").pop() || "./";
    try { history.replaceState(null, "", address + hash); } catch { /* Some browsers keep a file's address. */ }
  };
  const apply = () => {
    if (field("judge")?.value && field("budget")) field("budget").value = "";
    redraw(); sort(); filter(); columns(); keep();
  };
  const read = () => {
    const query = new URLSearchParams(location.search);
    for (const id of FIELDS) {
      field(id).value = query.get(id) ?? "";
      if (field(id).selectedIndex === -1) field(id).value = "";
    }
    state.sort = query.get("sort") ?? "";
    const hidden = (query.get("hide") ?? "").split(" ");
    state.hide = new Set(boxes.map((box) => box.value).filter((number) => hidden.includes(NUMBERS.attacks[number])));
  };
  const follow = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const row = rows.find((one) => one.element === target);
    if (row) open(row, true);
    if (target.tagName === "DETAILS") target.open = true;
    target.scrollIntoView();
  };

  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = `${head.dataset.key}.up`;
      state.sort = state.sort === up ? `${head.dataset.key}.down` : up;
      apply();
    });
  }
  for (const id of FIELDS) field(id).addEventListener(id === "q" ? "input" : "change", apply);
  for (const box of boxes) box.addEventListener("change", () => {
    if (box.checked) state.hide.delete(box.value); else state.hide.add(box.value);
    apply();
  });
  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.addEventListener("reset", (event) => {
    event.preventDefault();
    for (const id of FIELDS) field(id).value = "";
    state.sort = ""; state.hide.clear();
    apply();
  });
  document.addEventListener("keydown", (event) => {
    const typing = /INPUT|SELECT|TEXTAREA/.test(document.activeElement.tagName);
    if (event.key === "/" && !typing) { event.preventDefault(); field("choose").open = true; field("q").focus(); }
  });
  addEventListener("hashchange", follow);
  field("choose").hidden = field("status").hidden = false;
  field("choose").open = innerWidth > 600;
  read(); apply(); follow();
})();
