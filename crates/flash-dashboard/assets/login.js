// Logs in with the token after `#`, which is never part of a request's address.
"use strict";

const token = location.hash.slice(1);
if (token) {
  history.replaceState(null, "", location.pathname);
  fetch("/_flash/login", { method: "POST", body: new URLSearchParams({ token }) }).then((answer) => {
    if (answer.ok) location.replace(answer.url);
    else document.getElementById("key").focus();
  });
}
