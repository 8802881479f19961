"use strict";
// A link to a folded cell unfolds it, and all that is around it, also where the browser does not by itself.
function reveal() {
  const found = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = found; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  if (found) found.scrollIntoView();
}
addEventListener("hashchange", reveal);
reveal();
