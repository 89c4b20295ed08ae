// The shell: which view is open, when it asks anew, and how well the page is in touch.

import { Problem } from './api.js';
import { el, patch } from './dom.js';
import { now, span } from './format.js';
import * as live from './live.js';
import { loading, problem, tick, time } from './parts.js';
import * as config from './views/config.js';
import * as flock from './views/flock.js';
import * as history from './views/history.js';
import * as queues from './views/queues.js';
import * as target from './views/target.js';
import * as targets from './views/targets.js';

const VIEWS = { flock, targets, history, queues, config };
/** A burst of events is one change to look at. */
const GATHER_MS = 400;
const TOLD_KINDS = ['member', 'notice', 'config'];

const main = document.getElementById('main');
const [markPlace, lostPlace, refusedPlace, toldPlace] = ['mark', 'lost', 'refused', 'told'].map((id) => document.getElementById(id));

let open = null;
let gathering = null;

/** What a view is given: where to draw, what its address says, and how to change that quietly. */
function context(view, path, params) {
  const stop = new AbortController();
  return {
    view, path, params, hash: location.hash, root: main, closed: stop.signal, close: () => stop.abort(),
    /** Deep links follow what is typed, but Back does not go letter by letter. */
    remember(changed) {
      Object.assign(params, changed);
      const said = Object.entries(params).filter(([, value]) => value);
      const text = new URLSearchParams(said).toString();
      window.history.replaceState(null, '', `#/${path}${text && `?${text}`}`);
      this.hash = location.hash;
    },
  };
}

function route() {
  const [path, text = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, id] = path.split('/').map(decoded);
  const view = name === 'targets' && id ? { ...target, id } : VIEWS[name] ?? flock;
  return context(view, VIEWS[name] ? path : 'flock', Object.fromEntries(new URLSearchParams(text)));
}

/** A link that was cut short is still a link. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function go() {
  const isFirst = open === null;
  open?.close();
  open = route();
  for (const link of document.querySelectorAll('nav a')) {
    const isHere = link.getAttribute('href') === `#/${open.path.split('/')[0]}`;
    if (isHere) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  const title = el('h1', { tabindex: -1 }, open.view.title);
  document.title = `${open.view.title} – Starling`;
  main.replaceChildren(title, loading());
  if (!isFirst) {
    title.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
  open.show = open.view.open(open);
  refresh();
}

/**
 * Draws what the open view has to show by now; what it showed stays until then. One question at a
 * time: where events come faster than answers, each answer is still drawn.
 */
async function refresh() {
  const asked = open;
  clearTimeout(gathering);
  gathering = null;
  if (asked.isAsking) {
    asked.isStale = true;
    return;
  }
  asked.isAsking = true;
  try {
    await asked.show(asked.closed);
    if (asked === open) refused(null);
  } catch (error) {
    // Another question took its place, or nobody looks any more.
    if (error.name === 'AbortError') return;
    if (!(error instanceof Problem)) throw error;
    if (asked === open) unshown(error);
  } finally {
    asked.isAsking = false;
    if (asked.isStale && asked === open) gather();
    asked.isStale = false;
  }
}

function gather() {
  gathering ??= setTimeout(refresh, GATHER_MS);
}

function unshown(error) {
  refused(error);
  if (main.querySelector('h1 ~ :not(.loading, .problem)')) return;
  patch(main, el('h1', { tabindex: -1 }, open.view.title), problem(error));
}

/** A view keeps what it showed; why it shows nothing newer is told above it. */
function refused(error) {
  const isTold = error !== null && !error.isUnreachable;
  refusedPlace.hidden = !isTold;
  if (isTold) patch(refusedPlace, el('strong', null, 'The last question was not answered: '), error.message);
}

function heard(event) {
  if (TOLD_KINDS.includes(event.kind)) toldPlace.textContent = event.summary;
  gather();
}

function touched({ isStreaming, isLost, answeredAt }) {
  const [sign, text, kind] = isLost ? ['▼', 'connection lost', 'bad']
    : isStreaming ? ['●', 'live', 'good'] : ['◐', 'asking every 5 s', 'warn'];
  markPlace.className = `mark tone ${kind}`;
  patch(markPlace, el('span', { 'aria-hidden': 'true' }, sign), ` ${text}`);
  lostPlace.hidden = !isLost;
  if (!isLost) return;
  const at = answeredAt && new Date(answeredAt).toISOString();
  patch(lostPlace, el('strong', null, 'This member does not answer. '), at
    ? ['What is shown is of ', time(at), ', ', el('span', { 'data-old-since': answeredAt }, span((now() - answeredAt) / 1000)), ' old.']
    : 'Nothing could be asked yet.', ' It is asked again every few seconds.');
}

function keydown(event) {
  const isTyping = event.target.closest('input, select, textarea');
  if (event.key !== '/' || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  if (!main.querySelector('input[type=search]')) {
    location.hash = '#/targets';
    // The address changes at once, the event that tells of it comes later.
    go();
  }
  main.querySelector('input[type=search]')?.focus();
}

window.addEventListener('hashchange', () => {
  if (location.hash !== open.hash) go();
});
// Its address is no view's.
document.querySelector('.skip').onclick = (event) => {
  event.preventDefault();
  main.focus();
};
document.addEventListener('keydown', keydown);
setInterval(() => {
  tick();
  for (const old of document.querySelectorAll('[data-old-since]')) {
    old.textContent = span((now() - Number(old.dataset.oldSince)) / 1000);
  }
}, 1000);
go();
live.start({ event: heard, ask: refresh, touch: touched });
