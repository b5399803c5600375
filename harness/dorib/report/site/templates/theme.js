"use strict";
(() => {
  const root = document.documentElement, button = document.getElementById("theme");
  const kept = (() => { try { return localStorage.getItem("dorib-theme"); } catch { return null; } })();
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  button.hidden = false;
  button.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("dorib-theme", root.dataset.theme); } catch { /* A file may have no storage. */ }
  });
})();
