// The two questions the page asks. Each is a modal dialog of the browser: the focus stays in it, Escape closes it, and it
// goes back where it was.

import {find, setText} from "./dom.js";
import {token} from "./api.js";

const endings = new WeakMap();   // of a dialog: what ends the question that is open in it

// Opens, and resolves with what `finish` was given, or with null when it was closed otherwise. The browser tells of a close later
// than it happens: by then the dialog may be open again, and what is told is not about the question that is asked now.
function ask(dialog, listen) {
    endings.get(dialog)?.(null);
    return new Promise((resolve) => {
        const over = new AbortController();
        const finish = (value) => {
            over.abort();
            endings.delete(dialog);
            dialog.close();
            resolve(value);
        };
        endings.set(dialog, finish);
        dialog.addEventListener("close", () => dialog.open || finish(null), {signal: over.signal});
        listen(finish, {signal: over.signal});
        dialog.showModal();
    });
}

// Resolves with true once there is a token.
export async function askToken(why) {
    const dialog = find("token-dialog"), input = find("token-input");
    if (dialog.open)
        return false;
    setText(find("token-why"), why);
    input.value = "";
    const text = await ask(dialog, (finish, signal) => {
        find("token-cancel").addEventListener("click", () => finish(null), signal);
        find("token-form").addEventListener("submit", (event) => {
            event.preventDefault();
            finish(input.value.trim());
        }, signal);
    });
    input.value = "";
    if (!text)
        return false;
    token.set(text);
    return true;
}

export async function confirmResync(what) {
    const dialog = find("resync-dialog");
    setText(find("resync-what"), what);
    return await ask(dialog, (finish, signal) => {
        find("resync-cancel").addEventListener("click", () => finish(null), signal);
        find("resync-do").addEventListener("click", () => finish(true), signal);
    }) === true;
}
