// Numbers, sizes and times as people read them. A blank between number and unit does not break.

const grouped = new Intl.NumberFormat("en-US", {maximumFractionDigits: 0});
const NOTHING = "–";

export function count(number) {
    return Number.isFinite(number) ? grouped.format(number) : NOTHING;
}

export function plural(number, one, many = `${one}s`) {
    return `${count(number)} ${number === 1 ? one : many}`;
}

function scaled(number, units, base) {
    let unit = 0;
    while (number >= base * 0.9995 && unit < units.length - 1) {
        number /= base;
        unit++;
    }
    return `${unit > 0 && number < 9.95 ? number.toFixed(1) : grouped.format(number)}\u00a0${units[unit]}`;
}

export function bytes(number) {
    return Number.isFinite(number) ? scaled(Math.max(number, 0), ["B", "kB", "MB", "GB", "TB", "PB"], 1000) : NOTHING;
}

function two(number) {
    return String(number).padStart(2, "0");
}

function joined(large, largeUnit, small, smallUnit) {
    return `${large}\u00a0${largeUnit}${small > 0 ? `\u00a0${small}\u00a0${smallUnit}` : ""}`;
}

// Of seconds. Two units at most, so that a glance is enough.
export function duration(seconds) {
    if (!Number.isFinite(seconds))
        return NOTHING;
    if (seconds < 0.0005)
        return "0\u00a0s";
    if (seconds < 0.9995)
        return `${grouped.format(seconds * 1000)}\u00a0ms`;
    if (seconds < 9.95)
        return `${seconds.toFixed(1)}\u00a0s`;
    const whole = Math.round(seconds);
    if (whole < 60)
        return `${whole}\u00a0s`;
    if (whole < 3600)
        return joined(Math.floor(whole / 60), "min", whole % 60, "s");
    if (whole < 86400)
        return joined(Math.floor(whole / 3600), "h", Math.floor(whole / 60) % 60, "min");
    return joined(Math.floor(whole / 86400), "d", Math.floor(whole / 3600) % 24, "h");
}

export function microseconds(number) {
    return duration(number / 1e6);
}

export function percent(part, whole) {
    return whole > 0 ? Math.min(100, Math.floor(100 * part / whole)) : 0;
}

// The time of day by this machine's clock; the date too where it is not today's.
export function clockTime(ms) {
    const when = new Date(ms);
    if (Number.isNaN(when.getTime()))
        return NOTHING;
    const time = `${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}`;
    if (when.toDateString() === new Date().toDateString())
        return time;
    return `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())} ${time}`;
}

// "in 12 s", "12 s ago"; nowMs is the service's clock, not the browser's.
export function relative(when, nowMs) {
    const seconds = (Date.parse(when) - nowMs) / 1000;
    if (!Number.isFinite(seconds))
        return NOTHING;
    const away = Math.round(Math.abs(seconds));
    if (away === 0)
        return "now";
    const text = away < 10 ? `${away}\u00a0s` : duration(away);
    return seconds > 0 ? `in ${text}` : `${text} ago`;
}
