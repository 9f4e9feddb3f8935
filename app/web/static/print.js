// The page was asked for to be printed: open the dialogue once everything is laid out.
window.addEventListener("load", () => window.print());
