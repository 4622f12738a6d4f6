// Sends the form of the first administrator, with the token that stands behind the `#` of the page's address.
(() => {
  const form = document.querySelector("form"), said = document.querySelector("[role=status]");
  const token = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);  // the address is not kept with it
  if (!token) said.textContent = "This page is opened by the link that `stylobate up` or `stylobate users invite-admin` prints.";
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    said.textContent = "";
    try {
      const answer = await fetch("/v1/auth/first-admin", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ token, ...Object.fromEntries(new FormData(form)) }),
      });
      const found = await answer.json();
      if (answer.ok) {
        form.remove();
        said.textContent = `${found.user.email} is the administrator, and may log in.`;
        return;
      }
      said.textContent = [found.detail, ...(found.errors ?? []).map((one) => `${one.pointer.slice(1)} ${one.detail}`)].join(" ");
    } catch {
      said.textContent = "The platform does not answer.";
    }
    button.disabled = false;
  });
})();
