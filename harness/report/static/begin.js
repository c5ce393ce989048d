/* Where the page begins: everything is read, and drawn for the first time.

   What a reader sees first is there first: the timeline is drawn before the long tables are laid down and before
   the rest of the data is read.  Both follow at once, in steps between which the page answers. */
import { beginCommands } from './commands.js';
import { byId, element } from './elements.js';
import { beginFind } from './find.js';
import { beginHistory } from './history.js';
import { drawInstant } from './instant.js';
import { followLinks, layAll } from './links.js';
import { readMessages } from './messages.js';
import { followOverview } from './overview.js';
import { followPaper, followSize, redress } from './paper.js';
import { followPointer } from './pointer.js';
import { readRest, readTimeline, run } from './run.js';
import { beginSpaceTime } from './spacetime.js';
import { schedule, selection, view } from './view.js';

const nextTask = () =>
  new Promise((done) => {
    setTimeout(done);
  });
/* A page has loaded when all of it is read: whoever prints it as soon as it has (chromium --print-to-pdf) prints all of
   it.  A browser waits for a frame that is still being written.  (In a sandbox, as in `onethrone serve`, no frame is
   ours.)  Answers what ends the wait. */
const holdLoad = () => {
  const frame = element('iframe');
  frame.hidden = true;
  document.body.append(frame);
  if (!frame.contentDocument) {
    frame.remove();
    return () => {};
  }
  frame.contentDocument.open();
  return () => {
    frame.contentDocument.close();
    setTimeout(() => frame.remove());
  };
};
const listen = () => {
  followPointer();
  followOverview();
  followLinks();
  followPaper();
  beginCommands();
  beginFind();
};
const begin = async () => {
  await readTimeline();
  Object.assign(view, { from: 0, until: run.end });
  const [violation] = run.violations;
  const [reign] = run.reigns;
  selection.instant = violation ? violation.t : reign ? reign.a : 0;
  redress();
  drawInstant(selection.instant);
  followSize();
  performance.mark('drawn', { detail: { transitions: run.transitions } });
  await nextTask();
  await readMessages();
  await nextTask();
  await readRest();
  schedule();
  beginSpaceTime();
  beginHistory();
};
const sayUnread = (error) => {
  byId('unread').hidden = false;
  byId('unread').append(` (${error})`);
};
const loaded = holdLoad();
listen();
begin()
  .catch(sayUnread)
  .then(() => layAll(nextTask))
  .finally(() => {
    performance.mark('ready');
    loaded();
  });
