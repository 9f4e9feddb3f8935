// Passkeys: a form marked data-passkey asks the browser, fills its hidden answer, and goes its way like any other form.
(function () {
  "use strict";

  const bytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  const readable = (options) => {
    const asked = { ...options, challenge: bytes(options.challenge) };
    if (options.user) asked.user = { ...options.user, id: bytes(options.user.id) };
    for (const list of ["allowCredentials", "excludeCredentials"]) {
      if (options[list]) asked[list] = options[list].map((one) => ({ ...one, id: bytes(one.id) }));
    }
    return asked;
  };

  const sendable = (credential) => {
    const said = credential.response;
    const response = { clientDataJSON: text(said.clientDataJSON) };
    for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (said[name]) response[name] = text(said[name]);
    }
    return JSON.stringify({ id: credential.id, rawId: text(credential.rawId), type: credential.type, response });
  };

  const optionsOf = async (form) => {
    const here = form.querySelector("script[type='application/json']");
    if (here) return JSON.parse(here.textContent);
    const token = form.querySelector("input[name=csrf_token]").value;
    const answer = await fetch(form.dataset.source, {
      method: "POST", headers: { "X-CSRFToken": token }, credentials: "same-origin", redirect: "error",
    });
    if (!answer.ok) {
      // The factor was shown too long ago, or the session is over: the form itself is answered with what to do.
      form.submit();
      return null;
    }
    return answer.json();
  };

  const say = (form, which) => {
    const line = form.querySelector("[data-passkey-state]");
    line.textContent = line.dataset[which];
    line.hidden = false;
  };

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches("[data-passkey]")) return;
    event.preventDefault();
    if (!window.PublicKeyCredential) { say(form, "missing"); return; }
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const options = await optionsOf(form);
      if (!options) return;
      const publicKey = readable(options);
      const credential = form.dataset.passkey === "create"
        ? await navigator.credentials.create({ publicKey })
        : await navigator.credentials.get({ publicKey });
      form.querySelector("input[name=answer]").value = sendable(credential);
      form.submit();
    } catch {
      say(form, "failed");
      button.disabled = false;
    }
  });
})();
