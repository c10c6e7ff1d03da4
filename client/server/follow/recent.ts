/** What was learned a moment ago, by a name. What is older is let go of, however few there are: views are large. */
export class Recent<Value> {
  /** The oldest first. */
  private readonly entries = new Map<string, { readonly atMs: number; readonly value: Value }>();

  constructor(
    private readonly maxAgeMs: number,
    private readonly nowMs: () => number = Date.now,
  ) {}

  get size(): number {
    this.prune();
    return this.entries.size;
  }

  get(name: string): Value | undefined {
    this.prune();
    return this.entries.get(name)?.value;
  }

  set(name: string, value: Value): void {
    this.prune();
    this.entries.delete(name);
    this.entries.set(name, { atMs: this.nowMs(), value });
  }

  delete(name: string): void {
    this.entries.delete(name);
  }

  private prune(): void {
    const oldest = this.nowMs() - this.maxAgeMs;
    for (const [name, { atMs }] of this.entries) {
      if (atMs > oldest) return;
      this.entries.delete(name);
    }
  }
}
