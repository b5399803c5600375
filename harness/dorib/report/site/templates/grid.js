(() => {
  const show = document.getElementById("show"), count = document.getElementById("count");
  const cells = [...document.querySelectorAll(".cell")];
  const apply = () => {
    for (const cell of cells) cell.hidden = Boolean(show.value) && cell.dataset.broken !== show.value;
    for (const row of document.querySelectorAll(".grid tr.row")) row.hidden = Boolean(show.value) && !row.querySelector(".cell:not([hidden])");
    count.textContent = `${cells.filter((cell) => !cell.hidden).length} of ${cells.length} pictures`;
    const query = show.value ? `?show=${show.value}` : location.pathname.split("/").pop();
    try { history.replaceState(null, "", query + location.hash); } catch { /* Some browsers keep a file's address. */ }
  };
  const asked = new URLSearchParams(location.search).get("show");
  if (asked === "broken" || asked === "held") show.value = asked;
  show.addEventListener("change", apply);
  document.getElementById("tools").hidden = false;
  apply();
})();
