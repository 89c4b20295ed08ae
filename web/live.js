// What happens, as it happens: events of the agent, and how well the page is in touch with it.

import { exactClock, onContact } from './api.js';
import { now } from './format.js';

const KINDS = ['member', 'moves', 'target', 'health', 'config', 'placement', 'notice', 'drop'];
/** A browser tries again by itself when a stream breaks, not when it was refused. */
const RETRY_MS = 5000;
/** Events tell what changed; numbers such as rates and ages change without one. */
const ASK_MS = 5000;

const touch = { isStreaming: false, isLost: false, answeredAt: null };
const handlers = { event: () => {}, ask: () => {}, touch: () => {} };
let source = null;
let retry = null;
let timer = null;

/** `event` hears each, `ask` is called when it is time to ask anew, `touch` when contact changes. */
export function start(given) {
  Object.assign(handlers, given);
  onContact((isAnswered) => {
    touch.isLost = !isAnswered;
    if (isAnswered) touch.answeredAt = now();
    handlers.touch(touch);
  });
  // A hidden page holds no connection: a browser has six of them for one host.
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) return disconnect();
    connect();
    handlers.ask();
  });
  if (!document.hidden) connect();
}

function connect() {
  disconnect();
  source = new EventSource('api/v1/events');
  source.onopen = () => streams(true);
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) retry = setTimeout(connect, RETRY_MS);
    streams(false);
  };
  source.addEventListener('hello', ({ data }) => exactClock(JSON.parse(data).at));
  source.addEventListener('reset', () => handlers.ask());
  for (const kind of KINDS) {
    source.addEventListener(kind, ({ data }) => handlers.event(JSON.parse(data)));
  }
  plan();
}

function disconnect() {
  source?.close();
  source = null;
  clearTimeout(retry);
  clearTimeout(timer);
  touch.isStreaming = false;
}

function streams(isStreaming) {
  if (isStreaming === touch.isStreaming) return handlers.touch(touch);
  touch.isStreaming = isStreaming;
  handlers.touch(touch);
  // What was told between two streams may have been missed; and why one broke is soon known.
  handlers.ask();
  plan();
}

function plan() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    handlers.ask();
    plan();
  }, ASK_MS);
}
