import type { Strategy } from './policy.js';

/** One reason why a change is risky. */
export interface RiskFactor {
  /** `migration.destructive`, `infrastructure`, …: see docs. */
  readonly id: string;
  /** How much it adds, 0 to 1. */
  readonly weight: number;
  /** What was seen, for people: "db/migrations/7.sql drops a column". */
  readonly reason: string;
}

/** A risk assessment: by rules, by a model, or both together. */
export interface Risk {
  /** 0 to 1. */
  readonly score: number;
  readonly level: 'low' | 'medium' | 'high' | 'critical';
  readonly factors: readonly RiskFactor[];
  readonly strategy: Strategy;
  /** A person must approve. */
  readonly approval: boolean;
}

/** What became of asking a model. */
export type ModelOpinion =
  | {
      readonly kind: 'answered';
      readonly model: string;
      readonly score: number;
      readonly strategy: Strategy;
      readonly approval: boolean;
      readonly factors: readonly { readonly name: string; readonly reason: string }[];
      readonly summary: string;
      /** Version of the instructions and of the answer's form. */
      readonly promptVersion?: string;
      /** From the question to the answer, retries included. */
      readonly latencyMs?: number;
      /** As the server counted them; absent where it did not say. Attempts that failed may have cost more. */
      readonly inputTokens?: number;
      readonly outputTokens?: number;
    }
  /** Off by policy or by a kill switch: the floor alone decides. */
  | { readonly kind: 'off' }
  /** No key, timeout, refusal, nonsense, over budget: the floor stands and a person must approve. */
  | { readonly kind: 'failed'; readonly reason: string };

/** The assessment of record. */
export interface Assessment {
  readonly risk: Risk;
  readonly floor: Risk;
  readonly model: ModelOpinion;
  /** Version of the floor's rules and weights. */
  readonly rulesVersion: string;
}
