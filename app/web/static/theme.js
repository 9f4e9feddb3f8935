// Runs before the first paint: "auto" follows the computer, the two others were chosen and come from the server.
(function () {
  "use strict";
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const follow = () => {
    if (root.dataset.theme === "auto") root.dataset.bsTheme = dark.matches ? "dark" : "light";
  };
  follow();
  dark.addEventListener("change", () => {
    follow();
    document.dispatchEvent(new Event("themechange"));
  });
})();
