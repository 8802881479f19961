"use strict";
// Unfold a cell, and all elements around it, when a link to it is followed; some browsers do not.
function reveal() {
  const found = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = found; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  if (found) found.scrollIntoView();
}
addEventListener("hashchange", reveal);
reveal();
// Films of trainings: the slider chooses a moment, and the dots move to the messages at that moment.
for (const film of document.querySelectorAll(".film")) {
  const [button, range, words] = film.querySelector(".reel").children;
  const moments = film.dataset.moments.split("|"), paths = film.querySelectorAll("[data-x]");
  let timer = 0;
  const places = (text, at) => {
    const frames = text.split(" ");
    return frames[at % frames.length].match(/../g).map((two) => parseInt(two, 36));
  };
  const show = () => {
    const at = Number(range.value);
    for (const path of paths) {
      const up = places(path.dataset.y, at);
      const point = (across, place) => (across >= 0 && up[place] >= 0 ? `M${across} ${up[place]}h0` : "");
      path.setAttribute("d", places(path.dataset.x, at).map(point).join(""));
    }
    words.textContent = moments[at];
    range.setAttribute("aria-valuetext", moments[at]);
  };
  const pause = () => {
    clearInterval(timer);
    timer = 0;
    button.textContent = "play";
  };
  const advance = () => {
    range.value = Number(range.value) + 1;
    show();
    if (Number(range.value) === moments.length - 1) pause();
  };
  button.addEventListener("click", () => {
    if (timer) return pause();
    if (Number(range.value) === moments.length - 1) range.value = 0;
    show();
    timer = setInterval(advance, 250);
    button.textContent = "pause";
  });
  range.addEventListener("input", () => {
    pause();
    show();
  });
  // Browsers remember where a slider stood when a page is loaded again.
  show();
  film.querySelector(".reel").hidden = false;
}
