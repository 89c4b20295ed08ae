// Values as people read them. Pure, but for the difference between this machine's clock and the
// agent's, by which ages are told.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const GROUPED = new Intl.NumberFormat('en');
const UNKNOWN = '–';

let aheadMs = 0;

/** The agent's clock is the one that dated what is shown. */
export function setClock(agentMs) {
  if (Number.isFinite(agentMs)) aheadMs = agentMs - Date.now();
}

export const now = () => Date.now() + aheadMs;

export const isKnown = (value) => value !== null && value !== undefined;

export const count = (value) => (isKnown(value) ? GROUPED.format(value) : UNKNOWN);

export function rate(value) {
  if (!isKnown(value)) return UNKNOWN;
  return GROUPED.format(value < 10 ? Math.round(value * 10) / 10 : Math.round(value));
}

export const percent = (part) => (isKnown(part) ? `${(100 * part).toFixed(1)} %` : UNKNOWN);

export const times = (value) => (isKnown(value) ? `${value.toFixed(2)} ×` : UNKNOWN);

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export function bytes(value) {
  if (!isKnown(value)) return UNKNOWN;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

/** Of something that was measured, to three figures. */
export function duration(seconds) {
  if (!isKnown(seconds)) return UNKNOWN;
  if (seconds < 0.01) return `${(seconds * 1000).toFixed(1)} ms`;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  return span(seconds);
}

/** Of something that lasts; its greatest one or two units. */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole} s`;
  if (whole < 7200) return `${Math.round(whole / 60)} min`;
  if (whole < 2 * 86_400) return two(Math.floor(whole / 3600), 'h', Math.round((whole % 3600) / 60), 'min');
  return two(Math.floor(whole / 86_400), 'd', Math.round((whole % 86_400) / 3600), 'h');
}

const two = (great, greatUnit, small, smallUnit) =>
  (small > 0 ? `${great} ${greatUnit} ${small} ${smallUnit}` : `${great} ${greatUnit}`);

export function ago(time) {
  const seconds = (now() - Date.parse(time)) / 1000;
  // The two clocks agree to about a second.
  if (Math.abs(seconds) < 1.5) return 'now';
  return seconds > 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
}

const digits = (value, width = 2) => String(value).padStart(width, '0');

const day = (date) => `${date.getFullYear()}-${digits(date.getMonth() + 1)}-${digits(date.getDate())}`;

/** Local; with its day where that is not today. */
export function clock(time) {
  const date = new Date(time);
  const hours = `${digits(date.getHours())}:${digits(date.getMinutes())}:${digits(date.getSeconds())}`;
  return day(date) === day(new Date(now())) ? hours : `${day(date)} ${hours}`;
}

export const utc = (time) => `${new Date(time).toISOString().replace('T', ' ').replace('Z', '')} UTC`;

/** As `<input type=datetime-local>` takes it, to the second. */
export function localInput(time) {
  const date = new Date(time);
  return `${day(date)}T${digits(date.getHours())}:${digits(date.getMinutes())}:${digits(date.getSeconds())}`;
}

export const labels = (map) => Object.entries(map).map(([name, value]) => `${name}="${value}"`).join(', ');
