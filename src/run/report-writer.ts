/** Updates report.html while a run works. A report that cannot be written does not stop the run. */
import { join } from 'node:path';
import { reportHtml } from '../report/page.js';
import { REPORT, writeAtomic } from './store.js';

/** A report that takes longer is written less often, so that it uses a fixed share of the time. */
const QUICK_MS = 1_000;
const SHARE = 0.05;

/** Writes the report of a run again after its stages. */
export class ReportWriter {
  private writing: Promise<void> = Promise.resolve();
  private notBefore = 0;
  private warned = false;

  constructor(
    private readonly directory: string,
    private readonly warn: (message: string) => void,
  ) {}

  /** Asks for a new report, after a stage. */
  request(): void {
    this.writing = this.writing.then(() =>
      performance.now() < this.notBefore ? undefined : this.write(),
    );
  }

  /** Writes the last report of this call, also after a failure or a stop. */
  async finish(): Promise<void> {
    await this.writing;
    await this.write();
  }

  private async write(): Promise<void> {
    const began = performance.now();
    try {
      await writeAtomic(join(this.directory, REPORT), reportHtml(this.directory));
    } catch (error) {
      if (!this.warned)
        this.warn(`The report is not written: ${sentenceOf(error)} The run continues.`);
      this.warned = true;
    }
    const took = performance.now() - began;
    if (took > QUICK_MS) this.notBefore = performance.now() + took / SHARE;
  }
}

const sentenceOf = (error: unknown): string => `${(error as Error).message.replace(/\.$/, '')}.`;
