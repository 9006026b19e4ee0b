// Copies a command line; where a browser forbids that, selects it.
document.addEventListener("click", async (event) => {
  const button = event.target.closest(".copy");
  if (!button) return;
  const code = button.parentElement.querySelector("code");
  getSelection().selectAllChildren(code);
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } catch { /* Ctrl-C does it */ }
});

// Gradio opens a list again at every key but Escape, also at those that leave it.
document.addEventListener("keydown", (event) => {
  const leaves = ["Tab", "Shift"].includes(event.key);
  if (leaves && event.target.closest(".choices")) event.stopPropagation();
}, true);
