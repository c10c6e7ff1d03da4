/** An address that the API server announces: no pod may have it. */
const RESERVED = '10.244.255.254';

/** Addresses for pods, each given to one pod at a time, and not soon again after it was given back. */
export class Addresses {
  private readonly base: number;
  private readonly size: number;
  private readonly given = new Set([RESERVED]);
  private last = 0;

  /** Takes IPv4 addresses such as `10.244.0.0/16`. */
  constructor(cidr: string) {
    const parts = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\/(\d+)$/.exec(cidr)?.slice(1).map(Number);
    if (parts === undefined) throw new Error(`${cidr} is not of the form 10.244.0.0/16`);
    const [a = 0, b = 0, c = 0, d = 0, bits = 32] = parts;
    this.base = ((a * 256 + b) * 256 + c) * 256 + d;
    this.size = 2 ** (32 - bits);
  }

  /** The first address that a pod may get. */
  get first(): string {
    return this.at(1);
  }

  take(): string {
    for (let tried = 0; tried < this.size; tried += 1) {
      // The first and the last address of a network are no host's.
      this.last = this.last + 2 < this.size ? this.last + 1 : 1;
      const address = this.at(this.last);
      if (this.given.has(address)) continue;
      this.given.add(address);
      return address;
    }
    throw new Error(`all ${this.size} addresses for pods are in use`);
  }

  giveBack(address: string): void {
    this.given.delete(address);
  }

  private at(offset: number): string {
    const number = this.base + offset;
    return [24, 16, 8, 0].map((shift) => Math.floor(number / 2 ** shift) % 256).join('.');
  }
}
