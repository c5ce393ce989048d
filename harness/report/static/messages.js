/* The messages between servers (report/exchanged.py), by the time when they were sent: columns that begin.js fills.

   `took` is -1 of a message that never arrived; `saying` is the place in `said` of [kind, words, short words]. */
import { lastAtMost, sum } from './columns.js';
import { unpack } from './packed.js';
import { run } from './run.js';

export const messages = { sent: [], took: [], source: [], target: [], saying: [], said: [], longestWay: 0 };

export const readMessages = async () => {
  const { s, w, f, o, k, said } = await unpack('messages');
  Object.assign(messages, { sent: sum(s), took: sum(w), source: sum(f), target: sum(o), saying: sum(k), said });
  messages.longestWay = messages.took.reduce((most, took) => Math.max(most, took), 0);
};

const ROUTINE = new Set(['PING', 'PROPOSAL', 'ACK', 'COMMIT', 'INFORM', 'REQUEST', 'SYNC', 'REVALIDATE']);
const said = (m) => messages.said[messages.saying[m]];
export const isRoutine = (m) => ROUTINE.has(said(m)[0]);
export const isVote = (m) => said(m)[0] === 'vote' || said(m)[0] === 'introduction';
export const arrived = (m) => messages.took[m] >= 0;
export const arrival = (m) => messages.sent[m] + messages.took[m];

export const shortWords = (m) => said(m)[2];
export const fullWords = (m) =>
  `${run.hosts[messages.source[m]].name} to ${run.hosts[messages.target[m]].name}: ${said(m)[1]}`;

/* Messages that touch the window, by number; those that were sent long before it and arrive in it too.
   Null: there are more than `most`. */
export const messagesIn = (from, until, wanted, most) => {
  const { sent, took, longestWay } = messages;
  const found = [];
  for (let m = lastAtMost(sent, from - longestWay - 1) + 1; m < sent.length && sent[m] <= until; m++) {
    if (sent[m] + Math.max(took[m], 0) < from || !wanted(m)) continue;
    if (found.length >= most) return null;
    found.push(m);
  }
  return found;
};
