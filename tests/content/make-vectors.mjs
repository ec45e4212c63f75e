// Writes the CIDs that ipfs-unixfs-importer gives to generated inputs, as JSON on standard output.
//
//   npm install ipfs-unixfs-importer@17 blockstore-core && node make-vectors.mjs > cid-vectors.json
//
// The inputs are described, not stored: tests/content/cid_vectors_test.c makes the same bytes.
import { importer } from 'ipfs-unixfs-importer'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { BlackHoleBlockstore } from 'blockstore-core/black-hole'

const MiB = 1 << 20

// xorshift64*, one byte a step from the top bits: the same generator as syn_test_random().
function bytes (size, seed) {
  const out = new Uint8Array(size)
  const mask = (1n << 64n) - 1n
  let state = BigInt(seed)
  // Steps are costly as BigInt: repeat a 64 KiB block, stamping each repeat with its number.
  const block = new Uint8Array(Math.min(size, 65536))
  for (let i = 0; i < block.length; i++) {
    state ^= state >> 12n
    state = (state ^ (state << 25n)) & mask
    state ^= state >> 27n
    block[i] = Number(((state * 0x2545F4914F6CDD1Dn) & mask) >> 56n)
  }
  for (let at = 0, n = 0; at < size; at += block.length, n++) {
    out.set(block.subarray(0, Math.min(block.length, size - at)), at)
    new DataView(out.buffer).setUint8(at, n & 255)
    if (at + 1 < size) new DataView(out.buffer).setUint8(at + 1, n >> 8)
  }
  return out
}

async function run (entries, options) {
  let last
  for await (const entry of importer(entries, new BlackHoleBlockstore(), {
    profile: 'unixfs-v1-2025', ...options
  })) last = entry
  return { cid: last.cid.toString(), tsize: Number(last.size) }
}

async function file (size, seed, links, chunk) {
  const options = links === undefined ? {} : {
    layout: balanced({ maxChildrenPerNode: links }), chunker: fixedSize({ chunkSize: chunk })
  }
  return { size, seed, ...(links === undefined ? {} : { links, chunk }),
    ...await run([{ content: bytes(size, seed) }], options) }
}

const flat = (count, pattern, from = 0) => Array.from({ length: count }, (_, i) =>
  ({ path: pattern.replace('#', i + from), size: (i + from) % 7, seed: i + from + 1 }))

async function folder (name, tree) {
  const entries = tree.map(item => item.link !== undefined
    ? { path: 'root/' + item.path, link: item.link }
    : item.dir ? { path: 'root/' + item.path }
      : { path: 'root/' + item.path, content: bytes(item.size, item.seed) })
  return { name, ...await run(entries, {}) }
}

// A folder whose block has exactly 262,144 bytes, the largest that is not sharded, or one byte more.
// Data takes 4 bytes; a link with a name of 50 bytes 94, one with a name of 117 bytes 162.
function threshold (over) {
  const names = Array.from({ length: 2787 }, (_, i) => String(i).padStart(50, 'n'))
  names.push('z'.repeat(117 + over))
  return names.map(path => ({ path, size: 1, seed: 1 }))
}

const sizes = [0, 1, 2, 255, 65536, MiB - 1, MiB, MiB + 1, 2 * MiB, 3 * MiB + 17]
const files = []
for (const size of sizes) files.push(await file(size, size + 1))
for (const [links, chunk] of [[2, 64], [3, 100], [4, 1000]]) {
  for (const chunks of [1, links, links + 1, links * links, links * links + 1, links ** 3 + 1, links ** 4 - 1]) {
    files.push(await file(chunks * chunk, chunks, links, chunk))
    files.push(await file(chunks * chunk - 1, chunks, links, chunk))
  }
}
for (const chunks of [1023, 1024, 1025, 2049]) files.push(await file(chunks * 16, chunks, 1024, 16))

const folders = [
  await folder('one', [{ path: 'a', size: 3, seed: 1 }]),
  await folder('order', ['b', 'a', 'B', 'ab', 'a.b', 'a-b', 'Z', '_'].map((path, i) => ({ path, size: i, seed: i + 1 }))),
  await folder('nested', [
    { path: 'a/b/c/d', size: 5, seed: 1 }, { path: 'a/b/e', size: 0, seed: 1 },
    { path: 'a/f', size: 70000, seed: 3 }, { path: 'big', size: 2 * MiB + 5, seed: 4 },
    { path: 'link', link: 'a/b' }, { path: 'none', dir: true }
  ]),
  await folder('unicode', ['ä', 'z', 'é', '日本語', '😀 smile', 'a b', 'Ωmega', '\u{10ffff}', '\uffee'].map((path, i) =>
    ({ path, size: 10 + i, seed: i + 1 }))),
  await folder('at-threshold', threshold(0)),
  await folder('over-threshold', threshold(1)),
  await folder('sharded-5000', flat(5000, 'file-#.txt')),
  await folder('sharded-nested', [...flat(6000, 'deep/er/#'), ...flat(3, 'side-#')])
]

process.stdout.write(JSON.stringify({ files, folders }, null, 1) + '\n')
