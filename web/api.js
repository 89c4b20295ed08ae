// Questions to the agent: relative, so that they work behind a path prefix, and bounded in time.

import { setClock } from './format.js';

const ANSWER_MS_MAX = 10_000;

/** What the agent refused, or why it could not be asked. */
export class Problem extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }

  get isUnreachable() {
    return this.status === undefined;
  }
}

const listeners = new Set();
let hasExactClock = false;

/** Told of each question whether it was answered at all. */
export const onContact = (listener) => listeners.add(listener);

export function exactClock(time) {
  hasExactClock = true;
  setClock(Date.parse(time));
}

export function query(params) {
  const said = Object.entries(params).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const text = new URLSearchParams(said).toString();
  return text && `?${text}`;
}

export async function ask(path, params = {}, signal = undefined) {
  const limits = [AbortSignal.timeout(ANSWER_MS_MAX), signal].filter(Boolean);
  let answer;
  let body;
  try {
    // `no-cache` still sends `If-None-Match`, and takes the 304 for the body that it has.
    answer = await fetch(`api/v1/${path}${query(params)}`, {
      signal: AbortSignal.any(limits), cache: 'no-cache', headers: { accept: 'application/json' },
    });
    body = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    tell(false);
    const why = error.name === 'TimeoutError' ? `no answer within ${ANSWER_MS_MAX / 1000} s` : 'the agent does not answer';
    throw new Problem(why);
  }
  tell(true);
  if (!hasExactClock) setClock(Date.parse(answer.headers.get('date')) + 500);
  return read(answer, body);
}

function read(answer, body) {
  let value;
  try {
    value = JSON.parse(body);
  } catch {
    throw new Problem(`the answer (${answer.status}) is not JSON`, answer.status);
  }
  if (answer.ok) return value;
  const wait = answer.headers.get('retry-after');
  const detail = value.detail ?? value.error ?? answer.statusText;
  throw new Problem(wait ? `${detail}; ask again in ${wait} s` : detail, answer.status);
}

function tell(isAnswered) {
  for (const listener of listeners) listener(isAnswered);
}

/** Where a view can be shown without an answer, that becomes `{ problem }`. */
export async function attempt(asked) {
  try {
    return await asked;
  } catch (problem) {
    if (!(problem instanceof Problem) || problem.isUnreachable) throw problem;
    return { problem };
  }
}
