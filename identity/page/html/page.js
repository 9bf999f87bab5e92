// The page's own script: it hands the authenticator's answer to the program that
// serves the page. It decides nothing and loads nothing from elsewhere.
"use strict";
(() => {
  const ask = document.getElementById("ask");
  const status = document.getElementById("status");
  const buttons = [...ask.querySelectorAll("button")];

  const bytes = (text) =>
    Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  const base64 = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)));
  const base64url = (buffer) => base64(buffer).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

  const say = (text, mood) => {
    status.textContent = text;
    status.className = mood;
  };
  const busy = (on) => buttons.forEach((b) => { b.disabled = on; });

  async function post(path, body) {
    const response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Patchwrit-Token": ask.dataset.token },
      body: JSON.stringify(body),
      redirect: "error",
    });
    const text = await response.text();
    let out;
    try { out = JSON.parse(text); } catch { throw new Error(text || "The program gave no answer."); }
    if (out.failed) throw new Error(out.text);
    return out;
  }

  async function assert(challenge, handle) {
    const got = await navigator.credentials.get({ publicKey: {
      challenge: bytes(challenge),
      rpId: ask.dataset.party,
      userVerification: "required",
      allowCredentials: handle ? [{ type: "public-key", id: bytes(handle) }] : [],
      timeout: 120000,
    } });
    return {
      signature: base64(got.response.signature),
      authenticator_data: base64(got.response.authenticatorData),
      client_data: base64(got.response.clientDataJSON),
    };
  }

  async function create() {
    const got = await navigator.credentials.create({ publicKey: {
      rp: { id: ask.dataset.party, name: "Patchwrit on this machine" },
      user: { id: bytes(ask.dataset.user), name: ask.dataset.name, displayName: ask.dataset.name },
      challenge: bytes(ask.dataset.challenge),
      pubKeyCredParams: [{ type: "public-key", alg: -7 }],
      authenticatorSelection: { residentKey: "discouraged", requireResidentKey: false, userVerification: "required" },
      attestation: "none",
      timeout: 120000,
    } });
    const key = got.response.getPublicKey();
    if (!key) throw new Error("The browser did not show the new public key. Use an up-to-date browser.");
    return { handle: base64url(got.rawId), public_key: base64(key), algorithm: got.response.getPublicKeyAlgorithm() };
  }

  const blank = { kind: "", signature: "", authenticator_data: "", client_data: "", handle: "", public_key: "", algorithm: 0 };

  async function register() {
    say("Waiting for your authenticator (1 of 2): make the key.", "waiting");
    const made = await post("/answer", { ...blank, step: "create", ...(await create()) });
    say("Waiting for your authenticator (2 of 2): use the key once.", "waiting");
    return post("/answer", { ...blank, step: "prove", ...(await assert(ask.dataset.challenge, made.handle)) });
  }

  async function answer(button) {
    say("Waiting for your authenticator …", "waiting");
    const signed = await assert(button.dataset.challenge, ask.dataset.handle);
    return post("/answer", { ...blank, step: "answer", kind: button.dataset.kind, ...signed });
  }

  async function press(button) {
    busy(true);
    try {
      let out;
      if ("close" in button.dataset) out = await post("/close", {});
      else if ("register" in button.dataset) out = await register();
      else out = await answer(button);
      say(out.text + " You can close this window.", "done");
      document.body.classList.add("over");
    } catch (e) {
      const why = e.name === "NotAllowedError"
        ? "Nothing was signed: the authenticator did not answer, or you cancelled."
        : e.message;
      say(why, "failed");
      busy(false);
    }
  }

  if (!window.PublicKeyCredential) {
    say("This browser has no WebAuthn. Use another one, or sign with an SSH key on the command line.", "failed");
    buttons.filter((b) => !("close" in b.dataset)).forEach((b) => { b.disabled = true; });
  }
  buttons.forEach((b) => b.addEventListener("click", () => press(b)));
})();
