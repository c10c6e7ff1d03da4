import { render } from 'preact';
import type { Boot } from '../boot.js';
import { BOOT_ID } from '../boot.js';
import { startClock } from './clock.js';
import { Frame, ProblemBox } from './frame.js';
import { ListPage } from './list.js';
import { LoginPage } from './login.js';
import { RolloutPage } from './rollout.js';
import { listStore, rolloutStore } from './store.js';

function Page({ boot }: { readonly boot: Boot }) {
  switch (boot.page) {
    case 'list':
      return <ListPage boot={boot} store={listStore(boot.runs, boot.me)} />;
    case 'rollout':
      return <RolloutPage boot={boot} store={rolloutStore(boot.run, boot.me)} />;
    case 'login':
      return <LoginPage boot={boot} />;
    case 'problem':
      document.title = `${boot.problem.title} · Slipway`;
      return (
        <Frame me={boot.me} version={boot.version}>
          <ProblemBox problem={boot.problem} />
        </Frame>
      );
  }
}

const app = document.querySelector('#app');
const data = document.querySelector(`#${BOOT_ID}`)?.textContent;
if (app === null || data == null) throw new Error('the page has no data in it');
app.replaceChildren();
startClock();
render(<Page boot={JSON.parse(data) as Boot} />, app);
