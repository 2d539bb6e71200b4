// Packs files into a tar archive without reading them: the archive is a Blob that refers to the files on the disk.

const BLOCK = 512, NAME = 100; // bytes
const encoder = new TextEncoder();

/** Return an archive (Blob) of files, given as [name, File] with names such as `a/1.png`; those of folders, which are empty, end with "/". */
export function tar(files) {
  const parts = [];
  for (const [name, file] of files) {
    const bytes = encoder.encode(name);
    if (bytes.length > NAME || bytes.length !== name.length) parts.push(...entry("path", record("path", name), "x")); // POSIX.1-2001: any name
    parts.push(...entry(name, file, name.endsWith("/") ? "5" : "0"));
  }
  return new Blob([...parts, new Uint8Array(2 * BLOCK)], { type: "application/x-tar" });
}

function entry(name, content, type) {
  const header = new Uint8Array(BLOCK);
  const put = (text, at) => header.set(encoder.encode(text), at);
  header.set(encoder.encode(name).subarray(0, NAME));
  put("0000644\0" + "0000000\0".repeat(2), 100); // mode, user, group
  put(octal(content.size, 11) + "\0" + octal(0, 11) + "\0" + " ".repeat(8) + type, 124); // size, time, room for the checksum, type
  put("ustar\u000000", 257);
  put(octal(header.reduce((sum, byte) => sum + byte, 0), 6) + "\0 ", 148);
  const padding = (BLOCK - (content.size % BLOCK)) % BLOCK;
  return [header, content, new Uint8Array(padding)];
}

/** A record of an extended header: its length in bytes, which counts itself, then `key=value`. */
function record(key, value) {
  const rest = encoder.encode(` ${key}=${value}\n`).length;
  let length = rest;
  while (length !== rest + String(length).length) length = rest + String(length).length;
  return new Blob([`${length} ${key}=${value}\n`]);
}

function octal(value, digits) {
  return value.toString(8).padStart(digits, "0");
}
