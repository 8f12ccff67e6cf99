/** Two machines in miniature: network namespaces that a virtual cable joins. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';

/** Whether this machine permits them: Linux with unprivileged user namespaces, or root. */
export const hasNetworks = (): boolean =>
  spawnSync('unshare', ['-rn', 'ip', 'link', 'add', 'end0', 'type', 'veth', 'peer', 'name', 'end1'])
    .status === 0;

export class TwoNetworks {
  /** Of the two ends of the cable. */
  static readonly addresses = ['10.77.0.1', '10.77.0.2'] as const;
  static readonly device = 'cable';

  private constructor(private readonly holders: readonly [ChildProcess, ChildProcess]) {}

  /** Both live until close(). */
  static async create(): Promise<TwoNetworks> {
    // A namespace lives as long as a process in it. The second one has the first one's rights.
    const sleep = ['sleep', '600'];
    const first = spawn('unshare', ['-rn', ...sleep], { stdio: 'ignore' });
    await isInside(first, 'user');
    const [enter, ...rest] = entering(first);
    const second = spawn(enter!, [...rest, 'unshare', '-n', ...sleep], { stdio: 'ignore' });
    await isInside(second, 'net', first);
    const both = new TwoNetworks([first, second]);
    const { device, addresses } = TwoNetworks;
    both.ip(0, `link add ${device} type veth peer name ${device} netns ${second.pid}`);
    for (const end of [0, 1] as const) {
      both.ip(end, 'link set lo up');
      both.ip(end, `addr add ${addresses[end]}/24 dev ${device}`);
      both.ip(end, `link set ${device} up`);
    }
    return both;
  }

  /** The command that starts another in a network. */
  through(end: 0 | 1): string[] {
    return entering(this.holders[end]);
  }

  /** Unplugs the cable, or plugs it in. */
  connect(plugged: boolean): void {
    this.ip(1, `link set ${TwoNetworks.device} ${plugged ? 'up' : 'down'}`);
  }

  close(): void {
    for (const holder of this.holders) holder.kill();
  }

  private ip(end: 0 | 1, command: string): void {
    const [enter, ...rest] = this.through(end);
    const { status, stderr } = spawnSync(enter!, [...rest, 'ip', ...command.split(' ')]);
    if (status !== 0) throw new Error(`ip ${command}: ${stderr.toString()}`);
  }
}

const entering = ({ pid }: ChildProcess): string[] => [
  'nsenter',
  '-t',
  String(pid),
  '-U',
  '-n',
  '--preserve-credentials',
];

/** Resolves once the process has a namespace that differs from this one's, and from `other`'s. */
async function isInside(
  { pid }: ChildProcess,
  kind: 'user' | 'net',
  other?: ChildProcess,
): Promise<void> {
  const of = (id: number | 'self') =>
    spawnSync('readlink', [`/proc/${id}/ns/${kind}`]).stdout.toString();
  const taken = [of('self'), ...(other ? [of(other.pid!)] : [])];
  for (let attempt = 0; attempt < 500; attempt++) {
    const now = of(pid!);
    if (now !== '' && !taken.includes(now)) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('No namespace was made.');
}
