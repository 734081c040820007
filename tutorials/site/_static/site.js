// A button on every block of code that copies it, and pictures that open in full size. No server and no network.
document.addEventListener("DOMContentLoaded", () => {
  for (const pre of document.querySelectorAll("div.highlight pre")) {
    const button = document.createElement("button");
    button.className = "copy";
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy this code");
    button.addEventListener("click", async () => {
      const text = pre.textContent;
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(pre); // the browser does not allow it: the reader copies what is marked
        button.textContent = "Press Ctrl+C";
      }
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
    pre.parentElement.append(button);
  }
  for (const picture of document.querySelectorAll(".cell_output img")) {
    picture.title = "Click to open in full size";
    picture.addEventListener("click", () => (location.href = picture.src));
  }
});
