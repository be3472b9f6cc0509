"use strict";
// The only script of these pages: it carries what the door asks to the authenticator, and the authenticator's answer back
// (W3C Web Authentication 3, 5.1). Nothing of it stays in the browser.
(() => {
  const said = document.getElementById("said");
  const tell = (words) => { said.textContent = words; };
  const bytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));
  const text = (buffer) => buffer && btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  const post = async (path, body) => {
    const answer = await fetch(path, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
    });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.message);
    return told;
  };

  const ids = (all) => (all || []).map((one) => ({ ...one, id: bytes(one.id) }));

  const make = async (options) => {
    const key = await navigator.credentials.create({ publicKey: {
      ...options, challenge: bytes(options.challenge), user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: ids(options.excludeCredentials),
    } });
    return { answer: {
      id: key.id, rawId: text(key.rawId), type: key.type, extensions: {},
      response: {
        attestationObject: text(key.response.attestationObject), clientDataJSON: text(key.response.clientDataJSON),
      },
    } };
  };

  const show = async (options) => {
    const first = options.extensions?.prf?.eval?.first;
    const key = await navigator.credentials.get({ publicKey: {
      ...options, challenge: bytes(options.challenge), allowCredentials: ids(options.allowCredentials),
      extensions: first ? { prf: { eval: { first: bytes(first) } } } : {},
    } });
    return {
      derived: text(key.getClientExtensionResults().prf?.results?.first),
      answer: {
        id: key.id, rawId: text(key.rawId), type: key.type, extensions: {},
        response: {
          authenticatorData: text(key.response.authenticatorData), clientDataJSON: text(key.response.clientDataJSON),
          signature: text(key.response.signature), userHandle: text(key.response.userHandle) || null,
        },
      },
    };
  };

  for (const form of document.querySelectorAll("form[data-ceremony]")) {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = form.querySelector("button");
      button.disabled = true;
      tell("Waiting for your passkey …");
      try {
        const path = form.dataset.ceremony;
        const begun = await post(`${path}/begin`, Object.fromEntries(new FormData(form)));
        const shown = await (form.dataset.makes ? make : show)(begun.options);
        const done = await post(`${path}/finish`, { ceremony: begun.ceremony, then: begun.then, ...shown });
        location.assign(done.then);
      } catch (error) {
        const isUnanswered = error instanceof DOMException;
        tell(isUnanswered ? "No passkey was shown: it was put off, took too long, or this computer has none of yours." : error.message);
        button.disabled = false;
      }
    });
  }
})();
