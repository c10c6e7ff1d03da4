import type { Readable } from 'node:stream';
import type { Offer } from '../../domain/offers.js';
import { IDLE, keyLines, press } from '../../domain/keys.js';
import type { Typing } from '../../domain/keys.js';
import type { RolloutView } from '../../domain/rollout.js';
import type { Rollouts } from '../rollouts.js';
import { newDecision } from '../slipway.js';
import type { RolloutRef } from '../slipway.js';
import { isGateVerb } from '../../domain/approval/decision.js';
import type { Verb } from '../../domain/approval/decision.js';
import type { Actor } from '../../domain/rollout.js';
import { CliError } from '../exit-codes.js';
import { actorFrom } from './actor.js';
import type { CliContext } from './context.js';
import { plain } from './render.js';

interface Keyboard extends Readable {
  readonly isTTY?: boolean;
  setRawMode?(on: boolean): this;
}

/** Keys that decide while a rollout is watched at a terminal; nowhere else. */
export class Keys {
  private typing: Typing = IDLE;
  private offers: readonly Offer[] = [];
  private view: RolloutView | null = null;
  /** Called when what stands below the rollout has changed. */
  onChange: () => void = () => undefined;

  private constructor(
    private readonly keyboard: Keyboard,
    private readonly rollouts: Rollouts,
    private readonly ref: RolloutRef,
    private readonly actor: Actor,
  ) {
    keyboard.setRawMode?.(true);
    keyboard.on('data', this.onData);
    keyboard.resume();
  }

  /** Null where there is no keyboard: a job, or a pipe. */
  static async open(context: CliContext, rollouts: Rollouts, ref: RolloutRef): Promise<Keys | null> {
    if (!context.terminal || context.json) return null;
    const keyboard: Keyboard = context.input;
    if (keyboard.isTTY !== true || keyboard.setRawMode === undefined) return null;
    return new Keys(keyboard, rollouts, ref, await actorFrom(context, {}));
  }

  close(): void {
    this.keyboard.off('data', this.onData);
    this.keyboard.setRawMode?.(false);
    this.keyboard.pause();
  }

  /** What is shown now: decisions are bound to it. */
  see(view: RolloutView): void {
    this.view = view;
    this.offers = this.rollouts.offers(view, this.actor);
  }

  lines(): readonly string[] {
    return keyLines(this.typing, this.offers).map(plain);
  }

  private readonly onData = (data: Buffer | string): void => {
    const text = data.toString();
    // A sequence of an arrow key is one key; a pasted text is its characters.
    for (const key of text.startsWith('\u001B') ? [text] : Array.from(text)) {
      const pressed = press(this.typing, key, this.offers);
      if (pressed.kind === 'leave') {
        // In raw mode the terminal does not do this itself.
        process.kill(process.pid, 'SIGINT');
        return;
      }
      this.typing = pressed.typing;
      if (pressed.kind === 'send') void this.send(pressed.verb, pressed.reason);
    }
    this.onChange();
  };

  private async send(verb: Verb, reason: string | null): Promise<void> {
    const approvals = isGateVerb(verb) ? (this.view?.approvals ?? null) : null;
    const bound = { gate: approvals?.gate ?? null, planDigest: approvals?.planDigest ?? null };
    let said: string;
    try {
      const receipt = await this.rollouts.decide(this.ref, newDecision(verb, this.actor, { ...bound, reason }));
      said = receipt.kind === 'refused' ? `refused: ${receipt.text}` : receipt.text;
    } catch (error) {
      if (!(error instanceof CliError)) throw error;
      said = `${error.message}${error.remedy === null ? '' : ` → ${error.remedy}`}`;
    }
    this.typing = { kind: 'idle', said };
    this.onChange();
  }
}
