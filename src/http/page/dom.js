// Making and changing elements. Data only ever becomes text or an attribute: nothing here parses HTML, and the
// Content-Security-Policy forbids it (require-trusted-types-for). A change is written only where something changed, so that
// what a person reads, selects or has the focus on stays untouched.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
        if (name.startsWith("on"))
            element.addEventListener(name.slice(2), value);
        else
            setAttribute(element, name, value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
}

// make("p", {class: "x", onclick: f}, "text", element…)
export function make(tag, attributes = {}, ...children) {
    return fill(document.createElement(tag), attributes, children);
}

export function makeSvg(tag, attributes = {}, ...children) {
    return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function find(id) {
    return document.getElementById(id);
}

export function setText(element, text) {
    text = String(text);
    if (element.textContent !== text)
        element.textContent = text;
}

// null and false take it away, true sets it without a value.
export function setAttribute(element, name, value) {
    const text = value === true ? "" : value;
    if (value === null || value === undefined || value === false) {
        if (element.hasAttribute(name))
            element.removeAttribute(name);
    } else if (element.getAttribute(name) !== String(text)) {
        element.setAttribute(name, text);
    }
}

export function setHidden(element, isHidden) {
    if (element.hidden !== isHidden)
        element.hidden = isHidden;
}

// A text that is shown only when there is one.
export function setNote(element, text) {
    setText(element, text ?? "");
    setHidden(element, !text);
}

// The children of `parent`, one for each item in the items' order. views: a Map from key to an object with `element` and
// `update(item)`, which the caller keeps. An element that stays in its place is not touched, so it keeps the focus.
// after: a child of the parent's own that stays before them.
export function syncList(parent, views, items, keyOf, makeView, after = null) {
    const wanted = new Set(items.map(keyOf));
    for (const [key, view] of views) {
        if (!wanted.has(key)) {
            view.element.remove();
            view.close?.();
            views.delete(key);
        }
    }
    let place = after !== null ? after.nextElementSibling : parent.firstElementChild;
    for (const item of items) {
        const key = keyOf(item);
        let view = views.get(key);
        if (view === undefined) {
            view = makeView(item);
            views.set(key, view);
        }
        if (view.element === place)
            place = place.nextElementSibling;
        else
            parent.insertBefore(view.element, place);
        view.update(item);
    }
}
